//! MariaDB's UUID, INET4 and INET6.
//!
//! The log holds them as BINARY(n): in the order in which they are written (for UUID not the one in which the server
//! stores them), without trailing zeros. Seen on MariaDB 10.11.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::wire::undecodable;
use crate::error::Result;
use crate::event::BatchWriter;

/// The bytes with the zeros that the log leaves out.
fn padded<const N: usize>(cell: &[u8]) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    match bytes.get_mut(..cell.len()) {
        Some(start) => start.copy_from_slice(cell),
        None => {
            return Err(undecodable(
                "Expected at most the bytes of a fixed type, found more.",
            ));
        }
    }
    Ok(bytes)
}

/// `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`
pub(super) fn put_uuid(cell: &[u8], out: &mut BatchWriter) -> Result<()> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = padded::<16>(cell)?;
    out.put_text_with(|text| {
        for (place, byte) in bytes.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            for nibble in [byte >> 4, byte & 15] {
                text.push(HEX.get(usize::from(nibble)).copied().map_or('?', char::from));
            }
        }
    });
    Ok(())
}

pub(super) fn put_inet4(cell: &[u8], out: &mut BatchWriter) -> Result<()> {
    let address = Ipv4Addr::from(padded::<4>(cell)?);
    out.put_text_with(|text| {
        let _ = write!(text, "{address}");
    });
    Ok(())
}

/// As MariaDB prints it (`Inet6::to_string`): unlike what RFC 5952 asks for, a single zero group is shortened too, and
/// an IPv4 address stands at the end wherever six zero groups, or five and `ffff`, precede it.
pub(super) fn put_inet6(cell: &[u8], out: &mut BatchWriter) -> Result<()> {
    let bytes = padded::<16>(cell)?;
    let address = Ipv6Addr::from(bytes);
    let groups = address.segments();
    let (gap, length) = longest_gap(&groups);
    out.put_text_with(|text| {
        for (place, group) in groups.iter().enumerate() {
            if place == gap && length > 0 {
                text.push_str(if gap == 0 { "::" } else { ":" });
            }
            if (gap..gap + length).contains(&place) {
                continue;
            }
            if place == 6 && gap == 0 && (length == 6 || (length == 5 && groups.get(5) == Some(&0xffff))) {
                let [.., a, b, c, d] = bytes;
                let _ = write!(text, "{}", Ipv4Addr::new(a, b, c, d));
                return;
            }
            let _ = write!(text, "{group:x}");
            if place < 7 {
                text.push(':');
            }
        }
    });
    Ok(())
}

/// The first of the longest runs of zero groups: where it begins, and its length.
fn longest_gap(groups: &[u16; 8]) -> (usize, usize) {
    let (mut best, mut run) = ((0, 0), (0, 0));
    for (place, &group) in groups.iter().enumerate() {
        if group != 0 {
            run = (place + 1, 0);
            continue;
        }
        run.1 += 1;
        if run.1 > best.1 {
            best = run;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(put: fn(&[u8], &mut BatchWriter) -> Result<()>, cell: &[u8]) -> String {
        let mut out = BatchWriter::new();
        put(cell, &mut out).unwrap();
        out.take().all_text()
    }

    #[test]
    fn addresses_are_written_as_mariadb_prints_them() {
        // What MariaDB 10.11 answers to SELECT.
        for (stored, printed) in [
            ("::1.2.3.4", "::1.2.3.4"),
            ("::1", "::1"),
            ("::", "::"),
            ("::0.1.0.0", "::0.1.0.0"),
            ("::ffff:0:1", "::ffff:0.0.0.1"),
            ("1:0:0:2::3", "1:0:0:2::3"),
            ("1:0:2:3:4:5:6:7", "1::2:3:4:5:6:7"),
            ("1::", "1::"),
            ("0:0:1::", "0:0:1::"),
            ("fe80:0:0:1:0:0:0:1", "fe80:0:0:1::1"),
            ("2001:db8::ff00:42:8329", "2001:db8::ff00:42:8329"),
        ] {
            let address: Ipv6Addr = stored.parse().unwrap();
            assert_eq!(text(put_inet6, &address.octets()), printed);
        }
        assert_eq!(text(put_inet4, &[1]), "1.0.0.0");
    }

    #[test]
    fn a_uuid_gets_back_the_zeros_that_the_log_left_out() {
        assert_eq!(
            text(put_uuid, &[0x10, 0, 0, 0, 0, 0, 0x70]),
            "10000000-0000-7000-0000-000000000000"
        );
        assert_eq!(text(put_uuid, &[]), "00000000-0000-0000-0000-000000000000");
        assert!(put_uuid(&[0; 17], &mut BatchWriter::new()).is_err());
    }
}
