//! The format description event: how the events of this file are laid out.

use super::header::{CHECKSUM_BYTES, EventType, HEADER_BYTES};
use super::wire::{Wire, truncated};
use crate::code::Code;
use crate::error::{Error, Result};

/// Number of the type whose post-header length tells how wide table ids are.
const WRITE_ROWS_V1: usize = 23;
/// Number of the table map's type.
const TABLE_MAP: usize = 19;

/// What later events of the file rely on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// Whether each event ends with a CRC32.
    pub checksums: bool,
    /// The server's version as the file holds it.
    pub server_version: String,
    table_map_header: u8,
    rows_header: u8,
}

impl Default for Format {
    fn default() -> Self {
        Self {
            checksums: false,
            server_version: String::new(),
            table_map_header: 8,
            rows_header: 8,
        }
    }
}

impl Format {
    /// Reads a whole format description event (with header and checksum; it always has the room for one).
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` for a binlog version before 4 (MySQL 4 and older) or an unknown checksum.
    pub fn read(event: &[u8]) -> Result<Self> {
        let mut wire = Wire(event);
        wire.skip(HEADER_BYTES)?;
        let version = wire.u16()?;
        if version != 4 {
            return Err(Error::new(
                Code::LogUndecodable,
                format!("Binlog version 4 was expected, the server writes version {version}."),
            ));
        }
        let server_version = wire.take(50)?;
        wire.skip(4)?;
        if usize::from(wire.u8()?) != HEADER_BYTES {
            return Err(truncated());
        }
        let lengths = wire
            .rest()
            .get(..wire.len().saturating_sub(1 + CHECKSUM_BYTES))
            .ok_or_else(truncated)?;
        let algorithm = wire.rest().get(lengths.len()).copied().ok_or_else(truncated)?;
        let checksums = match algorithm {
            0 => false,
            1 => true,
            other => {
                return Err(Error::new(
                    Code::LogUndecodable,
                    format!("Checksums NONE or CRC32 were expected, the log uses algorithm {other}."),
                ));
            }
        };
        let length_of = |event_type: usize| lengths.get(event_type - 1).copied().unwrap_or(8);
        Ok(Self {
            checksums,
            server_version: String::from_utf8_lossy(server_version)
                .trim_end_matches('\0')
                .to_owned(),
            table_map_header: length_of(TABLE_MAP),
            rows_header: length_of(WRITE_ROWS_V1),
        })
    }

    /// Reads the table id at the front of a table map or rows event: 6 bytes, 4 in logs of MySQL 5.1's first releases.
    pub fn table_id(&self, wire: &mut Wire<'_>, event_type: EventType) -> Result<u64> {
        let header = match event_type {
            EventType::TableMap => self.table_map_header,
            _ => self.rows_header,
        };
        if header == 6 {
            wire.u32().map(u64::from)
        } else {
            wire.u48()
        }
    }
}
