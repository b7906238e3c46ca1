//! How long to wait until the next poll of a table.
//!
//! The wait follows what polls find: one that finds changes shortens it at once, the more the more there were; one that
//! finds none lengthens it by a little. Between a floor and a ceiling, and never so short that asking takes more than a
//! tenth of the time. Nothing here reads a clock.

use std::time::Duration;

/// A wait may be longer or shorter by this share of it, so that readers do not ask in step.
const JITTER: f64 = 0.1;
/// What an empty poll makes of the wait.
const LENGTHENED: f64 = 1.15;
/// A tenth of the time goes to asking: the wait is nine times as long.
const WAIT_FOR_WORK: f64 = 9.0;
/// Weight of the newest poll's duration in the average.
const NEWEST: f64 = 0.3;

/// The pace of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    floor: f64,
    ceiling: f64,
    /// The present wait without jitter, in seconds.
    wait: f64,
    /// Average duration of a poll, in seconds.
    took: f64,
}

impl Pace {
    /// Begins in the middle, on a scale of powers, between the shortest and the longest wait.
    pub fn new(floor: Duration, ceiling: Duration) -> Self {
        let floor = floor.as_secs_f64();
        let ceiling = ceiling.as_secs_f64().max(floor);
        Self {
            floor,
            ceiling,
            wait: (floor * ceiling).sqrt().clamp(floor, ceiling),
            took: 0.0,
        }
    }

    /// A poll took so long and found so many changes; returns how long to wait. `chance` is 0 to 1.
    pub fn next(&mut self, took: Duration, changes: u64, chance: f64) -> Duration {
        let took = took.as_secs_f64();
        // Slow at once, fast again by degrees.
        self.took = took.max(self.took + (took - self.took) * NEWEST);
        let wanted = match changes {
            0 => self.wait * LENGTHENED,
            found => self.wait / (2.0 * (found as f64 + 1.0)),
        };
        self.wait = wanted.clamp(self.floor, self.ceiling);
        // A database that answers slowly is asked rarely, beyond the ceiling too.
        let wait = self.wait.max(self.took * WAIT_FOR_WORK);
        let jitter = 1.0 + JITTER * (chance.clamp(0.0, 1.0) * 2.0 - 1.0);
        Duration::from_secs_f64(wait * jitter)
    }

    /// The longest wait that a database that answers at once brings about.
    pub fn longest(ceiling: Duration) -> Duration {
        ceiling.mul_f64(1.0 + JITTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Duration = Duration::from_millis(100);
    const CEILING: Duration = Duration::from_secs(5);
    const QUICK: Duration = Duration::from_millis(1);

    /// Polls with a simulated clock until `end`; `changes_at` says how many changes there were between two moments.
    /// Returns the waits.
    fn simulate(
        pace: &mut Pace,
        end: f64,
        took: Duration,
        changes: impl Fn(f64, f64) -> u64,
    ) -> Vec<(f64, f64)> {
        let (mut now, mut last, mut waits) = (0.0, 0.0, Vec::new());
        while now < end {
            let found = changes(last, now);
            last = now;
            let wait = pace.next(took, found, 0.5).as_secs_f64();
            waits.push((now, wait));
            now += took.as_secs_f64() + wait;
        }
        waits
    }

    #[test]
    fn a_quiet_table_is_asked_at_the_ceiling_after_a_while() {
        let mut pace = Pace::new(FLOOR, CEILING);
        let waits = simulate(&mut pace, 600.0, QUICK, |_, _| 0);
        assert!((waits.last().unwrap().1 - 5.0).abs() < 0.01);
        assert!(waits.len() < 150, "{} polls in ten minutes", waits.len());
    }

    #[test]
    fn a_busy_table_is_asked_at_the_floor_at_once_and_for_as_long_as_it_is_busy() {
        let mut pace = Pace::new(FLOOR, CEILING);
        for _ in 0..100 {
            pace.next(QUICK, 0, 0.5);
        }
        // A burst of 1,000 changes a second: the first poll that sees it is followed by the floor.
        assert_eq!(pace.next(QUICK, 5000, 0.5), FLOOR);
        let waits = simulate(&mut pace, 60.0, QUICK, |from, to| ((to - from) * 1000.0) as u64);
        assert!(waits.iter().skip(1).all(|(_, wait)| (*wait - 0.1).abs() < 0.001));
    }

    #[test]
    fn after_a_burst_the_wait_grows_slowly() {
        let mut pace = Pace::new(FLOOR, CEILING);
        pace.next(QUICK, 100_000, 0.5);
        let waits = simulate(&mut pace, 120.0, QUICK, |_, _| 0);
        let reached = |bound: f64| waits.iter().find(|(_, wait)| *wait >= bound).unwrap().0;
        assert!(reached(0.5) > 2.0, "{}", reached(0.5));
        assert!(reached(4.9) > 20.0 && reached(4.9) < 90.0, "{}", reached(4.9));
    }

    #[test]
    fn the_wait_follows_the_rate_of_change() {
        let average = |period: f64| {
            let mut pace = Pace::new(FLOOR, CEILING);
            let changes = |from: f64, to: f64| (to / period) as u64 - (from / period) as u64;
            let waits = simulate(&mut pace, 600.0, QUICK, changes);
            waits.iter().map(|(_, wait)| wait).sum::<f64>() / waits.len() as f64
        };
        let averages = [0.2, 1.0, 5.0, 20.0, 100.0].map(average);
        assert!(averages.is_sorted(), "{averages:?}");
        // About as often as something changes, and never much rarer.
        assert!(averages[1] < 1.0 && averages[2] < 3.0, "{averages:?}");
    }

    #[test]
    fn asking_takes_a_tenth_of_the_time_at_most() {
        for took in [0.2, 1.0, 30.0] {
            let took = Duration::from_secs_f64(took);
            let mut pace = Pace::new(FLOOR, CEILING);
            let waits = simulate(&mut pace, 2000.0, took, |_, _| 1000);
            let waited: f64 = waits.iter().map(|(_, wait)| wait).sum();
            let asked = took.as_secs_f64() * waits.len() as f64;
            assert!(asked / (asked + waited) <= 0.1001, "{took:?}");
        }
    }

    #[test]
    fn one_slow_answer_is_forgotten() {
        let mut pace = Pace::new(FLOOR, CEILING);
        assert!(pace.next(Duration::from_secs(2), 50, 0.5) >= Duration::from_secs(18));
        for _ in 0..40 {
            pace.next(QUICK, 50, 0.5);
        }
        assert_eq!(pace.next(QUICK, 50, 0.5), FLOOR);
    }

    #[test]
    fn readers_do_not_ask_in_step() {
        let wait = |chance| Pace::new(CEILING, CEILING).next(QUICK, 0, chance).as_secs_f64();
        assert!((wait(0.0) - 4.5).abs() < 0.01 && (wait(1.0) - 5.5).abs() < 0.01);
    }
}
