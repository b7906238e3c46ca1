//! Figures for Prometheus; `docs/metrics.md` explains each.
//!
//! A registry for each engine, because several live in one process. Labels are names from the configuration, error
//! codes and states: nothing that comes from a row, and nothing whose number grows with the database.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::health::{Health, State};
use super::window::InFlight;
use crate::error::Error;
use crate::event::Batch;
use crate::source::{GapReason, SnapshotProgress};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSource {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfError {
    source: String,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGap {
    source: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    source: String,
    state: &'static str,
}

type Figure = Gauge<f64, AtomicU64>;
type Seconds = Counter<f64, AtomicU64>;

fn of(source: &str) -> OfSource {
    OfSource {
        source: source.to_owned(),
    }
}

/// What is read from other rooms whenever the figures are asked for.
pub(super) struct Present<'a> {
    pub health: &'a Health,
    pub in_flight: InFlight,
    pub dropped_records: u64,
}

/// The figures of one engine.
pub(super) struct Metrics {
    registry: Registry,
    changes: Family<OfSource, Counter>,
    batches: Family<OfSource, Counter>,
    bytes: Family<OfSource, Counter>,
    paused: Family<OfSource, Seconds>,
    schema_changes: Family<OfSource, Counter>,
    gaps: Family<OfGap, Counter>,
    errors: Family<OfError, Counter>,
    reconnects: Family<OfSource, Counter>,
    snapshot_rows: Family<OfSource, Counter>,
    snapshot_tables: Family<OfSource, Counter>,
    snapshot_remaining: Family<OfSource, Gauge>,
    snapshot_progress: Family<OfSource, Figure>,
    checkpoints: Counter,
    checkpoint_failures: Counter,
    state: Family<OfState, Gauge>,
    fresh_until: Family<OfSource, Figure>,
    lag: Family<OfSource, Figure>,
    round_trip: Family<OfSource, Figure>,
    uptime: Family<OfSource, Figure>,
    in_flight_bytes: Gauge,
    in_flight_items: Gauge,
    dropped_records: Counter,
}

impl Metrics {
    /// All figures of these sources at zero; `limit` is the size of the delivery window in bytes.
    pub fn new<'a>(limit: usize, sources: impl IntoIterator<Item = &'a str>) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("streamer"),
            changes: Family::default(),
            batches: Family::default(),
            bytes: Family::default(),
            paused: Family::default(),
            schema_changes: Family::default(),
            gaps: Family::default(),
            errors: Family::default(),
            reconnects: Family::default(),
            snapshot_rows: Family::default(),
            snapshot_tables: Family::default(),
            snapshot_remaining: Family::default(),
            snapshot_progress: Family::default(),
            checkpoints: Counter::default(),
            checkpoint_failures: Counter::default(),
            state: Family::default(),
            fresh_until: Family::default(),
            lag: Family::default(),
            round_trip: Family::default(),
            uptime: Family::default(),
            in_flight_bytes: Gauge::default(),
            in_flight_items: Gauge::default(),
            dropped_records: Counter::default(),
        };
        metrics.register_counters();
        metrics.register_gauges(limit);
        metrics.register_snapshots();
        // A counter that appears only with its first event hides that event from `rate()`.
        for source in sources.into_iter().map(of) {
            for counter in [
                &metrics.changes,
                &metrics.batches,
                &metrics.bytes,
                &metrics.schema_changes,
                &metrics.reconnects,
                &metrics.snapshot_rows,
                &metrics.snapshot_tables,
            ] {
                counter.get_or_create(&source).inc_by(0);
            }
            metrics.paused.get_or_create(&source).inc_by(0.0);
        }
        metrics
    }

    fn register_counters(&mut self) {
        let registry = &mut self.registry;
        registry.register("changes", "Changes delivered", self.changes.clone());
        registry.register("batches", "Batches delivered", self.batches.clone());
        registry.register_with_unit(
            "delivered",
            "Encoded size of the batches delivered",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register_with_unit(
            "reading_paused",
            "Time in which reading waited for the application",
            Unit::Seconds,
            self.paused.clone(),
        );
        registry.register(
            "schema_changes",
            "Statements that changed a definition",
            self.schema_changes.clone(),
        );
        registry.register("gaps", "Places where changes may be missing", self.gaps.clone());
        registry.register("errors", "Errors and warnings", self.errors.clone());
        registry.register(
            "reconnects",
            "Broken connections that were mended",
            self.reconnects.clone(),
        );
        registry.register(
            "checkpoints",
            "Rounds in which positions were stored",
            self.checkpoints.clone(),
        );
        registry.register(
            "checkpoint_failures",
            "Rounds in which positions could not be stored",
            self.checkpoint_failures.clone(),
        );
    }

    fn register_gauges(&mut self, limit: usize) {
        let registry = &mut self.registry;
        registry.register(
            "state",
            "1 for the state that the source is in",
            self.state.clone(),
        );
        registry.register_with_unit(
            "fresh_until_timestamp",
            "Everything committed before it was delivered and acknowledged",
            Unit::Seconds,
            self.fresh_until.clone(),
        );
        registry.register_with_unit(
            "lag",
            "Between commit and delivery of the newest change",
            Unit::Seconds,
            self.lag.clone(),
        );
        registry.register_with_unit(
            "heartbeat_round_trip",
            "Round trip of the newest heartbeat",
            Unit::Seconds,
            self.round_trip.clone(),
        );
        registry.register_with_unit(
            "uptime",
            "Share of the time since the start in which the source streamed",
            Unit::Other("ratio".to_owned()),
            self.uptime.clone(),
        );
        registry.register_with_unit(
            "in_flight",
            "Delivered and not yet acknowledged",
            Unit::Bytes,
            self.in_flight_bytes.clone(),
        );
        registry.register(
            "in_flight_items",
            "Batches and notices delivered and not yet acknowledged",
            self.in_flight_items.clone(),
        );
        let limit_bytes: Gauge = Gauge::default();
        limit_bytes.set(signed(limit));
        registry.register_with_unit(
            "in_flight_limit",
            "Size of the delivery window",
            Unit::Bytes,
            limit_bytes,
        );
        registry.register(
            "log_records_dropped",
            "Log records that the logger was too slow for",
            self.dropped_records.clone(),
        );
    }

    fn register_snapshots(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "snapshot_rows",
            "Rows of snapshots delivered",
            self.snapshot_rows.clone(),
        );
        registry.register(
            "snapshot_tables",
            "Tables that a snapshot has read to the end",
            self.snapshot_tables.clone(),
        );
        registry.register(
            "snapshot_tables_remaining",
            "Tables of the present snapshot that are still to be read",
            self.snapshot_remaining.clone(),
        );
        registry.register_with_unit(
            "snapshot_table_progress",
            "Share of the present table that was read, as estimated",
            Unit::Other("ratio".to_owned()),
            self.snapshot_progress.clone(),
        );
    }

    /// A batch is delivered.
    pub fn batch(&self, source: &str, batch: &Batch) {
        let source = of(source);
        self.changes.get_or_create(&source).inc_by(batch.changes.into());
        self.batches.get_or_create(&source).inc();
        self.bytes
            .get_or_create(&source)
            .inc_by(u64::try_from(batch.weight()).unwrap_or(u64::MAX));
        if batch.is_snapshot {
            self.snapshot_rows
                .get_or_create(&source)
                .inc_by(batch.changes.into());
        }
    }

    /// A snapshot has come further.
    pub fn snapshot(&self, source: &str, progress: &SnapshotProgress) {
        if progress.is_done && progress.table.is_some() {
            self.snapshot_tables.get_or_create(&of(source)).inc();
        }
    }

    /// Reading waited for room in the window.
    pub fn paused(&self, source: &str, time: Duration) {
        self.paused.get_or_create(&of(source)).inc_by(time.as_secs_f64());
    }

    /// Positions were stored, or could not be.
    pub fn checkpoint(&self, is_stored: bool) {
        if is_stored {
            self.checkpoints.inc();
        } else {
            self.checkpoint_failures.inc();
        }
    }

    /// A definition changed.
    pub fn schema_change(&self, source: &str) {
        self.schema_changes.get_or_create(&of(source)).inc();
    }

    /// Changes may be missing.
    pub fn gap(&self, source: &str, reason: GapReason) {
        self.gaps
            .get_or_create(&OfGap {
                source: source.to_owned(),
                reason: reason.as_str(),
            })
            .inc();
    }

    /// Something went wrong.
    pub fn error(&self, source: &str, error: &Error) {
        self.errors
            .get_or_create(&OfError {
                source: source.to_owned(),
                code: error.code().as_str(),
            })
            .inc();
    }

    /// A broken connection was mended.
    pub fn reconnect(&self, source: &str) {
        self.reconnects.get_or_create(&of(source)).inc();
    }

    /// All figures in the Prometheus text format (OpenMetrics 1.0).
    pub fn render(&self, present: &Present<'_>) -> String {
        for source in &present.health.sources {
            let label = of(&source.name);
            for state in State::ALL {
                let label = OfState {
                    source: source.name.to_string(),
                    state: state.as_str(),
                };
                self.state
                    .get_or_create(&label)
                    .set(i64::from(state == source.state));
            }
            let milliseconds = [
                (&self.fresh_until, source.fresh_until_ms),
                (&self.lag, source.lag_ms),
                (&self.round_trip, source.heartbeat_ms),
            ];
            for (family, value) in milliseconds {
                if let Some(value) = value {
                    family.get_or_create(&label).set(value / 1000.0);
                }
            }
            self.uptime.get_or_create(&label).set(source.uptime);
            let snapshot = source.snapshot.as_ref();
            self.snapshot_remaining
                .get_or_create(&label)
                .set(signed(snapshot.map_or(0, |progress| progress.remaining)));
            self.snapshot_progress
                .get_or_create(&label)
                .set(snapshot.map_or(1.0, share));
        }
        self.in_flight_bytes.set(signed(present.in_flight.bytes));
        self.in_flight_items.set(signed(present.in_flight.items));
        self.dropped_records
            .inner()
            .store(present.dropped_records, Ordering::Relaxed);
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // Writing into a string fails only where a figure refuses to be printed.
            text.clear();
            let _ = write!(text, "# EOF");
        }
        text
    }
}

/// How much of its table was read; 0 where that cannot be told.
fn share(progress: &SnapshotProgress) -> f64 {
    match progress.estimated_rows {
        _ if progress.is_done => 1.0,
        Some(rows) if rows > 0 => (progress.rows as f64 / rows as f64).min(1.0),
        _ => 0.0,
    }
}

fn signed(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
