//! The part of a scenario that says who the users are, what each role may ask for, which supplier holds which device, and how many
//! requests a user may send.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::Deserialize;

use super::{parsed, parsed_if, parsed_list};
use crate::{
    clock::Day,
    duis::{DuisVersion, RequestKind},
    ids::{DeviceId, Mpid, UserId},
};

/// One user. While the scenario lists none, whoever holds a certificate that is given to the simulator is an Import Supplier.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRules {
    #[serde(deserialize_with = "parsed")]
    pub id: UserId,
    #[serde(default = "import_supplier")]
    pub role: String,
    /// Its market participant ids: of the registrations, those that are its own.
    #[serde(default = "own_mpids", deserialize_with = "parsed_list")]
    pub mpids: Vec<Mpid>,
    /// Its configured DUIS version; without it no message is withheld.
    #[serde(default, deserialize_with = "parsed_if")]
    pub duis_version: Option<DuisVersion>,
    /// Its status does not permit requests.
    #[serde(default)]
    pub suspended: bool,
}

fn import_supplier() -> String {
    "IS".into()
}

/// The default of `organisation.mpids`.
pub fn own_mpids() -> Vec<Mpid> {
    vec!["EELC".parse().expect("it is four capital letters")]
}

/// What each role may ask for, by service reference.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Roles(BTreeMap<String, Vec<String>>);

impl Default for Roles {
    /// The letter, paragraph 6: SMETS1 PPMID firmware is for the Electricity Supplier alone. The rest is a guess.
    fn default() -> Roles {
        let may = |references: &[&str]| references.iter().map(|r| r.to_string()).collect();
        Roles(BTreeMap::from([
            ("IS".to_string(), may(&["8.2", "11.1", "11.2", "11.4"])),
            ("GS".to_string(), may(&["8.2", "11.2", "11.4"])),
        ]))
    }
}

impl Roles {
    /// `None` of a role that is not there.
    pub fn may(&self, role: &str) -> Option<BTreeSet<RequestKind>> {
        Some(self.0.get(role)?.iter().filter_map(|reference| kind(reference)).collect())
    }

    pub(super) fn wrong(&self) -> Option<(String, String)> {
        let bad = self.0.iter().find_map(|(role, may)| may.iter().find(|m| kind(m).is_none()).map(|m| (role, m)))?;
        Some((format!("roles.{}", bad.0), format!("names {:?}: 8.2, 11.1, 11.2 and 11.4 are served", bad.1)))
    }
}

/// The request of this service reference.
pub fn kind(reference: &str) -> Option<RequestKind> {
    RequestKind::ALL.into_iter().find(|kind| kind.service_reference() == reference)
}

/// Which supplier holds which device from when to when, half-open.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrationRules {
    /// A CSV of the contract's columns (`mpan`, `supplier_mpid`, `effective_from`, `effective_to`); `population.devices_file`
    /// then says each device's `mpan`. Relative to the scenario file.
    pub file: Option<PathBuf>,
    /// Whose a device is of which no registration is known.
    pub unlisted: UnlistedSupply,
    pub device: Vec<DeviceRegistration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnlistedSupply {
    /// The asking user's.
    #[default]
    Ours,
    Nobody,
}

/// A registration by Device ID.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRegistration {
    #[serde(deserialize_with = "parsed")]
    pub device_id: DeviceId,
    #[serde(deserialize_with = "parsed")]
    pub supplier_mpid: Mpid,
    #[serde(deserialize_with = "parsed")]
    pub effective_from: Day,
    #[serde(default, deserialize_with = "parsed_if")]
    pub effective_to: Option<Day>,
}

/// An anomaly detection threshold: what is sent beyond it in any `period_ms` is quarantined.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Of this user, or each user's own.
    #[serde(default, deserialize_with = "parsed_if")]
    pub user: Option<UserId>,
    /// The service reference.
    pub request: String,
    pub at_most: u64,
    pub period_ms: u64,
    #[serde(default)]
    pub counts: Counts,
    #[serde(default)]
    pub set_by: SetBy,
}

/// What a request counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    #[default]
    Requests,
    /// As many as it names devices.
    Devices,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetBy {
    #[default]
    User,
    Dcc,
}

/// Limits of what a firmware request may say; a breach is deleted for SMETS1 (11.1) and quarantined for SMETS2+ (11.4).
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataValues {
    pub devices_at_most: Option<usize>,
    pub image_bytes_at_most: Option<usize>,
}
