//! What is written here is read back equal; what may not be written is refused.

use proptest::prelude::*;

use super::{samples::*, *};

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

#[test]
fn what_a_request_may_not_hold_is_refused_before_it_is_signed() {
    let (signer, _) = signer("4711");
    let id = "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1000".parse().unwrap();
    let good = OwnedRequest { id, image: vec![1; 10], firmware_version: "12345678".into(), devices: vec![crate::ids::Eui(1)] };
    let build = |r: &OwnedRequest| build_update_firmware(&r.as_request(), &signer).map(|_| ());
    assert!(build(&good).is_ok());
    assert!(matches!(build(&OwnedRequest { devices: vec![], ..good.clone() }), Err(BuildError::Devices(0))));
    assert!(matches!(
        build(&OwnedRequest { devices: vec![crate::ids::Eui(1); 50_001], ..good.clone() }),
        Err(BuildError::Devices(50_001))
    ));
    assert!(matches!(build(&OwnedRequest { image: vec![], ..good.clone() }), Err(BuildError::Image(0))));
    assert!(matches!(build(&OwnedRequest { image: vec![0; MAX_IMAGE_BYTES + 1], ..good.clone() }), Err(BuildError::Image(_))));
    for version in ["", "123456789", "a\u{1}", "\u{ffff}"] {
        let bad = OwnedRequest { firmware_version: version.into(), ..good.clone() };
        assert!(matches!(build(&bad), Err(BuildError::FirmwareVersion(_))), "{version:?}");
    }
    let mut response = acknowledgement("I0");
    for body in [
        Body::Other(UnknownElement { name: "x><y".into(), xml: String::new() }),
        Body::Alert {
            alert_code: "N1".into(),
            throttled_alert_count: None,
            alert: Alert::Other(UnknownElement { name: "z".into(), xml: String::new() }),
            unknown: Vec::new(),
        },
    ] {
        response.body = body;
        assert!(matches!(write_response(&response, &signer), Err(BuildError::Unwritable(_))));
    }
}

#[test]
fn the_largest_request_fits_the_cap_and_is_not_moved_while_it_is_built() {
    let (signer, _) = signer("4711");
    let id = "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1000".parse().unwrap();
    let devices = (0..50_000u64).map(crate::ids::Eui).collect();
    let request = OwnedRequest { id, image: vec![7; MAX_IMAGE_BYTES], firmware_version: "00000001".into(), devices };
    let message = build_update_firmware(&request.as_request(), &signer).unwrap();
    assert!(message.bytes.len() <= MAX_MESSAGE_BYTES);
    assert!(message.bytes.capacity() - message.bytes.len() < 4_096, "it grew beyond what was reserved");
    let read = read_request(&message.bytes, &pinned(&signer), sample_time()).unwrap();
    assert_eq!(
        read.body,
        RequestBody::UpdateFirmware(FirmwareUpdate {
            image: request.image,
            firmware_version: "00000001".into(),
            devices: request.devices
        })
    );
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
        let message = build_update_firmware(&request.as_request(), one_signer()).unwrap();
        let read = read_request(&message.bytes, &pinned(one_signer()), sample_time()).unwrap();
        prop_assert_eq!(read.body_digest, message.body_digest);
        prop_assert_eq!(body_digest_of_update_firmware(&request.as_request()).unwrap(), message.body_digest);
        prop_assert_eq!(read.id, request.id);
        let OwnedRequest { image, firmware_version, devices, .. } = request;
        prop_assert_eq!(read.body, RequestBody::UpdateFirmware(FirmwareUpdate { image, firmware_version, devices }));
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
