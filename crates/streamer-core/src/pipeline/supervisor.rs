//! The task of one source: connects, streams, and connects again.
//!
//! What ends a source: an error that every replay brings back (`never`); one that an operator must mend, while the
//! source has never streamed, because then it is most likely a mistake in the configuration; the last of the
//! configured attempts; a lost place, where the configuration does not say with `from` where to go on; a panic. Everything else is retried with backoff, after the first stream also what an
//! operator must mend: someone may mend it, and the `disconnect` notices say what is missing.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::instrument::WithSubscriber;

use super::backoff::Backoff;
use super::health::{State, now_ms};
use super::keeper::Place;
use super::outlet::Payload;
use super::{Shared, notice};
use crate::code::{Code, Retry};
use crate::config::SourceConfig;
use crate::error::{Error, Result};
use crate::event::Batch;
use crate::source::{Beat, Connector, Gap, GapReason, Item, SnapshotProgress};

/// How long a broken connection may take to close; the next attempt does not wait longer for it.
const CLOSING: Duration = Duration::from_secs(1);

/// Why a source is no longer read.
enum End {
    /// The engine stops.
    Cancelled,
    /// It failed for good.
    Failed(Error),
}

/// One source under supervision.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    index: usize,
    name: Arc<str>,
    connector: Box<dyn Connector>,
    backoff: Backoff,
    /// When the connection broke, or could not be made; and the number of the newest attempt since.
    down: Option<(Instant, u32)>,
    has_streamed: bool,
    /// It is polled.
    polls: bool,
    /// After a gap in which the place of reading was lost, reading goes on.
    continues_after_gap: bool,
    /// The place of reading was lost, and nothing says where to go on.
    is_lost: bool,
}

impl Supervisor {
    /// The source at `index` of the configuration.
    pub fn new(
        shared: Arc<Shared>,
        index: usize,
        source: &SourceConfig,
        connector: Box<dyn Connector>,
    ) -> Self {
        let backoff = Backoff::new(shared.config.reconnect);
        Self {
            shared,
            index,
            name: Arc::from(source.name.as_str()),
            connector,
            backoff,
            down: None,
            has_streamed: false,
            polls: false,
            continues_after_gap: source.continues_after_gap,
            is_lost: false,
        }
    }

    /// Reads until the engine stops or the source fails.
    pub async fn run(self) {
        match self.shared.dispatch(&self.name) {
            Some(dispatch) => self.supervise().with_subscriber(dispatch).await,
            None => self.supervise().await,
        }
    }

    async fn supervise(mut self) {
        let end = AssertUnwindSafe(self.read()).catch_unwind().await;
        match end.unwrap_or_else(|_| End::Failed(defect())) {
            End::Cancelled => self.is_down(),
            End::Failed(error) => self.fail(&error),
        }
        // A connector that panicked may do so again.
        let closing = AssertUnwindSafe(tokio::time::timeout(CLOSING, self.connector.disconnect()));
        let _ = closing.catch_unwind().await;
    }

    async fn read(&mut self) -> End {
        loop {
            let error = match self.connect().await {
                Ok(Some(())) => {
                    let healthy = Instant::now() + self.backoff.healthy_period();
                    let streamed = self.stream().await;
                    if Instant::now() >= healthy {
                        self.backoff.reset();
                    }
                    match streamed {
                        Ok(()) => return End::Cancelled,
                        Err(error) => error,
                    }
                }
                Ok(None) => return End::Cancelled,
                Err(error) => error,
            };
            if let Some(end) = self.recover(error).await {
                return end;
            }
        }
    }

    /// One attempt; `None` where the engine stops.
    async fn connect(&mut self) -> Result<Option<()>> {
        tracing::debug!("Connecting.");
        let cancel = self.shared.cancel.clone();
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(None),
            connected = self.connector.connect() => connected?,
        }
        self.look_for_lost_place()?;
        self.keep_first_place().await?;
        self.follow();
        let shared = &self.shared;
        if let Some((since, attempt)) = self.down.take() {
            let down_ms = whole_ms(since.elapsed());
            tracing::info!(attempt, downMs = down_ms, "Connected again.");
            shared.board.reconnected(self.index);
            shared.metrics.reconnect(&self.name);
            shared
                .outlet
                .notify(&self.name, notice::reconnect(&self.name, attempt, down_ms));
        } else {
            tracing::info!("{}", if self.polls { "Polling." } else { "Streaming." });
        }
        shared.announce();
        if !self.has_streamed {
            self.has_streamed = true;
            shared.first_stream();
        }
        Ok(Some(()))
    }

    /// Changes arrive, of the log or by polling.
    fn follow(&mut self) {
        let polled = self.connector.polls();
        self.polls = polled.is_some();
        if let Some(observer) = &self.shared.observer {
            let position = self.connector.position();
            observer.connected(&self.name, self.connector.host(), position.as_deref());
            observer.polls(&self.name, self.polls);
        }
        self.shared.board.follow(self.index, polled);
    }

    /// A gap that was found while connecting ends the source before it counts as streaming.
    fn look_for_lost_place(&mut self) -> Result<()> {
        match self.connector.found_gap() {
            Some(gap) if gap.reason.is_of_place() && !self.continues_after_gap => {
                self.gap(&gap);
                self.is_lost = true;
                Err(lost(&gap))
            }
            _ => Ok(()),
        }
    }

    /// Where no checkpoint exists yet, the first one is stored before the source counts as streaming.
    async fn keep_first_place(&mut self) -> Result<()> {
        let Some(keeper) = &self.shared.keeper else {
            return Ok(());
        };
        if self.has_streamed || self.connector.found_gap().is_some() {
            return Ok(());
        }
        let Some(position) = self.connector.position() else {
            return Ok(());
        };
        let place = self.place(position);
        let kept = keeper.begin(self.index, place).await;
        kept.map_err(|error| error.with_retry(Retry::Operator))
    }

    /// Hands over items until the engine stops or the connection breaks.
    async fn stream(&mut self) -> Result<()> {
        let cancel = self.shared.cancel.clone();
        loop {
            if !self.shared.outlet.window.has_room() {
                let since = Instant::now();
                tokio::select! {
                    () = cancel.cancelled() => return Ok(()),
                    // In turn, so that a source whose batches are always ready does not take all the room.
                    _ = self.shared.outlet.window.turn() => {}
                }
                self.shared.metrics.paused(&self.name, since.elapsed());
            }
            let item = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                item = self.connector.next() => item,
            };
            let item = item?;
            if self.polls != self.connector.polls().is_some() {
                self.follow();
                self.shared.announce();
            }
            self.hand_over(item).await?;
        }
    }

    /// Waits for the source's turn and hands over. When the engine stops it does not wait: what was read is delivered.
    async fn hand_over(&mut self, item: Item) -> Result<()> {
        let cancel = self.shared.cancel.clone();
        let shared = Arc::clone(&self.shared);
        let window = &shared.outlet.window;
        let turn = tokio::select! {
            biased;
            turn = window.turn() => Some(turn),
            () = cancel.cancelled() => None,
        };
        self.show(&item);
        match item {
            Item::Batch(batch) => self.batch(batch),
            Item::Beat(beat) => self.beat(&beat),
            Item::Gap(gap) => {
                self.gap(&gap);
                if gap.reason.is_of_place() && !self.continues_after_gap {
                    self.is_lost = true;
                    return Err(lost(&gap));
                }
            }
            Item::Schema(change) => {
                self.shared.metrics.schema_change(&self.name);
                self.notify_at(notice::schema(&self.name, &change), Some(&change.position));
            }
            Item::Warning(error) => {
                tracing::warn!(code = error.code().as_str(), "{error}");
                self.blame(&error);
            }
            Item::Snapshot(progress) => self.snapshot(&progress),
            Item::Redefined(_) | Item::Held { .. } => {}
        }
        drop(turn);
        Ok(())
    }

    /// Shows an item to the observer, before anybody is told of it.
    fn show(&self, item: &Item) {
        let Some(observer) = &self.shared.observer else {
            return;
        };
        if matches!(item, Item::Batch(_) | Item::Beat(_)) {
            observer.reading(&self.name, self.connector.log_place());
        }
        match item {
            // Rows of a snapshot are no changes: what touched them was shown with the change.
            Item::Batch(batch) if batch.is_snapshot => {}
            Item::Batch(batch) => observer.batch(&self.name, batch),
            Item::Beat(beat) => observer.beat(&self.name, beat),
            Item::Gap(gap) => observer.gap(&self.name, gap),
            Item::Schema(change) => observer.schema(&self.name, change),
            Item::Redefined(position) => observer.redefined(&self.name, position),
            Item::Warning(_) | Item::Snapshot(_) | Item::Held { .. } => {}
        }
    }

    fn is_down(&self) {
        if let Some(observer) = &self.shared.observer {
            observer.disconnected(&self.name);
        }
    }

    fn notify(&self, notice: serde_json::Value) {
        self.shared.outlet.notify(&self.name, notice);
    }

    /// A notice that reaches a position.
    fn notify_at(&self, notice: serde_json::Value, position: Option<&Arc<str>>) {
        self.shared.outlet.notify_with(&self.name, notice, |sequence| {
            self.record(sequence, position);
        });
    }

    /// Enters a delivery that reaches a position.
    fn record(&self, sequence: u64, position: Option<&Arc<str>>) {
        let position = position.filter(|position| !position.is_empty());
        if let (Some(keeper), Some(position)) = (&self.shared.keeper, position) {
            keeper.deliver(self.index, sequence, self.place(Arc::clone(position)));
        }
    }

    /// A place at the end of the item that the connector returned last.
    fn place(&self, position: Arc<str>) -> Place {
        Place {
            position,
            witness: self.connector.witness(),
            progress: self.connector.progress(),
            definitions: self.connector.definitions(),
        }
    }

    fn blame(&self, error: &Error) {
        self.shared.board.blame(self.index, error);
        self.shared.metrics.error(&self.name, error);
    }

    fn batch(&self, batch: Batch) {
        let shared = &self.shared;
        shared.metrics.batch(&self.name, &batch);
        let committed = batch.newest_committed_ms;
        let position = batch.position.clone();
        shared.outlet.send(&self.name, Payload::Batch(batch), |sequence| {
            self.record(sequence, position.as_ref());
            shared.board.delivered(self.index, sequence, committed, now_ms());
        });
    }

    fn beat(&self, beat: &Beat) {
        self.shared.board.beat(self.index, beat, now_ms());
        self.notify_at(notice::heartbeat(&self.name, beat), Some(&beat.position));
        self.shared.announce();
    }

    fn snapshot(&mut self, progress: &SnapshotProgress) {
        if progress.rows == 0 || progress.is_done {
            let table = progress.table.as_ref().map(ToString::to_string);
            let (rows, remaining) = (progress.rows, progress.remaining);
            tracing::info!(table, rows, remaining, done = progress.is_done, "Snapshot.");
        }
        self.shared.board.snapshot(self.index, progress);
        self.shared.metrics.snapshot(&self.name, progress);
        let notice = notice::snapshot(&self.name, progress);
        self.notify_at(notice, progress.position.as_ref());
        self.shared.announce();
    }

    fn gap(&self, gap: &Gap) {
        let why = gap.error.as_ref().map(Error::message);
        tracing::warn!(reason = gap.reason.as_str(), why, "Changes may be missing.");
        self.shared.metrics.gap(&self.name, gap.reason);
        if let Some(error) = &gap.error {
            self.blame(error);
        }
        // A place that was lost is not passed, so that the next start finds it lost as well.
        let passes = !gap.reason.is_of_place() || self.continues_after_gap;
        let reached = gap.to.as_ref().filter(|_| passes);
        self.notify_at(notice::gap(&self.name, gap), reached);
    }

    /// What follows an error: a wait, after which the next attempt is due, or the end.
    async fn recover(&mut self, error: Error) -> Option<End> {
        self.is_down();
        let is_final = match error.retry() {
            _ if self.is_lost => true,
            Retry::Automatic => false,
            Retry::Operator => !self.has_streamed,
            Retry::Never => true,
        };
        if is_final {
            return Some(End::Failed(error));
        }
        let Some((attempt, wait)) = self.backoff.next() else {
            // Nobody retries any more, whatever the error's own class is.
            return Some(End::Failed(error.with_retry(Retry::Operator)));
        };
        let due = Instant::now() + wait;
        let retry_in_ms = whole_ms(wait);
        self.blame(&error);
        self.down = Some((self.down.map_or_else(Instant::now, |(since, _)| since), attempt));
        if self.has_streamed {
            self.shared.board.enter(self.index, State::Reconnecting);
        }
        tracing::warn!(
            code = error.code().as_str(),
            attempt,
            retryInMs = retry_in_ms,
            "{error}"
        );
        self.notify(notice::disconnect(&self.name, &error, retry_in_ms, attempt));
        self.shared.announce();
        self.pause(due).await
    }

    /// Closes what is left of the connection, and waits until the attempt is due. An application that does not even
    /// take notices would be buried in them: the attempt then waits for room too.
    async fn pause(&mut self, due: Instant) -> Option<End> {
        let cancel = self.shared.cancel.clone();
        let shared = Arc::clone(&self.shared);
        let wait = async {
            let _ = tokio::time::timeout(CLOSING, self.connector.disconnect()).await;
            tokio::time::sleep_until(due).await;
            shared.outlet.window.room().await;
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Some(End::Cancelled),
            () = wait => None,
        }
    }

    fn fail(&self, error: &Error) {
        self.is_down();
        let shared = &self.shared;
        tracing::error!(code = error.code().as_str(), "{error}");
        self.blame(error);
        shared.board.enter(self.index, State::Failed);
        if !shared.fails_start(error, self.has_streamed) {
            self.notify(notice::error(&self.name, error));
        }
        shared.announce();
    }
}

/// Why a source is not read beyond a gap.
fn lost(gap: &Gap) -> Error {
    let what = match gap.reason {
        GapReason::LogPurged => "the server has removed that part of its log",
        GapReason::HistoryLost => "the server does not know it any more",
        GapReason::SourceRewound | GapReason::RolledBack => {
            "the source was reset or restored to an earlier time"
        }
        GapReason::SourceReplaced => "another server answers there",
        GapReason::Undecodable => "the log cannot be decoded there",
    };
    Error::new(
        Code::PositionLost,
        format!("Reading cannot go on where it stopped: {what}, and changes may be missing."),
    )
    .with_advice(
        "Load the tables anew, then delete the checkpoint; or say with `from` where to go on after a gap.",
    )
    .with_detail("reason", gap.reason.as_str())
}

/// Fractions of a ms tell nobody anything here.
fn whole_ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round()
}

pub(super) fn defect() -> Error {
    Error::new(Code::Internal, "A defect of the library ended the source.")
        .with_advice("Please report it, with what the process printed about a panic.")
}
