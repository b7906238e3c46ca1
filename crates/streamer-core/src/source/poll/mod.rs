//! Polling: changes of a database whose log cannot be had, by asking for what is new.
//!
//! The room is shared by the connectors: it knows nothing of a protocol. A connector implements [`Database`]; everything
//! else is here: when a table is asked ([`pace`]), from which value on ([`bound`]), which rows were delivered already
//! ([`window`]), which keys are gone ([`keys`]), and the passage from polling to the log ([`AutoConnector`]).
//!
//! # What is guaranteed
//! - Every row that is committed, and whose column was set at most the overlap before, is delivered in its newest
//!   version at the time of a poll. Never a version twice in one process.
//! - A position holds for each table a value behind which everything is read again: nothing is skipped by resuming.
//!
//! # What polling cannot see
//! Versions between two polls, rows that came and went between two polls, transactions, and, without the sweep, that a
//! row is gone.

mod auto;
mod begin;
mod bound;
mod compare;
mod connector;
mod keys;
mod pace;
mod table;
mod window;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use auto::{AutoConnector, LOG_UNAVAILABLE, is_log_unavailable};
pub use bound::Growth;
pub use connector::PollConnector;
pub use window::hash;

use crate::error::Result;
use crate::event::{BatchWriter, Operation};
use crate::source::Host;

/// Shapes of polled rows are numbered from here, so that they are none of the log's.
pub const FIRST_SHAPE: u32 = 1 << 31;

/// How a table is polled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By a column that grows.
    Column {
        /// Its name.
        column: Arc<str>,
        /// How it grows.
        growth: Growth,
        /// It is set when a row is made, and never again: only new rows are seen.
        is_insert_only: bool,
    },
    /// All rows are compared with what they were.
    Compare,
    /// Not at all.
    Unusable(String),
}

/// A table that the source asks for.
#[derive(Debug)]
pub struct Found<T> {
    /// Database.
    pub database: Arc<str>,
    /// Table.
    pub table: Arc<str>,
    /// How it is polled.
    pub way: Way,
    /// What the database's half needs to ask for its rows.
    pub handle: T,
}

/// Where a read of a table begins.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a, R> {
    /// With its first row.
    Beginning,
    /// With the first row whose column has at least this value.
    From(i128),
    /// Behind a row that was read.
    After(&'a R),
}

/// A row as it was read.
pub trait Row: Send + Sync {
    /// Value of the column by which the table is polled; times are microseconds since the Unix epoch.
    fn cursor(&self) -> Option<i128>;
    /// Its key: equal for equal keys, and what [`Database::write_delete`] and [`Database::keys`] take.
    fn key(&self) -> Vec<u8>;
    /// A hash of all of it.
    fn version(&self) -> u128;
}

/// What stands in front of a change.
#[derive(Debug)]
pub struct Head<'a> {
    /// What happened.
    pub operation: Operation,
    /// Id of the change.
    pub id: &'a str,
    /// Where reading goes on behind it.
    pub position: &'a Arc<str>,
    /// When the row was written, in ms since the Unix epoch by the source's clock.
    pub committed_ms: f64,
}

/// The half of polling that knows the database. No method is cancel-safe: after a future was dropped, it must be opened again.
pub trait Database: Send + Sync {
    /// What it keeps of a table.
    type Table: Send + Sync + PartialEq;
    /// A row of it.
    type Row: Row;

    /// Connects, and checks what polling needs.
    fn open(&mut self) -> BoxFuture<'_, Result<()>>;
    /// Closes what is open. Idempotent.
    fn close(&mut self) -> BoxFuture<'_, ()>;
    /// Which host is read.
    fn host(&self) -> Host;
    /// The tables that the source asks for.
    fn tables(&mut self) -> BoxFuture<'_, Result<Vec<Found<Self::Table>>>>;
    /// The server's clock, in microseconds since the Unix epoch.
    fn clock(&mut self) -> BoxFuture<'_, Result<i128>>;
    /// Rows in the order of the table's column, then of its key; of a compared table in any order.
    fn read<'a>(
        &'a mut self,
        table: &'a Self::Table,
        start: Start<'a, Self::Row>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Self::Row>>>;
    /// The rows with the highest values of the table's column.
    fn newest<'a>(
        &'a mut self,
        table: &'a Self::Table,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Self::Row>>>;
    /// Keys in their order, behind one that was returned.
    fn keys<'a>(
        &'a mut self,
        table: &'a Self::Table,
        after: Option<&'a [u8]>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>>>;
    /// Writes a row.
    fn write(&mut self, table: &Self::Table, row: &Self::Row, head: &Head<'_>, writer: &mut BatchWriter);
    /// Writes that the row of a key is gone.
    fn write_delete(&mut self, table: &Self::Table, key: &[u8], head: &Head<'_>, writer: &mut BatchWriter);
}
