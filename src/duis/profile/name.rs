//! Whether two texts spell the same distinguished name (RFC 2253, and the forms of RFC 1779 it asks readers to accept):
//! `CN=Z1,OU=07`, `cn = Z1 ; OU=07`, `2.5.4.3=#13025a31`. No authority: a name only leads to a pinned certificate, whose key must
//! then verify. Promise: time linear in the texts, never a panic; what is no name equals nothing but itself.

use x509_cert::der::{Any, Decode, Tag, Tagged};

/// Keywords of attribute types as tools write them, and what they stand for. Any other keyword equals itself alone.
const KEYWORDS: &[(&str, &str)] = &[
    ("cn", "2.5.4.3"),
    ("l", "2.5.4.7"),
    ("st", "2.5.4.8"),
    ("s", "2.5.4.8"),
    ("o", "2.5.4.10"),
    ("ou", "2.5.4.11"),
    ("c", "2.5.4.6"),
    ("street", "2.5.4.9"),
    ("dc", "0.9.2342.19200300.100.1.25"),
    ("uid", "0.9.2342.19200300.100.1.1"),
    ("serialnumber", "2.5.4.5"),
    ("title", "2.5.4.12"),
    ("dnqualifier", "2.5.4.46"),
    ("x500uniqueidentifier", "2.5.4.45"),
    ("e", "1.2.840.113549.1.9.1"),
    ("emailaddress", "1.2.840.113549.1.9.1"),
];

/// The value of an attribute: a text, whichever ASN.1 string carried it, or other DER.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(Vec<u8>),
    Der(Vec<u8>),
}

/// What stands between two commas: one attribute or several, which have no order.
type RelativeName = Vec<(String, Value)>;

/// Whether both are the same name.
pub(super) fn same(one: &str, other: &str) -> bool {
    one == other || matches!((parse(one), parse(other)), (Some(a), Some(b)) if a == b)
}

fn parse(text: &str) -> Option<Vec<RelativeName>> {
    let mut parser = Parser { rest: text.as_bytes() };
    let mut names = Vec::new();
    let mut current = RelativeName::new();
    loop {
        let kind = parser.kind()?;
        current.push((kind, parser.value()?));
        let separator = parser.rest.split_off_first();
        if separator != Some(&b'+') {
            current.sort_unstable();
            names.push(std::mem::take(&mut current));
        }
        match separator {
            None => return Some(names),
            Some(b',' | b';' | b'+') => {}
            Some(_) => return None,
        }
    }
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl Parser<'_> {
    /// The attribute type, up to and with `=`.
    fn kind(&mut self) -> Option<String> {
        let end = self.rest.iter().position(|b| *b == b'=')?;
        let written = std::str::from_utf8(self.rest.split_off(..end)?).ok()?.trim_ascii().to_ascii_lowercase();
        self.rest.split_off_first();
        let written = written.strip_prefix("oid.").unwrap_or(&written);
        if written.is_empty() || !written.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')) {
            return None;
        }
        let known = KEYWORDS.iter().find(|(keyword, _)| *keyword == written);
        Some(known.map_or(written, |(_, oid)| oid).to_owned())
    }

    /// The value, up to the separator after it.
    fn value(&mut self) -> Option<Value> {
        self.rest = self.rest.trim_ascii_start();
        match self.rest.first() {
            Some(b'#') => self.der(),
            Some(b'"') => self.quoted(),
            _ => self.plain(),
        }
    }

    fn der(&mut self) -> Option<Value> {
        let end = self.rest.iter().position(|b| matches!(b, b',' | b';' | b'+')).unwrap_or(self.rest.len());
        let (pairs, odd) = self.rest.split_off(..end)?[1..].trim_ascii_end().as_chunks::<2>();
        let der = pairs.iter().map(hex).collect::<Option<Vec<u8>>>().filter(|_| odd.is_empty())?;
        let any = Any::from_der(&der).ok()?;
        Some(match any.tag() {
            Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString => Value::Text(any.value().to_vec()),
            _ => Value::Der(der),
        })
    }

    fn quoted(&mut self) -> Option<Value> {
        self.rest.split_off_first();
        let mut text = Vec::new();
        loop {
            match self.rest.split_off_first()? {
                b'"' => break,
                b'\\' => text.push(self.escaped()?),
                plain => text.push(*plain),
            }
        }
        self.rest = self.rest.trim_ascii_start();
        Some(Value::Text(text))
    }

    fn plain(&mut self) -> Option<Value> {
        let mut text = Vec::new();
        // Spaces at the end count only if they are escaped.
        let mut kept = 0;
        while let Some(byte) = self.rest.first().filter(|b| !matches!(b, b',' | b';' | b'+')) {
            self.rest.split_off_first();
            match byte {
                b'"' => return None,
                b'\\' => text.push(self.escaped()?),
                plain => text.push(*plain),
            }
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                kept = text.len();
            }
        }
        text.truncate(kept);
        Some(Value::Text(text))
    }

    /// What follows a backslash: two hexadecimal digits, or the character itself.
    fn escaped(&mut self) -> Option<u8> {
        if let Some(byte) = self.rest.first_chunk::<2>().and_then(hex) {
            self.rest = &self.rest[2..];
            return Some(byte);
        }
        self.rest.split_off_first().copied().filter(|b| b.is_ascii_punctuation() || *b == b' ')
    }
}

fn hex(pair: &[u8; 2]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_has_many_spellings() {
        for (pinned, spellings) in [
            (
                "CN=Z1,OU=07",
                &[
                    "CN=Z1, OU=07",
                    " cn = Z1 ; ou = 07 ",
                    "2.5.4.3=Z1,OID.2.5.4.11=07",
                    "oid.2.5.4.3=Z1,OU=07",
                    "CN=\"Z1\",OU=07",
                    "CN=\\5A1,OU=\\307",
                    "CN=#13025A31,OU=#0c023037",
                    "CN=\n Z1,\n OU=07",
                ][..],
            ),
            ("CN=a\\, b\\\\,OU=x+DC=y", &["CN=\"a, b\\\\\",DC=y+OU=x", "CN=a\\2c b\\5C, OU=x + DC=y"]),
            ("CN=\\ a\\ ", &["CN=\" a \"", "CN=\\20a\\20 ", "CN=#0C03206120"]),
            ("CN=é", &["CN=\\C3\\a9", "CN=#0c02c3a9"]),
            ("2.5.4.45=#030900AABB", &[]),
            ("E=a@b", &["emailAddress=a@b", "1.2.840.113549.1.9.1=#1603614062"]),
            ("CN=", &["CN=\"\"", "CN= "]),
        ] {
            for spelling in spellings {
                assert!(same(pinned, spelling) && same(spelling, pinned), "{pinned} {spelling}");
            }
            assert!(same(pinned, pinned), "{pinned}");
        }
    }

    #[test]
    fn other_names_are_others() {
        for (pinned, others) in [
            (
                "CN=Z1,OU=07",
                &[
                    "OU=07,CN=Z1",
                    "CN=Z1+OU=07",
                    "CN=z1,OU=07",
                    "CN=Z1,OU=7",
                    "CN=Z1",
                    "CN=Z1,OU=07,O=DCC",
                    "CN=Z1,OU=07,",
                    ",CN=Z1,OU=07",
                    "CN=Z1,,OU=07",
                    "CN=Z1\\,OU=07",
                    "CN=\"Z1,OU=07\"",
                    "CN=\"Z1,OU=07",
                    "CN=Z\u{00a0}1,OU=07",
                    "CN=Z\u{0031}\u{200b},OU=07",
                    "CN=Ｚ1,OU=07",
                    "CN=#0302005A,OU=07",
                    "CN=#13025A3,OU=07",
                    "CN=#13035A31,OU=07",
                    "CN=#,OU=07",
                    "CN=Z1\\,OU=07\\",
                    "=Z1,OU=07",
                    "C N=Z1,OU=07",
                    "CN=Z1\0,OU=07",
                    "CN=Z1\"\",OU=07",
                    "CN=\"Z1\"x,OU=07",
                    "",
                    "CN",
                    "*",
                ][..],
            ),
            ("CN=a\\ ", &["CN=a ", "CN=a"]),
            ("2.5.4.45=#030900AABB", &["2.5.4.45=#030900AABC", "2.5.4.45=AABB"]),
        ] {
            for other in others {
                assert!(!same(pinned, other) && !same(other, pinned), "{pinned} {other}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, name in "[CNOU=,;+#\"\\\\ 0-9a-f]{0,40}") {
            let _ = (same(&text, &name), same(&name, "CN=Z1,OU=07"));
        }

        #[test]
        fn what_the_certificate_crate_writes_is_understood(values in proptest::collection::vec("[ -~é]{1,12}", 1..4)) {
            let hexed = |v: &String| format!("CN=#0c{:02x}{}", v.len(), v.bytes().map(|b| format!("{b:02x}")).collect::<String>());
            let text = values.iter().map(hexed).collect::<Vec<_>>().join(",");
            let written = text.parse::<x509_cert::name::Name>().unwrap().to_string();
            proptest::prop_assert!(same(&text, &written), "{} {}", text, written);
        }
    }
}
