//! A certificate authority for trials and tests of mutual TLS: its certificate, intermediates below it, and certificates for
//! servers and clients. Its keys live as long as the value. Nobody but a trial trusts it.

use std::net::IpAddr;

use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair};
use sha2::{Digest, Sha256};
use x509_cert::{
    der::{
        Encode,
        asn1::{Ia5String, ObjectIdentifier, OctetString},
        oid::AssociatedOid,
    },
    ext::{
        Extension,
        pkix::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
            SubjectKeyIdentifier, name::GeneralName,
        },
    },
    name::Name,
};

use super::pki::{Claims, KeyAndCertificate, PkiError, certificate, name, new_key, pem_text, private_key_pem};
use crate::clock::Time;

const DAY_MILLIS: i64 = 86_400_000;
/// An authority made for a trial outlives it.
const VALIDITY_DAYS: i64 = 3_650;
/// As long as those of the usual authorities.
const KEY_IDENTIFIER_BYTES: usize = 20;
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// What a certificate may be shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Server,
    Client,
    /// A party that both listens and connects with one certificate.
    Both,
}

/// A certificate to be issued.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    pub common_name: &'a str,
    /// Host names and addresses it is good for.
    pub hosts: &'a [&'a str],
    pub purpose: Purpose,
    pub from: Time,
    pub until: Time,
}

impl<'a> Wanted<'a> {
    /// Valid from a day before `now`, for ten years.
    pub fn new(common_name: &'a str, hosts: &'a [&'a str], purpose: Purpose, now: Time) -> Wanted<'a> {
        let from = now.plus_millis(-DAY_MILLIS);
        Wanted { common_name, hosts, purpose, from, until: from.plus_millis(VALIDITY_DAYS * DAY_MILLIS) }
    }
}

/// An authority: a root, or an intermediate below another.
pub struct Authority {
    key: EcdsaKeyPair,
    subject: Name,
    /// Its own certificate; what those who trust it are given.
    pub certificate_pem: String,
    /// The certificates between what it issues and the root, its own first; empty for a root.
    chain_pem: String,
}

impl Authority {
    pub fn root(common_name: &str, now: Time) -> Result<Authority, PkiError> {
        let (key, subject) = (new_key()?, name(&format!("CN={common_name}"))?);
        let certificate_pem = authority_certificate(&key, &subject, &key, &subject, now)?;
        Ok(Authority { key, subject, certificate_pem, chain_pem: String::new() })
    }

    /// An authority below this one.
    pub fn intermediate(&self, common_name: &str, now: Time) -> Result<Authority, PkiError> {
        let (key, subject) = (new_key()?, name(&format!("CN={common_name}"))?);
        let certificate_pem = authority_certificate(&key, &subject, &self.key, &self.subject, now)?;
        let chain_pem = format!("{certificate_pem}{}", self.chain_pem);
        Ok(Authority { key, subject, certificate_pem, chain_pem })
    }

    /// A key with its certificate, which is followed by the intermediates.
    pub fn issue(&self, wanted: &Wanted<'_>) -> Result<KeyAndCertificate, PkiError> {
        let key = new_key()?;
        let hosts = wanted.hosts.iter().map(|host| match host.parse::<IpAddr>() {
            Ok(ip) => Ok(GeneralName::from(ip)),
            Err(_) => Ok(GeneralName::DnsName(Ia5String::new(host)?)),
        });
        let purposes = match wanted.purpose {
            Purpose::Server => vec![SERVER_AUTH],
            Purpose::Client => vec![CLIENT_AUTH],
            Purpose::Both => vec![SERVER_AUTH, CLIENT_AUTH],
        };
        let mut extensions = vec![
            extension(true, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
            extension(false, &ExtendedKeyUsage(purposes))?,
            issued_by(&self.key)?,
        ];
        if !wanted.hosts.is_empty() {
            extensions.push(extension(false, &SubjectAltName(hosts.collect::<Result<_, PkiError>>()?))?);
        }
        let claims = Claims {
            issuer: &self.subject,
            subject: &name(&format!("CN={}", wanted.common_name))?,
            from: wanted.from,
            until: wanted.until,
            extensions: &extensions,
        };
        let certificate = pem_text("CERTIFICATE", &certificate(&claims, &key, &self.key)?)?;
        Ok(KeyAndCertificate { key_pem: private_key_pem(&key)?, certificate_pem: format!("{certificate}{}", self.chain_pem) })
    }
}

fn authority_certificate(
    key: &EcdsaKeyPair,
    subject: &Name,
    issuer_key: &EcdsaKeyPair,
    issuer: &Name,
    now: Time,
) -> Result<String, PkiError> {
    let from = now.plus_millis(-DAY_MILLIS);
    let extensions = [
        extension(true, &BasicConstraints { ca: true, path_len_constraint: None })?,
        extension(true, &KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?,
        extension(false, &SubjectKeyIdentifier(key_identifier(key)?))?,
        issued_by(issuer_key)?,
    ];
    let until = from.plus_millis(VALIDITY_DAYS * DAY_MILLIS);
    let claims = Claims { issuer, subject, from, until, extensions: &extensions };
    pem_text("CERTIFICATE", &certificate(&claims, key, issuer_key)?)
}

/// RFC 5280, 4.2.1.2, by another digest than its example's.
fn key_identifier(key: &EcdsaKeyPair) -> Result<OctetString, PkiError> {
    Ok(OctetString::new(&Sha256::digest(key.public_key())[..KEY_IDENTIFIER_BYTES])?)
}

fn issued_by(issuer_key: &EcdsaKeyPair) -> Result<Vec<u8>, PkiError> {
    let key_identifier = Some(key_identifier(issuer_key)?);
    extension(false, &AuthorityKeyIdentifier { key_identifier, authority_cert_issuer: None, authority_cert_serial_number: None })
}

fn extension<E: AssociatedOid + Encode>(critical: bool, value: &E) -> Result<Vec<u8>, PkiError> {
    let extn_value = OctetString::new(value.to_der()?)?;
    Ok(Extension { extn_id: E::OID, critical, extn_value }.to_der()?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn openssl_builds_the_chain_of_two_levels() {
        let now: Time = "2026-11-23T12:00:00Z".parse().unwrap();
        let root = Authority::root("A trial's root", now).unwrap();
        let below = root.intermediate("A trial's issuer", now).unwrap();
        let wanted = Wanted::new("dcc.test", &["127.0.0.1", "localhost"], Purpose::Server, now);
        let made = below.issue(&wanted).unwrap();
        assert_eq!(made.certificate_pem.matches("BEGIN CERTIFICATE").count(), 2);
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        file("root.pem", &root.certificate_pem);
        file("issuer.pem", &below.certificate_pem);
        made.write_to(dir.path(), "k.pem", "c.pem").unwrap();
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
        let verify = "verify -attime 1795435200 -x509_strict -purpose sslserver -verify_ip 127.0.0.1 -CAfile root.pem -untrusted issuer.pem c.pem";
        let Some(said) = openssl(&verify.split(' ').collect::<Vec<_>>()) else { return };
        assert_eq!(said, "c.pem: OK\n");
        let of_certificate = openssl(&["x509", "-in", "c.pem", "-noout", "-pubkey"]);
        assert_eq!(openssl(&["pkey", "-in", "k.pem", "-pubout"]), of_certificate);
    }
}
