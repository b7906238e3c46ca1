//! The table map: which table the next rows belong to, and how the log stores its columns.
//!
//! Source: MySQL's `libs/mysql/binlog/event/rows_event.h` (`Table_map_event`, `Optional_metadata_fields`).

use super::wire::{Wire, truncated};
use crate::error::Result;

/// A table map as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMap {
    /// Database, in utf8mb3.
    pub database: String,
    /// Table, in utf8mb3.
    pub table: String,
    /// Type of each column.
    pub types: Vec<u8>,
    /// Metadata of each column; 0 for types without.
    pub metadata: Vec<u16>,
    /// Whether each column may be NULL.
    pub nullable: Vec<bool>,
    /// What the server adds according to `binlog_row_metadata`.
    pub optional: OptionalMetadata,
}

/// The optional part of a table map: some of it with `binlog_row_metadata=MINIMAL`, all of it with FULL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionalMetadata {
    /// Whether each column is UNSIGNED; false for columns that are not numeric.
    pub unsigned: Option<Vec<bool>>,
    /// Collation id of each character column.
    pub collations: Option<Vec<Option<u16>>>,
    /// Collation id of each ENUM and SET column.
    pub label_collations: Option<Vec<Option<u16>>>,
    /// Column names.
    pub names: Option<Vec<String>>,
    /// Labels of each SET column, in the column's character set.
    pub set_labels: Option<Vec<Vec<Vec<u8>>>>,
    /// Labels of each ENUM column, in the column's character set.
    pub enum_labels: Option<Vec<Vec<Vec<u8>>>>,
    /// Indices of the primary key's columns, in key order.
    pub key: Option<Vec<u32>>,
    /// Whether `SELECT *` shows each column.
    pub visible: Option<Vec<bool>>,
}

/// Types of the log as far as table maps tell them apart.
mod kind {
    pub const DECIMAL: u8 = 0;
    pub const TINY: u8 = 1;
    pub const SHORT: u8 = 2;
    pub const LONG: u8 = 3;
    pub const FLOAT: u8 = 4;
    pub const DOUBLE: u8 = 5;
    pub const LONGLONG: u8 = 8;
    pub const INT24: u8 = 9;
    pub const YEAR: u8 = 13;
    pub const VARCHAR: u8 = 15;
    pub const BIT: u8 = 16;
    pub const TIMESTAMP2: u8 = 17;
    pub const DATETIME2: u8 = 18;
    pub const TIME2: u8 = 19;
    pub const BLOB_COMPRESSED: u8 = 140;
    pub const VARCHAR_COMPRESSED: u8 = 141;
    pub const TYPED_ARRAY: u8 = 20;
    pub const VECTOR: u8 = 242;
    pub const JSON: u8 = 245;
    pub const NEWDECIMAL: u8 = 246;
    pub const ENUM: u8 = 247;
    pub const SET: u8 = 248;
    pub const TINY_BLOB: u8 = 249;
    pub const MEDIUM_BLOB: u8 = 250;
    pub const LONG_BLOB: u8 = 251;
    pub const BLOB: u8 = 252;
    pub const VAR_STRING: u8 = 253;
    pub const STRING: u8 = 254;
    pub const GEOMETRY: u8 = 255;
}

impl TableMap {
    /// Reads what follows the table id.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where a field goes beyond the end.
    pub fn read(wire: &mut Wire<'_>) -> Result<Self> {
        wire.skip(2)?; // flags
        let database = name(wire)?;
        let table = name(wire)?;
        let count = wire.lenenc_len()?;
        let types = wire.take(count)?.to_vec();
        let mut metadata_wire = Wire(wire.lenenc_bytes()?);
        let metadata = types
            .iter()
            .map(|&column| read_metadata(column, &mut metadata_wire))
            .collect::<Result<Vec<_>>>()?;
        let nullable = bits(wire.take(count.div_ceil(8))?, count);
        let optional = OptionalMetadata::read(wire, &types, &metadata)?;
        Ok(Self {
            database,
            table,
            types,
            metadata,
            nullable,
            optional,
        })
    }
}

fn name(wire: &mut Wire<'_>) -> Result<String> {
    let bytes = wire.lenenc_bytes()?;
    wire.skip(1)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| truncated())
}

fn read_metadata(column: u8, wire: &mut Wire<'_>) -> Result<u16> {
    match column {
        kind::FLOAT
        | kind::DOUBLE
        | kind::TINY_BLOB
        | kind::BLOB
        | kind::MEDIUM_BLOB
        | kind::LONG_BLOB
        | kind::BLOB_COMPRESSED
        | kind::GEOMETRY
        | kind::JSON
        | kind::VECTOR
        | kind::TIMESTAMP2
        | kind::DATETIME2
        | kind::TIME2 => wire.u8().map(u16::from),
        // The first byte is the type inside STRING, or the precision: it stands in the high half.
        kind::STRING | kind::NEWDECIMAL | kind::ENUM | kind::SET | kind::VAR_STRING => {
            let [high, low] = [wire.u8()?, wire.u8()?];
            Ok(u16::from_be_bytes([high, low]))
        }
        // The element's type and its own metadata, which nobody needs: the cell is JSON, whose length has four bytes.
        kind::TYPED_ARRAY => {
            let element = wire.u8()?;
            if element == kind::TYPED_ARRAY {
                return Err(truncated());
            }
            read_metadata(element, wire)?;
            Ok(4)
        }
        kind::VARCHAR | kind::VARCHAR_COMPRESSED | kind::BIT => wire.u16(),
        _ => Ok(0),
    }
}

/// `count` bits, the lowest of the first byte first.
pub fn bits(bytes: &[u8], count: usize) -> Vec<bool> {
    (0..count)
        .map(|index| {
            bytes
                .get(index / 8)
                .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
        })
        .collect()
}

/// The real type of a column: ENUM and SET hide inside STRING.
pub fn real_type(column: u8, metadata: u16) -> u8 {
    match (column, (metadata >> 8) as u8) {
        (kind::STRING, hidden @ (kind::ENUM | kind::SET)) => hidden,
        _ => column,
    }
}

fn is_numeric(column: u8) -> bool {
    matches!(
        column,
        kind::DECIMAL
            | kind::TINY
            | kind::SHORT
            | kind::INT24
            | kind::LONG
            | kind::LONGLONG
            | kind::FLOAT
            | kind::DOUBLE
            | kind::NEWDECIMAL
            | kind::YEAR
    )
}

fn is_character(real: u8) -> bool {
    matches!(
        real,
        kind::STRING
            | kind::VAR_STRING
            | kind::VARCHAR
            | kind::VARCHAR_COMPRESSED
            | kind::TINY_BLOB
            | kind::BLOB
            | kind::MEDIUM_BLOB
            | kind::LONG_BLOB
            | kind::BLOB_COMPRESSED
    )
}

impl OptionalMetadata {
    fn read(wire: &mut Wire<'_>, types: &[u8], metadata: &[u16]) -> Result<Self> {
        let real: Vec<u8> = types
            .iter()
            .zip(metadata)
            .map(|(&column, &metadata)| real_type(column, metadata))
            .collect();
        let mut optional = Self::default();
        while !wire.is_empty() {
            let field = wire.u8()?;
            let mut value = Wire(wire.lenenc_bytes()?);
            match field {
                1 => optional.unsigned = Some(signs(value.rest(), types)?),
                2 => optional.collations = Some(default_collations(&mut value, &real, is_character)?),
                3 => optional.collations = Some(column_collations(&mut value, &real, is_character)?),
                4 => optional.names = Some(names(&mut value)?),
                5 => optional.set_labels = Some(labels(&mut value)?),
                6 => optional.enum_labels = Some(labels(&mut value)?),
                8 => optional.key = Some(simple_key(&mut value)?),
                9 => optional.key = Some(prefixed_key(&mut value)?),
                10 => optional.label_collations = Some(default_collations(&mut value, &real, has_labels)?),
                11 => optional.label_collations = Some(column_collations(&mut value, &real, has_labels)?),
                12 => optional.visible = Some(high_bits(value.rest(), types.len())),
                _ => {}
            }
        }
        Ok(optional)
    }
}

fn has_labels(real: u8) -> bool {
    matches!(real, kind::ENUM | kind::SET)
}

/// `count` bits, the highest of the first byte first.
fn high_bits(bytes: &[u8], count: usize) -> Vec<bool> {
    (0..count)
        .map(|index| {
            bytes
                .get(index / 8)
                .is_some_and(|byte| byte << (index % 8) & 0x80 != 0)
        })
        .collect()
}

/// One bit for each numeric column (YEAR is one), spread over all columns.
fn signs(bytes: &[u8], types: &[u8]) -> Result<Vec<bool>> {
    let numeric = types.iter().filter(|&&column| is_numeric(column)).count();
    if numeric.div_ceil(8) != bytes.len() {
        return Err(truncated());
    }
    let mut next = high_bits(bytes, numeric).into_iter();
    Ok(types
        .iter()
        .map(|&column| is_numeric(column) && next.next().unwrap_or(false))
        .collect())
}

fn default_collations(
    value: &mut Wire<'_>,
    real: &[u8],
    concerned: fn(u8) -> bool,
) -> Result<Vec<Option<u16>>> {
    let default = collation(value)?;
    let mut exceptions = Vec::new();
    while !value.is_empty() {
        exceptions.push((value.lenenc_len()?, collation(value)?));
    }
    let mut nth = 0;
    Ok(real
        .iter()
        .map(|&column| {
            concerned(column).then(|| {
                let own = exceptions.iter().find(|(index, _)| *index == nth);
                nth += 1;
                own.map_or(default, |(_, collation)| *collation)
            })
        })
        .collect())
}

fn column_collations(
    value: &mut Wire<'_>,
    real: &[u8],
    concerned: fn(u8) -> bool,
) -> Result<Vec<Option<u16>>> {
    real.iter()
        .map(|&column| concerned(column).then(|| collation(value)).transpose())
        .collect()
}

fn collation(value: &mut Wire<'_>) -> Result<u16> {
    u16::try_from(value.lenenc()?).map_err(|_| truncated())
}

fn names(value: &mut Wire<'_>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    while !value.is_empty() {
        let name = value.lenenc_bytes()?;
        names.push(String::from_utf8(name.to_vec()).map_err(|_| truncated())?);
    }
    Ok(names)
}

fn labels(value: &mut Wire<'_>) -> Result<Vec<Vec<Vec<u8>>>> {
    let mut columns = Vec::new();
    while !value.is_empty() {
        let count = value.lenenc_len()?;
        let mut labels = Vec::new();
        for _ in 0..count {
            labels.push(value.lenenc_bytes()?.to_vec());
        }
        columns.push(labels);
    }
    Ok(columns)
}

fn simple_key(value: &mut Wire<'_>) -> Result<Vec<u32>> {
    let mut key = Vec::new();
    while !value.is_empty() {
        key.push(u32::try_from(value.lenenc()?).map_err(|_| truncated())?);
    }
    Ok(key)
}

fn prefixed_key(value: &mut Wire<'_>) -> Result<Vec<u32>> {
    let mut key = Vec::new();
    while !value.is_empty() {
        key.push(u32::try_from(value.lenenc()?).map_err(|_| truncated())?);
        value.lenenc()?; // bytes of the prefix
    }
    Ok(key)
}
