//! How schedules, their runs and their next firings are printed.

use serde_json::{Value, json};

use crate::{
    app::{Ran, ScheduleView},
    cli::{Output, table},
    clock::Time,
    failure::Outcome,
    schedule::{Firing, Run, Schedule},
};

fn time(at: Option<Time>) -> String {
    at.map(|t| t.to_string()).unwrap_or_default()
}

pub fn list(output: Output, all: &[ScheduleView]) -> Outcome {
    let headers =
        ["id", "name", "state", "action", "cron", "zone", "missed", "next_at", "last_planned_for", "last_state", "last_result"];
    let row = |view: &ScheduleView| {
        let (s, last) = (&view.schedule, view.last_run.as_ref());
        vec![
            s.id.to_string(),
            s.name.clone(),
            s.state.to_string(),
            s.said.clone(),
            s.cron.to_string(),
            s.zone.to_string(),
            s.missed.to_string(),
            time(view.next_at),
            time(last.map(|run| run.planned_for)),
            last.map(|run| run.state.to_string()).unwrap_or_default(),
            last.and_then(|run| run.result.clone()).unwrap_or_default(),
        ]
    };
    table::print(output, &headers, &all.iter().map(row).collect::<Vec<_>>(), all)
}

pub fn show(output: Output, view: &ScheduleView, runs: &[Run]) -> Outcome {
    match output {
        Output::Json => {
            let mut object = json!(view);
            object["runs"] = json!(runs);
            table::object(output, &[], &object)
        }
        Output::Csv => {
            let headers = [
                "id",
                "origin",
                "asked_by",
                "state",
                "planned_for",
                "missed",
                "missed_from",
                "started_at",
                "ended_at",
                "result",
                "log",
            ];
            table::print(output, &headers, &runs.iter().map(cells).collect::<Vec<_>>(), runs)
        }
        Output::Table => {
            head(view)?;
            runs.iter().enumerate().try_for_each(|(n, run)| run_lines(run, n == 0))
        }
    }
}

fn cells(run: &Run) -> Vec<String> {
    vec![
        run.id.to_string(),
        run.origin.to_string(),
        run.asked_by.clone().unwrap_or_default(),
        run.state.to_string(),
        run.planned_for.to_string(),
        run.missed.to_string(),
        time(run.missed_from),
        time(run.started_at),
        time(run.ended_at),
        run.result.clone().unwrap_or_default(),
        run.log.join("\n"),
    ]
}

fn head(view: &ScheduleView) -> Outcome {
    let s = &view.schedule;
    table::line(table::plain(&format!("schedule {} ({}): {}", s.id, s.name, s.state)))?;
    let next = view.next_at.map_or("none".to_string(), |at| format!("{at}, {} there", s.zone.local(at)));
    for (name, value) in [
        ("does", s.said.clone()),
        ("when", format!("{} in {}", s.cron, s.zone)),
        ("next", next),
        ("missed", s.missed.to_string()),
        ("added", format!("{} by {}", s.created_at, s.created_by)),
    ] {
        table::line(table::plain(&format!("  {name:<6}  {value}")))?;
    }
    Ok(())
}

/// One run; of the latest its log too.
fn run_lines(run: &Run, with_log: bool) -> Outcome {
    let by = run.asked_by.as_ref().map_or(String::new(), |who| format!(" by {who}"));
    let ended = run.ended_at.map_or(String::new(), |at| format!(", ended {at}"));
    let began = run.started_at.map_or(String::new(), |at| format!(", began {at}"));
    let also = match run.missed {
        0 => String::new(),
        n => format!(", and for {n} before it"),
    };
    table::line(table::plain(&format!(
        "run {}{by}: {}, planned for {}{also}{began}{ended}",
        run.id, run.state, run.planned_for
    )))?;
    if let Some(result) = &run.result {
        table::line(table::plain(&format!("  {result}")))?;
    }
    let log: &[String] = if with_log { &run.log } else { &[] };
    log.iter().try_for_each(|line| table::line(table::plain(format!("    {line}").trim_end())))
}

pub fn next(output: Output, firings: &[(Schedule, Firing)]) -> Outcome {
    let remark = |(s, firing): &(Schedule, Firing)| firing.remark(&s.zone).map(|remark| format!("{}: {remark}", firing.wall));
    let rows: Vec<Vec<String>> = firings
        .iter()
        .map(|both| {
            let (s, firing) = both;
            vec![
                s.id.to_string(),
                s.name.clone(),
                firing.at.to_string(),
                s.zone.local(firing.at),
                remark(both).unwrap_or_default(),
            ]
        })
        .collect();
    let json: Vec<Value> = firings
        .iter()
        .map(|both| {
            let (s, firing) = both;
            json!({"schedule": s.id, "name": s.name, "at": firing.at, "local": s.zone.local(firing.at), "remark": remark(both)})
        })
        .collect();
    table::print(output, &["schedule", "name", "at", "local", "remark"], &rows, &json)
}

/// A run that was asked for. One that failed is told as the error it is.
pub fn ran(output: Output, schedule: &Schedule, ran: &Ran) -> Outcome {
    let run = &ran.run;
    match output {
        Output::Table if ran.failure.is_some() => Ok(()),
        Output::Table => {
            let result = run.result.as_deref().unwrap_or_default();
            table::line(table::plain(&format!("schedule {} ({}): {result}", schedule.id, schedule.name)))?;
            run.log.iter().try_for_each(|line| table::line(table::plain(format!("  {line}").trim_end())))
        }
        output => {
            let result = run.result.clone().unwrap_or_default();
            let fields = [("id", run.id.to_string()), ("state", run.state.to_string()), ("result", result)];
            table::object(output, &fields, run)
        }
    }
}
