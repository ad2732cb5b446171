//! Many rows at once, at the speed of the engine: multi-row `?` inserts on SQLite (numbered parameters are quadratic there),
//! COPY on PostgreSQL. Not an upsert: a row whose key is taken is an error; to merge, fill a temporary table and go on in SQL.
//! Promise: memory is what was pushed since the last flush, and nothing is written before [`Rows::flush`].

use std::sync::Arc;

use futures_util::future::join;
use sqlx::{Arguments, AssertSqlSafe, Sqlite, Transaction, sqlite::SqliteArguments};

use super::{DbResult, Tx};

/// Cells of one multi-row insert on SQLite: flat from 2,000 to 16,000 alone, best above beside other work (measured), and well below SQLite's 32,766 parameters.
const SQLITE_CELLS: usize = 14_000;
/// Bytes of COPY text sent at once.
const COPY_BYTES: usize = 1 << 20;

/// One cell of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Null,
    Int(i64),
    Bool(bool),
    Text(&'a str),
}

impl From<i64> for Value<'_> {
    fn from(n: i64) -> Self {
        Value::Int(n)
    }
}

impl From<bool> for Value<'_> {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(s: &'a str) -> Self {
        Value::Text(s)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(v: Option<T>) -> Self {
        v.map_or(Value::Null, Into::into)
    }
}

/// A kept cell: texts lie one after the other in `Rows::texts`.
#[derive(Debug, Clone, Copy)]
enum Cell {
    Null,
    Int(i64),
    Bool(bool),
    Text {
        start: u32,
        end: u32,
    },
    /// The place in `Rows::known`.
    Word(u32),
}

/// Rows on their way into one table.
///
/// ```ignore
/// let mut rows = Rows::new("targets", &["plan_id", "device_id", "detail"]);
/// rows.push(&[plan.into(), device.to_db().into(), Value::Null]);
/// rows.flush(&mut tx).await?;
/// ```
pub struct Rows {
    table: &'static str,
    columns: &'static [&'static str],
    /// Columns that hold the same number in every row, with it: neither kept nor bound.
    fixed: Vec<(&'static str, i64)>,
    /// The last so many columns hold few different texts together.
    few: usize,
    /// What they held so far, each once.
    known: Vec<Vec<Option<String>>>,
    cells: Vec<Cell>,
    texts: String,
}

impl Rows {
    /// Table and column names go into the SQL as they are: they are the program's own.
    pub fn new(table: &'static str, columns: &'static [&'static str]) -> Rows {
        assert!(!columns.is_empty() && columns.len() <= SQLITE_CELLS, "a table has columns, and not thousands");
        Rows { table, columns, fixed: Vec::new(), few: 0, known: Vec::new(), cells: Vec::new(), texts: String::new() }
    }

    /// Every row also gets these numbers in these columns. On SQLite they are part of the statement, which costs a row nothing.
    pub fn with_fixed(mut self, fixed: &[(&'static str, i64)]) -> Rows {
        self.fixed = fixed.to_vec();
        self
    }

    /// Says of the last so many columns that they hold texts, and that few combinations of them (tens) come again and again: on
    /// SQLite a row then binds one small number for them, which the statement spells out. Many would be slow, and right.
    pub fn with_few(mut self, columns: usize) -> Rows {
        assert!(columns < self.columns.len(), "{} has a column that says which row it is", self.table);
        self.few = columns;
        self
    }

    /// Keeps one row: as many values as there are columns, in their order.
    pub fn push(&mut self, row: &[Value<'_>]) {
        assert_eq!(row.len(), self.columns.len(), "a row of {} has one value a column", self.table);
        let (each, few) = row.split_at(row.len() - self.few);
        for value in each {
            let cell = match *value {
                Value::Null => Cell::Null,
                Value::Int(n) => Cell::Int(n),
                Value::Bool(b) => Cell::Bool(b),
                Value::Text(text) => {
                    let start = self.place_in_texts();
                    self.texts.push_str(text);
                    Cell::Text { start, end: self.place_in_texts() }
                }
            };
            self.cells.push(cell);
        }
        if self.few > 0 {
            let place = self.place(few);
            self.cells.push(Cell::Word(place as u32));
        }
    }

    /// Where the next text begins.
    fn place_in_texts(&self) -> u32 {
        u32::try_from(self.texts.len()).expect("whoever pushes flushes long before 4 GB of text")
    }

    /// Where a combination is among those known, which learn it if it is new.
    fn place(&mut self, few: &[Value<'_>]) -> usize {
        let same = |known: &Vec<Option<String>>| known.iter().zip(few).all(|(known, value)| known.as_deref() == word(value));
        self.known.iter().position(same).unwrap_or_else(|| {
            self.known.push(few.iter().map(|value| word(value).map(str::to_string)).collect());
            self.known.len() - 1
        })
    }

    /// Cells kept for a row.
    fn width(&self) -> usize {
        self.columns.len() - self.few + usize::from(self.few > 0)
    }

    /// Sends what was pushed, and what will be, to another table that has the same columns.
    pub fn into_table(&mut self, table: &'static str) {
        self.table = table;
    }

    /// Rows pushed since the last flush.
    pub fn len(&self) -> usize {
        self.cells.len() / self.width()
    }

    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Inserts what was pushed and forgets it; the buffers are kept for the next rows.
    pub async fn flush(&mut self, tx: &mut Tx) -> DbResult<()> {
        if !self.is_empty() {
            match tx {
                Tx::Sqlite(t) => self.insert(t).await?,
                Tx::Postgres(t) => self.copy(t).await?,
            }
        }
        self.cells.clear();
        self.texts.clear();
        Ok(())
    }

    async fn insert(&self, t: &mut Transaction<'static, Sqlite>) -> DbResult<()> {
        let width = self.width();
        let per_statement = SQLITE_CELLS / width;
        let full = self.insert_text(per_statement);
        let mut chunks = self.cells.chunks(per_statement * width);
        let mut words = Words::default();
        let mut next = chunks.next().map(|chunk| (chunk.len() / width, self.arguments(chunk, &mut words)));
        while let Some((rows, arguments)) = next.take() {
            let whole = rows == per_statement;
            let text = if whole { full.clone() } else { self.insert_text(rows) };
            // Only the full-sized statement comes again: keep it prepared, and no other.
            let run = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(whole).execute(&mut **t);
            // The next arguments are laid out while the driver's own thread runs this statement.
            let prepare = async { chunks.next().map(|chunk| (chunk.len() / width, self.arguments(chunk, &mut words))) };
            let (done, prepared) = join(run, prepare).await;
            done?;
            next = prepared;
        }
        Ok(())
    }

    fn insert_text(&self, rows: usize) -> String {
        let mut row = "?,".repeat(self.width());
        row.pop();
        let mut values = format!("({row}),").repeat(rows);
        values.pop();
        if self.fixed.is_empty() && self.few == 0 {
            return format!("insert into {} ({}) values {values}", self.table, self.columns.join(", "));
        }
        let mut names = self.columns.to_vec();
        let each = self.columns.len() - self.few;
        let mut given: Vec<String> = (1..=each).map(|n| format!("column{n}")).collect();
        given.extend((0..self.few).map(|i| self.spelled(each + 1, i)));
        for (name, number) in &self.fixed {
            names.push(name);
            given.push(number.to_string());
        }
        // The limit keeps SQLite from merging the rows into the outer statement one by one.
        format!(
            "insert into {} ({}) select {} from (select * from (values {values}) limit -1)",
            self.table,
            names.join(", "),
            given.join(", ")
        )
    }

    /// The SQL of the i-th column of those with few texts: what the number in `column{n}` stands for.
    fn spelled(&self, n: usize, i: usize) -> String {
        let quoted = |w: &Option<String>| w.as_ref().map_or("null".to_string(), |w| format!("'{}'", w.replace('\'', "''")));
        let cases = self.known.iter().enumerate().map(|(place, words)| format!(" when {place} then {}", quoted(&words[i])));
        format!("case column{n}{} end", cases.collect::<String>())
    }

    fn arguments(&self, cells: &[Cell], words: &mut Words) -> SqliteArguments {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(cells.len(), 0);
        for cell in cells {
            let added = match *cell {
                Cell::Null => arguments.add(None::<i64>),
                Cell::Int(n) => arguments.add(n),
                Cell::Bool(b) => arguments.add(i64::from(b)),
                Cell::Word(n) => arguments.add(i64::from(n)),
                Cell::Text { start, end } => arguments.add(words.shared(&self.texts[start as usize..end as usize])),
            };
            added.expect("integers and texts always encode");
        }
        arguments
    }

    async fn copy(&self, t: &mut Transaction<'static, sqlx::Postgres>) -> DbResult<()> {
        let names: Vec<&str> = self.columns.iter().copied().chain(self.fixed.iter().map(|f| f.0)).collect();
        let fixed: String = self.fixed.iter().map(|f| format!("\t{}", f.1)).collect();
        let statement = format!("copy {} ({}) from stdin", self.table, names.join(", "));
        let mut copy = t.copy_in_raw(&statement).await?;
        let mut text = Vec::with_capacity(COPY_BYTES + COPY_BYTES / 4);
        for row in self.cells.chunks(self.width()) {
            self.copy_row(row, &mut text);
            text.extend_from_slice(fixed.as_bytes());
            text.push(b'\n');
            if text.len() >= COPY_BYTES {
                copy.send(text.as_slice()).await?;
                text.clear();
            }
        }
        copy.send(text.as_slice()).await?;
        copy.finish().await?;
        Ok(())
    }

    /// One line of COPY's text format without its end: tab between cells, `\N` for null, backslash escapes.
    fn copy_row(&self, row: &[Cell], out: &mut Vec<u8>) {
        use std::io::Write;
        for (i, cell) in row.iter().enumerate() {
            if i > 0 {
                out.push(b'\t');
            }
            match *cell {
                Cell::Null => out.extend_from_slice(b"\\N"),
                Cell::Int(n) => write!(out, "{n}").expect("writing to memory"),
                Cell::Bool(b) => out.push(if b { b't' } else { b'f' }),
                Cell::Text { start, end } => escape(&self.texts[start as usize..end as usize], out),
                Cell::Word(n) => {
                    for (i, text) in self.known[n as usize].iter().enumerate() {
                        if i > 0 {
                            out.push(b'\t');
                        }
                        match text {
                            Some(text) => escape(text, out),
                            None => out.extend_from_slice(b"\\N"),
                        }
                    }
                }
            }
        }
    }
}

/// A value of a column that holds few texts.
fn word<'a>(value: &Value<'a>) -> Option<&'a str> {
    match value {
        Value::Text(text) => Some(text),
        Value::Null => None,
        Value::Int(_) | Value::Bool(_) => panic!("columns that hold few texts hold texts"),
    }
}

/// A text as COPY wants it.
fn escape(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            other => out.push(other),
        }
    }
}

/// Short texts that come again and again (a status, a model) are shared: an allocation that another thread frees costs five
/// times a counted reference (measured).
struct Words {
    slots: Vec<Option<Arc<str>>>,
}

/// Texts remembered, one a slot.
const WORD_SLOTS: usize = 256;
/// Longer texts seldom come twice.
const WORD_BYTES: usize = 32;

impl Default for Words {
    fn default() -> Words {
        Words { slots: vec![None; WORD_SLOTS] }
    }
}

impl Words {
    fn shared(&mut self, text: &str) -> Arc<str> {
        if text.len() > WORD_BYTES {
            return Arc::from(text);
        }
        // FNV-1a: a few bytes, and a clash costs only an allocation.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let slot = &mut self.slots[(hash >> 32) as usize % WORD_SLOTS];
        match slot {
            Some(word) if **word == *text => word.clone(),
            _ => slot.insert(Arc::from(text)).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::databases;

    #[tokio::test]
    async fn every_kind_of_cell_comes_back_as_it_was_on_both_engines() {
        let hard = ["", "\\N", "a\tb\nc\rd\\", "é € 🏠", "'quoted' \"twice\"", "\\."];
        for t in databases().await {
            let mut tx = t.db.begin().await.unwrap();
            let create = "create table bulk_test (n bigint, flag boolean, word text, maybe text)";
            crate::sql!(&mut tx, c => sqlx::query(create).execute(c).await.map(|_| ())).unwrap();
            let mut rows = Rows::new("bulk_test", &["n", "flag", "word", "maybe"]);
            // More than one statement's worth, and a remainder.
            for n in 0..4_001i64 {
                let word = hard[n as usize % hard.len()];
                let maybe = (n % 2 == 0).then_some(word);
                rows.push(&[(if n == 7 { i64::MIN } else { n }).into(), (n % 3 == 0).into(), word.into(), maybe.into()]);
            }
            assert_eq!(rows.len(), 4_001);
            rows.flush(&mut tx).await.unwrap();
            assert!(rows.is_empty());
            rows.flush(&mut tx).await.unwrap();
            type Row = (i64, bool, String, Option<String>);
            let all: Vec<Row> = crate::sql!(&mut tx, c => sqlx::query_as("select n, flag, word, maybe from bulk_test order by n")
                .fetch_all(c).await)
            .unwrap();
            assert_eq!(all.len(), 4_001, "{}", t.engine);
            assert_eq!(all[0].0, i64::MIN);
            for (n, flag, word, maybe) in &all[1..] {
                let wanted = hard[*n as usize % hard.len()];
                assert_eq!((*flag, word.as_str()), (n % 3 == 0, wanted), "{} row {n}", t.engine);
                assert_eq!(maybe.as_deref(), (n % 2 == 0).then_some(wanted));
            }
        }
    }

    #[tokio::test]
    async fn few_words_and_fixed_columns_come_back_as_they_were_on_both_engines() {
        let words = ["it's", "", "\\N", "a\tb", "é"];
        for t in databases().await {
            let mut tx = t.db.begin().await.unwrap();
            let create = "create table bulk_words (n bigint, word text, never text, batch bigint, zero bigint)";
            crate::sql!(&mut tx, c => sqlx::query(create).execute(c).await.map(|_| ())).unwrap();
            let mut rows = Rows::new("bulk_words", &["n", "word", "never"]).with_few(2).with_fixed(&[("batch", -7), ("zero", 0)]);
            // The second flush knows words that the first did not.
            for (known, range) in [(2, 0..3_001i64), (words.len(), 3_001..6_005)] {
                for n in range {
                    let word = (n % 7 != 0).then_some(words[n as usize % known]);
                    rows.push(&[n.into(), word.into(), Value::Null]);
                }
                rows.flush(&mut tx).await.unwrap();
            }
            type Row = (i64, Option<String>, Option<String>, i64, i64);
            let all: Vec<Row> =
                crate::sql!(&mut tx, c => sqlx::query_as("select n, word, never, batch, zero from bulk_words order by n")
                    .fetch_all(c).await)
                .unwrap();
            assert_eq!(all.len(), 6_005, "{}", t.engine);
            for (n, word, never, batch, zero) in &all {
                let known = if *n < 3_001 { 2 } else { words.len() };
                let wanted = (n % 7 != 0).then_some(words[*n as usize % known]);
                assert_eq!((word.as_deref(), never, *batch, *zero), (wanted, &None, -7, 0), "{} row {n}", t.engine);
            }
        }
    }

    #[tokio::test]
    async fn a_taken_key_is_an_error_and_the_transaction_can_be_dropped() {
        for t in databases().await {
            let mut tx = t.db.begin().await.unwrap();
            let create = "create table bulk_keys (n bigint primary key)";
            crate::sql!(&mut tx, c => sqlx::query(create).execute(c).await.map(|_| ())).unwrap();
            let mut rows = Rows::new("bulk_keys", &["n"]);
            rows.push(&[1.into()]);
            rows.push(&[1.into()]);
            assert!(rows.flush(&mut tx).await.unwrap_err().is_unique_violation(), "{}", t.engine);
            drop(tx);
            t.db.read().await.unwrap();
        }
    }
}
