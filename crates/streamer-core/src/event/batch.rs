//! The writer that connectors decode into, and the finished batch.

use std::sync::Arc;

use super::layout::{Shape, ShapeId};

/// Begins a transaction, or continues one that an earlier batch began.
pub const RECORD_TRANSACTION: f64 = 1.0;
/// Rows of one operation and one shape.
pub const RECORD_ROWS: f64 = 2.0;
/// The transaction has ended; the change before this record was its last.
pub const RECORD_COMMIT: f64 = 3.0;
/// A change of a whole table: truncate, drop, rename.
pub const RECORD_TABLE: f64 = 4.0;
/// The log numbers the changes of the transaction that was begun; their ids are made of these numbers.
pub const RECORD_NUMBERED: f64 = 6.0;
/// The change that follows belongs to no transaction.
pub const RECORD_ALONE: f64 = 7.0;

/// Rows of a snapshot, which belong to no transaction.
pub const RECORD_READS: f64 = 8.0;

/// Added to the operation of a [`RECORD_TABLE`] that a failover may still roll back.
pub const UNCOMMITTED_TABLE: f64 = 16.0;

/// Largest integer that a JavaScript `number` holds exactly.
pub(super) const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// A giant text leaves no giant behind.
const KEPT_SCRATCH: usize = 64 << 10;

/// Bits of a changed set in one number.
const CHANGED_BITS: usize = 48;

/// What happened. The numbers are those of the batch format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// A new row.
    Insert = 0,
    /// Columns of a row changed.
    Update = 1,
    /// A row is gone.
    Delete = 2,
    /// A row of a snapshot.
    Read = 3,
    /// MongoDB's replacement of a whole document.
    Replace = 4,
    /// All rows of a table are gone.
    Truncate = 5,
    /// The table is gone.
    Drop = 6,
    /// The table has another name.
    Rename = 7,
    /// Rows of a table changed, and the log does not hold which; with a key, only the row that has it, if there was one.
    Derived = 8,
}

/// The transaction that the next changes belong to.
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    /// GTID where the server has one, else the place where it begins.
    pub id: Arc<str>,
    /// Commit time by the source's clock, in ms since the Unix epoch.
    pub committed_ms: f64,
    /// Position before it, as text; a change in the middle is at this position plus its index.
    pub position_before: Arc<str>,
}

/// A finished batch.
#[derive(Debug, Default)]
pub struct Batch {
    /// Records; see the module's header.
    pub numbers: Vec<f64>,
    /// All text fields whose characters fit into one byte each, one after the other, in Latin-1.
    pub text: Vec<u8>,
    /// All other text fields, in UTF-16, little-endian.
    pub wide: Vec<u8>,
    /// All bytes fields, one after the other.
    pub bytes: Vec<u8>,
    /// Shapes that are used here for the first time.
    pub shapes: Vec<Arc<Shape>>,
    /// Changes in it.
    pub changes: u32,
    /// Commit time of the newest transaction in it, in ms since the epoch by the source's clock.
    pub newest_committed_ms: Option<f64>,
    /// Position behind its last change.
    pub position: Option<Arc<str>>,
    /// It holds rows of a snapshot and nothing else: nothing of it is a change.
    pub is_snapshot: bool,
    /// Tables that got another name in it: database, table, and the new name as `database.table`.
    pub renamed: Vec<[String; 3]>,
}

impl Batch {
    /// Bytes that it holds in memory, for the delivery window.
    pub fn weight(&self) -> usize {
        self.numbers.len() * size_of::<f64>() + self.text.len() + self.wide.len() + self.bytes.len() + 64
    }
}

#[cfg(test)]
impl Batch {
    /// All text of it, that beyond Latin-1 last.
    pub fn all_text(&self) -> String {
        let units: Vec<u16> = self
            .wide
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .collect();
        let latin = self.text.iter().map(|&byte| char::from(byte));
        latin.collect::<String>() + &String::from_utf16(&units).unwrap()
    }
}

/// A place in a writer to which it can be taken back.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    numbers: usize,
    text: usize,
    wide: usize,
    bytes: usize,
}

/// Where the open transaction began in the present batch.
#[derive(Debug, Clone, Copy)]
struct Savepoint {
    mark: Mark,
    changes: u32,
    index: u32,
}

/// Rows of one record that are being written.
#[derive(Debug, Clone, Copy)]
struct OpenRows {
    operation: Operation,
    before: Option<ShapeId>,
    after: Option<ShapeId>,
    count_at: usize,
    count: u32,
}

/// Encodes changes into a batch; see the module's header for the format.
///
/// The order of calls: [`begin_transaction`](Self::begin_transaction), then for each change
/// [`begin_row`](Self::begin_row), the cells, [`end_row`](Self::end_row); then [`commit`](Self::commit).
/// A batch may be taken between rows; the transaction then goes on in the next one.
#[derive(Debug, Default)]
pub struct BatchWriter {
    numbers: Vec<f64>,
    text: Vec<u8>,
    wide: Vec<u8>,
    /// Text that is being put together.
    scratch: String,
    bytes: Vec<u8>,
    shapes: Vec<Arc<Shape>>,
    rows: Option<OpenRows>,
    changes: u32,
    transaction: Option<Transaction>,
    /// Index of the next change within the transaction.
    index: u32,
    /// Whether the current batch holds a record that names the transaction.
    announced: bool,
    /// What ids of changes begin with, and the number of the change with index 0, where the log numbers them.
    numbering: Option<(Arc<str>, f64)>,
    newest_committed_ms: Option<f64>,
    /// Documents and whole tables that are written may still be rolled back.
    pub(super) is_uncommitted: bool,
    savepoint: Option<Savepoint>,
    /// Position behind the newest transaction that has ended in this batch.
    reached: Option<Arc<str>>,
    /// The same where it is a part of the Latin-1 text.
    reached_text: Option<std::ops::Range<usize>>,
    /// Rows of a snapshot are written.
    is_snapshot: bool,
    renamed: Vec<[String; 3]>,
}

impl BatchWriter {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes written since the last [`take`](Self::take).
    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// Bytes written since the last [`take`](Self::take).
    pub fn weight(&self) -> usize {
        self.numbers.len() * size_of::<f64>() + self.text.len() + self.wide.len() + self.bytes.len()
    }

    /// True where nothing was written since the last [`take`](Self::take).
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Whether documents and whole tables that are written from now on may still be rolled back by a failover.
    pub fn set_uncommitted(&mut self, is_uncommitted: bool) {
        self.is_uncommitted = is_uncommitted;
    }

    /// True between [`begin_transaction`](Self::begin_transaction) and [`commit`](Self::commit).
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Index of the next change within the transaction.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Makes a shape known to the reader; once for each shape, before its first row.
    pub fn define(&mut self, shape: Arc<Shape>) {
        self.shapes.push(shape);
    }

    /// The changes that follow belong to `transaction`; the first of them has the index `first`.
    pub fn begin_transaction(&mut self, transaction: Transaction, first: u32) {
        self.close_rows();
        self.transaction = Some(transaction);
        self.index = first;
        self.announced = false;
        self.numbering = None;
        self.save();
    }

    /// The log numbers the changes of the open transaction: the one with index 0 has `number`. Their ids are `prefix:number`,
    /// instead of the transaction's id and their index.
    pub fn number_changes(&mut self, prefix: &Arc<str>, number: f64) {
        self.numbering = Some((Arc::clone(prefix), number));
    }

    /// The next change of the open transaction has this index, and was made at this moment (ms since the Unix epoch).
    pub fn move_to(&mut self, index: u32, committed_ms: f64) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        if self.index != index || transaction.committed_ms.to_bits() != committed_ms.to_bits() {
            transaction.committed_ms = committed_ms;
            self.close_rows();
            self.index = index;
            self.announced = false;
        }
    }

    fn save(&mut self) {
        self.savepoint = Some(Savepoint {
            mark: self.mark(),
            changes: self.changes,
            index: self.index,
        });
    }

    /// The next change belongs to no transaction: its commit time (ms since the Unix epoch), its id, and the position behind
    /// it, which is not written again where it is that of the change before.
    pub fn stand_alone(&mut self, committed_ms: f64, id: &str, position: &Arc<str>) {
        self.close_rows();
        self.transaction = None;
        let is_same = self.changes > 0
            && self
                .reached
                .as_ref()
                .is_some_and(|reached| Arc::ptr_eq(reached, position));
        self.numbers.push(RECORD_ALONE);
        self.numbers.push(committed_ms);
        self.push_text(id);
        self.push_text(if is_same { "" } else { position });
        self.reached = Some(Arc::clone(position));
        self.reached_text = None;
        let newest = self.newest_committed_ms.unwrap_or(committed_ms);
        self.newest_committed_ms = Some(newest.max(committed_ms));
    }

    /// Counts a change of the transaction without writing it: it was delivered before, or is filtered at this level.
    pub fn skip_change(&mut self) {
        self.close_rows();
        self.announced = false;
        self.index += 1;
    }

    /// Ends the transaction; `position_after` is where reading goes on. Writes nothing where it had no change in this batch.
    pub fn commit(&mut self, position_after: &Arc<str>) {
        self.close_rows();
        if let Some(transaction) = self.transaction.take()
            && self.announced
        {
            self.numbers.push(RECORD_COMMIT);
            self.push_text(position_after);
            self.newest_committed_ms = Some(transaction.committed_ms);
        }
        self.reached = Some(Arc::clone(position_after));
        self.reached_text = None;
        self.announced = false;
    }

    /// Forgets the open transaction and takes back what this batch holds of it. Returns how many of its changes were
    /// taken in earlier batches.
    pub fn abandon_transaction(&mut self) -> u32 {
        self.rows = None;
        self.transaction = None;
        self.announced = false;
        match self.savepoint.take() {
            Some(savepoint) => {
                self.rewind(savepoint.mark);
                self.changes = savepoint.changes;
                savepoint.index
            }
            None => 0,
        }
    }

    fn announce(&mut self) {
        if self.announced {
            return;
        }
        if let Some(transaction) = self.transaction.clone() {
            self.numbers.push(RECORD_TRANSACTION);
            self.numbers.push(transaction.committed_ms);
            self.push_text(&transaction.id);
            self.push_text(&transaction.position_before);
            self.numbers.push(f64::from(self.index));
            if let Some((prefix, number)) = self.numbering.clone() {
                self.numbers.push(RECORD_NUMBERED);
                self.numbers.push(number);
                self.push_text(&prefix);
            }
            self.announced = true;
        }
    }

    /// Begins a row. `before` and `after` are the shapes of its images.
    pub fn begin_row(
        &mut self,
        operation: Operation,
        before: Option<ShapeId>,
        after: Option<ShapeId>,
        words: usize,
    ) -> Mark {
        let continues = self
            .rows
            .is_some_and(|rows| rows.operation == operation && rows.before == before && rows.after == after);
        if !continues {
            self.close_rows();
            self.announce();
            self.numbers.push(RECORD_ROWS);
            self.numbers.push(f64::from(operation as u8));
            self.numbers.push(before.map_or(-1.0, f64::from));
            self.numbers.push(after.map_or(-1.0, f64::from));
            self.numbers.push(words as f64);
            self.rows = Some(OpenRows {
                operation,
                before,
                after,
                count_at: self.numbers.len(),
                count: 0,
            });
            self.numbers.push(0.0);
        }
        self.mark()
    }

    /// Ends a row.
    pub fn end_row(&mut self) {
        if let Some(rows) = &mut self.rows {
            rows.count += 1;
        }
        self.changes += 1;
        self.index += 1;
    }

    /// Rows of a snapshot follow, outside of a transaction: each is [`begin_read`](Self::begin_read), its cells,
    /// [`end_row`](Self::end_row). `read_ms` is when they are read, in ms since the Unix epoch, `prefix` what their ids begin with.
    pub fn begin_reads(&mut self, read_ms: f64, prefix: &str, position: &Arc<str>, shape: ShapeId) {
        self.close_rows();
        self.numbers.push(RECORD_READS);
        self.numbers.push(read_ms);
        self.push_text(prefix);
        self.push_text(position);
        self.numbers.push(f64::from(shape));
        self.rows = Some(OpenRows {
            operation: Operation::Read,
            before: None,
            after: Some(shape),
            count_at: self.numbers.len(),
            count: 0,
        });
        self.numbers.push(0.0);
        self.reached = Some(Arc::clone(position));
        self.reached_text = None;
        self.is_snapshot = true;
    }

    /// Begins a row of a snapshot; `id` is the rest of its id.
    pub fn begin_read(&mut self, id: &str) {
        self.push_text(id);
    }

    fn close_rows(&mut self) {
        if let Some(rows) = self.rows.take()
            && let Some(slot) = self.numbers.get_mut(rows.count_at)
        {
            *slot = f64::from(rows.count);
        }
    }

    /// Writes a change of a whole table.
    pub fn table_change(&mut self, operation: Operation, database: &str, table: &str, renamed_to: &str) {
        if operation == Operation::Rename {
            self.renamed
                .push([database.to_owned(), table.to_owned(), renamed_to.to_owned()]);
        }
        self.close_rows();
        self.announce();
        self.numbers.push(RECORD_TABLE);
        let uncommitted = if self.is_uncommitted {
            UNCOMMITTED_TABLE
        } else {
            0.0
        };
        self.numbers.push(f64::from(operation as u8) + uncommitted);
        self.push_text(database);
        self.push_text(table);
        self.push_text(renamed_to);
        self.changes += 1;
        self.index += 1;
    }

    /// Counts a change that was written whole, outside of a transaction of this writer.
    pub(super) fn count_change(&mut self, committed_ms: f64) {
        self.changes += 1;
        self.newest_committed_ms = Some(committed_ms);
    }

    /// Ends the rows that are being written.
    pub(super) fn end_rows(&mut self) {
        self.close_rows();
    }

    /// Writes over a number of the present batch.
    pub(super) fn replace_number(&mut self, at: usize, value: f64) {
        if let Some(slot) = self.numbers.get_mut(at) {
            *slot = value;
        }
    }

    /// Numbers in the present batch.
    pub(super) fn numbers_len(&self) -> usize {
        self.numbers.len()
    }

    /// Number of words that a changed set of `columns` columns takes.
    pub fn changed_words(columns: usize) -> usize {
        columns.div_ceil(CHANGED_BITS)
    }

    /// Writes the set of changed columns: one flag a column, in column order.
    pub fn put_changed(&mut self, changed: impl IntoIterator<Item = bool>) {
        let (mut word, mut bit, mut written) = (0_u64, 0, false);
        for flag in changed {
            word |= u64::from(flag) << bit;
            bit += 1;
            written = false;
            if bit == CHANGED_BITS {
                self.numbers.push(word as f64);
                (word, bit, written) = (0, 0, true);
            }
        }
        if !written {
            self.numbers.push(word as f64);
        }
    }

    /// The present place, for [`rewind`](Self::rewind).
    pub fn mark(&self) -> Mark {
        Mark {
            numbers: self.numbers.len(),
            text: self.text.len(),
            wide: self.wide.len(),
            bytes: self.bytes.len(),
        }
    }

    /// Takes back everything since `mark`: the cells of a row that could not be decoded.
    pub fn rewind(&mut self, mark: Mark) {
        self.numbers.truncate(mark.numbers);
        self.text.truncate(mark.text);
        self.wide.truncate(mark.wide);
        self.bytes.truncate(mark.bytes);
    }

    /// NULL.
    pub fn put_null(&mut self) {
        self.numbers.push(f64::NAN);
    }

    /// A plain number; also milliseconds for [`Encoding::Date`](super::Encoding::Date).
    pub fn put_number(&mut self, value: f64) {
        self.numbers.push(value);
    }

    /// A signed 64-bit integer.
    pub fn put_i64(&mut self, value: i64) {
        if value.unsigned_abs() <= MAX_SAFE_INTEGER {
            self.numbers.push(value as f64);
        } else {
            self.put_escaped(&value.to_string());
        }
    }

    /// An unsigned 64-bit integer.
    pub fn put_u64(&mut self, value: u64) {
        if value <= MAX_SAFE_INTEGER {
            self.numbers.push(value as f64);
        } else {
            self.put_escaped(&value.to_string());
        }
    }

    /// A text field.
    pub fn put_text(&mut self, value: &str) {
        self.push_text(value);
    }

    /// A text field in UTF-8; what is none of it becomes U+FFFD.
    #[inline]
    pub fn put_utf8(&mut self, value: &[u8]) {
        if value.is_ascii() {
            self.text.extend_from_slice(value);
            self.numbers.push(self.text.len() as f64);
        } else {
            self.push_text(&String::from_utf8_lossy(value));
        }
    }

    /// A text field that `write` appends piece by piece.
    pub fn put_text_with<R>(&mut self, write: impl FnOnce(&mut String) -> R) -> R {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let result = write(&mut scratch);
        self.push_text(&scratch);
        if scratch.capacity() <= KEPT_SCRATCH {
            self.scratch = scratch;
        }
        result
    }

    /// Text for what the plain form of the column cannot hold.
    pub fn put_escaped(&mut self, value: &str) {
        self.numbers.push(f64::INFINITY);
        self.push_text(value);
    }

    /// A JSON difference whose base the log does not hold.
    pub fn put_json_difference(&mut self, value: &str) {
        self.numbers.push(f64::NEG_INFINITY);
        self.push_text(value);
    }

    /// A bytes field.
    pub fn put_bytes(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.numbers.push(self.bytes.len() as f64);
    }

    fn push_text(&mut self, value: &str) {
        if value.is_ascii() {
            self.text.extend_from_slice(value.as_bytes());
            self.numbers.push(self.text.len() as f64);
        } else {
            self.push_other(value);
        }
    }

    /// Text that is not ASCII.
    fn push_other(&mut self, value: &str) {
        if value.chars().all(|character| u32::from(character) <= 0xff) {
            self.text.extend(value.chars().map(|character| character as u8));
            self.numbers.push(self.text.len() as f64);
        } else {
            self.wide.extend(value.encode_utf16().flat_map(u16::to_le_bytes));
            // Never empty, so that the sign always tells.
            self.numbers.push(-((self.wide.len() / 2) as f64));
        }
    }

    /// The text that was written since `mark` is the position behind what was written.
    pub(super) fn reach_text(&mut self, mark: Mark) {
        let wide = self.wide.get(mark.wide..).unwrap_or_default();
        if wide.is_empty() {
            self.reached = None;
            self.reached_text = Some(mark.text..self.text.len());
        } else {
            let units: Vec<u16> = wide
                .chunks_exact(2)
                .map(|unit| unit.iter().rev().fold(0, |all, &byte| all << 8 | u16::from(byte)))
                .collect();
            self.reached = Some(String::from_utf16_lossy(&units).into());
            self.reached_text = None;
        }
    }

    /// Position behind what was written.
    fn position(&self) -> Option<Arc<str>> {
        let text = || {
            let latin = self.text.get(self.reached_text.clone()?)?;
            let text: String = latin.iter().map(|&byte| char::from(byte)).collect();
            Some(text.into())
        };
        self.within().or_else(|| self.reached.clone()).or_else(text)
    }

    /// Position behind the newest change of the open transaction, where this batch holds some of it.
    fn within(&self) -> Option<Arc<str>> {
        let transaction = self.transaction.as_ref()?;
        let first = self.savepoint.map_or(0, |savepoint| savepoint.index);
        (self.index > first).then(|| {
            format!(
                "{}+{}/{}",
                transaction.position_before, transaction.id, self.index
            )
            .into()
        })
    }

    /// Takes what was written as a batch. An open transaction goes on in the next one.
    pub fn take(&mut self) -> Batch {
        self.close_rows();
        self.announced = false;
        let (numbers, text, bytes) = (self.numbers.len(), self.text.len(), self.bytes.len());
        let position = self.position();
        self.reached = None;
        self.reached_text = None;
        let batch = Batch {
            position,
            numbers: std::mem::take(&mut self.numbers),
            text: std::mem::take(&mut self.text),
            wide: std::mem::take(&mut self.wide),
            bytes: std::mem::take(&mut self.bytes),
            shapes: std::mem::take(&mut self.shapes),
            changes: std::mem::take(&mut self.changes),
            newest_committed_ms: self.newest_committed_ms.take(),
            is_snapshot: std::mem::take(&mut self.is_snapshot),
            renamed: std::mem::take(&mut self.renamed),
        };
        if self.transaction.is_some() {
            self.save();
        }
        // A batch is about as large as the one before it; a rare giant must not be remembered.
        let room = |length: usize| length + length / 8;
        self.numbers.reserve(room(numbers).min(16 << 10));
        self.text.reserve(room(text).min(256 << 10));
        self.bytes.reserve(room(bytes).min(256 << 10));
        batch
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
