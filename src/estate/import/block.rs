//! A block of rows that takes effect in one transaction: what is journalled, and what a slice of the application reads.

use super::cells;
use crate::db::bulk::Value;

/// Rows of a block. One takes effect in some 50 ms, so that nobody waits long for the writer's turn.
const BLOCK_ROWS: u32 = 16_384;
/// Bytes of a block, for rows that are long.
const BLOCK_BYTES: usize = 4 << 20;

const PUT: u8 = 1;
const REMOVE: u8 = 2;

/// What is done with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// All its columns are given: inserted, or updated where it differs.
    Put,
    /// Only its key is given.
    Remove,
}

/// Rows, one after the other.
#[derive(Debug, Default, Clone)]
pub struct Block {
    rows: u32,
    bytes: Vec<u8>,
}

impl Block {
    pub fn put(&mut self, row: &[u8]) {
        self.rows += 1;
        self.bytes.push(PUT);
        self.bytes.extend_from_slice(row);
    }

    pub fn push(&mut self, op: Op, row: &[Value<'_>]) {
        self.rows += 1;
        self.bytes.push(if op == Op::Put { PUT } else { REMOVE });
        row.iter().for_each(|value| cells::put(&mut self.bytes, *value));
    }

    pub fn rows(&self) -> u32 {
        self.rows
    }

    pub fn is_full(&self) -> bool {
        self.rows >= BLOCK_ROWS || self.bytes.len() >= BLOCK_BYTES
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads rows of `columns` cells (a removed one: `key` cells) from a block's bytes; `None` where they are not such rows.
    pub fn read<'a>(mut bytes: &'a [u8], columns: usize, key: usize, mut each: impl FnMut(Op, &[Value<'a>])) -> Option<()> {
        let mut row = Vec::with_capacity(columns);
        while let Some((op, rest)) = bytes.split_first() {
            bytes = rest;
            let (op, width) = match *op {
                PUT => (Op::Put, columns),
                REMOVE => (Op::Remove, key),
                _ => return None,
            };
            row.clear();
            for _ in 0..width {
                row.push(cells::take(&mut bytes)?);
            }
            each(op, &row);
        }
        Some(())
    }
}
