//! Real servers for tests: installed once, started on free ports with temporary data directories, killed, paused and
//! restarted at will; and a proxy that breaks connections in every way a network does.
//!
//! Servers die with the process that started them. A server that cannot be had is an error, never a skip.
#![forbid(unsafe_code)]

mod cache;
pub mod install;
mod mysqld;
mod proxy;
pub mod serve;
mod tls;

pub use cache::cache_folder;
pub use mysqld::{Flavor, Mysqld, Options};
pub use proxy::{Counters, Fault, Proxy};
pub use tls::Certificates;

/// Why something could not be done, as one sentence.
pub type Failure = String;

/// The kit's result.
pub type Result<T> = std::result::Result<T, Failure>;

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
pub(crate) fn on_path(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}
