//! The portfolio's numbers are exact, its rows are good, and one seed is one portfolio.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use proptest::prelude::*;

use super::*;
use crate::ids::{ImageId, Mpan};

fn portfolio(sites: usize, seed: u64) -> Portfolio {
    let now: Time = "2026-11-23T12:00:00Z".parse().unwrap();
    Portfolio::generate(sites, seed, now.london_day(), now)
}

type Row = BTreeMap<String, String>;

fn rows(dir: &Path, name: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(dir.join(name)).unwrap();
    reader.deserialize().map(|row| row.unwrap()).collect()
}

fn written(portfolio: &Portfolio) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    portfolio.write_csvs(dir.path(), ImageId([7; 32])).unwrap();
    dir
}

#[test]
fn the_numbers_of_keys_are_the_letters() {
    for (sites, missing, good) in
        [(3, 3, 2), (100, 3, 2), (1_000, 3, 2), (1_001, 4, 3), (5_000, 15, 10), (100_000, 300, 200), (100_001, 301, 201)]
    {
        let portfolio = portfolio(sites, 1);
        assert_eq!((portfolio.keys_missing(), portfolio.good_on_rerun()), (missing, good), "{sites}");
    }
}

#[test]
fn five_thousand_sites_have_every_story() {
    let portfolio = portfolio(5_000, 1);
    let reasons = portfolio.expected_reasons();
    assert_eq!(reasons.values().sum::<usize>(), 5_000);
    assert_eq!(reasons["KEYS_MISSING"], 15);
    assert_eq!(reasons.len(), 12, "{reasons:?}");
    assert!(reasons["ELIGIBLE"] > 3_000);
    let mut conditions: BTreeMap<String, usize> = BTreeMap::new();
    for (_, condition) in portfolio.devices() {
        *conditions.entry(format!("{condition:?}")).or_default() += 1;
    }
    assert_eq!((conditions["Unknown"], conditions["ActivationFails"], conditions["Silent"]), (1, 20, 10));
    assert_eq!((conditions["KeyMissing { good_on_rerun: true }"], conditions["KeyMissing { good_on_rerun: false }"]), (10, 5));
}

#[test]
fn a_key_result_is_never_of_the_future_whenever_the_demo_runs() {
    for now in ["2020-11-21T00:30:00Z", "2020-11-24T00:00:00Z", "2026-06-30T23:30:00Z"] {
        let now: Time = now.parse().unwrap();
        let dir = written(&Portfolio::generate(500, 3, now.london_day(), now));
        for row in rows(dir.path(), "keys.csv") {
            assert!(row["attempted_at"].parse::<Time>().unwrap() < now, "{row:?}");
        }
    }
}

/// Each row of the files against the way the site was made.
fn check(portfolio: &Portfolio, dir: &Path) {
    let sites = rows(dir, "sites.csv");
    assert_eq!(sites.len(), portfolio.sites());
    let devices: BTreeSet<&str> = sites.iter().map(|s| s["device_id"].as_str()).collect();
    let mpans: BTreeSet<&str> = sites.iter().map(|s| s["mpan"].as_str()).collect();
    assert_eq!((devices.len(), mpans.len()), (sites.len(), sites.len()));
    assert!(mpans.iter().all(|m| m.parse::<Mpan>().is_ok()));
    let mut latest: BTreeMap<String, (Time, String)> = BTreeMap::new();
    for row in rows(dir, "keys.csv") {
        let result = (row["attempted_at"].parse().unwrap(), row["status"].clone());
        let known = latest.entry(row["device_id"].clone()).or_insert_with(|| result.clone());
        *known = known.clone().max(result);
    }
    let count = |status: &str| latest.values().filter(|(_, s)| s == status).count();
    assert_eq!(count("failed") + count("investigating"), portfolio.keys_missing());
    assert_eq!(count("failed"), portfolio.good_on_rerun());
    for site in sites.iter().filter(|s| ["IOC", "MDS"].contains(&s["cohort"].as_str())) {
        let brought = site["migrated_on"].parse::<Day>().unwrap() >= site::live();
        assert_eq!(latest.contains_key(&site["device_id"]), !brought, "{site:?}");
    }
    let mut registered: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows(dir, "registrations.csv") {
        registered.entry(row["mpan"].clone()).or_default().push(row);
    }
    for rows in registered.values() {
        for pair in rows.windows(2) {
            assert_eq!(pair[0]["effective_to"], pair[1]["effective_from"], "{pair:?}");
        }
        assert!(rows.iter().all(|r| r["effective_to"].is_empty() || r["effective_from"] < r["effective_to"]), "{rows:?}");
    }
    assert_eq!(registered.len(), sites.len());
    for row in rows(dir, "exclusions.csv") {
        assert!(row["device_id"].is_empty() != row["mpan"].is_empty(), "{row:?}");
    }
    for row in rows(dir, "cpl.csv") {
        assert!(row["manufacturer_image_hash"].parse::<ImageId>().is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn small_portfolios_are_sane_and_repeatable(sites in 1usize..600, seed: u64) {
        let portfolio = portfolio(sites, seed);
        let wanted = sites.min((sites * 3).div_ceil(1000).max(3));
        prop_assert_eq!(portfolio.keys_missing(), wanted);
        prop_assert_eq!(portfolio.expected_reasons()["KEYS_MISSING"], wanted);
        let (dir, again) = (written(&portfolio), written(&self::portfolio(sites, seed)));
        check(&portfolio, dir.path());
        for name in ["sites", "registrations", "keys", "cpl", "epcl", "exclusions"] {
            let read = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(format!("{name}.csv"))).unwrap();
            prop_assert!(read(&dir) == read(&again), "{}", name);
        }
    }
}
