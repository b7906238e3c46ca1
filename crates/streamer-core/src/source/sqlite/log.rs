//! Our own tables: the change log, versions of watched tables, who reads, and which log it is.

use rusqlite::{Connection, OptionalExtension, Result, params};

/// What everything of ours begins with.
pub const PREFIX: &str = "_streamer_";

/// What an entry says. The numbers are in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum Op {
    /// A row was inserted: its image.
    Insert = 1,
    /// A row was changed: both images.
    Update = 2,
    /// A row was deleted: its image.
    Delete = 3,
    /// A row is in the way of one that is about to be written: both images.
    Candidate = 4,
    /// A definition has changed: the new one.
    Schema = 5,
    /// The table is gone.
    Drop = 6,
    /// The table has another name: the new one.
    Rename = 7,
    /// The table was made anew unseen: what it holds follows.
    Truncate = 8,
    /// Changes of the table are missing.
    Gap = 9,
    /// A row that was written while no trigger saw it: its image.
    Found = 10,
    /// A row that was changed while a trigger did not see all of it: its image.
    Refound = 11,
}

impl Op {
    /// The operation of a number in the database.
    pub fn of(number: i64) -> Option<Self> {
        Some(match number {
            1 => Self::Insert,
            2 => Self::Update,
            3 => Self::Delete,
            4 => Self::Candidate,
            5 => Self::Schema,
            6 => Self::Drop,
            7 => Self::Rename,
            8 => Self::Truncate,
            9 => Self::Gap,
            10 => Self::Found,
            11 => Self::Refound,
            _ => return None,
        })
    }

    /// It becomes a change for certain, where its table is wanted.
    pub fn is_change(self) -> bool {
        !matches!(self, Self::Candidate | Self::Schema | Self::Gap)
    }
}

/// How many entries stay behind what every reader is done with: `from` may name one of them.
pub const KEPT: i64 = 1000;

/// Most entries that one statement removes: it holds the database's only write lock.
const CHUNK: i64 = 1000;

/// Days after which a reader that stores its position, and was not seen, holds the log no longer.
const STORED_DAYS: f64 = 7.0;

/// The same for one that does not.
const PASSING_DAYS: f64 = 1.0 / 24.0;

/// Columns before the cells.
pub const HEAD: usize = 4;

/// Most cells of an entry: SQLite's limit of columns, less the head.
pub const MAX_CELLS: usize = 2000 - HEAD;

/// The form of our tables; a later one refuses an earlier library.
const FORM: i64 = 1;

/// Which log this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Hexadecimal digits.
    pub id: String,
    /// The form of the tables.
    pub form: i64,
}

/// Which log the database holds; `None` where it holds none.
pub fn identity(conn: &Connection) -> Result<Option<Identity>> {
    let exists = conn
        .query_row(
            "SELECT 1 FROM main.sqlite_schema WHERE name = '_streamer_meta'",
            [],
            |_| Ok(()),
        )
        .optional()?;
    if exists.is_none() {
        return Ok(None);
    }
    conn.query_row("SELECT id, form FROM main._streamer_meta", [], |row| {
        Ok(Identity {
            id: row.get(0)?,
            form: row.get(1)?,
        })
    })
    .optional()
}

impl Identity {
    /// Whether this library reads and writes it.
    pub fn is_known(&self) -> bool {
        self.form == FORM
    }
}

/// Makes our tables.
pub fn create(conn: &Connection) -> Result<()> {
    conn.execute_batch(
        "CREATE TABLE main._streamer_meta(id TEXT NOT NULL, form INTEGER NOT NULL, verified INTEGER NOT NULL);
         CREATE TABLE main._streamer_table(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, state INTEGER NOT NULL, layout TEXT, sql TEXT);
         CREATE TABLE main._streamer_log(seq INTEGER PRIMARY KEY AUTOINCREMENT, tbl INTEGER NOT NULL, op INTEGER NOT NULL, at REAL NOT NULL, c0, c1, c2, c3);
         CREATE TABLE main._streamer_consumer(name TEXT PRIMARY KEY, seq INTEGER NOT NULL, seen REAL NOT NULL, stored INTEGER NOT NULL);",
    )?;
    conn.execute(
        "INSERT INTO main._streamer_meta VALUES (lower(hex(randomblob(8))), ?1, 0)",
        [FORM],
    )?;
    Ok(())
}

/// Widens the log to so many cells.
pub fn widen(conn: &Connection, cells: usize) -> Result<()> {
    let has: usize = conn.query_row(
        "SELECT count(*) FROM pragma_table_info('_streamer_log')",
        [],
        |row| row.get::<_, i64>(0),
    )? as usize;
    for cell in has.saturating_sub(HEAD)..cells {
        conn.execute_batch(&format!("ALTER TABLE main._streamer_log ADD COLUMN c{cell}"))?;
    }
    Ok(())
}

/// Number of the newest entry that was ever written.
pub fn newest(conn: &Connection) -> Result<i64> {
    let newest: Option<i64> = conn
        .prepare_cached("SELECT max(seq) FROM main._streamer_log")?
        .query_row([], |row| row.get(0))?;
    match newest {
        Some(newest) => Ok(newest),
        None => conn
            .query_row(
                "SELECT seq FROM main.sqlite_sequence WHERE name = '_streamer_log'",
                [],
                |row| row.get(0),
            )
            .optional()
            .map(Option::unwrap_or_default),
    }
}

/// Number of the oldest entry.
pub fn oldest(conn: &Connection) -> Result<Option<i64>> {
    conn.query_row("SELECT min(seq) FROM main._streamer_log", [], |row| row.get(0))
}

/// The checksum of an entry; 0 where it is not there.
pub fn mark(conn: &Connection, seq: i64) -> Result<u32> {
    let found = conn
        .prepare_cached("SELECT tbl, op, at FROM main._streamer_log WHERE seq = ?1")?
        .query_row([seq], |row| Ok(mark_of(row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    Ok(found.unwrap_or(0))
}

/// The checksum of an entry.
pub fn mark_of(table: i64, op: i64, at: f64) -> u32 {
    let mut bytes = [0; 24];
    let parts = [table.to_le_bytes(), op.to_le_bytes(), at.to_bits().to_le_bytes()];
    for (slot, byte) in bytes.iter_mut().zip(parts.iter().flatten()) {
        *slot = *byte;
    }
    // 0 says that it is not known.
    crc32fast::hash(&bytes).max(1)
}

/// Ms since the Unix epoch of a Julian day, which holds whole ms.
pub fn ms(day: f64) -> f64 {
    ((day - 2_440_587.5) * 86_400_000.0).round()
}

/// Enters a reader, or how far it is.
pub fn enter(conn: &Connection, name: &str, seq: i64, is_stored: bool) -> Result<()> {
    conn.execute(
        "INSERT INTO main._streamer_consumer(name, seq, seen, stored) VALUES (?1, ?2, julianday('now'), ?3) \
         ON CONFLICT(name) DO UPDATE SET seq = excluded.seq, seen = excluded.seen",
        params![name, seq, is_stored],
    )?;
    Ok(())
}

/// Forgets a reader.
pub fn leave(conn: &Connection, name: &str) -> Result<()> {
    conn.execute("DELETE FROM main._streamer_consumer WHERE name = ?1", [name])?;
    Ok(())
}

/// Removes entries that nobody needs; returns whether there are more. The newest entry always stays, so that no number is given
/// twice.
pub fn trim(conn: &Connection) -> Result<bool> {
    conn.execute(
        "DELETE FROM main._streamer_consumer WHERE seen < julianday('now') - CASE stored WHEN 1 THEN ?1 ELSE ?2 END",
        params![STORED_DAYS, PASSING_DAYS],
    )?;
    let needed: Option<i64> = conn.query_row("SELECT min(seq) FROM main._streamer_consumer", [], |row| {
        row.get(0)
    })?;
    let (Some(needed), Some(oldest)) = (needed, oldest(conn)?) else {
        return Ok(false);
    };
    let end = (needed - KEPT).min(newest(conn)?);
    let upto = end.min(oldest.saturating_add(CHUNK));
    if upto <= oldest {
        return Ok(false);
    }
    conn.execute("DELETE FROM main._streamer_log WHERE seq < ?1", [upto])?;
    Ok(upto < end)
}
