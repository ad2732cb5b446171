//! Sites that change hands while a campaign runs: before their batch, after it, by a file and by DCC's alert.

use super::*;
use crate::{
    duis::{ChangeOfSupplier, MeterMpxns},
    policy::Reason,
    target::store::Cause,
};

/// DCC says that a site is another supplier's.
pub(super) fn change_of_supplier(n: u64, site: u64, import_mpxn: &str) -> Response {
    let mpxns = MeterMpxns { import_mpxn: import_mpxn.into(), secondary_import_mpan: None, export_mpan: None };
    let change = ChangeOfSupplier::Device { device: device(site), device_type: "PPMID".into(), mpxns };
    alert(None, n, Alert::ChangeOfSupplier(change))
}

impl Lab {
    /// `mpan,supplier,from,to` of sites, as a file that is not the whole truth.
    pub(super) async fn registrations(&self, rows: &[(u64, &str, &str, &str)], replace: bool) {
        let head = "mpan,supplier_mpid,effective_from,effective_to\n".to_string();
        let text = rows.iter().fold(head, |text, (n, who, from, to)| text + &format!("{},{who},{from},{to}\n", mpan(*n)));
        let path = self.folder.path().join("changes.csv");
        std::fs::write(&path, text).unwrap();
        let options = Options { strict: true, replace };
        let input = Input::open(&path).unwrap();
        let report = self.app.import_file(Kind::Registrations, input, options, Arc::new(|_| {}), OPERATOR).await.unwrap();
        assert_eq!(report.rejected, 0);
    }

    async fn reason(&self, campaign: i64, n: u64) -> Reason {
        self.target(campaign, n).await.reason
    }
}

#[tokio::test]
async fn a_site_lost_before_it_is_sent_leaves_its_batch_for_the_reason_a_plan_would_give() {
    for lab in labs(3).await {
        let campaign = lab.started("spring", 10).await;
        // A batch that never left is dissolved; its members are decided again before the next.
        let id = lab.post(campaign).await;
        lab.nothing_left(id).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Queued);
        lab.registrations(&[(1, "OTHR", "2026-01-01", "")], false).await;
        lab.registrations(&[(2, "OTHR", "2026-11-26", "")], false).await;
        let today = lab.app.now().london_day();
        assert!(today < "2026-11-26".parse().unwrap());
        lab.send(campaign).await;
        let lost = lab.target(campaign, 1).await;
        assert_eq!((lost.state, lost.reason), (TargetState::Ineligible, Reason::NotResponsibleSupplier));
        let pending = lab.target(campaign, 2).await;
        assert_eq!((pending.state, pending.reason), (TargetState::Held, Reason::SupplyChangePending));
        assert_eq!(lab.state(campaign, 3).await, TargetState::Accepted);
        // The plan's own function says the same of the same day.
        let other = lab.planned("other", 10).await;
        assert_eq!(lab.reason(other, 1).await, Reason::NotResponsibleSupplier);
        assert_eq!(lab.reason(other, 2).await, Reason::SupplyChangePending);
        let story = lab.app.site(device(1), lab.app.now()).await.unwrap().history;
        let step = &story.iter().rfind(|t| t.campaign == campaign).unwrap().step;
        assert_eq!((step.cause, step.fact.as_deref()), (Some(Cause::Send), Some("supply ended on 2026-01-01")));
    }
}

#[tokio::test]
async fn a_site_that_moves_between_two_own_licences_is_no_loss() {
    for mut lab in labs(2).await {
        let mut settings = (*lab.app.settings).clone();
        settings.organisation.mpids.push("EELD".parse().unwrap());
        lab.app.settings = Arc::new(settings);
        // Inside the guard days: one goes to our other licence, one to somebody else.
        lab.registrations(&[(1, "EELD", "2026-11-26", ""), (2, "OTHR", "2026-11-26", "")], false).await;
        let campaign = lab.started("spring", 10).await;
        assert_eq!(
            (lab.reason(campaign, 1).await, lab.reason(campaign, 2).await),
            (Reason::Eligible, Reason::SupplyChangePending)
        );
        lab.send(campaign).await;
        lab.app.clock.advance(5 * 86_400_000);
        lab.app.recheck_held().await.unwrap();
        assert_eq!(lab.app.mark_lost_supply().await.unwrap(), Default::default());
        assert_eq!(
            (lab.reason(campaign, 1).await, lab.reason(campaign, 2).await),
            (Reason::Eligible, Reason::NotResponsibleSupplier)
        );
    }
}

#[tokio::test]
async fn dccs_alert_takes_a_site_out_before_it_is_sent_and_marks_it_after() {
    for lab in labs(3).await {
        let campaign = lab.started("spring", 1).await;
        lab.send(campaign).await;
        // By the display alone, and by the supply number alone.
        assert_eq!(lab.hears(&change_of_supplier(1, 1, "0000000000")).await, InboxState::Settled);
        assert_eq!(lab.hears(&change_of_supplier(2, 99, &mpan(2).to_string())).await, InboxState::Settled);
        assert_eq!(lab.app.mark_lost_supply().await.unwrap().lost, 1);
        let sent = lab.target(campaign, 1).await;
        assert_eq!((sent.state, sent.reason), (TargetState::Accepted, Reason::SupplyLost));
        lab.send(campaign).await;
        assert_eq!(lab.state(campaign, 3).await, TargetState::Accepted, "the second was passed over");
        let lost = lab.target(campaign, 2).await;
        assert_eq!((lost.state, lost.reason), (TargetState::Ineligible, Reason::NotResponsibleSupplier));
        let now = lab.app.now();
        let shown = lab.app.site(device(2), now).await.unwrap();
        assert_eq!((shown.supply_notices.len(), shown.supply_notices[0].day), (1, now.london_day()));
        let fact = shown.history.last().unwrap().step.fact.clone().unwrap();
        assert!(fact.ends_with(", as a ChangeOfSupplier alert says"), "{fact}");
        let explained = lab.app.explain_site(device(2), Some("spring"), None, now).await.unwrap();
        assert_eq!((explained.verdict.reason, explained.supply_notices.len()), (Reason::NotResponsibleSupplier, 1));
        // As of a moment before it came, it says nothing.
        let before = lab.app.explain_site(device(2), Some("spring"), None, now.plus_millis(-1)).await.unwrap();
        assert_eq!((before.verdict.reason, before.supply_notices.len()), (Reason::Eligible, 0));
        // What names nothing of ours waits for a person.
        assert_eq!(lab.hears(&change_of_supplier(3, 99, "0000000000")).await, InboxState::Unmatched);
    }
}

#[tokio::test]
async fn an_alert_gives_no_site_and_a_later_registration_says_more() {
    for lab in labs(4).await {
        lab.registrations(&[(4, "OTHR", "2026-11-01", "")], false).await;
        let campaign = lab.planned("spring", 10).await;
        for site in 1..=4 {
            assert_eq!(lab.hears(&change_of_supplier(site, site, &mpan(site).to_string())).await, InboxState::Settled);
        }
        // The same file again is no news; nor is what ends before the alert's day.
        let as_it_was = [(1, "EELC", "2015-01-01", ""), (2, "EELC", "2015-01-01", ""), (3, "EELC", "2015-01-01", "")];
        lab.registrations(&as_it_was, false).await;
        lab.registrations(&[(1, "OTHR", "2010-01-01", "2012-01-01")], false).await;
        let lost = |reason| reason == Reason::NotResponsibleSupplier;
        let decide = async |n| lab.app.explain_site(device(n), Some("spring"), None, lab.app.now()).await.unwrap().verdict.reason;
        for site in 1..=4 {
            assert!(lost(decide(site).await), "site {site}");
        }
        // A plan over the whole estate, which keeps registrations in memory, says the same.
        lab.app.plan_campaign("spring", None, OPERATOR, &mut |_| {}).await.unwrap();
        for site in 1..=4 {
            assert!(lost(lab.reason(campaign, site).await), "site {site}");
        }
        // The whole truth for an MPAN says so again; a new row says what holds from then on.
        lab.registrations(&[(1, "EELC", "2015-01-01", "")], true).await;
        lab.registrations(&[(2, "EELC", "2026-11-25", "")], false).await;
        assert_eq!(decide(1).await, Reason::Eligible);
        assert!(lab.app.site(device(1), lab.app.now()).await.unwrap().supply_notices[0].answered_by_import.is_some());
        assert_ne!(decide(2).await, Reason::NotResponsibleSupplier);
        assert!(lost(decide(3).await) && lost(decide(4).await));
        // The same message again changes nothing; another of a later moment does.
        assert_eq!(lab.hears(&change_of_supplier(9, 1, &mpan(1).to_string())).await, InboxState::Settled);
        assert!(lost(decide(1).await));
    }
}

#[tokio::test]
async fn as_of_a_moment_only_what_had_happened_is_shown() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let planned_at = lab.app.now();
        lab.app.clock.advance(60_000);
        let id = lab.send(campaign).await;
        let sent_at = lab.app.now();
        lab.app.clock.advance(60_000);
        lab.hears(&activated(Some(id), 1, 1)).await;
        let state = async |at| lab.app.site(device(1), at).await.unwrap().targets.first().map(|t| t.state);
        assert_eq!(state(lab.app.now()).await, Some(TargetState::Activated));
        assert_eq!(state(sent_at).await, Some(TargetState::Accepted));
        assert_eq!(state(planned_at).await, Some(TargetState::Queued));
        assert_eq!(state(planned_at.plus_millis(-1)).await, None, "nothing was planned yet");
        let then = lab.app.site(device(1), sent_at).await.unwrap();
        assert!(then.history.iter().all(|t| t.step.at <= sent_at) && then.history.len() == 3);
        let explained = lab.app.explain_site(device(1), Some("spring"), None, planned_at).await.unwrap();
        assert_eq!(explained.decisions.len(), 1);
    }
}
