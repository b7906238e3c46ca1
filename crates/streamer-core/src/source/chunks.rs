//! Rows of tables as they stand at a place of the log: what a snapshot is made of.
//!
//! A [`Chunks`] reads on a connection of its own. It opens a *view*: a consistent picture of the database, and says which place
//! of the log it shows. The connector of the same source is steered to exactly that place ([`Steer`]); rows of the view are then
//! handed over there. How the two are joined, and why nothing is lost or outdated, stands in the room `snapshot`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::event::Batch;
use crate::offset::Offset;

/// Bytes of a hash that an id of a row holds: 96 bits, so that two rows of a table never share one by chance.
const ID_BYTES: usize = 12;

/// Where a connector stops to hand over.
#[derive(Debug, Clone)]
pub enum Steer {
    /// Nowhere.
    Free,
    /// At the next place between two transactions; what it has read by then is handed over first.
    Hold,
    /// At the place that a view shows: everything before it is handed over, nothing behind it.
    Until(View),
}

/// What a view shows.
#[derive(Debug, Clone)]
pub struct View {
    /// The table that is read from it.
    pub table: TableRef,
    /// Every transaction up to here is in it; `None` where `high` is known to be exactly the place.
    pub low: Option<Offset>,
    /// No transaction behind this place is in it.
    pub high: Offset,
    /// The end of the log after it was opened, in the form of the source's positions; where `high` is in another.
    pub end: Option<Offset>,
    /// The server that it was opened on, where it has a name.
    pub server: Option<Arc<str>>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableRef {
    /// Database.
    pub database: Arc<str>,
    /// Table, or collection.
    pub table: Arc<str>,
}

impl std::fmt::Display for TableRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// A table that can be read, with about how many rows it has.
#[derive(Debug, Clone)]
pub struct TableSize {
    /// Which.
    pub table: TableRef,
    /// An estimate of the server's, where it has one.
    pub rows: Option<u64>,
}

/// A value by which rows are put in order; as it is kept in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cell {
    /// NULL.
    Null,
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// The bits of a double.
    Real(u64),
    /// Bytes of text, hexadecimal.
    Text(String),
    /// Bytes, hexadecimal.
    Bytes(String),
}

impl Cell {
    /// Text, as the source stores it.
    pub fn text(bytes: &[u8]) -> Self {
        Self::Text(hexadecimal(bytes))
    }

    /// Bytes.
    pub fn bytes(bytes: &[u8]) -> Self {
        Self::Bytes(hexadecimal(bytes))
    }
}

/// The row behind which reading goes on: the values that put it in order. Only the source understands them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// The values.
    pub cells: Vec<Cell>,
    /// What the order depends on, where it may change: rows are read from the beginning when it has.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub order: String,
}

/// Which rows to read.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Those behind this row; all where it is absent.
    pub after: Option<&'a Cursor>,
    /// Most rows of the view, over all its calls.
    pub rows: u32,
    /// What ids begin with.
    pub prefix: &'a str,
    /// The place at which they are handed over.
    pub position: &'a Arc<str>,
}

/// Rows that were read.
#[derive(Debug)]
pub struct Rows {
    /// Them; `None` where there were none.
    pub batch: Option<Batch>,
    /// The last of them; `None` where a table has no order, and can only be read in one go.
    pub last: Option<Cursor>,
    /// What follows.
    pub rest: Rest,
}

/// What follows rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// More rows of this view.
    Rows,
    /// Rows of another view: as many as were wanted have been read.
    Table,
    /// Nothing: the table is at its end.
    Nothing,
    /// The order of the rows has changed: they must be read from the beginning.
    Again,
    /// The table is gone.
    Gone,
}

/// Reads the rows of one source's tables.
///
/// The calls for a chunk: [`open`](Self::open), [`read`](Self::read) until it has no more rows, [`close`](Self::close). None is
/// cancel-safe: after one was dropped or has failed, `close` comes first.
pub trait Chunks: Send {
    /// The tables that the source follows and that exist now.
    fn tables(&mut self) -> BoxFuture<'_, Result<Vec<TableSize>>>;

    /// Opens a view. The connector stands between two transactions, at `position`.
    fn open<'a>(&'a mut self, table: &'a TableRef, position: &'a str) -> BoxFuture<'a, Result<View>>;

    /// The next rows of the view, in order: about as many as a batch holds.
    fn read<'a>(&'a mut self, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Rows>>;

    /// Ends the view. Idempotent.
    fn close(&mut self) -> BoxFuture<'_, ()>;

    /// A statement may have changed the definition of a table, or of all.
    fn forget(&mut self, table: Option<&TableRef>);
}

/// What an id of a row ends with: the same whenever the row of this key is read in one snapshot.
pub fn row_id(cells: &[Cell]) -> String {
    let mut hash = Sha256::new();
    for cell in cells {
        let (tag, bytes): (u8, &[u8]) = match cell {
            Cell::Null => (0, &[]),
            Cell::Int(value) => (1, &value.to_be_bytes()),
            Cell::Uint(value) => (2, &value.to_be_bytes()),
            Cell::Real(bits) => (3, &bits.to_be_bytes()),
            Cell::Text(text) => (4, text.as_bytes()),
            Cell::Bytes(text) => (5, text.as_bytes()),
        };
        hash.update([tag]);
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    }
    let hash = hash.finalize();
    hexadecimal(hash.get(..ID_BYTES).unwrap_or_default())
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS.get(usize::from(value)).copied().unwrap_or(b'0'));
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// The bytes of hexadecimal digits; `None` where the text is something else.
pub fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_their_digits() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hexadecimal(&hexadecimal(&bytes)), Some(bytes));
        assert_eq!(from_hexadecimal("0"), None);
        assert_eq!(from_hexadecimal("0g"), None);
    }

    #[test]
    fn ids_tell_keys_apart_that_look_alike_when_joined() {
        let text = |text: &str| Cell::text(text.as_bytes());
        let ids = [
            row_id(&[text("a"), text("bc")]),
            row_id(&[text("ab"), text("c")]),
            row_id(&[text("abc")]),
            row_id(&[Cell::bytes(b"abc")]),
            row_id(&[Cell::Int(1)]),
            row_id(&[Cell::Uint(1)]),
        ];
        for (index, id) in ids.iter().enumerate() {
            assert_eq!(id.len(), 24);
            assert!(!ids[..index].contains(id));
        }
    }
}
