//! From events to batches: filter, transactions, shapes, and where reading goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf, Timestamp};

use super::event::{Event, missing_field, undecodable, write_id};
use super::failure::Hindrance;
use super::output::{Origin, Output, TableChange, statement};
use super::resume::{Resume, Token};
use super::transaction::Transactions;
use crate::code::Code;
use crate::config::{BeforeChange, FullDocument, MongodbConfig, TableFilter};
use crate::error::{Error, Result};
use crate::event::{DocumentChange, Operation};
use crate::offset::{MongodbOffset, Within};
use crate::source::{Gap, GapReason, Item};

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

/// What the user asked of every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demands {
    /// The image before, where there was a document.
    pub before: bool,
    /// The image after, where there is a document.
    pub after: bool,
    /// Stages of the user's stand between the server's log and us.
    pub has_pipeline: bool,
}

impl Demands {
    /// What is looked at here. With a pipeline, which may judge by the images and take them away, the server itself must look.
    pub fn of(config: &MongodbConfig) -> Self {
        let has_pipeline = !config.pipeline.is_empty();
        Self {
            before: config.before_change == BeforeChange::Required && !has_pipeline,
            after: config.full_document == FullDocument::Required && !has_pipeline,
            has_pipeline,
        }
    }

    fn lacks(self, event: &Event<'_>, operation: Operation) -> bool {
        (self.after && event.after.is_none() && operation != Operation::Delete)
            || (self.before && event.before.is_none() && operation != Operation::Insert)
    }
}

/// Changes whose image was required and is missing; they are in the batch that is written.
#[derive(Debug)]
struct Imageless {
    from: Arc<str>,
    tables: BTreeSet<String>,
}

/// Where an event stands; with its transaction and how many of its changes were met, where it belongs to one.
struct Stand<'a> {
    token: &'a str,
    within: Option<(&'a str, u32)>,
}

impl Origin for Stand<'_> {
    fn write_id(&self, text: &mut String) {
        write_id(text, self.token);
    }

    fn write_position(&self, text: &mut String) {
        MongodbOffset::write_position(text, self.token, false);
        if let Some((transaction, changes)) = self.within {
            text.push('+');
            text.push_str(transaction);
            text.push('/');
            text.push_str(&changes.to_string());
        }
    }
}

/// An event stands alone.
fn alone<'a>(event: &'a Event<'_>) -> Stand<'a> {
    Stand {
        token: &event.token,
        within: None,
    }
}

/// Writes events into batches.
pub struct Reader {
    /// What was written.
    pub output: Output,
    /// Where reading began, while no token is known.
    resume: Resume,
    /// The newest token; empty while `resume` holds the place.
    token: String,
    is_invalidate: bool,
    /// The server does not find the token: what happened at its time is sent again, and passed over.
    is_unknown: bool,
    demands: Demands,
    imageless: Option<Imageless>,
    transactions: Transactions,
    fragments: Vec<u8>,
}

impl Reader {
    /// Begins at a place.
    pub fn new(
        tables: TableFilter,
        limits: Limits,
        demands: Demands,
        resume: Resume,
        within: Option<Within>,
    ) -> Self {
        Self {
            output: Output::new(tables, limits),
            resume,
            token: String::new(),
            is_invalidate: false,
            is_unknown: false,
            demands,
            imageless: None,
            transactions: Transactions::behind(within),
            fragments: Vec::new(),
        }
    }

    /// Where reading goes on.
    pub fn resume(&self) -> Resume {
        match self.time() {
            Some((time, increment)) if self.is_unknown => Resume::Time(Timestamp { time, increment }),
            _ => self.place(),
        }
    }

    fn place(&self) -> Resume {
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
        self.place().position().unwrap_or_else(|| "".into())
    }

    /// The server does not find the token. Reading goes on at its time, and passes over what lies in front of it: tokens are made
    /// to be compared. False where the time is not known.
    pub fn locate(&mut self) -> bool {
        if let (true, Resume::Token(token)) = (self.token.is_empty(), &self.resume) {
            let Token { data, is_invalidate } = token.clone();
            self.set_token(&data, is_invalidate);
        }
        self.is_unknown = !self.is_unknown && !self.is_invalidate && self.time().is_some();
        self.is_unknown
    }

    /// Whether an event, or the place behind a batch, lies in front of a token that the server does not find.
    fn is_behind(&self, token: &str) -> bool {
        self.is_unknown && token <= self.token.as_str()
    }

    /// Reading goes on at another place.
    pub fn jump(&mut self, resume: Resume) {
        self.set_token("", false);
        self.resume = resume;
    }

    /// The stream stands at a token behind everything that was taken. Where it is another one than the newest event's, the
    /// transaction of that event is over.
    pub fn advance(&mut self, token: &str) {
        // The token of an invalidate event, until an event follows it.
        if token.is_empty() || token == self.token || self.is_behind(token) {
            return;
        }
        if MongodbOffset::time_of(token) > MongodbOffset::time_of(&self.token) {
            self.output.end_transaction();
        }
        self.set_token(token, false);
    }

    fn set_token(&mut self, token: &str, is_invalidate: bool) {
        self.token.clear();
        self.token.push_str(token);
        self.is_invalidate = is_invalidate;
        self.is_unknown = false;
    }

    /// The cursor is gone: fragments of an event come again.
    pub fn cursor_ended(&mut self) {
        self.fragments.clear();
    }

    /// Hands over what was written; returns whether anything was.
    pub fn flush(&mut self) -> bool {
        let has_batch = self.output.flush();
        if let Some(Imageless { from, tables }) = self.imageless.take() {
            let tables = tables.into_iter().collect();
            self.report(from, Some(tables), Hindrance::NoImage.error());
        }
        has_batch
    }

    /// The cluster time of the newest event.
    pub fn time(&self) -> Option<(u32, u32)> {
        MongodbOffset::time_of(&self.token)
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

    /// Takes in an event that was asked for without its images: what can be had of it.
    ///
    /// # Errors
    /// Those of [`take`](Self::take).
    pub fn take_reduced(&mut self, raw: &RawDocument) -> Result<Taken> {
        let demands = std::mem::take(&mut self.demands);
        let taken = self.take(raw);
        self.demands = demands;
        taken
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
        if self.is_behind(&event.token) {
            return Ok(Taken::Done);
        }
        let continues = match (event.session, event.number) {
            (Some(session), Some(number)) => self.transactions.enter(session, number),
            _ => {
                self.transactions.leave();
                false
            }
        };
        if !continues {
            self.output.end_transaction();
        }
        if self.output.is_full() {
            self.flush();
        }
        let mut is_invalidate = false;
        match event.operation {
            "insert" => self.document(event, Operation::Insert)?,
            "update" => self.document(event, Operation::Update)?,
            "replace" => self.document(event, Operation::Replace)?,
            "delete" => self.document(event, Operation::Delete)?,
            "drop" => self.table(event, (Operation::Drop, event.database, event.table, ""))?,
            "dropDatabase" => self.table(event, (Operation::Drop, event.database, "", ""))?,
            "rename" => self.rename(event)?,
            "invalidate" => is_invalidate = true,
            // Nothing but a change of a document has a key: a stage of the user's has renamed what happened to it.
            _ if self.demands.has_pipeline && event.key.is_some() => {
                return Err(missing_field("operationType"));
            }
            _ => self.definition(event)?,
        }
        self.set_token(&event.token, is_invalidate);
        Ok(if is_invalidate {
            Taken::Invalidated
        } else {
            Taken::Done
        })
    }

    fn document(&mut self, event: &Event<'_>, operation: Operation) -> Result<()> {
        let Some(shape) = self.output.shape_of(event.database, event.table) else {
            return self.unwatched();
        };
        if self.demands.lacks(event, operation) {
            let from = self.position();
            let imageless = self.imageless.get_or_insert_with(|| Imageless {
                from,
                tables: BTreeSet::new(),
            });
            imageless
                .tables
                .insert(format!("{}.{}", event.database, event.table));
        }
        let key = event.key.ok_or_else(|| missing_field("documentKey"))?;
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
        let within = is_in_transaction.then(|| (self.transactions.id(), index.saturating_add(1)));
        let stand = Stand {
            token: &event.token,
            within,
        };
        self.output.document(&stand, &change);
        Ok(())
    }

    /// An event of a table that is not delivered. The server sends none, so a stage of the user's must have given it another name:
    /// to leave it out would be to lose it.
    fn unwatched(&self) -> Result<()> {
        if self.demands.has_pipeline {
            return Err(missing_field("ns"));
        }
        Ok(())
    }

    fn rename(&mut self, event: &Event<'_>) -> Result<()> {
        let (from, to) = ((event.database, event.table), event.to.unwrap_or_default());
        let is_over_target = event
            .description
            .is_some_and(|description| !matches!(description.get("dropTarget"), Ok(None) | Err(_)));
        let tables = &self.output.tables;
        if !tables.includes(from.0, from.1) && !tables.includes(to.0, to.1) {
            return self.unwatched();
        }
        let before = self.position();
        let names = (from, to);
        self.output
            .rename(&alone(event), event.committed_ms(), before, names, is_over_target);
        Ok(())
    }

    fn table(&mut self, event: &Event<'_>, change: TableChange<'_>) -> Result<()> {
        if !self.output.concerns(event.database, event.table) {
            return self.unwatched();
        }
        let before = self.position();
        self.output
            .table_changes(&alone(event), event.committed_ms(), before, &[change]);
        Ok(())
    }

    /// What changed a definition: `create`, `createIndexes`, `dropIndexes`, `modify`, `shardCollection`, …
    fn definition(&mut self, event: &Event<'_>) -> Result<()> {
        if !self.output.concerns(event.database, event.table) {
            return self.unwatched();
        }
        self.flush();
        let description = event
            .description
            .and_then(|description| bson::Document::try_from(description).ok());
        let statement = statement(event.operation, event.table, description);
        self.output
            .schema(&alone(event), event.database, event.table, statement);
        Ok(())
    }

    /// An event could not be had whole; what could be had of it was taken.
    pub fn report_reduced(&mut self, from: Arc<str>, table: Option<String>, hindrance: Hindrance) {
        self.flush();
        self.report(from, table.map(|table| vec![table]), hindrance.error());
    }

    /// Something is missing between a place and the present one.
    fn report(&mut self, from: Arc<str>, tables: Option<Vec<String>>, error: Error) {
        self.output.ready.push_back(Item::Gap(Gap {
            from: Some(from).filter(|text| !text.is_empty()),
            to: Some(self.position()).filter(|text| !text.is_empty()),
            tables,
            reason: GapReason::Undecodable,
            error: Some(error),
        }));
    }

    /// The server has lost the place; reading goes on at another one.
    pub fn report_lost(&mut self, error: Error, instead: Resume) {
        self.flush();
        let from = self.position();
        self.jump(instead);
        self.output.ready.push_back(Item::Gap(Gap {
            from: Some(from).filter(|text| !text.is_empty()),
            to: self.resume.position(),
            tables: None,
            reason: GapReason::HistoryLost,
            error: Some(error),
        }));
    }

    /// Goes over an event without handing it over.
    pub fn pass(&mut self, raw: &RawDocument) -> Result<()> {
        let event = Event::read(raw)?;
        event.check()?;
        self.set_token(&event.token, event.operation == "invalidate");
        Ok(())
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
