//! `summary.html`: a plain page for people, without script, pictures or anything from elsewhere. Only puts out what it is given.
//! Promise: text is text; nothing in a name or a note becomes markup.

use std::fmt::Write;

/// The page: facts, then tables.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub title: String,
    pub facts: Vec<(&'static str, String)>,
    pub tables: Vec<Table>,
}

#[derive(Debug, Clone, Default)]
pub struct Table {
    pub title: &'static str,
    /// A sentence above it; empty: none.
    pub note: String,
    pub headers: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

const STYLE: &str = "body{font-family:sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse;margin:.5em 0 1.5em}\
                     th,td{border:1px solid #999;padding:.2em .6em;text-align:left;vertical-align:top}th{background:#eee}";

impl Page {
    pub fn html(&self) -> String {
        let title = escaped(&self.title);
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en-GB\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<table>\n"
        );
        for (name, value) in &self.facts {
            let _ = writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", escaped(name), escaped(value));
        }
        out += "</table>\n";
        for table in &self.tables {
            table.put(&mut out);
        }
        out + "</body>\n</html>\n"
    }
}

impl Table {
    fn put(&self, out: &mut String) {
        let _ = writeln!(out, "<h2>{}</h2>", escaped(self.title));
        if !self.note.is_empty() {
            let _ = writeln!(out, "<p>{}</p>", escaped(&self.note));
        }
        if self.rows.is_empty() {
            *out += "<p>none</p>\n";
            return;
        }
        let heads: String = self.headers.iter().map(|h| format!("<th>{}</th>", escaped(h))).collect();
        let _ = writeln!(out, "<table>\n<tr>{heads}</tr>");
        for row in &self.rows {
            let cells: String = row.iter().map(|c| format!("<td>{}</td>", escaped(c))).collect();
            let _ = writeln!(out, "<tr>{cells}</tr>");
        }
        *out += "</table>\n";
    }
}

/// As text of a page or of an attribute. Control characters are spelled out: a browser would leave them out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        let nasty = "</td><script>alert('x')</script>&amp;\"\u{0}\n".to_string();
        let table = Table { title: "<b>", note: nasty.clone(), headers: vec!["<i>"], rows: vec![vec![nasty.clone()]] };
        let page = Page { title: nasty.clone(), facts: vec![("a", nasty)], tables: vec![table] };
        let html = page.html();
        for piece in ["<script", "</td><s", "alert('", "<b>", "<i>", "\0"] {
            assert!(!html.contains(piece), "{piece}: {html}");
        }
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;amp;&quot;\\u{0}\\n"));
    }
}
