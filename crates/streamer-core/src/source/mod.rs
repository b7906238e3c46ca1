//! Connectors: one reader for each kind of source. No connector imports another; what polling is to all of them is in
//! [`poll`].
//!
//! A connector is pulled: the pipeline asks for the next [`Item`] only while the delivery window has room, so that a
//! slow application slows the server's socket instead of filling memory.

mod chunks;
pub mod mongodb;
pub mod mysql;
pub mod poll;
pub mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::checkpoint::{Definitions, Progress, Saved};
use crate::config::Heartbeat;
use crate::error::{Error, Result};
use crate::event::{Batch, LogPlace};

pub use chunks::{
    Cell, Chunks, Cursor, Rest, Rows, Steer, TableRef, TableSize, View, Wanted, from_hexadecimal,
    hexadecimal, row_id,
};

/// A reader of one source's log.
///
/// # What an implementation guarantees
/// - Items come in the order of the log. What was returned by [`next`](Self::next) counts as handed over: after a
///   failure, [`connect`](Self::connect) resumes directly behind it, inside a transaction too, so that a process
///   that lives sees no change twice and misses none.
/// - A place that cannot be decoded with certainty is an error or an [`Item::Gap`]; the position never passes it in
///   silence.
pub trait Connector: Send {
    /// Connects, checks the server, and opens the log; after a failure, again from where it stopped.
    ///
    /// When it resolves, everything that is committed from now on will be returned by [`next`](Self::next). Not
    /// cancel-safe: a connector whose `connect` was dropped must be connected again.
    fn connect(&mut self) -> BoxFuture<'_, Result<()>>;

    /// The next item; waits until there is one. An error ends the connection. Cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Result<Item>>;

    /// Begins where a checkpoint says, instead of where the configuration does; before the first `connect`.
    ///
    /// # Errors
    /// `ERR_STREAMER_CHECKPOINT_INVALID` where the position is not one of this kind of source.
    fn resume(&mut self, saved: Saved) -> Result<()>;

    /// Where reading goes on: the position behind what was returned last. `None` before the first `connect`.
    fn position(&mut self) -> Option<Arc<str>>;

    /// What a checkpoint at the end of the item that was returned last has to keep beside its position. Cheap.
    fn definitions(&self) -> Option<Arc<dyn Definitions>> {
        None
    }

    /// Which host is read.
    fn host(&self) -> Host {
        Host::default()
    }

    /// A place in the server's files that everything returned so far lies before. Cheap.
    fn log_place(&self) -> Option<LogPlace> {
        None
    }

    /// What proves, when reading is resumed, that the log is the one whose end of an item was returned last. Text that only
    /// the connector understands.
    fn witness(&self) -> Option<Arc<str>> {
        None
    }

    /// A gap that the last `connect` found, and that [`next`](Self::next) is going to return first.
    fn found_gap(&self) -> Option<Gap> {
        None
    }

    /// What wants to know of every checkpoint: a source that keeps its log for us.
    fn retention(&self) -> Option<Arc<dyn Retention>> {
        None
    }

    /// Whether it polls now instead of reading a log, and how old what it vouches for may be while all is well. May change
    /// with each item.
    fn polls(&self) -> Option<Duration> {
        None
    }

    /// Stops at a place, or nowhere any more: [`next`](Self::next) returns [`Item::Held`] once when it stands there, and waits until
    /// it is steered elsewhere. A new connection stops nowhere. Does nothing where the source has no snapshots.
    fn steer(&mut self, _to: Steer) {}

    /// How far a snapshot has come at the end of the item that was returned last; `None` where none is under way.
    fn progress(&self) -> Option<Arc<dyn Progress>> {
        None
    }

    /// Closes the connection in an orderly way, where there is one. Idempotent.
    fn disconnect(&mut self) -> BoxFuture<'_, ()>;
}

/// Keeps a log for as long as a checkpoint needs it.
pub trait Retention: Send + Sync {
    /// A checkpoint names this position now: what lies before it is not needed any more. Does not wait.
    fn stored(&self, position: &str);
}

impl Item {
    /// The position that is reached once the application is done with it.
    pub fn position(&self) -> Option<&Arc<str>> {
        match self {
            Self::Batch(batch) => batch.position.as_ref(),
            Self::Schema(change) => Some(&change.position),
            Self::Gap(gap) => gap.to.as_ref(),
            Self::Beat(beat) => Some(&beat.position),
            Self::Snapshot(progress) => progress.position.as_ref(),
            Self::Redefined(position) => Some(position),
            Self::Warning(_) | Self::Held { .. } => None,
        }
    }
}

/// The host of a source that is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Its place among those of the configuration.
    pub index: usize,
    /// What names the server there, where it has a name that no other has.
    pub server: Option<Arc<str>>,
}

/// What every connector is given.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Proof of life.
    pub heartbeat: Heartbeat,
    /// Most changes in one batch.
    pub batch_size: u32,
    /// Bytes after which a batch is handed over, whatever it holds.
    pub batch_bytes: usize,
    /// Names the store of the checkpoints, the same in every process that uses it; `None` where there are none.
    pub store: Option<u64>,
}

/// What a connector hands over.
#[derive(Debug)]
pub enum Item {
    /// Changes.
    Batch(Batch),
    /// A definition changed.
    Schema(SchemaChange),
    /// A definition that concerns no table that is followed, such as that of a view, changed before this position; never leaves the
    /// engine.
    Redefined(Arc<str>),
    /// Changes may be missing.
    Gap(Gap),
    /// The source lives, and everything before a moment has been handed over.
    Beat(Beat),
    /// Something that the operator should read; the stream goes on.
    Warning(Error),
    /// A snapshot has come to a table, or further in it.
    Snapshot(SnapshotProgress),
    /// The connector stands where it was steered to; never leaves the engine.
    Held {
        /// Which steering it answers, where several may be under way.
        turn: u64,
        /// What is in the view of the table is exactly what was handed over.
        is_exact: bool,
    },
}

/// How far a snapshot has come.
#[derive(Debug, Clone)]
pub struct SnapshotProgress {
    /// Names the snapshot.
    pub id: Arc<str>,
    /// The table; `None` where there is none to read.
    pub table: Option<TableRef>,
    /// Rows of it that were handed over.
    pub rows: u64,
    /// About how many it has.
    pub estimated_rows: Option<u64>,
    /// The table has been read to its end.
    pub is_done: bool,
    /// Tables of the snapshot that are still to be read, this one included.
    pub remaining: usize,
    /// Nothing is left to read, of other snapshots either.
    pub is_last: bool,
    /// The position of the source.
    pub position: Option<Arc<str>>,
}

/// A statement that changed a definition.
#[derive(Debug, Clone)]
pub struct SchemaChange {
    /// Database.
    pub database: Arc<str>,
    /// Table; `None` where the statement concerns a whole database.
    pub table: Option<Arc<str>>,
    /// The statement as the log holds it, with passwords removed; `None` where the log holds none.
    pub statement: Option<Arc<str>>,
    /// Position after it.
    pub position: Arc<str>,
}

/// Changes may be missing.
#[derive(Debug, Clone)]
pub struct Gap {
    /// Position before it, where known.
    pub from: Option<Arc<str>>,
    /// Position after it, where known.
    pub to: Option<Arc<str>>,
    /// Tables as `database.table`; `None` is all of them.
    pub tables: Option<Vec<String>>,
    /// Why.
    pub reason: GapReason,
    /// What exactly could not be had; goes to the log and to `health().lastError`.
    pub error: Option<Error>,
}

/// Why changes may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// The server has removed the part of its log that was still to be read.
    LogPurged,
    /// A resume token is no longer known.
    HistoryLost,
    /// The source went back in time: it was reset or restored.
    SourceRewound,
    /// Bytes could not be decoded with certainty.
    Undecodable,
    /// Another server, with another history, answers there.
    SourceReplaced,
    /// A failover took back writes that were delivered before a majority had them; reading goes on where both histories part, so
    /// that the place is not lost.
    RolledBack,
}

impl GapReason {
    /// Whether the place of reading was lost; else some of what follows it.
    pub const fn is_of_place(self) -> bool {
        !matches!(self, Self::Undecodable | Self::RolledBack)
    }

    /// The name that JavaScript sees.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LogPurged => "log-purged",
            Self::HistoryLost => "history-lost",
            Self::SourceRewound | Self::RolledBack => "source-rewound",
            Self::Undecodable => "undecodable",
            Self::SourceReplaced => "source-replaced",
        }
    }
}

/// Proof of life.
#[derive(Debug, Clone)]
pub struct Beat {
    /// Everything that the source committed before this moment (ms since the epoch, local clock) was handed over.
    pub fresh_until_ms: f64,
    /// Round trip of the newest question that the server answered, in ms.
    pub round_trip_ms: f64,
    /// The source's clock minus ours, in ms, as far as it is known.
    pub clock_offset_ms: Option<f64>,
    /// Position that was reached.
    pub position: Arc<str>,
}
