//! The connector of a source that is polled: one job after the other, the most urgent first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::bound::{Began, Growth};
use super::pace::Pace;
use super::table::{Reading, Table};
use super::{Database, Head, Row, Start, Way};
use crate::checkpoint::Saved;
use crate::code::Code;
use crate::config::{From, PollConfig, SourceConfig};
use crate::error::{Error, Result};
use crate::event::{BatchWriter, Operation};
use crate::offset::{Offset, PollOffset, Position};
use crate::source::{Beat, Connector, Host, Item, Settings};

/// Rows of one question.
pub(super) const PAGE: usize = 1000;
/// How often definitions and the server's clock are read again.
pub(super) const REFRESH: Duration = Duration::from_secs(30);
/// A table is read from its lower bound on this often within the overlap.
const WHOLE_READS: u32 = 5;
/// A backlog is read with pauses of so many times the answer's duration.
const BACKLOG_PAUSE: u32 = 1;

/// What is to be done next.
#[derive(Debug, Clone, Copy)]
enum Job {
    Refresh,
    Read(usize),
    Look(usize),
}

/// Polls the tables of a source.
pub struct PollConnector<D: Database> {
    pub(super) database: D,
    pub(super) config: PollConfig,
    pub(super) settings: Settings,
    pub(super) tables: Vec<Table<D>>,
    /// Where to begin, until the first connection has found the tables.
    pub(super) from: Option<From>,
    pub(super) is_open: bool,
    pub(super) refresh_due: Instant,
    /// A moment of our steady clock and of the server's, in microseconds.
    pub(super) clock: (Instant, i128),
    pub(super) started: Instant,
    pub(super) writer: BatchWriter,
    pub(super) ready: VecDeque<Item>,
    /// Rows that are gone, to be told: table and key.
    pub(super) gone: VecDeque<(usize, Box<[u8]>)>,
    pub(super) position: Option<Arc<str>>,
    /// What was said of tables.
    pub(super) said: Vec<String>,
    pub(super) beaten: Option<Instant>,
    pub(super) round_trip: Duration,
}

impl<D: Database> PollConnector<D> {
    /// A connector for a source. Nothing connects yet.
    pub fn new(source: &SourceConfig, database: D, settings: Settings) -> Self {
        let now = Instant::now();
        Self {
            database,
            config: source.poll.clone(),
            settings,
            tables: Vec::new(),
            from: Some(source.from.clone()),
            is_open: false,
            refresh_due: now,
            clock: (now, 0),
            started: now,
            writer: BatchWriter::new(),
            ready: VecDeque::new(),
            gone: VecDeque::new(),
            position: None,
            said: Vec::new(),
            beaten: None,
            round_trip: Duration::ZERO,
        }
    }

    async fn open(&mut self) -> Result<()> {
        self.shut().await;
        self.database.open().await?;
        self.refresh().await?;
        if let Some(from) = self.from.clone() {
            self.begin(&from).await?;
            self.from = None;
        }
        self.move_position();
        self.is_open = true;
        Ok(())
    }

    async fn shut(&mut self) {
        self.is_open = false;
        for table in &mut self.tables {
            // What was remembered keeps rows from coming twice when the read begins anew.
            table.reading = None;
            table.looking = None;
        }
        self.database.close().await;
    }

    pub(super) fn began(&self) -> Began {
        let now = Instant::now();
        let (asked, server) = self.clock;
        Began {
            at: now.saturating_duration_since(self.started).as_micros() as i128,
            server: server + now.saturating_duration_since(asked).as_micros() as i128,
        }
    }

    fn at(&self) -> i128 {
        self.started.elapsed().as_micros() as i128
    }

    fn move_position(&mut self) {
        let cursors = self.tables.iter().map(Table::cursor).collect();
        let position = Position {
            start: Offset::Poll(PollOffset { cursors }),
            delivered: None,
            within: None,
        };
        self.position = Some(position.base_text().into());
    }

    pub(super) fn position_now(&mut self) -> Arc<str> {
        if self.position.is_none() {
            self.move_position();
        }
        self.position.clone().unwrap_or_else(|| "".into())
    }

    async fn next_item(&mut self) -> Result<Item> {
        loop {
            if let Some(item) = self.step().await? {
                return Ok(item);
            }
        }
    }

    /// An item where one is ready; else one job is waited for and done.
    pub(super) async fn step(&mut self) -> Result<Option<Item>> {
        if let Some(item) = self.ready.pop_front() {
            return Ok(Some(item));
        }
        if !self.is_open {
            return Err(not_connected());
        }
        if !self.gone.is_empty() {
            self.tell_gone();
            return Ok(None);
        }
        let (due, job) = self.next_job();
        sleep_until(due).await;
        let done = self.work(job).await;
        self.is_open = done.is_ok();
        done.map(|()| None)
    }

    fn next_job(&self) -> (Instant, Job) {
        let mut next = (self.refresh_due, Job::Refresh);
        for (index, table) in self.tables.iter().enumerate() {
            if table.due < next.0 {
                next = (table.due, Job::Read(index));
            }
            if table.keys.is_some() && table.bound.is_some() && table.look_due < next.0 {
                next = (table.look_due, Job::Look(index));
            }
        }
        next
    }

    async fn work(&mut self, job: Job) -> Result<()> {
        let done = match job {
            Job::Refresh => return self.refresh().await,
            Job::Read(index) => self.poll(index).await,
            Job::Look(index) => self.look(index, true).await,
        };
        match done {
            // A table was changed or dropped since its definition was read, or may not be read any more.
            Err(error) if matches!(error.code(), Code::TableUnknown | Code::GrantMissing) => {
                if let Job::Read(index) | Job::Look(index) = job {
                    self.set_aside(index, &error);
                }
                self.refresh().await
            }
            done => done,
        }
    }

    /// A table that cannot be read now is left alone until the next look at the definitions.
    fn set_aside(&mut self, index: usize, error: &Error) {
        let Some(table) = self.tables.get_mut(index) else {
            return;
        };
        table.reading = None;
        table.looking = None;
        table.due = Instant::now() + REFRESH;
        table.look_due = table.due;
        let name = table.name();
        tracing::warn!(code = error.code().as_str(), table = name, "{error}");
    }

    async fn poll(&mut self, index: usize) -> Result<()> {
        match self.tables.get(index).is_some_and(|table| table.bound.is_some()) {
            true => self.read(index).await?,
            false => self.compare(index).await?,
        }
        self.beat();
        Ok(())
    }

    /// One page of a table.
    async fn read(&mut self, index: usize) -> Result<()> {
        let began = self.began();
        let overlap = self.config.overlap;
        let Some(table) = self.tables.get_mut(index) else {
            return Ok(());
        };
        let reading = table.reading.take().unwrap_or_else(|| Reading {
            began,
            began_ms: now_ms(),
            is_whole: table
                .whole_at
                .is_none_or(|at| at.elapsed() >= overlap / WHOLE_READS),
            last: None,
            found: 0,
            took: Duration::ZERO,
        });
        let low = table.bound.as_ref().and_then(|bound| match reading.is_whole {
            true => bound.low(),
            false => bound.newest(),
        });
        let start = match (&reading.last, low) {
            (Some(row), _) => Start::After(row),
            (None, Some(low)) => Start::From(low),
            (None, None) => Start::Beginning,
        };
        let asked = Instant::now();
        let rows = self.database.read(&table.found.handle, start, PAGE).await?;
        let took = asked.elapsed();
        self.round_trip = took;
        table.reading = Some(reading);
        self.deliver(index, rows, took);
        Ok(())
    }

    /// Hands over what a page holds that is new.
    fn deliver(&mut self, index: usize, mut rows: Vec<D::Row>, took: Duration) {
        let at = self.at();
        let before = self.position_now();
        let server_ms = self.began().server as f64 / 1000.0;
        let Some(table) = self.tables.get_mut(index) else {
            return;
        };
        let is_end = rows.len() < PAGE;
        let (is_new, is_forgotten) = table.remember(&rows, at);
        let has_moved = table.advance(rows.last().and_then(Row::cursor), is_end, at);
        let name = table.name();
        if has_moved {
            self.move_position();
        }
        let after = self.position_now();
        let last_new = is_new.iter().rposition(|is_new| *is_new);
        for (at, row) in rows.iter().enumerate() {
            if is_new.get(at) == Some(&true) {
                let position = if last_new == Some(at) { &after } else { &before };
                self.write_row(index, row, position, server_ms);
            }
        }
        self.flush();
        if is_forgotten {
            self.ready.push_back(Item::Warning(too_many(&name)));
        }
        let found = is_new.iter().filter(|is_new| **is_new).count() as u64;
        let Some(table) = self.tables.get_mut(index) else {
            return;
        };
        let Some(mut reading) = table.reading.take() else {
            return;
        };
        reading.found += found;
        reading.took += took;
        if is_end {
            let wait = table.pace.next(reading.took, reading.found, fastrand::f64());
            table.due = Instant::now() + wait;
            table.is_backlog = false;
            if reading.is_whole {
                table.whole_at = Some(Instant::now());
                table.fresh_ms = Some(reading.began_ms);
            }
        } else {
            reading.last = rows.pop();
            table.due = Instant::now() + took * BACKLOG_PAUSE;
            table.reading = Some(reading);
        }
    }

    pub(super) fn write_row(&mut self, index: usize, row: &D::Row, position: &Arc<str>, server_ms: f64) {
        let Some(table) = self.tables.get_mut(index) else {
            return;
        };
        let key = row.key();
        let (growth, is_insert_only) = match &table.found.way {
            Way::Column {
                growth,
                is_insert_only,
                ..
            } => (*growth, *is_insert_only),
            _ => (Growth::Counter, false),
        };
        let cursor = row.cursor().unwrap_or_default();
        let version = row.version() as u64;
        let id = match is_insert_only {
            true => table.id(&key, &cursor.to_string()),
            false => table.id(&key, &format!("{cursor}-{version:016x}")),
        };
        let head = Head {
            operation: if is_insert_only {
                Operation::Insert
            } else {
                Operation::Update
            },
            id: &id,
            position,
            committed_ms: match growth {
                Growth::ServerTime => cursor as f64 / 1000.0,
                _ => server_ms,
            },
        };
        self.database
            .write(&table.found.handle, row, &head, &mut self.writer);
        if let (Some(keys), true) = (&mut table.keys, table.bound.is_some()) {
            keys.see(key, 0);
        }
        self.flush_full();
    }

    fn flush_full(&mut self) {
        let is_full = self.writer.changes() >= self.settings.batch_size
            || self.writer.weight() >= self.settings.batch_bytes;
        if is_full {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        if self.writer.changes() > 0 {
            self.ready.push_back(Item::Batch(self.writer.take()));
        }
    }

    /// Proof of life: everything that was committed `overlap` before the oldest of the last whole reads was handed over.
    fn beat(&mut self) {
        let is_due = self
            .beaten
            .is_none_or(|at| at.elapsed() >= self.settings.heartbeat.interval / 2);
        let oldest = self
            .tables
            .iter()
            .map(|table| table.fresh_ms)
            .try_fold(f64::INFINITY, |oldest, fresh| Some(oldest.min(fresh?)));
        let (true, Some(oldest)) = (is_due && self.gone.is_empty(), oldest) else {
            return;
        };
        self.beaten = Some(Instant::now());
        let beat = Beat {
            fresh_until_ms: oldest - self.config.overlap.as_secs_f64() * 1000.0,
            round_trip_ms: self.round_trip.as_secs_f64() * 1000.0,
            clock_offset_ms: None,
            position: self.position_now(),
        };
        self.ready.push_back(Item::Beat(beat));
    }

    /// Makes every table be read from its lower bound on next.
    pub(super) fn hurry(&mut self) {
        let now = Instant::now();
        for table in &mut self.tables {
            table.reading = None;
            table.whole_at = None;
            table.due = now;
        }
    }

    /// Whether every table has been read since [`hurry`](Self::hurry), and all was handed over.
    pub(super) fn is_done(&self) -> bool {
        let is_read = |table: &Table<D>| table.whole_at.is_some() && table.reading.is_none();
        self.ready.is_empty() && self.gone.is_empty() && self.tables.iter().all(is_read)
    }
}

impl<D: Database> Connector for PollConnector<D> {
    fn connect(&mut self) -> BoxFuture<'_, Result<()>> {
        self.open().boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Item>> {
        self.next_item().boxed()
    }

    fn resume(&mut self, saved: Saved) -> Result<()> {
        let position = Position::parse(&saved.position)?;
        if !matches!(position.start, Offset::Poll(_)) {
            return Err(Error::new(
                Code::CheckpointInvalid,
                "The checkpoint holds a position in a log, and the source is to be polled.",
            )
            .with_advice("Delete the checkpoint, or leave `capture` out."));
        }
        self.from = Some(From::Position(position));
        Ok(())
    }

    fn position(&mut self) -> Option<Arc<str>> {
        self.position.clone()
    }

    fn host(&self) -> Host {
        self.database.host()
    }

    fn polls(&self) -> Option<Duration> {
        Some(
            self.config.overlap + self.config.overlap / WHOLE_READS + Pace::longest(self.config.max_interval),
        )
    }

    fn disconnect(&mut self) -> BoxFuture<'_, ()> {
        self.shut().boxed()
    }
}

fn too_many(table: &str) -> Error {
    Error::new(
        Code::LimitExceeded,
        format!("More rows of {table} changed within the overlap than are remembered: rows that are committed late may be missed."),
    )
    .with_detail("table", table)
}

fn not_connected() -> Error {
    Error::new(Code::ConnectionLost, "The source is not connected.")
}

/// Ms since the Unix epoch by the local clock.
pub(super) fn now_ms() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64() * 1000.0)
}
