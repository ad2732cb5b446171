//! A second, naive reading of the contract's table, straight from its words, against which random questions are held.

use proptest::prelude::*;

use super::*;

/// Each row of the table in the contract's words, no preparation.
fn naive_rules(c: &Case) -> [(Reason, bool); 13] {
    let (e, day, s, i) = (&c.policies.eligibility, c.at.london_day(), &c.site, &c.image);
    let cohort = e.cohort(s.cohort);
    let covers = |from: Day, to: Option<Day>| {
        from <= day
            && match to {
                Some(to) => day < to,
                None => true,
            }
    };
    let own_covers = c.own.iter().any(|r| covers(r.effective_from, r.effective_to));
    let own_later = c.own.iter().any(|r| r.effective_from > day);
    let epcl = c.epcl.iter().any(|r| r.dmc == s.dmc && covers(r.effective_from, r.effective_to));
    let active: Vec<&CplEntry> = c
        .cpl
        .iter()
        .filter(|x| x.status == CplStatus::Active && x.manufacturer == s.manufacturer && x.model == s.model)
        .filter(|x| x.hardware_version == s.hardware_version && x.firmware_version == i.firmware_version)
        .filter(|x| x.manufacturer_image_hash == i.manufacturer_image_sha256)
        .collect();
    let in_manifest = s.manufacturer == i.manufacturer
        && i.models.contains(&s.model)
        && i.hardware_min <= s.hardware_version
        && s.hardware_version <= i.hardware_max;
    let allows = |from: &UpgradeFrom, not_stated: bool| match from {
        UpgradeFrom::Any => true,
        UpgradeFrom::None => false,
        UpgradeFrom::NotStated => not_stated,
        UpgradeFrom::Versions(v) => v.contains(&s.firmware_version),
    };
    let not_stated = e.cpl_upgrade_from_not_stated == NotStatedMeans::Any;
    let path = active.iter().any(|x| allows(&x.upgrade_from, not_stated)) && allows(&i.upgrade_from, false);
    let ends = c.own.iter().find(|r| covers(r.effective_from, r.effective_to)).and_then(|r| r.effective_to);
    let pending = ends.is_some_and(|to| to.0 <= day.0 + e.guard_days && !c.own.iter().any(|r| r.effective_from == to));
    let unknown = c.key.is_none() && s.migrated_on.is_none_or(|m| m < e.tool_until);
    [
        (Reason::NotResponsibleSupplier, !own_covers && !own_later),
        (Reason::DeviceNotCommissioned, s.device_status != "Commissioned"),
        (Reason::CohortNotLive, cohort.live_from.is_none_or(|from| day < from)),
        (Reason::CombinationNotEligible, !epcl),
        (Reason::ModelNotCovered, !in_manifest || active.is_empty()),
        (Reason::AlreadyAtVersion, s.firmware_version == i.firmware_version),
        (Reason::UpgradePathNotAllowed, !path),
        (Reason::SupplyNotStarted, own_later && !own_covers),
        (Reason::SupplyChangePending, pending),
        (Reason::KeysMissing, cohort.needs_tool_key && matches!(c.key, Some(KeyStatus::Failed | KeyStatus::Investigating))),
        (Reason::KeysUnknown, cohort.needs_tool_key && unknown),
        (Reason::ExcludedByOperator, c.exclusion.is_some()),
        (Reason::OtherCampaignInProgress, c.in_other_campaign),
    ]
}

/// Rows of an MPAN as the store keeps them: in order, none overlapping, some adjoining.
fn registrations() -> impl Strategy<Value = Vec<Registration>> {
    let row = (0i64..4, 1i64..12, any::<bool>(), prop::sample::select(vec!["EELC", "EELB"]));
    (-15i64..8, prop::collection::vec(row, 0..5), any::<bool>()).prop_map(|(start, rows, open)| {
        let mut next = day("2021-01-15").plus(start);
        let mut all = Vec::new();
        for (gap, length, ours, mpid) in rows {
            let from = next.plus(gap);
            next = from.plus(length);
            if ours {
                let supplier_mpid = mpid.parse().unwrap();
                all.push(Registration { mpan: mpan(), supplier_mpid, effective_from: from, effective_to: Some(next) });
            }
        }
        if let Some(last) = all.last_mut().filter(|_| open) {
            last.effective_to = None;
        }
        all
    })
}

fn pick<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(values.to_vec())
}

fn texts(values: &[&str]) -> impl Strategy<Value = String> + use<> {
    prop::sample::select(values.iter().map(|v| v.to_string()).collect::<Vec<_>>())
}

const MODELS: [&str; 3] = ["433100AC", "433100AD", "433100ac"];
const VERSIONS: [&str; 4] = ["0001", "0002", "1", "0000"];
const PATHS: [&str; 6] = ["*", "N/A", "", "0001", "0000;1", "0001;0000"];

fn sites() -> impl Strategy<Value = Site> {
    (
        pick(Cohort::ALL),
        texts(&["106C", "106C", "106C", "106c"]),
        texts(&MODELS),
        0x1110u16..0x1114,
        texts(&VERSIONS),
        texts(&["Commissioned", "Commissioned", "Commissioned", "Suspended"]),
        texts(&["DMC-1", "DMC-2"]),
        pick(&[None, Some("2020-11-23"), Some("2020-11-24")]),
    )
        .prop_map(|(cohort, manufacturer, model, hardware_version, firmware_version, device_status, dmc, migrated)| Site {
            cohort,
            manufacturer,
            model,
            hardware_version,
            firmware_version,
            device_status,
            dmc,
            migrated_on: migrated.map(day),
            ..site()
        })
}

fn entries() -> impl Strategy<Value = Vec<CplEntry>> {
    let entry = (texts(&MODELS), 0x1110u16..0x1114, texts(&["0002", "0002", "0003"]), pick(&[HASH, HASH, OTHER_HASH]))
        .prop_flat_map(|fixed| (Just(fixed), pick(&[CplStatus::Active, CplStatus::Active, CplStatus::Expired]), texts(&PATHS)))
        .prop_map(|((model, hardware, version, hash), status, from)| CplEntry {
            model,
            firmware_version: version,
            manufacturer_image_hash: hash,
            status,
            ..cpl_entry("CPL", hardware, &from)
        });
    prop::collection::vec(entry, 0..12)
}

fn images() -> impl Strategy<Value = ImageFacts> {
    (prop::sample::subsequence(MODELS.to_vec(), 1..=3), 0x1110u16..0x1113, 0x1111u16..0x1115, texts(&PATHS)).prop_map(
        |(models, hardware_min, hardware_max, from)| ImageFacts {
            models: models.iter().map(|m| m.to_string()).collect(),
            hardware_min,
            hardware_max,
            upgrade_from: UpgradeFrom::parse(&from),
            ..image()
        },
    )
}

fn policies() -> impl Strategy<Value = PolicySet> {
    let live = pick(&[None, Some("2020-11-24"), Some("2021-01-15"), Some("2021-01-16")]);
    (live, any::<bool>(), 0i64..8, any::<bool>()).prop_map(|(live_from, needs_tool_key, guard_days, any_path)| {
        let mut set = compiled();
        set.eligibility.guard_days = guard_days;
        set.eligibility.cpl_upgrade_from_not_stated = if any_path { NotStatedMeans::Any } else { NotStatedMeans::None };
        set.eligibility.cohorts.foc = CohortPolicy { live_from: live_from.map(day), needs_tool_key, clause: None };
        set
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let epcl_row = (texts(&["DMC-1", "DMC-2"]), -3i64..3, prop::option::of(0i64..5)).prop_map(|(dmc, from, length)| {
        let effective_from = day("2021-01-15").plus(from);
        EpclEntry { dmc, effective_from, effective_to: length.map(|n| effective_from.plus(n)) }
    });
    let lists = (policies(), images(), entries(), prop::collection::vec(epcl_row, 0..5));
    let exclusion = prop::option::weighted(0.1, Just("open complaint".to_string()));
    let key = pick(&[
        None,
        Some(KeyStatus::Updated),
        Some(KeyStatus::Updated),
        Some(KeyStatus::Failed),
        Some(KeyStatus::Investigating),
    ]);
    let of_site = (sites(), registrations(), key, exclusion, prop::bool::weighted(0.1), 0i64..86_400_000);
    (lists, of_site).prop_map(|((policies, image, cpl, epcl), (site, own, key, exclusion, in_other_campaign, millis))| Case {
        policies,
        image,
        cpl,
        epcl,
        at: day("2021-01-15").start().plus_millis(millis),
        site,
        own,
        key,
        exclusion,
        in_other_campaign,
    })
}

/// As [`cases`], but nearer to eligible, so that late rules decide often.
fn nearly_eligible() -> impl Strategy<Value = Case> {
    (cases(), any::<u8>()).prop_map(|(mut case, keep)| {
        let good = Case::new();
        let spare = |bit: u8| keep & (1 << bit) == 0;
        if spare(0) {
            (case.epcl, case.site.dmc, case.site.device_status) =
                (good.epcl, good.site.dmc.clone(), good.site.device_status.clone());
        }
        if spare(1) {
            (case.cpl, case.image) = (good.cpl, good.image);
            case.site = Site { cohort: case.site.cohort, migrated_on: case.site.migrated_on, ..good.site };
        }
        if spare(2) {
            case.own = good.own;
        }
        case
    })
}

fn agree(case: &Case) -> Result<(), TestCaseError> {
    let wanted = naive_rules(case);
    let first = wanted.iter().find(|(_, applies)| *applies).map_or(Reason::Eligible, |(reason, _)| *reason);
    prop_assert_eq!(case.reason(), first);
    let found: Vec<(Reason, bool)> = case.explain().iter().map(|f| (f.reason, f.applies)).collect();
    prop_assert_eq!(found.as_slice(), wanted.as_slice());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_rule_is_what_the_contract_says(case in cases()) {
        agree(&case)?;
    }

    #[test]
    fn every_rule_is_what_the_contract_says_of_sites_nearly_eligible(case in nearly_eligible()) {
        agree(&case)?;
    }

    #[test]
    fn a_resubmission_leaves_out_the_two_rules_about_keys_and_no_other(case in nearly_eligible()) {
        let keys = |reason: Reason| [Reason::KeysMissing, Reason::KeysUnknown].contains(&reason);
        let rules = naive_rules(&case);
        let decision = case.decision().resubmitting();
        let first = rules.iter().find(|(reason, applies)| *applies && !keys(*reason)).map_or(Reason::Eligible, |(reason, _)| *reason);
        prop_assert_eq!(evaluate(&decision, &case.facts()).reason, first);
        let stands = rules.iter().find(|(reason, applies)| *applies && keys(*reason)).map(|(reason, _)| *reason);
        prop_assert_eq!(left_out(&decision, &case.facts()), stands);
        prop_assert_eq!(left_out(&case.decision(), &case.facts()), None);
        let first = explain(&decision, &case.facts()).into_iter().find(|f| f.applies).map_or(Reason::Eligible, |f| f.reason);
        prop_assert_eq!(evaluate(&decision, &case.facts()).reason, first);
    }

    #[test]
    fn evaluate_is_the_first_finding_that_applies(case in nearly_eligible()) {
        let findings = case.explain();
        let first = findings.iter().find(|f| f.applies).map_or(Reason::Eligible, |f| f.reason);
        prop_assert_eq!(case.reason(), first);
        prop_assert!(findings.iter().all(|f| f.judged && !f.what.is_empty() && !f.source.is_empty()));
    }
}

#[test]
fn the_random_questions_reach_every_reason() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let (mut runner, mut seen) = (TestRunner::deterministic(), std::collections::BTreeSet::new());
    for _ in 0..2_000 {
        seen.insert(cases().new_tree(&mut runner).unwrap().current().reason());
        seen.insert(nearly_eligible().new_tree(&mut runner).unwrap().current().reason());
    }
    let decided = Reason::ALL.iter().copied().filter(|r| *r != Reason::SupplyLost);
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), decided.collect::<Vec<_>>());
}
