//! Values of a query's answer (the binary protocol) as cells, so that they equal those of the stream.

use mysql_common::Value;
use mysql_common::constants::{ColumnFlags, ColumnType};
use mysql_common::packets::Column;

use super::calendar::{Moment, Span};
use super::{json, number};
use crate::config::Dates;
use crate::event::{BatchWriter, Encoding};

/// Number of the character set `binary`.
const BINARY: u16 = 63;

/// How one column of an answer becomes cells.
#[derive(Debug, Clone, Copy)]
pub struct AnswerColumn {
    encoding: Encoding,
    kind: ColumnType,
    fraction: u8,
}

impl AnswerColumn {
    /// From its definition in the answer. `is_json` says what the protocol of MariaDB does not: that a text column holds JSON.
    pub fn new(column: &Column, dates: Dates, is_json: bool) -> Self {
        let kind = column.column_type();
        let encoding = match kind {
            ColumnType::MYSQL_TYPE_TINY
            | ColumnType::MYSQL_TYPE_SHORT
            | ColumnType::MYSQL_TYPE_INT24
            | ColumnType::MYSQL_TYPE_LONG
            | ColumnType::MYSQL_TYPE_YEAR
            | ColumnType::MYSQL_TYPE_FLOAT
            | ColumnType::MYSQL_TYPE_DOUBLE => Encoding::Number,
            ColumnType::MYSQL_TYPE_LONGLONG => Encoding::Integer,
            ColumnType::MYSQL_TYPE_DATE
            | ColumnType::MYSQL_TYPE_NEWDATE
            | ColumnType::MYSQL_TYPE_DATETIME
            | ColumnType::MYSQL_TYPE_DATETIME2
            | ColumnType::MYSQL_TYPE_TIMESTAMP
            | ColumnType::MYSQL_TYPE_TIMESTAMP2 => match dates {
                Dates::Date => Encoding::Date,
                Dates::String => Encoding::Text,
            },
            ColumnType::MYSQL_TYPE_JSON => Encoding::Json,
            ColumnType::MYSQL_TYPE_BIT | ColumnType::MYSQL_TYPE_GEOMETRY | ColumnType::MYSQL_TYPE_VECTOR => {
                Encoding::Bytes
            }
            ColumnType::MYSQL_TYPE_DECIMAL
            | ColumnType::MYSQL_TYPE_NEWDECIMAL
            | ColumnType::MYSQL_TYPE_TIME
            | ColumnType::MYSQL_TYPE_TIME2 => Encoding::Text,
            _ if is_json => Encoding::Json,
            _ if column.flags().contains(ColumnFlags::SET_FLAG) => Encoding::Set,
            _ if column.flags().contains(ColumnFlags::ENUM_FLAG) => Encoding::Text,
            _ if column.character_set() == BINARY => Encoding::Bytes,
            _ => Encoding::Text,
        };
        Self {
            encoding,
            kind,
            fraction: column.decimals().min(6),
        }
    }

    /// How its cells are written.
    pub fn encoding(self) -> Encoding {
        self.encoding
    }

    /// Writes a cell.
    pub fn put(self, value: &Value, out: &mut BatchWriter) {
        match value {
            Value::NULL => out.put_null(),
            Value::Int(value) if self.encoding == Encoding::Integer => out.put_i64(*value),
            Value::UInt(value) if self.encoding == Encoding::Integer => out.put_u64(*value),
            Value::Int(value) => out.put_number(*value as f64),
            Value::UInt(value) => out.put_number(*value as f64),
            Value::Float(value) => out.put_number(number::printed_float(*value)),
            Value::Double(value) => out.put_number(*value),
            Value::Bytes(bytes) if self.encoding == Encoding::Bytes => out.put_bytes(bytes),
            Value::Bytes(bytes) => self.put_bytes(bytes, out),
            Value::Date(year, month, day, hour, minute, second, micros) => {
                let moment = Moment {
                    year: u32::from(*year),
                    month: u32::from(*month),
                    day: u32::from(*day),
                    hour: u32::from(*hour),
                    minute: u32::from(*minute),
                    second: u32::from(*second),
                    micros: *micros,
                };
                self.put_moment(&moment, out);
            }
            Value::Time(negative, days, hours, minutes, seconds, micros) => {
                let span = Span {
                    negative: *negative,
                    hours: days.saturating_mul(24).saturating_add(u32::from(*hours)),
                    minutes: u32::from(*minutes),
                    seconds: u32::from(*seconds),
                    micros: *micros,
                };
                out.put_text_with(|text| span.write(self.fraction, text));
            }
        }
    }

    fn put_bytes(self, bytes: &[u8], out: &mut BatchWriter) {
        let text = String::from_utf8_lossy(bytes);
        match self.encoding {
            // A number as text has no place in a column of numbers, whatever a server means by it.
            Encoding::Number | Encoding::Integer => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => out.put_number(number),
                _ => out.put_null(),
            },
            Encoding::Date => out.put_escaped(&text),
            // A DECIMAL in a document is a number here, which the log tells from a double.
            Encoding::Json => json::put_str(&text, out),
            _ => out.put_text(&text),
        }
    }

    fn put_moment(self, moment: &Moment, out: &mut BatchWriter) {
        let is_date = matches!(
            self.kind,
            ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE
        );
        let write = |text: &mut String| {
            if is_date {
                moment.write_date(text);
            } else {
                moment.write(self.fraction, text);
            }
        };
        match (self.encoding, moment.epoch_ms()) {
            (Encoding::Date, Some(ms)) => out.put_number(ms),
            (Encoding::Date, None) => {
                let mut text = String::new();
                write(&mut text);
                out.put_escaped(&text);
            }
            _ => out.put_text_with(write),
        }
    }
}
