//! An entry of the log as a change in a batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::log::{HEAD, Op};
use super::replaced::is_unchanged;
use super::schema::Layout;
use crate::config::{SQLITE_DATABASE, TableFilter};
use crate::event::{BatchWriter, Column, Encoding, Operation, Shape, ShapeId, TableLayout};

/// A version of a table.
#[derive(Debug, Clone)]
pub struct Version {
    /// The table's name at that time.
    pub name: String,
    /// Its columns; `None` where it was never watched.
    pub layout: Option<Arc<Layout>>,
    shape: ShapeId,
    /// The shape of rows that were not written by a trigger.
    found: ShapeId,
    is_defined: [bool; 2],
}

/// The versions that were met; `None` for those that are not delivered.
pub struct Versions {
    tables: TableFilter,
    met: HashMap<i64, Option<Version>>,
    /// Numbers of shapes are never used again, over connections too.
    next: Arc<AtomicU32>,
}

impl Versions {
    /// None met yet.
    pub fn new(tables: TableFilter, next: Arc<AtomicU32>) -> Self {
        Self {
            tables,
            met: HashMap::new(),
            next,
        }
    }

    /// A version; `None` where its table is not delivered.
    pub fn get(&mut self, conn: &Connection, id: i64) -> Result<Option<&mut Version>> {
        if !self.met.contains_key(&id) {
            let version = self.read(conn, id)?;
            self.met.insert(id, version);
        }
        Ok(self.met.get_mut(&id).and_then(Option::as_mut))
    }

    fn read(&self, conn: &Connection, id: i64) -> Result<Option<Version>> {
        let found: Option<(String, Option<String>)> = conn
            .query_row(
                "SELECT name, layout FROM main._streamer_table WHERE id = ?1",
                [id],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some((name, layout)) = found.filter(|(name, _)| self.tables.includes(SQLITE_DATABASE, name))
        else {
            return Ok(None);
        };
        let layout: Option<Layout> = layout.and_then(|text| serde_json::from_str(&text).ok());
        let shape = self.next.fetch_add(2, Ordering::Relaxed);
        Ok(Some(Version {
            name,
            layout: layout.map(Arc::new),
            shape,
            found: shape + 1,
            is_defined: [false; 2],
        }))
    }
}

impl Version {
    /// The shape of its rows, which the batch learns of where it is new.
    fn shape(&mut self, writer: &mut BatchWriter, layout: &Layout, is_found: bool) -> ShapeId {
        let id = if is_found { self.found } else { self.shape };
        if let Some(is_defined) = self.is_defined.get_mut(usize::from(is_found))
            && !*is_defined
        {
            *is_defined = true;
            let column = |name: &String| Column {
                name: name.clone(),
                encoding: Encoding::Dynamic,
            };
            let number = |index: usize| u32::try_from(index).unwrap_or_default();
            let table = TableLayout {
                database: SQLITE_DATABASE.to_owned(),
                table: self.name.clone(),
                columns: layout.columns.iter().map(column).collect(),
                key: layout.key.iter().map(|&index| number(index)).collect(),
            };
            writer.define(Arc::new(Shape {
                id,
                layout: Arc::new(table),
                present: (0..number(layout.columns.len())).collect(),
                synthetic: is_found,
            }));
        }
        id
    }

    /// Writes the change of an entry.
    pub fn write(&mut self, writer: &mut BatchWriter, op: Op, row: &Row<'_>) -> Result<()> {
        let Some(layout) = self.layout.clone() else {
            return Ok(());
        };
        let is_found = matches!(op, Op::Found | Op::Refound);
        let shape = Some(self.shape(writer, &layout, is_found));
        let (width, first) = (layout.width(), HEAD + layout.first());
        let columns = layout.columns.len();
        match op {
            Op::Update => {
                let words = BatchWriter::changed_words(columns);
                writer.begin_row(Operation::Update, shape, shape, words);
                let changed: Result<Vec<bool>> = (first..first + columns)
                    .map(|cell| Ok(!is_unchanged(row.get_ref(cell)?, row.get_ref(cell + width)?)))
                    .collect();
                writer.put_changed(changed?);
                image(writer, row, first, columns)?;
                image(writer, row, first + width, columns)?;
            }
            Op::Delete | Op::Candidate => {
                writer.begin_row(Operation::Delete, shape, None, 0);
                image(writer, row, first, columns)?;
            }
            Op::Refound => {
                writer.begin_row(Operation::Update, None, shape, 0);
                image(writer, row, first, columns)?;
            }
            _ => {
                writer.begin_row(Operation::Insert, None, shape, 0);
                image(writer, row, first, columns)?;
            }
        }
        writer.end_row();
        Ok(())
    }
}

/// Writes the cells of an image that begins at `first`.
pub fn image(writer: &mut BatchWriter, row: &Row<'_>, first: usize, columns: usize) -> Result<()> {
    for cell in first..first + columns {
        match row.get_ref(cell)? {
            ValueRef::Null => writer.put_null(),
            ValueRef::Integer(value) => writer.put_dynamic_i64(value),
            ValueRef::Real(value) => writer.put_dynamic_f64(value),
            ValueRef::Text(text) => writer.put_dynamic_text(&String::from_utf8_lossy(text)),
            ValueRef::Blob(bytes) => writer.put_dynamic_bytes(bytes),
        }
    }
    Ok(())
}
