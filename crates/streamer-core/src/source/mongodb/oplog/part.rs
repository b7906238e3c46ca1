//! An entry while its operations are taken in, and what their ids and positions are made of.
//!
//! An id is the entry's optime, and behind a dot the operation's number in it: the same whoever reads it, whatever the filter. Another
//! entry with that time is of another election, and has another id.

use std::fmt::Write;
use std::sync::Arc;

use super::entry::Entry;
use crate::offset::{OpTime, Within};
use crate::source::mongodb::output::Origin;
use crate::source::mongodb::transaction::transaction_id;

/// How far the operations of an entry were taken in.
#[derive(Debug, Clone)]
pub struct Part {
    /// The entry; of a transaction the one that commits it.
    pub optime: OpTime,
    /// When that was, in ms since the epoch.
    pub committed_ms: f64,
    /// The first of its entries in front of it, where there are any.
    pub previous: Option<OpTime>,
    /// Names the entry in positions; empty where it is one operation.
    name: String,
    is_transaction: bool,
    /// Operations that were met.
    met: u32,
    /// Changes and definitions that were delivered, now or before.
    delivered: u32,
    /// How many of them were delivered before.
    skip: u32,
    /// Changes of documents among them, which are numbered.
    documents: u32,
}

impl Part {
    /// An entry that is one operation.
    pub fn alone(entry: &Entry<'_>) -> Option<Self> {
        Some(Self {
            optime: entry.optime?,
            committed_ms: entry.committed_ms(),
            previous: None,
            name: String::new(),
            is_transaction: false,
            met: 0,
            delivered: 0,
            skip: 0,
            documents: 0,
        })
    }

    /// An entry that is several operations; `None` where it is not.
    pub fn of(entry: &Entry<'_>) -> Option<Self> {
        if entry.operation != "c" {
            return None;
        }
        let (command, _) = entry.command()?;
        if !matches!(command, "applyOps" | "commitTransaction") {
            return None;
        }
        let mut part = Self::alone(entry)?;
        part.name = match (entry.session, entry.number) {
            (Some(session), Some(number)) if !entry.is_separate => {
                part.is_transaction = true;
                transaction_id(session, number)
            }
            // Positions name it as well, so that a new process goes on inside of it.
            _ => format!("{}", part.optime),
        };
        // Of several writes of a session it is the write before them.
        part.previous = entry.previous.filter(|_| !entry.is_separate);
        Some(part)
    }

    /// Whether a position lies inside of this entry.
    pub fn is(&self, within: &Within) -> bool {
        !self.name.is_empty() && *within.transaction == *self.name
    }

    /// Passes over what was delivered before, where that was of this entry.
    pub fn skip_delivered(&mut self, within: Option<&Within>) {
        if let Some(within) = within.filter(|within| self.is(within)) {
            self.skip = within.changes;
        }
    }

    /// An operation is met.
    pub const fn count(&mut self) {
        self.met = self.met.saturating_add(1);
    }

    /// Counts a document's change that is to be delivered; false where it was before.
    pub const fn is_document_due(&mut self) -> bool {
        self.documents = self.documents.saturating_add(1);
        self.is_due()
    }

    /// Counts what is to be delivered; false where it was before.
    pub const fn is_due(&mut self) -> bool {
        self.delivered = self.delivered.saturating_add(1);
        self.delivered > self.skip
    }

    /// Index of the document's change that was counted last.
    pub const fn index(&self) -> u32 {
        if self.is_transaction {
            self.documents.saturating_sub(1)
        } else {
            0
        }
    }

    /// The transaction's id; empty where it is none.
    pub fn transaction(&self) -> &str {
        if self.is_transaction { &self.name } else { "" }
    }

    /// How far it was delivered; `None` where it is one operation, or nothing of it was.
    pub fn within(&self) -> Option<Within> {
        let is_begun = !self.name.is_empty() && self.delivered > 0;
        is_begun.then(|| Within {
            transaction: self.name.as_str().into(),
            changes: self.delivered,
        })
    }

    /// The position in front of it.
    pub fn before(&self, at: OpTime) -> Arc<str> {
        let mut text = String::new();
        at.write_position(&mut text);
        text.into()
    }

    /// Where the change that was counted last stands; `at` is the entry in front.
    pub fn stand(&self, at: OpTime) -> Stand<'_> {
        Stand { part: self, at }
    }
}

/// Where an operation stands.
#[derive(Debug, Clone, Copy)]
pub struct Stand<'a> {
    part: &'a Part,
    at: OpTime,
}

impl Origin for Stand<'_> {
    fn write_id(&self, text: &mut String) {
        let OpTime {
            seconds,
            increment,
            term,
        } = self.part.optime;
        let _ = write!(text, "{seconds:08X}{increment:08X}-{term}");
        if !self.part.name.is_empty() {
            let _ = write!(text, ".{}", self.part.met.saturating_sub(1));
        }
    }

    fn write_position(&self, text: &mut String) {
        if self.part.name.is_empty() {
            self.part.optime.write_position(text);
        } else {
            self.at.write_position(text);
            let _ = write!(text, "+{}/{}", self.part.name, self.part.delivered);
        }
    }
}
