//! Tables that are compared as a whole, and the look at keys that finds what is gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::begin::ADVICE;
use super::connector::{PollConnector, now_ms};
use super::keys::{Known, MAX_KEYS};
use super::table::Looking;
use super::{Database, Head, Row, Start};
use crate::error::Result;
use crate::event::Operation;
use crate::source::Item;

/// Keys of one question.
const KEYS_PAGE: usize = 5000;
/// Between two such questions, so many times as long as the answer took.
const KEYS_PAUSE: u32 = 9;

impl<D: Database> PollConnector<D> {
    /// Reads all rows of a table, and compares them with what they were.
    pub(super) async fn compare(&mut self, index: usize) -> Result<()> {
        let limit = self.config.compare_rows;
        let (began_ms, asked) = (now_ms(), Instant::now());
        let Some(table) = self.tables.get_mut(index) else {
            return Ok(());
        };
        let rows = self
            .database
            .read(&table.found.handle, Start::Beginning, limit.saturating_add(1))
            .await?;
        let took = asked.elapsed();
        self.round_trip = took;
        if rows.len() > limit {
            let table = self.tables.remove(index);
            let reason = format!(
                "{}: it has more than {limit} rows and no column to poll it by",
                table.name()
            );
            self.gone.clear();
            self.say_of_tables("These tables cannot be polled any more", &[reason], ADVICE);
            return Ok(());
        }
        let position = self.position_now();
        let server_ms = self.began().server as f64 / 1000.0;
        let found = self.compare_rows(index, &rows, &position, server_ms);
        let Some(table) = self.tables.get_mut(index) else {
            return Ok(());
        };
        table.delivers_first = true;
        table.fresh_ms = Some(began_ms);
        table.whole_at = Some(Instant::now());
        table.due = Instant::now() + table.pace.next(took, found, fastrand::f64());
        Ok(())
    }

    fn compare_rows(&mut self, index: usize, rows: &[D::Row], position: &Arc<str>, server_ms: f64) -> u64 {
        let Some(table) = self.tables.get_mut(index) else {
            return 0;
        };
        let Some(keys) = &mut table.keys else { return 0 };
        let (delivers, is_first) = (table.delivers_first, std::mem::take(&mut table.is_backlog));
        keys.begin();
        let mut found = 0;
        for row in rows {
            let key = row.key();
            let id_key = key.clone();
            let operation = match keys.see(key, row.version()) {
                _ if !delivers => continue,
                Known::Same => continue,
                // Whether a row was there before the first look is not known.
                Known::New if !is_first => Operation::Insert,
                _ => Operation::Update,
            };
            found += 1;
            let key = super::window::hash(&[&id_key]) as u64;
            let id = format!("{}{key:016x}:{:016x}", table.id_begin, row.version() as u64);
            let head = Head {
                operation,
                id: &id,
                position,
                committed_ms: server_ms,
            };
            self.database
                .write(&table.found.handle, row, &head, &mut self.writer);
            if self.writer.changes() >= self.settings.batch_size {
                self.ready.push_back(Item::Batch(self.writer.take()));
            }
        }
        let gone = keys.end();
        found += gone.len() as u64;
        self.gone.extend(gone.into_iter().map(|key| (index, key)));
        self.flush();
        found
    }

    /// One chunk of a look at the keys of a table.
    pub(super) async fn look(&mut self, index: usize, is_paced: bool) -> Result<()> {
        let Some(sweep) = self.config.sweep else {
            return Ok(());
        };
        let Some(table) = self.tables.get_mut(index) else {
            return Ok(());
        };
        let Some(keys) = &mut table.keys else {
            return Ok(());
        };
        let mut looking = table.looking.take().unwrap_or_else(|| {
            keys.begin();
            Looking::default()
        });
        let asked = Instant::now();
        let page = self
            .database
            .keys(&table.found.handle, looking.last.as_deref(), KEYS_PAGE)
            .await?;
        let took = asked.elapsed();
        looking.took += took;
        looking.last = page.last().cloned();
        let is_end = page.len() < KEYS_PAGE;
        for key in page {
            keys.see(key, 0);
        }
        if keys.len() > MAX_KEYS {
            table.keys = None;
            let reason = format!("{}: it has more than {MAX_KEYS} rows", table.name());
            self.say_of_tables(
                "Deleted rows of these tables are not looked for",
                &[reason],
                ADVICE,
            );
            return Ok(());
        }
        if is_end {
            let gone = keys.end();
            table.look_due = Instant::now() + sweep.max(looking.took * KEYS_PAUSE);
            self.gone.extend(gone.into_iter().map(|key| (index, key)));
        } else {
            let pause = if is_paced {
                took * KEYS_PAUSE
            } else {
                Duration::ZERO
            };
            table.look_due = Instant::now() + pause;
            table.looking = Some(looking);
        }
        Ok(())
    }

    /// Hands over a batch of rows that are gone.
    pub(super) fn tell_gone(&mut self) {
        let position = self.position_now();
        let server = self.began().server;
        while let Some((index, key)) = self.gone.pop_front() {
            let Some(table) = self.tables.get(index) else {
                continue;
            };
            let id = table.id(&key, &format!("{server}-deleted"));
            let head = Head {
                operation: Operation::Delete,
                id: &id,
                position: &position,
                committed_ms: server as f64 / 1000.0,
            };
            self.database
                .write_delete(&table.found.handle, &key, &head, &mut self.writer);
            if self.writer.changes() >= self.settings.batch_size {
                break;
            }
        }
        self.flush();
    }
}
