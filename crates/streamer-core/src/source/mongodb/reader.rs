//! From events to batches: filter, transactions, shapes, and where reading goes on.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};

use super::event::{Event, undecodable, write_changed, write_id};
use super::resume::{Resume, Token};
use super::transaction::Transactions;
use crate::code::Code;
use crate::config::TableFilter;
use crate::error::{Error, Result};
use crate::event::{
    BatchWriter, DocumentChange, LastMark, Operation, Shape, ShapeId, TableLayout, Transaction,
};
use crate::offset::{MongodbOffset, Within};
use crate::source::{Gap, GapReason, Item, SchemaChange};

/// Largest event that is put together from its fragments, in bytes: two images and a description.
const MAX_ASSEMBLED: usize = 64 << 20;

/// What an event asks of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Nothing.
    Done,
    /// More fragments of it.
    Partly,
    /// A new cursor: the server has ended this one.
    Invalidated,
}

/// When a batch is full.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Changes.
    pub changes: u32,
    /// Bytes.
    pub bytes: usize,
}

/// Writes events into batches.
pub struct Reader {
    /// What is ready to be handed over.
    pub ready: VecDeque<Item>,
    /// Where reading began, while no token is known.
    resume: Resume,
    /// The newest token; empty while `resume` holds the place.
    token: String,
    is_invalidate: bool,
    writer: BatchWriter,
    limits: Limits,
    tables: TableFilter,
    /// Tables that were met, as `database.table`; `None` where the filter leaves them out.
    shapes: HashMap<String, Option<ShapeId>>,
    /// The name that was looked up last, and a buffer for the next.
    name: String,
    shape: Option<ShapeId>,
    next_shape: ShapeId,
    transactions: Transactions,
    last: Option<LastMark>,
    fragments: Vec<u8>,
}

impl Reader {
    /// Begins at a place.
    pub fn new(tables: TableFilter, limits: Limits, resume: Resume, within: Option<Within>) -> Self {
        Self {
            ready: VecDeque::new(),
            resume,
            token: String::new(),
            is_invalidate: false,
            writer: BatchWriter::new(),
            limits,
            tables,
            shapes: HashMap::new(),
            name: String::new(),
            shape: None,
            next_shape: 0,
            transactions: Transactions::behind(within),
            last: None,
            fragments: Vec::new(),
        }
    }

    /// Where reading goes on.
    pub fn resume(&self) -> Resume {
        if self.token.is_empty() {
            return self.resume.clone();
        }
        Resume::Token(Token {
            data: self.token.as_str().into(),
            is_invalidate: self.is_invalidate,
        })
    }

    /// The text of the position where reading goes on; empty while it is not known.
    pub fn position(&self) -> Arc<str> {
        self.resume().position().unwrap_or_else(|| "".into())
    }

    /// Reading goes on at another place.
    pub fn jump(&mut self, resume: Resume) {
        self.token.clear();
        self.is_invalidate = false;
        self.resume = resume;
    }

    /// The stream stands at a token behind everything that was taken. Where it is another one than the newest event's, the
    /// transaction of that event is over.
    pub fn advance(&mut self, token: &str) {
        // The token of an invalidate event, until an event follows it.
        if token.is_empty() || token == self.token {
            return;
        }
        if MongodbOffset::time_of(token) > MongodbOffset::time_of(&self.token) {
            self.end_transaction();
        }
        self.set_token(token, false);
    }

    fn set_token(&mut self, token: &str, is_invalidate: bool) {
        self.token.clear();
        self.token.push_str(token);
        self.is_invalidate = is_invalidate;
    }

    /// The cursor is gone: fragments of an event come again.
    pub fn cursor_ended(&mut self) {
        self.fragments.clear();
    }

    /// Hands over what was written.
    pub fn flush(&mut self) {
        // Its record is in the batch that leaves.
        self.last = None;
        if !self.writer.is_empty() {
            self.ready.push_back(Item::Batch(self.writer.take()));
        }
    }

    fn end_transaction(&mut self) {
        if let Some(mark) = self.last.take() {
            self.writer.mark_last(mark);
        }
    }

    /// Takes in an event.
    ///
    /// # Errors
    /// `ERR_STREAMER_CONFIG_INVALID` where the pipeline took a field that is needed, `ERR_STREAMER_LOG_UNDECODABLE` where the event is no
    /// valid BSON.
    pub fn take(&mut self, raw: &RawDocument) -> Result<Taken> {
        let event = Event::read(raw)?;
        if event.token.is_empty() {
            event.check()?;
        }
        match event.split {
            None => self.take_whole(&event),
            Some((fragment, of)) => {
                self.collect(raw)?;
                if fragment < of {
                    return Ok(Taken::Partly);
                }
                let whole = self.assemble()?;
                let event = Event::read(&whole)?;
                self.take_whole(&event)
            }
        }
    }

    /// Fragments of an event hold different fields of it; `_id` is that of the newest.
    fn collect(&mut self, raw: &RawDocument) -> Result<()> {
        let bytes = raw.as_bytes();
        let fields = bytes.get(4..bytes.len().saturating_sub(1)).unwrap_or_default();
        if self.fragments.len() + fields.len() > MAX_ASSEMBLED {
            return Err(Error::new(
                Code::LimitExceeded,
                format!("The fragments of an event hold more than {MAX_ASSEMBLED} bytes."),
            ));
        }
        self.fragments.extend_from_slice(fields);
        Ok(())
    }

    fn assemble(&mut self) -> Result<RawDocumentBuf> {
        let fields = std::mem::take(&mut self.fragments);
        let length = i32::try_from(fields.len() + 5).unwrap_or(i32::MAX);
        let mut bytes = Vec::with_capacity(fields.len() + 5);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&fields);
        bytes.push(0);
        RawDocumentBuf::from_bytes(bytes).map_err(undecodable)
    }

    fn take_whole(&mut self, event: &Event<'_>) -> Result<Taken> {
        event.check()?;
        let continues = match (event.session, event.number) {
            (Some(session), Some(number)) => self.transactions.enter(session, number),
            _ => {
                self.transactions.leave();
                false
            }
        };
        if !continues {
            self.end_transaction();
        }
        if self.writer.changes() >= self.limits.changes || self.writer.weight() >= self.limits.bytes {
            self.flush();
        }
        let mut is_invalidate = false;
        match event.operation {
            "insert" => self.document(event, Operation::Insert)?,
            "update" => self.document(event, Operation::Update)?,
            "replace" => self.document(event, Operation::Replace)?,
            "delete" => self.document(event, Operation::Delete)?,
            "drop" => self.table(event, &[(Operation::Drop, event.database, event.table, "")]),
            "dropDatabase" => self.table(event, &[(Operation::Drop, event.database, "", "")]),
            "rename" => self.rename(event),
            "invalidate" => is_invalidate = true,
            _ => self.definition(event),
        }
        self.set_token(event.token, is_invalidate);
        Ok(if is_invalidate {
            Taken::Invalidated
        } else {
            Taken::Done
        })
    }

    fn document(&mut self, event: &Event<'_>, operation: Operation) -> Result<()> {
        let Some(shape) = self.shape_of(event.database, event.table) else {
            return Ok(());
        };
        let key = event
            .key
            .ok_or_else(|| super::event::missing_field("documentKey"))?;
        let is_in_transaction = !self.transactions.id().is_empty();
        let index = if is_in_transaction {
            self.transactions.take_index()
        } else {
            0
        };
        let change = DocumentChange {
            committed_ms: event.committed_ms(),
            transaction: self.transactions.id(),
            index,
            operation,
            shape,
            key: key.as_bytes(),
            before: event.before.map_or(&[], RawDocument::as_bytes),
            after: event.after.map_or(&[], RawDocument::as_bytes),
            update: event.update.map_or(&[], RawDocument::as_bytes),
        };
        let transaction = self.transactions.id();
        let mark = self.writer.put_document(
            &change,
            |text| write_id(text, event.token),
            |text| {
                MongodbOffset::write_position(text, event.token, false);
                if is_in_transaction {
                    text.push('+');
                    text.push_str(transaction);
                    text.push('/');
                    text.push_str(&(u64::from(index) + 1).to_string());
                }
            },
            |text| {
                if let Some(update) = event.update {
                    write_changed(text, update);
                }
            },
        );
        self.last = is_in_transaction.then_some(mark);
        Ok(())
    }

    fn rename(&mut self, event: &Event<'_>) {
        let (to_database, to_table) = event.to.unwrap_or_default();
        let to = format!("{to_database}.{to_table}");
        let rename = (Operation::Rename, event.database, event.table, to.as_str());
        let is_over_target = event
            .description
            .is_some_and(|description| !matches!(description.get("dropTarget"), Ok(None) | Err(_)));
        let is_watched =
            self.tables.includes(event.database, event.table) || self.tables.includes(to_database, to_table);
        if !is_watched {
            return;
        }
        if is_over_target {
            self.table_changes(event, &[(Operation::Drop, to_database, to_table, ""), rename]);
        } else {
            self.table_changes(event, &[rename]);
        }
    }

    fn table(&mut self, event: &Event<'_>, changes: &[(Operation, &str, &str, &str)]) {
        let is_watched = if event.table.is_empty() {
            self.tables.concerns_database(event.database)
        } else {
            self.tables.includes(event.database, event.table)
        };
        if is_watched {
            self.table_changes(event, changes);
        }
    }

    fn table_changes(&mut self, event: &Event<'_>, changes: &[(Operation, &str, &str, &str)]) {
        let mut id = String::new();
        write_id(&mut id, event.token);
        let transaction = Transaction {
            id: id.into(),
            committed_ms: event.committed_ms(),
            position_before: self.position(),
        };
        self.writer.begin_transaction(transaction, 0);
        for (operation, database, table, renamed_to) in changes {
            self.writer.table_change(*operation, database, table, renamed_to);
        }
        let mut position = String::new();
        MongodbOffset::write_position(&mut position, event.token, false);
        self.writer.commit(&position.into());
    }

    /// What changed a definition: `create`, `createIndexes`, `dropIndexes`, `modify`, `shardCollection`, …
    fn definition(&mut self, event: &Event<'_>) {
        let is_watched = if event.table.is_empty() {
            self.tables.concerns_database(event.database)
        } else {
            self.tables.includes(event.database, event.table)
        };
        if !is_watched {
            return;
        }
        self.flush();
        let mut position = String::new();
        MongodbOffset::write_position(&mut position, event.token, false);
        self.ready.push_back(Item::Schema(SchemaChange {
            database: event.database.into(),
            table: Some(event.table).filter(|table| !table.is_empty()).map(Arc::from),
            statement: Some(statement(event).into()),
            position: position.into(),
        }));
    }

    /// An event was too large: what could be had of it was taken, or nothing where `skipped`.
    pub fn report_large(&mut self, from: Arc<str>, table: Option<String>) {
        self.flush();
        let error = Error::new(
            Code::LimitExceeded,
            "An event of the change stream is larger than the 16 MiB that the server can send: its images are missing.",
        )
        .with_advice("MongoDB 6.0.9, 7.0 and newer send such events in parts; smaller documents, or no images, avoid them.");
        self.ready.push_back(Item::Gap(Gap {
            from: Some(from).filter(|text| !text.is_empty()),
            to: Some(self.position()).filter(|text| !text.is_empty()),
            tables: table.map(|table| vec![table]),
            reason: GapReason::Undecodable,
            error: Some(error),
        }));
    }

    /// The server has lost the place; reading goes on at another one.
    pub fn report_lost(&mut self, error: Error, instead: Resume) {
        self.flush();
        let from = self.position();
        self.jump(instead);
        self.ready.push_back(Item::Gap(Gap {
            from: Some(from).filter(|text| !text.is_empty()),
            to: self.resume.position(),
            tables: None,
            reason: GapReason::HistoryLost,
            error: Some(error),
        }));
    }

    /// Goes over an event without handing it over.
    pub fn pass(&mut self, raw: &RawDocument) -> Result<Option<String>> {
        let event = Event::read(raw)?;
        event.check()?;
        self.set_token(event.token, event.operation == "invalidate");
        Ok(Some(format!("{}.{}", event.database, event.table)))
    }

    fn shape_of(&mut self, database: &str, table: &str) -> Option<ShapeId> {
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
fn statement(event: &Event<'_>) -> String {
    let mut all = serde_json::Map::new();
    all.insert(event.operation.to_owned(), event.table.into());
    let description = event
        .description
        .and_then(|description| bson::Document::try_from(description).ok());
    for (key, value) in description.into_iter().flatten() {
        all.insert(key, value.into_relaxed_extjson());
    }
    serde_json::Value::Object(all).to_string()
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
