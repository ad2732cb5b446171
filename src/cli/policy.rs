//! `ppmid policy`: writes the policy files as they ship, checks those of the operator, and shows what is in force.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Context, Output, table};
use crate::{
    app,
    clock::{Day, Time},
    config::Settings,
    failure::{Failure, Outcome},
    ids::IdError,
    policy::{self, Change, Content, Origin, PolicyFile, PolicyFolder, PolicyName, PolicySet},
};

/// The rules and numbers that decide: written out, checked, shown
#[derive(clap::Subcommand)]
pub enum Command {
    /// Write the policy files as they ship, where absent; never over one that is there
    #[command(after_help = "Example:\n  ppmid policy init --dir policies")]
    Init {
        /// Where to; the policies folder of the configuration if left out
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Read every policy file whole and say what is wrong, with file, line and key; exit 1 if anything is
    #[command(after_help = "Examples:\n  ppmid policy check\n  ppmid policy check --as-of 2027-01-15")]
    Check {
        /// As of this time (RFC 3339) or the end of this day: says which files are not in force yet
        #[arg(long, value_name = "TIME", value_parser = as_of)]
        as_of: Option<Time>,
    },
    /// What the policies say, compiled-in defaults included, and the hash of the set
    #[command(after_help = "Examples:\n  ppmid policy show eligibility\n  ppmid policy show --output json")]
    Show {
        /// One file, such as eligibility or eligibility.toml
        #[arg(value_name = "FILE", value_parser = policy_name)]
        file: Option<PolicyName>,
        /// As of this time (RFC 3339) or the end of this day
        #[arg(long, value_name = "TIME", value_parser = as_of)]
        as_of: Option<Time>,
    },
    /// How the policies differ from what ships, from those of another day, or from those a campaign was approved with
    #[command(after_help = "A change that matters asks for a new approval of every campaign it touches.\n\nExamples:\n  \
        ppmid policy diff                      what ships, against what is in force now\n  \
        ppmid policy diff --as-of 2027-01-15   what is in force now, against that day\n  \
        ppmid policy diff --since 2026-11-01   what was in force then, against now\n  \
        ppmid policy diff --campaign spring    what it was approved with, against what is in force now")]
    Diff {
        /// Against what is in force then: a time (RFC 3339) or the end of a day
        #[arg(long, value_name = "TIME", value_parser = as_of)]
        as_of: Option<Time>,
        /// From what this folder says was in force then
        #[arg(long, value_name = "TIME", value_parser = as_of, conflicts_with = "campaign")]
        since: Option<Time>,
        /// From what this campaign was approved with (planned with, before its approval)
        #[arg(long, value_name = "CAMPAIGN")]
        campaign: Option<String>,
    },
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::Init { dir } => {
            let dir = dir.map_or_else(|| ctx.settings().map(|s| s.policies_dir), Ok)?;
            init(ctx, dir)
        }
        Command::Check { as_of } => check(ctx, as_of.unwrap_or(ctx.clock.now()).london_day()),
        Command::Show { file, as_of } => show(ctx, file, as_of.unwrap_or(ctx.clock.now()).london_day()),
        Command::Diff { as_of, since, campaign } => diff(ctx, as_of, since, campaign).await,
    }
}

/// What `--as-of` takes: an RFC 3339 time, or a date, which means the end of that day in London.
pub fn as_of(text: &str) -> Result<Time, IdError> {
    let wrong = || IdError::new(text, "an RFC 3339 time such as 2020-11-24T09:00:00Z, or a date such as 2020-11-24");
    text.parse::<Day>().map(Day::end).or_else(|_| text.parse::<Time>()).map_err(|_| wrong())
}

fn policy_name(text: &str) -> Result<PolicyName, IdError> {
    let name = text.strip_suffix(".toml").unwrap_or(text);
    format!("{name}.toml").parse()
}

fn init(ctx: &Context, dir: PathBuf) -> Outcome {
    let done = policy::init(&dir)?;
    let path = |name: &PolicyName| dir.join(name.as_str()).display().to_string();
    let result = |written: bool| if written { "written" } else { "left as it is" };
    let rows: Vec<Vec<String>> = done.iter().map(|(name, written)| vec![path(name), result(*written).to_string()]).collect();
    let json: Vec<Value> = done.iter().map(|(name, written)| json!({"file": path(name), "written": written})).collect();
    table::print(ctx.output(), &["file", "result"], &rows, &json)
}

fn check(ctx: &Context, day: Day) -> Outcome {
    let settings = ctx.settings()?;
    let files = policy::check_files(&settings.policies_dir);
    let (mut rows, mut json, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    let good: Vec<PolicyFile> = files.iter().filter_map(|(_, file)| file.as_ref().ok().cloned()).collect();
    for (name, result) in files {
        let (cells, object) = match result.map_err(Failure::from).and_then(|file| goes_with(&settings, file)) {
            Ok(file) => checked(&name, &file, &good, day),
            Err(failure) => {
                let object = json!({"file": name, "result": "error", "error": failure.message});
                let cells = [&name, "", "", "", "", &failure.message].map(str::to_string).to_vec();
                wrong.push(failure);
                (cells, object)
            }
        };
        rows.push(cells);
        json.push(object);
    }
    table::print(ctx.output(), &["file", "version", "effective_from", "from", "in_force", "result"], &rows, &json)?;
    let count = wrong.len();
    match wrong.into_iter().next() {
        None => Ok(()),
        Some(first) if count == 1 => Err(first),
        Some(first) => Err(first.help(format!("{count} files are wrong: each is listed above"))),
    }
}

/// A file that is right by itself may still name what the settings do not allow.
fn goes_with(settings: &Settings, file: PolicyFile) -> Outcome<PolicyFile> {
    if let Content::Notify(notify) = &file.content {
        app::ready_teams(settings, notify)?;
    }
    Ok(file)
}

/// One file with its day, and whether it is in force beside the others of its name.
fn checked(name: &str, file: &PolicyFile, good: &[PolicyFile], day: Day) -> (Vec<String>, Value) {
    let begins = file.head.effective_from;
    let written = |f: &&PolicyFile| f.name == file.name && f.origin != Origin::CompiledIn && f.head.effective_from <= day;
    let last = good.iter().filter(written).max_by_key(|f| f.head.effective_from);
    let (in_force, said) = match last {
        Some(last) if last.origin == file.origin => (true, "yes".to_string()),
        Some(last) if begins <= day || file.origin == Origin::CompiledIn => {
            (false, format!("no: version {} of {} took its place", last.head.version, last.head.effective_from))
        }
        None if file.origin == Origin::CompiledIn => (true, "yes".to_string()),
        None => (false, format!("not yet: on {day} what is compiled in applies")),
        Some(_) => (false, format!("not yet: it begins on {begins}")),
    };
    let cells = vec![name.to_string(), file.head.version.to_string(), begins.to_string(), origin(file), said, "ok".to_string()];
    let object = json!({
        "file": name, "version": file.head.version, "effective_from": begins, "clauses": file.head.clauses,
        "from": origin(file), "in_force": in_force, "result": "ok",
    });
    (cells, object)
}

fn origin(file: &PolicyFile) -> String {
    match &file.origin {
        Origin::Folder(path) => path.display().to_string(),
        Origin::CompiledIn if file.name == PolicyName::Trust => "absent: nothing is trusted".to_string(),
        other => other.to_string(),
    }
}

fn show(ctx: &Context, only: Option<PolicyName>, day: Day) -> Outcome {
    let folder = PolicyFolder::load(&ctx.settings()?.policies_dir)?;
    let shown = |file: &PolicyFile| only.is_none_or(|name| file.name == name);
    for file in folder.after(day).into_iter().filter(|f| shown(f)) {
        let until = match folder.in_force(file.name, day) {
            Some(now) => origin(now),
            None => "what is compiled in".to_string(),
        };
        eprintln!("note: {} is in force only from {}: until then {until} applies", origin(file), file.head.effective_from);
    }
    let set = folder.as_of(day);
    let mut rows = Vec::new();
    let mut files = serde_json::Map::new();
    for file in set.files().iter().filter(|f| shown(f)) {
        let mut value = file.value();
        value["from"] = json!(origin(file));
        rows.extend(file.leaves().into_iter().map(|l| vec![file.name.to_string(), l.key, l.value]));
        rows.push(vec![file.name.to_string(), "from".to_string(), origin(file)]);
        files.insert(file.name.to_string(), value);
    }
    if ctx.output() == Output::Json {
        return table::object(ctx.output(), &[], &json!({"hash": set.hash(), "as_of": day, "files": files}));
    }
    rows.push(vec![String::new(), "hash".to_string(), set.hash()]);
    let none: Vec<Value> = rows.iter().map(|_| Value::Null).collect();
    table::print(ctx.output(), &["file", "key", "value"], &rows, &none)
}

async fn diff(ctx: &Context, as_of: Option<Time>, since: Option<Time>, campaign: Option<String>) -> Outcome {
    let folder = PolicyFolder::load(&ctx.settings()?.policies_dir)?;
    let now = folder.as_of(ctx.clock.now().london_day());
    let then = |at: Time| folder.as_of(at.london_day());
    let mut rollout = None;
    let (before, after) = match (campaign, since, as_of) {
        (Some(campaign), _, as_of) => {
            let app = ctx.app().await?;
            let campaign = app.campaign(&campaign).await?;
            let pinned = app.pinned_policies(&campaign).await?;
            rollout = Some(campaign.rollout);
            (pinned, as_of.map_or(now, then))
        }
        (None, Some(since), as_of) => (then(since), as_of.map_or(now, then)),
        (None, None, Some(as_of)) => (now, then(as_of)),
        (None, None, None) => (PolicySet::compiled(), now),
    };
    let changes = policy::changes(&before, &after, rollout.as_deref());
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_string());
    let row = |c: &Change| {
        let matters = if c.matters { "yes" } else { "no" };
        vec![c.file.to_string(), c.key.clone(), value(&c.before), value(&c.after), matters.to_string()]
    };
    let rows: Vec<Vec<String>> = changes.iter().map(row).collect();
    table::print(ctx.output(), &["file", "key", "before", "after", "matters"], &rows, &changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_of_takes_a_time_or_the_end_of_a_london_day() {
        assert_eq!(as_of("2026-06-30T09:00:00Z").unwrap().to_string(), "2026-06-30T09:00:00Z");
        assert_eq!(as_of("2026-06-30").unwrap().to_string(), "2026-06-30T22:59:59.999Z");
        assert!(as_of("June").is_err());
    }

    #[test]
    fn a_file_is_named_with_or_without_its_ending() {
        assert_eq!(policy_name("eligibility").unwrap(), PolicyName::Eligibility);
        assert_eq!(policy_name("trust.toml").unwrap(), PolicyName::Trust);
        assert!(policy_name("window").is_err());
    }
}
