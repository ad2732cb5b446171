//! The facts of the estate, as types: one struct a table, one enum a closed list of the contract's columns.

use crate::{
    clock::{Day, Time},
    ids::{DeviceId, Mpan, Mpid, Sha256Hash},
};

crate::spelled! {
    /// Where a first-generation installation came from (L§12): MDS and SECURE are the two Middle Operating Capabilities.
    Cohort, "a cohort: IOC, MDS, SECURE or FOC" { Ioc = "IOC", Mds = "MDS", Secure = "SECURE", Foc = "FOC" }
}

crate::spelled! {
    /// The transitional tool's result for a site's PPMID key (L§13).
    KeyStatus, "a key status: updated, failed or investigating" { Updated = "updated", Failed = "failed", Investigating = "investigating" }
}

crate::spelled! {
    /// Schema `CPLStatus`.
    CplStatus, "a CPL status: Active, Cancelled, Expired or Withdrawn" { Active = "Active", Cancelled = "Cancelled", Expired = "Expired", Withdrawn = "Withdrawn" }
}

/// Schema `DeviceStatus`: every spelling a site's status may have.
pub const DEVICE_STATUSES: &[&str] = &[
    "Pending",
    "Whitelisted",
    "InstalledNotCommissioned",
    "Commissioned",
    "Decommissioned",
    "Withdrawn",
    "Suspended",
    "Recovery",
    "Recovered",
];

/// One site: a PPMID and the installation around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    pub device_id: DeviceId,
    pub mpan: Mpan,
    pub cohort: Cohort,
    pub manufacturer: String,
    pub model: String,
    /// From 4 hexadecimal digits.
    pub hardware_version: u16,
    /// 1 to 8 characters, compared exactly.
    pub firmware_version: String,
    /// Schema `DeviceStatus`, e.g. `Commissioned`.
    pub device_status: String,
    /// Device Model Combination, as on the EPCL.
    pub dmc: String,
    pub chf_device_id: Option<DeviceId>,
    pub gsme_device_id: Option<DeviceId>,
    pub region: Option<String>,
    pub migrated_on: Option<Day>,
    pub as_at: Option<Time>,
}

/// A supplier holds an MPAN on day d when `effective_from <= d < effective_to` (half-open; empty `to` is open).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    pub mpan: Mpan,
    pub supplier_mpid: Mpid,
    pub effective_from: Day,
    pub effective_to: Option<Day>,
}

impl Registration {
    pub fn covers(&self, day: Day) -> bool {
        self.effective_from <= day && self.effective_to.is_none_or(|to| day < to)
    }
}

/// The latest result of the transitional tool for a device, or what stands for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyResult {
    pub device_id: DeviceId,
    pub attempted_at: Time,
    pub status: KeyStatus,
    pub detail: Option<String>,
}

/// A row of the Central Products List.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CplEntry {
    pub cpl_entry_id: String,
    pub device_type: String,
    pub manufacturer: String,
    pub model: String,
    pub hardware_version: u16,
    pub firmware_version: String,
    pub manufacturer_image_hash: Sha256Hash,
    pub status: CplStatus,
    pub upgrade_from: UpgradeFrom,
}

/// Which earlier versions may be upgraded from (CPL column `upgrade_from`, or the manifest's).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpgradeFrom {
    /// `*`
    Any,
    /// `N/A`
    None,
    /// empty: treated as none unless policy says otherwise
    NotStated,
    /// versions, `;` between them
    Versions(Vec<String>),
}

/// As the cpl file writes it.
impl std::fmt::Display for UpgradeFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            UpgradeFrom::Any => f.write_str("*"),
            UpgradeFrom::None => f.write_str("N/A"),
            UpgradeFrom::NotStated => Ok(()),
            UpgradeFrom::Versions(versions) => f.write_str(&versions.join(";")),
        }
    }
}

impl UpgradeFrom {
    pub fn parse(text: &str) -> UpgradeFrom {
        match text.trim() {
            "*" => UpgradeFrom::Any,
            "N/A" => UpgradeFrom::None,
            "" => UpgradeFrom::NotStated,
            list => UpgradeFrom::Versions(list.split(';').map(str::trim).filter(|v| !v.is_empty()).map(str::to_string).collect()),
        }
    }
}

/// A row of the Eligible Product Combinations List (L§15); half-open like a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpclEntry {
    pub dmc: String,
    pub effective_from: Day,
    pub effective_to: Option<Day>,
}

/// A site left alone for a while: a vulnerable customer, an open complaint, a booked visit. Half-open like a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    pub reason: String,
    pub effective_from: Day,
    pub effective_to: Option<Day>,
}
