//! What is kept of one table between polls.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::bound::{Began, Bound};
use super::keys::Keys;
use super::pace::Pace;
use super::window::{MAX_REMEMBERED, Window, hash};
use super::{Database, Found, Row, Way};
use crate::config::PollConfig;
use crate::offset::PollCursor;

/// A read of a table that goes on over several pages.
pub(super) struct Reading<R> {
    pub began: Began,
    /// When it began, in ms since the Unix epoch by the local clock.
    pub began_ms: f64,
    /// It began at the lower bound, and so finds everything.
    pub is_whole: bool,
    /// The last row of the last page.
    pub last: Option<R>,
    /// Changes that were found.
    pub found: u64,
    /// Time that questions have taken.
    pub took: Duration,
}

/// A look at the keys of a table that goes on over several chunks.
#[derive(Default)]
pub(super) struct Looking {
    pub last: Option<Vec<u8>>,
    /// Time that questions have taken.
    pub took: Duration,
}

/// One table.
pub(super) struct Table<D: Database> {
    pub found: Found<D::Table>,
    /// What ids of its changes begin with.
    pub id_begin: String,
    /// Where it is read from; `None` where all rows are compared.
    pub bound: Option<Bound>,
    pub window: Window,
    /// Below it, too much was forgotten to read again.
    pub floor: Option<i128>,
    pub pace: Pace,
    pub due: Instant,
    pub reading: Option<Reading<D::Row>>,
    /// When the last read began that found everything.
    pub whole_at: Option<Instant>,
    /// The same, in ms since the Unix epoch.
    pub fresh_ms: Option<f64>,
    /// Keys, where they are looked at.
    pub keys: Option<Keys>,
    pub looking: Option<Looking>,
    pub look_due: Instant,
    /// The first read: the backlog, in which rows are not expected to come late.
    pub is_backlog: bool,
    /// What is found by the first comparison is delivered.
    pub delivers_first: bool,
}

impl<D: Database> Table<D> {
    /// A table that is read from its beginning.
    pub fn new(found: Found<D::Table>, config: &PollConfig) -> Self {
        let bound = match &found.way {
            Way::Column { growth, .. } => Some(Bound::new(*growth, config.overlap, None)),
            _ => None,
        };
        let keeps_keys = bound.is_none() || config.sweep.is_some();
        let now = Instant::now();
        Self {
            id_begin: format!("{}.{}:", found.database, found.table),
            found,
            bound,
            window: Window::default(),
            floor: None,
            pace: Pace::new(config.min_interval, config.max_interval),
            due: now,
            reading: None,
            whole_at: None,
            fresh_ms: None,
            keys: keeps_keys.then(Keys::default),
            looking: None,
            look_due: now,
            is_backlog: true,
            delivers_first: true,
        }
    }

    /// Whether two names are the same table.
    pub fn is(&self, database: &str, table: &str) -> bool {
        *self.found.database == *database && *self.found.table == *table
    }

    /// Its name in messages.
    pub fn name(&self) -> String {
        format!("{}.{}", self.found.database, self.found.table)
    }

    /// Only new rows are seen.
    pub fn is_insert_only(&self) -> bool {
        matches!(
            &self.found.way,
            Way::Column {
                is_insert_only: true,
                ..
            }
        )
    }

    /// Its place as a position holds it.
    pub fn cursor(&self) -> PollCursor {
        let column: Arc<str> = match &self.found.way {
            Way::Column { column, .. } => Arc::clone(column),
            _ => "".into(),
        };
        PollCursor {
            database: Arc::clone(&self.found.database),
            table: Arc::clone(&self.found.table),
            column,
            low: self.bound.as_ref().and_then(Bound::low),
        }
    }

    /// What a row is compared by.
    fn version_of(&self, row: &D::Row) -> u128 {
        match self.is_insert_only() {
            true => 0,
            false => row.version(),
        }
    }

    /// Id of a change: the same for the same version of a row.
    pub fn id(&self, key: &[u8], what: &str) -> String {
        let key = hash(&[key]) as u64;
        format!("{}{key:016x}:{what}", self.id_begin)
    }

    /// Remembers rows; returns for each whether it was new, and whether so much had to be forgotten that rows which are
    /// committed late may be missed.
    pub fn remember(&mut self, rows: &[D::Row], at: i128) -> (Vec<bool>, bool) {
        let mut forgotten = None;
        let mut is_new = Vec::with_capacity(rows.len());
        for row in rows {
            let cursor = row.cursor().unwrap_or_default();
            if let Some(bound) = &mut self.bound {
                bound.saw(cursor, at);
            }
            let version = self.version_of(row);
            is_new.push(self.window.add(hash(&[&row.key()]), version, cursor));
            if let Some(cut) = self.window.halve(MAX_REMEMBERED) {
                forgotten = Some(cut + 1);
            }
        }
        self.floor = self.floor.max(forgotten);
        (is_new, forgotten.is_some() && !self.is_backlog)
    }

    /// A read has come to the end of a page; returns whether the place of reading has moved.
    pub fn advance(&mut self, last: Option<i128>, is_end: bool, at: i128) -> bool {
        let (Some(bound), Some(reading)) = (&mut self.bound, &self.reading) else {
            return false;
        };
        if !reading.is_whole {
            return false;
        }
        let before = bound.low();
        if is_end {
            bound.complete(reading.began, at);
        } else if let Some(last) = last {
            bound.progress(reading.began, last, at);
        }
        bound.raise(self.floor);
        let low = bound.low();
        if let (Some(low), true) = (low, is_end) {
            self.window.forget_below(low);
        }
        low != before
    }
}
