//! Writes the bytes of one cell into a batch.

use std::sync::Arc;

use super::decimal::Decimal;
use super::temporal::{self, Form};
use super::wire::{little, little_signed, undecodable};
use super::{compressed, json, network, number};
use crate::config::Dates;
use crate::error::Result;
use crate::event::BatchWriter;
use crate::source::mysql::charset::Charset;

/// What the bytes of a cell are, its length aside.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// 1 to 4 bytes, signed.
    Signed,
    /// 1 to 4 bytes, unsigned.
    Unsigned,
    I64,
    U64,
    Year,
    Float,
    Double,
    Decimal(Decimal),
    Date(Dates),
    Time {
        form: Form,
        fraction: u8,
    },
    Datetime {
        form: Form,
        fraction: u8,
        dates: Dates,
    },
    Timestamp {
        form: Form,
        fraction: u8,
        dates: Dates,
    },
    Text(Charset),
    /// MariaDB's JSON.
    JsonText(Charset),
    /// MySQL's JSON.
    Json,
    Enum(Arc<[Arc<str>]>),
    Set(Arc<[Arc<str>]>),
    Bytes,
    /// BINARY(n): the log leaves its trailing zeros out.
    Padded(usize),
    Uuid,
    Inet4,
    Inet6,
    /// MariaDB's COMPRESSED attribute.
    Compressed(Box<Value>),
}

impl Value {
    #[inline]
    pub(super) fn put(&self, cell: &[u8], out: &mut BatchWriter) -> Result<()> {
        match self {
            Self::Signed => out.put_number(little_signed(cell) as f64),
            Self::Unsigned => out.put_number(little(cell) as f64),
            Self::I64 => out.put_i64(little_signed(cell)),
            Self::U64 => out.put_u64(little(cell)),
            Self::Text(charset) => charset.put(cell, out),
            Self::Bytes => out.put_bytes(cell),
            Self::Datetime {
                form,
                fraction,
                dates,
            } => {
                let moment = temporal::datetime(*form, *fraction, cell)?;
                match (dates, moment.epoch_ms()) {
                    (Dates::Date, Some(ms)) => out.put_number(ms),
                    (Dates::Date, None) => put_escaped(out, |text| moment.write(*fraction, text)),
                    (Dates::String, _) => out.put_text_with(|text| moment.write(*fraction, text)),
                }
            }
            Self::Timestamp {
                form,
                fraction,
                dates,
            } => put_timestamp(*form, *fraction, *dates, cell, out)?,
            Self::Date(dates) => {
                let moment = temporal::date(cell);
                match (dates, moment.epoch_ms()) {
                    (Dates::Date, Some(ms)) => out.put_number(ms),
                    (Dates::Date, None) => put_escaped(out, |text| moment.write_date(text)),
                    (Dates::String, _) => out.put_text_with(|text| moment.write_date(text)),
                }
            }
            Self::Decimal(decimal) => decimal.text(cell, |text| out.put_text(text))?,
            Self::Float => out.put_number(put_float(cell)?),
            Self::Double => out.put_number(finite(f64::from_bits(little(cell)))?),
            Self::Year => out.put_number(match little(cell) {
                0 => 0.0,
                years => years as f64 + 1_900.0,
            }),
            Self::Time { form, fraction } => {
                let span = temporal::time(*form, *fraction, cell)?;
                out.put_text_with(|text| span.write(*fraction, text));
            }
            Self::Json => json::put(cell, out)?,
            Self::JsonText(charset) => json::put_text(*charset, cell, out),
            Self::Enum(labels) => put_enum(labels, little(cell), out)?,
            Self::Set(labels) => put_set(labels, little(cell), out)?,
            Self::Padded(length) => put_padded(*length, cell, out)?,
            Self::Uuid => network::put_uuid(cell, out)?,
            Self::Inet4 => network::put_inet4(cell, out)?,
            Self::Inet6 => network::put_inet6(cell, out)?,
            Self::Compressed(inner) => inner.put(&compressed::inflate(cell)?, out)?,
        }
        Ok(())
    }
}

fn put_escaped(out: &mut BatchWriter, write: impl FnOnce(&mut String)) {
    let mut text = String::new();
    write(&mut text);
    out.put_escaped(&text);
}

fn put_float(cell: &[u8]) -> Result<f64> {
    let value = f32::from_bits(little(cell) as u32);
    finite(f64::from(value))?;
    Ok(number::printed_float(value))
}

/// Both servers refuse NaN and infinity, and in a batch these are escapes.
#[inline]
fn finite(value: f64) -> Result<f64> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(undecodable("Expected a finite number, found NaN or infinity."))
    }
}

fn put_timestamp(form: Form, fraction: u8, dates: Dates, cell: &[u8], out: &mut BatchWriter) -> Result<()> {
    // The zero TIMESTAMP prints as the zero DATETIME.
    let moment = temporal::timestamp(form, fraction, cell)?.unwrap_or_default();
    match (dates, moment.epoch_ms()) {
        (Dates::Date, Some(ms)) => out.put_number(ms),
        (Dates::Date, None) => put_escaped(out, |text| moment.write(fraction, text)),
        (Dates::String, _) => out.put_text_with(|text| moment.write(fraction, text)),
    }
    Ok(())
}

fn put_enum(labels: &[Arc<str>], index: u64, out: &mut BatchWriter) -> Result<()> {
    let label = match index.checked_sub(1) {
        // What a server stores where it accepted an invalid value.
        None => "",
        Some(place) => match usize::try_from(place).ok().and_then(|place| labels.get(place)) {
            Some(label) => label,
            None => {
                return Err(undecodable(
                    "Expected the index of an ENUM's label, found one that its definition does not have.",
                )
                .with_detail("labels", labels.len()));
            }
        },
    };
    out.put_text(label);
    Ok(())
}

fn put_set(labels: &[Arc<str>], bits: u64, out: &mut BatchWriter) -> Result<()> {
    if labels.len() < 64 && bits >> labels.len() != 0 {
        return Err(undecodable(
            "Expected bits of a SET's labels, found one that its definition does not have.",
        )
        .with_detail("labels", labels.len()));
    }
    out.put_text_with(|text| {
        let mut first = true;
        for (place, label) in labels.iter().enumerate().take(64) {
            if bits >> place & 1 == 1 {
                if !std::mem::take(&mut first) {
                    text.push(',');
                }
                text.push_str(label);
            }
        }
    });
    Ok(())
}

fn put_padded(length: usize, cell: &[u8], out: &mut BatchWriter) -> Result<()> {
    /// Longest BINARY.
    const ZEROS: [u8; 255] = [0; 255];
    match length.checked_sub(cell.len()) {
        Some(0) => out.put_bytes(cell),
        Some(_) if length <= ZEROS.len() => {
            let mut padded = ZEROS;
            for (slot, &byte) in padded.iter_mut().zip(cell) {
                *slot = byte;
            }
            out.put_bytes(padded.get(..length).unwrap_or(&padded));
        }
        _ => {
            return Err(undecodable(
                "Expected at most the length of a BINARY column, found more bytes.",
            ));
        }
    }
    Ok(())
}
