//! Places of the log, as far as they prove what is visible.

use std::sync::Arc;
use std::time::Instant;

use crate::offset::{GtidSet, MongodbOffset, MysqlGtid, Offset, Position};

/// What proves that everything up to a sequence is visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// These are in the server's `gtid_executed`.
    Gtids(GtidSet),
    /// Only time: the server has no GTIDs.
    Since(Instant),
    /// A snapshot of SQLite that shows this entry of the change log.
    Entry {
        /// The log.
        log: Arc<str>,
        /// Number of the entry.
        seq: i64,
    },
    /// A read of MongoDB behind this cluster time: seconds in the upper half, the increment in the lower.
    Clock(u64),
}

fn clock((seconds, increment): (u32, u32)) -> u64 {
    (u64::from(seconds) << 32) | u64::from(increment)
}

impl Place {
    /// What proves that everything up to a position is visible; `None` where that cannot be said. MariaDB is proved by marks,
    /// so that any place does.
    pub fn of(position: &Position) -> Option<Self> {
        match position.delivered.as_ref().unwrap_or(&position.start) {
            Offset::MysqlGtid(set) => {
                let mut set = set.clone();
                // Of the transaction that it lies in, rows were delivered.
                if let Some(within) = &position.within {
                    set.insert(&MysqlGtid::parse(&within.transaction).ok()?);
                }
                Some(Self::Gtids(set))
            }
            Offset::MysqlFile { .. } | Offset::MariadbGtid(_) => Some(Self::Since(Instant::now())),
            // Nothing is kept of a source that is polled.
            Offset::Poll(_) => None,
            // Behind an event: up to its time. At a moment: before it, and nothing may have happened at it yet.
            Offset::Mongodb(MongodbOffset::Token { token, .. }) => {
                let clock = clock(MongodbOffset::time_of(token)?);
                let is_moment = MongodbOffset::is_moment(token);
                Some(Self::Clock(if is_moment { clock.checked_sub(1)? } else { clock }))
            }
            Offset::Mongodb(MongodbOffset::Time { seconds, increment }) => {
                Some(Self::Clock(clock((*seconds, *increment)).checked_sub(1)?))
            }
            // Of a transaction it may name the entry in front; what is in the oplog is visible to those who read the member itself.
            Offset::Mongodb(MongodbOffset::Oplog(_)) => Some(Self::Since(Instant::now())),
            Offset::Sqlite(offset) => {
                let inside = position.within.as_ref().map_or(0, |within| within.changes);
                Some(Self::Entry {
                    log: Arc::clone(&offset.log),
                    seq: i64::try_from(offset.seq).ok()?.checked_add(i64::from(inside))?,
                })
            }
        }
    }

    /// GTIDs, where it is made of them.
    pub(super) fn gtids(&self) -> Option<&GtidSet> {
        match self {
            Self::Gtids(gtids) => Some(gtids),
            _ => None,
        }
    }

    /// A place that proves both.
    pub(super) fn joined(&self, later: &Self) -> Self {
        match (self, later) {
            (Self::Gtids(earlier), Self::Gtids(later)) => Self::Gtids(earlier.union(later)),
            _ => later.clone(),
        }
    }
}
