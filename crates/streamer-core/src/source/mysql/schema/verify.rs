//! Does a definition fit what the log shows of the table? The last guard against names on the wrong columns.
//!
//! A table map shows types, metadata, nullability and, by `binlog_row_metadata`, signedness and collations. A definition
//! that agrees with all of it may still be another one (two INT columns that changed places), so this is a check of
//! the tracking, not a replacement for it.
//!
//! Source: MySQL's `libs/mysql/binlog/event/rows_event.h`, `Table_map_event`, and `sql/field.cc`,
//! `do_save_field_metadata`; MariaDB's `sql/field.cc`, `binlog_type_info`.

use std::fmt;

use super::charset;
use super::definition::{ColumnDefinition, ColumnKind, Storage, TableDefinition};

/// What a table map shows of its columns, in order.
#[derive(Debug, Clone, Copy)]
pub struct LoggedColumns<'a> {
    /// Type byte of each column; its length is the number of columns.
    pub types: &'a [u8],
    /// Metadata of each column; 0 for types without. Two bytes stand as they do in the log: for VARCHAR and BIT the
    /// first is the low one, for CHAR, ENUM, SET and DECIMAL the first (real type, precision) is the high one.
    pub metadata: &'a [u16],
    /// Whether each column may be NULL.
    pub nullable: &'a [bool],
    /// Whether each column is UNSIGNED, where logged.
    pub unsigned: Option<&'a [bool]>,
    /// Collation id of each character column, where logged.
    pub collations: Option<&'a [Option<u16>]>,
}

/// Where a definition and the log differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// In the number of columns.
    Count {
        /// Columns of the definition.
        defined: usize,
        /// Columns of the log.
        logged: usize,
    },
    /// In one column.
    Column {
        /// Its place, from 0.
        index: usize,
        /// Its name in the definition.
        name: String,
        /// What differs.
        what: Aspect,
    },
}

/// What differs in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// The type.
    Type,
    /// Length, precision, fraction or the number of labels.
    Metadata,
    /// Whether it may be NULL.
    Nullability,
    /// UNSIGNED.
    Signedness,
    /// The character set.
    Charset,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { defined, logged } => {
                write!(f, "the definition has {defined} columns, the log {logged}")
            }
            Self::Column { index, name, what } => {
                let what = match what {
                    Aspect::Type => "type",
                    Aspect::Metadata => "length",
                    Aspect::Nullability => "nullability",
                    Aspect::Signedness => "signedness",
                    Aspect::Charset => "character set",
                };
                write!(f, "column {} ({name}) has another {what} in the log", index + 1)
            }
        }
    }
}

/// Checks that `definition` fits `logged`.
///
/// # Errors
/// The first difference.
pub fn agrees(definition: &TableDefinition, logged: &LoggedColumns<'_>) -> Result<(), Mismatch> {
    if definition.columns.len() != logged.types.len() {
        return Err(Mismatch::Count {
            defined: definition.columns.len(),
            logged: logged.types.len(),
        });
    }
    for (index, column) in definition.columns.iter().enumerate() {
        check(column, index, logged).map_err(|what| Mismatch::Column {
            index,
            name: column.name.to_string(),
            what,
        })?;
    }
    Ok(())
}

fn check(column: &ColumnDefinition, index: usize, logged: &LoggedColumns<'_>) -> Result<(), Aspect> {
    let logged_type = logged.types.get(index).copied().ok_or(Aspect::Type)?;
    let metadata = logged.metadata.get(index).copied().ok_or(Aspect::Metadata)?;
    if !has_type(column, logged_type, metadata) {
        return Err(Aspect::Type);
    }
    if !has_metadata(column, logged_type, metadata) {
        return Err(Aspect::Metadata);
    }
    // Whether a TIMESTAMP may be NULL depends on a setting of the session that made it, which the log does not hold.
    let settled = !matches!(column.kind, ColumnKind::Timestamp { .. });
    if settled
        && logged
            .nullable
            .get(index)
            .is_some_and(|&nullable| nullable != column.nullable)
    {
        return Err(Aspect::Nullability);
    }
    if let (ColumnKind::Integer { unsigned, .. }, Some(logged)) = (&column.kind, logged.unsigned)
        && logged.get(index).is_some_and(|logged| logged != unsigned)
    {
        return Err(Aspect::Signedness);
    }
    check_charset(column, index, logged)
}

fn check_charset(column: &ColumnDefinition, index: usize, logged: &LoggedColumns<'_>) -> Result<(), Aspect> {
    let expected = match &column.kind {
        ColumnKind::Text { charset, .. } | ColumnKind::JsonText { charset } => charset,
        ColumnKind::Binary { .. } => charset::BINARY,
        _ => return Ok(()),
    };
    let collation = logged
        .collations
        .and_then(|collations| collations.get(index).copied().flatten());
    match collation.and_then(charset::of_collation_id) {
        Some(charset) if charset != expected => Err(Aspect::Charset),
        _ => Ok(()),
    }
}

/// Type bytes of the log (MySQL "Column type"; 140 and 141 are MariaDB's).
mod byte {
    pub const TIMESTAMP: u8 = 7;
    pub const DATE: u8 = 10;
    pub const TIME: u8 = 11;
    pub const DATETIME: u8 = 12;
    pub const YEAR: u8 = 13;
    pub const NEWDATE: u8 = 14;
    pub const VARCHAR: u8 = 15;
    pub const BIT: u8 = 16;
    pub const TIMESTAMP2: u8 = 17;
    pub const DATETIME2: u8 = 18;
    pub const TIME2: u8 = 19;
    pub const BLOB_COMPRESSED: u8 = 140;
    pub const VARCHAR_COMPRESSED: u8 = 141;
    pub const VECTOR: u8 = 242;
    pub const JSON: u8 = 245;
    pub const DECIMAL: u8 = 246;
    pub const ENUM: u8 = 247;
    pub const SET: u8 = 248;
    pub const BLOB: u8 = 252;
    pub const STRING: u8 = 254;
    pub const GEOMETRY: u8 = 255;
}

/// The type behind STRING: ENUM and SET are logged as STRING with their own type in the metadata, and lengths over 255
/// borrow two bits of it.
fn real_type(logged: u8, metadata: u16) -> u8 {
    match (logged, (metadata >> 8) as u8) {
        (byte::STRING, byte::ENUM) => byte::ENUM,
        (byte::STRING, byte::SET) => byte::SET,
        (logged, _) => logged,
    }
}

fn has_type(column: &ColumnDefinition, logged: u8, metadata: u16) -> bool {
    let real = real_type(logged, metadata);
    match &column.kind {
        ColumnKind::Integer { bytes, .. } => {
            matches!((bytes, real), (1, 1) | (2, 2) | (3, 9) | (4, 3) | (8, 8))
        }
        ColumnKind::Year => real == byte::YEAR,
        ColumnKind::Float => real == 4,
        ColumnKind::Double => real == 5,
        ColumnKind::Decimal { .. } => real == byte::DECIMAL,
        ColumnKind::Date => matches!(real, byte::DATE | byte::NEWDATE),
        // The older forms come from servers with mysql56_temporal_format=OFF and from tables made before it.
        ColumnKind::Time { .. } => matches!(real, byte::TIME2 | byte::TIME),
        ColumnKind::Datetime { .. } => matches!(real, byte::DATETIME2 | byte::DATETIME),
        ColumnKind::Timestamp { .. } => matches!(real, byte::TIMESTAMP2 | byte::TIMESTAMP),
        ColumnKind::Enum { .. } => real == byte::ENUM,
        ColumnKind::Set { .. } => real == byte::SET,
        ColumnKind::Bit => real == byte::BIT,
        ColumnKind::Json => real == byte::JSON,
        ColumnKind::Geometry => real == byte::GEOMETRY,
        // MariaDB keeps its vectors as VARBINARY.
        ColumnKind::Vector => matches!(real, byte::VECTOR | byte::VARCHAR),
        ColumnKind::Uuid | ColumnKind::Inet4 | ColumnKind::Inet6 => real == byte::STRING,
        ColumnKind::Text { .. } | ColumnKind::JsonText { .. } | ColumnKind::Binary { .. } => match column
            .storage
        {
            Storage::Fixed { .. } => real == byte::STRING,
            Storage::Varying {
                compressed: false, ..
            } => real == byte::VARCHAR,
            Storage::Varying { compressed: true, .. } => real == byte::VARCHAR_COMPRESSED,
            Storage::Long {
                compressed: false, ..
            } => real == byte::BLOB,
            Storage::Long { compressed: true, .. } => real == byte::BLOB_COMPRESSED,
            _ => matches!(
                real,
                byte::STRING | byte::VARCHAR | byte::VARCHAR_COMPRESSED | byte::BLOB | byte::BLOB_COMPRESSED
            ),
        },
    }
}

fn has_metadata(column: &ColumnDefinition, logged: u8, metadata: u16) -> bool {
    let [high, low] = metadata.to_be_bytes();
    match &column.kind {
        ColumnKind::Decimal { precision, scale } => (high, low) == (*precision, *scale),
        ColumnKind::Time { fraction }
        | ColumnKind::Datetime { fraction }
        | ColumnKind::Timestamp { fraction } => {
            let modern = matches!(logged, byte::TIME2 | byte::DATETIME2 | byte::TIMESTAMP2);
            !modern || metadata == u16::from(*fraction)
        }
        ColumnKind::Enum { labels } => low == if labels.len() < 256 { 1 } else { 2 },
        ColumnKind::Set { labels } => {
            low == match labels.len().div_ceil(8) {
                0 => 1,
                5.. => 8,
                bytes => bytes as u8,
            }
        }
        ColumnKind::Bit => match column.storage {
            Storage::Bits { bits } => u16::from(bits) == u16::from(high) * 8 + u16::from(low),
            _ => true,
        },
        ColumnKind::Uuid | ColumnKind::Inet6 => string_bytes(metadata) == 16,
        ColumnKind::Inet4 => string_bytes(metadata) == 4,
        ColumnKind::Text { .. } | ColumnKind::JsonText { .. } | ColumnKind::Binary { .. } => {
            let width = width(&column.kind);
            match column.storage {
                Storage::Fixed { length } => {
                    width.is_none_or(|width| u64::from(string_bytes(metadata)) == u64::from(length * width))
                }
                Storage::Varying { length, compressed } => {
                    // A compressed value has one more byte: how it is compressed.
                    let more = u64::from(compressed);
                    width.is_none_or(|width| {
                        u64::from(metadata) == u64::from(length) * u64::from(width) + more
                    })
                }
                Storage::Long { prefix, .. } => metadata == u16::from(prefix),
                _ => true,
            }
        }
        _ => true,
    }
}

fn width(kind: &ColumnKind) -> Option<u32> {
    match kind {
        ColumnKind::Text { charset, .. } | ColumnKind::JsonText { charset } => charset::max_bytes(charset),
        _ => Some(1),
    }
}

/// Length of a CHAR: its bits 8 and 9 stand inverted in the real type (MySQL bug 37426).
fn string_bytes(metadata: u16) -> u16 {
    let [real_type, low] = metadata.to_be_bytes();
    (u16::from(real_type & 0x30) ^ 0x30) << 4 | u16::from(low)
}
