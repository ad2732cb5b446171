//! The shape of the house, kept: which room may import which, where the database and HTTP crates may be named, and that every
//! file says what it is. What merely deserves a look (long files, long functions, vague names) is listed and fails nothing.

mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A room and what it may import; what those may import, it may too.
const ARROWS: &[(&str, &[&str])] = &[
    // `failure` is the vocabulary in which every room's errors reach a person.
    ("failure", &[]),
    // Named points at which a test kills the process: in the shipped program they are nothing, so they may stand anywhere.
    ("crash", &[]),
    ("ids", &[]),
    ("clock", &["ids"]),
    ("telemetry", &[]),
    // Private key files, read only where nobody else can read them.
    ("keyfile", &["failure"]),
    // TLS configurations from PEM files, for whoever connects or listens.
    ("tls", &["keyfile", "clock", "failure"]),
    ("db", &["ids", "clock", "failure"]),
    ("duis", &["ids", "clock", "failure"]),
    // `db` for the masking of its URL, `tls` for the files that its settings name.
    ("config", &["duis", "ids", "failure", "db", "keyfile", "tls"]),
    ("estate", &["ids", "clock", "failure"]),
    ("image", &["ids", "clock", "failure"]),
    ("policy", &["image", "estate"]),
    ("target", &["policy"]),
    ("campaign", &["target"]),
    ("keys", &["target"]),
    ("schedule", &["target"]),
    ("alarm", &["ids", "clock", "failure"]),
    // `policy` for the teams and what they are told of.
    ("notify", &["policy"]),
    ("audit", &["ids", "clock", "failure"]),
    // Packs: `image` for its keys and envelopes. No database: whoever verifies one has none.
    ("evidence", &["image", "ids", "failure"]),
    ("gateway", &["duis", "ids", "clock", "db", "failure", "crash", "tls"]),
    ("app", &["campaign", "keys", "schedule", "alarm", "notify", "audit", "evidence", "gateway", "config", "db"]),
    ("http", &["app"]),
    ("console", &["app"]),
    ("engine", &["app"]),
    // A peer on the wire: it must not share our opinions.
    ("sim", &["duis", "ids", "clock", "failure", "tls"]),
    // Fuzz targets; `sim` for the key with which they seal.
    ("fuzzing", &["duis", "image", "estate", "evidence", "sim"]),
    ("cli", &["http", "console", "engine", "sim", "app", "telemetry"]),
    ("main", &["cli", "failure", "telemetry"]),
    ("lib", &[]),
];

type MayName = fn(&str) -> bool;
/// A crate, and the files that may name it.
const CRATES: &[(&str, MayName)] = &[
    ("sqlx", |file| file.starts_with("db/") || is_store(file) || file.ends_with("/inbox.rs") || file.ends_with("/outbox.rs")),
    ("axum", |file| {
        ["http/", "console/", "sim/", "gateway/receiver/"].iter().any(|d| file.starts_with(d)) || file == "gateway/receiver.rs"
    }),
    // Requests to DCC and messages to another adapter; and notifications to our own teams, which share its manners (no redirect, no
    // proxy, one authority) and nothing of DUIS, so they have a file of their own.
    ("reqwest", |file| file == "gateway/http.rs" || file == "gateway/http/webhook.rs"),
    ("rustls", |file| file.starts_with("tls/")),
    // What `cron` speaks; dates and zones are jiff's.
    ("chrono", |file| file == "schedule/expression.rs"),
    ("tokio_rustls", |file| file.starts_with("tls/")),
];

/// Rooms that keep tables may run a transaction of their own, name its errors, and make the rows of a bulk load where they read
/// the file; the SQL itself stays in their store.
const ROOMS_WITH_TABLES: &[&str] = &["alarm", "audit", "campaign", "estate", "image", "keys", "notify", "schedule", "target"];
const TRANSACTION_WORDS: &[&str] = &["Db", "DbError", "DbResult", "Tx", "bulk"];

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;
const VAGUE_WORDS: &[&str] = &["Manager", "Helper", "Util", "Processor", "Data", "Info"];

/// `store.rs`, or a file in a folder `store/`, of any room.
fn is_store(file: &str) -> bool {
    file.ends_with("/store.rs") || file.contains("/store/")
}

/// Whole files of tests, declared under `#[cfg(test)]` by their room.
fn is_tests(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.ends_with("_tests.rs") || file.contains("/tests/") || file == "db/testing.rs"
}

fn room_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// How far a file's module is from the crate's root.
fn depth_of(file: &str) -> usize {
    let parts = file.split('/').count();
    if file.ends_with("/mod.rs") || matches!(file, "lib.rs" | "main.rs") { parts - 1 } else { parts }
}

fn reach(room: &str) -> BTreeSet<&'static str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![room];
    while let Some(room) = open.pop() {
        for next in ARROWS.iter().find(|a| a.0 == room).map_or(&[][..], |a| a.1) {
            if reached.insert(*next) {
                open.push(next);
            }
        }
    }
    reached
}

/// Everything wrong with one file (its path below `src/`). `macros` are the crate's exported macros and their rooms.
fn faults(file: &str, text: &str, macros: &BTreeMap<String, String>) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!("src/{file}: does not begin with a //! line that says what it is"));
    }
    let room = room_of(file);
    if !ARROWS.iter().any(|a| a.0 == room) {
        faults.push(format!("src/{file}: the room {room} is not in ARROWS of tests/tidy.rs"));
    }
    if is_tests(file) {
        return faults;
    }
    let tokens = source::tokens(text);
    let may = reach(room);
    for import in source::imports(&tokens, depth_of(file)) {
        let name = &import.name.text;
        let target = macros.get(name).unwrap_or(name).as_str();
        let is_room = ARROWS.iter().any(|a| a.0 == target);
        let transaction = ROOMS_WITH_TABLES.contains(&room)
            && !import.items.is_empty()
            && import.items.iter().all(|i| TRANSACTION_WORDS.contains(&i.as_str()));
        let database = target == "db" && (is_store(file) || transaction);
        if is_room && target != room && !may.contains(target) && !database && room != "lib" {
            faults.push(format!("src/{file}, line {}: {room} must not import {target}", import.name.line));
        }
    }
    for (name, may_name) in CRATES {
        if let Some(token) = tokens.iter().find(|t| t.text == *name).filter(|_| !may_name(file)) {
            faults.push(format!("src/{file}, line {}: {name} must not be named here", token.line));
        }
    }
    faults
}

/// Places to look, which fail nothing.
fn remarks(file: &str, text: &str) -> Vec<String> {
    let mut remarks = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES {
        remarks.push(format!("src/{file}: {lines} lines"));
    }
    let tokens = source::tokens(text);
    for f in source::functions(&tokens).iter().filter(|f| f.lines > FUNCTION_LINES) {
        remarks.push(format!("src/{file}, line {}: {} takes {} lines", f.line, f.name, f.lines));
    }
    for t in source::types(&tokens).iter().filter(|t| VAGUE_WORDS.iter().any(|w| t.text.ends_with(w))) {
        remarks.push(format!("src/{file}, line {}: what is a {}?", t.line, t.text));
    }
    remarks
}

/// Every source file: its path below `src/`, and its text.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is read") {
            let path = entry.expect("the entry is read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).expect("it is below src/").to_string_lossy().replace('\\', "/");
                found.push((name, fs::read_to_string(&path).expect("the file is read")));
            }
        }
    }
    found.sort();
    found
}

/// Macros that their room exports at the crate's root.
fn exported_macros(sources: &[(String, String)]) -> BTreeMap<String, String> {
    let mut macros = BTreeMap::new();
    for (file, text) in sources {
        let tokens = source::tokens(text);
        let exports = tokens.iter().any(|t| t.text == "macro_export");
        for w in tokens.windows(3).filter(|w| exports && w[0].text == "macro_rules" && w[1].text == "!") {
            macros.insert(w[2].text.clone(), room_of(file).to_string());
        }
    }
    macros
}

#[test]
fn imports_run_one_way_and_every_file_says_what_it_is() {
    let sources = sources();
    assert!(sources.len() > 20, "the sources were not found");
    let macros = exported_macros(&sources);
    let faults: Vec<String> = sources.iter().flat_map(|(file, text)| faults(file, text, &macros)).collect();
    let remarks: Vec<String> = sources.iter().flat_map(|(file, text)| remarks(file, text)).collect();
    if !remarks.is_empty() {
        println!("Places to look:\n{}", remarks.join("\n"));
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_checker_finds_each_kind_of_fault() {
    let macros = BTreeMap::from([("sql".to_string(), "db".to_string())]);
    let wrong = [
        ("policy/evaluate.rs", "use crate::app::App;", "line 2: policy must not import app"),
        ("policy/evaluate.rs", "use crate::{ids::Mpan, target::{self, x}};", "line 2: policy must not import target"),
        ("policy/evaluate.rs", "fn f() {\n crate::campaign::x() }", "line 3: policy must not import campaign"),
        ("policy/evaluate.rs", "fn f() { super::super::engine::x() }", "policy must not import engine"),
        ("policy/mod.rs", "use super::keys;", "policy must not import keys"),
        ("policy/evaluate.rs", "fn f() { crate::sql!(tx, c => c) }", "policy must not import db"),
        ("policy/evaluate.rs", "#[cfg(test)]\nmod tests;\nuse crate::app;", "line 4: policy must not import app"),
        ("policy/evaluate.rs", "const C: char = '\"'; use crate::app; // '\"'", "policy must not import app"),
        ("policy/evaluate.rs", "const C: &str = r#\"a\"b\"#; use crate::app;", "policy must not import app"),
        ("policy/evaluate.rs", "fn f<'a>(x: &'a str) {} use crate::app;", "policy must not import app"),
        ("sim/world.rs", "use crate::estate::Site;", "sim must not import estate"),
        ("sim/world.rs", "use crate::config::Settings;", "sim must not import config"),
        ("duis/read.rs", "use crate::gateway::Gateway;", "duis must not import gateway"),
        ("campaign/plan.rs", "use crate::keys::KeyCase;", "campaign must not import keys"),
        ("estate/import.rs", "use crate::db::dialect;", "estate must not import db"),
        ("estate/import.rs", "use crate::{db::{Tx, masked}, ids::Eui};", "estate must not import db"),
        ("estate/import.rs", "use crate::sql;", "estate must not import db"),
        ("policy/evaluate.rs", "use crate::db::Tx;", "policy must not import db"),
        ("estate/import.rs", "fn f(e: sqlx::Error) {}", "line 2: sqlx must not be named here"),
        ("cli/serve.rs", "use axum::Router;", "axum must not be named here"),
        ("app.rs", "use reqwest::Client;", "reqwest must not be named here"),
        ("attic/mod.rs", "", "the room attic is not in ARROWS"),
    ];
    for (file, text, expected) in wrong {
        let found = faults(file, &format!("//! What it is.\n{text}"), &macros);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
    assert_eq!(faults("ids.rs", "use std::fmt;", &macros).len(), 1, "a file without //!");
}

#[test]
fn the_checker_lets_right_things_pass() {
    let macros = BTreeMap::from([("sql".to_string(), "db".to_string())]);
    let right = [
        ("policy/evaluate.rs", "use crate::{estate::Site, ids::{Mpan, Mpid}, policy::Reason};"),
        ("policy/evaluate.rs", "// use crate::app;\n/* crate::app /* x */ */ const A: &str = \"crate::app \\\" crate::app\";"),
        ("policy/evaluate.rs", "const A: &str = r##\"crate::app \"# sqlx\"##;"),
        ("policy/evaluate.rs", "#[cfg(test)]\nmod tests { use crate::{app::App, db}; fn f() { sqlx::query(\"}\") } }"),
        ("policy/evaluate.rs", "use super::{reason::Reason, engine};"),
        ("estate/store.rs", "use crate::{db::Tx, sql}; fn f(e: sqlx::Error) {}"),
        ("estate/import.rs", "use crate::{db::{DbError, Tx, bulk::Value}, ids::Eui}; fn f() -> crate::db::DbResult<()> {}"),
        ("keys/store/cases.rs", "use crate::db::Tx; fn f(e: sqlx::Error) {}"),
        ("gateway/inbox.rs", "use crate::db::Tx; fn f(e: sqlx::Error) {}"),
        ("engine/settle.rs", "use crate::{app::App, gateway::Gateway, target::TargetState, duis::Alert};"),
        ("keys/retry_tests.rs", "use crate::engine;"),
        ("lib.rs", "pub use crate::cli;"),
    ];
    for (file, text) in right {
        assert_eq!(faults(file, &format!("//! What it is.\n{text}"), &macros), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn places_to_look_are_found() {
    let text = format!("//! x\nstruct KeyManager;\nfn long() {{\n{}}}\nfn short();\n{}", "\n".repeat(80), "\n".repeat(400));
    assert_eq!(
        remarks("keys/mod.rs", &text),
        [
            "src/keys/mod.rs: 485 lines",
            "src/keys/mod.rs, line 3: long takes 82 lines",
            "src/keys/mod.rs, line 2: what is a KeyManager?"
        ]
    );
}
