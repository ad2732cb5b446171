//! Test certificates, made at run time: P-256 keys and X.509 certificates of the shape DCC's key infrastructure issues
//! (issuer `CN=Z1,OU=07`, the EUI in the subject's x500UniqueIdentifier).
//! Not a certificate authority (`authority` is one): the issuer's key is made for one certificate and thrown away. Promise: what is written
//! here is read by `openssl` and by [`crate::duis::Certificate::from_pem`], and no existing file is ever overwritten.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use x509_cert::{
    der::{
        Any, Encode, Tag,
        asn1::{BitString, GeneralizedTime, ObjectIdentifier, OctetString, UtcTime},
        pem,
    },
    name::Name,
    serial_number::SerialNumber,
    time::{Time as X509Time, Validity},
};

use crate::{clock::Time, ids::Eui};

/// Issuer of every test certificate, RFC 2253.
pub const ISSUER: &str = "CN=Z1,OU=07";
/// Serial numbers are random; 126 bits keep them positive in 16 bytes, as in the industry's test set.
const SERIAL_BITS: u32 = 126;
/// A trial's certificate outlives the trial; longer than any rollout.
const VALIDITY_DAYS: i64 = 3_650;
const DAY_MILLIS: i64 = 86_400_000;
/// UTCTime ends with 2049 (RFC 5280, 4.1.2.5.1).
const UTC_TIME_ENDS_SECONDS: u64 = 2_524_608_000;
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
/// `digitalSignature` alone, as a DER BIT STRING.
const DIGITAL_SIGNATURE: [u8; 4] = [0x03, 0x02, 0x07, 0x80];

/// What the certificate's holder does (the subject's OU in the industry's test set).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// DCC's message signer (`OU=89`).
    Dcc,
    /// A service user (`OU=87`).
    User,
    /// A SMETS1 service provider; its `OU` is a guess.
    Provider,
}

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("cannot make a key")]
    Key,
    #[error("cannot encode a certificate: {0}")]
    Encode(#[from] x509_cert::der::Error),
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// A private key (PKCS#8) with its certificate, both PEM.
#[derive(Clone)]
pub struct KeyAndCertificate {
    pub key_pem: String,
    pub certificate_pem: String,
}

/// Makes a key and a certificate that names `eui`, valid from a day before `now`.
pub fn make(eui: Eui, holder: Holder, now: Time) -> Result<KeyAndCertificate, PkiError> {
    let (key, issuer_key) = (new_key()?, new_key()?);
    let from = now.plus_millis(-DAY_MILLIS);
    let usage = sequence(&[KEY_USAGE.to_der()?, true.to_der()?, OctetString::new(DIGITAL_SIGNATURE)?.to_der()?])?;
    let claims = Claims {
        issuer: &name(ISSUER)?,
        subject: &subject(eui, holder)?,
        from,
        until: from.plus_millis(VALIDITY_DAYS * DAY_MILLIS),
        extensions: &[usage],
    };
    let certificate = certificate(&claims, &key, &issuer_key)?;
    Ok(KeyAndCertificate { key_pem: private_key_pem(&key)?, certificate_pem: pem_text("CERTIFICATE", &certificate)? })
}

impl KeyAndCertificate {
    /// Writes the key (mode 0600) and the certificate under these names; a file that exists is an error.
    pub fn write_to(&self, dir: &Path, key_name: &str, certificate_name: &str) -> Result<(), PkiError> {
        write_new(&dir.join(key_name), &self.key_pem, 0o600)?;
        write_new(&dir.join(certificate_name), &self.certificate_pem, 0o644)
    }
}

/// Writes a certificate that has no key here, such as an authority's; a file that exists is an error.
pub fn write_certificate(dir: &Path, name: &str, certificate_pem: &str) -> Result<(), PkiError> {
    write_new(&dir.join(name), certificate_pem, 0o644)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().map_err(|source| PkiError::Write { path: path.to_owned(), source })
}

/// What a certificate says of its holder.
pub(super) struct Claims<'a> {
    pub issuer: &'a Name,
    pub subject: &'a Name,
    pub from: Time,
    pub until: Time,
    /// DER `Extension`s.
    pub extensions: &'a [Vec<u8>],
}

/// A certificate for `key`, signed by `issuer_key`, in DER (RFC 5280, version 3).
pub(super) fn certificate(claims: &Claims<'_>, key: &EcdsaKeyPair, issuer_key: &EcdsaKeyPair) -> Result<Vec<u8>, PkiError> {
    let to_be_signed = to_be_signed(claims, key)?;
    let signature = issuer_key.sign(&SystemRandom::new(), &to_be_signed).map_err(|_| PkiError::Key)?;
    let signature = BitString::from_bytes(signature.as_ref())?.to_der()?;
    sequence(&[to_be_signed, algorithm()?, signature])
}

fn to_be_signed(claims: &Claims<'_>, key: &EcdsaKeyPair) -> Result<Vec<u8>, PkiError> {
    let version = Any::new(Tag::ContextSpecific { constructed: true, number: x509_cert::der::TagNumber(0) }, [2, 1, 2])?;
    let validity = Validity::<x509_cert::certificate::Rfc5280>::new(x509_time(claims.from)?, x509_time(claims.until)?);
    let public = key.public_key().as_der().map_err(|_| PkiError::Key)?;
    let extensions =
        Any::new(Tag::ContextSpecific { constructed: true, number: x509_cert::der::TagNumber(3) }, sequence(claims.extensions)?)?;
    sequence(&[
        version.to_der()?,
        serial()?.to_der()?,
        algorithm()?,
        claims.issuer.to_der()?,
        validity.to_der()?,
        claims.subject.to_der()?,
        public.as_ref().to_vec(),
        extensions.to_der()?,
    ])
}

pub(super) fn new_key() -> Result<EcdsaKeyPair, PkiError> {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| PkiError::Key)
}

pub(super) fn private_key_pem(key: &EcdsaKeyPair) -> Result<String, PkiError> {
    pem_text("PRIVATE KEY", key.to_pkcs8v1().map_err(|_| PkiError::Key)?.as_ref())
}

fn serial() -> Result<SerialNumber, PkiError> {
    let mut bytes = [0u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| PkiError::Key)?;
    bytes[0] &= 0xFF >> (128 - SERIAL_BITS);
    // A leading zero byte would not be DER, and zero is no serial.
    bytes[0] |= 1;
    Ok(SerialNumber::new(&bytes)?)
}

fn subject(eui: Eui, holder: Holder) -> Result<Name, PkiError> {
    let unit = match holder {
        Holder::Dcc => "89",
        Holder::User => "87",
        Holder::Provider => "88",
    };
    // x500UniqueIdentifier is a BIT STRING: 9 bytes, no unused bits, then the EUI.
    name(&format!("2.5.4.45=#030900{:016X},OU={unit}", eui.0))
}

pub(super) fn name(text: &str) -> Result<Name, PkiError> {
    Ok(text.parse::<Name>()?)
}

fn x509_time(at: Time) -> Result<X509Time, PkiError> {
    let seconds = u64::try_from(at.0 / 1000).unwrap_or(0);
    let since = std::time::Duration::from_secs(seconds);
    Ok(match seconds < UTC_TIME_ENDS_SECONDS {
        true => X509Time::UtcTime(UtcTime::from_unix_duration(since)?),
        false => X509Time::GeneralTime(GeneralizedTime::from_unix_duration(since)?),
    })
}

fn algorithm() -> Result<Vec<u8>, PkiError> {
    sequence(&[ECDSA_WITH_SHA256.to_der()?])
}

fn sequence(parts: &[Vec<u8>]) -> Result<Vec<u8>, PkiError> {
    Ok(Any::new(Tag::Sequence, parts.concat())?.to_der()?)
}

pub(super) fn pem_text(label: &'static str, der: &[u8]) -> Result<String, PkiError> {
    pem::encode_string(label, pem::LineEnding::LF, der).map_err(|e| PkiError::Encode(e.into()))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, process::Command};

    use super::*;

    const DCC: Eui = Eui(0x90B3_D51F_3000_0002);

    fn now() -> Time {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_certificate_has_the_parts_that_name_its_signer() {
        use x509_cert::der::DecodePem;
        let made = make(DCC, Holder::Dcc, now()).unwrap();
        let read = x509_cert::Certificate::from_pem(&made.certificate_pem).unwrap();
        let tbs = read.tbs_certificate();
        assert_eq!(tbs.issuer().to_string(), ISSUER);
        assert!(tbs.serial_number().as_bytes().len() == 16 && tbs.serial_number().as_bytes()[0] < 0x40);
        let text = tbs.subject().to_string();
        assert!(text.contains("OU=89") && text.to_uppercase().contains("#03090090B3D51F30000002"), "{text}");
        assert_eq!(tbs.validity().not_before.to_string(), "2026-11-22T12:00:00Z");
    }

    #[test]
    fn the_key_file_is_private_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let made = make(DCC, Holder::Dcc, now()).unwrap();
        made.write_to(dir.path(), "dcc.key.pem", "dcc.pem").unwrap();
        let mode = std::fs::metadata(dir.path().join("dcc.key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(made.write_to(dir.path(), "dcc.key.pem", "dcc.pem"), Err(PkiError::Write { .. })));
    }

    #[test]
    fn openssl_reads_what_is_written_and_the_key_belongs_to_the_certificate() {
        let dir = tempfile::tempdir().unwrap();
        make(DCC, Holder::User, now()).unwrap().write_to(dir.path(), "k.pem", "c.pem").unwrap();
        let openssl = |args: &[&str]| match Command::new("openssl").args(args).current_dir(dir.path()).output() {
            Ok(out) => {
                assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
                Some(String::from_utf8(out.stdout).unwrap())
            }
            Err(_) => {
                eprintln!("SKIPPED: openssl is not installed");
                None
            }
        };
        let Some(text) = openssl(&["x509", "-in", "c.pem", "-noout", "-text"]) else { return };
        for wanted in
            ["Issuer: OU = 07, CN = Z1", "x500UniqueIdentifier = #03090090B3D51F30000002", "prime256v1", "Digital Signature"]
        {
            assert!(text.replace(" = ", "=").contains(&wanted.replace(" = ", "=")), "{wanted} in {text}");
        }
        let of_certificate = openssl(&["x509", "-in", "c.pem", "-noout", "-pubkey"]);
        assert_eq!(openssl(&["pkey", "-in", "k.pem", "-pubout"]), of_certificate);
    }
}
