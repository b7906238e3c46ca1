//! Log records on their way to the `logger` option.
//!
//! The engine logs through `tracing`. Several engines live in one process, and a library must not claim the process's
//! global subscriber, so each source's task runs under a subscriber of its own, which forwards the records of this
//! crate, and of no other, as notices. Without a logger there is no subscriber, and a record costs one comparison.
//!
//! Records are the only deliveries that may be dropped: when JavaScript is behind by [`MAX_WAITING`] of them, further
//! ones are counted, and the next that passes says how many are missing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use super::notice;
use super::outlet::Outlet;
use crate::code::Code;
use crate::error::Error;

/// Items in flight above which records are dropped; a quarter of what the window holds.
const MAX_WAITING: usize = super::window::MAX_ITEMS / 4;

/// What only records of this crate begin with.
const TARGET: &str = "streamer_core";

/// Counts what was dropped; one for each engine.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    pending: AtomicU64,
    total: AtomicU64,
}

impl Dropped {
    /// Records dropped since the start.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
    }
}

/// How often a failure that goes on is said again.
const REMINDER: Duration = Duration::from_secs(60);

/// Something that fails again and again, and is to be said now and then.
#[derive(Debug, Default)]
pub(super) struct Failing {
    said: Option<(Code, Instant)>,
}

impl Failing {
    /// It failed; whether that is news: it worked before, the code is another one, or a minute has passed. One outage has several
    /// sentences (the file that was being written, then the directory), and is said once all the same.
    pub fn is_worth_saying(&mut self, error: &Error) -> bool {
        let is_known = self
            .said
            .is_some_and(|(said, at)| said == error.code() && at.elapsed() < REMINDER);
        if !is_known {
            self.said = Some((error.code(), Instant::now()));
        }
        !is_known
    }

    /// It works; whether it had failed before.
    pub fn end(&mut self) -> bool {
        self.said.take().is_some()
    }
}

/// Forwards the records of one source; of all of them where it has no name.
struct Forward {
    outlet: Arc<Outlet>,
    dropped: Arc<Dropped>,
    source: Arc<str>,
}

/// A subscriber that forwards to `outlet` what happens in `source`.
pub(super) fn dispatch(outlet: Arc<Outlet>, dropped: Arc<Dropped>, source: Arc<str>) -> Dispatch {
    Dispatch::new(Forward {
        outlet,
        dropped,
        source,
    })
}

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::DEBUG && metadata.target().starts_with(TARGET)
    }

    fn event(&self, event: &Event<'_>) {
        if self.outlet.window.in_flight().items >= MAX_WAITING {
            self.dropped.count();
            return;
        }
        let mut fields = Fields::default();
        if !self.source.is_empty() {
            fields
                .named
                .insert("source".to_owned(), Value::from(&*self.source));
        }
        event.record(&mut fields);
        let dropped = self.dropped.pending.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            fields.named.insert("dropped".to_owned(), Value::from(dropped));
        }
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => "debug",
        };
        let record = notice::log(level, &fields.message, fields.named);
        self.outlet.notify(&self.source, record);
    }

    // Spans carry nothing that a record needs.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Fields {
    message: String,
    named: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.named.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field, value);
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_said_once_and_then_each_minute() {
        let failed = |why: &'static str| Error::new(Code::CheckpointFailed, why);
        let mut failing = Failing::default();
        assert!(failing.is_worth_saying(&failed("The file cannot be written.")));
        assert!(!failing.is_worth_saying(&failed("The directory is gone.")));
        assert!(!failing.is_worth_saying(&failed("The file cannot be written.")));
        tokio::time::advance(REMINDER).await;
        assert!(failing.is_worth_saying(&failed("The directory is gone.")));
        assert!(!failing.is_worth_saying(&failed("The directory is gone.")));
        assert!(failing.end());
        assert!(!failing.end());
        assert!(failing.is_worth_saying(&failed("The directory is gone.")));
        assert!(failing.is_worth_saying(&Error::new(Code::CheckpointLocked, "Another process has it.")));
    }
}
