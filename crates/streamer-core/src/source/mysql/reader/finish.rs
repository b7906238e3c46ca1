//! Where transactions begin and end, and what becomes a gap.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::binlog::{EventType, MariadbBegin, MysqlBegin, Wire};
use super::super::held::Held;
use super::super::schema::TableName;
use super::super::stream::Event;
use super::super::track::TransactionId;
use super::super::words::xid_text;
use super::{Deliver, Open, Reader};
use crate::code::Code;
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::source::{Gap, GapReason, Item};

impl Reader {
    /// A transaction begins.
    pub(super) fn begin(&mut self, event: &Event, body: &[u8], begins_at: u64) -> Result<()> {
        self.drop_unfinished();
        let place = TransactionId::Place {
            file: self.place.file.clone(),
            offset: begins_at,
        };
        let logged_ms = f64::from(event.header.timestamp) * 1000.0;
        let mut is_prepared_xa = false;
        let mut defines_nothing = false;
        let (id, committed_ms, is_explicit) = match event.header.event_type {
            EventType::MariadbGtid => {
                let begin = MariadbBegin::read(body, event.header.server_id)?;
                is_prepared_xa = begin.is_prepared_xa();
                defines_nothing = begin.defines_nothing();
                (
                    TransactionId::Mariadb(begin.gtid),
                    logged_ms,
                    !begin.is_standalone(),
                )
            }
            event_type => {
                let begin = match event_type {
                    EventType::GtidTagged => MysqlBegin::read_tagged(body)?,
                    _ => MysqlBegin::read(body, event_type == EventType::AnonymousGtid)?,
                };
                let id = match begin.gtid {
                    Some(gtid) if self.track.has_gtids() => TransactionId::Mysql(gtid),
                    _ => place,
                };
                let committed = begin.committed_us.map_or(logged_ms, |us| us as f64 / 1000.0);
                (id, committed, false)
            }
        };
        self.open_transaction(id, committed_ms, is_explicit);
        if let Some(open) = &mut self.open {
            open.defines_nothing = defines_nothing;
        }
        if is_prepared_xa {
            self.xa_start("".into());
        }
        Ok(())
    }

    fn open_transaction(&mut self, id: TransactionId, committed_ms: f64, is_explicit: bool) {
        let id_text: Arc<str> = id.to_string().into();
        let delivery = if self.track.covers(&id) {
            Deliver::Nothing
        } else {
            // Only the first transaction that is not done may have been delivered in part.
            let within = self.within.take();
            Deliver::Behind(match within {
                Some(within) if within.transaction == id_text => within.changes,
                _ => 0,
            })
        };
        self.open = Some(Open {
            id,
            id_text,
            committed_ms,
            delivery,
            delivered_before: match delivery {
                Deliver::Behind(changes) => changes,
                Deliver::Nothing => 0,
            },
            is_explicit,
            defines_nothing: false,
            is_begun: false,
            xa: None,
            touched: Vec::new(),
            changes_tables: false,
            cascaded: BTreeSet::new(),
        });
    }

    /// The open transaction; on servers that name none, one that begins here.
    pub(super) fn ensure_open(&mut self, event: &Event) {
        if self.open.is_none() {
            let id = TransactionId::Place {
                file: self.place.file.clone(),
                offset: self
                    .place
                    .offset
                    .saturating_sub(u64::from(event.logged_header().event_bytes)),
            };
            self.open_transaction(id, f64::from(event.header.timestamp) * 1000.0, false);
        }
    }

    /// The log does not hold the place any more: reports the gap, and goes on elsewhere.
    pub fn jump(&mut self, reason: GapReason, to: Offset) {
        let from = self.track.text();
        self.open = None;
        self.within = None;
        self.held.clear();
        self.track.jump(to);
        self.watch.clear();
        self.behind.push_back(Item::Gap(Gap {
            from: Some(from),
            to: Some(self.track.text()),
            tables: None,
            reason,
            error: None,
        }));
    }

    /// A transaction that nothing ended: the server went down while it wrote it, and will not commit it.
    pub(super) fn drop_unfinished(&mut self) {
        if self.open.take().is_some() {
            self.writer.abandon_transaction();
        }
    }

    /// The open transaction is committed.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.write_cascades();
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        if open.delivery == Deliver::Nothing {
            self.track.pass(&open.id, &self.place);
            return Ok(());
        }
        self.track.finish(&open.id, &self.place);
        self.watch.done();
        self.ended_at = Some(self.place.clone());
        self.pass_fence(&open);
        if open.is_begun {
            let after = self.track.text();
            self.writer.commit(&after);
        }
        self.newest_committed_ms = Some(open.committed_ms);
        self.close_gaps();
        Ok(())
    }

    /// ROLLBACK in the log: the transaction also changed tables without transactions, whose changes stay. Which
    /// rows those are cannot be told from the log.
    pub(super) fn rollback(&mut self) -> Result<()> {
        self.partial_rollback();
        if let Some(open) = self.open.as_mut().filter(|open| open.is_begun) {
            // What was taken in earlier batches stays delivered; the gap says that it is not certain.
            open.is_begun = false;
            self.writer.abandon_transaction();
        }
        self.commit()
    }

    /// What was rolled back in part becomes a gap of the tables that it touched.
    pub(super) fn partial_rollback(&mut self) {
        let touched = self
            .open
            .as_mut()
            .map(|open| std::mem::take(&mut open.touched))
            .unwrap_or_default();
        for table in touched {
            self.gap_of(
                &table,
                "a transaction was rolled back in part, and the log does not tell which rows stayed",
            );
        }
    }

    /// Rows from here on belong to an XA transaction: they are held until its fate is known.
    pub(super) fn xa_start(&mut self, xid: Arc<str>) {
        if let Some(open) = &mut self.open {
            open.xa = Some((xid, Held::default()));
            open.is_explicit = true;
        }
    }

    /// XA PREPARE, or XA COMMIT ONE PHASE.
    pub(super) fn xa_prepare(&mut self, body: &[u8]) -> Result<()> {
        let mut wire = Wire(body);
        let one_phase = wire.u8()? != 0;
        let format_id = wire.u32()?;
        let (global, branch) = (wire.u32()? as usize, wire.u32()? as usize);
        let xid = xid_text(format_id, wire.take(global)?, wire.take(branch)?);
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let (_, mut held) = open.xa.take().unwrap_or_else(|| (xid.clone(), Held::default()));
        if one_phase {
            held.rewind()?;
            return if open.delivery == Deliver::Nothing {
                self.commit()
            } else {
                self.next_held(held)
            };
        }
        let id = open.id.clone();
        self.open = None;
        self.held.insert(xid.clone(), held);
        self.track.prepare(&xid, &id, &self.place);
        Ok(())
    }

    /// XA COMMIT: what was held is delivered as this transaction.
    pub(super) fn xa_commit(&mut self, xid: &str) -> Result<()> {
        let held = self.held.remove(xid);
        self.track.end_prepared(xid);
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.delivery == Deliver::Nothing)
        {
            return self.commit();
        }
        match held {
            Some(mut held) => {
                if let Some(open) = &mut self.open {
                    open.changes_tables = true;
                }
                held.rewind()?;
                self.next_held(held)
            }
            None => {
                self.gap_everywhere(
                    "An XA transaction was committed that had been prepared before reading began.",
                );
                self.commit()
            }
        }
    }

    /// XA ROLLBACK: what was held never happened.
    pub(super) fn xa_rollback(&mut self, xid: &str) -> Result<()> {
        self.held.remove(xid);
        self.track.end_prepared(xid);
        self.commit()
    }

    /// Reports a table whose rows cannot be delivered; once, until its definition changes.
    pub(super) fn gap_of(&mut self, table: &TableName, why: &str) {
        if self.unknown.contains(table) {
            return;
        }
        self.unknown.push(table.clone());
        let error = Error::new(
            Code::LogUndecodable,
            format!("Changes of {table} cannot be delivered: {why}."),
        )
        .with_advice("`SET GLOBAL binlog_row_metadata=FULL` makes the log describe each table itself.")
        .with_detail("table", table.to_string());
        self.gap_with(table, error);
    }

    /// Reports a gap of one table.
    pub(super) fn gap_with(&mut self, table: &TableName, error: Error) {
        self.push_gap(Some(vec![table.to_string()]), error);
    }

    /// Reports a gap that may concern every table.
    pub(super) fn gap_everywhere(&mut self, why: &str) {
        let error = Error::new(Code::LogUndecodable, why.to_owned());
        self.push_gap(None, error);
    }

    fn push_gap(&mut self, tables: Option<Vec<String>>, error: Error) {
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.delivery == Deliver::Nothing)
        {
            return;
        }
        let from = self.track.text();
        self.behind.push_back(Item::Gap(Gap {
            from: Some(from),
            to: None,
            tables,
            reason: GapReason::Undecodable,
            error: Some(error),
        }));
    }

    /// Gaps inside the transaction that has just ended reach to its end.
    fn close_gaps(&mut self) {
        if self.behind.is_empty() {
            return;
        }
        let after = self.track.text();
        for item in &mut self.behind {
            if let Item::Gap(gap) = item {
                gap.to.get_or_insert_with(|| after.clone());
            }
        }
    }
}
