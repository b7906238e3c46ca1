//! What a row looks like: the columns of one version of a table, and which of them an image holds.

use std::sync::Arc;

use serde::Serialize;

/// How a cell of a column is written in a batch, and so which JavaScript value it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// A `number`: integers to 32 bits, FLOAT, DOUBLE, YEAR.
    Number,
    /// A 64-bit integer: a number inside the safe range, else an escape with its decimal text.
    Integer,
    /// A text field.
    Text,
    /// A bytes field.
    Bytes,
    /// Milliseconds since the epoch, or an escape with exact text for what no `Date` can hold.
    Date,
    /// A text field with JSON; as an escape, JSON whose strings that begin with NUL stand for other values.
    Json,
    /// A text field with the labels joined by commas.
    Set,
    /// Whatever the cell holds: a number as it is, everything else as an escape that names its kind.
    Dynamic,
}

/// A column as far as JavaScript needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// How its cells are written.
    pub encoding: Encoding,
}

/// One version of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableLayout {
    /// Database (schema) name.
    pub database: String,
    /// Table name.
    pub table: String,
    /// Columns in the order of the log.
    pub columns: Vec<Column>,
    /// Indices of the primary key's columns, in key order; empty where the table has none.
    pub key: Vec<u32>,
}

/// The number by which a batch refers to a [`Shape`].
pub type ShapeId = u32;

/// A table's layout together with the columns that an image holds (MINIMAL and NOBLOB images hold some).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Unique within an engine, never used again.
    pub id: ShapeId,
    /// The table; shared by all shapes of one version.
    #[serde(flatten)]
    pub layout: Arc<TableLayout>,
    /// Indices into `layout.columns` of the columns that are present, ascending.
    pub present: Vec<u32>,
    /// Its rows are derived: the log does not hold them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub synthetic: bool,
}
