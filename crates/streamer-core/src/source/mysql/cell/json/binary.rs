//! MySQL's binary JSON.
//!
//! Format: `sql-common/json_binary.h`. A document is a type byte and a value; a container begins with the number of
//! its elements and its size in bytes, both of 2 bytes (small) or 4 (large), then entries that point into it.
//!
//! Every offset is checked against its container. Parts that overlap could make a short document as long as one likes
//! when written, so each byte pays for one visit only: a document that visits more bytes than it has is refused.

use std::fmt::Write;

use super::super::wire::{little, little_signed, undecodable};
use super::super::{decimal, logged, temporal};
use super::MAX_DEPTH;
use super::output::{self, Output};
use crate::error::{Error, Result};
use crate::event::BatchWriter;

const SMALL_OBJECT: u8 = 0;
const LARGE_OBJECT: u8 = 1;
const SMALL_ARRAY: u8 = 2;
const LARGE_ARRAY: u8 = 3;
const LITERAL: u8 = 4;
const INT16: u8 = 5;
const UINT16: u8 = 6;
const INT32: u8 = 7;
const UINT32: u8 = 8;
const INT64: u8 = 9;
const UINT64: u8 = 10;
const DOUBLE: u8 = 11;
const STRING: u8 = 12;
const OPAQUE: u8 = 15;

/// A value of a document, its children still unread.
#[derive(Debug, Clone)]
pub(super) enum View<'a> {
    Null,
    Bool(bool),
    Integer { negative: bool, size: u64 },
    Double(f64),
    String(&'a str),
    Opaque { type_byte: u8, bytes: &'a [u8] },
    Container(Container<'a>),
}

/// An object or an array.
#[derive(Debug, Clone)]
pub(super) struct Container<'a> {
    pub(super) object: bool,
    pub(super) count: usize,
    /// Bytes of an offset, a count or a size.
    width: usize,
    /// From its count to its end.
    bytes: &'a [u8],
}

/// Bytes of a document that may still be visited.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    fn pay(&mut self, bytes: usize) -> Result<()> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(broken)?;
        Ok(())
    }
}

#[cold]
fn broken() -> Error {
    undecodable("Expected MySQL's binary JSON, found bytes that are not.")
}

/// Opens a document. An empty one is the JSON null, as the server reads it.
pub(super) fn open(document: &[u8]) -> Result<(View<'_>, Budget)> {
    // A scalar at the top costs its own bytes; the type byte gives room for the header of an empty container.
    let mut budget = Budget(document.len());
    match document.split_first() {
        None => Ok((View::Null, budget)),
        Some((&type_byte, value)) => Ok((view(type_byte, value, &mut budget)?, budget)),
    }
}

/// Reads the value of `type_byte` at the start of `bytes`.
fn view<'a>(type_byte: u8, bytes: &'a [u8], budget: &mut Budget) -> Result<View<'a>> {
    let mut take = |length: usize| {
        budget.pay(length)?;
        bytes.get(..length).ok_or_else(broken)
    };
    let signed = |value: i64| View::Integer {
        negative: value < 0,
        size: value.unsigned_abs(),
    };
    let unsigned = |size: u64| View::Integer {
        negative: false,
        size,
    };
    Ok(match type_byte {
        SMALL_OBJECT | SMALL_ARRAY => {
            View::Container(Container::open(type_byte == SMALL_OBJECT, 2, bytes, budget)?)
        }
        LARGE_OBJECT | LARGE_ARRAY => {
            View::Container(Container::open(type_byte == LARGE_OBJECT, 4, bytes, budget)?)
        }
        LITERAL => match take(1)? {
            [0] => View::Null,
            [1] => View::Bool(true),
            [2] => View::Bool(false),
            _ => return Err(broken()),
        },
        INT16 => signed(little_signed(take(2)?)),
        INT32 => signed(little_signed(take(4)?)),
        INT64 => signed(little_signed(take(8)?)),
        UINT16 => unsigned(little(take(2)?)),
        UINT32 => unsigned(little(take(4)?)),
        UINT64 => unsigned(little(take(8)?)),
        DOUBLE => {
            let value = f64::from_bits(little(take(8)?));
            if !value.is_finite() {
                return Err(broken());
            }
            View::Double(value)
        }
        STRING => {
            let bytes = counted(bytes, budget)?;
            View::String(std::str::from_utf8(bytes).map_err(|_| broken())?)
        }
        OPAQUE => {
            let (&type_byte, rest) = bytes.split_first().ok_or_else(broken)?;
            View::Opaque {
                type_byte,
                bytes: counted(rest, budget)?,
            }
        }
        _ => return Err(broken()),
    })
}

/// Bytes behind their length, which has 7 bits a byte, lowest first, at most 5 bytes.
fn counted<'a>(bytes: &'a [u8], budget: &mut Budget) -> Result<&'a [u8]> {
    let mut length = 0_u64;
    for (place, &byte) in bytes.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let start = place + 1;
            let length = usize::try_from(length).map_err(|_| broken())?;
            let end = start.checked_add(length).ok_or_else(broken)?;
            budget.pay(end)?;
            return bytes.get(start..end).ok_or_else(broken);
        }
    }
    Err(broken())
}

impl<'a> Container<'a> {
    fn open(object: bool, width: usize, bytes: &'a [u8], budget: &mut Budget) -> Result<Self> {
        let number = |from: usize| bytes.get(from..from + width).map(|bytes| little(bytes) as usize);
        let (Some(count), Some(size)) = (number(0), number(width)) else {
            return Err(broken());
        };
        let entry = 1 + width + if object { width + 2 } else { 0 };
        let header = count
            .checked_mul(entry)
            .and_then(|entries| entries.checked_add(2 * width))
            .ok_or_else(broken)?;
        if header > size {
            return Err(broken());
        }
        budget.pay(header)?;
        Ok(Self {
            object,
            count,
            width,
            bytes: bytes.get(..size).ok_or_else(broken)?,
        })
    }

    fn number(&self, from: usize, width: usize) -> Result<usize> {
        let bytes = self.bytes.get(from..from + width).ok_or_else(broken)?;
        Ok(little(bytes) as usize)
    }

    /// The key of an object's element.
    pub(super) fn key(&self, place: usize, budget: &mut Budget) -> Result<&'a str> {
        let entry = 2 * self.width + place * (self.width + 2);
        let start = self.number(entry, self.width)?;
        let length = self.number(entry + self.width, 2)?;
        budget.pay(length)?;
        let bytes = self
            .bytes
            .get(start..start.saturating_add(length))
            .ok_or_else(broken)?;
        std::str::from_utf8(bytes).map_err(|_| broken())
    }

    /// An element's value.
    pub(super) fn value(&self, place: usize, budget: &mut Budget) -> Result<View<'a>> {
        let keys = if self.object {
            self.count * (self.width + 2)
        } else {
            0
        };
        let entry = 2 * self.width + keys + place * (1 + self.width);
        let slot = self.bytes.get(entry..entry + 1 + self.width).ok_or_else(broken)?;
        let (&type_byte, inline) = slot.split_first().ok_or_else(broken)?;
        match type_byte {
            // These stand in the entry, whose bytes were paid for with the container.
            LITERAL | INT16 | UINT16 => view(type_byte, inline, &mut Budget(usize::MAX)),
            INT32 | UINT32 if self.width == 4 => view(type_byte, inline, &mut Budget(usize::MAX)),
            _ => {
                let bytes = self.bytes.get(little(inline) as usize..).ok_or_else(broken)?;
                view(type_byte, bytes, budget)
            }
        }
    }
}

/// Appends a value and what is in it; `depth` is that of the value, from 1.
pub(super) fn write(view: &View<'_>, depth: usize, budget: &mut Budget, out: &mut Output<'_>) -> Result<()> {
    match view {
        View::Container(container) => {
            if depth > MAX_DEPTH {
                return Err(undecodable("Expected JSON of at most 150 levels, found more."));
            }
            out.text.push(if container.object { '{' } else { '[' });
            for place in 0..container.count {
                if place > 0 {
                    out.text.push(',');
                }
                if container.object {
                    out.key(container.key(place, budget)?);
                }
                let value = container.value(place, budget)?;
                write(&value, depth + 1, budget, out)?;
            }
            out.text.push(if container.object { '}' } else { ']' });
            Ok(())
        }
        scalar => write_scalar(scalar, out),
    }
}

/// Appends a value that is no container.
pub(super) fn write_scalar(view: &View<'_>, out: &mut Output<'_>) -> Result<()> {
    match *view {
        View::Null => out.text.push_str("null"),
        View::Bool(value) => out.text.push_str(if value { "true" } else { "false" }),
        View::Integer { negative, size } => out.integer(negative, size),
        View::Double(value) => out.double(value),
        View::String(value) => out.string(value),
        View::Opaque { type_byte, bytes } => {
            out.text.push('"');
            match type_byte {
                logged::NEWDECIMAL => decimal::opaque_text(bytes, out.text)?,
                logged::DATE | logged::TIME | logged::DATETIME | logged::TIMESTAMP => {
                    temporal::opaque_text(type_byte, bytes, out.text)?;
                }
                _ => {
                    let _ = write!(out.text, "base64:type{type_byte}:");
                    output::push_base64(bytes, out.text);
                }
            }
            out.text.push('"');
        }
        View::Container(_) => return Err(broken()),
    }
    Ok(())
}

/// Writes a document as a cell.
pub(in super::super) fn put(document: &[u8], out: &mut BatchWriter) -> Result<()> {
    output::put(out, |output| {
        let (view, mut budget) = open(document)?;
        write(&view, 1, &mut budget, output)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &[u8]) -> Result<String> {
        let mut out = BatchWriter::new();
        put(document, &mut out)?;
        Ok(out.take().all_text())
    }

    #[test]
    fn an_object_with_an_array_reads_back() {
        // {"a":1,"b":[2,"x"]}, laid out by hand from json_binary.h.
        let document = [
            0x00, 0x02, 0x00, 0x20, 0x00, // small object, 2 elements, 32 bytes
            0x12, 0x00, 0x01, 0x00, 0x13, 0x00, 0x01, 0x00, // keys at 18 and 19
            0x05, 0x01, 0x00, 0x02, 0x14, 0x00, // int16 1; small array at 20
            b'a', b'b', // the keys
            0x02, 0x00, 0x0c, 0x00, // 2 elements, 12 bytes
            0x05, 0x02, 0x00, 0x0c, 0x0a, 0x00, // int16 2; string at 10
            0x01, b'x',
        ];
        assert_eq!(text(&document).unwrap(), r#"{"a":1,"b":[2,"x"]}"#);
    }

    #[test]
    fn scalars_read_as_the_server_prints_them() {
        assert_eq!(text(&[]).unwrap(), "null");
        assert_eq!(text(&[4, 1]).unwrap(), "true");
        assert_eq!(text(&[5, 0xff, 0xff]).unwrap(), "-1");
        assert_eq!(
            text(&[10, 255, 255, 255, 255, 255, 255, 255, 255]).unwrap(),
            r#""\u0000i18446744073709551615""#
        );
        // Opaque: a row of MySQL 9.7 with CAST(1.5 AS DECIMAL(5,2)): type 246, 4 bytes, precision 3, scale 2.
        assert_eq!(
            text(&[15, 0xf6, 0x04, 0x03, 0x02, 0x81, 0x32]).unwrap(),
            r#""1.50""#
        );
        assert_eq!(text(&[15, 15, 2, 0, 255]).unwrap(), r#""base64:type15:AP8=""#);
    }

    #[test]
    fn overlapping_parts_are_refused() {
        // An array whose elements all point at itself.
        let document = [2, 2, 0, 10, 0, 2, 0, 0, 2, 0, 0];
        assert!(text(&document).is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| {
            let mut document = vec![0_u8, 0, 4, 0];
            for _ in 1..levels {
                let size = (document.len() + 7) as u16;
                let mut outer = vec![1, 0];
                outer.extend(size.to_le_bytes());
                outer.extend([2, 7, 0]);
                outer.extend(document);
                document = outer;
            }
            let mut whole = vec![2];
            whole.extend(document);
            whole
        };
        let mut innermost = nested(1);
        innermost[1..].copy_from_slice(&[0, 0, 4, 0]);
        assert_eq!(text(&innermost).unwrap(), "[]");
        assert_eq!(text(&nested(MAX_DEPTH)).unwrap().len(), 2 * MAX_DEPTH);
        assert!(text(&nested(MAX_DEPTH + 1)).is_err());
    }
}
