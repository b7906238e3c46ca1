//! Opens a view, and finds out what it shows.

use mysql_async::Conn;

use super::super::link::quote_identifier;
use super::connection::{Facts, connect, run, scalar, texts};
use crate::code::Code;
use crate::config::MysqlConfig;
use crate::error::{Error, Result};
use crate::offset::{GtidSet, MariadbGtidList, Offset};
use crate::source::{TableRef, View};

const SNAPSHOT: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT";

/// How a view is opened.
pub struct Opening<'a> {
    /// What the connection leads to.
    pub facts: &'a Facts,
    /// The table that is read from it.
    pub table: &'a TableRef,
    /// The table is locked for the time of opening.
    pub locks: bool,
    /// Nothing was read of the log yet, that would show whether the view holds it.
    pub wants_anchor: bool,
    /// For a second connection.
    pub config: &'a MysqlConfig,
    /// The address that is tried first.
    pub address: usize,
}

/// Opens a view on `conn`.
///
/// # Errors
/// What the server refused with, or `ERR_STREAMER_CONNECTION_LOST`.
pub async fn open(conn: &mut Conn, locker: &mut Option<Conn>, opening: &Opening<'_>) -> Result<View> {
    let facts = opening.facts;
    let (low, high, end) = match () {
        () if facts.is_mariadb => mariadb(conn, opening).await?,
        () if facts.has_gtids && !opening.locks => gtids(conn).await?,
        () => locked(conn, locker, opening).await?,
    };
    Ok(View {
        table: opening.table.clone(),
        low,
        high,
        end,
        server: facts.server.clone(),
    })
}

type Places = (Option<Offset>, Offset, Option<Offset>);

/// MariaDB names the place of a snapshot; its GTIDs only where they are asked for, by looking through the file.
async fn mariadb(conn: &mut Conn, opening: &Opening<'_>) -> Result<Places> {
    run(conn, SNAPSHOT).await?;
    let rows = texts(conn, "SHOW STATUS LIKE 'binlog_snapshot_%'", Vec::new()).await?;
    let value = |name: &str| {
        rows.iter().find_map(|row| match row.as_slice() {
            [Some(found), Some(value)] if found.eq_ignore_ascii_case(name) => Some(value.clone()),
            _ => None,
        })
    };
    let place = value("binlog_snapshot_file").zip(value("binlog_snapshot_position"));
    let (file, offset) = place
        .and_then(|(file, offset)| Some((file, offset.parse::<u64>().ok()?)))
        .filter(|(file, _)| !file.is_empty())
        .ok_or_else(no_place)?;
    let mut low = None;
    if opening.wants_anchor {
        let list = texts(
            conn,
            "SELECT BINLOG_GTID_POS(?, ?)",
            vec![file.as_str().into(), offset.into()],
        )
        .await?;
        let list = list.into_iter().next().and_then(|row| row.into_iter().next());
        let list = list.flatten().ok_or_else(no_place)?;
        low = Some(Offset::MariadbGtid(MariadbGtidList::parse(&list)?));
    }
    let end = scalar(conn, "SELECT @@GLOBAL.gtid_binlog_pos").await?;
    let end = Offset::MariadbGtid(MariadbGtidList::parse(&end)?);
    let high = Offset::MysqlFile {
        server: opening.facts.server.clone().unwrap_or_else(|| "".into()),
        file: file.into(),
        offset,
    };
    Ok((low, high, Some(end)))
}

/// MySQL's executed set holds what is visible; what is visible is in it, or still owned.
async fn gtids(conn: &mut Conn) -> Result<Places> {
    let low = GtidSet::parse(&scalar(conn, "SELECT @@GLOBAL.gtid_executed").await?)?;
    run(conn, SNAPSHOT).await?;
    // In this order: what stops being owned between the two has been executed by then.
    let owned = scalar(conn, "SELECT @@GLOBAL.gtid_owned").await?;
    let owned = GtidSet::parse(&without_owners(&owned))?;
    let executed = GtidSet::parse(&scalar(conn, "SELECT @@GLOBAL.gtid_executed").await?)?;
    let high = executed.union(&owned);
    Ok((Some(Offset::MysqlGtid(low)), Offset::MysqlGtid(high), None))
}

/// While a table is locked for reading no transaction that wrote to it is on its way, so the end of the log is the place, and between two
/// sets of GTIDs lies none that touches it.
async fn locked(conn: &mut Conn, locker: &mut Option<Conn>, opening: &Opening<'_>) -> Result<Places> {
    let mut other = match locker.take() {
        Some(other) => other,
        None => connect(opening.config, opening.address).await?.0,
    };
    let name = quoted(opening.table)?;
    run(&mut other, &format!("LOCK TABLES {name} READ")).await.map_err(|error| {
        error.with_advice(
            "Without GTIDs, and where a table is written to without a pause, a snapshot locks it for some milliseconds: grant LOCK TABLES.",
        )
    })?;
    let places = match opening.facts.has_gtids {
        true => gtids(conn).await,
        false => end_of_log(conn, opening.facts)
            .await
            .map(|high| (None, high, None)),
    };
    run(&mut other, "UNLOCK TABLES").await?;
    *locker = Some(other);
    places
}

async fn end_of_log(conn: &mut Conn, facts: &Facts) -> Result<Offset> {
    run(conn, SNAPSHOT).await?;
    let rows = match texts(conn, "SHOW BINARY LOG STATUS", Vec::new()).await {
        Ok(rows) => rows,
        // Before MySQL 8.2.
        Err(_) => texts(conn, "SHOW MASTER STATUS", Vec::new()).await?,
    };
    let place = rows.first().and_then(|row| match row.as_slice() {
        [Some(file), Some(offset), ..] => Some((file.clone(), offset.parse().ok()?)),
        _ => None,
    });
    let (file, offset) = place.ok_or_else(no_place)?;
    Ok(Offset::MysqlFile {
        server: facts.server.clone().unwrap_or_else(|| "".into()),
        file: file.into(),
        offset,
    })
}

/// A table's name for a statement.
pub fn quoted(table: &TableRef) -> Result<String> {
    let (database, table) = (
        quote_identifier(&table.database)?,
        quote_identifier(&table.table)?,
    );
    Ok(format!("{database}.{table}"))
}

/// `gtid_owned` names behind each number the threads that own it: `uuid:5#14`.
fn without_owners(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .filter(|&c| {
            inside = c == '#' || inside && c.is_ascii_digit();
            !inside
        })
        .collect()
}

fn no_place() -> Error {
    Error::new(
        Code::ServerSettingUnsuitable,
        "The server does not say which place of its binlog a snapshot shows.",
    )
}
