//! The connector that takes turns between the log and the tables; see the room's header.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::jobs::{Job, Jobs};
use super::pace::Pace;
use super::requests::Requests;
use crate::checkpoint::{Definitions, Progress, Saved};
use crate::code::{Code, Retry};
use crate::config::{SnapshotMode, SourceConfig};
use crate::error::{Error, Result};
use crate::event::LogPlace;
use crate::source::{
    Chunks, Connector, Gap, Host, Item, Rest, Retention, SnapshotProgress, Steer, TableRef, TableSize, View,
    Wanted,
};

/// Longest wait for a view, and for rows of it.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a view may be held open until the log has come to its place. One that is far behind is waited for without a view.
const APPROACH: Duration = Duration::from_secs(2);

/// Longest pause after a view that was of no use, and after an error.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE_AFTER_ERROR: Duration = Duration::from_secs(30);

/// How often progress inside of a table is told.
const TELLING: Duration = Duration::from_secs(1);

/// What is being done.
enum Phase {
    /// The log flows.
    Log,
    /// The log flows to the next place between two transactions.
    Hold,
    /// The log stands; a view is to be opened.
    Open,
    /// The log flows to the place of the view; with when that has taken too long.
    Approach(Instant),
    /// The log stands at the place of the view; with since when, and how many rows were read.
    Read(Instant, u64),
    /// The log flows, and what comes behind the last rows of a view was not told yet.
    Told(Rest),
}

/// A connector whose source also gives the rows of its tables.
pub struct Joined {
    inner: Box<dyn Connector>,
    chunks: Box<dyn Chunks>,
    source: SourceConfig,
    requests: Arc<Requests>,
    jobs: Jobs,
    /// What checkpoints keep of the jobs.
    stored: Option<Arc<dyn Progress>>,
    pace: Pace,
    phase: Phase,
    /// The table of the open view.
    opened: Option<TableRef>,
    told: Instant,
    has_checkpoint: bool,
    is_planned: bool,
}

impl Joined {
    /// Joins the rows that `chunks` reads with the log that `inner` reads, as the source's configuration says.
    pub fn new(
        inner: Box<dyn Connector>,
        chunks: Box<dyn Chunks>,
        source: &SourceConfig,
        requests: Arc<Requests>,
    ) -> Self {
        Self {
            inner,
            chunks,
            source: source.clone(),
            requests,
            jobs: Jobs::default(),
            stored: None,
            pace: Pace::new(source.snapshot.rate),
            phase: Phase::Log,
            opened: None,
            told: Instant::now(),
            has_checkpoint: false,
            is_planned: false,
        }
    }

    /// What the start asks for.
    fn plan(&mut self) {
        if std::mem::replace(&mut self.is_planned, true) {
            return;
        }
        match self.source.snapshot.mode {
            SnapshotMode::Always => {
                self.jobs = Jobs::default();
                self.jobs.add_all();
            }
            SnapshotMode::Initial | SnapshotMode::WhenNeeded if !self.has_checkpoint => self.jobs.add_all(),
            _ => {}
        }
        self.keep();
    }

    fn keep(&mut self) {
        self.stored = self.jobs.stored();
    }

    async fn next_item(&mut self) -> Result<Item> {
        loop {
            self.take_requests();
            let step = match self.phase {
                Phase::Log => self.log().await?,
                Phase::Hold => self.hold().await?,
                Phase::Open => self.open().await,
                Phase::Approach(until) => self.approach(until).await?,
                Phase::Read(..) => self.read().await,
                Phase::Told(rest) => self.end_chunk(rest),
            };
            if let Some(item) = step {
                return Ok(item);
            }
        }
    }

    fn take_requests(&mut self) {
        for request in self.requests.take() {
            self.jobs.add(&request);
            self.keep();
        }
    }

    /// The log, as long as no chunk is due. Where both are ready the log comes first, but not for ever.
    async fn log(&mut self) -> Result<Option<Item>> {
        let has_work = !self.jobs.is_empty();
        if has_work && self.pace.is_overdue() {
            return Ok(self.begin());
        }
        let due = self.pace.due();
        let item = tokio::select! {
            biased;
            item = self.inner.next() => item?,
            () = self.requests.came() => return Ok(None),
            () = sleep_until(due), if has_work => return Ok(self.begin()),
        };
        Ok(self.pass(item))
    }

    fn begin(&mut self) -> Option<Item> {
        self.inner.steer(Steer::Hold);
        self.phase = Phase::Hold;
        None
    }

    async fn hold(&mut self) -> Result<Option<Item>> {
        let item = self.inner.next().await?;
        if matches!(item, Item::Held { .. }) {
            self.phase = Phase::Open;
            return Ok(None);
        }
        Ok(self.pass(item))
    }

    /// An item of the log on its way through.
    fn pass(&mut self, item: Item) -> Option<Item> {
        match &item {
            Item::Held { .. } => return None,
            Item::Gap(gap) => self.repair(gap),
            Item::Batch(batch) if !batch.renamed.is_empty() => self.rename(&batch.renamed),
            Item::Schema(change) => {
                let table = change.table.as_ref().map(|table| TableRef {
                    database: Arc::clone(&change.database),
                    table: Arc::clone(table),
                });
                self.chunks.forget(table.as_ref());
            }
            _ => {}
        }
        Some(item)
    }

    /// Tables have other names: what is left of them is read under those. One that was not followed before has rows that nobody
    /// told of.
    fn rename(&mut self, renamed: &[[String; 3]]) {
        let table = |database: &str, table: &str| TableRef {
            database: database.into(),
            table: table.into(),
        };
        for [database, name, to] in renamed {
            let Some((to_database, to_name)) = to.split_once('.') else {
                continue;
            };
            let tables = &self.source.tables;
            let (was_followed, is_followed) = (
                tables.includes(database, name),
                tables.includes(to_database, to_name),
            );
            let (from, to) = (table(database, name), table(to_database, to_name));
            let is_wanted = !self.jobs.is_empty() || self.source.snapshot.repairs();
            self.chunks.forget(Some(&to));
            match (was_followed, is_followed) {
                (true, true) => self.jobs.rename(&from, &to),
                (false, true) if is_wanted => self.jobs.add_table(&to),
                _ => {}
            }
        }
        self.keep();
    }

    fn repair(&mut self, gap: &Gap) {
        self.chunks.forget(None);
        if self.source.snapshot.repairs() {
            self.jobs.repair(gap.tables.as_deref());
            self.keep();
        }
    }

    /// Looks tables up, or opens a view of the next one.
    async fn open(&mut self) -> Option<Item> {
        if self.jobs.lookup().is_some() {
            return self.look_up().await;
        }
        let Some(job) = self.jobs.current().cloned() else {
            self.release();
            return None;
        };
        let position = self.inner.position().unwrap_or_else(|| "".into());
        let opening = patient(self.chunks.open(&job.table, &position));
        match opening.await {
            Ok(view) => {
                self.approach_to(view);
                None
            }
            Err(error) => self.failed(error).await,
        }
    }

    fn approach_to(&mut self, view: View) {
        self.opened = Some(view.table.clone());
        self.inner.steer(Steer::Until(view));
        self.phase = Phase::Approach(Instant::now() + APPROACH);
    }

    async fn look_up(&mut self) -> Option<Item> {
        match patient(self.chunks.tables()).await {
            Ok(tables) => {
                let wanted = self.wanted(tables);
                let told = self.jobs.found(wanted);
                self.keep();
                let mut told = told?;
                told.position = self.inner.position();
                if self.jobs.is_empty() {
                    self.release();
                }
                Some(Item::Snapshot(told))
            }
            Err(error) => self.failed(error).await,
        }
    }

    /// Those of the tables that the next lookup wants.
    fn wanted(&self, tables: Vec<TableSize>) -> Vec<TableSize> {
        let Some(lookup) = self.jobs.lookup() else {
            return Vec::new();
        };
        // They could be read when they were asked for.
        let filter = self.source.filter(&lookup.patterns).unwrap_or_default();
        let is_wanted = |size: &TableSize| {
            let (database, table) = (&size.table.database, &size.table.table);
            (lookup.patterns.is_empty() || filter.includes(database, table))
                && (lookup.names.is_empty() || lookup.names.contains(&size.table.to_string()))
        };
        tables.into_iter().filter(is_wanted).collect()
    }

    /// Goes with the log to the place of the view.
    async fn approach(&mut self, until: Instant) -> Result<Option<Item>> {
        let item = match timeout_at(until, self.inner.next()).await {
            Ok(item) => item?,
            Err(_) => return Ok(self.give_up().await),
        };
        match item {
            Item::Held { is_exact: true, .. } if self.is_opened() => {
                self.phase = Phase::Read(Instant::now(), 0);
                Ok(self.jobs.tell_begin().map(|told| self.telling(told)))
            }
            Item::Held { .. } => Ok(self.give_up().await),
            item => {
                let item = self.pass(item);
                if Instant::now() >= until {
                    self.give_up().await;
                }
                Ok(item)
            }
        }
    }

    /// Whether the open view is of the table that is still the next one.
    fn is_opened(&self) -> bool {
        let current = self.jobs.current().map(|job| &job.table);
        self.jobs.lookup().is_none() && current.is_some() && current == self.opened.as_ref()
    }

    /// The view was of no use; another will be opened.
    async fn give_up(&mut self) -> Option<Item> {
        self.chunks.close().await;
        self.pace.failed(LONGEST_PAUSE);
        self.release();
        None
    }

    /// The log flows again.
    fn release(&mut self) {
        self.inner.steer(Steer::Free);
        self.phase = Phase::Log;
    }

    /// The next rows of the view.
    async fn read(&mut self) -> Option<Item> {
        let (Phase::Read(since, done), Some(job)) = (&self.phase, self.jobs.current().cloned()) else {
            self.release();
            return None;
        };
        let (since, done) = (*since, *done);
        let position = self.inner.position().unwrap_or_else(|| "".into());
        let left = u64::from(self.pace.rows()).saturating_sub(done).max(1);
        let wanted = Wanted {
            after: job.after.as_ref(),
            rows: u32::try_from(left).unwrap_or(u32::MAX),
            prefix: &prefix(&job),
            position: &position,
        };
        let found = match patient(self.chunks.read(wanted)).await {
            Ok(found) => found,
            Err(error) => return self.failed(error).await,
        };
        let rows = found.batch.as_ref().map_or(0, |batch| u64::from(batch.changes));
        if rows > 0 {
            self.jobs.read(rows, found.last);
        }
        self.phase = Phase::Read(since, done + rows);
        if found.rest != Rest::Rows {
            self.chunks.close().await;
            self.inner.steer(Steer::Free);
            self.pace.read(done + rows, since.elapsed());
            self.phase = Phase::Told(found.rest);
        }
        self.keep();
        found.batch.map(Item::Batch)
    }

    /// Rows of a view were handed over. Only now is its table at an end, so that a checkpoint which says so was told of it.
    fn end_chunk(&mut self, rest: Rest) -> Option<Item> {
        self.phase = Phase::Log;
        let told = match rest {
            Rest::Gone if !self.jobs.miss() => None,
            Rest::Nothing | Rest::Gone => self.jobs.finish(),
            Rest::Again => {
                self.jobs.restart();
                None
            }
            Rest::Rows | Rest::Table if self.told.elapsed() >= TELLING => self.jobs.telling(false),
            Rest::Rows | Rest::Table => None,
        };
        self.keep();
        told.map(|told| self.telling(told))
    }

    fn telling(&mut self, mut told: SnapshotProgress) -> Item {
        self.told = Instant::now();
        told.position = self.inner.position();
        Item::Snapshot(told)
    }

    /// A chunk could not be read. The log goes on; the table is tried again behind the others.
    async fn failed(&mut self, error: Error) -> Option<Item> {
        self.chunks.close().await;
        self.release();
        self.pace.failed(LONGEST_PAUSE_AFTER_ERROR);
        let job = self.jobs.current().cloned();
        self.jobs.settle();
        self.jobs.postpone();
        self.keep();
        let what = job.map_or_else(
            || "The tables".to_owned(),
            |job| format!("The rows of {}", job.table),
        );
        let warning = error.told_of(&format!("{what} could not be read, and will be tried again"));
        Some(Item::Warning(warning.with_retry(Retry::Automatic)))
    }

    async fn connect_again(&mut self) -> Result<()> {
        self.plan();
        if !matches!(self.phase, Phase::Told(_)) {
            self.phase = Phase::Log;
        }
        self.jobs.settle();
        self.keep();
        self.chunks.close().await;
        self.chunks.forget(None);
        self.inner.steer(Steer::Free);
        self.inner.connect().await
    }
}

/// What ids of a table's rows begin with: others where it was begun anew, because its rows may be others.
fn prefix(job: &Job) -> String {
    let (id, table, attempt) = (&job.id, &job.table, job.attempt);
    match attempt {
        0 => format!("{id}:{table}:"),
        _ => format!("{id}-{attempt}:{table}:"),
    }
}

/// Waits for the server no longer than it may take.
async fn patient<T>(question: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(PATIENCE, question).await.unwrap_or_else(|_| {
        Err(Error::new(
            Code::Timeout,
            format!("Rows of a table were expected within {PATIENCE:?}, none came."),
        ))
    })
}

impl Connector for Joined {
    fn connect(&mut self) -> BoxFuture<'_, Result<()>> {
        self.connect_again().boxed()
    }

    /// Cancel-safe while the log flows; a chunk that is cut is read again after the next `connect`.
    fn next(&mut self) -> BoxFuture<'_, Result<Item>> {
        self.next_item().boxed()
    }

    fn resume(&mut self, saved: Saved) -> Result<()> {
        self.has_checkpoint = true;
        if let Some(text) = &saved.snapshot {
            self.jobs = Jobs::parse(text)?;
        }
        self.inner.resume(saved)
    }

    fn position(&mut self) -> Option<Arc<str>> {
        self.inner.position()
    }

    fn definitions(&self) -> Option<Arc<dyn Definitions>> {
        self.inner.definitions()
    }

    fn host(&self) -> Host {
        self.inner.host()
    }

    fn log_place(&self) -> Option<LogPlace> {
        self.inner.log_place()
    }

    fn polls(&self) -> Option<Duration> {
        self.inner.polls()
    }

    fn witness(&self) -> Option<Arc<str>> {
        self.inner.witness()
    }

    fn found_gap(&self) -> Option<Gap> {
        self.inner.found_gap()
    }

    fn retention(&self) -> Option<Arc<dyn Retention>> {
        self.inner.retention()
    }

    fn progress(&self) -> Option<Arc<dyn Progress>> {
        self.stored.clone()
    }

    fn disconnect(&mut self) -> BoxFuture<'_, ()> {
        async move {
            self.chunks.close().await;
            self.inner.disconnect().await;
        }
        .boxed()
    }
}
