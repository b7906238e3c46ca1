//! Places in the change log that a SQLite database carries.

use std::fmt;
use std::sync::Arc;

/// `sqlite:<log>:<number>:<mark>`.
pub(super) const KIND: &str = "sqlite";

/// Longest id of a log.
const MAX_LOG: usize = 64;

/// Behind an entry of a change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOffset {
    /// The log's own id, made when it was installed: hexadecimal digits.
    pub log: Arc<str>,
    /// Number of the entry; 0 is before the first.
    pub seq: u64,
    /// A checksum of the entry, by which a database that was restored from a copy is noticed; 0 where it is not known.
    pub mark: u32,
}

impl SqliteOffset {
    pub(super) fn parse(place: &str) -> Option<Self> {
        let mut parts = place.split(':');
        let (log, seq, mark) = (parts.next()?, parts.next()?, parts.next()?);
        let is_log =
            !log.is_empty() && log.len() <= MAX_LOG && log.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_number = seq.bytes().all(|byte| byte.is_ascii_digit());
        let is_mark = mark.len() == 8 && mark.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_log && is_number && is_mark && parts.next().is_none()).then_some(())?;
        Some(Self {
            log: log.into(),
            seq: seq.parse().ok()?,
            mark: u32::from_str_radix(mark, 16).ok()?,
        })
    }
}

impl fmt::Display for SqliteOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{:08x}", self.log, self.seq, self.mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::{Offset, Position, Within};

    #[test]
    fn positions_come_back_from_their_text() {
        let offset = SqliteOffset {
            log: "00ff12".into(),
            seq: 9_007_199_254_740_993,
            mark: 0x00ab_cdef,
        };
        let position = Position {
            start: Offset::Sqlite(offset),
            delivered: None,
            within: Some(Within {
                transaction: "00ff12-9007199254740994".into(),
                changes: 3,
            }),
        };
        let text = position.to_string();
        assert!(
            text.starts_with("sqlite:00ff12:9007199254740993:00abcdef~"),
            "{text}"
        );
        assert_eq!(Position::parse(&text).unwrap(), position);
    }

    #[test]
    fn other_texts_are_no_places() {
        for text in [
            "",
            "a:1",
            "a:1:2",
            "a:1:0000000g",
            "g:1:00000000",
            "a:-1:00000000",
            "a:1:00000000:",
        ] {
            assert_eq!(SqliteOffset::parse(text), None, "{text}");
        }
    }
}
