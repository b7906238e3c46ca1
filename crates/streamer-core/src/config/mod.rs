//! The configuration, parsed once.
//!
//! A [`Config`] can only exist when it is valid: [`Config::parse`] reads what JavaScript handed over, and reports all
//! problems at once, each with its path. Nothing behind it checks an option again.

mod filter;
mod mysql;
mod secret;

use std::time::Duration;

pub use filter::TableFilter;
pub use mysql::{Address, Dates, Integers, MysqlConfig, TlsMode};
pub use secret::Secret;

/// Everything that the engine needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// At least one; names are unique.
    pub sources: Vec<SourceConfig>,
    /// Proof of life.
    pub heartbeat: Heartbeat,
    /// What happens after a connection broke.
    pub reconnect: Reconnect,
    /// How changes are handed over.
    pub delivery: Delivery,
    /// Whether log records are wanted.
    pub log: bool,
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
    /// What kind of source it is.
    pub connector: ConnectorConfig,
}

/// Options of one kind of source.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConnectorConfig {
    /// MySQL and MariaDB.
    Mysql(MysqlConfig),
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
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    /// How often an idle source shows that it lives. Default 1000 ms.
    pub interval: Duration,
    /// Silence after which a link counts as dead. Default 3 intervals.
    pub timeout: Duration,
}

/// Exponential backoff with full jitter.
#[derive(Debug, Clone, Copy)]
pub struct Reconnect {
    /// Longest first wait. Default 50 ms.
    pub initial: Duration,
    /// Longest wait of all. Default 30 s.
    pub max: Duration,
    /// Attempts before the source fails; `None` is without end.
    pub attempts: Option<u32>,
}

/// How changes are handed over.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// Most changes in one batch. Default 256.
    pub batch_size: u32,
    /// Bytes waiting for JavaScript before reading pauses. Default 16 MiB.
    pub buffer_bytes: usize,
}
