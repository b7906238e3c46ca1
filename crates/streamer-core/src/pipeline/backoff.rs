//! How long to wait before the next attempt.

use std::time::Duration;

use crate::config::Reconnect;

/// Exponential backoff with full jitter: each wait is drawn evenly from zero to a bound that doubles, so that many
/// readers of a restarted server spread out instead of arriving together.
#[derive(Debug)]
pub(super) struct Backoff {
    settings: Reconnect,
    attempts: u32,
}

impl Backoff {
    /// No attempt has been made.
    pub fn new(settings: Reconnect) -> Self {
        Self {
            settings,
            attempts: 0,
        }
    }

    /// The number of the next attempt, from 1, and the wait before it; `None` where no attempt is left.
    pub fn next(&mut self) -> Option<(u32, Duration)> {
        if self.settings.attempts.is_some_and(|most| self.attempts >= most) {
            return None;
        }
        let wait = self.bound().mul_f64(fastrand::f64());
        self.attempts = self.attempts.saturating_add(1);
        Some((self.attempts, wait))
    }

    /// Longest possible wait before the next attempt.
    pub fn bound(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.attempts);
        self.settings
            .initial
            .saturating_mul(doubled)
            .min(self.settings.max)
    }

    /// How long a connection must have held before failures are forgotten: as long as the longest wait, so that a
    /// server that accepts and drops connections is asked no more often than one that is down.
    pub fn healthy_period(&self) -> Duration {
        self.settings.max
    }

    /// Forgets the failures.
    pub fn reset(&mut self) {
        self.attempts = 0;
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

    #[test]
    fn bounds_double_up_to_the_longest_wait() {
        let mut backoff = Backoff::new(settings(None));
        let bounds: Vec<_> = (0..12)
            .map(|_| {
                let bound = backoff.bound();
                let (_, wait) = backoff.next().unwrap();
                assert!(wait <= bound);
                bound.as_millis()
            })
            .collect();
        assert_eq!(
            bounds,
            [
                50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000
            ]
        );
    }

    #[test]
    fn the_bound_survives_any_number_of_attempts() {
        let mut backoff = Backoff::new(settings(None));
        for _ in 0..100 {
            backoff.next();
        }
        assert_eq!(backoff.bound(), Duration::from_secs(30));
        backoff.reset();
        assert_eq!(backoff.bound(), Duration::from_millis(50));
    }

    #[test]
    fn attempts_end() {
        let mut backoff = Backoff::new(settings(Some(2)));
        assert_eq!(backoff.next().map(|(attempt, _)| attempt), Some(1));
        assert_eq!(backoff.next().map(|(attempt, _)| attempt), Some(2));
        assert_eq!(backoff.next(), None);
    }
}
