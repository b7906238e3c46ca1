//! From batches to the ledger: which rows of which tables changed.
//!
//! Walks the numbers of a batch as the JavaScript side does, but looks only at the cells of watched columns.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::dependency::TableName;
use super::ledger::{Ledger, Place};
use crate::event::{
    Batch, Encoding, Operation, RECORD_COMMIT, RECORD_NUMBERED, RECORD_ROWS, RECORD_TABLE,
    RECORD_TRANSACTION, Shape, ShapeId,
};
use crate::offset::{GtidSet, MysqlGtid};

/// What a shape is to the ledger.
struct Known {
    shape: Arc<Shape>,
    table: TableName,
}

/// Reads the batches of one source, in order.
#[derive(Default)]
pub struct Feed {
    shapes: HashMap<ShapeId, Known>,
}

/// The batch is not what its header promises.
struct Broken;

impl Feed {
    /// A feed that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records the changes of a batch. One that cannot be walked counts as a change of everything.
    pub fn batch(&mut self, batch: &Batch, ledger: &mut Ledger) {
        for shape in &batch.shapes {
            let table = TableName::new(&shape.layout.database, &shape.layout.table);
            let known = Known {
                shape: Arc::clone(shape),
                table,
            };
            self.shapes.insert(shape.id, known);
        }
        let mut walk = Walk {
            batch,
            at: 0,
            text_end: 0,
            wide_end: 0,
        };
        let mut seen = Seen::default();
        if self.records(&mut walk, ledger, &mut seen).is_err() {
            ledger.everything();
        }
        if seen.is_closed {
            ledger.close(seen.place());
        }
    }

    fn records(&self, walk: &mut Walk<'_>, ledger: &mut Ledger, seen: &mut Seen) -> Result<(), Broken> {
        while let Some(record) = walk.next() {
            if record == RECORD_TRANSACTION {
                walk.number()?;
                seen.transaction(&walk.text()?);
                walk.skip_text()?;
                walk.number()?;
            } else if record == RECORD_NUMBERED {
                walk.number()?;
                walk.skip_text()?;
            } else if record == RECORD_ROWS {
                self.rows(walk, ledger)?;
                seen.is_closed = false;
            } else if record == RECORD_COMMIT {
                walk.skip_text()?;
                seen.is_closed = true;
            } else if record == RECORD_TABLE {
                table_change(walk, ledger)?;
                seen.is_closed = false;
            } else {
                return Err(Broken);
            }
        }
        Ok(())
    }

    fn shape(&self, id: f64) -> Result<Option<&Known>, Broken> {
        if id < 0.0 {
            return Ok(None);
        }
        self.shapes.get(&(id as ShapeId)).map(Some).ok_or(Broken)
    }

    fn rows(&self, walk: &mut Walk<'_>, ledger: &mut Ledger) -> Result<(), Broken> {
        walk.number()?;
        let before = self.shape(walk.number()?)?;
        let after = self.shape(walk.number()?)?;
        let words = walk.number()? as usize;
        let count = walk.number()? as u64;
        let images: Vec<(&Known, Vec<Arc<str>>)> = [before, after]
            .into_iter()
            .flatten()
            .map(|known| (known, ledger.watched_columns(&known.table)))
            .collect();
        let is_watched = images.iter().any(|(known, _)| ledger.is_watched(&known.table));
        let mut values = Vec::new();
        for _ in 0..count {
            walk.skip(words)?;
            for (known, columns) in &images {
                values.clear();
                let is_complete = walk.image(known, columns, &mut values)?;
                if is_watched && is_complete {
                    ledger.row(&known.table, &values);
                } else if is_watched {
                    ledger.whole_table(&known.table);
                }
            }
        }
        Ok(())
    }
}

fn table_change(walk: &mut Walk<'_>, ledger: &mut Ledger) -> Result<(), Broken> {
    let operation = walk.number()?;
    let database = walk.text()?;
    let table = TableName::new(&database, &walk.text()?);
    walk.skip_text()?;
    if operation == f64::from(Operation::Rename as u8) {
        ledger.clear();
    } else {
        ledger.whole_table(&table);
    }
    Ok(())
}

/// The transactions of a batch.
#[derive(Default)]
struct Seen {
    gtids: GtidSet,
    is_anonymous: bool,
    /// The last transaction ended in the batch.
    is_closed: bool,
}

impl Seen {
    fn transaction(&mut self, id: &str) {
        match MysqlGtid::parse(id) {
            Ok(gtid) => self.gtids.insert(&gtid),
            Err(_) => self.is_anonymous = true,
        }
    }

    fn place(self) -> Place {
        if self.is_anonymous {
            Place::Since(Instant::now())
        } else {
            Place::Gtids(self.gtids)
        }
    }
}

/// A place in a batch.
struct Walk<'a> {
    batch: &'a Batch,
    at: usize,
    /// End of the text field that was passed last, and of the last one in wide text.
    text_end: usize,
    wide_end: usize,
}

impl<'a> Walk<'a> {
    fn next(&mut self) -> Option<f64> {
        let number = self.batch.numbers.get(self.at).copied();
        self.at += 1;
        number
    }

    fn number(&mut self) -> Result<f64, Broken> {
        self.next().ok_or(Broken)
    }

    fn skip(&mut self, count: usize) -> Result<(), Broken> {
        self.at = self.at.checked_add(count).ok_or(Broken)?;
        Ok(())
    }

    fn skip_text(&mut self) -> Result<(), Broken> {
        let end = self.number()?;
        self.pass_text(end);
        Ok(())
    }

    /// Moves behind the text field that ends there; below 0 it stands in the wide text.
    fn pass_text(&mut self, end: f64) {
        if end < 0.0 {
            self.wide_end = -end as usize;
        } else {
            self.text_end = end as usize;
        }
    }

    /// The text field whose end is the next number.
    fn text(&mut self) -> Result<String, Broken> {
        let (begin, wide_begin) = (self.text_end, self.wide_end);
        self.skip_text()?;
        if self.wide_end != wide_begin {
            let bytes = self
                .batch
                .wide
                .get(wide_begin * 2..self.wide_end * 2)
                .ok_or(Broken)?;
            let units = bytes
                .chunks_exact(2)
                .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
            return char::decode_utf16(units)
                .collect::<std::result::Result<_, _>>()
                .map_err(|_| Broken);
        }
        let latin = self.batch.text.get(begin..self.text_end).ok_or(Broken)?;
        Ok(latin.iter().copied().map(char::from).collect())
    }

    /// Passes over an image; `values` takes those of `columns`. False where one of them is not in the image.
    fn image(
        &mut self,
        known: &Known,
        columns: &[Arc<str>],
        values: &mut Vec<(Arc<str>, Option<i128>)>,
    ) -> Result<bool, Broken> {
        let layout = &known.shape.layout;
        for index in &known.shape.present {
            let column = layout.columns.get(*index as usize).ok_or(Broken)?;
            let wanted = columns
                .iter()
                .find(|name| ***name == *column.name || name.to_lowercase() == column.name.to_lowercase());
            let number = self.number()?;
            let value = if number.is_infinite() {
                match wanted {
                    Some(_) => self.text()?.parse().ok(),
                    None => {
                        self.skip_text()?;
                        None
                    }
                }
            } else {
                match column.encoding {
                    Encoding::Number | Encoding::Integer if number.fract() == 0.0 => Some(number as i128),
                    Encoding::Text | Encoding::Json | Encoding::Set if !number.is_nan() => {
                        self.pass_text(number);
                        None
                    }
                    _ => None,
                }
            };
            if let Some(name) = wanted {
                values.push((Arc::clone(name), value));
            }
        }
        Ok(values.len() == columns.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dependency, Equality};
    use super::*;
    use crate::event::{BatchWriter, Column, TableLayout, Transaction};

    fn shape(present: Vec<u32>) -> Arc<Shape> {
        let column = |name: &str, encoding| Column {
            name: name.into(),
            encoding,
        };
        let layout = TableLayout {
            database: "d".into(),
            table: "t".into(),
            columns: vec![
                column("name", Encoding::Text),
                column("Id", Encoding::Integer),
                column("raw", Encoding::Bytes),
            ],
            key: vec![1],
        };
        Arc::new(Shape {
            id: 7,
            layout: Arc::new(layout),
            present,
            synthetic: false,
        })
    }

    fn on_id(value: i128) -> Vec<Dependency> {
        vec![Dependency {
            table: TableName::new("d", "t"),
            equalities: vec![Equality {
                column: "id".into(),
                values: vec![value],
            }],
        }]
    }

    fn begin(writer: &mut BatchWriter) {
        let transaction = Transaction {
            id: "3e11fa47-71ca-11e1-9e33-c80aa9429562:5".into(),
            committed_ms: 1.0,
            position_before: "p".into(),
        };
        writer.begin_transaction(transaction, 0);
    }

    fn insert(writer: &mut BatchWriter, name: &str, id: u64) {
        writer.begin_row(Operation::Insert, None, Some(7), 0);
        writer.put_text(name);
        writer.put_u64(id);
        writer.put_bytes(&[1, 2]);
        writer.end_row();
    }

    fn ready(ids: &[i128]) -> Ledger {
        let mut ledger = Ledger::new();
        for id in ids {
            ledger.watch(&on_id(*id)[0]);
        }
        ledger.anchor(Place::Since(Instant::now()));
        ledger.prove_places(|_| true);
        ledger
    }

    #[test]
    fn rows_touch_the_values_that_they_have_and_no_others() {
        let huge = i128::from(u64::MAX);
        let mut ledger = ready(&[1, 2, 3, huge]);
        let mut writer = BatchWriter::new();
        writer.define(shape(vec![0, 1, 2]));
        begin(&mut writer);
        insert(&mut writer, "é😀", 1);
        insert(&mut writer, "", u64::MAX);
        insert(&mut writer, "x", 3);
        writer.commit(&"q".into());
        Feed::new().batch(&writer.take(), &mut ledger);
        let visible = ledger.visible();
        for (id, touched) in [(1, true), (2, false), (3, true), (huge, true)] {
            assert_eq!(ledger.last_change(&on_id(id)) > visible, touched, "{id}");
        }
        assert!(matches!(
            ledger.pending(u64::MAX).collect::<Vec<_>>()[..],
            [Place::Gtids(_)]
        ));
    }

    #[test]
    fn an_image_without_a_watched_column_touches_the_table() {
        let mut ledger = ready(&[2]);
        let mut writer = BatchWriter::new();
        writer.define(shape(vec![0]));
        begin(&mut writer);
        writer.begin_row(Operation::Delete, Some(7), None, 0);
        writer.put_text("n");
        writer.end_row();
        writer.commit(&"q".into());
        Feed::new().batch(&writer.take(), &mut ledger);
        assert!(ledger.last_change(&on_id(2)) > ledger.visible());
    }

    #[test]
    fn a_transaction_that_goes_on_is_proved_only_with_its_end() {
        let mut ledger = ready(&[1]);
        let mut feed = Feed::new();
        let mut writer = BatchWriter::new();
        writer.define(shape(vec![0, 1, 2]));
        begin(&mut writer);
        insert(&mut writer, "a", 1);
        feed.batch(&writer.take(), &mut ledger);
        ledger.prove_places(|_| true);
        assert!(ledger.last_change(&on_id(1)) > ledger.visible());
        insert(&mut writer, "b", 9);
        writer.commit(&"q".into());
        feed.batch(&writer.take(), &mut ledger);
        ledger.prove_places(|_| true);
        assert!(ledger.last_change(&on_id(1)) <= ledger.visible());
    }

    #[test]
    fn a_batch_that_cannot_be_walked_touches_everything() {
        let mut ledger = ready(&[1]);
        let batch = Batch {
            numbers: vec![2.0, 0.0, -1.0, 99.0, 0.0, 1.0],
            ..Batch::default()
        };
        Feed::new().batch(&batch, &mut ledger);
        assert!(ledger.last_change(&on_id(1)) > ledger.visible());
    }
}
