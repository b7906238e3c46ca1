//! What a proxy has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a proxy has done since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections taken.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Bytes delivered to the server.
    pub to_server: u64,
    /// Bytes delivered to clients.
    pub to_client: u64,
    /// Connections closed by a fault.
    pub resets: u64,
    /// Connections closed as soon as they were taken, by a cut.
    pub refused: u64,
    /// Bytes that a black hole has swallowed, whether or not they were delivered later.
    pub held: u64,
    /// Bytes delivered in pieces of one.
    pub drips: u64,
    /// Bytes delivered slowly.
    pub throttled: u64,
}

#[derive(Default)]
pub(super) struct Counting {
    pub(super) connections: AtomicU64,
    pub(super) to_server: AtomicU64,
    pub(super) to_client: AtomicU64,
    pub(super) resets: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) held: AtomicU64,
    pub(super) drips: AtomicU64,
    pub(super) throttled: AtomicU64,
}

impl Counting {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self, open: usize) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            connections: read(&self.connections),
            open: open as u64,
            to_server: read(&self.to_server),
            to_client: read(&self.to_client),
            resets: read(&self.resets),
            refused: read(&self.refused),
            held: read(&self.held),
            drips: read(&self.drips),
            throttled: read(&self.throttled),
        }
    }
}
