//! One CSV entry of a pack, as it grows.

use std::path::Path;

use crate::{
    evidence::{Packed, Packer},
    failure::{Failure, Outcome},
};

/// A CSV file with its header, packed row by row.
pub(super) struct Table {
    csv: csv::Writer<Packer>,
    columns: usize,
    pub rows: u64,
}

impl Table {
    pub fn new(folder: &Path, columns: &[&str]) -> Outcome<Table> {
        let mut table = Table { csv: csv::Writer::from_writer(Packer::new(folder)), columns: columns.len(), rows: 0 };
        table.csv.write_record(columns).map_err(unwritten)?;
        Ok(table)
    }

    /// One row: a cell for every column.
    pub fn row<const N: usize>(&mut self, cells: [&str; N]) -> Outcome {
        self.cells(cells)
    }

    /// The same, of cells that are put together.
    pub fn cells<'c>(&mut self, cells: impl IntoIterator<Item = &'c str>) -> Outcome {
        let mut written = 0;
        for cell in cells {
            self.csv.write_field(cell).map_err(unwritten)?;
            written += 1;
        }
        assert_eq!(written, self.columns, "a row has a cell for every column");
        self.csv.write_record(None::<&[u8]>).map_err(unwritten)?;
        self.rows += 1;
        Ok(())
    }

    pub fn finish(self) -> Outcome<Packed> {
        let packer = self.csv.into_inner().map_err(|e| unwritten(e.into_error()))?;
        packer.finish().map_err(unwritten)
    }
}

/// A cell for what may be absent.
pub(super) fn cell<T: ToString>(value: Option<T>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

pub(super) fn unwritten(e: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the pack cannot be written: {e}"))
        .help("it grows beside the file it will be: check that the folder exists, has room, and that you may write in it")
}
