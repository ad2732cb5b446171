//! Reads a `DSPInventory`, the answer to 8.2. Elements the schema does not list are passed over.

use roxmltree::Node;

use super::tree::{Fields, Read, content};
use crate::duis::{InventoryDevice, MAX_INVENTORY_DEVICES, PropertyFilter};

pub(super) fn inventory(of: Node<'_, '_>) -> Read<Vec<InventoryDevice>> {
    let devices = Fields::of(of).all("Device");
    if devices.len() > MAX_INVENTORY_DEVICES {
        return Err(content(format!("DSPInventory holds more than {MAX_INVENTORY_DEVICES} devices")));
    }
    devices.into_iter().map(device).collect()
}

fn device(device: Node<'_, '_>) -> Read<InventoryDevice> {
    let mut of = Fields::of(device);
    Ok(InventoryDevice {
        device_id: of.value("DeviceID")?,
        device_type: of.text("DeviceType")?,
        device_status: of.text_if("DeviceStatus")?,
        manufacturer: of.text("DeviceManufacturer")?,
        model: of.text("DeviceModel")?,
        smets_chts_version: of.text_if("SMETSCHTSVersion")?,
        firmware_version: of.text_if("DeviceFirmwareVersion")?,
        firmware_version_status: of.text_if("DeviceFirmwareVersionStatus")?,
        cpl_status: of.text_if("CPLStatus")?,
        date_commissioned: of.text_if("DateCommissioned")?,
        import_mpxn: of.text_if("ImportMPxN")?,
        secondary_import_mpan: of.text_if("SecondaryImportMPAN")?,
        export_mpan: of.text_if("ExportMPAN")?,
        esme_variant: of.text_if("ESMEVariant")?,
        uprn: of.text_if("UPRN")?,
        property_filter: of.take("PropertyFilter")?.map(property_filter).transpose()?,
        csp_region: of.text_if("CSPRegion")?,
        gbcs_version: of.text_if("DeviceGBCSVersion")?,
        han_variant: of.text_if("HANVariant")?,
        s1sp: of.text_if("S1SP")?,
        connectivity: of.text_if("Connectivity")?,
    })
}

fn property_filter(address: Node<'_, '_>) -> Read<PropertyFilter> {
    let mut of = Fields::of(address);
    Ok(PropertyFilter { post_code: of.text("PostCode")?, address_identifier: of.text("AddressIdentifier")? })
}
