//! An entry that cannot be taken in from the cursor alone: a transaction, whose operations may lie in entries before the one that
//! commits it, or an update whose document is to be looked up.
//!
//! Nothing of a transaction is kept while it is not committed, however large it is or however long it was prepared. Its entries point
//! back at each other; once it is committed they are read again from the oplog, one in memory at a time, as the server's own change
//! streams do. A server keeps the entries of a prepared transaction until it is decided.
//!
//! Each step is cancel-safe: what was begun and not done is done again.

use bson::{RawBsonRef, RawDocumentBuf};

use super::entry::{Entry, optime};
use super::member::Member;
use super::part::Part;
use super::reader::OplogReader;
use crate::code::Code;
use crate::error::{Error, Result};
use crate::offset::OpTime;
use crate::source::mongodb::event::undecodable;
use crate::source::mongodb::walk::Walk;

/// Most entries of one transaction: each may hold 16 MiB.
const MAX_ENTRIES: usize = 100_000;

/// An entry that is being worked off.
pub struct Work {
    part: Part,
    /// Entries in front of it, the newest first; `None` while they are not known.
    before: Option<Vec<OpTime>>,
    /// The entry itself, until it is its turn.
    own: Option<RawDocumentBuf>,
    /// The entry that is being taken in.
    current: Option<Operations>,
}

/// The operations of an entry.
struct Operations {
    entry: RawDocumentBuf,
    /// How far they were taken in; `None` where the entry is one operation itself.
    walk: Option<Walk>,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Another one is needed.
    Going,
    /// All is done.
    Done,
}

impl Work {
    /// Begins with an entry.
    pub const fn new(part: Part, entry: RawDocumentBuf) -> Self {
        Self {
            before: None,
            own: Some(entry),
            current: None,
            part,
        }
    }

    /// Takes in more, until something is ready.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where an entry is no valid BSON, and those of the connection.
    pub async fn step(&mut self, reader: &mut OplogReader, member: &Member) -> Result<Step> {
        if self.before.is_none() {
            let Some(before) = entries_before(self.part.previous, member).await? else {
                reader.report_part_lost(&self.part);
                return Ok(Step::Done);
            };
            self.before = Some(before);
            return Ok(Step::Going);
        }
        if self.current.is_none() {
            return self.begin_entry(reader, member).await;
        }
        self.take(reader, member).await
    }

    /// The next entry becomes the current one.
    async fn begin_entry(&mut self, reader: &mut OplogReader, member: &Member) -> Result<Step> {
        let next = self.before.as_ref().and_then(|before| before.last().copied());
        let entry = match next {
            Some(at) => {
                let Some(entry) = member.entry(at).await? else {
                    reader.report_part_lost(&self.part);
                    return Ok(Step::Done);
                };
                self.before.as_mut().and_then(Vec::pop);
                Some(entry)
            }
            None => self.own.take(),
        };
        let Some(entry) = entry else {
            reader.end(&self.part);
            return Ok(Step::Done);
        };
        self.current = Operations::of(entry)?;
        Ok(Step::Going)
    }

    /// Takes in operations of the current entry.
    async fn take(&mut self, reader: &mut OplogReader, member: &Member) -> Result<Step> {
        let Some(current) = &mut self.current else {
            return Ok(Step::Going);
        };
        while reader.output.ready.is_empty() {
            let mut walk = current.walk;
            let operation = match &mut walk {
                Some(walk) => walk.next(current.entry.as_bytes())?,
                None => Some(current.entry.as_ref()),
            };
            let Some(operation) = operation else {
                self.current = None;
                return Ok(Step::Going);
            };
            let entry = Entry::read(operation)?;
            let document = if reader.wants_document(&entry) {
                let id = entry.o2.and_then(|key| key.get("_id").ok().flatten());
                match id {
                    Some(id) => member.document(entry.names(), id).await?,
                    None => None,
                }
            } else {
                None
            };
            reader.operation(&mut self.part, &entry, document.as_deref())?;
            if walk.is_none() {
                self.current = None;
                return Ok(Step::Going);
            }
            current.walk = walk;
        }
        Ok(Step::Going)
    }
}

impl Operations {
    /// `None` where the entry only says that others happened.
    fn of(entry: RawDocumentBuf) -> Result<Option<Self>> {
        let read = Entry::read(&entry)?;
        let walk = match read.command() {
            _ if read.operation != "c" => None,
            Some(("applyOps", RawBsonRef::Array(operations))) => {
                Some(Walk::over(entry.as_bytes(), operations))
            }
            Some(("commitTransaction", _)) => return Ok(None),
            _ => {
                return Err(Error::new(
                    Code::LogUndecodable,
                    "An entry of a transaction in the oplog holds no operations.",
                ));
            }
        };
        Ok(Some(Self { entry, walk }))
    }
}

/// The entries of a transaction up to `newest`, the newest first; `None` where one of them is gone.
async fn entries_before(newest: Option<OpTime>, member: &Member) -> Result<Option<Vec<OpTime>>> {
    let mut found = Vec::new();
    let mut next = newest;
    while let Some(at) = next {
        let Some(entry) = member.link(at).await? else {
            return Ok(None);
        };
        if found.len() >= MAX_ENTRIES {
            return Err(Error::new(
                Code::LimitExceeded,
                format!("A transaction has more than {MAX_ENTRIES} entries in the oplog."),
            ));
        }
        found.push(at);
        let previous = entry.get("prevOpTime").map_err(undecodable)?;
        next = previous
            .and_then(RawBsonRef::as_document)
            .and_then(optime)
            .filter(|previous| previous.seconds > 0);
    }
    Ok(Some(found))
}
