//! How long to wait before the next attempt.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Reconnect;

/// The bound doubles freely up to here: short outages are the most frequent ones.
const SHORT: Duration = Duration::from_secs(1);
/// From there on a wait is at most this part of the outage so far.
const SHARE: u32 = 8;

/// Exponential backoff with full jitter: each wait is drawn evenly from zero to a bound that doubles, so that many
/// readers of a restarted server spread out instead of arriving together. The bound stays within an eighth of the time
/// that the outage has lasted: after ten seconds a server is found again in about one, after an hour in half a minute.
#[derive(Debug)]
pub(super) struct Backoff {
    settings: Reconnect,
    attempts: u32,
    /// When the first of the present failures happened.
    since: Option<Instant>,
}

impl Backoff {
    /// No attempt has been made.
    pub fn new(settings: Reconnect) -> Self {
        Self {
            settings,
            attempts: 0,
            since: None,
        }
    }

    /// The number of the next attempt, from 1, and the wait before it; `None` where no attempt is left.
    pub fn next(&mut self) -> Option<(u32, Duration)> {
        if self.settings.attempts.is_some_and(|most| self.attempts >= most) {
            return None;
        }
        self.since.get_or_insert_with(Instant::now);
        let wait = self.bound().mul_f64(fastrand::f64());
        self.attempts = self.attempts.saturating_add(1);
        Some((self.attempts, wait))
    }

    /// Longest possible wait before the next attempt.
    pub fn bound(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.attempts);
        let outage = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        let share = (outage / SHARE).max(SHORT).max(self.settings.initial);
        self.settings
            .initial
            .saturating_mul(doubled)
            .min(share)
            .min(self.settings.max)
    }

    /// How long a connection must have held before failures are forgotten: as long as the wait that would come next, and a
    /// second at least. A server that accepts and drops connections is thus asked no more often than one that is down, and
    /// one that held is found again at once, however bad the minute before was.
    pub fn healthy_period(&self) -> Duration {
        self.bound().max(SHORT).min(self.settings.max.max(SHORT))
    }

    /// Forgets the failures.
    pub fn reset(&mut self) {
        self.attempts = 0;
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(attempts: Option<u32>) -> Reconnect {
        Reconnect {
            initial: Duration::from_millis(50),
            max: Duration::from_secs(30),
            attempts,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bounds_double_and_stay_within_a_share_of_the_outage() {
        let mut backoff = Backoff::new(settings(None));
        let mut bounds = Vec::new();
        for _ in 0..8 {
            let bound = backoff.bound();
            let (_, wait) = backoff.next().unwrap();
            assert!(wait <= bound);
            bounds.push(bound.as_millis());
        }
        assert_eq!(bounds, [50, 100, 200, 400, 800, 1000, 1000, 1000]);
        tokio::time::advance(Duration::from_secs(80)).await;
        assert_eq!(backoff.bound(), Duration::from_secs(10));
        backoff.next();
        backoff.next();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(backoff.bound(), Duration::from_secs(30));
        for _ in 0..100 {
            backoff.next();
        }
        assert_eq!(backoff.bound(), Duration::from_secs(30));
        backoff.reset();
        assert_eq!(backoff.bound(), Duration::from_millis(50));
    }

    #[tokio::test(start_paused = true)]
    async fn what_counts_as_healthy_follows_the_waits() {
        let mut backoff = Backoff::new(settings(None));
        assert_eq!(backoff.healthy_period(), SHORT);
        backoff.next();
        tokio::time::advance(Duration::from_secs(40)).await;
        for _ in 0..9 {
            backoff.next();
        }
        assert_eq!(backoff.healthy_period(), Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(backoff.healthy_period(), Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_wait_may_be_long() {
        let initial = Duration::from_secs(5);
        let backoff = Backoff::new(Reconnect {
            initial,
            ..settings(None)
        });
        assert_eq!(backoff.bound(), initial);
    }

    #[test]
    fn attempts_end() {
        let mut backoff = Backoff::new(settings(Some(2)));
        assert_eq!(backoff.next().map(|(attempt, _)| attempt), Some(1));
        assert_eq!(backoff.next().map(|(attempt, _)| attempt), Some(2));
        assert_eq!(backoff.next(), None);
    }
}
