//! The import of registrations against a model that reads the contract word by word, over random sequences of files.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct FileLine {
    mpan: usize,
    supplier: usize,
    from: i64,
    /// 0 is open.
    length: i64,
}

#[derive(Debug, Clone)]
struct File {
    lines: Vec<FileLine>,
    replace: bool,
}

const MPANS: [&str; 2] = ["2298132107763", "2278676232781"];
const SUPPLIERS: [&str; 3] = ["AAAA", "BBBB", "CCCC"];
const FAR: i64 = i64::MAX;

fn files() -> impl Strategy<Value = Vec<File>> {
    let line = (0..MPANS.len(), 0..SUPPLIERS.len(), 1i64..12, 0i64..8).prop_map(|(mpan, supplier, from, length)| FileLine {
        mpan,
        supplier,
        from,
        length,
    });
    let file =
        (prop::collection::vec(line, 1..6), prop::bool::weighted(0.15)).prop_map(|(lines, replace)| File { lines, replace });
    prop::collection::vec(file, 1..6)
}

/// (mpan, from, supplier) -> (to, ended by a switch).
type State = BTreeMap<(usize, i64, usize), (i64, bool)>;

fn overlap(a: (i64, i64), b: (i64, i64)) -> bool {
    (1..40).any(|d| a.0 <= d && d < a.1 && b.0 <= d && d < b.1)
}

/// Imports a file into the model; gives the reasons by line.
fn model(state: &mut State, file: &File) -> Vec<Option<Reason>> {
    let stored = state.clone();
    let end = |line: &FileLine| if line.length == 0 { FAR } else { line.from + line.length };
    // What contradicts itself about an MPAN is not the whole truth about it.
    let replaces = |mpan: usize| {
        let of: Vec<&FileLine> = file.lines.iter().filter(|l| l.mpan == mpan).collect();
        let differ = |a: &FileLine, b: &FileLine| (a.from, a.supplier, end(a)) != (b.from, b.supplier, end(b));
        let contradict = |a: &FileLine, b: &FileLine| differ(a, b) && overlap((a.from, end(a)), (b.from, end(b)));
        file.replace && !of.iter().any(|a| of.iter().any(|b| contradict(a, b)))
    };
    let mut seen = Vec::new();
    let mut good: Vec<(usize, i64, usize, i64)> = Vec::new();
    let mut reasons = Vec::new();
    for line in &file.lines {
        let to = if line.length == 0 { FAR } else { line.from + line.length };
        let key = (line.mpan, line.from, line.supplier);
        let in_file = good.iter().any(|g| g.0 == line.mpan && overlap((g.1, g.3), (line.from, to)));
        let other_overlap = stored.iter().any(|(k, (end, _))| {
            k.0 == line.mpan && *k != key && overlap((k.1, *end), (line.from, to)) && !(k.1 < line.from && line.from < *end)
        });
        let reopened = stored.get(&key).is_some_and(|(end, ended)| *ended && to > *end);
        reasons.push(if seen.contains(&key) {
            Some(Reason::Duplicate)
        } else if in_file || (!replaces(line.mpan) && (other_overlap || reopened)) {
            Some(Reason::Overlap)
        } else {
            good.push((line.mpan, line.from, line.supplier, to));
            None
        });
        seen.push(key);
    }
    for (key, (end, _)) in &stored {
        let named = good.iter().any(|g| g.0 == key.0);
        let restated = good.iter().any(|g| (g.0, g.1, g.2) == *key);
        let inside = good.iter().filter(|g| g.0 == key.0 && key.1 < g.1 && g.1 < *end).map(|g| g.1).min();
        if restated {
            continue;
        } else if replaces(key.0) && named {
            state.remove(key);
        } else if let Some(start) = inside {
            state.insert(*key, (start, true));
        }
    }
    for (mpan, from, supplier, to) in good {
        let same = stored.get(&(mpan, from, supplier)).filter(|(end, _)| *end == to && !replaces(mpan));
        state.insert((mpan, from, supplier), (to, same.is_some_and(|s| s.1)));
    }
    reasons
}

fn day(n: i64) -> String {
    crate::clock::Day(18_627 + n).to_string()
}

fn text(file: &File) -> String {
    let line = |l: &FileLine| {
        let to = if l.length == 0 { String::new() } else { day(l.from + l.length) };
        format!("{},{},{},{to}\n", MPANS[l.mpan], SUPPLIERS[l.supplier], day(l.from))
    };
    std::iter::once("mpan,supplier_mpid,effective_from,effective_to\n".to_string()).chain(file.lines.iter().map(line)).collect()
}

fn shown(state: &State) -> Vec<String> {
    // The store sorts by MPAN as a number.
    let mut rows: Vec<_> = state.iter().map(|((m, from, s), (to, ended))| (MPANS[*m], *from, *s, *to, *ended)).collect();
    rows.sort();
    let row = |(_, from, supplier, to, ended): &(&str, i64, usize, i64, bool)| {
        let to = if *to == FAR { "open".to_string() } else { day(*to) };
        format!("{} {} {to}{}", SUPPLIERS[*supplier], day(*from), if *ended { " !" } else { "" })
    };
    rows.iter().map(row).collect()
}

fn compare(desk: &Desk, runtime: &tokio::runtime::Runtime, files: &[File]) -> Result<(), TestCaseError> {
    runtime.block_on(async {
        let mut tx = desk.test.db.begin().await.unwrap();
        sql!(&mut tx, c => sqlx::query("delete from registrations").execute(c).await.map(|_| ())).unwrap();
        tx.commit().await.unwrap();
        let mut state = State::new();
        for file in files {
            let wanted = model(&mut state, file);
            let options = Options { replace: file.replace, ..Options::default() };
            let said = desk.import_with(Kind::Registrations, text(file), options).await;
            let wanted: Vec<String> =
                wanted.iter().enumerate().filter_map(|(i, r)| r.as_ref().map(|r| format!("{} {r}", i + 2))).collect();
            prop_assert_eq!(said.reasons(), wanted, "{:?}", file);
            said.counts();
            prop_assert_eq!(desk.registrations().await, shown(&state), "{:?}", file);
            // Again: nothing changes.
            let again = desk.import_with(Kind::Registrations, text(file), options).await.counts();
            prop_assert_eq!((again[1], again[2], again[4], again[5]), (0, 0, 0, 0), "again {:?}", file);
            prop_assert_eq!(desk.registrations().await, shown(&state), "again {:?}", file);
        }
        Ok(())
    })
}

#[test]
fn any_sequence_of_files_does_what_the_contract_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (i, desk) in runtime.block_on(desks()).into_iter().enumerate() {
        let cases = if i == 0 { 96 } else { 24 };
        let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        runner.run(&files(), |files| compare(&desk, &runtime, &files)).unwrap_or_else(|e| panic!("{}: {e}", desk.test.engine));
    }
}
