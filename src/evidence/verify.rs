//! Checks a pack against a public key: offline, a stranger's file in constant memory. The signature comes first; before it holds,
//! nothing is unpacked and no more than the directory, the manifest and the signature is read, each within a bound. Promise: a pack
//! passes only if every byte of the file is the byte that was written when it was signed.

use std::io::{Read, Seek, SeekFrom};

use ed25519_dalek::VerifyingKey;
use flate2::{Crc, Decompress, FlushDecompress, Status};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    EvidenceError, HEAD, MANIFEST, SIGNATURE,
    archive::{self, Method, Record, TRAILER_BYTES},
    error::Change,
    manifest::{Listed, Manifest, PAYLOAD_TYPE, SCHEMA},
};
use crate::{
    ids::ImageId,
    image::{Envelope, KeyId},
};

/// Ten thousand entries of 400 bytes, and as much again.
const MAX_MANIFEST_BYTES: u64 = 8 << 20;
/// The manifest in base64, and the signature.
const MAX_SIGNATURE_BYTES: u64 = 12 << 20;
/// evidence.json is a page of text.
const MAX_HEAD_BYTES: u64 = 4 << 20;
const CHUNK_BYTES: usize = 64 << 10;

/// A pack that passed.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// With the manifest and its signature.
    pub entries: usize,
    /// Bytes of all contents.
    pub content_bytes: u64,
    /// Who signed.
    pub keyid: KeyId,
    /// evidence.json; null where the pack has none.
    pub head: Value,
}

/// Checks the whole file. `progress` is told the bytes checked.
pub fn verify(mut file: impl Read + Seek, key: &VerifyingKey, progress: &mut dyn FnMut(u64)) -> Result<Verified, EvidenceError> {
    let records = read_directory(&mut file)?;
    let manifest = signed_manifest(&mut file, &records, Some(key))?;
    let (content_bytes, head) = contents(&mut file, &records, &manifest, progress)?;
    Ok(Verified { entries: records.len(), content_bytes, keyid: KeyId::of(key), head })
}

/// All but the signature, for fuzzing: what comes after it must stand any bytes too.
#[cfg(any(test, feature = "fuzzing"))]
pub fn read_whoever_signed(mut file: impl Read + Seek) -> Result<u64, EvidenceError> {
    let records = read_directory(&mut file)?;
    let manifest = signed_manifest(&mut file, &records, None)?;
    contents(&mut file, &records, &manifest, &mut |_| {}).map(|(bytes, _)| bytes)
}

fn read_directory(file: &mut (impl Read + Seek)) -> Result<Vec<Record>, EvidenceError> {
    let length = file.seek(SeekFrom::End(0)).map_err(EvidenceError::Read)?;
    let Some(trailer) = length.checked_sub(TRAILER_BYTES) else { return Err(EvidenceError::NotAPack("it is too short")) };
    let trailer = read_at(file, trailer, TRAILER_BYTES)?;
    let located = archive::locate(&trailer, length);
    let (start, size) = located.ok_or(EvidenceError::NotAPack("it does not end as a pack does"))?;
    let directory = read_at(file, start, size)?;
    archive::read_directory(&directory, start).ok_or(EvidenceError::NotAPack("its directory"))
}

/// The manifest, if the signature over it holds. Without a key any signature does.
fn signed_manifest(
    file: &mut (impl Read + Seek),
    records: &[Record],
    key: Option<&VerifyingKey>,
) -> Result<Manifest, EvidenceError> {
    let [.., listed, signature] = records else { return Err(EvidenceError::Unsigned("it has no manifest")) };
    if signature.name != SIGNATURE || listed.name != MANIFEST {
        let has = |name: &str| records.iter().any(|r| r.name == name);
        return Err(match (has(MANIFEST), has(SIGNATURE)) {
            (false, _) => EvidenceError::Unsigned("it has no manifest.json"),
            (true, false) => EvidenceError::Unsigned("it has no manifest.dsse.json"),
            (true, true) => EvidenceError::NotAPack("the manifest and its signature are not its last entries"),
        });
    }
    let text = short_entry(file, listed, MAX_MANIFEST_BYTES)?;
    let signed = short_entry(file, signature, MAX_SIGNATURE_BYTES)?;
    check_signature(&text, &signed, key)?;
    let malformed = || EvidenceError::entry(MANIFEST, Change::Malformed);
    // The layout is asked first: a later one may have keys that this one does not know.
    let value: Value = serde_json::from_slice(&text).map_err(|_| malformed())?;
    let schema = value["schema"].as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(malformed)?;
    if schema != SCHEMA {
        return Err(EvidenceError::Schema(schema));
    }
    serde_json::from_value(value).map_err(|_| malformed())
}

fn check_signature(manifest: &[u8], signed: &[u8], key: Option<&VerifyingKey>) -> Result<(), EvidenceError> {
    let changed = || EvidenceError::entry(SIGNATURE, Change::Signature);
    let envelope = Envelope::from_json_of(PAYLOAD_TYPE, signed).map_err(|_| changed())?;
    let [signature] = envelope.signatures.as_slice() else {
        return Err(match envelope.signatures.is_empty() {
            true => EvidenceError::Unsigned("manifest.dsse.json has no signature"),
            false => changed(),
        });
    };
    // One spelling alone: white space, another alphabet or another key of the JSON would be bytes without a meaning.
    if envelope.to_json().as_bytes() != signed {
        return Err(changed());
    }
    if let Some(key) = key {
        if signature.keyid != KeyId::of(key).to_string() {
            return Err(match signature.keyid.parse::<KeyId>() {
                Ok(keyid) => EvidenceError::ForeignKey { keyid: keyid.to_string() },
                Err(_) => changed(),
            });
        }
        if !envelope.is_signed_by(key, signature) {
            return Err(changed());
        }
    }
    if envelope.payload != manifest {
        return Err(EvidenceError::entry(MANIFEST, Change::Content));
    }
    Ok(())
}

/// A stored entry of at most `limit` bytes.
fn short_entry(file: &mut (impl Read + Seek), record: &Record, limit: u64) -> Result<Vec<u8>, EvidenceError> {
    if record.size > limit {
        return Err(EvidenceError::entry(&record.name, Change::TooLarge));
    }
    check_header(file, record)?;
    if record.method != Method::Stored || record.packed != record.size {
        return Err(EvidenceError::entry(&record.name, Change::Header));
    }
    let mut content = vec![0; record.size as usize];
    file.read_exact(&mut content)?;
    let mut crc = Crc::new();
    crc.update(&content);
    match crc.sum() == record.crc {
        true => Ok(content),
        false => Err(EvidenceError::entry(&record.name, Change::Content)),
    }
}

/// Goes to the entry's local header, which must say what the directory says; the file then stands before its content.
fn check_header(file: &mut (impl Read + Seek), record: &Record) -> Result<(), EvidenceError> {
    let wanted = record.local_header();
    match read_at(file, record.offset, wanted.len() as u64)? == wanted {
        true => Ok(()),
        false => Err(EvidenceError::entry(&record.name, Change::Header)),
    }
}

/// Every entry against the manifest; gives the bytes of all contents, and evidence.json.
fn contents(
    file: &mut (impl Read + Seek),
    records: &[Record],
    manifest: &Manifest,
    progress: &mut dyn FnMut(u64),
) -> Result<(u64, Value), EvidenceError> {
    let entries = &records[..records.len() - 2];
    let (mut bytes, mut head) = (0u64, Value::Null);
    for (at, record) in entries.iter().enumerate() {
        let Some(listed) = manifest.entries.get(at).filter(|l| l.name == record.name) else {
            let known = manifest.entries.iter().any(|l| l.name == record.name);
            let missing = manifest.entries.get(at).filter(|_| known);
            return Err(match missing {
                Some(missing) => EvidenceError::entry(&missing.name, Change::Missing),
                None => EvidenceError::entry(&record.name, Change::Unlisted),
            });
        };
        let keep = (record.name == HEAD).then(Vec::new);
        let kept = check_entry(file, record, listed, keep)?;
        if let Some(kept) = kept {
            head = serde_json::from_slice(&kept).map_err(|_| EvidenceError::entry(HEAD, Change::Malformed))?;
        }
        bytes = bytes.saturating_add(listed.size);
        progress(bytes);
    }
    match manifest.entries.get(entries.len()) {
        Some(missing) => Err(EvidenceError::entry(&missing.name, Change::Missing)),
        None => Ok((bytes, head)),
    }
}

/// One entry: header, packed bytes, content. What is unpacked never exceeds the size that was signed for.
fn check_entry(
    file: &mut (impl Read + Seek),
    record: &Record,
    listed: &Listed,
    mut keep: Option<Vec<u8>>,
) -> Result<Option<Vec<u8>>, EvidenceError> {
    let wrong = |why| EvidenceError::entry(&record.name, why);
    if (record.size, record.packed, record.method) != (listed.size, listed.packed_size, Method::Deflated) {
        return Err(wrong(Change::Header));
    }
    if keep.is_some() && record.size > MAX_HEAD_BYTES {
        return Err(wrong(Change::TooLarge));
    }
    check_header(file, record)?;
    let (mut inflate, mut packed, mut content, mut crc) = (Decompress::new(false), Sha256::new(), Sha256::new(), Crc::new());
    let (mut input, mut output) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let (mut left, mut ended) = (record.packed, false);
    while left > 0 {
        let n = (CHUNK_BYTES as u64).min(left) as usize;
        file.read_exact(&mut input[..n])?;
        packed.update(&input[..n]);
        left -= n as u64;
        let mut rest = &input[..n];
        // Once more where the output was filled: more of it may be waiting.
        let mut full = false;
        while !rest.is_empty() || full {
            if ended {
                return Err(wrong(Change::Packed));
            }
            let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(rest, &mut output, FlushDecompress::None).map_err(|_| wrong(Change::Packed))?;
            let (took, gave) = ((inflate.total_in() - before_in) as usize, (inflate.total_out() - before_out) as usize);
            if inflate.total_out() > record.size || (took == 0 && gave == 0 && status != Status::StreamEnd && !rest.is_empty()) {
                return Err(wrong(Change::Packed));
            }
            content.update(&output[..gave]);
            crc.update(&output[..gave]);
            if let Some(kept) = &mut keep {
                kept.extend_from_slice(&output[..gave]);
            }
            rest = &rest[took..];
            ended = status == Status::StreamEnd;
            full = gave == output.len() && !ended;
        }
    }
    if !ended || inflate.total_out() != record.size {
        return Err(wrong(Change::Packed));
    }
    let hex = |hash: Sha256| ImageId(hash.finalize().into()).to_string();
    if hex(content) != listed.sha256.0 || crc.sum() != record.crc {
        return Err(wrong(Change::Content));
    }
    if hex(packed) != listed.packed_sha256.0 {
        return Err(wrong(Change::Packed));
    }
    Ok(keep)
}

fn read_at(file: &mut (impl Read + Seek), at: u64, length: u64) -> Result<Vec<u8>, EvidenceError> {
    file.seek(SeekFrom::Start(at)).map_err(EvidenceError::Read)?;
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
