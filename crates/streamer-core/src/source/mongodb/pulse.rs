//! Proof of life: what the answers of a server say of how fresh everything is.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::preflight::{Server, now_ms};
use super::stream::Answer;
use crate::source::Beat;

/// What is known of a connection.
pub struct Pulse {
    fresh_until_ms: f64,
    /// When the last beat was handed over.
    beaten: Option<Instant>,
    /// Least time between beats that busy answers give.
    pace: Duration,
}

impl Pulse {
    /// Of a new connection, for beats at this interval.
    pub fn new(interval: Duration) -> Self {
        Self {
            fresh_until_ms: 0.0,
            beaten: None,
            pace: interval / 2,
        }
    }

    /// What an answer proves, once all that it held was handed over.
    pub fn feel(&mut self, server: &Server, answer: &Answer, position: Arc<str>) -> Beat {
        let round_trip_ms = server.round_trip.as_secs_f64() * 1000.0;
        let took_ms = answer.took.as_secs_f64() * 1000.0;
        // An empty answer was true when the server gave it, one with events when it was asked.
        let mut fresh = answer.asked_ms;
        if answer.is_empty {
            fresh += (took_ms - round_trip_ms).max(0.0);
        }
        // A member that has heard of newer operations vouches only for those that it has seen.
        if let (Some(seen), Some(known)) = (answer.operation_time, answer.cluster_time)
            && (seen.time, seen.increment) < (known.time, known.increment)
        {
            fresh = fresh.min(f64::from(seen.time) * 1000.0 - server.clock_offset_ms);
        }
        self.fresh_until_ms = self.fresh_until_ms.max(fresh.min(now_ms()));
        Beat {
            fresh_until_ms: self.fresh_until_ms,
            round_trip_ms,
            clock_offset_ms: Some(server.clock_offset_ms),
            position,
        }
    }

    /// Whether a beat is to be handed over. Under load answers come by the hundred; each beat is a call into JavaScript.
    pub fn is_due(&mut self, is_busy: bool) -> bool {
        if is_busy && self.beaten.is_some_and(|at| at.elapsed() < self.pace) {
            return false;
        }
        self.beaten = Some(Instant::now());
        true
    }
}
