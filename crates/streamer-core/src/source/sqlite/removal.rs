//! Takes everything of ours out of a database.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::failure::failure;
use super::log::PREFIX;
use super::triggers::quoted;
use crate::code::Code;
use crate::error::{Error, Result};

/// How long a busy database is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Triggers.
    pub triggers: usize,
    /// Tables, the change log among them.
    pub tables: usize,
}

/// Opens a database that must exist, for reading and writing.
///
/// # Errors
/// `ERR_STREAMER_DATABASE_UNKNOWN` where there is none, `ERR_STREAMER_DATABASE_READ_ONLY`, `ERR_STREAMER_DATABASE_INVALID`.
pub fn open(path: &Path) -> Result<Connection> {
    let shown = path.display();
    let unknown = |what: &str| {
        Error::new(Code::DatabaseUnknown, format!("{what} {shown} does not exist."))
            .with_advice("Check the path; a relative one begins at the working directory of the process.")
    };
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => {
            let sentence = format!("A file was expected at {shown}, something else is there.");
            return Err(Error::new(Code::DatabaseInvalid, sentence).with_advice("Check the path."));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let has_folder = path.parent().is_some_and(Path::is_dir);
            let folder = path.parent().unwrap_or(path).display();
            return Err(if has_folder {
                unknown("The database file")
            } else {
                let sentence = format!("The folder {folder} of the database file does not exist.");
                Error::new(Code::DatabaseUnknown, sentence).with_advice(
                    "Check the path; a relative one begins at the working directory of the process.",
                )
            });
        }
        Err(_) => {
            let sentence = format!("The database {shown} may not be read by this process.");
            return Err(Error::new(Code::DatabaseReadOnly, sentence)
                .with_advice("Let this process read and write the file and its folder."));
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|error| failure(&error, path))?;
    // Locks of two copies of SQLite in one process do not exclude each other: the copy that closes would take itself for the last one, and
    // remove the write-ahead log that the other writes to.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(|error| failure(&error, path))?;
    // The first that reads the file: it shows what is no database.
    conn.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(()))
        .map_err(|error| failure(&error, path))?;
    if conn.is_readonly("main").map_err(|error| failure(&error, path))? {
        return Err(super::failure::read_only(&shown.to_string()));
    }
    Ok(conn)
}

/// Removes triggers, change log and all else that the library has put into a database; nothing of the user's.
///
/// # Errors
/// Those of [`open`], and `ERR_STREAMER_SERVER_BUSY` where another connection keeps the database locked.
pub fn remove(path: &Path) -> Result<Removed> {
    let mut conn = open(path)?;
    removed(&mut conn).map_err(|error| failure(&error, path))
}

fn removed(conn: &mut Connection) -> rusqlite::Result<Removed> {
    conn.busy_timeout(PATIENCE)?;
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut count = Removed {
        triggers: 0,
        tables: 0,
    };
    let ours = {
        let mut query = transaction.prepare(
            "SELECT type, name FROM main.sqlite_schema WHERE substr(name, 1, ?1) = ?2 AND type IN ('trigger', 'table') ORDER BY type DESC",
        )?;
        let rows = query.query_map(rusqlite::params![PREFIX.len() as i64, PREFIX], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()?
    };
    for (kind, name) in ours {
        transaction.execute_batch(&format!("DROP {kind} main.{}", quoted(&name)))?;
        if kind == "trigger" {
            count.triggers += 1;
        } else {
            count.tables += 1;
        }
    }
    transaction.commit()?;
    Ok(count)
}
