//! Values that are never older than the last change that was delivered.
//!
//! # The promise
//! *Read your events*: where a change was handed to a listener, every read that begins afterwards returns a value that
//! holds it and everything before it in that source's log. *No stale survivor*: when writes end, every entry that is
//! served equals the database once the log was read.
//!
//! # Why the obvious is wrong
//! A server ships a transaction when its log is written, and makes it visible afterwards: a reader that drops an entry on
//! the event and asks at once may read the old row and keep it for ever. A lease (keep only if nothing was invalidated
//! since the miss) does not help, because the invalidation came first; nor does the end of the log at the time of the
//! query, because the log is ahead of what is visible.
//!
//! # The rule
//! Changes are recorded in a [`Ledger`] under growing sequences, whole batches at a time, before any listener sees them.
//! `visible` is the highest sequence that the server *proved* to be in every new snapshot. For a read with the
//! dependencies D:
//!
//! 1. An entry is served only if `last_change(D) <= as_of`, at that moment.
//! 2. Else `need = last_change(D)`; while `visible < need`, a proof is asked for.
//! 3. `as_of = visible`, read *before* the query begins.
//! 4. The query runs in a snapshot of its own, taken now.
//! 5. The value is kept only if still `last_change(D) <= as_of`; and as entries are judged by rule 1 each time, keeping one
//!    too many harms nobody.
//!
//! # The argument
//! A snapshot taken after `visible = v` was established holds every change up to v; by 3 and 4 the value holds every
//! change up to `as_of`. A change of what the value was made from has a sequence in `last_change(D)`: recorded before it
//! was delivered, and never forgotten, only raised (a column whose values were too many, a table that was not watched
//! yet, count as changed now). So where `last_change(D) <= as_of`, no delivered change is missing in the value: 1 and 5 are
//! safe, whatever the order of events, queries and other fills; two fills that end out of order included. A value that
//! is returned without being kept has `as_of >= need`, of the beginning of its read: the promise holds on a miss too. When
//! writes end, the last change of a value's rows is recorded after at most one delay of the log; entries older than it
//! fail 1, and younger ones hold it.
//!
//! Sequences are of this process: no two positions of servers are ever compared, and after a failover, a gap or a
//! reconnection to a place that is not known, [`Ledger::everything`] makes every entry fail.
//!
//! `model.rs` tries every interleaving of writers, log, feed and readers against this ledger, and that each weakening of the
//! rule is found out.
//!
//! # Relies on
//! The log holding every change of the tables that are depended on (the caller keeps others out), with complete rows: a row
//! without a watched column counts as a change of the whole table. Proofs are the caller's; see `query`.

mod columns;
mod dependency;
pub mod document;
mod feed;
mod key;
mod ledger;
mod place;
mod reach;
mod seal;
pub mod sql;
mod stats;
mod store;
mod trail;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

pub use columns::Columns;
pub use dependency::{Dependency, Equality, Grounds, TableName};
pub use feed::{Feed, Order};
pub use key::{Key, KeyWriter};
pub use ledger::{Era, Ledger, Sequence};
pub use place::Place;
pub use reach::{LogFile, Reach, Statement};
pub use seal::{Cipher, RANK, Sealed, Unusable, open, seal};
pub use stats::{Counters, Figures, SecondFigures};
pub use store::{Entry, Value};

use store::{ABSENT_TTL, Store};

/// A value that may be served.
#[derive(Debug, Clone)]
pub struct Found {
    /// The value.
    pub value: Value,
    /// It ends soon, and whoever gets this is to see to a newer one; nobody else is told.
    pub is_due: bool,
    /// The source is not followed: it may be older than what the application would be told of if it were.
    pub is_stale: bool,
}

/// The cache of one source.
pub struct Cache {
    ledger: RwLock<Ledger>,
    store: Store,
    /// What happened.
    pub counters: Counters,
}

impl Cache {
    /// A cache that holds up to `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            ledger: RwLock::new(Ledger::new()),
            store: Store::new(max_bytes),
            counters: Counters::default(),
        }
    }

    /// The ledger, to record or to prove.
    pub fn ledger(&self) -> &RwLock<Ledger> {
        &self.ledger
    }

    /// The value under a key, where it may be served (rule 1).
    pub fn get(&self, key: &Key) -> Option<Value> {
        self.entry(key, Instant::now()).map(|entry| entry.value.clone())
    }

    /// The same, where whoever asks sees to a newer one if it is due and the source is followed.
    pub fn look(&self, key: &Key, is_stale: bool) -> Option<Found> {
        let now = Instant::now();
        self.entry(key, now).map(|entry| Found {
            value: entry.value.clone(),
            is_due: !is_stale && entry.is_due(now),
            is_stale,
        })
    }

    fn entry(&self, key: &Key, now: Instant) -> Option<Arc<Entry>> {
        let entry = self.store.get(key)?;
        let is_current = self.ledger.read().last_change(&entry.dependencies) <= entry.as_of;
        if is_current && now < entry.expires {
            return Some(entry);
        }
        if !is_current {
            Counters::add(&self.counters.invalidated);
        }
        self.store.remove(key);
        None
    }

    /// What has to be visible before a query for `dependencies` may begin (rule 2). Sees to it that changes of them are
    /// recorded from now on.
    pub fn need(&self, dependencies: &[Dependency]) -> Sequence {
        let mut ledger = self.ledger.write();
        for dependency in dependencies {
            ledger.watch(dependency);
        }
        ledger.last_change(dependencies)
    }

    /// `as_of` of a query that begins after this call (rule 3).
    pub fn visible(&self) -> Sequence {
        self.ledger.read().visible()
    }

    /// Keeps a value, where it may be kept (rule 5).
    pub fn fill(&self, key: Key, value: Value, grounds: &Grounds, as_of: Sequence, ttl: Duration) -> bool {
        let is_current = {
            let ledger = self.ledger.read();
            ledger.last_change(&grounds.on) <= as_of && ledger.defined() == grounds.defined
        };
        if !is_current {
            Counters::add(&self.counters.rejected);
            return false;
        }
        let ttl = match value.is_absence() {
            true => ttl.min(ABSENT_TTL),
            false => ttl,
        };
        self.store
            .insert(key, Entry::new(value, Arc::clone(&grounds.on), as_of, ttl))
    }

    /// Drops one entry; returns whether there was one.
    pub fn remove(&self, key: &Key) -> bool {
        self.store.remove(key)
    }

    /// Drops everything.
    pub fn clear(&self) {
        self.ledger.write().clear();
        self.store.clear();
    }

    /// The figures now.
    pub fn figures(&self) -> Figures {
        let (entries, bytes) = self.store.size();
        self.counters.figures(entries, bytes)
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod shared_model;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_derived_from_other_definitions_is_not_kept() {
        let cache = Cache::new(1 << 20);
        let on: Arc<[Dependency]> = [Dependency::on_table(TableName::new("d", "t"))].into();
        cache.need(std::slice::from_ref(Dependency::on_definitions()));
        cache.need(&on);
        let defined = cache.ledger().read().defined();
        let grounds = Grounds { on, defined };
        let mut writer = KeyWriter::new("test");
        writer.part(1, b"key");
        let key = writer.finish();
        let value = || Value::Bytes(b"value".as_slice().into());
        let ttl = Duration::from_secs(60);
        assert!(cache.fill(key, value(), &grounds, Sequence::MAX, ttl));
        cache.ledger().write().mark();
        cache.ledger().write().redefined();
        assert!(!cache.fill(key, value(), &grounds, Sequence::MAX, ttl));
    }
}
