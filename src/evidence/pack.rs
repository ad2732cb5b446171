//! Writes a pack: entries by name, one behind the other, then the manifest and its signature. Promise: what is written is a pack that
//! [`super::verify()`] passes for the key that signed it, and the same entries and key give the same bytes.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use ed25519_dalek::SigningKey;
use flate2::Crc;
use sha2::{Digest, Sha256};

use super::{
    MANIFEST, SIGNATURE,
    archive::{self, Method, Record},
    manifest::{Listed, Manifest, PAYLOAD_TYPE, SCHEMA},
    packed::{Hashed, Packed},
};
use crate::{
    ids::{ImageId, Sha256Hash},
    image::Envelope,
};

/// The entries of a pack that is being made.
#[derive(Default)]
pub struct Pack(BTreeMap<String, Packed>);

/// A pack that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// With the manifest and its signature.
    pub entries: usize,
    /// Bytes of the file.
    pub size: u64,
    /// Of the file.
    pub sha256: Sha256Hash,
}

impl Pack {
    /// Adds an entry. Its name is ours: one that the archive cannot have, or that is there already, is a fault of this program.
    pub fn add(&mut self, name: impl Into<String>, content: Packed) {
        let name = name.into();
        assert!(archive::is_name(&name) && name != MANIFEST && name != SIGNATURE, "no name of an entry: {name}");
        assert!(self.0.insert(name.clone(), content).is_none(), "{name} is there already");
    }

    /// Writes everything, signed.
    pub fn write_to(self, out: impl Write, key: &SigningKey) -> io::Result<Written> {
        let mut out = Hashed { file: out, hash: Sha256::new(), size: 0 };
        let (mut records, mut entries) = (Vec::new(), Vec::new());
        for (name, mut content) in self.0 {
            let Packed { size, crc, packed_size: packed, .. } = content;
            let record = Record { name: name.clone(), method: Method::Deflated, crc, packed, size, offset: out.size };
            out.write_all(&record.local_header())?;
            io::copy(&mut content, &mut out)?;
            records.push(record);
            let (sha256, packed_sha256) = (content.sha256.into(), content.packed_sha256.into());
            entries.push(Listed { name, size, sha256, packed_size: packed, packed_sha256 });
        }
        let manifest = Manifest { schema: SCHEMA, entries }.to_json();
        let mut envelope = Envelope::of(PAYLOAD_TYPE, manifest.clone().into_bytes());
        envelope.sign(key);
        for (name, text) in [(MANIFEST, manifest), (SIGNATURE, envelope.to_json())] {
            records.push(store(&mut out, name, text.as_bytes())?);
        }
        let end = out.size;
        out.write_all(&archive::directory(&records, end))?;
        out.flush()?;
        Ok(Written { entries: records.len(), size: out.size, sha256: ImageId(out.hash.finalize().into()) })
    }
}

/// Writes a short entry as it is.
fn store(out: &mut Hashed<impl Write>, name: &str, content: &[u8]) -> io::Result<Record> {
    let mut crc = Crc::new();
    crc.update(content);
    let size = content.len() as u64;
    let record = Record { name: name.into(), method: Method::Stored, crc: crc.sum(), packed: size, size, offset: out.size };
    out.write_all(&record.local_header())?;
    out.write_all(content)?;
    Ok(record)
}
