//! UTF-16 and UTF-32, in which servers keep columns too.

use super::UNKNOWN;

/// The order of bytes in a code unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Big,
    Little,
}

/// Appends UTF-16. ucs2 is the same without surrogates, which no server lets into it.
pub(super) fn decode_utf16(order: Order, bytes: &[u8], out: &mut String) {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|&pair| match order {
        Order::Big => u16::from_be_bytes(pair),
        Order::Little => u16::from_le_bytes(pair),
    });
    out.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or(UNKNOWN)));
    if !rest.is_empty() {
        out.push(UNKNOWN);
    }
}

/// Appends UTF-32, big-endian.
pub(super) fn decode_utf32(bytes: &[u8], out: &mut String) {
    let (units, rest) = bytes.as_chunks::<4>();
    out.extend(
        units
            .iter()
            .map(|&unit| char::from_u32(u32::from_be_bytes(unit)).unwrap_or(UNKNOWN)),
    );
    if !rest.is_empty() {
        out.push(UNKNOWN);
    }
}
