//! What the smart metering inventory says of a site (8.2): its hub, its meters and its PPMID, made up from the seed where
//! `devices_file` does not say, so that the same question always has the same answer. The addresses and supply numbers are
//! nobody's. Promise: the PPMID's status and version are what the simulated device has.

use super::{
    dice::{Dice, Share},
    population::{Condition, Facts, Generation},
    scenario::InventoryRules,
};
use crate::{
    duis::{InventoryDevice, PropertyFilter},
    ids::{DeviceId, Eui, Mpan},
};

/// The devices of a site differ from its PPMID in this byte: in the synthetic portfolio hub and gas meter do.
const HUB: u64 = 0x31 << 40;
const ELECTRICITY_METER: u64 = 0x57 << 40;
const GAS_METER: u64 = 0x26 << 40;
const GAS_PROXY: u64 = 0x68 << 40;
/// Versions of made-up PPMIDs before their first upgrade.
const OLD_VERSIONS: [&str; 3] = ["00010009", "0002012F", "00020130"];
const NOT_COMMISSIONED: [&str; 3] = ["Pending", "Whitelisted", "InstalledNotCommissioned"];
const REGIONS: [&str; 6] = ["North", "Central", "South", "4G North", "4G Central", "4G South"];
/// SMETS1 service providers by names of our own.
const PROVIDERS: [&str; 3] = ["S1SP A", "S1SP B", "S1SP C"];
/// Numbers of supply points: no distribution area begins with a zero.
const NOBODYS_MPANS: u64 = 10_000_000_000;

/// What there is to say of one site.
pub struct SiteView<'a> {
    pub dice: Dice,
    pub rules: &'a InventoryRules,
    pub device: DeviceId,
    pub condition: Condition,
    pub generation: Generation,
    pub facts: Option<&'a Facts>,
    /// What an upgrade has brought; without one, what it always had.
    pub upgraded_to: Option<&'a str>,
}

/// The hub of a PPMID's site.
pub fn hub_of(device: DeviceId, facts: Option<&Facts>) -> DeviceId {
    facts.and_then(|f| f.hub).unwrap_or(Eui(device.0 ^ HUB))
}

/// The PPMIDs whose made-up hub or meter a device may be.
pub fn possible_ppmids(device: DeviceId) -> impl Iterator<Item = DeviceId> {
    [HUB, ELECTRICITY_METER, GAS_METER, GAS_PROXY].into_iter().map(move |mask| Eui(device.0 ^ mask))
}

/// The firmware that a PPMID runs before any upgrade.
pub fn first_version(dice: Dice, device: DeviceId, facts: Option<&Facts>) -> String {
    let listed = facts.and_then(|f| f.firmware_version.as_deref());
    listed.unwrap_or(OLD_VERSIONS[(dice.bits("first version", device.0) % 3) as usize]).to_string()
}

impl SiteView<'_> {
    /// The version that the PPMID runs.
    pub fn firmware_version(&self) -> String {
        self.upgraded_to.map_or_else(|| first_version(self.dice, self.device, self.facts), str::to_string)
    }

    /// Every device of the site, hub first.
    pub fn devices(&self) -> Vec<InventoryDevice> {
        let id = |mask: u64| Eui(self.device.0 ^ mask);
        let mut devices = vec![self.about(hub_of(self.device, self.facts), "CHF"), self.about(id(ELECTRICITY_METER), "ESME")];
        let listed = self.facts.and_then(|f| f.gas_meter);
        if listed.is_some() || (self.facts.is_none() && self.dice.hits(self.rules.gas, "gas", self.device.0)) {
            devices.push(self.about(id(GAS_PROXY), "GPF"));
            devices.push(self.about(listed.unwrap_or(id(GAS_METER)), "GSME"));
        }
        devices.push(self.about(self.device, "PPMID"));
        devices
    }

    fn about(&self, device: DeviceId, device_type: &str) -> InventoryDevice {
        let is_ppmid = device == self.device;
        let (site, has) = (self.device.0, |share: Share, field: &str| self.dice.hits(share, field, device.0));
        let maybe = |field: &str, text: String| has(self.rules.other_fields, field).then_some(text);
        let pick = |word: &str, of: &[&str]| of[(self.dice.bits(word, site) % of.len() as u64) as usize].to_string();
        let version = if is_ppmid { self.firmware_version() } else { first_version(self.dice, device, None) };
        let listed = |of: fn(&Facts) -> &Option<std::sync::Arc<str>>| {
            self.facts.filter(|_| is_ppmid).and_then(|f| of(f).as_deref()).map(str::to_string)
        };
        let second = self.generation == Generation::Smets2;
        let is_meter = matches!(device_type, "ESME" | "GSME");
        InventoryDevice {
            device_id: device,
            device_type: device_type.to_string(),
            device_status: has(self.rules.device_status, "DeviceStatus").then(|| self.status(is_ppmid)),
            manufacturer: listed(|f| &f.manufacturer).unwrap_or_else(|| pick("manufacturer", &["12A7", "106C", "2C41"])),
            model: listed(|f| &f.model).unwrap_or_else(|| pick("model", &["00A10001", "433100AC", "PD300/2"])),
            smets_chts_version: maybe("SMETSCHTSVersion", if second { "SMETS2 V4.2" } else { "SMETS1 V1.1" }.to_string()),
            firmware_version: has(self.rules.firmware_version, "DeviceFirmwareVersion").then_some(version),
            firmware_version_status: maybe("DeviceFirmwareVersionStatus", "Active".into()),
            cpl_status: maybe("CPLStatus", "Active".into()),
            date_commissioned: maybe("DateCommissioned", self.date()),
            import_mpxn: if is_meter { maybe("ImportMPxN", self.supply_number(device_type)) } else { None },
            secondary_import_mpan: None,
            export_mpan: if device_type == "ESME" { maybe("ExportMPAN", self.mpan("export").to_string()) } else { None },
            esme_variant: if device_type == "ESME" {
                maybe("ESMEVariant", pick("variant", &["A", "B", "C", "ADE"]))
            } else {
                None
            },
            uprn: maybe("UPRN", (1 + self.dice.bits("UPRN", site) % 999_999_999_999).to_string()),
            property_filter: has(self.rules.other_fields, "PropertyFilter").then(|| self.address()),
            csp_region: maybe("CSPRegion", if second { pick("region", &REGIONS) } else { "SMETS1".to_string() }),
            gbcs_version: if second { maybe("DeviceGBCSVersion", "4.2".into()) } else { None },
            han_variant: if device_type == "CHF" { maybe("HANVariant", "Single Band".into()) } else { None },
            s1sp: if second { None } else { maybe("S1SP", pick("provider", &PROVIDERS)) },
            connectivity: if device_type == "CHF" { maybe("Connectivity", "Cellular".into()) } else { None },
        }
    }

    /// `DeviceStatus` of the PPMID.
    pub fn device_status(&self) -> String {
        self.status(true)
    }

    /// The PPMID's is its condition's; the rest of the site is in order.
    fn status(&self, is_ppmid: bool) -> String {
        let n = (self.dice.bits("status", self.device.0) % NOT_COMMISSIONED.len() as u64) as usize;
        match self.condition {
            Condition::NotCommissioned if is_ppmid => NOT_COMMISSIONED[n].to_string(),
            Condition::Suspended if is_ppmid => "Suspended".to_string(),
            Condition::Decommissioned if is_ppmid => "Decommissioned".to_string(),
            _ => "Commissioned".to_string(),
        }
    }

    /// Between 2013 and 2019, when SMETS1 devices were installed.
    fn date(&self) -> String {
        let of = |word: &str, many: u64| self.dice.bits(word, self.device.0) % many;
        format!("{}-{:02}-{:02}Z", 2013 + of("year", 7), 1 + of("month", 12), 1 + of("day", 28))
    }

    fn mpan(&self, word: &str) -> Mpan {
        Mpan::from_first_twelve(self.dice.bits(word, self.device.0) % NOBODYS_MPANS)
    }

    fn supply_number(&self, device_type: &str) -> String {
        match device_type {
            "GSME" => format!("{:010}", self.dice.bits("MPRN", self.device.0) % NOBODYS_MPANS),
            _ => self.import_mpan().to_string(),
        }
    }

    /// The site's electricity supply number.
    pub fn import_mpan(&self) -> Mpan {
        self.facts.and_then(|f| f.mpan).unwrap_or_else(|| self.mpan("import"))
    }

    /// No post code begins with ZZ.
    fn address(&self) -> PropertyFilter {
        let of = |word: &str, many: u64| self.dice.bits(word, self.device.0) % many;
        PropertyFilter {
            post_code: format!("ZZ{} {}ZZ", 10 + of("district", 90), of("sector", 10)),
            address_identifier: (1 + of("house", 250)).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Scenario;

    fn view<'a>(rules: &'a InventoryRules, seed: u64, condition: Condition, upgraded_to: Option<&'a str>) -> SiteView<'a> {
        let (dice, device) = (Dice::new(seed), Eui(0x00DB_1200_0000_0007));
        SiteView { dice, rules, device, condition, generation: Generation::Smets1, facts: None, upgraded_to }
    }

    #[test]
    fn a_site_has_its_hub_and_meter_and_the_truth_about_its_ppmid() {
        let rules = Scenario::default().inventory;
        let devices = view(&rules, 1, Condition::Suspended, Some("00020200")).devices();
        let kinds: Vec<&str> = devices.iter().map(|d| d.device_type.as_str()).collect();
        assert!(kinds.starts_with(&["CHF", "ESME"]) && kinds.ends_with(&["PPMID"]), "{kinds:?}");
        let ppmid = devices.last().unwrap();
        assert_eq!((ppmid.device_status.as_deref(), ppmid.firmware_version.as_deref()), (Some("Suspended"), Some("00020200")));
        assert_eq!(devices[0].device_id, Eui(0x00DB_2300_0000_0007), "the portfolio's hub");
        assert!(devices.iter().all(|d| d.device_type == "PPMID" || d.device_status.as_deref() == Some("Commissioned")));
    }

    proptest::proptest! {
        #[test]
        fn the_same_seed_says_the_same_and_what_is_optional_may_be_missing(seed: u64, share in 0u8..=100) {
            let text = format!("[inventory]\ndevice_status = \"{share}%\"\nfirmware_version = \"0%\"\nother_fields = \"0%\"\n");
            let rules = Scenario::parse(&text, "s.toml").unwrap().inventory;
            let once = view(&rules, seed, Condition::Ready, None).devices();
            proptest::prop_assert!(once == view(&rules, seed, Condition::Ready, None).devices());
            for device in &once {
                proptest::prop_assert!(device.firmware_version.is_none() && device.property_filter.is_none() && device.uprn.is_none());
                proptest::prop_assert!(share != 100 || device.device_status.is_some());
                proptest::prop_assert!(share != 0 || device.device_status.is_none());
            }
        }
    }
}
