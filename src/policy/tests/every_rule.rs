//! Each rule alone, at its boundaries, and the order in which one hides another.

use super::*;
use Reason::*;

/// Asserts the reason of each case, naming the one that is wrong.
fn table(rows: &[(&str, Reason, Case)]) {
    for (what, wanted, case) in rows {
        assert_eq!(case.reason(), *wanted, "{what}");
    }
}

#[test]
fn nothing_against_it_is_eligible() {
    let verdict = Case::new().verdict();
    assert_eq!(
        verdict,
        Verdict { reason: Eligible, registration: Some(("EELC".parse().unwrap(), day("2019-04-01"))), cpl_entry: Some(0) }
    );
}

#[test]
fn supply_counts_from_its_first_day_until_the_day_before_its_last() {
    let registered = |from, to| Case::but(|c| c.own = vec![own("EELC", from, to)]);
    table(&[
        ("begins today", Eligible, registered("2021-01-15", None)),
        ("begins tomorrow", SupplyNotStarted, registered("2021-01-16", None)),
        ("ended today", NotResponsibleSupplier, registered("2019-01-01", Some("2021-01-15"))),
        ("ends tomorrow", SupplyChangePending, registered("2019-01-01", Some("2021-01-16"))),
        ("another supplier's", NotResponsibleSupplier, Case::but(|c| c.own.clear())),
        (
            "lost, and coming back",
            SupplyNotStarted,
            Case::but(|c| c.own = vec![own("EELC", "2019-01-01", Some("2021-01-10")), own("EELB", "2021-02-01", None)]),
        ),
    ]);
}

#[test]
fn the_verdict_names_the_row_that_covers_or_else_begins_soonest() {
    let rows =
        vec![own("EELC", "2019-01-01", Some("2020-01-01")), own("EELA", "2021-03-01", None), own("EELB", "2021-02-01", None)];
    let verdict = Case::but(|c| c.own = rows).verdict();
    assert_eq!(verdict.registration, Some(("EELB".parse().unwrap(), day("2021-02-01"))));
    assert_eq!(Case::but(|c| c.own = vec![own("EELC", "2019-01-01", Some("2020-01-01"))]).verdict().registration, None);
}

#[test]
fn a_change_of_supplier_is_guarded_for_exactly_the_guard_days() {
    let ending = |to: &'static str| Case::but(|c| c.own = vec![own("EELC", "2019-01-01", Some(to))]);
    let followed = |next: Registration| Case::but(|c| c.own = vec![own("EELC", "2019-01-01", Some("2021-01-20")), next]);
    table(&[
        ("5 days", SupplyChangePending, ending("2021-01-20")),
        ("6 days", Eligible, ending("2021-01-21")),
        ("no guard, last day", Eligible, {
            let mut case = ending("2021-01-16");
            case.policies.eligibility.guard_days = 0;
            case
        }),
        ("another own MPID follows", Eligible, followed(own("EELB", "2021-01-20", None))),
        ("a day's gap", SupplyChangePending, followed(own("EELB", "2021-01-21", None))),
    ]);
}

#[test]
fn the_day_is_londons_on_both_clock_change_days() {
    let at = |moment: &str, from| {
        Case::but(|c| {
            c.at = moment.parse().unwrap();
            c.own = vec![own("EELC", from, None)];
        })
    };
    table(&[
        // London is at UTC until 01:00 on 2026-03-29, then an hour ahead, and at UTC again from 01:00 UTC on 2026-10-25.
        ("last moment before the spring day", SupplyNotStarted, at("2026-03-28T23:59:59.999Z", "2026-03-29")),
        ("first moment of the spring day", Eligible, at("2026-03-29T00:00:00Z", "2026-03-29")),
        ("the day after, an hour earlier in UTC", Eligible, at("2026-03-29T23:00:00Z", "2026-03-30")),
        ("just before that", SupplyNotStarted, at("2026-03-29T22:59:59.999Z", "2026-03-30")),
        ("first moment of the autumn day", Eligible, at("2026-10-24T23:00:00Z", "2026-10-25")),
        ("just before that", SupplyNotStarted, at("2026-10-24T22:59:59.999Z", "2026-10-25")),
        ("the day after, at midnight UTC", Eligible, at("2026-10-26T00:00:00Z", "2026-10-26")),
        ("the 25th hour still belongs to the autumn day", SupplyNotStarted, at("2026-10-25T23:59:59.999Z", "2026-10-26")),
    ]);
}

#[test]
fn only_a_commissioned_device() {
    for status in ["Pending", "Decommissioned", "Suspended", "commissioned", "InstalledNotCommissioned", ""] {
        assert_eq!(Case::but(|c| c.site.device_status = status.to_string()).reason(), DeviceNotCommissioned, "{status}");
    }
}

#[test]
fn cohorts_go_live_by_their_date_alone() {
    let on = |date, cohort| {
        Case::but(|c| {
            (c.at, c.site.cohort) = (noon(date), cohort);
            c.epcl = vec![epcl_row("DMC-1", "2019-01-01", None)];
        })
    };
    let mut foc_live = on("2021-01-15", Cohort::Foc);
    foc_live.policies.eligibility.cohorts.foc.live_from = Some(day("2021-01-15"));
    table(&[
        ("the day of the letter", Eligible, on("2020-11-24", Cohort::Ioc)),
        ("the day before", CohortNotLive, on("2020-11-23", Cohort::Ioc)),
        ("MDS", Eligible, on("2020-11-24", Cohort::Mds)),
        ("Secure", Eligible, on("2020-11-24", Cohort::Secure)),
        ("FOC", CohortNotLive, on("2026-01-01", Cohort::Foc)),
        ("FOC with a date", Eligible, foc_live),
    ]);
}

#[test]
fn combinations_are_eligible_by_their_rows_dates() {
    let listed = |rows: Vec<EpclEntry>| Case::but(|c| c.epcl = rows);
    table(&[
        ("from today", Eligible, listed(vec![epcl_row("DMC-1", "2021-01-15", None)])),
        ("from tomorrow", CombinationNotEligible, listed(vec![epcl_row("DMC-1", "2021-01-16", None)])),
        ("until today", CombinationNotEligible, listed(vec![epcl_row("DMC-1", "2020-01-01", Some("2021-01-15"))])),
        ("until tomorrow", Eligible, listed(vec![epcl_row("DMC-1", "2020-01-01", Some("2021-01-16"))])),
        (
            "taken off, and put on again",
            Eligible,
            listed(vec![epcl_row("DMC-1", "2020-01-01", Some("2020-02-01")), epcl_row("DMC-1", "2021-01-01", None)]),
        ),
        ("another combination", CombinationNotEligible, listed(vec![epcl_row("DMC-2", "2020-01-01", None)])),
        ("compared exactly", CombinationNotEligible, listed(vec![epcl_row("dmc-1", "2020-01-01", None)])),
    ]);
}

#[test]
fn the_model_must_be_in_the_manifest_and_on_the_list() {
    let hardware = |version| {
        Case::but(|c| {
            c.site.hardware_version = version;
            c.cpl.push(cpl_entry("CPL-2", version, "0001"));
        })
    };
    table(&[
        ("another manufacturer", ModelNotCovered, Case::but(|c| c.site.manufacturer = "106D".to_string())),
        ("a manufacturer in lower case", ModelNotCovered, Case::but(|c| c.site.manufacturer = "106c".to_string())),
        ("another model", ModelNotCovered, Case::but(|c| c.site.model = "433100AE".to_string())),
        ("a model of the manifest that is not listed", ModelNotCovered, Case::but(|c| c.site.model = "433100AD".to_string())),
        (
            "a model listed that is not in the manifest",
            ModelNotCovered,
            Case::but(|c| c.image.models = vec!["433100AD".to_string()]),
        ),
        ("the least hardware", Eligible, hardware(0x1111)),
        ("below it", ModelNotCovered, hardware(0x1110)),
        ("the most", Eligible, hardware(0x1211)),
        ("above it", ModelNotCovered, hardware(0x1212)),
        ("hardware in range that is not listed", ModelNotCovered, Case::but(|c| c.site.hardware_version = 0x1112)),
        ("listed, withdrawn", ModelNotCovered, Case::but(|c| c.cpl[0].status = CplStatus::Withdrawn)),
        ("listed with another hash", ModelNotCovered, Case::but(|c| c.cpl[0].manufacturer_image_hash = OTHER_HASH)),
        ("listed with another version", ModelNotCovered, Case::but(|c| c.cpl[0].firmware_version = "2".to_string())),
        ("the type of device is not compared", Eligible, Case::but(|c| c.cpl[0].device_type = "IHD".to_string())),
    ]);
}

#[test]
fn versions_are_compared_exactly() {
    let runs = |version: &str| Case::but(|c| c.site.firmware_version = version.to_string());
    table(&[
        ("the image's", AlreadyAtVersion, runs("0002")),
        ("the same number, written otherwise", UpgradePathNotAllowed, runs("2")),
        ("an allowed one, written otherwise", UpgradePathNotAllowed, runs("1")),
    ]);
}

#[test]
fn a_pathway_needs_the_list_and_the_manifest() {
    let paths = |entries: &[&str], manifest: &str| {
        Case::but(|c| {
            c.cpl = entries.iter().map(|from| cpl_entry("CPL", 0x1111, from)).collect();
            c.image.upgrade_from = UpgradeFrom::parse(manifest);
        })
    };
    let lenient = |mut case: Case| {
        case.policies.eligibility.cpl_upgrade_from_not_stated = NotStatedMeans::Any;
        case
    };
    table(&[
        ("any, any", Eligible, paths(&["*"], "*")),
        ("listed by one entry of two", Eligible, paths(&["0000", "0000;0001"], "*")),
        ("any by one entry of two", Eligible, paths(&["N/A", "*"], "0001")),
        ("listed by none", UpgradePathNotAllowed, paths(&["0000", "0003"], "*")),
        ("N/A", UpgradePathNotAllowed, paths(&["N/A"], "*")),
        ("not stated", UpgradePathNotAllowed, paths(&[""], "*")),
        ("not stated, policy says any", Eligible, lenient(paths(&[""], "*"))),
        ("N/A, policy says not stated is any", UpgradePathNotAllowed, lenient(paths(&["N/A"], "*"))),
        ("not in the manifest's", UpgradePathNotAllowed, paths(&["*"], "0000")),
        ("a manifest that allows none", UpgradePathNotAllowed, lenient(paths(&["*"], "N/A"))),
        ("a manifest that states none", UpgradePathNotAllowed, lenient(paths(&["*"], ""))),
        (
            "another hardware version's entry allows it",
            UpgradePathNotAllowed,
            Case::but(|c| c.cpl = vec![cpl_entry("A", 0x1111, "0000"), cpl_entry("B", 0x1112, "0001")]),
        ),
        (
            "a withdrawn entry allows it",
            UpgradePathNotAllowed,
            Case::but(|c| {
                c.cpl = vec![cpl_entry("A", 0x1111, "0000"), cpl_entry("B", 0x1111, "0001")];
                c.cpl[1].status = CplStatus::Expired;
            }),
        ),
    ]);
}

#[test]
fn keys_count_where_the_cohort_needs_the_tool() {
    let keyed = |cohort, key, migrated_on: Option<&str>| {
        Case::but(|c| {
            (c.site.cohort, c.key, c.site.migrated_on) = (cohort, key, migrated_on.map(day));
        })
    };
    use KeyStatus::*;
    table(&[
        ("updated", Eligible, keyed(Cohort::Ioc, Some(Updated), None)),
        ("failed", KeysMissing, keyed(Cohort::Ioc, Some(Failed), None)),
        ("investigating", KeysMissing, keyed(Cohort::Mds, Some(Investigating), None)),
        ("failed, though migrated later", KeysMissing, keyed(Cohort::Ioc, Some(Failed), Some("2021-01-01"))),
        ("no result, unknown day", KeysUnknown, keyed(Cohort::Ioc, None, None)),
        ("no result, migrated the day before", KeysUnknown, keyed(Cohort::Mds, None, Some("2020-11-23"))),
        ("no result, migrated on the day", Eligible, keyed(Cohort::Mds, None, Some("2020-11-24"))),
        ("Secure failed", Eligible, keyed(Cohort::Secure, Some(Failed), None)),
        ("Secure without a result", Eligible, keyed(Cohort::Secure, None, None)),
    ]);
}

#[test]
fn exclusions_and_other_campaigns_hold() {
    table(&[
        ("excluded", ExcludedByOperator, Case::but(|c| c.exclusion = Some("open complaint".to_string()))),
        ("in another campaign", OtherCampaignInProgress, Case::but(|c| c.in_other_campaign = true)),
    ]);
}

type Spoiler = fn(&mut Case);

/// What spoils each rule and no other, in order. Rule 8 cannot be spoilt together with 9 and 1, nor 10 with 11.
fn spoilers() -> Vec<(Reason, Spoiler)> {
    vec![
        (NotResponsibleSupplier, |c| c.own.clear()),
        (DeviceNotCommissioned, |c| c.site.device_status = "Suspended".to_string()),
        (CohortNotLive, |c| c.policies.eligibility.cohorts.ioc.live_from = None),
        (CombinationNotEligible, |c| c.epcl.clear()),
        (ModelNotCovered, |c| c.image.hardware_min = 0x1112),
        (AlreadyAtVersion, |c| {
            c.site.firmware_version = "0002".to_string();
            c.image.upgrade_from = UpgradeFrom::Any;
            c.cpl[0].upgrade_from = UpgradeFrom::Any;
        }),
        (UpgradePathNotAllowed, |c| c.image.upgrade_from = UpgradeFrom::None),
        (SupplyNotStarted, |c| c.own = vec![own("EELC", "2021-02-01", None)]),
        (SupplyChangePending, |c| c.own = vec![own("EELC", "2019-01-01", Some("2021-01-16"))]),
        (KeysMissing, |c| c.key = Some(KeyStatus::Failed)),
        (KeysUnknown, |c| c.key = None),
        (ExcludedByOperator, |c| c.exclusion = Some("booked visit".to_string())),
        (OtherCampaignInProgress, |c| c.in_other_campaign = true),
    ]
}

#[test]
fn each_rule_hides_every_later_one() {
    let spoilers = spoilers();
    let order: Vec<Reason> = spoilers.iter().map(|(reason, _)| *reason).collect();
    let rules: Vec<Reason> = Case::new().explain().iter().map(|f| f.reason).collect();
    assert_eq!(order, rules, "a spoiler for each rule");
    for (i, (first, spoil_first)) in spoilers.iter().enumerate() {
        assert_eq!(Case::but(*spoil_first).reason(), *first);
        for (_, spoil_later) in &spoilers[i + 1..] {
            // The later one is spoilt first: where both touch the same fact, the earlier stays spoilt.
            let case = Case::but(|c| {
                spoil_later(c);
                spoil_first(c);
            });
            assert_eq!(case.reason(), *first);
        }
    }
}

#[test]
fn without_an_image_the_rules_about_one_are_not_judged() {
    let case = Case::but(|c| c.key = None);
    let decision = Decision::without_image(&case.policies, &case.epcl, case.at);
    assert_eq!(evaluate(&decision, &case.facts()).reason, KeysUnknown);
    let unjudged: Vec<Reason> = explain(&decision, &case.facts()).iter().filter(|f| !f.judged).map(|f| f.reason).collect();
    assert_eq!(unjudged, [ModelNotCovered, AlreadyAtVersion, UpgradePathNotAllowed]);
}
