//! What happened to documents and collections, written into batches, whatever the places in the log look like.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bson::RawDocument;

use super::event::write_changed;
use super::reader::Limits;
use crate::config::TableFilter;
use crate::event::{
    BatchWriter, DocumentChange, LastMark, Operation, Shape, ShapeId, TableLayout, Transaction,
};
use crate::source::{Item, SchemaChange};

/// Where in the log a change stands.
pub trait Origin {
    /// Appends the id of the change.
    fn write_id(&self, text: &mut String);

    /// Appends the position behind it.
    fn write_position(&self, text: &mut String);
}

/// A change of a whole collection: what happened, database, collection, new name as `database.collection`.
pub type TableChange<'a> = (Operation, &'a str, &'a str, &'a str);

/// Batches, and what else is ready.
pub struct Output {
    /// What is ready to be handed over.
    pub ready: VecDeque<Item>,
    /// Which collections are delivered.
    pub tables: TableFilter,
    writer: BatchWriter,
    limits: Limits,
    /// Collections that were met, as `database.collection`; `None` where the filter leaves them out.
    shapes: HashMap<String, Option<ShapeId>>,
    /// The name that was looked up last, and a buffer for the next.
    name: String,
    shape: Option<ShapeId>,
    next_shape: ShapeId,
    /// The newest change, where it belongs to a transaction.
    last: Option<LastMark>,
}

impl Output {
    /// Nothing yet.
    pub fn new(tables: TableFilter, limits: Limits) -> Self {
        Self {
            ready: VecDeque::new(),
            tables,
            writer: BatchWriter::new(),
            limits,
            shapes: HashMap::new(),
            name: String::new(),
            shape: None,
            next_shape: 0,
            last: None,
        }
    }

    /// Hands over what was written; returns whether anything was.
    pub fn flush(&mut self) -> bool {
        // Its record is in the batch that leaves.
        self.last = None;
        let has_batch = !self.writer.is_empty();
        if has_batch {
            self.ready.push_back(Item::Batch(self.writer.take()));
        }
        has_batch
    }

    /// Whether a batch is full of what was written.
    pub fn is_full(&self) -> bool {
        self.writer.changes() >= self.limits.changes || self.writer.weight() >= self.limits.bytes
    }

    /// Hands over what was written where a batch is full of it. Called in front of a change, so that the last one of a
    /// transaction can still be marked when its end is read.
    pub fn make_room(&mut self) {
        if self.is_full() {
            self.flush();
        }
    }

    /// Whether the newest change may be the last of its transaction, and nobody knows yet.
    pub const fn has_open_end(&self) -> bool {
        self.last.is_some()
    }

    /// The transaction of the newest change is over.
    pub fn end_transaction(&mut self) {
        if let Some(mark) = self.last.take() {
            self.writer.mark_last(mark);
        }
    }

    /// Whether the changes that follow may still be rolled back.
    pub fn set_uncommitted(&mut self, is_uncommitted: bool) {
        self.writer.set_uncommitted(is_uncommitted);
    }

    /// Writes a change of a document.
    pub fn document(&mut self, origin: &impl Origin, change: &DocumentChange<'_>) {
        let mark = self.writer.put_document(
            change,
            |text| origin.write_id(text),
            |text| origin.write_position(text),
            |text| {
                if let Ok(update) = RawDocument::from_bytes(change.update)
                    && !change.update.is_empty()
                {
                    write_changed(text, update);
                }
            },
        );
        self.last = (!change.transaction.is_empty()).then_some(mark);
    }

    /// Writes changes of whole collections that happened in one operation; `before` is the position in front of it.
    pub fn table_changes(
        &mut self,
        origin: &impl Origin,
        committed_ms: f64,
        before: Arc<str>,
        changes: &[TableChange<'_>],
    ) {
        let mut id = String::new();
        origin.write_id(&mut id);
        let transaction = Transaction {
            id: id.into(),
            committed_ms,
            position_before: before,
        };
        self.writer.begin_transaction(transaction, 0);
        for (operation, database, table, renamed_to) in changes {
            self.writer.table_change(*operation, database, table, renamed_to);
        }
        let mut position = String::new();
        origin.write_position(&mut position);
        self.writer.commit(&position.into());
    }

    /// Writes a rename; one over an existing collection is a drop of that one first.
    pub fn rename(
        &mut self,
        origin: &impl Origin,
        committed_ms: f64,
        before: Arc<str>,
        (from, to): ((&str, &str), (&str, &str)),
        is_over_target: bool,
    ) {
        let name = format!("{}.{}", to.0, to.1);
        let rename = (Operation::Rename, from.0, from.1, name.as_str());
        if is_over_target {
            let drop = (Operation::Drop, to.0, to.1, "");
            self.table_changes(origin, committed_ms, before, &[drop, rename]);
        } else {
            self.table_changes(origin, committed_ms, before, &[rename]);
        }
    }

    /// Whether anybody wants to know of a collection, or, without a name, of a whole database.
    pub fn concerns(&self, database: &str, table: &str) -> bool {
        if table.is_empty() {
            self.tables.concerns_database(database)
        } else {
            self.tables.includes(database, table)
        }
    }

    /// Writes what changed a definition.
    pub fn schema(&mut self, origin: &impl Origin, database: &str, table: &str, statement: String) {
        self.flush();
        let mut position = String::new();
        origin.write_position(&mut position);
        self.ready.push_back(Item::Schema(SchemaChange {
            database: database.into(),
            table: Some(table).filter(|table| !table.is_empty()).map(Arc::from),
            statement: Some(statement.into()),
            position: position.into(),
        }));
    }

    /// The shape of a collection; `None` where the filter leaves it out.
    pub fn shape_of(&mut self, database: &str, table: &str) -> Option<ShapeId> {
        let is_same = self
            .name
            .strip_prefix(database)
            .and_then(|rest| rest.strip_prefix('.'))
            .is_some_and(|rest| rest == table);
        if is_same {
            return self.shape;
        }
        self.name.clear();
        self.name.push_str(database);
        self.name.push('.');
        self.name.push_str(table);
        self.shape = match self.shapes.get(&self.name) {
            Some(shape) => *shape,
            None => self.define(database, table),
        };
        self.shape
    }

    fn define(&mut self, database: &str, table: &str) -> Option<ShapeId> {
        let shape = self.tables.includes(database, table).then(|| {
            let id = self.next_shape;
            self.next_shape += 1;
            let layout = TableLayout {
                database: database.to_owned(),
                table: table.to_owned(),
                columns: Vec::new(),
                key: Vec::new(),
            };
            self.writer.define(Arc::new(Shape {
                id,
                layout: Arc::new(layout),
                present: Vec::new(),
                synthetic: false,
            }));
            id
        });
        self.shapes.insert(self.name.clone(), shape);
        shape
    }
}

/// A command-like text of what changed: `{"createIndexes":"orders","indexes":[…]}`.
pub fn statement(operation: &str, table: &str, description: Option<bson::Document>) -> String {
    let mut all = serde_json::Map::new();
    all.insert(operation.to_owned(), table.into());
    for (key, value) in description.into_iter().flatten() {
        all.insert(key, value.into_relaxed_extjson());
    }
    serde_json::Value::Object(all).to_string()
}
