//! Canonical XML: inclusive C14N 1.0 of a whole document (what the document's digest is over) and exclusive C14N of one
//! element (what the signature is over), limited to what [`super::prescan`] lets through: elements, attributes, namespaces and
//! text. No comments, processing instructions or DTDs, so none of their rules. Promise: agrees with `xmllint --c14n` there.

use std::ops::Range;

use roxmltree::{Attribute, Document, Node};

use super::prescan::tag_length;

/// Canonical XML 1.0 of the document, as if the subtree of `without` were not there (the enveloped-signature transform).
pub(in crate::duis) fn inclusive(document: &Document<'_>, without: Option<Node<'_, '_>>) -> String {
    let mut canon = Canon {
        source: document.input_text(),
        out: String::with_capacity(document.input_text().len() + 64),
        without,
        exclusive: false,
        rendered: Vec::new(),
    };
    canon.element(document.root_element());
    canon.out
}

/// Exclusive Canonical XML 1.0 of one element and what is in it, with no InclusiveNamespaces.
pub(in crate::duis) fn exclusive(element: Node<'_, '_>) -> String {
    let mut canon = Canon {
        source: element.document().input_text(),
        out: String::with_capacity(element.range().len() + 128),
        without: None,
        exclusive: true,
        rendered: Vec::new(),
    };
    canon.element(element);
    canon.out
}

struct Canon<'a, 'input> {
    source: &'a str,
    out: String,
    without: Option<Node<'a, 'input>>,
    exclusive: bool,
    /// Namespaces declared in the output so far, innermost last; the prefix of the default namespace is empty.
    rendered: Vec<(&'a str, &'a str)>,
}

impl<'a, 'input> Canon<'a, 'input> {
    /// Recursion is bounded by the prescan's depth.
    fn element(&mut self, node: Node<'a, 'input>) {
        let start_tag = start_tag(self.source, node.range());
        let name =
            &start_tag[..start_tag.find(|c: char| c.is_ascii_whitespace() || c == '/' || c == '>').unwrap_or(start_tag.len())];
        let mark = self.rendered.len();
        self.out.push('<');
        self.out.push_str(name);
        self.namespaces(node, start_tag, name);
        self.attributes(node);
        self.out.push('>');
        for child in node.children() {
            if child.is_element() {
                if Some(child) != self.without {
                    self.element(child);
                }
            } else if let Some(text) = child.text() {
                push_text(&mut self.out, text);
            }
        }
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
        self.rendered.truncate(mark);
    }

    fn namespaces(&mut self, node: Node<'a, 'input>, start_tag: &str, name: &'a str) {
        // Inclusive: nothing can change on an element whose tag declares nothing.
        if !self.exclusive && !self.rendered.is_empty() && !start_tag.contains("xmlns") {
            return;
        }
        let mut due: Vec<(&'a str, &'a str)> = Vec::new();
        if self.exclusive {
            let used = std::iter::once(prefix(name))
                .chain(node.attributes().filter_map(|a| Some(prefix(qname(self.source, &a))).filter(|p| !p.is_empty())));
            for used in used.filter(|p| *p != "xml") {
                let key = Some(used).filter(|p| !p.is_empty());
                due.push((used, node.lookup_namespace_uri(key).unwrap_or("")));
            }
            due.sort_unstable();
            due.dedup();
        } else {
            due.extend(node.namespaces().map(|n| (n.name().unwrap_or(""), n.uri())).filter(|(p, _)| *p != "xml"));
            due.sort_unstable();
        }
        for (prefix, uri) in due {
            let now = self.rendered.iter().rev().find(|(p, _)| *p == prefix).map_or("", |(_, u)| *u);
            if now == uri {
                continue;
            }
            self.out.push_str(if prefix.is_empty() { " xmlns" } else { " xmlns:" });
            self.out.push_str(prefix);
            self.out.push_str("=\"");
            push_attribute_value(&mut self.out, uri);
            self.out.push('"');
            self.rendered.push((prefix, uri));
        }
    }

    /// By namespace URI, then local name; those without a namespace come first.
    fn attributes(&mut self, node: Node<'a, 'input>) {
        let mut attributes: Vec<Attribute<'a, 'input>> = node.attributes().collect();
        attributes.sort_unstable_by_key(|a| (a.namespace().unwrap_or(""), a.name()));
        for attribute in &attributes {
            self.out.push(' ');
            self.out.push_str(qname(self.source, attribute));
            self.out.push_str("=\"");
            push_attribute_value(&mut self.out, attribute.value());
            self.out.push('"');
        }
    }
}

/// The start tag of the element at `range`, from after `<` up to its `>`.
fn start_tag(source: &str, range: Range<usize>) -> &str {
    let tag = &source[range.start + 1..range.end];
    &tag[..tag_length(tag.as_bytes()).unwrap_or(tag.len())]
}

/// The attribute's name as written, prefix and all.
fn qname<'a>(source: &'a str, attribute: &Attribute<'_, '_>) -> &'a str {
    source[attribute.range_qname()].trim_ascii()
}

fn prefix(qname: &str) -> &str {
    qname.split_once(':').map_or("", |(p, _)| p)
}

/// Text as canonical XML spells it.
pub(in crate::duis) fn push_text(out: &mut String, text: &str) {
    push_escaped(out, text, |b| match b {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'\r' => Some("&#xD;"),
        _ => None,
    });
}

/// An attribute's value as canonical XML spells it.
pub(in crate::duis) fn push_attribute_value(out: &mut String, value: &str) {
    push_escaped(out, value, |b| match b {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'"' => Some("&quot;"),
        b'\t' => Some("&#x9;"),
        b'\n' => Some("&#xA;"),
        b'\r' => Some("&#xD;"),
        _ => None,
    });
}

fn push_escaped(out: &mut String, text: &str, escape: impl Fn(u8) -> Option<&'static str>) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if let Some(escaped) = escape(byte) {
            out.push_str(&text[from..at]);
            out.push_str(escaped);
            from = at + 1;
        }
    }
    out.push_str(&text[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canon(text: &str) -> String {
        inclusive(&Document::parse(text).unwrap(), None)
    }

    #[test]
    fn order_namespaces_and_escapes_are_canonical() {
        let text = "<?xml version='1.0'?>\n<b:a  z = '1' xmlns:c='urn:c' c:y='&quot;&#10;&lt;>' xmlns:b='urn:b' xmlns='urn:d' b:x=''>\r\n\
                    &amp;&lt;&gt;&#13;'\"<b:e xmlns:b='urn:b' xmlns=''/><f xmlns='urn:d'/></b:a>\n";
        assert_eq!(
            canon(text),
            "<b:a xmlns=\"urn:d\" xmlns:b=\"urn:b\" xmlns:c=\"urn:c\" z=\"1\" b:x=\"\" c:y=\"&quot;&#xA;&lt;>\">\n\
             &amp;&lt;&gt;&#xD;'\"<b:e xmlns=\"\"></b:e><f></f></b:a>"
        );
    }

    #[test]
    fn what_is_left_out_leaves_its_surroundings() {
        let text = "<a>1<s><a/></s>2</a>";
        let document = Document::parse(text).unwrap();
        let signature = document.root_element().first_element_child();
        assert_eq!(inclusive(&document, signature), "<a>12</a>");
    }

    #[test]
    fn exclusive_form_declares_only_what_is_used() {
        let text = "<r xmlns='urn:r' xmlns:d='urn:d' xmlns:u='urn:u'><d:i a='1'><d:j u:b='2'/><k/></d:i></r>";
        let document = Document::parse(text).unwrap();
        let inner = document.root_element().first_element_child().unwrap();
        assert_eq!(
            exclusive(inner),
            "<d:i xmlns:d=\"urn:d\" a=\"1\"><d:j xmlns:u=\"urn:u\" u:b=\"2\"></d:j><k xmlns=\"urn:r\"></k></d:i>"
        );
    }

    #[test]
    fn canonical_form_is_its_own_canonical_form() {
        let once = canon("<a b='&#9;' xmlns='urn:x'>&#13;\n<c d:e='' xmlns:d='urn:d'/></a>");
        assert_eq!(canon(&once), once);
    }
}
