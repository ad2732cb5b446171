//! `notify.toml`: what ships names nobody, a good one is read, and every kind of bad one is named.

use super::super::{
    files::{Origin, parse_file},
    *,
};
use crate::failure::Failure;

const TEAM: &str = "[[team]]\nname = \"incident\"\nmpid = \"EELC\"\nurl = \"https://hooks.example/ppmid\"\nca = \"file:ca.pem\"\nsecret = \"file:notify.secret\"\nevents = [\"alarm\", \"case-opened\"]\n";

fn read(rest: &str) -> Result<Notify, Failure> {
    let text = format!("version = 1\neffective_from = \"2020-11-24\"\n{rest}");
    match parse_file(PolicyName::Notify, text, Origin::Kept("a test".into()))?.content {
        Content::Notify(notify) => Ok(*notify),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_ships_names_nobody_and_its_example_is_right() {
    let shipped = PolicySet::compiled().notify;
    assert_eq!((shipped.teams.len(), shipped.timeout.millis(), shipped.give_up_after.millis()), (0, 10_000, 72 * 3_600_000));
    let example: String = PolicyName::Notify
        .shipped()
        .lines()
        .skip_while(|l| *l != "# [[team]]")
        .take_while(|l| *l != "#")
        .map(|l| format!("{}\n", &l[2..]))
        .collect();
    assert_eq!(read(&example).unwrap().teams[0].events, NotifyKind::ALL);
}

#[test]
fn a_team_is_read_and_shown_without_its_secret() {
    let notify = read(&format!("timeout = \"3s\"\n{TEAM}")).unwrap();
    let team = &notify.teams[0];
    assert_eq!((team.mpid.as_str(), team.secret.0.as_str()), ("EELC", "notify.secret"));
    assert_eq!(team.events, [NotifyKind::Alarm, NotifyKind::CaseOpened]);
    let shown = serde_json::to_value(&notify).unwrap();
    assert_eq!((&shown["team"][0]["secret"], &shown["timeout"]), (&"file:notify.secret".into(), &"3s".into()));
}

#[test]
fn every_kind_of_bad_notify_is_named() {
    let bad = |piece: &str, instead: &str| {
        assert!(TEAM.contains(piece), "{piece}");
        read(&TEAM.replace(piece, instead)).unwrap_err().message
    };
    let many: String = (0..=TEAMS_MAX).map(|n| TEAM.replace("incident", &format!("team-{n}"))).collect();
    insta::assert_snapshot!(
        [
            bad("name = \"incident\"\n", ""),
            bad("\"incident\"", "\"incident desk\""),
            bad("\"EELC\"", "\"EEL\""),
            bad("https://hooks", "ftp://hooks"),
            bad("https://hooks", "http://hooks"),
            bad("ca = \"file:ca.pem\"\n", ""),
            bad("\"file:notify.secret\"", "\"hunter2\""),
            bad("\"file:notify.secret\"", "\"file: \""),
            bad("events = [\"alarm\", \"case-opened\"]\n", ""),
            bad("\"case-opened\"", "\"case-closed\""),
            bad("events", "event"),
            read(&format!("{TEAM}{TEAM}")).unwrap_err().message,
            read(&many).unwrap_err().message,
            read("timeout = \"1ms\"").unwrap_err().message,
            read("give_up_after = \"31d\"").unwrap_err().message,
            read("team = 1").unwrap_err().message,
        ]
        .join("\n")
    );
}

#[test]
fn who_is_told_voids_no_approval() {
    let text = format!("version = 2\neffective_from = \"2020-11-24\"\n{TEAM}");
    let other = PolicySet::kept([("notify.toml", text.as_str(), "a test")]).unwrap();
    let changes = changes(&PolicySet::compiled(), &other, None);
    assert!(!changes.is_empty() && changes.iter().all(|c| !c.matters), "{changes:?}");
    assert_eq!(binding(&PolicySet::compiled(), "direct"), binding(&other, "direct"));
}
