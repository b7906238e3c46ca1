//! MySQL and MariaDB as tables that are polled.
//!
//! Rows come through the driver in the binary protocol, and become cells as those of a query do, so that a value is the same
//! whichever way it came. Names stand in statements only quoted, and only where the server's catalogue has them; values
//! are parameters.

mod catalog;
mod row;
mod statement;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Params, Value};
use tokio::time::timeout;

use super::driver::{driver_connect, driver_error};
use super::link::{Flavor, ResultRows};
use super::session::{Server, connect_any};
use crate::code::{Code, Retry};
use crate::config::{MysqlConfig, PollConfig, SourceConfig, TableFilter};
use crate::error::{Error, Result};
use crate::event::BatchWriter;
use crate::source::Host;
use crate::source::poll::{Database, Found, Head, Start};

use catalog::PolledTable;
use row::{Layouts, PolledRow};

/// Longest time of one statement.
const STATEMENT: Duration = Duration::from_secs(60);
/// Prepared statements that the connection keeps.
const STATEMENTS: usize = 1024;
/// How text is quoted, and that TIMESTAMP is shown in UTC. The rest of the session's mode concerns writes.
const SESSION: [&str; 1] = ["SET time_zone='+00:00', sql_mode=''"];

/// The tables of one source.
pub struct MysqlTables {
    config: MysqlConfig,
    poll: PollConfig,
    filter: TableFilter,
    address: usize,
    connection: Option<Conn>,
    flavor: Flavor,
    name: Option<Arc<str>>,
    folds_names: bool,
    /// The tables that the configuration names have been found.
    is_checked: bool,
    layouts: Layouts,
}

impl MysqlTables {
    /// For a source; nothing connects yet.
    pub fn new(source: &SourceConfig, config: &MysqlConfig) -> Self {
        Self {
            config: config.clone(),
            poll: source.poll.clone(),
            filter: source.tables.clone(),
            address: 0,
            connection: None,
            flavor: Flavor::Mysql,
            name: None,
            folds_names: false,
            is_checked: false,
            layouts: Layouts::new(config.dates),
        }
    }

    async fn connect(&mut self) -> Result<()> {
        self.connection = None;
        // Our own connection first: it tells more of what is in the way, and which address answers.
        let (mut link, address) = connect_any(&self.config, self.address).await?;
        let server = Server::read(&mut link).await?;
        drop(link);
        self.address = address;
        self.flavor = server.flavor;
        self.folds_names = server.folds_names();
        self.name = Some(server.name());
        let adapt = |options: OptsBuilder| options.stmt_cache_size(STATEMENTS).setup(SESSION.to_vec());
        let address = self.config.addresses.get(address).ok_or_else(not_connected)?;
        let connecting = timeout(
            self.config.connect_deadline,
            driver_connect(&self.config, address, adapt),
        );
        self.connection = Some(match connecting.await {
            Ok(connection) => connection.map_err(|error| refused(&error))?,
            Err(_) => {
                return Err(Error::new(
                    Code::Timeout,
                    "The connection for polling was not made in time.",
                ));
            }
        });
        Ok(())
    }

    /// Rows of a statement. The connection is dropped where it fails, or where the future is.
    async fn rows(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<mysql_async::Row>> {
        let mut connection = self.connection.take().ok_or_else(not_connected)?;
        let params = match params.is_empty() {
            true => Params::Empty,
            false => Params::Positional(params),
        };
        let rows = match timeout(STATEMENT, connection.exec(sql, params)).await {
            Ok(rows) => rows,
            Err(_) => {
                return Err(Error::new(
                    Code::Timeout,
                    format!("A poll has taken longer than {STATEMENT:?}."),
                ));
            }
        };
        if matches!(&rows, Ok(_) | Err(mysql_async::Error::Server(_))) {
            self.connection = Some(connection);
        }
        rows.map_err(|error| refused(&error))
    }

    /// Rows of a statement of ours, as text.
    async fn texts(&mut self, sql: &str) -> Result<ResultRows> {
        let rows = self.rows(sql, Vec::new()).await?;
        let text = |value: Value| match value {
            Value::NULL => None,
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Value::Int(number) => Some(number.to_string()),
            Value::UInt(number) => Some(number.to_string()),
            _ => None,
        };
        Ok(ResultRows {
            names: Vec::new(),
            rows: rows
                .into_iter()
                .map(|row| row.unwrap().into_iter().map(text).collect())
                .collect(),
        })
    }

    async fn find(&mut self) -> Result<Vec<Found<PolledTable>>> {
        let filter = self.filter.clone().with_lower_case(self.folds_names);
        let databases: Option<Vec<String>> = filter
            .exact_databases()
            .map(|names| names.into_iter().map(str::to_owned).collect());
        let definitions = self
            .texts(&catalog::definitions_query(self.flavor, databases.as_deref()))
            .await?;
        let hints = self.texts(&catalog::hints_query(databases.as_deref())).await?;
        let found = catalog::read(self.flavor, &definitions, &hints, &filter, &self.poll)?;
        // One that is dropped later is no mistake in the configuration.
        let named = match std::mem::replace(&mut self.is_checked, true) {
            true => Vec::new(),
            false => filter.exact_tables(),
        };
        for (database, table) in named {
            let is_found = found.iter().any(|found| {
                filter_name(&found.database, self.folds_names) == database
                    && filter_name(&found.table, self.folds_names) == table
            });
            if !is_found {
                self.is_checked = false;
                return Err(Error::new(
                    Code::TableUnknown,
                    format!("The table {database}.{table} does not exist, or the account may not read it."),
                )
                .with_retry(Retry::Operator));
            }
        }
        Ok(found)
    }
}

fn filter_name(name: &str, folds: bool) -> String {
    match folds {
        true => name.to_lowercase(),
        false => name.to_owned(),
    }
}

/// What a refusal means for a poll.
fn refused(error: &mysql_async::Error) -> Error {
    let mysql_async::Error::Server(refusal) = error else {
        return match error {
            mysql_async::Error::Io(_) => {
                Error::new(Code::ConnectionLost, "The connection for polling broke.")
            }
            other => driver_error(other).with_retry(Retry::Automatic),
        };
    };
    let code = match refusal.code {
        // Unknown column, table or database: it was altered or dropped since its definition was read.
        1054 | 1146 | 1049 | 1051 => Code::TableUnknown,
        1044 | 1142 | 1143 | 1227 => Code::GrantMissing,
        1045 => Code::AuthRejected,
        1040 | 1203 | 1226 => Code::ServerBusy,
        1053 | 1317 | 1927 | 3024 => Code::ConnectionLost,
        _ => return driver_error(error).with_retry(Retry::Automatic),
    };
    Error::new(code, format!("The server refused a poll: {}", refusal.message))
        .with_detail("errno", refusal.code)
}

fn not_connected() -> Error {
    Error::new(Code::ConnectionLost, "The source is not connected.")
}

impl Database for MysqlTables {
    type Table = PolledTable;
    type Row = PolledRow;

    fn open(&mut self) -> BoxFuture<'_, Result<()>> {
        self.connect().boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        async move {
            if let Some(connection) = self.connection.take() {
                let _ = timeout(Duration::from_millis(500), connection.disconnect()).await;
            }
        }
        .boxed()
    }

    fn host(&self) -> Host {
        Host {
            index: self.address,
            server: self.name.clone(),
        }
    }

    fn tables(&mut self) -> BoxFuture<'_, Result<Vec<Found<Self::Table>>>> {
        self.find().boxed()
    }

    fn clock(&mut self) -> BoxFuture<'_, Result<i128>> {
        async move {
            let rows = self.rows("SELECT UTC_TIMESTAMP(6)", Vec::new()).await?;
            let now = rows
                .first()
                .and_then(|row| row.as_ref(0))
                .and_then(row::cursor_of);
            now.ok_or_else(|| Error::new(Code::ProtocolUnexpected, "The server does not tell the time."))
        }
        .boxed()
    }

    fn read<'a>(
        &'a mut self,
        table: &'a PolledTable,
        start: Start<'a, PolledRow>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<PolledRow>>> {
        async move {
            let (sql, params) = statement::page(table, start, limit)?;
            let rows = self.rows(&sql, params).await?;
            self.layouts.learn(table, &rows);
            Ok(row::read(table, rows))
        }
        .boxed()
    }

    fn newest<'a>(
        &'a mut self,
        table: &'a PolledTable,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<PolledRow>>> {
        async move {
            let sql = statement::newest(table, limit)?;
            let rows = self.rows(&sql, Vec::new()).await?;
            self.layouts.learn(table, &rows);
            Ok(row::read(table, rows))
        }
        .boxed()
    }

    fn keys<'a>(
        &'a mut self,
        table: &'a PolledTable,
        after: Option<&'a [u8]>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        async move {
            let (sql, params) = statement::keys(table, after, limit)?;
            let rows = self.rows(&sql, params).await?;
            self.layouts.learn_keys(table, &rows);
            let key = |row: mysql_async::Row| row::encode(&row.unwrap());
            Ok(rows.into_iter().map(key).collect())
        }
        .boxed()
    }

    fn write(&mut self, table: &PolledTable, row: &PolledRow, head: &Head<'_>, writer: &mut BatchWriter) {
        self.layouts.write(table, row, head, writer);
    }

    fn write_delete(&mut self, table: &PolledTable, key: &[u8], head: &Head<'_>, writer: &mut BatchWriter) {
        self.layouts.write_delete(table, key, head, writer);
    }
}

/// Layouts by the number of a table's version.
type ById<T> = HashMap<u64, T>;
