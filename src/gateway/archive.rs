//! How the bytes of a message are kept: compressed, and unpacked within bounds. Not where (the inbox and the outbox have the
//! tables). Promise: what was kept under any encoding that was ever released is read back exactly, and unpacking never takes
//! more memory than a message may have.
//!
//! A DUIS alert is 1.8 KB of which all but a few ids, two hashes and a signature is the same in every one. With a dictionary of the
//! schema's own words it is kept in a fifth of its size, which costs 4 us: less than writing the rest of it would.
//! `dictionary-1.txt` is plain text, each kind of message once, the most frequent last (near is cheap). It is part of the encoding:
//! never edited; a better one is another file and another number.

pub mod subject;

use std::{cell::RefCell, sync::LazyLock};

use zstd::{
    bulk::{Compressor, Decompressor},
    dict::{DecoderDictionary, EncoderDictionary},
};

use crate::duis::MAX_MESSAGE_BYTES;

/// zstd's default: a tenth smaller here than the fastest, in the same time (measured with messages of 1.7 to 3.7 KB).
const LEVEL: i32 = 3;
/// The compressor of a thread is kept for messages up to this size; its tables grow with the largest it has seen.
const SMALL_BYTES: usize = 64 * 1024;

const DICTIONARY_1: &[u8] = include_bytes!("archive/dictionary-1.txt");
static PACK_1: LazyLock<EncoderDictionary<'static>> = LazyLock::new(|| EncoderDictionary::copy(DICTIONARY_1, LEVEL));
static UNPACK_1: LazyLock<DecoderDictionary<'static>> = LazyLock::new(|| DecoderDictionary::copy(DICTIONARY_1));

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    // To make one costs more than to unpack an alert with it (measured).
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Bytes as a row keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// [`PLAIN`] or [`ZSTD_1`].
    pub encoding: i64,
    /// Before compression.
    pub size: usize,
    pub bytes: Vec<u8>,
}

/// As they were: rows of the first schema, and what compression would only make longer.
pub const PLAIN: i64 = 0;
/// zstd with `dictionary-1.txt`.
pub const ZSTD_1: i64 = 1;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    #[error("it was kept by a newer version of this program (encoding {0})")]
    Encoding(i64),
    #[error("what was kept of it is damaged")]
    Damaged,
}

impl Kept {
    pub fn pack(bytes: &[u8]) -> Kept {
        let packed = if bytes.len() <= SMALL_BYTES {
            COMPRESSOR.with_borrow_mut(|kept| match kept.as_mut() {
                Some(compressor) => compressor.compress(bytes).ok(),
                None => compressor().and_then(|fresh| kept.insert(fresh).compress(bytes).ok()),
            })
        } else {
            compressor().and_then(|mut fresh| fresh.compress(bytes).ok())
        };
        // zstd fails only for want of memory; plain is right too.
        match packed {
            Some(packed) if packed.len() < bytes.len() => Kept { encoding: ZSTD_1, size: bytes.len(), bytes: packed },
            _ => Kept { encoding: PLAIN, size: bytes.len(), bytes: bytes.to_vec() },
        }
    }

    pub fn unpack(&self) -> Result<Vec<u8>, ArchiveError> {
        match self.encoding {
            PLAIN if self.bytes.len() == self.size => Ok(self.bytes.clone()),
            // Nothing larger is ever kept.
            ZSTD_1 if self.size <= MAX_MESSAGE_BYTES => {
                decompressed(&self.bytes, self.size).filter(|u| u.len() == self.size).ok_or(ArchiveError::Damaged)
            }
            PLAIN | ZSTD_1 => Err(ArchiveError::Damaged),
            other => Err(ArchiveError::Encoding(other)),
        }
    }
}

/// `None`: damaged. What met that is not used again.
fn decompressed(bytes: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut decompressor = match DECOMPRESSOR.take() {
        Some(kept) => kept,
        None => Decompressor::with_prepared_dictionary(&UNPACK_1).ok()?,
    };
    let unpacked = decompressor.decompress(bytes, size).ok()?;
    DECOMPRESSOR.set(Some(decompressor));
    Some(unpacked)
}

fn compressor() -> Option<Compressor<'static>> {
    Compressor::with_prepared_dictionary(&PACK_1).ok()
}

#[cfg(test)]
mod tests;
