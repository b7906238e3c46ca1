//! Rows events: what stands before the rows.
//!
//! Source: MySQL's `libs/mysql/binlog/event/rows_event.h` (`Rows_event`); MariaDB's knowledge base, "Rows_event_v1/v2" and
//! `sql/log_event.cc` (`binlog_buf_uncompress`) for compressed events.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::format::Format;
use super::header::EventType;
use super::wire::{Wire, truncated};
use crate::code::Code;
use crate::error::{Error, Result};

/// Table id of an event that only ends a statement.
const NO_TABLE: u64 = 0x00ff_ffff;
/// `NO_FOREIGN_KEY_CHECKS_F`.
const NO_FOREIGN_KEY_CHECKS: u16 = 2;
/// Most that a compressed event may grow to: what `max_allowed_packet` allows for a plain one.
const MAX_UNCOMPRESSED: usize = 1 << 30;

/// What a rows event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsKind {
    /// After images.
    Insert,
    /// Before and after images.
    Update,
    /// Before and after images; JSON columns of the after image may be differences.
    PartialUpdate,
    /// Before images.
    Delete,
}

/// A rows event, up to its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsEvent {
    /// The table map that it refers to; `None` for an event that only ends a statement.
    pub table_id: Option<u64>,
    /// What it does.
    pub kind: RowsKind,
    /// Columns of the table.
    pub columns: usize,
    /// Columns of the first image: one bit each, the lowest of the first byte first.
    pub first_present: Vec<u8>,
    /// Columns of the second image of an update.
    pub second_present: Vec<u8>,
    /// Where the rows begin in the body, and whether they are compressed there.
    pub rows_at: usize,
    /// Whether MariaDB compressed the rows.
    pub compressed: bool,
    /// Whether foreign keys were not looked at (`foreign_key_checks=0`).
    pub ignores_foreign_keys: bool,
}

impl RowsEvent {
    /// Reads the body of an event of a type that holds rows.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where a field goes beyond the end.
    pub fn read(body: &[u8], event_type: EventType, format: &Format) -> Result<Self> {
        let (kind, second_version, compressed) = classify(event_type).ok_or_else(truncated)?;
        let mut wire = Wire(body);
        let table_id = format.table_id(&mut wire, event_type)?;
        let flags = wire.u16()?;
        if second_version {
            let extra = usize::from(wire.u16()?);
            wire.skip(extra.checked_sub(2).ok_or_else(truncated)?)?;
        }
        let columns = wire.lenenc_len()?;
        let bytes = columns.div_ceil(8);
        let first_present = wire.take(bytes)?.to_vec();
        let second_present = match kind {
            RowsKind::Update | RowsKind::PartialUpdate => wire.take(bytes)?.to_vec(),
            RowsKind::Insert | RowsKind::Delete => Vec::new(),
        };
        Ok(Self {
            table_id: (table_id != NO_TABLE).then_some(table_id),
            ignores_foreign_keys: flags & NO_FOREIGN_KEY_CHECKS != 0,
            kind,
            columns,
            first_present,
            second_present,
            rows_at: body.len() - wire.len(),
            compressed,
        })
    }
}

fn classify(event_type: EventType) -> Option<(RowsKind, bool, bool)> {
    Some(match event_type {
        EventType::WriteRowsV1 => (RowsKind::Insert, false, false),
        EventType::UpdateRowsV1 => (RowsKind::Update, false, false),
        EventType::DeleteRowsV1 => (RowsKind::Delete, false, false),
        EventType::WriteRows => (RowsKind::Insert, true, false),
        EventType::UpdateRows => (RowsKind::Update, true, false),
        EventType::DeleteRows => (RowsKind::Delete, true, false),
        EventType::PartialUpdateRows => (RowsKind::PartialUpdate, true, false),
        EventType::WriteRowsCompressedV1 => (RowsKind::Insert, false, true),
        EventType::UpdateRowsCompressedV1 => (RowsKind::Update, false, true),
        EventType::DeleteRowsCompressedV1 => (RowsKind::Delete, false, true),
        EventType::WriteRowsCompressed => (RowsKind::Insert, true, true),
        EventType::UpdateRowsCompressed => (RowsKind::Update, true, true),
        EventType::DeleteRowsCompressed => (RowsKind::Delete, true, true),
        _ => return None,
    })
}

/// Opens what MariaDB's `log_bin_compress` wrote: a byte with the algorithm and the width of the length, the
/// length (big-endian), a zlib stream.
///
/// # Errors
/// `ERR_STREAMER_LOG_UNDECODABLE` where it is not one, or not as long as it says.
pub fn uncompress(input: &[u8]) -> Result<Vec<u8>> {
    let mut wire = Wire(input);
    let head = wire.u8()?;
    let width = usize::from(head & 0x07);
    if head & 0xf0 != 0x80 || !(1..=4).contains(&width) {
        return Err(Error::new(
            Code::LogUndecodable,
            "A compressed binlog event uses an algorithm other than zlib.",
        ));
    }
    let length = wire
        .take(width)?
        .iter()
        .fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
    if length > MAX_UNCOMPRESSED {
        return Err(Error::new(
            Code::LimitExceeded,
            "A compressed binlog event holds more than 1 GiB.",
        ));
    }
    let mut output = Vec::with_capacity(length.min(input.len().saturating_mul(16)));
    ZlibDecoder::new(wire.rest())
        .take(length as u64 + 1)
        .read_to_end(&mut output)
        .map_err(|_| truncated())?;
    if output.len() != length {
        return Err(truncated());
    }
    Ok(output)
}
