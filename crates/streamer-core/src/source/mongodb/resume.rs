//! Where a change stream goes on.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use bson::spec::BinarySubtype;
use bson::{Binary, RawDocument, RawDocumentBuf, Timestamp, rawdoc};

use crate::code::Code;
use crate::error::{Error, Result};
use crate::offset::{MongodbOffset, Offset, Position};

/// A place in a change stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// With what is committed from now on.
    Now,
    /// At a cluster time, its own operation included.
    Time(Timestamp),
    /// Behind a resume token.
    Token(Token),
}

/// What divides the two parts of a token's text.
const TYPE_BITS: char = '_';

/// A resume token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// `_data`, and behind [`TYPE_BITS`] the bytes of `_typeBits` in hexadecimal, where there are any: a server does not read a token whose
    /// document's key holds a number that is no int32 without them.
    pub data: Arc<str>,
    /// It is that of an `invalidate` event.
    pub is_invalidate: bool,
}

impl Token {
    /// Reads `{ _data: …, _typeBits: … }`.
    pub fn read(token: &RawDocument) -> Option<Cow<'_, str>> {
        let data = token.get("_data").ok()??.as_str()?;
        let Some(bits) = token.get("_typeBits").ok()?.and_then(|bits| bits.as_binary()) else {
            return Some(Cow::Borrowed(data));
        };
        let mut text = format!("{data}{TYPE_BITS}");
        for byte in bits.bytes {
            let _ = write!(text, "{byte:02x}");
        }
        Some(Cow::Owned(text))
    }

    /// The text of the position behind it.
    pub fn position(&self) -> Arc<str> {
        let mut text = String::new();
        MongodbOffset::write_position(&mut text, &self.data, self.is_invalidate);
        text.into()
    }

    fn document(&self) -> RawDocumentBuf {
        match self.data.split_once(TYPE_BITS) {
            None => rawdoc! { "_data": &*self.data },
            Some((data, bits)) => {
                let digits = bits.as_bytes().chunks(2);
                let byte =
                    |digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap_or_default(), 16).ok();
                let bits = Binary {
                    subtype: BinarySubtype::Generic,
                    bytes: digits.map_while(byte).collect(),
                };
                rawdoc! { "_data": data, "_typeBits": bits }
            }
        }
    }
}

impl Resume {
    /// The place of a position that the user hands in.
    ///
    /// # Errors
    /// `ERR_STREAMER_POSITION_INVALID` where it is one of another kind of source.
    pub fn from_position(position: &Position) -> Result<Self> {
        match &position.start {
            Offset::Mongodb(MongodbOffset::Token { token, is_invalidate }) => Ok(Self::Token(Token {
                data: Arc::clone(token),
                is_invalidate: *is_invalidate,
            })),
            Offset::Mongodb(MongodbOffset::Time { seconds, increment }) => Ok(Self::Time(Timestamp {
                time: *seconds,
                increment: *increment,
            })),
            Offset::Mongodb(MongodbOffset::Oplog(_)) => Err(Error::new(
                Code::PositionInvalid,
                "A position in a change stream was expected, one in the oplog was found.",
            )
            .with_advice("Set log: 'oplog', with which it was delivered; or begin with from: 'now'.")),
            other => Err(Error::new(
                Code::PositionInvalid,
                format!(
                    "A position of a MongoDB source was expected, one of the kind {} was found.",
                    other.kind()
                ),
            )
            .with_advice("Hand over a `position` that this source delivered.")),
        }
    }

    /// Adds the option that makes `$changeStream` begin here.
    pub fn add_to(&self, stage: &mut RawDocumentBuf) {
        match self {
            Self::Now => {}
            Self::Time(time) => stage.append(bson::raw::cstr!("startAtOperationTime"), *time),
            Self::Token(token) if token.is_invalidate => {
                stage.append(bson::raw::cstr!("startAfter"), token.document());
            }
            Self::Token(token) => stage.append(bson::raw::cstr!("resumeAfter"), token.document()),
        }
    }

    /// The text of the position here; empty where it is not known yet.
    pub fn position(&self) -> Option<Arc<str>> {
        match self {
            Self::Now => None,
            Self::Time(time) => {
                let offset = MongodbOffset::Time {
                    seconds: time.time,
                    increment: time.increment,
                };
                let position = Position {
                    start: Offset::Mongodb(offset),
                    delivered: None,
                    within: None,
                };
                Some(position.to_string().into())
            }
            Self::Token(token) => Some(token.position()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_the_bits_of_its_types() {
        let bits = Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![0x82, 0x00, 0xff],
        };
        for (document, text) in [
            (rawdoc! { "_data": "8265EB04" }, "8265EB04"),
            (
                rawdoc! { "_data": "8265EB04", "_typeBits": bits },
                "8265EB04_8200ff",
            ),
        ] {
            let data = Token::read(&document).unwrap();
            assert_eq!(data, text);
            let token = Token {
                data: data.into(),
                is_invalidate: false,
            };
            assert_eq!(token.document(), document);
        }
    }
}
