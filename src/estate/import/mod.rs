//! Loads a CSV file of the six kinds (contract.md, "Input files"). Reading, sorting and judging come first and touch nothing;
//! then the file takes effect as a whole. Promise: constant memory, and no writer waits a second for us, whatever the length.

mod apply;
pub(super) mod block;
mod cells;
mod columns;
mod error;
mod input;
pub(super) mod kinds;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod records;
mod registrations;
mod rejects;
mod sorter;
mod stage;

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, task::spawn_blocking};

pub use columns::CPL_COLUMNS;
pub use error::ImportError;
pub use input::Input;
pub use kinds::Kind;
pub use records::RECORD_BYTES;

use crate::{
    clock::Clock,
    db::{Db, DbResult, bulk::Value},
    estate::store::{
        self,
        journal::Counts,
        lock::{self, ImportLock},
    },
};
use apply::{Header, Sink};
use block::{Block, Op};
use kinds::{Reason, Spec};
use registrations::{Change, Line, Stored, Tally};
use rejects::{Place, Rejects};
use stage::{Batch, RegistrationLine, Staged};

#[cfg(test)]
mod tests;

/// Between two looks whether the other import has ended.
const LOCK_RETRY: Duration = Duration::from_millis(100);
/// Batches between the merging thread and the database: enough that neither waits, few enough to stay small.
const BATCHES_IN_FLIGHT: usize = 4;

/// What an import tells while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another import is running; this one waits for it.
    Waiting,
    Read {
        bytes: u64,
        rows: u64,
    },
    /// Rows that have taken effect, of a file too long to do so at once.
    Applied {
        rows: u64,
        of: u64,
    },
    /// For stderr, once.
    Warning(String),
}

/// Hears of progress, on whatever thread makes it.
pub type Watch = Arc<dyn Fn(Progress) + Send + Sync>;

/// How to import.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// One bad row leaves the database as it was.
    pub strict: bool,
    /// Registrations: the file is the whole truth for each MPAN of which it holds a good row, no line that cannot be read and none that
    /// contradicts another; about the others it says what it would say without this.
    pub replace: bool,
}

/// What came of a file. `inserted + updated + unchanged + rejected = read`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct ImportReport {
    pub kind: Kind,
    pub import_id: i64,
    pub read: u64,
    pub inserted: u64,
    pub updated: u64,
    pub unchanged: u64,
    /// Registrations that a line beginning inside them ended.
    pub ended: u64,
    /// Registrations that a `--replace` file does not hold any more.
    pub removed: u64,
    pub rejected: u64,
    /// Where the rejected rows are, if there are any.
    pub rejects_path: Option<PathBuf>,
}

/// Imports a file of `kind`.
pub async fn import(
    db: &Db,
    clock: &Clock,
    kind: Kind,
    input: Input,
    options: Options,
    watch: Watch,
) -> Result<ImportReport, ImportError> {
    if options.replace && kind != Kind::Registrations {
        return Err(ImportError::ReplaceOther { kind });
    }
    let lock = wait_for_lock(db, &watch).await?;
    apply::recover_locked(db, clock).await?;
    let report = import_locked(db, clock, kind, input, options, watch).await;
    lock.release().await?;
    report
}

/// Finishes what a dead process left half applied; leaves a live one alone. `App::open` calls it.
pub async fn recover(db: &Db, clock: &Clock) -> Result<(), ImportError> {
    let mut tx = db.read().await?;
    let applying = store::applying(&mut tx).await?;
    drop(tx);
    if !applying {
        return Ok(());
    }
    if let Some(lock) = lock::try_lock(db).await.map_err(ImportError::Lock)? {
        apply::recover_locked(db, clock).await.map_err(ImportError::Unfinished)?;
        lock.release().await?;
    }
    Ok(())
}

async fn wait_for_lock(db: &Db, watch: &Watch) -> Result<ImportLock, ImportError> {
    let mut told = false;
    loop {
        if let Some(lock) = lock::try_lock(db).await.map_err(ImportError::Lock)? {
            return Ok(lock);
        }
        if !told {
            watch(Progress::Waiting);
            told = true;
        }
        tokio::time::sleep(LOCK_RETRY).await;
    }
}

async fn import_locked(
    db: &Db,
    clock: &Clock,
    kind: Kind,
    input: Input,
    options: Options,
    watch: Watch,
) -> Result<ImportReport, ImportError> {
    let (file, path, brought_by) = (input.name.clone(), input.rejects.clone(), input.brought_by.clone());
    let scratch = lock::scratch_folder(db);
    let staged = {
        let (scratch, watch, now) = (scratch.clone(), watch.clone(), clock.now());
        spawn_blocking(move || stage::read(input, kind.spec(), &scratch, &watch, now))
            .await
            .map_err(|_| ImportError::Stopped)??
    };
    let Staged { read, rows, mut rejects, text } = staged;
    let header = Header { kind, file: &file, replace: options.replace, brought_by: brought_by.as_deref() };
    let mut sink = Sink::new(db, clock, header, rows.len(), rows.size());
    let taken = take_rows(db, kind.spec(), options.replace, rows, &mut rejects, &mut sink).await;
    let mut counts = match taken {
        Ok(counts) => counts,
        Err(e) => {
            sink.abandon().await;
            return Err(e.into_import_error(&file, &scratch));
        }
    };
    counts.read = read;
    counts.rejected = rejects.len();
    let written = write_rejects(rejects, text, &path).await;
    if let Err(e) = written {
        sink.abandon().await;
        return Err(e);
    }
    if options.strict && counts.rejected > 0 {
        sink.abandon().await;
        return Err(ImportError::Strict { file, rejected: counts.rejected, read, rejects: path });
    }
    let (import_id, counts) = sink.commit(&counts, &watch).await?;
    let Counts { read, inserted, updated, unchanged, ended, removed, rejected } = counts;
    let rejects_path = (rejected > 0).then_some(path);
    Ok(ImportReport { kind, import_id, read, inserted, updated, unchanged, ended, removed, rejected, rejects_path })
}

async fn write_rejects(rejects: Rejects, mut text: input::Text, path: &Path) -> Result<(), ImportError> {
    let to = path.to_path_buf();
    let written = spawn_blocking(move || rejects.write(&mut text, &to)).await.map_err(|_| ImportError::Stopped)?;
    written.map_err(|source| ImportError::Rejects { path: path.to_path_buf(), source })
}

/// Why the sorted rows could not be taken in.
enum TakeError {
    Scratch(std::io::Error),
    Db(crate::db::DbError),
    Stopped,
}

impl TakeError {
    fn into_import_error(self, file: &str, scratch: &Path) -> ImportError {
        match self {
            TakeError::Scratch(source) => ImportError::Scratch { file: file.to_string(), folder: scratch.to_path_buf(), source },
            TakeError::Db(e) => ImportError::Db(e),
            TakeError::Stopped => ImportError::Stopped,
        }
    }
}

/// Merges the sorted rows into the sink; the second line with a key and what overlaps go to the rejects.
async fn take_rows(
    db: &Db,
    spec: &'static Spec,
    replace: bool,
    rows: sorter::Sorter,
    rejects: &mut Rejects,
    sink: &mut Sink<'_>,
) -> Result<Counts, TakeError> {
    let (sender, mut batches) = mpsc::channel::<Batch>(BATCHES_IN_FLIGHT);
    let merging = spawn_blocking(move || stage::merge(rows, spec, &sender));
    let mut tally = Tally::default();
    while let Some(batch) = batches.recv().await {
        for place in batch.duplicates {
            rejects.push(place, &Reason::Duplicate).map_err(TakeError::Scratch)?;
        }
        sink.take(batch.block).await.map_err(TakeError::Db)?;
        if !batch.lines.is_empty() {
            for block in judge(db, &batch.lines, replace, &mut tally, rejects).await? {
                sink.take(block).await.map_err(TakeError::Db)?;
            }
        }
    }
    merging.await.map_err(|_| TakeError::Stopped)?.map_err(TakeError::Scratch)?;
    let Tally { inserted, updated, unchanged, ended, removed } = tally;
    Ok(Counts { inserted, updated, unchanged, ended, removed, ..Counts::default() })
}

/// Decides about registration lines, sorted by MPAN, against the rows stored; gives the changes.
async fn judge(
    db: &Db,
    lines: &[RegistrationLine],
    replace: bool,
    tally: &mut Tally,
    rejects: &mut Rejects,
) -> Result<Vec<Block>, TakeError> {
    let mut stored = stored_rows(db, lines).await.map_err(TakeError::Db)?;
    let noticed = if replace { noticed(db, lines).await.map_err(TakeError::Db)? } else { HashSet::new() };
    let (mut blocks, mut block, mut changes) = (Vec::new(), Block::default(), Vec::new());
    for group in lines.chunk_by(|a, b| a.mpan == b.mpan) {
        let mpan = group[0].mpan;
        let rows = stored.remove(&mpan.to_db()).unwrap_or_default();
        let lines: Vec<(Line, Place)> = group.iter().filter_map(|l| Some((l.line?, l.place))).collect();
        let of_group: Vec<Line> = lines.iter().map(|(line, _)| *line).collect();
        // A file with a line that could not be read, or two that contradict each other, is not the whole truth about its MPAN.
        let replace = replace && lines.len() == group.len() && registrations::agree(&of_group);
        let mut failed = None;
        registrations::resolve(mpan, &of_group, &rows, replace, tally, &mut changes, |i, reason| {
            if let Err(e) = rejects.push(lines[i].1, &reason) {
                failed.get_or_insert(e);
            }
        });
        if let Some(e) = failed {
            return Err(TakeError::Scratch(e));
        }
        if replace && noticed.contains(&mpan.to_db()) {
            registrations::say_again(mpan, &of_group, &rows, &mut changes);
        }
        for change in changes.drain(..) {
            push_change(&mut block, &change);
            if block.is_full() {
                blocks.push(std::mem::take(&mut block));
            }
        }
    }
    blocks.push(block);
    Ok(blocks)
}

fn push_change(block: &mut Block, change: &Change) {
    match change {
        Change::Put { mpan, key: (from, supplier), row } => {
            let to: Value<'_> = row.to.map(|d| d.0).into();
            let cells = [mpan.to_db().into(), from.0.into(), supplier.as_str().into(), to, row.ended_by_switch.into()];
            block.push(Op::Put, &cells);
        }
        Change::Remove { mpan, key: (from, supplier) } => {
            block.push(Op::Remove, &[mpan.to_db().into(), from.0.into(), supplier.as_str().into()]);
        }
    }
}

/// The MPANs of these lines of which an alert said that they were lost.
async fn noticed(db: &Db, lines: &[RegistrationLine]) -> DbResult<HashSet<i64>> {
    let mut mpans: Vec<_> = lines.iter().map(|l| l.mpan).collect();
    mpans.dedup();
    store::noticed(&mut db.read().await?, &mpans).await
}

type StoredByMpan = BTreeMap<i64, BTreeMap<registrations::Key, Stored>>;

async fn stored_rows(db: &Db, lines: &[RegistrationLine]) -> DbResult<StoredByMpan> {
    let mut mpans: Vec<_> = lines.iter().map(|l| l.mpan).collect();
    mpans.dedup();
    let mut tx = db.read().await?;
    let mut all = StoredByMpan::new();
    for (row, ended_by_switch) in store::registrations_with_ends(&mut tx, &mpans).await? {
        let stored = Stored { to: row.effective_to, ended_by_switch };
        all.entry(row.mpan.to_db()).or_default().insert((row.effective_from, row.supplier_mpid), stored);
    }
    Ok(all)
}
