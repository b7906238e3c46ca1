//! From batches to the ledger: which rows of which tables changed.
//!
//! Walks the numbers of a batch as the JavaScript side does, but looks only at the cells of watched columns, and of documents
//! at the key and at watched fields.
//!
//! # Documents
//! An event always holds the document's key. Other fields can be judged only where every image is there that the change
//! concerns, as it was at that moment: the one before for an update, a replacement and a deletion, the one after for all
//! but the last. An image that the server looks up when the event is read (`updateLookup`) is of a later moment, and
//! does not count. Without them, a change touches the collection for whoever depends on such a field.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bson::{RawBsonRef, RawDocument};

use super::dependency::TableName;
use super::document::hash;
use super::ledger::Ledger;
use super::place::Place;
use crate::event::{
    Batch, Encoding, Operation, RECORD_ALONE, RECORD_COMMIT, RECORD_DOCUMENT, RECORD_NUMBERED, RECORD_ROWS,
    RECORD_TABLE, RECORD_TRANSACTION, Shape, ShapeId, UNCOMMITTED_TABLE,
};
use crate::offset::{GtidSet, MysqlGtid, Position};

/// What a shape is to the ledger.
struct Known {
    shape: Arc<Shape>,
    table: TableName,
}

/// How a source's batches tell what covers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By the ids of their transactions, at the end of each.
    Transactions,
    /// By their last position, wherever it lies.
    Positions {
        /// The image behind an update is the one of that moment.
        has_exact_images: bool,
    },
}

/// Reads the batches of one source, in order.
pub struct Feed {
    order: Order,
    shapes: HashMap<ShapeId, Known>,
}

/// The batch is not what its header promises.
struct Broken;

impl Feed {
    /// A feed that has seen nothing.
    pub fn new(order: Order) -> Self {
        Self {
            order,
            shapes: HashMap::new(),
        }
    }

    /// Records the changes of a batch; returns whether a table came to an end or to another name. A batch that cannot be walked
    /// counts as a change of everything.
    pub fn batch(&mut self, batch: &Batch, ledger: &mut Ledger) -> bool {
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
            bytes_end: 0,
        };
        let mut seen = Seen::default();
        if self.records(&mut walk, ledger, &mut seen).is_err() {
            ledger.everything();
            seen.redefines = true;
        }
        let redefines = seen.redefines;
        match self.order {
            Order::Transactions if seen.is_closed => ledger.close(seen.place()),
            Order::Transactions => ledger.stays_open(),
            Order::Positions { .. } => {
                let position = batch
                    .position
                    .as_deref()
                    .and_then(|text| Position::parse(text).ok());
                if let Some(place) = position.and_then(|position| Place::of(&position)) {
                    ledger.close(place);
                } else {
                    ledger.stays_open();
                }
            }
        }
        redefines
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
            } else if record == RECORD_ALONE {
                walk.number()?;
                walk.skip_text()?;
                walk.skip_text()?;
                seen.is_anonymous = true;
            } else if record == RECORD_ROWS {
                self.rows(walk, ledger)?;
                seen.is_closed = false;
            } else if record == RECORD_COMMIT {
                walk.skip_text()?;
                seen.is_closed = true;
            } else if record == RECORD_TABLE {
                seen.redefines |= table_change(walk, ledger)?;
                seen.is_closed = false;
            } else if record == RECORD_DOCUMENT {
                self.document(walk, ledger)?;
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

impl Feed {
    /// A change of one document; see `event/document.rs`.
    fn document(&self, walk: &mut Walk<'_>, ledger: &mut Ledger) -> Result<(), Broken> {
        walk.number()?;
        for _ in ["id", "position", "transaction"] {
            walk.skip_text()?;
        }
        walk.skip(2)?;
        let operation = walk.number()?;
        let known = self.shape(walk.number()?)?.ok_or(Broken)?;
        let (key, before, after) = (walk.bytes()?, walk.bytes()?, walk.bytes()?);
        walk.bytes()?;
        walk.skip_text()?;
        if !ledger.is_watched(&known.table) {
            return Ok(());
        }
        let is = |of: Operation| operation == f64::from(of as u8);
        let mut images = Vec::with_capacity(2);
        let mut is_complete = true;
        if !is(Operation::Insert) {
            is_complete &= before.is_some();
            images.extend(before);
        }
        if !is(Operation::Delete) {
            let is_exact = !is(Operation::Update)
                || self.order
                    == Order::Positions {
                        has_exact_images: true,
                    };
            is_complete &= is_exact && after.is_some();
            images.extend(after);
        }
        let mut values = Vec::new();
        let can_judge = ledger.watched_columns(&known.table).iter().all(|name| {
            if &**name == "_id" {
                return key.is_some_and(|key| field(key, name, &mut values));
            }
            is_complete && images.iter().all(|image| field(image, name, &mut values))
        });
        if can_judge {
            ledger.row(&known.table, &values);
        } else {
            ledger.whole_table(&known.table);
        }
        Ok(())
    }
}

/// The values by which an equality finds a document: a field's, or each of an array. False where one of them cannot be told.
fn field(document: &RawDocument, name: &Arc<str>, values: &mut Vec<(Arc<str>, Option<i128>)>) -> bool {
    let mut take = |value: RawBsonRef<'_>| match hash(value) {
        Some(value) => {
            values.push((Arc::clone(name), Some(value)));
            true
        }
        None => false,
    };
    match document.get(&**name) {
        Ok(None) => true,
        Ok(Some(RawBsonRef::Array(array))) => array.into_iter().all(|value| value.is_ok_and(&mut take)),
        Ok(Some(value)) => take(value),
        Err(_) => false,
    }
}

/// Whether the table came to an end or to another name.
fn table_change(walk: &mut Walk<'_>, ledger: &mut Ledger) -> Result<bool, Broken> {
    // Whether it may be rolled back makes no difference: a rollback drops everything.
    let operation = walk.number()? % UNCOMMITTED_TABLE;
    let database = walk.text()?;
    let table = walk.text()?;
    walk.skip_text()?;
    if operation == f64::from(Operation::Rename as u8) {
        ledger.any_table();
        return Ok(true);
    }
    if table.is_empty() {
        ledger.whole_database(&database);
    } else {
        ledger.whole_table(&TableName::new(&database, &table));
    }
    Ok(operation == f64::from(Operation::Drop as u8))
}

/// The transactions of a batch.
#[derive(Default)]
struct Seen {
    gtids: GtidSet,
    is_anonymous: bool,
    /// The last transaction ended in the batch.
    is_closed: bool,
    /// A table came to an end or to another name.
    redefines: bool,
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
    /// The same of bytes; followed for documents only.
    bytes_end: usize,
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

    /// The document in the bytes field whose end is the next number; `None` where the field is empty.
    fn bytes(&mut self) -> Result<Option<&'a RawDocument>, Broken> {
        let begin = self.bytes_end;
        self.bytes_end = self.number()? as usize;
        let bytes = self.batch.bytes.get(begin..self.bytes_end).ok_or(Broken)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        RawDocument::from_bytes(bytes).map(Some).map_err(|_| Broken)
    }

    /// A cell of a column that holds values of any type, behind its escape: an integer, where it is one.
    fn dynamic(&mut self) -> Result<Option<i128>, Broken> {
        match self.number()? {
            0.0 => self.skip_text()?,
            1.0 => self.skip(1)?,
            2.0 => return Ok(self.text()?.parse().ok()),
            _ => {}
        }
        Ok(None)
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
            let value = if number.is_infinite() && column.encoding == Encoding::Dynamic {
                self.dynamic()?
            } else if number.is_infinite() {
                match wanted {
                    Some(_) => self.text()?.parse().ok(),
                    None => {
                        self.skip_text()?;
                        None
                    }
                }
            } else {
                match column.encoding {
                    Encoding::Number | Encoding::Integer | Encoding::Dynamic if number.fract() == 0.0 => {
                        Some(number as i128)
                    }
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
        Feed::new(Order::Transactions).batch(&writer.take(), &mut ledger);
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
        Feed::new(Order::Transactions).batch(&writer.take(), &mut ledger);
        assert!(ledger.last_change(&on_id(2)) > ledger.visible());
    }

    #[test]
    fn a_transaction_that_goes_on_is_proved_only_with_its_end() {
        let mut ledger = ready(&[1]);
        let mut feed = Feed::new(Order::Transactions);
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
        Feed::new(Order::Transactions).batch(&batch, &mut ledger);
        assert!(ledger.last_change(&on_id(1)) > ledger.visible());
    }

    mod documents {
        use bson::{RawDocumentBuf, doc};

        use super::*;
        use crate::cache::document::hash;
        use crate::event::DocumentChange;

        const TOKEN: &str = "8265EB6D3B000000022B042C0100296E5A1004";

        fn raw(document: bson::Document) -> RawDocumentBuf {
            RawDocumentBuf::try_from(&document).unwrap()
        }

        fn on(field: &str, value: i32) -> Vec<Dependency> {
            vec![Dependency {
                table: TableName::new("d", "t"),
                equalities: vec![Equality {
                    column: field.into(),
                    values: vec![hash(RawBsonRef::Int32(value)).unwrap()],
                }],
            }]
        }

        /// Which of some dependencies a change touches.
        fn touched(
            order: Order,
            operation: Operation,
            images: [Option<bson::Document>; 2],
            dependencies: &[Vec<Dependency>],
        ) -> Vec<bool> {
            let mut ledger = Ledger::new();
            for dependency in dependencies.iter().flatten() {
                ledger.watch(dependency);
            }
            ledger.anchor(Place::Clock(1));
            ledger.prove_places(|_| true);
            let visible = ledger.visible();
            let mut writer = BatchWriter::new();
            writer.define(Arc::new(Shape {
                id: 7,
                layout: Arc::new(TableLayout {
                    database: "d".into(),
                    table: "t".into(),
                    columns: Vec::new(),
                    key: Vec::new(),
                }),
                present: Vec::new(),
                synthetic: false,
            }));
            let key = raw(doc! { "shard": 9, "_id": 1 });
            let images = images.map(|image| image.map(raw));
            let bytes = |image: &Option<RawDocumentBuf>| {
                image
                    .as_ref()
                    .map_or(Vec::new(), |image| image.as_bytes().to_vec())
            };
            let (before, after) = (bytes(&images[0]), bytes(&images[1]));
            let change = DocumentChange {
                committed_ms: 1.0,
                transaction: "",
                index: 0,
                operation,
                shape: 7,
                key: key.as_bytes(),
                before: &before,
                after: &after,
                update: &[],
            };
            writer.put_document(
                &change,
                |id| id.push('i'),
                |position| crate::offset::MongodbOffset::write_position(position, TOKEN, false),
                |_| (),
            );
            Feed::new(order).batch(&writer.take(), &mut ledger);
            assert!(matches!(ledger.horizon(), Some((_, Place::Clock(clock))) if *clock > 1));
            dependencies
                .iter()
                .map(|dependency| ledger.last_change(dependency) > visible)
                .collect()
        }

        const EXACT: Order = Order::Positions {
            has_exact_images: true,
        };
        const LOOKED_UP: Order = Order::Positions {
            has_exact_images: false,
        };

        #[test]
        fn the_key_is_always_known() {
            let keys = [on("_id", 1), on("_id", 2)];
            for operation in [Operation::Insert, Operation::Update, Operation::Delete] {
                assert_eq!(touched(LOOKED_UP, operation, [None, None], &keys), [true, false]);
            }
        }

        #[test]
        fn other_fields_are_judged_where_every_image_is_there_and_of_that_moment() {
            let fields = [on("a", 1), on("a", 2), on("a", 3)];
            let (one, two) = (Some(doc! { "a": 1 }), Some(doc! { "a": [2] }));
            let all = [true, true, true];
            let images = || [one.clone(), two.clone()];
            assert_eq!(
                touched(EXACT, Operation::Update, images(), &fields),
                [true, true, false]
            );
            assert_eq!(touched(LOOKED_UP, Operation::Update, images(), &fields), all);
            assert_eq!(
                touched(EXACT, Operation::Update, [None, two.clone()], &fields),
                all
            );
            let insert = touched(LOOKED_UP, Operation::Insert, [None, two.clone()], &fields);
            assert_eq!(insert, [false, true, false]);
            let replace = touched(LOOKED_UP, Operation::Replace, images(), &fields);
            assert_eq!(replace, [true, true, false]);
            assert_eq!(touched(EXACT, Operation::Delete, [None, None], &fields), all);
            let delete = touched(EXACT, Operation::Delete, [one.clone(), None], &fields);
            assert_eq!(delete, [true, false, false]);
        }
    }
}
