//! How large a chunk is, and when the next one is due.

use std::time::Duration;

use tokio::time::Instant;

/// How long the log should wait for a chunk.
const CHUNK: Duration = Duration::from_millis(20);

/// Rows of a chunk.
const FIRST_ROWS: u32 = 256;
const MIN_ROWS: u32 = 128;
const MAX_ROWS: u32 = 32_768;

/// Between chunks, so that what was committed meanwhile comes first.
const BREATH: Duration = Duration::from_micros(500);

/// How long the log may keep a chunk from being read: one that is always ready would do so for ever.
const TURN: Duration = Duration::from_millis(200);

/// The pace of a snapshot.
#[derive(Debug)]
pub(super) struct Pace {
    /// Rows per second.
    limit: Option<f64>,
    rows: u32,
    due: Instant,
    failures: u32,
}

impl Pace {
    /// At most `limit` rows per second.
    pub fn new(limit: Option<u32>) -> Self {
        Self {
            limit: limit.map(f64::from),
            rows: FIRST_ROWS,
            due: Instant::now(),
            failures: 0,
        }
    }

    /// Rows of the next chunk.
    pub fn rows(&self) -> u32 {
        // A tenth of a second's worth at most, so that a slow pace is an even one.
        let limit = self
            .limit
            .map_or(MAX_ROWS, |limit| ((limit / 10.0) as u32).clamp(1, MAX_ROWS));
        self.rows.min(limit)
    }

    /// A chunk was read.
    pub fn read(&mut self, rows: u64, took: Duration) {
        self.failures = 0;
        let aim = CHUNK.as_secs_f64() / took.as_secs_f64().max(1e-6);
        if rows >= u64::from(self.rows()) {
            let wanted = f64::from(self.rows) * aim.clamp(0.25, 2.0);
            self.rows = (wanted as u32).clamp(MIN_ROWS, MAX_ROWS);
        }
        let pause = self.limit.map_or(Duration::ZERO, |limit| {
            Duration::from_secs_f64(rows as f64 / limit)
        });
        self.due = Instant::now() + pause.saturating_sub(took).max(BREATH);
    }

    /// A chunk could not be read.
    pub fn failed(&mut self, longest: Duration) {
        let pause = Duration::from_millis(2) * 2_u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        self.due = Instant::now() + pause.min(longest);
    }

    /// When the next chunk is due, if the log has nothing.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Whether it is due whatever the log has.
    pub fn is_overdue(&self) -> bool {
        Instant::now() >= self.due + TURN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_and_shrink_with_the_time_that_they_take() {
        let mut pace = Pace::new(None);
        for _ in 0..20 {
            pace.read(u64::from(pace.rows()), Duration::from_micros(100));
        }
        assert_eq!(pace.rows(), MAX_ROWS);
        for _ in 0..20 {
            pace.read(u64::from(pace.rows()), Duration::from_secs(1));
        }
        assert_eq!(pace.rows(), MIN_ROWS);
        pace.read(1, Duration::from_micros(1));
        assert_eq!(pace.rows(), MIN_ROWS, "the end of a table says nothing");
    }

    #[test]
    fn a_limit_bounds_rows_and_spreads_them() {
        let mut pace = Pace::new(Some(1000));
        assert_eq!(pace.rows(), 100);
        pace.read(100, Duration::from_millis(10));
        let wait = pace.due().saturating_duration_since(Instant::now());
        assert!(
            wait > Duration::from_millis(20) && wait <= Duration::from_millis(90),
            "{wait:?}"
        );
        assert_eq!(Pace::new(Some(1)).rows(), 1);
    }
}
