//! The answer to 8.2: the devices of a site as DCC's inventory has them, every field of the schema. No XML.
//! Promise: what is personal data (addresses, supply numbers) is in no `Debug`.

use std::fmt;

use crate::ids::DeviceId;

/// Most devices of one inventory (schema `DSPInventory/Device`, maxOccurs).
pub const MAX_INVENTORY_DEVICES: usize = 17;

/// Schema `Device`, of a `DSPInventory`. Its address and supply numbers are personal data: `Debug` does not show them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct InventoryDevice {
    pub device_id: DeviceId,
    /// `ESME`, `GSME`, `GPF`, `CHF`, `HCALCS`, `PPMID`, `IHD`, `CAD`.
    pub device_type: String,
    /// `Pending` ... `Commissioned` ... `Recovered`.
    pub device_status: Option<String>,
    pub manufacturer: String,
    pub model: String,
    pub smets_chts_version: Option<String>,
    pub firmware_version: Option<String>,
    pub firmware_version_status: Option<String>,
    pub cpl_status: Option<String>,
    /// `DateCommissioned`, as written.
    pub date_commissioned: Option<String>,
    pub import_mpxn: Option<String>,
    pub secondary_import_mpan: Option<String>,
    pub export_mpan: Option<String>,
    pub esme_variant: Option<String>,
    pub uprn: Option<String>,
    /// `PropertyFilter`: an address.
    pub property_filter: Option<PropertyFilter>,
    pub csp_region: Option<String>,
    pub gbcs_version: Option<String>,
    pub han_variant: Option<String>,
    pub s1sp: Option<String>,
    pub connectivity: Option<String>,
}

/// Schema `PropertyFilter`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PropertyFilter {
    pub post_code: String,
    pub address_identifier: String,
}

impl fmt::Debug for InventoryDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InventoryDevice")
            .field("device_id", &self.device_id)
            .field("device_type", &self.device_type)
            .field("device_status", &self.device_status)
            .field("firmware_version", &self.firmware_version)
            .field("csp_region", &self.csp_region)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PropertyFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PropertyFilter(..)")
    }
}
