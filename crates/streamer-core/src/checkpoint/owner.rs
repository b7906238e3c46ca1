//! Who has a checkpoint.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::error::Error;

/// How long possession lasts in a store that cannot see whether its owner lives.
pub(super) const LEASE: Duration = Duration::from_secs(15);

/// How often such a possession is renewed.
pub const RENEWAL: Duration = Duration::from_secs(5);

/// The process that has a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    /// Process id.
    pub pid: u32,
    /// Name of its machine.
    pub host: String,
    /// When it took possession, ms since the epoch.
    pub since: u64,
    /// Tells two streamers of one process apart.
    pub nonce: u64,
}

impl Owner {
    /// This process, now.
    pub fn this() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        Self {
            pid: std::process::id(),
            host: host(),
            since: u64::try_from(since).unwrap_or(u64::MAX),
            nonce: fastrand::u64(..),
        }
    }

    /// The text that is stored.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a stored text.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// The refusal of a second process. `holder` is what the first one stored about itself.
pub(super) fn taken(source: &str, holder: &str) -> Error {
    let (who, details) = match Owner::parse(holder) {
        Some(owner) if owner.pid == std::process::id() && owner.host == host() => {
            ("another streamer of this process".to_owned(), Some(owner))
        }
        Some(owner) => (
            format!("process {} on {}", owner.pid, printable(&owner.host)),
            Some(owner),
        ),
        None => ("another process".to_owned(), None),
    };
    let error = Error::new(
        Code::CheckpointLocked,
        format!("The checkpoint of source \"{source}\" is in use by {who}."),
    )
    .with_advice("Stop that one, or give this one a checkpoint of its own.")
    .with_detail("source", source);
    match details {
        Some(owner) => error
            .with_detail("pid", owner.pid)
            .with_detail("host", owner.host),
        None => error,
    }
}

fn printable(host: &str) -> String {
    host.chars().filter(|c| !c.is_control()).take(255).collect()
}

#[cfg(unix)]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}
