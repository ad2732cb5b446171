//! DSSE envelopes with Ed25519 signatures (contract, Images): writing, reading, signing and checking one signature.
//! Pure. Not who is trusted: that is `trust`. Promise: what a signature covers is the payload type and the payload bytes
//! exactly as they are in the envelope (DSSE's pre-authentication encoding), never a second rendering of them.

use base64::{Engine as _, engine::general_purpose};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// The contract's type of payload.
pub const PAYLOAD_TYPE: &str = "application/vnd.ppmid.firmware+json";
/// The largest manifest file that is read: the sample is under 2 KB, and a list of a few thousand versions still fits.
pub const MAX_ENVELOPE_BYTES: u64 = 1024 * 1024;
/// More signers than any release has; bounds the work a hostile envelope can ask for.
const MAX_SIGNATURES: usize = 64;

/// Why a text is not an envelope of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DsseError {
    #[error("the manifest is not a DSSE envelope: {0}")]
    Json(String),
    #[error("the manifest's payloadType is {found:?}, not {wanted:?}")]
    PayloadType { found: String, wanted: &'static str },
    #[error("the manifest's payload is not base64")]
    Payload,
    #[error("the manifest carries {found} signatures; up to {MAX_SIGNATURES} are read")]
    TooManySignatures { found: usize },
}

/// Lower-case hexadecimal SHA-256 of a raw 32-byte public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(crate::ids::Sha256Hash);

impl KeyId {
    pub fn of(key: &VerifyingKey) -> KeyId {
        KeyId(super::sha256(key.as_bytes()))
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for KeyId {
    type Err = crate::ids::IdError;

    fn from_str(s: &str) -> Result<KeyId, Self::Err> {
        Ok(KeyId(s.parse().map_err(|_| crate::ids::IdError::new(s, "a keyid: 64 hexadecimal digits"))?))
    }
}

impl Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// One signature as written. Both texts are the signer's claim: a wrong one counts for nothing and harms no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeSignature {
    #[serde(default)]
    pub keyid: String,
    pub sig: String,
}

/// An envelope whose payload has been decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is: [`PAYLOAD_TYPE`], or another room's.
    pub payload_type: &'static str,
    pub payload: Vec<u8>,
    pub signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    payload_type: String,
    payload: String,
    signatures: Vec<EnvelopeSignature>,
}

impl Envelope {
    pub fn new(payload: Vec<u8>) -> Envelope {
        Envelope::of(PAYLOAD_TYPE, payload)
    }

    /// An envelope of another type of payload.
    pub fn of(payload_type: &'static str, payload: Vec<u8>) -> Envelope {
        Envelope { payload_type, payload, signatures: Vec::new() }
    }

    pub fn from_json(text: &[u8]) -> Result<Envelope, DsseError> {
        Envelope::from_json_of(PAYLOAD_TYPE, text)
    }

    /// Reads an envelope that must be of this type of payload.
    pub fn from_json_of(wanted: &'static str, text: &[u8]) -> Result<Envelope, DsseError> {
        let written: Written = serde_json::from_slice(text).map_err(|e| DsseError::Json(e.to_string()))?;
        if written.payload_type != wanted {
            return Err(DsseError::PayloadType { found: written.payload_type.chars().take(80).collect(), wanted });
        }
        let payload = decoded(&written.payload).ok_or(DsseError::Payload)?;
        let envelope = Envelope { payload_type: wanted, payload, signatures: written.signatures };
        envelope.within_bounds()?;
        Ok(envelope)
    }

    /// Whether it has no more signatures than are read back.
    pub fn within_bounds(&self) -> Result<(), DsseError> {
        match self.signatures.len() {
            found if found > MAX_SIGNATURES => Err(DsseError::TooManySignatures { found }),
            _ => Ok(()),
        }
    }

    /// The file: JSON on several lines, ending with a newline.
    pub fn to_json(&self) -> String {
        let written = Written {
            payload_type: self.payload_type.to_string(),
            payload: general_purpose::STANDARD.encode(&self.payload),
            signatures: self.signatures.clone(),
        };
        serde_json::to_string_pretty(&written).expect("strings are always JSON") + "\n"
    }

    /// Adds `key`'s signature; an earlier one of the same key is replaced.
    pub fn sign(&mut self, key: &SigningKey) {
        let keyid = KeyId::of(&key.verifying_key()).to_string();
        let sig = general_purpose::STANDARD.encode(key.sign(&self.signed_bytes()).to_bytes());
        self.signatures.retain(|s| s.keyid != keyid);
        self.signatures.push(EnvelopeSignature { keyid, sig });
    }

    /// Whether `signature` is `key`'s over this envelope. Strict: no malleable encodings, no weak keys.
    pub fn is_signed_by(&self, key: &VerifyingKey, signature: &EnvelopeSignature) -> bool {
        let Some(Ok(signature)) = decoded(&signature.sig).map(|bytes| Signature::from_slice(&bytes)) else { return false };
        key.verify_strict(&self.signed_bytes(), &signature).is_ok()
    }

    fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication_encoding(self.payload_type, &self.payload)
    }
}

/// DSSE's PAE: `DSSEv1 SP len(type) SP type SP len(payload) SP payload`, lengths in decimal bytes.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend(payload);
    bytes
}

/// DSSE allows both alphabets of base64.
fn decoded(text: &str) -> Option<Vec<u8>> {
    general_purpose::STANDARD.decode(text).or_else(|_| general_purpose::URL_SAFE.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_the_one_of_the_dsse_specification() {
        let pae = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(pae, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn a_signature_holds_for_its_key_and_payload_alone() {
        let (key, other) = (SigningKey::from_bytes(&[7; 32]), SigningKey::from_bytes(&[8; 32]));
        let mut envelope = Envelope::new(b"{}".to_vec());
        envelope.sign(&key);
        let signature = envelope.signatures[0].clone();
        assert_eq!(signature.keyid, KeyId::of(&key.verifying_key()).to_string());
        assert!(envelope.is_signed_by(&key.verifying_key(), &signature));
        assert!(!envelope.is_signed_by(&other.verifying_key(), &signature));
        let tampered = Envelope { payload: b"{ }".to_vec(), ..envelope.clone() };
        assert!(!tampered.is_signed_by(&key.verifying_key(), &signature));
        for sig in ["", "!", "AAAA"] {
            let signature = EnvelopeSignature { keyid: String::new(), sig: sig.into() };
            assert!(!envelope.is_signed_by(&key.verifying_key(), &signature));
        }
        envelope.sign(&key);
        assert_eq!(envelope.signatures.len(), 1, "a key signs once");
    }

    #[test]
    fn an_envelope_is_read_back_in_either_alphabet() {
        let mut envelope = Envelope::new(vec![0xFB, 0xFF, 0xFE, 0x00]);
        envelope.sign(&SigningKey::from_bytes(&[7; 32]));
        let text = envelope.to_json();
        assert_eq!(Envelope::from_json(text.as_bytes()).unwrap(), envelope);
        assert!(text.contains("+//+AA=="));
        assert_eq!(Envelope::from_json(text.replace("+//+AA==", "-__-AA==").as_bytes()).unwrap(), envelope);
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        let good = Envelope::new(b"{}".to_vec()).to_json();
        assert!(matches!(Envelope::from_json(b"not json"), Err(DsseError::Json(_))));
        assert!(matches!(Envelope::from_json(b"{}"), Err(DsseError::Json(_))));
        let e = Envelope::from_json(good.replace("ppmid.firmware", "in-toto").as_bytes()).unwrap_err();
        assert!(matches!(e, DsseError::PayloadType { .. }));
        assert!(Envelope::from_json_of("application/vnd.ppmid.evidence+json", good.as_bytes()).is_err());
        assert_eq!(Envelope::from_json(good.replace("e30=", "e30*").as_bytes()), Err(DsseError::Payload));
        let mut many = Envelope::new(vec![]);
        many.signatures = vec![EnvelopeSignature { keyid: "k".into(), sig: "s".into() }; MAX_SIGNATURES + 1];
        assert!(matches!(Envelope::from_json(many.to_json().as_bytes()), Err(DsseError::TooManySignatures { .. })));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = Envelope::from_json(text.as_bytes());
        }
    }
}
