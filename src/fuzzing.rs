//! The fuzz targets: for any bytes, what must hold. `fuzz/` calls them by name, and the same run as property tests. And the steps of
//! verification, for its benchmark. Not in the program that ships. Promise: each returns, whatever the bytes; a panic is a finding.

use std::sync::OnceLock;

use crate::{
    clock::Time,
    duis::{
        Certificate, CertificateSet, FileSigner,
        properties::{self, Identity},
    },
    estate::import,
    evidence,
    ids::Eui,
    image::ota::{self, MAX_IMAGE_BYTES, OtaSpec},
    sim::pki::{self, Holder},
};

#[cfg(test)]
mod tests;

type Target = fn(&[u8]);
/// Every target, by the name of its file in `fuzz/fuzz_targets`.
pub const TARGETS: [(&str, Target); 6] =
    [("prescan", prescan), ("reader", reader), ("sealed", sealed), ("ota", ota), ("csv", csv), ("pack", pack)];

/// The prescan, the parser behind it, and the canonical forms.
pub fn prescan(bytes: &[u8]) {
    properties::prescanned(bytes);
}

/// The readers of Responses and refusals, without a key.
pub fn reader(bytes: &[u8]) {
    properties::read(bytes, identity());
}

/// The whole way of a message: any document, sealed, must verify and be read alike by every reader.
pub fn sealed(bytes: &[u8]) {
    properties::sealed(bytes, identity());
}

/// The header of a Zigbee OTA file.
pub fn ota(bytes: &[u8]) {
    let Ok(file) = ota::parse(bytes) else { return };
    let header = &file.header;
    assert_eq!(usize::from(header.header_length) + file.manufacturer_image.len(), bytes.len());
    assert_eq!(header.total_size as usize, bytes.len());
    assert!(ota::parse(&bytes[..bytes.len() - 1]).is_err(), "a piece is no whole");
    assert!(header.hardware.is_none_or(|(min, max)| header.hardware_contains(min, max)));
    if bytes.len() as u64 > MAX_IMAGE_BYTES {
        return;
    }
    let text = header.text();
    let spec = OtaSpec {
        manufacturer_code: header.manufacturer_code,
        image_type: header.image_type,
        file_version: header.file_version,
        text: &text,
        hardware: header.hardware,
    };
    let built = ota::build(&spec, file.manufacturer_image);
    let again = ota::parse(&built).expect("what we build we read");
    assert_eq!(again.manufacturer_image, file.manufacturer_image);
    assert_eq!(
        (again.header.manufacturer_code, again.header.image_type, again.header.file_version, again.header.hardware),
        (header.manufacturer_code, header.image_type, header.file_version, header.hardware)
    );
}

/// The CSV reader, and the rows of every kind of file.
pub fn csv(bytes: &[u8]) {
    import::properties::read(bytes);
}

/// The reader of evidence packs, whoever signed, and the whole check with one key: what passes is a pack to its last byte.
pub fn pack(bytes: &[u8]) {
    use std::io::Cursor;
    let contents = evidence::read_whoever_signed(Cursor::new(bytes));
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
    let Ok(passed) = evidence::verify(Cursor::new(bytes), &key, &mut |_| {}) else { return };
    assert_eq!(contents.ok(), Some(passed.content_bytes));
    assert!(evidence::verify(Cursor::new(&bytes[..bytes.len() - 1]), &key, &mut |_| {}).is_err(), "a piece is no whole");
    assert!(evidence::verify(Cursor::new([bytes, b"\0"].concat()), &key, &mut |_| {}).is_err(), "more is no whole either");
}

/// The steps of verifying and reading a message, for the benchmark.
pub fn verification_steps(message: &[u8], measure: impl FnMut(&'static str, &dyn Fn())) {
    properties::steps(message, measure);
}

/// A key made on the spot, and the set that pins it.
fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        /// 2026-11-24.
        const AT: Time = Time(1_795_478_400_000);
        let made = pki::make(Eui(0x90B3_D51F_3000_0002), Holder::Dcc, AT).expect("a key");
        let certificate = Certificate::from_pem(made.certificate_pem.as_bytes()).expect("our own certificate");
        let signer = FileSigner::from_pem(made.key_pem.as_bytes(), certificate.clone()).expect("they belong together");
        Identity { signer, pinned: CertificateSet(vec![certificate]), at: AT }
    })
}
