//! `ppmid keys show`: the whole story of one site's cases, in the order in which it happened.

use serde_json::json;

use crate::{
    app::{CaseStory, Dossier},
    cli::{Context, Output, site, table},
    failure::{Failure, Outcome},
    ids::DeviceId,
    keys::{AttemptKind, KeyCase},
};

#[derive(clap::Args)]
pub struct Args {
    /// The display's Device ID
    device: String,
}

pub async fn run(ctx: &Context, args: Args) -> Outcome {
    let device: DeviceId = args
        .device
        .parse()
        .map_err(|e: crate::ids::IdError| Failure::usage(e.to_string()).help("ppmid keys show 00-DB-12-34-56-78-90-A4"))?;
    let app = ctx.app().await?;
    let story = app.key_case_story(device).await?;
    // What of it is the site's, where the site is known.
    let dossier = app.site(device, app.now()).await.ok();
    if ctx.output() == Output::Json {
        let registrations: Vec<_> = dossier
            .iter()
            .flat_map(|d| &d.registrations)
            .map(|r| json!({"supplier_mpid": r.supplier_mpid.to_string(), "effective_from": r.effective_from, "effective_to": r.effective_to}))
            .collect();
        let targets = dossier.as_ref().map(|d| &d.targets);
        let history = dossier.as_ref().map_or(&[][..], |d| &d.history);
        let json = json!({"device_id": device, "cases": story.cases, "attempts": story.attempts, "requests": story.requests,
            "events": story.events, "registrations": registrations, "targets": targets, "history": history});
        return table::object(Output::Json, &[], &json);
    }
    if ctx.output() == Output::Csv {
        let mut told = told(&story);
        told.extend(dossier.iter().flat_map(of_site));
        let rows: Vec<Vec<String>> = told.iter().map(|t| t.to_vec()).collect();
        return table::print(Output::Csv, &["at", "case", "what", "text", "who"], &rows, &told);
    }
    for case in &story.cases {
        head(case)?;
        for [at, _, what, text, who] in told(&story).iter().filter(|t| t[1] == case.id.to_string()) {
            let by = if who.is_empty() { String::new() } else { format!("  [{who}]") };
            table::line(table::plain(format!("  {at}  {what:<9}  {text}{by}").trim_end()))?;
        }
    }
    for [_, _, what, text, _] in dossier.iter().flat_map(of_site) {
        table::line(table::plain(&format!("{what:<10}  {text}")))?;
    }
    for target in dossier.iter().flat_map(|d| &d.targets) {
        table::line(format!("campaign {} ({}): {} {}", target.campaign, target.name, target.state, target.reason))?;
    }
    Ok(())
}

fn head(case: &KeyCase) -> Outcome {
    let cohort = case.cohort.map_or("no known site".into(), |c| c.to_string());
    let after = case.previous.map_or(String::new(), |n| format!(", after case {n}"));
    table::line(format!("case {} of {} ({cohort}): {}{after}", case.id, case.device_id, case.state))?;
    let (next, text) = (case.next_attempt.map(|t| t.to_string()), |v: &Option<String>| v.clone().unwrap_or_default());
    for (name, value) in [
        ("attempts", case.attempts.to_string()),
        ("next attempt", next.unwrap_or_default()),
        ("last error", text(&case.last_error)),
        ("incident", text(&case.incident)),
        ("team", text(&case.team)),
        ("assigned to", text(&case.assignee)),
        ("closed for", text(&case.closed_reason)),
    ] {
        if !value.is_empty() {
            table::line(table::plain(&format!("  {name:<13} {value}")))?;
        }
    }
    Ok(())
}

/// What is known of the site beside its cases: who was registered for it, and what was decided about it in which campaign.
fn of_site(dossier: &Dossier) -> Vec<[String; 5]> {
    let registered = dossier.registrations.iter().map(|r| {
        let text = format!("{} {}", r.supplier_mpid, site::span(r.effective_from, r.effective_to));
        [r.effective_from.to_string(), String::new(), "registered".to_string(), text, String::new()]
    });
    let decided = dossier
        .history
        .iter()
        .map(|t| [t.step.at.to_string(), String::new(), "campaign".to_string(), site::told(t), t.who.clone()]);
    registered.chain(decided).collect()
}

/// When, which case, what, in which words, by whom; oldest first.
fn told(story: &CaseStory) -> Vec<[String; 5]> {
    let mut told: Vec<(i64, [String; 5])> = Vec::new();
    for a in &story.attempts {
        let message = a.message.map_or(String::new(), |m| format!(" (message {m})"));
        let detail = a.detail.as_deref().map_or(String::new(), |d| format!(": {d}"));
        // What a person said is an event, too, and told there.
        let text = format!("{}{detail}{message}", a.outcome);
        let who = a.who.clone().unwrap_or_default();
        if !matches!(a.kind, AttemptKind::Requested | AttemptKind::Resubmission) {
            told.push((a.at.0, [a.at.to_string(), a.case.to_string(), a.kind.to_string(), text, who]));
        }
    }
    for r in &story.requests {
        let (what, which) = match (r.batch, r.request) {
            (Some(batch), _) => ("sent", format!("without its key, in batch {batch}")),
            (None, run) => ("requested", format!("re-run request {}", run.unwrap_or_default())),
        };
        let text = format!("{which} ({})", r.rule);
        told.push((
            r.requested_at.0,
            [r.requested_at.to_string(), r.case.to_string(), what.into(), text, r.requested_by.clone()],
        ));
        if let (Some(at), Some(outcome)) = (r.ended_at, &r.outcome) {
            let text = format!("{which}: {outcome}");
            told.push((at.0, [at.to_string(), r.case.to_string(), "answered".into(), text, String::new()]));
        }
    }
    for e in &story.events {
        told.push((e.at.0, [e.at.to_string(), e.case.to_string(), e.verb.to_string(), e.text.clone(), e.who.clone()]));
    }
    told.sort_by_key(|t| t.0);
    told.into_iter().map(|t| t.1).collect()
}
