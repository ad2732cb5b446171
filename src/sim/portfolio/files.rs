//! The portfolio as the six CSV files of the contract, written row by row.

use std::{fs::File, io::BufWriter, path::Path};

use super::{
    OWN_MPID, Portfolio,
    site::{self, Site, Story},
};
use crate::{
    clock::{Day, Time},
    ids::{ImageId, Sha256Hash},
    sim::SimError,
};

const OTHER_MPIDS: [&str; 3] = ["OTHE", "NEXT", "PREV"];
const COHORTS: [&str; 4] = ["IOC", "MDS", "SECURE", "FOC"];
const EXCLUSION_REASONS: [&str; 3] = ["vulnerable customer", "open complaint", "visit booked"];
const FAILURES: [&str; 3] = ["no answer from the communications hub", "WAN not available", "HAN error"];
const HOUR_MILLIS: i64 = 3_600_000;
const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;

type Csv = csv::Writer<BufWriter<File>>;

impl Portfolio {
    /// Writes `registrations.csv`, `sites.csv`, `keys.csv`, `cpl.csv`, `epcl.csv` and `exclusions.csv` into a folder that
    /// exists. The product list gives the new version `manufacturer_image`: the SHA-256 of the image after its OTA header.
    pub fn write_csvs(&self, dir: &Path, manufacturer_image: Sha256Hash) -> Result<(), SimError> {
        write(dir, "registrations.csv", |csv| self.registrations(csv))?;
        write(dir, "sites.csv", |csv| self.sites_file(csv))?;
        write(dir, "keys.csv", |csv| self.keys(csv))?;
        write(dir, "cpl.csv", |csv| self.cpl(csv, manufacturer_image))?;
        write(dir, "epcl.csv", |csv| self.epcl(csv))?;
        write(dir, "exclusions.csv", |csv| self.exclusions(csv))
    }

    fn sites_file(&self, csv: &mut Csv) -> csv::Result<()> {
        csv.write_record([
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
        ])?;
        // A day old: what DCC says of a device from now on is newer.
        let as_at = self.sites.now.plus_millis(-DAY_MILLIS).to_string();
        for s in self.all() {
            csv.write_record([
                &s.device.to_string(),
                &s.mpan.to_string(),
                s.cohort,
                s.manufacturer,
                s.model,
                &format!("{:04X}", s.hardware_version),
                s.firmware_version,
                s.device_status,
                &s.dmc,
                &s.hub.to_string(),
                &s.gas_meter.map(|d| d.to_string()).unwrap_or_default(),
                s.region,
                &s.migrated_on.to_string(),
                &as_at,
            ])?;
        }
        Ok(())
    }

    fn registrations(&self, csv: &mut Csv) -> csv::Result<()> {
        csv.write_record(["mpan", "supplier_mpid", "effective_from", "effective_to"])?;
        for s in self.all() {
            let since = self.sites.today.plus(-60 - self.days(&s, "since", 2_000));
            let other = OTHER_MPIDS[self.sites.pick(s.number, "other supplier", 3) as usize];
            let mut row = |mpid: &str, from: Day, to: Option<Day>| {
                let to = to.map(|day| day.to_string()).unwrap_or_default();
                csv.write_record([&s.mpan.to_string(), mpid, &from.to_string(), &to])
            };
            let mut change = |first: &str, on: Day, second: &str| {
                row(first, since, Some(on))?;
                row(second, on, None)
            };
            let today = self.sites.today;
            match s.story {
                Story::OtherSupplier => row(other, since, None)?,
                Story::SupplyLost => change(OWN_MPID, today.plus(-self.days(&s, "lost", 50)), other)?,
                Story::SupplyNotStarted => change(other, today.plus(1 + self.days(&s, "gained", 30)), OWN_MPID)?,
                Story::SupplyEnding => change(OWN_MPID, today.plus(1 + self.days(&s, "ending", 5)), other)?,
                Story::SupplyEndsLater => change(OWN_MPID, today.plus(10 + self.days(&s, "ending", 50)), other)?,
                _ => {
                    if self.sites.pick(s.number, "earlier supplier", 10) < 4 {
                        row(other, since.plus(-400), Some(since))?;
                    }
                    row(OWN_MPID, since, None)?;
                }
            }
        }
        Ok(())
    }

    fn keys(&self, csv: &mut Csv) -> csv::Result<()> {
        csv.write_record(["device_id", "status", "attempted_at", "detail"])?;
        for s in self.all().filter(|s| s.needed_the_tool) {
            let device = s.device.to_string();
            let last = self.tool_run(&s);
            match self.keys_missing.get(&s.number) {
                None => csv.write_record([&device, "updated", &last.to_string(), ""])?,
                Some(good) => {
                    // The letter, paragraph 13: those re-tried, and those that need investigation.
                    let now = if *good { "failed" } else { "investigating" };
                    let detail = FAILURES[self.sites.pick(s.number, "failure", 3) as usize];
                    for (weeks, status) in [(2, "failed"), (1, "failed"), (0, now)] {
                        let at = last.plus_millis(-7 * weeks * DAY_MILLIS);
                        csv.write_record([&device, status, &at.to_string(), detail])?;
                    }
                }
            }
        }
        Ok(())
    }

    /// When the tool was last run on a site: in the days before the service went live, and not in the future.
    fn tool_run(&self, s: &Site) -> Time {
        let of_day = self.sites.pick(s.number, "tool run", DAY_MILLIS as u64 / 1_000) as i64 * 1_000;
        let planned = site::live().plus(-4 + self.days(s, "tool day", 4)).start().plus_millis(of_day);
        let latest = self.sites.now.plus_millis(-HOUR_MILLIS - of_day % HOUR_MILLIS);
        planned.min(Time(latest.0 / 1_000 * 1_000))
    }

    fn cpl(&self, csv: &mut Csv, image: Sha256Hash) -> csv::Result<()> {
        csv.write_record([
            "cpl_entry_id",
            "device_type",
            "manufacturer",
            "model",
            "hardware_version",
            "firmware_version",
            "manufacturer_image_hash",
            "status",
            "upgrade_from",
        ])?;
        let image = image.to_string();
        let mut entry = 0u64;
        let mut row = |manufacturer: &str, model: &str, hardware: u16, version: &str, hash: Option<&str>, status, from: &str| {
            entry += 1;
            let id = format!("CPL-{entry:05}");
            let hash = hash.map_or_else(|| self.some_hash(entry), str::to_string);
            csv.write_record([&id, "PPMID", manufacturer, model, &format!("{hardware:04X}"), version, &hash, status, from])
        };
        let from = site::OLD_VERSIONS.join(";");
        for model in site::MODELS {
            for hardware in site::HARDWARE {
                row(site::MANUFACTURER, model, hardware, site::ANCIENT_VERSION, None, "Expired", "N/A")?;
                row(site::MANUFACTURER, model, hardware, site::OLD_VERSIONS[0], None, "Active", site::ANCIENT_VERSION)?;
                row(site::MANUFACTURER, model, hardware, site::OLD_VERSIONS[1], None, "Active", "")?;
                row(site::MANUFACTURER, model, hardware, site::NEW_VERSION, Some(&image), "Active", &from)?;
            }
            row(site::MANUFACTURER, model, site::HARDWARE_TOO_NEW, site::OLD_VERSIONS[1], None, "Active", "*")?;
            row(site::MANUFACTURER, model, site::HARDWARE_TOO_NEW, site::NEW_VERSION, Some(&image), "Withdrawn", "*")?;
        }
        for hardware in site::HARDWARE {
            row(site::OTHER_MANUFACTURER, site::OTHER_MODEL, hardware, site::OLD_VERSIONS[0], None, "Active", "*")?;
        }
        Ok(())
    }

    /// The hash of an image that nobody has here.
    fn some_hash(&self, entry: u64) -> String {
        let mut bytes = [0; 32];
        for (i, part) in bytes.chunks_mut(8).enumerate() {
            part.copy_from_slice(&self.sites.dice.bits("hash", entry * 4 + i as u64).to_be_bytes());
        }
        ImageId(bytes).to_string()
    }

    fn epcl(&self, csv: &mut Csv) -> csv::Result<()> {
        csv.write_record(["dmc", "cohort", "effective_from", "effective_to"])?;
        for cohort in COHORTS {
            for variant in 0..site::COMBINATIONS_PER_COHORT {
                csv.write_record([&site::dmc(cohort, variant), cohort, "2019-06-01", ""])?;
            }
        }
        let [_, not_yet, no_more] = site::COMBINATIONS_NOT_LISTED;
        let today = self.sites.today;
        csv.write_record([not_yet, "IOC", &today.plus(60).to_string(), ""])?;
        csv.write_record([no_more, "MDS", &today.plus(-500).to_string(), &today.plus(-30).to_string()])
    }

    fn exclusions(&self, csv: &mut Csv) -> csv::Result<()> {
        const PAST_ONE_IN: u64 = 500;
        csv.write_record(["device_id", "mpan", "reason", "effective_from", "effective_to"])?;
        for s in self.all() {
            let since = self.sites.today.plus(-40 - self.days(&s, "excluded since", 60));
            let until = match s.story {
                Story::Excluded if self.sites.pick(s.number, "excluded until", 2) == 0 => String::new(),
                Story::Excluded => self.sites.today.plus(30).to_string(),
                // Was excluded once, and is no more.
                _ if self.sites.pick(s.number, "was excluded", PAST_ONE_IN) == 0 => self.sites.today.plus(-10).to_string(),
                _ => continue,
            };
            let reason = EXCLUSION_REASONS[self.sites.pick(s.number, "excluded because", 3) as usize];
            let (device, mpan) = match self.sites.pick(s.number, "excluded by", 2) {
                0 => (s.device.to_string(), String::new()),
                _ => (String::new(), s.mpan.to_string()),
            };
            csv.write_record([&device, &mpan, reason, &since.to_string(), &until])?;
        }
        Ok(())
    }

    fn days(&self, s: &Site, purpose: &str, below: u64) -> i64 {
        self.sites.pick(s.number, purpose, below) as i64
    }
}

fn write(dir: &Path, name: &str, rows: impl FnOnce(&mut Csv) -> csv::Result<()>) -> Result<(), SimError> {
    let path = dir.join(name);
    let wrong = |source: csv::Error| SimError::Portfolio { path: path.clone(), source };
    let file = File::create(&path).map_err(|e| wrong(e.into()))?;
    let mut csv = csv::Writer::from_writer(BufWriter::new(file));
    rows(&mut csv).and_then(|()| csv.flush().map_err(Into::into)).map_err(wrong)
}
