//! What the demo shows while it runs (on stderr) and at its end (on stdout).

use std::cell::Cell;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::Result;
use crate::{
    app::Status,
    cli::{Output, table},
    failure::Outcome,
    target::TargetState,
};

/// Lines as things happen, and a bar of devices that have come to their end.
pub struct Progress {
    bar: ProgressBar,
    sized: Cell<bool>,
}

impl Progress {
    pub fn new() -> Progress {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style =
            ProgressStyle::with_template("following  [{bar:30}] {human_pos}/{human_len} {msg}").expect("the template is right");
        bar.set_style(style);
        Progress { bar, sized: Cell::new(false) }
    }

    pub fn say(&self, line: &str) {
        if self.bar.is_hidden() { eprintln!("{line}") } else { self.bar.println(line) }
    }

    pub fn show(&self, status: &Status) {
        self.sized.set(true);
        self.bar.set_length(status.members() as u64);
        self.bar.set_position(status.ended() as u64);
        let activated = status.devices(|state| state == TargetState::Activated);
        self.bar.set_message(format!("{activated} activated"));
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

pub fn print(output: Output, result: &Result) -> Outcome {
    match output {
        Output::Table => text(result),
        output => {
            let mut object = serde_json::to_value(&result.status).unwrap_or_else(|_| json!({}));
            if let Value::Object(fields) = &mut object {
                fields.insert("folder".into(), json!(result.folder));
                fields.insert("simulator".into(), serde_json::to_value(&result.sim).unwrap_or_default());
            }
            let s = &result.status;
            let fields = [
                ("sites", s.sites.to_string()),
                ("eligible", s.eligible.to_string()),
                ("held", s.held.to_string()),
                ("ineligible", s.ineligible.to_string()),
                ("batches", s.batches.to_string()),
                ("requests_sent", s.requests_sent.to_string()),
                ("duplicate_submissions", s.duplicate_submissions.to_string()),
                ("elapsed_ms", s.elapsed_ms.to_string()),
            ];
            table::object(output, &fields, &object)
        }
    }
}

fn text(result: &Result) -> Outcome {
    let (s, sim) = (&result.status, &result.sim);
    let line = |text: String| table::line(text);
    line(format!("Decided about {} sites: {} eligible, {} held, {} ineligible", s.sites, s.eligible, s.held, s.ineligible))?;
    for (reason, n) in &s.by_reason {
        line(format!("  {n:>8}  {:<28} {}", reason.as_str(), reason.outcome()))?;
    }
    line(format!(
        "\nSent {} signed 11.1 requests in {} batches; DCC accepted {} and was sent no device twice: {}",
        s.requests_sent,
        s.batches,
        sim.requests.accepted,
        if s.duplicate_submissions == 0 { "0 duplicates".into() } else { format!("{} DUPLICATES", s.duplicate_submissions) }
    ))?;
    line(format!(
        "Received {} signed messages back ({} of them twice, {} out of order)",
        sim.deliveries.done, sim.deliveries.duplicated, sim.deliveries.reordered
    ))?;
    line("\nWhat came of it".into())?;
    for (state, n) in &s.by_state {
        line(format!("  {n:>8}  {:<12} {}", state.as_str(), meaning(*state)))?;
    }
    let k = &s.key_cases;
    line(format!(
        "\nKeys missing (L§13): DCC ran its tool again for {} sites; {} resolved, {} retrying, {} investigating",
        result.rerun, k.resolved, k.retrying, k.investigating
    ))?;
    line(format!("Audit trail: {} events, chain whole", result.audit_events))?;
    line(format!("\nEverything lies in {}", result.folder.display()))?;
    line(format!("  cd {} && ppmid campaign targets spring --output csv", result.folder.display()))?;
    line("  ppmid keys list · ppmid site explain DEVICE_ID --campaign spring · ppmid audit verify".into())?;
    line(format!("Done in {:.1} s", result.elapsed.as_secs_f64()))
}

fn meaning(state: TargetState) -> &'static str {
    match state {
        TargetState::Held => "waits: a key, a date, an exclusion",
        TargetState::Ineligible => "out, each with its reason",
        TargetState::Queued => "to be sent",
        TargetState::Submitted => "in a request that may have been posted",
        TargetState::Accepted => "DCC took the request",
        TargetState::Delivered => "DCC asked the device",
        TargetState::Activated => "the display runs the new firmware",
        TargetState::Verified => "and its version was read",
        TargetState::Failed => "DCC dropped or failed it, with its code",
        TargetState::Expired => "silent past the time allowed",
        TargetState::Cancelled => "never sent",
    }
}
