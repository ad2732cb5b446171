//! The signature profile of DUIS: what a message must be before a word of it is believed. Everything else is refused. This head is
//! the map for a reviewer; the order of reading is that of a message: [`prescan`], [`verify`], `shape`, [`canonical`].
//!
//! | rule | kept by |
//! | --- | --- |
//! | 1 one Reference, URI="", the enveloped-signature transform alone; inclusive C14N of the document, exclusive of SignedInfo | `shape::signed_digest`; `verify::verify`, [`canonical::inclusive`], [`canonical::exclusive`] |
//! | 2 no white space between elements in what we send | `seal::Writer` (there is no way to write any); `read::read_request` refuses it |
//! | 3 SignatureValue is raw r and s, white space in its base64 passed over | `shape::base64` |
//! | 4 KeyInfo is X509IssuerSerial; it leads to a pinned certificate, of a set that is one role's | `shape::SignatureParts`, `name::same`, [`CertificateSet::find`], [`CertificateSet::of_dcc`] |
//! | 5 the signature that counts is the root's own child | `verify::find_signature` |
//! | 6 before any parser: size, UTF-8, no DTD, comment, instruction or entity, depth, attributes, namespaces | [`prescan::prescan`] |
//! | 7 what is read is the canonical bytes that were verified; nothing extra in the signature, no other algorithm | `verify::verify` (also of SignedInfo), `shape::children`, `shape::attributes`; the readers parse [`verify::Verified::canonical`] |
//! | 8 told apart by ResponseID or RequestID and kind, never by bytes or SignatureValue | `gateway::dedupe` |
//! | 9 unsigned: only the synchronous refusal of our own request, never a success | `read::read_unsigned_refusal`, asked by `gateway::http`, and of the replies that it kept by `gateway::inbox` |
//! | 10 whose message it is | `gateway::http` (the reply to this request), `app::settle` (a RequestID of ours) |
//! | 11 "seen already" counts only for what we posted | `app::answer` |
//!
//! Certificates ([`Certificate`]): P-256 keys that may sign, between their dates, of the holder that the configuration names.
//!
//! Why a fault of the parser or of the canonical form cannot make us believe what DCC did not sign: the digest is that of the bytes
//! we wrote as canonical, and these same bytes are parsed anew and read. A wrong canonical form fails the digest; it cannot pass it.
//! The forgeries are a table: `hostile_tests` and its snapshots.

pub(super) mod canonical;
mod certificate;
mod error;
mod name;
mod pinned;
pub(super) mod prescan;
mod shape;
pub(super) mod verify;

#[cfg(test)]
mod certificate_tests;

pub use certificate::{Certificate, CertificateError};
pub use error::SignatureError;
pub use pinned::{CertificateSet, Pinned};
pub use prescan::MAX_MESSAGE_BYTES;
pub use verify::named_signer;

pub(in crate::duis) const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
pub(in crate::duis) const EXCLUSIVE_C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
pub(in crate::duis) const ECDSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256";
pub(in crate::duis) const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
pub(in crate::duis) const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
