//! Reads Rust source just well enough to see which rooms and crates it names: no comments, no texts, no test modules.
//! Not a parser: it knows identifiers, punctuation and braces, and the line each is on.

/// An identifier, or one character of punctuation (`::` is one token).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// A name asked of the crate's root, and what is asked of it in turn: of `crate::db::{Db, Tx}`, `db` and `Db`, `Tx`.
pub struct Import {
    pub name: Token,
    pub items: Vec<String>,
}

/// A function with the lines it takes, from `fn` to its closing brace.
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// The tokens of `source` outside comments, texts and items under `#[cfg(test)]`.
pub fn tokens(source: &str) -> Vec<Token> {
    without_tests(tokenise(&blank(source)))
}

/// `source` with comments, texts and character literals made blank; lines stay where they are.
fn blank(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = chars.clone();
    let mut i = 0;
    while i < chars.len() {
        let end = match chars[i] {
            '/' if chars.get(i + 1) == Some(&'/') => position(&chars, i, |c| c[0] == '\n'),
            '/' if chars.get(i + 1) == Some(&'*') => block_comment_end(&chars, i),
            '"' => text_end(&chars, i),
            'r' if starts_raw_text(&chars, i) => raw_text_end(&chars, i),
            '\'' => char_end(&chars, i).unwrap_or(i + 1),
            _ => i + 1,
        };
        if end > i + 1 {
            out[i..end].iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
        }
        i = end;
    }
    out.into_iter().collect()
}

/// The first position from `from` at which `is` holds of the rest, or the end.
fn position(chars: &[char], from: usize, is: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|i| is(&chars[*i..])).unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut i = from;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn text_end(chars: &[char], from: usize) -> usize {
    let mut i = from + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

fn starts_raw_text(chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|b| chars[b]);
    let begins = before.is_none_or(|b| !is_word(b) || (b == 'b' && at.checked_sub(2).is_none_or(|c| !is_word(chars[c]))));
    begins && chars[at + 1..].iter().find(|c| **c != '#') == Some(&'"')
}

fn raw_text_end(chars: &[char], from: usize) -> usize {
    let hashes = chars[from + 1..].iter().take_while(|c| **c == '#').count();
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    (position(chars, from + hashes + 2, |rest| rest.starts_with(&close)) + close.len()).min(chars.len())
}

/// The end of a character literal; nothing where the quotation mark begins a lifetime.
fn char_end(chars: &[char], from: usize) -> Option<usize> {
    match (chars.get(from + 1)?, chars.get(from + 2)?) {
        ('\\', _) => Some(position(chars, from + 3, |rest| rest[0] == '\'') + 1),
        (_, '\'') => Some(from + 3),
        _ => None,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn tokenise(blanked: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut previous = ' ';
    let mut line = 1;
    for c in blanked.chars() {
        let joins = match tokens.last_mut() {
            Some(last) if is_word(c) && is_word(previous) => Some(last),
            Some(last) if c == ':' && previous == ':' && last.text == ":" => Some(last),
            _ => None,
        };
        match joins {
            Some(last) => last.text.push(c),
            None if c.is_whitespace() => {}
            None => tokens.push(Token { text: c.to_string(), line }),
        }
        line += usize::from(c == '\n');
        previous = c;
    }
    tokens
}

/// Drops what stands under `#[cfg(test)]` or `#[cfg(all(test, ...))]`: to the end of its braces, or to its semicolon.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let is = |i: usize, text: &str| tokens.get(i).is_some_and(|t: &Token| t.text == text);
    let mut kept = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        let cfg = is(i, "#") && is(i + 1, "[") && is(i + 2, "cfg") && is(i + 3, "(");
        if cfg && (is(i + 4, "test") || (is(i + 4, "all") && is(i + 6, "test"))) {
            let start = (i..tokens.len()).find(|j| is(*j, "]")).unwrap_or(i) + 1;
            i = item_end(&tokens, start);
        } else {
            kept.push(tokens[i].clone());
            i += 1;
        }
    }
    kept
}

/// The position after the item that begins at `from`.
fn item_end(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate().skip(from) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth <= 1 => return i + 1,
            "}" => depth -= 1,
            ";" if depth == 0 => return i + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// What the crate's root is asked for: the names after `crate::`, and after as many `super::` as lead there from a module
/// `depth` levels down; each name of a group at its outermost level.
pub fn imports(tokens: &[Token], depth: usize) -> Vec<Import> {
    let is = |i: usize, text: &str| tokens.get(i).is_some_and(|t| t.text == text);
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let mut at = i;
        let mut ups = 0;
        while is(at, "super") && is(at + 1, "::") {
            (ups, at) = (ups + 1, at + 2);
        }
        let from_crate = (is(i, "crate") || is(i, "ppmid_orchestrator")) && is(i + 1, "::");
        if from_crate || (ups > 0 && ups >= depth) {
            let start = if from_crate { i + 2 } else { at };
            found.extend(heads(tokens, start).into_iter().map(|head| import(tokens, head)));
        }
        i = at.max(i + 1);
    }
    found
}

fn import(tokens: &[Token], head: usize) -> Import {
    let deeper = tokens.get(head + 1).is_some_and(|t| t.text == "::");
    let items = if deeper { heads(tokens, head + 2) } else { Vec::new() };
    Import { name: tokens[head].clone(), items: items.into_iter().map(|i| tokens[i].text.clone()).collect() }
}

/// Where the names stand that begin at `start`: one, or the first of each entry of `{a, b::{c, d}, e}`.
fn heads(tokens: &[Token], start: usize) -> Vec<usize> {
    let mut depth = 0;
    let mut found = Vec::new();
    for i in start..tokens.len() {
        match tokens[i].text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 0 || (depth == 1 && matches!(tokens[i - 1].text.as_str(), "{" | ",")) => found.push(i),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

pub fn functions(tokens: &[Token]) -> Vec<Function> {
    let function = |i: usize| {
        let body = (i..tokens.len()).find(|j| matches!(tokens[*j].text.as_str(), "{" | ";"))?;
        let end = item_end(tokens, body);
        let (name, line) = (tokens.get(i + 1)?.text.clone(), tokens[i].line);
        (tokens[body].text == "{").then(|| Function { name, line, lines: tokens[end - 1].line - line + 1 })
    };
    (0..tokens.len()).filter(|i| tokens[*i].text == "fn").filter_map(function).collect()
}

/// The names of structs, enums, traits and type aliases.
pub fn types(tokens: &[Token]) -> Vec<Token> {
    let declares = |t: &Token| matches!(t.text.as_str(), "struct" | "enum" | "trait" | "type");
    tokens.windows(2).filter(|w| declares(&w[0])).map(|w| w[1].clone()).collect()
}
