//! The rows of an event, written into a batch.
//!
//! A row is decoded where the packet lies, straight into the writer. An update is measured first: which columns changed
//! stands in front of its cells. An update that changes the primary key becomes a delete and an insert, because a
//! reader that keeps rows by key would otherwise keep the old one.
//!
//! A table that MariaDB versions keeps its former rows beside the current ones, under the same key, and logs them too. Those are history,
//! which no query shows unasked: a row that ends is a delete, and what happens to history is passed over.

use std::sync::Arc;

use super::binlog::{RowsKind, Wire};
use super::plan::{Image, ImageColumn, Plan};
use crate::code::Code;
use crate::error::{Error, Result};
use crate::event::{BatchWriter, Operation};

/// Option of a partial image: some JSON columns are differences.
const PARTIAL_JSON: u64 = 1;

/// Bytes in front of a JSON difference that tell its length.
const DIFFERENCE_LENGTH: usize = 4;

/// Rows that are being written; may stop between two of them.
#[derive(Debug, Clone)]
pub struct RowsJob {
    /// How they are decoded.
    pub plan: Arc<Plan>,
    /// What happened to them.
    pub kind: RowsKind,
    /// The first image: before for updates and deletes, after for inserts.
    pub first: Arc<Image>,
    /// The after image of an update.
    pub second: Option<Arc<Image>>,
    /// The next byte.
    pub at: usize,
    /// Rows that each deleted row takes along, where there are any.
    pub followers: Vec<Arc<Image>>,
    /// Columns whose change concerns other tables.
    pub watched: Vec<usize>,
    /// Such a column has changed.
    pub touches_children: bool,
}

/// How far a batch may grow.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Changes.
    pub changes: u32,
    /// Bytes.
    pub bytes: usize,
}

impl BatchLimits {
    /// Whether `writer` holds a whole batch.
    pub fn reached(&self, writer: &BatchWriter) -> bool {
        writer.changes() >= self.changes || writer.weight() >= self.bytes
    }
}

/// Why [`RowsJob::run`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All rows are written.
    Done,
    /// The batch is full; rows are left.
    Full,
}

/// A cell of an image that was measured.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: usize,
    end: usize,
    is_null: bool,
    is_difference: bool,
}

/// Memory that rows share.
#[derive(Debug, Default)]
pub struct Scratch {
    first: Vec<Span>,
    second: Vec<Span>,
}

impl RowsJob {
    /// Writes rows until they end or the batch is full. `skip` counts changes that were delivered before.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where a cell cannot be read; the row it stands in is not in the batch.
    pub fn run(
        &mut self,
        bytes: &[u8],
        skip: &mut u32,
        writer: &mut BatchWriter,
        limits: BatchLimits,
        scratch: &mut Scratch,
    ) -> Result<Progress> {
        while self.at < bytes.len() {
            if limits.reached(writer) {
                return Ok(Progress::Full);
            }
            let row = bytes.get(self.at..).unwrap_or_default();
            let past = match self.kind {
                RowsKind::Insert | RowsKind::Delete => self.past(row, scratch)?,
                RowsKind::Update | RowsKind::PartialUpdate => None,
            };
            let taken = match self.kind {
                _ if past.is_some() => past.unwrap_or_default(),
                RowsKind::Insert => self.single(row, Operation::Insert, skip, writer, scratch)?,
                RowsKind::Delete => {
                    let taken = self.single(row, Operation::Delete, skip, writer, scratch)?;
                    self.follow(row, skip, writer)?;
                    taken
                }
                RowsKind::Update | RowsKind::PartialUpdate => self.update(row, skip, writer, scratch)?,
            };
            if taken == 0 {
                return Err(self.undecodable("A row without columns"));
            }
            self.at += taken;
        }
        Ok(Progress::Done)
    }

    fn undecodable(&self, what: &str) -> Error {
        Error::new(
            Code::LogUndecodable,
            format!("{what} of {} cannot be decoded.", self.plan.name()),
        )
        .with_detail("table", self.plan.name().to_string())
    }

    /// The bytes of a row that is history.
    fn past(&self, row: &[u8], scratch: &mut Scratch) -> Result<Option<usize>> {
        if self.first.row_end.is_none() {
            return Ok(None);
        }
        let taken = measure(&self.first, row, None, &mut scratch.first)?;
        Ok(has_ended(&self.first, row, &scratch.first)
            .unwrap_or(false)
            .then_some(taken))
    }

    fn single(
        &self,
        row: &[u8],
        operation: Operation,
        skip: &mut u32,
        writer: &mut BatchWriter,
        scratch: &mut Scratch,
    ) -> Result<usize> {
        if *skip > 0 {
            let taken = measure(&self.first, row, None, &mut scratch.first)?;
            *skip -= 1;
            writer.skip_change();
            return Ok(taken);
        }
        let shape = Some(self.first.shape.id);
        let mark = match operation {
            Operation::Delete => writer.begin_row(operation, shape, None, 0),
            _ => writer.begin_row(operation, None, shape, 0),
        };
        match write_cells(&self.first, row, writer) {
            Ok(taken) => {
                writer.end_row();
                Ok(taken)
            }
            Err(error) => {
                writer.rewind(mark);
                Err(self.in_table(&error))
            }
        }
    }

    /// The rows of other tables that go with a deleted one: their keys, for whether they existed is not in the log.
    fn follow(&self, row: &[u8], skip: &mut u32, writer: &mut BatchWriter) -> Result<()> {
        for image in &self.followers {
            if *skip > 0 {
                *skip -= 1;
                writer.skip_change();
                continue;
            }
            let mark = writer.begin_row(Operation::Derived, Some(image.shape.id), None, 0);
            if let Err(error) = write_cells(image, row, writer) {
                writer.rewind(mark);
                return Err(self.in_table(&error));
            }
            writer.end_row();
        }
        Ok(())
    }

    fn in_table(&self, error: &Error) -> Error {
        error
            .told_of(&format!("A row of {} cannot be decoded", self.plan.name()))
            .with_detail("table", self.plan.name().to_string())
    }

    fn update(
        &mut self,
        row: &[u8],
        skip: &mut u32,
        writer: &mut BatchWriter,
        scratch: &mut Scratch,
    ) -> Result<usize> {
        let Some(second) = &self.second else {
            return Err(self.undecodable("An update without a second image"));
        };
        let partial = (self.kind == RowsKind::PartialUpdate).then(|| self.plan.json_columns());
        let first_bytes = measure(&self.first, row, None, &mut scratch.first)?;
        let after = row.get(first_bytes..).unwrap_or_default();
        let second_bytes = measure(second, after, partial, &mut scratch.second)?;
        let images = Images {
            before: &self.first,
            after: second,
            before_bytes: row,
            after_bytes: after,
            before_cells: &scratch.first,
            after_cells: &scratch.second,
        };
        let touches_children = !self.watched.is_empty() && {
            let changed: Vec<bool> = images.changed(self.plan.seen_columns()).collect();
            self.watched
                .iter()
                .any(|&place| changed.get(place).is_some_and(|changed| *changed))
        };
        let (had_ended, has_ended) = images.ends();
        if had_ended || has_ended || images.key_changed() {
            if !had_ended {
                self.leave(&images, skip, writer)?;
            }
            if !has_ended {
                self.enter(&images, skip, writer)?;
            }
        } else if *skip > 0 {
            *skip -= 1;
            writer.skip_change();
        } else {
            self.write_update(&images, writer)?;
        }
        self.touches_children |= touches_children;
        Ok(first_bytes + second_bytes)
    }

    fn write_update(&self, images: &Images<'_>, writer: &mut BatchWriter) -> Result<()> {
        let (before, after) = (Some(images.before.shape.id), Some(images.after.shape.id));
        let mark = writer.begin_row(Operation::Update, before, after, self.plan.changed_words());
        writer.put_changed(images.changed(self.plan.seen_columns()));
        let written = images
            .write_before(writer)
            .and_then(|()| images.write_after(writer));
        match written {
            Ok(()) => {
                writer.end_row();
                Ok(())
            }
            Err(error) => {
                writer.rewind(mark);
                Err(self.in_table(&error))
            }
        }
    }

    /// The row before goes: its key is another one now, or it is history.
    fn leave(&self, images: &Images<'_>, skip: &mut u32, writer: &mut BatchWriter) -> Result<()> {
        if *skip > 0 {
            *skip -= 1;
            writer.skip_change();
            return Ok(());
        }
        let mark = writer.begin_row(Operation::Delete, Some(images.before.shape.id), None, 0);
        images.write_before(writer).map_err(|error| {
            writer.rewind(mark);
            self.in_table(&error)
        })?;
        writer.end_row();
        Ok(())
    }

    /// The row after comes.
    fn enter(&self, images: &Images<'_>, skip: &mut u32, writer: &mut BatchWriter) -> Result<()> {
        if *skip > 0 {
            *skip -= 1;
            writer.skip_change();
            return Ok(());
        }
        let mark = writer.begin_row(Operation::Insert, None, Some(images.after.shape.id), 0);
        images.write_after(writer).map_err(|error| {
            writer.rewind(mark);
            self.in_table(&error)
        })?;
        writer.end_row();
        Ok(())
    }
}

/// Both images of an update, measured.
struct Images<'a> {
    before: &'a Image,
    after: &'a Image,
    before_bytes: &'a [u8],
    after_bytes: &'a [u8],
    before_cells: &'a [Span],
    after_cells: &'a [Span],
}

impl Images<'_> {
    fn before_cell(&self, column: u32) -> Option<(Span, &[u8])> {
        let slot = self.before.slots.get(column as usize).copied().flatten()?;
        let span = *self.before_cells.get(slot as usize)?;
        Some((span, self.before_bytes.get(span.start..span.end)?))
    }

    /// Whether a column of the after image differs from the before image; a column that only the after image holds was set.
    fn differs(&self, column: &ImageColumn, span: Span) -> bool {
        match self.before_cell(column.column) {
            // A JSON column that did not change is a difference without operations.
            Some(_) if span.is_difference => span.end - span.start > DIFFERENCE_LENGTH,
            Some((before, bytes)) => {
                before.is_null != span.is_null || self.after_bytes.get(span.start..span.end) != Some(bytes)
            }
            None => true,
        }
    }

    fn changed(&self, seen: usize) -> impl Iterator<Item = bool> {
        let mut flags = vec![false; seen];
        for (column, &span) in self.after.columns.iter().zip(self.after_cells) {
            if let Some(flag) = column.seen.and_then(|seen| flags.get_mut(seen as usize)) {
                *flag = self.differs(column, span);
            }
        }
        flags.into_iter()
    }

    /// Whether the row was history before, and is afterwards. An image that does not say is as the other one.
    fn ends(&self) -> (bool, bool) {
        let before = has_ended(self.before, self.before_bytes, self.before_cells);
        let after = has_ended(self.after, self.after_bytes, self.after_cells);
        (before.unwrap_or(false), after.or(before).unwrap_or(false))
    }

    /// Whether both images hold the whole key, and it differs.
    fn key_changed(&self) -> bool {
        let (Some(_), Some(after)) = (&self.before.key, &self.after.key) else {
            return false;
        };
        after.iter().any(|&slot| {
            let column = self.after.columns.get(slot as usize);
            let span = self.after_cells.get(slot as usize);
            matches!((column, span), (Some(column), Some(&span)) if self.differs(column, span))
        })
    }

    fn write_before(&self, writer: &mut BatchWriter) -> Result<()> {
        for (column, span) in self.before.columns.iter().zip(self.before_cells) {
            write_cell(column, *span, self.before_bytes, None, writer)?;
        }
        Ok(())
    }

    fn write_after(&self, writer: &mut BatchWriter) -> Result<()> {
        for (column, span) in self.after.columns.iter().zip(self.after_cells) {
            let base = self
                .before_cell(column.column)
                .filter(|(before, _)| span.is_difference && !before.is_null)
                .map(|(_, bytes)| bytes);
            write_cell(column, *span, self.after_bytes, base, writer)?;
        }
        Ok(())
    }
}

/// The ends of rows that have none: the last moment of TIMESTAMP(6), also where it has 32 bits without a sign (MariaDB 11.5), and the last
/// transaction.
const NO_END: [&[u8]; 3] = [
    &[0x7f, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3f],
    &[0xff, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3f],
    &[0xff; 8],
];

/// Whether a row of a versioned table is history; `None` where the image does not say.
fn has_ended(image: &Image, bytes: &[u8], cells: &[Span]) -> Option<bool> {
    let span = cells.get(image.row_end? as usize)?;
    let end = bytes.get(span.start..span.end)?;
    Some(!span.is_null && !NO_END.contains(&end))
}

fn write_cell(
    column: &ImageColumn,
    span: Span,
    bytes: &[u8],
    base: Option<&[u8]>,
    writer: &mut BatchWriter,
) -> Result<()> {
    if column.seen.is_none() {
        return Ok(());
    }
    if span.is_null {
        writer.put_null();
        return Ok(());
    }
    let cell = bytes.get(span.start..span.end).unwrap_or_default();
    if span.is_difference {
        column.cell.decode_json_difference(cell, base, writer).map(|_| ())
    } else {
        column.cell.decode(cell, writer).map(|_| ())
    }
}

/// Decodes a whole image in one pass; returns its bytes.
fn write_cells(image: &Image, row: &[u8], writer: &mut BatchWriter) -> Result<usize> {
    let mut wire = Wire(row);
    let nulls = wire.take(image.columns.len().div_ceil(8))?;
    for (slot, column) in image.columns.iter().enumerate() {
        let is_null = nulls
            .get(slot / 8)
            .is_some_and(|byte| byte >> (slot % 8) & 1 == 1);
        match (is_null, column.seen) {
            (true, Some(_)) => writer.put_null(),
            (true, None) => {}
            (false, Some(_)) => {
                let taken = column.cell.decode(wire.rest(), writer)?;
                wire.skip(taken)?;
            }
            (false, None) => {
                let taken = column.cell.skip(wire.rest())?;
                wire.skip(taken)?;
            }
        }
    }
    Ok(row.len() - wire.len())
}

/// Finds the cells of an image; returns its bytes. `partial` counts the table's JSON columns where the image may hold
/// differences.
fn measure(image: &Image, row: &[u8], partial: Option<usize>, spans: &mut Vec<Span>) -> Result<usize> {
    let mut wire = Wire(row);
    let differences: &[u8] = match partial {
        Some(json_columns) if wire.lenenc()? & PARTIAL_JSON != 0 => wire.take(json_columns.div_ceil(8))?,
        _ => &[],
    };
    let nulls = wire.take(image.columns.len().div_ceil(8))?;
    spans.clear();
    for (slot, column) in image.columns.iter().enumerate() {
        let start = row.len() - wire.len();
        let is_null = nulls
            .get(slot / 8)
            .is_some_and(|byte| byte >> (slot % 8) & 1 == 1);
        let is_difference = !is_null
            && column.json.is_some_and(|json| {
                differences
                    .get(json as usize / 8)
                    .is_some_and(|byte| byte >> (json % 8) & 1 == 1)
            });
        if is_difference {
            let taken = column.cell.skip_json_difference(wire.rest())?;
            wire.skip(taken)?;
        } else if !is_null {
            let taken = column.cell.skip(wire.rest())?;
            wire.skip(taken)?;
        }
        spans.push(Span {
            start,
            end: row.len() - wire.len(),
            is_null,
            is_difference,
        });
    }
    Ok(row.len() - wire.len())
}
