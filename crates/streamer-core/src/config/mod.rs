//! The configuration, parsed once.
//!
//! A [`Config`] can only exist when it is valid: [`Config::parse`] reads what JavaScript handed over, and reports all
//! problems at once, each with its path. Nothing behind it checks an option again.

mod cache;
mod checkpoint;
mod filter;
mod mongodb;
mod mysql;
mod parse;
mod poll;
mod pool;
mod problem;
mod redis;
mod secret;
mod snapshot;
mod sqlite;
mod tls;
mod url;

use std::time::Duration;

pub use cache::{CacheConfig, WhenDisconnected};
pub use checkpoint::{Checkpoint, CheckpointPlace};
pub use filter::{NamePattern, PatternProblem, SYSTEM_DATABASES, TableFilter};
pub use mongodb::{BeforeChange, FullDocument, MongodbConfig, MongodbLog};
pub use mysql::{Address, Dates, Integers, MysqlConfig, TlsMode, VerifyTls};
pub use poll::{Capture, PollConfig};
pub use pool::PoolConfig;
pub use redis::{EncryptionKey, RedisConfig};
pub use secret::Secret;
pub use snapshot::{SnapshotConfig, SnapshotMode};
pub use sqlite::{SQLITE_DATABASE, SqliteConfig, sqlite_path};

use crate::error::Result;

/// Everything that the engine needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// At least one; names are unique.
    pub sources: Vec<SourceConfig>,
    /// Proof of life.
    pub heartbeat: Heartbeat,
    /// Connections for reads and writes.
    pub pool: PoolConfig,
    /// What happens after a connection broke.
    pub reconnect: Reconnect,
    /// How changes are handed over.
    pub delivery: Delivery,
    /// Where positions outlive the process; `None` keeps them in memory only.
    pub checkpoint: Option<Checkpoint>,
    /// What reads may keep in memory; `None` without a cache.
    pub cache: Option<CacheConfig>,
    /// The second level of the cache, shared by processes.
    pub redis: Option<RedisConfig>,
    /// Whether log records are wanted.
    pub log: bool,
}

impl Config {
    /// Reads what JavaScript handed over as JSON: a URL, a source (an object with `url`), or a whole configuration with
    /// `source` or `sources`. JavaScript values that JSON has no form for arrive as `{"$unsupported":"function"}`, a
    /// logger as `{"$logger":true}`. Reads the PEM files that `tls` and the URL name.
    ///
    /// # Errors
    /// `ERR_STREAMER_CONFIG_INVALID` with one sentence that lists every problem; `details.problems` is an array of
    /// `{ path, message }`. No message holds a password, a key or a URL.
    pub fn parse(value: &serde_json::Value) -> Result<Self> {
        parse::parse(value)
    }
}

/// One source.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Its name; `default` where the configuration has only one.
    pub name: String,
    /// Which tables are delivered.
    pub tables: TableFilter,
    /// Where reading begins.
    pub from: From,
    /// After a gap in which the place of reading was lost, reading goes on: `from` says where, or a snapshot repairs it.
    pub continues_after_gap: bool,
    /// The log, or polling.
    pub capture: Capture,
    /// How it is polled.
    pub poll: PollConfig,
    /// Whether rows that tables hold already are read.
    pub snapshot: SnapshotConfig,
    /// What kind of source it is.
    pub connector: ConnectorConfig,
}

/// Options of one kind of source.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConnectorConfig {
    /// MySQL and MariaDB.
    Mysql(MysqlConfig),
    /// MongoDB.
    Mongodb(MongodbConfig),
    /// SQLite.
    Sqlite(SqliteConfig),
}

impl SourceConfig {
    /// Whether rows that tables hold already can be read and joined with what follows.
    pub fn has_snapshots(&self) -> bool {
        self.capture != Capture::Poll
    }

    /// Reads patterns of tables as the option `tables` of this source is read.
    ///
    /// # Errors
    /// All patterns that cannot be read, each with what is wrong.
    pub fn filter(&self, patterns: &[String]) -> std::result::Result<TableFilter, Vec<PatternProblem>> {
        match &self.connector {
            ConnectorConfig::Mysql(mysql) => TableFilter::parse(patterns, mysql.database.as_deref()),
            ConnectorConfig::Mongodb(mongodb) => TableFilter::parse(patterns, mongodb.database.as_deref())
                .map(TableFilter::without_system_databases),
            ConnectorConfig::Sqlite(_) => TableFilter::parse(patterns, Some(SQLITE_DATABASE))
                .map(|filter| filter.without_system_databases().with_lower_case(true)),
        }
    }
}

/// Where reading begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// What is committed after the start.
    Now,
    /// The oldest change that the log still holds.
    Earliest,
    /// Behind a change that was delivered before: its `position`.
    Position(crate::offset::Position),
}

/// Proof of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// How often an idle source shows that it lives. 10 ms to 1 h, default 1000 ms: noticed within seconds, at the price
    /// of one small packet a second.
    pub interval: Duration,
    /// Silence after which a link counts as dead. 2 intervals to 24 h, default 3 intervals: one beat may be lost or late.
    pub timeout: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        let interval = Duration::from_secs(1);
        Self {
            interval,
            timeout: interval * 3,
        }
    }
}

/// Exponential backoff with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// Longest first wait. 1 ms to 1 h, default 50 ms: a server that restarts in a second is found again at once.
    pub initial: Duration,
    /// Longest wait of all. `initial` to 24 h, default 30 s: many readers do not storm a server that comes back.
    pub max: Duration,
    /// Attempts before the source fails, 0 for none; `None`, the default, is without end.
    pub attempts: Option<u32>,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(50),
            max: Duration::from_secs(30),
            attempts: None,
        }
    }
}

/// How changes are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Most changes in one batch. 1 to 65536, default 256: a turn of the event loop stays in the range of a millisecond.
    pub batch_size: u32,
    /// Bytes waiting for JavaScript before reading pauses. 64 KiB to 4 GiB, default 16 MiB.
    pub buffer_bytes: usize,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            batch_size: 256,
            buffer_bytes: 16 << 20,
        }
    }
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod refusals;
