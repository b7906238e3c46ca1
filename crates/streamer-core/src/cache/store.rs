//! The first level: entries in memory, weighed by bytes.
//!
//! Entries are not searched when something changes: an entry that a change touched is found out when it is asked for,
//! and leaves then, or when the room is needed. So an invalidation costs the same however many entries it concerns, and
//! there is one judge only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::columns::Columns;
use super::dependency::Dependency;
use super::key::Key;
use super::ledger::Sequence;
use crate::event::Packed;

/// Bytes that an entry costs beside its value and what it depends on: itself, the key, the map's slot.
const OVERHEAD: usize = 192;

/// Estimate from which the store's tables are sized; they grow by themselves.
const TYPICAL_ENTRY: usize = 512;

/// Answers without a row get this part of the room: a twentieth.
const ABSENT: usize = 20;

/// Longest time for which an answer without a row is kept.
pub const ABSENT_TTL: Duration = Duration::from_secs(30);

/// Last part of its time, in which an entry that is asked for is renewed.
const RENEWAL: f64 = 0.1;

/// A cached value. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Rows of a query in the stream's encoding.
    Rows {
        /// Cells; see [`event`](crate::event). Documents stand one after the other in its bytes.
        cells: Packed,
        /// Their columns; `None` where the rows are documents.
        columns: Option<Arc<Columns>>,
        /// Rows.
        count: u32,
    },
    /// What JavaScript serialised.
    Bytes(Arc<[u8]>),
}

impl Value {
    /// Whether it is an answer without a row.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Rows { count: 0, .. })
    }

    /// Bytes in memory, without columns.
    pub fn weight(&self) -> usize {
        match self {
            Self::Rows { cells, .. } => cells.bytes().len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// An entry.
#[derive(Debug)]
pub struct Entry {
    /// What it holds.
    pub value: Value,
    /// What it depends on.
    pub dependencies: Arc<[Dependency]>,
    /// Every change up to here is in it.
    pub as_of: Sequence,
    /// When it ends, whatever happens.
    pub expires: Instant,
    /// Bytes of columns that weigh upon it.
    columns_weight: u32,
    /// How long before that whoever asks for it is to see to a newer one, in ms.
    renewal_ms: u32,
    /// Somebody does.
    is_renewed: AtomicBool,
}

impl Entry {
    /// A value that is kept for about `ttl`.
    pub fn new(value: Value, dependencies: Arc<[Dependency]>, as_of: Sequence, ttl: Duration) -> Self {
        let (now, ttl) = (Instant::now(), jittered(ttl));
        let columns_weight = match &value {
            Value::Rows {
                columns: Some(columns),
                ..
            } => columns.weigh(),
            _ => 0,
        };
        Self {
            value,
            dependencies,
            as_of,
            expires: now + ttl,
            columns_weight: u32::try_from(columns_weight).unwrap_or(u32::MAX),
            renewal_ms: u32::try_from(ttl.mul_f64(RENEWAL).as_millis()).unwrap_or(u32::MAX),
            is_renewed: AtomicBool::new(false),
        }
    }

    /// Whether whoever asks now is to see to a newer one: true once.
    pub fn is_due(&self, now: Instant) -> bool {
        now + Duration::from_millis(self.renewal_ms.into()) >= self.expires
            && !self.is_renewed.swap(true, Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Entry>> for ByBytes {
    fn weight(&self, _: &Key, entry: &Arc<Entry>) -> u64 {
        let dependencies: usize = entry.dependencies.iter().map(Dependency::weight).sum();
        (OVERHEAD + entry.value.weight() + entry.columns_weight as usize + dependencies) as u64
    }
}

/// Entries by key.
pub struct Store {
    entries: Cache<Key, Arc<Entry>, ByBytes>,
    /// Answers without a row have a room of their own: whoever asks for what is not there drives out nothing that is.
    absent: Cache<Key, Arc<Entry>, ByBytes>,
    max_bytes: usize,
}

impl Store {
    /// A store that holds up to `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            entries: Cache::with_weighter(max_bytes / TYPICAL_ENTRY, max_bytes as u64, ByBytes),
            absent: Cache::with_weighter(
                max_bytes / ABSENT / TYPICAL_ENTRY,
                (max_bytes / ABSENT) as u64,
                ByBytes,
            ),
            max_bytes,
        }
    }

    /// The entry under a key, valid or not.
    pub fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.entries.get(key).or_else(|| self.absent.get(key))
    }

    /// Keeps an entry. One that would take an eighth of the room is not kept: it would cost too many others.
    pub fn insert(&self, key: Key, entry: Entry) -> bool {
        if entry.value.weight() > self.max_bytes / 8 {
            return false;
        }
        let (to, from) = match entry.value.is_absence() {
            true => (&self.absent, &self.entries),
            false => (&self.entries, &self.absent),
        };
        from.remove(&key);
        to.insert(key, Arc::new(entry));
        true
    }

    /// Drops an entry.
    pub fn remove(&self, key: &Key) -> bool {
        let absent = self.absent.remove(key);
        self.entries.remove(key).or(absent).is_some()
    }

    /// Drops all.
    pub fn clear(&self) {
        self.entries.clear();
        self.absent.clear();
    }

    /// Entries, and their bytes.
    pub fn size(&self) -> (usize, u64) {
        (
            self.entries.len() + self.absent.len(),
            self.entries.weight() + self.absent.weight(),
        )
    }
}

/// `ttl` give or take a tenth, so that what was filled together does not end together.
fn jittered(ttl: Duration) -> Duration {
    ttl.mul_f64(0.9 + 0.2 * fastrand::f64())
}
