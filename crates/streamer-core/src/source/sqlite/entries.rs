//! From entries of the log to items: groups, batches, positions.

use std::collections::VecDeque;
use std::sync::Arc;

use rusqlite::{Connection, Result, Row};

use super::log::{self, Op};
use super::place::{Group, Place, within};
use super::replaced::is_replaced;
use super::rows::Versions;
use crate::config::SQLITE_DATABASE;
use crate::event::{BatchWriter, Operation, Transaction};
use crate::source::{Gap, GapReason, Item, SchemaChange};

/// When a batch is full.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Changes.
    pub changes: u32,
    /// Bytes.
    pub bytes: usize,
}

/// What follows in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    /// No change, but a definition or a gap.
    Notes,
    Changes,
}

/// Reads entries into batches.
pub struct Entries {
    /// What is ready to be handed over.
    pub ready: VecDeque<Item>,
    /// How far reading has come.
    pub place: Place,
    /// Where the open group ends.
    end: i64,
    versions: Versions,
    writer: BatchWriter,
    limits: Limits,
}

impl Entries {
    /// Goes on at a place.
    pub fn new(place: Place, versions: Versions, limits: Limits) -> Self {
        Self {
            ready: VecDeque::new(),
            end: place.seq,
            place,
            versions,
            writer: BatchWriter::new(),
            limits,
        }
    }

    /// Whether a group is open of which entries are to be read.
    pub fn is_within(&self) -> bool {
        self.place.seq < self.end
    }

    /// Reads on until something is ready, or everything up to `newest` was read. Within one read transaction.
    pub fn read(&mut self, conn: &Connection, newest: i64) -> Result<()> {
        if !self.is_within() {
            self.end = newest;
        }
        if !self.is_within() {
            self.place.group = None;
            return Ok(());
        }
        let group = self.place.enter();
        let mut query = conn
            .prepare_cached("SELECT * FROM main._streamer_log WHERE seq > ?1 AND seq <= ?2 ORDER BY seq")?;
        let mut rows = query.query([self.place.seq, self.end])?;
        let mut is_full = false;
        while let Some(row) = rows.next()? {
            self.take(conn, &group, row)?;
            is_full =
                self.writer.changes() >= self.limits.changes || self.writer.weight() >= self.limits.bytes;
            if is_full || !self.ready.is_empty() {
                break;
            }
        }
        drop(rows);
        match self.rest(conn, is_full)? {
            Rest::Nothing => self.close(conn)?,
            Rest::Notes => self.commit_within(),
            Rest::Changes => {}
        }
        self.flush();
        Ok(())
    }

    /// No change of the group follows, but something else does.
    fn commit_within(&mut self) {
        if self.writer.in_transaction() {
            let position = self.place.position();
            self.writer.commit(&position);
        }
    }

    /// The group ends: the position behind it names its last entry.
    fn close(&mut self, conn: &Connection) -> Result<()> {
        let mark = if self.place.seq == self.end && self.place.mark != 0 {
            self.place.mark
        } else {
            log::mark(conn, self.end)?
        };
        self.place = Place::at(&self.place.log, self.end, mark);
        if self.writer.in_transaction() {
            let position = self.place.position();
            self.writer.commit(&position);
        }
        Ok(())
    }

    /// Hands over what was written.
    fn flush(&mut self) {
        if !self.writer.is_empty() {
            self.ready.push_back(Item::Batch(self.writer.take()));
        }
    }

    /// What follows in the open group of tables that are delivered. Asked only where it matters: at its end, and where a batch is full.
    fn rest(&mut self, conn: &Connection, is_asked: bool) -> Result<Rest> {
        if !self.is_within() {
            return Ok(Rest::Nothing);
        }
        if !is_asked {
            return Ok(Rest::Changes);
        }
        let mut query = conn.prepare_cached(
            "SELECT tbl, op FROM main._streamer_log WHERE seq > ?1 AND seq <= ?2 ORDER BY seq",
        )?;
        let mut rows = query.query([self.place.seq, self.end])?;
        let mut rest = Rest::Nothing;
        while let Some(row) = rows.next()? {
            if self.versions.get(conn, row.get(0)?)?.is_none() {
                continue;
            }
            match Op::of(row.get(1)?) {
                // One that counts is followed by the row that took its place.
                Some(Op::Candidate) => {}
                Some(op) if op.is_change() => return Ok(Rest::Changes),
                _ => rest = Rest::Notes,
            }
        }
        Ok(rest)
    }

    fn take(&mut self, conn: &Connection, group: &Group, row: &Row<'_>) -> Result<()> {
        let (seq, table, number, at): (i64, i64, i64, f64) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let before = self.place.position();
        self.place.seq = seq;
        self.place.mark = log::mark_of(table, number, at);
        let end = self.end;
        let Some(version) = self.versions.get(conn, table)? else {
            return Ok(());
        };
        let op = Op::of(number);
        if op == Some(Op::Candidate) {
            let Some(layout) = version.layout.clone() else {
                return Ok(());
            };
            if !is_replaced(conn, row, &layout, end)? {
                return Ok(());
            }
        }
        let name = version.name.clone();
        match op {
            Some(Op::Schema) | Some(Op::Gap) | None => {
                if self.writer.in_transaction() && self.rest(conn, true)? != Rest::Changes {
                    self.writer.commit(&before);
                }
                match op {
                    Some(Op::Schema) => self.schema(group, seq, &name, row),
                    _ => {
                        self.gap(before, group, seq, &name);
                        Ok(())
                    }
                }
            }
            Some(op) => {
                self.move_to(group, seq, log::ms(at));
                match op {
                    Op::Drop => self
                        .writer
                        .table_change(Operation::Drop, SQLITE_DATABASE, &name, ""),
                    Op::Truncate => self
                        .writer
                        .table_change(Operation::Derived, SQLITE_DATABASE, &name, ""),
                    Op::Rename => {
                        let to: String = row.get(log::HEAD)?;
                        let to = format!("{SQLITE_DATABASE}.{to}");
                        self.writer
                            .table_change(Operation::Rename, SQLITE_DATABASE, &name, &to);
                    }
                    _ => {
                        let writer = &mut self.writer;
                        if let Some(version) = self.versions.get(conn, table)? {
                            version.write(writer, op, row)?;
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// The next change is that of this entry.
    fn move_to(&mut self, group: &Group, seq: i64, committed_ms: f64) {
        let index = u32::try_from(seq - group.base - 1).unwrap_or(u32::MAX);
        if !self.writer.in_transaction() {
            let transaction = Transaction {
                id: Arc::clone(&group.id),
                committed_ms,
                position_before: Arc::clone(&group.before),
            };
            self.writer.begin_transaction(transaction, index);
            self.writer
                .number_changes(&self.place.log, (group.base + 1) as f64);
        }
        self.writer.move_to(index, committed_ms);
    }

    fn schema(&mut self, group: &Group, seq: i64, table: &str, row: &Row<'_>) -> Result<()> {
        let statement: Option<String> = row.get(log::HEAD)?;
        self.flush();
        self.ready.push_back(Item::Schema(SchemaChange {
            database: SQLITE_DATABASE.into(),
            table: Some(table.into()),
            statement: statement.filter(|text| !text.is_empty()).map(Into::into),
            position: within(group, seq).into(),
        }));
        Ok(())
    }

    fn gap(&mut self, from: Arc<str>, group: &Group, seq: i64, table: &str) {
        self.flush();
        self.ready.push_back(Item::Gap(Gap {
            from: Some(from),
            to: Some(within(group, seq).into()),
            tables: Some(vec![format!("{SQLITE_DATABASE}.{table}")]),
            reason: GapReason::Undecodable,
            error: None,
        }));
    }
}
