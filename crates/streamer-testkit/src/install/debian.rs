//! Debian packages, without the services that they would start.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{retry, tell};
use crate::place::locked;
use crate::{Result, on_path, run};

/// A script that Debian's packages ask before they start a service (`invoke-rc.d(8)`); 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// A program, from its Debian package where it is not on the PATH.
pub(super) fn package(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(path) = on_path(program) {
        return Ok(path);
    }
    let by_hand = format!("Install {package} by hand, or put {program} on the PATH.");
    if !rustix::process::geteuid().is_root() || on_path("apt-get").is_none() {
        return Err(format!(
            "{program} is missing, and only root on Debian can install it. {by_hand}"
        ));
    }
    let _one_at_a_time = locked("packages")?;
    if let Some(path) = on_path(program) {
        return Ok(path);
    }
    eprintln!("installing the Debian package {package}");
    let guard = ServiceGuard::new();
    let result = retry(|| {
        apt(&["update", "-q"])?;
        apt(&["install", "-y", "-q", "--no-install-recommends", package])
    });
    drop(guard);
    result.map_err(|error| format!("{error}\n{by_hand}"))?;
    on_path(program).ok_or_else(|| format!("{package} is installed, but {program} is not on the PATH."))
}

/// A C library with its headers, from its Debian package where `pkg-config` does not know it. Returns its version.
pub(super) fn library(name: &str, package: &str) -> Result<String> {
    let known = || run(Command::new("pkg-config").args(["--modversion", name]));
    if on_path("pkg-config").is_none() || known().is_err() {
        let by_hand = format!("Install {package} and pkg-config by hand.");
        if !rustix::process::geteuid().is_root() || on_path("apt-get").is_none() {
            return Err(format!(
                "The headers of {name} are missing, and only root on Debian can install them. {by_hand}"
            ));
        }
        let _one_at_a_time = locked("packages")?;
        eprintln!("installing the Debian packages {package} and pkg-config");
        retry(|| {
            apt(&["update", "-q"])?;
            apt(&[
                "install",
                "-y",
                "-q",
                "--no-install-recommends",
                package,
                "pkg-config",
            ])
        })
        .map_err(|error| format!("{error}\n{by_hand}"))?;
    }
    known().map(|version| version.trim().to_owned())
}

fn apt(arguments: &[&str]) -> Result<()> {
    tell(
        Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// Keeps packages from starting their services while it lives.
struct ServiceGuard {
    made: bool,
}

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
