//! `ppmid keys report`: the letter's paragraph 13 as figures, for people, for programs, and as a page.

use std::fmt::Write as _;

use crate::{
    cli::{Context, Output, policy::as_of, table},
    clock::Time,
    failure::{Failure, Outcome},
    keys::{KeyReport, Part},
};

#[derive(clap::Args)]
pub struct Args {
    /// A time, or a day in London, to its end; without it, now
    #[arg(long, value_name = "WHEN", value_parser = as_of)]
    as_of: Option<Time>,
    /// An earlier one to compare with
    #[arg(long, value_name = "WHEN", value_parser = as_of)]
    since: Option<Time>,
}

pub async fn run(ctx: &Context, args: Args) -> Outcome {
    let app = ctx.app().await?;
    let at = args.as_of.unwrap_or_else(|| app.now());
    if args.since.is_some_and(|since| since >= at) {
        return Err(
            Failure::usage("--since is not earlier than --as-of").help("ppmid keys report --as-of 2027-03-31 --since 2026-12-31")
        );
    }
    let report = app.key_report(at, args.since).await?;
    match ctx.output() {
        _ if ctx.wants_html() => table::line(html(&report).trim_end()),
        Output::Json => table::object(Output::Json, &[], &report),
        Output::Csv => {
            let rows = rows(&report);
            table::print(Output::Csv, &["section", "name", "figure", "value"], &rows, &rows)
        }
        Output::Table => report.text().lines().try_for_each(|l| table::line(table::plain(l))),
    }
}

/// One figure a line: for spreadsheets.
fn rows(report: &KeyReport) -> Vec<Vec<String>> {
    let row = |section: &str, name: &str, figure: &str, value: String| {
        vec![section.to_string(), name.to_string(), figure.to_string(), value]
    };
    let mut rows = vec![row("all", "", "as_of", report.as_of.to_string())];
    for (section, name, part) in report.parts() {
        rows.extend(part.figures().map(|(figure, n)| row(section, &name, figure, n.to_string())));
        rows.extend(part.shares().map(|(figure, share)| row(section, &name, figure, share.to_string())));
    }
    rows.extend(report.open_by_error.iter().map(|(name, n)| row("error", name, "open", n.to_string())));
    rows.extend(report.closed_by_reason.iter().map(|(name, n)| row("reason", name, "closed", n.to_string())));
    rows.extend(report.oldest.iter().map(|o| row("oldest", &o.device_id.to_string(), "days", o.days.to_string())));
    if let Some(since) = &report.since {
        rows.push(row("since", "", "moment", since.moment.to_string()));
        rows.push(row("since", "", "resolved_since", since.resolved_since.to_string()));
        rows.push(row("since", "", "closed_since", since.closed_since.to_string()));
        rows.extend(since.then.figures().map(|(figure, n)| row("then", "", figure, n.to_string())));
        rows.extend(since.then.shares().map(|(figure, share)| row("then", "", figure, share.to_string())));
    }
    rows
}

/// What an element may hold as text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A page that stands by itself: no script, nothing from elsewhere.
fn html(r: &KeyReport) -> String {
    let mut out = String::from(
        "<!doctype html>\n<html lang=\"en-GB\"><head><meta charset=\"utf-8\"><title>Missing PPMID keys</title>\n<style>body{font-family:sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #999;padding:.2em .6em;text-align:right}td:first-child,th:first-child{text-align:left}</style></head><body>\n",
    );
    let story: Vec<String> = r.text().lines().take_while(|l| !l.is_empty()).map(escaped).collect();
    write!(out, "<h1>{}</h1>\n<p>{}</p>\n", story[0], story[1..].join("</p>\n<p>")).expect("writing to memory");
    let mut table = |head: &[&str], rows: Vec<Vec<String>>| {
        if rows.is_empty() {
            return;
        }
        let row = |cells: &[String], tag: &str| {
            let cells: String = cells.iter().map(|c| format!("<{tag}>{}</{tag}>", escaped(c))).collect();
            format!("<tr>{cells}</tr>\n")
        };
        let head: Vec<String> = head.iter().map(|h| h.to_string()).collect();
        let body: String = rows.iter().map(|r| row(r, "td")).collect();
        write!(out, "<table>\n{}{body}</table>\n", row(&head, "th")).expect("writing to memory");
    };
    let counted =
        |counts: &std::collections::BTreeMap<String, i64>| counts.iter().map(|(k, n)| vec![k.clone(), n.to_string()]).collect();
    let part = |(section, name, part): (&str, String, Part)| {
        let name = if name.is_empty() { "all".into() } else { format!("{section} {name}") };
        let shares = part.shares().map(|(_, share)| share.to_string());
        [name].into_iter().chain(part.figures().map(|f| f.1.to_string())).chain(shares).collect()
    };
    let whole = r.all.figures().map(|f| f.0.replace('_', " ")).into_iter().chain(r.all.shares().map(|s| s.0.replace('_', " ")));
    let heads: Vec<String> = [String::new()].into_iter().chain(whole).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    table(&heads, r.parts().into_iter().map(part).collect());
    table(&["open, by last error", "sites"], counted(&r.open_by_error));
    table(&["closed, by reason", "sites"], counted(&r.closed_by_reason));
    let oldest = r.oldest.iter().map(|o| {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        vec![o.device_id.to_string(), o.days.to_string(), o.state.to_string(), text(&o.last_error), text(&o.incident)]
    });
    table(&["oldest open cases", "days", "state", "last error", "incident"], oldest.collect());
    out + "</body></html>\n"
}
