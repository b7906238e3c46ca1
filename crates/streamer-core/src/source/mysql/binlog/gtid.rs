//! The events that begin a transaction.
//!
//! Sources: MySQL's `libs/mysql/binlog/event/control_events.h` (`Gtid_event`); MariaDB's knowledge base, "GTID_EVENT" and
//! "GTID_LIST_EVENT". The tagged form is MySQL's serialization library, which `mysql_common` reads.

use std::sync::{Arc, LazyLock};

use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::{FormatDescriptionEvent, GtidEvent};
use mysql_common::binlog::{BinlogCtx, consts};
use mysql_common::io::ParseBuf;

use super::wire::{Wire, truncated};
use crate::error::Result;
use crate::offset::{MariadbGtid, MysqlGtid};

/// MariaDB: no COMMIT or XID event ends it.
const FLAG_STANDALONE: u8 = 1;
/// MariaDB: a group commit id follows.
const FLAG_GROUP_COMMIT: u8 = 2;
/// MariaDB: a DDL statement.
const FLAG_DDL: u8 = 32;
/// MariaDB: prepares an XA transaction.
const FLAG_PREPARED_XA: u8 = 64;
/// MariaDB: commits or rolls back a prepared XA transaction.
const FLAG_COMPLETED_XA: u8 = 128;

/// MariaDB, of the second flags: an ALTER TABLE has begun (`binlog_alter_two_phase`); whether it succeeds stands behind it.
const FLAG_BEGUN_ALTER: u8 = 2;
/// MariaDB, of the second flags: an ALTER TABLE that had begun has failed.
const FLAG_FAILED_ALTER: u8 = 8;

/// Type of the logical clock that every later field stands behind.
const LOGICAL_CLOCK: u8 = 2;
/// Bit of a commit time that says that the original server's follows.
const HAS_ORIGINAL: u64 = 1 << 55;

/// The beginning of a transaction in MySQL's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MysqlBegin {
    /// Its id; `None` on a server without GTIDs.
    pub gtid: Option<MysqlGtid>,
    /// When this server committed it, in µs since the epoch; `None` before MySQL 8.0.1.
    pub committed_us: Option<u64>,
}

impl MysqlBegin {
    /// Reads an untagged or anonymous event.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where it is too short.
    pub fn read(body: &[u8], anonymous: bool) -> Result<Self> {
        let mut wire = Wire(body);
        wire.skip(1)?;
        let uuid = *wire.take(16)?.first_chunk::<16>().ok_or_else(truncated)?;
        let number = wire.u64()?;
        let mut committed_us = None;
        if wire.len() > 24 && wire.u8()? == LOGICAL_CLOCK {
            wire.skip(16)?;
            committed_us = Some(wire.u56()? & !HAS_ORIGINAL);
        }
        let gtid = (!anonymous).then_some(MysqlGtid {
            uuid,
            tag: None,
            number,
        });
        Ok(Self { gtid, committed_us })
    }

    /// Reads an event whose GTID may have a tag.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where it does not follow the format.
    pub fn read_tagged(body: &[u8]) -> Result<Self> {
        static FORMAT: LazyLock<FormatDescriptionEvent<'static>> =
            LazyLock::new(|| FormatDescriptionEvent::new(BinlogVersion::Version4));
        let context = BinlogCtx::new(
            body.len(),
            &FORMAT,
            consts::EventType::GTID_TAGGED_LOG_EVENT as u8,
        );
        let event: GtidEvent = ParseBuf(body).parse(context).map_err(|_| truncated())?;
        let gtid = MysqlGtid {
            uuid: event.sid(),
            tag: event.tag().map(|tag| Arc::from(tag.as_str())),
            number: event.gno(),
        };
        Ok(Self {
            gtid: Some(gtid),
            committed_us: Some(event.immediate_commit_timestamp()),
        })
    }
}

/// The beginning of a transaction in MariaDB's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MariadbBegin {
    /// Its id.
    pub gtid: MariadbGtid,
    flags: u8,
    /// Zero in an XA transaction, where other fields stand in front of them.
    more_flags: u8,
}

impl MariadbBegin {
    /// Reads it; the server's id stands in the header.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where it is too short.
    pub fn read(body: &[u8], server: u32) -> Result<Self> {
        let mut wire = Wire(body);
        let sequence = wire.u64()?;
        let domain = wire.u32()?;
        let flags = wire.u8()?;
        if flags & FLAG_GROUP_COMMIT != 0 {
            wire.skip(8)?;
        }
        let is_xa = flags & (FLAG_PREPARED_XA | FLAG_COMPLETED_XA) != 0;
        let more_flags = match is_xa || wire.is_empty() {
            true => 0,
            false => wire.u8()?,
        };
        let gtid = MariadbGtid {
            domain,
            server,
            sequence,
        };
        Ok(Self {
            gtid,
            flags,
            more_flags,
        })
    }

    /// Whether the definition in it does not hold: the ALTER TABLE has only begun, or has failed.
    pub fn defines_nothing(&self) -> bool {
        self.more_flags & (FLAG_BEGUN_ALTER | FLAG_FAILED_ALTER) != 0
    }

    /// Whether one statement is all of it, with no event that ends it.
    pub fn is_standalone(&self) -> bool {
        self.flags & FLAG_STANDALONE != 0
    }

    /// Whether it is a DDL statement.
    pub fn is_ddl(&self) -> bool {
        self.flags & FLAG_DDL != 0
    }

    /// Whether its rows wait for an XA COMMIT.
    pub fn is_prepared_xa(&self) -> bool {
        self.flags & FLAG_PREPARED_XA != 0
    }

    /// Whether it ends a prepared XA transaction.
    pub fn is_completed_xa(&self) -> bool {
        self.flags & FLAG_COMPLETED_XA != 0
    }
}

/// Reads MariaDB's list of GTIDs at the beginning of a file: the last of each server in each domain.
///
/// # Errors
/// `ERR_STREAMER_LOG_UNDECODABLE` where it is too short.
pub fn read_mariadb_list(body: &[u8]) -> Result<Vec<MariadbGtid>> {
    let mut wire = Wire(body);
    let count = wire.u32()? & 0x0fff_ffff;
    (0..count)
        .map(|_| {
            Ok(MariadbGtid {
                domain: wire.u32()?,
                server: wire.u32()?,
                sequence: wire.u64()?,
            })
        })
        .collect()
}
