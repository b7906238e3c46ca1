//! The log where it can be had, else polling; and from polling over to the log as soon as it can.
//!
//! # The passage
//! 1. The log is opened; its position `P` is the end of the log at that moment. Nothing of it is read yet.
//! 2. For [`SETTLE`] polling goes on: what stands in the log before `P` may not be visible to a query yet.
//! 3. Every table is read once more from its lower bound on. What was committed before `P` is delivered with it.
//! 4. The log is read from `P` on.
//!
//! So nothing is missed. What is committed between `P` and the last poll of a table comes twice, polled and from the
//! log, under two ids; the log's come last, in order, and end in the same state.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Database, PollConnector};
use crate::checkpoint::{Definitions, Progress, Saved};
use crate::config::{From, SourceConfig};
use crate::error::{Error, Result};
use crate::event::LogPlace;
use crate::offset::{Offset, Position};
use crate::source::{Connector, Gap, Host, Item, Retention};

/// Name of the detail of an error that says that the server keeps no log for us; its value is `true`.
pub const LOG_UNAVAILABLE: &str = "logUnavailable";

/// A server sends a change some milliseconds before a query shows it; with semi-synchronous replication, a round trip more.
const SETTLE: Duration = Duration::from_secs(2);

/// Whether an error says that the log cannot be had, while the database can be read.
pub fn is_log_unavailable(error: &Error) -> bool {
    error.details().get(LOG_UNAVAILABLE) == Some(&serde_json::Value::Bool(true))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// Which way it goes is not known yet.
    Undecided,
    /// Polling; the log is tried again at a moment.
    Poll(Instant),
    /// The log is open, polling goes on until a moment.
    Settle(Instant),
    /// The last poll of each table.
    Last,
    /// The log.
    Log,
}

/// Makes a connector of the log that begins at a place.
pub type MakeLog = Box<dyn Fn(From) -> Box<dyn Connector> + Send + Sync>;

/// Follows the log, or polls while it cannot be had.
pub struct AutoConnector<D: Database> {
    log: Box<dyn Connector>,
    make_log: MakeLog,
    poll: PollConnector<D>,
    phase: Phase,
    check: Duration,
    warning: Option<Error>,
}

impl<D: Database> AutoConnector<D> {
    /// A connector for a source. Nothing connects yet.
    pub fn new(source: &SourceConfig, make_log: MakeLog, poll: PollConnector<D>) -> Self {
        let mut connector = Self {
            log: make_log(source.from.clone()),
            make_log,
            poll,
            phase: Phase::Undecided,
            check: source.poll.check,
            warning: None,
        };
        if let From::Position(position) = &source.from {
            connector.phase = phase_of(position);
        }
        connector
    }

    async fn open(&mut self) -> Result<()> {
        match self.phase {
            Phase::Log => return self.log.connect().await,
            Phase::Undecided => match self.log.connect().await {
                Ok(()) => {
                    self.phase = Phase::Log;
                    return Ok(());
                }
                Err(error) if is_log_unavailable(&error) => {
                    self.log.disconnect().await;
                    self.poll.connect().await?;
                    self.phase = Phase::Poll(Instant::now() + self.check);
                    self.warning = Some(fallen_back(&error));
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
            _ => {}
        }
        self.log.disconnect().await;
        self.poll.connect().await?;
        self.phase = Phase::Poll(Instant::now());
        Ok(())
    }

    async fn next_item(&mut self) -> Result<Item> {
        loop {
            if let Some(warning) = self.warning.take() {
                return Ok(Item::Warning(warning));
            }
            match self.phase {
                Phase::Log => return self.log.next().await,
                Phase::Poll(due) if Instant::now() >= due => self.try_log().await,
                Phase::Settle(until) if Instant::now() >= until => {
                    self.poll.hurry();
                    self.phase = Phase::Last;
                }
                Phase::Last if self.poll.is_done() => {
                    self.poll.disconnect().await;
                    self.phase = Phase::Log;
                    tracing::info!("The log can be read now: it takes the place of polling.");
                }
                _ => {}
            }
            if self.phase != Phase::Log
                && let Some(item) = self.poll.step().await?
            {
                return Ok(item);
            }
        }
    }

    /// Opens the log at its present end, where that can be done.
    async fn try_log(&mut self) {
        self.log = (self.make_log)(From::Now);
        match self.log.connect().await {
            Ok(()) => {
                tracing::info!("The log can be read: moving over to it.");
                self.phase = Phase::Settle(Instant::now() + SETTLE);
            }
            Err(error) => {
                tracing::debug!(code = error.code().as_str(), "The log cannot be read yet.");
                self.log.disconnect().await;
                self.phase = Phase::Poll(Instant::now() + self.check);
            }
        }
    }

    fn is_log(&self) -> bool {
        self.phase == Phase::Log
    }
}

/// A position in a log can be gone on from in the log only.
fn phase_of(position: &Position) -> Phase {
    match position.start {
        Offset::Poll(_) => Phase::Poll(Instant::now()),
        _ => Phase::Log,
    }
}

fn fallen_back(error: &Error) -> Error {
    error
        .told_of("The log cannot be read, so the tables are polled until it can")
        .with_detail(LOG_UNAVAILABLE, true)
}

impl<D: Database> Connector for AutoConnector<D> {
    fn connect(&mut self) -> BoxFuture<'_, Result<()>> {
        self.open().boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Item>> {
        self.next_item().boxed()
    }

    fn resume(&mut self, saved: Saved) -> Result<()> {
        self.phase = phase_of(&Position::parse(&saved.position)?);
        match self.is_log() {
            true => self.log.resume(saved),
            false => self.poll.resume(saved),
        }
    }

    fn position(&mut self) -> Option<Arc<str>> {
        match self.is_log() {
            true => self.log.position(),
            false => self.poll.position(),
        }
    }

    fn definitions(&self) -> Option<Arc<dyn Definitions>> {
        self.is_log().then(|| self.log.definitions())?
    }

    fn progress(&self) -> Option<Arc<dyn Progress>> {
        self.is_log().then(|| self.log.progress())?
    }

    fn host(&self) -> Host {
        match self.is_log() {
            true => self.log.host(),
            false => self.poll.host(),
        }
    }

    fn log_place(&self) -> Option<LogPlace> {
        self.is_log().then(|| self.log.log_place())?
    }

    fn witness(&self) -> Option<Arc<str>> {
        self.is_log().then(|| self.log.witness())?
    }

    fn found_gap(&self) -> Option<Gap> {
        self.is_log().then(|| self.log.found_gap())?
    }

    fn retention(&self) -> Option<Arc<dyn Retention>> {
        self.log.retention()
    }

    fn polls(&self) -> Option<Duration> {
        match self.is_log() {
            true => None,
            false => self.poll.polls(),
        }
    }

    fn disconnect(&mut self) -> BoxFuture<'_, ()> {
        async move {
            self.log.disconnect().await;
            self.poll.disconnect().await;
        }
        .boxed()
    }
}
