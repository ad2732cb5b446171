//! The content of one entry, compressed aside: beside the pack, in memory while it is small. So an entry is written into the pack
//! when its size and hash are known, and several can grow at once. Promise: the same content gives the same bytes.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use flate2::{Compression, Crc, write::DeflateEncoder};
use sha2::{Digest, Sha256};
use tempfile::SpooledTempFile;

use crate::ids::{ImageId, Sha256Hash};

/// Compressed contents up to this size stay in memory: a pack has some twenty entries, of which two are large.
const IN_MEMORY_BYTES: usize = 1 << 20;

/// Where the content of an entry is written.
pub struct Packer {
    deflate: DeflateEncoder<Hashed>,
    content: Sha256,
    crc: Crc,
    size: u64,
}

/// What an entry holds, compressed.
pub struct Packed {
    file: SpooledTempFile,
    pub size: u64,
    pub sha256: Sha256Hash,
    pub crc: u32,
    pub packed_size: u64,
    pub packed_sha256: Sha256Hash,
}

impl Packer {
    /// `folder` is where what does not fit into memory waits.
    pub fn new(folder: &Path) -> Packer {
        let file = tempfile::spooled_tempfile_in(IN_MEMORY_BYTES, folder);
        let hashed = Hashed { file, hash: Sha256::new(), size: 0 };
        Packer { deflate: DeflateEncoder::new(hashed, Compression::default()), content: Sha256::new(), crc: Crc::new(), size: 0 }
    }

    pub fn finish(self) -> io::Result<Packed> {
        let Hashed { mut file, hash, size } = self.deflate.finish()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Packed {
            file,
            size: self.size,
            sha256: ImageId(self.content.finalize().into()),
            crc: self.crc.sum(),
            packed_size: size,
            packed_sha256: ImageId(hash.finalize().into()),
        })
    }
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.deflate.write(bytes)?;
        self.content.update(&bytes[..n]);
        self.crc.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Packed {
    /// A content that is there as a whole.
    pub fn of(content: &[u8], folder: &Path) -> io::Result<Packed> {
        let mut packer = Packer::new(folder);
        packer.write_all(content)?;
        packer.finish()
    }
}

impl Read for Packed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.file.read(into)
    }
}

/// A file that knows the hash of what was written to it.
pub(super) struct Hashed<W = SpooledTempFile> {
    pub file: W,
    pub hash: Sha256,
    pub size: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
