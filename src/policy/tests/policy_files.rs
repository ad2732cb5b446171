//! The policy files: as shipped, absent, partly written, dated, and wrong in every way.

use std::{fs, path::Path};

use super::*;
use crate::failure::Failure;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// Everything in the folder in force.
fn load(dir: &Path) -> Result<PolicySet, PolicyError> {
    Ok(PolicyFolder::load(dir)?.as_of(day("9000-01-01")))
}

/// The shipped file with one piece replaced, which must be there once.
fn shipped_but(name: PolicyName, piece: &str, instead: &str) -> String {
    assert_eq!(name.shipped().matches(piece).count(), 1, "{piece}");
    name.shipped().replace(piece, instead)
}

#[test]
fn the_shipped_files_are_what_the_contract_says() {
    let set = PolicySet::compiled();
    let e = &set.eligibility;
    assert_eq!((e.guard_days, e.batch_size, e.tool_until), (5, 50_000, day("2020-11-24")));
    assert_eq!((e.answer_within.to_string(), e.recheck_every.millis()), ("72h".to_string(), 60_000));
    assert_eq!(e.cpl_upgrade_from_not_stated, NotStatedMeans::None);
    for (cohort, live, tool) in
        [(Cohort::Ioc, true, true), (Cohort::Mds, true, true), (Cohort::Secure, true, false), (Cohort::Foc, false, false)]
    {
        let policy = e.cohort(cohort);
        assert_eq!(policy.live_from, live.then(|| day("2020-11-24")), "{cohort}");
        assert_eq!(policy.needs_tool_key, tool, "{cohort}");
        assert!(policy.clause.is_some(), "{cohort}");
    }
    assert_eq!((set.rollout.names().as_str(), set.rollout.default.as_str()), ("direct, staged", "direct"));
    let direct = set.rollout.preset("direct").unwrap();
    assert!(
        direct.is_plain() && direct.soak == Period::ZERO && direct.in_flight.is_none() && set.rollout.in_flight_in_all.is_none()
    );
    let staged: Vec<String> =
        set.rollout.preset("staged").unwrap().waves.iter().map(|w| format!("{} {}", w.name, w.size)).collect();
    assert_eq!(staged, ["canary 0.1%", "early 1%", "wide 10%", "rest rest"]);
    assert!(set.files().iter().all(|f| f.head.version == 1 && f.head.effective_from == day("2020-11-24")));
    let reasons = Case::new().explain().into_iter().map(|f| f.reason).filter(|r| *r != Reason::CohortNotLive);
    assert!(reasons.into_iter().all(|r| e.source(r.as_str()).is_some()), "every rule names its source");
    assert!(RefusalCode::ALL.iter().all(|r| e.source(r.as_str()).is_some()), "every refusal names its source");
}

#[test]
fn codes_have_dispositions_and_an_unlisted_one_is_unknown() {
    let codes = PolicySet::compiled().response_codes;
    use Disposition::*;
    for (code, wanted) in [
        ("I0", Accepted),
        ("I99", Accepted),
        ("W110101", Accepted),
        ("E1", StopCampaign),
        ("E4", Unknown),
        ("E5", DropDevice),
        ("E13", StopCampaign),
        ("E20", RetryLater),
        ("E62", SeenAlready),
        ("E31", Unknown),
        ("E110103", Unknown),
        ("E99999", Unknown),
        ("", Unknown),
        ("i99", Unknown),
    ] {
        assert_eq!(codes.disposition(code), wanted, "{code}");
    }
    assert!(codes.entry("I99").unwrap().known && !codes.entry("E62").unwrap().known && !codes.entry("E31").unwrap().known);
    assert_eq!(codes.s1sp("S1VE1", "No PPMID KEY held"), NeedsKeys);
    assert_eq!(codes.s1sp("S1VE1", "sample"), Unknown);
    assert_eq!(codes.s1sp("S1VE2", ""), DropDevice);
    assert_eq!(codes.s1sp("S1VE3", "key"), Unknown);
}

#[test]
fn every_response_code_of_the_schema_is_listed_and_every_entry_says_where_it_was_read() {
    let codes = PolicySet::compiled().response_codes;
    assert!(codes.codes.iter().all(|(_, e)| e.source.is_some() && !e.sentence.is_empty()));
    assert!(codes.s1sp.iter().all(|e| e.entry.source.is_some()));
    let Some(schema) = crate::duis::samples::shared("schema") else { return };
    let schema = std::fs::read_to_string(schema.join("duis.xsd")).unwrap();
    let (_, of_type) = schema.split_once("<xs:simpleType name=\"ResponseCode\">").unwrap();
    let (of_type, _) = of_type.split_once("</xs:simpleType>").unwrap();
    let names: Vec<&str> = of_type.split("<xs:enumeration value=\"").skip(1).filter_map(|v| Some(v.split_once('"')?.0)).collect();
    assert!(names.len() > 150 && names.contains(&"W110401"), "the schema was not read: {names:?}");
    let unlisted: Vec<&&str> = names.iter().filter(|n| codes.entry(n).is_none()).collect();
    assert!(unlisted.is_empty(), "not in response-codes.toml: {unlisted:?}");
    let invented: Vec<&String> = codes.codes.keys().filter(|c| !names.contains(&c.as_str())).collect();
    assert!(invented.is_empty(), "not in the schema: {invented:?}");
}

#[test]
fn every_shipped_file_names_the_clauses_it_comes_from() {
    for name in PolicyName::ALL {
        let clauses = name.shipped().lines().find(|line| line.starts_with("clauses = [\""));
        assert!(clauses.is_some(), "{name}");
    }
}

#[test]
fn an_absent_folder_or_file_is_the_compiled_in_one() {
    let compiled = PolicySet::compiled();
    assert_eq!(load(Path::new("/nowhere/at/all")).unwrap(), compiled);
    let dir = folder(&[("eligibility.toml", &shipped_but(PolicyName::Eligibility, "guard_days = 5", "guard_days = 9"))]);
    let set = load(dir.path()).unwrap();
    assert_eq!((set.eligibility.guard_days, &set.rollout), (9, &compiled.rollout));
    assert_ne!(set.hash(), compiled.hash());
}

#[test]
fn a_file_may_leave_out_numbers_but_no_cohort() {
    let some = "version = 3\neffective_from = 2021-01-01\nguard_days = 0\n[cohort.IOC]\nneeds_tool_key = false\n[cohort.MDS]\nneeds_tool_key = true\n";
    let all = format!("{some}[cohort.SECURE]\nneeds_tool_key = true\n[cohort.FOC]\nneeds_tool_key = true\n");
    let dir = folder(&[("eligibility.toml", &all)]);
    let e = load(dir.path()).unwrap().eligibility;
    assert_eq!((e.guard_days, e.batch_size, e.cohorts.ioc.live_from), (0, 50_000, None));
    let dir = folder(&[("eligibility.toml", some)]);
    assert!(matches!(load(dir.path()), Err(PolicyError::MissingKey { key, .. }) if key == "cohort.SECURE"));
}

#[test]
fn init_writes_what_is_absent_and_nothing_else() {
    let dir = folder(&[("rollout.toml", "mine")]);
    let written = init(&dir.path().join("")).unwrap();
    assert_eq!(written.iter().filter(|(_, w)| !w).map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["rollout.toml"]);
    assert_eq!(fs::read_to_string(dir.path().join("rollout.toml")).unwrap(), "mine");
    fs::remove_file(dir.path().join("rollout.toml")).unwrap();
    init(dir.path()).unwrap();
    let set = load(dir.path()).unwrap();
    assert_eq!(set.hash(), PolicySet::compiled().hash(), "writing the defaults out changes nothing");
    assert!(set.files().iter().all(|f| matches!(f.origin, Origin::Folder(_))));
}

#[test]
fn a_file_counts_from_its_day_on() {
    let later = shipped_but(PolicyName::Eligibility, "effective_from = \"2020-11-24\"", "effective_from = \"2021-02-01\"")
        .replace("guard_days = 5", "guard_days = 9");
    let dir = folder(&[("eligibility.toml", &later)]);
    let loaded = PolicyFolder::load(dir.path()).unwrap();
    assert_eq!(loaded.as_of(day("2021-01-31")).eligibility.guard_days, 5);
    assert_eq!(loaded.as_of(day("2021-01-31")).hash(), PolicySet::compiled().hash());
    assert_eq!(loaded.as_of(day("2021-02-01")).eligibility.guard_days, 9);
    assert_eq!(loaded.as_of(day("2021-02-01")).hash(), load(dir.path()).unwrap().hash());
}

/// The shipped eligibility.toml with this first day and guard.
fn edition(from: &str, guard_days: i64) -> String {
    shipped_but(PolicyName::Eligibility, "effective_from = \"2020-11-24\"", &format!("effective_from = \"{from}\""))
        .replace("guard_days = 5", &format!("guard_days = {guard_days}"))
}

#[test]
fn of_several_editions_the_one_that_began_last_is_in_force() {
    let (first, second, third) = (edition("2021-02-01", 6), edition("2021-03-01", 7), edition("2027-01-15", 8));
    let dir = folder(&[
        ("eligibility.2027-01-15.toml", &third),
        ("eligibility.toml", &first),
        ("eligibility.2021-03-01.toml", &second),
    ]);
    let loaded = PolicyFolder::load(dir.path()).unwrap();
    for (on, guard) in
        [("2021-01-31", 5), ("2021-02-01", 6), ("2021-02-28", 6), ("2021-03-01", 7), ("2027-01-14", 7), ("2027-01-15", 8)]
    {
        assert_eq!(loaded.as_of(day(on)).eligibility.guard_days, guard, "{on}");
    }
    let later: Vec<String> = loaded.after(day("2021-02-10")).iter().map(|f| f.head.effective_from.to_string()).collect();
    assert_eq!(later, ["2021-03-01", "2027-01-15"]);
    let names: Vec<String> = check_files(dir.path()).into_iter().map(|(name, file)| file.map(|_| name).unwrap()).collect();
    assert_eq!(names[..3], ["eligibility.toml", "eligibility.2021-03-01.toml", "eligibility.2027-01-15.toml"]);
}

#[test]
fn an_edition_may_stand_alone_and_is_checked_before_it_begins() {
    let dir = folder(&[("eligibility.2027-01-15.toml", &edition("2027-01-15", 8))]);
    let loaded = PolicyFolder::load(dir.path()).unwrap();
    assert_eq!(loaded.as_of(day("2027-01-14")).hash(), PolicySet::compiled().hash());
    assert_eq!(loaded.as_of(day("2027-01-15")).eligibility.guard_days, 8);
    let wrong = edition("2027-01-15", 8).replace("batch_size = 50000", "batch_size = 0");
    assert!(matches!(load(folder(&[("eligibility.2027-01-15.toml", &wrong)]).path()), Err(PolicyError::Value { .. })));
}

#[test]
fn editions_that_contradict_their_names_or_each_other_are_refused() {
    let two =
        folder(&[("eligibility.toml", &edition("2027-01-15", 8)), ("eligibility.2027-01-15.toml", &edition("2027-01-15", 9))]);
    let failure = Failure::from(load(two.path()).unwrap_err());
    assert!(failure.message.ends_with("eligibility.2027-01-15.toml begins on 2027-01-15, as eligibility.toml does"), "{failure}");
    insta::assert_snapshot!(
        [
            told("eligibility.2027-01-16.toml", edition("2027-01-15", 8)),
            told("eligibility.2027-02-30.toml", edition("2027-01-15", 8)),
            told("eligibility.new.toml", edition("2027-01-15", 8)),
            told("eligible.2027-01-15.toml", edition("2027-01-15", 8)),
            told("trust.2027-01-15.toml", PolicyName::Trust.shipped()),
        ]
        .join("\n")
    );
}

#[test]
fn a_folder_is_current_until_a_file_comes_goes_or_differs() {
    let dir = folder(&[("eligibility.toml", &edition("2021-02-01", 6))]);
    let path = |name: &str| dir.path().join(name);
    let read = || PolicyFolder::load(dir.path()).unwrap();
    let mut last = read();
    assert!(last.is_current(dir.path()));
    // The same length, and at once: it is the text that counts.
    fs::write(path("eligibility.toml"), edition("2021-02-01", 7)).unwrap();
    assert!(!last.is_current(dir.path()));
    last = read();
    fs::write(path("eligibility.2021-03-01.toml"), edition("2021-03-01", 8)).unwrap();
    assert!(!last.is_current(dir.path()), "one came");
    last = read();
    fs::rename(path("eligibility.toml"), path("rollout.toml")).unwrap();
    assert!(!last.is_current(dir.path()), "one has another name");
    fs::remove_file(path("rollout.toml")).unwrap();
    assert!(!last.is_current(dir.path()), "one went");
    last = read();
    assert!(last.is_current(dir.path()));
    fs::write(path("stranger.toml"), "").unwrap();
    assert!(!last.is_current(dir.path()), "a file that is none of ours is an error, not passed over");
    assert!(PolicyFolder::load(Path::new("/nowhere/at/all")).unwrap().is_current(Path::new("/nowhere/at/all")));
}

#[test]
fn a_kept_set_reads_as_it_was() {
    let dir = folder(&[("eligibility.toml", &edition("2021-02-01", 6))]);
    let set = load(dir.path()).unwrap();
    let files: Vec<(String, String, String)> =
        set.files().iter().map(|f| (f.name.to_string(), f.text.clone(), f.origin.to_string())).collect();
    let kept = PolicySet::kept(files.iter().map(|(n, t, o)| (n.as_str(), t.as_str(), o.as_str()))).unwrap();
    assert_eq!(
        (kept.hash(), &kept.eligibility, binding(&kept, "direct")),
        (set.hash(), &set.eligibility, binding(&set, "direct"))
    );
    assert_eq!(PolicySet::kept([]).unwrap(), PolicySet::compiled(), "a file that did not exist then is the one that ships");
    assert!(PolicySet::kept([("eligibility.toml", "version = 0", "")]).is_err());
}

#[test]
fn the_hash_tells_files_and_their_borders_apart() {
    let hash = PolicySet::compiled().hash();
    assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
    for name in PolicyName::ALL {
        let dir = folder(&[(name.as_str(), &format!("{}\n# a remark\n", name.shipped()))]);
        assert_ne!(load(dir.path()).unwrap().hash(), hash, "{name}");
    }
}

/// The failure of a folder with this one file, its path cut to the name.
fn told(name: &str, text: impl AsRef<[u8]>) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), text).unwrap();
    let failure = Failure::from(load(dir.path()).expect_err(name));
    assert_eq!(failure.exit.code(), 1);
    assert!(!failure.help.is_empty() && !failure.message.contains('\n'), "{failure}");
    failure.message.replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn every_kind_of_bad_eligibility_is_named() {
    let bad = |piece, instead| told("eligibility.toml", shipped_but(PolicyName::Eligibility, piece, instead));
    let foc = "needs_tool_key = false\nclause = \"L§5\"";
    let versions = "[\"3.0\", \"3.1\", \"5.0\", \"5.1\", \"5.2\", \"5.3\", \"5.4\"]";
    insta::assert_snapshot!(
        [
            bad("guard_days = 5", "guard_days = 366"),
            bad("guard_days = 5", "guard_days = -1"),
            bad("guard_days = 5", "guard_days = \"5\""),
            bad("guard_days = 5", "guard_days = 5.0"),
            bad("guard_days = 5", "gard_days = 5"),
            bad("guard_days = 5", "guard_days = 5\nguard_days = 6"),
            bad("guard_days = 5", "guard_days ="),
            bad("batch_size = 50000", "batch_size = 50001"),
            bad("batch_size = 50000", "batch_size = 99999999999999999999"),
            bad("answer_within = \"72h\"", "answer_within = \"three days\""),
            bad("answer_within = \"72h\"", "answer_within = \"0s\""),
            bad("answer_within = \"72h\"", "answer_within = 72"),
            bad("recheck_every = \"60s\"", "recheck_every = \"\"\"\nlong\n\"\"\""),
            bad("tool_until = \"2020-11-24\"", "tool_until = \"2020-11-31\""),
            bad("tool_until = \"2020-11-24\"", "tool_until = 2020-11-24T09:00:00Z"),
            bad("cpl_upgrade_from_not_stated = \"none\"", "cpl_upgrade_from_not_stated = \"all\""),
            bad(versions, "\"3.1\""),
            bad(versions, "[]"),
            bad(versions, "[\"3.0\", 3.1]"),
            bad(versions, "[\"3.0\",\n \"three\"]"),
            bad(foc, "needs_tool_key = \"no\"\nclause = \"L§5\""),
            bad(foc, "clause = \"L§5\""),
            bad(foc, &format!("{foc}\nlive_form = \"2026-01-01\"")),
            bad(foc, &format!("{foc}\nlive_from = \"soon\"")),
            bad("[cohort.FOC]", "[cohort.foc]"),
            bad("[cohort.FOC]", "[cohort.FOC2]"),
            bad("KEYS_MISSING = \"L§13\"", "KEY_MISSING = \"L§13\""),
            bad("KEYS_MISSING = \"L§13\"", "KEYS_MISSING = 13"),
            bad("version = 1", "version = 0"),
            bad("version = 1", ""),
            bad("effective_from = \"2020-11-24\"", "effective_from = \"today\""),
            bad("clauses = [\"L§4\",", "clauses = [4,"),
        ]
        .join("\n")
    );
}

#[test]
fn every_kind_of_bad_rollout_and_response_codes_is_named() {
    let rollout = |piece, instead| told("rollout.toml", shipped_but(PolicyName::Rollout, piece, instead));
    let head = "version = 1\neffective_from = \"2020-11-24\"\n";
    let codes = |rest: &str| told("response-codes.toml", format!("{head}{rest}"));
    let good = "disposition = \"accepted\"\nsentence = \"Done.\"\n";
    insta::assert_snapshot!(
        [
            rollout("default = \"direct\"", "default = \"careful\""),
            rollout("default = \"direct\"", ""),
            rollout("[preset.direct]", "[presets.direct]"),
            rollout("waves = [\"100%\"]", "waves = [\"1%\", \"98%\"]"),
            rollout("waves = [\"100%\"]", "waves = [\"100%\", \"100%\"]"),
            rollout("waves = [\"100%\"]", "waves = [\"1.005%\", \"rest\"]"),
            rollout("waves = [\"100%\"]", "waves = []"),
            rollout("soak = \"0s\"", "soak = \"a day\""),
            rollout("max_failures = \"5%\"", "max_failures = 5"),
            rollout("max_failures = \"5%\"", "max_failure = \"5%\""),
            rollout("least_success = \"90%\"", "least_success = \"most\""),
            rollout("minimum_sample = 20", "minimum_sample = 0"),
            rollout("deadline = \"14d\"", "deadline = \"47h\""),
            rollout("exclude = []", "exclude = [\"no answer\"]"),
            rollout("name = \"early\"", "name = \"canary\""),
            rollout("name = \"early\"", "name = \"Early wave\""),
            rollout("size = \"rest\"", "size = \"50\""),
            rollout("size = \"1%\"", "size = \"rest\""),
            rollout("[[preset.staged.wave]]\nname = \"canary\"", "waves = [\"100%\"]\n[[preset.staged.wave]]\nname = \"canary\""),
            rollout("# in_flight = 20000", "in_flight = 0"),
            rollout("soak = \"0s\"", "soaks = \"0s\""),
            rollout("[preset.direct]", "[preset]\ncareful = 1\n[preset.direct]"),
            codes("code = 1"),
            codes("[code]"),
            codes(&format!("[[code]]\n{good}")),
            codes(&format!("[[code]]\ncode = \"I0\"\ncodes = [\"I1\"]\n{good}")),
            codes(&format!("[[code]]\ncodes = []\n{good}")),
            codes(&format!("[[code]]\ncode = \"E 4\"\n{good}")),
            codes(&format!("[[code]]\ncode = \"E4\"\n{good}[[code]]\ncodes = [\"E5\", \"E4\"]\n{good}")),
            codes("[[code]]\ncode = \"E4\"\ndisposition = \"ignore\"\nsentence = \"No.\""),
            codes("[[code]]\ncode = \"E4\"\ndisposition = \"unknown\""),
            codes("[[code]]\ncode = \"E4\"\ndisposition = \"unknown\"\nsentence = \" \""),
            codes(&format!("[[code]]\ncode = \"E4\"\n{good}known = \"?\"")),
            codes(&format!("[[s1sp]]\n{good}")),
            codes(&format!("[[s1sp]]\ncode = \"S1VE1\"\ntext = \"key\"\n{good}")),
            codes(&format!("[[s1sp]]\ncode = \"S1VE1\"\ntext_contains = \"\"\n{good}")),
        ]
        .join("\n")
    );
}

#[test]
fn every_kind_of_bad_timetable_is_named() {
    let bad = |piece: &str, instead: &str| {
        let text = PolicyName::Retry.shipped();
        assert!(text.contains(piece), "{piece}");
        told("retry.toml", text.replacen(piece, instead, 1))
    };
    insta::assert_snapshot!(
        [
            bad("resubmit = false", "resubmit = \"yes\""),
            bad("hold_campaign = false", "hold_campaign = 1"),
            bad("budget_per_hour = 2000", "budget_per_hour = 0"),
            bad("answer_within = \"14d\"", "answer_within = \"0d\""),
            bad("expected_share = \"0.3%\"", "expected_share = 0.003"),
            bad("\"replaced device\",", "\"HAN errors\","),
            bad("name = \"other\"", "name = \"communications\""),
            bad("name = \"other\"", "name = \"other\"\nerror = [\"han\"]"),
            bad("name = \"communications\"", "name = \"communications\"\ncohorts = [\"MOC\"]"),
            bad("first_delay = \"24h\"", "first_delay = \"8d\""),
            bad("factor = 2", "factor = 0"),
            bad("jitter = \"10%\"", "jitter = 10"),
            bad("windows = []", "windows = [\"20-06\"]"),
            bad("most_attempts = 12", "attempts = 12"),
            bad("oldest_age = \"120d\"", ""),
            bad("[[rule]]", "[rule]"),
            told("retry.toml", "version = 1\neffective_from = \"2020-11-24\"\nbudget_per_hour = 1\nanswer_within = \"1d\"\nexpected_share = \"1%\"\nalarm_chance = \"1%\"\nclosing_reasons = []\n"),
        ]
        .join("\n")
    );
}

#[test]
fn files_that_are_no_text_or_not_ours_are_named() {
    let mut not_utf8 = b"version = 1\n# ".to_vec();
    not_utf8.extend([0xFF, 0xFE]);
    insta::assert_snapshot!(
        [
            told("eligibility.toml", not_utf8),
            told("eligibility.toml", ""),
            told("eligibility.toml", "version: 1"),
            told("eligibility.toml", "[".repeat(100_000)),
            told("rollout.toml", "#".repeat(2 << 20)),
            told("eligibilty.toml", PolicyName::Eligibility.shipped()),
            told("trust.toml", "version = 1\nthreshold = 1\n"),
        ]
        .join("\n")
    );
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("policies"), "a file, not a folder").unwrap();
    let failure = Failure::from(load(&dir.path().join("policies")).unwrap_err());
    assert!(failure.message.contains("cannot read"), "{failure}");
    let failure = Failure::from(init(&dir.path().join("policies")).unwrap_err());
    assert!(failure.message.contains("cannot write") && failure.exit.code() == 1, "{failure}");
    fs::create_dir_all(dir.path().join("p/eligibility.toml")).unwrap();
    let failure = Failure::from(load(&dir.path().join("p")).unwrap_err());
    assert!(failure.message.contains("cannot read"), "{failure}");
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_change_no_meaning() {
    let text = format!("\u{feff}{}", PolicyName::Eligibility.shipped().replace('\n', "\r\n"));
    let dir = folder(&[("eligibility.toml", &text)]);
    assert_eq!(load(dir.path()).unwrap().eligibility, PolicySet::compiled().eligibility);
    let wrong = text.replace("guard_days = 5", "guard_days = x");
    assert!(told("eligibility.toml", wrong).contains("line 15"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(head: bool, text in "(version|code|preset|cohort|\\[|\\]|\\.|=|\"|1|\n|[a-z]|§){0,40}") {
        let text = if head { format!("version = 1\neffective_from = \"2020-11-24\"\n{text}") } else { text };
        for name in PolicyName::ALL {
            let dir = folder(&[(name.as_str(), &text)]);
            let _ = load(dir.path());
        }
    }
}
