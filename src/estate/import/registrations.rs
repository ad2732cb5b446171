//! What a file's registration lines for one MPAN do to the rows already stored (contract.md, the paragraph under the table). Pure.
//! Promise: rows that do not overlap stay rows that do not overlap, whatever the file says.

use std::collections::{BTreeMap, HashSet};

use super::kinds::Reason;
use crate::{
    clock::Day,
    ids::{Mpan, Mpid},
};

/// A registration's key within its MPAN.
pub type Key = (Day, Mpid);

/// One well-formed line of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    pub from: Day,
    pub supplier: Mpid,
    pub to: Option<Day>,
}

impl Line {
    fn key(&self) -> Key {
        (self.from, self.supplier)
    }
}

/// What is stored under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub to: Option<Day>,
    /// A later switch ended the row: no file but a `--replace` may reopen it.
    pub ended_by_switch: bool,
}

/// A change to one stored row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Put { mpan: Mpan, key: Key, row: Stored },
    Remove { mpan: Mpan, key: Key },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub inserted: u64,
    pub updated: u64,
    pub unchanged: u64,
    /// Rows that a line beginning inside them ended.
    pub ended: u64,
    /// Rows that a `--replace` file does not hold any more.
    pub removed: u64,
}

/// Whether all lines can be true at once: none overlaps another, and one that is there twice says the same.
pub fn agree(lines: &[Line]) -> bool {
    let mut by_start = lines.to_vec();
    by_start.sort_unstable_by_key(|line| (line.from, line.supplier, line.to));
    by_start.dedup();
    by_start.windows(2).all(|pair| pair[0].to.is_some_and(|to| to <= pair[1].from))
}

/// Decides about the lines of one MPAN, which come in the order of the file. Calls `reject` with the index of each line that
/// is refused. A refused line counts for nothing, but for the rule that the second line with a key is a duplicate.
pub fn resolve(
    mpan: Mpan,
    lines: &[Line],
    stored: &BTreeMap<Key, Stored>,
    replace: bool,
    tally: &mut Tally,
    changes: &mut Vec<Change>,
    mut reject: impl FnMut(usize, Reason),
) {
    let mut seen = HashSet::with_capacity(lines.len());
    let mut accepted: BTreeMap<Day, Line> = BTreeMap::new();
    for (i, line) in lines.iter().enumerate() {
        if !seen.insert(line.key()) {
            reject(i, Reason::Duplicate);
        } else if overlaps_accepted(line, &accepted) || (!replace && overlaps_stored(line, stored)) {
            reject(i, Reason::Overlap);
        } else {
            accepted.insert(line.from, *line);
        }
    }
    if accepted.is_empty() {
        return;
    }
    for line in accepted.values() {
        let row = Stored { to: line.to, ended_by_switch: false };
        match stored.get(&line.key()) {
            None => tally.inserted += 1,
            Some(found) if found.to == line.to => {
                tally.unchanged += 1;
                // The whole truth says nothing of a switch any more.
                if !(replace && found.ended_by_switch) {
                    continue;
                }
            }
            Some(_) => tally.updated += 1,
        }
        changes.push(Change::Put { mpan, key: line.key(), row });
    }
    for (key, row) in stored {
        if accepted.get(&key.0).is_some_and(|line| line.key() == *key) {
            continue;
        }
        if replace {
            tally.removed += 1;
            changes.push(Change::Remove { mpan, key: *key });
        } else if let Some((start, _)) = accepted.range(key.0.plus(1)..).next().filter(|(start, _)| is_before(**start, row.to)) {
            tally.ended += 1;
            changes.push(Change::Put { mpan, key: *key, row: Stored { to: Some(*start), ended_by_switch: true } });
        }
    }
}

/// Rows that a `--replace` file names and that are stored just so, as changes all the same: what the file says of an MPAN is newer than
/// an alert that came before it.
pub fn say_again(mpan: Mpan, lines: &[Line], stored: &BTreeMap<Key, Stored>, changes: &mut Vec<Change>) {
    let changed: HashSet<Key> = changes
        .iter()
        .map(|c| match c {
            Change::Put { key, .. } | Change::Remove { key, .. } => *key,
        })
        .collect();
    let same = lines.iter().filter(|l| !changed.contains(&l.key()) && stored.get(&l.key()).is_some_and(|row| row.to == l.to));
    changes.extend(same.map(|l| Change::Put { mpan, key: l.key(), row: Stored { to: l.to, ended_by_switch: false } }));
}

/// Whether `day` is before an end; an open row has none.
fn is_before(day: Day, end: Option<Day>) -> bool {
    end.is_none_or(|end| day < end)
}

/// Accepted lines do not overlap one another, so that only the neighbours need a look.
fn overlaps_accepted(line: &Line, accepted: &BTreeMap<Day, Line>) -> bool {
    let before = accepted.range(..=line.from).next_back();
    let after = accepted.range(line.from..).next();
    before.is_some_and(|(_, b)| is_before(line.from, b.to)) || after.is_some_and(|(from, _)| is_before(*from, line.to))
}

/// A line may begin inside a stored row, which it then ends. Every other overlap is refused: a stored row that begins at
/// the same time as the line or during it, and more time for a row that a switch ended.
fn overlaps_stored(line: &Line, stored: &BTreeMap<Key, Stored>) -> bool {
    let least: Mpid = "AAAA".parse().expect("four capital letters");
    let begins_during = stored
        .range((line.from, least)..)
        .take_while(|((from, _), _)| is_before(*from, line.to))
        .any(|(key, _)| *key != line.key());
    let reopens =
        stored.get(&line.key()).is_some_and(|row| row.ended_by_switch && row.to.is_some_and(|end| is_before(end, line.to)));
    begins_during || reopens
}
