//! The columns of each kind of file and of its table, in the contract's order, and what a value must be.

use super::kinds::{FIRMWARE_CHARS, Kind, Spec};
use crate::{
    clock::Day,
    estate::{Cohort, CplStatus, DEVICE_STATUSES, KeyStatus, UpgradeFrom},
    ids::{Eui, Mpan, Mpid, Sha256Hash},
};

pub static SITES: Spec = Spec {
    kind: Kind::Sites,
    table: "sites",
    slice: "slice_sites",
    columns: &[
        "device_id",
        "mpan",
        "cohort",
        "manufacturer",
        "model",
        "hardware_version",
        "firmware_version",
        "device_status",
        "dmc",
        "chf_device_id",
        "gsme_device_id",
        "region",
        "migrated_on",
        "as_at",
    ],
    key: 1,
    sorted_by: 1,
    file: &[
        ("device_id", true),
        ("mpan", true),
        ("cohort", true),
        ("manufacturer", true),
        ("model", true),
        ("hardware_version", true),
        ("firmware_version", true),
        ("device_status", true),
        ("dmc", true),
        ("chf_device_id", false),
        ("gsme_device_id", false),
        ("region", false),
        ("migrated_on", false),
        ("as_at", false),
    ],
    row: |f, row| {
        row.push(f.parsed::<Eui>(0)?.to_db());
        row.push(f.parsed::<Mpan>(1)?.to_db());
        row.push(f.parsed::<Cohort>(2)?.as_str());
        row.push(f.needed(3)?);
        row.push(f.needed(4)?);
        row.push(f.hardware_version(5)?);
        row.push(f.firmware_version(6)?);
        let status = f.needed(7)?;
        if !DEVICE_STATUSES.contains(&status) {
            return Err(f.bad(7));
        }
        row.push(status);
        row.push(f.needed(8)?);
        row.push(f.maybe::<Eui>(9)?.map(Eui::to_db));
        row.push(f.maybe::<Eui>(10)?.map(Eui::to_db));
        row.push(f.text(11)?);
        row.push(f.maybe::<Day>(12)?.map(|d| d.0));
        row.push(f.moment(13)?.map(|t| t.0));
        Ok(())
    },
};

pub static REGISTRATIONS: Spec = Spec {
    kind: Kind::Registrations,
    table: "registrations",
    slice: "slice_registrations",
    columns: &["mpan", "effective_from", "supplier_mpid", "effective_to", "ended_by_switch"],
    key: 3,
    sorted_by: 1,
    file: &[("mpan", true), ("supplier_mpid", true), ("effective_from", true), ("effective_to", false)],
    row: |f, row| {
        let mpan: Mpan = f.parsed(0)?;
        let supplier: Mpid = f.parsed(1)?;
        let (from, to) = f.period(2)?;
        row.push(mpan.to_db());
        row.push(from.0);
        row.push(supplier.as_str());
        row.push(to.map(|d| d.0));
        row.push(false);
        Ok(())
    },
};

pub static KEYS: Spec = Spec {
    kind: Kind::Keys,
    table: "key_results",
    slice: "slice_key_results",
    columns: &["device_id", "attempted_at", "status", "detail", "source"],
    key: 2,
    sorted_by: 2,
    file: &[("device_id", true), ("status", true), ("attempted_at", true), ("detail", false)],
    row: |f, row| {
        let device: Eui = f.parsed(0)?;
        let status: KeyStatus = f.parsed(1)?;
        let at = f.past(2)?;
        row.push(device.to_db());
        row.push(at.0);
        row.push(status.as_str());
        row.push(f.text(3)?);
        row.push("import");
        Ok(())
    },
};

/// Of the Central Products List: what the file has, and an entry that is kept as evidence.
pub const CPL_COLUMNS: [&str; 9] = [
    "cpl_entry_id",
    "device_type",
    "manufacturer",
    "model",
    "hardware_version",
    "firmware_version",
    "manufacturer_image_hash",
    "status",
    "upgrade_from",
];

pub static CPL: Spec = Spec {
    kind: Kind::Cpl,
    table: "cpl_entries",
    slice: "slice_cpl_entries",
    columns: &CPL_COLUMNS,
    key: 1,
    sorted_by: 1,
    file: &[
        ("cpl_entry_id", true),
        ("device_type", true),
        ("manufacturer", true),
        ("model", true),
        ("hardware_version", true),
        ("firmware_version", true),
        ("manufacturer_image_hash", true),
        ("status", true),
        ("upgrade_from", true),
    ],
    row: |f, row| {
        row.push(f.name(0)?);
        row.push(f.needed(1)?);
        row.push(f.needed(2)?);
        row.push(f.needed(3)?);
        row.push(f.hardware_version(4)?);
        row.push(f.firmware_version(5)?);
        row.push(f.parsed::<Sha256Hash>(6)?.to_string().as_str());
        row.push(f.parsed::<CplStatus>(7)?.as_str());
        // The one column that must be there and may be empty: "not stated".
        let upgrade_from = f.text(8)?.unwrap_or_default();
        if let UpgradeFrom::Versions(versions) = UpgradeFrom::parse(upgrade_from) {
            let wrong = |v: &String| v.chars().count() > FIRMWARE_CHARS || matches!(v.as_str(), "*" | "N/A");
            if versions.is_empty() || versions.iter().any(wrong) {
                return Err(f.bad(8));
            }
        }
        row.push(upgrade_from);
        Ok(())
    },
};

pub static EPCL: Spec = Spec {
    kind: Kind::Epcl,
    table: "epcl_entries",
    slice: "slice_epcl_entries",
    columns: &["dmc", "effective_from", "effective_to", "cohort"],
    key: 2,
    sorted_by: 2,
    file: &[("dmc", true), ("cohort", true), ("effective_from", true), ("effective_to", false)],
    row: |f, row| {
        let (dmc, cohort) = (f.name(0)?, f.needed(1)?);
        let (from, to) = f.period(2)?;
        row.push(dmc);
        row.push(from.0);
        row.push(to.map(|d| d.0));
        row.push(cohort);
        Ok(())
    },
};

pub static EXCLUSIONS: Spec = Spec {
    kind: Kind::Exclusions,
    table: "exclusions",
    slice: "slice_exclusions",
    columns: &["subject_kind", "subject", "reason", "effective_from", "effective_to"],
    key: 4,
    sorted_by: 4,
    // One of the first two must be there; `Layout::of` sees to it.
    file: &[("device_id", false), ("mpan", false), ("reason", true), ("effective_from", true), ("effective_to", false)],
    row: |f, row| {
        match (f.maybe::<Eui>(0)?, f.maybe::<Mpan>(1)?) {
            (Some(device), None) => {
                row.push("device");
                row.push(device.to_db());
            }
            (None, Some(mpan)) => {
                row.push("mpan");
                row.push(mpan.to_db());
            }
            (None, None) => return Err(f.missing(if f.has(0) { 0 } else { 1 })),
            (Some(_), Some(_)) => return Err(f.bad(1)),
        }
        let reason = f.name(2)?;
        let (from, to) = f.period(3)?;
        row.push(reason);
        row.push(from.0);
        row.push(to.map(|d| d.0));
        Ok(())
    },
};
