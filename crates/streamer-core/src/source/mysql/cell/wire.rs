//! Cutting and reading bytes of the log, every length checked.

use crate::code::Code;
use crate::error::{Error, Result};

/// An error for bytes that no server of ours writes.
#[cold]
pub(super) fn undecodable(what: &'static str) -> Error {
    Error::new(Code::LogUndecodable, what).with_advice(
        "Report this with the server's version and the column's type; the stream stops before the row.",
    )
}

/// The first `length` bytes.
#[inline]
pub(super) fn cut(input: &[u8], length: usize) -> Result<&[u8]> {
    input
        .get(..length)
        .ok_or_else(|| undecodable("Expected a complete cell, found the end of the row image."))
}

/// A little-endian number of up to 8 bytes.
#[inline]
pub(super) fn little(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| (value << 8) | u64::from(byte))
}

/// A big-endian number of up to 8 bytes.
#[inline]
pub(super) fn big(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |value, &byte| (value << 8) | u64::from(byte))
}

/// A little-endian number in two's complement of `bytes.len()` bytes.
#[inline]
pub(super) fn little_signed(bytes: &[u8]) -> i64 {
    let unused = 64_usize.saturating_sub(bytes.len() * 8).min(63) as u32;
    ((little(bytes) << unused) as i64) >> unused
}

/// Where a cell ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Always this many bytes.
    Fixed(usize),
    /// A little-endian length of this many bytes (1 to 4), then so many bytes.
    Prefixed(usize),
}

impl Extent {
    /// The cell's own bytes, and how many bytes it takes with its length.
    #[inline]
    pub(super) fn cut(self, input: &[u8]) -> Result<(&[u8], usize)> {
        match self {
            Self::Fixed(length) => Ok((cut(input, length)?, length)),
            Self::Prefixed(width) => {
                let length = little(cut(input, width)?) as usize;
                let end = width + length;
                match input.get(width..end) {
                    Some(cell) => Ok((cell, end)),
                    None => Err(undecodable(
                        "Expected a complete cell, found a length that passes the end of the row image.",
                    )),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_numbers_of_three_bytes_keep_their_sign() {
        assert_eq!(little_signed(&[0xff, 0xff, 0xff]), -1);
        assert_eq!(little_signed(&[0x00, 0x00, 0x80]), -8_388_608);
        assert_eq!(little_signed(&[0xff, 0xff, 0x7f]), 8_388_607);
    }

    #[test]
    fn a_length_that_passes_the_end_is_refused() {
        assert!(Extent::Prefixed(4).cut(&[0xff, 0xff, 0xff, 0xff, 1]).is_err());
        assert!(Extent::Prefixed(2).cut(&[1]).is_err());
        assert_eq!(Extent::Prefixed(2).cut(&[1, 0, 7, 8]).unwrap(), (&[7_u8][..], 3));
    }
}
