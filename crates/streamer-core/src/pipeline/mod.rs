//! From the connectors to the application: supervision, the delivery window, health, metrics, notices, log records.
//!
//! An [`Engine`] runs one supervised task for each source. A task asks its connector for the next item only while the
//! delivery window has room, and hands it to the [`Sink`] under a sequence number that grows over all sources. What
//! the application has acknowledged gives its bytes back to the window, and with it, through TCP, the server's leave
//! to send.
//!
//! # Guarantees
//! - The order of a source's log is the order of its deliveries; sequence numbers have no holes.
//! - In flight is never more than `delivery.bufferBytes` and one batch; beside it each source holds at most one batch
//!   that waits for its turn.
//! - A source whose connection breaks is connected again, with backoff. A panic in a connector fails its source and
//!   touches nothing else.
//! - After [`Engine::stop`] has resolved, or [`Engine::abandon`] has returned, nothing is delivered any more.
//!
//! # Relies on
//! A [`Connector`] that resumes behind what it returned, and a sink that does not block.
//!
//! # Tasks
//! All run on the tokio runtime that [`Engine::start`] is called on, in one `TaskTracker` under one `CancellationToken`: a task for each
//! source, and one that announces changes of health that only time or an acknowledgement brings about. No lock is held
//! across an await, except the turn in which a source waits for room.

mod backoff;
mod health;
mod keeper;
mod log;
mod metrics;
mod notice;
mod observer;
mod outlet;
mod supervisor;
mod window;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

use crate::checkpoint::{self, Saved};
use crate::code::Code;
use crate::config::{Capture, Config, ConnectorConfig, From, MongodbLog, SnapshotMode, SourceConfig};
use crate::error::{Error, Result};
use crate::snapshot::{Joined, Requests};
use crate::source::mongodb::{MongodbChunks, MongodbConnector, MongodbTables, OplogConnector};
use crate::source::mysql::{MysqlChunks, MysqlConnector, MysqlTables};
use crate::source::poll::{AutoConnector, Database, PollConnector};
use crate::source::sqlite::{SqliteChunks, SqliteConnector};
use crate::source::{Chunks, Connector, Settings};

pub use health::{Health, SourceHealth, State, Status};
pub use observer::Observer;
pub use outlet::{Delivery, Payload, Sink};

use health::{Board, now_ms};
use keeper::Keeper;
use metrics::{Metrics, Present};
use outlet::Outlet;
use supervisor::Supervisor;

/// Makes the connector of a source, which takes the snapshots that are asked for later from the requests.
pub type Factory = dyn Fn(&SourceConfig, Settings, &Arc<Requests>) -> Box<dyn Connector> + Send + Sync;

/// Smallest batch to aim for: each costs a call into JavaScript.
const MIN_BATCH_BYTES: usize = 16 << 10;
/// Largest batch to aim for: each is decoded in one go.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// Least time between two looks at whether the engine is healthy again.
const REST: Duration = Duration::from_millis(10);

/// How far the first connections have come.
#[derive(Debug, Clone)]
enum Begin {
    /// So many sources have not streamed yet.
    Waiting(usize),
    /// Every source has streamed.
    Ready,
    /// A source failed before it streamed.
    Failed(Error),
}

/// What is announced when it changes.
type Picture = (Status, Vec<State>);

/// What the tasks of an engine share.
struct Shared {
    config: Config,
    observer: Option<Arc<dyn Observer>>,
    outlet: Arc<Outlet>,
    board: Board,
    metrics: Metrics,
    /// `None` where positions are kept in memory only.
    keeper: Option<Keeper>,
    dropped: Arc<log::Dropped>,
    /// Snapshots that were asked for, for each source.
    requests: Vec<Arc<Requests>>,
    cancel: CancellationToken,
    begin: watch::Sender<Begin>,
    announced: Mutex<Option<Picture>>,
    /// The last announcement was `degraded`: only then can an acknowledgement change the status.
    is_degraded: AtomicBool,
    /// An acknowledgement may have changed the health.
    acknowledged: Notify,
}

impl Shared {
    /// Delivers a `health` notice where the status or a state differs from the last that was delivered.
    fn announce(&self) {
        let mut announced = self.announced.lock();
        let health = self.board.health(now_ms());
        let states = health.sources.iter().map(|source| source.state).collect();
        let picture = Some((health.status, states));
        self.is_degraded
            .store(health.status == Status::Degraded, Ordering::Relaxed);
        if *announced != picture {
            self.outlet.notify(&Arc::from(""), notice::health(&health));
            *announced = picture;
        }
    }

    /// A source streams for the first time.
    fn first_stream(&self) {
        self.begin.send_if_modified(|begin| {
            let Begin::Waiting(waiting) = begin else {
                return false;
            };
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                *begin = Begin::Ready;
                self.outlet.notify(&Arc::from(""), notice::ready());
            }
            true
        });
    }

    /// Stores checkpoints until the engine stops, or another process has taken them: then nothing may go on.
    async fn keep(self: Arc<Self>, keeper: &Keeper) {
        let mut failing = log::Failing::default();
        let told = |outcome: &Result<bool>| match outcome {
            Ok(false) => {}
            Ok(true) => {
                self.metrics.checkpoint(true);
                if failing.end() {
                    tracing::info!("Checkpoints are stored again.");
                }
            }
            Err(error) => {
                self.metrics.checkpoint(false);
                if failing.is_worth_saying(error) {
                    tracing::warn!(code = error.code().as_str(), "{error}");
                }
                for index in 0..self.config.sources.len() {
                    self.board.blame(index, error);
                }
            }
        };
        if let Some(error) = keeper.run(&self.cancel, told).await {
            self.fail_all(&error);
            self.cancel.cancel();
        }
    }

    /// Runs what all sources depend on: a panic in it ends them, instead of leaving them without.
    async fn guard(self: Arc<Self>, task: impl Future<Output = ()>) {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            self.fail_all(&supervisor::defect());
            self.cancel.cancel();
        }
    }

    /// Every source fails.
    fn fail_all(&self, error: &Error) {
        for (index, source) in self.config.sources.iter().enumerate() {
            self.board.blame(index, error);
            self.board.enter(index, State::Failed);
            if !self.fails_start(error, false) {
                let name = Arc::from(source.name.as_str());
                self.outlet.notify(&name, notice::error(&name, error));
            }
        }
        self.announce();
    }

    /// A source failed; returns true where `start()` tells it.
    fn fails_start(&self, error: &Error, has_streamed: bool) -> bool {
        !has_streamed
            && self.begin.send_if_modified(|begin| {
                let is_awaited = matches!(begin, Begin::Waiting(_));
                if is_awaited {
                    *begin = Begin::Failed(error.clone());
                }
                is_awaited
            })
    }

    /// Where a source's log records go; `None` without a logger.
    fn dispatch(&self, source: &Arc<str>) -> Option<Dispatch> {
        self.config.log.then(|| {
            log::dispatch(
                Arc::clone(&self.outlet),
                Arc::clone(&self.dropped),
                Arc::clone(source),
            )
        })
    }

    /// Announces what changes without an event: a source that is no longer fresh, or is fresh again.
    async fn watch_health(&self) {
        let pause =
            (self.config.heartbeat.timeout / 8).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let watching = async {
            loop {
                tokio::select! {
                    () = self.acknowledged.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
                self.announce();
                // While a backlog is worked off, an acknowledgement comes every half millisecond. Each of them would wake a thread, which on
                // few cores takes the processor from whoever acknowledges; those of a rest wake nobody.
                tokio::time::sleep(REST).await;
            }
        };
        let _: Option<()> = self.cancel.run_until_cancelled(watching).await;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    New,
    Started,
    Stopping,
    Stopped,
}

/// What the first `start` sets going.
struct Launch {
    shared: Arc<Shared>,
    factory: Arc<Factory>,
    tasks: TaskTracker,
}

impl Launch {
    /// Begins where the checkpoints say, and keeps them from then on.
    async fn run(self) {
        // A failure concerns all sources: it carries the name of one only where there is no other.
        let name = match self.shared.config.sources.as_slice() {
            [only] => Arc::from(only.name.as_str()),
            _ => Arc::from(""),
        };
        match self.shared.dispatch(&name) {
            Some(dispatch) => self.resume().with_subscriber(dispatch).await,
            None => self.resume().await,
        }
    }

    async fn resume(self) {
        let shared = Arc::clone(&self.shared);
        let Some(keeper) = &shared.keeper else { return };
        let opened = tokio::select! {
            biased;
            () = shared.cancel.cancelled() => return,
            opened = keeper.open() => opened,
        };
        match opened.and_then(|saved| self.follow(&saved)) {
            Ok(()) => Arc::clone(&shared).keep(keeper).await,
            Err(error) => {
                tracing::error!(code = error.code().as_str(), "{error}");
                // They stay free for whoever mends it.
                let _ = keeper.finish().await;
                shared.fail_all(&error);
            }
        }
    }

    /// Begins to follow every source, from what was saved of it.
    fn follow(&self, saved: &[Option<Saved>]) -> Result<()> {
        let shared = &self.shared;
        let settings = settings(&shared.config);
        let mut supervisors = Vec::with_capacity(shared.config.sources.len());
        for (index, source) in shared.config.sources.iter().enumerate() {
            let requests = shared.requests.get(index).map_or_else(Arc::default, Arc::clone);
            let mut connector = (self.factory)(source, settings, &requests);
            if let Some(Some(saved)) = saved.get(index) {
                connector.resume(saved.clone())?;
            }
            if let (Some(keeper), Some(retention)) = (&shared.keeper, connector.retention()) {
                keeper.tell(index, retention);
            }
            supervisors.push(Supervisor::new(Arc::clone(shared), index, source, connector));
        }
        for supervisor in supervisors {
            self.tasks.spawn(supervisor.run());
        }
        Ok(())
    }
}

/// Follows the sources of one configuration.
///
/// Dropping it is [`abandon`](Self::abandon).
pub struct Engine {
    shared: Arc<Shared>,
    factory: Arc<Factory>,
    tasks: TaskTracker,
    life: watch::Sender<Life>,
}

impl Engine {
    /// An engine for a configuration. Nothing connects yet.
    pub fn new(config: Config, sink: Arc<dyn Sink>) -> Self {
        Self::with_connectors(config, sink, Arc::new(connector))
    }

    /// An engine that tells `observer` of everything before it is delivered.
    pub fn observed(config: Config, sink: Arc<dyn Sink>, observer: Option<Arc<dyn Observer>>) -> Self {
        Self::build(config, sink, Arc::new(connector), observer)
    }

    /// An engine that runs its tasks on `handle` and has connectors made by `factory`. Nothing connects yet.
    pub fn with_connectors(config: Config, sink: Arc<dyn Sink>, factory: Arc<Factory>) -> Self {
        Self::build(config, sink, factory, None)
    }

    fn build(
        config: Config,
        sink: Arc<dyn Sink>,
        factory: Arc<Factory>,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        let limit = config.delivery.buffer_bytes;
        let names = config
            .sources
            .iter()
            .map(|source| Arc::from(source.name.as_str()));
        let keeper = config.checkpoint.as_ref().map(|wanted| {
            let names = config
                .sources
                .iter()
                .map(|source| Arc::from(source.name.as_str()));
            Keeper::new(checkpoint::store(wanted), wanted.interval, names)
        });
        let shared = Shared {
            observer,
            keeper,
            outlet: Arc::new(Outlet::new(sink, limit)),
            board: Board::new(names, config.heartbeat.timeout),
            metrics: Metrics::new(limit, config.sources.iter().map(|source| source.name.as_str())),
            dropped: Arc::default(),
            requests: config.sources.iter().map(|_| Arc::default()).collect(),
            cancel: CancellationToken::new(),
            begin: watch::Sender::new(Begin::Waiting(config.sources.len())),
            announced: Mutex::new(None),
            is_degraded: AtomicBool::new(false),
            acknowledged: Notify::new(),
            config,
        };
        Self {
            shared: Arc::new(shared),
            factory,
            tasks: TaskTracker::new(),
            life: watch::Sender::new(Life::New),
        }
    }

    /// Begins to read; resolves when every source has connected: a change that is committed afterwards will be
    /// delivered. A server that cannot be reached is tried again as `reconnect` says, and `start` waits for it. Later
    /// calls wait for the same outcome. Cancel-safe: the engine goes on. Its tasks run on the tokio runtime of the first
    /// call.
    ///
    /// # Errors
    /// The error of the first source that fails before it has streamed: one that an operator must mend, one that
    /// nothing mends, or the last of the configured attempts. The other sources go on until [`stop`](Self::stop).
    /// `ERR_STREAMER_STOPPED` where the engine is or was stopped meanwhile.
    pub async fn start(&self) -> Result<()> {
        let is_first = self.life.send_if_modified(|life| {
            let is_new = *life == Life::New;
            if is_new {
                *life = Life::Started;
                self.launch();
            }
            is_new
        });
        if is_first {
            self.shared.announce();
        }
        let (mut life, mut begin) = (self.life.subscribe(), self.shared.begin.subscribe());
        tokio::select! {
            biased;
            _ = life.wait_for(|life| *life != Life::Started) => Err(stopped()),
            outcome = begin.wait_for(|begin| !matches!(begin, Begin::Waiting(_))) => match outcome.as_deref() {
                Ok(Begin::Failed(error)) => Err(error.clone()),
                Ok(_) => Ok(()),
                Err(_) => Err(stopped()),
            },
        }
    }

    fn launch(&self) {
        let shared = &self.shared;
        shared.board.start();
        let watched = Arc::clone(shared);
        self.tasks
            .spawn(Arc::clone(shared).guard(async move { watched.watch_health().await }));
        let launch = Launch {
            shared: Arc::clone(shared),
            factory: Arc::clone(&self.factory),
            tasks: self.tasks.clone(),
        };
        if shared.keeper.is_some() {
            self.tasks.spawn(Arc::clone(shared).guard(launch.run()));
        } else if let Err(error) = launch.follow(&[]) {
            shared.fail_all(&error);
        }
    }

    /// Stops reading, closes the connections in an orderly way, and delivers a `stop` notice as the last delivery.
    /// Resolves within `deadline`, whatever a server does. Idempotent: calls that come while another runs wait for
    /// its end. Cancel-safe: what was begun is finished.
    pub async fn stop(&self, deadline: Duration) {
        let is_first = self.life.send_if_modified(|life| {
            let is_first = matches!(life, Life::New | Life::Started);
            if is_first {
                *life = Life::Stopping;
            }
            is_first
        });
        if is_first {
            self.shared.cancel.cancel();
            self.tasks.close();
            let (shared, tasks, life) = (Arc::clone(&self.shared), self.tasks.clone(), self.life.clone());
            tokio::spawn(async move {
                // A task that outlives the deadline finds the outlet closed, and ends when its connector lets go.
                let _ = tokio::time::timeout(deadline, tasks.wait()).await;
                shared.board.end();
                shared.announce();
                shared.outlet.close(Some(notice::stop()));
                life.send_replace(Life::Stopped);
            });
        }
        let _ = self
            .life
            .subscribe()
            .wait_for(|life| *life == Life::Stopped)
            .await;
    }

    /// Ends everything at once, without waiting and without a notice: nobody is left to deliver to.
    pub fn abandon(&self) {
        self.shared.outlet.close(None);
        self.shared.cancel.cancel();
        self.tasks.close();
        self.shared.board.end();
        self.life.send_replace(Life::Stopped);
    }

    /// The application has begun to read everything up to `sequence`: what it holds there is no longer the engine's.
    pub fn begin(&self, sequence: u64) {
        self.shared.outlet.window.begin(sequence);
    }

    /// The application is done with everything up to `sequence`, batches and notices.
    pub fn acknowledge(&self, sequence: u64) {
        let acknowledged = self.shared.outlet.window.acknowledge(sequence);
        self.shared.board.acknowledge(acknowledged, now_ms());
        if let Some(keeper) = &self.shared.keeper {
            keeper.acknowledge(acknowledged);
        }
        if self.shared.is_degraded.load(Ordering::Relaxed) {
            self.shared.acknowledged.notify_one();
        }
    }

    /// The application is done with everything of a source up to `position`, which lies inside the oldest batch that is not
    /// acknowledged.
    pub fn progress(&self, source: &str, position: &str) {
        if let Some(keeper) = &self.shared.keeper {
            keeper.progress(source, position);
        }
    }

    /// Reads the rows of a source's tables that match `patterns`, all where there is none, beside its log; as soon as it streams.
    /// Returns the id of the snapshot, which its notices carry.
    ///
    /// # Errors
    /// `ERR_STREAMER_ARGUMENT_INVALID` for a source that is not configured, and for patterns that cannot be
    /// read; `ERR_STREAMER_LIMIT_EXCEEDED` where more than a thousand wait.
    pub fn snapshot(&self, source: Option<&str>, patterns: Vec<String>) -> Result<Arc<str>> {
        let sources = &self.shared.config.sources;
        let index = match source {
            Some(name) => sources.iter().position(|source| source.name == name),
            None => (sources.len() == 1).then_some(0),
        };
        let invalid = |sentence: String| Error::new(Code::ArgumentInvalid, sentence);
        let found = index.and_then(|index| sources.get(index).zip(self.shared.requests.get(index)));
        let Some((source, requests)) = found else {
            let sentence = "A snapshot is of one source: its name was expected in `source`.";
            return Err(invalid(sentence.to_owned()));
        };
        if !source.has_snapshots() {
            let sentence = "This source has no snapshots: it is polled (`capture`).";
            return Err(invalid(sentence.to_owned()));
        }
        if let Err(problems) = source.filter(&patterns) {
            let why = problems.first().map_or("", |problem| problem.message.as_str());
            return Err(invalid(format!(
                "The tables of the snapshot cannot be read: {why}."
            )));
        }
        requests.ask(patterns).ok_or_else(|| {
            Error::new(
                Code::LimitExceeded,
                "More than a thousand snapshots wait for a source that does not stream.",
            )
        })
    }

    /// Stores the last positions and gives the checkpoints free; after [`stop`](Self::stop), when everything that was
    /// delivered has been acknowledged.
    ///
    /// # Errors
    /// `ERR_STREAMER_CHECKPOINT_FAILED` or `ERR_STREAMER_CHECKPOINT_LOCKED`: what was done since the last checkpoint will
    /// be delivered again.
    pub async fn settle(&self) -> Result<()> {
        match &self.shared.keeper {
            Some(keeper) => keeper.finish().await,
            None => Ok(()),
        }
    }

    /// What is known about the sources now.
    pub fn health(&self) -> Health {
        self.shared.board.health(now_ms())
    }

    /// The figures in the Prometheus text format (OpenMetrics 1.0); see `docs/metrics.md`.
    pub fn metrics(&self) -> String {
        self.shared.metrics.render(&Present {
            health: &self.health(),
            in_flight: self.shared.outlet.window.in_flight(),
            dropped_records: self.shared.dropped.total(),
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // A stop that runs finishes by itself.
        if matches!(*self.life.borrow(), Life::New | Life::Started) {
            self.abandon();
        }
    }
}

/// The connector that a source asks for: the one place that knows all kinds. `requests` are the snapshots that are asked for later.
fn connector(source: &SourceConfig, settings: Settings, requests: &Arc<Requests>) -> Box<dyn Connector> {
    match (source.capture, &source.connector) {
        (Capture::Log, _) | (_, ConnectorConfig::Sqlite(_)) => log_connector(source, settings, requests),
        (_, ConnectorConfig::Mysql(config)) => {
            polled(source, MysqlTables::new(source, config), settings, requests)
        }
        (_, ConnectorConfig::Mongodb(config)) => {
            let tables = MongodbTables::new(source, config, settings.heartbeat);
            polled(source, tables, settings, requests)
        }
    }
}

/// A source that is polled, always or while its log cannot be had.
fn polled<D: Database + 'static>(
    source: &SourceConfig,
    database: D,
    settings: Settings,
    requests: &Arc<Requests>,
) -> Box<dyn Connector> {
    // A snapshot cannot be joined with polling, but the rows that are there can come first.
    let wants_rows = source.snapshot.mode != SnapshotMode::Never && source.from == From::Now;
    let from = if wants_rows {
        From::Earliest
    } else {
        source.from.clone()
    };
    let polled = SourceConfig {
        from,
        ..source.clone()
    };
    let poll = PollConnector::new(&polled, database, settings);
    if source.capture == Capture::Poll {
        return Box::new(poll);
    }
    let (config, requests) = (source.clone(), Arc::clone(requests));
    let make_log = move |from| {
        let source = SourceConfig {
            from,
            ..config.clone()
        };
        log_connector(&source, settings, &requests)
    };
    Box::new(AutoConnector::new(source, Box::new(make_log), poll))
}

/// The connector that reads the log of a source, joined with the rows of its tables.
fn log_connector(source: &SourceConfig, settings: Settings, requests: &Arc<Requests>) -> Box<dyn Connector> {
    let (log, chunks): (Box<dyn Connector>, Box<dyn Chunks>) = match &source.connector {
        ConnectorConfig::Mongodb(config) => (
            match config.log {
                MongodbLog::ChangeStream => Box::new(MongodbConnector::new(source, config, settings)),
                MongodbLog::Oplog => Box::new(OplogConnector::new(source, config, settings)),
            },
            Box::new(MongodbChunks::new(source, config, settings)),
        ),
        ConnectorConfig::Mysql(config) => (
            Box::new(MysqlConnector::new(source, config, settings)),
            Box::new(MysqlChunks::new(source, config, settings)),
        ),
        ConnectorConfig::Sqlite(config) => (
            Box::new(SqliteConnector::new(source, config, settings)),
            Box::new(SqliteChunks::new(source, config, settings)),
        ),
    };
    Box::new(Joined::new(log, chunks, source, Arc::clone(requests)))
}

/// A batch is an eighth of the window, so that reading goes on while the application works.
fn settings(config: &Config) -> Settings {
    Settings {
        heartbeat: config.heartbeat,
        batch_size: config.delivery.batch_size,
        batch_bytes: (config.delivery.buffer_bytes / 8).clamp(MIN_BATCH_BYTES, MAX_BATCH_BYTES),
        store: config.checkpoint.as_ref().map(checkpoint::identity),
    }
}

fn stopped() -> Error {
    Error::new(Code::Stopped, "The streamer has been stopped.").with_advice("Make a new one to stream again.")
}

#[cfg(test)]
mod rig;
#[cfg(test)]
mod tests;
