//! The second level: values in a Redis that processes share.
//!
//! # Why it is right
//! Nothing in Redis is ever dropped because of a change. An entry there says how much of the log its value holds
//! ([`Reach`]): the statement was proved by the server *before* the query began, so a snapshot that was taken afterwards holds
//! all of it. Whoever reads it judges by its own ledger: let `need` be the newest change that it has recorded of what the
//! value depends on. The entry is used only where the statement holds everything that was recorded up to `need`, and then
//! counts as a value as of `need`, in this process: the rule of [`cache`](crate::cache) goes on from there, for each time
//! it is served. What the reader has not seen recorded (before it connected, before it watched a table or a column, after a
//! gap) counts as a change at that moment, so a statement has to reach beyond it. Dependencies are the reader's own, from
//! the statement's text; nothing in the entry is believed but the value and its reach.
//!
//! A log that was reset, or another server's, cannot be mistaken for the one that is read: the name of an entry is made from
//! the server's identity, and its reach names a file of the log that the reader must have read (see `cache/reach.rs`).
//!
//! Writes compare the ranks of both reaches in one script: a process that was frozen between its query and its write does not
//! replace a newer value. That keeps the store useful; no read relies on it, nor on anything else that Redis does with
//! its keys.
//!
//! # What goes wrong with Redis
//! is a miss, and counted: no connection, an answer that comes late, an entry that does not open (which is dropped), a full
//! queue of writes. No reader sees an error, and none waits for longer than `redis.rs` allows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::redis::{Link, Silence};
use super::service::{Queries, Sought};
use crate::cache::{
    Cipher, Counters, Key, KeyWriter, RANK, Reach, SecondFigures, Sequence, Statement, Value, open, seal,
};
use crate::config::RedisConfig;

/// Largest value that is shared.
const MAX_VALUE: usize = 1 << 20;

/// Most bytes of an entry: a value, its reach, and what stands around them.
const MAX_ENTRY: usize = MAX_VALUE + (64 << 10);

/// Most writes that are under way.
const MAX_WRITES: usize = 64;

/// Keeps an entry where none lies that holds more of the log.
static KEEP: LazyLock<redis::Script> = LazyLock::new(|| {
    redis::Script::new(
        "local old = redis.call('GETRANGE', KEYS[1], ARGV[3], ARGV[4])
if old > ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[5])
return 1",
    )
});

/// See the module's header.
pub(super) struct SecondLevel {
    link: Arc<Link>,
    prefix: String,
    cipher: Option<Cipher>,
    writing: Arc<Semaphore>,
    /// Where jobs run; known from the first read on.
    runtime: OnceLock<Handle>,
    hits: AtomicU64,
    misses: AtomicU64,
    refused: AtomicU64,
    failures: AtomicU64,
    writes: AtomicU64,
}

impl SecondLevel {
    /// In a Redis; nothing connects yet. `None` where the driver refuses the configuration.
    pub fn new(config: &RedisConfig) -> Option<Arc<Self>> {
        let cipher = match &config.key {
            Some(key) => Some(Cipher::new(key.reveal())?),
            None => None,
        };
        Some(Arc::new(Self {
            link: Arc::new(Link::new(config)?),
            prefix: config.prefix.clone(),
            cipher,
            writing: Arc::new(Semaphore::new(MAX_WRITES)),
            runtime: OnceLock::new(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        }))
    }

    /// Where an entry lies: whatever makes its value another one is in the name.
    fn name(&self, server: &str, key: &Key) -> String {
        let mut name = KeyWriter::new("second");
        name.part(1, server.as_bytes());
        name.part(2, &self.cipher.as_ref().map_or([0; 8], Cipher::id));
        name.part(3, &key.bytes());
        let hex = name.digest().map(|byte| format!("{byte:02x}")).concat();
        format!("{}{hex}", self.prefix)
    }

    /// What lies there and opens: its reach, how much of its time is left, and the value.
    async fn get(self: &Arc<Self>, name: &str, ttl: Duration) -> Option<(Reach, Duration, Value)> {
        self.runtime.get_or_init(Handle::current);
        let mut command = redis::cmd("GETRANGE");
        command.arg(name).arg(0).arg(MAX_ENTRY);
        let found = match self.link.ask::<Vec<u8>>(&command).await {
            Ok(bytes) if bytes.is_empty() => return None,
            Ok(bytes) => open(self.cipher.as_ref(), name.as_bytes(), &bytes).ok(),
            Err(Silence::Foreign) => None,
            Err(_) => {
                Counters::add(&self.failures);
                return None;
            }
        };
        let Some(entry) = found else {
            Counters::add(&self.refused);
            self.forget(name);
            return None;
        };
        let left = entry.expires_ms.saturating_sub(now_ms());
        (left > 0).then(|| (entry.reach, Duration::from_millis(left).min(ttl), entry.value))
    }

    fn put(self: &Arc<Self>, name: String, reach: Reach, ttl: Duration, value: Value) {
        let second = Arc::clone(self);
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        self.in_background(async move {
            let cipher = second.cipher.as_ref();
            let expires_ms = now_ms().saturating_add(ttl_ms);
            let Some(entry) = seal(cipher, name.as_bytes(), &reach, expires_ms, &value) else {
                return true;
            };
            // With its columns it would be cut.
            if entry.len() >= MAX_ENTRY {
                return true;
            }
            let rank = entry.get(RANK).unwrap_or_default().to_vec();
            let mut call = KEEP.key(name);
            call.arg(entry)
                .arg(rank)
                .arg(RANK.start)
                .arg(RANK.end - 1)
                .arg(ttl_ms);
            let kept = second.link.run::<i64>(&call).await;
            if matches!(kept, Ok(1)) {
                Counters::add(&second.writes);
            }
            kept.is_ok()
        });
    }

    fn forget(self: &Arc<Self>, name: &str) {
        let second = Arc::clone(self);
        let mut command = redis::cmd("UNLINK");
        command.arg(name);
        self.in_background(async move { second.link.tell(&command).await.is_ok() });
    }

    /// Runs what nobody waits for; not at all where too much of it is under way. A job says whether Redis did it.
    fn in_background(self: &Arc<Self>, job: impl Future<Output = bool> + Send + 'static) {
        let Some(runtime) = self.runtime.get() else {
            return;
        };
        let Ok(permit) = Arc::clone(&self.writing).try_acquire_owned() else {
            Counters::add(&self.failures);
            return;
        };
        let second = Arc::clone(self);
        runtime.spawn(async move {
            if !job.await {
                Counters::add(&second.failures);
            }
            drop(permit);
        });
    }

    /// The figures now.
    pub fn figures(&self) -> SecondFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SecondFigures {
            hits: read(&self.hits),
            misses: read(&self.misses),
            refused: read(&self.refused),
            failures: read(&self.failures),
            writes: read(&self.writes),
        }
    }

    /// Whether nobody without the key can write entries.
    pub fn is_sealed(&self) -> bool {
        self.cipher.is_some()
    }

    /// Lets the connection go.
    pub fn close(&self) {
        self.link.close();
    }
}

impl Queries {
    /// What the second level holds, where it holds everything up to `need`; it is kept in memory then.
    pub(super) async fn ask_second(&self, sought: &Sought<'_>, need: Sequence) -> Option<Value> {
        let (value, left) = self.read_second(&sought.key, need, sought.ttl).await?;
        let cache = &self.state.cache;
        cache.fill(sought.key, value.clone(), &sought.grounds, need, left);
        Some(value)
    }

    /// A value that holds everything up to `need`, and for how long it may be kept.
    pub(super) async fn read_second(
        &self,
        key: &Key,
        need: Sequence,
        ttl: Duration,
    ) -> Option<(Value, Duration)> {
        let second = self.second.as_ref().filter(|_| self.state.is_live())?;
        let server = self.state.server()?;
        let found = second.get(&second.name(&server, key), ttl).await;
        let usable = found.filter(|(reach, ..)| {
            let ledger = self.state.cache.ledger().read();
            // Of another server than that whose log this is: its files may have the same names.
            self.state.server().as_ref() == Some(&server) && ledger.holds(reach, need)
        });
        let Some((_, left, value)) = usable else {
            Counters::add(&second.misses);
            return None;
        };
        Counters::add(&second.hits);
        Some((value, left))
    }

    /// Shares a value that was asked for when this was proved to be visible. Does not wait.
    pub(super) fn share(&self, key: &Key, statement: Option<Statement>, ttl: Duration, value: &Value) {
        if let (Some(second), Some(Statement { server, reach })) = (&self.second, statement)
            && value.weight() <= MAX_VALUE
        {
            second.put(second.name(&server, key), reach, ttl, value.clone());
        }
    }

    /// Drops an entry for everybody. Does not wait.
    pub(super) fn forget_in_second(&self, key: &Key) {
        if let Some(second) = &self.second
            && let Some(server) = self.state.server()
        {
            second.forget(&second.name(&server, key));
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
