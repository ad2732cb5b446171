//! Housekeeping commands, and the manners all commands share: exit codes, `error:` and `help:` lines, pipes.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use crate::harness::{Folder, assert_polite, ran};

#[test]
fn db_status_looks_and_db_migrate_makes() {
    let folder = Folder::new();
    let status = folder.run(&["db", "status"]);
    let pending = ppmid_orchestrator::db::pending_steps();
    let lines: Vec<Vec<&str>> = status.out.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!((status.code, &lines[0][..], &lines[1][..]), (0, &["STEP", "NAME", "STATE"][..], &["1", "first", "pending"][..]));
    assert_eq!(lines.len(), 1 + pending.len());
    assert!(status.err.contains("no database"), "{}", status.err);
    assert!(!folder.path().join("ppmid.db").exists(), "status makes nothing");
    let applied: String = pending.iter().map(|s| format!("{},{},applied\n", s.step, s.name)).collect();
    assert_eq!(folder.done(&["db", "migrate", "--output", "csv"]), format!("step,name,state\n{applied}"));
    assert!(folder.path().join("ppmid.db").exists());
    let json: serde_json::Value = serde_json::from_str(&folder.done(&["--output", "json", "db", "status"])).unwrap();
    assert_eq!(json[0]["state"], "applied");
    assert_eq!(folder.run(&["db", "migrate"]).code, 0, "again changes nothing");
}

#[tokio::test]
async fn a_postgresql_database_is_migrated_and_shown() {
    let Some(made) = ppmid_orchestrator::db::testing::postgres().await else { return };
    made.db.close().await;
    let server = std::env::var(ppmid_orchestrator::db::testing::POSTGRES_ENV).expect("there is a server");
    let url = ppmid_orchestrator::db::testing::fresh_postgres_url(&server).await;
    let folder = Folder::new();
    assert!(folder.done(&["db", "status", "--database-url", &url]).contains("pending"));
    assert!(folder.done(&["db", "migrate", "--database-url", &url]).contains("applied"));
    assert!(folder.done(&["db", "status", "--database-url", &url]).contains("applied"));
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let folder = Folder::new();
    folder.done(&["db", "migrate"]);
    let newer = "insert into _sqlx_migrations select 999, 'later', installed_on, success, checksum, execution_time from _sqlx_migrations limit 1";
    let made = Command::new("sqlite3").arg(folder.path().join("ppmid.db")).arg(newer).status();
    let Ok(made) = made else {
        assert!(std::env::var_os("PPMID_REQUIRE_TOOLS").is_none(), "sqlite3 is missing");
        return eprintln!("SKIPPED: sqlite3 is not installed");
    };
    assert!(made.success());
    let refused = folder.run(&["db", "migrate"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("newer version"), "{}", refused.err);
    assert_polite(&refused);
    assert!(folder.done(&["db", "status"]).contains("unknown"));
}

#[test]
fn what_is_no_database_is_said_plainly() {
    let folder = Folder::new();
    folder
        .write("ppmid.db", "this is a letter, not a database; it is longer than a header, so that it is looked at.\n".repeat(99));
    for args in [
        &["db", "migrate"][..],
        &["db", "status", "--database-url", "mysql://u:secret@h/d"],
        &["db", "migrate", "--database-url", "sqlite:///nowhere/at/all.db"],
        &["db", "status", "--database-url", "postgres://u:secret@127.0.0.1:1/d"],
    ] {
        let refused = folder.run(args);
        assert_eq!(refused.code, 1, "{args:?}");
        assert_polite(&refused);
        assert!(!refused.err.contains("secret"), "{}", refused.err);
    }
}

#[test]
fn a_mistake_in_the_configuration_stops_every_command() {
    let folder = Folder::new();
    folder.write("ppmid.toml", "[http]\nlisten = \"everywhere\"\n");
    let refused = folder.run(&["db", "migrate"]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert_eq!(
        refused.err.lines().next(),
        Some("error: ppmid.toml, line 2: http.listen is \"everywhere\"; wanted: an address and port such as 127.0.0.1:8080")
    );
    assert_polite(&refused);
    assert_eq!(folder.run(&["completions", "bash"]).code, 0, "but completions needs none");
    let elsewhere = Folder::new();
    elsewhere.write("other.toml", "[database]\nurl = \"sqlite://here.db\"");
    folder.done(&["--config", elsewhere.path().join("other.toml").to_str().unwrap(), "db", "migrate"]);
    assert!(elsewhere.path().join("here.db").exists(), "relative to the configuration file");
    let environment = ran(folder.command(&["--config", "none.toml", "db", "migrate"]).env("PPMID_HTTP__LISEN", "x"));
    assert_eq!(environment.code, 1);
    assert!(
        environment.err.starts_with("error: environment, PPMID_HTTP__LISEN: http.lisen is not a setting"),
        "{}",
        environment.err
    );
}

#[test]
fn the_audit_trail_is_listed_and_checked() {
    let folder = Folder::new();
    assert_eq!(folder.done(&["audit", "list", "--output", "json"]), "[]\n");
    let verified: serde_json::Value = serde_json::from_str(&folder.done(&["audit", "verify", "--output", "json"])).unwrap();
    assert_eq!((verified["events"].as_i64(), verified["head"].as_str().map(str::len)), (Some(0), Some(64)));
    let lost = folder.run(&["audit", "verify", "--head", &"ab".repeat(32)]);
    assert_eq!(lost.code, 4);
    assert_polite(&lost);
}

#[test]
fn wrong_usage_is_exit_2() {
    let folder = Folder::new();
    for args in
        [&["no-such-command"][..], &["db"], &["db", "status", "--output", "xml"], &["audit", "verify", "--head", "x"], &[]]
    {
        let refused = folder.run(args);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{args:?}");
    }
    assert_eq!(folder.run(&["--help"]).code, 0);
    assert_eq!(folder.run(&["--version"]).out, format!("ppmid {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_are_made_for_every_shell() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(folder.done(&["completions", shell]).contains("ppmid"), "{shell}");
    }
    assert!(!folder.path().join("ppmid.db").exists());
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let folder = Folder::new();
    let mut child = folder.command(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

/// Runs only as the child of the test below.
#[test]
#[ignore = "panics: the child of `a_fault_of_our_own_is_one_error_line`"]
fn child_that_panics() {
    use ppmid_orchestrator::telemetry::{self, Quietness};
    telemetry::start(Quietness::Command, 0);
    panic!("two\nlines");
}

#[test]
fn a_fault_of_our_own_is_one_error_line() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let child = child.args(["--exact", "commands::child_that_panics", "--ignored", "--nocapture"]).env("RUST_BACKTRACE", "1");
    let ran = ran(child);
    assert_polite(&ran);
    assert!(ran.err.contains("error: two lines (tests/commands.rs:"), "{}", ran.err);
}

#[test]
fn a_reserved_kind_of_key_is_refused_before_anything_is_opened() {
    let folder = Folder::new();
    folder.write("ppmid.toml", "[audit]\nsigning_key = \"pkcs11:slot=1\"\n");
    let refused = folder.run(&["audit", "list", "--output", "csv"]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains("audit.signing_key"), "{}", refused.err);
    assert_polite(&refused);
}
