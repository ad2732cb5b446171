//! Small readers over a parsed message: the fields of an element, each taken once, and what is left over; the text of a leaf; a
//! value of a schema type. Every failure is a [`SignatureError::Content`] that names the element. Not a schema validator.

use std::{fmt::Display, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use roxmltree::Node;

use super::time::date_time;
use crate::{
    clock::Time,
    duis::{SR, SignatureError, UnknownElement, canonical, signature::DS},
    ids::DeviceId,
};

pub(super) type Read<T> = Result<T, SignatureError>;

pub(super) fn content(what: impl Into<String>) -> SignatureError {
    SignatureError::Content(what.into())
}

/// The child elements of an element, taken by name; what nobody took is not known here.
pub(super) struct Fields<'a, 'i> {
    of: Node<'a, 'i>,
    namespace: &'static str,
    left: Vec<Node<'a, 'i>>,
}

impl<'a, 'i> Fields<'a, 'i> {
    pub fn of(element: Node<'a, 'i>) -> Self {
        Fields::in_namespace(element, SR)
    }

    /// The same where the children are of another namespace.
    pub fn in_namespace(element: Node<'a, 'i>, namespace: &'static str) -> Self {
        Fields { of: element, namespace, left: element.children().filter(Node::is_element).collect() }
    }

    /// The only child of this name, if there is one; two are an error.
    pub fn take(&mut self, name: &str) -> Read<Option<Node<'a, 'i>>> {
        let is_it = |n: &Node<'_, '_>| n.has_tag_name((self.namespace, name));
        let Some(at) = self.left.iter().position(is_it) else { return Ok(None) };
        if self.left[at + 1..].iter().any(is_it) {
            return Err(content(format!("{} has two {name}", self.of.tag_name().name())));
        }
        Ok(Some(self.left.remove(at)))
    }

    pub fn need(&mut self, name: &str) -> Read<Node<'a, 'i>> {
        self.take(name)?.ok_or_else(|| content(format!("{} has no {name}", self.of.tag_name().name())))
    }

    /// All children of this name, however many.
    pub fn all(&mut self, name: &str) -> Vec<Node<'a, 'i>> {
        let (taken, left) = std::mem::take(&mut self.left).into_iter().partition(|n| n.has_tag_name((self.namespace, name)));
        self.left = left;
        taken
    }

    /// The text of a leaf, as it stands.
    pub fn text(&mut self, name: &str) -> Read<String> {
        self.need(name).and_then(text).map(str::to_owned)
    }

    pub fn text_if(&mut self, name: &str) -> Read<Option<String>> {
        self.take(name)?.map(|leaf| text(leaf).map(str::to_owned)).transpose()
    }

    /// The text of a leaf whose schema type collapses white space, kept as a text: hexBinary, integers of any size.
    pub fn collapsed(&mut self, name: &str) -> Read<String> {
        Ok(self.text(name)?.trim_ascii().to_owned())
    }

    /// A value whose schema type collapses white space: EUI, RequestID, numbers.
    pub fn value<T: FromStr<Err: Display>>(&mut self, name: &str) -> Read<T> {
        self.need(name).and_then(value)
    }

    pub fn value_if<T: FromStr<Err: Display>>(&mut self, name: &str) -> Read<Option<T>> {
        self.take(name)?.map(value).transpose()
    }

    /// One of a closed list of words; white space counts, as in the schema.
    pub fn word<T: FromStr<Err: Display>>(&mut self, name: &str) -> Read<T> {
        self.text(name)?.parse().map_err(|e| content(format!("{name}: {e}")))
    }

    /// One of two words.
    pub fn either(&mut self, name: &str, yes: &str, no: &str) -> Read<bool> {
        match self.need(name).and_then(text)? {
            t if t == yes => Ok(true),
            t if t == no => Ok(false),
            _ => Err(content(format!("{name} is neither {yes} nor {no}"))),
        }
    }

    pub fn time(&mut self, name: &str) -> Read<Time> {
        self.need(name).and_then(time)
    }

    pub fn time_if(&mut self, name: &str) -> Read<Option<Time>> {
        self.take(name)?.map(time).transpose()
    }

    /// Device IDs with commas between them (schema `DeviceIDList`).
    pub fn devices(&mut self, name: &str) -> Read<Vec<DeviceId>> {
        self.need(name).and_then(devices)
    }

    /// None where the element is missing.
    pub fn devices_if(&mut self, name: &str) -> Read<Vec<DeviceId>> {
        self.take(name)?.map_or(Ok(Vec::new()), devices)
    }

    /// `xs:base64Binary`.
    pub fn base64(&mut self, name: &str) -> Read<Vec<u8>> {
        self.need(name).and_then(base64)
    }

    /// The signature of a SMETS1 service provider is evidence: the message keeps it, nothing here reads it.
    pub fn pass_over_signature(&mut self) {
        self.left.retain(|n| !n.has_tag_name((DS, "Signature")));
    }

    /// Nothing but one element of DUIS.
    pub fn only(self) -> Read<Node<'a, 'i>> {
        match self.left[..] {
            [one] if one.tag_name().namespace() == Some(SR) => Ok(one),
            _ => Err(content(format!("{} must hold exactly one element of DUIS", self.of.tag_name().name()))),
        }
    }

    /// What nobody took.
    pub fn left(self) -> Vec<Node<'a, 'i>> {
        self.left
    }
}

/// The only child element, which must be of DUIS's namespace.
pub(super) fn only_element<'a, 'i>(of: Node<'a, 'i>) -> Read<Node<'a, 'i>> {
    Fields::of(of).only()
}

/// An element kept as it is.
pub(super) fn kept(element: Node<'_, '_>) -> UnknownElement {
    UnknownElement { name: element.tag_name().name().to_owned(), xml: canonical::exclusive(element) }
}

/// The text of a leaf, as it stands.
pub(super) fn text<'a>(leaf: Node<'a, '_>) -> Read<&'a str> {
    if leaf.children().any(|c| c.is_element()) {
        return Err(content(format!("{} must be a text", leaf.tag_name().name())));
    }
    Ok(leaf.text().unwrap_or(""))
}

pub(super) fn base64(leaf: Node<'_, '_>) -> Read<Vec<u8>> {
    let mut encoded = text(leaf)?.as_bytes().to_vec();
    encoded.retain(|b| !b.is_ascii_whitespace());
    STANDARD.decode(encoded).map_err(|_| content(format!("{} is not base64", leaf.tag_name().name())))
}

fn value<T: FromStr<Err: Display>>(leaf: Node<'_, '_>) -> Read<T> {
    text(leaf)?.trim_ascii().parse().map_err(|e| content(format!("{}: {e}", leaf.tag_name().name())))
}

fn time(leaf: Node<'_, '_>) -> Read<Time> {
    date_time(text(leaf)?.trim_ascii()).ok_or_else(|| content(format!("{} is not a time", leaf.tag_name().name())))
}

fn devices(leaf: Node<'_, '_>) -> Read<Vec<DeviceId>> {
    let text = text(leaf)?.trim_ascii();
    text.split(',').map(|id| id.parse().map_err(|e| content(format!("{}: {e}", leaf.tag_name().name())))).collect()
}
