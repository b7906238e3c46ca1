//! Connections to a database file: some for reads, one for changes, each used on a thread that may block.
//!
//! A statement ends when its caller does: a progress handler looks every so often whether somebody still waits, and whether
//! its time is over.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::code::Code;
use crate::config::{PoolConfig, SQLITE_DATABASE};
use crate::error::{Error, Result};
use crate::query::backend::{busy, closed, late};
use crate::source::sqlite::{failure, file_identity, open};

/// Most connections for reads: they share the processors with the application.
const READERS: u32 = 4;
/// How long a lock of another connection is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Prepared statements that each connection keeps.
const STATEMENTS: usize = 256;
/// Steps of SQLite's machine between two looks at the time: some microseconds.
const STEPS: i32 = 1000;

/// What a statement names, as SQLite's authorizer tells while it is prepared.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Tables that it reads, lower case.
    pub tables: HashSet<String>,
    /// Functions that it calls, lower case.
    pub functions: HashSet<String>,
    /// It reads from something that is not of this database.
    pub is_foreign: bool,
}

/// A connection on its thread.
pub(super) struct Session {
    /// SQLite's.
    pub conn: Connection,
    seen: Arc<Mutex<Seen>>,
    run: Arc<Mutex<Run>>,
    file: Option<(u64, u64)>,
}

impl Session {
    /// Prepares a statement and tells what it names.
    pub fn look(&self, sql: &str) -> rusqlite::Result<Seen> {
        *self.seen.lock() = Seen::default();
        self.conn.prepare(sql)?;
        Ok(std::mem::take(&mut *self.seen.lock()))
    }
}

/// What ends the statement that runs.
#[derive(Clone)]
struct Run {
    /// Nobody waits for it any more.
    is_left: Arc<AtomicBool>,
    deadline: Instant,
}

impl Run {
    fn new(is_left: Arc<AtomicBool>, limit: Duration) -> Self {
        Self {
            is_left,
            deadline: Instant::now() + limit,
        }
    }

    fn is_over(&self) -> bool {
        self.is_left.load(Ordering::Relaxed) || Instant::now() > self.deadline
    }
}

/// Connections of one kind.
pub(super) struct Pool {
    path: PathBuf,
    is_writer: bool,
    limits: PoolConfig,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Session>>>,
}

/// Tells the thread that nobody waits for it any more.
struct Leaving(Arc<AtomicBool>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Pool {
    /// For reads. Nothing is opened yet.
    pub fn of_readers(path: &Path, limits: PoolConfig) -> Self {
        Self::new(path, false, limits, limits.max_connections.unwrap_or(READERS))
    }

    /// For changes.
    pub fn of_writer(path: &Path, limits: PoolConfig) -> Self {
        Self::new(path, true, limits, 1)
    }

    fn new(path: &Path, is_writer: bool, limits: PoolConfig, size: u32) -> Self {
        Self {
            path: path.to_owned(),
            is_writer,
            limits,
            permits: Arc::new(Semaphore::new(size as usize)),
            idle: Arc::default(),
        }
    }

    /// Runs something with a connection, on a thread that may block. Where the future is dropped, the statement is interrupted.
    ///
    /// # Errors
    /// `ERR_STREAMER_SERVER_BUSY` where no connection comes free, or the database stays locked; `ERR_STREAMER_TIMEOUT` where
    /// a statement takes too long; what SQLite refuses.
    pub async fn with<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Session) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let permits = Arc::clone(&self.permits);
        let permit = match timeout(self.limits.wait, permits.acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(closed()),
            Err(_) => return Err(busy(self.limits.wait, "all")),
        };
        let (path, is_writer, idle) = (self.path.clone(), self.is_writer, Arc::clone(&self.idle));
        let is_left = Arc::new(AtomicBool::new(false));
        let limit = self.limits.query;
        let leaving = Leaving(Arc::clone(&is_left));
        let thread = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let kept = idle.lock().pop();
            let file = file_identity(&path);
            let mut session = match kept {
                Some(session) if session.file == file => session,
                // Where the file was replaced, a connection still shows the old one.
                _ => open_session(&path, is_writer, file)?,
            };
            let limits = Run::new(is_left, limit);
            *session.run.lock() = limits.clone();
            let outcome = run(&mut session);
            let was_late = limits.is_over();
            if session.conn.is_autocommit() || session.conn.execute_batch("ROLLBACK").is_ok() {
                idle.lock().push(session);
            }
            outcome.map_err(|error| refused(&error, &path, was_late.then_some(limit)))
        });
        let outcome = thread.await;
        drop(leaving);
        outcome.unwrap_or_else(|_| Err(closed()))
    }

    /// Closes the connections that nobody uses; others close when they are not used any more.
    pub fn close(&self) {
        self.permits.close();
        self.idle.lock().clear();
    }
}

fn open_session(path: &Path, is_writer: bool, file: Option<(u64, u64)>) -> Result<Session> {
    let conn = open(path)?;
    let run = Arc::new(Mutex::new(Run::new(Arc::default(), Duration::ZERO)));
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (watched, named) = (Arc::clone(&run), Arc::clone(&seen));
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    let prepared = conn
        .busy_timeout(PATIENCE)
        .and_then(|()| conn.progress_handler(STEPS, Some(move || watched.lock().is_over())))
        .and_then(|()| match is_writer {
            // As the drivers for Node.js do.
            true => conn.execute_batch("PRAGMA foreign_keys = ON"),
            false => conn
                .execute_batch("PRAGMA query_only = ON")
                .and_then(|()| conn.authorizer(Some(move |asked: AuthContext<'_>| allow(&asked, &named)))),
        });
    prepared.map_err(|error| failure(&error, path))?;
    Ok(Session {
        conn,
        seen,
        run,
        file,
    })
}

/// Pragmas that tell something and change nothing.
const TELLING: &[&str] = &[
    "application_id",
    "collation_list",
    "data_version",
    "database_list",
    "foreign_key_list",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "page_count",
    "page_size",
    "schema_version",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

/// Lets a connection for reads do what leaves nothing behind, and takes down what a statement names.
fn allow(asked: &AuthContext<'_>, seen: &Mutex<Seen>) -> Authorization {
    let mut seen = seen.lock();
    if asked.database_name.is_some_and(|name| name != SQLITE_DATABASE) {
        seen.is_foreign = true;
    }
    match asked.action {
        AuthAction::Select | AuthAction::Recursive => {}
        AuthAction::Read { table_name, .. } => {
            seen.tables.insert(table_name.to_lowercase());
        }
        AuthAction::Function { function_name } => {
            seen.functions.insert(function_name.to_lowercase());
        }
        AuthAction::Pragma {
            pragma_name,
            pragma_value,
        } => {
            seen.is_foreign = true;
            let lists = pragma_name.ends_with("_info")
                || pragma_name.ends_with("_xinfo")
                || pragma_name.ends_with("_list");
            let name = pragma_name.to_lowercase();
            if !TELLING.contains(&name.as_str()) || (pragma_value.is_some() && !lists) {
                return Authorization::Deny;
            }
        }
        // Of the read path itself: statements of users are run inside of its transactions, where another BEGIN fails.
        AuthAction::Transaction { .. } => {}
        _ => return Authorization::Deny,
    }
    Authorization::Allow
}

/// `missed`: the time that the statement had, where it is over.
fn refused(error: &rusqlite::Error, path: &Path, missed: Option<Duration>) -> Error {
    match (error, missed) {
        (rusqlite::Error::SqliteFailure(cause, _), Some(limit))
            if cause.code == ErrorCode::OperationInterrupted =>
        {
            late("a statement", limit)
        }
        (error, _) => refusal(error, path),
    }
}

fn refusal(error: &rusqlite::Error, path: &Path) -> Error {
    match error {
        rusqlite::Error::SqliteFailure(cause, _)
            if matches!(
                cause.code,
                ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly
            ) =>
        {
            Error::new(
                Code::ServerRefused,
                "query() takes statements that only read, this one does more.",
            )
            .with_advice("Use execute().")
        }
        rusqlite::Error::MultipleStatement => Error::new(
            Code::ServerRefused,
            "One statement was expected, several were found.",
        ),
        rusqlite::Error::InvalidParameterCount(given, taken) => Error::new(
            Code::ArgumentInvalid,
            format!("params: the statement takes {taken} parameters, {given} were given."),
        ),
        rusqlite::Error::SqliteFailure(..) | rusqlite::Error::SqlInputError { .. } => failure(error, path),
        _ => Error::new(Code::ServerRefused, format!("SQLite could not go on: {error}.")),
    }
}
