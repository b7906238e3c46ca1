//! The header that every event has, its checksum, and the types of events.
//!
//! Source: MySQL internals, "Binary Log Events"; MariaDB's knowledge base, "Replication Protocol, 2-Binlog Event Header".

use super::wire::{Wire, truncated};
use crate::code::Code;
use crate::error::{Error, Result};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 19;
/// Bytes of the CRC32 at the end of an event.
pub const CHECKSUM_BYTES: usize = 4;

/// The file is still being written (in the format description only); not part of the checksum.
const FLAG_IN_USE: u16 = 0x1;
/// The event is not in the log: the server made it for this connection.
const FLAG_ARTIFICIAL: u16 = 0x20;
/// A reader that does not know the type may pass over it.
const FLAG_IGNORABLE: u16 = 0x80;

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)+) => {
        /// What an event is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum EventType {
            $($(#[$doc])* $name,)+
            /// A type that this reader does not know.
            Unknown(u8),
        }

        impl From<u8> for EventType {
            fn from(number: u8) -> Self {
                match number { $($number => Self::$name,)+ other => Self::Unknown(other) }
            }
        }
    };
}

event_types! {
    /// A statement, or BEGIN and COMMIT.
    Query = 2;
    /// The server ends this file because it shuts down.
    Stop = 3;
    /// The log goes on in another file.
    Rotate = 4;
    /// LAST_INSERT_ID or INSERT_ID of the statement that follows.
    IntVar = 5;
    /// Seeds of RAND() of the statement that follows.
    Rand = 13;
    /// A user variable of the statement that follows.
    UserVar = 14;
    /// Version and layout of the events of this file.
    FormatDescription = 15;
    /// Commit of a transaction.
    Xid = 16;
    /// A part of a file for LOAD DATA in statement format.
    BeginLoadQuery = 17;
    /// LOAD DATA in statement format.
    ExecuteLoadQuery = 18;
    /// Columns of a table, ahead of its rows.
    TableMap = 19;
    /// Inserted rows, version 1.
    WriteRowsV1 = 23;
    /// Updated rows, version 1.
    UpdateRowsV1 = 24;
    /// Deleted rows, version 1.
    DeleteRowsV1 = 25;
    /// The server knows that something is missing from its log.
    Incident = 26;
    /// Nothing new; the server lives.
    Heartbeat = 27;
    /// May be passed over.
    Ignorable = 28;
    /// The statement that made the rows that follow.
    RowsQuery = 29;
    /// Inserted rows.
    WriteRows = 30;
    /// Updated rows.
    UpdateRows = 31;
    /// Deleted rows.
    DeleteRows = 32;
    /// Begins a transaction (MySQL).
    Gtid = 33;
    /// Begins a transaction on a server without GTIDs (MySQL).
    AnonymousGtid = 34;
    /// All transactions of the files before (MySQL).
    PreviousGtids = 35;
    /// Group replication: the certification state of a transaction.
    TransactionContext = 36;
    /// Group replication: the group's members changed.
    ViewChange = 37;
    /// Prepare of an XA transaction.
    XaPrepare = 38;
    /// Updated rows with JSON differences.
    PartialUpdateRows = 39;
    /// A whole transaction, compressed.
    TransactionPayload = 40;
    /// As [`Heartbeat`](Self::Heartbeat), with 64-bit positions.
    HeartbeatV2 = 41;
    /// Begins a transaction whose GTID may have a tag (MySQL 8.3 and later).
    GtidTagged = 42;
    /// The statement that made the rows that follow (MariaDB).
    AnnotateRows = 160;
    /// Where crash recovery begins (MariaDB).
    BinlogCheckpoint = 161;
    /// Begins a transaction (MariaDB).
    MariadbGtid = 162;
    /// The last transaction of each domain before this file (MariaDB).
    MariadbGtidList = 163;
    /// What follows in this file is encrypted (MariaDB); a server sends it decrypted.
    StartEncryption = 164;
    /// A compressed statement (MariaDB).
    QueryCompressed = 165;
    /// Compressed inserted rows, version 1 (MariaDB).
    WriteRowsCompressedV1 = 166;
    /// Compressed updated rows, version 1 (MariaDB).
    UpdateRowsCompressedV1 = 167;
    /// Compressed deleted rows, version 1 (MariaDB).
    DeleteRowsCompressedV1 = 168;
    /// Compressed inserted rows (MariaDB).
    WriteRowsCompressed = 169;
    /// Compressed updated rows (MariaDB).
    UpdateRowsCompressed = 170;
    /// Compressed deleted rows (MariaDB).
    DeleteRowsCompressed = 171;
}

/// The header of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Seconds since the epoch at which the statement began.
    pub timestamp: u32,
    /// What it is.
    pub event_type: EventType,
    /// The server that wrote it first.
    pub server_id: u32,
    /// Bytes of the event: header, body, checksum.
    pub event_bytes: u32,
    /// Where the next event begins, in the low 32 bits; 0 for one that is in no file.
    pub next_offset: u32,
    flags: u16,
}

impl Header {
    /// Reads the header of `event`.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where it is too short.
    pub fn read(event: &[u8]) -> Result<Self> {
        let mut wire = Wire(event);
        Ok(Self {
            timestamp: wire.u32()?,
            event_type: wire.u8()?.into(),
            server_id: wire.u32()?,
            event_bytes: wire.u32()?,
            next_offset: wire.u32()?,
            flags: wire.u16()?,
        })
    }

    /// Whether the server made it for this connection: it moves no position.
    pub fn is_artificial(&self) -> bool {
        self.flags & FLAG_ARTIFICIAL != 0 || self.next_offset == 0
    }

    /// Whether a reader that does not know the type may pass over it.
    pub fn is_ignorable(&self) -> bool {
        self.flags & FLAG_IGNORABLE != 0
    }
}

/// The body of a whole event: without header and, where `checksums` are on, without the verified checksum.
///
/// # Errors
/// `ERR_STREAMER_LOG_CORRUPT` where the length or the checksum is wrong: the bytes changed on their way, or on disk.
pub fn body<'a>(event: &'a [u8], header: &Header, checksums: bool) -> Result<&'a [u8]> {
    if event.len() != header.event_bytes as usize {
        return Err(corrupt(header, "its length is not the one in its header"));
    }
    let end = if checksums {
        let end = event.len().checked_sub(CHECKSUM_BYTES).ok_or_else(truncated)?;
        if !checksum_agrees(event, end, header) {
            return Err(corrupt(header, "its checksum does not agree"));
        }
        end
    } else {
        event.len()
    };
    event.get(HEADER_BYTES..end).ok_or_else(truncated)
}

/// Whether the four bytes at `end` are the CRC32 of what stands before.
pub fn checksum_agrees(event: &[u8], end: usize, header: &Header) -> bool {
    let (Some(content), Some(logged)) = (
        event.get(..end),
        event.get(end..).and_then(|rest| rest.first_chunk::<4>()),
    ) else {
        return false;
    };
    let mut hasher = crc32fast::Hasher::new();
    match content.split_first_chunk::<HEADER_BYTES>() {
        Some((head, rest))
            if header.event_type == EventType::FormatDescription && header.flags & FLAG_IN_USE != 0 =>
        {
            let mut head = *head;
            let cleared = (header.flags & !FLAG_IN_USE).to_le_bytes();
            if let Some(flags) = head.last_chunk_mut::<2>() {
                *flags = cleared;
            }
            hasher.update(&head);
            hasher.update(rest);
        }
        _ => hasher.update(content),
    }
    hasher.finalize() == u32::from_le_bytes(*logged)
}

fn corrupt(header: &Header, why: &str) -> Error {
    Error::new(
        Code::LogCorrupt,
        format!(
            "The binlog event that ends at byte {} is damaged: {why}.",
            header.next_offset
        ),
    )
    .with_advice("The library reads it again; if it lasts, the server's log file is damaged: see `mysqlbinlog --verify-binlog-checksum`.")
    .with_detail("nextOffset", header.next_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event_type: u8, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut event = vec![0, 0, 0, 0, event_type, 1, 0, 0, 0];
        event.extend(((HEADER_BYTES + body.len() + 4) as u32).to_le_bytes());
        event.extend([9, 0, 0, 0]);
        event.extend(flags.to_le_bytes());
        event.extend(body);
        event
    }

    fn sealed(event: Vec<u8>, flags_for_sum: u16) -> Vec<u8> {
        let mut summed = event.clone();
        summed[17..19].copy_from_slice(&flags_for_sum.to_le_bytes());
        let mut event = event;
        event.extend(crc32fast::hash(&summed).to_le_bytes());
        event
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let mut event = sealed(event(16, 0, &[1, 2, 3]), 0);
        let header = Header::read(&event).unwrap();
        assert_eq!(body(&event, &header, true).unwrap(), [1, 2, 3]);
        event[20] ^= 1;
        assert_eq!(body(&event, &header, true).unwrap_err().code(), Code::LogCorrupt);
    }

    #[test]
    fn the_flag_of_an_open_file_is_not_part_of_the_checksum() {
        let event = sealed(event(15, FLAG_IN_USE, &[4]), 0);
        let header = Header::read(&event).unwrap();
        assert_eq!(body(&event, &header, true).unwrap(), [4]);
    }

    #[test]
    fn a_wrong_length_is_refused() {
        let mut event = sealed(event(16, 0, &[]), 0);
        event.push(0);
        let header = Header::read(&event).unwrap();
        assert!(body(&event, &header, false).is_err());
    }
}
