//! Connections to one MySQL or MariaDB server, bounded in number and in waiting.

use std::sync::OnceLock;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Pool, PoolConstraints, PoolOpts, Transaction, TxOpts, Value};
use tokio::time::timeout;

use crate::config::{MysqlConfig, PoolConfig, TlsMode};
use crate::error::Result;
use crate::query::backend::{busy, late};
use crate::source::mysql::{driver_error as failed, driver_lacks_tls, driver_options};

/// Most connections for reads, and as many again for what leaves something behind.
const MAX_CONNECTIONS: u32 = 10;
/// Longest wait for connections to end.
const CLOSING: Duration = Duration::from_millis(500);
/// Longest time of a statement of ours.
const STATEMENT: Duration = Duration::from_secs(60);
/// Idle connections end after it.
const IDLE: Duration = Duration::from_secs(60);
/// Prepared statements that each connection keeps.
const STATEMENTS: usize = 256;

/// What reads and what the parser agree on: how text is quoted, and that TIMESTAMP is shown in UTC.
const SESSION: [&str; 2] = [
    "SET time_zone='+00:00'",
    "SET sql_mode=(SELECT REPLACE(REPLACE(REPLACE(@@sql_mode,'ANSI_QUOTES',''),'NO_BACKSLASH_ESCAPES',''),'PIPES_AS_CONCAT',''))",
];

/// Two pools: statements that may leave something in their session (variables, temporary tables) never share one with reads.
#[derive(Clone)]
pub(super) struct Connections {
    reads: Lane,
    writes: Lane,
}

impl Connections {
    /// Pools of one of the hosts; nothing connects yet. Must be called on a tokio runtime.
    pub fn new(config: &MysqlConfig, host: usize, limits: PoolConfig) -> Self {
        Self {
            reads: Lane::new(config, host, limits, false),
            writes: Lane::new(config, host, limits, true),
        }
    }

    /// Ends all connections, as far as they end in time.
    pub async fn close(&self) {
        self.reads.close().await;
        self.writes.close().await;
    }

    /// A connection for statements that leave nothing behind.
    pub async fn reader(&self) -> Result<Conn> {
        self.reads.connection().await
    }

    /// A connection that is reset afterwards.
    pub async fn writer(&self) -> Result<Conn> {
        self.writes.connection().await
    }
}

/// A pool, and the one that takes its place where TLS is preferred and the server has none.
#[derive(Clone)]
struct Lane {
    limits: PoolConfig,
    prefers_tls: bool,
    options: OptsBuilder,
    pool: Pool,
    plain: OnceLock<Pool>,
}

impl Lane {
    fn new(config: &MysqlConfig, host: usize, limits: PoolConfig, resets: bool) -> Self {
        let options = options(config, host, limits, resets);
        Self {
            limits,
            prefers_tls: config.tls == TlsMode::Preferred,
            pool: Pool::new(options.clone()),
            options,
            plain: OnceLock::new(),
        }
    }

    async fn connection(&self) -> Result<Conn> {
        let pool = self.plain.get().unwrap_or(&self.pool);
        let answer = match timeout(self.limits.wait, pool.get_conn()).await {
            Ok(Err(error)) if self.prefers_tls && driver_lacks_tls(&error) => {
                let pool = self
                    .plain
                    .get_or_init(|| Pool::new(self.options.clone().ssl_opts(None)));
                timeout(self.limits.wait, pool.get_conn()).await
            }
            answer => answer,
        };
        match answer {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(busy(self.limits.wait, &format!("all {}", most(self.limits)))),
        }
    }

    async fn close(&self) {
        for pool in [Some(&self.pool), self.plain.get()].into_iter().flatten() {
            let _ = timeout(CLOSING, pool.clone().disconnect()).await;
        }
    }
}

fn most(limits: PoolConfig) -> u32 {
    limits.max_connections.unwrap_or(MAX_CONNECTIONS)
}

fn options(config: &MysqlConfig, host: usize, limits: PoolConfig, resets: bool) -> OptsBuilder {
    let constraints = PoolConstraints::new(0, most(limits) as usize).unwrap_or_default();
    let pool = PoolOpts::default()
        .with_constraints(constraints)
        .with_inactive_connection_ttl(IDLE)
        .with_reset_connection(resets);
    driver_options(config, config.addresses.get(host))
        .db_name(config.database.clone())
        .stmt_cache_size(STATEMENTS)
        .setup(SESSION.to_vec())
        .pool_opts(pool)
}

/// Waits for a statement no longer than it may take.
pub(super) async fn within<T>(
    limit: Duration,
    statement: impl Future<Output = mysql_async::Result<T>>,
) -> Result<T> {
    match timeout(limit, statement).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(late("a statement", limit)),
    }
}

/// Begins a transaction; where it is dropped, the pool rolls it back.
pub(super) async fn transaction(connection: &mut Conn, options: TxOpts) -> Result<Transaction<'_>> {
    within(STATEMENT, connection.start_transaction(options)).await
}

/// Ends a transaction that only read.
pub(super) async fn finish(transaction: Transaction<'_>) -> Result<()> {
    within(STATEMENT, transaction.commit()).await
}

/// Rows of a statement of ours, as text.
pub(super) async fn texts(
    connection: &mut impl Queryable,
    sql: &str,
    params: Vec<Value>,
) -> Result<Vec<Vec<Option<String>>>> {
    let rows: Vec<mysql_async::Row> = if params.is_empty() {
        within(STATEMENT, connection.query(sql)).await?
    } else {
        within(STATEMENT, connection.exec(sql, params)).await?
    };
    let text = |value: Value| match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        other => Some(other.as_sql(true)),
    };
    Ok(rows
        .into_iter()
        .map(|row| row.unwrap().into_iter().map(text).collect())
        .collect())
}
