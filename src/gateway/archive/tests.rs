//! What is kept comes back, and what was damaged is said to be.

use sha2::{Digest, Sha256};

use super::*;
use crate::gateway::testing::{alert, dcc_signer, sample, signed};

#[test]
fn the_dictionary_of_an_encoding_is_never_edited() {
    let hash: String = Sha256::digest(DICTIONARY_1).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hash, "10d2575adedb49577687f9937fbd14b574ab51bfddaa724436149f1485719c7e",
        "kept messages can no longer be read: make another dictionary and encoding"
    );
}

#[test]
fn an_alert_is_kept_in_a_fifth_of_its_size() {
    let (dcc, _) = dcc_signer();
    let message = signed(&alert(0x00DB_1234_5678_90A4), &dcc);
    let kept = Kept::pack(&message);
    assert!(kept.bytes.len() * 5 <= message.len(), "{} of {}", kept.bytes.len(), message.len());
    assert_eq!(kept.unpack().unwrap(), message);
}

#[test]
fn real_messages_come_back_as_they_were() {
    for name in ["real-8.2-read-inventory-response.xml", "made-alert-s1sp.xml", "request-11.1-signed-by-reference-tool.xml"] {
        let Some((message, _)) = sample(name) else { return };
        let kept = Kept::pack(&message);
        assert!(kept.bytes.len() * 2 < message.len(), "{name}: {} of {}", kept.bytes.len(), message.len());
        assert_eq!(kept.unpack().unwrap(), message);
    }
}

#[test]
fn nothing_larger_than_a_message_is_unpacked_whatever_a_row_claims() {
    let bomb = vec![0u8; MAX_MESSAGE_BYTES + 1];
    let kept = Kept::pack(&bomb);
    assert!(kept.bytes.len() < 100_000);
    assert_eq!(kept.unpack(), Err(ArchiveError::Damaged));
    let less = Kept { size: 10, ..kept };
    assert_eq!(less.unpack(), Err(ArchiveError::Damaged), "it is longer than it says");
    assert_eq!(Kept { encoding: 7, size: 0, bytes: Vec::new() }.unpack(), Err(ArchiveError::Encoding(7)));
    assert_eq!(Kept { encoding: PLAIN, size: 3, bytes: vec![0; 2] }.unpack(), Err(ArchiveError::Damaged));
}

proptest::proptest! {
    #[test]
    fn any_bytes_come_back(bytes: Vec<u8>, times in 1usize..4_000) {
        let long = bytes.repeat(times);
        for message in [bytes, long] {
            let kept = Kept::pack(&message);
            proptest::prop_assert!(kept.bytes.len() <= message.len());
            proptest::prop_assert_eq!(kept.unpack(), Ok(message));
        }
    }

    #[test]
    fn damage_is_an_error_or_another_text_and_never_a_panic(at: usize, with: u8, cut: usize) {
        let (dcc, _) = dcc_signer();
        let mut kept = Kept::pack(&signed(&alert(7), &dcc));
        let n = kept.bytes.len();
        kept.bytes[at % n] ^= with;
        let _ = kept.unpack();
        kept.bytes.truncate(cut % n);
        let _ = kept.unpack();
    }
}
