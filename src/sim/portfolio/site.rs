//! One synthetic site, made from its number. A site has one story: the one thing about it that decides whether it may be
//! upgraded; everything else about it is in order.

use crate::{
    clock::{Day, Time},
    ids::{DeviceId, Eui, Mpan},
    sim::dice::Dice,
};

pub const MANUFACTURER: &str = "12A7";
pub const MODELS: [&str; 3] = ["00A10001", "00A10002", "PD300/2"];
/// Of another manufacturer: the image is not for it.
pub const OTHER_MANUFACTURER: &str = "2C41";
pub const OTHER_MODEL: &str = "00910003";
pub const HARDWARE_MIN: u16 = 0x0100;
pub const HARDWARE_MAX: u16 = 0x02FF;
pub const HARDWARE: [u16; 3] = [0x0101, 0x010A, 0x02A0];
pub const HARDWARE_TOO_NEW: u16 = 0x0310;
pub const NEW_VERSION: &str = "00020200";
/// From these it may be upgraded.
pub const OLD_VERSIONS: [&str; 2] = ["0002012F", "00020130"];
/// From this it may not.
pub const ANCIENT_VERSION: &str = "00010009";
/// Combinations on the EPCL, for each cohort.
pub const COMBINATIONS_PER_COHORT: u64 = 6;
/// On no list, not yet on the list, no more on the list.
pub const COMBINATIONS_NOT_LISTED: [&str; 3] = ["DMC-9001", "DMC-9002", "DMC-9003"];
/// The first sites are in order whatever the seed says: three that lack a key, and some that go on.
const ALWAYS_IN_ORDER: usize = 8;
/// The first two digits of an MPAN say the region; these are the distribution areas of Great Britain.
const FIRST_AREA: u64 = 10;
const AREAS: [&str; 14] = [
    "Eastern",
    "East Midlands",
    "London",
    "Merseyside and North Wales",
    "West Midlands",
    "North Eastern",
    "North Western",
    "Northern Scotland",
    "Southern Scotland",
    "South Eastern",
    "Southern",
    "South Wales",
    "South Western",
    "Yorkshire",
];
/// Coprime to ten, so that numbers of sites become different serials of ten digits.
const SERIAL_STEP: u64 = 7_368_787_271;
const SERIALS: u64 = 10_000_000_000;
/// Odd, so that numbers of sites become different 40-bit device numbers.
const DEVICE_STEP: u64 = 0x9E_3779_B97F;
const DEVICE_MASK: u64 = (1 << 40) - 1;
const PPMIDS: u64 = 0x00DB_1200_0000_0000;
const HUBS: u64 = 0x00DB_2300_0000_0000;
const GAS_METERS: u64 = 0x00DB_3400_0000_0000;

/// What decides about a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    InOrder,
    /// Changes supplier, but not within the next five days.
    SupplyEndsLater,
    OtherSupplier,
    SupplyLost,
    NotCommissioned,
    FinalCohort,
    CombinationNotListed,
    OtherModel,
    HardwareOutOfRange,
    UpToDate,
    PathNotAllowed,
    SupplyNotStarted,
    SupplyEnding,
    Excluded,
}

/// Stories in per mille of the sites; the rest are in order.
const STORIES: [(Story, u32); 13] = [
    (Story::OtherSupplier, 20),
    (Story::SupplyLost, 10),
    (Story::NotCommissioned, 10),
    (Story::FinalCohort, 60),
    (Story::CombinationNotListed, 10),
    (Story::OtherModel, 20),
    (Story::HardwareOutOfRange, 10),
    (Story::UpToDate, 80),
    (Story::PathNotAllowed, 15),
    (Story::SupplyNotStarted, 6),
    (Story::SupplyEnding, 8),
    (Story::SupplyEndsLater, 5),
    (Story::Excluded, 4),
];

impl Story {
    pub fn is_eligible(self) -> bool {
        self.reason() == "ELIGIBLE"
    }

    /// The contract's reason, if the site has its key.
    pub fn reason(self) -> &'static str {
        match self {
            Story::InOrder | Story::SupplyEndsLater => "ELIGIBLE",
            Story::OtherSupplier | Story::SupplyLost => "NOT_RESPONSIBLE_SUPPLIER",
            Story::NotCommissioned => "DEVICE_NOT_COMMISSIONED",
            Story::FinalCohort => "COHORT_NOT_LIVE",
            Story::CombinationNotListed => "COMBINATION_NOT_ELIGIBLE",
            Story::OtherModel | Story::HardwareOutOfRange => "MODEL_NOT_COVERED",
            Story::UpToDate => "ALREADY_AT_VERSION",
            Story::PathNotAllowed => "UPGRADE_PATH_NOT_ALLOWED",
            Story::SupplyNotStarted => "SUPPLY_NOT_STARTED",
            Story::SupplyEnding => "SUPPLY_CHANGE_PENDING",
            Story::Excluded => "EXCLUDED_BY_OPERATOR",
        }
    }
}

/// A row of `sites.csv`, and what the other files say of it.
pub struct Site {
    pub number: usize,
    pub story: Story,
    pub device: DeviceId,
    pub mpan: Mpan,
    pub cohort: &'static str,
    pub manufacturer: &'static str,
    pub model: &'static str,
    pub hardware_version: u16,
    pub firmware_version: &'static str,
    pub device_status: &'static str,
    pub dmc: String,
    pub hub: DeviceId,
    pub gas_meter: Option<DeviceId>,
    pub region: &'static str,
    pub migrated_on: Day,
    /// Whether the transitional tool was run on it: an IOC or MDS site migrated before the service went live.
    pub needed_the_tool: bool,
}

/// All sites, by number.
pub struct Sites {
    pub count: usize,
    pub dice: Dice,
    pub today: Day,
    pub now: Time,
}

impl Sites {
    pub fn story(&self, n: usize) -> Story {
        if n < ALWAYS_IN_ORDER {
            return Story::InOrder;
        }
        let mut roll = self.pick(n, "story", 1_000) as u32;
        for (story, share) in STORIES {
            match roll.checked_sub(share) {
                None => return story,
                Some(rest) => roll = rest,
            }
        }
        Story::InOrder
    }

    /// Of the paragraph-13 kind: it is in order, and its key is the tool's to bring.
    pub fn may_lack_key(&self, n: usize) -> bool {
        self.story(n) == Story::InOrder && self.needed_the_tool(n)
    }

    pub fn device(&self, n: usize) -> DeviceId {
        Eui(PPMIDS | self.number(n))
    }

    pub fn site(&self, n: usize) -> Site {
        let story = self.story(n);
        let cohort = self.cohort(n);
        let area = self.pick(n, "area", AREAS.len() as u64);
        let serial = ((n as u64 + 1) * SERIAL_STEP + self.dice.bits("serial", 0)) % SERIALS;
        let other_model = story == Story::OtherModel;
        let model = MODELS[self.pick(n, "model", 3) as usize];
        Site {
            number: n,
            story,
            device: self.device(n),
            mpan: Mpan::from_first_twelve((FIRST_AREA + area) * SERIALS + serial),
            cohort,
            manufacturer: if other_model { OTHER_MANUFACTURER } else { MANUFACTURER },
            model: if other_model { OTHER_MODEL } else { model },
            hardware_version: match story {
                Story::HardwareOutOfRange => HARDWARE_TOO_NEW,
                _ => HARDWARE[self.pick(n, "hardware", 3) as usize],
            },
            firmware_version: match story {
                Story::UpToDate => NEW_VERSION,
                Story::PathNotAllowed => ANCIENT_VERSION,
                _ => OLD_VERSIONS[self.pick(n, "version", 2) as usize],
            },
            device_status: match story {
                Story::NotCommissioned => {
                    ["Pending", "InstalledNotCommissioned", "Suspended", "Decommissioned"][self.pick(n, "status", 4) as usize]
                }
                _ => "Commissioned",
            },
            dmc: self.dmc(n, story, cohort),
            hub: Eui(HUBS | self.number(n)),
            gas_meter: (self.pick(n, "gas", 10) < 7).then(|| Eui(GAS_METERS | self.number(n))),
            region: AREAS[area as usize],
            migrated_on: self.migrated_on(n),
            needed_the_tool: self.needed_the_tool(n),
        }
    }

    /// A whole number below `of`.
    pub fn pick(&self, n: usize, purpose: &str, of: u64) -> u64 {
        self.dice.bits(purpose, n as u64) % of
    }

    fn number(&self, n: usize) -> u64 {
        ((n as u64 + 1).wrapping_mul(DEVICE_STEP) ^ self.dice.bits("devices", 0)) & DEVICE_MASK
    }

    fn cohort(&self, n: usize) -> &'static str {
        if self.story(n) == Story::FinalCohort {
            return "FOC";
        }
        let tool_only = n < ALWAYS_IN_ORDER;
        match self.pick(n, "cohort", if tool_only { 75 } else { 100 }) {
            0..45 => "IOC",
            45..75 => "MDS",
            _ => "SECURE",
        }
    }

    fn dmc(&self, n: usize, story: Story, cohort: &str) -> String {
        if story == Story::CombinationNotListed {
            return COMBINATIONS_NOT_LISTED[self.pick(n, "combination", 3) as usize].to_string();
        }
        dmc(cohort, self.pick(n, "combination", COMBINATIONS_PER_COHORT))
    }

    fn needed_the_tool(&self, n: usize) -> bool {
        matches!(self.cohort(n), "IOC" | "MDS") && !self.migrated_late(n)
    }

    /// One in twelve came after the service went live, and brought its key.
    fn migrated_late(&self, n: usize) -> bool {
        n >= ALWAYS_IN_ORDER && self.today > live() && self.pick(n, "late", 12) == 0
    }

    fn migrated_on(&self, n: usize) -> Day {
        const LATEST_DAYS_AFTER: i64 = 400;
        const EARLIEST_DAYS_BEFORE: u64 = 540;
        if self.migrated_late(n) {
            let days = (self.today.0 - live().0).min(LATEST_DAYS_AFTER);
            live().plus(self.pick(n, "migrated", days as u64 + 1) as i64)
        } else {
            live().plus(-4 - self.pick(n, "migrated", EARLIEST_DAYS_BEFORE) as i64)
        }
    }
}

/// A combination that the EPCL lists.
pub fn dmc(cohort: &str, variant: u64) -> String {
    format!("DMC-{cohort}-{:02}", variant + 1)
}

/// The day the service went live (the letter; `tool_until` of the policy as shipped).
pub fn live() -> Day {
    "2020-11-24".parse().expect("it is a date")
}
