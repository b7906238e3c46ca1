//! DECIMAL: groups of nine digits in big-endian integers, the sign in the first bit.
//!
//! Format: `decimal2bin` in MySQL's `strings/decimal.cc`; MariaDB's is the same.

use std::fmt::Write;

use super::wire::undecodable;
use crate::error::Result;

/// Digits in a full group.
const GROUP: usize = 9;
/// Bytes for 0 to 9 digits.
const BYTES: [usize; GROUP + 1] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
/// One more than the largest group of 0 to 9 digits.
const LIMITS: [u32; GROUP + 1] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];
/// Most digits that a server allows.
const MAX_PRECISION: u8 = 65;
/// Sign, point, a leading zero, and the digits.
const MAX_TEXT: usize = MAX_PRECISION as usize + GROUP + 3;

/// A DECIMAL's declared size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    precision: u8,
    scale: u8,
}

/// Text being written, on the stack.
struct Digits {
    text: [u8; MAX_TEXT],
    length: usize,
}

impl Digits {
    #[inline]
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.text.get_mut(self.length) {
            *slot = byte;
            self.length += 1;
        }
    }

    /// Writes exactly `digits` digits.
    #[inline]
    fn group(&mut self, value: u32, digits: usize) {
        let Some(slots) = self.text.get_mut(self.length..self.length + digits) else {
            return;
        };
        let mut rest = value;
        for slot in slots.iter_mut().rev() {
            *slot = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.length += digits;
    }

    /// Writes a number without leading zeros.
    #[inline]
    fn number(&mut self, value: u32) {
        let digits = LIMITS.iter().take_while(|&&limit| limit <= value).count();
        self.group(value, digits.max(1));
    }

    fn as_str(&self) -> &str {
        // Only ASCII was written.
        std::str::from_utf8(self.text.get(..self.length).unwrap_or_default()).unwrap_or_default()
    }
}

impl Decimal {
    /// `None` where no server allows this size.
    pub(super) fn new(precision: u8, scale: u8) -> Option<Self> {
        (precision <= MAX_PRECISION && precision > 0 && scale <= precision)
            .then_some(Self { precision, scale })
    }

    /// Digits before the point.
    fn whole(self) -> usize {
        usize::from(self.precision) - usize::from(self.scale)
    }

    /// Bytes of a cell.
    pub(super) fn size(self) -> usize {
        let bytes = |digits: usize| digits / GROUP * 4 + BYTES.get(digits % GROUP).copied().unwrap_or(0);
        bytes(self.whole()) + bytes(usize::from(self.scale))
    }

    /// Calls `write` with the text that the server prints: all digits of the scale, no leading zeros.
    pub(super) fn text(self, cell: &[u8], write: impl FnOnce(&str)) -> Result<()> {
        let negative = cell.first().is_some_and(|&first| first & 0x80 == 0);
        let mut digits = Digits {
            text: [0; MAX_TEXT],
            length: 0,
        };
        let mut groups = Groups {
            cell,
            first: true,
            invert: if negative { 0xff } else { 0 },
        };
        if negative {
            digits.push(b'-');
        }
        let mut nonzero = self.whole_part(&mut groups, &mut digits)?;
        let scale = usize::from(self.scale);
        if scale > 0 {
            digits.push(b'.');
            for _ in 0..scale / GROUP {
                let value = groups.next(GROUP)?;
                nonzero |= value != 0;
                digits.group(value, GROUP);
            }
            if scale % GROUP > 0 {
                let value = groups.next(scale % GROUP)?;
                nonzero |= value != 0;
                digits.group(value, scale % GROUP);
            }
        }
        let text = digits.as_str();
        write(if nonzero {
            text
        } else {
            text.trim_start_matches('-')
        });
        Ok(())
    }

    /// Writes the digits before the point; true where one of them is not zero.
    #[inline]
    fn whole_part(self, groups: &mut Groups<'_>, digits: &mut Digits) -> Result<bool> {
        let mut nonzero = false;
        let mut put = |value: u32| {
            if nonzero {
                digits.group(value, GROUP);
            } else if value != 0 {
                digits.number(value);
                nonzero = true;
            }
        };
        if !self.whole().is_multiple_of(GROUP) {
            put(groups.next(self.whole() % GROUP)?);
        }
        for _ in 0..self.whole() / GROUP {
            put(groups.next(GROUP)?);
        }
        if !nonzero {
            digits.push(b'0');
        }
        Ok(nonzero)
    }
}

/// Walks a cell group by group.
struct Groups<'a> {
    cell: &'a [u8],
    first: bool,
    /// 0xff in a negative number, whose bits are all inverted.
    invert: u8,
}

impl Groups<'_> {
    #[inline]
    fn next(&mut self, digits: usize) -> Result<u32> {
        let size = BYTES.get(digits).copied().unwrap_or(0);
        let Some((group, rest)) = self.cell.split_at_checked(size) else {
            return Err(undecodable("Expected a complete DECIMAL, found its end."));
        };
        self.cell = rest;
        let mut value = 0_u32;
        for &byte in group {
            let byte = if std::mem::take(&mut self.first) {
                byte ^ 0x80
            } else {
                byte
            };
            value = (value << 8) | u32::from(byte ^ self.invert);
        }
        if LIMITS.get(digits).is_some_and(|&limit| value < limit) {
            Ok(value)
        } else {
            Err(undecodable(
                "Expected groups of decimal digits in a DECIMAL, found a larger number.",
            ))
        }
    }
}

/// The text of a DECIMAL inside JSON: one byte of precision, one of scale, then the cell.
pub(super) fn opaque_text(bytes: &[u8], out: &mut String) -> Result<()> {
    let wrong = || {
        undecodable("Expected precision, scale and digits of a DECIMAL inside JSON, found something else.")
    };
    let (&[precision, scale], cell) = bytes.split_first_chunk::<2>().ok_or_else(wrong)?;
    let decimal = Decimal::new(precision, scale).ok_or_else(wrong)?;
    if cell.len() != decimal.size() {
        return Err(wrong());
    }
    decimal.text(cell, |text| {
        let _ = out.write_str(text);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(precision: u8, scale: u8, cell: &[u8]) -> String {
        let decimal = Decimal::new(precision, scale).unwrap();
        assert_eq!(decimal.size(), cell.len());
        let mut out = String::new();
        decimal.text(cell, |text| out.push_str(text)).unwrap();
        out
    }

    #[test]
    fn the_example_of_the_source_reads_back() {
        // 1234567890.1234 as DECIMAL(14,4): strings/decimal.cc, decimal2bin.
        let cell = [0x81, 0x0D, 0xFB, 0x38, 0xD2, 0x04, 0xD2];
        assert_eq!(text(14, 4, &cell), "1234567890.1234");
        let negative = [0x7E, 0xF2, 0x04, 0xC7, 0x2D, 0xFB, 0x2D];
        assert_eq!(text(14, 4, &negative), "-1234567890.1234");
    }

    #[test]
    fn leading_zeros_go_and_those_of_the_scale_stay() {
        assert_eq!(text(4, 2, &[0x80, 0x05]), "0.05");
        assert_eq!(text(4, 2, &[0x8c, 0x32]), "12.50");
        assert_eq!(text(2, 2, &[0x85]), "0.05");
        assert_eq!(text(5, 0, &[0x80, 0x00, 0x00]), "0");
        assert_eq!(text(20, 0, &[0x80, 0, 0, 0, 1, 0, 0, 0, 2]), "1000000002");
    }

    #[test]
    fn a_group_with_too_large_a_number_is_refused() {
        let decimal = Decimal::new(9, 0).unwrap();
        assert!(decimal.text(&[0xff, 0xff, 0xff, 0xff], |_| ()).is_err());
        assert!(Decimal::new(66, 0).is_none() && Decimal::new(3, 4).is_none());
    }
}
