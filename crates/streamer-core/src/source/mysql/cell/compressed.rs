//! MariaDB's COMPRESSED attribute of VARCHAR, VARBINARY, TEXT and BLOB.
//!
//! The first byte says how: its high half the algorithm (0 none, 8 zlib), bit 3 whether the stream is bare (without
//! zlib's header and checksum), the low three bits how many bytes the length of the original takes; then that length,
//! big-endian, and the stream. An empty value is empty. Format: `Field_longstr::compress` in MariaDB's `sql/field.cc`.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, ZlibDecoder};

use super::wire::{big, undecodable};
use crate::error::{Error, Result};

/// Largest value that a server can ship: the upper bound of its `max_allowed_packet`.
const MAX_LENGTH: u64 = 1 << 30;

/// Bare deflate.
const BARE: u8 = 8;

/// The original of a compressed value.
pub(super) fn inflate(cell: &[u8]) -> Result<Cow<'_, [u8]>> {
    let Some((&header, rest)) = cell.split_first() else {
        return Ok(Cow::Borrowed(cell));
    };
    match header >> 4 {
        0 => Ok(Cow::Borrowed(rest)),
        8 => inflate_zlib(header, rest).map(Cow::Owned),
        _ => Err(undecodable(
            "Expected a value compressed with zlib, found another algorithm.",
        )),
    }
}

fn inflate_zlib(header: u8, rest: &[u8]) -> Result<Vec<u8>> {
    let Some((length, stream)) = rest.split_at_checked(usize::from(header & 7)) else {
        return Err(broken());
    };
    let length = big(length);
    if length > MAX_LENGTH {
        return Err(broken());
    }
    // One byte more than promised shows a stream that is too long; the vector grows with what was inflated.
    let mut original = Vec::new();
    let inflated = if header & BARE != 0 {
        DeflateDecoder::new(stream)
            .take(length + 1)
            .read_to_end(&mut original)
    } else {
        ZlibDecoder::new(stream)
            .take(length + 1)
            .read_to_end(&mut original)
    };
    match inflated {
        Ok(read) if read as u64 == length => Ok(original),
        _ => Err(broken()),
    }
}

fn broken() -> Error {
    undecodable("Expected a compressed value of the length that it names, found a broken one.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_inflated_as_mariadb_compressed_them() {
        // A row of MariaDB 10.11: repeat('abc', 90) in VARCHAR(300) COMPRESSED.
        let cell = [
            0x8a, 0x01, 0x0e, 0x4b, 0x4c, 0x4a, 0x4e, 0x1c, 0x45, 0x30, 0x04, 0x00,
        ];
        assert_eq!(inflate(&cell).unwrap().as_ref(), "abc".repeat(90).as_bytes());
        assert_eq!(inflate(b"\0zz").unwrap().as_ref(), b"zz");
        assert_eq!(inflate(b"").unwrap().as_ref(), b"");
    }

    #[test]
    fn a_stream_of_another_length_is_refused() {
        let cell = [0x89, 0x0e, 0x4b, 0x4c, 0x4a, 0x4e, 0x1c, 0x45, 0x30, 0x04, 0x00];
        assert!(inflate(&cell).is_err());
        assert!(inflate(&[0x8f, 0xff]).is_err());
        assert!(inflate(&[0x10, 0]).is_err());
    }
}
