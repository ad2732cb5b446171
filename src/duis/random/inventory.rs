//! Random devices of an inventory, every field there or not.

use proptest::{option, prelude::*};

use super::{device_type, eui, free_text, version, words};
use crate::{
    duis::{InventoryDevice, PropertyFilter},
    ids::DeviceId,
};

/// What the schema wants of a device, and no more.
pub fn inventory_device_of(device_id: DeviceId) -> InventoryDevice {
    InventoryDevice {
        device_id,
        device_type: "PPMID".into(),
        device_status: None,
        manufacturer: "106C".into(),
        model: "433100AC".into(),
        smets_chts_version: None,
        firmware_version: None,
        firmware_version_status: None,
        cpl_status: None,
        date_commissioned: None,
        import_mpxn: None,
        secondary_import_mpan: None,
        export_mpan: None,
        esme_variant: None,
        uprn: None,
        property_filter: None,
        csp_region: None,
        gbcs_version: None,
        han_variant: None,
        s1sp: None,
        connectivity: None,
    }
}

pub fn inventory_device() -> impl Strategy<Value = InventoryDevice> {
    let statuses = words(&["Active", "Cancelled", "Expired", "Withdrawn"]);
    let of_device = (
        eui(),
        device_type(),
        option::of(words(&["Pending", "Whitelisted", "InstalledNotCommissioned", "Commissioned", "Suspended", "Recovered"])),
        "[ -~é]{0,30}",
        "[ -~é]{0,30}",
        option::of("[A-Z .0-9]{1,20}"),
        option::of(version()),
        option::of(statuses),
        option::of(words(&["2025-12-28Z", "2020-02-29", "2019-01-01+01:00"])),
    );
    let of_site = (
        option::of("[0-9]{1,13}"),
        option::of("[0-9]{13}"),
        option::of("[0-9]{13}"),
        option::of(words(&["A", "BD", "ADEF", "AEG"])),
        option::of("[1-9][0-9]{0,11}"),
        option::of(("[A-Z0-9 ]{6,8}", "[ -~é]{0,30}")),
    );
    let of_network = (
        option::of(words(&["North", "4G Central", "Unknown", "SMETS1"])),
        option::of(free_text()),
        option::of(free_text()),
        option::of(free_text()),
        option::of(words(&["Cellular", "Virtual"])),
        option::of(words(&["Active", "Cancelled", "Expired", "Withdrawn"])),
    );
    (of_device, of_site, of_network).prop_map(|(d, s, n)| InventoryDevice {
        device_id: d.0,
        device_type: d.1,
        device_status: d.2,
        manufacturer: d.3,
        model: d.4,
        smets_chts_version: d.5,
        firmware_version: d.6,
        firmware_version_status: d.7,
        cpl_status: n.5,
        date_commissioned: d.8,
        import_mpxn: s.0,
        secondary_import_mpan: s.1,
        export_mpan: s.2,
        esme_variant: s.3,
        uprn: s.4,
        property_filter: s.5.map(|(post_code, address_identifier)| PropertyFilter { post_code, address_identifier }),
        csp_region: n.0,
        gbcs_version: n.1,
        han_variant: n.2,
        s1sp: n.3,
        connectivity: n.4,
    })
}
