//! Proofs that what was delivered is visible to every new snapshot.
//!
//! | server | proof |
//! |---|---|
//! | MariaDB | The end of the log is read, `E`; everything that was delivered before lies before it. Then a consistent snapshot says which place of the log it shows (`Binlog_snapshot_file`, `Binlog_snapshot_position`, measured to be exact): where it is not before `E`, everything delivered is visible. |
//! | MySQL with GTIDs | The server adds a transaction to `gtid_executed` after its engines have committed it (`process_commit_stage_queue` ends them before `update_commit_group`); so what is in the set is visible. |
//! | MySQL without GTIDs | None. After [`SETTLE`] without another change it is taken as visible: the window is milliseconds, except where semi-synchronous replication waits before the commit. |
//!
//! Never the end of the log alone (`SHOW MASTER STATUS`, `gtid_binlog_pos`): it is ahead of what is visible.

use std::time::Duration;

use mysql_async::Conn;
use parking_lot::RwLock;
use tokio::time::{Instant, sleep};

use super::pool::texts;
use crate::cache::{Ledger, Place, Reach, Sequence};
use crate::error::Result;
use crate::offset::GtidSet;

/// After which silence a change counts as visible where the server has no proof.
pub const SETTLE: Duration = Duration::from_secs(2);

/// Pauses between two looks.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LAST_PAUSE: Duration = Duration::from_millis(5);

/// What the server can prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// A snapshot names its place in the log.
    Snapshot,
    /// `gtid_executed`.
    Executed,
    /// Nothing but time.
    Time,
}

impl Means {
    /// Asks the server.
    pub async fn of(connection: &mut Conn) -> Result<Self> {
        let version = one(connection, "SELECT VERSION()").await?;
        if version.to_lowercase().contains("mariadb") {
            return Ok(Self::Snapshot);
        }
        let mode = one(connection, "SELECT @@GLOBAL.gtid_mode").await?;
        Ok(match mode.as_str() {
            "ON" => Self::Executed,
            _ => Self::Time,
        })
    }

    /// Whether a proof that is awaited comes by itself soon.
    pub fn is_soon(self) -> bool {
        self != Self::Time
    }
}

/// Whether a connection leads to the server whose log is read; where either has no name, it is believed.
pub(super) async fn is_server(connection: &mut Conn, means: Means, server: Option<&str>) -> Result<bool> {
    let Some(server) = server else {
        return Ok(true);
    };
    // Older servers of MariaDB have no `server_uid`: an unknown variable is no row here.
    let name = if means == Means::Snapshot {
        "server_uid"
    } else {
        "server_uuid"
    };
    let sql = format!("SHOW GLOBAL VARIABLES LIKE '{name}'");
    let rows = texts(connection, &sql, Vec::new()).await?;
    let found = rows.first().and_then(|row| row.get(1)).and_then(Option::as_deref);
    Ok(found.is_none_or(|found| found == server))
}

async fn one(connection: &mut Conn, sql: &str) -> Result<String> {
    let rows = texts(connection, sql, Vec::new()).await?;
    Ok(rows
        .into_iter()
        .next()
        .and_then(|row| row.into_iter().next().flatten())
        .unwrap_or_default())
}

/// A place in MariaDB's log, in its order.
type LogPlace = (u64, u64);

fn log_place(file: &str, offset: &str) -> Option<LogPlace> {
    let number = file.rsplit_once('.')?.1.parse().ok()?;
    Some((number, offset.parse().ok()?))
}

/// Looks until `need` is proved or `deadline` has passed; false where it is not.
pub(super) async fn prove(
    connection: &mut Conn,
    means: Means,
    ledger: &RwLock<Ledger>,
    need: Sequence,
    deadline: Instant,
) -> Result<bool> {
    let mut pause = FIRST_PAUSE;
    let mut target = None;
    loop {
        match means {
            Means::Snapshot => snapshot(connection, ledger, &mut target).await?,
            Means::Executed => executed(connection, ledger).await?,
            Means::Time => time(ledger),
        }
        if ledger.read().visible() >= need {
            return Ok(true);
        }
        let is_anchorless = means == Means::Executed && !ledger.read().is_provable();
        if is_anchorless || !means.is_soon() || Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

async fn snapshot(
    connection: &mut Conn,
    ledger: &RwLock<Ledger>,
    target: &mut Option<(Sequence, LogPlace)>,
) -> Result<()> {
    let (mark, end) = match *target {
        Some(target) => target,
        None => {
            // The mark first: what is delivered after it may lie behind the end that is read now.
            let mark = ledger.write().mark();
            let rows = texts(connection, "SHOW MASTER STATUS", Vec::new()).await?;
            let place = rows.first().and_then(|row| match row.as_slice() {
                [Some(file), Some(offset), ..] => log_place(file, offset),
                _ => None,
            });
            let Some(place) = place else {
                return Ok(());
            };
            ledger.write().lies_before(mark, place.0, place.1);
            *target = Some((mark, place));
            (mark, place)
        }
    };
    texts(
        connection,
        "START TRANSACTION WITH CONSISTENT SNAPSHOT",
        Vec::new(),
    )
    .await?;
    let rows = texts(connection, "SHOW STATUS LIKE 'binlog_snapshot_%'", Vec::new()).await?;
    texts(connection, "COMMIT", Vec::new()).await?;
    let value = |name: &str| {
        let of = |row: &&Vec<Option<String>>| {
            row.first()
                .and_then(Option::as_deref)
                .is_some_and(|found| found.eq_ignore_ascii_case(name))
        };
        rows.iter().find(of).and_then(|row| row.get(1).cloned().flatten())
    };
    let shown = value("binlog_snapshot_file")
        .zip(value("binlog_snapshot_position"))
        .and_then(|(file, offset)| log_place(&file, &offset));
    if let Some((number, offset)) = shown {
        let mut ledger = ledger.write();
        if (number, offset) >= end {
            ledger.prove(mark);
        }
        if let Some(file) = ledger.file_of(number) {
            ledger.show(Reach::Shown { file, offset });
        }
    }
    Ok(())
}

async fn executed(connection: &mut Conn, ledger: &RwLock<Ledger>) -> Result<()> {
    let text = one(connection, "SELECT @@GLOBAL.gtid_executed").await?;
    let executed = GtidSet::parse(&text)?;
    let mut ledger = ledger.write();
    ledger.prove_places(|place| match place {
        Place::Gtids(gtids) => gtids.is_subset_of(&executed),
        Place::Since(since) => since.elapsed() >= SETTLE,
        Place::Entry { .. } | Place::Clock(_) => false,
    });
    if let Some(file) = ledger.file() {
        ledger.show(Reach::Executed {
            gtids: executed,
            file,
        });
    }
    Ok(())
}

fn time(ledger: &RwLock<Ledger>) {
    ledger.write().prove_places(|place| match place {
        Place::Since(since) => since.elapsed() >= SETTLE,
        // Transactions with a GTID on a server that makes none are of another server's past.
        _ => false,
    });
}
