//! What the engine knows about each source, and for how long it is true.
//!
//! The promise is `freshUntil`: everything that the source committed before that moment has been delivered *and
//! acknowledged*. It moves only on proof. A proof is either a heartbeat (the source has been asked, through its log,
//! and everything before the question was handed over) or the commit time of a transaction, which counts only where
//! the difference between the clocks is known. A proof takes effect when every batch that was handed over before it
//! has been acknowledged. It never moves backwards and never into the future.
//!
//! `healthy` means that every source streams and that each `freshUntil` is younger than the heartbeat timeout. A slow
//! application makes a source `degraded` as a slow server does: the reader of `health()` asks how old its picture
//! is, not whose fault that is. `state` stays `streaming` then, which tells the two apart.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::error::Error;
use crate::source::{Beat, SnapshotProgress};

/// What a source is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The first connection is being made.
    Connecting,
    /// Changes arrive, and rows of tables are read beside them.
    Snapshotting,
    /// Changes arrive.
    Streaming,
    /// The log cannot be had, or is not wanted: tables are asked for changes.
    Polling,
    /// The connection broke; another is being made.
    Reconnecting,
    /// Not started, or stopped.
    Stopped,
    /// Given up.
    Failed,
}

impl State {
    /// Every state.
    pub const ALL: [State; 7] = [
        Self::Connecting,
        Self::Snapshotting,
        Self::Streaming,
        Self::Polling,
        Self::Reconnecting,
        Self::Stopped,
        Self::Failed,
    ];

    /// The name that JavaScript sees.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Snapshotting => "snapshotting",
            Self::Streaming => "streaming",
            Self::Polling => "polling",
            Self::Reconnecting => "reconnecting",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// Whether changes arrive.
    pub const fn is_following(self) -> bool {
        matches!(self, Self::Streaming | Self::Snapshotting | Self::Polling)
    }
}

/// The whole engine in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Every source streams and is fresh.
    Healthy,
    /// A source does not stream, or is not fresh; another one streams.
    Degraded,
    /// No source streams.
    Down,
    /// Not started, or stopped.
    Stopped,
}

impl Status {
    /// The name that JavaScript sees.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Stopped => "stopped",
        }
    }
}

/// One source, as `SourceHealth` in `index.d.ts`.
#[derive(Debug, Clone)]
pub struct SourceHealth {
    /// Its name.
    pub name: Arc<str>,
    /// What it is doing.
    pub state: State,
    /// Everything committed before it was delivered and acknowledged; ms since the epoch, local clock.
    pub fresh_until_ms: Option<f64>,
    /// Between commit and delivery of the newest change; never negative.
    pub lag_ms: Option<f64>,
    /// Round trip of the last heartbeat.
    pub heartbeat_ms: Option<f64>,
    /// Times that a broken connection was mended.
    pub reconnects: u64,
    /// Share of the time since the start in which it streamed, 0 to 1.
    pub uptime: f64,
    /// The newest error or warning.
    pub last_error: Option<Error>,
    /// How much older than a heartbeat what it vouches for may be: a source that is polled.
    pub allowance: Duration,
    /// The snapshot that is under way.
    pub snapshot: Option<SnapshotProgress>,
}

/// All sources, as `Health` in `index.d.ts`.
#[derive(Debug, Clone)]
pub struct Health {
    /// In one word.
    pub status: Status,
    /// In the order of the configuration.
    pub sources: Vec<SourceHealth>,
}

impl Health {
    /// The form in which it crosses into JavaScript.
    pub fn to_json(&self) -> Value {
        let sources: Map<String, Value> = self
            .sources
            .iter()
            .map(|source| (source.name.to_string(), source.to_json()))
            .collect();
        json!({ "status": self.status.as_str(), "sources": sources })
    }
}

impl SourceHealth {
    fn to_json(&self) -> Value {
        json!({
            "state": self.state.as_str(),
            "freshUntil": self.fresh_until_ms.map(f64::floor),
            "lagMs": self.lag_ms.map(rounded),
            "heartbeatMs": self.heartbeat_ms.map(rounded),
            "reconnects": self.reconnects,
            "uptime": self.uptime,
            "lastError": self.last_error.as_ref().map(Error::to_json),
            "snapshot": self.snapshot.as_ref().map(|progress| json!({
                "id": &*progress.id,
                "table": progress.table.as_ref().map(ToString::to_string),
                "rows": progress.rows,
                "estimatedRows": progress.estimated_rows,
                "remaining": progress.remaining,
            })),
        })
    }

    fn is_fresh(&self, now_ms: f64, timeout: Duration) -> bool {
        self.fresh_until_ms
            .is_some_and(|fresh| now_ms - fresh <= (timeout + self.allowance).as_secs_f64() * 1000.0)
    }
}

/// Microseconds are as exact as any of these figures is.
fn rounded(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

/// Ms since the Unix epoch by the local clock.
pub(super) fn now_ms() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64() * 1000.0)
}

/// Everything before `fresh_until` was handed over once the batch `after` is acknowledged.
#[derive(Debug, Clone, Copy)]
struct Proof {
    after: u64,
    fresh_until: f64,
}

/// What is known of one source.
#[derive(Debug)]
struct Record {
    name: Arc<str>,
    state: State,
    fresh_until: Option<f64>,
    lag: Option<f64>,
    heartbeat: Option<f64>,
    clock_offset: Option<f64>,
    reconnects: u64,
    last_error: Option<Error>,
    allowance: Duration,
    snapshot: Option<SnapshotProgress>,
    /// Sequence number of its newest batch.
    newest: u64,
    /// Ordered by `after`; at most one for each batch that is in flight.
    proofs: VecDeque<Proof>,
    streamed: Duration,
    since: Instant,
}

impl Record {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            state: State::Stopped,
            fresh_until: None,
            lag: None,
            heartbeat: None,
            clock_offset: None,
            reconnects: 0,
            last_error: None,
            allowance: Duration::ZERO,
            snapshot: None,
            newest: 0,
            proofs: VecDeque::new(),
            streamed: Duration::ZERO,
            since: Instant::now(),
        }
    }

    fn enter(&mut self, state: State) {
        let now = Instant::now();
        if self.state.is_following() {
            self.streamed += now - self.since;
        }
        self.since = now;
        self.state = state;
    }

    fn promise(&mut self, after: u64, fresh_until: f64) {
        if !fresh_until.is_finite() {
            return;
        }
        match self.proofs.back_mut() {
            Some(last) if last.after >= after => last.fresh_until = last.fresh_until.max(fresh_until),
            _ => self.proofs.push_back(Proof { after, fresh_until }),
        }
    }

    fn redeem(&mut self, acknowledged: u64, now_ms: f64) {
        while let Some(proof) = self.proofs.front().copied() {
            if proof.after > acknowledged {
                break;
            }
            self.proofs.pop_front();
            let reached = proof.fresh_until.min(now_ms);
            self.fresh_until = Some(self.fresh_until.map_or(reached, |fresh| fresh.max(reached)));
        }
    }

    fn uptime(&self, started: Option<Instant>, ended: Option<Instant>) -> f64 {
        let Some(started) = started else { return 0.0 };
        let now = ended.unwrap_or_else(Instant::now);
        let mut streamed = self.streamed;
        if self.state.is_following() {
            streamed += now.saturating_duration_since(self.since);
        }
        let total = now.saturating_duration_since(started).as_secs_f64();
        if total > 0.0 {
            (streamed.as_secs_f64() / total).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

#[derive(Debug)]
struct Records {
    sources: Vec<Record>,
    acknowledged: u64,
    started: Option<Instant>,
    ended: Option<Instant>,
}

/// The records of all sources. Sources are named by their place in the configuration.
#[derive(Debug)]
pub(super) struct Board {
    records: Mutex<Records>,
    timeout: Duration,
}

impl Board {
    /// Nothing has started. `timeout` is the age at which a source is no longer fresh.
    pub fn new(names: impl IntoIterator<Item = Arc<str>>, timeout: Duration) -> Self {
        let records = Records {
            sources: names.into_iter().map(Record::new).collect(),
            acknowledged: 0,
            started: None,
            ended: None,
        };
        Self {
            records: Mutex::new(records),
            timeout,
        }
    }

    fn with<R>(&self, source: usize, work: impl FnOnce(&mut Record) -> R) -> Option<R> {
        self.records.lock().sources.get_mut(source).map(work)
    }

    /// Every source begins to connect.
    pub fn start(&self) {
        let mut records = self.records.lock();
        records.started = Some(Instant::now());
        for record in &mut records.sources {
            record.enter(State::Connecting);
        }
    }

    /// Nothing is read any more. A source that failed stays failed.
    pub fn end(&self) {
        let mut records = self.records.lock();
        records.ended.get_or_insert_with(Instant::now);
        for record in &mut records.sources {
            if record.state != State::Failed {
                record.enter(State::Stopped);
            }
        }
    }

    /// A source changes its state.
    pub fn enter(&self, source: usize, state: State) {
        self.with(source, |record| record.enter(state));
    }

    /// Changes arrive: of the log, or by polling, where what is vouched for may be older by `polled`.
    pub fn follow(&self, source: usize, polled: Option<Duration>) {
        let state = if polled.is_some() {
            State::Polling
        } else {
            State::Streaming
        };
        self.with(source, |record| {
            let is_snapshotting = polled.is_none() && record.snapshot.is_some();
            record.enter(if is_snapshotting {
                State::Snapshotting
            } else {
                state
            });
            record.allowance = polled.unwrap_or_default();
        });
    }

    /// A broken connection was mended.
    pub fn reconnected(&self, source: usize) {
        self.with(source, |record| record.reconnects += 1);
    }

    /// A snapshot has come further, or to its end.
    pub fn snapshot(&self, source: usize, progress: &SnapshotProgress) {
        let present = (!progress.is_last).then(|| progress.clone());
        let state = if present.is_some() {
            State::Snapshotting
        } else {
            State::Streaming
        };
        self.with(source, |record| {
            record.snapshot = present;
            record.enter(state);
        });
    }

    /// An error or a warning.
    pub fn blame(&self, source: usize, error: &Error) {
        self.with(source, |record| record.last_error = Some(error.clone()));
    }

    /// A batch is being handed over.
    pub fn delivered(&self, source: usize, sequence: u64, committed_ms: Option<f64>, now_ms: f64) {
        self.with(source, |record| {
            record.newest = sequence;
            let Some(committed) = committed_ms else { return };
            record.lag = Some((now_ms - (committed - record.clock_offset.unwrap_or(0.0))).max(0.0));
            if let Some(offset) = record.clock_offset {
                // The offset was measured over one round trip and is wrong by half of it at most.
                let doubt = record.heartbeat.unwrap_or(0.0) / 2.0;
                record.promise(sequence, committed - offset - doubt);
            }
        });
    }

    /// A heartbeat.
    pub fn beat(&self, source: usize, beat: &Beat, now_ms: f64) {
        let mut records = self.records.lock();
        let acknowledged = records.acknowledged;
        let Some(record) = records.sources.get_mut(source) else {
            return;
        };
        record.heartbeat = Some(beat.round_trip_ms.max(0.0));
        if let Some(offset) = beat.clock_offset_ms.filter(|offset| offset.is_finite()) {
            record.clock_offset = Some(offset);
        }
        let newest = record.newest;
        record.promise(newest, beat.fresh_until_ms);
        record.redeem(acknowledged, now_ms);
    }

    /// Everything up to `acknowledged` has been acknowledged.
    pub fn acknowledge(&self, acknowledged: u64, now_ms: f64) {
        let mut records = self.records.lock();
        records.acknowledged = records.acknowledged.max(acknowledged);
        let acknowledged = records.acknowledged;
        for record in &mut records.sources {
            record.redeem(acknowledged, now_ms);
        }
    }

    /// The present picture.
    pub fn health(&self, now_ms: f64) -> Health {
        let records = self.records.lock();
        let sources: Vec<SourceHealth> = records
            .sources
            .iter()
            .map(|record| SourceHealth {
                name: record.name.clone(),
                state: record.state,
                fresh_until_ms: record.fresh_until,
                lag_ms: record.lag,
                heartbeat_ms: record.heartbeat,
                reconnects: record.reconnects,
                uptime: record.uptime(records.started, records.ended),
                last_error: record.last_error.clone(),
                allowance: record.allowance,
                snapshot: record.snapshot.clone(),
            })
            .collect();
        let running = records.started.is_some() && records.ended.is_none();
        drop(records);
        let streaming = |source: &SourceHealth| source.state.is_following();
        let status = if !running {
            Status::Stopped
        } else if !sources.iter().any(streaming) {
            Status::Down
        } else if sources
            .iter()
            .all(|source| streaming(source) && source.is_fresh(now_ms, self.timeout))
        {
            Status::Healthy
        } else {
            Status::Degraded
        };
        Health { status, sources }
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
