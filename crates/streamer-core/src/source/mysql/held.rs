//! Rows of prepared XA transactions, kept until their XA COMMIT.
//!
//! The log holds the rows where the transaction was prepared, and its fate much later. The rows wait as the bytes of
//! the log, in an unnamed temporary file once they are many, with the plan that was valid when they were written.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use super::binlog::RowsKind;
use super::plan::{Image, Plan};
use crate::code::Code;
use crate::error::{Error, Result};

/// Bytes of one transaction that stay in memory.
const IN_MEMORY: usize = 1 << 20;

/// How the rows of one event are decoded.
#[derive(Debug, Clone)]
pub struct HeldRows {
    /// Plan.
    pub plan: Arc<Plan>,
    /// What happened to the rows.
    pub kind: RowsKind,
    /// First image.
    pub first: Arc<Image>,
    /// After image of an update.
    pub second: Option<Arc<Image>>,
    bytes: usize,
}

/// The rows of one prepared transaction, in order.
#[derive(Debug, Default)]
pub struct Held {
    rows: std::collections::VecDeque<HeldRows>,
    memory: Vec<u8>,
    read_at: usize,
    file: Option<File>,
    spilled: usize,
}

impl Held {
    /// Adds the rows of an event.
    ///
    /// # Errors
    /// `ERR_STREAMER_LIMIT_EXCEEDED` where the temporary file cannot be written.
    pub fn push(
        &mut self,
        plan: Arc<Plan>,
        kind: RowsKind,
        first: Arc<Image>,
        second: Option<Arc<Image>>,
        bytes: &[u8],
    ) -> Result<()> {
        self.rows.push_back(HeldRows {
            plan,
            kind,
            first,
            second,
            bytes: bytes.len(),
        });
        self.memory.extend_from_slice(bytes);
        if self.memory.len() > IN_MEMORY {
            let file = match &mut self.file {
                Some(file) => file,
                slot => slot.insert(tempfile::tempfile().map_err(|error| unkept(&error))?),
            };
            file.write_all(&self.memory).map_err(|error| unkept(&error))?;
            self.spilled += self.memory.len();
            self.memory.clear();
        }
        Ok(())
    }

    /// Begins to read from the front.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn rewind(&mut self) -> Result<()> {
        self.read_at = 0;
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0)).map_err(|error| unkept(&error))?;
        }
        Ok(())
    }

    /// The rows of the next event, which are then forgotten.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn next(&mut self) -> Result<Option<(HeldRows, Vec<u8>)>> {
        let Some(rows) = self.rows.pop_front() else {
            return Ok(None);
        };
        let mut bytes = vec![0; rows.bytes];
        let from_file = rows.bytes.min(self.spilled.saturating_sub(self.read_at));
        let (front, back) = bytes.split_at_mut(from_file);
        if let Some(file) = self.file.as_mut().filter(|_| from_file > 0) {
            file.read_exact(front).map_err(|error| unkept(&error))?;
        }
        let at = (self.read_at + from_file).saturating_sub(self.spilled);
        if let Some(kept) = self.memory.get(at..at + back.len()) {
            back.copy_from_slice(kept);
        }
        self.read_at += rows.bytes;
        Ok(Some((rows, bytes)))
    }
}

fn unkept(error: &std::io::Error) -> Error {
    Error::new(
        Code::LimitExceeded,
        format!("The rows of a prepared XA transaction cannot be kept in a temporary file: {error}."),
    )
    .with_advice("Make room in the temporary directory (TMPDIR).")
}
