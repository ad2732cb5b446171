//! `steps.toml`: which row speaks for a device, held against a reading of the same rows by hand; and every way it may be wrong.

use proptest::prelude::*;

use super::*;
use crate::failure::Failure;

const HEAD: &str = "version = 1\neffective_from = \"2020-11-24\"\n";

fn load(text: &str) -> Result<Steps, PolicyError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("steps.toml"), format!("{HEAD}{text}")).unwrap();
    PolicyFolder::load(dir.path()).map(|folder| folder.as_of(day("2026-11-26")).steps)
}

#[test]
fn as_shipped_every_upgrade_is_one_step_and_waits_as_long_as_before() {
    let steps = compiled().steps;
    for cohort in Cohort::ALL {
        let of = steps.steps_of(*cohort, "106C", "433100AC", 0x0101);
        assert_eq!((&of.steps[..], of.read(), of.answer_within), (&[UpgradeStep::Update][..], None, None));
        assert_eq!(of.from, StepsFrom::Default(*cohort));
    }
    assert!(!steps.reads_any() && steps.deadlines().is_empty() && steps.shortest().is_none());
    assert_eq!((steps.reads_per_minute, steps.reads_in_flight), (60, 200));
}

#[test]
fn the_row_that_says_most_counts_and_takes_the_rest_from_the_one_that_says_less() {
    let steps = load(
        "[default.IOC]\nsteps = [\"update\"]\nanswer_within = \"14d\"\nread_within = \"4d\"\n\
         [[model]]\nmanufacturer = \"M\"\nmodel = \"A\"\nsteps = [\"update\", \"read-inventory\"]\nanswer_within = \"5d\"\n\
         [[model]]\nmanufacturer = \"M\"\nmodel = \"A\"\nhardware_version = \"010a\"\nsteps = [\"update\", \"read-version\"]\nread_within = \"1h\"\n",
    )
    .unwrap();
    let told = |cohort, model, hardware| {
        let of = steps.steps_of(cohort, "M", model, hardware);
        let answer_within = of.answer_within.map(|p| p.to_string()).unwrap_or_default();
        format!("{} {answer_within} {} {}", of.steps.last().unwrap(), of.read_within, of.from)
    };
    assert_eq!(told(Cohort::Ioc, "A", 0x010A), "read-version 120h 1h steps.toml, model M A hardware 010A");
    assert_eq!(told(Cohort::Ioc, "A", 0x0101), "read-inventory 120h 96h steps.toml, model M A");
    assert_eq!(told(Cohort::Mds, "A", 0x0101), "read-inventory 120h 48h steps.toml, model M A");
    assert_eq!(told(Cohort::Ioc, "a", 0x0101), "update 336h 96h steps.toml, default.IOC");
    assert_eq!(told(Cohort::Mds, "B", 0x0101), "update  48h steps.toml, which has no default.MDS");
    assert_eq!(steps.shortest().unwrap().to_string(), "1h");
}

#[test]
fn what_follows_from_silence_is_taken_from_the_row_that_says_most() {
    let steps = load(
        "[default.IOC]\nsteps = [\"update\"]\nsilent = [\"read-inventory\"]\nask_within = \"6h\"\nretries = 2\n\
         [default.MDS]\nsteps = [\"update\"]\nanswer_within = \"16h\"\nsilent = [\"read-version\"]\n\
         [[model]]\nmanufacturer = \"M\"\nmodel = \"A\"\nsteps = [\"update\"]\nsilent = [\"read-inventory\", \"read-version\"]\nretry_after = \"2h\"\n\
         [[model]]\nmanufacturer = \"M\"\nmodel = \"A\"\nhardware_version = \"0002\"\nsteps = [\"update\"]\nsilent = []\nretries = 0\n",
    )
    .unwrap();
    let told = |cohort, model, hardware| {
        let of = steps.steps_of(cohort, "M", model, hardware);
        let asks: Vec<&str> = of.silent.iter().map(|s| s.as_str()).collect();
        format!("{} {} {} {}", asks.join("+"), of.ask_within("72h".parse().unwrap()), of.retries, of.retry_after)
    };
    assert_eq!(told(Cohort::Ioc, "B", 1), "read-inventory 6h 2 24h");
    assert_eq!(told(Cohort::Ioc, "A", 1), "read-inventory+read-version 6h 2 2h");
    assert_eq!(told(Cohort::Ioc, "A", 2), " 6h 0 2h");
    assert_eq!(told(Cohort::Mds, "B", 1), "read-version 2h 0 24h", "an eighth of its own answer_within");
    assert_eq!(told(Cohort::Secure, "B", 1), " 9h 0 24h", "an eighth of eligibility.toml's");
    assert!(steps.asks_any() && steps.shortest().unwrap().to_string() == "6h");
}

#[test]
fn what_follows_from_silence_binds_an_approval() {
    let set = |text: &str| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("steps.toml"), format!("{HEAD}[default.IOC]\nsteps = [\"update\"]\n{text}")).unwrap();
        binding(&PolicyFolder::load(dir.path()).unwrap().as_of(day("2026-11-26")), "direct")
    };
    let without = set("");
    for text in ["silent = []", "silent = [\"read-inventory\"]", "ask_within = \"1h\"", "retries = 1", "retry_after = \"1h\""] {
        assert_ne!(set(text), without, "{text}");
    }
    assert_eq!(set("read_within = \"1h\""), without);
}

#[test]
fn every_kind_of_bad_steps_is_named() {
    let told = |text: &str| Failure::from(load(text).unwrap_err()).message.rsplit('/').next().unwrap().to_string();
    let model = |rest: &str| told(&format!("[[model]]\nmanufacturer = \"106C\"\n{rest}"));
    let update = "steps = [\"update\"]\n";
    insta::assert_snapshot!(
        [
            told("reads_per_minute = 0"),
            told("reads_in_flight = \"many\""),
            told("reads_per_hour = 1"),
            told("[default.ioc]\nsteps = [\"update\"]"),
            told("[default.IOC]\nanswer_within = \"1h\""),
            told("[default.IOC]\nsteps = \"update\""),
            told("[default.IOC]\nsteps = []"),
            told("[default.IOC]\nsteps = [\"update\", \"activate\"]"),
            told("[default.IOC]\nsteps = [\"read-version\"]"),
            told("[default.IOC]\nsteps = [\"update\", \"update\"]"),
            told("[default.IOC]\nsteps = [\"update\", \"read-version\", \"read-inventory\"]"),
            told("[default.IOC]\nsteps = [\"update\"]\nanswer_within = \"0s\""),
            told("[default.IOC]\nsteps = [\"update\"]\nread_within = \"two days\""),
            told("[default.IOC]\nsteps = [\"update\"]\nretry = 2"),
            told("[default.IOC]\nsteps = [\"update\"]\nsilent = [\"update\"]"),
            told("[default.IOC]\nsteps = [\"update\"]\nsilent = [\"read-version\", \"read-inventory\"]"),
            told("[default.IOC]\nsteps = [\"update\"]\nsilent = [\"read-inventory\", \"read-inventory\"]"),
            told("[default.IOC]\nsteps = [\"update\"]\nask_within = \"0s\""),
            told("[default.IOC]\nsteps = [\"update\"]\nretries = 6"),
            told("[default.IOC]\nsteps = [\"update\"]\nsilent = []\nretries = 1"),
            told("[default.IOC]\nsteps = [\"update\"]\nretry_after = \"soon\""),
            model(update),
            model(&format!("model = \"\"\n{update}")),
            model(&format!("model = \"A\"\nhardware_version = \"1\"\n{update}")),
            model(&format!("model = \"A\"\ncohort = \"IOC\"\n{update}")),
            model(&format!("model = \"A\"\n{update}read_within = \"1h\"\n")),
            model(&format!("model = \"A\"\n{update}[[model]]\nmanufacturer = \"106C\"\nmodel = \"A\"\n{update}")),
            model(&format!(
                "model = \"A\"\nhardware_version = \"010a\"\n{update}[[model]]\nmanufacturer = \"106C\"\nmodel = \"A\"\nhardware_version = \"010A\"\n{update}"
            )),
        ]
        .join("\n")
    );
}

/// A row as a test makes it up: which devices, its read, its two times in hours.
#[derive(Debug, Clone)]
struct Made {
    /// `None`: the default of a cohort.
    model: Option<(&'static str, &'static str, Option<u16>)>,
    cohort: Cohort,
    read: Option<ReadStep>,
    answer: Option<i64>,
    within: Option<i64>,
}

fn made() -> impl Strategy<Value = Made> {
    let hardware = prop::option::of(1u16..3);
    let model = prop::option::of((prop::sample::select(vec!["M", "N"]), prop::sample::select(vec!["A", "B"]), hardware));
    let read = prop::option::of(prop::sample::select(ReadStep::ALL));
    (model, prop::sample::select(Cohort::ALL), read, prop::option::of(1i64..50), prop::option::of(1i64..50)).prop_map(
        |(model, cohort, read, answer, within)| {
            // A model that is not read has no time for it.
            let within = within.filter(|_| model.is_none() || read.is_some());
            Made { model, cohort, read, answer, within }
        },
    )
}

fn text_of(rows: &[Made]) -> String {
    rows.iter().fold(String::new(), |text, row| {
        let head = match row.model {
            None => format!("[default.{}]\n", row.cohort),
            Some((manufacturer, model, None)) => format!("[[model]]\nmanufacturer = \"{manufacturer}\"\nmodel = \"{model}\"\n"),
            Some((manufacturer, model, Some(hardware))) => format!(
                "[[model]]\nmanufacturer = \"{manufacturer}\"\nmodel = \"{model}\"\nhardware_version = \"{hardware:04x}\"\n"
            ),
        };
        let read = row.read.map(|r| format!(", \"{r}\"")).unwrap_or_default();
        let hours = |key: &str, n: Option<i64>| n.map(|n| format!("{key} = \"{n}h\"\n")).unwrap_or_default();
        text + &head
            + &format!("steps = [\"update\"{read}]\n")
            + &hours("answer_within", row.answer)
            + &hours("read_within", row.within)
    })
}

/// How much a row says about a device; `None`: it is not about it.
fn weight(row: &Made, cohort: Cohort, manufacturer: &str, model: &str, hardware: u16) -> Option<u8> {
    match row.model {
        None => (row.cohort == cohort).then_some(1),
        Some((m, a, _)) if (m, a) != (manufacturer, model) => None,
        Some((_, _, None)) => Some(2),
        Some((_, _, Some(h))) => (h == hardware).then_some(3),
    }
}

proptest! {
    /// Whatever the rows and their order: one answer for each device, the one of a reading by hand, and the set-based deadlines agree.
    #[test]
    fn rows_speak_by_what_they_say_and_not_by_their_order(rows in prop::collection::vec(made(), 0..8)) {
        let mut kept: Vec<Made> = Vec::new();
        for row in rows {
            let same = |k: &Made| k.model == row.model && (row.model.is_some() || k.cohort == row.cohort);
            if !kept.iter().any(same) { kept.push(row); }
        }
        let steps = load(&text_of(&kept)).unwrap();
        for cohort in Cohort::ALL {
            for (manufacturer, model, hardware) in [("M", "A", 1), ("M", "A", 2), ("M", "B", 1), ("N", "A", 9)] {
                let mut about: Vec<(u8, &Made)> =
                    kept.iter().filter_map(|r| Some((weight(r, *cohort, manufacturer, model, hardware)?, r))).collect();
                about.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
                let of = steps.steps_of(*cohort, manufacturer, model, hardware);
                prop_assert_eq!(of.read(), about.first().and_then(|(_, r)| r.read));
                let hours = |p: Period| p.millis() / 3_600_000;
                prop_assert_eq!(of.answer_within.map(hours), about.iter().find_map(|(_, r)| r.answer));
                prop_assert_eq!(hours(of.read_within), about.iter().find_map(|(_, r)| r.within).unwrap_or(48));
                let mut by_statement = steps.deadlines().into_iter().filter(|(whose, _)| match whose {
                    DeadlineFor::Cohort(c) => c == cohort,
                    DeadlineFor::Model(k) => (k.manufacturer.as_str(), k.model.as_str()) == (manufacturer, model)
                        && k.hardware_version.is_none_or(|h| h == hardware),
                });
                prop_assert_eq!(by_statement.next_back().map(|(_, p)| p), of.answer_within);
            }
        }
    }
}
