//! Ed25519 key files in PEM: PKCS#8 private, SPKI public (contract, Images). Also what the audit key is made of.
//! Not who is trusted: that is `trust`. Promises: a private key is never overwritten, never readable by others, and a file
//! that others can read is not used.

use std::path::{Path, PathBuf};

use ed25519_dalek::{
    SigningKey, VerifyingKey,
    pkcs8::{self, DecodePrivateKey, EncodePrivateKey, EncodePublicKey, KeypairBytes, spki::der::pem::LineEnding},
};
use zeroize::Zeroizing;

use super::files::{self, FileError};
use crate::failure::Failure;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the private key {} can be read by others than its owner", path.display())]
    ReadableByOthers { path: PathBuf },
    #[error("{} is not an Ed25519 private key in PEM (PKCS#8)", path.display())]
    NotPrivateKey { path: PathBuf },
    #[error("{} is not an Ed25519 public key in PEM (SPKI)", path.display())]
    NotPublicKey { path: PathBuf },
    #[error("the system gives no random bytes")]
    NoRandomness,
}

impl From<KeyError> for Failure {
    fn from(e: KeyError) -> Failure {
        let message = e.to_string();
        match e {
            KeyError::File(FileError::TooLarge { .. }) => {
                Failure::failed(message).help("name a key made by `ppmid image keygen`")
            }
            KeyError::File(e) => e.into(),
            KeyError::ReadableByOthers { path } => Failure::failed(message).help(format!("run `chmod 600 {}`", path.display())),
            KeyError::NotPrivateKey { .. } => Failure::failed(message).help("name a key made by `ppmid image keygen`"),
            KeyError::NotPublicKey { .. } => {
                Failure::failed(message).help("name the public key: `ppmid image keygen --public-out` writes it")
            }
            KeyError::NoRandomness => Failure::failed(message).help("try again once the system has started up"),
        }
    }
}

/// A new key from the system's randomness.
pub fn generate() -> Result<SigningKey, KeyError> {
    let mut seed = Zeroizing::new([0u8; 32]);
    aws_lc_rs::rand::fill(seed.as_mut()).map_err(|_| KeyError::NoRandomness)?;
    Ok(SigningKey::from_bytes(&seed))
}

/// The private key as a file: PKCS#8 version 1, which every tool reads.
pub fn private_pem(key: &SigningKey) -> Zeroizing<String> {
    let bytes = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
    bytes.to_pkcs8_pem(LineEnding::LF).expect("32 bytes are always a key")
}

/// The public key as a file: SPKI.
pub fn public_pem(key: &VerifyingKey) -> String {
    key.to_public_key_pem(LineEnding::LF).expect("32 bytes are always a key")
}

/// The public key as `trust.toml` has it: base64 of the SPKI DER.
pub fn public_base64(key: &VerifyingKey) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(key.to_public_key_der().expect("32 bytes are always a key"))
}

/// Reads `public_base64`'s text; `None` where it is anything else.
pub fn parse_public_base64(text: &str) -> Option<VerifyingKey> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    pkcs8::DecodePublicKey::from_public_key_der(&STANDARD.decode(text).ok()?).ok()
}

/// Writes a private key to a file that must not be there yet, readable by its owner alone.
pub fn write_private(path: &Path, key: &SigningKey) -> Result<(), KeyError> {
    Ok(files::create_new(path, private_pem(key).as_bytes(), true, "the private key")?)
}

/// Writes a public key to a file that must not be there yet.
pub fn write_public(path: &Path, key: &VerifyingKey) -> Result<(), KeyError> {
    Ok(files::create_new(path, public_pem(key).as_bytes(), false, "the public key")?)
}

/// Reads a private key that nobody but its owner can read.
pub fn read_private(path: &Path) -> Result<SigningKey, KeyError> {
    let (bytes, others) = files::read_key(path)?;
    let bytes = Zeroizing::new(bytes);
    if others {
        return Err(KeyError::ReadableByOthers { path: path.to_path_buf() });
    }
    let wrong = || KeyError::NotPrivateKey { path: path.to_path_buf() };
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong())?;
    SigningKey::from_pkcs8_pem(text).map_err(|_| wrong())
}

/// Reads a public key; who may read the file does not matter.
pub fn read_public(path: &Path) -> Result<VerifyingKey, KeyError> {
    let (bytes, _) = files::read_key(path)?;
    let wrong = || KeyError::NotPublicKey { path: path.to_path_buf() };
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong())?;
    pkcs8::DecodePublicKey::from_public_key_pem(text).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        let key = generate().unwrap();
        write_private(&path, &key).unwrap();
        assert_eq!(read_private(&path).unwrap(), key);
        assert!(matches!(write_private(&path, &key), Err(KeyError::File(FileError::Exists { .. }))));
        assert_eq!(parse_public_base64(&public_base64(&key.verifying_key())), Some(key.verifying_key()));
        assert!(public_pem(&key.verifying_key()).starts_with("-----BEGIN PUBLIC KEY-----"));
        assert_ne!(key, generate().unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        write_private(&path, &generate().unwrap()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read_private(&path), Err(KeyError::ReadableByOthers { .. })));
        }
    }

    #[test]
    fn what_is_no_private_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let public = public_pem(&generate().unwrap().verifying_key());
        for (n, text) in
            ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &public].iter().enumerate()
        {
            let path = dir.path().join(n.to_string());
            files::create_new(&path, text.as_bytes(), true, "a key").unwrap();
            assert!(matches!(read_private(&path), Err(KeyError::NotPrivateKey { .. })), "{text}");
        }
        assert_eq!(public_pem(&read_public(&dir.path().join("3")).unwrap()), public);
        for n in ["0", "1", "2"] {
            assert!(matches!(read_public(&dir.path().join(n)), Err(KeyError::NotPublicKey { .. })), "{n}");
        }
        for text in ["", "AAAA", "é", "MCowBQYDK2VwAyEA"] {
            assert!(parse_public_base64(text).is_none());
        }
    }
}
