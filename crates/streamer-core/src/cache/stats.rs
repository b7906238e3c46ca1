//! What the cache did, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Reads that memory answered.
    pub hits: AtomicU64,
    /// Reads that it could not answer, although what was asked for may be cached.
    pub misses: AtomicU64,
    /// Reads of what may not be cached.
    pub bypassed: AtomicU64,
    /// Queries and loads that were made.
    pub loads: AtomicU64,
    /// Reads that waited for the load of another.
    pub coalesced: AtomicU64,
    /// Entries that were found to be touched by a change.
    pub invalidated: AtomicU64,
    /// Values that could not be kept, because something touched what they depend on meanwhile.
    pub rejected: AtomicU64,
    /// Questions to the server about what is visible.
    pub proofs: AtomicU64,
    /// Reads that memory answered although the source was not followed.
    pub stale: AtomicU64,
    /// Answers and loads that took the place of entries that would have ended soon.
    pub renewed: AtomicU64,
    /// Look-ups that were asked together with others.
    pub gathered: AtomicU64,
    /// Answers of the database that are not proved to hold everything that was delivered.
    pub unproved: AtomicU64,
}

/// Counters and sizes at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// See [`Counters`].
    pub hits: u64,
    /// See [`Counters`].
    pub misses: u64,
    /// See [`Counters`].
    pub bypassed: u64,
    /// See [`Counters`].
    pub loads: u64,
    /// See [`Counters`].
    pub coalesced: u64,
    /// See [`Counters`].
    pub invalidated: u64,
    /// See [`Counters`].
    pub rejected: u64,
    /// See [`Counters`].
    pub proofs: u64,
    /// See [`Counters`].
    pub stale: u64,
    /// See [`Counters`].
    pub renewed: u64,
    /// See [`Counters`].
    pub gathered: u64,
    /// See [`Counters`].
    pub unproved: u64,
    /// Entries in memory.
    pub entries: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Of the second level.
    pub second: SecondFigures,
}

/// What the second level did.
#[derive(Debug, Clone, Copy, Default)]
pub struct SecondFigures {
    /// Reads that it answered.
    pub hits: u64,
    /// Reads that it could not answer: nothing usable was there, or it was not asked in time.
    pub misses: u64,
    /// Entries that were not what this version, with this key, had written.
    pub refused: u64,
    /// Reads and writes that did not come about.
    pub failures: u64,
    /// Values that were stored.
    pub writes: u64,
}

impl Counters {
    /// Counts one.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters now, with sizes.
    pub fn figures(&self, entries: usize, bytes: u64) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            hits: read(&self.hits),
            misses: read(&self.misses),
            bypassed: read(&self.bypassed),
            loads: read(&self.loads),
            coalesced: read(&self.coalesced),
            invalidated: read(&self.invalidated),
            rejected: read(&self.rejected),
            proofs: read(&self.proofs),
            stale: read(&self.stale),
            renewed: read(&self.renewed),
            gathered: read(&self.gathered),
            unproved: read(&self.unproved),
            entries,
            bytes,
            second: SecondFigures::default(),
        }
    }
}
