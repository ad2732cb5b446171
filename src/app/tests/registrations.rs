//! Registration in time, as `explain --as-of` tells it: London's midnights on both days on which the clocks change, gaps, and
//! corrections of the past.

use super::*;
use crate::policy::Reason;

impl Lab {
    /// The registrations of site 1, the whole truth: supplier, first day, and the day after the last (empty: open).
    async fn truth(&self, rows: &[(&str, &str, &str)]) {
        let head = "mpan,supplier_mpid,effective_from,effective_to\n".to_string();
        let text = rows.iter().fold(head, |text, (who, from, to)| text + &format!("{},{who},{from},{to}\n", mpan(1)));
        self.import(Kind::Registrations, text).await;
    }

    async fn reason_at(&self, at: &str) -> Reason {
        self.app.explain_site(device(1), None, Some(self.image), at.parse().unwrap()).await.unwrap().verdict.reason
    }
}

#[tokio::test]
async fn a_switch_counts_from_londons_midnight_on_the_days_on_which_the_clocks_change() {
    // London is at UTC at the first of these midnights, and an hour ahead at the second.
    for (day, before, midnight, last) in [
        ("2027-03-28", "2027-03-27T23:59:59.999Z", "2027-03-28T00:00:00Z", "2027-03-28T22:59:59.999Z"),
        ("2027-10-31", "2027-10-30T22:59:59.999Z", "2027-10-30T23:00:00Z", "2027-10-31T23:59:59.999Z"),
    ] {
        for lab in labs(1).await {
            lab.truth(&[("EELC", "2015-01-01", day), ("OTHR", day, "")]).await;
            assert_eq!(lab.reason_at(before).await, Reason::SupplyChangePending, "{day}");
            assert_eq!(lab.reason_at(midnight).await, Reason::NotResponsibleSupplier, "{day}");
            lab.truth(&[("OTHR", "2015-01-01", day), ("EELC", day, "")]).await;
            assert_eq!(lab.reason_at(before).await, Reason::SupplyNotStarted, "{day}");
            assert_eq!(lab.reason_at(midnight).await, Reason::Eligible, "{day}");
            // Half-open: of a registration of this one day the day's last moment is the last.
            let next = day.parse::<crate::clock::Day>().unwrap().plus(1).to_string();
            lab.truth(&[("EELC", day, &next), ("OTHR", &next, "")]).await;
            assert_eq!(lab.reason_at(last).await, Reason::SupplyChangePending, "{day}");
            let after: Time = last.parse::<Time>().unwrap().plus_millis(1);
            assert_eq!(lab.reason_at(&after.to_string()).await, Reason::NotResponsibleSupplier, "{day}");
        }
    }
}

#[tokio::test]
async fn in_a_gap_a_site_waits_for_the_day_on_which_it_is_ours_again() {
    for lab in labs(1).await {
        lab.truth(&[("EELC", "2015-01-01", "2026-11-20"), ("EELC", "2026-12-10", "")]).await;
        for (at, reason) in [
            ("2026-11-10T12:00:00Z", Reason::Eligible),
            ("2026-11-19T12:00:00Z", Reason::SupplyChangePending),
            ("2026-11-20T00:00:00Z", Reason::SupplyNotStarted),
            ("2026-12-09T23:59:59.999Z", Reason::SupplyNotStarted),
            ("2026-12-10T00:00:00Z", Reason::Eligible),
        ] {
            // The image is released a few days later than some of these: what is asked is who is responsible.
            let found = lab.app.explain_site(device(1), None, None, at.parse().unwrap()).await.unwrap().verdict.reason;
            assert_eq!(found, reason, "{at}");
        }
        // Without a gap: the next row of ours begins on the day on which this one ends.
        lab.truth(&[("EELC", "2015-01-01", "2026-12-10"), ("EELC", "2026-12-10", "")]).await;
        assert_eq!(lab.reason_at("2026-12-09T12:00:00Z").await, Reason::Eligible);
    }
}

#[tokio::test]
async fn a_correction_of_the_past_counts_for_every_day_it_covers() {
    for lab in labs(1).await {
        lab.truth(&[("EELC", "2015-01-01", "2026-11-01"), ("OTHR", "2026-11-01", "")]).await;
        let today = lab.app.now().to_string();
        assert_eq!(lab.reason_at(&today).await, Reason::NotResponsibleSupplier);
        // The switch was an error: the whole truth again.
        lab.truth(&[("EELC", "2015-01-01", "")]).await;
        assert_eq!(lab.reason_at(&today).await, Reason::Eligible);
        // It was ours later than we thought: today is before the first day.
        lab.truth(&[("OTHR", "2015-01-01", "2027-01-05"), ("EELC", "2027-01-05", "")]).await;
        assert_eq!(lab.reason_at(&today).await, Reason::SupplyNotStarted);
        assert_eq!(lab.reason_at("2027-01-05T00:00:00Z").await, Reason::Eligible);
    }
}
