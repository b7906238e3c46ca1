//! A table's definition out of its own table map, where the server logs names (`binlog_row_metadata=FULL`).
//!
//! This is the surest source: the metadata was written together with the rows. What it does not tell apart is MariaDB's
//! own types that are stored as other ones (JSON is LONGTEXT, UUID is BINARY(16)), and the columns of its versioned tables: there a tracked
//! definition decides, where one agrees.

use std::sync::Arc;

use super::binlog::{TableMap, real_type};
use super::charset::{Charset, by_collation_id};
use super::schema::{ColumnDefinition, ColumnKind, Storage, TableDefinition, TableName, current_key};
use crate::code::Code;
use crate::error::{Error, Result};

/// Collation id of `binary`: bytes, not text.
const BINARY: u16 = 63;

/// The definition that `map` describes; `None` where the server does not log names.
///
/// # Errors
/// `ERR_STREAMER_LOG_UNDECODABLE` where the description contradicts itself, or names a type or a collation that this
/// version does not know.
pub fn definition(map: &TableMap) -> Result<Option<TableDefinition>> {
    let Some(names) = &map.optional.names else {
        return Ok(None);
    };
    if names.len() != map.types.len() {
        return Err(contradiction(map, "names and columns differ in number"));
    }
    let mut labels = Labels::new(map);
    let mut columns = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        columns.push(ColumnDefinition {
            name: name.as_str().into(),
            kind: kind(map, index, &mut labels)?,
            nullable: map.nullable.get(index).copied().unwrap_or(true),
            invisible: map
                .optional
                .visible
                .as_ref()
                .is_some_and(|visible| visible.get(index) == Some(&false)),
            generated: None,
            storage: Storage::Plain,
        });
    }
    let key = map.optional.key.clone().unwrap_or_default();
    if key.iter().any(|&column| column as usize >= columns.len()) {
        return Err(contradiction(map, "its key names a column that it has not"));
    }
    Ok(Some(TableDefinition {
        name: TableName::new(map.database.as_str(), map.table.as_str()),
        columns,
        key,
        charset: None,
    }))
}

fn contradiction(map: &TableMap, why: &str) -> Error {
    Error::new(
        Code::LogUndecodable,
        format!(
            "The description of {}.{} in the log contradicts itself: {why}.",
            map.database, map.table
        ),
    )
}

/// ENUM and SET labels stand in two lists of their own, in column order.
struct Labels<'a> {
    map: &'a TableMap,
    enums: usize,
    sets: usize,
}

impl<'a> Labels<'a> {
    fn new(map: &'a TableMap) -> Self {
        Self {
            map,
            enums: 0,
            sets: 0,
        }
    }

    fn next(&mut self, index: usize, is_set: bool) -> Result<Arc<[Arc<str>]>> {
        let optional = &self.map.optional;
        let (lists, nth) = if is_set {
            (&optional.set_labels, &mut self.sets)
        } else {
            (&optional.enum_labels, &mut self.enums)
        };
        let labels = lists
            .as_ref()
            .and_then(|lists| lists.get(*nth))
            .ok_or_else(|| contradiction(self.map, "labels of an ENUM or SET are missing"))?;
        *nth += 1;
        let collation = optional
            .label_collations
            .as_ref()
            .and_then(|collations| collations.get(index).copied().flatten())
            .unwrap_or(BINARY);
        let charset = charset_of(self.map, collation)?;
        let charset = Charset::by_name(&charset)
            .ok_or_else(|| contradiction(self.map, "labels in an unknown character set"))?;
        Ok(labels
            .iter()
            .map(|label| {
                let mut text = String::new();
                charset.decode(label, &mut text);
                Arc::from(text)
            })
            .collect())
    }
}

fn charset_of(map: &TableMap, collation: u16) -> Result<Arc<str>> {
    by_collation_id(collation).map(Arc::from).ok_or_else(|| {
        Error::new(
            Code::LogUndecodable,
            format!(
                "Collation {collation} of {}.{} is not known to this version.",
                map.database, map.table
            ),
        )
    })
}

fn kind(map: &TableMap, index: usize, labels: &mut Labels<'_>) -> Result<ColumnKind> {
    let logged = map.types.get(index).copied().unwrap_or_default();
    let metadata = map.metadata.get(index).copied().unwrap_or_default();
    let unsigned = map
        .optional
        .unsigned
        .as_ref()
        .and_then(|unsigned| unsigned.get(index).copied())
        .unwrap_or(false);
    let fraction = (metadata & 0xff) as u8;
    Ok(match real_type(logged, metadata) {
        1 => ColumnKind::Integer { bytes: 1, unsigned },
        2 => ColumnKind::Integer { bytes: 2, unsigned },
        9 => ColumnKind::Integer { bytes: 3, unsigned },
        3 => ColumnKind::Integer { bytes: 4, unsigned },
        8 => ColumnKind::Integer { bytes: 8, unsigned },
        4 => ColumnKind::Float,
        5 => ColumnKind::Double,
        13 => ColumnKind::Year,
        246 => ColumnKind::Decimal {
            precision: (metadata >> 8) as u8,
            scale: fraction,
        },
        10 | 14 => ColumnKind::Date,
        11 => ColumnKind::Time { fraction: 0 },
        19 => ColumnKind::Time { fraction },
        12 => ColumnKind::Datetime { fraction: 0 },
        18 => ColumnKind::Datetime { fraction },
        7 => ColumnKind::Timestamp { fraction: 0 },
        17 => ColumnKind::Timestamp { fraction },
        16 => ColumnKind::Bit,
        242 => ColumnKind::Vector,
        245 => ColumnKind::Json,
        247 => ColumnKind::Enum {
            labels: labels.next(index, false)?,
        },
        248 => ColumnKind::Set {
            labels: labels.next(index, true)?,
        },
        255 => ColumnKind::Geometry,
        real @ (15 | 140 | 141 | 249..=254) => character(map, index, real, metadata)?,
        other => {
            return Err(Error::new(
                Code::LogUndecodable,
                format!(
                    "{}.{} has a column of type {other}, which is not known to this version.",
                    map.database, map.table
                ),
            ));
        }
    })
}

fn character(map: &TableMap, index: usize, real: u8, metadata: u16) -> Result<ColumnKind> {
    let collation = map
        .optional
        .collations
        .as_ref()
        .and_then(|collations| collations.get(index).copied().flatten())
        .ok_or_else(|| contradiction(map, "a character column has no collation"))?;
    let is_fixed = real == 254;
    if collation == BINARY {
        return Ok(ColumnKind::Binary {
            fixed: is_fixed.then(|| u32::from(char_bytes(metadata))),
        });
    }
    Ok(ColumnKind::Text {
        charset: charset_of(map, collation)?,
        fixed: is_fixed,
    })
}

/// Bytes of a CHAR: two bits of the length are hidden, inverted, in the type's byte.
fn char_bytes(metadata: u16) -> u16 {
    let (high, low) = (metadata >> 8, metadata & 0xff);
    if high & 0x30 == 0x30 {
        low
    } else {
        low | (((high & 0x30) ^ 0x30) << 4)
    }
}

/// Whether `described` leaves open what only a tracked definition decides (MariaDB): a type, or whether the table is versioned by the
/// system, with a column for the end of each row.
pub fn is_ambiguous(described: &TableDefinition) -> bool {
    let may_be_period =
        |column: &&ColumnDefinition| !column.nullable && column.kind == ColumnKind::Timestamp { fraction: 6 };
    let may_be_versioned = described.columns.iter().filter(may_be_period).count() > 1;
    may_be_versioned
        || described.columns.iter().any(|column| match &column.kind {
            ColumnKind::Text { fixed: false, .. } => true,
            ColumnKind::Binary { fixed } => matches!(fixed, Some(4 | 16)),
            _ => false,
        })
}

/// Takes MariaDB's own types from a tracked definition, where it names the same columns.
pub fn refine(described: &mut TableDefinition, tracked: &TableDefinition) {
    let same_names = described.columns.len() == tracked.columns.len()
        && described
            .columns
            .iter()
            .zip(&tracked.columns)
            .all(|(left, right)| left.name == right.name);
    if !same_names {
        return;
    }
    for (column, tracked) in described.columns.iter_mut().zip(&tracked.columns) {
        let own = matches!(
            (&column.kind, &tracked.kind),
            (ColumnKind::Text { .. }, ColumnKind::JsonText { .. })
                | (
                    ColumnKind::Binary { .. },
                    ColumnKind::Uuid | ColumnKind::Inet4 | ColumnKind::Inet6
                )
        );
        if own {
            column.kind = tracked.kind.clone();
        }
        column.storage = tracked.storage;
        column.generated = tracked.generated;
    }
    described.key = current_key(std::mem::take(&mut described.key), &described.columns);
}
