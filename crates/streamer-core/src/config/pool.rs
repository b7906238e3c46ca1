//! Options of the connections for reads and writes.

use std::time::Duration;

use super::problem::{Options, Problems};

const MAX_CONNECTIONS: u64 = 1_000;
const HOUR_MS: u64 = 3_600_000;

/// Connections of each source for `query()`, `find()` and `execute()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// Most connections for reads. 1 to 1000; default: 10, and 4 of SQLite.
    pub max_connections: Option<u32>,
    /// Longest wait for one. 1 ms to 1 h, default 10 s.
    pub wait: Duration,
    /// Longest wait for an answer. 1 ms to 1 h, default 60 s.
    pub query: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_connections: None,
            wait: Duration::from_secs(10),
            query: Duration::from_secs(60),
        }
    }
}

/// Reads `pool`.
pub(super) fn parse(options: &Options<'_>, problems: &mut Problems) -> PoolConfig {
    let default = PoolConfig::default();
    let connections = options.whole("maxConnections", 1, MAX_CONNECTIONS, problems);
    let mut time = |name| {
        let found = options.whole(name, 1, HOUR_MS, problems);
        found.map(Duration::from_millis)
    };
    PoolConfig {
        max_connections: connections.and_then(|count| u32::try_from(count).ok()),
        wait: time("waitMs").unwrap_or(default.wait),
        query: time("queryMs").unwrap_or(default.query),
    }
}
