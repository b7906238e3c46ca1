//! How one column of one table version is decoded.

use super::decimal::Decimal;
use super::json;
use super::logged::*;
use super::temporal::{self, Form};
use super::value::Value;
use super::wire::Extent;
use crate::code::Code;
use crate::config::Dates;
use crate::error::{Error, Result};
use crate::event::{BatchWriter, Encoding};
use crate::source::mysql::charset::Charset;
use crate::source::mysql::schema::ColumnKind;

/// How one column of one table version is decoded; see the module's header.
#[derive(Debug, Clone)]
pub struct CellPlan {
    extent: Extent,
    value: Value,
    encoding: Encoding,
}

impl CellPlan {
    /// Makes a plan from the column's type byte and metadata in the TABLE_MAP_EVENT and from its definition.
    ///
    /// The two bytes of metadata of STRING, VAR_STRING, ENUM, SET and NEWDECIMAL have the first on top, those of
    /// VARCHAR and BIT are little-endian, as in the server (`read_field_metadata`, `sql/rpl_utility.cc`).
    ///
    /// # Errors
    /// [`Code::LogUndecodable`] where the log's type and the definition cannot be of one column, where the type is
    /// not known, or where the character set is not known.
    pub fn new(logged_type: u8, metadata: u16, kind: &ColumnKind, dates: Dates) -> Result<Self> {
        let logged = Logged::new(logged_type, metadata);
        let (extent, value) = logged.plan(kind, dates)?;
        let (extent, value) = match (logged.name, extent) {
            // A compressed value has one more byte than the column's length, which its metadata counts.
            (VARCHAR_COMPRESSED | BLOB_COMPRESSED, extent) => (extent, Value::Compressed(Box::new(value))),
            (_, extent) => (extent, value),
        };
        Ok(Self {
            extent,
            encoding: encoding(kind, dates),
            value,
        })
    }

    /// How its cells are written.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Writes the cell at the start of `input`, which is not NULL, and returns its length in bytes.
    ///
    /// # Errors
    /// [`Code::LogUndecodable`]; `out` may then hold a part of the cell, and the caller takes the row back.
    #[inline]
    pub fn decode(&self, input: &[u8], out: &mut BatchWriter) -> Result<usize> {
        let (cell, length) = self.extent.cut(input)?;
        self.value.put(cell, out)?;
        Ok(length)
    }

    /// Length in bytes of the cell at the start of `input`, which is not NULL.
    ///
    /// # Errors
    /// [`Code::LogUndecodable`] where `input` ends before the cell does.
    #[inline]
    pub fn skip(&self, input: &[u8]) -> Result<usize> {
        self.extent.cut(input).map(|(_, length)| length)
    }

    /// Decodes the cell of a JSON column that a PARTIAL_UPDATE_ROWS_EVENT holds as a difference, and returns its
    /// length in bytes.
    ///
    /// `base` is the column's cell in the before image, as [`decode`](Self::decode) takes it. With it, the complete
    /// document is written, as `decode` would. Without it (a MINIMAL image) the operations are, as
    /// [`put_json_difference`](BatchWriter::put_json_difference): a JSON array, in the order in which they apply, of
    /// `{"op":"replace","path":"$.a","value":1}`, `{"op":"insert",…}` (into an object, or into an array at that index)
    /// and `{"op":"remove","path":"$.a[0]"}`. Paths are MySQL's; values follow the agreements of JSON text
    /// ([`Encoding::Json`]), marked ones included.
    ///
    /// # Errors
    /// [`Code::LogUndecodable`] where the bytes are no difference, or it does not fit its base. `out` may then hold a
    /// part of the cell.
    pub fn decode_json_difference(
        &self,
        input: &[u8],
        base: Option<&[u8]>,
        out: &mut BatchWriter,
    ) -> Result<usize> {
        let (difference, length) = json::DIFFERENCE.cut(input)?;
        match base {
            Some(base) => json::put_changed(self.extent.cut(base)?.0, difference, out)?,
            None => json::put_difference(difference, out)?,
        }
        Ok(length)
    }

    /// Length in bytes of the difference at the start of `input`.
    ///
    /// # Errors
    /// [`Code::LogUndecodable`] where `input` ends before the difference does.
    pub fn skip_json_difference(&self, input: &[u8]) -> Result<usize> {
        json::DIFFERENCE.cut(input).map(|(_, length)| length)
    }
}

fn encoding(kind: &ColumnKind, dates: Dates) -> Encoding {
    match kind {
        ColumnKind::Integer { bytes: 8, .. } => Encoding::Integer,
        ColumnKind::Integer { .. } | ColumnKind::Year | ColumnKind::Float | ColumnKind::Double => {
            Encoding::Number
        }
        ColumnKind::Date | ColumnKind::Datetime { .. } | ColumnKind::Timestamp { .. } => match dates {
            Dates::Date => Encoding::Date,
            Dates::String => Encoding::Text,
        },
        ColumnKind::Set { .. } => Encoding::Set,
        ColumnKind::Binary { .. } | ColumnKind::Bit | ColumnKind::Geometry | ColumnKind::Vector => {
            Encoding::Bytes
        }
        ColumnKind::Json | ColumnKind::JsonText { .. } => Encoding::Json,
        ColumnKind::Decimal { .. }
        | ColumnKind::Time { .. }
        | ColumnKind::Text { .. }
        | ColumnKind::Enum { .. }
        | ColumnKind::Uuid
        | ColumnKind::Inet4
        | ColumnKind::Inet6 => Encoding::Text,
    }
}

/// A column's type in the log, the tricks of its metadata undone.
#[derive(Debug, Clone, Copy)]
struct Logged {
    /// The type; ENUM and SET, which travel as STRING, under their own number.
    name: u8,
    /// The type as it travelled.
    travelled: u8,
    metadata: u16,
}

impl Logged {
    fn new(travelled: u8, metadata: u16) -> Self {
        let [high, low] = metadata.to_be_bytes();
        let (name, metadata) = match travelled {
            // A STRING's real type is in the first byte, whose bits 4 and 5, inverted, are also bits 8 and 9 of the
            // length: no type that a STRING may hide has them unset (`Field_string::do_save_field_metadata`).
            STRING if high != 0 => (high | 0x30, u16::from(low) | (u16::from(high & 0x30) ^ 0x30) << 4),
            _ => (travelled, metadata),
        };
        Self {
            name,
            travelled,
            metadata,
        }
    }

    /// Where a string ends: its longest length in bytes says how wide its length is.
    fn string(self) -> Option<Extent> {
        match self.name {
            VARCHAR | VAR_STRING | STRING | VARCHAR_COMPRESSED => {
                Some(Extent::Prefixed(if self.metadata > 255 { 2 } else { 1 }))
            }
            TINY_BLOB | MEDIUM_BLOB | LONG_BLOB | BLOB | BLOB_COMPRESSED => self.blob(),
            _ => None,
        }
    }

    /// Where a blob, or what is stored as one, ends: its metadata is the width of its length.
    fn blob(self) -> Option<Extent> {
        (1..=4)
            .contains(&self.metadata)
            .then(|| Extent::Prefixed(usize::from(self.metadata)))
    }

    /// Width of an ENUM or SET.
    fn pack_length(self, widest: u16) -> Option<Extent> {
        (1..=widest)
            .contains(&self.metadata)
            .then(|| Extent::Fixed(usize::from(self.metadata)))
    }

    fn plan(self, kind: &ColumnKind, dates: Dates) -> Result<(Extent, Value)> {
        let plan = match kind {
            ColumnKind::Integer { bytes, unsigned } => self.integer(*bytes, *unsigned),
            ColumnKind::Year => (self.name == YEAR).then_some((Extent::Fixed(1), Value::Year)),
            ColumnKind::Float => (self.name == FLOAT).then_some((Extent::Fixed(4), Value::Float)),
            ColumnKind::Double => (self.name == DOUBLE).then_some((Extent::Fixed(8), Value::Double)),
            ColumnKind::Decimal { precision, scale } => self.decimal(*precision, *scale),
            ColumnKind::Date
            | ColumnKind::Time { .. }
            | ColumnKind::Datetime { .. }
            | ColumnKind::Timestamp { .. } => self.temporal(kind, dates),
            ColumnKind::Text { charset, .. } => self.text(charset, Value::Text)?,
            ColumnKind::JsonText { charset } => self.text(charset, Value::JsonText)?,
            ColumnKind::Enum { labels } if self.name == ENUM => self
                .pack_length(2)
                .map(|extent| (extent, Value::Enum(labels.clone()))),
            ColumnKind::Set { labels } if self.name == SET => self
                .pack_length(8)
                .map(|extent| (extent, Value::Set(labels.clone()))),
            ColumnKind::Enum { .. } | ColumnKind::Set { .. } => None,
            ColumnKind::Binary { fixed } => self.binary(*fixed),
            ColumnKind::Bit => self.bits(),
            ColumnKind::Json if matches!(self.name, JSON | TYPED_ARRAY) => {
                self.blob().map(|extent| (extent, Value::Json))
            }
            ColumnKind::Json => None,
            ColumnKind::Geometry => self.opaque(GEOMETRY),
            ColumnKind::Vector => self.opaque(VECTOR),
            ColumnKind::Uuid => self.network(16, Value::Uuid),
            ColumnKind::Inet4 => self.network(4, Value::Inet4),
            ColumnKind::Inet6 => self.network(16, Value::Inet6),
        };
        plan.ok_or_else(|| self.disagrees(kind))
    }

    fn integer(self, bytes: u8, unsigned: bool) -> Option<(Extent, Value)> {
        let width = match self.name {
            TINY => 1,
            SHORT => 2,
            INT24 => 3,
            LONG => 4,
            LONGLONG => 8,
            _ => return None,
        };
        let value = match (width, unsigned) {
            (8, true) => Value::U64,
            (8, false) => Value::I64,
            (_, true) => Value::Unsigned,
            (_, false) => Value::Signed,
        };
        (width == bytes).then_some((Extent::Fixed(usize::from(width)), value))
    }

    fn decimal(self, precision: u8, scale: u8) -> Option<(Extent, Value)> {
        // The DECIMAL of MySQL 4 (type 0) says nothing of its length, and no server of today can make one.
        if self.name != NEWDECIMAL || self.metadata.to_be_bytes() != [precision, scale] {
            return None;
        }
        let decimal = Decimal::new(precision, scale)?;
        Some((Extent::Fixed(decimal.size()), Value::Decimal(decimal)))
    }

    /// The form of a column of `fraction` digits, where the log's type is one of its two.
    fn form(self, fraction: u8, old: u8, packed: u8) -> Option<Form> {
        if fraction > 6 {
            None
        } else if self.name == packed {
            (self.metadata == u16::from(fraction)).then_some(Form::Packed)
        } else {
            (self.name == old).then(|| Form::of_old_type(fraction))
        }
    }

    fn temporal(self, kind: &ColumnKind, dates: Dates) -> Option<(Extent, Value)> {
        Some(match *kind {
            ColumnKind::Time { fraction } => {
                let form = self.form(fraction, TIME, TIME2)?;
                let extent = Extent::Fixed(temporal::time_size(form, fraction));
                (extent, Value::Time { form, fraction })
            }
            ColumnKind::Datetime { fraction } => {
                let form = self.form(fraction, DATETIME, DATETIME2)?;
                let extent = Extent::Fixed(temporal::datetime_size(form, fraction));
                (
                    extent,
                    Value::Datetime {
                        form,
                        fraction,
                        dates,
                    },
                )
            }
            ColumnKind::Timestamp { fraction } => {
                let form = self.form(fraction, TIMESTAMP, TIMESTAMP2)?;
                let extent = Extent::Fixed(temporal::timestamp_size(form, fraction));
                (
                    extent,
                    Value::Timestamp {
                        form,
                        fraction,
                        dates,
                    },
                )
            }
            _ => {
                let known = matches!(self.name, DATE | NEWDATE);
                return known.then_some((Extent::Fixed(3), Value::Date(dates)));
            }
        })
    }

    fn text(self, charset: &str, value: fn(Charset) -> Value) -> Result<Option<(Extent, Value)>> {
        let Some(extent) = self.string() else {
            return Ok(None);
        };
        // Bytes that the definition calls text.
        if charset == "binary" {
            return Ok(None);
        }
        match Charset::by_name(charset) {
            Some(charset) => Ok(Some((extent, value(charset)))),
            None => Err(Error::new(
                Code::LogUndecodable,
                "Expected a character set that this release knows, found another.",
            )
            .with_detail("charset", charset)),
        }
    }

    fn binary(self, fixed: Option<u32>) -> Option<(Extent, Value)> {
        let extent = self.string()?;
        match fixed {
            Some(length) if self.name == STRING => {
                (u32::from(self.metadata) == length).then_some((extent, Value::Padded(length as usize)))
            }
            Some(_) => None,
            None => Some((extent, Value::Bytes)),
        }
    }

    fn bits(self) -> Option<(Extent, Value)> {
        let [bytes, bits] = self.metadata.to_be_bytes();
        let length = usize::from(bytes) + usize::from(bits > 0);
        (self.name == BIT && (1..=8).contains(&length) && bits < 8)
            .then_some((Extent::Fixed(length), Value::Bytes))
    }

    fn opaque(self, own: u8) -> Option<(Extent, Value)> {
        let extent = if self.name == own {
            self.blob()
        } else if own == VECTOR {
            // MariaDB's VECTOR travels as VARBINARY.
            self.string()
        } else {
            None
        };
        Some((extent?, Value::Bytes))
    }

    /// MariaDB's fixed types travel as BINARY(n), without their trailing zeros.
    fn network(self, length: u16, value: Value) -> Option<(Extent, Value)> {
        (self.name == STRING && self.metadata == length).then_some((Extent::Prefixed(1), value))
    }

    #[cold]
    fn disagrees(self, kind: &ColumnKind) -> Error {
        Error::new(
            Code::LogUndecodable,
            "Expected a column's type in the log to be that of its definition, found another: \
             the definition is not the one that the row was written under.",
        )
        .with_advice(
            "Set binlog_row_metadata=FULL on the server, so that the log itself describes its tables.",
        )
        .with_detail("type", self.travelled)
        .with_detail("metadata", self.metadata)
        .with_detail("kind", kind_name(kind))
    }
}

fn kind_name(kind: &ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Integer { .. } => "integer",
        ColumnKind::Year => "year",
        ColumnKind::Float => "float",
        ColumnKind::Double => "double",
        ColumnKind::Decimal { .. } => "decimal",
        ColumnKind::Date => "date",
        ColumnKind::Time { .. } => "time",
        ColumnKind::Datetime { .. } => "datetime",
        ColumnKind::Timestamp { .. } => "timestamp",
        ColumnKind::Text { .. } => "text",
        ColumnKind::Enum { .. } => "enum",
        ColumnKind::Set { .. } => "set",
        ColumnKind::Binary { .. } => "binary",
        ColumnKind::Bit => "bit",
        ColumnKind::Json => "json",
        ColumnKind::JsonText { .. } => "json text",
        ColumnKind::Geometry => "geometry",
        ColumnKind::Vector => "vector",
        ColumnKind::Uuid => "uuid",
        ColumnKind::Inet4 => "inet4",
        ColumnKind::Inet6 => "inet6",
    }
}
