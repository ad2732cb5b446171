//! The decision about one site. Pure.

use super::Reason;
use crate::{
    clock::Day,
    estate::{CplEntry, EpclEntry, KeyStatus, Registration, Site, UpgradeFrom},
    ids::{Mpid, Sha256Hash},
};

/// What the decision needs to know about one site.
#[derive(Debug, Clone, Copy)]
pub struct SiteFacts<'a> {
    pub site: &'a Site,
    /// Rows of the site's MPAN whose supplier is one of our own MPIDs, any dates, by `effective_from`.
    pub own_registrations: &'a [Registration],
    /// The latest key result not later than the moment decided about.
    pub key: Option<KeyStatus>,
    /// The reason of an exclusion that covers the day.
    pub exclusion: Option<&'a str>,
    /// The device is queued, submitted, accepted or delivered in another started campaign.
    pub in_other_campaign: bool,
}

/// What the decision needs to know about the image, from its verified manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    pub manufacturer: String,
    pub models: Vec<String>,
    pub hardware_min: u16,
    pub hardware_max: u16,
    pub firmware_version: String,
    pub upgrade_from: UpgradeFrom,
    pub manufacturer_image_sha256: Sha256Hash,
}

/// Everything that is the same for every site of one decision: policies, image and product lists, and the day.
/// Built once by [`Decision::new`], then asked for each site.
pub struct Decision {
    day: Day,
    _todo: (Vec<CplEntry>, Vec<EpclEntry>),
}

/// The decision about a site and the registration row that justified it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub reason: Reason,
    /// The own registration that covers the day, or else begins soonest after it.
    pub registration: Option<(Mpid, Day)>,
}

/// Decides about one site: the first rule of the contract's table that applies.
pub fn evaluate(_decision: &Decision, _facts: &SiteFacts<'_>) -> Verdict {
    unimplemented!()
}
