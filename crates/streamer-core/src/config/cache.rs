//! Options of the cache.

use std::time::Duration;

use serde_json::Value;

use super::problem::{Options, Problems};

const MIN_BYTES: u64 = 1 << 20;
const MAX_BYTES: u64 = 1 << 40;
const DAY_MS: u64 = 24 * 3_600_000;

/// What reads may keep in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheConfig {
    /// Bytes of each source's cache. 1 MiB to 1 TiB, default 64 MiB.
    pub max_bytes: usize,
    /// How long a value is kept where nothing changes it; a safety net. 1 ms to 24 h, default 5 min.
    pub ttl: Duration,
    /// What reads do while the source is not followed.
    pub when_disconnected: WhenDisconnected,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            ttl: Duration::from_secs(300),
            when_disconnected: WhenDisconnected::Bypass,
        }
    }
}

/// What reads do while the source is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenDisconnected {
    /// They ask the database.
    #[default]
    Bypass,
    /// Memory answers, with what it knew last.
    Stale,
    /// They fail.
    Refuse,
}

/// Reads `cache`: an object, or `false` for none; absent is none as well.
pub(super) fn parse(value: Option<&Value>, problems: &mut Problems) -> Option<CacheConfig> {
    let value = match value {
        None | Some(Value::Bool(false)) => return None,
        Some(Value::Bool(true)) => return Some(CacheConfig::default()),
        Some(value) => value,
    };
    let options = Options::read("cache", value, problems)?;
    options.refuse_unknown(
        &["maxBytes", "ttlMs", "whenDisconnected", "redis"],
        problems,
        |_| None,
    );
    let default = CacheConfig::default();
    let words = [
        ("bypass", WhenDisconnected::Bypass),
        ("stale", WhenDisconnected::Stale),
        ("refuse", WhenDisconnected::Refuse),
    ];
    let max_bytes = options.whole("maxBytes", MIN_BYTES, MAX_BYTES, problems);
    Some(CacheConfig {
        max_bytes: max_bytes
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(default.max_bytes),
        ttl: options
            .whole("ttlMs", 1, DAY_MS, problems)
            .map_or(default.ttl, Duration::from_millis),
        when_disconnected: options
            .choice("whenDisconnected", &words, problems)
            .unwrap_or_default(),
    })
}
