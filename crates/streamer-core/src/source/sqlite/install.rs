//! Brings triggers and definitions together, in one transaction, at the start and whenever a definition has changed.
//!
//! What may have been written while no trigger saw it is written into the log from the table itself, as it is now: the rows
//! of a table that is new or was made anew ([`Op::Found`]), and rows of a table with a new column that were written since it
//! was last looked at ([`Op::Refound`]). Nothing is guessed: these are committed values, only the steps towards them are
//! not told. Where there are too many of them, or rows cannot be told apart, the log says [`Op::Gap`] instead.
//!
//! Several processes may do this at once: each looks again under the write lock, and finds nothing left to do.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Result, Transaction, TransactionBehavior, params};

use super::log::{self, Op};
use super::schema::{self, Layout, Table};
use super::triggers::{entries_from, quoted, triggers, version_of};
use crate::config::{SQLITE_DATABASE, TableFilter};

/// Most rows that are written into the log from a table.
const MAX_FOUND: i64 = 100_000;

/// The table is there, and is not watched.
const SEEN: i64 = 0;
/// The present version of a watched table.
const PRESENT: i64 = 1;
/// An earlier version, or a table that is gone.
const PAST: i64 = 2;

/// What was found and done.
#[derive(Debug, Default)]
pub struct Installed {
    /// The log's id.
    pub log: String,
    /// Up to where definitions and triggers agree with the log.
    pub verified: i64,
    /// Watched tables with unique indices that cannot be looked through.
    pub opaque: Vec<String>,
    /// Watched tables that are too wide for the log.
    pub too_wide: Vec<String>,
    /// Tables that are watched.
    pub watched: usize,
}

/// Why nothing could be installed.
#[derive(Debug)]
pub enum Refusal {
    /// SQLite's reason.
    Sqlite(rusqlite::Error),
    /// The log is of a later version of the library.
    Later,
    /// The log that is followed is not there any more.
    Gone,
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

#[derive(Debug, Clone)]
struct Known {
    id: i64,
    name: String,
    state: i64,
    layout: Option<Layout>,
    sql: String,
}

/// Brings everything together. `expected` is the log that is followed, where one is: another is not made in its place.
/// `verified` is up to where definitions were known to agree with the log.
pub fn install(
    conn: &mut Connection,
    tables: &TableFilter,
    expected: Option<&str>,
    verified: i64,
) -> Result<Installed, Refusal> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = log::identity(&transaction)?;
    if found.as_ref().is_some_and(|log| !log.is_known()) {
        return Err(Refusal::Later);
    }
    if let Some(expected) = expected
        && found.as_ref().is_none_or(|log| log.id != expected)
    {
        return Err(Refusal::Gone);
    }
    let is_new = found.is_none();
    if is_new {
        log::create(&transaction)?;
    }
    let stored: i64 =
        transaction.query_row("SELECT verified FROM main._streamer_meta", [], |row| row.get(0))?;
    let mut work = Work {
        present: present_triggers(&transaction)?,
        known: known(&transaction)?,
        is_new,
        since: stored.max(verified),
        has_changed: is_new,
        result: Installed::default(),
        conn: &transaction,
    };
    work.follow_names()?;
    for name in schema::tables(&transaction)? {
        work.look_at(&name, tables.includes(SQLITE_DATABASE, &name))?;
    }
    let Work {
        has_changed,
        mut result,
        ..
    } = work;
    result.log = log::identity(&transaction)?.map(|log| log.id).unwrap_or_default();
    result.verified = log::newest(&transaction)?;
    if has_changed {
        transaction.execute("UPDATE main._streamer_meta SET verified = ?1", [result.verified])?;
        transaction.commit()?;
    } else {
        transaction.rollback()?;
    }
    Ok(result)
}

fn present_triggers(conn: &Connection) -> Result<HashMap<String, (String, String)>> {
    let mut query = conn.prepare(
        "SELECT name, tbl_name, sql FROM main.sqlite_schema WHERE type = 'trigger' AND substr(name, 1, 10) = '_streamer_'",
    )?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    rows.collect()
}

fn known(conn: &Connection) -> Result<Vec<Known>> {
    let mut query = conn.prepare(
        "SELECT id, name, state, layout, coalesce(sql, '') FROM main._streamer_table WHERE state <> ?1 ORDER BY id",
    )?;
    let rows = query.query_map([PAST], |row| {
        let layout: Option<String> = row.get(3)?;
        Ok(Known {
            id: row.get(0)?,
            name: row.get(1)?,
            state: row.get(2)?,
            layout: layout.and_then(|text| serde_json::from_str(&text).ok()),
            sql: row.get(4)?,
        })
    })?;
    rows.collect()
}

struct Work<'a> {
    conn: &'a Transaction<'a>,
    known: Vec<Known>,
    /// Triggers of ours by name: their table, and their text.
    present: HashMap<String, (String, String)>,
    is_new: bool,
    /// Entries up to here were written under definitions that were known.
    since: i64,
    has_changed: bool,
    result: Installed,
}

impl Work<'_> {
    /// Triggers go with a table that is renamed, and with one that is dropped.
    fn follow_names(&mut self) -> Result<()> {
        let mut gone = Vec::new();
        for at in 0..self.known.len() {
            let Some(known) = self.known.get(at).cloned() else {
                continue;
            };
            let exists = self
                .conn
                .query_row(
                    "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ?1",
                    [&known.name],
                    |_| Ok(()),
                )
                .optional()?
                .is_some();
            let carrier = self
                .present
                .iter()
                .find(|(name, _)| version_of(name) == Some(known.id))
                .map(|(_, (table, _))| table.clone());
            match carrier {
                Some(table) if known.state == PRESENT && !table.eq_ignore_ascii_case(&known.name) => {
                    self.note(known.id, Op::Rename, &table)?;
                    if let Some(known) = self.known.get_mut(at) {
                        known.name = table;
                    }
                }
                None if !exists => {
                    if known.state == PRESENT {
                        self.note(known.id, Op::Drop, "")?;
                    }
                    self.set_state(known.id, PAST)?;
                    gone.push(known.id);
                }
                _ => {}
            }
        }
        self.known.retain(|known| !gone.contains(&known.id));
        Ok(())
    }

    fn look_at(&mut self, name: &str, is_wanted: bool) -> Result<()> {
        let known = self
            .known
            .iter()
            .find(|known| known.name.eq_ignore_ascii_case(name))
            .cloned();
        match known {
            Some(known) if known.state == PRESENT => self.compare(&known, name, is_wanted),
            Some(known) if is_wanted => {
                self.set_state(known.id, PAST)?;
                self.watch(name).map(|_| ())
            }
            None if is_wanted => {
                if let Some((table, id)) = self.watch(name)?
                    && !self.is_new
                {
                    self.note(id, Op::Schema, &table.sql)?;
                    self.find_all(&table, id)?;
                }
                Ok(())
            }
            None => self.enter(name, SEEN, None, "").map(|_| ()),
            Some(_) => Ok(()),
        }
    }

    /// A table that is watched: has it changed?
    fn compare(&mut self, known: &Known, name: &str, is_wanted: bool) -> Result<()> {
        let table = schema::table(self.conn, name)?;
        self.tell(&table, is_wanted);
        let expected = triggers(&table, known.id);
        let is_there = |trigger: &str| self.present.contains_key(trigger);
        let is_whole = expected.iter().all(|trigger| {
            self.present
                .get(&trigger.name)
                .is_some_and(|(_, sql)| *sql == trigger.sql)
        });
        let is_same = known.layout.as_ref() == Some(&table.layout);
        let is_named = self.name_of(known.id)?.eq_ignore_ascii_case(name);
        if is_whole && is_same && is_named && known.sql == table.sql {
            return Ok(());
        }
        let written = ["insert", "update", "delete"];
        let was_seen = written.iter().all(|kind| {
            self.present.keys().any(|trigger| {
                version_of(trigger) == Some(known.id) && trigger.ends_with(&format!("_{kind}"))
            })
        });
        if was_seen && is_same && is_named && known.sql == table.sql {
            // An index came or went.
            let _ = is_there;
            return self.set_triggers(&table, known.id);
        }
        self.set_state(known.id, PAST)?;
        let Some((table, id)) = self.watch(name)? else {
            return self.drop_triggers(known.id);
        };
        self.drop_triggers(known.id)?;
        if known.sql != table.sql || !is_same {
            self.note(id, Op::Schema, &table.sql)?;
        }
        if !was_seen {
            self.note(id, Op::Truncate, "")?;
            return self.find_all(&table, id);
        }
        match &known.layout {
            Some(before) if has_new_column(before, &table.layout) => {
                self.find_newer(known.id, before, &table, id)
            }
            _ => Ok(()),
        }
    }

    fn name_of(&self, id: i64) -> Result<String> {
        self.conn.query_row(
            "SELECT name FROM main._streamer_table WHERE id = ?1",
            [id],
            |row| row.get(0),
        )
    }

    fn tell(&mut self, table: &Table, is_wanted: bool) {
        if !is_wanted {
            return;
        }
        self.result.watched += 1;
        if !table.opaque.is_empty() {
            self.result.opaque.push(table.name.clone());
        }
    }

    /// A new version of a table, with its triggers; `None` where it is too wide.
    fn watch(&mut self, name: &str) -> Result<Option<(Table, i64)>> {
        let table = schema::table(self.conn, name)?;
        let cells = table.layout.width() * 2;
        if cells > log::MAX_CELLS {
            self.result.too_wide.push(name.to_owned());
            return Ok(None);
        }
        log::widen(self.conn, cells)?;
        let layout = serde_json::to_string(&table.layout).ok();
        let id = self.enter(name, PRESENT, layout, &table.sql)?;
        self.set_triggers(&table, id)?;
        self.tell(&table, true);
        Ok(Some((table, id)))
    }

    fn enter(&mut self, name: &str, state: i64, layout: Option<String>, sql: &str) -> Result<i64> {
        self.has_changed = true;
        self.conn.execute(
            "INSERT INTO main._streamer_table(name, state, layout, sql) VALUES (?1, ?2, ?3, ?4)",
            params![name, state, layout, sql],
        )?;
        Ok(self.conn.last_insert_rowid())
    }

    fn set_state(&mut self, id: i64, state: i64) -> Result<()> {
        self.has_changed = true;
        self.conn.execute(
            "UPDATE main._streamer_table SET state = ?2 WHERE id = ?1",
            params![id, state],
        )?;
        Ok(())
    }

    fn set_triggers(&mut self, table: &Table, id: i64) -> Result<()> {
        self.has_changed = true;
        self.drop_triggers(id)?;
        for trigger in triggers(table, id) {
            self.conn.execute_batch(&trigger.sql)?;
        }
        Ok(())
    }

    fn drop_triggers(&mut self, id: i64) -> Result<()> {
        let names: Vec<String> = self
            .present
            .keys()
            .filter(|name| version_of(name) == Some(id))
            .cloned()
            .collect();
        for name in names {
            self.has_changed = true;
            self.conn
                .execute_batch(&format!("DROP TRIGGER main.{}", quoted(&name)))?;
            self.present.remove(&name);
        }
        Ok(())
    }

    /// An entry that is no row.
    fn note(&mut self, id: i64, op: Op, text: &str) -> Result<()> {
        self.has_changed = true;
        self.conn.execute(
            "INSERT INTO main._streamer_log(tbl, op, at, c0) VALUES (?1, ?2, julianday('now'), ?3)",
            params![id, op as i64, text],
        )?;
        Ok(())
    }

    /// Every row of a table.
    fn find_all(&mut self, table: &Table, id: i64) -> Result<()> {
        let count: i64 = self.conn.query_row(
            &format!(
                "SELECT count(*) FROM (SELECT 1 FROM main.{} LIMIT {})",
                quoted(&table.name),
                MAX_FOUND + 1
            ),
            [],
            |row| row.get(0),
        )?;
        if count > MAX_FOUND {
            return self.note(id, Op::Gap, "");
        }
        self.conn
            .execute_batch(&entries_from(table, id, Op::Found, &["x"], ""))
    }

    /// Rows that were written under the definition before, of which new columns are not in the log.
    fn find_newer(&mut self, was: i64, before: &Layout, table: &Table, id: i64) -> Result<()> {
        let (old, new) = (before.identity(), table.layout.identity());
        if old.is_empty() || old.len() != new.len() || before.has_rowid != table.layout.has_rowid {
            return self.note(id, Op::Gap, "");
        }
        let cells = |first: usize| {
            let names: Vec<String> = old.iter().map(|cell| format!("c{}", first + cell)).collect();
            names.join(", ")
        };
        let one = format!(
            "FROM main._streamer_log WHERE tbl = {was} AND seq > {} AND op",
            self.since
        );
        let rows = format!(
            "SELECT {} {one} IN (1, 10, 11) UNION SELECT {} {one} = 2",
            cells(0),
            cells(before.width()),
        );
        let count: i64 = self.conn.query_row(
            &format!(
                "SELECT count(*) FROM (SELECT * FROM ({rows}) LIMIT {})",
                MAX_FOUND + 1
            ),
            [],
            |row| row.get(0),
        )?;
        match count {
            0 => Ok(()),
            1..=MAX_FOUND => {
                let key: Vec<String> = match table.rowid.filter(|_| table.layout.has_rowid) {
                    Some(name) => vec![format!("x.{name}")],
                    None => new
                        .iter()
                        .filter_map(|&cell| table.layout.columns.get(cell))
                        .map(|name| format!("x.{}", quoted(name)))
                        .collect(),
                };
                let filter = format!("WHERE ({}) IN ({rows})", key.join(", "));
                self.conn
                    .execute_batch(&entries_from(table, id, Op::Refound, &["x"], &filter))
            }
            _ => self.note(id, Op::Gap, ""),
        }
    }
}

fn has_new_column(before: &Layout, after: &Layout) -> bool {
    after.columns.len() > before.columns.len()
        || after
            .columns
            .iter()
            .any(|name| !before.columns.contains(name) && after.columns.len() >= before.columns.len())
}
