//! Text of every character set that a server can keep a column in, as UTF-8.
//!
//! The Unicode sets are decoded by rule. All others come from tables that were asked of the servers themselves
//! (`tools/charset-tables`), because the servers have their own opinions: their latin1 is cp1252 with the five holes
//! filled, their big5 and gbk differ from those of browsers. MySQL 9.7 and MariaDB 10.11 agree on every character.
//!
//! What has no character becomes what the servers make of it on SELECT: "?" for each well-formed character without a
//! mapping, and one for each byte that begins nothing. Servers check text when it is written, so that such bytes are
//! rare. Only UTF-8 that is not well-formed becomes U+FFFD, as clients decode it, since servers send it as it is.

mod collations;
mod table;
mod unicode;

use std::borrow::Cow;

use crate::event::BatchWriter;
use table::Table;
use unicode::Order;

/// A character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset {
    codec: Codec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Utf8,
    /// ucs2, utf16, utf16le.
    Utf16(Order),
    Utf32,
    Table(Table),
}

impl Charset {
    /// The character set of this name, in the server's spelling and lower case; `None` where no server has it.
    ///
    /// `binary` is read as UTF-8: columns of it are bytes, not text, but the labels of an ENUM may be written in it.
    pub fn by_name(name: &str) -> Option<Self> {
        let codec = match name {
            "utf8mb4" | "utf8mb3" | "utf8" | "binary" => Codec::Utf8,
            "ucs2" | "utf16" => Codec::Utf16(Order::Big),
            "utf16le" => Codec::Utf16(Order::Little),
            "utf32" => Codec::Utf32,
            _ => Codec::Table(Table::by_name(name)?),
        };
        Some(Self { codec })
    }

    /// Appends the text of `bytes`.
    pub fn decode(self, bytes: &[u8], out: &mut String) {
        match self.codec {
            Codec::Utf8 => match std::str::from_utf8(bytes) {
                Ok(text) => out.push_str(text),
                Err(_) => out.push_str(&String::from_utf8_lossy(bytes)),
            },
            Codec::Utf16(order) => unicode::decode_utf16(order, bytes, out),
            Codec::Utf32 => unicode::decode_utf32(bytes, out),
            Codec::Table(table) => table.decode(bytes, out),
        }
    }

    /// The text of `bytes`, copied only where it must be.
    pub fn text(self, bytes: &[u8]) -> Cow<'_, str> {
        match (self.codec, std::str::from_utf8(bytes)) {
            (Codec::Utf8, Ok(text)) => Cow::Borrowed(text),
            _ => {
                let mut text = String::new();
                self.decode(bytes, &mut text);
                Cow::Owned(text)
            }
        }
    }

    /// Writes the text of `bytes` as a cell.
    #[inline]
    pub(super) fn put(self, bytes: &[u8], out: &mut BatchWriter) {
        match self.codec {
            Codec::Utf8 => out.put_utf8(bytes),
            _ => out.put_text_with(|text| self.decode(bytes, text)),
        }
    }
}

/// The name of the character set that a collation belongs to, by the collation's number, which is how the log names a
/// column's character set; `binary` too. `None` where neither MySQL 9.7 nor MariaDB 10.11 has it.
pub fn by_collation_id(id: u16) -> Option<&'static str> {
    let runs = collations::COLLATIONS;
    let after = runs.partition_point(|&(first, _, _)| first <= id);
    let &(_, last, name) = runs.get(after.checked_sub(1)?)?;
    (id <= last).then_some(name)
}

/// What stands for a character without a mapping, and for a byte that begins nothing, as the servers write it.
const UNKNOWN: char = '?';

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(charset: &str, bytes: &[u8]) -> String {
        Charset::by_name(charset).unwrap().text(bytes).into_owned()
    }

    #[test]
    fn every_character_set_of_a_collation_is_known() {
        for &(first, last, name) in collations::COLLATIONS {
            assert!(first <= last);
            assert!(Charset::by_name(name).is_some(), "{name}");
            assert_eq!(by_collation_id(last), Some(name));
        }
        assert!(
            collations::COLLATIONS
                .windows(2)
                .all(|pair| pair[0].1 < pair[1].0)
        );
    }

    #[test]
    fn collations_of_both_servers_are_known() {
        for (id, name) in [
            (8, "latin1"),
            (33, "utf8mb3"),
            (45, "utf8mb4"),
            (63, "binary"),
            (248, "gb18030"),
            (255, "utf8mb4"),
            (1_069, "utf8mb4"),
            (2_304, "utf8mb4"),
            (2_560, "ucs2"),
        ] {
            assert_eq!(by_collation_id(id), Some(name), "{id}");
        }
        assert_eq!(by_collation_id(0), None);
        assert_eq!(by_collation_id(u16::MAX), None);
    }

    #[test]
    fn characters_read_as_the_servers_convert_them() {
        for (charset, bytes, expected) in [
            ("latin1", &b"caf\xe9 \x80\x81"[..], "café €\u{81}"),
            ("koi8r", b"\xf0\xd2\xc9", "При"),
            ("cp1251", b"\xcf\xf0\xe8", "При"),
            ("swe7", b"[\\]", "ÄÖÅ"),
            ("sjis", b"\x83\x5c\\\xb1", "ソ\\ｱ"),
            ("cp932", b"\x87\x40", "①"),
            ("gbk", b"a\xc4\xe3\xba\xc3", "a你好"),
            ("big5", b"\xa4\xa4\xa4\xe5", "中文"),
            ("euckr", b"\xb0\xa1", "가"),
            ("ujis", b"\x8e\xb1\x8f\xb0\xa1\xa4\xa2", "ｱ丂あ"),
            ("eucjpms", b"\xad\xa1", "①"),
            (
                "gb18030",
                b"\x84\x31\xa4\x37\x90\x30\x81\x30",
                "\u{fffd}\u{10000}",
            ),
            ("gb18030", b"\x81\x30\x81\x30", "\u{80}"),
            ("ucs2", b"\x00a\x20\xac", "a€"),
            ("utf16", b"\xd8\x3d\xde\x00", "😀"),
            ("utf16le", b"\x3d\xd8\x00\xde", "😀"),
            ("utf32", b"\x00\x01\xf6\x00", "😀"),
            ("utf8mb3", "é€".as_bytes(), "é€"),
            ("ascii", b"a", "a"),
        ] {
            assert_eq!(text(charset, bytes), expected, "{charset}");
        }
    }

    #[test]
    fn what_has_no_character_is_a_question_mark() {
        assert_eq!(text("big5", b"\xa3\xfe"), "?");
        assert_eq!(text("gbk", b"\x81 "), "? ");
        assert_eq!(text("gbk", b"a\x81"), "a?");
        assert_eq!(text("utf16", b"\xd8\x00\x00a\x00"), "?a?");
        assert_eq!(text("utf32", b"\x00\x11\x00\x00"), "?");
        assert_eq!(text("gb18030", b"\xe3\x32\x9a\x36"), "?");
        assert_eq!(text("ascii", b"\x80"), "?");
        assert_eq!(text("utf8mb4", b"\xff"), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            for &(_, _, name) in collations::COLLATIONS {
                if let Some(charset) = Charset::by_name(name) {
                    let text = charset.text(&bytes);
                    prop_assert!(text.chars().count() <= bytes.len());
                }
            }
        }

        #[test]
        fn ascii_stands_for_itself(text in "[ -Z_a-z]*") {
            for &(_, _, name) in collations::COLLATIONS {
                let wide = matches!(name, "ucs2" | "utf16" | "utf16le" | "utf32");
                if let (false, true, Some(charset)) = (wide, name != "swe7", Charset::by_name(name)) {
                    prop_assert_eq!(charset.text(text.as_bytes()), text.as_str(), "{}", name);
                }
            }
        }
    }
}
