//! How far a connector has come in a server's log.
//!
//! A transaction counts as done when its end was written into a batch. The rows of a prepared XA transaction lie before
//! its commit: until that comes, reading must be able to begin again at them. MySQL's GTID set simply leaves the
//! prepared transaction out; with MariaDB's GTIDs and with files, the position keeps two places: where reading begins,
//! and up to where everything else was delivered.

use std::sync::Arc;

use crate::offset::{MariadbGtid, MysqlGtid, Offset, Position};

/// What names a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionId {
    /// MySQL's GTID.
    Mysql(MysqlGtid),
    /// MariaDB's GTID.
    Mariadb(MariadbGtid),
    /// The place at which it begins.
    Place {
        /// File.
        file: Arc<str>,
        /// Byte.
        offset: u64,
    },
}

impl std::fmt::Display for TransactionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mysql(gtid) => gtid.fmt(f),
            Self::Mariadb(gtid) => gtid.fmt(f),
            Self::Place { file, offset } => write!(f, "{file}:{offset}"),
        }
    }
}

/// The place of the reader in the server's files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilePlace {
    /// File that is being read.
    pub file: Arc<str>,
    /// The next byte.
    pub offset: u64,
}

impl FilePlace {
    /// Moves behind an event: `low` is the low half of where the next one begins.
    pub fn advance(&mut self, low: u32, event_bytes: u32) {
        let expected = self.offset + u64::from(event_bytes);
        let base = expected & !0xffff_ffff;
        let candidates = [base.wrapping_sub(1 << 32), base, base + (1 << 32)];
        self.offset = candidates
            .into_iter()
            .map(|base| base.wrapping_add(u64::from(low)))
            .min_by_key(|candidate| candidate.abs_diff(expected))
            .unwrap_or(expected);
    }

    /// Number of the file; `None` where it has none.
    pub fn number(&self) -> Option<u64> {
        self.file.rsplit_once('.')?.1.parse().ok()
    }

    /// Whether this place is before `offset` in `file`. Files are numbered by their suffix.
    pub fn is_before(&self, file: &str, offset: u64) -> bool {
        match number(&self.file).cmp(&number(file)) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => self.offset < offset,
            std::cmp::Ordering::Greater => false,
        }
    }
}

fn number(file: &str) -> u64 {
    file.rsplit_once('.')
        .and_then(|(_, number)| number.parse().ok())
        .unwrap_or(0)
}

/// A prepared XA transaction whose end has not been read.
#[derive(Debug, Clone)]
struct Prepared {
    xid: Arc<str>,
    id: TransactionId,
    /// Everything before it.
    before: Offset,
}

/// Progress in the log.
#[derive(Debug, Clone)]
pub struct Track {
    done: Offset,
    prepared: Vec<Prepared>,
    /// The reader's own place while it passes over what was delivered before, in search of prepared transactions.
    passing: Option<Offset>,
    text: Option<Arc<str>>,
}

impl Track {
    /// Begins at a position; the second part says what was delivered beyond its start.
    pub fn new(position: &Position) -> Self {
        Self {
            done: position
                .delivered
                .clone()
                .unwrap_or_else(|| position.start.clone()),
            prepared: Vec::new(),
            passing: position.delivered.as_ref().map(|_| position.start.clone()),
            text: None,
        }
    }

    /// Whether transactions are named by MySQL's GTIDs.
    pub fn has_gtids(&self) -> bool {
        matches!(self.done, Offset::MysqlGtid(_))
    }

    /// The end of the last transaction that is done.
    pub fn done(&self) -> &Offset {
        &self.done
    }

    /// Where reading begins again.
    pub fn start(&self) -> &Offset {
        match (&self.done, self.prepared.first(), &self.passing) {
            (_, Some(oldest), _) if !self.has_gtids() => &oldest.before,
            (_, _, Some(passing)) => passing,
            (done, _, None) => done,
        }
    }

    /// The position after the last transaction that is done.
    pub fn position(&self) -> Position {
        let start = self.start().clone();
        let delivered = (start != self.done).then(|| self.done.clone());
        Position {
            start,
            delivered,
            within: None,
        }
    }

    /// The same as text; made once for each transaction that needs it.
    pub fn text(&mut self) -> Arc<str> {
        if let Some(text) = &self.text {
            return text.clone();
        }
        let text: Arc<str> = self.position().base_text().into();
        self.text = Some(text.clone());
        text
    }

    /// Whether a transaction was delivered before this connection began.
    pub fn covers(&self, id: &TransactionId) -> bool {
        match (&self.done, id) {
            (Offset::MysqlGtid(set), TransactionId::Mysql(gtid)) => set.contains(gtid),
            (Offset::MariadbGtid(list), TransactionId::Mariadb(gtid)) => list.covers(gtid),
            (
                Offset::MysqlFile { file, offset, .. },
                TransactionId::Place {
                    file: at,
                    offset: from,
                },
            ) => FilePlace {
                file: at.clone(),
                offset: *from,
            }
            .is_before(file, *offset),
            _ => false,
        }
    }

    /// Whether a log that ends at `end` can be the one that was read: it must hold everything that is done.
    pub fn fits(&self, end: &Offset) -> bool {
        match (&self.done, end) {
            (Offset::MysqlGtid(done), Offset::MysqlGtid(end)) => done.is_subset_of(end),
            (Offset::MariadbGtid(done), Offset::MariadbGtid(end)) => done.is_covered_by(end),
            (
                Offset::MysqlFile { server, file, offset },
                Offset::MysqlFile {
                    server: other,
                    file: last,
                    offset: at,
                },
            ) => {
                let end = FilePlace {
                    file: last.clone(),
                    offset: *at,
                };
                server == other && !end.is_before(file, *offset)
            }
            _ => false,
        }
    }

    /// Whether everything in a log that ends at `end` has been read; the reader is at `place`.
    pub fn holds(&self, end: &Offset, place: &FilePlace) -> bool {
        match (&self.done, end) {
            (Offset::MysqlGtid(done), Offset::MysqlGtid(end)) => {
                if end.is_subset_of(done) {
                    return true;
                }
                // A prepared transaction counts as executed, and is held here until its fate is known.
                let mut read = done.clone();
                for prepared in &self.prepared {
                    if let TransactionId::Mysql(gtid) = &prepared.id {
                        read.insert(gtid);
                    }
                }
                end.is_subset_of(&read)
            }
            (Offset::MariadbGtid(done), Offset::MariadbGtid(end)) => end.is_covered_by(done),
            (Offset::MysqlFile { .. }, Offset::MysqlFile { file, offset, .. }) => {
                !place.is_before(file, *offset)
            }
            _ => false,
        }
    }

    /// A transaction that was delivered before was passed over.
    pub fn pass(&mut self, id: &TransactionId, place: &FilePlace) {
        if let Some(passing) = &mut self.passing {
            advance(passing, id, place);
        }
    }

    /// A transaction is done; the reader is at `place`.
    pub fn finish(&mut self, id: &TransactionId, place: &FilePlace) {
        self.passing = None;
        advance(&mut self.done, id, place);
        self.text = None;
    }

    /// A transaction was prepared: its rows are held. In MySQL's GTID set it stays missing until it ends.
    pub fn prepare(&mut self, xid: &Arc<str>, id: &TransactionId, place: &FilePlace) {
        self.prepared.retain(|prepared| prepared.xid != *xid);
        self.prepared.push(Prepared {
            xid: xid.clone(),
            id: id.clone(),
            before: self.passing.clone().unwrap_or_else(|| self.done.clone()),
        });
        match self.passing {
            Some(_) => self.pass(id, place),
            None if matches!(self.done, Offset::MysqlGtid(_)) => {}
            None => self.finish(id, place),
        }
        self.text = None;
    }

    /// A prepared transaction was committed or rolled back.
    pub fn end_prepared(&mut self, xid: &str) {
        if let Some(at) = self.prepared.iter().position(|prepared| &*prepared.xid == xid) {
            let prepared = self.prepared.remove(at);
            if let (Offset::MysqlGtid(set), TransactionId::Mysql(gtid)) = (&mut self.done, &prepared.id) {
                set.insert(gtid);
            }
            self.text = None;
        }
    }

    /// Goes on at another place, behind a gap.
    pub fn jump(&mut self, to: Offset) {
        self.done = to;
        self.passing = None;
        self.prepared.clear();
        self.text = None;
    }
}

fn advance(offset: &mut Offset, id: &TransactionId, place: &FilePlace) {
    match (offset, id) {
        (Offset::MysqlGtid(set), TransactionId::Mysql(gtid)) => set.insert(gtid),
        (Offset::MariadbGtid(list), TransactionId::Mariadb(gtid)) => list.advance(gtid),
        (Offset::MysqlFile { file, offset, .. }, _) => {
            *file = place.file.clone();
            *offset = place.offset;
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_beyond_4_gb_keep_their_high_half() {
        let mut place = FilePlace {
            file: "b.000001".into(),
            offset: 0xffff_ff00,
        };
        place.advance(0x10, 0x110);
        assert_eq!(place.offset, 0x1_0000_0010);
    }

    #[test]
    fn files_are_ordered_by_their_number() {
        let place = FilePlace {
            file: "b.999999".into(),
            offset: 500,
        };
        assert!(place.is_before("b.1000000", 4));
        assert!(!place.is_before("b.999999", 500));
        assert!(!place.is_before("b.999998", 900));
    }
}
