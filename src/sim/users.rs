//! Who may send, in which role, and which devices are whose on which day. No I/O beyond reading the registrations once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
};

use super::{
    SimError,
    scenario::{RegistrationRules, Roles, Scenario, UnlistedSupply, UserRules, own_mpids},
};
use crate::{
    clock::Day,
    duis::{DuisVersion, RequestKind},
    ids::{DeviceId, Mpan, Mpid, UserId},
};

/// What a user is allowed and speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub may: BTreeSet<RequestKind>,
    pub mpids: Vec<Mpid>,
    pub duis_version: Option<DuisVersion>,
    pub suspended: bool,
}

/// The users that the scenario lists, or everybody.
#[derive(Debug, Clone)]
pub struct Users {
    listed: BTreeMap<UserId, Standing>,
    anybody: Option<Standing>,
}

impl Users {
    pub fn new(scenario: &Scenario) -> Users {
        let standing = |user: &UserRules| Standing {
            may: scenario.roles.may(&user.role).unwrap_or_default(),
            mpids: user.mpids.clone(),
            duis_version: user.duis_version,
            suspended: user.suspended,
        };
        let anybody = || {
            let may = scenario.roles.may("IS").or_else(|| Roles::default().may("IS")).unwrap_or_default();
            Standing { may, mpids: own_mpids(), duis_version: None, suspended: false }
        };
        Users {
            listed: scenario.users.iter().map(|user| (user.id, standing(user))).collect(),
            anybody: scenario.users.is_empty().then(anybody),
        }
    }

    /// `None`: DCC has no such user.
    pub fn standing(&self, user: UserId) -> Option<&Standing> {
        self.listed.get(&user).or(self.anybody.as_ref())
    }
}

/// From the first day on, and not from the second on.
type Term = (Mpid, Day, Option<Day>);

/// Which supplier holds which device.
#[derive(Debug, Default)]
pub struct Registrations {
    by_mpan: HashMap<Mpan, Vec<Term>>,
    by_device: HashMap<DeviceId, Vec<Term>>,
    unlisted: UnlistedSupply,
    /// Devices that a change of supplier has taken from whoever asks.
    lost: HashSet<DeviceId>,
}

impl Registrations {
    pub fn load(rules: &RegistrationRules) -> Result<Registrations, SimError> {
        let mut registrations = Registrations { unlisted: rules.unlisted, ..Registrations::default() };
        for row in &rules.device {
            let term = (row.supplier_mpid, row.effective_from, row.effective_to);
            registrations.by_device.entry(row.device_id).or_default().push(term);
        }
        if let Some(path) = &rules.file {
            registrations.read(path)?;
        }
        Ok(registrations)
    }

    fn read(&mut self, path: &Path) -> Result<(), SimError> {
        let mut table = super::table::Table::open(path, &["mpan", "supplier_mpid", "effective_from"])?;
        while table.next()? {
            let term = (table.value("supplier_mpid")?, table.value("effective_from")?, table.value_if("effective_to")?);
            self.by_mpan.entry(table.value("mpan")?).or_default().push(term);
        }
        Ok(())
    }

    /// Whether one of `mpids` holds the device on this day.
    pub fn is_held(&self, device: DeviceId, mpan: Option<Mpan>, mpids: &[Mpid], day: Day) -> bool {
        if self.lost.contains(&device) {
            return false;
        }
        let terms = self.by_device.get(&device).or_else(|| self.by_mpan.get(&mpan?));
        let Some(terms) = terms else { return self.unlisted == UnlistedSupply::Ours };
        terms.iter().any(|(mpid, from, to)| mpids.contains(mpid) && *from <= day && to.is_none_or(|to| day < to))
    }

    /// The device changes supplier now.
    pub fn lose(&mut self, device: DeviceId) {
        self.lost.insert(device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(n: i64) -> DeviceId {
        DeviceId::from_db(n)
    }

    #[test]
    fn without_a_list_everybody_is_an_import_supplier() {
        let users = Users::new(&Scenario::default());
        let standing = users.standing(UserId::from_db(1)).unwrap();
        assert!(standing.may.len() == 4 && !standing.suspended && standing.duis_version.is_none());
    }

    #[test]
    fn a_list_names_them_all_and_a_gas_supplier_may_not_update_firmware() {
        let text = "[[users]]\nid = \"00-00-00-00-00-00-00-01\"\n[[users]]\nid = \"00-00-00-00-00-00-00-02\"\nrole = \"GS\"\nsuspended = true\nduis_version = \"3.0\"\n";
        let users = Users::new(&Scenario::parse(text, "s.toml").unwrap());
        assert!(users.standing(UserId::from_db(1)).unwrap().may.contains(&RequestKind::UpdateFirmware));
        let gas = users.standing(UserId::from_db(2)).unwrap();
        assert!(
            !gas.may.contains(&RequestKind::UpdateFirmware) && gas.may.contains(&RequestKind::ReadInventory) && gas.suspended
        );
        assert_eq!(users.standing(UserId::from_db(3)), None);
    }

    #[test]
    fn a_registration_counts_from_its_first_day_to_the_day_before_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registrations.csv");
        std::fs::write(
            &path,
            "supplier_mpid,mpan,effective_to,effective_from\nEELC,2298132107763,2026-03-01,2026-01-01\nNEXT,2298132107763,,2026-03-01\n",
        )
        .unwrap();
        let text = "[registrations]\nunlisted = \"nobody\"\n[[registrations.device]]\ndevice_id = \"00-00-00-00-00-00-00-02\"\nsupplier_mpid = \"EELC\"\neffective_from = \"2026-02-01\"\n";
        let mut rules = Scenario::parse(text, "s.toml").unwrap().registrations;
        rules.file = Some(path);
        let mut registrations = Registrations::load(&rules).unwrap();
        let mpan = "2298132107763".parse().ok();
        let held = |r: &Registrations, n, mpan, day: &str| r.is_held(device(n), mpan, &own_mpids(), day.parse().unwrap());
        let days = ["2025-12-31", "2026-01-01", "2026-02-28", "2026-03-01"];
        assert_eq!(days.map(|day| held(&registrations, 1, mpan, day)), [false, true, true, false]);
        assert_eq!(days.map(|day| held(&registrations, 2, None, day)), [false, false, true, true]);
        assert!(!held(&registrations, 3, None, days[1]), "nobody's");
        registrations.lose(device(2));
        assert!(!held(&registrations, 2, None, days[3]));
        assert!(Registrations::load(&RegistrationRules::default()).unwrap().is_held(device(9), None, &own_mpids(), Day(0)));
    }
}
