//! MySQL: Debian's releases have only MariaDB; its development branch has MySQL too, and lives in a folder of its own.

use std::path::PathBuf;
use std::process::Command;

use super::{debian, mirror::mirror, retry, tell};
use crate::place::{locked, within};
use crate::{Result, cache_folder};

/// The root of a system that has MySQL, and the path of its server there: our own root where `mysqld` on the PATH is
/// MySQL's, else one in the cache, which is fetched now if it is missing.
pub(crate) fn mysql() -> Result<(PathBuf, PathBuf)> {
    if let Some(program) = crate::mysqld::mysqld() {
        return Ok((PathBuf::from("/"), program));
    }
    let by_hand = "Put MySQL's mysqld on the PATH, or name a running server in STREAMER_TEST_MYSQL_URL.";
    if !rustix::process::geteuid().is_root() {
        return Err(format!(
            "MySQL is missing, and only root can install and start the cached one. {by_hand}"
        ));
    }
    let inner = PathBuf::from("/usr/sbin/mysqld");
    let root = cache_folder()?.join("mysql-sid");
    let _one_at_a_time = locked("mysql-sid")?;
    // Renamed into place when complete, so that its presence says enough.
    if within(&root, &inner).exists() {
        return Ok((root, inner));
    }
    let program = debian::package("debootstrap", "debootstrap")?;
    eprintln!("fetching MySQL (about 560 MB, once) into {}", root.display());
    let partial = root.with_extension("partial");
    retry(|| {
        let _ = std::fs::remove_dir_all(&partial);
        tell(
            Command::new(&program)
                .args(["--variant=minbase", "--include=mysql-server-core", "sid"])
                .arg(&partial)
                .arg(mirror()),
        )
    })
    .map_err(|error| format!("{error}\n{by_hand}"))?;
    let _ = std::fs::remove_dir_all(&root);
    std::fs::rename(&partial, &root)
        .map_err(|error| format!("{} cannot be renamed: {error}", partial.display()))?;
    Ok((root, inner))
}
