//! Small readers over a parsed message: one child of a name, the text of a leaf, a value of a schema type. Every failure is a
//! [`SignatureError::Content`] that names the element. Not a schema validator.

use std::{fmt::Display, str::FromStr};

use roxmltree::Node;

use super::{SignatureError, signature::SR};
use crate::{clock::Time, ids::DeviceId};

pub(super) type Read<T> = Result<T, SignatureError>;

pub(super) fn content(what: impl Into<String>) -> SignatureError {
    SignatureError::Content(what.into())
}

/// The only child of this name, if there is one; two are an error.
pub(super) fn child<'a, 'i>(of: Node<'a, 'i>, name: &str) -> Read<Option<Node<'a, 'i>>> {
    let mut found = of.children().filter(|n| n.has_tag_name((SR, name)));
    let first = found.next();
    match found.next() {
        None => Ok(first),
        Some(_) => Err(content(format!("{} has two {name}", of.tag_name().name()))),
    }
}

pub(super) fn need<'a, 'i>(of: Node<'a, 'i>, name: &str) -> Read<Node<'a, 'i>> {
    child(of, name)?.ok_or_else(|| content(format!("{} has no {name}", of.tag_name().name())))
}

/// The only child element, which must be of DUIS's namespace.
pub(super) fn only_element<'a, 'i>(of: Node<'a, 'i>) -> Read<Node<'a, 'i>> {
    let mut elements = of.children().filter(Node::is_element);
    match (elements.next(), elements.next()) {
        (Some(one), None) if one.tag_name().namespace() == Some(SR) => Ok(one),
        _ => Err(content(format!("{} must hold exactly one element of DUIS", of.tag_name().name()))),
    }
}

/// The text of a leaf, as it stands.
pub(super) fn text<'a>(leaf: Node<'a, '_>) -> Read<&'a str> {
    if leaf.children().any(|c| c.is_element()) {
        return Err(content(format!("{} must be a text", leaf.tag_name().name())));
    }
    Ok(leaf.text().unwrap_or(""))
}

pub(super) fn text_of<'a>(of: Node<'a, '_>, name: &str) -> Read<&'a str> {
    text(need(of, name)?)
}

/// A value whose schema type collapses white space: EUI, RequestID, numbers.
pub(super) fn value<T: FromStr<Err: Display>>(leaf: Node<'_, '_>) -> Read<T> {
    text(leaf)?.trim_ascii().parse().map_err(|e| content(format!("{}: {e}", leaf.tag_name().name())))
}

pub(super) fn value_of<T: FromStr<Err: Display>>(of: Node<'_, '_>, name: &str) -> Read<T> {
    value(need(of, name)?)
}

pub(super) fn value_if<T: FromStr<Err: Display>>(of: Node<'_, '_>, name: &str) -> Read<Option<T>> {
    child(of, name)?.map(value).transpose()
}

/// `xs:dateTime`; without a time zone it is UTC, as everything in DUIS.
pub(super) fn time(leaf: Node<'_, '_>) -> Read<Time> {
    let text = text(leaf)?.trim_ascii();
    let read = text.parse::<Time>().or_else(|e| format!("{text}Z").parse().map_err(|_| e));
    read.map_err(|e| content(format!("{}: {e}", leaf.tag_name().name())))
}

/// Device IDs with commas between them (schema `DeviceIDList`); none where the element is missing.
pub(super) fn devices_if(of: Node<'_, '_>, name: &str) -> Read<Vec<DeviceId>> {
    let Some(leaf) = child(of, name)? else { return Ok(Vec::new()) };
    text(leaf)?.trim_ascii().split(',').map(|id| id.parse().map_err(|e| content(format!("{name}: {e}")))).collect()
}

/// One of two words.
pub(super) fn either(leaf: Node<'_, '_>, yes: &str, no: &str) -> Read<bool> {
    match text(leaf)? {
        t if t == yes => Ok(true),
        t if t == no => Ok(false),
        _ => Err(content(format!("{} is neither {yes} nor {no}", leaf.tag_name().name()))),
    }
}
