//! Connections to one MySQL or MariaDB server, bounded in number and in waiting.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Pool, PoolConstraints, PoolOpts, Value};
use tokio::time::timeout;

use crate::code::Code;
use crate::config::{MysqlConfig, PoolConfig};
use crate::error::{Error, Result};
use crate::source::mysql::{driver_error as failed, driver_options};

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
pub(super) struct Connections {
    reads: Pool,
    writes: Pool,
    limits: PoolConfig,
}

impl Connections {
    /// Pools of a server; nothing connects yet. Must be called on a tokio runtime.
    pub fn new(config: &MysqlConfig, limits: PoolConfig) -> Self {
        Self {
            reads: Pool::new(options(config, limits, false)),
            writes: Pool::new(options(config, limits, true)),
            limits,
        }
    }

    /// Ends all connections, as far as they end in time.
    pub async fn close(&self) {
        let _ = timeout(CLOSING, self.reads.clone().disconnect()).await;
        let _ = timeout(CLOSING, self.writes.clone().disconnect()).await;
    }

    /// A connection for statements that leave nothing behind.
    pub async fn reader(&self) -> Result<Conn> {
        connection(&self.reads, self.limits).await
    }

    /// A connection that is reset afterwards.
    pub async fn writer(&self) -> Result<Conn> {
        connection(&self.writes, self.limits).await
    }
}

async fn connection(pool: &Pool, limits: PoolConfig) -> Result<Conn> {
    match timeout(limits.wait, pool.get_conn()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(Error::new(
            Code::ServerBusy,
            format!(
                "A connection was expected within {:?}, all {} are in use.",
                limits.wait,
                most(limits)
            ),
        )
        .with_advice(
            "Make the queries shorter, ask for less at the same time, or raise `pool.maxConnections`.",
        )),
    }
}

fn most(limits: PoolConfig) -> u32 {
    limits.max_connections.unwrap_or(MAX_CONNECTIONS)
}

fn options(config: &MysqlConfig, limits: PoolConfig, resets: bool) -> OptsBuilder {
    let constraints = PoolConstraints::new(0, most(limits) as usize).unwrap_or_default();
    let pool = PoolOpts::default()
        .with_constraints(constraints)
        .with_inactive_connection_ttl(IDLE)
        .with_reset_connection(resets);
    driver_options(config, config.addresses.first())
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
        Err(_) => Err(Error::new(
            Code::Timeout,
            format!("An answer to a statement was expected within {limit:?}, none came."),
        )),
    }
}

/// Rows of a statement of ours, as text.
pub(super) async fn texts(
    connection: &mut Conn,
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
