//! The refusals of a whole campaign (contract, "Who is eligible"): checked by plan, by start and before every batch. Pure.

use super::{ImageFacts, PolicySet};
use crate::{
    estate::{CplEntry, CplStatus},
    failure::Failure,
};

/// The user role that may upgrade SMETS1 PPMID firmware (L§6): Import Supplier, the Electricity Supplier.
pub const ELECTRICITY_SUPPLIER_ROLE: &str = "IS";
const GAS_SUPPLIER_ROLE: &str = "GS";
/// CPL entries named in a message; more would not be read.
const NAMED_ENTRIES: usize = 3;

crate::spelled! {
    /// Why a campaign is refused outright, in the order in which it is asked.
    RefusalCode, "a refusal code" {
        RoleNotPermitted = "ROLE_NOT_PERMITTED",
        DuisVersionUnsupported = "DUIS_VERSION_UNSUPPORTED",
        ImageNotTrusted = "IMAGE_NOT_TRUSTED",
        ImageNotOnCpl = "IMAGE_NOT_ON_CPL",
        CplNotActive = "CPL_NOT_ACTIVE",
    }
}

/// A campaign that must not go on. As a [`Failure`] it exits with 3.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refusal {
    pub code: RefusalCode,
    pub message: String,
    pub help: Vec<String>,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let failure = Failure::refused(refusal.code.as_str(), refusal.message);
        refusal.help.into_iter().fold(failure, Failure::help)
    }
}

/// The first refusal that applies, or none. `role` and `duis_version` are the settings'; `image` is what the verified manifest says,
/// or why the image is not trusted (not stored, revoked, expired, threshold not met, a signing key revoked); `cpl` is the whole list,
/// or at least every entry with the image's firmware version.
pub fn campaign_refusal(
    policies: &PolicySet,
    role: &str,
    duis_version: &str,
    image: Result<&ImageFacts, &str>,
    cpl: &[CplEntry],
) -> Option<Refusal> {
    own_refusal(policies, role, duis_version).or_else(|| match image {
        Err(why) => Some(not_trusted(why)),
        Ok(image) => cpl_refusal(image, cpl),
    })
}

/// What of these refuses every campaign, whatever its image: who we are and what we speak.
pub fn own_refusal(policies: &PolicySet, role: &str, duis_version: &str) -> Option<Refusal> {
    role_refusal(policies, role).or_else(|| version_refusal(policies, duis_version))
}

/// Whether the entry is for the image: its manufacturer, one of its models, its firmware version, the same manufacturer image hash.
fn is_entry_of(image: &ImageFacts, entry: &CplEntry) -> bool {
    is_of_image(image, entry) && entry.manufacturer == image.manufacturer && image.models.contains(&entry.model)
}

/// Whether the entry has the image's firmware version and manufacturer image hash, for whatever product.
pub(super) fn is_of_image(image: &ImageFacts, entry: &CplEntry) -> bool {
    entry.firmware_version == image.firmware_version && entry.manufacturer_image_hash == image.manufacturer_image_sha256
}

fn role_refusal(policies: &PolicySet, role: &str) -> Option<Refusal> {
    if role == ELECTRICITY_SUPPLIER_ROLE {
        return None;
    }
    let code = RefusalCode::RoleNotPermitted;
    let source = policies.eligibility.source(code.as_str()).unwrap_or("L§6");
    let message = if role == GAS_SUPPLIER_ROLE {
        format!(
            "the own role is GS, and a Gas Supplier may not upgrade SMETS1 PPMID firmware ({source}): the letter of 24 November 2020 \
             extends the regime for Communications Hubs, where there is always an Electricity Supplier, and giving the Gas Supplier \
             the right as well would make coordinating PPMIDs disproportionately complex"
        )
    } else {
        format!("the own role is {role:?}; only the Electricity Supplier (IS) may upgrade SMETS1 PPMID firmware ({source})")
    };
    let help = "if this organisation is the Electricity Supplier, set organisation.role = \"IS\"".to_string();
    Some(Refusal { code, message, help: vec![help] })
}

fn version_refusal(policies: &PolicySet, duis_version: &str) -> Option<Refusal> {
    let versions = &policies.eligibility.duis_versions;
    if versions.iter().any(|v| v == duis_version) {
        return None;
    }
    let code = RefusalCode::DuisVersionUnsupported;
    let source = policies.eligibility.source(code.as_str()).unwrap_or("L§7");
    let known = versions.join(", ");
    Some(Refusal {
        code,
        message: format!("DUIS {duis_version} has no SMETS1 PPMID firmware function ({source}); these versions have: {known}"),
        help: vec!["set gateway.duis_version to one of them, or correct duis_versions in eligibility.toml".to_string()],
    })
}

fn not_trusted(why: &str) -> Refusal {
    Refusal {
        code: RefusalCode::ImageNotTrusted,
        message: format!("the image is not trusted: {why}"),
        help: vec!["`ppmid image verify` shows every check; keys, roles and threshold are in trust.toml".to_string()],
    }
}

fn cpl_refusal(image: &ImageFacts, cpl: &[CplEntry]) -> Option<Refusal> {
    let own: Vec<&CplEntry> = cpl.iter().filter(|e| is_entry_of(image, e)).collect();
    if own.iter().any(|e| e.status == CplStatus::Active) {
        return None;
    }
    if own.is_empty() {
        return Some(not_on_cpl(image, cpl));
    }
    let named: Vec<String> = own.iter().take(NAMED_ENTRIES).map(|e| format!("{} is {}", e.cpl_entry_id, e.status)).collect();
    let more = if own.len() > NAMED_ENTRIES { format!(" and {} more", own.len() - NAMED_ENTRIES) } else { String::new() };
    Some(Refusal {
        code: RefusalCode::CplNotActive,
        message: format!("no Central Products List entry of this image is Active: {}{more}", named.join(", ")),
        help: vec!["if the list has changed, import it: `ppmid import cpl FILE`".to_string()],
    })
}

fn not_on_cpl(image: &ImageFacts, cpl: &[CplEntry]) -> Refusal {
    let message = format!(
        "no Central Products List entry has manufacturer {}, model {}, firmware version {} and manufacturer image hash {}",
        image.manufacturer,
        image.models.join(" or "),
        image.firmware_version,
        image.manufacturer_image_sha256
    );
    let mut help = vec!["import the current list: `ppmid import cpl FILE`".to_string()];
    help.extend(near_miss(image, cpl));
    Refusal { code: RefusalCode::ImageNotOnCpl, message, help }
}

/// An entry that fits but for one thing is most likely the one that was meant.
fn near_miss(image: &ImageFacts, cpl: &[CplEntry]) -> Option<String> {
    let model = |e: &&CplEntry| e.manufacturer == image.manufacturer && image.models.contains(&e.model);
    let same_hash = |e: &&CplEntry| e.manufacturer_image_hash == image.manufacturer_image_sha256;
    let (version, entry_hash) = (&image.firmware_version, "another manufacturer image hash: is it the image that was listed?");
    if let Some(e) = cpl.iter().filter(model).find(|e| e.firmware_version == *version) {
        return Some(format!("entry {} has this product and version with {entry_hash}", e.cpl_entry_id));
    }
    if let Some(e) = cpl.iter().filter(model).find(same_hash) {
        let note = differs_in_spelling(&e.firmware_version, version).unwrap_or_default();
        return Some(format!("entry {} has this product and image as version {}{note}", e.cpl_entry_id, e.firmware_version));
    }
    let other = cpl.iter().filter(same_hash).find(|e| e.firmware_version == *version)?;
    let (id, manufacturer, found) = (&other.cpl_entry_id, &other.manufacturer, &other.model);
    Some(format!("entry {id} has this image and version for manufacturer {manufacturer}, model {found}"))
}

/// Two spellings that differ only by case or leading zeros are compared as different, and said to be (a known quality problem of
/// the lists: domain.md).
pub(super) fn differs_in_spelling(a: &str, b: &str) -> Option<&'static str> {
    let plain = |s: &str| s.trim_start_matches('0').to_ascii_uppercase();
    (a != b && plain(a) == plain(b)).then_some(" (differs only by case or leading zeros: check the lists)")
}
