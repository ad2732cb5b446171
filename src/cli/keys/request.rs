//! `ppmid keys request`: a re-run request for DCC's service desk, as CSV.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use crate::{
    cli::{
        Context, Output,
        table::{self, Listing},
        who::os_user_at_host,
    },
    failure::{Failure, Outcome},
    keys::store::RequestLine,
};

#[derive(clap::Args)]
pub struct Args {
    /// Write it to this file, which must not exist; else to stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only show what is due: nothing is asked for
    #[arg(long, conflicts_with = "again")]
    dry_run: bool,
    /// Write out an earlier request once more, by its number
    #[arg(long, value_name = "NUMBER")]
    again: Option<i64>,
}

const HEADERS: [&str; 9] =
    ["request", "device_id", "mpan", "cohort", "attempts", "first_seen", "last_attempt", "last_error", "incident"];

fn cells(line: &RequestLine) -> [String; 9] {
    let text = |v: Option<String>| v.unwrap_or_default();
    [
        line.request.to_string(),
        line.device_id.to_string(),
        text(line.mpan.map(|m| m.to_string())),
        text(line.cohort.map(|c| c.to_string())),
        line.attempts.to_string(),
        line.first_seen.to_string(),
        text(line.last_attempt.map(|t| t.to_string())),
        text(line.last_error.clone()),
        text(line.incident.clone()),
    ]
}

pub async fn run(ctx: &Context, args: Args) -> Outcome {
    let app = ctx.app().await?;
    if let Some(run) = args.again {
        let again = app.request_again(run).await?;
        if again.lines.is_empty() {
            let message = format!("nothing of re-run request {run} is to be asked for any more: all its cases have ended");
            return Err(Failure::failed(message)
                .help("`ppmid keys show DEVICE_ID` tells how; `ppmid keys request` asks for what is due now"));
        }
        write(ctx, &again.lines, args.out.as_deref())?;
        if again.ended > 0 {
            eprintln!("{} sites of that request are left out: their cases have ended since", again.ended);
        }
        return Ok(());
    }
    let request = if args.dry_run {
        app.request_reruns(None, &os_user_at_host()).await?
    } else {
        let out = args.out.as_deref();
        let mut keep = |lines: &[RequestLine]| write(ctx, lines, out);
        app.request_reruns(Some(&mut keep), &os_user_at_host()).await?
    };
    if args.dry_run || request.lines.is_empty() {
        print(ctx, &request.lines)?;
    }
    let made = if args.dry_run { "would be on the request" } else { "are on the request" };
    match request.lines.first() {
        None if request.more_due => {
            eprintln!("no request was made: budget_per_hour in retry.toml is used up for now, and more are due")
        }
        None => eprintln!("nothing is due: no request was made"),
        Some(line) => eprintln!("{} sites {made}, number {}", request.lines.len(), line.request),
    }
    if request.left_to_the_engine > 0 {
        eprintln!(
            "{} more are due, which `ppmid serve` sends again by itself: resubmit in retry.toml",
            request.left_to_the_engine
        );
    }
    if request.not_ours > 0 {
        eprintln!("{} more are due whose sites are not ours today, or not loaded: DCC is not asked for those", request.not_ours);
    }
    if request.more_due && !request.lines.is_empty() {
        eprintln!("more are due: budget_per_hour in retry.toml leaves them for later");
    }
    Ok(())
}

fn write(ctx: &Context, lines: &[RequestLine], out: Option<&Path>) -> Outcome {
    let Some(path) = out else { return print(ctx, lines) };
    let failed = |e: std::io::Error| {
        Failure::failed(format!("{} cannot be written: {e}", path.display()))
            .help("nothing was asked for; name another file with --out")
    };
    let file = fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    let mut listing = Listing::new(std::io::BufWriter::new(&file), Output::Csv, &HEADERS)?;
    for line in lines {
        listing.row(&cells(line), line)?;
    }
    listing.finish()?;
    (&file).flush().and_then(|()| file.sync_all()).map_err(failed)?;
    if ctx.output() != Output::Table {
        return print(ctx, lines);
    }
    table::line(path.display())
}

/// On stdout it is CSV, unless JSON is asked for: it is a file for somebody else's program.
fn print(ctx: &Context, lines: &[RequestLine]) -> Outcome {
    let output = if ctx.output() == Output::Json { Output::Json } else { Output::Csv };
    let mut listing = Listing::stdout(output, &HEADERS)?;
    for line in lines {
        listing.row(&cells(line), line)?;
    }
    listing.finish()
}
