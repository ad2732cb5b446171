//! What `explain` says in words, for a few sites.

use std::fmt::Write as _;

use super::*;

fn told(case: &Case) -> String {
    let verdict = case.verdict();
    let mut text = format!("{} ({})\n", verdict.reason, verdict.reason.outcome());
    for f in case.explain() {
        let mark = if f.applies { "AGAINST" } else { "pass" };
        writeln!(text, "{:2} {:26} {mark:7} {} [{}]", f.rule, f.reason, f.what, f.source).unwrap();
    }
    text
}

#[test]
fn an_eligible_site() {
    insta::assert_snapshot!(told(&Case::new()));
}

#[test]
fn a_site_with_everything_against_it() {
    insta::assert_snapshot!(told(&Case::but(|c| {
        c.own = vec![own("EELB", "2018-01-01", Some("2019-04-01")), own("EELC", "2019-04-01", Some("2021-01-15"))];
        c.site.cohort = Cohort::Foc;
        c.site.device_status = "Suspended".to_string();
        c.site.model = "GEO/9001".to_string();
        c.site.firmware_version = "2".to_string();
        c.epcl = vec![epcl_row("DMC-1", "2020-01-01", Some("2021-01-01"))];
        c.exclusion = Some("open complaint".to_string());
        c.in_other_campaign = true;
    })));
}

#[test]
fn a_site_that_waits() {
    insta::assert_snapshot!(told(&Case::but(|c| {
        c.own = vec![own("EELC", "2019-04-01", Some("2021-01-20")), own("EELB", "2021-01-21", None)];
        c.key = Some(KeyStatus::Failed);
        c.cpl = vec![cpl_entry("CPL-1", 0x1111, "1"), cpl_entry("CPL-2", 0x1111, ""), cpl_entry("CPL-3", 0x1111, "*")];
    })));
}

#[test]
fn a_site_gained_next_month_without_an_image() {
    let case = Case::but(|c| {
        c.own = vec![own("EELC", "2021-02-01", None)];
        (c.key, c.site.migrated_on) = (None, None);
    });
    let decision = Decision::without_image(&case.policies, &case.epcl, case.at);
    let lines = explain(&decision, &case.facts()).into_iter().map(|f| format!("{} {} {}\n", f.reason, f.applies, f.what));
    insta::assert_snapshot!(lines.collect::<String>());
}
