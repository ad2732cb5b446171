//! A linear look at the bytes of a message before any XML parser sees them (signature profile, rule 6): what common parsers
//! can be made to choke on, or read differently from one another, is refused here. It is no parser and proves nothing about
//! well-formedness. Promise: time linear in the input, no allocation beyond one open-element count, never a panic.

use std::borrow::Cow;

use super::SignatureError;

/// Most bytes of one inbound message: a W110101 response that names all 50,000 devices has 1.2 MB, an 11.1 request with the
/// largest image (10,240,000 bytes, 13.7 MB as base64) and the longest list has 14.9 MB.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// Deepest nesting of elements; the schema's deepest message uses about 20. Deep recursion overflows the stack of parsers.
pub(in crate::duis) const MAX_DEPTH_ELEMENTS: usize = 64;
/// Most attributes of one tag, namespace declarations included; parsers compare each with every other.
pub(in crate::duis) const MAX_ATTRIBUTES_PER_TAG: usize = 16;
/// Most attributes of one message: they cost a parser about 60 bytes each. DUIS uses one, its signature seven.
pub(in crate::duis) const MAX_ATTRIBUTES: usize = 10_000;
/// Longest name of an element or attribute, prefix included, and of a namespace; the schema's longest have about 60. Parsers keep
/// lengths in few bits, and exclusive canonical form writes a namespace again wherever it is used.
pub(in crate::duis) const MAX_NAME_BYTES: usize = 256;
/// Most namespace declarations of one message; each is in scope of every element below it.
pub(in crate::duis) const MAX_NAMESPACE_DECLARATIONS: usize = 64;
/// Most elements of one message: they cost a parser about 100 bytes each. The longest lists of DUIS are texts, not elements.
pub(in crate::duis) const MAX_ELEMENTS: usize = 100_000;

/// Checks the bytes and gives the text after an optional byte-order mark, its line ends made `\n`.
pub(in crate::duis) fn prescan(bytes: &[u8], max_bytes: usize) -> Result<Cow<'_, str>, SignatureError> {
    if bytes.len() > max_bytes {
        return Err(SignatureError::TooLarge(max_bytes));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        // The parser would pass over a second one.
        return Err(malformed("it has two byte-order marks"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?;
    // Without an early end, since that is many bytes at a time.
    if bytes.iter().fold(false, |found, b| found | (*b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r'))) {
        return Err(malformed("it has control characters"));
    }
    references(text)?;
    let mut scan = Scan { rest: bytes, depth: 0, elements: 0, attributes: 0, declarations: 0 };
    scan.declaration()?;
    scan.elements()?;
    Ok(line_ends(text))
}

/// Line ends as XML 1.0 (2.11) wants them before parsing: the parser here misses a lone carriage return before a reference.
pub(in crate::duis) fn line_ends(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n")) } else { Cow::Borrowed(text) }
}

fn malformed(what: &str) -> SignatureError {
    SignatureError::malformed(what)
}

/// No entities but the five of XML itself, and references to characters that XML has.
fn references(text: &str) -> Result<(), SignatureError> {
    /// Between `&` and `;`, with some leading zeros.
    const MAX_REFERENCE_BYTES: usize = 16;
    for after in text.split('&').skip(1) {
        let window = &after.as_bytes()[..after.len().min(MAX_REFERENCE_BYTES)];
        let end = window.iter().position(|b| *b == b';').ok_or_else(|| malformed("a reference does not end"))?;
        let name = &window[..end];
        let allowed = match name {
            b"amp" | b"lt" | b"gt" | b"quot" | b"apos" => true,
            [b'#', b'x', hex @ ..] => is_xml_character(hex, 16),
            [b'#', decimal @ ..] => is_xml_character(decimal, 10),
            _ => false,
        };
        if !allowed {
            return Err(malformed("it has an entity, or a reference to no character"));
        }
    }
    Ok(())
}

fn is_xml_character(digits: &[u8], radix: u32) -> bool {
    let number = std::str::from_utf8(digits).ok().filter(|d| d.chars().all(|c| c.is_digit(radix)));
    let character = number.and_then(|d| u32::from_str_radix(d, radix).ok()).and_then(char::from_u32);
    character.is_some_and(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..))
}

struct Scan<'a> {
    rest: &'a [u8],
    depth: usize,
    elements: usize,
    attributes: usize,
    declarations: usize,
}

impl<'a> Scan<'a> {
    /// One `<?xml ... ?>` at the very start may say version 1.0 and encoding UTF-8.
    fn declaration(&mut self) -> Result<(), SignatureError> {
        let Some(after) = self.rest.strip_prefix(b"<?xml") else { return Ok(()) };
        /// A declaration with every pseudo-attribute has about 60 bytes.
        const MAX_DECLARATION_BYTES: usize = 200;
        let window = &after[..after.len().min(MAX_DECLARATION_BYTES)];
        let end = window.windows(2).position(|w| w == b"?>").ok_or_else(|| malformed("its XML declaration does not end"))?;
        let mut tag = Tag { rest: &window[..end] };
        let mut seen: Vec<&[u8]> = Vec::new();
        while let Some((name, value)) = tag.attribute()? {
            let allowed = match name {
                b"version" => value == b"1.0",
                b"encoding" => value.eq_ignore_ascii_case(b"UTF-8"),
                b"standalone" => value == b"yes" || value == b"no",
                _ => false,
            };
            if !allowed || seen.contains(&name) {
                return Err(malformed("its XML declaration is not of XML 1.0 in UTF-8"));
            }
            seen.push(name);
        }
        if seen.first() != Some(&b"version".as_slice()) {
            return Err(malformed("its XML declaration does not begin with a version"));
        }
        self.rest = &after[end + 2..];
        Ok(())
    }

    fn elements(&mut self) -> Result<(), SignatureError> {
        while let Some(at) = self.rest.iter().position(|b| *b == b'<') {
            self.rest = &self.rest[at + 1..];
            match self.rest.first() {
                Some(b'!') => return Err(malformed("it has a comment, a CDATA section or a DTD")),
                Some(b'?') => return Err(malformed("it has a processing instruction")),
                Some(b'/') => {
                    name_fits(&self.rest[1..self.rest.len().min(2)])?;
                    self.depth = self.depth.checked_sub(1).ok_or_else(|| malformed("it closes what it did not open"))?;
                }
                _ => self.start_tag()?,
            }
        }
        if self.depth == 0 { Ok(()) } else { Err(malformed("it ends before its elements do")) }
    }

    /// From after `<` to after `>`.
    fn start_tag(&mut self) -> Result<(), SignatureError> {
        let length = tag_length(self.rest).ok_or_else(|| malformed("a tag does not end"))?;
        let inside = &self.rest[..length];
        self.rest = &self.rest[length + 1..];
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(malformed("it has too many elements"));
        }
        let (inside, empty) = inside.strip_suffix(b"/").map_or((inside, false), |i| (i, true));
        let name_end = inside.iter().position(u8::is_ascii_whitespace).unwrap_or(inside.len());
        name_fits(&inside[..name_end])?;
        let mut tag = Tag { rest: &inside[name_end..] };
        let mut names = [b"".as_slice(); MAX_ATTRIBUTES_PER_TAG];
        let mut count = 0;
        while let Some((name, value)) = tag.attribute()? {
            if count == MAX_ATTRIBUTES_PER_TAG {
                return Err(malformed("a tag has too many attributes"));
            }
            if names[..count].contains(&name) {
                return Err(malformed("a tag has an attribute twice"));
            }
            name_fits(name)?;
            names[count] = name;
            count += 1;
            self.count_declaration(name, value)?;
        }
        self.attributes += count;
        if self.attributes > MAX_ATTRIBUTES {
            return Err(malformed("it has too many attributes"));
        }
        if self.depth + 1 > MAX_DEPTH_ELEMENTS {
            return Err(malformed("it is nested too deeply"));
        }
        self.depth += usize::from(!empty);
        Ok(())
    }

    fn count_declaration(&mut self, name: &[u8], value: &[u8]) -> Result<(), SignatureError> {
        let prefixed = name.starts_with(b"xmlns:");
        if prefixed && value.is_empty() {
            return Err(malformed("it takes a namespace prefix back"));
        }
        let declares = prefixed || name == b"xmlns";
        if declares && value.len() > MAX_NAME_BYTES {
            return Err(malformed("a namespace is too long"));
        }
        if name.ends_with(b":xmlns") {
            // The parser would take x:xmlns for xmlns.
            return Err(malformed("an attribute has the name xmlns and a prefix"));
        }
        self.declarations += usize::from(declares);
        if self.declarations > MAX_NAMESPACE_DECLARATIONS {
            return Err(malformed("it declares too many namespaces"));
        }
        Ok(())
    }
}

/// Names are the parser's to judge, apart from what it lets through.
fn name_fits(name: &[u8]) -> Result<(), SignatureError> {
    match name {
        [b':', ..] => Err(malformed("a name begins with a colon")),
        name if name.len() > MAX_NAME_BYTES => Err(malformed("a name is too long")),
        _ => Ok(()),
    }
}

/// Bytes before the `>` that ends a tag, quotes respected.
pub(super) fn tag_length(from: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += from[at..].iter().position(|b| matches!(b, b'>' | b'"' | b'\''))?;
        if from[at] == b'>' {
            return Some(at);
        }
        at += 2 + from[at + 1..].iter().position(|b| *b == from[at])?;
    }
}

type NameAndValue<'a> = (&'a [u8], &'a [u8]);

/// The attributes of one tag, raw.
struct Tag<'a> {
    rest: &'a [u8],
}

impl<'a> Tag<'a> {
    fn attribute(&mut self) -> Result<Option<NameAndValue<'a>>, SignatureError> {
        let wrong = || malformed("an attribute is not of the form name=\"value\"");
        let trimmed = self.rest.trim_ascii_start();
        if trimmed.is_empty() {
            return Ok(None);
        }
        if trimmed.len() == self.rest.len() {
            return Err(wrong());
        }
        let equals = trimmed.iter().position(|b| matches!(b, b'=' | b'"' | b'\'' | b'<')).ok_or_else(wrong)?;
        let (name, after) = trimmed.split_at(equals);
        let after = after.strip_prefix(b"=").ok_or_else(wrong)?.trim_ascii_start();
        let (quote, after) = match after.split_first() {
            Some((q @ (b'"' | b'\''), after)) => (*q, after),
            _ => return Err(wrong()),
        };
        let end = after.iter().position(|b| *b == quote).ok_or_else(wrong)?;
        let (value, after) = (&after[..end], &after[end + 1..]);
        if value.contains(&b'<') {
            return Err(wrong());
        }
        self.rest = after;
        Ok(Some((name.trim_ascii_end(), value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Result<(), String> {
        prescan(text.as_bytes(), 1 << 20).map(|_| ()).map_err(|e| e.to_string())
    }

    #[test]
    fn plain_messages_pass() {
        for good in [
            "<a/>",
            "<?xml version='1.0' encoding=\"utf-8\" standalone='no'?>\n<a b='>' c=\"'/>\"><d>x &gt; y</d></a>\n",
            "\u{feff}<a xmlns='u' xmlns:b = 'v'><b:c/></a>",
        ] {
            assert_eq!(verdict(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_parsers_choke_on_or_disagree_about_is_refused() {
        let deep = "<a>".repeat(200_000);
        let wide = format!("<a {}/>", (0..100_000).map(|n| format!("b{n}='' ")).collect::<String>());
        let spaces = format!("<a>{}</a>", (0..65).map(|n| format!("<b xmlns:c{n}='u'/>")).collect::<String>());
        let many = format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS));
        let worded = format!("<a>{}</a>", "<b c='' d=''/>".repeat(MAX_ATTRIBUTES / 2 + 1));
        let (long, longer) = (format!("<{}/>", "n".repeat(MAX_NAME_BYTES + 1)), format!("<a {}é=''/>", "n".repeat(65_534)));
        for bad in [
            deep.as_str(),
            &wide,
            &spaces,
            &many,
            &worded,
            &long,
            &longer,
            "<!DOCTYPE a><a/>",
            "<a><!-- x --></a>",
            "<a><![CDATA[x]]></a>",
            "<a><?x y?></a>",
            " <?xml version='1.0'?><a/>",
            "<?xml version='1.1'?><a/>",
            "<?xml version='1.0' encoding='ISO-8859-1'?><a/>",
            "<?xml version='1.0' encoding='UTF-16'?><a/>",
            "<?xml encoding='UTF-8'?><a/>",
            "<?xml version='1.0'",
            "<a b='1' b='2'/>",
            "<a xmlns='u' xmlns='v'/>",
            "<a xmlns:p=''/>",
            "<a b=1/>",
            "<a b='<'/>",
            "<a b='1'c='2'/>",
            "<a>",
            "</a>",
            "<a",
            "<a b='",
            "<a>\u{1}</a>",
        ] {
            assert!(verdict(bad).is_err(), "{}", &bad[..bad.len().min(60)]);
        }
        let utf16: Vec<u8> = "\u{feff}<a/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(prescan(&utf16, 100).is_err());
        assert_eq!(prescan(b"<a/>", 3).unwrap_err(), SignatureError::TooLarge(3));
    }

    #[test]
    fn sixteen_mebibytes_of_anything_take_well_under_a_second_per_pass() {
        // No clock: what is checked is that nothing here is quadratic, which would take minutes.
        for piece in ["<", "\"", "<a b='", "='", "<a b='c'>", "</a>", "&", "xmlns:a='b' "] {
            let text = piece.repeat((MAX_MESSAGE_BYTES) / piece.len());
            let _ = prescan(text.as_bytes(), MAX_MESSAGE_BYTES);
            let _ = prescan(format!("<a {text}").as_bytes(), MAX_MESSAGE_BYTES + 3);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "[<>/?!'\"= a:xmlns]{0,80}") {
            let _ = (prescan(&bytes, 1000), prescan(text.as_bytes(), 1000));
        }
    }
}
