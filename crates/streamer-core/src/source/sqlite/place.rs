//! Where reading begins, and what may be wrong with a place that was kept.

use std::sync::Arc;

use rusqlite::{Connection, Result};

use super::log;
use crate::code::Code;
use crate::config::From;
use crate::error::Error;
use crate::offset::{Offset, Position, SqliteOffset};
use crate::source::{Gap, GapReason};

/// Entries that are delivered as one transaction: those that became visible together.
#[derive(Debug, Clone)]
pub struct Group {
    /// Number of the entry before its first.
    pub base: i64,
    /// The position before it.
    pub before: Arc<str>,
    /// Its id.
    pub id: Arc<str>,
}

/// How far reading has come.
#[derive(Debug, Clone)]
pub struct Place {
    /// The log.
    pub log: Arc<str>,
    /// The last entry that was read.
    pub seq: i64,
    /// Its checksum.
    pub mark: u32,
    /// The group in the middle of which that is.
    pub group: Option<Group>,
}

impl Place {
    /// Behind an entry, at the end of a group.
    pub fn at(log: &Arc<str>, seq: i64, mark: u32) -> Self {
        Self {
            log: Arc::clone(log),
            seq,
            mark,
            group: None,
        }
    }

    /// The text of the position.
    pub fn position(&self) -> Arc<str> {
        match &self.group {
            Some(group) => within(group, self.seq).into(),
            None => position(&self.log, self.seq, self.mark),
        }
    }

    /// Goes on behind a position that was kept.
    pub fn of(position: &Position) -> Option<Self> {
        let Offset::Sqlite(offset) = &position.start else {
            return None;
        };
        let base = i64::try_from(offset.seq).ok()?;
        let group = position.within.as_ref().map(|within| Group {
            base,
            before: position.base_text().into(),
            id: Arc::clone(&within.transaction),
        });
        let done = position
            .within
            .as_ref()
            .map_or(0, |within| i64::from(within.changes));
        Some(Self {
            log: Arc::clone(&offset.log),
            seq: base.checked_add(done)?,
            mark: if group.is_none() { offset.mark } else { 0 },
            group,
        })
    }

    /// The group that follows, or the one that is open.
    pub fn enter(&mut self) -> Group {
        let (base, before, log) = (self.seq, self.position(), Arc::clone(&self.log));
        self.group
            .get_or_insert_with(|| Group {
                base,
                before,
                id: format!("{log}-{}", base + 1).into(),
            })
            .clone()
    }
}

/// The text of a position in the middle of a group, as JavaScript makes it.
pub fn within(group: &Group, seq: i64) -> String {
    format!("{}+{}/{}", group.before, group.id, seq - group.base)
}

fn position(log: &Arc<str>, seq: i64, mark: u32) -> Arc<str> {
    let position = Position {
        start: Offset::Sqlite(SqliteOffset {
            log: Arc::clone(log),
            seq: u64::try_from(seq).unwrap_or_default(),
            mark,
        }),
        delivered: None,
        within: None,
    };
    position.base_text().into()
}

/// Where reading begins.
pub fn begin(conn: &Connection, log: &Arc<str>, from: &From) -> Result<(Place, Option<Gap>), Error> {
    let failed = |error: rusqlite::Error| {
        Error::new(
            Code::ServerRefused,
            format!("The change log cannot be read: {error}."),
        )
    };
    match from {
        From::Now => Ok((newest(conn, log).map_err(failed)?, None)),
        From::Earliest => Ok((earliest(conn, log).map_err(failed)?, None)),
        From::Position(position) => {
            let place = Place::of(position).ok_or_else(|| {
                Error::new(
                    Code::PositionInvalid,
                    "A position of a SQLite source was expected, one of another kind of source was found.",
                )
            })?;
            resume(conn, log, place, position).map_err(failed)
        }
    }
}

/// Behind everything.
fn newest(conn: &Connection, log: &Arc<str>) -> Result<Place> {
    let seq = log::newest(conn)?;
    Ok(Place::at(log, seq, log::mark(conn, seq)?))
}

/// Before everything that is still there.
fn earliest(conn: &Connection, log: &Arc<str>) -> Result<Place> {
    match log::oldest(conn)? {
        Some(oldest) => Ok(Place::at(log, oldest - 1, 0)),
        None => newest(conn, log),
    }
}

/// Goes on behind a place, or says why that cannot be.
fn resume(
    conn: &Connection,
    log: &Arc<str>,
    place: Place,
    position: &Position,
) -> Result<(Place, Option<Gap>)> {
    let Offset::Sqlite(offset) = &position.start else {
        return Ok((place, None));
    };
    let base = i64::try_from(offset.seq).unwrap_or(i64::MAX);
    let (last, first) = (log::newest(conn)?, log::oldest(conn)?);
    let found = log::mark(conn, base)?;
    let (reason, instead, sentence) = if place.log != *log {
        let instead = newest(conn, log)?;
        let sentence = "The database holds another change log than the one that was followed: the file was replaced, or the log was removed and made again.";
        (GapReason::SourceReplaced, instead, sentence)
    } else if place.seq > last || (offset.mark != 0 && found != 0 && found != offset.mark) {
        let instead = newest(conn, log)?;
        let sentence = "The change log ends before the place that was read, or holds other changes there: the database was restored from a copy.";
        (GapReason::SourceRewound, instead, sentence)
    } else if first.is_some_and(|first| first > place.seq + 1) {
        let instead = earliest(conn, log)?;
        let sentence = "The change log does not reach back to the place that was read.";
        (GapReason::LogPurged, instead, sentence)
    } else {
        return Ok((place, None));
    };
    let gap = Gap {
        from: Some(place.position()),
        to: Some(instead.position()),
        tables: None,
        reason,
        error: Some(Error::new(Code::PositionLost, sentence)),
    };
    Ok((instead, Some(gap)))
}
