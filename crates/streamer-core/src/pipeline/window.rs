//! The delivery window: what was handed over and not yet acknowledged, bounded in bytes and in number.
//!
//! One window serves all sources of an engine, because `delivery.bufferBytes` is a promise about the memory of the
//! process, and because everything passes through one queue into JavaScript anyway: a window for each source would
//! not let a quiet source overtake a flood that is already queued.
//!
//! Of what is in flight, the part that nobody has begun to read is bounded more tightly ([`READ_AHEAD`]): more of it makes
//! nothing quicker, and every byte is memory of the process. Once it is full, reading goes on when half of it is used up,
//! so that a thread is woken for many batches instead of for each.
//!
//! Guarantees: a source reads only while there is room; sources that wait are served in the order in which they
//! came, so that a flood cannot starve a trickle; what is in flight never exceeds the limit by more than one item, and what
//! nobody has begun to read never exceeds [`READ_AHEAD`] by more than one.

use std::collections::BTreeMap;
use std::pin::pin;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Most items in flight, whatever they weigh: an item costs a slot of the queue into JavaScript.
pub(super) const MAX_ITEMS: usize = 4096;

/// Bytes that may wait for somebody who reads them: a few milliseconds of work.
pub(super) const READ_AHEAD: usize = 1 << 20;

/// What is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InFlight {
    /// Bytes.
    pub bytes: usize,
    /// Batches and notices.
    pub items: usize,
}

#[derive(Debug, Default)]
struct State {
    weights: BTreeMap<u64, usize>,
    bytes: usize,
    newest: u64,
    acknowledged: u64,
    /// Up to here somebody has begun to read.
    begun: u64,
    /// Bytes of what nobody has begun to read.
    unread: usize,
    /// The unread reached their bound, and half of them are not used up yet.
    is_ahead: bool,
}

impl State {
    /// Everything up to `sequence` is being read.
    fn begin(&mut self, sequence: u64) {
        let sequence = sequence.min(self.newest);
        if sequence > self.begun {
            let begun: usize = self
                .weights
                .range(self.begun + 1..=sequence)
                .map(|(_, weight)| weight)
                .sum();
            self.unread = self.unread.saturating_sub(begun);
            self.begun = sequence;
        }
    }

    fn has_room(&mut self, limit: usize) -> bool {
        let bound = if self.is_ahead {
            READ_AHEAD / 2 + 1
        } else {
            READ_AHEAD
        };
        self.is_ahead = self.unread >= bound;
        !self.is_ahead && self.bytes < limit && self.weights.len() < MAX_ITEMS
    }
}

/// Accounts for what was handed over; see the module's header.
#[derive(Debug)]
pub(super) struct Window {
    limit: usize,
    state: Mutex<State>,
    changed: Notify,
    turn: tokio::sync::Mutex<()>,
}

/// The right to hand over one item; the next in line waits until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _place: tokio::sync::MutexGuard<'a, ()>,
}

impl Window {
    /// A window of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            state: Mutex::default(),
            changed: Notify::new(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Accounts for an item. Sequence numbers grow from call to call.
    pub fn add(&self, sequence: u64, weight: usize) {
        let mut state = self.state.lock();
        state.weights.insert(sequence, weight);
        state.bytes = state.bytes.saturating_add(weight);
        state.unread = state.unread.saturating_add(weight);
        state.newest = state.newest.max(sequence);
    }

    /// Somebody has begun to read everything up to `sequence`.
    pub fn begin(&self, sequence: u64) {
        let mut state = self.state.lock();
        state.begin(sequence);
        let is_awaited = state.is_ahead && state.has_room(self.limit);
        drop(state);
        if is_awaited {
            self.changed.notify_waiters();
        }
    }

    /// Releases everything up to `sequence`, whether somebody has read it or not; returns up to where everything is acknowledged. A number that was
    /// never handed over counts as the newest that was.
    pub fn acknowledge(&self, sequence: u64) -> u64 {
        let mut state = self.state.lock();
        let sequence = sequence.min(state.newest);
        if sequence > state.acknowledged {
            state.begin(sequence);
            state.acknowledged = sequence;
            let kept = state.weights.split_off(&(sequence + 1));
            let released: usize = std::mem::replace(&mut state.weights, kept).values().sum();
            state.bytes = state.bytes.saturating_sub(released);
        }
        let (acknowledged, has_room) = (state.acknowledged, state.has_room(self.limit));
        drop(state);
        if has_room {
            self.changed.notify_waiters();
        }
        acknowledged
    }

    /// What is in flight.
    pub fn in_flight(&self) -> InFlight {
        let state = self.state.lock();
        InFlight {
            bytes: state.bytes,
            items: state.weights.len(),
        }
    }

    /// Whether an item may be handed over.
    pub fn has_room(&self) -> bool {
        self.state.lock().has_room(self.limit)
    }

    /// Resolves when there is room. Reserves nothing. Cancel-safe.
    pub async fn room(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.has_room() {
                return;
            }
            changed.await;
        }
    }

    /// Resolves when there is room and everyone who asked before has had their turn. Cancel-safe: the place in the
    /// line is lost.
    pub async fn turn(&self) -> Turn<'_> {
        let place = self.turn.lock().await;
        self.room().await;
        Turn { _place: place }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn one_item_may_overshoot_and_the_next_waits() {
        let window = Window::new(100);
        drop(window.turn().await);
        window.add(1, 99);
        drop(window.turn().now_or_never().unwrap());
        window.add(2, 5000);
        assert!(window.turn().now_or_never().is_none());
        window.acknowledge(1);
        assert!(window.room().now_or_never().is_none());
        window.acknowledge(2);
        assert!(window.room().now_or_never().is_some());
    }

    #[tokio::test]
    async fn those_who_wait_are_served_in_the_order_in_which_they_came() {
        let window = Arc::new(Window::new(1));
        window.add(1, 1);
        let (mut first, mut second) = (Box::pin(window.turn()), Box::pin(window.turn()));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        window.acknowledge(1);
        assert!(second.as_mut().now_or_never().is_none());
        let turn = first.await;
        window.add(2, 1);
        drop(turn);
        assert!(second.as_mut().now_or_never().is_none());
        window.acknowledge(2);
        drop(second.await);
    }

    #[tokio::test]
    async fn what_nobody_reads_is_bounded_more_tightly_and_half_of_it_is_used_up_before_reading_goes_on() {
        let window = Window::new(usize::MAX);
        let quarter = READ_AHEAD / 4;
        for sequence in 1..=3 {
            window.add(sequence, quarter);
        }
        assert!(window.has_room());
        window.add(4, quarter);
        let mut room = Box::pin(window.room());
        assert!(room.as_mut().now_or_never().is_none());
        window.begin(1);
        assert!(!window.has_room());
        window.begin(2);
        room.now_or_never().unwrap();
        assert_eq!(window.in_flight().bytes, READ_AHEAD);
        window.add(5, READ_AHEAD);
        assert!(!window.has_room());
        window.acknowledge(5);
        assert!(window.has_room());
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_handed_over_reaches_the_newest_only() {
        let window = Window::new(10);
        window.add(1, 1);
        assert_eq!(window.acknowledge(u64::MAX), 1);
        window.add(2, 7);
        assert_eq!(window.in_flight(), InFlight { bytes: 7, items: 1 });
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add(usize),
        Begin(u64),
        Acknowledge(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_usize..1000).prop_map(Step::Add),
            (0_u64..70).prop_map(Step::Begin),
            (0_u64..70).prop_map(Step::Acknowledge),
        ]
    }

    proptest! {
        #[test]
        fn what_is_in_flight_is_the_sum_of_what_was_not_acknowledged(
            steps in proptest::collection::vec(step(), 0..60)
        ) {
            let window = Window::new(500);
            let (mut model, mut next) = (Vec::<(u64, usize)>::new(), 1);
            for step in steps {
                match step {
                    Step::Add(weight) => {
                        window.add(next, weight);
                        model.push((next, weight));
                        next += 1;
                    }
                    Step::Begin(sequence) => window.begin(sequence),
                    Step::Acknowledge(sequence) => {
                        window.acknowledge(sequence);
                        model.retain(|(held, _)| *held > sequence);
                    }
                }
                let bytes = model.iter().map(|(_, weight)| weight).sum();
                prop_assert_eq!(window.in_flight(), InFlight { bytes, items: model.len() });
                prop_assert_eq!(window.has_room(), bytes < 500);
            }
        }
    }
}
