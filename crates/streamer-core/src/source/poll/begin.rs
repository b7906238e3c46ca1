//! Which tables there are, and where reading of each begins.

use tokio::time::Instant;

use super::bound::Growth;
use super::connector::{PAGE, PollConnector, REFRESH, now_ms};
use super::table::Table;
use super::{Database, Found, Row, Start, Way};
use crate::code::Code;
use crate::config::From;
use crate::error::{Error, Result};
use crate::offset::{Offset, PollOffset};
use crate::source::Item;

/// Rows whose numbers a counter may still fill between, when reading begins with the present.
const NEWEST: usize = 1000;
/// Most tables that one message names.
const MAX_NAMED: usize = 10;

/// What helps where a table cannot be polled.
pub(super) const ADVICE: &str = "Give them a TIMESTAMP column with DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP and an index, or name a \
     column that grows with each change with `poll.columns`.";

impl<D: Database> PollConnector<D> {
    /// Reads the server's clock and the definitions.
    pub(super) async fn refresh(&mut self) -> Result<()> {
        let asked = Instant::now();
        let server = self.database.clock().await?;
        self.round_trip = asked.elapsed();
        self.clock = (asked, server);
        let found = self.database.tables().await?;
        let names: Vec<String> = found
            .iter()
            .map(|found| format!("{}.{}", found.database, found.table))
            .collect();
        let count = self.tables.len();
        self.tables.retain(|table| names.contains(&table.name()));
        if self.tables.len() != count {
            self.gone.clear();
        }
        let mut unusable = Vec::new();
        let mut inserts = Vec::new();
        for found in found {
            match &found.way {
                Way::Unusable(reason) => {
                    unusable.push(format!("{}.{}: {reason}", found.database, found.table))
                }
                Way::Column {
                    is_insert_only: true, ..
                } => inserts.push(format!("{}.{}", found.database, found.table)),
                _ => {}
            }
            self.take_in(found);
        }
        self.refresh_due = Instant::now() + REFRESH;
        if self.tables.is_empty() && self.from.is_some() {
            let sentence = match unusable.is_empty() {
                true => "No table matches the `tables` option.".to_owned(),
                false => format!("No table can be polled. {}", named(&unusable)),
            };
            let code = match unusable.is_empty() {
                true => Code::TableUnknown,
                false => Code::TableUnpollable,
            };
            return Err(Error::new(code, sentence));
        }
        self.say_of_tables(
            "These tables cannot be polled, and their changes are not seen",
            &unusable,
            ADVICE,
        );
        self.say_of_tables(
            "Of these tables only new rows are seen, by their growing key",
            &inserts,
            "A column that each change sets, indexed and named with `poll`, shows changes too.",
        );
        Ok(())
    }

    fn take_in(&mut self, found: Found<D::Table>) {
        let known = self
            .tables
            .iter()
            .position(|table| table.is(&found.database, &found.table));
        match (known, &found.way) {
            (Some(at), Way::Unusable(_)) => {
                self.tables.remove(at);
                self.gone.clear();
            }
            (None, Way::Unusable(_)) => {}
            (Some(at), way) => {
                let Some(table) = self.tables.get_mut(at) else {
                    return;
                };
                if table.found.way != *way {
                    *table = Table::new(found, &self.config);
                } else if table.found.handle != found.handle {
                    table.found = found;
                    table.reading = None;
                    table.due = Instant::now();
                }
            }
            (None, _) => self.tables.push(Table::new(found, &self.config)),
        }
    }

    /// Says something of tables once.
    pub(super) fn say_of_tables(&mut self, what: &str, tables: &[String], advice: &'static str) {
        let new: Vec<String> = tables
            .iter()
            .filter(|table| !self.said.contains(table))
            .cloned()
            .collect();
        if new.is_empty() {
            return;
        }
        let error = Error::new(Code::TableUnpollable, format!("{what}: {}", named(&new)))
            .with_advice(advice)
            .with_detail("tables", new.clone());
        self.said.extend(new);
        self.ready.push_back(Item::Warning(error));
    }

    /// Begins where the source should.
    pub(super) async fn begin(&mut self, from: &From) -> Result<()> {
        let resumed = match from {
            From::Earliest => return Ok(()),
            From::Position(position) => match &position.start {
                Offset::Poll(offset) => Some(offset.clone()),
                _ => return Err(other_kind()),
            },
            From::Now => None,
        };
        let mut index = 0;
        while index < self.tables.len() {
            let count = self.tables.len();
            match &resumed {
                Some(offset) => self.resume_table(index, offset),
                None => self.begin_now(index).await?,
            }
            // One that turned out to be too large is gone.
            if self.tables.len() == count {
                self.first_look(index).await?;
                index += 1;
            }
        }
        Ok(())
    }

    fn resume_table(&mut self, index: usize, offset: &PollOffset) {
        let Some(table) = self.tables.get_mut(index) else {
            return;
        };
        let own = table.cursor();
        // What is not named did not exist yet: all of it is new.
        let cursor = offset
            .cursors
            .iter()
            .find(|cursor| table.is(&cursor.database, &cursor.table) && cursor.column == own.column);
        if let (Some(cursor), Some(bound)) = (cursor, &mut table.bound) {
            bound.raise(cursor.low);
        }
    }

    /// Remembers what is there, so that only what comes is told.
    async fn begin_now(&mut self, index: usize) -> Result<()> {
        let began = self.began();
        let started = self.started;
        let Some(table) = self.tables.get_mut(index) else {
            return Ok(());
        };
        table.is_backlog = false;
        table.delivers_first = false;
        let growth = match &table.found.way {
            Way::Column { growth, .. } => *growth,
            _ => return self.compare(index).await,
        };
        let at = |started: Instant| started.elapsed().as_micros() as i128;
        if growth == Growth::ServerTime {
            let low = table.bound.as_ref().and_then(|bound| bound.at_present(began));
            if let Some(bound) = &mut table.bound {
                bound.raise(low);
            }
        } else {
            let limit = if growth == Growth::Counter { NEWEST } else { 1 };
            let rows = self.database.newest(&table.found.handle, limit).await?;
            let moment = at(started);
            table.remember(&rows, moment);
            if let Some(bound) = &mut table.bound {
                match growth {
                    Growth::OwnTime => bound.complete(began, moment),
                    _ if rows.len() < limit => {}
                    _ => bound.raise(rows.iter().filter_map(Row::cursor).min()),
                }
            }
        }
        let mut last: Option<D::Row> = None;
        loop {
            let low = table.bound.as_ref().and_then(|bound| bound.low());
            let start = match (&last, low) {
                (Some(row), _) => Start::After(row),
                (None, Some(low)) => Start::From(low),
                (None, None) => Start::Beginning,
            };
            let mut rows = self.database.read(&table.found.handle, start, PAGE).await?;
            let is_end = rows.len() < PAGE;
            table.remember(&rows, at(started));
            last = rows.pop();
            if is_end {
                table.whole_at = Some(Instant::now());
                table.fresh_ms = Some(now_ms());
                return Ok(());
            }
        }
    }

    /// Where rows that are gone are looked for, the first look is over before the source counts as followed.
    async fn first_look(&mut self, index: usize) -> Result<()> {
        let is_looked_at = self
            .tables
            .get(index)
            .is_some_and(|table| table.bound.is_some() && table.keys.is_some());
        while is_looked_at
            && self
                .tables
                .get(index)
                .is_some_and(|table| table.keys.is_some() && table.look_due <= Instant::now())
        {
            self.look(index, false).await?;
        }
        Ok(())
    }
}

fn named(tables: &[String]) -> String {
    let more = tables.len().saturating_sub(MAX_NAMED);
    let mut text = tables
        .iter()
        .take(MAX_NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text + "."
}

fn other_kind() -> Error {
    Error::new(
        Code::PositionInvalid,
        "A position of a source that is polled was expected, one in a log was found.",
    )
    .with_advice("Leave `capture` out, and the log is read where it can be had.")
}
