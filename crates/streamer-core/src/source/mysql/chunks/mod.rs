//! Rows of tables, read in consistent snapshots whose place in the log the server tells.
//!
//! | server | the place |
//! |---|---|
//! | MariaDB | `Binlog_snapshot_file` and `Binlog_snapshot_position` inside `START TRANSACTION WITH CONSISTENT SNAPSHOT`: exact |
//! | MySQL with GTIDs | between `gtid_executed` before the snapshot, all of which is visible (a transaction is added to it after the engines have committed it), and `gtid_owned` and `gtid_executed` after it, beyond which nothing is: a view counts only where no transaction between the two touches the table |
//! | the same, a table that is written to all the time | as before, while `LOCK TABLES … READ` holds its writers |
//! | MySQL without GTIDs | the end of the log while `LOCK TABLES … READ` holds the writers of the one table, for the time of opening the snapshot: a writer's lock on the table ends after its commit is visible |
//!
//! The order of rows is that of the primary key. A table that has none, or one of a type that cannot be compared exactly, is read in
//! one view from beginning to end. Values that put rows in order go back to the server as literals
//! in the character set and collation, or the type, of their column, made from the bytes that it stores: so whatever it compares
//! as equal, and however it sorts, a page begins where the one before it ended.
//!
//! What is read from engines without transactions is as new as the moment of reading, not as the view.

mod connection;
mod order;
mod rows;
mod view;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mysql_async::Conn;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use self::connection::{Facts, connect, run, texts};
use self::order::{Described, describe, describe_json};
use self::rows::{Reading, Shapes, stream};
use self::view::Opening;
use crate::code::Code;
use crate::config::{MysqlConfig, SYSTEM_DATABASES, SourceConfig, TableFilter};
use crate::error::{Error, Result};
use crate::source::{Chunks, Rest, Rows, Settings, TableRef, TableSize, View, Wanted};

/// Bytes of rows that one chunk should not exceed by much.
const CHUNK_BYTES: u64 = 8 << 20;

/// How long a row is where nothing is known.
const USUAL_ROW: u64 = 1 << 10;

/// Views that are opened without a lock, before the table is taken for one that is written to all the time.
const UNLOCKED_VIEWS: u32 = 3;

/// How long an account that may not lock waits for a view of use, before it is told that it should.
const PAUSE_WAIT: Duration = Duration::from_secs(5);

/// Longest wait for a task that reads.
const FAREWELL: Duration = Duration::from_secs(1);

/// Reads rows of one MySQL or MariaDB server.
pub struct MysqlChunks {
    config: MysqlConfig,
    tables: TableFilter,
    settings: Settings,
    /// The address that is tried first.
    address: usize,
    conn: Option<Conn>,
    facts: Option<Facts>,
    /// A second connection, which locks tables.
    locker: Option<Conn>,
    /// Definitions that hold, as long as none changes.
    known: HashMap<TableRef, Arc<Described>>,
    shapes: Shapes,
    /// The table of the open view.
    table: Option<TableRef>,
    running: Option<Running>,
    /// A view was of use since the connection of the log was made.
    is_anchored: bool,
    attempts: Attempts,
}

/// What became of the views of one table since rows were read of it.
#[derive(Default)]
struct Attempts {
    /// Which.
    table: Option<TableRef>,
    /// Views that were opened.
    tries: u32,
    /// Since when they have been of no use.
    since: Option<Instant>,
    /// The account may not lock the table.
    refused: Option<Error>,
}

impl Attempts {
    /// None yet.
    fn of(table: &TableRef) -> Self {
        Self {
            table: Some(table.clone()),
            ..Self::default()
        }
    }
}

/// Rows that are on their way.
struct Running {
    rows: mpsc::Receiver<Result<Rows>>,
    task: JoinHandle<(Option<Conn>, Shapes)>,
    /// All of them were taken.
    is_done: bool,
}

impl MysqlChunks {
    /// Reads the tables of a source. Nothing connects yet.
    pub fn new(source: &SourceConfig, config: &MysqlConfig, settings: Settings) -> Self {
        Self {
            config: config.clone(),
            tables: source.tables.clone(),
            settings,
            address: 0,
            conn: None,
            facts: None,
            locker: None,
            known: HashMap::new(),
            shapes: Shapes::default(),
            table: None,
            running: None,
            is_anchored: false,
            attempts: Attempts::default(),
        }
    }

    /// The connection, made where there is none. Whoever takes it gives it back where it can be used again.
    async fn lend(&mut self) -> Result<(Conn, Facts)> {
        if let (Some(conn), Some(facts)) = (self.conn.take(), &self.facts) {
            return Ok((conn, facts.clone()));
        }
        let (conn, facts) = connect(&self.config, self.address).await?;
        self.facts = Some(facts.clone());
        Ok((conn, facts))
    }

    async fn list(&mut self) -> Result<Vec<TableSize>> {
        let (mut conn, facts) = self.lend().await?;
        let rows = texts(
            &mut conn,
            "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_ROWS FROM information_schema.TABLES \
             WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY TABLE_SCHEMA, TABLE_NAME",
            Vec::new(),
        )
        .await?;
        self.conn = Some(conn);
        let tables = self.tables.clone().with_lower_case(facts.folds_names);
        let found = rows.into_iter().filter_map(|row| {
            let mut cells = row.into_iter();
            let (database, table) = (cells.next()??, cells.next()??);
            let is_wanted =
                !SYSTEM_DATABASES.contains(&database.as_str()) && tables.includes(&database, &table);
            is_wanted.then(|| TableSize {
                table: TableRef {
                    database: database.into(),
                    table: table.into(),
                },
                rows: cells.next().flatten().and_then(|rows| rows.parse().ok()),
            })
        });
        Ok(found.collect())
    }

    async fn open_view(&mut self, table: &TableRef) -> Result<View> {
        self.table = Some(table.clone());
        if self.attempts.table.as_ref() != Some(table) {
            self.attempts = Attempts::of(table);
        }
        let waited = self.attempts.since.get_or_insert_with(Instant::now).elapsed();
        if waited >= PAUSE_WAIT
            && let Some(refused) = self.attempts.refused.take()
        {
            // It may have been granted the next time.
            self.attempts = Attempts::of(table);
            return Err(refused);
        }
        let (mut conn, facts) = self.lend().await?;
        let mut opening = Opening {
            facts: &facts,
            table,
            locks: facts.has_gtids
                && self.attempts.tries >= UNLOCKED_VIEWS
                && self.attempts.refused.is_none(),
            wants_anchor: !self.is_anchored,
            config: &self.config,
            address: self.address,
        };
        self.attempts.tries += 1;
        let mut locker = self.locker.take();
        let mut view = view::open(&mut conn, &mut locker, &opening).await;
        if opening.locks
            && let Err(error) = &view
            && let Some(code @ (1044 | 1142 | 1205)) = server_code(error)
        {
            // It may not, or another waits: there may be a pause.
            self.attempts.refused = (code != 1205).then(|| error.clone());
            opening.locks = false;
            view = view::open(&mut conn, &mut locker, &opening).await;
        }
        self.locker = locker;
        self.conn = Some(conn);
        view
    }

    async fn read_rows(&mut self, wanted: Wanted<'_>) -> Result<Rows> {
        self.is_anchored = true;
        if self.running.is_none() {
            self.attempts.since = None;
            // The next view is opened without a lock, in case there is a pause.
            self.attempts.tries = self.attempts.tries.saturating_sub(1).min(UNLOCKED_VIEWS - 1);
        }
        if self.running.is_none()
            && let Some(rest) = self.begin(&wanted).await?
        {
            return Ok(nothing(rest));
        }
        let Some(running) = &mut self.running else {
            return Ok(nothing(Rest::Table));
        };
        match running.rows.recv().await {
            Some(Ok(rows)) => {
                running.is_done = rows.rest != Rest::Rows;
                Ok(rows)
            }
            Some(Err(error)) => match rest_of(&error) {
                Some(rest) => {
                    self.known.clear();
                    Ok(nothing(rest))
                }
                None => Err(error),
            },
            None => Err(Error::new(
                Code::ConnectionLost,
                "The connection that reads rows ended.",
            )),
        }
    }

    /// Begins to read rows of the view; what is left where there is nothing to read.
    async fn begin(&mut self, wanted: &Wanted<'_>) -> Result<Option<Rest>> {
        let Some(table) = self.table.clone() else {
            return Ok(Some(Rest::Table));
        };
        let Some(conn) = self.conn.take() else {
            return Ok(Some(Rest::Table));
        };
        let (conn, described) = self.described(conn, &table).await?;
        let Some(described) = described else {
            self.conn = Some(conn);
            return Ok(Some(Rest::Gone));
        };
        if wanted.after.is_some_and(|after| !described.holds(after)) {
            self.conn = Some(conn);
            return Ok(Some(Rest::Again));
        }
        let row = described
            .row_bytes
            .filter(|bytes| *bytes > 0)
            .unwrap_or(USUAL_ROW);
        let most = u32::try_from(CHUNK_BYTES / row).unwrap_or(u32::MAX).max(16);
        let reading = Reading {
            described,
            after: wanted.after.cloned(),
            limit: wanted.rows.min(most),
            prefix: wanted.prefix.to_owned(),
            position: Arc::clone(wanted.position),
            dates: self.config.dates,
            batch_rows: self.settings.batch_size,
            batch_bytes: self.settings.batch_bytes,
        };
        let (sender, rows) = mpsc::channel(1);
        let shapes = std::mem::take(&mut self.shapes);
        self.running = Some(Running {
            rows,
            task: tokio::spawn(stream(conn, reading, shapes, sender)),
            is_done: false,
        });
        Ok(None)
    }

    /// The definition of a table; gives the connection back.
    async fn described(
        &mut self,
        mut conn: Conn,
        table: &TableRef,
    ) -> Result<(Conn, Option<Arc<Described>>)> {
        if let Some(described) = self.known.get(table) {
            return Ok((conn, Some(Arc::clone(described))));
        }
        let Some(mut described) = describe(&mut conn, table).await? else {
            return Ok((conn, None));
        };
        if self.facts.as_ref().is_some_and(|facts| facts.is_mariadb) {
            describe_json(&mut conn, &mut described).await?;
        }
        let described = Arc::new(described);
        self.known.insert(table.clone(), Arc::clone(&described));
        Ok((conn, Some(described)))
    }

    async fn end(&mut self) {
        self.table = None;
        if let Some(running) = self.running.take() {
            let Running {
                mut rows,
                task,
                is_done,
            } = running;
            // A task that waits to hand over is woken.
            rows.close();
            while rows.try_recv().is_ok() {}
            if let Ok(Ok((conn, shapes))) = timeout(FAREWELL, task).await {
                self.conn = conn;
                self.shapes = shapes;
            }
            if !is_done {
                // Some of them may stand in what was not taken.
                self.shapes.forget();
            }
        } else if self.conn.is_some() && !self.is_anchored && self.config.addresses.len() > 1 {
            // Perhaps another server than the one whose log is read.
            self.address = (self.address + 1) % self.config.addresses.len();
            self.conn = None;
        }
        if let Some(mut conn) = self.conn.take()
            && run(&mut conn, "ROLLBACK").await.is_ok()
        {
            self.conn = Some(conn);
        }
    }
}

/// What follows where a statement was refused because of what became of its table.
fn rest_of(error: &Error) -> Option<Rest> {
    match server_code(error) {
        // It is gone, or its database.
        Some(1146 | 1049) => Some(Rest::Gone),
        // It was defined anew since the view was opened, or since its definition was read.
        // Or it is being defined anew, for longer than it is waited for.
        Some(1412 | 1054 | 1176 | 1205) => Some(Rest::Table),
        _ => None,
    }
}

fn server_code(error: &Error) -> Option<u64> {
    error.details().get("serverCode")?.as_u64()
}

fn nothing(rest: Rest) -> Rows {
    Rows {
        batch: None,
        last: None,
        rest,
    }
}

impl Chunks for MysqlChunks {
    fn tables(&mut self) -> BoxFuture<'_, Result<Vec<TableSize>>> {
        self.list().boxed()
    }

    fn open<'a>(&'a mut self, table: &'a TableRef, _position: &'a str) -> BoxFuture<'a, Result<View>> {
        self.open_view(table).boxed()
    }

    fn read<'a>(&'a mut self, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Rows>> {
        self.read_rows(wanted).boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.end().boxed()
    }

    fn forget(&mut self, table: Option<&TableRef>) {
        match table {
            Some(table) => {
                self.known.remove(table);
            }
            None => {
                self.known.clear();
                self.is_anchored = false;
                self.attempts.refused = None;
            }
        }
    }
}
