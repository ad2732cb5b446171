//! What a message says, as a person or a program may see it: addresses are left out, supply numbers masked, payloads told by their size and
//! hash. Not a verdict on its signature.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    duis::{
        Alert, Body, ChangeOfSupplier, Claimed, Content, DeviceStatusChange, FirmwareUpdate, InventoryDevice, MeterMpxns,
        Request, RequestBody, Response, Smets1Content, Smets1Response, Throttled, UnknownElement, UpdateFirmwareWarning,
        Withheld,
    },
    ids::{DeviceId, ImageId, Mpan},
};

/// Characters at the end of a supply number that are shown.
const MPXN_SHOWN_CHARS: usize = 4;
/// Most devices named in one cell of a table; JSON names all.
const DEVICES_IN_A_CELL: usize = 5;

/// A message as an object with a fixed order of keys.
pub fn message(claimed: &Claimed) -> Map<String, Value> {
    match claimed {
        Claimed::Request(request) => self::request(request),
        Claimed::Response(response) => self::response(response),
    }
}

/// The firmware image of a request that carries one.
pub fn image(claimed: &Claimed) -> Option<&[u8]> {
    match claimed {
        Claimed::Request(Request {
            body: RequestBody::UpdateFirmware(update) | RequestBody::UpdatePpmidFirmware(update),
            ..
        }) => Some(&update.image),
        Claimed::Request(_) | Claimed::Response(_) => None,
    }
}

/// The rows of a table: a long list is cut, and said to be.
pub fn fields(shown: &Map<String, Value>) -> Vec<(&str, String)> {
    shown.iter().map(|(key, value)| (key.as_str(), cell(value))).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.len() > DEVICES_IN_A_CELL => {
            let first: Vec<String> = items.iter().take(DEVICES_IN_A_CELL).map(cell).collect();
            format!("{} ... ({} in all)", first.join(" "), items.len())
        }
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        Value::Object(object) => object.iter().map(|(k, v)| format!("{k}={}", cell(v))).collect::<Vec<_>>().join(" "),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// What [`super::build`] takes, and more.
pub fn request(request: &Request) -> Map<String, Value> {
    let mut shown = object(json!({
        "kind": "Request",
        "request_id": request.id,
        "schema_version": request.schema_version,
        "command_variant": request.command_variant,
        "service_reference": request.service_reference,
        "service_reference_variant": request.service_reference_variant,
        "body_digest": request.body_digest,
    }));
    shown.extend(match &request.body {
        RequestBody::ReadInventory { device } => object(json!({ "devices": [device] })),
        RequestBody::ReadFirmwareVersion => object(json!({ "devices": [request.id.target] })),
        RequestBody::UpdateFirmware(update) | RequestBody::UpdatePpmidFirmware(update) => firmware(update),
        RequestBody::Other(element) => object(json!({ "element": element })),
    });
    shown
}

fn firmware(update: &FirmwareUpdate) -> Map<String, Value> {
    object(json!({
        "firmware_version": update.firmware_version,
        "image_bytes": update.image.len(),
        "image_sha256": sha256(&update.image),
        "devices": devices(&update.devices),
    }))
}

pub fn response(response: &Response) -> Map<String, Value> {
    let mut shown = object(json!({
        "kind": response.kind(),
        "request_id": response.request_id,
        "response_id": response.response_id,
        "schema_version": response.schema_version,
        "response_code": response.code,
        "at": response.at,
    }));
    shown.extend(match &response.body {
        Body::Message { service_reference, content, .. } => {
            let mut said = object(json!({ "service_reference": service_reference }));
            said.extend(self::content(content));
            said
        }
        Body::Alert { alert_code, throttled, alert, unknown } => {
            let mut said = coded(alert_code, throttled);
            said.extend(self::alert(alert));
            if !unknown.is_empty() {
                said.insert("unknown_elements".into(), unknown.iter().map(|u| u.name.as_str()).collect());
            }
            said
        }
        Body::DeviceAlert { alert_code, throttled, gbcs_payload } => {
            let mut said = coded(alert_code, throttled);
            said.extend(payload(gbcs_payload));
            said
        }
        Body::Smets1(said) => smets1(said),
        Body::Other(element) => unknown(element),
    });
    shown
}

fn coded(alert_code: &str, throttled: &Throttled) -> Map<String, Value> {
    object(json!({ "alert_code": alert_code, "throttled_alert_count": throttled.count }))
}

fn content(content: &Content) -> Map<String, Value> {
    match content {
        Content::None => Map::new(),
        Content::UpdateFirmwareWarning(lists) => warning(lists),
        Content::Inventory(found) => object(json!({ "inventory": found.iter().map(inventory_device).collect::<Vec<_>>() })),
        Content::GbcsPayload(bytes) => payload(bytes),
        Content::Other(element) => unknown(element),
    }
}

fn warning(lists: &UpdateFirmwareWarning) -> Map<String, Value> {
    lists.lists().into_iter().map(|(name, ids)| (name.to_string(), devices(ids))).collect()
}

/// Neither `UPRN` nor `PropertyFilter`: an address is nobody's business here.
fn inventory_device(device: &InventoryDevice) -> Value {
    json!({
        "device_id": device.device_id,
        "device_type": device.device_type,
        "device_status": device.device_status,
        "manufacturer": device.manufacturer,
        "model": device.model,
        "smets_chts_version": device.smets_chts_version,
        "firmware_version": device.firmware_version,
        "firmware_version_status": device.firmware_version_status,
        "cpl_status": device.cpl_status,
        "date_commissioned": device.date_commissioned,
        "import_mpxn": device.import_mpxn.as_deref().map(masked),
        "secondary_import_mpan": device.secondary_import_mpan.as_deref().map(masked),
        "export_mpan": device.export_mpan.as_deref().map(masked),
        "esme_variant": device.esme_variant,
        "csp_region": device.csp_region,
        "gbcs_version": device.gbcs_version,
        "han_variant": device.han_variant,
        "s1sp": device.s1sp,
        "connectivity": device.connectivity,
    })
}

fn masked(mpxn: &str) -> String {
    let chars = mpxn.chars().count();
    let hidden = chars.saturating_sub(MPXN_SHOWN_CHARS);
    mpxn.chars().enumerate().map(|(n, c)| if n < hidden { '*' } else { c }).collect()
}

fn smets1(said: &Smets1Response) -> Map<String, Value> {
    let mut shown = object(json!({
        "service_reference": said.service_reference,
        "throttled_alert_count": said.throttled.count,
        "device": said.device,
        "target": said.target,
        "counter": said.counter,
    }));
    shown.extend(match &said.content {
        Smets1Content::FirmwareVersion { success, firmware_version } => {
            object(json!({ "success": success, "firmware_version": firmware_version }))
        }
        Smets1Content::Other(element) => unknown(element),
    });
    shown
}

fn unknown(element: &UnknownElement) -> Map<String, Value> {
    object(json!({ "unknown_element": element.name, "unknown_element_bytes": element.xml.len() }))
}

fn payload(bytes: &[u8]) -> Map<String, Value> {
    object(json!({ "gbcs_payload_bytes": bytes.len(), "gbcs_payload_sha256": sha256(bytes) }))
}

fn sha256(bytes: &[u8]) -> ImageId {
    ImageId(Sha256::digest(bytes).into())
}

fn devices(ids: &[DeviceId]) -> Value {
    ids.iter().map(|id| Value::from(id.to_string())).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => unreachable!("written as an object above: {other}"),
    }
}

/// What an alert says beside its code.
fn alert(alert: &Alert) -> Map<String, Value> {
    object(match alert {
        Alert::Smets1FirmwareNotification { device, firmware_version, status } => {
            json!({ "device": device, "firmware_version": firmware_version, "status": status.as_str() })
        }
        Alert::S1spAlert { request_id, device, code, information, at } => json!({
            "s1sp_request_id": request_id,
            "device": device,
            "s1sp_alert_code": code,
            "additional_information": information.as_deref().map(Mpan::masked_in),
            "s1sp_at": at,
        }),
        Alert::PpmidFirmwareUpgrade { device, device_alert_code, firmware_version, success, at } => json!({
            "device": device,
            "device_alert_code": device_alert_code,
            "firmware_version": firmware_version,
            "result": if *success { "ActivationSuccess" } else { "ActivationFailure" },
            "device_time": at,
        }),
        Alert::Ppmid { device, device_alert_code, at } => {
            json!({ "device": device, "device_alert_code": device_alert_code, "device_time": at })
        }
        Alert::FirmwareDistributionFailure { request_id, devices: failed } => {
            json!({ "update_firmware_request_id": request_id, "devices": devices(failed) })
        }
        Alert::CspFirmwareDeliveryStatus { request_id, comms_hub, device, firmware_version, at, success } => json!({
            "update_firmware_request_id": request_id,
            "comms_hub": comms_hub,
            "device": device,
            "firmware_version": firmware_version,
            "delivered_at": at,
            "result": if *success { "Success" } else { "Failure" },
        }),
        Alert::CommsHub { comms_hub, alert_code, at } => {
            json!({ "comms_hub": comms_hub, "device_alert_code": alert_code, "device_time": at })
        }
        Alert::FirmwareTransfer { comms_hub, alert_code, at, request_id, device, firmware_version, result } => json!({
            "update_firmware_request_id": request_id,
            "comms_hub": comms_hub,
            "device_alert_code": alert_code,
            "device_time": at,
            "device": device,
            "firmware_version": firmware_version,
            "result": result.as_str(),
        }),
        rarer => return rarer_alert(rarer),
    })
}

/// The alerts that are about the estate or about requests, not about an image on its way.
fn rarer_alert(alert: &Alert) -> Map<String, Value> {
    object(match alert {
        Alert::FirmwareVersionMismatch { device, device_type, version_in_inventory, version_on_device } => json!({
            "device": device,
            "device_type": device_type,
            "version_in_inventory": version_in_inventory,
            "version_on_device": version_on_device,
        }),
        Alert::ChangeOfSupplier(ChangeOfSupplier::Request { request_id, ecos_error_code }) => {
            json!({ "change_of_supplier_request_id": request_id, "ecos_error_code": ecos_error_code })
        }
        Alert::ChangeOfSupplier(ChangeOfSupplier::Device { device, device_type, mpxns }) => {
            json!({ "device": device, "device_type": device_type, "mpxns": supply_numbers(mpxns) })
        }
        Alert::DeviceStatusChange { device, change } => {
            let mut said = object(json!({ "device": device, "change": change.element() }));
            said.extend(status_change(change));
            return said;
        }
        Alert::PpmidRemoval { device, comms_hub } => json!({ "device": device, "comms_hub": comms_hub }),
        Alert::QuarantinedRequest { request_id, quarantine_event_ref, breach } => json!({
            "quarantined_request_id": request_id,
            "quarantine_event_ref": quarantine_event_ref,
            "breach": breach.as_str(),
        }),
        Alert::DuisVersionMismatch { withheld, our_version } => {
            let mut said = self::withheld(withheld);
            said.insert("service_user_duis_version".into(), our_version.as_str().into());
            return said;
        }
        Alert::CommandFailure { request_id, device } => json!({ "command_request_id": request_id, "device": device }),
        Alert::FirmwareUpgradeRequested { device_type, firmware_version, devices: asked } => json!({
            "device_type": device_type,
            "firmware_version": firmware_version,
            "devices": devices(asked),
        }),
        Alert::Other(element) => return unknown(element),
        Alert::Smets1FirmwareNotification { .. }
        | Alert::S1spAlert { .. }
        | Alert::PpmidFirmwareUpgrade { .. }
        | Alert::Ppmid { .. }
        | Alert::FirmwareDistributionFailure { .. }
        | Alert::CspFirmwareDeliveryStatus { .. }
        | Alert::CommsHub { .. }
        | Alert::FirmwareTransfer { .. } => unreachable!("told by `alert`"),
    })
}

fn status_change(change: &DeviceStatusChange) -> Map<String, Value> {
    match change {
        DeviceStatusChange::MeterIdentity { mpxns, esme_variant } => {
            object(json!({ "mpxns": supply_numbers(mpxns), "esme_variant": esme_variant }))
        }
        DeviceStatusChange::MeterDecommissioningOrWithdrawal { mpxns, associated } => {
            let associated: Vec<String> = associated.iter().map(|(device, kind)| format!("{device} {kind}")).collect();
            object(json!({ "mpxns": supply_numbers(mpxns), "associated_devices": associated }))
        }
        DeviceStatusChange::RecoveryCompleteAcbCredentials { supplier, network_operator } => {
            object(json!({ "supplier_certificates": supplier, "network_operator_certificates": network_operator }))
        }
        DeviceStatusChange::Other(element) => unknown(element),
        DeviceStatusChange::DeviceRemovedFromInventory
        | DeviceStatusChange::ChfDecommissioning
        | DeviceStatusChange::DeviceSuspended
        | DeviceStatusChange::DeviceRestored
        | DeviceStatusChange::RecoveryComplete => Map::new(),
    }
}

fn withheld(withheld: &Withheld) -> Map<String, Value> {
    object(match withheld {
        Withheld::Alert { alert_code, device, request_id } => {
            json!({ "withheld_alert_code": alert_code, "device": device, "withheld_request_id": request_id })
        }
        Withheld::Response { request_id, service_reference, service_reference_variant, request_version } => json!({
            "withheld_request_id": request_id,
            "withheld_service_reference": service_reference,
            "withheld_service_reference_variant": service_reference_variant,
            "service_request_duis_version": request_version,
        }),
    })
}

fn supply_numbers(mpxns: &MeterMpxns) -> Value {
    let numbers = [Some(&mpxns.import_mpxn), mpxns.secondary_import_mpan.as_ref(), mpxns.export_mpan.as_ref()];
    numbers.into_iter().flatten().map(|number| Value::from(masked(number))).collect()
}
