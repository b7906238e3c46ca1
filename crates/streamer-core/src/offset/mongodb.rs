//! Places in a change stream of MongoDB.
//!
//! A resume token is opaque to everybody but the server that made it: its text is kept as it is, percent-encoded where it
//! holds what divides positions. Only the cluster time at its beginning is read, where it stands in the known place.

use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

const KIND_TOKEN: &str = "mongodb";
const KIND_INVALIDATE: &str = "mongodb-invalidate";
const KIND_TIME: &str = "mongodb-time";

/// Longest token: its hexadecimal text holds the document's key, whose index entry is limited to some kilobytes.
const MAX_TOKEN_BYTES: usize = 1 << 20;

/// What stays as it is in a token.
const TOKEN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'=');

/// A place in a change stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MongodbOffset {
    /// Behind the event, or the moment, whose resume token this is.
    Token {
        /// `_data` of the token.
        token: Arc<str>,
        /// It is the token of an `invalidate` event: only `startAfter` goes on behind it.
        is_invalidate: bool,
    },
    /// At a cluster time.
    Time {
        /// Seconds since the epoch.
        seconds: u32,
        /// Number of the operation in that second.
        increment: u32,
    },
}

impl MongodbOffset {
    /// The word with which its text begins.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Token {
                is_invalidate: false, ..
            } => KIND_TOKEN,
            Self::Token {
                is_invalidate: true, ..
            } => KIND_INVALIDATE,
            Self::Time { .. } => KIND_TIME,
        }
    }

    pub(super) fn is_kind(kind: &str) -> bool {
        matches!(kind, KIND_TOKEN | KIND_INVALIDATE | KIND_TIME)
    }

    pub(super) fn parse(kind: &str, place: &str) -> Option<Self> {
        if kind == KIND_TIME {
            let (seconds, increment) = place.split_once('.')?;
            let number = |text: &str| {
                let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse().ok().filter(|_| is_plain)
            };
            return Some(Self::Time {
                seconds: number(seconds)?,
                increment: number(increment)?,
            });
        }
        if place.is_empty() || place.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let token = percent_decode_str(place).decode_utf8().ok()?;
        if token.contains('\0') {
            return None;
        }
        Some(Self::Token {
            token: token.into(),
            is_invalidate: kind == KIND_INVALIDATE,
        })
    }

    /// Appends the text of the position at this token: what `Position::base_text` makes of it, without an allocation.
    pub fn write_position(text: &mut String, token: &str, is_invalidate: bool) {
        let start = text.len();
        text.push_str(if is_invalidate {
            KIND_INVALIDATE
        } else {
            KIND_TOKEN
        });
        text.push(':');
        if token.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            text.push_str(token);
        } else {
            text.extend(utf8_percent_encode(token, TOKEN));
        }
        let checksum = crc32fast::hash(text.as_bytes().get(start..).unwrap_or_default());
        text.push('~');
        for shift in (0..8).rev() {
            let digit = (checksum >> (shift * 4)) & 15;
            text.push(char::from_digit(digit, 16).unwrap_or('0'));
        }
    }

    /// The cluster time that a token begins with, as seconds and increment: `82`, then both in hexadecimal.
    pub fn time_of(token: &str) -> Option<(u32, u32)> {
        let digits = token.strip_prefix("82")?;
        let part = |range| u32::from_str_radix(digits.get(range)?, 16).ok();
        Some((part(0..8)?, part(8..16)?))
    }
}

impl MongodbOffset {
    /// Whether a token is that of a moment (a "high water mark"), which an idle stream carries: behind the time stand the
    /// version and a 0 where events have 128, as a key of an index holds them.
    pub fn is_moment(token: &str) -> bool {
        let is_numbered = token.get(18..20) == Some("2B");
        is_numbered && token.get(22..24) == Some("29")
    }
}

impl fmt::Display for MongodbOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { token, .. } => write!(f, "{}", utf8_percent_encode(token, TOKEN)),
            Self::Time { seconds, increment } => write!(f, "{seconds}.{increment}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::{Offset, Position};

    const DATA: &str = "8265EB6D3B000000022B042C0100296E5A1004";

    #[test]
    fn positions_come_back_from_their_text() {
        for (token, is_invalidate) in [(DATA, false), (DATA, true), ("a+b/~:ä", false)] {
            let offset = MongodbOffset::Token {
                token: token.into(),
                is_invalidate,
            };
            let position = Position {
                start: Offset::Mongodb(offset),
                delivered: None,
                within: None,
            };
            let text = position.to_string();
            let mut written = String::from("before");
            MongodbOffset::write_position(&mut written, token, is_invalidate);
            assert_eq!(written.strip_prefix("before"), Some(text.as_str()));
            assert_eq!(Position::parse(&text).unwrap(), position);
        }
        let time = MongodbOffset::Time {
            seconds: 1_700_000_000,
            increment: 3,
        };
        let position = Position {
            start: Offset::Mongodb(time),
            delivered: None,
            within: None,
        };
        assert!(position.to_string().starts_with("mongodb-time:1700000000.3~"));
        assert_eq!(Position::parse(&position.to_string()).unwrap(), position);
    }

    #[test]
    fn a_token_of_a_moment_is_told_from_that_of_an_event() {
        assert!(!MongodbOffset::is_moment(DATA));
        assert!(MongodbOffset::is_moment("8265EB6D3B000000022B0429296E1404"));
        assert!(!MongodbOffset::is_moment("82"));
    }

    #[test]
    fn a_token_begins_with_its_cluster_time() {
        assert_eq!(MongodbOffset::time_of(DATA), Some((0x65EB_6D3B, 2)));
        for token in ["", "82", "82zz", "8365EB6D3B00000002", "82ä5EB6D3B00000002"] {
            assert_eq!(MongodbOffset::time_of(token), None);
        }
    }
}
