//! The fuzz targets as property tests: over the committed seeds, over seeds with pieces put in, taken out and doubled, and over
//! random bytes. The seeds are in `fuzz/seeds`, a folder a target; a finding goes there too.

use std::path::PathBuf;

use proptest::{collection::vec, prelude::*, sample::Index};

use super::TARGETS;

/// Pieces that the targets' formats are made of.
const PIECES: [&[u8]; 40] = [
    b"<",
    b">",
    b"</",
    b"/>",
    b"&",
    b";",
    b"'",
    b"\"",
    b"=",
    b":",
    b" ",
    b"\r",
    b"\n",
    b"\t",
    b",",
    b"\"\"",
    b"\0",
    b"\xff",
    b"&amp;",
    b"&#13;",
    b"&#x0;",
    b"&#xD800;",
    b"]]>",
    b"<!--",
    b"<?xml version='1.0'?>",
    b"\xEF\xBB\xBF",
    b" xmlns=\"\"",
    b" xmlns:a=\"urn:a\"",
    b" a:b=\"\"",
    b"<a:b/>",
    b"<sr:Body>",
    b"</sr:Body>",
    b" xml:lang=\"\"",
    b"\xf0\x9d\x84\x9e",
    b"\x1e\xf1\xee\x0b",
    b"\x00\x01",
    b"\xff\xff\xff\xff",
    b"2026-11-24",
    b"*",
    b"N/A",
];

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(&path).expect("a seed"))).collect()
}

#[test]
fn every_target_has_seeds_and_holds_for_them() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(seeds.len() >= 5, "{name} has {} seeds", seeds.len());
        for (path, bytes) in seeds {
            println!("{}", path.display());
            target(&bytes);
        }
        target(b"");
    }
}

#[test]
fn every_target_is_one_call_of_its_function() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    for (name, _) in TARGETS {
        let text = std::fs::read_to_string(folder.join(format!("{name}.rs"))).expect(name);
        assert!(text.contains(&format!("fuzzing::{name}(")), "{name}");
    }
    assert_eq!(std::fs::read_dir(folder).expect("a folder").count(), TARGETS.len());
}

/// The seed with pieces put in, taken out and doubled.
fn mutated(mut bytes: Vec<u8>, choices: &[(Index, Index, u8)]) -> Vec<u8> {
    for (at, what, length) in choices {
        if bytes.is_empty() {
            return bytes;
        }
        let at = at.index(bytes.len());
        let piece = at..(at + 1 + usize::from(length / 4)).min(bytes.len());
        match length % 4 {
            0 => drop(bytes.drain(piece)),
            1 => drop(bytes.splice(at..at, bytes[piece].to_vec())),
            2 => bytes[at] = *length,
            _ => drop(bytes.splice(at..at, PIECES[what.index(PIECES.len())].to_vec())),
        }
    }
    bytes
}

fn holds_for_mutated_seeds(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    let seeds = seeds(name);
    let choices = (any::<Index>(), vec((any::<Index>(), any::<Index>(), any::<u8>()), 1..6));
    proptest!(ProptestConfig::with_cases(10_000), |((seed, choices) in choices)| {
        target(&mutated(seeds[seed.index(seeds.len())].1.clone(), &choices));
    });
}

#[test]
fn the_prescan_holds_for_mutated_seeds() {
    holds_for_mutated_seeds("prescan");
}

#[test]
fn the_reader_holds_for_mutated_seeds() {
    holds_for_mutated_seeds("reader");
}

#[test]
fn sealing_holds_for_mutated_seeds() {
    holds_for_mutated_seeds("sealed");
}

#[test]
fn the_ota_header_holds_for_mutated_seeds() {
    holds_for_mutated_seeds("ota");
}

#[test]
fn csv_holds_for_mutated_seeds() {
    holds_for_mutated_seeds("csv");
}

#[test]
fn the_pack_holds_for_mutated_seeds() {
    holds_for_mutated_seeds("pack");
}

proptest! {
    #[test]
    fn every_target_holds_for_random_bytes(bytes in vec(any::<u8>(), 0..600), pieces in vec(any::<Index>(), 0..60)) {
        let pieces: Vec<u8> = pieces.iter().flat_map(|i| PIECES[i.index(PIECES.len())]).copied().collect();
        for (_, target) in TARGETS {
            target(&bytes);
            target(&pieces);
        }
    }
}
