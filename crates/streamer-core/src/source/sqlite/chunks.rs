//! Rows of tables, read in the transaction that also names the newest entry of the change log.
//!
//! The order in which rows are read: by the rowid where that is a column (`INTEGER PRIMARY KEY`), by the key where the table has no
//! rowid; else by the rowid too, which VACUUM and a new definition may change: then the table is read from its beginning. A
//! table without a key is read in one view: nobody could tell a row that is read from one that was told of between two.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql, params_from_iter};

use super::entries::Limits;
use super::failure::failure;
use super::follower::now_ms;
use super::log;
use super::removal::open;
use super::rows::image;
use super::schema::{self, Table};
use super::triggers::quoted;
use crate::code::Code;
use crate::config::{SQLITE_DATABASE, SourceConfig, SqliteConfig, TableFilter};
use crate::error::{Error, Result};
use crate::event::{BatchWriter, Column, Encoding, Shape, ShapeId, TableLayout};
use crate::offset::{Offset, SqliteOffset};
use crate::source::{
    Cell, Chunks, Cursor, Rest, Rows, Settings, TableRef, TableSize, View, Wanted, from_hexadecimal, row_id,
};

/// Numbers of shapes begin here: those of the log count from 0.
const FIRST_SHAPE: ShapeId = 1 << 31;

/// How long a locked database is waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Reads rows of a database in a file.
pub struct SqliteChunks {
    path: PathBuf,
    tables: TableFilter,
    limits: Limits,
    reader: Option<Reader>,
}

/// What a thread for blocking work has while it reads.
struct Reader {
    conn: Connection,
    limits: Limits,
    view: Option<Open>,
    shapes: HashMap<String, (TableLayout, ShapeId)>,
    next_shape: ShapeId,
    writer: BatchWriter,
}

/// The table of the open view.
struct Open {
    /// `None` where it is gone.
    table: Option<Table>,
    schema_version: i64,
    left: Option<u32>,
    /// Behind which row reading goes on in this view, where the table has no key.
    after: Option<Cursor>,
}

impl SqliteChunks {
    /// Reads the tables of a source. Nothing is opened yet.
    pub fn new(source: &SourceConfig, config: &SqliteConfig, settings: Settings) -> Self {
        Self {
            path: config.path.clone(),
            tables: source.tables.clone(),
            limits: Limits {
                changes: settings.batch_size,
                bytes: settings.batch_bytes,
            },
            reader: None,
        }
    }

    /// Runs `work` where it may block. A reader whose work failed is dropped, and its transaction with it.
    async fn blocking<T, F>(&mut self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Reader) -> rusqlite::Result<T> + Send + 'static,
    {
        let (path, limits, reader) = (self.path.clone(), self.limits, self.reader.take());
        let run = move || {
            let mut reader = match reader {
                Some(reader) => reader,
                None => Reader::open(&path, limits)?,
            };
            let found = work(&mut reader).map_err(|error| failure(&error, &path))?;
            Ok((reader, found))
        };
        let ended = |_| Error::new(Code::Internal, "The task that reads rows ended.");
        let (reader, found) = tokio::task::spawn_blocking(run).await.map_err(ended)??;
        self.reader = Some(reader);
        Ok(found)
    }

    async fn open_view(&mut self, table: &TableRef) -> Result<View> {
        let name = table.table.to_string();
        let high = self.blocking(move |reader| reader.begin(&name)).await?;
        Ok(View {
            table: table.clone(),
            low: None,
            high: Offset::Sqlite(high),
            end: None,
            server: None,
        })
    }

    async fn read_rows(&mut self, wanted: Wanted<'_>) -> Result<Rows> {
        let (after, rows) = (wanted.after.cloned(), wanted.rows);
        let (prefix, position) = (wanted.prefix.to_owned(), Arc::clone(wanted.position));
        self.blocking(move |reader| reader.read(after.as_ref(), rows, &prefix, &position))
            .await
    }

    async fn list(&mut self) -> Result<Vec<TableSize>> {
        let tables = self.tables.clone();
        self.blocking(move |reader| {
            let names = schema::tables(&reader.conn)?;
            let wanted = names
                .into_iter()
                .filter(|name| tables.includes(SQLITE_DATABASE, name));
            wanted.map(|name| reader.size(name)).collect()
        })
        .await
    }
}

impl Chunks for SqliteChunks {
    fn tables(&mut self) -> BoxFuture<'_, Result<Vec<TableSize>>> {
        self.list().boxed()
    }

    fn open<'a>(&'a mut self, table: &'a TableRef, _position: &'a str) -> BoxFuture<'a, Result<View>> {
        self.open_view(table).boxed()
    }

    fn read<'a>(&'a mut self, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Rows>> {
        self.read_rows(wanted).boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        async {
            let ended = self.blocking(|reader| {
                reader.view = None;
                if reader.conn.is_autocommit() {
                    Ok(())
                } else {
                    reader.conn.execute_batch("ROLLBACK")
                }
            });
            if ended.await.is_err() {
                self.reader = None;
            }
        }
        .boxed()
    }

    fn forget(&mut self, table: Option<&TableRef>) {
        // Definitions are read in each view. The file may be another one by now.
        if table.is_none() {
            self.reader = None;
        }
    }
}

impl Reader {
    fn open(path: &std::path::Path, limits: Limits) -> Result<Self> {
        let conn = open(path)?;
        conn.busy_timeout(PATIENCE)
            .map_err(|error| failure(&error, path))?;
        Ok(Self {
            conn,
            limits,
            view: None,
            shapes: HashMap::new(),
            next_shape: FIRST_SHAPE,
            writer: BatchWriter::new(),
        })
    }

    fn size(&self, name: String) -> rusqlite::Result<TableSize> {
        let table = schema::table(&self.conn, &name)?;
        // Rowids are mostly given out in order.
        let rows = match table.rowid {
            Some(rowid) => {
                let sql = format!(
                    "SELECT max({rowid}) - min({rowid}) + 1 FROM main.{}",
                    quoted(&name)
                );
                let rows: Option<i64> = self.conn.query_row(&sql, [], |row| row.get(0))?;
                Some(u64::try_from(rows.unwrap_or_default()).unwrap_or_default())
            }
            None => None,
        };
        Ok(TableSize {
            table: TableRef {
                database: SQLITE_DATABASE.into(),
                table: name.into(),
            },
            rows,
        })
    }

    /// Opens a view; where in the log it is.
    fn begin(&mut self, name: &str) -> rusqlite::Result<SqliteOffset> {
        self.conn.execute_batch("BEGIN")?;
        let identity = log::identity(&self.conn)?;
        let seq = log::newest(&self.conn)?;
        let mark = log::mark(&self.conn, seq)?;
        let schema_version = self
            .conn
            .query_row("PRAGMA schema_version", [], |row| row.get(0))?;
        let exists = schema::tables(&self.conn)?.iter().any(|table| table == name);
        let table = exists.then(|| schema::table(&self.conn, name)).transpose()?;
        self.view = Some(Open {
            table,
            schema_version,
            left: None,
            after: None,
        });
        Ok(SqliteOffset {
            log: identity.map_or_else(|| "".into(), |identity| identity.id.into()),
            seq: u64::try_from(seq).unwrap_or_default(),
            mark,
        })
    }

    fn read(
        &mut self,
        after: Option<&Cursor>,
        rows: u32,
        prefix: &str,
        position: &Arc<str>,
    ) -> rusqlite::Result<Rows> {
        let nothing = |rest| Rows {
            batch: None,
            last: None,
            rest,
        };
        let Some(view) = &mut self.view else {
            return Ok(nothing(Rest::Gone));
        };
        let Some(table) = view.table.clone() else {
            return Ok(nothing(Rest::Gone));
        };
        let order = Order::of(&table, view.schema_version);
        if after.is_some_and(|after| !order.holds(after)) {
            return Ok(nothing(Rest::Again));
        }
        let is_keyless = table.layout.key.is_empty();
        let inside = view.after.clone();
        let after = if is_keyless { inside.as_ref() } else { after };
        let left = view.left.unwrap_or(if is_keyless { u32::MAX } else { rows });
        let wanted = left.min(self.limits.changes);
        let shape = self.shape(&table);
        self.writer.begin_reads(now_ms(), prefix, position, shape);
        let (last, count) = self.write(&table, &order, after, wanted)?;
        if count == 0 {
            // The batch that would have told of the shape is not handed over.
            self.shapes.remove(&table.name);
        }
        let is_short = count < wanted && self.writer.weight() < self.limits.bytes;
        let left = if is_keyless {
            left
        } else {
            left.saturating_sub(count)
        };
        let mut last = last.map(|cells| Cursor {
            cells,
            order: order.name.clone(),
        });
        if let Some(view) = &mut self.view {
            view.left = Some(left);
            if is_keyless {
                view.after = last.take();
            }
        }
        let batch = self.writer.take();
        Ok(Rows {
            batch: (count > 0).then_some(batch),
            last,
            rest: match () {
                () if is_short => Rest::Nothing,
                () if left == 0 => Rest::Table,
                () => Rest::Rows,
            },
        })
    }

    /// Writes rows; what puts the last of them in order, and how many they are.
    fn write(
        &mut self,
        table: &Table,
        order: &Order,
        after: Option<&Cursor>,
        wanted: u32,
    ) -> rusqlite::Result<(Option<Vec<Cell>>, u32)> {
        let mut query = self
            .conn
            .prepare_cached(&order.select(table, after.is_some(), wanted))?;
        let values: Vec<Bound> =
            after.map_or_else(Vec::new, |after| after.cells.iter().map(Bound::new).collect());
        let mut found = query.query(params_from_iter(values))?;
        let (mut last, mut count) = (None, 0);
        while let Some(row) = found.next()? {
            let cells = order.cells(row)?;
            self.writer
                .begin_read(&row_id(order.key(table, row, &cells)?.as_ref()));
            image(&mut self.writer, row, order.width(), table.layout.columns.len())?;
            self.writer.end_row();
            last = Some(cells);
            count += 1;
            if self.writer.weight() >= self.limits.bytes {
                break;
            }
        }
        Ok((last, count))
    }

    /// The shape of a table's rows, which the batch learns of where it is new.
    fn shape(&mut self, table: &Table) -> ShapeId {
        let number = |index: usize| u32::try_from(index).unwrap_or_default();
        let columns = table.layout.columns.iter().map(|name| Column {
            name: name.clone(),
            encoding: Encoding::Dynamic,
        });
        let layout = TableLayout {
            database: SQLITE_DATABASE.to_owned(),
            table: table.name.clone(),
            columns: columns.collect(),
            key: table.layout.key.iter().map(|&index| number(index)).collect(),
        };
        if let Some((known, id)) = self.shapes.get(&table.name)
            && *known == layout
        {
            return *id;
        }
        let id = self.next_shape;
        self.next_shape += 1;
        self.writer.define(Arc::new(Shape {
            id,
            present: (0..number(layout.columns.len())).collect(),
            layout: Arc::new(layout.clone()),
            synthetic: false,
        }));
        self.shapes.insert(table.name.clone(), (layout, id));
        id
    }
}

/// What rows are ordered by.
struct Order {
    /// Quoted names.
    columns: Vec<String>,
    /// What must not change between two chunks.
    name: String,
}

impl Order {
    fn of(table: &Table, schema_version: i64) -> Self {
        match table.rowid {
            Some(rowid) if table.layout.alias.is_some() => Self {
                columns: vec![rowid.to_owned()],
                name: "id".to_owned(),
            },
            Some(rowid) => Self {
                columns: vec![rowid.to_owned()],
                name: format!("rowid {schema_version}"),
            },
            None => {
                let names = table
                    .layout
                    .key
                    .iter()
                    .filter_map(|&index| table.layout.columns.get(index));
                let columns: Vec<String> = names.map(|name| quoted(name)).collect();
                Self {
                    name: format!("key {}", columns.join(", ")),
                    columns,
                }
            }
        }
    }

    fn holds(&self, after: &Cursor) -> bool {
        after.order == self.name && after.cells.len() == self.columns.len()
    }

    fn width(&self) -> usize {
        self.columns.len()
    }

    fn select(&self, table: &Table, has_cursor: bool, rows: u32) -> String {
        let order = self.columns.join(", ");
        let columns: Vec<String> = table.layout.columns.iter().map(|name| quoted(name)).collect();
        let behind = if has_cursor {
            let marks = vec!["?"; self.columns.len()].join(", ");
            format!("WHERE ({order}) > ({marks})")
        } else {
            String::new()
        };
        format!(
            "SELECT {order}, {} FROM main.{} {behind} ORDER BY {order} LIMIT {rows}",
            columns.join(", "),
            quoted(&table.name)
        )
    }

    fn cells(&self, row: &Row<'_>) -> rusqlite::Result<Vec<Cell>> {
        (0..self.columns.len()).map(|index| cell(row, index)).collect()
    }

    /// What the row's id is made of: its key, where it has one, else what it is ordered by.
    fn key(&self, table: &Table, row: &Row<'_>, cells: &[Cell]) -> rusqlite::Result<Vec<Cell>> {
        if table.layout.key.is_empty() || table.rowid.is_none() {
            return Ok(cells.to_vec());
        }
        let key = table.layout.key.iter();
        key.map(|&index| cell(row, self.columns.len() + index)).collect()
    }
}

fn cell(row: &Row<'_>, index: usize) -> rusqlite::Result<Cell> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value) => Cell::Int(value),
        ValueRef::Real(value) => Cell::Real(value.to_bits()),
        ValueRef::Text(text) => Cell::text(text),
        ValueRef::Blob(bytes) => Cell::bytes(bytes),
    })
}

/// A value of a cursor, with the bytes that it had: text that is no UTF-8 too.
enum Bound {
    Null,
    Int(i64),
    Real(f64),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
}

impl Bound {
    fn new(cell: &Cell) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Int(value) => Self::Int(*value),
            Cell::Uint(value) => Self::Int(i64::try_from(*value).unwrap_or(i64::MAX)),
            Cell::Real(bits) => Self::Real(f64::from_bits(*bits)),
            Cell::Text(text) => Self::Text(from_hexadecimal(text).unwrap_or_default()),
            Cell::Bytes(text) => Self::Bytes(from_hexadecimal(text).unwrap_or_default()),
        }
    }
}

impl ToSql for Bound {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(text) => ValueRef::Text(text),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
