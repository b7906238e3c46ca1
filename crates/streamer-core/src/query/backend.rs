//! What the read path needs of one kind of source.
//!
//! The read path (`service.rs`) decides whether memory may answer, who shares a query, and what is kept; a [`Backend`] knows how a
//! read is asked, what its answer depends on, and what proves that the answer holds every change that was delivered. The rule and
//! its argument stand in [`cache`](crate::cache).

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::cache::{Dependency, Era, KeyWriter, Sequence, Statement, Value};
use crate::code::Code;
use crate::error::{Error, Result};
use crate::offset::Position;

/// A parameter of a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    /// NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// An integer beyond the range of the signed ones.
    Unsigned(u64),
    /// A floating-point number.
    Real(f64),
    /// An integer beyond the range of these, in decimal digits.
    Wide(String),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Param {
    /// An integer.
    pub(super) fn of_integer(value: i128) -> Self {
        match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => Self::Integer(value),
            (_, Ok(value)) => Self::Unsigned(value),
            _ => Self::Wide(value.to_string()),
        }
    }

    /// The value of an integer.
    pub(super) fn integer(&self) -> Option<i128> {
        match self {
            Self::Integer(value) => Some(i128::from(*value)),
            Self::Unsigned(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    fn identify(&self, key: &mut KeyWriter) {
        match self {
            Self::Null => key.part(10, &[]),
            Self::Bytes(bytes) => key.part(11, bytes),
            Self::Integer(value) => key.part(12, &value.to_be_bytes()),
            Self::Unsigned(value) => key.part(13, &value.to_be_bytes()),
            Self::Real(value) => key.part(14, &value.to_bits().to_be_bytes()),
            Self::Text(text) => key.part(15, text.as_bytes()),
            Self::Wide(digits) => key.part(16, digits.as_bytes()),
        }
    }
}

/// What is asked of a source.
#[derive(Debug, Clone, PartialEq)]
pub enum Read {
    /// A statement in SQL.
    Sql {
        /// Its text.
        sql: String,
        /// What its placeholders stand for.
        params: Vec<Param>,
    },
    /// Documents of a collection of MongoDB.
    Find {
        /// `database.collection`, or a collection of the URL's database.
        namespace: String,
        /// A BSON document with `filter`, and perhaps `projection`, `sort`, `limit`, `skip`.
        request: Vec<u8>,
    },
}

impl Read {
    /// Puts everything into a key that tells one read from another.
    pub(super) fn identify(&self, key: &mut KeyWriter) {
        match self {
            Self::Sql { sql, params } => {
                key.part(4, sql.as_bytes());
                for param in params {
                    param.identify(key);
                }
            }
            Self::Find { namespace, request } => {
                key.part(5, namespace.as_bytes());
                key.part(6, request);
            }
        }
    }
}

/// What a read came to.
pub(super) type Outcome = Result<Value>;

/// What the answer to a read depends on, or why it is not kept.
pub(super) type Verdict = std::result::Result<Arc<[Dependency]>, Arc<str>>;

/// A table with columns and the values that they have; an empty column stands for the table's key.
pub type Named = (String, Vec<(String, NamedValue)>);

/// A value by which rows are told apart.
#[derive(Debug, Clone, PartialEq)]
pub enum NamedValue {
    /// An integer.
    Integer(i128),
    /// A value of MongoDB.
    Bson(bson::RawBson),
}

impl NamedValue {
    /// A value of MongoDB from extended JSON.
    pub fn from_extended_json(value: serde_json::Value) -> Option<Self> {
        let value = bson::Bson::try_from(value).ok()?;
        bson::RawBson::try_from(value).ok().map(Self::Bson)
    }

    /// The value of an integer.
    pub(super) fn integer(&self) -> Option<i128> {
        match self {
            Self::Integer(value) => Some(*value),
            Self::Bson(_) => None,
        }
    }
}

/// What holds for every question that is asked afterwards.
#[derive(Debug, Clone)]
pub struct Proof {
    /// Every change up to here is visible.
    pub as_of: Sequence,
    /// The same in terms that another process can judge, where it can be said.
    pub statement: Option<Statement>,
}

impl Proof {
    /// Of what only this process can judge.
    pub(super) fn of(as_of: Sequence) -> Self {
        Self {
            as_of,
            statement: None,
        }
    }
}

/// An answer with what is proved of it.
pub(super) struct Asked {
    /// The answer.
    pub value: Value,
    /// What it holds; `None` where nothing is proved.
    pub proof: Option<Proof>,
}

/// What a statement that changes came to.
#[derive(Debug, Clone)]
pub struct Executed {
    /// Rows that it changed.
    pub affected: u64,
    /// The last key that the database made.
    pub last_insert_id: Option<i128>,
    /// A position that holds it.
    pub position: Option<String>,
}

/// One kind of source. Futures are cancel-safe, and run on a tokio runtime.
pub(super) trait Backend: Send + Sync {
    /// Puts into a key what beside the read decides on its answer: who asks, and where.
    fn identify(&self, key: &mut KeyWriter);

    /// The source streams, perhaps from another host: nobody is to wait for the one before. Must be called on a tokio runtime.
    fn connected(&self) {}

    /// Definitions may have changed: what is known of them is asked for anew.
    fn forget_definitions(&self);

    /// What the answer to a read depends on.
    fn judge<'a>(&'a self, read: &'a Read) -> BoxFuture<'a, Result<Verdict>>;

    /// Waits until `need` is proved to be visible to reads that begin now; `None` where it cannot be proved.
    fn prove(&self, need: Sequence) -> BoxFuture<'_, Result<Option<Proof>>>;

    /// Whether [`run`](Self::run) gives everything that was delivered, without a proof.
    fn shows_delivered(&self) -> bool;

    /// Asks for an answer that is not kept.
    fn run<'a>(&'a self, read: &'a Read) -> BoxFuture<'a, Outcome>;

    /// The same, of the server that the log was read from in `era`; `None`, and nothing was asked, where it is read anew since.
    fn run_in<'a>(&'a self, read: &'a Read, era: Era) -> BoxFuture<'a, Result<Option<Value>>> {
        let _ = era;
        async move { self.run(read).await.map(Some) }.boxed()
    }

    /// Asks for an answer that holds `need`, by the rule: a proof, and then the question in a snapshot of its own.
    fn ask<'a>(&'a self, read: &'a Read, need: Sequence) -> BoxFuture<'a, Result<Asked>>;

    /// Asks for an answer that holds everything up to a position.
    fn run_after<'a>(&'a self, read: &'a Read, position: Position) -> BoxFuture<'a, Outcome>;

    /// Runs a statement that changes something.
    fn execute<'a>(&'a self, sql: &'a str, params: &'a [Param]) -> BoxFuture<'a, Result<Executed>>;

    /// What the answer to a read depends on, or why it is not kept, for people.
    fn explain<'a>(&'a self, read: &'a Read) -> BoxFuture<'a, Result<serde_json::Value>>;

    /// Resolves what a value of the application is said to depend on.
    ///
    /// # Errors
    /// `ERR_STREAMER_ARGUMENT_INVALID` for a table that is not followed.
    fn dependencies<'a>(&'a self, on: &'a [Named]) -> BoxFuture<'a, Result<Arc<[Dependency]>>>;

    /// Closes the connections; reads fail afterwards.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A source was asked in a way that its kind does not know.
pub(super) fn wrong_kind(expected: &str, found: &str) -> Error {
    Error::new(
        Code::ArgumentInvalid,
        format!("{found} is not for this kind of source, which is asked by {expected}."),
    )
}

/// `after` holds a position of another kind of source.
pub(super) fn foreign_position() -> Error {
    Error::new(
        Code::PositionInvalid,
        "The position in `after` was expected to be one of this source, it is one of another.",
    )
}

/// The streamer was stopped.
pub fn closed() -> Error {
    Error::new(Code::ConnectionLost, "The connections for queries are closed.")
}

/// Another host is read now.
pub(super) fn left() -> Error {
    Error::new(
        Code::ConnectionLost,
        "The server that was asked is not the one any more whose log is read.",
    )
    .with_advice("Ask again; the one that took over is asked.")
}

/// No connection came free in time. `all`: how many there are, in words.
pub(super) fn busy(waited: Duration, all: &str) -> Error {
    Error::new(
        Code::ServerBusy,
        format!("A connection was expected within {waited:?}, {all} are in use."),
    )
    .with_advice("Make the queries shorter, ask for less at the same time, or raise `pool.maxConnections`.")
}

/// `what` was not answered in time.
pub(super) fn late(what: &str, limit: Duration) -> Error {
    Error::new(
        Code::Timeout,
        format!("An answer to {what} was expected within {limit:?}, none came."),
    )
}

/// The source did not reach the position in `after` in time.
pub(super) fn position_not_visible(waited: Duration) -> Error {
    Error::new(
        Code::Timeout,
        format!("The position in `after` was expected to be visible within {waited:?}, it was not."),
    )
}
