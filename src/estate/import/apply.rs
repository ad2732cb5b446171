//! Makes a staged import take effect: as one transaction where it is short, else journalled first and then rolled forward in
//! slices, by this process or by whichever opens the database next.

use std::time::Duration;

use super::{Progress, Watch, block::Block, error::ImportError, kinds::Kind};
use crate::{
    clock::{Clock, Time},
    db::{Db, DbError, DbResult},
    estate::store::{
        journal::{self, Counts, ImportRecord},
        slices,
    },
};

/// Rows that one short transaction takes (some 50 ms): their file never shows itself half done to anybody.
pub const DIRECT_ROWS: u64 = 20_000;
/// Bytes of such rows, which are all in memory at once.
const DIRECT_BYTES: u64 = 8 << 20;
/// Writing for this long, a rest is due ...
const WORK_MILLIS: i64 = 400;
/// ... of this long: a SQLite writer of another process that found the database locked looks again every 100 ms at longest,
/// so that it always finds a rest. Together they keep an inbound message waiting well under a second.
const REST: Duration = Duration::from_millis(110);
/// Blocks written to the journal in one transaction: each of at most 4 MB, and usually of 2.
const BLOCKS_KEPT: usize = 4;
/// Blocks that take effect in one transaction, and the time after which no other is begun.
const BLOCKS_APPLIED: u32 = 4;
const SLICE_MILLIS: i64 = 120;
/// Blocks deleted in one transaction when an import is given up.
const BLOCKS_DROPPED: i64 = 16;

/// Keeps our writing from shutting others out.
pub struct Pace {
    clock: Clock,
    since: Time,
    needed: bool,
}

impl Pace {
    pub fn new(db: &Db, clock: &Clock) -> Pace {
        Pace { clock: clock.clone(), since: clock.now(), needed: matches!(db, Db::Sqlite { .. }) }
    }

    /// Called between two transactions.
    pub async fn rest(&mut self) {
        tokio::task::yield_now().await;
        if self.needed && self.clock.now().0 - self.since.0 >= WORK_MILLIS {
            tokio::time::sleep(REST).await;
            self.since = self.clock.now();
        }
    }
}

/// What is known of an import before it takes effect.
pub struct Header<'a> {
    pub kind: Kind,
    pub file: &'a str,
    pub replace: bool,
    /// As [`Input::brought_by`](super::Input).
    pub brought_by: Option<&'a str>,
}

/// Takes the blocks of an import in, in memory while they are few, else into the journal.
pub struct Sink<'a> {
    db: &'a Db,
    clock: &'a Clock,
    header: Header<'a>,
    direct: bool,
    kept: Vec<Block>,
    journalled: Option<i64>,
    seq: i64,
    rows: u64,
    pace: Pace,
}

impl<'a> Sink<'a> {
    pub fn new(db: &'a Db, clock: &'a Clock, header: Header<'a>, rows: u64, bytes: u64) -> Sink<'a> {
        let direct = rows <= DIRECT_ROWS && bytes <= DIRECT_BYTES;
        Sink { db, clock, header, direct, kept: Vec::new(), journalled: None, seq: 0, rows: 0, pace: Pace::new(db, clock) }
    }

    pub async fn take(&mut self, block: Block) -> DbResult<()> {
        if block.rows() == 0 {
            return Ok(());
        }
        self.rows += u64::from(block.rows());
        self.kept.push(block);
        if !self.direct && self.kept.len() >= BLOCKS_KEPT { self.journal().await } else { Ok(()) }
    }

    /// Writes the blocks that are in memory to the journal.
    async fn journal(&mut self) -> DbResult<()> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        let id = match self.journalled {
            Some(id) => id,
            None => {
                let Header { kind, file, replace, brought_by } = self.header;
                journal::begin(&mut tx, kind.as_str(), "staging", file, replace, brought_by, self.clock.now()).await?
            }
        };
        for block in self.kept.drain(..) {
            journal::keep_block(&mut tx, id, self.seq, block.bytes()).await?;
            self.seq += 1;
        }
        tx.commit().await?;
        self.journalled = Some(id);
        self.pace.rest().await;
        Ok(())
    }

    /// Undoes what was journalled. What cannot be undone now is cleaned up by the next import.
    pub async fn abandon(self) {
        if let Some(id) = self.journalled
            && let Err(error) = abandon(self.db, self.clock, id).await
        {
            tracing::warn!(%error, import = id, "the rows of an import that was given up are still stored; the next import removes them");
        }
    }

    /// Makes the import take effect as a whole; gives its id and its counts.
    pub async fn commit(mut self, counts: &Counts, watch: &Watch) -> Result<(i64, Counts), ImportError> {
        if !self.direct
            && let Err(e) = self.journal().await
        {
            self.abandon().await;
            return Err(e.into());
        }
        let Header { kind, file, replace, brought_by } = self.header;
        let Some(id) = self.journalled else {
            let mut tx = self.db.begin().await?;
            let id = journal::begin(&mut tx, kind.as_str(), "applied", file, replace, brought_by, self.clock.now()).await?;
            for block in &self.kept {
                let (counts, _) = slices::apply(&mut tx, id, kind.spec(), block.bytes()).await?;
                journal::conclude(&mut tx, id, "applied", &counts, None).await?;
            }
            journal::conclude(&mut tx, id, "applied", counts, Some(self.clock.now())).await?;
            let record = journal::import_record(&mut tx, id).await?.expect("the row was just written");
            tx.commit().await?;
            return Ok((id, record.counts));
        };
        let mut tx = self.db.begin().await?;
        journal::conclude(&mut tx, id, "applying", counts, None).await?;
        tx.commit().await?;
        let done = roll_forward(self.db, self.clock, id, kind, 0, self.rows, watch).await;
        done.map(|counts| (id, counts)).map_err(ImportError::Unfinished)
    }
}

/// Gives the blocks from `seq` on their effect, a few in each transaction, and marks the import as applied.
async fn roll_forward(db: &Db, clock: &Clock, id: i64, kind: Kind, mut seq: i64, of: u64, watch: &Watch) -> DbResult<Counts> {
    let mut pace = Pace::new(db, clock);
    let mut rows = 0;
    loop {
        let mut tx = db.begin().await?;
        let begun = clock.now();
        for _ in 0..BLOCKS_APPLIED {
            let Some(block) = journal::claim_block(&mut tx, id, seq).await? else {
                journal::conclude(&mut tx, id, "applied", &Counts::default(), Some(clock.now())).await?;
                let record = journal::import_record(&mut tx, id).await?;
                slices::analyze(&mut tx, kind.spec()).await?;
                tx.commit().await?;
                return record.map(|r| r.counts).ok_or_else(|| DbError::bad_row("imports", id, "id", "no row"));
            };
            let (counts, block_rows) = slices::apply(&mut tx, id, kind.spec(), &block).await?;
            journal::conclude(&mut tx, id, "applying", &counts, None).await?;
            seq += 1;
            rows += block_rows;
            if clock.now().0 - begun.0 >= SLICE_MILLIS {
                break;
            }
        }
        tx.commit().await?;
        watch(Progress::Applied { rows, of });
        pace.rest().await;
    }
}

async fn abandon(db: &Db, clock: &Clock, id: i64) -> DbResult<()> {
    let mut pace = Pace::new(db, clock);
    loop {
        let mut tx = db.begin().await?;
        let more = journal::drop_blocks(&mut tx, id, BLOCKS_DROPPED).await?;
        if !more {
            journal::forget(&mut tx, id).await?;
        }
        tx.commit().await?;
        if !more {
            return Ok(());
        }
        pace.rest().await;
    }
}

/// Finishes the imports that a dead process left `applying` and forgets those it left `staging`. The caller holds the lock.
pub async fn recover_locked(db: &Db, clock: &Clock) -> DbResult<Vec<ImportRecord>> {
    let mut tx = db.read().await?;
    let applying = journal::imports_in(&mut tx, "applying").await?;
    let staging = journal::imports_in(&mut tx, "staging").await?;
    drop(tx);
    for import in &applying {
        let kind: Kind = import.kind.parse().map_err(|_| DbError::bad_row("imports", import.id, "kind", &import.kind))?;
        tracing::info!(import = import.id, kind = %kind, "finishing an import that another process had begun");
        let quiet: Watch = std::sync::Arc::new(|_| {});
        roll_forward(db, clock, import.id, kind, import.cursor, 0, &quiet).await?;
    }
    for import in &staging {
        abandon(db, clock, import.id).await?;
    }
    Ok(applying)
}
