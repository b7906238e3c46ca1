//! Real servers for tests: installed once, started on free ports with temporary data directories, killed, paused and
//! restarted at will; and a proxy that breaks connections in every way a network does.
//!
//! Servers die with the process that started them. A server that cannot be had is an error, never a skip.
#![forbid(unsafe_code)]

mod cache;
mod external;
pub mod install;
mod mongod;
mod mysqld;
mod place;
mod proxy;
mod redis;
mod running;
pub mod serve;
mod spawn;
mod tls;

pub use cache::cache_folder;
pub use mongod::{Mongod, MongodOptions};
pub use mysqld::{Flavor, Mysqld, Options};
pub use proxy::{Closing, Counters, Direction, Fault, Proxy};
pub use redis::{Redis, RedisOptions};
pub use tls::Certificates;

use std::path::PathBuf;

/// Why something could not be done, as one sentence.
pub type Failure = String;

/// The kit's result.
pub type Result<T> = std::result::Result<T, Failure>;

/// What every server can do to a test.
pub trait Server: Send {
    /// Ends it at once (SIGKILL), as a crash does.
    ///
    /// # Errors
    /// Where it does not run.
    fn kill(&mut self) -> Result<()>;

    /// Shuts it down in an orderly way (SIGTERM) and waits for its end.
    ///
    /// # Errors
    /// Where it does not run, or had to be killed.
    fn stop(&mut self) -> Result<()>;

    /// Freezes it (SIGSTOP), and returns when it is frozen: connections stay open, nothing answers.
    ///
    /// # Errors
    /// Where it does not run.
    fn pause(&mut self) -> Result<()>;

    /// Lets it run on (SIGCONT).
    ///
    /// # Errors
    /// Where it does not run.
    fn resume(&mut self) -> Result<()>;

    /// Starts it again on the same port and data, stopping it before if it runs; with other arguments where some are given.
    ///
    /// # Errors
    /// Where it does not come up; with the end of its log.
    fn restart(&mut self, args: Option<Vec<String>>) -> Result<()>;

    /// TCP port on 127.0.0.1.
    fn port(&self) -> u16;

    /// Where clients find it.
    fn url(&self) -> String;

    /// What it says about itself.
    fn version(&self) -> &str;

    /// Data directory, as this process sees it.
    fn data_dir(&self) -> PathBuf;
}

/// Runs a command to its end.
///
/// # Errors
/// A sentence with the end of its output.
pub(crate) fn run(command: &mut std::process::Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command
        .output()
        .map_err(|error| format!("{shown} could not be started: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let tail: Vec<&str> = text.lines().rev().take(12).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    Err(format!("{shown} failed ({}): {}", output.status, tail.join("\n")))
}

/// Whether a program is on the PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}
