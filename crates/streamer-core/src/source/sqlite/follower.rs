//! The thread that reads a database: SQLite blocks, and so a thread of its own waits for it.
//!
//! Each read is a short transaction: a long one would keep the write-ahead log from being taken back into the database.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::entries::{Entries, Limits};
use super::facts::{file_identity, schema_version};
use super::failure::{failure, is_busy};
use super::gate::{Gate, Stop};
use super::install::{Installed, Refusal, install};
use super::log;
use super::place;
use super::removal::open;
use super::rows::Versions;
use super::watch::Watch;
use crate::code::{Code, Retry};
use crate::config::{From, TableFilter};
use crate::error::{Error, Result};
use crate::source::{Beat, Gap, Item};

/// How long a busy database is waited for where triggers are made.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it is waited for where it is read or trimmed.
const SHORT_PATIENCE: Duration = Duration::from_millis(50);

/// Between looks at the file itself, and attempts to trim.
const UPKEEP: Duration = Duration::from_secs(1);

/// After how many entries, or after how long, the database is told how far a reader is.
const ENTRIES: i64 = 1000;
const PERIOD: Duration = Duration::from_secs(10);

/// How often a reader that does not move shows that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(600);

/// What a follower needs to know.
#[derive(Clone)]
pub struct Task {
    /// The file.
    pub path: PathBuf,
    /// What is delivered.
    pub tables: TableFilter,
    /// Where reading begins.
    pub from: From,
    /// When a batch is full.
    pub limits: Limits,
    /// Between beats.
    pub interval: Duration,
    /// How long a database may be locked.
    pub timeout: Duration,
    /// The name under which the log is held.
    pub consumer: String,
    /// The name is used again by the next process.
    pub is_stored: bool,
    /// The last entry that is done with.
    pub done: Arc<AtomicI64>,
    /// Numbers of shapes.
    pub shapes: Arc<AtomicU32>,
    /// Nobody reads any more.
    pub is_over: Arc<AtomicBool>,
    /// Where reading stops.
    pub gate: Arc<Gate>,
}

/// What was found at the start.
pub struct Opened {
    /// Where reading begins.
    pub position: Arc<str>,
    /// The place that was asked for is lost.
    pub gap: Option<Gap>,
    /// What the operator should read.
    pub warning: Option<Error>,
}

/// Opens the database, says so, and reads until nobody listens.
pub fn follow(task: Task, opened: oneshot::Sender<Result<Opened>>, items: &mpsc::Sender<Result<Item>>) {
    match Follower::open(task) {
        Ok((mut follower, found)) => {
            if opened.send(Ok(found)).is_err() {
                return;
            }
            if let Err(error) = follower.run(items) {
                let _ = items.blocking_send(Err(error));
            }
            follower.close();
        }
        Err(error) => {
            let _ = opened.send(Err(error));
        }
    }
}

struct Follower {
    conn: Connection,
    task: Task,
    entries: Entries,
    watch: Watch,
    file: Option<(u64, u64)>,
    log: Arc<str>,
    schema_version: i64,
    data_version: Option<i64>,
    /// Up to where definitions agree with the log.
    verified: i64,
    /// Since when the database is locked.
    busy_since: Option<Instant>,
    upkeep_due: Instant,
    entered: (i64, Instant),
    beat_due: Instant,
    has_to_trim: bool,
    /// The newest steering, and whether it was answered.
    turn: (u64, bool),
}

impl Follower {
    fn open(task: Task) -> Result<(Self, Opened)> {
        let path = task.path.clone();
        let failed = |error: &rusqlite::Error| failure(error, &path);
        let mut conn = open(&path)?;
        conn.busy_timeout(PATIENCE).map_err(|error| failed(&error))?;
        conn.set_prepared_statement_cache_capacity(32);
        let installed =
            install(&mut conn, &task.tables, None, 0).map_err(|refusal| refused(refusal, &path))?;
        let warning = warning(&installed);
        let log: Arc<str> = installed.log.as_str().into();
        let (place, gap) = place::begin(&conn, &log, &task.from)?;
        let seq = place.seq;
        task.done.store(seq, Ordering::Relaxed);
        let journal: String = conn
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .map_err(|error| failed(&error))?;
        // Trimming needs no durability: what is lost of it is done again.
        let prepared = conn
            .execute_batch("PRAGMA synchronous = NORMAL")
            .and_then(|()| log::enter(&conn, &task.consumer, seq, task.is_stored))
            .and_then(|()| conn.busy_timeout(SHORT_PATIENCE))
            .and_then(|()| schema_version(&conn));
        let schema_version = prepared.map_err(|error| failed(&error))?;
        let position = place.position();
        let now = Instant::now();
        let follower = Self {
            entries: Entries::new(
                place,
                Versions::new(task.tables.clone(), Arc::clone(&task.shapes)),
                task.limits,
            ),
            watch: Watch::new(&path, journal.eq_ignore_ascii_case("wal")),
            file: file_identity(&path),
            log,
            schema_version,
            data_version: None,
            verified: installed.verified,
            busy_since: None,
            upkeep_due: now + UPKEEP,
            entered: (seq, now),
            beat_due: now,
            has_to_trim: false,
            turn: (0, true),
            conn,
            task,
        };
        Ok((
            follower,
            Opened {
                position,
                gap,
                warning,
            },
        ))
    }

    fn is_over(&self, items: &mpsc::Sender<Result<Item>>) -> bool {
        self.task.is_over.load(Ordering::Relaxed) || items.is_closed()
    }

    fn run(&mut self, items: &mpsc::Sender<Result<Item>>) -> Result<()> {
        while !self.is_over(items) {
            if self.is_held() {
                self.keep_up()?;
                self.task.gate.wait(self.turn.0);
                continue;
            }
            let asked = Instant::now();
            let asked_ms = now_ms();
            match self.look(items) {
                Ok(true) => {
                    self.busy_since = None;
                    if !self.answer(items) {
                        return Ok(());
                    }
                    self.beat(items, asked_ms, asked);
                }
                Ok(false) => return Ok(()),
                Err(Trouble::Sqlite(error)) if is_busy(&error) => {
                    let since = *self.busy_since.get_or_insert(asked);
                    if since.elapsed() > self.task.timeout {
                        return Err(failure(&error, &self.task.path));
                    }
                    // The lock may go at any moment.
                    self.data_version = None;
                }
                Err(Trouble::Sqlite(error)) => return Err(failure(&error, &self.task.path)),
                Err(Trouble::Known(error)) => return Err(error),
            }
            self.keep_up()?;
            if self.task.gate.is_alert() {
                self.task.gate.wait(self.turn.0);
            } else {
                self.watch.wait();
            }
        }
        Ok(())
    }

    /// Whether reading stands where it was steered to.
    fn is_held(&mut self) -> bool {
        let (stop, turn) = self.task.gate.stop();
        if turn != self.turn.0 {
            self.turn = (turn, stop == Stop::Never);
            // What was left unread is behind no newer version.
            self.data_version = None;
        }
        stop != Stop::Never && self.turn.1
    }

    /// Says so where reading has come to where it was steered; false where nobody listens any more.
    fn answer(&mut self, items: &mpsc::Sender<Result<Item>>) -> bool {
        let (stop, turn) = self.task.gate.stop();
        let place = &self.entries.place;
        let is_there = match stop {
            Stop::Never => false,
            Stop::Here => !self.entries.is_within(),
            Stop::At(seq) => !self.entries.is_within() && place.seq >= seq,
        };
        if !is_there || turn != self.turn.0 || self.turn.1 {
            return true;
        }
        self.turn.1 = true;
        let is_exact = !matches!(stop, Stop::At(seq) if place.seq != seq);
        items.blocking_send(Ok(Item::Held { turn, is_exact })).is_ok()
    }

    /// Reads what is new; false where nobody listens any more.
    fn look(&mut self, items: &mpsc::Sender<Result<Item>>) -> Result<bool, Trouble> {
        let version: i64 = self
            .conn
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        if self.data_version == Some(version) {
            return Ok(true);
        }
        if self.data_version.is_some() {
            self.watch.found();
        }
        loop {
            let is_at_end = self.read()?;
            while let Some(item) = self.entries.ready.pop_front() {
                if items.blocking_send(Ok(item)).is_err() {
                    return Ok(false);
                }
            }
            if is_at_end {
                break;
            }
            if self.is_over(items) {
                return Ok(false);
            }
        }
        self.data_version = Some(version);
        Ok(true)
    }

    /// One read transaction; true where nothing is left to read.
    fn read(&mut self) -> Result<bool, Trouble> {
        let transaction = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Deferred)?;
        let found = schema_version(&transaction)?;
        if found != self.schema_version {
            drop(transaction);
            self.reinstall(found)?;
            return Ok(false);
        }
        let newest = log::newest(&transaction)?;
        if newest < self.entries.place.seq {
            let sentence = "The change log is shorter than it was: the database was restored from a copy.";
            return Err(Trouble::Known(Error::new(Code::ConnectionLost, sentence)));
        }
        self.verified = self.verified.max(newest);
        // Only now: the picture of the database has been taken.
        let until = match self.task.gate.stop().0 {
            Stop::Never => newest,
            Stop::Here => newest.min(self.entries.place.seq),
            Stop::At(seq) => newest.min(seq),
        };
        if self.entries.is_within() || until > self.entries.place.seq {
            self.entries.read(&transaction, until)?;
        }
        transaction.rollback()?;
        Ok(!self.entries.is_within() && self.entries.place.seq >= until)
    }

    /// A definition has changed.
    fn reinstall(&mut self, found: i64) -> Result<(), Trouble> {
        self.conn.flush_prepared_statement_cache();
        self.conn.busy_timeout(PATIENCE)?;
        let installed = install(&mut self.conn, &self.task.tables, Some(&self.log), self.verified);
        self.conn.busy_timeout(SHORT_PATIENCE)?;
        let installed = match installed {
            Ok(installed) => installed,
            Err(Refusal::Sqlite(error)) => return Err(Trouble::Sqlite(error)),
            Err(refusal) => return Err(Trouble::Known(refused(refusal, &self.task.path))),
        };
        let place = &self.entries.place;
        if place.group.is_none() && place.mark != 0 {
            let mark = log::mark(&self.conn, place.seq)?;
            if mark != 0 && mark != place.mark {
                let sentence =
                    "The change log holds other changes than it did: the database was restored from a copy.";
                return Err(Trouble::Known(Error::new(Code::ConnectionLost, sentence)));
            }
        }
        self.verified = installed.verified;
        self.schema_version = schema_version(&self.conn)?.max(found);
        self.conn.flush_prepared_statement_cache();
        Ok(())
    }

    fn beat(&mut self, items: &mpsc::Sender<Result<Item>>, fresh_until_ms: f64, asked: Instant) {
        if asked < self.beat_due {
            return;
        }
        let beat = Beat {
            fresh_until_ms,
            round_trip_ms: asked.elapsed().as_secs_f64() * 1000.0,
            clock_offset_ms: Some(0.0),
            position: self.entries.place.position(),
        };
        // One that has to wait would be late.
        if items.try_send(Ok(Item::Beat(beat))).is_ok() {
            self.beat_due = asked + self.task.interval;
        }
    }

    /// Looks at the file, says how far this reader is, and removes what nobody needs.
    fn keep_up(&mut self) -> Result<()> {
        if self.watch.was_replaced() || self.upkeep_due <= Instant::now() {
            let found = file_identity(&self.task.path);
            if found != self.file {
                let path = self.task.path.display();
                let what = if found.is_none() {
                    "is gone"
                } else {
                    "was replaced by another"
                };
                let sentence = format!("The database file {path} {what}.");
                return Err(Error::new(Code::ConnectionLost, sentence));
            }
        }
        if self.upkeep_due > Instant::now() {
            return Ok(());
        }
        self.upkeep_due = Instant::now() + UPKEEP;
        match self.trim() {
            // Another second will do.
            Err(error) if is_busy(&error) => Ok(()),
            Err(error) => Err(failure(&error, &self.task.path)),
            Ok(()) => Ok(()),
        }
    }

    fn trim(&mut self) -> rusqlite::Result<()> {
        let done = self.task.done.load(Ordering::Relaxed);
        let (entered, at) = self.entered;
        let is_due = done - entered >= ENTRIES
            || (done > entered && at.elapsed() >= PERIOD)
            || at.elapsed() >= SIGN_OF_LIFE;
        if !is_due && !self.has_to_trim {
            return Ok(());
        }
        let transaction = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        if log::identity(&transaction)?.is_none() {
            // The next look says so.
            return Ok(());
        }
        log::enter(&transaction, &self.task.consumer, done, self.task.is_stored)?;
        self.has_to_trim = log::trim(&transaction)?;
        transaction.commit()?;
        self.entered = (done, Instant::now());
        if self.has_to_trim {
            self.upkeep_due = Instant::now() + SHORT_PATIENCE;
        }
        Ok(())
    }

    /// Says how far it came, as the last of it; a name that nobody uses again is forgotten.
    fn close(mut self) {
        let done = self.task.done.load(Ordering::Relaxed);
        if self.task.is_stored && done == self.entered.0 {
            return;
        }
        let left = (|| {
            let transaction = self
                .conn
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            if log::identity(&transaction)?.is_some_and(|log| *log.id == *self.log) {
                if self.task.is_stored {
                    log::enter(&transaction, &self.task.consumer, done, true)?;
                } else {
                    log::leave(&transaction, &self.task.consumer)?;
                }
            }
            transaction.commit()
        })();
        // It expires by itself.
        if let Err(error) = left {
            tracing::debug!("The reader could not be taken out of the database: {error}.");
        }
    }
}

/// What ends a look.
enum Trouble {
    Sqlite(rusqlite::Error),
    Known(Error),
}

impl std::convert::From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn refused(refusal: Refusal, path: &std::path::Path) -> Error {
    match refusal {
        Refusal::Sqlite(error) => failure(&error, path),
        Refusal::Later => Error::new(
            Code::DatabaseInvalid,
            format!(
                "The change log of {} was made by a later version of this library.",
                path.display()
            ),
        )
        .with_advice(
            "Use that version, or take the log out: npx ultimate-streaming sqlite uninstall <file>.",
        ),
        Refusal::Gone => Error::new(
            Code::PositionLost,
            format!(
                "The change log of {} was taken out while it was followed.",
                path.display()
            ),
        )
        .with_retry(Retry::Never)
        .with_advice("A new start makes it again; changes until then are not seen."),
    }
}

fn warning(installed: &Installed) -> Option<Error> {
    if !installed.too_wide.is_empty() {
        let sentence = format!(
            "Tables with more than {} columns are not followed: {}.",
            log::MAX_CELLS / 2,
            installed.too_wide.join(", ")
        );
        return Some(Error::new(Code::LimitExceeded, sentence));
    }
    if !installed.opaque.is_empty() {
        let sentence = format!(
            "Rows that a REPLACE removes through a unique index on an expression, or with a WHERE, are not seen: {}.",
            installed.opaque.join(", ")
        );
        return Some(
            Error::new(Code::LimitExceeded, sentence)
                .with_advice("Use INSERT … ON CONFLICT DO UPDATE on these tables."),
        );
    }
    None
}

/// Our clock, in ms since the epoch.
pub(super) fn now_ms() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64() * 1000.0)
}
