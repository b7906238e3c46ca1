//! A place in a log as the text that users see in `Change.position`, and hand back in `from`.

use std::sync::Arc;

use super::{GtidSet, MariadbGtidList};

/// A place in the log of one kind of source.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offset {
    /// MySQL with GTIDs: every transaction of the set is behind this place.
    MysqlGtid(GtidSet),
    /// MariaDB: the last transaction of each domain.
    MariadbGtid(MariadbGtidList),
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
    /// `start` while a prepared XA transaction is held whose rows lie before it.
    pub delivered: Option<Offset>,
    /// The transaction behind `delivered` was delivered in part.
    pub within: Option<Within>,
}

/// How much of a transaction was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Within {
    /// The transaction's id.
    pub transaction: Arc<str>,
    /// How many of its changes were delivered.
    pub changes: u32,
}
