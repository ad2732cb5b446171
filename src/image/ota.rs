//! The Zigbee OTA header that a PPMID image begins with (domain.md, Firmware images). Pure: bytes in, facts out.
//! Not the manifest: nothing here is signed, so nothing here is trusted. Promise: no bytes make it panic, and what it
//! accepts is whole: the total size that the header states is the number of bytes there are.

use crate::ids::Sha256Hash;

/// The largest image one request can carry (DUIS schema, `FirmwareImage`; the same number as `duis`'s).
pub const MAX_IMAGE_BYTES: u64 = 10_240_000;

/// First four bytes of every file, little-endian.
const MAGIC: u32 = 0x0BEE_F11E;
/// The only header version there is.
const HEADER_VERSION: u16 = 0x0100;
/// The fields every header has, up to and with the total size.
const FIXED_HEADER_BYTES: usize = 56;
const HEADER_STRING_BYTES: usize = 32;

/// Field-control bits: which optional fields follow the fixed ones.
const HAS_CREDENTIAL_VERSION: u16 = 1;
const HAS_DESTINATION: u16 = 1 << 1;
const HAS_HARDWARE_VERSIONS: u16 = 1 << 2;

/// Why bytes are not a whole Zigbee OTA file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtaError {
    #[error("the file ends after {found} bytes, within the Zigbee OTA header (at least {wanted} bytes are wanted)")]
    Truncated { found: usize, wanted: usize },
    #[error("the file does not begin as a Zigbee OTA file does: its first four bytes are {found:#010x}, not {MAGIC:#010x}")]
    WrongMagic { found: u32 },
    #[error("the Zigbee OTA header is of version {found:#06x}; {HEADER_VERSION:#06x} is known")]
    UnknownVersion { found: u16 },
    #[error("the Zigbee OTA header says it is {stated} bytes long, but its fields take {wanted}")]
    HeaderTooShort { stated: u16, wanted: usize },
    #[error("the Zigbee OTA header says that the file has {stated} bytes; it has {found}")]
    WrongTotalSize { stated: u32, found: usize },
    #[error("the Zigbee OTA header states hardware versions {min:04X} to {max:04X}, the wrong way round")]
    HardwareRange { min: u16, max: u16 },
    #[error("nothing follows the Zigbee OTA header: there is no manufacturer image")]
    NoImage,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtaHeader {
    /// In bytes, optional fields included; the manufacturer image begins here.
    pub header_length: u16,
    pub manufacturer_code: u16,
    pub image_type: u16,
    /// The header's own; never compared with the manifest's `firmware_version` (contract, Images).
    pub file_version: u32,
    pub stack_version: u16,
    pub header_string: [u8; HEADER_STRING_BYTES],
    /// In bytes, header included.
    pub total_size: u32,
    pub credential_version: Option<u8>,
    pub destination: Option<[u8; 8]>,
    /// Lowest and highest hardware version that may run it, both included. `None`: the file sets no limit.
    pub hardware: Option<(u16, u16)>,
}

impl OtaHeader {
    /// The header's text: its 32 bytes up to the first NUL.
    pub fn text(&self) -> String {
        let end = self.header_string.iter().position(|b| *b == 0).unwrap_or(HEADER_STRING_BYTES);
        String::from_utf8_lossy(&self.header_string[..end]).trim_end().to_string()
    }

    /// Whether every hardware version from `min` to `max` may run it, as far as the file says.
    pub fn hardware_contains(&self, min: u16, max: u16) -> bool {
        self.hardware.is_none_or(|(lowest, highest)| lowest <= min && max <= highest)
    }
}

/// A whole OTA file: its header and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtaFile<'a> {
    pub header: OtaHeader,
    /// The bytes after the header: what the Central Products List's hash is of.
    pub manufacturer_image: &'a [u8],
}

impl OtaFile<'_> {
    pub fn manufacturer_image_sha256(&self) -> Sha256Hash {
        super::sha256(self.manufacturer_image)
    }
}

/// Reads little-endian fields from the front; past the end it says how many bytes would have been enough.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], OtaError> {
        let end = self.at + N;
        let field = self.bytes.get(self.at..end).and_then(|field| field.try_into().ok());
        self.at = end;
        field.ok_or(OtaError::Truncated { found: self.bytes.len(), wanted: end.max(FIXED_HEADER_BYTES) })
    }

    fn u16(&mut self) -> Result<u16, OtaError> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, OtaError> {
        self.take().map(u32::from_le_bytes)
    }
}

/// Reads a whole file. A header longer than the fields known here is read as Zigbee asks: the rest of it is skipped.
pub fn parse(bytes: &[u8]) -> Result<OtaFile<'_>, OtaError> {
    let mut fields = Fields { bytes, at: 0 };
    let found = fields.u32()?;
    if found != MAGIC {
        return Err(OtaError::WrongMagic { found });
    }
    let found = fields.u16()?;
    if found != HEADER_VERSION {
        return Err(OtaError::UnknownVersion { found });
    }
    let header_length = fields.u16()?;
    let control = fields.u16()?;
    let header = OtaHeader {
        header_length,
        manufacturer_code: fields.u16()?,
        image_type: fields.u16()?,
        file_version: fields.u32()?,
        stack_version: fields.u16()?,
        header_string: fields.take()?,
        total_size: fields.u32()?,
        credential_version: if control & HAS_CREDENTIAL_VERSION != 0 { Some(fields.take::<1>()?[0]) } else { None },
        destination: if control & HAS_DESTINATION != 0 { Some(fields.take()?) } else { None },
        hardware: if control & HAS_HARDWARE_VERSIONS != 0 { Some((fields.u16()?, fields.u16()?)) } else { None },
    };
    if usize::from(header_length) < fields.at {
        return Err(OtaError::HeaderTooShort { stated: header_length, wanted: fields.at });
    }
    if usize::try_from(header.total_size) != Ok(bytes.len()) {
        return Err(OtaError::WrongTotalSize { stated: header.total_size, found: bytes.len() });
    }
    if let Some((min, max)) = header.hardware.filter(|(min, max)| min > max) {
        return Err(OtaError::HardwareRange { min, max });
    }
    let wanted = usize::from(header_length);
    let manufacturer_image = bytes.get(wanted..).ok_or(OtaError::Truncated { found: bytes.len(), wanted })?;
    if manufacturer_image.is_empty() {
        return Err(OtaError::NoImage);
    }
    Ok(OtaFile { header, manufacturer_image })
}

/// What the maker of an image chooses; the rest of the header follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtaSpec<'a> {
    pub manufacturer_code: u16,
    pub image_type: u16,
    pub file_version: u32,
    /// Cut to the header's 32 bytes.
    pub text: &'a str,
    pub hardware: Option<(u16, u16)>,
}

/// Zigbee PRO, the stack version that Zigbee devices of this kind state.
const STACK_ZIGBEE_PRO: u16 = 2;

/// A whole file: header, then `manufacturer_image`. Panics where the file could not be sent at all ([`MAX_IMAGE_BYTES`]).
pub fn build(spec: &OtaSpec<'_>, manufacturer_image: &[u8]) -> Vec<u8> {
    let header_length = FIXED_HEADER_BYTES + if spec.hardware.is_some() { 4 } else { 0 };
    let total = header_length + manufacturer_image.len();
    assert!(total as u64 <= MAX_IMAGE_BYTES, "an image of {total} bytes cannot be sent");
    let mut string = [0u8; HEADER_STRING_BYTES];
    let text = spec.text.as_bytes();
    let kept = text.len().min(HEADER_STRING_BYTES);
    string[..kept].copy_from_slice(&text[..kept]);
    let control = if spec.hardware.is_some() { HAS_HARDWARE_VERSIONS } else { 0 };
    let mut bytes = Vec::with_capacity(total);
    bytes.extend(MAGIC.to_le_bytes());
    bytes.extend(HEADER_VERSION.to_le_bytes());
    bytes.extend((header_length as u16).to_le_bytes());
    bytes.extend(control.to_le_bytes());
    bytes.extend(spec.manufacturer_code.to_le_bytes());
    bytes.extend(spec.image_type.to_le_bytes());
    bytes.extend(spec.file_version.to_le_bytes());
    bytes.extend(STACK_ZIGBEE_PRO.to_le_bytes());
    bytes.extend(string);
    bytes.extend((total as u32).to_le_bytes());
    if let Some((min, max)) = spec.hardware {
        bytes.extend(min.to_le_bytes());
        bytes.extend(max.to_le_bytes());
    }
    bytes.extend(manufacturer_image);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPEC: OtaSpec<'_> = OtaSpec {
        manufacturer_code: 0x121D,
        image_type: 0x84,
        file_version: 0x0002_012F,
        text: "a display",
        hardware: Some((0x1111, 0x1211)),
    };

    #[test]
    fn what_was_built_is_read_back() {
        let bytes = build(&SPEC, b"firmware");
        let file = parse(&bytes).unwrap();
        assert_eq!(file.manufacturer_image, b"firmware");
        assert_eq!((file.header.header_length, file.header.text().as_str()), (60, "a display"));
        assert!(file.header.hardware_contains(0x1111, 0x1211));
        assert!(!file.header.hardware_contains(0x1110, 0x1211));
        assert!(!file.header.hardware_contains(0x1111, 0x1212));
        assert!(parse(&build(&OtaSpec { hardware: None, ..SPEC }, b"x")).unwrap().header.hardware_contains(0, 0xFFFF));
    }

    #[test]
    fn a_file_cut_anywhere_or_grown_is_refused() {
        let bytes = build(&SPEC, b"firmware");
        for cut in 0..bytes.len() {
            let e = parse(&bytes[..cut]).unwrap_err();
            assert!(matches!(e, OtaError::Truncated { .. } | OtaError::WrongTotalSize { .. }), "{cut}: {e}");
        }
        let grown = [bytes.as_slice(), b"!"].concat();
        assert_eq!(parse(&grown).unwrap_err(), OtaError::WrongTotalSize { stated: 68, found: 69 });
    }

    #[test]
    fn every_wrong_header_is_named() {
        let with = |at: usize, bytes: &[u8]| {
            let mut file = build(&SPEC, b"firmware");
            file[at..at + bytes.len()].copy_from_slice(bytes);
            parse(&file).unwrap_err()
        };
        assert_eq!(with(0, b"PK\x03\x04"), OtaError::WrongMagic { found: 0x0403_4B50 });
        assert_eq!(with(4, &[0, 2]), OtaError::UnknownVersion { found: 0x0200 });
        assert_eq!(with(6, &[56, 0]), OtaError::HeaderTooShort { stated: 56, wanted: 60 });
        assert_eq!(with(6, &[0xFF, 0xFF]), OtaError::Truncated { found: 68, wanted: 0xFFFF });
        assert_eq!(with(6, &[68, 0]), OtaError::NoImage);
        assert_eq!(with(56, &[0x12, 0x12]), OtaError::HardwareRange { min: 0x1212, max: 0x1211 });
        assert_eq!(with(8, &[7, 0]), OtaError::Truncated { found: 68, wanted: 69 });
    }

    #[test]
    fn a_longer_header_is_skipped_to_its_end() {
        let mut bytes = build(&SPEC, b"..firmware");
        bytes[6] = 62;
        assert_eq!(parse(&bytes).unwrap().manufacturer_image, b"firmware");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes: Vec<u8>, as_ota: bool) {
            if as_ota && bytes.len() > 8 {
                bytes[..6].copy_from_slice(&[0x1E, 0xF1, 0xEE, 0x0B, 0, 1]);
                bytes[7] = 0;
            }
            let _ = parse(&bytes);
        }

        #[test]
        fn flipped_bytes_never_panic(at in 0usize..60, value: u8) {
            let mut bytes = build(&SPEC, b"firmware");
            bytes[at] = value;
            let _ = parse(&bytes);
        }

        #[test]
        fn building_and_reading_agree(
            manufacturer_code: u16, image_type: u16, file_version: u32, text in "[ -~]{0,40}",
            hardware in proptest::option::of((any::<u16>(), any::<u16>()).prop_map(|(a, b)| (a.min(b), a.max(b)))),
            image in proptest::collection::vec(any::<u8>(), 1..300),
        ) {
            let spec = OtaSpec { manufacturer_code, image_type, file_version, text: &text, hardware };
            let bytes = build(&spec, &image);
            let OtaFile { header, manufacturer_image } = parse(&bytes).unwrap();
            prop_assert_eq!(manufacturer_image, image.as_slice());
            prop_assert_eq!((header.manufacturer_code, header.image_type, header.file_version), (manufacturer_code, image_type, file_version));
            prop_assert_eq!(header.hardware, hardware);
            prop_assert_eq!(header.total_size as usize, bytes.len());
        }
    }
}
