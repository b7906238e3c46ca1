//! What the events of the log mean: transactions, table maps, rows, definitions.
//!
//! The reader is fed one event after the other and writes into a [`BatchWriter`]; it never waits.
//!
//! # Why no change is lost or doubled
//! - A transaction is done only when its end was read; [`Track`] names what is done, and nothing else. A connection
//!   that breaks inside a transaction begins again at the end of the one before it. The changes of the broken one that
//!   were already taken are counted, and are passed over when it comes again ([`Within`]).
//! - The writer is taken only between rows, and never between the last row of a transaction and its end, so the count
//!   of taken changes is exact.
//! - Rows of a prepared XA transaction are held; they are written when its XA COMMIT is read, as a part of it.
//! - What cannot be decoded becomes a gap that names the table, never a guess and never silence.

mod apply;
mod cascade;
mod fence;
mod finish;
mod statement;
mod table;

pub use statement::statement_text;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::binlog::{EventType, Wire};
use super::cascades::{Cascades, Followers};
use super::held::Held;
use super::link::Flavor;
use super::maps::TableMaps;
use super::plan::ShapeNumbers;
use super::rows::{BatchLimits, RowsJob, Scratch};
use super::schema::TableName;
use super::stream::{Event, EventStream};
use super::track::{FilePlace, Track, TransactionId};
use super::tracker::Tracker;
use super::witness::Watch;
use crate::config::{Dates, TableFilter};
use crate::error::Result;
use crate::event::{BatchWriter, LogPlace, ShapeId};
use crate::offset::{Offset, Position, Within};
use crate::source::Item;

/// A transaction that is being read.
#[derive(Debug)]
struct Open {
    id: TransactionId,
    id_text: Arc<str>,
    committed_ms: f64,
    delivery: Deliver,
    /// Changes at its front that were delivered before this connection.
    delivered_before: u32,
    /// An event will end it; else its one statement does.
    is_explicit: bool,
    /// The definition in it does not hold.
    defines_nothing: bool,
    /// The writer knows of it.
    is_begun: bool,
    /// Rows are held for this XA transaction instead of being written.
    xa: Option<(Arc<str>, Held)>,
    /// Tables whose rows were written, for the gap that a ROLLBACK in the log makes.
    touched: Vec<TableName>,
    /// A statement in it changed whole tables, or rows that were held before it.
    changes_tables: bool,
    /// Tables in which foreign keys changed rows that the log does not hold.
    cascaded: BTreeSet<TableName>,
}

/// How much of a transaction is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deliver {
    /// All but this many changes at its front, which were delivered before.
    Behind(u32),
    /// Nothing: it was delivered before.
    Nothing,
}

/// How far an event was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was.
    Whole,
    /// A definition is missing that the server may have.
    NeedsDefinitions,
}

/// Where the bytes of a job lie.
#[derive(Debug)]
enum JobBytes {
    /// In the event that the stream still holds.
    Event(Event),
    /// Here: they were compressed, or held.
    Own(Vec<u8>),
}

/// What comes when all rows of a job are written.
#[derive(Debug)]
enum Then {
    /// The next event.
    GoOn,
    /// The next rows of an XA transaction, then its end.
    Commit(Held),
}

/// Turns events into changes; see the module's header.
pub struct Reader {
    pub(super) flavor: Flavor,
    pub(super) tables: TableFilter,
    dates: Dates,
    limits: BatchLimits,
    pub(super) track: Track,
    within: Option<Within>,
    place: FilePlace,
    pub(super) watch: Watch,
    open: Option<Open>,
    job: Option<(RowsJob, JobBytes, Then)>,
    maps: TableMaps,
    pub(super) tracker: Tracker,
    pub(super) cascades: Cascades,
    /// A statement may have changed the foreign keys.
    pub(super) wants_cascades: bool,
    /// What deleted rows take along, by the shape of their image.
    followers: HashMap<ShapeId, Followers>,
    held: HashMap<Arc<str>, Held>,
    numbers: ShapeNumbers,
    scratch: Scratch,
    pub(super) writer: BatchWriter,
    /// Items that come behind what the writer holds.
    pub(super) behind: VecDeque<Item>,
    /// Where reading stops.
    fence: fence::Fence,
    /// Where the transaction ends that was handed over last.
    ended_at: Option<FilePlace>,
    /// Tables of a gap that has been reported and lasts.
    unknown: Vec<TableName>,
    /// Commit time of the newest transaction that is done, by the source's clock.
    pub(super) newest_committed_ms: Option<f64>,
}

impl Reader {
    /// Begins at a position.
    pub fn new(
        flavor: Flavor,
        tables: TableFilter,
        dates: Dates,
        limits: BatchLimits,
        position: &Position,
        tracker: Tracker,
    ) -> Self {
        Self {
            flavor,
            tables,
            dates,
            limits,
            track: Track::new(position),
            within: position.within.clone(),
            place: FilePlace::default(),
            watch: Watch::default(),
            open: None,
            job: None,
            maps: TableMaps::default(),
            tracker,
            cascades: Cascades::default(),
            wants_cascades: true,
            followers: HashMap::new(),
            held: HashMap::new(),
            numbers: ShapeNumbers::default(),
            scratch: Scratch::default(),
            writer: BatchWriter::new(),
            behind: VecDeque::new(),
            fence: fence::Fence::default(),
            ended_at: None,
            unknown: Vec::new(),
            newest_committed_ms: None,
        }
    }

    /// A connection ended: what it left unfinished is taken back, and will be read again.
    pub fn connection_ended(&mut self) {
        if let Some(open) = self.open.take() {
            let taken = if open.is_begun {
                self.writer.abandon_transaction()
            } else {
                0
            };
            let changes = taken.max(open.delivered_before);
            if changes > 0 {
                self.within = Some(Within {
                    transaction: open.id_text,
                    changes,
                });
            }
        }
        self.job = None;
        self.fence = fence::Fence::default();
        self.ended_at = None;
        self.maps.clear();
    }

    /// Whether rows wait for room in a batch.
    pub fn has_job(&self) -> bool {
        self.job.is_some()
    }

    /// Whether everything in a log that ends at `end` has been read.
    pub fn has_read(&self, end: &Offset) -> bool {
        self.track.holds(end, &self.place)
    }

    /// Whether the reader stands between two transactions.
    pub fn is_between(&self) -> bool {
        self.open.is_none()
    }

    /// Whether the batch should be handed over before more is read.
    pub fn is_full(&self) -> bool {
        self.limits.reached(&self.writer)
    }

    /// Takes one event in. Where it answers that definitions are needed, the event is to be given again after they were
    /// read.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where an event that steers the stream cannot be read.
    pub fn handle(&mut self, event: Event, stream: &EventStream) -> Result<Taken> {
        if event.header.event_type == EventType::TableMap {
            self.advance(&event);
            return self.table_map(stream.body(&event), stream.format());
        }
        self.handle_plain(event, stream).map(|()| Taken::Whole)
    }

    fn handle_plain(&mut self, event: Event, stream: &EventStream) -> Result<()> {
        let begins_at = self.place.offset;
        self.advance(&event);
        let body = stream.body(&event);
        match event.header.event_type {
            EventType::Rotate => self.rotate(body),
            EventType::FormatDescription => {
                self.drop_unfinished();
                self.maps.begin_file();
                self.watch.file(&self.place.file, &event.header);
                Ok(())
            }
            EventType::Query => self.query(&event, body),
            EventType::QueryCompressed => self.compressed_query(&event, body),
            EventType::Gtid | EventType::AnonymousGtid | EventType::GtidTagged | EventType::MariadbGtid => {
                if begins_at + u64::from(event.header.event_bytes) == self.place.offset {
                    self.watch.begin(begins_at, &event.header, body);
                } else {
                    self.watch.skip();
                }
                self.begin(&event, body, begins_at)
            }
            EventType::Xid => self.commit(),
            EventType::XaPrepare => self.xa_prepare(body),
            EventType::Incident => {
                self.gap_everywhere(
                    "The server's log says that changes are missing from it (an INCIDENT event).",
                );
                Ok(())
            }
            EventType::BeginLoadQuery | EventType::ExecuteLoadQuery => {
                self.statement_change();
                Ok(())
            }
            EventType::WriteRowsV1
            | EventType::UpdateRowsV1
            | EventType::DeleteRowsV1
            | EventType::WriteRows
            | EventType::UpdateRows
            | EventType::DeleteRows
            | EventType::PartialUpdateRows
            | EventType::WriteRowsCompressedV1
            | EventType::UpdateRowsCompressedV1
            | EventType::DeleteRowsCompressedV1
            | EventType::WriteRowsCompressed
            | EventType::UpdateRowsCompressed
            | EventType::DeleteRowsCompressed => self.rows(event, stream),
            EventType::Unknown(number) if !event.header.is_ignorable() => {
                self.gap_everywhere(&format!(
                    "The log holds an event of type {number}, which this version does not know."
                ));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Where the next event lies, where it is known in which file.
    pub fn log_place(&self) -> Option<LogPlace> {
        let FilePlace { file, offset } = &self.place;
        Some(LogPlace {
            file: self.place.number()?,
            created: self.watch.created(file)?,
            offset: *offset,
        })
    }

    /// Moves the place behind an event of the log; events inside a compressed transaction move it once.
    fn advance(&mut self, event: &Event) {
        let logged = event.logged_header();
        let beats = matches!(
            logged.event_type,
            EventType::Heartbeat | EventType::HeartbeatV2 | EventType::Rotate
        );
        if !logged.is_artificial() && !beats {
            self.place.advance(logged.next_offset, logged.event_bytes);
        }
    }

    fn rotate(&mut self, body: &[u8]) -> Result<()> {
        let mut wire = Wire(body);
        self.place.offset = wire.u64()?;
        self.place.file = String::from_utf8_lossy(wire.rest()).into();
        Ok(())
    }
}
