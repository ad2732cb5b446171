//! `ppmid policy`: writes the policy files as they ship, checks those of the operator, and shows what is in force.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Context, Output, table};
use crate::{
    clock::{Day, Time},
    failure::{Failure, Outcome},
    ids::IdError,
    policy::{self, Content, Origin, PolicyFile, PolicyName, PolicySet},
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
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::Init { dir } => {
            let dir = dir.map_or_else(|| ctx.settings().map(|s| s.policies_dir), Ok)?;
            init(ctx, dir)
        }
        Command::Check { as_of } => check(ctx, as_of.unwrap_or(ctx.clock.now()).london_day()),
        Command::Show { file, as_of } => show(ctx, file, as_of.unwrap_or(ctx.clock.now()).london_day()),
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
    let dir = ctx.settings()?.policies_dir;
    let (mut rows, mut json, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for (name, result) in policy::check_files(&dir) {
        let (cells, object) = match result {
            Ok(file) => checked(&name, &file, day),
            Err(error) => {
                let failure = Failure::from(error);
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

fn checked(name: &str, file: &PolicyFile, day: Day) -> (Vec<String>, Value) {
    let in_force = file.head.effective_from <= day;
    let said = if in_force { "yes".to_string() } else { format!("not yet: on {day} what is compiled in applies") };
    let (version, from) = (file.head.version.to_string(), file.head.effective_from.to_string());
    let cells = vec![name.to_string(), version, from, origin(file), said, "ok".to_string()];
    let object = json!({
        "file": name, "version": file.head.version, "effective_from": file.head.effective_from, "clauses": file.head.clauses,
        "from": origin(file), "in_force": in_force, "result": "ok",
    });
    (cells, object)
}

fn origin(file: &PolicyFile) -> String {
    match &file.origin {
        Origin::Folder(path) => path.display().to_string(),
        Origin::CompiledIn if file.name == PolicyName::Trust => "absent: nothing is trusted".to_string(),
        Origin::CompiledIn => "compiled in".to_string(),
    }
}

fn show(ctx: &Context, only: Option<PolicyName>, day: Day) -> Outcome {
    let loaded = PolicySet::load(&ctx.settings()?.policies_dir)?;
    let not_yet: Vec<PolicyFile> = loaded.files().iter().filter(|f| f.head.effective_from > day).cloned().collect();
    let set = loaded.as_of(day);
    for file in &not_yet {
        let (name, from) = (origin(file), file.head.effective_from);
        eprintln!("note: {name} is not in force on {day}, only from {from}: until then what is compiled in applies");
    }
    let shown: Vec<&PolicyFile> = set.files().iter().filter(|f| only.is_none_or(|name| f.name == name)).collect();
    let mut rows = Vec::new();
    let mut files = serde_json::Map::new();
    for file in &shown {
        let value = file_value(file)?;
        flatten("", &value, &mut |key, value| rows.push(vec![file.name.to_string(), key.to_string(), value]));
        files.insert(file.name.to_string(), value);
    }
    if ctx.output() == Output::Json {
        return table::object(ctx.output(), &[], &json!({"hash": set.hash(), "as_of": day, "files": files}));
    }
    rows.push(vec![String::new(), "hash".to_string(), set.hash()]);
    let none: Vec<Value> = rows.iter().map(|_| Value::Null).collect();
    table::print(ctx.output(), &["file", "key", "value"], &rows, &none)
}

/// The head and what the file says, defaults filled in.
fn file_value(file: &PolicyFile) -> Outcome<Value> {
    let failed = |e: &dyn std::fmt::Display| Failure::failed(format!("{} cannot be shown: {e}", file.name));
    let mut value = match &file.content {
        Content::Eligibility(e) => serde_json::to_value(e),
        Content::ResponseCodes(c) => serde_json::to_value(c),
        Content::Rollout(r) => serde_json::to_value(r),
        Content::Trust => return toml::from_str(&file.text).map(|v| with_origin(v, file)).map_err(|e| failed(&e)),
    }
    .map_err(|e| failed(&e))?;
    value["version"] = json!(file.head.version);
    value["effective_from"] = json!(file.head.effective_from);
    value["clauses"] = json!(file.head.clauses);
    Ok(with_origin(value, file))
}

fn with_origin(mut value: Value, file: &PolicyFile) -> Value {
    value["from"] = json!(origin(file));
    value
}

/// `cohort.IOC.live_from` and its value, for each leaf; a list of plain values is one leaf.
fn flatten(prefix: &str, value: &Value, each: &mut impl FnMut(&str, String)) {
    let under = |key: &str| if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| flatten(&under(key), value, each)),
        Value::Array(list) if list.iter().any(|v| v.is_object() || v.is_array()) => {
            list.iter().enumerate().for_each(|(n, value)| flatten(&format!("{prefix}[{n}]"), value, each));
        }
        Value::Array(list) => each(prefix, list.iter().map(plain).collect::<Vec<_>>().join(", ")),
        leaf => each(prefix, plain(leaf)),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
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
        assert!(policy_name("windows").is_err());
    }

    #[test]
    fn every_key_of_a_set_is_shown() {
        let set = PolicySet::compiled();
        let mut keys = Vec::new();
        for file in set.files() {
            flatten("", &file_value(file).unwrap(), &mut |key, value| keys.push(format!("{key} = {value}")));
        }
        for wanted in [
            "cohort.IOC.live_from = 2020-11-24",
            "cohort.FOC.live_from = ",
            "answer_within = 72h",
            "code.E4.disposition = unknown",
        ] {
            assert!(keys.iter().any(|k| k == wanted), "{wanted}");
        }
    }
}
