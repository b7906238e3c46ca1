//! Connections that answer questions in the binary protocol, whose values are exact.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Value};
use tokio::time::timeout;

use crate::code::Code;
use crate::config::{Address, MysqlConfig};
use crate::error::{Error, Result};
use crate::source::mysql::driver::driver_connect;

/// Longest wait for a connection.
const CONNECTING: Duration = Duration::from_secs(10);

/// Longest wait for the answer to a question of ours.
const ANSWER: Duration = Duration::from_secs(30);

/// What literals and values rely on: text as UTF-8, TIMESTAMP in UTC, zero dates, backslashes and quotes as they are by default.
/// A table that is locked is not waited for long, because whoever comes later waits behind us.
const SESSION: [&str; 4] = [
    "SET time_zone='+00:00'",
    "SET sql_mode=''",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET SESSION lock_wait_timeout=1",
];

/// What a connection leads to.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Identity of the server, where it has one.
    pub server: Option<Arc<str>>,
    /// MariaDB, else MySQL.
    pub is_mariadb: bool,
    /// Names of tables compare without case.
    pub folds_names: bool,
    /// MySQL with GTIDs.
    pub has_gtids: bool,
}

/// Connects, to another address where the first does not answer, and asks who answers.
///
/// # Errors
/// What the server refused with, or `ERR_STREAMER_CONNECTION_LOST`.
pub async fn connect(config: &MysqlConfig, first: usize) -> Result<(Conn, Facts)> {
    let count = config.addresses.len().max(1);
    let mut last = Error::new(Code::ConfigInvalid, "The configuration names no address.");
    for turn in 0..count {
        let Some(address) = config.addresses.get((first + turn) % count) else {
            continue;
        };
        match connect_to(config, address).await {
            Ok(conn) => return Ok(conn),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_to(config: &MysqlConfig, address: &Address) -> Result<(Conn, Facts)> {
    // Each statement holds other literals.
    let adapt = |options: OptsBuilder| options.stmt_cache_size(0).setup(SESSION.to_vec());
    let mut conn = match timeout(CONNECTING, driver_connect(config, address, adapt)).await {
        Ok(Ok(conn)) => conn,
        Ok(Err(error)) => return Err(failed(&error)),
        Err(_) => {
            return Err(Error::new(
                Code::ConnectionLost,
                format!("A connection was expected within {CONNECTING:?}, none was made."),
            ));
        }
    };
    let rows = texts(
        &mut conn,
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
         ('server_uuid', 'server_uid', 'version', 'gtid_mode', 'lower_case_table_names')",
        Vec::new(),
    )
    .await?;
    let value = |name: &str| {
        let is_it = |row: &&Vec<Option<String>>| {
            let found = row.first().and_then(Option::as_deref);
            found.is_some_and(|found| found.eq_ignore_ascii_case(name))
        };
        rows.iter()
            .find(is_it)
            .and_then(|row| row.get(1).cloned().flatten())
    };
    let is_mariadb = value("version").is_some_and(|version| version.to_lowercase().contains("mariadb"));
    let facts = Facts {
        server: value("server_uuid")
            .or_else(|| value("server_uid"))
            .map(Into::into),
        is_mariadb,
        folds_names: value("lower_case_table_names").is_some_and(|value| value != "0"),
        has_gtids: !is_mariadb && value("gtid_mode").as_deref() == Some("ON"),
    };
    Ok((conn, facts))
}

/// Rows of a question of ours, as text.
pub async fn texts(conn: &mut Conn, sql: &str, params: Vec<Value>) -> Result<Vec<Vec<Option<String>>>> {
    let question = async {
        let rows: Vec<mysql_async::Row> = match params.is_empty() {
            true => conn.query(sql).await?,
            false => conn.exec(sql, params).await?,
        };
        Ok::<_, mysql_async::Error>(rows)
    };
    let rows = match timeout(ANSWER, question).await {
        Ok(rows) => rows.map_err(|error| failed(&error))?,
        Err(_) => {
            return Err(Error::new(
                Code::Timeout,
                format!("An answer of the server was expected within {ANSWER:?}, none came."),
            ));
        }
    };
    let text = |value: Value| match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        other => Some(other.as_sql(true)),
    };
    let row = |row: mysql_async::Row| row.unwrap().into_iter().map(text).collect();
    Ok(rows.into_iter().map(row).collect())
}

/// The first cell of an answer.
pub async fn scalar(conn: &mut Conn, sql: &str) -> Result<String> {
    let rows = texts(conn, sql, Vec::new()).await?;
    let first = rows.into_iter().next().and_then(|row| row.into_iter().next());
    Ok(first.flatten().unwrap_or_default())
}

/// A statement without an answer.
pub async fn run(conn: &mut Conn, sql: &str) -> Result<()> {
    texts(conn, sql, Vec::new()).await.map(drop)
}

/// An error of the driver; what a server says may hold a part of a statement, and those hold values of keys.
pub fn failed(error: &mysql_async::Error) -> Error {
    match error {
        mysql_async::Error::Server(refusal) => {
            let code = refusal.code;
            // These name privileges and tables, never values.
            let sentence = match code {
                1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1205 | 1146 | 1412 => refusal.message.clone(),
                _ => format!("error {code} ({})", refusal.state),
            };
            Error::new(
                Code::ServerRefused,
                format!("The server refused a question: {sentence}."),
            )
            .with_detail("serverCode", code)
        }
        mysql_async::Error::Io(_) => {
            Error::new(Code::ConnectionLost, "The connection that reads rows broke.")
        }
        _ => Error::new(
            Code::ProtocolUnexpected,
            "The answer of the server was not understood.",
        ),
    }
}
