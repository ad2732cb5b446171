//! `ppmid campaign watch`: a campaign as it moves. On a terminal a picture that is drawn anew, elsewhere a line for each change. It looks
//! and changes nothing; it ends when the campaign has.

use std::{
    collections::VecDeque,
    io::{IsTerminal, Write},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::super::{Context, Output, table};
use crate::{
    app::Status,
    campaign::CampaignState,
    clock::Time,
    failure::{Failure, Outcome},
    target::TargetState,
};

/// The pace is that of so many milliseconds.
const PACE_MILLIS: i64 = 60_000;
/// Alarms shown; the status shows them all.
const ALARMS: usize = 5;

#[derive(clap::Args)]
pub struct WatchArgs {
    /// Id or name
    campaign: String,
    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

pub async fn run(context: &Context, args: &WatchArgs) -> Outcome {
    if context.output() == Output::Csv {
        return Err(Failure::usage("a campaign that is watched makes no table of rows")
            .help("--output json gives the status, a line for each change"));
    }
    let app = context.app().await?;
    let mut picture = Picture::new(context.output());
    let mut pace = Pace::default();
    loop {
        let status = app.campaign_status(&args.campaign).await?;
        let rate = pace.at(app.now(), status.ended());
        picture.show(&status, rate, app.now())?;
        if is_over(&status) {
            return picture.end();
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(args.every)) => {}
            _ = tokio::signal::ctrl_c() => return picture.end(),
        }
    }
}

/// Nothing more comes: it has ended, and nothing that was sent is out.
fn is_over(status: &Status) -> bool {
    let out = status.devices(TargetState::is_in_flight);
    matches!(status.state, CampaignState::Finished | CampaignState::Aborted) && out == 0
}

/// How fast devices come to their end: the looks of the last minute.
#[derive(Default)]
struct Pace {
    looks: VecDeque<(Time, i64)>,
}

impl Pace {
    /// Devices a minute; `None` before there is anything to compare.
    fn at(&mut self, now: Time, ended: i64) -> Option<i64> {
        self.looks.push_back((now, ended));
        while self.looks.len() > 2 && self.looks.front().is_some_and(|(at, _)| now.0 - at.0 > PACE_MILLIS) {
            self.looks.pop_front();
        }
        let (from, before) = *self.looks.front()?;
        let millis = now.0 - from.0;
        (millis > 0).then(|| (ended - before).max(0) * 60_000 / millis)
    }
}

/// The words of one look: what is shown beneath the bar, or behind the moment in a line.
fn words(status: &Status, rate: Option<i64>) -> Vec<String> {
    let states: Vec<String> = status.by_state.iter().map(|(state, n)| format!("{n} {state}")).collect();
    let mut all = vec![format!("{} ({}): {}", status.name, status.state, states.join(", "))];
    if let (Some(code), Some(why)) = (&status.stopped_code, &status.stopped_reason) {
        all.push(format!("stopped: {code}: {why}"));
    }
    let mut pace = format!("{} requests in {} batches", status.requests_sent, status.batches);
    if let Some(rate) = rate {
        pace += &format!("; {rate} devices a minute");
    }
    if let Some(f) = &status.forecast {
        pace += &format!("; at the pace so far 90% by {}, the end about {}", f.most_by, f.end_about);
    }
    all.push(pace);
    let shown = status.waves.iter().filter(|w| w.verdict.is_some());
    all.extend(shown.map(|w| format!("wave {}: {}", w.name, super::waves::words(w))));
    for w in &status.waits_for {
        all.push(format!("{} queued devices of {} wait for {}", w.sites, w.cohort, w.why));
    }
    all.extend(status.held_batches.iter().map(|b| format!("waits for a person: {b}")));
    all.extend(status.adt.iter().map(|adt| format!("ADT: {}", adt.sentence)));
    all.extend(status.dcc_link.iter().map(|link| format!("DCC: {link}")));
    all.extend(status.alarms.iter().take(ALARMS).map(|a| format!("alarm {}: {}", a.id, a.sentence)));
    if status.alarms.len() > ALARMS {
        all.push(format!("and {} more alarms: ppmid campaign status {}", status.alarms.len() - ALARMS, status.campaign));
    }
    all
}

enum Picture {
    Terminal {
        all: MultiProgress,
        bar: ProgressBar,
        lines: Vec<ProgressBar>,
    },
    /// The last line, so that only changes are said.
    Lines {
        output: Output,
        last: String,
    },
}

impl Picture {
    fn new(output: Output) -> Picture {
        if output != Output::Table || !std::io::stderr().is_terminal() || !std::io::stdout().is_terminal() {
            return Picture::Lines { output, last: String::new() };
        }
        let all = MultiProgress::new();
        let bar = all.add(ProgressBar::new(0));
        let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} at their end").expect("a template that is tested");
        bar.set_style(style);
        Picture::Terminal { all, bar, lines: Vec::new() }
    }

    fn show(&mut self, status: &Status, rate: Option<i64>, now: Time) -> Outcome {
        match self {
            Picture::Terminal { all, bar, lines } => {
                bar.set_length(status.members().max(0) as u64);
                bar.set_position(status.ended().max(0) as u64);
                let words = words(status, rate);
                while lines.len() < words.len() {
                    let line = all.add(ProgressBar::new_spinner());
                    line.set_style(ProgressStyle::with_template("  {wide_msg}").expect("a template that is tested"));
                    lines.push(line);
                }
                for line in lines.drain(words.len()..) {
                    all.remove(&line);
                }
                lines.iter().zip(words).for_each(|(line, text)| line.set_message(text));
                bar.tick();
                lines.iter().for_each(ProgressBar::tick);
                Ok(())
            }
            Picture::Lines { output, last } => {
                let said = match output {
                    Output::Table => words(status, None).join(" | "),
                    _ => changes(status)?,
                };
                if said == *last {
                    return Ok(());
                }
                match output {
                    Output::Table => table::line(format!("{now} {said}"))?,
                    _ => table::line(serde_json::to_string(status).map_err(|e| Failure::failed(e.to_string()))?)?,
                }
                std::io::stdout().flush().map_err(|e| Failure::failed(format!("standard output cannot be written: {e}")))?;
                *last = said;
                Ok(())
            }
        }
    }

    /// What was drawn last stays on the screen.
    fn end(self) -> Outcome {
        if let Picture::Terminal { bar, lines, .. } = self {
            bar.abandon();
            lines.iter().for_each(ProgressBar::abandon);
        }
        Ok(())
    }
}

/// The status without what changes by itself while nothing happens.
fn changes(status: &Status) -> Outcome<String> {
    let mut value = serde_json::to_value(status).map_err(|e| Failure::failed(e.to_string()))?;
    value["elapsed_ms"] = 0.into();
    value["forecast"] = serde_json::Value::Null;
    Ok(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_minute() {
        let mut pace = Pace::default();
        assert_eq!(pace.at(Time(0), 100), None, "nothing to compare with");
        assert_eq!(pace.at(Time(30_000), 150), Some(100));
        assert_eq!(pace.at(Time(60_000), 150), Some(50));
        assert_eq!(pace.at(Time(90_000), 150), Some(0), "it stands still");
        assert_eq!(pace.at(Time(400_000), 100), Some(0), "a device that was queued again is no pace");
    }
}
