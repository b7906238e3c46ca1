//! Rows.

use std::sync::Arc;

use super::super::binlog::{Format, RowsEvent, RowsKind, Wire, uncompress};
use super::super::maps::Mapped;
use super::super::plan::{Image, Plan};
use super::super::rows::{Progress, RowsJob};
use super::super::stream::{Event, EventStream};
use super::{Deliver, JobBytes, Reader, Taken, Then};
use crate::code::Code;
use crate::error::{Error, Result};
use crate::event::Transaction;

/// How a rows event is decoded, once its table is known.
struct Decoding {
    plan: Arc<Plan>,
    first: Arc<Image>,
    second: Option<Arc<Image>>,
}

impl Reader {
    /// Takes in a rows event: it becomes the job that [`write_rows`](Self::write_rows) works on.
    pub(super) fn rows(&mut self, event: Event, stream: &EventStream) -> Result<()> {
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.delivery == Deliver::Nothing && open.xa.is_none())
        {
            return Ok(());
        }
        let body = stream.body(&event);
        let header = RowsEvent::read(body, event.header.event_type, stream.format())?;
        let Some(table_id) = header.table_id else {
            return Ok(());
        };
        let Some(decoding) = self.decoding(table_id, &header)? else {
            return Ok(());
        };
        let followers = self.followers(&decoding.plan, &decoding.first, &header);
        let watched = self.watched(&decoding.plan, &header);
        let rows = body.get(header.rows_at..).unwrap_or_default();
        let own = header.compressed.then(|| uncompress(rows)).transpose()?;
        if let Some((_, held)) = self.open.as_mut().and_then(|open| open.xa.as_mut()) {
            let bytes = own.as_deref().unwrap_or(rows);
            return held.push(decoding.plan, header.kind, decoding.first, decoding.second, bytes);
        }
        self.begin_writing();
        let (at, bytes) = match own {
            Some(own) => (0, JobBytes::Own(own)),
            None => (header.rows_at, JobBytes::Event(event)),
        };
        let job = RowsJob {
            plan: decoding.plan,
            kind: header.kind,
            first: decoding.first,
            second: decoding.second,
            at,
            followers,
            watched,
            touches_children: false,
        };
        self.job = Some((job, bytes, Then::GoOn));
        self.write_rows(stream)
    }

    fn decoding(&mut self, table_id: u64, header: &RowsEvent) -> Result<Option<Decoding>> {
        let mapped = self.maps.of_table_id(table_id).ok_or_else(|| {
            Error::new(
                Code::LogUndecodable,
                "Rows arrived without the table map that they refer to.",
            )
        })?;
        let (plan, images) = match mapped {
            Mapped::Excluded(table) => {
                let table = table.clone();
                self.excluded_rows(&table, header);
                return Ok(None);
            }
            Mapped::Unknown(table) => {
                let table = table.clone();
                self.gap_of(
                    &table,
                    "its columns at this place of the log are not known with certainty",
                );
                return Ok(None);
            }
            Mapped::Planned { plan, images } => (plan.clone(), images),
        };
        if plan.width() != header.columns {
            return Err(Error::new(
                Code::LogUndecodable,
                format!("Rows of {} differ in width from their table map.", plan.name()),
            ));
        }
        let first = images.get(&plan, &header.first_present, &mut self.numbers, &mut self.writer);
        let second = matches!(header.kind, RowsKind::Update | RowsKind::PartialUpdate)
            .then(|| images.get(&plan, &header.second_present, &mut self.numbers, &mut self.writer));
        if let Some(open) = &mut self.open
            && !open.touched.contains(plan.name())
        {
            open.touched.push(plan.name().clone());
        }
        Ok(Some(Decoding { plan, first, second }))
    }

    /// Makes the open transaction known to the writer.
    pub(super) fn begin_writing(&mut self) {
        let Some(open) = self.open.as_mut().filter(|open| !open.is_begun) else {
            return;
        };
        open.is_begun = true;
        let transaction = Transaction {
            id: open.id_text.clone(),
            committed_ms: open.committed_ms,
            position_before: self.track.text(),
        };
        self.writer.begin_transaction(transaction, 0);
    }

    /// Writes rows until the batch is full or the job is done. A row that cannot be decoded makes a gap of its table for
    /// the rest of its event.
    pub fn write_rows(&mut self, stream: &EventStream) -> Result<()> {
        while let Some((mut job, bytes, then)) = self.job.take() {
            let mut nothing = 0;
            let skip = match self.open.as_mut().map(|open| &mut open.delivery) {
                Some(Deliver::Behind(skip)) => skip,
                _ => &mut nothing,
            };
            let input = match &bytes {
                JobBytes::Own(own) => own.as_slice(),
                JobBytes::Event(event) => stream.body(event),
            };
            match job.run(input, skip, &mut self.writer, self.limits, &mut self.scratch) {
                Ok(Progress::Full) => {
                    self.job = Some((job, bytes, then));
                    return Ok(());
                }
                Ok(Progress::Done) if job.touches_children => self.cascade(job.plan.name(), true),
                Ok(Progress::Done) => {}
                Err(error) if error.code() == Code::LogUndecodable => {
                    let table = job.plan.name().clone();
                    self.gap_with(&table, error);
                }
                Err(error) => return Err(error),
            }
            self.after_job(then)?;
        }
        Ok(())
    }

    fn after_job(&mut self, then: Then) -> Result<()> {
        match then {
            Then::GoOn => Ok(()),
            Then::Commit(held) => self.next_held(held),
        }
    }

    /// Makes the next rows of an XA transaction the job; ends the transaction behind the last ones.
    pub(super) fn next_held(&mut self, mut held: super::Held) -> Result<()> {
        match held.next()? {
            None => self.commit(),
            Some((rows, bytes)) => {
                self.begin_writing();
                let job = RowsJob {
                    plan: rows.plan,
                    kind: rows.kind,
                    first: rows.first,
                    second: rows.second,
                    at: 0,
                    followers: Vec::new(),
                    watched: Vec::new(),
                    touches_children: false,
                };
                self.job = Some((job, JobBytes::Own(bytes), Then::Commit(held)));
                Ok(())
            }
        }
    }

    /// Takes in a table map: finds or makes the plan of the rows that will name it.
    pub(super) fn table_map(&mut self, body: &[u8], format: &Format) -> Result<Taken> {
        let mut wire = Wire(body);
        let table_id = format.table_id(&mut wire, super::EventType::TableMap)?;
        let bytes = wire.rest();
        let map = match self.maps.find(bytes) {
            Some(map) => map,
            None => match self.map_table(bytes)? {
                Some(mapped) => self.maps.add(bytes, mapped),
                None => return Ok(Taken::NeedsDefinitions),
            },
        };
        self.maps.name(table_id, map);
        Ok(Taken::Whole)
    }
}
