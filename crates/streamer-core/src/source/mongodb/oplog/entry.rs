//! One entry of the oplog, or one operation inside an `applyOps`, looked at where it lies.
//!
//! Source: `oplog_entry.idl` of the server. What the server sends is taken as hostile: every length is checked by the iterators of the
//! `bson` crate.

use bson::{RawBsonRef, RawDocument};

use crate::error::Result;
use crate::offset::OpTime;
use crate::source::mongodb::event::undecodable;

/// The parts of an entry; absent ones are `None`, or empty.
#[derive(Debug, Default)]
pub struct Entry<'a> {
    /// `ts` and `t`; an operation inside an entry has none.
    pub optime: Option<OpTime>,
    /// `op`: `i`, `u`, `d`, `c`, `n`.
    pub operation: &'a str,
    /// `ns`: database and collection, with a dot between.
    pub namespace: &'a str,
    /// `o`: the document, the update, or the command.
    pub o: Option<&'a RawDocument>,
    /// `o2`: the document's key.
    pub o2: Option<&'a RawDocument>,
    /// `wall`, in ms since the epoch.
    pub wall_ms: Option<i64>,
    /// `lsid`.
    pub session: Option<&'a RawDocument>,
    /// `txnNumber`.
    pub number: Option<i64>,
    /// `prevOpTime`: the entry before it of the same transaction.
    pub previous: Option<OpTime>,
    /// `fromMigrate`: the balancer moved a document between shards.
    pub is_migration: bool,
    /// `multiOpType` 1: an `applyOps` that is several writes, and no transaction.
    pub is_separate: bool,
}

impl<'a> Entry<'a> {
    /// Reads an entry.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where it is no BSON.
    pub fn read(raw: &'a RawDocument) -> Result<Self> {
        let mut entry = Self::default();
        let (mut time, mut term) = (None, -1);
        for element in raw.iter_elements() {
            let element = element.map_err(undecodable)?;
            let value = || element.value().map_err(undecodable);
            match element.key().as_str() {
                "ts" => time = value()?.as_timestamp(),
                "t" => term = value()?.as_i64().unwrap_or(-1),
                "op" => entry.operation = value()?.as_str().unwrap_or_default(),
                "ns" => entry.namespace = value()?.as_str().unwrap_or_default(),
                "o" => entry.o = value()?.as_document(),
                "o2" => entry.o2 = value()?.as_document(),
                "wall" => entry.wall_ms = value()?.as_datetime().map(bson::DateTime::timestamp_millis),
                "lsid" => entry.session = value()?.as_document(),
                "txnNumber" => entry.number = value()?.as_i64(),
                "prevOpTime" => {
                    let previous = value()?.as_document().and_then(optime);
                    entry.previous = previous.filter(|previous| previous.seconds > 0);
                }
                "fromMigrate" => entry.is_migration = value()?.as_bool().unwrap_or(false),
                "multiOpType" => entry.is_separate = matches!(value()?, RawBsonRef::Int32(1)),
                _ => {}
            }
        }
        entry.optime = time.map(|time| OpTime {
            seconds: time.time,
            increment: time.increment,
            term,
        });
        Ok(entry)
    }

    /// Database and collection, or `$cmd`.
    pub fn names(&self) -> (&'a str, &'a str) {
        self.namespace.split_once('.').unwrap_or((self.namespace, ""))
    }

    /// The command of an entry `c`: the first field of `o`.
    pub fn command(&self) -> Option<(&'a str, RawBsonRef<'a>)> {
        let first = self.o?.iter_elements().next()?.ok()?;
        Some((first.key().as_str(), first.value().ok()?))
    }

    /// Commit time, in ms since the epoch: of the server's clock where the entry has it, else in whole seconds.
    pub fn committed_ms(&self) -> f64 {
        match (self.wall_ms, self.optime) {
            (Some(ms), _) => ms as f64,
            (None, Some(optime)) => f64::from(optime.seconds) * 1000.0,
            (None, None) => 0.0,
        }
    }
}

/// `{ ts, t }`.
pub fn optime(document: &RawDocument) -> Option<OpTime> {
    let time = document.get_timestamp("ts").ok()?;
    Some(OpTime {
        seconds: time.time,
        increment: time.increment,
        term: document.get_i64("t").unwrap_or(-1),
    })
}

/// Whether a collection is the server's own: a change stream leaves these out as well.
pub fn is_internal(database: &str, table: &str) -> bool {
    matches!(database, "admin" | "config" | "local") || table.starts_with("system.") || table.starts_with('$')
}

#[cfg(test)]
mod tests {
    use bson::{Bson, DateTime, RawDocumentBuf, Timestamp, doc};

    use super::*;

    #[test]
    fn an_entry_is_read_where_it_lies() {
        let raw = RawDocumentBuf::try_from(&doc! {
            "op": "u", "ns": "shop.a.b", "o": { "$v": 2, "diff": {} }, "o2": { "_id": 1 },
            "ts": Bson::Timestamp(Timestamp { time: 7, increment: 2 }), "t": 3_i64, "wall": DateTime::from_millis(7123),
            "txnNumber": 4_i64, "lsid": { "id": 1 }, "fromMigrate": true,
            "prevOpTime": { "ts": Bson::Timestamp(Timestamp { time: 0, increment: 0 }), "t": -1_i64 },
        })
        .unwrap();
        let entry = Entry::read(&raw).unwrap();
        let optime = OpTime {
            seconds: 7,
            increment: 2,
            term: 3,
        };
        assert_eq!((entry.optime, entry.previous), (Some(optime), None));
        assert_eq!(entry.names(), ("shop", "a.b"));
        assert_eq!(entry.command().unwrap().0, "$v");
        assert_eq!(
            (entry.committed_ms(), entry.number, entry.is_migration),
            (7123.0, Some(4), true)
        );
        assert!(!entry.is_separate && entry.session.is_some());
    }

    #[test]
    fn collections_of_the_server_itself_are_known() {
        for (database, table) in [
            ("admin", "x"),
            ("config", "y"),
            ("local", "oplog.rs"),
            ("shop", "system.views"),
            ("shop", "$cmd"),
        ] {
            assert!(is_internal(database, table), "{database}.{table}");
        }
        assert!(!is_internal("shop", "systems") && !is_internal("administration", "x"));
    }

    proptest::proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let mut document = ((bytes.len() + 5) as i32).to_le_bytes().to_vec();
            document.extend_from_slice(&bytes);
            document.push(0);
            if let Ok(raw) = RawDocument::from_bytes(&document)
                && let Ok(entry) = Entry::read(raw)
            {
                let _ = (entry.command(), entry.names());
            }
        }
    }
}
