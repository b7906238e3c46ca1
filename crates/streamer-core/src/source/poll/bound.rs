//! From which value of its column on a table is read again, so that what is committed late is found.
//!
//! A row's value is set before its transaction commits. A row that becomes visible after a read had begun was committed
//! after that moment, and its value was set at most `overlap` earlier. So the next read must begin no later than at the
//! value that the column's clock had `overlap` before the last read began:
//!
//! | column | its clock at a moment |
//! |---|---|
//! | the server's time ([`Growth::ServerTime`]) | the server's clock |
//! | time of a zone that nobody tells us ([`Growth::OwnTime`]) | at least the newest value, plus the time since it was seen |
//! | a number that counts up ([`Growth::Counter`]) | at least the newest value that was seen before it |
//!
//! Nothing here reads a clock: moments are handed in.

use std::collections::VecDeque;
use std::time::Duration;

/// A column may show whole seconds only.
const SECOND: i128 = 1_000_000;
/// Most moments that are kept for a counter.
const MAX_MARKS: usize = 256;

/// How a column grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// With the server's clock: microseconds since the Unix epoch.
    ServerTime,
    /// With a clock whose zone is not known: microseconds.
    OwnTime,
    /// It counts.
    Counter,
}

/// When a read began.
#[derive(Debug, Clone, Copy)]
pub struct Began {
    /// By our steady clock, in microseconds.
    pub at: i128,
    /// By the server's clock, in microseconds since the Unix epoch.
    pub server: i128,
}

/// The lower bound of the next read of one table.
#[derive(Debug, Clone)]
pub struct Bound {
    growth: Growth,
    overlap: i128,
    /// Inclusive; `None` is from the beginning on.
    low: Option<i128>,
    /// The newest value, and when it had been seen.
    newest: Option<(i128, i128)>,
    /// Newest values of a counter at moments by our clock.
    marks: VecDeque<(i128, i128)>,
}

impl Bound {
    /// Begins at `low`, or at the beginning.
    pub fn new(growth: Growth, overlap: Duration, low: Option<i128>) -> Self {
        Self {
            growth,
            overlap: overlap.as_micros().try_into().unwrap_or(i128::MAX / 4),
            low,
            newest: None,
            marks: VecDeque::new(),
        }
    }

    /// Where a read begins that finds everything.
    pub fn low(&self) -> Option<i128> {
        self.low
    }

    /// Where a read begins that finds what was committed in the order of its values.
    pub fn newest(&self) -> Option<i128> {
        // Below the lower bound, nothing is remembered any more.
        self.newest.map(|(value, _)| value).max(self.low)
    }

    /// Where to begin, so that what is committed from `began` on is found, if nothing of before is wanted.
    pub fn at_present(&self, began: Began) -> Option<i128> {
        (self.growth == Growth::ServerTime).then(|| self.behind(began.server))
    }

    fn behind(&self, clock: i128) -> i128 {
        let exact = clock - self.overlap;
        exact - exact.rem_euclid(SECOND)
    }

    /// Rows up to this value have been seen, at a moment.
    pub fn saw(&mut self, value: i128, at: i128) {
        if self.newest.is_none_or(|(newest, _)| value > newest) {
            self.newest = Some((value, at));
        }
    }

    fn mark(&mut self, at: i128) {
        let Some((newest, _)) = self.newest else { return };
        match self.marks.back_mut() {
            Some((_, value)) if *value == newest => {}
            _ => self.marks.push_back((at, newest)),
        }
        if self.marks.len() > MAX_MARKS {
            // Fewer moments make a bound that is lower than it must be.
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// The newest mark that is older than the overlap at a moment.
    fn settled(&mut self, at: i128) -> Option<i128> {
        let limit = at - self.overlap;
        while self.marks.get(1).is_some_and(|(moment, _)| *moment <= limit) {
            self.marks.pop_front();
        }
        let (moment, value) = self.marks.front()?;
        (*moment <= limit).then_some(value + 1)
    }

    /// A read from the lower bound on has come to `last` at a moment, and goes on.
    pub fn progress(&mut self, began: Began, last: i128, at: i128) {
        let reached = match self.growth {
            Growth::ServerTime => Some(last.min(self.behind(began.server))),
            Growth::OwnTime => Some(last - self.overlap - SECOND),
            Growth::Counter => {
                self.mark(at);
                self.settled(began.at)
            }
        };
        self.raise(reached);
    }

    /// A read from the lower bound on has come to the end of the table at a moment.
    pub fn complete(&mut self, began: Began, at: i128) {
        match self.growth {
            // Also backwards, as a clock that was set back: rows come twice then, and none is missed.
            Growth::ServerTime => self.low = Some(self.behind(began.server)),
            Growth::OwnTime => {
                let clock = self.newest.map(|(newest, seen)| newest + (began.at - seen));
                self.raise(clock.map(|clock| self.behind(clock)));
            }
            Growth::Counter => {
                self.mark(at);
                let settled = self.settled(began.at);
                self.raise(settled);
            }
        }
    }

    /// Nothing below is read again.
    pub fn raise(&mut self, low: Option<i128>) {
        self.low = self.low.max(low);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::window::Window;
    use super::*;

    const OVERLAP: Duration = Duration::from_secs(5);

    /// A row: when its value was set, and how much later it was committed; in microseconds.
    #[derive(Debug, Clone)]
    struct Write {
        set: i128,
        delay: i128,
    }

    /// Reads a table at moments; returns how often each row was found new. `value` makes a row's value.
    fn follow(growth: Growth, writes: &[Write], polls: &[i128], value: impl Fn(usize) -> i128) -> Vec<u32> {
        let mut bound = Bound::new(growth, OVERLAP, None);
        let mut window = Window::default();
        let mut found = vec![0; writes.len()];
        for (poll, &at) in polls.iter().enumerate() {
            let began = Began { at, server: at };
            // Every other read takes the short way; the last one does not.
            let is_whole = (polls.len() - poll) % 2 == 1;
            let low = if is_whole { bound.low() } else { bound.newest() };
            let mut rows: Vec<(i128, usize)> = (0..writes.len())
                .filter(|&row| writes[row].set + writes[row].delay <= at)
                .map(|row| (value(row), row))
                .filter(|(value, _)| low.is_none_or(|low| *value >= low))
                .collect();
            rows.sort_unstable();
            for (value, row) in rows {
                found[row] += u32::from(window.add(row as u128, 0, value));
                bound.saw(value, at);
            }
            if is_whole {
                bound.complete(began, at);
            }
            if let Some(low) = bound.low() {
                window.forget_below(low);
            }
        }
        found
    }

    fn schedule() -> impl Strategy<Value = (Vec<Write>, Vec<i128>)> {
        let write = (0..60_000_000_i128, 0..=5_000_000_i128).prop_map(|(set, delay)| Write { set, delay });
        (
            proptest::collection::vec(write, 0..60),
            proptest::collection::vec(0..70_000_000_i128, 1..40),
        )
            .prop_map(|(mut writes, mut polls)| {
                writes.sort_by_key(|write| write.set);
                polls.sort_unstable();
                polls.push(80_000_000);
                (writes, polls)
            })
    }

    proptest! {
        #[test]
        fn what_is_committed_late_is_found_once((writes, polls) in schedule()) {
            let once = vec![1; writes.len()];
            // Whole seconds: ties.
            let seconds = |row: usize| writes[row].set - writes[row].set.rem_euclid(SECOND);
            prop_assert_eq!(follow(Growth::ServerTime, &writes, &polls, seconds), once.clone());
            prop_assert_eq!(follow(Growth::OwnTime, &writes, &polls, |row| seconds(row) + 7_200 * SECOND), once.clone());
            prop_assert_eq!(follow(Growth::Counter, &writes, &polls, |row| row as i128), once);
        }
    }

    #[test]
    fn an_idle_table_is_not_read_again() {
        for growth in [Growth::ServerTime, Growth::OwnTime, Growth::Counter] {
            let mut bound = Bound::new(growth, OVERLAP, None);
            let newest = 100 * SECOND;
            bound.saw(newest, newest);
            for second in [100, 110] {
                let at = second * SECOND;
                bound.complete(Began { at, server: at }, at);
            }
            assert!(bound.low() > Some(newest), "{growth:?}: {:?}", bound.low());
        }
    }

    #[test]
    fn marks_are_bounded() {
        let mut bound = Bound::new(Growth::Counter, Duration::from_secs(3600), None);
        for at in 0..10_000 {
            bound.saw(at, at);
            bound.complete(Began { at, server: at }, at);
        }
        assert!(bound.marks.len() <= MAX_MARKS + 1 && bound.low().is_none());
    }
}
