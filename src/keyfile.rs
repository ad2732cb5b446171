//! Private key files, and other secrets: read only where nobody else can read them, and wiped from memory after use.

use std::{fs::File, io::Read, path::Path};

use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome};

/// A PEM key is a few hundred bytes; more is another file named by mistake.
const KEY_MAX_BYTES: u64 = 64 << 10;

/// Refuses a private key file that is absent, no regular file, or open to its group or to others.
pub fn check_private_key_file(path: &Path) -> Outcome {
    open(path).map(drop)
}

/// The bytes of a private key file that passes [`check_private_key_file`]; the very file that was checked is read.
pub fn read_private_key(path: &Path) -> Outcome<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    open(path)?.take(KEY_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| unreadable(path, &e))?;
    if bytes.len() as u64 > KEY_MAX_BYTES {
        return Err(Failure::failed(format!("{}: too long for a private key", path.display())).help("wanted: a PEM file, PKCS#8"));
    }
    Ok(bytes)
}

/// The secret in a file that passes the same checks, without white space at its end: what an editor adds is not part of it.
pub fn read_secret(path: &Path, least_bytes: usize) -> Outcome<Zeroizing<Vec<u8>>> {
    let about = |failure: Failure| Failure {
        message: failure.message.replace("the private key", "the secret").replace("a private key", "a secret"),
        ..failure
    };
    let mut bytes = read_private_key(path).map_err(about)?;
    let length = bytes.trim_ascii_end().len();
    bytes.truncate(length);
    if bytes.len() < least_bytes {
        return Err(Failure::failed(format!("{}: the secret has {} bytes", path.display(), bytes.len()))
            .help(format!("wanted: at least {least_bytes}, such as `openssl rand -hex {least_bytes}` writes")));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, e: &std::io::Error) -> Failure {
    let failure = Failure::failed(format!("{}: the private key cannot be read: {e}", path.display()));
    failure.help("check the path, which is relative to the configuration file, and that you may read it")
}

fn open(path: &Path) -> Outcome<File> {
    // A pipe would block on open, so look first; what counts is asked of the opened file again.
    let kind = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    let not_a_file = || Failure::failed(format!("{}: a private key must be a regular file", path.display()));
    if !kind.is_file() {
        return Err(not_a_file().help("name the PEM file itself"));
    }
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let opened = file.metadata().map_err(|e| unreadable(path, &e))?;
    if !opened.is_file() {
        return Err(not_a_file().help("name the PEM file itself"));
    }
    check_mode(path, &opened)?;
    Ok(file)
}

#[cfg(unix)]
fn check_mode(path: &Path, opened: &std::fs::Metadata) -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    const GROUP_AND_OTHERS: u32 = 0o077;
    let mode = opened.permissions().mode() & 0o777;
    if mode & GROUP_AND_OTHERS == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(Failure::failed(format!("{path}: the private key is open to others (mode {mode:04o})")).help(format!("chmod 600 {path}")))
}

#[cfg(not(unix))]
fn check_mode(_path: &Path, _opened: &std::fs::Metadata) -> Outcome {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.pem");
        std::fs::write(&path, b"secret").unwrap();
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o644, false), (0o660, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_private_key_file(&path).is_ok(), good, "{mode:o}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(&**read_private_key(&path).unwrap(), b"secret");
    }

    #[test]
    fn a_secret_is_long_enough_and_ends_where_its_text_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify.secret");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read_secret(&path, 8)
        };
        assert_eq!(&**write("12345678\r\n", 0o600).unwrap(), b"12345678");
        assert!(write("1234567\n", 0o600).unwrap_err().message.ends_with("the secret has 7 bytes"));
        assert!(write("12345678", 0o604).unwrap_err().message.contains("the secret is open to others"));
        std::fs::remove_file(&path).unwrap();
        assert!(read_secret(&path, 8).unwrap_err().message.contains("the secret cannot be read"));
    }

    #[test]
    fn what_is_no_key_file_says_so() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check_private_key_file(dir.path()).unwrap_err().message.contains("regular file"));
        assert!(check_private_key_file(&dir.path().join("none")).unwrap_err().message.contains("cannot be read"));
        let long = dir.path().join("long");
        std::fs::write(&long, vec![b'x'; 70_000]).unwrap();
        std::fs::set_permissions(&long, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read_private_key(&long).unwrap_err().message.contains("too long"));
    }
}
