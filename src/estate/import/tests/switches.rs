//! Registrations: overlaps, ended rows, reopening, `--replace`.

use super::*;

const HEADER: &str = "mpan,supplier_mpid,effective_from,effective_to\n";

/// `SUPPLIER from to` lines of one MPAN, days of January 2021; `-` is open.
fn file(lines: &[&str]) -> String {
    let line = |l: &&str| {
        let parts: Vec<&str> = l.split(' ').collect();
        let day = |d: &str| if d == "-" { String::new() } else { format!("2021-01-{d:0>2}") };
        format!("2298132107763,{},{},{}\n", parts[0], day(parts[1]), day(parts[2]))
    };
    std::iter::once(HEADER.to_string()).chain(lines.iter().map(line)).collect()
}

fn shown(rows: &[String]) -> Vec<String> {
    rows.iter().map(|r| r.replace("2021-01-0", "").replace("2021-01-", "").replace("open", "-")).collect()
}

/// What is stored, what is imported, counts (inserted, updated, unchanged, ended), rejected lines, what is stored then.
type Case = (&'static [&'static str], &'static [&'static str], [u64; 4], &'static [&'static str], &'static [&'static str]);

const CASES: &[Case] = &[
    // A change of supplier arriving.
    (&["AAAA 1 -"], &["BBBB 10 -"], [1, 0, 0, 1], &[], &["AAAA 1 10 !", "BBBB 10 -"]),
    (&["AAAA 1 20"], &["BBBB 10 15"], [1, 0, 0, 1], &[], &["AAAA 1 10 !", "BBBB 10 15"]),
    (&["AAAA 1 -"], &["AAAA 10 -"], [1, 0, 0, 1], &[], &["AAAA 1 10 !", "AAAA 10 -"]),
    // Adjacent rows do not overlap.
    (&["AAAA 1 10"], &["BBBB 10 -"], [1, 0, 0, 0], &[], &["AAAA 1 10", "BBBB 10 -"]),
    (&["BBBB 10 -"], &["AAAA 1 10"], [1, 0, 0, 0], &[], &["AAAA 1 10", "BBBB 10 -"]),
    // Any other overlap with a stored row.
    (&["BBBB 10 -"], &["AAAA 1 -"], [0, 0, 0, 0], &["2 overlap"], &["BBBB 10 -"]),
    (&["BBBB 10 12"], &["AAAA 1 11"], [0, 0, 0, 0], &["2 overlap"], &["BBBB 10 12"]),
    (&["BBBB 10 12"], &["AAAA 1 20"], [0, 0, 0, 0], &["2 overlap"], &["BBBB 10 12"]),
    (&["AAAA 1 -"], &["BBBB 1 -"], [0, 0, 0, 0], &["2 overlap"], &["AAAA 1 -"]),
    (&["AAAA 1 5", "BBBB 10 -"], &["CCCC 3 11"], [0, 0, 0, 0], &["2 overlap"], &["AAAA 1 5", "BBBB 10 -"]),
    // The same key again: a correction.
    (&["AAAA 1 -"], &["AAAA 1 10"], [0, 1, 0, 0], &[], &["AAAA 1 10"]),
    (&["AAAA 1 10"], &["AAAA 1 -"], [0, 1, 0, 0], &[], &["AAAA 1 -"]),
    (&["AAAA 1 10"], &["AAAA 1 10"], [0, 0, 1, 0], &[], &["AAAA 1 10"]),
    (&["AAAA 1 10", "BBBB 10 -"], &["AAAA 1 12"], [0, 0, 0, 0], &["2 overlap"], &["AAAA 1 10", "BBBB 10 -"]),
    (&["AAAA 1 10", "BBBB 12 -"], &["AAAA 1 12"], [0, 1, 0, 0], &[], &["AAAA 1 12", "BBBB 12 -"]),
    // Lines of one file that overlap: the later line.
    (&[], &["AAAA 1 -", "BBBB 10 -"], [1, 0, 0, 0], &["3 overlap"], &["AAAA 1 -"]),
    (&[], &["BBBB 10 -", "AAAA 1 -"], [1, 0, 0, 0], &["3 overlap"], &["BBBB 10 -"]),
    (&[], &["AAAA 1 10", "BBBB 5 15", "CCCC 10 -"], [2, 0, 0, 0], &["3 overlap"], &["AAAA 1 10", "CCCC 10 -"]),
    (&[], &["AAAA 1 10", "AAAA 1 10", "BBBB 1 2"], [1, 0, 0, 0], &["3 duplicate", "4 overlap"], &["AAAA 1 10"]),
    (&[], &["AAAA 5 -", "AAAA 1 -", "AAAA 1 -"], [1, 0, 0, 0], &["3 overlap", "4 duplicate"], &["AAAA 5 -"]),
    // A file with the ended row and the new one, both orders.
    (&["AAAA 1 -"], &["AAAA 1 10", "BBBB 10 -"], [1, 1, 0, 0], &[], &["AAAA 1 10", "BBBB 10 -"]),
    (&["AAAA 1 -"], &["BBBB 10 -", "AAAA 1 10"], [1, 1, 0, 0], &[], &["AAAA 1 10", "BBBB 10 -"]),
    // A file that holds the old row as it was, and the new one after it.
    (&["AAAA 1 -"], &["AAAA 1 -", "BBBB 10 -"], [0, 0, 1, 0], &["3 overlap"], &["AAAA 1 -"]),
    (&["AAAA 1 -"], &["BBBB 10 -", "AAAA 1 -"], [1, 0, 0, 1], &["3 overlap"], &["AAAA 1 10 !", "BBBB 10 -"]),
    // Two switches at once end the stored row at the first.
    (&["AAAA 1 -"], &["CCCC 20 -", "BBBB 10 15"], [2, 0, 0, 1], &[], &["AAAA 1 10 !", "BBBB 10 15", "CCCC 20 -"]),
];

#[tokio::test]
async fn what_a_file_does_to_the_rows_stored() {
    for (stored, lines, [inserted, updated, unchanged, ended], rejected, after) in CASES {
        for desk in desks().await {
            desk.import(Kind::Registrations, file(stored)).await.counts();
            assert_eq!(shown(&desk.registrations().await), *stored);
            let said = desk.import(Kind::Registrations, file(lines)).await;
            let case = format!("{stored:?} + {lines:?} on {}", desk.test.engine);
            assert_eq!(said.reasons(), *rejected, "{case}");
            let (read, rejected) = (lines.len() as u64, rejected.len() as u64);
            assert_eq!(said.counts(), [read, *inserted, *updated, *unchanged, *ended, 0, rejected], "{case}");
            assert_eq!(shown(&desk.registrations().await), *after, "{case}");
            // Again: nothing changes.
            let again = desk.import(Kind::Registrations, file(lines)).await.counts();
            assert_eq!((again[1], again[2], again[4]), (0, 0, 0), "{case}");
            assert_eq!(shown(&desk.registrations().await), *after, "{case}");
        }
    }
}

#[tokio::test]
async fn last_mondays_file_does_not_undo_tuesdays_switch_and_replace_does() {
    for desk in desks().await {
        let monday = file(&["AAAA 1 -"]);
        desk.import(Kind::Registrations, monday.clone()).await.counts();
        assert_eq!(desk.import(Kind::Registrations, file(&["BBBB 10 -"])).await.counts(), [1, 1, 0, 0, 1, 0, 0]);
        let said = desk.import(Kind::Registrations, monday.clone()).await;
        assert_eq!((said.counts(), said.reasons()), ([1, 0, 0, 0, 0, 0, 1], vec!["2 overlap".to_string()]));
        let replace = Options { replace: true, ..Options::default() };
        let said = desk.import_with(Kind::Registrations, monday.clone(), replace).await;
        assert_eq!(said.counts(), [1, 0, 1, 0, 0, 1, 0]);
        assert_eq!(shown(&desk.registrations().await), ["AAAA 1 -"]);
        assert_eq!(desk.import_with(Kind::Registrations, monday, replace).await.counts(), [1, 0, 0, 1, 0, 0, 0]);
        // The end that the withdrawn switch left may be given back its time by any file.
        desk.import(Kind::Registrations, file(&["BBBB 10 -"])).await.counts();
        let said = desk.import_with(Kind::Registrations, file(&["AAAA 1 10"]), replace).await;
        assert_eq!(said.counts(), [1, 0, 0, 1, 0, 1, 0]);
        assert_eq!(desk.import(Kind::Registrations, file(&["AAAA 1 -"])).await.counts(), [1, 0, 1, 0, 0, 0, 0]);
    }
}

#[tokio::test]
async fn a_file_that_contradicts_itself_or_cannot_be_read_is_not_the_whole_truth_about_an_mpan() {
    for desk in desks().await {
        let other = "2278676232781,AAAA,2021-01-01,\n";
        desk.import(Kind::Registrations, file(&["AAAA 1 10", "BBBB 10 -"]) + other).await.counts();
        let replace = Options { replace: true, ..Options::default() };
        let said = desk
            .import_with(Kind::Registrations, file(&["CCCC 5 -", "DDDD 7 -"]) + "2278676232781,bad,2021-01-01,\n", replace)
            .await;
        assert_eq!(said.reasons(), ["2 overlap", "3 overlap", "4 bad-value:supplier_mpid"]);
        assert_eq!(said.counts(), [3, 0, 0, 0, 0, 0, 3]);
        // A slip of the pen in one line takes no other row away; the good line counts as it would without --replace.
        let slip = file(&["CCCC 12 -"]) + "2298132107763,BBBB,2021-01-32,\n2278676232781,BBBB,2020-01-01,2021-01-01\n";
        let said = desk.import_with(Kind::Registrations, slip, replace).await;
        assert_eq!(said.reasons(), ["3 bad-value:effective_from"]);
        assert_eq!(shown(&desk.registrations().await), ["BBBB 2020-01-01 1", "AAAA 1 10", "BBBB 10 12 !", "CCCC 12 -"]);
        // The same line twice contradicts nothing.
        let said = desk.import_with(Kind::Registrations, file(&["CCCC 5 -", "CCCC 5 -"]), replace).await;
        assert_eq!(said.reasons(), ["3 duplicate"]);
        assert_eq!(shown(&desk.registrations().await), ["BBBB 2020-01-01 1", "CCCC 5 -"]);
    }
}
