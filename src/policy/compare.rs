//! What policies say, value by value: to show them, to say how two sets differ, and to bind an approval to those that matter.
//! Promise: what an approval is bound to and what `ppmid policy diff` marks as mattering are the same values.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Content, PolicyFile, PolicyName, PolicySet};
use crate::ids::Sha256Hash;

/// One value of a policy set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    pub file: PolicyName,
    /// As in the file, tables before it: `cohort.IOC.live_from`.
    pub key: String,
    pub value: String,
}

/// A value that two sets do not share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub file: PolicyName,
    pub key: String,
    /// Null where the set has no such key.
    pub before: Option<String>,
    pub after: Option<String>,
    /// Whether it voids approvals given under the other set.
    pub matters: bool,
}

impl PolicyFile {
    /// What the file says, its defaults filled in, as JSON in the shape of the file.
    pub fn value(&self) -> Value {
        let value = match &self.content {
            Content::Eligibility(e) => serde_json::to_value(e),
            Content::ResponseCodes(c) => serde_json::to_value(c),
            Content::Rollout(r) => serde_json::to_value(r),
            Content::Windows(w) => serde_json::to_value(w),
            Content::Thresholds(t) => serde_json::to_value(t),
            Content::Steps(s) => serde_json::to_value(s),
            Content::Notify(n) => serde_json::to_value(n),
            Content::Retry(r) => serde_json::to_value(r),
            Content::Trust => return toml::from_str(&self.text).unwrap_or_default(),
        };
        let mut value = value.unwrap_or_default();
        value["version"] = self.head.version.into();
        value["effective_from"] = self.head.effective_from.to_string().into();
        value["clauses"] = self.head.clauses.clone().into();
        value
    }

    /// Each of its values; a list of plain values is one.
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        flatten("", &self.value(), &mut |key, value| leaves.push(Leaf { file: self.name, key: key.to_string(), value }));
        leaves
    }
}

/// Each value of a set, file by file.
pub fn leaves(set: &PolicySet) -> Vec<Leaf> {
    set.files().iter().flat_map(PolicyFile::leaves).collect()
}

/// What an approval of a campaign with this rollout is bound to: SHA-256 over the values that matter, lower-case hexadecimal. A
/// remark, a clause, a response code or the timetable of retries is none of them (design.md, principle 5). `resubmit` is bound while it is
/// on: left out while it is off, it voids no approval that was given before there was such a thing.
pub fn binding(set: &PolicySet, rollout: &str) -> String {
    let files = set.files().iter().filter(|f| ever_matters(f.name));
    let off = |leaf: &Leaf| leaf.file == PolicyName::Retry && leaf.value == "false";
    digest(files.flat_map(PolicyFile::leaves).filter(|l| matters(l.file, &l.key, Some(rollout)) && !off(l)))
}

fn digest(leaves: impl Iterator<Item = Leaf>) -> String {
    let mut hash = Sha256::new();
    for leaf in leaves {
        for part in [leaf.file.as_str(), &leaf.key, &leaf.value] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    Sha256Hash { 0: hash.finalize().into() }.to_string()
}

/// How two sets differ, in the order of files and keys. `rollout` is the campaign's; `None`: a change of any preset matters.
pub fn changes(before: &PolicySet, after: &PolicySet, rollout: Option<&str>) -> Vec<Change> {
    let by_key = |set: &PolicySet| -> BTreeMap<(PolicyName, String), String> {
        leaves(set).into_iter().map(|l| ((l.file, l.key), l.value)).collect()
    };
    let (mut old, new) = (by_key(before), by_key(after));
    let mut all: BTreeMap<(PolicyName, String), (Option<String>, Option<String>)> = BTreeMap::new();
    for (place, value) in new {
        let was = old.remove(&place);
        all.insert(place, (was, Some(value)));
    }
    all.extend(old.into_iter().map(|(place, value)| (place, (Some(value), None))));
    let differ = all.into_iter().filter(|(_, (before, after))| before != after);
    differ
        .map(|((file, key), (before, after))| Change { matters: matters(file, &key, rollout), file, key, before, after })
        .collect()
}

/// Whether anything in a file can void an approval.
fn ever_matters(file: PolicyName) -> bool {
    match file {
        PolicyName::Eligibility | PolicyName::Rollout | PolicyName::Steps | PolicyName::Windows | PolicyName::Retry => true,
        // Whose signatures count is asked before every batch; what an answer means is corrected while campaigns run.
        PolicyName::Trust | PolicyName::ResponseCodes => false,
        // What DCC registered binds every campaign from the day it does.
        PolicyName::Thresholds => false,
        // Who is told of what happens decides about no site.
        PolicyName::Notify => false,
    }
}

/// Whether a value decides who is sent, when or how much.
fn matters(file: PolicyName, key: &str, rollout: Option<&str>) -> bool {
    /// Names of values that only tell people something.
    const SAY_ONLY: [&str; 5] = ["clause", "description", "reason", "sentence", "source"];
    let top = key.split(['.', '[']).next().unwrap_or_default();
    let name = key.rsplit('.').next().unwrap_or_default();
    if !ever_matters(file) || ["version", "effective_from", "clauses"].contains(&top) || SAY_ONLY.contains(&name) {
        return false;
    }
    match file {
        PolicyName::Eligibility => top != "sources" && top != "recheck_every",
        PolicyName::Rollout => match (key.strip_prefix("preset."), rollout) {
            (Some(preset), Some(own)) => preset.strip_prefix(own).is_some_and(|rest| rest.starts_with('.')),
            (Some(_), None) => true,
            (None, _) => false,
        },
        // What is asked of a device and how long it may stay silent; the pace and patience of reads is corrected while campaigns run.
        PolicyName::Steps => ["default", "model"].contains(&top) && name != "read_within",
        // Whether a site is sent though its key is missing. When a key is asked for again decides about no site.
        PolicyName::Retry => key == "resubmit",
        _ => true,
    }
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
    fn every_key_of_a_set_is_shown() {
        let keys: Vec<String> =
            leaves(&PolicySet::compiled()).iter().map(|l| format!("{}: {} = {}", l.file, l.key, l.value)).collect();
        for wanted in [
            "eligibility.toml: cohort.IOC.live_from = 2020-11-24",
            "eligibility.toml: cohort.FOC.live_from = ",
            "eligibility.toml: answer_within = 72h",
            "rollout.toml: preset.direct.waves = 100%",
            "response-codes.toml: code.E4.disposition = unknown",
            "steps.toml: default.IOC.steps = update",
            "trust.toml: threshold = 1",
        ] {
            assert!(keys.iter().any(|k| k == wanted), "{wanted} is not in {keys:#?}");
        }
    }

    /// The shipped set with one file's text edited.
    fn edited(name: PolicyName, piece: &str, instead: &str) -> PolicySet {
        assert!(name.shipped().contains(piece), "{piece}");
        let text = name.shipped().replacen(piece, instead, 1);
        PolicySet::kept([(name.as_str(), text.as_str(), "a test")]).unwrap()
    }

    #[test]
    fn what_matters_binds_and_what_only_tells_does_not() {
        use PolicyName::*;
        let shipped = PolicySet::compiled();
        let cases = [
            (Eligibility, "guard_days = 5", "guard_days = 6", true),
            (Eligibility, "answer_within = \"72h\"", "answer_within = \"73h\"", true),
            (Eligibility, "clause = \"L§5\"", "clause = \"L§5\"\nlive_from = \"2027-01-15\"", true),
            (Eligibility, "needs_tool_key = true", "needs_tool_key = false", true),
            (Eligibility, "clause = \"L§5\"", "clause = \"the Joint Implementation Plan\"", false),
            (Eligibility, "KEYS_MISSING = \"L§13\"", "KEYS_MISSING = \"L§12-13\"", false),
            (Eligibility, "recheck_every = \"60s\"", "recheck_every = \"5m\"", false),
            (Eligibility, "version = 1", "# a remark\nversion = 2", false),
            (Eligibility, "effective_from = \"2020-11-24\"", "effective_from = \"2020-11-25\"", false),
            (Rollout, "description = \"Every", "description = \"All, every", false),
            (ResponseCodes, "disposition = \"accepted\"", "disposition = \"unknown\"", false),
            (Thresholds, "counts = \"requests\"", "counts = \"devices\"", false),
            (Steps, "steps = [\"update\"]", "steps = [\"update\", \"read-version\"]", true),
            (Steps, "steps = [\"update\"]", "steps = [\"update\"]\nanswer_within = \"14d\"", true),
            (Steps, "steps = [\"update\"]", "steps = [\"update\"]\nread_within = \"1d\"", false),
            (Steps, "reads_per_minute = 60", "reads_per_minute = 6", false),
            (Trust, "threshold = 1", "threshold = 2", false),
            (Retry, "most_attempts = 12", "most_attempts = 5", false),
            (Retry, "budget_per_hour = 2000", "budget_per_hour = 1", false),
            (Retry, "resubmit = false", "resubmit = true", true),
        ];
        for (name, piece, instead, matters) in cases {
            let other = edited(name, piece, instead);
            assert_ne!(shipped.hash(), other.hash(), "{instead}");
            assert_eq!(binding(&shipped, "direct") != binding(&other, "direct"), matters, "{name}: {instead}");
            let changes = changes(&shipped, &other, Some("direct"));
            assert_eq!(changes.iter().any(|c| c.matters), matters, "{name}: {changes:?}");
            assert!(!changes.is_empty(), "{name}: {instead}");
        }
    }

    #[test]
    fn what_is_off_voids_no_approval_of_before_it_existed() {
        use PolicyName::*;
        let before = |set: &PolicySet| {
            let known = leaves(set).into_iter().filter(|l| l.file != Retry && matters(l.file, &l.key, Some("direct")));
            digest(known.collect::<Vec<_>>().into_iter())
        };
        for set in [PolicySet::compiled(), edited(Retry, "resubmit = false", "")] {
            assert_eq!(binding(&set, "direct"), before(&set));
        }
        let on = edited(Retry, "resubmit = false", "resubmit = true");
        assert_ne!(binding(&on, "direct"), before(&on));
        let matter: Vec<Change> = changes(&PolicySet::compiled(), &on, None).into_iter().filter(|c| c.matters).collect();
        assert_eq!((matter.len(), matter[0].key.as_str(), matter[0].after.as_deref()), (1, "resubmit", Some("true")));
    }

    #[test]
    fn waves_void_no_approval_of_before_they_existed_and_bind_where_there_are_any() {
        let of = |preset: &str| -> Vec<String> {
            let all = leaves(&PolicySet::compiled()).into_iter();
            let own = all.filter(|l| l.key.starts_with(preset) && !l.key.ends_with("description"));
            own.map(|l| format!("{} = {}", l.key.trim_start_matches(preset), l.value)).collect()
        };
        let mut direct = of("preset.direct.");
        direct.sort();
        assert_eq!(direct, ["soak = 0s", "top_up = asked", "top_up_sites = 0", "waves = 100%"]);
        let staged = of("preset.staged.");
        for leaf in ["waves = 0.1%, 1%, 10%, rest", "wave[0].name = canary", "wave[2].soak = 72h", "wave[3].max_failures = 5%"] {
            assert!(staged.iter().any(|l| l == leaf), "{leaf} is not in {staged:#?}");
        }
        let stricter = edited(PolicyName::Rollout, "max_failures = \"5%\"", "max_failures = \"4.99%\"");
        let shipped = PolicySet::compiled();
        assert_ne!(binding(&shipped, "staged"), binding(&stricter, "staged"));
        assert_eq!(binding(&shipped, "direct"), binding(&stricter, "direct"));
        let all = edited(PolicyName::Rollout, "# in_flight_in_all", "in_flight_in_all");
        assert_eq!(binding(&shipped, "staged"), binding(&all, "staged"), "a cap on all is corrected while campaigns run");
        let own = edited(PolicyName::Rollout, "# in_flight = 20000", "in_flight = 20000");
        assert_ne!(binding(&shipped, "direct"), binding(&own, "direct"));
    }

    #[test]
    fn a_campaign_is_bound_to_its_own_preset() {
        let more = "[preset.other]\nwaves = [\"100%\"]\n\n[preset.direct]";
        let other = edited(PolicyName::Rollout, "[preset.direct]", more);
        let shipped = PolicySet::compiled();
        assert_eq!(binding(&shipped, "direct"), binding(&other, "direct"));
        assert_ne!(binding(&shipped, "other"), binding(&other, "other"));
        let matter = |rollout| changes(&shipped, &other, rollout).iter().filter(|c| c.matters).count();
        assert_eq!((matter(Some("direct")), matter(Some("other")), matter(None)), (0, 4, 4));
    }

    #[test]
    fn a_change_names_what_was_and_what_is() {
        let other = edited(PolicyName::Eligibility, "guard_days = 5", "guard_days = 6");
        let found = changes(&PolicySet::compiled(), &other, None);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].key.as_str(), found[0].before.as_deref(), found[0].after.as_deref()),
            ("guard_days", Some("5"), Some("6"))
        );
        assert!(changes(&other, &other, None).is_empty());
    }
}
