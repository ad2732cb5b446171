//! What may not leave: supply numbers anywhere, and Device IDs where the news is not about that device. Pure.

use crate::ids::{Eui, Mpan};

/// Characters of an EUI-64 as text: eight pairs and seven hyphens.
const EUI_CHARS: usize = 23;

/// A text without supply numbers and without Device IDs.
pub(super) fn impersonal(text: &str) -> String {
    without_devices(&without_mpans(text))
}

/// Every supply number masked but for its last four digits, also after a colon, where it is not the counter of a RequestID.
pub(super) fn without_mpans(text: &str) -> String {
    Mpan::masked_unless(text, ends_in_a_target)
}

/// Whether the counter of a RequestID is what comes next.
fn ends_in_a_target(text: &str) -> bool {
    let eui =
        |text: &str| text.len().checked_sub(EUI_CHARS).and_then(|at| text.get(at..)).is_some_and(|e| e.parse::<Eui>().is_ok());
    text.strip_suffix(':').is_some_and(eui)
}

/// Every EUI-64 masked but for its last pair. Those of a RequestID, which name DCC and us, stay.
fn without_devices(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut masked = String::with_capacity(text.len());
    let mut from = 0;
    while from < text.len() {
        let found = text.get(from..from + EUI_CHARS).filter(|piece| piece.parse::<Eui>().is_ok());
        match found {
            Some(eui) if begins(text, from) && ends(bytes, from + EUI_CHARS) => {
                masked.push_str("**-**-**-**-**-**-**-");
                masked.push_str(&eui[EUI_CHARS - 2..]);
                from += EUI_CHARS;
            }
            _ => {
                let next = text[from..].chars().next().map_or(1, char::len_utf8);
                masked.push_str(&text[from..from + next]);
                from += next;
            }
        }
    }
    masked
}

/// Whether what begins at `at` is no later part of a name or of a RequestID.
fn begins(text: &str, at: usize) -> bool {
    let before = text.as_bytes()[..at].last();
    before.is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'-') && !ends_in_a_target(&text[..at])
}

/// Whether what ends at `at` goes on no name; a colon does so only before another part of a RequestID.
fn ends(bytes: &[u8], at: usize) -> bool {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b':'), Some(next)) => !next.is_ascii_alphanumeric(),
        (Some(b), _) => !b.is_ascii_alphanumeric() && *b != b'-',
        (None, _) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_masked_and_a_request_is_not() {
        let text = "device 00-DB-12-34-56-78-90-A4: request 90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1793 (00-db-12-34-56-78-90-a5)";
        assert_eq!(
            impersonal(text),
            "device **-**-**-**-**-**-**-A4: request 90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1793 (**-**-**-**-**-**-**-a5)"
        );
        assert_eq!(impersonal("MPAN 2298132107763 § ü"), "MPAN *********7763 § ü");
        assert_eq!(impersonal("mpan:2298132107763"), "mpan:*********7763");
        let request = "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:2298132107763";
        assert_eq!(impersonal(request), request, "a counter");
    }

    proptest::proptest! {
        #[test]
        fn whatever_surrounds_it_no_device_and_no_mpan_is_left(before in "[ a-z(§,.]{0,5}[ :(=]", after in "[ )§,.;]{0,5}", n: u64, m in 0u64..1_000_000_000_000) {
            let (device, mpan) = (Eui(n).to_string(), Mpan::from_first_twelve(m).to_string());
            let told = impersonal(&format!("{before}{device}{after} {before}{mpan}{after}"));
            proptest::prop_assert!(!told.contains(&device) && !told.contains(&mpan), "{}", told);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9A-F:\\-§]{0,80}") {
            let _ = impersonal(&text);
        }
    }
}
