//! The end of a follower that the pipeline holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::entries::Limits;
use super::follower::{Task, follow};
use super::gate::Stop;
use super::place::Place;
use crate::checkpoint::Saved;
use crate::code::Code;
use crate::config::{From, SourceConfig, SqliteConfig};
use crate::error::{Error, Result};
use crate::offset::{Offset, Position};
use crate::source::{Connector, Gap, Item, Retention, Settings, Steer};

/// Items that are read ahead.
const AHEAD: usize = 1;

/// Longest wait for a thread that ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Follows a database in a file.
pub struct SqliteConnector {
    task: Task,
    running: Option<Running>,
    /// Behind what was returned last.
    position: Option<Arc<str>>,
    gap: Option<Gap>,
    warning: Option<Error>,
    has_warned: bool,
}

struct Running {
    items: mpsc::Receiver<Result<Item>>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl SqliteConnector {
    /// A connector for a source. Nothing is opened yet.
    pub fn new(source: &SourceConfig, config: &SqliteConfig, settings: Settings) -> Self {
        let consumer = match settings.store {
            Some(store) => format!("{store:016x}:{}", source.name),
            None => format!("process:{:016x}", fastrand::u64(..)),
        };
        Self {
            task: Task {
                path: config.path.clone(),
                tables: source.tables.clone(),
                from: source.from.clone(),
                limits: Limits {
                    changes: settings.batch_size,
                    bytes: settings.batch_bytes,
                },
                interval: settings.heartbeat.interval,
                timeout: settings.heartbeat.timeout,
                consumer,
                is_stored: settings.store.is_some(),
                done: Arc::new(AtomicI64::new(0)),
                shapes: Arc::new(AtomicU32::new(0)),
                is_over: Arc::new(AtomicBool::new(false)),
                gate: Arc::default(),
            },
            running: None,
            position: None,
            gap: None,
            warning: None,
            has_warned: false,
        }
    }

    async fn open(&mut self) -> Result<()> {
        self.end().await;
        if let Some(position) = &self.position {
            self.task.from = From::Position(Position::parse(position)?);
        }
        let (sender, items) = mpsc::channel(AHEAD);
        let (opening, opened) = oneshot::channel();
        let is_over = Arc::new(AtomicBool::new(false));
        self.task.gate = Arc::default();
        let task = Task {
            is_over: Arc::clone(&is_over),
            ..self.task.clone()
        };
        let thread = tokio::task::spawn_blocking(move || follow(task, opening, &sender));
        let running = Running {
            items,
            is_over,
            thread,
        };
        let found = opened.await.map_err(|_| not_connected())??;
        self.running = Some(running);
        self.gap = found.gap;
        if self.gap.is_none() {
            self.position = Some(found.position);
        }
        if !self.has_warned {
            self.warning = found.warning;
            self.has_warned = true;
        }
        Ok(())
    }

    async fn next_item(&mut self) -> Result<Item> {
        if let Some(gap) = self.gap.take() {
            self.moved(gap.to.as_ref());
            return Ok(Item::Gap(gap));
        }
        if let Some(warning) = self.warning.take() {
            return Ok(Item::Warning(warning));
        }
        let running = self.running.as_mut().ok_or_else(not_connected)?;
        let item = loop {
            let item = running.items.recv().await;
            match item.unwrap_or_else(|| Err(not_connected()))? {
                // The answer to an earlier steering.
                Item::Held { turn, .. } if turn != self.task.gate.stop().1 => {}
                item => break item,
            }
        };
        let position = item.position().cloned();
        self.moved(position.as_ref());
        Ok(item)
    }

    fn moved(&mut self, position: Option<&Arc<str>>) {
        let Some(position) = position else { return };
        if !self.task.is_stored {
            let mut done = Done(&self.task.done);
            done.reach(position);
        }
        self.position = Some(Arc::clone(position));
    }

    async fn end(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        running.is_over.store(true, Ordering::Relaxed);
        // A thread that waits to hand over is woken.
        running.items.close();
        while running.items.try_recv().is_ok() {}
        let _ = timeout(FAREWELL, &mut running.thread).await;
    }
}

/// The last entry that is done with.
struct Done<'a>(&'a AtomicI64);

impl Done<'_> {
    fn reach(&mut self, position: &str) {
        let place = Position::parse(position)
            .ok()
            .and_then(|position| Place::of(&position));
        if let Some(place) = place {
            self.0.store(place.seq, Ordering::Relaxed);
        }
    }
}

struct Stored(Arc<AtomicI64>);

impl Retention for Stored {
    fn stored(&self, position: &str) {
        Done(&self.0).reach(position);
    }
}

impl Connector for SqliteConnector {
    fn connect(&mut self) -> BoxFuture<'_, Result<()>> {
        self.open().boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Item>> {
        self.next_item().boxed()
    }

    fn resume(&mut self, saved: Saved) -> Result<()> {
        let position = Position::parse(&saved.position)?;
        if Place::of(&position).is_none() {
            return Err(Error::new(
                Code::CheckpointInvalid,
                "The checkpoint holds a position of another kind of source.",
            )
            .with_advice("Give each source a name or a checkpoint of its own."));
        }
        self.task.from = From::Position(position);
        Ok(())
    }

    fn position(&mut self) -> Option<Arc<str>> {
        self.position.clone()
    }

    fn found_gap(&self) -> Option<Gap> {
        self.gap.clone()
    }

    fn steer(&mut self, to: Steer) {
        self.task.gate.steer(match to {
            Steer::Free => Stop::Never,
            Steer::Hold => Stop::Here,
            Steer::Until(view) => match view.high {
                Offset::Sqlite(place) => Stop::At(i64::try_from(place.seq).unwrap_or(i64::MAX)),
                _ => Stop::Here,
            },
        });
    }

    fn retention(&self) -> Option<Arc<dyn Retention>> {
        Some(Arc::new(Stored(Arc::clone(&self.task.done))))
    }

    fn disconnect(&mut self) -> BoxFuture<'_, ()> {
        self.end().boxed()
    }
}

fn not_connected() -> Error {
    Error::new(Code::ConnectionLost, "The source is not connected.")
}
