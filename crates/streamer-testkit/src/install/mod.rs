//! Makes servers, a library that tests link, and a browser available on a machine that has none of them: Debian, as root. Does
//! nothing where they are there, be it on the PATH, in the cache, or already running at a URL that the environment names.

mod debian;
mod mirror;
mod mongodb;
mod mysql;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::external::Place;
use crate::{Result, run, spawn};

/// Network steps are tried this often.
const TRIES: u32 = 3;

/// Everything that can be installed.
const ALL: [&str; 6] = ["mariadb", "mysql", "mongodb", "redis", "openssl", "chromium"];

/// Installs what is missing of the servers named, or of all where none is, and prints what is there in the end.
///
/// # Errors
/// What could not be installed, and how to get it by hand.
pub fn install(servers: &[String]) -> Result<()> {
    let named: Vec<&str> = if servers.is_empty() {
        ALL.to_vec()
    } else {
        servers.iter().map(String::as_str).collect()
    };
    for server in named {
        if let Some(place) = Place::named(server)? {
            println!("{server}: already running on port {}", place.port);
            continue;
        }
        let found = match server {
            "mariadb" => version(Path::new("/"), &mariadb()?)?,
            "mysql" => mysql().and_then(|(root, program)| version(&root, &program))?,
            "mongodb" => version(Path::new("/"), &mongodb()?)?,
            "redis" => version(Path::new("/"), &redis()?)?,
            "openssl" => debian::library("openssl", "libssl-dev")?,
            "chromium" => version(Path::new("/"), &debian::package("chromium", "chromium")?)?,
            other => {
                return Err(format!(
                    "Unknown server {other}: {} can be installed.",
                    ALL.join(", ")
                ));
            }
        };
        println!("{server}: {found}");
    }
    Ok(())
}

/// MariaDB's server, installed where it is missing; its package carries its plugins.
pub(crate) fn mariadb() -> Result<PathBuf> {
    match crate::mysqld::mariadbd() {
        Some(program) => Ok(program),
        None => debian::package("mariadbd", "mariadb-server"),
    }
}

/// Redis, installed where it is missing.
pub(crate) fn redis() -> Result<PathBuf> {
    debian::package("redis-server", "redis-server")
}

pub(crate) use mongodb::mongodb;
pub(crate) use mysql::mysql;

/// The first line that a program says about its version.
fn version(root: &Path, program: &Path) -> Result<String> {
    let text = run(spawn::mortal(program, root).arg("--version"))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Tries a step that needs the network, waiting 4 s and 8 s in between.
fn retry(mut step: impl FnMut() -> Result<()>) -> Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match step() {
            Ok(()) => return Ok(()),
            Err(error) if tries >= TRIES => return Err(error),
            Err(error) => {
                eprintln!("{error}\ntrying again");
                std::thread::sleep(Duration::from_secs(2 << tries));
            }
        }
    }
}

/// Runs a command of the system's own, in its words.
fn tell(command: &mut Command) -> Result<()> {
    run(command.env("LC_ALL", "C")).map(|_| ())
}
