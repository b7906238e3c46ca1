//! Reads of SQLite: connections of this process to the file.
//!
//! # The proof
//! The change log is a table of the same database, written by the transaction that makes a change. So a snapshot that shows
//! the log up to an entry shows every change up to it: a read is one transaction that asks for the newest entry and then
//! for the rows, and holds everything that was delivered where its newest entry is not before the last one that was
//! delivered. The log's id tells a file that was put in the place of another; the number of the schema, whether what the
//! plan was made from still holds.

mod plans;
mod pool;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::types::{ToSqlOutput, Value as Owned, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};
use tokio::time::{Instant, sleep};

use self::plans::{Plans, make};
use self::pool::{Pool, Session};
use super::backend::{
    Asked, Backend, Executed, Named, Outcome, Param, Proof, Read, Verdict, foreign_position,
    position_not_visible, wrong_kind,
};
use super::state::State;
use crate::cache::{Columns, Counters, Dependency, Equality, KeyWriter, Place, Sequence, TableName, Value};
use crate::code::Code;
use crate::config::{PoolConfig, SQLITE_DATABASE, SqliteConfig};
use crate::error::{Error, Result};
use crate::event::{BatchWriter, Column, Encoding, Packed, Shape, TableLayout};
use crate::offset::{Offset, Position, SqliteOffset};
use crate::source::sqlite::{Shown, shown, table_state};

/// Longest wait for a position.
const ARRIVING: Duration = Duration::from_secs(10);
/// Between two looks for it.
const PAUSE: Duration = Duration::from_millis(2);

/// Reads of one file.
pub(super) struct Sqlite {
    state: Arc<State>,
    readers: Pool,
    writer: Pool,
    plans: Arc<Plans>,
}

impl ToSql for Param {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Owned::Null),
            Self::Integer(value) => ToSqlOutput::Owned(Owned::Integer(*value)),
            Self::Real(value) => ToSqlOutput::Owned(Owned::Real(*value)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            // Refused before.
            Self::Unsigned(_) | Self::Wide(_) => ToSqlOutput::Owned(Owned::Null),
        })
    }
}

/// The statement of a read, the only kind that SQLite knows.
fn statement(read: &Read) -> Result<(String, Vec<Param>)> {
    let Read::Sql { sql, params } = read else {
        return Err(wrong_kind("query()", "find()"));
    };
    check(params)?;
    Ok((sql.clone(), params.clone()))
}

fn check(params: &[Param]) -> Result<()> {
    let wide = |param: &Param| matches!(param, Param::Unsigned(_) | Param::Wide(_));
    match params.iter().position(wide) {
        None => Ok(()),
        Some(index) => Err(Error::new(
            Code::ArgumentInvalid,
            format!(
                "params[{index}]: expected an integer of at most 64 bits with a sign, which is what SQLite holds."
            ),
        )),
    }
}

impl Sqlite {
    /// For a file. Nothing is opened yet.
    pub fn new(state: Arc<State>, config: &SqliteConfig, limits: PoolConfig) -> Self {
        Self {
            state,
            readers: Pool::of_readers(&config.path, limits),
            writer: Pool::of_writer(&config.path, limits),
            plans: Arc::default(),
        }
    }

    /// The newest change that was delivered, with the entry that stands for it.
    fn delivered(&self) -> Option<(Sequence, Arc<str>, i64)> {
        match self.state.cache.ledger().read().horizon() {
            Some((sequence, Place::Entry { log, seq })) => Some((sequence, Arc::clone(log), *seq)),
            _ => None,
        }
    }

    async fn read(&self, read: &Read) -> Outcome {
        let (sql, params) = statement(read)?;
        self.readers
            .with(move |session| in_snapshot(session, |session| rows(&session.conn, &sql, &params)))
            .await
    }

    async fn read_proved(&self, read: &Read, need: Sequence) -> Result<Asked> {
        let (sql, params) = statement(read)?;
        // Before the snapshot is taken: what is delivered afterwards may not be in it.
        let delivered = self.delivered();
        let planned = self.plans.get(&sql).map(|made| made.schema_version);
        let (value, shown) = self
            .readers
            .with(move |session| {
                in_snapshot(session, |session| {
                    let shown = shown(&session.conn)?;
                    Ok((rows(&session.conn, &sql, &params)?, shown))
                })
            })
            .await?;
        let is_planned = planned.is_some() && shown.as_ref().map(|shown| shown.schema_version) == planned;
        if !is_planned {
            self.plans.forget();
        }
        let as_of = shown
            .and_then(|shown| as_of(delivered, &shown))
            .filter(|as_of| is_planned && *as_of >= need);
        let proof = as_of.map(Proof::of);
        Ok(Asked { value, proof })
    }

    async fn judged(&self, read: &Read) -> Result<Verdict> {
        let (sql, params) = statement(read)?;
        let integers: Vec<Option<i128>> = params.iter().map(Param::integer).collect();
        Ok(self.plan(sql).await?.bind(&integers))
    }

    async fn plan(&self, sql: String) -> Result<plans::Made> {
        if let Some(made) = self.plans.get(&sql) {
            return Ok(made);
        }
        let (plans, filter) = (Arc::clone(&self.plans), self.state.filter.clone());
        self.readers
            .with(move |session| {
                in_snapshot(session, |session| {
                    let made = make(session, &sql, &filter)?;
                    plans.put(&sql, made.clone());
                    Ok(made)
                })
            })
            .await
    }

    async fn shown(&self) -> Result<Option<Shown>> {
        self.readers
            .with(|session| in_snapshot(session, |session| shown(&session.conn)))
            .await
    }

    async fn proved(&self, need: Sequence) -> Result<Option<Sequence>> {
        Counters::add(&self.state.cache.counters.proofs);
        let delivered = self.delivered();
        let shown = self.shown().await?;
        let as_of = shown.and_then(|shown| as_of(delivered, &shown));
        Ok(as_of.filter(|as_of| *as_of >= need))
    }

    async fn read_after(&self, read: &Read, position: Position) -> Outcome {
        let Some(Place::Entry { log, seq }) = Place::of(&position) else {
            return Err(foreign_position());
        };
        let deadline = Instant::now() + ARRIVING;
        loop {
            match self.shown().await? {
                Some(shown) if shown.log == *log && shown.seq >= seq => return self.read(read).await,
                Some(shown) if shown.log == *log => {}
                _ => return Err(foreign_position()),
            }
            if Instant::now() >= deadline {
                return Err(position_not_visible(ARRIVING));
            }
            sleep(PAUSE).await;
        }
    }

    async fn change(&self, sql: &str, params: &[Param]) -> Result<Executed> {
        check(params)?;
        let (sql, params) = (sql.to_owned(), params.to_vec());
        self.writer
            .with(move |session| execute(&session.conn, &sql, &params))
            .await
    }

    async fn named(&self, on: &[Named]) -> Result<Arc<[Dependency]>> {
        let names: Vec<String> = on
            .iter()
            .map(|(table, _)| match table.split_once('.') {
                Some((SQLITE_DATABASE, table)) => table.to_owned(),
                _ => table.clone(),
            })
            .collect();
        let (asked, filter) = (names.clone(), self.state.filter.clone());
        let states = self
            .readers
            .with(move |session| {
                in_snapshot(session, |session| {
                    if shown(&session.conn)?.is_none() {
                        return Ok(Vec::new());
                    }
                    asked
                        .iter()
                        .map(|name| table_state(&session.conn, name, &filter))
                        .collect()
                })
            })
            .await?;
        let mut found = Vec::with_capacity(on.len());
        for (at, (name, (_, equalities))) in names.iter().zip(on).enumerate() {
            let state = states.get(at).and_then(Option::as_ref);
            let Some(state) = state.filter(|state| state.obstacle.is_none()) else {
                let sentence = format!("dependsOn names {name}, which this source does not follow.");
                return Err(Error::new(Code::ArgumentInvalid, sentence));
            };
            let equalities = equalities.iter().filter_map(|(column, value)| {
                let column = match (column.as_str(), state.key.as_slice()) {
                    ("", [key]) => key.clone(),
                    ("", _) => return None,
                    (column, _) => column.to_lowercase(),
                };
                let value = value.integer().filter(|_| state.integers.contains(&column))?;
                Some(Equality {
                    column: column.into(),
                    values: vec![value],
                })
            });
            found.push(Dependency {
                table: TableName::new(SQLITE_DATABASE, name),
                equalities: equalities.collect(),
            });
        }
        Ok(found.into())
    }
}

/// Up to where a snapshot holds what was delivered before it was taken.
fn as_of(delivered: Option<(Sequence, Arc<str>, i64)>, shown: &Shown) -> Option<Sequence> {
    let (sequence, log, seq) = delivered?;
    (*log == *shown.log && shown.seq >= seq).then_some(sequence)
}

/// Runs something in a read transaction.
fn in_snapshot<T>(
    session: &mut Session,
    run: impl FnOnce(&mut Session) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    session.conn.execute_batch("BEGIN")?;
    let outcome = run(session);
    if !session.conn.is_autocommit() {
        session.conn.execute_batch("ROLLBACK")?;
    }
    outcome
}

fn rows(conn: &Connection, sql: &str, params: &[Param]) -> rusqlite::Result<Value> {
    let mut statement = conn.prepare_cached(sql)?;
    let column = |name: &str| Column {
        name: name.to_owned(),
        encoding: Encoding::Dynamic,
    };
    let columns: Vec<Column> = statement.column_names().into_iter().map(column).collect();
    let count = columns.len();
    let shape = Shape {
        id: 0,
        layout: Arc::new(TableLayout {
            database: String::new(),
            table: String::new(),
            columns,
            key: Vec::new(),
        }),
        present: (0..u32::try_from(count).unwrap_or_default()).collect(),
        synthetic: false,
    };
    let mut writer = BatchWriter::new();
    let mut found = 0;
    let mut rows = statement.query(params_from_iter(params))?;
    while let Some(row) = rows.next()? {
        for cell in 0..count {
            match row.get_ref(cell)? {
                ValueRef::Null => writer.put_null(),
                ValueRef::Integer(value) => writer.put_dynamic_i64(value),
                ValueRef::Real(value) => writer.put_dynamic_f64(value),
                ValueRef::Text(text) => writer.put_dynamic_text(&String::from_utf8_lossy(text)),
                ValueRef::Blob(bytes) => writer.put_dynamic_bytes(bytes),
            }
        }
        found += 1;
    }
    Ok(Value::Rows {
        cells: Packed::of(&writer.take()),
        columns: Some(Columns::of(&shape)),
        count: found,
    })
}

/// A statement of its own transaction; the position behind it holds it, and whatever else was committed until now.
fn execute(conn: &Connection, sql: &str, params: &[Param]) -> rusqlite::Result<Executed> {
    let (changes, rowid) = (conn.total_changes(), conn.last_insert_rowid());
    {
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(params))?;
        while rows.next()?.is_some() {}
    }
    let affected = match conn.total_changes() == changes {
        true => 0,
        false => conn.changes(),
    };
    let last = conn.last_insert_rowid();
    let position = shown(conn)?.map(|shown| {
        let offset = SqliteOffset {
            log: shown.log.into(),
            seq: u64::try_from(shown.seq).unwrap_or_default(),
            mark: shown.mark,
        };
        let position = Position {
            start: Offset::Sqlite(offset),
            delivered: None,
            within: None,
        };
        position.base_text()
    });
    let inserts = last != rowid || ["insert", "replace"].iter().any(|word| begins_with(sql, word));
    Ok(Executed {
        affected,
        last_insert_id: (affected > 0 && inserts).then(|| i128::from(last)),
        position,
    })
}

fn begins_with(sql: &str, word: &str) -> bool {
    sql.trim_start()
        .get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

impl Backend for Sqlite {
    fn identify(&self, _: &mut KeyWriter) {}

    fn forget_definitions(&self) {
        self.plans.forget();
    }

    fn judge<'a>(&'a self, read: &'a Read) -> BoxFuture<'a, Result<Verdict>> {
        self.judged(read).boxed()
    }

    fn prove(&self, need: Sequence) -> BoxFuture<'_, Result<Option<Proof>>> {
        async move { Ok(self.proved(need).await?.map(Proof::of)) }.boxed()
    }

    // What is delivered was read from the file.
    fn shows_delivered(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, read: &'a Read) -> BoxFuture<'a, Outcome> {
        self.read(read).boxed()
    }

    fn ask<'a>(&'a self, read: &'a Read, need: Sequence) -> BoxFuture<'a, Result<Asked>> {
        self.read_proved(read, need).boxed()
    }

    fn run_after<'a>(&'a self, read: &'a Read, position: Position) -> BoxFuture<'a, Outcome> {
        self.read_after(read, position).boxed()
    }

    fn execute<'a>(&'a self, sql: &'a str, params: &'a [Param]) -> BoxFuture<'a, Result<Executed>> {
        self.change(sql, params).boxed()
    }

    fn explain<'a>(&'a self, read: &'a Read) -> BoxFuture<'a, Result<serde_json::Value>> {
        async move {
            let (sql, _) = statement(read)?;
            Ok(self.plan(sql).await?.explain())
        }
        .boxed()
    }

    fn dependencies<'a>(&'a self, on: &'a [Named]) -> BoxFuture<'a, Result<Arc<[Dependency]>>> {
        self.named(on).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            self.readers.close();
            self.writer.close();
        }
        .boxed()
    }
}
