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
    /// Where its process id means something: the machine's boot and the space of process ids. `None` where that is not known.
    #[serde(default)]
    pub space: Option<String>,
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
            space: space(),
        }
    }

    /// Whether its process is known to have ended. A process of elsewhere is never known to.
    pub fn is_gone(&self) -> bool {
        self.space.is_some() && self.space == space() && !exists(self.pid)
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

#[cfg(target_os = "linux")]
fn space() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let pids = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), pids.display()))
}

#[cfg(not(target_os = "linux"))]
fn space() -> Option<String> {
    None
}

#[cfg(target_os = "linux")]
fn exists(pid: u32) -> bool {
    std::fs::exists(format!("/proc/{pid}")).unwrap_or(true)
}

#[cfg(not(target_os = "linux"))]
fn exists(_: u32) -> bool {
    true
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_this_space_is_known_to_have_ended() {
        let this = Owner::this();
        assert!(!this.is_gone());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let ended = Owner { pid, ..this };
        assert!(ended.is_gone());
        for space in [None, Some("elsewhere".to_owned())] {
            assert!(
                !Owner {
                    space,
                    ..ended.clone()
                }
                .is_gone()
            );
        }
        let older = r#"{"pid":1,"host":"h","since":1,"nonce":1}"#;
        assert!(!Owner::parse(older).unwrap().is_gone());
    }
}
