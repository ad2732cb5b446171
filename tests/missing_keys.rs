//! The incident team at work, through the program: what it lists, does and reports.

use serde_json::json;

use crate::{
    harness::assert_polite,
    lab::{Engine, Lab, Site, on_both_engines},
};

on_both_engines!(
    the_incident_team_works_through_its_cases,
    a_report_adds_up_on_every_day,
    what_is_due_and_is_not_asked_for_is_said
);

fn list(lab: &Lab, args: &[&str]) -> Vec<String> {
    let text = lab.done(&[&["keys", "list", "--output", "csv"], args].concat());
    text.lines().skip(1).filter_map(|l| l.split(',').next()).map(str::to_string).collect()
}

async fn the_incident_team_works_through_its_cases(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    lab.load_eligible(6);
    let failed: Vec<(u64, &str)> = (1..=4).map(|n| (n, "failed")).chain([(5, "investigating")]).collect();
    lab.write_keys("failed.csv", "2020-11-12T08:00:00Z", &failed);
    lab.done(&["import", "keys", "failed.csv"]);
    let head = lab.done(&["keys", "list", "--output", "csv"]).lines().next().unwrap().to_string();
    assert_eq!(head, "device_id,mpan,cohort,state,attempts,first_seen,last_attempt,next_attempt,last_error,incident");
    assert_eq!(list(&lab, &["--state", "retrying", "--sort", "next_attempt"]).len(), 4);
    assert_eq!(list(&lab, &["--descending", "--limit", "1"]), [Site::device(5)]);

    // Page by page, each begins where the one before says that it ended.
    let all = list(&lab, &["--sort", "first_seen", "--descending"]);
    let (mut paged, mut after) = (Vec::new(), None::<String>);
    loop {
        let from = after.iter().flat_map(|after| ["--after", after.as_str()]);
        let args = ["keys", "list", "--output", "csv", "--sort", "first_seen", "--descending", "--limit", "2"];
        let page = lab.run(&args.into_iter().chain(from).collect::<Vec<_>>());
        assert_eq!(page.code, 0, "{page:?}");
        paged.extend(page.out.lines().skip(1).filter_map(|l| l.split(',').next()).map(str::to_string));
        match page.err.lines().find_map(|l| l.strip_prefix("there may be more: --after ")) {
            Some(next) => after = Some(next.to_string()),
            None => break,
        }
    }
    assert_eq!((paged, all.len()), (all.clone(), 5));

    // What is due goes on one request, and once.
    assert_eq!(lab.done(&["keys", "request", "--dry-run"]).lines().count(), 5);
    assert_eq!(lab.done(&["keys", "request", "--out", "rerun.csv"]).trim(), "rerun.csv");
    let written = std::fs::read_to_string(lab.folder.path().join("rerun.csv")).unwrap();
    assert_eq!(
        written.lines().next(),
        Some("request,device_id,mpan,cohort,attempts,first_seen,last_attempt,last_error,incident")
    );
    assert_eq!(written.lines().count(), 5);
    let again = lab.run(&["keys", "request"]);
    assert!(again.code == 0 && again.err.contains("nothing is due"), "{again:?}");
    lab.done(&["keys", "retry", &Site::device(5)]);
    let taken = lab.run(&["keys", "request", "--out", "rerun.csv"]);
    assert_eq!(taken.code, 1, "a file is not written over");
    assert_polite(&taken);
    assert_eq!(lab.done(&["keys", "request"]).lines().count(), 2, "so nothing was asked for, and it is still due");
    assert_eq!(lab.done(&["keys", "request", "--again", "1"]), written);

    // One at a time needs no count, more than one does.
    let two = [Site::device(1), Site::device(2)].join("\n");
    lab.folder.write("two.txt", two);
    let escalate = ["keys", "escalate", "--devices", "two.txt", "--incident", "INC0012345", "--to", "metering"];
    let refused = lab.run(&escalate);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("help: to do it to all of them: --yes 2"), "{}", refused.err);
    assert_polite(&refused);
    assert!(lab.done(&[&escalate[..], &["--dry-run"]].concat()).starts_with("escalate: would be done to 2 cases\n"));
    lab.done(&[&escalate[..], &["--yes", "2"]].concat());
    assert_eq!(list(&lab, &["--incident", "INC0012345"]), [Site::device(1), Site::device(2)]);
    lab.done(&["keys", "assign", "--incident", "INC0012345", "--to", "jane", "--yes", "2"]);
    lab.done(&["keys", "note", &Site::device(1), "--note", "customer away until June"]);
    assert_eq!(list(&lab, &["--text", "until june", "--assignee", "jane"]), [Site::device(1)]);
    let long = "x".repeat(41);
    for wrong in [
        &["keys", "escalate", &Site::device(1), "--incident", &long, "--to", "metering"][..],
        &["keys", "close", &Site::device(1), "--reason", "no idea"],
        &["keys", "close", "--reason", "HAN errors"],
        &["keys", "list", "--cohort", "MOC"],
        &["keys", "list", "--sort", "colour"],
        &["keys", "list", "--after", "42"],
        &["keys", "list", "--after", "9223372036854775808:1"],
        &["keys", "list", "--output", "html"],
        &["keys", "report", "--as-of", "2020-11-01", "--since", "2020-11-02"],
    ] {
        let ran = lab.run(wrong);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{wrong:?}: {ran:?}");
        assert_polite(&ran);
    }

    // Endings.
    lab.done(&["keys", "close", &Site::device(1), "--reason", "replaced device"]);
    let done = lab.json(&["keys", "resolve", &Site::device(2), "--reason", "DCC said so by telephone"]);
    assert_eq!((&done["cases"], &done["verb"]), (&json!(1), &json!("resolve")));
    let part = lab.run(&["keys", "resolve", &Site::device(2), &Site::device(3), "--reason", "the same"]);
    assert_eq!(part.code, 5, "{part:?}");
    assert_polite(&part);
    lab.done(&["keys", "reopen", &Site::device(2), "--reason", "the display still has no key"]);
    let shown = lab.json(&["keys", "show", &Site::device(2)]);
    let cases = shown["cases"].as_array().unwrap();
    assert_eq!((cases.len(), &cases[1]["previous"], &cases[1]["state"]), (2, &cases[0]["case"], &json!("retrying")));
    let outcome: Vec<&str> = shown["requests"].as_array().unwrap().iter().filter_map(|r| r["outcome"].as_str()).collect();
    assert_eq!(outcome, ["updated"], "said by hand, the re-run is answered");
    let text = lab.done(&["keys", "show", &Site::device(1)]);
    for word in [
        "escalate",
        "INC0012345 to metering",
        "assign",
        "customer away until June",
        "close",
        "replaced device",
        "re-run request 1: withdrawn",
        "registered  EELC from",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    assert!(lab.json(&["keys", "show", &Site::device(1)])["history"].is_array());
    let nobodys = lab.json(&["keys", "list", "--open", "--incident", "", "--team", "", "--older-than", "0d"]);
    assert_eq!(nobodys.as_array().map(Vec::len), Some(2), "{nobodys}");
    assert_eq!(lab.json(&["keys", "list", "--older-than", "3000d"]), json!([]));
    let stats = lab.json(&["keys", "stats"]);
    assert_eq!(stats["cases"], json!({"retrying": 2, "investigating": 1, "resolved": 2, "closed": 1}));
    assert_eq!((&stats["handled_by_the_tool"], &stats["open"]), (&json!(6), &json!(3)));
    let trail = lab.done(&["audit", "list", "--output", "csv"]);
    for action in
        ["keys.request", "keys.retry", "keys.escalate", "keys.assign", "keys.note", "keys.close", "keys.resolve", "keys.reopen"]
    {
        assert!(trail.contains(action), "{action} is not in the trail");
    }
    lab.done(&["audit", "verify"]);
}

async fn a_report_adds_up_on_every_day(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    lab.load_eligible(9);
    for (day, rows) in [
        ("2020-11-11", &[(1, "failed"), (2, "failed"), (3, "investigating")][..]),
        ("2020-11-13", &[(1, "updated"), (4, "failed")]),
        ("2020-11-15", &[(2, "investigating"), (1, "failed")]),
        ("2020-11-17", &[(1, "updated"), (2, "updated"), (5, "failed")]),
    ] {
        lab.write_keys("more.csv", &format!("{day}T08:00:00Z"), rows);
        lab.done(&["import", "keys", "more.csv"]);
    }
    let mut days = String::new();
    for day in 9..=18 {
        let report = lab.json(&["keys", "report", "--as-of", &format!("2020-11-{day:02}")]);
        let n = |key: &str| report[key].as_i64().unwrap();
        assert_eq!(n("failed"), n("retrying") + n("investigating") + n("resolved") + n("closed"), "{report}");
        days += &format!(
            "{day:02}: handled {}, failed {}, retrying {}, investigating {}, resolved {}\n",
            n("handled"),
            n("failed"),
            n("retrying"),
            n("investigating"),
            n("resolved")
        );
    }
    insta::assert_snapshot!("the_report_day_by_day", days);
    let report = ["keys", "report", "--as-of", "2020-11-18", "--since", "2020-11-14"];
    insta::assert_snapshot!("the_report", lab.done(&report));
    insta::assert_snapshot!("the_report_as_csv", lab.done(&[&report[..], &["--output", "csv"]].concat()));
    let html = lab.done(&[&report[..], &["--output", "html"]].concat());
    assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>") && !html.contains("<script"), "{html}");
}

async fn what_is_due_and_is_not_asked_for_is_said(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    lab.load_eligible(2);
    // The third is loaded nowhere.
    lab.write_keys("failed.csv", "2020-11-12T08:00:00Z", &[(1, "failed"), (2, "failed"), (3, "failed")]);
    lab.done(&["import", "keys", "failed.csv"]);
    let shipped = include_str!("../policies/retry.toml");
    assert!(shipped.contains("budget_per_hour = 2000"));
    lab.folder.write("policies/retry.toml", shipped.replace("budget_per_hour = 2000", "budget_per_hour = 1"));
    let made = lab.run(&["keys", "request", "--out", "one.csv"]);
    assert!(made.code == 0 && made.err.contains("1 more are due whose sites are not ours today, or not loaded"), "{made:?}");
    assert!(made.err.contains("more are due: budget_per_hour"), "{made:?}");
    let spent = lab.run(&["keys", "request"]);
    assert!(spent.code == 0 && spent.err.contains("is used up for now") && !spent.err.contains("nothing is due"), "{spent:?}");
    let refused = lab.run(&["keys", "retry", &Site::device(3)]);
    assert!(refused.code == 1 && refused.err.contains("not ours today, or not loaded"), "{refused:?}");
    let written = std::fs::read_to_string(lab.folder.path().join("one.csv")).unwrap();
    let asked = written.lines().nth(1).and_then(|line| line.split(',').nth(1)).unwrap();
    lab.done(&["keys", "resolve", asked, "--reason", "DCC said so by telephone"]);
    let again = lab.run(&["keys", "request", "--again", "1"]);
    assert!(again.code == 1 && again.out.is_empty() && again.err.contains("all its cases have ended"), "{again:?}");
    assert_polite(&again);
}
