//! `ppmid demo`: its numbers account for every site, on both engines.

use serde_json::Value;

use crate::lab::{Engine, Lab, on_both_engines};

on_both_engines!(every_site_is_accounted_for);

const SITES: i64 = 300;

async fn every_site_is_accounted_for(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let n = SITES.to_string();
    let args = ["demo", "--sites", &n, "--keep", "trial", "--output", "json"];
    // The demo's own folder holds its SQLite file; PostgreSQL is named as for any command.
    let url = lab.database_url.clone();
    let demo = match engine {
        Engine::Sqlite => lab.json(&args[..5]),
        Engine::Postgres => lab.json(&[&args[..5], &["--database-url", &url]].concat()),
    };
    let number = |value: &Value| value.as_i64().unwrap_or_else(|| panic!("{value} in {demo}"));
    let sum = |key: &str| demo[key].as_object().unwrap().values().map(number).sum::<i64>();
    assert_eq!(number(&demo["sites"]), SITES);
    assert_eq!(number(&demo["eligible"]) + number(&demo["held"]) + number(&demo["ineligible"]), SITES, "{demo}");
    assert_eq!((sum("by_reason"), sum("by_state")), (SITES, SITES), "{demo}");
    assert!(demo["by_reason"].as_object().unwrap().values().all(|n| number(n) > 0), "zeros are left out: {demo}");
    assert_eq!(number(&demo["by_reason"]["ELIGIBLE"]), number(&demo["eligible"]));
    assert_eq!(number(&demo["duplicate_submissions"]), 0);
    // 0.3% of the sites, rounded up, and at least 3; two thirds of them come good.
    let missing = ((SITES * 3 + 999) / 1_000).max(3);
    let cases = &demo["key_cases"];
    assert_eq!(sum("key_cases"), missing, "{demo}");
    assert_eq!(number(&cases["resolved"]), missing * 2 / 3, "{demo}");
    assert!(number(&demo["requests_sent"]) >= 2 && number(&demo["requests_sent"]) <= number(&demo["batches"]), "{demo}");
    assert!(number(&demo["elapsed_ms"]) > 0);
    let states = demo["by_state"].as_object().unwrap();
    assert!(
        ["queued", "submitted", "accepted", "delivered"].iter().all(|s| !states.contains_key(*s)),
        "it ran to its end: {demo}"
    );
    assert!(lab.folder.path().join("trial/ppmid.toml").exists());
}
