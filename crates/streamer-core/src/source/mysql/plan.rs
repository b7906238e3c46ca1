//! How the rows of one table version are decoded.
//!
//! A plan is made once for each distinct table map and used for every row after it. It exists only where each column is
//! known with certainty: either the table map itself names the columns, or a tracked definition agrees with it.

use std::sync::Arc;

use foldhash::HashMap;

use super::binlog::TableMap;
use super::cell::CellPlan;
use super::schema::{ColumnKind, Generated, TableDefinition, TableName};
use crate::config::Dates;
use crate::error::{Error, Result};
use crate::event::{BatchWriter, Column, Shape, ShapeId, TableLayout};

/// Gives out shape numbers; lives as long as the connector, so that none is used twice.
#[derive(Debug, Default)]
pub struct ShapeNumbers(ShapeId);

impl ShapeNumbers {
    fn next(&mut self) -> ShapeId {
        let id = self.0;
        self.0 += 1;
        id
    }
}

/// A column of the log.
#[derive(Debug)]
struct PlanColumn {
    cell: CellPlan,
    is_json: bool,
    /// It says when a row stopped being current.
    is_row_end: bool,
    /// Its index among the columns that users see; `None` for one that is hidden.
    seen: Option<u32>,
}

/// Decodes the rows of one table version.
#[derive(Debug)]
pub struct Plan {
    name: TableName,
    columns: Vec<PlanColumn>,
    layout: Arc<TableLayout>,
    /// Indices of the key's columns among all columns of the log.
    key: Vec<u32>,
    words: usize,
    json_columns: usize,
}

/// A column of an image, in the order of its cells.
#[derive(Debug, Clone)]
pub struct ImageColumn {
    /// How its cell is decoded.
    pub cell: CellPlan,
    /// Its index among all columns of the log.
    pub column: u32,
    /// Its index among the columns that users see; `None` for one that is hidden.
    pub seen: Option<u32>,
    /// Which JSON column of the table it is, where it is one.
    pub json: Option<u32>,
}

/// The columns that one kind of row image holds.
#[derive(Debug)]
pub struct Image {
    /// The shape that its rows are written with.
    pub shape: Arc<Shape>,
    /// Its columns.
    pub columns: Vec<ImageColumn>,
    /// Position of each log column among the cells of the image.
    pub slots: Vec<Option<u32>>,
    /// Cells that make up the key; `None` where the image lacks one of them, or the table has no key.
    pub key: Option<Vec<u32>>,
    /// The cell that says when the row stopped being current, of a table that is versioned by the system.
    pub row_end: Option<u32>,
}

/// The images of a plan that were met so far, by their bitmaps.
#[derive(Debug, Default)]
pub struct Images(HashMap<Vec<u8>, Arc<Image>>);

impl Plan {
    /// Makes a plan for `map` out of a definition that agrees with it.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where a column's type in the log cannot hold its kind.
    pub fn new(map: &TableMap, definition: &TableDefinition, hidden: &[bool], dates: Dates) -> Result<Self> {
        let mut columns = Vec::with_capacity(map.types.len());
        let mut seen = Vec::new();
        let described = map.types.iter().zip(&map.metadata).zip(&definition.columns);
        for (index, ((&logged, &metadata), column)) in described.enumerate() {
            let cell = CellPlan::new(logged, metadata, &column.kind, dates)
                .map_err(|error| of_column(&error, &definition.name, &column.name))?;
            let is_hidden = hidden.get(index).copied().unwrap_or(false);
            columns.push(PlanColumn {
                is_json: column.kind == ColumnKind::Json,
                is_row_end: column.generated == Some(Generated::RowEnd),
                seen: (!is_hidden).then_some(seen.len() as u32),
                cell,
            });
            if !is_hidden {
                seen.push(Column {
                    name: column.name.to_string(),
                    encoding: columns
                        .last()
                        .map_or(crate::event::Encoding::Text, |column| column.cell.encoding()),
                });
            }
        }
        let key = definition
            .key
            .iter()
            .filter_map(|&column| columns.get(column as usize).and_then(|column| column.seen))
            .collect();
        Ok(Self {
            name: definition.name.clone(),
            words: BatchWriter::changed_words(seen.len()),
            json_columns: columns.iter().filter(|column| column.is_json).count(),
            layout: Arc::new(TableLayout {
                database: definition.name.database.to_string(),
                table: definition.name.table.to_string(),
                columns: seen,
                key,
            }),
            key: definition.key.clone(),
            columns,
        })
    }

    /// The table.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// Columns in the log.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Words that a changed set takes.
    pub fn changed_words(&self) -> usize {
        self.words
    }

    /// Columns that users see.
    pub fn seen_columns(&self) -> usize {
        self.layout.columns.len()
    }

    /// JSON columns of the table: each has a bit in front of a partial image.
    pub fn json_columns(&self) -> usize {
        self.json_columns
    }

    /// The image that makes of a parent's row the key of a child's: `columns` are pairs of the parent's column and the child's.
    /// `None` where the child's key is not made of them, or may be written otherwise than the parent's.
    pub fn derive(
        &self,
        image: &Image,
        child: &TableDefinition,
        columns: &[(String, String)],
        numbers: &mut ShapeNumbers,
    ) -> Option<Image> {
        let mut derived = Vec::with_capacity(image.columns.len());
        let mut seen: Vec<Column> = Vec::new();
        for column in &image.columns {
            let own = column
                .seen
                .and_then(|index| self.layout.columns.get(index as usize));
            let pair = own.and_then(|own| columns.iter().find(|(parent, _)| *parent == own.name));
            let mut column = column.clone();
            column.seen = None;
            if let (Some(own), Some((_, name))) = (own, pair) {
                column.seen = Some(seen.len() as u32);
                seen.push(Column {
                    name: name.clone(),
                    encoding: own.encoding,
                });
            }
            derived.push(column);
        }
        let key: Option<Vec<u32>> = child
            .key
            .iter()
            .map(|&index| {
                let column = child.columns.get(index as usize)?;
                let name = column.kind.is_exact().then_some(&column.name)?;
                let place = seen.iter().position(|column| *column.name == **name)?;
                u32::try_from(place).ok()
            })
            .collect();
        let key = key.filter(|key| !key.is_empty())?;
        let present = (0..seen.len() as u32).collect();
        Some(Image {
            shape: Arc::new(Shape {
                id: numbers.next(),
                layout: Arc::new(TableLayout {
                    database: child.name.database.to_string(),
                    table: child.name.table.to_string(),
                    columns: seen,
                    key,
                }),
                present,
                synthetic: true,
            }),
            slots: Vec::new(),
            columns: derived,
            key: None,
            row_end: None,
        })
    }

    /// Indices, among the columns that users see, of these columns.
    pub fn places(&self, names: &[&str]) -> Vec<usize> {
        let columns = self.layout.columns.iter().enumerate();
        columns
            .filter(|(_, column)| names.contains(&column.name.as_str()))
            .map(|(index, _)| index)
            .collect()
    }

    /// The image that holds the columns whose bits are set.
    fn image(&self, present: &[u8], numbers: &mut ShapeNumbers) -> Image {
        let mut columns = Vec::new();
        let mut slots = vec![None; self.columns.len()];
        let mut json = 0;
        let mut row_end = None;
        for (index, column) in self.columns.iter().enumerate() {
            let nth_json = column.is_json.then_some(json);
            json += u32::from(column.is_json);
            if present
                .get(index / 8)
                .is_none_or(|byte| byte >> (index % 8) & 1 == 0)
            {
                continue;
            }
            if let Some(slot) = slots.get_mut(index) {
                *slot = Some(columns.len() as u32);
            }
            if column.is_row_end {
                row_end = Some(columns.len() as u32);
            }
            columns.push(ImageColumn {
                cell: column.cell.clone(),
                column: index as u32,
                seen: column.seen,
                json: nth_json,
            });
        }
        let key: Option<Vec<u32>> = self
            .key
            .iter()
            .map(|&column| slots.get(column as usize).copied().flatten())
            .collect();
        Image {
            shape: Arc::new(Shape {
                id: numbers.next(),
                layout: self.layout.clone(),
                present: columns.iter().filter_map(|column| column.seen).collect(),
                synthetic: false,
            }),
            columns,
            slots,
            key: key.filter(|key| !key.is_empty()),
            row_end,
        }
    }
}

impl Images {
    /// The image of `plan` for a bitmap; made, and defined in `writer`, when it is met first.
    pub fn get(
        &mut self,
        plan: &Plan,
        present: &[u8],
        numbers: &mut ShapeNumbers,
        writer: &mut BatchWriter,
    ) -> Arc<Image> {
        if let Some(image) = self.0.get(present) {
            return image.clone();
        }
        let image = Arc::new(plan.image(present, numbers));
        writer.define(image.shape.clone());
        self.0.insert(present.to_vec(), image.clone());
        image
    }
}

fn of_column(error: &Error, table: &TableName, column: &str) -> Error {
    error
        .told_of(&format!("Column {column} of {table}"))
        .with_detail("table", table.to_string())
        .with_detail("column", column)
}
