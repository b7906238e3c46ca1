//! Where a change stream goes on.

use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf, Timestamp, rawdoc};

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

/// `_data` of a resume token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The token's text.
    pub data: Arc<str>,
    /// It is that of an `invalidate` event.
    pub is_invalidate: bool,
}

impl Token {
    /// Reads `{ _data: … }`.
    pub fn read(token: &RawDocument) -> Option<&str> {
        token.get("_data").ok()??.as_str()
    }

    /// The text of the position behind it.
    pub fn position(&self) -> Arc<str> {
        let mut text = String::new();
        MongodbOffset::write_position(&mut text, &self.data, self.is_invalidate);
        text.into()
    }

    fn document(&self) -> RawDocumentBuf {
        rawdoc! { "_data": &*self.data }
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
