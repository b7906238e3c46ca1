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

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, TxOpts};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::{Instant, sleep};

use super::pool::{finish, texts, transaction};
use crate::cache::{Era, Ledger, Place, Reach, Sequence};
use crate::error::Result;
use crate::offset::{GtidSet, MariadbGtid};

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

async fn one(connection: &mut impl Queryable, sql: &str) -> Result<String> {
    let rows = texts(connection, sql, Vec::new()).await?;
    Ok(rows
        .into_iter()
        .next()
        .and_then(|row| row.into_iter().next().flatten())
        .unwrap_or_default())
}

/// Whether MySQL has executed these transactions: then they are visible.
pub(super) async fn shows_executed(connection: &mut Conn, gtids: &GtidSet) -> Result<bool> {
    let text = one(connection, "SELECT @@GLOBAL.gtid_executed").await?;
    Ok(gtids.is_subset_of(&GtidSet::parse(&text)?))
}

/// Whether MariaDB's log holds these transactions; then everything in it is visible, which is waited for until `deadline`.
///
/// `gtid_binlog_state` names the last transaction of each server in each domain, so a server that took over without some
/// transaction of the one before it is told from one that has it, although its own transactions count on from there. A replica
/// that was made of a backup knows those before it by `gtid_slave_pos` only.
pub(super) async fn shows_logged(
    connection: &mut Conn,
    gtids: &[MariadbGtid],
    deadline: Instant,
) -> Result<bool> {
    let state = "SELECT CONCAT(@@GLOBAL.gtid_binlog_state, ',', @@GLOBAL.gtid_slave_pos)";
    if !holds(&one(connection, state).await?, gtids)? {
        return Ok(false);
    }
    // They lie before the end that is asked for now. That a mark of the source's ledger was proved would say nothing: the
    // transactions may be newer than what was delivered.
    let ledger = RwLock::new(Ledger::new());
    let (fresh, era) = {
        let mut ledger = ledger.write();
        (ledger.mark(), ledger.era())
    };
    let books = Books::new(&ledger, era);
    Ok(prove(connection, Means::Snapshot, books, fresh, deadline).await? == Shown::Proved)
}

fn holds(state: &str, gtids: &[MariadbGtid]) -> Result<bool> {
    let parts = state.split(',').map(str::trim).filter(|part| !part.is_empty());
    let last: Vec<MariadbGtid> = parts.map(MariadbGtid::parse).collect::<Result<_>>()?;
    Ok(gtids.iter().all(|gtid| {
        last.iter().any(|last| {
            (last.domain, last.server) == (gtid.domain, gtid.server) && last.sequence >= gtid.sequence
        })
    }))
}

/// A place in MariaDB's log, in its order.
type LogPlace = (u64, u64);

fn log_place(file: &str, offset: &str) -> Option<LogPlace> {
    let number = file.rsplit_once('.')?.1.parse().ok()?;
    Some((number, offset.parse().ok()?))
}

/// A ledger, as long as the log is read through the connection of one era.
#[derive(Clone, Copy)]
pub(super) struct Books<'a> {
    ledger: &'a RwLock<Ledger>,
    era: Era,
}

impl<'a> Books<'a> {
    pub fn new(ledger: &'a RwLock<Ledger>, era: Era) -> Self {
        Self { ledger, era }
    }

    /// To be looked at; `None` where the era is over.
    pub fn read(&self) -> Option<RwLockReadGuard<'a, Ledger>> {
        let ledger = self.ledger.read();
        (ledger.era() == self.era).then_some(ledger)
    }

    fn write(&self) -> Option<RwLockWriteGuard<'a, Ledger>> {
        let ledger = self.ledger.write();
        (ledger.era() == self.era).then_some(ledger)
    }
}

/// What came of asking for a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is proved.
    Proved,
    /// It cannot be proved, or not in time.
    Unproved,
    /// The log is read through another connection now: whatever was found holds no more.
    Outdated,
}

/// Looks until `need` is proved or `deadline` has passed.
pub(super) async fn prove(
    connection: &mut Conn,
    means: Means,
    books: Books<'_>,
    need: Sequence,
    deadline: Instant,
) -> Result<Shown> {
    let mut pause = FIRST_PAUSE;
    let mut target = None;
    loop {
        match means {
            Means::Snapshot => snapshot(connection, books, &mut target).await?,
            Means::Executed => executed(connection, books).await?,
            Means::Time => time(books),
        }
        {
            let Some(ledger) = books.read() else {
                return Ok(Shown::Outdated);
            };
            if ledger.visible() >= need {
                return Ok(Shown::Proved);
            }
            let is_anchorless = means == Means::Executed && !ledger.is_provable();
            if is_anchorless || !means.is_soon() || Instant::now() >= deadline {
                return Ok(Shown::Unproved);
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

async fn snapshot(
    connection: &mut Conn,
    books: Books<'_>,
    target: &mut Option<(Sequence, LogPlace)>,
) -> Result<()> {
    let (mark, end) = match *target {
        Some(target) => target,
        None => {
            // The mark first: what is delivered after it may lie behind the end that is read now.
            let Some(mark) = books.write().map(|mut ledger| ledger.mark()) else {
                return Ok(());
            };
            let rows = texts(connection, "SHOW MASTER STATUS", Vec::new()).await?;
            let place = rows.first().and_then(|row| match row.as_slice() {
                [Some(file), Some(offset), ..] => log_place(file, offset),
                _ => None,
            });
            let Some(place) = place else {
                return Ok(());
            };
            if let Some(mut ledger) = books.write() {
                ledger.lies_before(mark, place.0, place.1);
            }
            *target = Some((mark, place));
            (mark, place)
        }
    };
    let mut options = TxOpts::default();
    options.with_consistent_snapshot(true);
    // Where this is given up in the middle, the pool ends it: nobody else reads in an old snapshot.
    let mut snapshot = transaction(connection, options).await?;
    let rows = texts(&mut snapshot, "SHOW STATUS LIKE 'binlog_snapshot_%'", Vec::new()).await?;
    finish(snapshot).await?;
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
    if let (Some((number, offset)), Some(mut ledger)) = (shown, books.write()) {
        if (number, offset) >= end {
            ledger.prove(mark);
        }
        if let Some(file) = ledger.file_of(number) {
            ledger.show(Reach::Shown { file, offset });
        }
    }
    Ok(())
}

async fn executed(connection: &mut Conn, books: Books<'_>) -> Result<()> {
    let text = one(connection, "SELECT @@GLOBAL.gtid_executed").await?;
    let executed = GtidSet::parse(&text)?;
    let Some(mut ledger) = books.write() else {
        return Ok(());
    };
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

fn time(books: Books<'_>) {
    let Some(mut ledger) = books.write() else {
        return;
    };
    ledger.prove_places(|place| match place {
        Place::Since(since) => since.elapsed() >= SETTLE,
        // Transactions with a GTID on a server that makes none are of another server's past.
        _ => false,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Dependency, TableName};

    #[test]
    fn a_log_holds_a_transaction_only_of_the_server_that_made_it() {
        let gtids = |text: &str| -> Vec<MariadbGtid> {
            let parts = text.split(',').filter(|part| !part.is_empty());
            parts.map(|part| MariadbGtid::parse(part).unwrap()).collect()
        };
        let state = "0-1-100,0-2-110,3-1-7";
        for (held, sought) in [
            (true, ""),
            (true, "0-1-100"),
            (true, "0-1-99,3-1-7"),
            (true, "0-2-110"),
            // The server that took over has counted beyond it, and lacks it.
            (false, "0-1-101"),
            (false, "0-3-5"),
            (false, "1-1-5"),
            (false, "0-1-100,3-1-8"),
        ] {
            assert_eq!(holds(state, &gtids(sought)).unwrap(), held, "{sought}");
        }
        assert!(!holds("", &gtids("0-1-1")).unwrap());
        assert!(holds("nonsense", &gtids("0-1-1")).is_err());
    }

    #[test]
    fn what_was_found_in_an_earlier_era_proves_nothing() {
        let table = Dependency::on_table(TableName::new("d", "t"));
        let ledger = RwLock::new(Ledger::new());
        let era = ledger.write().reconnect();
        let books = Books::new(&ledger, era);
        ledger.write().watch(&table);
        ledger
            .write()
            .anchor(Place::Since(Instant::now().into_std() - SETTLE));
        // The next host is read before the answer of the last one is noted.
        let next = ledger.write().reconnect();
        ledger
            .write()
            .anchor(Place::Since(Instant::now().into_std() - SETTLE));
        time(books);
        assert!(books.read().is_none());
        let need = ledger.read().last_change(std::slice::from_ref(&table));
        assert!(ledger.read().visible() < need);
        time(Books::new(&ledger, next));
        assert!(ledger.read().visible() >= need);
    }
}
