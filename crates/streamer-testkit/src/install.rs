//! Makes servers available on a machine that has none of them: Debian, as root. Does nothing where they are there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Result, cache_folder, on_path, run};

/// Where packages come from when the system names no mirror.
const DEBIAN: &str = "http://deb.debian.org/debian";
/// Network steps are tried this often.
const TRIES: u32 = 3;

/// Installs what is missing of the servers named.
///
/// # Errors
/// What could not be installed, and how to get it by hand.
pub fn install(servers: &[String]) -> Result<()> {
    for server in servers {
        match server.as_str() {
            "mariadb" => mariadb()?,
            "mysql" => mysql().map(|_| ())?,
            // The independent decoder of a differential test is built against it.
            "openssl" => openssl()?,
            "redis" => package("redis-server", "redis-server")?,
            other => {
                return Err(format!(
                    "Unknown server {other}: mariadb, mysql, openssl and redis can be installed."
                ));
            }
        }
    }
    Ok(())
}

fn mariadb() -> Result<()> {
    package("mariadbd", "mariadb-server")
}

fn openssl() -> Result<()> {
    if on_path("pkg-config").is_some()
        && run(Command::new("pkg-config").args(["--exists", "openssl"])).is_ok()
    {
        return Ok(());
    }
    println!("installing the Debian packages libssl-dev and pkg-config");
    retry(|| {
        apt(&["update", "-q"])?;
        apt(&[
            "install",
            "-y",
            "-q",
            "--no-install-recommends",
            "libssl-dev",
            "pkg-config",
        ])
    })
}

/// Installs a Debian package for a program, without starting its service.
fn package(program: &str, package: &str) -> Result<()> {
    if on_path(program).is_some() {
        return Ok(());
    }
    println!("installing the Debian package {package}");
    let guard = ServiceGuard::new();
    let result = retry(|| {
        apt(&["update", "-q"])?;
        apt(&["install", "-y", "-q", "--no-install-recommends", package])
    });
    drop(guard);
    result.map_err(|error| format!("{error}\nInstall {package} by hand, or put {program} on the PATH."))?;
    on_path(program)
        .map(|_| ())
        .ok_or_else(|| format!("{package} is installed, but {program} is not on the PATH."))
}

fn apt(arguments: &[&str]) -> Result<()> {
    run(Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive"))
    .map(|_| ())
}

/// Keeps packages from starting their services while it lives.
struct ServiceGuard {
    made: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl ServiceGuard {
    fn new() -> Self {
        let made = !Path::new(POLICY).exists()
            && std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").is_ok()
            && run(Command::new("chmod").args(["755", POLICY])).is_ok();
        Self { made }
    }
}

impl Drop for ServiceGuard {
    fn drop(&mut self) {
        if self.made {
            let _ = std::fs::remove_file(POLICY);
        }
    }
}

/// The root of a system that has MySQL: its own, where `mysqld` is MySQL's, else one in the cache. Debian's releases have
/// only MariaDB; its development branch has MySQL too, and lives in a folder of its own.
///
/// # Errors
/// Where it cannot be had.
pub fn mysql() -> Result<PathBuf> {
    if let Some(mysqld) = on_path("mysqld") {
        let version = run(Command::new(mysqld).arg("--version"))?;
        if !version.contains("MariaDB") {
            return Ok(PathBuf::from("/"));
        }
    }
    let root = cache_folder()?.join("mysql-sid");
    if root.join("usr/sbin/mysqld").exists() {
        return Ok(root);
    }
    package("debootstrap", "debootstrap")?;
    println!("fetching MySQL (about 560 MB, once) into {}", root.display());
    let partial = root.with_extension("partial");
    retry(|| {
        let _ = std::fs::remove_dir_all(&partial);
        run(Command::new("debootstrap")
            .args(["--variant=minbase", "--include=mysql-server-core", "sid"])
            .arg(&partial)
            .arg(mirror()))
        .map(|_| ())
    })
    .map_err(|error| format!("{error}\nPut MySQL's mysqld on the PATH to do without."))?;
    std::fs::rename(&partial, &root)
        .map_err(|error| format!("{} cannot be renamed: {error}", partial.display()))?;
    Ok(root)
}

/// The mirror that this system's own packages come from.
fn mirror() -> String {
    let mut sources = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(folder) = std::fs::read_dir("/etc/apt/sources.list.d") {
        sources.extend(folder.flatten().map(|entry| entry.path()));
    }
    sources
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|text| {
            text.lines()
                .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
                .flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        })
        // A mirror of Debian itself: other projects have their packages in places of their own.
        .find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"))
        .unwrap_or_else(|| DEBIAN.to_owned())
}

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
