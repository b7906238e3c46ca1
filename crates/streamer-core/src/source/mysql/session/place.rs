//! The ends of a server's log as offsets.

use super::super::link::{Flavor, Link, ResultRows, quote_text};
use super::server::Server;
use crate::code::Code;
use crate::error::{Error, Result};
use crate::offset::{GtidSet, MariadbGtidList, Offset};

/// Where the log ends now: everything committed later lies behind it.
///
/// # Errors
/// `ERR_STREAMER_GRANT_MISSING` without REPLICATION CLIENT (BINLOG MONITOR); else the server's refusal by class.
pub async fn current_offset(link: &mut Link, server: &Server) -> Result<Offset> {
    if server.flavor == Flavor::Mariadb {
        // Also proves the grant that reading the log needs.
        let position = link.scalar("SELECT @@global.gtid_binlog_pos").await?;
        return Ok(Offset::MariadbGtid(MariadbGtidList::parse(
            position.as_deref().unwrap_or_default(),
        )?));
    }
    if server.has_gtids() {
        let executed = link.scalar("SELECT @@global.gtid_executed").await?;
        return Ok(Offset::MysqlGtid(GtidSet::parse(
            executed.as_deref().unwrap_or_default(),
        )?));
    }
    let status = if server.version >= (8, 2, 0) {
        "SHOW BINARY LOG STATUS"
    } else {
        "SHOW MASTER STATUS"
    };
    let rows = link.query(status).await?;
    let row = rows.rows.first().ok_or_else(no_log)?;
    let file = rows.cell(row, "File").ok_or_else(no_log)?;
    let offset = rows
        .cell(row, "Position")
        .and_then(|offset| offset.parse().ok())
        .ok_or_else(no_log)?;
    Ok(file_offset(server, file, offset))
}

/// Everything that the log holds: beyond [`current_offset`], what is written but not committed yet. A server sends a
/// transaction's events before its GTID counts as executed (with semi-synchronous replication, long before), so a
/// reader may be ahead of `gtid_executed` without anything being wrong.
///
/// # Errors
/// As [`current_offset`].
pub async fn logged_offset(link: &mut Link, server: &Server) -> Result<Offset> {
    if server.flavor == Flavor::Mariadb || !server.has_gtids() {
        return current_offset(link, server).await;
    }
    // In this order: what stops being owned between the two has been executed by then.
    let owned = link.scalar("SELECT @@global.gtid_owned").await?;
    let owned = GtidSet::parse(&without_owners(owned.as_deref().unwrap_or_default()))?;
    match current_offset(link, server).await? {
        Offset::MysqlGtid(executed) => Ok(Offset::MysqlGtid(executed.union(&owned))),
        other => Ok(other),
    }
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

/// Where the log begins that the server still has.
///
/// # Errors
/// As [`current_offset`].
pub async fn earliest_offset(link: &mut Link, server: &Server) -> Result<Offset> {
    if server.flavor == Flavor::Mysql && server.has_gtids() {
        let purged = link.scalar("SELECT @@global.gtid_purged").await?;
        return Ok(Offset::MysqlGtid(GtidSet::parse(
            purged.as_deref().unwrap_or_default(),
        )?));
    }
    let logs = link.query("SHOW BINARY LOGS").await?;
    let first = first_log(&logs).ok_or_else(no_log)?;
    if server.flavor == Flavor::Mysql {
        return Ok(file_offset(server, first, 4));
    }
    let position = link
        .scalar(&format!("SELECT BINLOG_GTID_POS({}, 4)", quote_text(first)))
        .await?;
    Ok(Offset::MariadbGtid(MariadbGtidList::parse(
        position.as_deref().unwrap_or_default(),
    )?))
}

fn first_log(logs: &ResultRows) -> Option<&str> {
    logs.rows.first()?.first()?.as_deref()
}

fn file_offset(server: &Server, file: &str, offset: u64) -> Offset {
    Offset::MysqlFile {
        server: server.identity(),
        file: file.into(),
        offset,
    }
}

fn no_log() -> Error {
    Error::new(
        Code::ServerSettingUnsuitable,
        "The server does not write a binlog.",
    )
    .with_advice("Start it with `log_bin` on.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_cut_off() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let owned = format!("{uuid}:5#14:7#15#16:tag:2#9");
        assert_eq!(without_owners(&owned), format!("{uuid}:5:7:tag:2"));
        assert_eq!(without_owners(""), "");
    }
}
