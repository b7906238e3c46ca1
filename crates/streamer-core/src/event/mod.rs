//! Changes in the compact form in which they leave the engine.
//!
//! A connector decodes straight from the server's packet into a [`BatchWriter`]; no value object stands in
//! between. A finished [`Batch`] is four flat pieces: numbers, text, wide text, bytes. The JavaScript side walks the numbers
//! once and cuts the text by offsets, so that a batch costs one call and a few strings, however many rows it holds.
//!
//! # Layout of a batch
//!
//! `numbers` is a sequence of records; the first number of each says which:
//!
//! | record | numbers that follow |
//! |---|---|
//! | [`RECORD_TRANSACTION`] | commit time (ms since the epoch), text: id, text: position before the transaction, index of the next change |
//! | [`RECORD_ROWS`] | operation, shape of the before image or -1, shape of the after image or -1, words per changed set, count, then the rows |
//! | [`RECORD_COMMIT`] | text: position after the transaction |
//! | [`RECORD_TABLE`] | operation, plus 16 where a failover may still roll it back, text: database, text: table, text: the new name as `database.table`, or empty |
//! | [`RECORD_NUMBERED`] | number of the change with index 0, text: what ids of changes begin with; behind [`RECORD_TRANSACTION`] |
//! | [`RECORD_ALONE`] | commit time (ms since the epoch), text: id, text: position behind the change, empty where it is that of the change before; the change follows |
//! | [`RECORD_READS`] | time (ms since the epoch), text: what ids begin with, text: position, shape, count, then the rows, each behind a text: the rest of its id |
//! | [`RECORD_DOCUMENT`] | see [`BatchWriter::put_document`] |
//!
//! A document of MongoDB stays BSON. Its record holds: commit time (ms since the epoch), text: id of the change, text:
//! position after it, text: id of its transaction (empty: none), index in that transaction, flags (1: it is known to be the
//! last of it; 2: a failover may still roll it back), operation, shape (database and table, without columns), bytes: key, bytes: before, bytes: after, bytes:
//! description of the update (each empty where absent), text: paths of the changed fields as a JSON array, or empty.
//!
//! A *text* field is one number: the offset in `text` (Latin-1, a byte a character) where it ends; it begins where the
//! previous one ended. A text with a character beyond U+00FF stands in `wide` (UTF-16) instead, and its number is the offset
//! of its end there, in code units, negated: so one such text does not make every other twice as large. A *bytes* field
//! is the same in `bytes`. A row is, for an update with both images, the changed
//! set (words of 48 bits, lowest column first), then the cells of the before image, then those of the after image.
//!
//! A cell is one number, with two escapes, read according to the column's [`Encoding`]:
//!
//! | number | meaning |
//! |---|---|
//! | NaN | NULL |
//! | `+Infinity` | the next number is a text field that holds what does not fit the plain form |
//! | `-Infinity` | the next number is a text field with a JSON difference whose base is not in the log |
//! | else | the value itself, or the end of its text or bytes field |
//!
//! A cell of a column that holds values of any type ([`Encoding::Dynamic`]): `+Infinity` is followed by the kind of what
//! follows: 0 a text field, 1 a bytes field, 2 a text field with an integer, 3 nothing (the value is positive infinity), 4
//! nothing (negative infinity).
//!
//! No server of ours stores NaN or infinity in a numeric column where the escape could be mistaken for it: MySQL and
//! MariaDB refuse both.

mod batch;
mod document;
mod dynamic;
mod layout;
pub mod packed;
mod place;

pub use batch::{Batch, BatchWriter, Mark, Operation, Transaction};
pub use batch::{
    RECORD_ALONE, RECORD_COMMIT, RECORD_NUMBERED, RECORD_READS, RECORD_ROWS, RECORD_TABLE,
    RECORD_TRANSACTION, UNCOMMITTED_TABLE,
};
pub use document::{DocumentChange, LastMark, RECORD_DOCUMENT};
pub use layout::{Column, Encoding, Shape, ShapeId, TableLayout};
pub use packed::Packed;
pub use place::LogPlace;
