//! The incident team's queries on both engines: what they cost must not depend on how many sites there are.

use super::*;
use crate::{
    clock::Day,
    db::{bulk, testing::databases},
    estate::Cohort,
    ids::Eui,
    keys::{CaseFilter, CaseOrder, KeyCaseState},
};

/// Sites, of which every tenth has a case.
const SITES: i64 = 20_000;

async fn filled(t: &crate::db::testing::TestDb) {
    let mut tx = t.db.begin().await.unwrap();
    let mut sites = bulk::Rows::new(
        "sites",
        &[
            "device_id",
            "mpan",
            "cohort",
            "manufacturer",
            "model",
            "hardware_version",
            "firmware_version",
            "device_status",
            "dmc",
            "region",
        ],
    );
    let mut registrations = bulk::Rows::new("registrations", &["mpan", "effective_from", "supplier_mpid", "ended_by_switch"]);
    let mut cases = bulk::Rows::new(
        "key_cases",
        &["device_id", "state", "attempts", "first_seen", "last_attempt", "next_attempt", "last_error", "opened_at", "cohort"],
    );
    for n in 1..=SITES {
        let model = if n % 3 == 0 { "A" } else { "B" };
        sites.push(&[
            n.into(),
            n.into(),
            "IOC".into(),
            "106C".into(),
            model.into(),
            257.into(),
            "1".into(),
            "Commissioned".into(),
            "D".into(),
            "North".into(),
        ]);
        registrations.push(&[n.into(), 0.into(), "EELC".into(), false.into()]);
        if n % 10 == 0 {
            let state = ["retrying", "investigating", "resolved"][(n / 10 % 3) as usize];
            cases.push(&[
                n.into(),
                state.into(),
                1.into(),
                n.into(),
                n.into(),
                (n + 5).into(),
                "no WAN".into(),
                n.into(),
                "IOC".into(),
            ]);
        }
    }
    for rows in [&mut sites, &mut registrations, &mut cases] {
        rows.flush(&mut tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut tx = t.db.begin().await.unwrap();
    sql!(&mut tx, c => sqlx::query("analyze").execute(c).await.map(|_| ())).unwrap();
    tx.commit().await.unwrap();
}

fn filters() -> Vec<CaseFilter> {
    let any = CaseFilter::default;
    let text = |t: &str| Some(t.to_string());
    vec![
        any(),
        CaseFilter { state: Some(KeyCaseState::Retrying), ..any() },
        CaseFilter { cohort: Some(Cohort::Ioc), ..any() },
        CaseFilter { model: text("A"), ..any() },
        CaseFilter { region: text("North"), ..any() },
        CaseFilter { mpid: Some("EELC".parse().unwrap()), ..any() },
        CaseFilter { error: text("wan"), ..any() },
        CaseFilter { due_by: Some(crate::clock::Time(100)), ..any() },
        CaseFilter { plan: Some(1), ..any() },
        CaseFilter { text: text("wan"), ..any() },
        CaseFilter { devices: vec![Eui(10), Eui(20)], latest: true, ..any() },
    ]
}

/// Whether the facts of sites lie beside the cases, or are looked up.
const COPIED: [bool; 2] = [false, true];

async fn copied(t: &crate::db::testing::TestDb) {
    let mut tx = t.db.begin().await.unwrap();
    assert!(!facts::are_copied(&mut tx, Day(10)).await.unwrap());
    copy_page(&mut tx, 0, 1_000_000, Day(10)).await.unwrap().unwrap();
    let imports = imports(&mut tx).await.unwrap().expect("nothing is half applied");
    remember(&mut tx, &Copied { imports, day: Day(10), handled: 0 }).await.unwrap();
    assert!(facts::are_copied(&mut tx, Day(10)).await.unwrap());
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn no_filter_and_no_order_reads_all_sites() {
    for t in databases().await {
        filled(&t).await;
        for with in COPIED {
            if with {
                copied(&t).await;
            }
            let mut tx = t.db.read().await.unwrap();
            for (filter, order) in filters().iter().flat_map(|f| CaseOrder::ALL.iter().map(move |o| (f, *o))) {
                for after in [false, true] {
                    let plan = query::explain(&mut tx, filter, order, after, Day(10)).await.unwrap();
                    for table in ["sites s", "sites", "s", "registrations r", "r", "targets t", "t"] {
                        for scan in [format!("SCAN {table}\n"), format!("Seq Scan on {table}")] {
                            let reads_all = plan.lines().any(|l| format!("{l}\n").contains(&scan) && !l.contains("key_"));
                            // PostgreSQL reads a table of one page whole, and there are no targets here.
                            let empty = table.starts_with('t') && !tx.is_sqlite();
                            assert!(!reads_all || empty, "{}: {filter:?} by {order} does {scan}:\n{plan}", t.engine);
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn every_order_has_an_index_for_the_first_page_and_for_a_later_one() {
    for t in databases().await {
        filled(&t).await;
        let mut tx = t.db.read().await.unwrap();
        for (order, after) in CaseOrder::ALL.iter().flat_map(|o| [(*o, false), (*o, true)]) {
            let plan = query::explain(&mut tx, &CaseFilter::default(), order, after, Day(10)).await.unwrap();
            // The page that was found, and its halves, are put in order again, which costs nothing; the cases must not be. A later page
            // begins where the one before ended, not at the start of the index.
            let lines: Vec<&str> = plan.lines().map(str::trim).collect();
            let sorted = lines.windows(2).any(|w| w[0].contains(" k ") && w[1].starts_with("USE TEMP B-TREE"));
            let from_the_start = after && lines.iter().any(|l| l.starts_with("SCAN k "));
            let of_the_cases = match tx.is_sqlite() {
                true => sorted || from_the_start,
                false => plan.contains("Seq Scan on key_cases"),
            };
            assert!(!of_the_cases, "{}: by {order}, {after}:\n{plan}", t.engine);
        }
    }
}

#[tokio::test]
async fn each_filter_finds_what_it_says() {
    for t in databases().await {
        filled(&t).await;
        for with in COPIED {
            if with {
                copied(&t).await;
            }
            let mut tx = t.db.read().await.unwrap();
            let mut found = Vec::new();
            for filter in filters() {
                let (page, next) = list(&mut tx, &filter, (CaseOrder::Case, false), Day(10), None, 10_000).await.unwrap();
                assert_eq!(next, None);
                assert_eq!(page.len(), pick(&mut tx, &filter, Day(10), 10_000).await.unwrap().len(), "{filter:?}");
                found.push(page.len());
            }
            assert_eq!(found, [2000, 666, 2000, 666, 2000, 2000, 2000, 9, 0, 2000, 2], "{}", t.engine);
        }
    }
}

#[tokio::test]
async fn pages_of_every_order_follow_each_other() {
    for t in databases().await {
        filled(&t).await;
        let mut tx = t.db.read().await.unwrap();
        for (order, descending) in CaseOrder::ALL.iter().flat_map(|o| [(*o, false), (*o, true)]) {
            let (all, _) = list(&mut tx, &CaseFilter::default(), (order, descending), Day(10), None, 10_000).await.unwrap();
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let (page, next) = list(&mut tx, &CaseFilter::default(), (order, descending), Day(10), after, 300).await.unwrap();
                paged.extend(page);
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            assert_eq!(all.len(), 2_000);
            assert_eq!(paged, all, "{}: by {order}, descending: {descending}", t.engine);
        }
    }
}

#[tokio::test]
async fn a_piece_of_text_is_found_whatever_its_capitals() {
    for t in databases().await {
        let mut tx = t.db.begin().await.unwrap();
        let cases = "insert into key_cases (device_id, state, attempts, first_seen, opened_at, last_error, incident, closed_reason) values
            (1, 'retrying', 1, 1, 1, 'no WAN at CAFÉ_1', null, null), (2, 'retrying', 1, 1, 1, null, 'INC7', null),
            (3, 'closed', 1, 1, 1, 'other', null, 'HAN errors'), (4, 'retrying', 1, 1, 1, null, null, null)";
        let event = "insert into key_events (case_id, at, who, kind, text)
            select id, 1, 'jane', 'note', 'Hub in a CUPBOARD' from key_cases where device_id = 4";
        for text in [cases, event] {
            sql!(&mut tx, c => sqlx::query(text).execute(c).await.map(|_| ())).unwrap();
        }
        let mut found = Vec::new();
        for piece in ["CAFÉ", "wan AT", "fÉ_1", "inc7", "han ERR", "cupboard", "FÉx1", "%", ""] {
            let mut devices = Vec::new();
            for filter in [
                CaseFilter { error: Some(piece.into()), ..CaseFilter::default() },
                CaseFilter { text: Some(piece.into()), ..CaseFilter::default() },
            ] {
                let (page, _) = list(&mut tx, &filter, (CaseOrder::Case, false), Day(1), None, 10).await.unwrap();
                devices.push(page.iter().map(|case| case.device_id.0).collect::<Vec<_>>());
            }
            found.push((piece, devices));
        }
        let wanted: [(&str, [&[u64]; 2]); 9] = [
            ("CAFÉ", [&[1], &[1]]),
            ("wan AT", [&[1], &[1]]),
            ("fÉ_1", [&[1], &[1]]),
            ("inc7", [&[], &[2]]),
            ("han ERR", [&[], &[3]]),
            ("cupboard", [&[], &[4]]),
            ("FÉx1", [&[], &[]]),
            ("%", [&[], &[]]),
            ("", [&[1, 3], &[1, 2, 3, 4]]),
        ];
        let wanted: Vec<_> = wanted.iter().map(|(piece, all)| (*piece, all.iter().map(|d| d.to_vec()).collect())).collect();
        assert_eq!(found, wanted, "{}", t.engine);
    }
}
