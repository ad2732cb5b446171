//! The schema's word on requests: elements in their order, lengths, patterns and closed lists, as DUIS Schema V5.4 has them for
//! the header and for the four requests that are served. What the product's reader lets pass is not enough for a peer. Bodies of
//! other requests are only looked at for their name; they are refused anyway. Not the signature: it was verified before.

use roxmltree::{Document, Node};

use crate::ids::{DeviceId, RequestId};

pub const SR: &str = "http://www.dccinterface.co.uk/ServiceUserGateway";
const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// `UpdateFirmware/FirmwareImage`, maxLength.
const MAX_IMAGE_BYTES: usize = 10_240_000;
/// `UpdateFirmware/DeviceIDList`, maxLength.
const MAX_LIST_CHARS: usize = 1_199_999;
const DEVICE_CHARS: usize = 23;
/// `ServiceReference`: the part before the point, and what may follow it.
const SERVICE_REFERENCES: [(&str, &str); 12] = [
    ("1", "1 2 5 6 7"),
    ("2", "1 2 3 5"),
    ("3", "1 2 3 4 5"),
    ("4", "1 2 3 4 6 8 10 11 12 13 14 15 16 17 18"),
    ("5", "1 2 3"),
    ("6", "2 4 5 6 7 8 11 12 13 14 15 17 18 20 21 22 23 24 25 26 27 28 29 30 31 32"),
    ("7", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"),
    ("8", "1 2 3 4 5 6 7 8 9 11 12 13 14"),
    ("9", "1"),
    ("11", "1 2 3 4"),
    ("12", "1 2"),
    ("14", "1"),
];
/// `ServiceReferenceVariant`, the same way.
const SERVICE_REFERENCE_VARIANTS: [(&str, &str); 12] = [
    ("1", "1.1 1.2 2.1 2.2 5 6 7"),
    ("2", "1 2 3 5"),
    ("3", "1 2 3 4 5"),
    ("4", "1.1 1.2 1.3 1.4 2 3 4.2 4.3 4.4 4.5 6.1 6.2 8.1 8.2 8.3 10 11.1 11.2 12.1 12.2 13 14 15 16 17 18"),
    ("5", "1 2 3"),
    (
        "6",
        "2.1 2.2 2.3 2.4 2.5 2.7 2.8 2.9 2.10 4.1 4.2 5 6 7 8 11 12 13 14.1 14.2 14.3 15.1 15.2 17 18.1 18.2 20.1 20.2 21 22 \
         23 24.1 24.2 25 26 27 28 29 30 31 32",
    ),
    ("7", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"),
    ("8", "1.1 2 3 4 5 6 7.1 7.2 8.1 8.2 9 11 12.1 12.2 13 14.1 14.2 14.3 14.4"),
    ("9", "1"),
    ("11", "1 2 3 4"),
    ("12", "1 2"),
    ("14", "1"),
];

/// What in a request breaks the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

type Checked<T = ()> = Result<T, Violation>;

/// Checks a request whose signature was verified.
pub fn check_request(bytes: &[u8]) -> Checked {
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))?;
    let document = Document::parse(text.trim_start_matches('\u{feff}')).map_err(|e| wrong(e.to_string()))?;
    let root = document.root_element();
    if !root.has_tag_name((SR, "Request")) {
        return Err(wrong("the root is not a Request"));
    }
    attributes(root, &["schemaVersion"])?;
    decimal(root.attribute("schemaVersion").ok_or_else(|| wrong("Request has no schemaVersion"))?)?;
    let mut children = Children::of(root)?;
    header(children.need("Header")?)?;
    body(children.need("Body")?)?;
    if let Some(signature) = children.next.clone().next()
        && signature.has_tag_name((DS, "Signature"))
    {
        children.next.next();
    }
    children.end()
}

/// Whether the schema knows this `ServiceReference`: one that is not may not be repeated in an answer.
pub fn is_service_reference(text: &str) -> bool {
    listed(text, &SERVICE_REFERENCES)
}

pub fn is_service_reference_variant(text: &str) -> bool {
    listed(text, &SERVICE_REFERENCE_VARIANTS)
}

fn listed(text: &str, lists: &[(&str, &str)]) -> bool {
    let Some((group, rest)) = text.split_once('.') else { return false };
    lists.iter().any(|(name, members)| *name == group && members.split(' ').any(|member| member == rest))
}

fn header(header: Node<'_, '_>) -> Checked {
    attributes(header, &[])?;
    let mut children = Children::of(header)?;
    request_id(children.need("RequestID")?)?;
    if let Some(first) = children.maybe("FirstInSequence") {
        one_of(first, collapsed(first)?, &["true", "false", "1", "0"])?;
    }
    if let Some(preceding) = children.maybe("PrecedingServiceRequestID") {
        request_id(preceding)?;
    }
    let variant = children.need("CommandVariant")?;
    let number = collapsed(variant)?.strip_prefix('+').unwrap_or(collapsed(variant)?);
    if !number.bytes().all(|b| b.is_ascii_digit()) || !matches!(number.trim_start_matches('0').as_bytes(), [b'1'..=b'9']) {
        return Err(wrong("CommandVariant is not one of 1 to 9"));
    }
    let reference = children.need("ServiceReference")?;
    if !is_service_reference(text(reference)?) {
        return Err(wrong("ServiceReference is not one of the schema's"));
    }
    let variant = children.need("ServiceReferenceVariant")?;
    if !is_service_reference_variant(text(variant)?) {
        return Err(wrong("ServiceReferenceVariant is not one of the schema's"));
    }
    children.end()
}

fn body(body: Node<'_, '_>) -> Checked {
    attributes(body, &[])?;
    let mut children = Children::of(body)?;
    let request = children.next.next().ok_or_else(|| wrong("Body is empty"))?;
    children.end()?;
    if request.tag_name().namespace() != Some(SR) {
        return Err(wrong("the Body holds something that is not of DUIS"));
    }
    match request.tag_name().name() {
        "ReadInventory" => read_inventory(request),
        "UpdateFirmware" | "UpdatePPMIDFirmware" => update_firmware(request),
        "ReadFirmwareVersion" => read_firmware_version(request),
        _ => Ok(()),
    }
}

fn read_inventory(request: Node<'_, '_>) -> Checked {
    attributes(request, &[])?;
    let mut children = Children::of(request)?;
    let what = children.next.next().ok_or_else(|| wrong("ReadInventory asks for nothing"))?;
    children.end()?;
    match what.tag_name().name() {
        _ if what.tag_name().namespace() != Some(SR) => Err(wrong("ReadInventory asks for something that is not of DUIS")),
        "DeviceID" => device_id(what),
        "UPRN" => {
            let digits = collapsed(what)?.trim_start_matches('+').trim_start_matches('0');
            let good = (1..=12).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            if good { Ok(()) } else { Err(wrong("UPRN is not a number of 1 to 12 digits")) }
        }
        "MPxN" => chars(what, 1, 13),
        "PropertyFilter" => {
            attributes(what, &[])?;
            let mut children = Children::of(what)?;
            chars(children.need("PostCode")?, 6, 8)?;
            chars(children.need("AddressIdentifier")?, 0, 30)?;
            children.end()
        }
        other => Err(wrong(format!("ReadInventory cannot ask for {other}"))),
    }
}

fn update_firmware(request: Node<'_, '_>) -> Checked {
    attributes(request, &[])?;
    let mut children = Children::of(request)?;
    let image = children.need("FirmwareImage")?;
    if base64_bytes(text(image)?).ok_or_else(|| wrong("FirmwareImage is not base64"))? > MAX_IMAGE_BYTES {
        return Err(wrong(format!("FirmwareImage has more than {MAX_IMAGE_BYTES} bytes")));
    }
    chars(children.need("FirmwareVersion")?, 1, 8)?;
    let list = text(children.need("DeviceIDList")?)?;
    // The pattern allows no white space, and the type keeps it: " ID" is not an ID here.
    if list.len() > MAX_LIST_CHARS || !list.split(',').all(|id| id.len() == DEVICE_CHARS && id.parse::<DeviceId>().is_ok()) {
        return Err(wrong("DeviceIDList is not 1 to 50000 Device IDs with commas between them"));
    }
    children.end()
}

fn read_firmware_version(request: Node<'_, '_>) -> Checked {
    attributes(request, &[])?;
    let mut children = Children::of(request)?;
    if let Some(at) = children.maybe("ExecutionDateTime")
        && !is_date_time(collapsed(at)?)
    {
        return Err(wrong("ExecutionDateTime is not a date and time"));
    }
    children.end()
}

/// `xs:dateTime`, of the years that a clock here knows.
fn is_date_time(text: &str) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let Some((moment, rest)) = text.split_at_checked(SHAPE.len()) else { return false };
    let shaped = moment.bytes().zip(SHAPE).all(|(b, like)| if *like == b'0' { b.is_ascii_digit() } else { b == *like });
    let after = rest.strip_prefix('.').map_or(rest, |r| r.trim_start_matches(|c: char| c.is_ascii_digit()));
    let point_alone = rest.starts_with('.') && rest.len() - after.len() < 2;
    let zone = if after.is_empty() { "Z" } else { after };
    shaped && !point_alone && (zone == "Z" || zone.len() == 6) && format!("{moment}{zone}").parse::<crate::clock::Time>().is_ok()
}

/// The children of an element that holds elements only, to be taken in the schema's order.
struct Children<'a, 'input> {
    of: Node<'a, 'input>,
    next: std::iter::Peekable<std::vec::IntoIter<Node<'a, 'input>>>,
}

impl<'a, 'input> Children<'a, 'input> {
    fn of(of: Node<'a, 'input>) -> Checked<Self> {
        let mut elements = Vec::new();
        for child in of.children() {
            if child.is_element() {
                elements.push(child);
            } else if child.text().is_some_and(|t| !t.trim_ascii().is_empty()) {
                return Err(wrong(format!("{} holds text beside its elements", of.tag_name().name())));
            }
        }
        Ok(Children { of, next: elements.into_iter().peekable() })
    }

    fn maybe(&mut self, name: &str) -> Option<Node<'a, 'input>> {
        self.next.next_if(|node| node.has_tag_name((SR, name)))
    }

    fn need(&mut self, name: &str) -> Checked<Node<'a, 'input>> {
        let of = self.of.tag_name().name();
        self.maybe(name).ok_or_else(|| wrong(format!("{of} must have {name} here")))
    }

    fn end(mut self) -> Checked {
        match self.next.next() {
            None => Ok(()),
            Some(node) => Err(wrong(format!("{} must not have {} here", self.of.tag_name().name(), node.tag_name().name()))),
        }
    }
}

fn wrong(what: impl Into<String>) -> Violation {
    Violation(what.into())
}

/// No attributes but these; those of XMLSchema-instance are allowed everywhere.
fn attributes(of: Node<'_, '_>, allowed: &[&str]) -> Checked {
    let stranger = of.attributes().find(|a| match a.namespace() {
        None => !allowed.contains(&a.name()),
        Some(namespace) => namespace != XSI,
    });
    match stranger {
        None => Ok(()),
        Some(a) => Err(wrong(format!("{} must not have the attribute {}", of.tag_name().name(), a.name()))),
    }
}

/// The text of a leaf, white space as it is.
fn text<'a>(leaf: Node<'a, '_>) -> Checked<&'a str> {
    attributes(leaf, &[])?;
    if leaf.children().any(|c| c.is_element()) {
        return Err(wrong(format!("{} must hold text alone", leaf.tag_name().name())));
    }
    Ok(leaf.text().unwrap_or(""))
}

/// The text of a leaf whose type drops the white space around it.
fn collapsed<'a>(leaf: Node<'a, '_>) -> Checked<&'a str> {
    Ok(text(leaf)?.trim_matches([' ', '\t', '\n', '\r']))
}

fn one_of(leaf: Node<'_, '_>, text: &str, words: &[&str]) -> Checked {
    if words.contains(&text) {
        Ok(())
    } else {
        Err(wrong(format!("{} is not one of {}", leaf.tag_name().name(), words.join(", "))))
    }
}

fn chars(leaf: Node<'_, '_>, least: usize, most: usize) -> Checked {
    match text(leaf)?.chars().count() {
        n if (least..=most).contains(&n) => Ok(()),
        n => Err(wrong(format!("{} has {n} characters, not {least} to {most}", leaf.tag_name().name()))),
    }
}

fn request_id(leaf: Node<'_, '_>) -> Checked {
    let good = collapsed(leaf)?.parse::<RequestId>().is_ok();
    if good { Ok(()) } else { Err(wrong(format!("{} is not EUI:EUI:counter", leaf.tag_name().name()))) }
}

fn device_id(leaf: Node<'_, '_>) -> Checked {
    if collapsed(leaf)?.parse::<DeviceId>().is_ok() { Ok(()) } else { Err(wrong("DeviceID is not an EUI-64")) }
}

/// `xs:decimal`.
fn decimal(text: &str) -> Checked {
    let text = text.trim_ascii();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let good = !(whole.is_empty() && part.is_empty()) && whole.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit());
    if good { Ok(()) } else { Err(wrong("schemaVersion is not a decimal number")) }
}

/// How many bytes `xs:base64Binary` stands for, without decoding them all again.
fn base64_bytes(text: &str) -> Option<usize> {
    let significant = || text.bytes().filter(|b| !b.is_ascii_whitespace());
    let length = significant().count();
    let padding = significant().rev().take_while(|b| *b == b'=').count();
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    let last = significant().rev().nth(padding);
    // The bits that the last character has too many must be zero.
    let clean = match padding {
        0 => true,
        1 => last.is_some_and(|b| b"AEIMQUYcgkosw048".contains(&b)),
        2 => last.is_some_and(|b| b"AQgw".contains(&b)),
        _ => false,
    };
    let good = length % 4 == 0 && clean && significant().take(length - padding).all(alphabet);
    good.then(|| length / 4 * 3 - padding)
}

#[cfg(test)]
mod tests;
