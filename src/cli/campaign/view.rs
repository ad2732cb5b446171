//! How plans, statuses and targets are printed.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use crate::{
    app::{ReadCounts, Status, ToppedUp},
    campaign::{FirstImage, Plan, PlanState, top_up::TopUpState, waves::no_such_wave},
    cli::{
        Context, Output,
        table::{self, Listing},
    },
    failure::{Failure, Outcome},
    ids::DeviceId,
    policy::{ONLY_WAVE, Reason},
    target::{
        TargetState,
        store::{self as targets, silent::SilenceCounts},
    },
};

/// Targets fetched in one step.
const PAGE_TARGETS: usize = 5_000;

/// A counter on stderr; nothing where stderr is not a terminal.
pub fn spinner(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {human_pos} {msg}, {per_sec}").expect("the template is right");
    bar.set_style(style);
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

pub fn plan(output: Output, plan: &Plan) -> Outcome {
    let json = json!({
        "sites": plan.sites, "eligible": plan.eligible, "held": plan.held, "ineligible": plan.ineligible,
        "by_reason": plan.by_reason, "what_if": plan.state == PlanState::WhatIf, "as_of": plan.decided_at, "policies": plan.policy_hash,
        "pathways": plan.report.pathways, "versions_spelt_differently": plan.report.versions_spelt_differently,
        "waves": plan.waves.as_ref().map_or(&[][..], |waves| &waves.waves),
    });
    match output {
        Output::Json => table::object(output, &[], &json),
        Output::Csv => {
            let counts =
                [("sites", plan.sites), ("eligible", plan.eligible), ("held", plan.held), ("ineligible", plan.ineligible)];
            let fields: Vec<(&str, String)> = counts.iter().map(|(n, v)| (*n, v.to_string())).collect();
            table::object(output, &fields, &json)
        }
        Output::Table => {
            let what_if = if plan.state == PlanState::WhatIf {
                format!(" (what if, as of {}: cannot be approved)", plan.decided_at)
            } else {
                String::new()
            };
            table::line(format!(
                "{} sites considered{what_if}: {} eligible, {} held, {} ineligible",
                plan.sites, plan.eligible, plan.held, plan.ineligible
            ))?;
            reasons(&plan.by_reason)?;
            super::waves::planned(plan)?;
            product_notes(&plan.report.pathways, plan.report.versions_spelt_differently)
        }
    }
}

/// Which image would go first, for how many sites; and versions that look like a slip of the lists.
fn product_notes(pathways: &[FirstImage], spelt_differently: i64) -> Outcome {
    for first in pathways {
        table::line(format!(
            "  for {} sites without a direct step image {} (version {}) would go first",
            first.sites, first.image, first.firmware_version
        ))?;
    }
    if spelt_differently > 0 {
        table::line(format!(
            "  {spelt_differently} sites run a version that differs only by case or leading zeros from one of the image or the lists: check them"
        ))?;
    }
    Ok(())
}

/// What a top-up found, and what became of it.
pub fn top_up(output: Output, done: &ToppedUp) -> Outcome {
    if output != Output::Table {
        let state = done.top_up.as_ref().map(|t| t.state.to_string()).unwrap_or_default();
        let taken = done.top_up.as_ref().map_or(0, |t| t.taken);
        let fields = [
            ("campaign", done.campaign.to_string()),
            ("found", done.found.to_string()),
            ("state", state),
            ("taken", taken.to_string()),
        ];
        return table::object(output, &fields, done);
    }
    let what = match &done.top_up {
        None if done.found == 0 => "no site may join that is not in the campaign already".to_string(),
        None => format!("{} sites may join", done.found),
        Some(t) if t.state == TopUpState::Applied => format!("top-up {}: {} sites joined", t.id, t.taken),
        Some(t) if t.state == TopUpState::Proposed => format!(
            "top-up {}: {} sites may join, more than the approved plan allows by itself; a second person lets them: ppmid campaign approve {} --by NAME",
            t.id, t.found, done.campaign
        ),
        Some(t) => {
            format!("top-up {} of {} sites is {}; `ppmid campaign status {}` says more", t.id, t.found, t.state, done.campaign)
        }
    };
    table::line(what)?;
    reasons(&done.by_reason)
}

/// Reasons in the order of the contract's table.
pub fn reasons(by_reason: &std::collections::BTreeMap<Reason, i64>) -> Outcome {
    for (reason, n) in by_reason {
        table::line(format!("  {n:>9}  {:<28} {}", reason.as_str(), reason.outcome()))?;
    }
    Ok(())
}

pub fn status(output: Output, status: &Status) -> Outcome {
    if output != Output::Table {
        let fields = [
            ("campaign", status.campaign.to_string()),
            ("name", status.name.clone()),
            ("state", status.state.to_string()),
            ("sites", status.sites.to_string()),
            ("eligible", status.eligible.to_string()),
            ("held", status.held.to_string()),
            ("ineligible", status.ineligible.to_string()),
            ("batches", status.batches.to_string()),
            ("requests_sent", status.requests_sent.to_string()),
        ];
        return table::object(output, &fields, status);
    }
    let what_if = if status.what_if { ", showing a what-if plan" } else { "" };
    table::line(format!("campaign {} ({}): {}{what_if}", status.campaign, status.name, status.state))?;
    if let (Some(code), Some(reason)) = (&status.stopped_code, &status.stopped_reason) {
        table::line(format!("  stopped    {code}: {reason}"))?;
    }
    table::line(format!(
        "  planned    {} sites: {} eligible, {} held, {} ineligible",
        status.sites, status.eligible, status.held, status.ineligible
    ))?;
    reasons(&status.by_reason)?;
    product_notes(&status.pathways, status.versions_spelt_differently)?;
    table::line(format!("  sent       {} requests in {} batches", status.requests_sent, status.batches))?;
    for (state, n) in &status.by_state {
        table::line(format!("  {n:>9}  {state}"))?;
    }
    if let (Some(by), Some(until)) = (&status.approved_by, status.approved_until) {
        table::line(format!("  approved   by {by}; holds until {until}"))?;
    }
    if status.excluded > 0 {
        table::line(format!("  excluded   {} devices were taken out by people", status.excluded))?;
    }
    super::waves::status(&status.waves, status.in_flight.as_ref())?;
    for w in &status.waits_for {
        let region = w.region.as_ref().map_or(String::new(), |r| format!(", region {r}"));
        let until = w.until.map_or(String::new(), |t| format!(", {t}"));
        table::line(format!("  waits for {}{until}: {} queued devices of {}{region}", w.why, w.sites, w.cohort))?;
    }
    let k = &status.key_cases;
    table::line(format!(
        "  key cases  {} retrying, {} investigating, {} resolved, {} closed",
        k.retrying, k.investigating, k.resolved, k.closed
    ))?;
    let r = &status.reads;
    if *r != ReadCounts::default() {
        table::line(format!(
            "  reads      {} asked, {} answered ({} another version), {} given up; {} waiting, {} out",
            r.asked, r.answered, r.differs, r.given_up, r.waiting, r.out
        ))?;
    }
    let s = &status.silence;
    if *s != SilenceCounts::default() {
        table::line(format!(
            "  silence    {} being asked which version they run, {} to be sent again later, {} times sent again so far",
            s.asking, s.waiting_to_retry, s.retries
        ))?;
    }
    for (stage, took) in &status.latencies {
        table::line(format!(
            "  {:<10} half within {}, 90% within {}, 99% within {} ({} devices)",
            stage.as_str(),
            roughly(took.p50_ms),
            roughly(took.p90_ms),
            roughly(took.p99_ms),
            took.devices
        ))?;
    }
    if let Some(f) = &status.forecast {
        let sent = f.all_sent_by.map_or(String::new(), |at| format!("; all sent by {at}"));
        table::line(format!(
            "  forecast   at the pace so far: 90% by {}, the end about {}{sent} ({} devices left)",
            f.most_by, f.end_about, f.devices_left
        ))?;
    }
    let s = &status.shares;
    if s.counted > 0 {
        let percent = |share: Option<f64>| share.map_or(String::new(), |share| format!("{:.2}%", share * 100.0));
        table::line(format!(
            "  of {} sent {} succeeded, {} did not ({} failed, {} silent); left out: {} that left the portfolio, {} that wait for a key",
            s.counted,
            percent(s.success_share),
            percent(s.failure_share),
            s.failed,
            s.silent,
            s.left_out_supply_lost,
            s.left_out_keys_missing
        ))?;
    }
    if status.topped_up > 0 {
        table::line(format!("  topped up  {} sites joined after the plan", status.topped_up))?;
    }
    if let Some(t) = &status.top_up_proposed {
        table::line(format!(
            "  top-up {:<3} {} sites may join, asked by {}: a second person lets them: ppmid campaign approve {} --by NAME",
            t.id, t.found, t.asked_by, status.campaign
        ))?;
    }
    if status.supply_lost > 0 {
        table::line(format!(
            "  supply     {} left the portfolio after they were sent and cannot be recalled: `ppmid campaign targets {} --reason SUPPLY_LOST`",
            status.supply_lost, status.campaign
        ))?;
    }
    if let Some(link) = &status.dcc_link {
        table::line(format!("  DCC        {link}"))?;
    }
    if let Some(adt) = &status.adt {
        table::line(format!("  ADT        {}", adt.sentence))?;
    }
    for alarm in &status.alarms {
        table::line(format!("  alarm {:<4} {}: {}", alarm.id, alarm.sentence, alarm.remedy))?;
    }
    status.held_batches.iter().try_for_each(|b| table::line(format!("  waits for a person: {b}")))?;
    if status.held_batches.is_empty() {
        return Ok(());
    }
    table::line(format!(
        "  `ppmid outbox list --campaign {}` names their requests; `ppmid outbox replay REQUEST` lets one go on once that is put right",
        status.campaign
    ))
}

/// A time as people say it: 3d 4h, 2h 5m, 40s, 350ms.
fn roughly(millis: i64) -> String {
    const UNITS: [(&str, i64); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let Some(n) = UNITS.iter().position(|(_, unit)| millis >= *unit) else { return format!("{millis}ms") };
    let (name, unit) = UNITS[n];
    match UNITS.get(n + 1).map(|(next, part)| (next, millis % unit / part)) {
        Some((next, rest)) if rest > 0 => format!("{}{name} {rest}{next}", millis / unit),
        _ => format!("{}{name}", millis / unit),
    }
}

const STATES: &str =
    "one of: held, ineligible, queued, submitted, accepted, delivered, activated, verified, failed, expired, cancelled";

#[derive(Serialize)]
struct TargetLine {
    device_id: DeviceId,
    state: TargetState,
    reason: Reason,
    batch: Option<i64>,
    attempts: i64,
    updated_at: crate::clock::Time,
    detail: Option<String>,
    /// Null where the plan has no waves.
    wave: Option<String>,
}

/// Which targets are listed.
pub struct Wanted<'a> {
    pub state: Option<&'a str>,
    pub reason: Option<&'a str>,
    pub wave: Option<&'a str>,
}

/// One row for every site considered, in the order of Device IDs, however many.
pub async fn targets(ctx: &Context, campaign: &str, listed: Wanted<'_>) -> Outcome {
    let Wanted { state, reason, wave } = listed;
    let wanted: Option<TargetState> =
        state.map(str::parse).transpose().map_err(|e: crate::ids::IdError| Failure::usage(e.to_string()).help(STATES))?;
    let because: Option<Reason> = reason.map(str::parse).transpose().map_err(|e: crate::ids::IdError| {
        Failure::usage(e.to_string()).help("`ppmid campaign status` lists the reasons of a plan")
    })?;
    let app = ctx.app().await?;
    let campaign = app.campaign(campaign).await?;
    let plan = app.shown_plan(&campaign).await?.ok_or_else(|| {
        Failure::failed("the campaign has no plan, so there are no targets").help("plan it: ppmid campaign plan CAMPAIGN")
    })?;
    if plan.state == PlanState::WhatIf {
        eprintln!("note: this is a what-if plan, as of {}: it is not in force and cannot be approved", plan.decided_at);
    }
    let in_wave = wave.map(|name| wave_named(&plan, name)).transpose()?;
    let mut listing = Listing::stdout(ctx.output(), &["device_id", "state", "reason", "batch", "attempts", "updated_at"])?;
    let mut after = None;
    loop {
        let page = targets::page(&mut app.db.read().await?, plan.id, after, PAGE_TARGETS).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.device);
        for t in page.iter().filter(|t| wanted.is_none_or(|w| t.state == w) && because.is_none_or(|b| t.reason == b)) {
            let number = plan.waves.as_ref().filter(|_| t.state != TargetState::Ineligible).map(|w| w.of_target(t.wave));
            if in_wave.is_some_and(|wanted| number.unwrap_or(wanted) != wanted || t.state == TargetState::Ineligible) {
                continue;
            }
            let cells = [
                t.device.to_string(),
                t.state.to_string(),
                t.reason.to_string(),
                t.batch_id.map(|b| b.to_string()).unwrap_or_default(),
                t.attempts.to_string(),
                t.updated_at.to_string(),
            ];
            let line = TargetLine {
                device_id: t.device,
                state: t.state,
                reason: t.reason,
                batch: t.batch_id,
                attempts: t.attempts,
                updated_at: t.updated_at,
                detail: t.detail.clone(),
                wave: number.and_then(|n| plan.waves.as_ref()?.get(n)).map(|w| w.wave.name.clone()),
            };
            listing.row(&cells, &line)?;
        }
    }
    listing.finish()
}

/// 1, 2, ... of the wave that is called so.
fn wave_named(plan: &Plan, name: &str) -> Outcome<i64> {
    let (number, names) = match &plan.waves {
        Some(waves) => (waves.number_of(name), waves.names()),
        None => ((name == ONLY_WAVE).then_some(1), ONLY_WAVE.to_string()),
    };
    number.ok_or_else(|| no_such_wave(name, &names))
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_told_in_their_two_largest_units() {
        let told = [350, 40_000, 7_500_000, 7_200_000, 273_600_000, 86_400_000].map(super::roughly);
        assert_eq!(told, ["350ms", "40s", "2h 5m", "2h", "3d 4h", "1d"]);
    }
}
