//! DATE, TIME, DATETIME and TIMESTAMP in every form that servers have logged them.
//!
//! Formats: "Date and Time Data Type Representation" in MySQL's internals manual; `sql-common/my_time.cc` for the
//! packed forms (`TIME2`, `DATETIME2`, `TIMESTAMP2`); MariaDB's `sql/field.cc` for the forms of MariaDB 5.3, which
//! tables keep that were made with `mysql56_temporal_format=OFF`: those carry no metadata, so the digits of the
//! fraction come from the definition.

use super::calendar::{Moment, Span};
use super::wire::{big, little, little_signed, undecodable};
use crate::error::Result;

/// Bytes of a fraction of 0 to 6 digits, in the packed forms and in MariaDB's old TIMESTAMP.
const FRACTION_BYTES: [usize; 7] = [0, 1, 1, 2, 2, 3, 3];
/// Bytes of MariaDB's old TIME with 0 to 6 digits.
const HIRES_TIME_BYTES: [usize; 7] = [3, 4, 4, 5, 5, 5, 6];
/// Bytes of MariaDB's old DATETIME with 0 to 6 digits.
const HIRES_DATETIME_BYTES: [usize; 7] = [8, 6, 6, 7, 7, 7, 8];

/// How a temporal column is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Before MySQL 5.6, without a fraction.
    Old,
    /// Since MySQL 5.6.
    Packed,
    /// MariaDB 5.3, with a fraction.
    Hires,
}

impl Form {
    /// The form of a column whose type in the log is one of the old ones.
    pub(super) fn of_old_type(fraction: u8) -> Self {
        if fraction == 0 { Self::Old } else { Self::Hires }
    }
}

fn of(bytes: &[usize; 7], fraction: u8) -> usize {
    bytes.get(usize::from(fraction)).copied().unwrap_or(0)
}

/// Bytes of a TIME.
pub(super) fn time_size(form: Form, fraction: u8) -> usize {
    match form {
        Form::Old => 3,
        Form::Packed => 3 + of(&FRACTION_BYTES, fraction),
        Form::Hires => of(&HIRES_TIME_BYTES, fraction),
    }
}

/// Bytes of a DATETIME.
pub(super) fn datetime_size(form: Form, fraction: u8) -> usize {
    match form {
        Form::Old => 8,
        Form::Packed => 5 + of(&FRACTION_BYTES, fraction),
        Form::Hires => of(&HIRES_DATETIME_BYTES, fraction),
    }
}

/// Bytes of a TIMESTAMP.
pub(super) fn timestamp_size(form: Form, fraction: u8) -> usize {
    match form {
        Form::Old => 4,
        Form::Packed | Form::Hires => 4 + of(&FRACTION_BYTES, fraction),
    }
}

/// A DATE: day in 5 bits, month in 4, year.
#[inline]
pub(super) fn date(cell: &[u8]) -> Moment {
    let packed = little(cell) as u32;
    Moment {
        year: packed >> 9,
        month: (packed >> 5) & 15,
        day: packed & 31,
        ..Moment::default()
    }
}

/// Microseconds from a fraction that is stored in hundredths, ten-thousandths or millionths.
#[inline]
fn micros(bytes: &[u8]) -> u32 {
    let value = big(bytes) as u32;
    match bytes.len() {
        0 => 0,
        1 => value * 10_000,
        2 => value * 100,
        _ => value,
    }
}

fn wrong_fraction() -> crate::error::Error {
    undecodable("Expected a fraction of a second below one, found a larger one.")
}

/// A TIMESTAMP in UTC; `None` is the zero TIMESTAMP.
#[inline]
pub(super) fn timestamp(form: Form, fraction: u8, cell: &[u8]) -> Result<Option<Moment>> {
    let (seconds, rest) = cell.split_at_checked(4).unwrap_or((cell, &[]));
    let (seconds, micros) = match form {
        Form::Old => (little(seconds) as u32, 0),
        Form::Packed => (big(seconds) as u32, micros(rest)),
        Form::Hires => (big(seconds) as u32, scaled(big(rest), fraction) as u32),
    };
    if micros >= 1_000_000 {
        return Err(wrong_fraction());
    }
    Ok((seconds != 0 || micros != 0).then(|| Moment::from_epoch(seconds, micros)))
}

/// `value` in units of the last of `fraction` digits, as microseconds.
#[inline]
fn scaled(value: u64, fraction: u8) -> u64 {
    value.saturating_mul(10_u64.pow(6_u32.saturating_sub(u32::from(fraction))))
}

/// A DATETIME.
#[inline]
pub(super) fn datetime(form: Form, fraction: u8, cell: &[u8]) -> Result<Moment> {
    match form {
        Form::Old => Ok(decimal_datetime(little(cell))),
        Form::Packed => packed_datetime(cell),
        Form::Hires => Ok(hires_datetime(scaled(big(cell), fraction))),
    }
}

/// `YYYYMMDDhhmmss` as a number.
fn decimal_datetime(value: u64) -> Moment {
    let part = |divisor: u64, modulus: u64| (value / divisor % modulus) as u32;
    Moment {
        year: part(10_000_000_000, 1_000_000),
        month: part(100_000_000, 100),
        day: part(1_000_000, 100),
        hour: part(10_000, 100),
        minute: part(100, 100),
        second: part(1, 100),
        micros: 0,
    }
}

/// A sign bit that is always set, 17 bits of year * 13 + month, day in 5, hour in 5, minute in 6, second in 6; then
/// the fraction.
#[inline]
fn packed_datetime(cell: &[u8]) -> Result<Moment> {
    let (whole, rest) = cell.split_at_checked(5).unwrap_or((cell, &[]));
    let Some(packed) = big(whole).checked_sub(0x80_0000_0000) else {
        return Err(undecodable(
            "Expected a DATETIME after year 0, found a negative one.",
        ));
    };
    let micros = micros(rest);
    if micros >= 1_000_000 {
        return Err(wrong_fraction());
    }
    let months = (packed >> 22) as u32;
    let field = |shift: u32, bits: u32| (packed >> shift) as u32 & ((1 << bits) - 1);
    Ok(Moment {
        year: months / 13,
        month: months % 13,
        day: field(17, 5),
        hour: field(12, 5),
        minute: field(6, 6),
        second: field(0, 6),
        micros,
    })
}

/// Each field times the size of the next: `((year * 13 + month) * 32 + day) * 24 + hour` and so on.
fn hires_datetime(packed: u64) -> Moment {
    let mut rest = packed;
    let mut part = |size: u64| {
        let value = rest % size;
        rest /= size;
        value as u32
    };
    let (micros, second, minute, hour) = (part(1_000_000), part(60), part(60), part(24));
    let (day, month) = (part(32), part(13));
    Moment {
        year: part(1 << 20),
        month,
        day,
        hour,
        minute,
        second,
        micros,
    }
}

/// A TIME.
#[inline]
pub(super) fn time(form: Form, fraction: u8, cell: &[u8]) -> Result<Span> {
    match form {
        Form::Old => Ok(decimal_time(little_signed(cell))),
        Form::Packed => packed_time(cell),
        Form::Hires => Ok(hires_time(big(cell), fraction)),
    }
}

/// `hhmmss` as a signed number.
fn decimal_time(value: i64) -> Span {
    let size = value.unsigned_abs() as u32;
    Span {
        negative: value < 0,
        hours: size / 10_000,
        minutes: size / 100 % 100,
        seconds: size % 100,
        micros: 0,
    }
}

/// An offset of half the range, then one bit unused, hours in 10, minutes in 6, seconds in 6, and the fraction; the
/// whole number is negated for a negative TIME.
#[inline]
fn packed_time(cell: &[u8]) -> Result<Span> {
    let fraction_bits = 8 * cell.len().saturating_sub(3).min(3) as u32;
    let signed = big(cell) as i64 - (0x80_0000_i64 << fraction_bits);
    let size = signed.unsigned_abs();
    let whole = (size >> fraction_bits) as u32;
    let rest = (size & ((1 << fraction_bits) - 1)) as u32;
    let micros = match fraction_bits {
        0 => 0,
        8 => rest * 10_000,
        16 => rest * 100,
        _ => rest,
    };
    if micros >= 1_000_000 {
        return Err(wrong_fraction());
    }
    Ok(Span {
        negative: signed < 0,
        hours: (whole >> 12) & 0x3ff,
        minutes: (whole >> 6) & 63,
        seconds: whole & 63,
        micros,
    })
}

/// Units of the last digit, above an offset that makes the smallest TIME positive.
fn hires_time(stored: u64, fraction: u8) -> Span {
    const ZERO_MICROS: i64 = (838 * 3_600 + 59 * 60 + 59 + 1) * 1_000_000;
    // The server divides the offset too, so that scaling both keeps them equal.
    let signed = (scaled(stored, fraction) as i64).saturating_sub(ZERO_MICROS);
    let size = signed.unsigned_abs();
    let seconds = (size / 1_000_000) as u32;
    Span {
        negative: signed < 0,
        hours: seconds / 3_600,
        minutes: seconds / 60 % 60,
        seconds: seconds % 60,
        micros: (size % 1_000_000) as u32,
    }
}

/// The text of a date or time inside JSON: eight bytes, little-endian, of the packed form with 24 bits of fraction.
pub(super) fn opaque_text(type_byte: u8, bytes: &[u8], out: &mut String) -> Result<()> {
    let Ok(bytes) = <[u8; 8]>::try_from(bytes) else {
        return Err(undecodable(
            "Expected eight bytes of a date inside JSON, found another number.",
        ));
    };
    let packed = i64::from_le_bytes(bytes);
    let size = packed.unsigned_abs();
    let (whole, micros) = (size >> 24, (size & 0xff_ffff) as u32);
    let field = |shift: u32, bits: u32| (whole >> shift) as u32 & ((1 << bits) - 1);
    if type_byte == super::logged::TIME {
        let span = Span {
            negative: packed < 0,
            hours: field(12, 10),
            minutes: field(6, 6),
            seconds: field(0, 6),
            micros,
        };
        span.write(6, out);
        return Ok(());
    }
    let months = (whole >> 22) as u32;
    let moment = Moment {
        year: months / 13,
        month: months % 13,
        day: field(17, 5),
        hour: field(12, 5),
        minute: field(6, 6),
        second: field(0, 6),
        micros,
    };
    if type_byte == super::logged::DATE {
        moment.write_date(out);
    } else {
        moment.write(6, out);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datetime_text(form: Form, fraction: u8, cell: &[u8]) -> String {
        assert_eq!(cell.len(), datetime_size(form, fraction));
        let mut out = String::new();
        datetime(form, fraction, cell).unwrap().write(fraction, &mut out);
        out
    }

    fn time_text(form: Form, fraction: u8, cell: &[u8]) -> String {
        assert_eq!(cell.len(), time_size(form, fraction));
        let mut out = String::new();
        time(form, fraction, cell).unwrap().write(fraction, &mut out);
        out
    }

    fn timestamp_text(form: Form, fraction: u8, cell: &[u8]) -> String {
        assert_eq!(cell.len(), timestamp_size(form, fraction));
        let mut out = String::new();
        timestamp(form, fraction, cell)
            .unwrap()
            .unwrap()
            .write(fraction, &mut out);
        out
    }

    #[test]
    fn packed_forms_read_as_the_manual_says() {
        // 2012-06-21 15:45:17.76: (2012*13+6)<<5|21 and 15:45:17.
        let whole =
            0x80_0000_0000_u64 + (((((2012 * 13 + 6) << 5) | 21) << 17) | (15 << 12) | (45 << 6) | 17);
        let mut cell = whole.to_be_bytes()[3..].to_vec();
        cell.push(76);
        assert_eq!(datetime_text(Form::Packed, 2, &cell), "2012-06-21 15:45:17.76");
        assert_eq!(datetime_text(Form::Packed, 1, &cell), "2012-06-21 15:45:17.7");
        // From the comment of my_time_packed_from_binary: the negative fractions.
        assert_eq!(
            time_text(Form::Packed, 2, &[0x7f, 0xff, 0xff, 0xff]),
            "-00:00:00.01"
        );
        assert_eq!(
            time_text(Form::Packed, 2, &[0x7f, 0xff, 0xff, 0x9d]),
            "-00:00:00.99"
        );
        assert_eq!(
            time_text(Form::Packed, 2, &[0x7f, 0xff, 0xff, 0x00]),
            "-00:00:01.00"
        );
        assert_eq!(
            time_text(Form::Packed, 2, &[0x7f, 0xff, 0xfe, 0xf6]),
            "-00:00:01.10"
        );
        assert_eq!(time_text(Form::Packed, 0, &[0x80, 0x00, 0x00]), "00:00:00");
        assert_eq!(
            timestamp_text(Form::Packed, 0, &[0x65, 0xdf, 0xd7, 0x8b]),
            "2024-02-29 01:02:03"
        );
    }

    #[test]
    fn forms_of_mariadb_5_3_read_as_the_server_logs_them() {
        // A row of MariaDB 10.11 with mysql56_temporal_format=OFF.
        let text = "2024-02-29 01:02:03";
        assert_eq!(timestamp_text(Form::Old, 0, &[0x8b, 0xd7, 0xdf, 0x65]), text);
        let cell = [0x65, 0xdf, 0xd7, 0x8b, 0x01, 0xc8];
        assert_eq!(timestamp_text(Form::Hires, 3, &cell), "2024-02-29 01:02:03.456");
        let cell = [0x65, 0xdf, 0xd7, 0x8b, 0x06, 0xf8, 0x55];
        assert_eq!(
            timestamp_text(Form::Hires, 6, &cell),
            "2024-02-29 01:02:03.456789"
        );
        let cell = [0x1b, 0x0b, 0xa9, 0x8b, 0x68, 0x12, 0x00, 0x00];
        assert_eq!(datetime_text(Form::Old, 0, &cell), text);
        let cell = [0x00, 0xa9, 0x65, 0xa1, 0xa4, 0x77];
        assert_eq!(datetime_text(Form::Hires, 1, &cell), "2024-02-29 01:02:03.9");
        let cell = [0x01, 0x02, 0x7a, 0xb3, 0xc5, 0x8d, 0x51, 0x15];
        assert_eq!(datetime_text(Form::Hires, 6, &cell), "2024-02-29 01:02:03.456789");
        assert_eq!(time_text(Form::Old, 0, &[0x25, 0xd8, 0xff]), "-01:02:03");
        assert_eq!(
            time_text(Form::Hires, 2, &[0x11, 0xfb, 0x15, 0x47]),
            "-01:02:03.45"
        );
        assert_eq!(
            time_text(Form::Hires, 3, &[0x01, 0x68, 0x0f, 0x4a, 0xff]),
            "838:59:59.999"
        );
        let cell = [0x02, 0xbf, 0x3d, 0xde, 0x7b, 0xff];
        assert_eq!(time_text(Form::Hires, 6, &cell), "-00:00:00.000001");
    }

    #[test]
    fn fractions_of_a_second_or_more_are_refused() {
        assert!(datetime(Form::Packed, 2, &[0x80, 0, 0, 0, 0, 100]).is_err());
        assert!(time(Form::Packed, 2, &[0x80, 0, 0, 100]).is_err());
        assert!(timestamp(Form::Packed, 2, &[0, 0, 0, 1, 100]).is_err());
    }

    #[test]
    fn a_zero_timestamp_is_no_moment() {
        assert_eq!(timestamp(Form::Packed, 0, &[0; 4]).unwrap(), None);
    }
}
