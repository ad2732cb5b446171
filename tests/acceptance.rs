//! The contract, as somebody reads it who knows nothing else of the program: what every command owes whoever calls it.

use crate::{
    harness::{Folder, Ran, assert_polite},
    lab::{Engine, Lab, PATIENCE, on_both_engines, until},
};

/// Every command that there is, by walking the help texts from the top.
fn leaves(folder: &Folder, path: &mut Vec<String>, found: &mut Vec<(String, String)>) {
    let args: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
    let help = folder.done(&args);
    let Some((_, commands)) = help.split_once("\nCommands:\n") else {
        return found.push((path.join(" "), help));
    };
    let commands = commands.split("\n\n").next().unwrap_or_default();
    for line in commands.lines().filter(|l| l.starts_with("  ") && !l.starts_with("   ")) {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        assert!(words.next().is_some(), "`{}` does not say what `{name}` is for:\n{help}", path.join(" "));
        if name != "help" {
            path.push(name.to_string());
            leaves(folder, path, found);
            path.pop();
        }
    }
}

#[test]
fn every_command_says_what_it_is_for_and_shows_an_example() {
    let folder = Folder::new();
    let mut found = Vec::new();
    leaves(&folder, &mut Vec::new(), &mut found);
    assert!(found.len() > 25, "{found:?}");
    for (command, help) in found {
        let program = format!("  ppmid {command}");
        assert!(help.contains("Example") && help.contains(&program), "`{command}` shows no example:\n{help}");
    }
}

fn wrong_usage(ran: &Ran) {
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert_polite(ran);
}

#[test]
fn wrong_usage_is_one_error_line_and_what_to_do() {
    let folder = Folder::new();
    for args in [
        &["no-such-command"][..],
        &["import", "sites"],
        &["import", "meters", "meters.csv"],
        &["import", "sites", "sites.csv", "--replace"],
        &["keys", "list", "--as-of", "2020-11-24"],
        &["keys", "list", "--state", "lost"],
        &["campaign", "targets", "1", "--state", "lost"],
        &["campaign", "create", "--name", "spring", "--image", "zz"],
        &["campaign", "create", "--name", "spring", "--image", &"ab".repeat(32), "--cohort", "XYZ"],
        &["campaign", "create", "--name", "", "--image", &"ab".repeat(32)],
        &["campaign", "plan", "1", "--as-of", "tomorrow"],
        &["halt"],
        &["halt", "--all"],
        &["db", "status", "--output", "xml"],
    ] {
        wrong_usage(&folder.run(args));
    }
}

on_both_engines!(who_waits_for_another_campaign_joins_when_that_one_ends);

/// Nothing else makes the daemon look again: no import, and the period is a day.
async fn who_waits_for_another_campaign_joins_when_that_one_ends(engine: Engine) {
    const SITES: u64 = 4;
    let Some(lab) = Lab::new(engine).await else { return };
    lab.done(&["policy", "init"]);
    let policy = lab.folder.path().join("policies/eligibility.toml");
    let text = std::fs::read_to_string(&policy).unwrap();
    assert!(text.contains("recheck_every = \"60s\""));
    std::fs::write(&policy, text.replace("recheck_every = \"60s\"", "recheck_every = \"1d\"")).unwrap();
    let image = lab.load_eligible(SITES);
    lab.start_campaign("first", &image, SITES);
    lab.start_campaign("second", &image, SITES);
    let held = lab.targets("second").into_iter().map(|[_, state, reason, ..]| format!("{state} {reason}"));
    assert_eq!(held.collect::<Vec<_>>(), ["held OTHER_CAMPAIGN_IN_PROGRESS"; SITES as usize]);
    let _dcc = lab.simulator("[population]\nactivation_fails = { share = \"100%\" }\n[delays]\nactivated_ms = [1, 50]\n").await;
    let serve = lab.serve();
    for campaign in ["first", "second"] {
        let failed = || lab.status(campaign)["by_state"]["failed"].as_u64() == Some(SITES);
        until("DCC's word that each failed", PATIENCE, || failed().then_some(()));
    }
    serve.terminate();
}
