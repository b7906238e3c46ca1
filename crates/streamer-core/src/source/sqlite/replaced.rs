//! Whether a row that was in the way of another was removed.
//!
//! `BEFORE INSERT` sees the row that is in the way (the candidate) and the row that is to be written, and not yet what SQLite will
//! do about it: fail, ignore the new row, turn it into an update of the old one, or replace. What follows in the log tells:
//!
//! - the new row was written, and the old one was neither changed nor deleted before that: it was replaced;
//! - the old one was changed, deleted (with `recursive_triggers` SQLite does fire the trigger), or was in the way again: it was there
//!   still, and what is logged of it stands for itself;
//! - neither: the new row was ignored.
//!
//! Between the two lie entries of other tables (children that a foreign key deletes with the old row), which do not count, and
//! rarely some of the same table, which the user's own triggers wrote.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Result, Row};

use super::log::{HEAD, Op};
use super::schema::Layout;

/// Most entries of the same table that are looked at.
const DEPTH: i64 = 16;

/// Images of an entry.
fn cells(row: &Row<'_>, first: usize, count: usize) -> Result<Vec<Value>> {
    (first..first + count)
        .map(|cell| {
            Ok(match row.get_ref(HEAD + cell)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(value) => Value::Integer(value),
                ValueRef::Real(value) => Value::Real(value),
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
            })
        })
        .collect()
}

/// Equal as far as a number's type does not matter: a column may turn 1 into 1.0 on its way.
fn are_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Integer(left), Value::Real(right)) | (Value::Real(right), Value::Integer(left)) => {
            (*left as f64).total_cmp(right).is_eq()
        }
        (Value::Real(left), Value::Real(right)) => left.to_bits() == right.to_bits() || left == right,
        _ => left == right,
    }
}

/// What stands in a candidate.
struct Candidate<'a> {
    layout: &'a Layout,
    old: Vec<Value>,
    new: Vec<Value>,
}

impl Candidate<'_> {
    fn is_old(&self, image: &[Value]) -> bool {
        let identity = self.layout.identity();
        let same = |&cell: &usize| match (self.old.get(cell), image.get(cell)) {
            (Some(old), Some(found)) => are_equal(old, found),
            _ => false,
        };
        !identity.is_empty() && identity.iter().all(same)
    }

    /// Whether this is the row that was to be written. A rowid that SQLite chooses is -1 before, and known afterwards; what is
    /// computed may be known afterwards only.
    fn is_new(&self, image: &[Value]) -> bool {
        let first = self.layout.first();
        let chosen =
            self.layout
                .alias
                .map(|column| column + first)
                .or(if first == 1 { Some(0) } else { None });
        self.new.iter().enumerate().all(|(cell, value)| {
            let is_generated = cell >= first && self.layout.generated.contains(&(cell - first));
            let is_chosen = Some(cell) == chosen && matches!(value, Value::Null | Value::Integer(-1));
            let is_the_same = image.get(cell).is_some_and(|found| are_equal(value, found));
            match is_chosen {
                // A row with the rowid -1 is in the way of nothing but of another -1.
                true => is_the_same || !matches!(self.old.get(cell), Some(Value::Integer(-1))),
                false => is_generated || is_the_same,
            }
        })
    }
}

/// Whether the candidate at `seq` was replaced. Entries up to `end` are looked at, which is where its transaction ends or later.
pub fn is_replaced(conn: &Connection, candidate: &Row<'_>, layout: &Layout, end: i64) -> Result<bool> {
    let width = layout.width();
    let (seq, table): (i64, i64) = (candidate.get(0)?, candidate.get(1)?);
    let candidate = Candidate {
        layout,
        old: cells(candidate, 0, width)?,
        new: cells(candidate, width, width)?,
    };
    let mut query = conn.prepare_cached(
        "SELECT * FROM main._streamer_log WHERE seq > ?1 AND seq <= ?2 AND tbl = ?3 ORDER BY seq LIMIT ?4",
    )?;
    let mut rows = query.query([seq, end, table, DEPTH])?;
    while let Some(row) = rows.next()? {
        match Op::of(row.get(2)?) {
            Some(Op::Insert) if candidate.is_new(&cells(row, 0, width)?) => return Ok(true),
            Some(Op::Update) => {
                if candidate.is_old(&cells(row, 0, width)?) {
                    return Ok(false);
                }
                if candidate.is_new(&cells(row, width, width)?) {
                    return Ok(true);
                }
            }
            Some(Op::Delete | Op::Candidate) if candidate.is_old(&cells(row, 0, width)?) => return Ok(false),
            _ => {}
        }
    }
    Ok(false)
}

/// Whether two cells hold the same value of the same type.
pub fn is_unchanged(left: ValueRef<'_>, right: ValueRef<'_>) -> bool {
    match (left, right) {
        (ValueRef::Real(left), ValueRef::Real(right)) => left.to_bits() == right.to_bits(),
        _ => left == right,
    }
}
