//! What people and programs see of messages: everything that matters, and no address.

use super::{super::super::duis::view::fields, *};
use crate::{
    duis::{Body, Claimed, Content, InventoryDevice, PropertyFilter, Response, Smets1FirmwareStatus},
    gateway::{
        inbox::Source,
        testing::{acknowledgement, alert, id},
    },
    ids::Eui,
};

fn entry(n: i64, kind: &str, state: InboxState) -> InboxEntry {
    InboxEntry {
        id: n,
        received_at: "2026-11-24T12:00:00Z".parse().unwrap(),
        source: Source::Post,
        kind: kind.into(),
        response_code: "I0".into(),
        request_id: Some(id(1766940660265)),
        device_id: Some(Eui(0x00DB_1234_5678_90A4)),
        stands_for: 1,
        size: 1_742,
        state,
        reason: None,
        note: None,
        settled_at: None,
    }
}

fn refused() -> InboxEntry {
    InboxEntry {
        kind: String::new(),
        response_code: String::new(),
        request_id: None,
        device_id: None,
        reason: Some("unknown-certificate".into()),
        note: Some("it is signed with a certificate that is not pinned: CN=Z1,OU=07, serial 7".into()),
        ..entry(4710, "", InboxState::Rejected)
    }
}

#[test]
fn a_list_for_people_and_for_spreadsheets() {
    let throttled = InboxEntry { stands_for: 40, ..entry(4712, "S1SPAlertDSP", InboxState::Unmatched) };
    let note = Some("S1SPAlertDSP: S7, which names no device.\nIts text: \u{1b}[2J".to_string());
    let rows = [InboxEntry { note, ..throttled }, entry(4711, "SMETS1CHFirmwareNotification", InboxState::Settled), refused()];
    let mut out = Vec::new();
    for output in [Output::Table, Output::Csv] {
        let mut listing = Listing::new(&mut out, output, headers(output)).unwrap();
        rows.iter().for_each(|e| listing.row(&cells(output, e), e).unwrap());
        listing.finish().unwrap();
        out.push(b'\n');
    }
    let waiting = BTreeMap::from([
        (InboxState::Unmatched, 2),
        (InboxState::Failed, 1),
        (InboxState::Rejected, 5),
        (InboxState::Forwarding, 9),
    ]);
    let mut text = String::from_utf8(out).unwrap();
    text += &footer(&waiting, Some(4710)).join("\n");
    insta::assert_snapshot!(text);
    assert!(footer(&BTreeMap::new(), None).is_empty());
}

fn shown(entry: InboxEntry, says: Result<Response, &str>) -> Map<String, Value> {
    let verified = entry.reason.is_none();
    let says = says.map(Claimed::Response).map_err(str::to_owned);
    opened(&OpenedMessage { entry, says, verified, signer: Some(("CN=Z1,OU=07".into(), "7".into())) })
}

#[test]
fn one_message_for_people_and_for_programs() {
    let mut activated = alert(0x00DB_1234_5678_90A4);
    activated.request_id = Some(id(1766940660265));
    let Body::Alert { alert: crate::duis::Alert::Smets1FirmwareNotification { status, .. }, .. } = &activated.body else {
        panic!()
    };
    assert_eq!(*status, Smets1FirmwareStatus::ActivationSuccessful);
    let settled = shown(entry(4711, "SMETS1CHFirmwareNotification", InboxState::Settled), Ok(activated));
    let forged = shown(refused(), Err("it is not XML of the kind allowed"));
    let lines = |shown: &Map<String, Value>| fields(shown).iter().map(|(k, v)| format!("{k}: {v}\n")).collect::<String>();
    insta::assert_snapshot!(format!("{}\n{}", lines(&settled), lines(&forged)));
    assert_eq!((&settled["verified"], &forged["verified"]), (&true.into(), &false.into()));
}

#[test]
fn no_address_is_shown_and_supply_numbers_are_masked() {
    let device = InventoryDevice {
        device_id: Eui(0x00DB_1234_5678_90A4),
        device_type: "PPMID".into(),
        import_mpxn: Some("2298132107763".into()),
        uprn: Some("123456789012".into()),
        property_filter: Some(PropertyFilter { post_code: "AB1 2CD".into(), address_identifier: "12 High Street".into() }),
        ..crate::duis::random::inventory_device_of(Eui(1))
    };
    let body = Body::Message {
        service_reference: "8.2".into(),
        service_reference_variant: "8.2".into(),
        content: Content::Inventory(vec![device]),
    };
    let response = Response { body, ..acknowledgement(7, "I0") };
    let shown = shown(entry(1, "DSPInventory", InboxState::Settled), Ok(response));
    let json = Value::Object(shown.clone()).to_string();
    let table: String = fields(&shown).into_iter().map(|(k, v)| format!("{k} {v}")).collect();
    for text in [json, table] {
        for secret in ["2298132107763", "123456789012", "AB1 2CD", "12 High Street"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        assert!(text.contains("*********7763"), "{text}");
    }
}
