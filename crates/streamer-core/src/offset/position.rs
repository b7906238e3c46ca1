//! A place in a log as the text that users see in `Change.position`, and hand back in `from`.
//!
//! # The text
//!
//! ```text
//! mysql:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77~5d2f0c1a
//! mariadb:0-1-100,1-2-5~0c9b7e55
//! mysql-file:3e11fa47-71ca-11e1-9e33-c80aa9429562:binlog.000003:1547~91d00f3e
//! mongodb:8265EB…0004~77ac01d3
//! mongodb-oplog:1763923200.12.3~0b1c22d4
//! sqlite:9f0c41d27be86a35:1207:5b1f90aa~0d66c3e1
//! poll:shop:orders:updated_at:1732867200000000~3f0a44c1
//! mysql:<start>~mysql:<delivered>~<checksum>+<transaction>/<changes>
//! ```
//!
//! The *base* is the start, where it differs the place up to which everything was delivered, and the checksum (CRC-32
//! of all before its `~`, eight hexadecimal digits), which finds typing errors and text that was cut. A change in the
//! middle of a transaction carries the base of its transaction, to which the JavaScript side adds the part from `+`;
//! the checksum does not cover it, so that no change needs one computed. Where that part is cut, changes are delivered
//! twice, never skipped.
//!
//! The kind names the form of what follows: a form that changes gets a new kind, and old texts stay readable. All
//! characters are printable ASCII; none needs escaping in a URL's path.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{GtidSet, MariadbGtidList, MongodbOffset, PollOffset, SqliteOffset, poll, sqlite};
use crate::code::Code;
use crate::error::{Error, Result};

/// Longest text that is read: a set of some 200 000 intervals. Servers with fragmented sets show a few thousand.
pub const MAX_POSITION_BYTES: usize = 4 << 20;

/// Longest id of a transaction, in bytes.
const MAX_TRANSACTION_BYTES: usize = 4096;

const KIND_MYSQL: &str = "mysql";
const KIND_MYSQL_FILE: &str = "mysql-file";
const KIND_MARIADB: &str = "mariadb";

/// What stays as it is in the names of files and servers; `:`, `~` and `+` divide the text.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// A place in the log of one kind of source.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offset {
    /// MySQL with GTIDs: every transaction of the set is behind this place.
    MysqlGtid(GtidSet),
    /// MariaDB: the last transaction of each domain.
    MariadbGtid(MariadbGtidList),
    /// MongoDB: a resume token, a cluster time, or an entry of the oplog.
    Mongodb(MongodbOffset),
    /// SQLite: an entry of the change log.
    Sqlite(SqliteOffset),
    /// A source that is polled: a value for each table.
    Poll(PollOffset),
    /// MySQL without GTIDs: a byte in a file of one server.
    MysqlFile {
        /// `server_uuid` of the server whose file it is: another server's file of that name holds other bytes.
        server: Arc<str>,
        /// Name of the binary log file.
        file: Arc<str>,
        /// Byte.
        offset: u64,
    },
}

/// Where reading continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Reading of the log begins here.
    pub start: Offset,
    /// Transactions that end at or before this place were delivered already; where absent, it is `start`. It differs from
    /// `start` while a prepared XA transaction is held whose rows lie before it. Of the same kind as `start`.
    pub delivered: Option<Offset>,
    /// The transaction behind `delivered` was delivered in part.
    pub within: Option<Within>,
}

/// How much of a transaction was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Within {
    /// The transaction's id: not empty, no control characters.
    pub transaction: Arc<str>,
    /// How many of its changes were delivered.
    pub changes: u32,
}

impl Position {
    /// Reads a position's text.
    ///
    /// # Errors
    /// `ERR_STREAMER_POSITION_INVALID` where it is not a text that this library made, or was changed since.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(invalid("A position was expected, an empty text was found."));
        }
        if text.len() > MAX_POSITION_BYTES {
            let found = text.len();
            return Err(invalid(format!(
                "A position has at most {MAX_POSITION_BYTES} bytes, this text has {found}."
            )));
        }
        let (base, within) = match text.split_once('+') {
            Some((base, within)) => (base, Some(parse_within(within)?)),
            None => (text, None),
        };
        let places = checked(base)?;
        let (start, delivered) = match places.split_once('~') {
            Some((start, delivered)) => (Offset::parse(start)?, Some(Offset::parse(delivered)?)),
            None => (Offset::parse(places)?, None),
        };
        if delivered
            .as_ref()
            .is_some_and(|delivered| delivered.kind() != start.kind())
        {
            return Err(invalid(
                "Both places of a position belong to one kind of source, these do not.",
            ));
        }
        Ok(Self {
            start,
            delivered,
            within,
        })
    }

    /// The text without the part that says how much of a transaction was delivered: what the JavaScript side adds
    /// `+<transaction>/<changes>` to.
    pub fn base_text(&self) -> String {
        let mut text = self.start.to_string();
        if let Some(delivered) = &self.delivered {
            text.push('~');
            text.push_str(&delivered.to_string());
        }
        let checksum = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("~{checksum:08x}"));
        text
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base_text())?;
        match &self.within {
            Some(within) => write!(f, "+{}/{}", within.transaction, within.changes),
            None => Ok(()),
        }
    }
}

impl Offset {
    /// The word with which its text begins: `mysql`, `mysql-file`, `mariadb`, `mongodb`, `mongodb-invalidate`, `mongodb-time`,
    /// `mongodb-oplog`, `sqlite`, `poll`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::MysqlGtid(_) => KIND_MYSQL,
            Self::MariadbGtid(_) => KIND_MARIADB,
            Self::MysqlFile { .. } => KIND_MYSQL_FILE,
            Self::Mongodb(offset) => offset.kind(),
            Self::Sqlite(_) => sqlite::KIND,
            Self::Poll(_) => poll::KIND,
        }
    }

    fn parse(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some((KIND_MYSQL, set)) => Ok(Self::MysqlGtid(GtidSet::parse(set)?)),
            Some((KIND_MARIADB, list)) => Ok(Self::MariadbGtid(MariadbGtidList::parse(list)?)),
            Some((KIND_MYSQL_FILE, place)) => parse_file(place),
            Some((sqlite::KIND, place)) => SqliteOffset::parse(place)
                .map(Self::Sqlite)
                .ok_or_else(|| invalid("A position in a change log has the form sqlite:log:number:mark.")),
            Some((poll::KIND, place)) => PollOffset::parse(place)
                .map(Self::Poll)
                .ok_or_else(|| invalid("A polled position has the form poll:database:table:column:value.")),
            Some((kind, place)) if MongodbOffset::is_kind(kind) => MongodbOffset::parse(kind, place)
                .map(Self::Mongodb)
                .ok_or_else(|| {
                    invalid("A position in a change stream holds a resume token or a cluster time, one in the oplog an optime.")
                }),
            _ => Err(invalid(
                "A position begins with mysql:, mysql-file:, mariadb:, mongodb:, sqlite: or poll:; this one may come from a newer version.",
            )),
        }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind())?;
        match self {
            Self::MysqlGtid(set) => write!(f, "{set}"),
            Self::MariadbGtid(list) => write!(f, "{list}"),
            Self::Mongodb(offset) => write!(f, "{offset}"),
            Self::Sqlite(offset) => write!(f, "{offset}"),
            Self::Poll(offset) => write!(f, "{offset}"),
            Self::MysqlFile { server, file, offset } => {
                let (server, file) = (utf8_percent_encode(server, NAME), utf8_percent_encode(file, NAME));
                write!(f, "{server}:{file}:{offset}")
            }
        }
    }
}

/// The places of a base whose checksum is right.
fn checked(base: &str) -> Result<&str> {
    let Some((places, found)) = base.rsplit_once('~') else {
        return Err(invalid(
            "A position ends with a checksum behind a ~, this text has none.",
        ));
    };
    let hexadecimal = found.len() == 8 && found.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found = u32::from_str_radix(found, 16).ok().filter(|_| hexadecimal);
    if found == Some(crc32fast::hash(places.as_bytes())) {
        Ok(places)
    } else {
        Err(invalid(
            "The checksum of the position does not match: the text was changed or cut.",
        ))
    }
}

fn parse_within(text: &str) -> Result<Within> {
    let changes = text.rsplit_once('/').and_then(|(transaction, changes)| {
        let digits = changes.bytes().all(|byte| byte.is_ascii_digit());
        changes
            .parse()
            .ok()
            .filter(|_| digits)
            .map(|changes| (transaction, changes))
    });
    match changes {
        Some((transaction, changes))
            if !transaction.is_empty()
                && transaction.len() <= MAX_TRANSACTION_BYTES
                && !transaction.chars().any(char::is_control) =>
        {
            Ok(Within {
                transaction: transaction.into(),
                changes,
            })
        }
        _ => Err(invalid(
            "Behind the + of a position stand a transaction's id, a slash, and a number of changes.",
        )),
    }
}

fn parse_file(place: &str) -> Result<Offset> {
    let parsed = (|| {
        let (names, offset) = place.rsplit_once(':')?;
        let (server, file) = names.split_once(':')?;
        let digits = offset.bytes().all(|byte| byte.is_ascii_digit());
        Some(Offset::MysqlFile {
            server: decoded(server)?.into(),
            file: decoded(file)?.into(),
            offset: offset.parse().ok().filter(|_| digits)?,
        })
    })();
    parsed.ok_or_else(|| invalid("A position in a binary log file has the form mysql-file:server:file:byte."))
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}

fn invalid(sentence: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Code::PositionInvalid, sentence)
        .with_advice("Hand over the `position` of a change exactly as it was delivered.")
}

#[cfg(test)]
#[path = "position_tests.rs"]
mod tests;
