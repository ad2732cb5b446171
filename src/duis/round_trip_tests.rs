//! What is written here is read back equal; what may not be written is refused.

use proptest::prelude::*;

use super::{
    random::{self, OwnedRequest, request, response},
    samples::*,
    *,
};
use crate::ids::Eui;

#[test]
fn our_own_unsigned_refusal_reads_back() {
    let refusal = acknowledgement("E4");
    assert_eq!(read_unsigned_refusal(&write_unsigned_refusal(&refusal)).unwrap(), refusal);
    assert!(read_unsigned_refusal(&write_unsigned_refusal(&acknowledgement("I99"))).is_err());
}

#[test]
fn a_key_must_be_the_certificates_own_and_pkcs8() {
    let (one, _) = signer("1");
    let (_, public) = signer("2");
    let key = fresh_key_pem();
    let other = FileSigner::from_pem(key.as_bytes(), one.certificate().clone());
    assert!(matches!(other, Err(SignError::Mismatch)));
    for bad in [
        public.as_bytes(),
        b"",
        b"not PEM",
        key.replace("PRIVATE KEY", "EC PRIVATE KEY").as_bytes(),
        pem("PRIVATE KEY", &[1, 2, 3]).as_bytes(),
    ] {
        assert!(matches!(FileSigner::from_pem(bad, one.certificate().clone()), Err(SignError::Key { .. })));
    }
    assert!(!format!("{one:?}").contains("EcdsaKeyPair"));
}

#[test]
fn a_signer_is_loaded_from_two_files_and_names_the_one_that_is_wrong() {
    let Some(certificates) = shared("certs") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (key, missing) = (folder.path().join("key.pem"), folder.path().join("none.pem"));
    let certificate = certificates.join("xml-sign-90B3D51F30010000-ds.pem");
    std::fs::write(&key, fresh_key_pem()).unwrap();
    assert!(matches!(FileSigner::load(&key, &certificate), Err(SignError::Mismatch)));
    let error = FileSigner::load(&missing, &certificate).unwrap_err();
    assert!(error.to_string().contains("none.pem"), "{error}");
    let error = FileSigner::load(&key, &missing).unwrap_err();
    assert!(matches!(error, SignError::Certificate(CertificateError::Read { .. })), "{error}");
    let error = FileSigner::load(&certificate, &certificate).unwrap_err();
    assert!(error.to_string().contains("it is a CERTIFICATE, not a PKCS#8 PRIVATE KEY"), "{error}");
}

fn builds(request: &OwnedRequest) -> Result<(), BuildError> {
    let signed = build_request(&request.as_request(), one_signer()).map(|_| ());
    let digested = request_digest(&request.as_request()).map(|_| ());
    assert_eq!(format!("{signed:?}"), format!("{digested:?}"), "what cannot be built cannot be committed");
    signed
}

#[test]
fn what_a_request_may_not_hold_is_refused_before_it_is_signed() {
    for kind in [RequestKind::UpdateFirmware, RequestKind::UpdatePpmidFirmware] {
        let good = OwnedRequest { kind, duis_version: "5.0".parse().unwrap(), ..OwnedRequest::update_firmware() };
        assert!(builds(&good).is_ok());
        let of = |devices: Vec<Eui>| OwnedRequest { devices, ..good.clone() };
        assert!(matches!(builds(&of(vec![])), Err(BuildError::Devices(0))));
        let count = MAX_DEVICES_PER_REQUEST as u64;
        assert!(builds(&of((0..count).map(Eui).collect())).is_ok());
        assert!(matches!(builds(&of((0..=count).map(Eui).collect())), Err(BuildError::Devices(50_001))));
        assert!(matches!(builds(&of(vec![Eui(2), Eui(2)])), Err(BuildError::Twice(Eui(2)))));
        assert!(matches!(builds(&of(vec![Eui(3), Eui(2), Eui(1), Eui(3)])), Err(BuildError::Twice(Eui(3)))));
        assert!(builds(&of(vec![Eui(3), Eui(2), Eui(1)])).is_ok());
        assert!(matches!(builds(&OwnedRequest { image: vec![], ..good.clone() }), Err(BuildError::Image(0))));
        assert!(matches!(
            builds(&OwnedRequest { image: vec![0; MAX_IMAGE_BYTES + 1], ..good.clone() }),
            Err(BuildError::Image(_))
        ));
        for version in ["", "123456789", "a\u{1}", "\u{ffff}"] {
            let bad = OwnedRequest { firmware_version: version.into(), ..good.clone() };
            assert!(matches!(builds(&bad), Err(BuildError::FirmwareVersion(_))), "{version:?}");
        }
    }
}

#[test]
fn a_version_that_is_not_known_or_lacks_the_request_is_refused() {
    for kind in RequestKind::ALL {
        let of = |version: &str| {
            builds(&OwnedRequest { kind, duis_version: version.parse().unwrap(), ..OwnedRequest::update_firmware() })
        };
        for unknown in ["0.0", "2.1", "3.2", "4.0", "5.5", "6.0", "9.9"] {
            let error = of(unknown).unwrap_err();
            assert!(matches!(error, BuildError::Version(_)), "{error}");
        }
        for known in ["5.0", "5.1", "5.2", "5.3", "5.4"] {
            assert!(of(known).is_ok());
        }
        for early in ["3.0", "3.1"] {
            match kind {
                RequestKind::UpdatePpmidFirmware => assert_eq!(
                    of(early).unwrap_err().to_string(),
                    format!("11.4 (UpdatePPMIDFirmware) came with DUIS 5.0, and the version to be written is {early}")
                ),
                _ => assert!(of(early).is_ok()),
            }
        }
    }
}

#[test]
fn what_the_schema_has_no_way_to_say_is_refused() {
    let lists = |body| write_response(&Response { body, ..acknowledgement("I0") }, one_signer()).map(|_| ());
    let whole = |name: &str, xml: &str| UnknownElement { name: name.into(), xml: xml.into() };
    let alert = |alert, unknown| Body::Alert { alert_code: "N1".into(), throttled: Throttled::default(), alert, unknown };
    let good = random::unknown("x", "");
    assert!(lists(Body::Other(good.clone())).is_ok());
    for body in [
        Body::Other(whole("x><y", "")),
        Body::Other(whole("y", &good.xml)),
        Body::Other(whole("x", &format!("{0}{0}", good.xml))),
        Body::Other(whole("x", &format!("{} ", good.xml))),
        Body::Other(whole("x", "<!DOCTYPE x>")),
        alert(Alert::Other(whole("z", "<sr:z>")), vec![]),
        alert(
            Alert::FirmwareDistributionFailure { request_id: acknowledgement("I0").request_id.unwrap(), devices: vec![] },
            vec![],
        ),
        alert(Alert::PpmidRemoval { device: Eui(1), comms_hub: Eui(2) }, vec![good.clone()]),
    ] {
        let shown = format!("{body:?}");
        assert!(matches!(lists(body), Err(BuildError::Unwritable(_))), "{shown}");
    }
    let bad = Response { code: "\u{0}".into(), ..acknowledgement("I0") };
    assert!(matches!(write_response(&bad, one_signer()), Err(BuildError::Unwritable(_))));
    assert!(write_unsigned_refusal(&bad).is_empty());
}

#[test]
fn the_largest_request_fits_the_cap_and_is_not_moved_while_it_is_built() {
    let largest = OwnedRequest {
        image: (0..MAX_IMAGE_BYTES).map(|n| n as u8).collect(),
        devices: (0..MAX_DEVICES_PER_REQUEST as u64).map(Eui).collect(),
        ..OwnedRequest::update_firmware()
    };
    let message = build_request(&largest.as_request(), one_signer()).unwrap();
    assert!(message.bytes.len() <= MAX_MESSAGE_BYTES);
    assert!(message.bytes.capacity() - message.bytes.len() < 4_096, "it grew beyond what was reserved");
    assert_eq!(read_request(&message.bytes, &pinned(one_signer()), sample_time()).unwrap().body, largest.body());
}

fn one_signer() -> &'static FileSigner {
    static SIGNER: std::sync::OnceLock<FileSigner> = std::sync::OnceLock::new();
    SIGNER.get_or_init(|| signer("167048897159233642262001557408276884033").0)
}

proptest! {
    #[test]
    fn responses_written_are_read_back_equal(response in response()) {
        let message = write_response(&response, one_signer()).unwrap();
        let read = read_response(&message.bytes, &pinned(one_signer()), sample_time()).unwrap();
        prop_assert_eq!(read, response);
        let text = std::str::from_utf8(&message.bytes).unwrap();
        prop_assert_eq!(canonical::inclusive(&roxmltree::Document::parse(text).unwrap(), None), text);
    }

    #[test]
    fn requests_written_are_read_back_equal(request in request()) {
        let message = build_request(&request.as_request(), one_signer()).unwrap();
        let read = read_request(&message.bytes, &pinned(one_signer()), sample_time()).unwrap();
        prop_assert_eq!(request_digest(&request.as_request()).unwrap(), message.body_digest);
        let reference = request.kind.service_reference().to_owned();
        prop_assert_eq!(read, Request {
            schema_version: request.duis_version.to_string(),
            id: request.id,
            command_variant: request.kind.command_variant(),
            service_reference: reference.clone(),
            service_reference_variant: reference,
            body: request.body(),
            body_digest: message.body_digest,
        });
        let text = std::str::from_utf8(&message.bytes).unwrap();
        prop_assert_eq!(canonical::inclusive(&roxmltree::Document::parse(text).unwrap(), None), text);
    }

    #[test]
    fn no_single_changed_byte_makes_another_message(response in response(), at in any::<prop::sample::Index>(), byte: u8) {
        let message = write_response(&response, one_signer()).unwrap();
        let mut bytes = message.bytes.clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = read_response(&bytes, &pinned(one_signer()), sample_time()) {
            prop_assert_eq!(read, response);
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes: Vec<u8>) {
        let set = CertificateSet::default();
        let _ = (read_response(&bytes, &set, sample_time()), read_request(&bytes, &set, sample_time()));
        let _ = (read_unsigned_refusal(&bytes), message_kind(&bytes), Certificate::from_pem(&bytes));
    }
}
