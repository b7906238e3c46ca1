//! What a reader of the database has to know: which log it carries, how far that is, and which tables are followed without a hole.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Result};

use super::log;
use super::schema;
use super::triggers::triggers;
use crate::config::{SQLITE_DATABASE, TableFilter};

/// How far the change log is, in the snapshot of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The log's id.
    pub log: String,
    /// Number of its newest entry.
    pub seq: i64,
    /// Checksum of that entry.
    pub mark: u32,
    /// Changes with every definition.
    pub schema_version: i64,
}

/// A table, by what reads of it depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableState {
    /// Columns whose values are integers wherever they are compared with one: lower case.
    pub integers: BTreeSet<String>,
    /// Columns of the primary key, lower case, in its order.
    pub key: Vec<String>,
    /// Why changes of it may be missed: a part of a sentence that begins with the table's name.
    pub obstacle: Option<&'static str>,
}

/// How far the log is; `None` where the database carries none.
pub fn shown(conn: &Connection) -> Result<Option<Shown>> {
    let Some(identity) = log::identity(conn)? else {
        return Ok(None);
    };
    let seq = log::newest(conn)?;
    Ok(Some(Shown {
        log: identity.id,
        seq,
        mark: log::mark(conn, seq)?,
        schema_version: schema_version(conn)?,
    }))
}

/// A number that changes with every definition.
pub fn schema_version(conn: &Connection) -> Result<i64> {
    conn.prepare_cached("PRAGMA schema_version")?
        .query_row([], |row| row.get(0))
}

/// Looks at a table; `None` where there is none of that name.
pub fn table_state(conn: &Connection, name: &str, filter: &TableFilter) -> Result<Option<TableState>> {
    let found: Option<(String, String)> = conn
        .query_row(
            "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE",
            [name],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((name, kind)) = found else {
        return Ok(None);
    };
    let obstructed = |obstacle| {
        Ok(Some(TableState {
            integers: BTreeSet::new(),
            key: Vec::new(),
            obstacle: Some(obstacle),
        }))
    };
    match kind.as_str() {
        "table" => {}
        // A view may be defined anew without a word in the log.
        "view" => return obstructed("is a view, whose definition may change unseen"),
        "virtual" => return obstructed("is a virtual table, whose changes no trigger sees"),
        _ => return obstructed("is not a table whose changes are logged"),
    }
    if !filter.includes(SQLITE_DATABASE, &name) {
        return obstructed("is not followed by this source");
    }
    let table = schema::table(conn, &name)?;
    let id: Option<i64> = conn
        .query_row(
            "SELECT max(id) FROM main._streamer_table WHERE name = ?1 COLLATE NOCASE AND state = 1",
            [&name],
            |row| row.get(0),
        )
        .optional()?
        .flatten();
    let Some(id) = id else {
        return obstructed("has no triggers that log its changes");
    };
    let mut query =
        conn.prepare_cached("SELECT sql FROM main.sqlite_schema WHERE type = 'trigger' AND name = ?1")?;
    for trigger in triggers(&table, id) {
        let sql: Option<String> = query.query_row([&trigger.name], |row| row.get(0)).optional()?;
        if sql.as_ref() != Some(&trigger.sql) {
            return obstructed("has no triggers yet that log all its changes");
        }
    }
    if !table.opaque.is_empty() {
        return obstructed("has a unique index through which REPLACE removes rows unseen");
    }
    Ok(Some(TableState {
        integers: integers(conn, &name)?,
        key: table
            .layout
            .key
            .iter()
            .filter_map(|&index| table.layout.columns.get(index))
            .map(|name| name.to_lowercase())
            .collect(),
        obstacle: None,
    }))
}

/// Columns with the affinity INTEGER (by the rule of SQLite: a type that holds `INT`): what is stored in them equals an integer
/// only where it is one, or a number that the log shows as one.
fn integers(conn: &Connection, name: &str) -> Result<BTreeSet<String>> {
    let mut query = conn.prepare("SELECT lower(name), upper(type) FROM pragma_table_xinfo(?1)")?;
    let columns: Vec<(String, String)> = query
        .query_map([name], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    Ok(columns
        .into_iter()
        .filter(|(_, kind)| kind.contains("INT"))
        .map(|(name, _)| name)
        .collect())
}

/// Which file it is: device and number.
pub fn file_identity(path: &std::path::Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some((metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        // A file that is open cannot be replaced there.
        let _ = metadata;
        Some((0, 0))
    }
}
