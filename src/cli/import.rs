//! `ppmid import`: loads a CSV file and says what came of it.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Context, Output, who::os_user_at_host};
use crate::{
    estate::import::{self, ImportReport, Input, Kind, Options, Progress},
    failure::{Exit, Failure, Outcome},
};

const EXAMPLES: &str = "Examples:
  ppmid import registrations registrations.csv && ppmid import sites sites.csv
  zcat sites.csv.gz | ppmid import sites -
  ppmid import registrations corrected.csv --replace --strict

Rows that are not loaded go to FILE.rejects.csv (stdin.rejects.csv) with line and reason, and the exit code is 5.
A file takes effect as a whole or not at all; importing it again changes nothing.";

/// Load a CSV file of sites, registrations, keys, product lists or exclusions
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What the file holds
    #[arg(value_parser = PossibleValuesParser::new(Kind::ALL.iter().map(|k| k.as_str())).map(|k| k.parse::<Kind>().expect("a listed kind")))]
    kind: Kind,
    /// CSV in UTF-8 with a header row; `-` is standard input
    file: PathBuf,
    /// One bad row leaves the database as it was
    #[arg(long)]
    strict: bool,
    /// Registrations only: for each MPAN of which the file holds a good row, forget what it does not hold
    #[arg(long)]
    replace: bool,
}

pub async fn run(ctx: &Context, args: Args) -> Outcome {
    let options = Options { strict: args.strict, replace: args.replace };
    if options.replace && args.kind != Kind::Registrations {
        return Err(import::ImportError::ReplaceOther { kind: args.kind }.into());
    }
    let input = Input::open(&args.file)?;
    let name = input.name.clone();
    let app = ctx.app().await?;
    let bar = progress_bar(input.length);
    let watch = {
        let bar = bar.clone();
        Arc::new(move |progress| show(&bar, progress))
    };
    let result = app.import_file(args.kind, input, options, watch, &os_user_at_host()).await;
    bar.finish_and_clear();
    let report = result?;
    print(&report, ctx.output())?;
    match &report.rejects_path {
        None => Ok(()),
        Some(path) => {
            let line = format!("{} of {} rows of {name} were rejected; the others are loaded", report.rejected, report.read);
            Err(Failure::new(Exit::Partly, line).help(format!("the rows and their reasons are in {}", path.display())))
        }
    }
}

/// A bar with rate and time left where the length is known, a spinner for standard input, and nothing where no terminal looks.
fn progress_bar(length: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
    }
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg} {bytes} {bytes_per_sec}"),
    };
    bar.set_style(ProgressStyle::with_template(template).expect("the template is our own"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn show(bar: &ProgressBar, progress: Progress) {
    match progress {
        Progress::Waiting => bar.suspend(|| eprintln!("waiting for another import to end")),
        Progress::Warning(text) => bar.suspend(|| eprintln!("warning: {text}")),
        Progress::Read { bytes, rows } => {
            bar.set_position(bytes);
            bar.set_message(format!("{rows} rows read"));
        }
        Progress::Applied { rows, of } => {
            if bar.length() != Some(of) {
                let template = "{msg} {wide_bar} {pos}/{len} {per_sec} {eta} left";
                bar.set_style(ProgressStyle::with_template(template).expect("the template is our own"));
                bar.reset();
                bar.set_length(of);
                bar.set_message("rows taking effect");
            }
            bar.set_position(rows);
        }
    }
}

fn print(report: &ImportReport, output: Output) -> Outcome {
    let rejects = report.rejects_path.as_ref().map(|p| p.display().to_string());
    let mut out = std::io::stdout().lock();
    let written = match output {
        Output::Table => writeln!(out, "{}", summary(report)),
        Output::Json => writeln!(
            out,
            "{}",
            serde_json::json!({
                "kind": report.kind, "import_id": report.import_id, "read": report.read, "inserted": report.inserted,
                "updated": report.updated, "unchanged": report.unchanged, "ended": report.ended, "removed": report.removed,
                "rejected": report.rejected, "rejects": rejects,
            })
        ),
        Output::Csv => {
            let mut csv = csv::Writer::from_writer(&mut out);
            let counts =
                [report.read, report.inserted, report.updated, report.unchanged, report.ended, report.removed, report.rejected];
            let mut row = vec![report.kind.to_string(), report.import_id.to_string()];
            row.extend(counts.iter().map(ToString::to_string));
            row.push(rejects.unwrap_or_default());
            csv.write_record([
                "kind",
                "import_id",
                "read",
                "inserted",
                "updated",
                "unchanged",
                "ended",
                "removed",
                "rejected",
                "rejects",
            ])
            .and_then(|()| csv.write_record(row))
            .map_err(std::io::Error::from)
            .and_then(|()| csv.flush())
        }
    };
    // A reader that has gone away (`| head`) is no failure of the import.
    match written {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("the result cannot be written ({e})")).help("the import itself took effect"))
        }
        _ => Ok(()),
    }
}

fn summary(r: &ImportReport) -> String {
    let mut line =
        format!("{}: {} read, {} inserted, {} updated, {} unchanged", r.kind, r.read, r.inserted, r.updated, r.unchanged);
    if r.kind == Kind::Registrations {
        line += &format!(", {} ended", r.ended);
        if r.removed > 0 {
            line += &format!(", {} removed", r.removed);
        }
    }
    line += &format!(", {} rejected", r.rejected);
    if let Some(path) = &r.rejects_path {
        line += &format!(" ({})", path.display());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(kind: Kind) -> ImportReport {
        ImportReport {
            kind,
            import_id: 1,
            read: 5000,
            inserted: 4998,
            updated: 0,
            unchanged: 0,
            ended: 3,
            removed: 0,
            rejected: 2,
            rejects_path: Some("f.csv.rejects.csv".into()),
        }
    }

    #[test]
    fn the_summary_is_one_line() {
        assert_eq!(
            summary(&report(Kind::Sites)),
            "sites: 5000 read, 4998 inserted, 0 updated, 0 unchanged, 2 rejected (f.csv.rejects.csv)"
        );
        assert_eq!(
            summary(&ImportReport { rejects_path: None, rejected: 0, ..report(Kind::Registrations) }),
            "registrations: 5000 read, 4998 inserted, 0 updated, 0 unchanged, 3 ended, 0 rejected"
        );
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn kinds_are_words_and_a_dash_is_standard_input() {
        use clap::Parser;
        let line = Line::try_parse_from(["import", "sites", "-", "--strict"]).unwrap().args;
        assert_eq!((line.kind, line.file.to_str(), line.strict, line.replace), (Kind::Sites, Some("-"), true, false));
        assert!(Line::try_parse_from(["import", "site", "a.csv"]).is_err());
        assert!(Line::try_parse_from(["import", "sites"]).is_err());
    }
}
