//! Connections to one MySQL or MariaDB server, bounded in number and in waiting.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use mysql_async::prelude::Queryable;
use mysql_async::{
    Conn, DriverError, OptsBuilder, Pool, PoolConstraints, PoolOpts, Transaction, TxOpts, Value,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::config::{MysqlConfig, PoolConfig, TlsMode};
use crate::error::{Error, Result};
use crate::query::backend::{busy, closed, late};
use crate::source::mysql::{driver_error, driver_lacks_tls, driver_options, server_name};

/// Most connections for reads, and as many again for what leaves something behind.
const MAX_CONNECTIONS: u32 = 10;
/// Longest wait for connections to end.
const CLOSING: Duration = Duration::from_millis(500);
/// Longest time of a statement of ours.
const STATEMENT: Duration = Duration::from_secs(60);
/// Idle connections end after it.
const IDLE: Duration = Duration::from_secs(60);
/// What no connection was taken for that long is no connection any more.
const FORGOTTEN: Duration = Duration::from_secs(2 * 3600);
/// Prepared statements that each connection keeps.
const STATEMENTS: usize = 256;

/// What reads and what the parser agree on: how text is quoted, and that TIMESTAMP is shown in UTC.
const SESSION: [&str; 2] = [
    "SET time_zone='+00:00'",
    "SET sql_mode=(SELECT REPLACE(REPLACE(REPLACE(@@sql_mode,'ANSI_QUOTES',''),'NO_BACKSLASH_ESCAPES',''),'PIPES_AS_CONCAT',''))",
];

/// Two pools: statements that may leave something in their session (variables, temporary tables) never share one with reads.
pub(super) struct Connections {
    reads: Lane,
    writes: Lane,
    servers: Arc<Servers>,
}

/// Which server each connection leads to, by the number that the server gave it.
#[derive(Default)]
struct Servers(Mutex<HashMap<u32, (Arc<str>, Instant)>>);

impl Servers {
    /// Notes a new connection. Where another server gave the same number, neither is known any more.
    fn note(&self, connection: u32, server: Arc<str>) {
        let (mut servers, now) = (self.0.lock(), Instant::now());
        servers.retain(|_, (_, used)| now.duration_since(*used) < FORGOTTEN);
        let entry = servers
            .entry(connection)
            .or_insert_with(|| (Arc::clone(&server), now));
        if entry.0 != server {
            entry.0 = "".into();
        }
        entry.1 = now;
    }

    fn is(&self, connection: u32, server: &str) -> bool {
        self.0.lock().get_mut(&connection).is_some_and(|(found, used)| {
            *used = Instant::now();
            &**found == server
        })
    }
}

async fn name_of(connection: &mut Conn) -> mysql_async::Result<Arc<str>> {
    let variables: HashMap<String, String> = connection
        .query::<(String, String), _>(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid', 'server_id')",
        )
        .await?
        .into_iter()
        .collect();
    let text = |name: &str| variables.get(name).map(String::as_str);
    let server_id = text("server_id")
        .and_then(|id| id.parse().ok())
        .unwrap_or_default();
    Ok(server_name(text("server_uuid"), text("server_uid"), server_id))
}

impl Connections {
    /// Pools of one of the hosts; nothing connects yet. Must be called on a tokio runtime.
    pub fn new(config: &MysqlConfig, host: usize, limits: PoolConfig) -> Self {
        let servers = Arc::new(Servers::default());
        let lane = |resets| Lane::new(options(config, host, limits, resets, &servers), config, limits);
        Self {
            reads: lane(false),
            writes: lane(true),
            servers,
        }
    }

    /// Whether a connection leads to a server, as it said when it was made.
    pub fn is_at(&self, connection: &Conn, server: &str) -> bool {
        self.servers.is(connection.id(), server)
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

impl Drop for Connections {
    fn drop(&mut self) {
        let lanes = [self.reads.clone(), self.writes.clone()];
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                for lane in lanes {
                    lane.close().await;
                }
            });
        }
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
    fn new(options: OptsBuilder, config: &MysqlConfig, limits: PoolConfig) -> Self {
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
            Err(_) => {
                // Which of both it is, the pool does not tell.
                let all = format!("the server does not answer or all {}", most(self.limits));
                Err(busy(self.limits.wait, &all))
            }
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

fn options(
    config: &MysqlConfig,
    host: usize,
    limits: PoolConfig,
    resets: bool,
    servers: &Arc<Servers>,
) -> OptsBuilder {
    let servers = Arc::clone(servers);
    let constraints = PoolConstraints::new(0, most(limits) as usize).unwrap_or_default();
    let pool = PoolOpts::default()
        .with_constraints(constraints)
        .with_inactive_connection_ttl(IDLE)
        .with_reset_connection(resets);
    driver_options(config, config.addresses.get(host))
        .db_name(config.database.clone())
        .stmt_cache_size(STATEMENTS)
        .setup(SESSION.to_vec())
        .after_connect(move |connection: &mut Conn| {
            let servers = Arc::clone(&servers);
            async move {
                let name = name_of(connection).await?;
                servers.note(connection.id(), name);
                Ok(())
            }
            .boxed()
        })
        .pool_opts(pool)
}

fn failed(error: &mysql_async::Error) -> Error {
    match error {
        mysql_async::Error::Driver(DriverError::PoolDisconnected) => closed(),
        error => driver_error(error),
    }
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
