//! Empty data directories, made once for each version of a server and copied for each start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Flavor, as_root};
use crate::place::{locked, within};
use crate::{Result, cache_folder, on_path, run, spawn};

/// Raised whenever the way in which a template is made changes.
const RECIPE: u32 = 2;
/// The file whose presence says that a template was made to its end.
const READY: &str = "ready";
/// Accounts are made without names being resolved: `root@localhost` alone would not match 127.0.0.1 then.
/// MariaDB makes none before it has read its grants.
const ACCOUNTS: &str = "FLUSH PRIVILEGES;
CREATE USER IF NOT EXISTS root@'%';
GRANT ALL PRIVILEGES ON *.* TO root@'%' WITH GRANT OPTION;
";

/// The template for a server, made now if it is not there.
///
/// # Errors
/// Where the server's own installer fails.
pub(super) fn template(flavor: Flavor, root: &Path, program: &Path) -> Result<PathBuf> {
    let name = format!(
        "template-{RECIPE}-{}-{}",
        flavor.as_str(),
        version(root, program)?
    );
    // A server in a root of its own can write only there.
    let inner = if root == Path::new("/") {
        cache_folder()?.join(&name)
    } else {
        Path::new("/var/lib").join(&name)
    };
    let outer = within(root, &inner);
    let _one_at_a_time = locked(&name)?;
    if outer.join(READY).exists() {
        return Ok(outer);
    }
    let _ = fs::remove_dir_all(&outer);
    // Beside the directory, which has to be empty.
    let accounts = inner.with_file_name(format!("{name}.accounts"));
    let written = |error| format!("The template {name} cannot be written: {error}");
    fs::write(within(root, &accounts), ACCOUNTS).map_err(written)?;
    let made = match flavor {
        Flavor::Mysql => mysql(root, program, &inner, &accounts),
        Flavor::Mariadb => mariadb(&inner, &accounts),
    };
    let _ = fs::remove_file(within(root, &accounts));
    made?;
    // It holds the server's UUID: each copy makes its own.
    let _ = fs::remove_file(outer.join("auto.cnf"));
    fs::write(outer.join(READY), "").map_err(written)?;
    Ok(outer)
}

fn mysql(root: &Path, program: &Path, folder: &Path, accounts: &Path) -> Result<()> {
    let mut command = spawn::mortal(program, root);
    command
        .args(["--no-defaults", "--initialize-insecure"])
        // A third of the copy would be empty redo logs otherwise.
        .arg("--innodb-redo-log-capacity=16M")
        .arg(format!("--init-file={}", accounts.display()))
        .arg(format!("--datadir={}", folder.display()))
        .args(as_root());
    run(&mut command).map(|_| ())
}

fn mariadb(folder: &Path, accounts: &Path) -> Result<()> {
    let program = on_path("mariadb-install-db")
        .or_else(|| on_path("mysql_install_db"))
        .ok_or("mariadb-install-db is not on the PATH.")?;
    let mut command = Command::new(program);
    command
        .args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ])
        .arg("--innodb-log-file-size=16M")
        .arg(format!("--extra-file={}", accounts.display()))
        .arg(format!("--datadir={}", folder.display()))
        .args(as_root());
    run(&mut command).map(|_| ())
}

/// The version as it is written in a folder's name.
fn version(root: &Path, program: &Path) -> Result<String> {
    let text = run(spawn::mortal(program, root).arg("--version"))?;
    let version = text
        .split_whitespace()
        .skip_while(|word| *word != "Ver")
        .nth(1)
        .ok_or_else(|| format!("{} --version names no version: {text}", program.display()))?;
    Ok(version
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect())
}
