//! From entries to batches: what is delivered, under which id, and where reading goes on.
//!
//! # Places
//! `at` is the entry behind which everything is still to be read. The changes of a transaction lie in one entry or are reached from it, so
//! the position of a change in the middle is the entry in front of its transaction, with how many changes were delivered; that of a
//! change alone is its own entry.
//!
//! # What may be rolled back
//! An entry is safe once a majority has it (`committed`). What is newer is marked, and `touched` is the newest entry of which anything was
//! handed over: a rollback that stays behind it has taken back nothing that anybody was told.

use std::sync::Arc;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

use super::delta::{self, Update};
use super::entry::{Entry, is_internal};
use super::member::NOTHING;
use super::part::{Part, Stand};
use crate::code::Code;
use crate::config::TableFilter;
use crate::error::{Error, Result};
use crate::event::{DocumentChange, Operation};
use crate::offset::{OpTime, Within};
use crate::source::mongodb::output::{Output, statement};
use crate::source::mongodb::reader::Limits;
use crate::source::{Gap, GapReason, Item};

/// Deepest `applyOps` inside of others.
const MAX_NESTED: usize = 10;

/// Where a database keeps the definitions of its views.
const VIEWS: &str = "system.views";

/// What an entry asks for.
#[derive(Debug)]
pub enum Taken {
    /// Nothing.
    Done,
    /// It is several operations, or wants a document: it is worked off by itself.
    Parts(Part),
}

/// How the entry at which reading goes on is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// It is this one, and done with.
    Here,
    /// It is this one, and still to be read.
    Unread,
    /// It is another one.
    Missing,
}

/// Writes entries into batches.
pub struct OplogReader {
    /// What was written.
    pub output: Output,
    /// Up to here a majority has the oplog.
    pub committed: OpTime,
    /// The newest entry of which something was handed over.
    pub touched: OpTime,
    at: OpTime,
    /// The entry at `at` is still to be read.
    is_unread: bool,
    /// How much of the entry behind `at` was handed over.
    within: Option<Within>,
    has_lookup: bool,
}

impl OplogReader {
    /// Begins behind an entry, or with it.
    pub fn new(tables: TableFilter, limits: Limits, at: OpTime, is_unread: bool, has_lookup: bool) -> Self {
        Self {
            output: Output::new(tables, limits),
            committed: NOTHING,
            touched: NOTHING,
            at,
            is_unread,
            within: None,
            has_lookup,
        }
    }

    /// Part of the entry behind the place was handed over.
    pub fn resume_within(&mut self, within: Option<Within>) {
        self.within = within;
    }

    /// The entry behind which reading goes on.
    pub const fn at(&self) -> OpTime {
        self.at
    }

    /// The text of the position where reading goes on; empty in front of the first entry of all.
    pub fn position(&self) -> Arc<str> {
        if self.is_unread {
            return "".into();
        }
        let mut text = String::new();
        self.at.write_position(&mut text);
        if let Some(within) = &self.within {
            text.push_str(&format!("+{}/{}", within.transaction, within.changes));
        }
        text.into()
    }

    /// Whether the place has an entry before it, and nothing of the one behind it was handed over.
    pub const fn is_between_entries(&self) -> bool {
        !self.is_unread && self.within.is_none()
    }

    /// Reading goes on at another place.
    pub fn jump(&mut self, at: OpTime, is_unread: bool) {
        self.at = at;
        self.is_unread = is_unread;
        self.within = None;
    }

    /// Nothing that is delivered lies between the place and this entry.
    pub fn advance(&mut self, newest: OpTime) {
        if newest > self.at {
            self.at = newest;
            self.is_unread = false;
        }
    }

    /// What the first entry of a cursor, which was opened at the place, is.
    pub fn anchor(&self, entry: &Entry<'_>) -> Anchor {
        if entry.optime != Some(self.at) {
            return Anchor::Missing;
        }
        let is_begun = || {
            let part = Part::of(entry);
            part.zip(self.within.as_ref())
                .is_some_and(|(part, within)| part.is(within))
        };
        if self.is_unread || is_begun() {
            Anchor::Unread
        } else {
            Anchor::Here
        }
    }

    /// Takes in an entry.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where it is no valid BSON.
    pub fn take(&mut self, entry: &Entry<'_>) -> Result<Taken> {
        if let Some(mut part) = Part::of(entry) {
            part.skip_delivered(self.within.as_ref());
            return Ok(Taken::Parts(part));
        }
        let Some(mut part) = Part::alone(entry) else {
            return Err(Error::new(
                Code::LogUndecodable,
                "An entry of the oplog has no time.",
            ));
        };
        if self.wants_document(entry) {
            return Ok(Taken::Parts(part));
        }
        self.operation(&mut part, entry, None)?;
        self.end(&part);
        Ok(Taken::Done)
    }

    /// Whether an operation is delivered with its document as it is now.
    pub fn wants_document(&self, entry: &Entry<'_>) -> bool {
        let (database, table) = entry.names();
        self.has_lookup
            && entry.operation == "u"
            && !entry.is_migration
            && entry.o.is_some_and(|o| {
                o.iter_elements()
                    .next()
                    .is_some_and(|first| first.is_ok_and(|first| first.key().as_str().starts_with('$')))
            })
            && !is_internal(database, table)
            && self.output.tables.includes(database, table)
    }

    /// All operations of an entry were taken in.
    pub fn end(&mut self, part: &Part) {
        self.output.end_transaction();
        self.at = part.optime;
        self.is_unread = false;
        // What a position says of another entry holds until that one is read.
        self.within = self.within.take().filter(|within| !part.is(within));
    }

    /// Takes in an operation of an entry; `document` is what its document is now, where that is wanted.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where it is no valid BSON.
    pub fn operation(
        &mut self,
        part: &mut Part,
        entry: &Entry<'_>,
        document: Option<&RawDocument>,
    ) -> Result<()> {
        self.output.set_uncommitted(part.optime > self.committed);
        self.nested(part, entry, document, 0)
    }

    fn nested(
        &mut self,
        part: &mut Part,
        entry: &Entry<'_>,
        document: Option<&RawDocument>,
        depth: usize,
    ) -> Result<()> {
        let (database, table) = entry.names();
        if entry.operation == "c" {
            return self.command(part, entry, depth);
        }
        part.count();
        if entry.is_migration || entry.operation == "n" {
            return Ok(());
        }
        if table == VIEWS && !is_internal(database, "") {
            self.view(part, entry);
            return Ok(());
        }
        if is_internal(database, table) {
            return Ok(());
        }
        let Some(shape) = self.output.shape_of(database, table) else {
            return Ok(());
        };
        if !part.is_document_due() {
            return Ok(());
        }
        self.output.make_room();
        let written = self.document(part, entry, document, shape);
        self.handed_over(part);
        if let Err(what) = written {
            self.report_undecodable(part, format!("{database}.{table}"), what);
        }
        Ok(())
    }

    /// Something of an entry was written.
    fn handed_over(&mut self, part: &Part) {
        self.touched = self.touched.max(part.optime);
        self.within = part.within();
    }

    fn document(
        &mut self,
        part: &Part,
        entry: &Entry<'_>,
        document: Option<&RawDocument>,
        shape: crate::event::ShapeId,
    ) -> std::result::Result<(), &'static str> {
        let o = entry.o.ok_or("has no content")?;
        let own_key;
        let description;
        let mut change = DocumentChange {
            committed_ms: part.committed_ms,
            transaction: part.transaction(),
            index: part.index(),
            operation: Operation::Delete,
            shape,
            key: &[],
            before: &[],
            after: &[],
            update: &[],
        };
        match entry.operation {
            "i" => {
                change.operation = Operation::Insert;
                change.after = o.as_bytes();
                change.key = match entry.o2 {
                    Some(key) => key.as_bytes(),
                    // Before MongoDB 5.3.
                    None => {
                        own_key = key_of(o).ok_or("has no _id")?;
                        own_key.as_bytes()
                    }
                };
            }
            "d" => change.key = o.as_bytes(),
            "u" => {
                change.key = entry.o2.ok_or("has no key")?.as_bytes();
                match delta::read(o).map_err(|unknown| unknown.0)? {
                    Update::Replacement => {
                        change.operation = Operation::Replace;
                        change.after = o.as_bytes();
                    }
                    Update::Delta(delta) => {
                        description = delta;
                        change.operation = Operation::Update;
                        change.update = description.as_bytes();
                        change.after = document.map_or(&[], RawDocument::as_bytes);
                    }
                }
            }
            _ => return Err("is an operation that is not known"),
        }
        self.output.document(&self.stand(part), &change);
        Ok(())
    }

    /// A view is a document of the server's own: its definition, or its end.
    fn view(&mut self, part: &mut Part, entry: &Entry<'_>) {
        let whole = entry.o.and_then(|o| bson::Document::try_from(o).ok());
        let Some((definition, name)) = whole.and_then(|mut o| match o.remove("_id")? {
            bson::Bson::String(name) => Some((o, name)),
            _ => None,
        }) else {
            return;
        };
        let (database, view) = name.split_once('.').unwrap_or((&name, ""));
        let operation = match entry.operation {
            "i" => "create",
            "u" => "modify",
            _ => return self.collection(part, Operation::Drop, database, view),
        };
        if self.output.concerns(database, view) && part.is_due() {
            let statement = statement(operation, view, Some(definition));
            self.output.schema(&self.stand(part), database, view, statement);
            self.handed_over(part);
        }
    }

    fn stand<'a>(&self, part: &'a Part) -> Stand<'a> {
        part.stand(self.at)
    }

    /// A command: a definition, the end of a collection, or operations that are applied together.
    fn command(&mut self, part: &mut Part, entry: &Entry<'_>, depth: usize) -> Result<()> {
        let Some((name, value)) = entry.command() else {
            return Ok(());
        };
        if let ("applyOps", RawBsonRef::Array(operations)) = (name, value) {
            if depth >= MAX_NESTED {
                self.report_undecodable(part, entry.namespace.to_owned(), "is nested too deeply");
                return Ok(());
            }
            for operation in operations {
                let operation = operation.map_err(crate::source::mongodb::event::undecodable)?;
                if let RawBsonRef::Document(operation) = operation {
                    self.nested(part, &Entry::read(operation)?, None, depth + 1)?;
                }
            }
            return Ok(());
        }
        part.count();
        let (database, _) = entry.names();
        if entry.is_migration {
            return Ok(());
        }
        let text = value.as_str().unwrap_or_default();
        match name {
            "drop" => self.collection(part, Operation::Drop, database, text),
            "emptycapped" => self.collection(part, Operation::Truncate, database, text),
            "dropDatabase" => self.collection(part, Operation::Drop, database, ""),
            "renameCollection" => self.rename(part, entry, text),
            "create" | "createIndexes" | "commitIndexBuild" | "dropIndexes" | "deleteIndexes" | "collMod" => {
                self.definition(part, entry, name, text);
            }
            _ => {}
        }
        Ok(())
    }

    fn collection(&mut self, part: &mut Part, operation: Operation, database: &str, table: &str) {
        if is_internal(database, table) || !self.output.concerns(database, table) || !part.is_due() {
            return;
        }
        let before = part.before(self.at);
        let change = (operation, database, table, "");
        self.output
            .table_changes(&self.stand(part), part.committed_ms, before, &[change]);
        self.handed_over(part);
    }

    fn rename(&mut self, part: &mut Part, entry: &Entry<'_>, from: &str) {
        let o = entry.o;
        let to = o.and_then(|o| o.get_str("to").ok()).unwrap_or_default();
        let names = |name| str::split_once(name, '.').unwrap_or((name, ""));
        let (from, to) = (names(from), names(to));
        let is_over_target = o.is_some_and(|o| {
            !matches!(
                o.get("dropTarget"),
                Ok(None | Some(RawBsonRef::Boolean(false) | RawBsonRef::Null)) | Err(_)
            )
        });
        let is_internal = is_internal(from.0, from.1) || is_internal(to.0, to.1);
        let concerns = self.output.concerns(from.0, from.1) || self.output.concerns(to.0, to.1);
        if is_internal || !concerns || !part.is_due() {
            return;
        }
        let before = part.before(self.at);
        let stand = self.stand(part);
        self.output
            .rename(&stand, part.committed_ms, before, (from, to), is_over_target);
        self.handed_over(part);
    }

    /// Told in the words of a change stream.
    fn definition(&mut self, part: &mut Part, entry: &Entry<'_>, command: &str, table: &str) {
        let (database, _) = entry.names();
        if is_internal(database, table) || !self.output.concerns(database, table) || !part.is_due() {
            return;
        }
        let whole = |raw: Option<&RawDocument>| raw.and_then(|raw| bson::Document::try_from(raw).ok());
        let mut description = whole(entry.o).unwrap_or_default();
        description.remove(command);
        let (operation, description) = match command {
            "create" => ("create", description),
            "collMod" => ("modify", description),
            "createIndexes" => ("createIndexes", bson::doc! { "indexes": [description] }),
            "commitIndexBuild" => {
                description.remove("indexBuildUUID");
                ("createIndexes", description)
            }
            _ => {
                let index = whole(entry.o2).unwrap_or(description);
                ("dropIndexes", bson::doc! { "indexes": [index] })
            }
        };
        let statement = statement(operation, table, Some(description));
        self.output.schema(&self.stand(part), database, table, statement);
        self.handed_over(part);
    }

    fn report_undecodable(&mut self, part: &Part, table: String, what: &'static str) {
        self.output.flush();
        let error = Error::new(
            Code::LogUndecodable,
            format!("A change of {table} in the oplog is left out: it {what}."),
        )
        .with_advice(
            "Please report it, with the version of the server; change streams (leave `log` out) may read it.",
        );
        let mut to = String::new();
        crate::source::mongodb::output::Origin::write_position(&self.stand(part), &mut to);
        self.output.ready.push_back(Item::Gap(Gap {
            from: Some(part.before(self.at)).filter(|text| !text.is_empty()),
            to: Some(to.into()),
            tables: Some(vec![table]),
            reason: GapReason::Undecodable,
            error: Some(error),
        }));
    }

    /// The entries behind the place are gone; reading goes on behind another one, or with it.
    pub fn report_lost(&mut self, error: Error, instead: OpTime, is_unread: bool) {
        let from = self.position();
        self.jump(instead, is_unread);
        self.touched = self.touched.min(instead);
        // No position names the place in front of the oldest entry: there is none to tell.
        self.report(from, self.position(), GapReason::HistoryLost, error);
    }

    /// Entries at the place were rolled back; reading goes on behind the newest that both histories have in common.
    pub fn report_rewound(&mut self, common: OpTime) {
        let from = self.position();
        let is_told = self.touched > common;
        self.jump(common, false);
        self.touched = self.touched.min(common);
        if !is_told {
            return;
        }
        let error = Error::new(
            Code::PositionLost,
            "A failover rolled back writes that were delivered: changes marked as uncommitted did not happen.",
        )
        .with_advice("Load what they concern anew. Change streams (leave `log` out) deliver nothing that can be rolled back.");
        self.report(from, self.position(), GapReason::RolledBack, error);
    }

    /// A transaction's operations lie in entries that are gone.
    pub fn report_part_lost(&mut self, part: &Part) {
        let from = part.before(self.at);
        self.end(part);
        let error = Error::new(
            Code::PositionLost,
            "The operations of a transaction lie in a part of the oplog that the server no longer has.",
        )
        .with_advice(
            "A larger oplog keeps more history: db.adminCommand({replSetResizeOplog: 1, size: <MiB>}).",
        );
        self.report(from, self.position(), GapReason::HistoryLost, error);
    }

    fn report(&mut self, from: Arc<str>, to: Arc<str>, reason: GapReason, error: Error) {
        self.output.flush();
        self.output.ready.push_back(Item::Gap(Gap {
            from: Some(from).filter(|text| !text.is_empty()),
            to: Some(to).filter(|text| !text.is_empty()),
            tables: None,
            reason,
            error: Some(error),
        }));
    }
}

/// `{ _id }` of a document.
fn key_of(document: &RawDocument) -> Option<RawDocumentBuf> {
    let id = document.get("_id").ok()??;
    let mut key = rawdoc! {};
    key.append(bson::raw::cstr!("_id"), id);
    Some(key)
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
