//! What the samples of the wire must say, and to whom.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{samples::*, *};
use crate::clock::Time;

#[test]
fn the_request_of_the_reference_tool_verifies_and_reads() {
    let Some(bytes) = sample("request-11.1-signed-by-reference-tool.xml") else { return };
    let request = read_request(&bytes, &supplier_set(), sample_time()).unwrap();
    assert_eq!(
        (request.schema_version.as_str(), request.command_variant, request.service_reference.as_str()),
        ("5.4", 8, "11.1")
    );
    let RequestBody::UpdateFirmware(FirmwareUpdate { image, firmware_version, devices }) = request.body else {
        panic!("it is an 11.1")
    };
    assert_eq!(
        (image.len(), firmware_version.as_str(), devices[0].to_string()),
        (361, "00000000", "00-DB-12-34-56-78-90-A0".into())
    );
    assert_eq!(STANDARD.encode(request.body_digest.0), "Nu8ro3vSgp6AVdrDV+m1nd6svgwgDl6Tq8grjplqIeo=");
    assert_eq!(message_kind(&bytes).unwrap(), MessageKind::Request);
    let verified = verify_message(&bytes, &supplier_set(), sample_time()).unwrap();
    assert_eq!((verified.kind, verified.request_id), (MessageKind::Request, Some(request.id)));
    assert_eq!(verified.digest, request.body_digest);
    let as_response = read_response(&bytes, &supplier_set(), sample_time()).unwrap_err();
    assert!(matches!(as_response, SignatureError::Content(_)), "{as_response}");
    // The supplier's own key is not DCC's.
    let own = read_response(&bytes, &dcc_set(), sample_time()).unwrap_err();
    assert!(matches!(own, SignatureError::UnknownCertificate { .. }), "{own}");
}

#[test]
fn responses_of_dcc_verify_and_read() {
    let names = [
        "real-8.2-read-inventory-response",
        "made-11.1-response-warning",
        "made-alert-s1sp",
        "made-alert-smets1-firmware-notification",
    ];
    let mut read = Vec::new();
    for name in names {
        let Some(bytes) = sample(&format!("{name}.xml")) else { return };
        read.push(read_response(&bytes, &dcc_set(), sample_time()).unwrap());
        let ours = read_response(&bytes, &supplier_set(), sample_time()).unwrap_err();
        assert!(matches!(ours, SignatureError::UnknownCertificate { .. }));
        let early = read_response(&bytes, &dcc_set(), Time(0)).unwrap_err();
        assert_eq!(early, SignatureError::CertificateNotValid);
    }
    let [inventory, warning, s1sp, notification] = read.try_into().unwrap();
    assert_eq!(
        (inventory.kind(), inventory.code.as_str(), inventory.request_id.unwrap().counter),
        ("DSPInventory", "I0", 1766940660265)
    );
    let Body::Message { content: Content::UpdateFirmwareWarning(lists), .. } = warning.body else { panic!("it is a warning") };
    assert_eq!((lists.invalid.len(), lists.not_commissioned.len(), lists.invalid_gbcs_version.len()), (2, 1, 0));
    let Body::Alert { alert_code, alert: Alert::S1spAlert { code, information, device, .. }, .. } = s1sp.body else {
        panic!("S1SP")
    };
    assert_eq!((alert_code.as_str(), code.as_str(), information.as_deref()), ("N55", "S1VE1", Some("sample")));
    assert_eq!(device.unwrap().to_string(), "00-DB-12-34-56-78-90-A0");
    let Body::Alert { alert: Alert::Smets1FirmwareNotification { status, .. }, .. } = notification.body else { panic!("SMETS1") };
    assert_eq!(status, Smets1FirmwareStatus::UpdateRequested);
}

#[test]
fn an_unsigned_acknowledgement_is_a_refusal_and_nothing_else() {
    let Some(bytes) = sample("real-acknowledgement-error-unsigned.xml") else { return };
    let read = read_unsigned_refusal(&bytes).unwrap();
    assert_eq!((read.code.as_str(), read.request_id.unwrap().counter), ("E65", 1658482675800));
    assert_eq!(read_response(&bytes, &dcc_set(), sample_time()).unwrap_err(), SignatureError::Unsigned);
    let text = String::from_utf8(bytes).unwrap();
    for success in ["I0", "I99", "W110101", "", "e65", "X"] {
        let forged = text.replace("E65", success);
        let error = read_unsigned_refusal(forged.as_bytes()).unwrap_err();
        assert!(!matches!(error, SignatureError::Content(_)), "{success}");
    }
    let (start, end) = (text.find("<sr:RequestID>").unwrap(), text.find("<sr:ResponseCode>").unwrap());
    assert!(read_unsigned_refusal(format!("{}{}", &text[..start], &text[end..]).as_bytes()).is_err());
    let (signer, _) = signer("4711");
    let signed = write_response(&acknowledgement("E4"), &signer).unwrap().bytes;
    assert!(matches!(read_unsigned_refusal(&signed), Err(SignatureError::Profile(_))));
}

#[test]
fn truncated_anywhere_no_sample_is_read_or_panics() {
    for name in ["made-alert-s1sp.xml", "real-8.2-read-inventory-response.xml", "real-acknowledgement-error-unsigned.xml"] {
        let Some(bytes) = sample(name) else { return };
        let dcc = dcc_set();
        let whole = bytes.trim_ascii_end().len();
        for length in 0..whole {
            assert!(read_response(&bytes[..length], &dcc, sample_time()).is_err());
            assert!(read_unsigned_refusal(&bytes[..length]).is_err());
        }
    }
}
