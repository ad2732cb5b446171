//! By what a message is known when it comes again. Pure. Promise: two different messages never share a key (that would lose
//! one); where that is in doubt, the key is finer, since a message settled twice changes nothing.
//!
//! The ResponseID is the key where there is one (signature profile, rule 8). Where there is none, it is the RequestID with
//! the kind of message; *kind* is taken to include what the message says: its code and everything read of its body, since one
//! RequestID covers up to 50,000 devices whose alerts must not swallow each other. With neither id the time DCC wrote into the
//! message takes the RequestID's place. What is not known is part of the content as its canonical XML, so nothing hangs on the
//! bytes: a copy signed again is the same message. Another build may read more and give another key: then one is stored twice.

use std::{
    fmt::Write,
    hash::{Hash, Hasher},
};

use sha2::{Digest, Sha256};

use crate::{duis::Response, ids::Sha256Hash};

/// The key of a verified message: unique in the inbox.
pub fn dedupe_key(response: &Response) -> String {
    if let Some(id) = response.response_id {
        return format!("response {id}");
    }
    let known_by = match response.request_id {
        Some(id) => format!("request {id}"),
        None => format!("at {}", response.at.0),
    };
    let mut content = ContentDigest(Sha256::new());
    response.body.hash(&mut content);
    format!("{known_by} {} {} {}", response.kind(), response.code, hex(content.0))
}

/// The key of a verified message that could not be read: the digest that was signed, since its bytes and its signature can be
/// written in other ways that are as good.
pub fn dedupe_key_of_unreadable(digest: Sha256Hash) -> String {
    format!("unreadable {digest}")
}

/// What [`Hash`] tells of a message, digested so that nobody can make two messages meet.
struct ContentDigest(Sha256);

impl Hasher for ContentDigest {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nobody asks for 64 bits of it.
    fn finish(&self) -> u64 {
        0
    }
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes any text");
        hex
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        clock::Time,
        duis::{
            Alert, Body, Content, FileSigner, InventoryDevice, Smets1Content, Smets1FirmwareStatus, Smets1Response, Throttled,
            UnknownElement, random, read_response, samples, write_response,
        },
        ids::{Eui, RequestId},
    };

    fn id(counter: u64) -> RequestId {
        RequestId { originator: Eui(1), target: Eui(2), counter }
    }

    fn response(request: Option<u64>, response: Option<u64>, body: Body) -> Response {
        Response {
            schema_version: "3.1".into(),
            request_id: request.map(id),
            response_id: response.map(id),
            code: "I0".into(),
            at: Time(1000),
            body,
        }
    }

    fn alert(device: u64, status: Smets1FirmwareStatus) -> Body {
        let alert = Alert::Smets1FirmwareNotification { device: Eui(device), firmware_version: "9001".into(), status };
        Body::Alert { alert_code: "N57".into(), throttled: Throttled::default(), alert, unknown: Vec::new() }
    }

    fn message(content: Content) -> Body {
        Body::Message { service_reference: "11.1".into(), service_reference_variant: "11.1".into(), content }
    }

    #[test]
    fn the_response_id_alone_decides_where_there_is_one() {
        use Smets1FirmwareStatus::*;
        let first = dedupe_key(&response(Some(1), Some(7), alert(1, UpdateRequested)));
        assert_eq!(first, dedupe_key(&response(None, Some(7), alert(2, ActivationSuccessful))));
        assert_ne!(first, dedupe_key(&response(Some(1), Some(8), alert(1, UpdateRequested))));
    }

    #[test]
    fn alerts_of_one_request_do_not_swallow_each_other() {
        use Smets1FirmwareStatus::*;
        for request in [Some(1), None] {
            let key = |device, status| dedupe_key(&response(request, None, alert(device, status)));
            assert_ne!(key(1, UpdateRequested), key(2, UpdateRequested));
            assert_ne!(key(1, UpdateRequested), key(1, ActivationSuccessful));
            assert_eq!(key(1, UpdateRequested), key(1, UpdateRequested));
        }
    }

    #[test]
    fn a_response_without_its_own_id_is_known_by_its_request_and_kind() {
        let key = |at, content| dedupe_key(&Response { at: Time(at), ..response(Some(5), None, message(content)) });
        assert_eq!(key(1, Content::None), key(2, Content::None));
        assert_ne!(key(1, Content::None), key(1, Content::UpdateFirmwareWarning(Default::default())));
    }

    /// What `Debug` hides (supply numbers, addresses, what is unknown) is told apart all the same.
    #[test]
    fn what_is_not_shown_is_told_apart() {
        let unknown = |xml: &str| UnknownElement { name: "New".into(), xml: xml.into() };
        let with = |unknown| Body::Alert {
            alert_code: "N1".into(),
            throttled: Throttled::default(),
            alert: Alert::PpmidRemoval { device: Eui(1), comms_hub: Eui(2) },
            unknown: vec![unknown],
        };
        let other = |xml| Body::Alert {
            alert_code: "N1".into(),
            throttled: Throttled::default(),
            alert: Alert::Other(unknown(xml)),
            unknown: Vec::new(),
        };
        let smets1 = |version: &str| {
            Body::Smets1(Smets1Response {
                service_reference: None,
                service_reference_variant: None,
                throttled: Throttled::default(),
                device: Eui(1),
                target: Eui(2),
                counter: 3,
                content: Smets1Content::FirmwareVersion { success: None, firmware_version: Some(version.into()) },
            })
        };
        let device = |code: &str, gbcs_payload: &[u8]| Body::DeviceAlert {
            alert_code: code.into(),
            throttled: Throttled::default(),
            gbcs_payload: gbcs_payload.into(),
        };
        let inventory = |mpxn: &str| {
            let mut device: InventoryDevice = random::inventory_device_of(Eui(1));
            device.import_mpxn = Some(mpxn.into());
            message(Content::Inventory(vec![device]))
        };
        for (one, two) in [
            (with(unknown("<a></a>")), with(unknown("<b></b>"))),
            (other("<a></a>"), other("<b></b>")),
            (Body::Other(unknown("<a></a>")), Body::Other(unknown("<b></b>"))),
            (smets1("1"), smets1("2")),
            (device("8F72", b"x"), device("8F72", b"y")),
            (inventory("1"), inventory("2")),
            (message(Content::GbcsPayload(vec![1])), message(Content::GbcsPayload(vec![2]))),
        ] {
            let key = |body: &Body| dedupe_key(&response(Some(1), None, body.clone()));
            assert_ne!(key(&one), key(&two), "{one:?}");
            assert_eq!(key(&one), key(&one));
        }
    }

    fn one_signer() -> &'static FileSigner {
        static SIGNER: std::sync::OnceLock<FileSigner> = std::sync::OnceLock::new();
        SIGNER.get_or_init(|| samples::signer("1").0)
    }

    proptest! {
        /// ECDSA gives another signature each time: other bytes, the same message.
        #[test]
        fn a_copy_signed_again_has_the_same_key(response in random::response()) {
            let read = |n: usize| {
                let bytes = write_response(&response, one_signer()).unwrap().bytes;
                (n, read_response(&bytes, &samples::pinned(one_signer()), samples::sample_time()).unwrap())
            };
            let (one, two) = (read(1).1, read(2).1);
            prop_assert_eq!(dedupe_key(&one), dedupe_key(&two));
        }

        #[test]
        fn messages_that_differ_have_different_keys(one in random::response(), two in random::response()) {
            let without = |r: &Response| Response { response_id: None, request_id: Some(id(1)), code: "I0".into(), ..r.clone() };
            prop_assert_eq!(one.body == two.body, dedupe_key(&without(&one)) == dedupe_key(&without(&two)));
        }
    }
}
