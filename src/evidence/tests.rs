//! Packs made here and then maltreated: whatever is changed, it does not pass, and it is said where.

use std::{io::Cursor, path::Path};

use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn packed(content: &[u8]) -> Packed {
    Packed::of(content, Path::new(".")).unwrap()
}

fn a_pack() -> Vec<u8> {
    let mut pack = Pack::default();
    pack.add(HEAD, packed(b"{\"campaign\": {\"id\": 7}}"));
    pack.add("decisions.csv", packed("device_id,state\n00-DB-12-34-56-78-90-A4,activated\n".repeat(40).as_bytes()));
    pack.add("empty.csv", packed(b""));
    pack.add("policies/0f0f/retry.toml", packed(b"version = 1\n"));
    let mut out = Vec::new();
    pack.write_to(&mut out, &key()).unwrap();
    out
}

fn check(bytes: &[u8]) -> Result<Verified, EvidenceError> {
    verify(Cursor::new(bytes), &key().verifying_key(), &mut |_| {})
}

fn why(bytes: &[u8]) -> String {
    check(bytes).unwrap_err().to_string()
}

#[test]
fn a_pack_passes_with_the_key_that_signed_it_alone() {
    let bytes = a_pack();
    let good = check(&bytes).unwrap();
    assert_eq!((good.entries, good.head["campaign"]["id"].as_i64()), (6, Some(7)));
    assert_eq!(bytes, a_pack(), "the same entries give the same bytes");
    let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
    assert!(matches!(verify(Cursor::new(&bytes), &other, &mut |_| {}), Err(EvidenceError::ForeignKey { .. })));
    assert!(read_whoever_signed(Cursor::new(&bytes)).is_ok());
}

#[test]
fn every_single_bit_of_a_pack_counts() {
    let bytes = a_pack();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert!(check(&changed).is_err(), "bit {bit} of byte {at} of {} has no meaning", bytes.len());
        }
    }
}

#[test]
fn nothing_can_be_cut_off_or_added() {
    let bytes = a_pack();
    for length in 0..bytes.len() {
        assert!(check(&bytes[..length]).is_err(), "cut to {length}");
        assert!(check(&bytes[length + 1..]).is_err(), "without its first {}", length + 1);
    }
    assert!(check(&[&bytes[..], b"x"].concat()).is_err());
    assert!(check(&[b"x", &bytes[..]].concat()).is_err());
    assert!(check(&[&bytes[..], &bytes[..]].concat()).is_err());
}

#[test]
fn large_contents_pass_in_pieces() {
    let mut random = 1u64;
    let mut noise = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as u8
    };
    let mut pack = Pack::default();
    pack.add("noise", packed(&(0..300_000).map(|_| noise()).collect::<Vec<_>>()));
    pack.add("zeros", packed(&vec![0; 5_000_000]));
    let mut out = Vec::new();
    let written = pack.write_to(&mut out, &key()).unwrap();
    assert_eq!(written.size, out.len() as u64);
    assert_eq!(check(&out).unwrap().content_bytes, 5_300_000);
}

/// Packs with something about them that the writer would never write, made of its own parts.
mod forged {
    use super::*;
    use crate::{
        evidence::{
            archive::{Method, Record, directory},
            manifest::{Listed, Manifest, SCHEMA},
        },
        image::Envelope,
    };

    /// Entries as they come, then whatever manifest and signature are given.
    fn archive(entries: &[(&str, &[u8])], stored: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut out, mut records) = (Vec::new(), Vec::new());
        let all = entries.iter().map(|e| (e, Method::Deflated)).chain(stored.iter().map(|e| (e, Method::Stored)));
        for ((name, content), method) in all {
            let mut bytes = packed(content);
            let (crc, size) = (bytes.crc, bytes.size);
            let mut body = Vec::new();
            match method {
                Method::Deflated => std::io::copy(&mut bytes, &mut body).map(drop).unwrap(),
                Method::Stored => body.extend_from_slice(content),
            }
            let offset = out.len() as u64;
            let record = Record { name: name.to_string(), method, crc, packed: body.len() as u64, size, offset };
            out.extend(record.local_header());
            out.extend(body);
            records.push(record);
        }
        let end = out.len() as u64;
        out.extend(directory(&records, end));
        out
    }

    fn listed(name: &str, content: &[u8]) -> Listed {
        let p = packed(content);
        Listed {
            name: name.into(),
            size: p.size,
            sha256: p.sha256.into(),
            packed_size: p.packed_size,
            packed_sha256: p.packed_sha256.into(),
        }
    }

    fn signed(manifest: &str) -> Envelope {
        let mut envelope = Envelope::of(PAYLOAD_TYPE, manifest.as_bytes().to_vec());
        envelope.sign(&key());
        envelope
    }

    /// Signed by the right key, over these entries.
    fn pack(in_archive: &[(&str, &[u8])], in_manifest: &[(&str, &[u8])]) -> Vec<u8> {
        let entries = in_manifest.iter().map(|(n, c)| listed(n, c)).collect();
        let manifest = Manifest { schema: SCHEMA, entries }.to_json();
        let signature = signed(&manifest).to_json();
        archive(in_archive, &[(MANIFEST, manifest.as_bytes()), (SIGNATURE, signature.as_bytes())])
    }

    const A: (&str, &[u8]) = ("a.csv", b"a");
    const B: (&str, &[u8]) = ("b.csv", b"b");

    #[test]
    fn entries_and_manifest_are_the_same() {
        assert!(check(&pack(&[A, B], &[A, B])).is_ok());
        assert_eq!(why(&pack(&[A, B], &[A])), "b.csv: it is in the pack, but nobody signed for it");
        assert_eq!(why(&pack(&[A], &[A, B])), "b.csv: it is signed for, but not in the pack");
        assert_eq!(why(&pack(&[B], &[A, B])), "a.csv: it is signed for, but not in the pack");
        assert_eq!(why(&pack(&[("a.csv", b"c"), B], &[A, B])), "a.csv: its content is not what was signed");
        assert!(check(&pack(&[B, A], &[A, B])).is_err(), "in another order");
        assert!(why(&pack(&[A, A], &[A, A])).contains("its directory"), "twice the same name");
        for name in ["../a.csv", "/a.csv", "a/../../b", "a\\b", ""] {
            assert!(why(&pack(&[(name, b"a")], &[(name, b"a")])).contains("its directory"), "{name}");
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked_beyond_what_was_signed() {
        let zeros = vec![0; 50_000_000];
        let bomb = archive(&[("a.csv", &zeros)], &[]);
        assert!(bomb.len() < 100_000);
        assert!(why(&bomb).contains("not signed"), "and without a signature not at all");
        // A header that says less than comes out.
        let mut small = pack(&[("a.csv", &zeros[..1_000])], &[("a.csv", &zeros[..1_000])]);
        assert!(check(&small).is_ok());
        small.truncate(small.len() - 1);
        assert!(check(&small).is_err());
    }

    #[test]
    fn who_signed_what_is_told_apart() {
        let manifest = Manifest { schema: SCHEMA, entries: vec![listed(A.0, A.1)] }.to_json();
        let m = (MANIFEST, manifest.as_bytes());
        assert_eq!(why(&archive(&[A], &[])), "it is not signed: it has no manifest");
        assert_eq!(why(&archive(&[A, B], &[])), "it is not signed: it has no manifest.json");
        assert_eq!(why(&archive(&[A], &[m])), "it is not signed: it has no manifest.dsse.json");
        let mut envelope = signed(&manifest);
        envelope.signatures.clear();
        let unsigned = envelope.to_json();
        assert_eq!(
            why(&archive(&[A], &[m, (SIGNATURE, unsigned.as_bytes())])),
            "it is not signed: manifest.dsse.json has no signature"
        );
        // A signature over another manifest, and one over a firmware manifest.
        let other = signed("{}").to_json();
        assert_eq!(why(&archive(&[A], &[m, (SIGNATURE, other.as_bytes())])), "manifest.json: its content is not what was signed");
        let mut firmware = Envelope::new(manifest.clone().into_bytes());
        firmware.sign(&key());
        let firmware = firmware.to_json();
        assert!(why(&archive(&[A], &[m, (SIGNATURE, firmware.as_bytes())])).starts_with("manifest.dsse.json: "));
        let relabelled = firmware.replace("ppmid.firmware", "ppmid.evidence");
        assert!(why(&archive(&[A], &[m, (SIGNATURE, relabelled.as_bytes())])).starts_with("manifest.dsse.json: "));
        let spaced = signed(&manifest).to_json().replace(": ", ":  ");
        assert!(why(&archive(&[A], &[m, (SIGNATURE, spaced.as_bytes())])).starts_with("manifest.dsse.json: "));
    }

    /// The seeds of the fuzz target, made again: `cargo test writes_the_seeds -- --ignored`.
    #[test]
    #[ignore = "writes fuzz/seeds/pack"]
    fn writes_the_seeds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/pack");
        std::fs::create_dir_all(&folder).unwrap();
        let manifest = Manifest { schema: SCHEMA, entries: vec![listed(A.0, A.1)] }.to_json();
        let mut foreign = Vec::new();
        Pack::default().write_to(&mut foreign, &SigningKey::from_bytes(&[8; 32])).unwrap();
        for (name, bytes) in [
            ("a-pack", a_pack()),
            ("no-entries", pack(&[], &[])),
            ("foreign-key", foreign),
            ("unlisted-entry", pack(&[A, B], &[A])),
            ("missing-entry", pack(&[A], &[A, B])),
            ("another-content", pack(&[("a.csv", b"c"), B], &[A, B])),
            ("unsigned", archive(&[A], &[(MANIFEST, manifest.as_bytes())])),
            ("bomb", archive(&[("a.csv", &[0; 1_000_000])], &[])),
        ] {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }

    /// Packs that were written once pass for ever.
    #[test]
    fn a_pack_of_the_first_day_still_passes() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/pack");
        for (name, entries) in [("a-pack", 6), ("no-entries", 2)] {
            assert_eq!(check(&std::fs::read(seeds.join(name)).unwrap()).unwrap().entries, entries, "{name}");
        }
    }

    #[test]
    fn a_later_layout_says_so() {
        let manifest = Manifest { schema: 2, entries: vec![] }.to_json();
        let signature = signed(&manifest).to_json();
        let bytes = archive(&[], &[(MANIFEST, manifest.as_bytes()), (SIGNATURE, signature.as_bytes())]);
        assert!(matches!(check(&bytes), Err(EvidenceError::Schema(2))));
    }
}

proptest! {
    #[test]
    fn any_changed_byte_makes_it_fail(contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..5),
                                      at in any::<proptest::sample::Index>(), to in any::<u8>()) {
        let mut pack = Pack::default();
        for (n, content) in contents.iter().enumerate() {
            pack.add(format!("f{n}"), packed(content));
        }
        let mut bytes = Vec::new();
        pack.write_to(&mut bytes, &key()).unwrap();
        prop_assert!(check(&bytes).is_ok());
        let at = at.index(bytes.len());
        let was = std::mem::replace(&mut bytes[at], to);
        prop_assert_eq!(check(&bytes).is_ok(), was == to, "byte {} of {}", at, bytes.len());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = check(&bytes);
        let _ = read_whoever_signed(Cursor::new(&bytes));
    }
}

/// The contents of a pack that passes, by name.
pub(crate) fn unpack(bytes: &[u8], key: &ed25519_dalek::VerifyingKey) -> std::collections::BTreeMap<String, String> {
    use std::io::Read;
    verify(Cursor::new(bytes), key, &mut |_| {}).expect("a pack");
    let (start, _) = archive::locate(&bytes[bytes.len() - archive::TRAILER_BYTES as usize..], bytes.len() as u64).unwrap();
    let records = archive::read_directory(&bytes[start as usize..], start).unwrap();
    let content = |r: archive::Record| {
        let packed = &bytes[r.offset as usize + r.local_header().len()..r.end().unwrap() as usize];
        let mut text = String::new();
        match r.method {
            archive::Method::Stored => text.push_str(std::str::from_utf8(packed).unwrap()),
            archive::Method::Deflated => {
                flate2::read::DeflateDecoder::new(packed).read_to_string(&mut text).map(drop).unwrap();
            }
        }
        (r.name, text)
    };
    records.into_iter().map(content).collect()
}
