//! Where the thread that reads the change log stops.
//!
//! The other end closes the gate, opens a view, and lets the thread go on to the place of the view. The thread looks at the gate
//! inside of its read transaction, after that has taken its picture of the database: where it still finds the gate open, it took its
//! picture before the gate was closed, and so before the view was opened. So it never reads an entry that the view does
//! not show, unless it is told to.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long the thread looks often after it was steered: chunks follow one another.
const ALERT: Duration = Duration::from_millis(100);

/// Between looks then.
const OFTEN: Duration = Duration::from_millis(1);

/// Where the thread stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Nowhere.
    Never,
    /// Where it is, at the end of a group.
    Here,
    /// Behind this entry.
    At(i64),
}

/// What both ends share.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy)]
struct State {
    stop: Stop,
    turn: u64,
    steered: Option<std::time::Instant>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                stop: Stop::Never,
                turn: 0,
                steered: None,
            }),
            changed: Condvar::new(),
        }
    }
}

impl Gate {
    /// Steers the thread.
    pub fn steer(&self, stop: Stop) {
        let mut state = self.state.lock();
        state.stop = stop;
        state.turn += 1;
        state.steered = Some(std::time::Instant::now());
        drop(state);
        self.changed.notify_all();
    }

    /// Where to stop, and the number of the steering.
    pub fn stop(&self) -> (Stop, u64) {
        let state = self.state.lock();
        (state.stop, state.turn)
    }

    /// Whether the thread is likely to be steered soon.
    pub fn is_alert(&self) -> bool {
        let state = self.state.lock();
        state.stop != Stop::Never || state.steered.is_some_and(|at| at.elapsed() < ALERT)
    }

    /// Waits for the next steering behind `turn`, not long.
    pub fn wait(&self, turn: u64) {
        let mut state = self.state.lock();
        if state.turn == turn {
            self.changed.wait_for(&mut state, OFTEN);
        }
    }
}
