//! What the samples of the wire must say, and to whom.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{random::OwnedRequest, samples::*, *};
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
    assert_eq!((verified.kind, verified.request_id), (Some(MessageKind::Request), Some(request.id)));
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
fn the_inventory_dcc_really_sent_is_read_completely() {
    let Some(bytes) = sample("real-8.2-read-inventory-response.xml") else { return };
    let response = read_response(&bytes, &dcc_set(), sample_time()).unwrap();
    assert_eq!((response.schema_version.as_str(), response.at), ("5.4", "2025-12-28T16:51:01.185Z".parse().unwrap()));
    let Body::Message { service_reference, service_reference_variant, content: Content::Inventory(devices) } = response.body
    else {
        panic!("an inventory")
    };
    assert_eq!((service_reference.as_str(), service_reference_variant.as_str()), ("8.2", "8.2"));
    let text = |t: &str| Some(t.to_owned());
    let address = Some(PropertyFilter { post_code: "1111-111".into(), address_identifier: "12334".into() });
    let hub = InventoryDevice {
        device_id: "88-73-84-90-6A-10-02-DB".parse().unwrap(),
        device_type: "CHF".into(),
        device_status: text("Commissioned"),
        manufacturer: "106C".into(),
        model: "433100AC".into(),
        smets_chts_version: text("CHTS V1.4"),
        firmware_version: text("9001"),
        firmware_version_status: text("Active"),
        cpl_status: text("Active"),
        date_commissioned: text("2025-12-28Z"),
        import_mpxn: None,
        secondary_import_mpan: None,
        export_mpan: None,
        esme_variant: None,
        uprn: text("123456789012"),
        property_filter: address,
        csp_region: text("4G Central"),
        gbcs_version: text("4.2"),
        han_variant: text("Single Band"),
        s1sp: None,
        connectivity: text("Virtual"),
    };
    let cad = InventoryDevice {
        device_id: "BC-6E-76-FE-00-7C-B4-F3".parse().unwrap(),
        device_type: "CAD".into(),
        device_status: None,
        manufacturer: "GEO".into(),
        model: "9001".into(),
        smets_chts_version: None,
        firmware_version: None,
        date_commissioned: None,
        csp_region: text("Central"),
        han_variant: None,
        connectivity: None,
        ..hub.clone()
    };
    let gpf = InventoryDevice {
        device_id: "88-73-84-CC-6A-10-02-DB".parse().unwrap(),
        device_type: "GPF".into(),
        device_status: text("InstalledNotCommissioned"),
        date_commissioned: None,
        han_variant: None,
        connectivity: None,
        ..hub.clone()
    };
    // Not assert_eq!: what it would print hides half of a device.
    assert!(devices[0] == hub && devices[1] == cad && devices[2] == gpf && devices.len() == 3);
    // Nothing of it is lost: written again, it holds every text that was sent.
    let body = Body::Message { service_reference, service_reference_variant, content: Content::Inventory(devices) };
    let again = write_response(&Response { body, ..response }, &signer("1").0).unwrap().bytes;
    assert_eq!(leaves(&String::from_utf8(again).unwrap()), leaves(&String::from_utf8(bytes).unwrap()));
}

/// The leaves of Header and Body: the path of names, and the text.
fn leaves(document: &str) -> Vec<(String, String)> {
    let document = roxmltree::Document::parse(document).unwrap();
    let leaf = |n: &roxmltree::Node<'_, '_>| {
        n.is_element() && n.tag_name().namespace() == Some(SR) && !n.children().any(|c| c.is_element())
    };
    let path = |n: roxmltree::Node<'_, '_>| {
        let names: Vec<&str> = n.ancestors().filter(|a| a.is_element()).map(|a| a.tag_name().name()).collect();
        names.into_iter().rev().collect::<Vec<_>>().join("/")
    };
    document.descendants().filter(leaf).map(|n| (path(n), n.text().unwrap_or("").to_owned())).collect()
}

/// The industry's templates are pretty-printed and carry placeholders for a signature: what they ask for is, element by element,
/// what is written here for the same parameters.
#[test]
fn what_the_templates_ask_is_what_is_written_here() {
    for (name, kind) in [
        ("template-8.2-read-inventory.xml", RequestKind::ReadInventory),
        ("8.2_READ_INVENTORY_REQUEST_DUIS.XML", RequestKind::ReadInventory),
        ("template-11.1-update-firmware.xml", RequestKind::UpdateFirmware),
        ("template-11.2-read-firmware-version.xml", RequestKind::ReadFirmwareVersion),
        ("CS08_11.2_SUCCESS_REQUEST_DUIS.XML", RequestKind::ReadFirmwareVersion),
        ("template-11.4-update-ppmid-firmware.xml", RequestKind::UpdatePpmidFirmware),
        ("11.4_UPDATE_PPMID_FIRMWARE_REQUEST_DUIS.XML", RequestKind::UpdatePpmidFirmware),
    ] {
        let Some(bytes) = sample(name) else { return };
        let template = String::from_utf8(bytes).unwrap();
        let asked = leaves(&template);
        let of = |leaf: &str| asked.iter().find(|(path, _)| path.ends_with(leaf)).map_or("", |(_, text)| text.as_str());
        let request = OwnedRequest {
            id: of("/RequestID").parse().unwrap(),
            duis_version: "5.4".parse().unwrap(),
            kind,
            device: of("/DeviceID").parse().unwrap_or(crate::ids::Eui(0)),
            image: STANDARD.decode(of("/FirmwareImage")).unwrap(),
            firmware_version: of("/FirmwareVersion").into(),
            devices: of("/DeviceIDList").split(',').filter_map(|d| d.parse().ok()).collect(),
        };
        let (signer, _) = signer("4711");
        let written = build_request(&request.as_request(), &signer).unwrap().bytes;
        let text = std::str::from_utf8(&written).unwrap();
        assert_eq!(leaves(text), asked, "{name}");
        let root = |text: &str| {
            let document = roxmltree::Document::parse(text).unwrap();
            let root = document.root_element();
            (root.tag_name().name().to_owned(), root.attribute("schemaVersion").map(str::to_owned))
        };
        assert_eq!(root(text), root(&template));
        assert_eq!(read_request(&written, &pinned(&signer), sample_time()).unwrap().body, request.body());
    }
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
