//! How far a server can vouch for its log: one that is a replica holds only what it has applied.
//!
//! Sources: the manuals' "SHOW REPLICA STATUS" (MySQL) and "SHOW REPLICA STATUS" (MariaDB, `SHOW ALL SLAVES STATUS`).

use super::super::link::{Flavor, Link, ResultRows};
use super::server::Server;
use crate::code::Code;
use crate::error::{Error, Result};

/// What a server's log holds, of what was committed where the server gets it from.
#[derive(Debug, Clone, PartialEq)]
pub enum Vouch {
    /// Everything: it is no replica, or one that has caught up.
    Now,
    /// Everything but that of so many of the last seconds.
    Behind(u32),
    /// Nobody knows: replication stands still. What was found.
    Nothing(String),
}

/// Asks; `Ok(None)` where the account may not know.
///
/// # Errors
/// Those of a connection that broke.
pub async fn vouch(link: &mut Link, server: &Server) -> Result<Option<Vouch>> {
    let statement = match (server.flavor, server.version) {
        (Flavor::Mariadb, _) => "SHOW ALL SLAVES STATUS",
        (Flavor::Mysql, version) if version >= (8, 0, 22) => "SHOW REPLICA STATUS",
        (Flavor::Mysql, _) => "SHOW SLAVE STATUS",
    };
    let status = match link.query(statement).await {
        Ok(status) => status,
        Err(error) if matches!(error.code(), Code::GrantMissing | Code::ServerRefused) => return Ok(None),
        Err(error) => return Err(error),
    };
    if status.rows.is_empty() {
        return Ok(Some(Vouch::Now));
    }
    let read_only = link.scalar("SELECT @@global.read_only").await?;
    let is_read_only = read_only.as_deref() != Some("0");
    let channels = status.rows.iter().map(|row| channel(&status, row, is_read_only));
    Ok(Some(channels.fold(Vouch::Now, worse)))
}

/// The standstill of replication as an error that health shows.
pub fn stalled(found: &str) -> Error {
    Error::new(
        Code::ReplicaStalled,
        format!("The server is a replica whose replication stands still: {found}. What its source commits does not arrive."),
    )
    .with_advice("Look at SHOW REPLICA STATUS; once it replicates again, reading goes on by itself.")
}

/// One source of the server.
fn channel(status: &ResultRows, row: &[Option<String>], is_read_only: bool) -> Vouch {
    let cell = |names: [&str; 2]| names.into_iter().find_map(|name| status.cell(row, name));
    let receiving = cell(["Replica_IO_Running", "Slave_IO_Running"]).unwrap_or("No");
    let applying = cell(["Replica_SQL_Running", "Slave_SQL_Running"]).unwrap_or("No");
    let behind =
        cell(["Seconds_Behind_Source", "Seconds_Behind_Master"]).and_then(|text| text.parse::<u32>().ok());
    let errors = ["Last_IO_Errno", "Last_SQL_Errno"].map(|name| status.cell(row, name).unwrap_or("0"));
    match (receiving, applying, behind) {
        ("Yes", "Yes", Some(0)) => Vouch::Now,
        // Whole seconds, of clocks that may differ.
        ("Yes", "Yes", Some(seconds)) => Vouch::Behind(seconds.saturating_add(1)),
        // Stopped without an error, and open to writes: it was promoted, and its log is the one that counts.
        ("No", "No", _) if !is_read_only && errors == ["0", "0"] => Vouch::Now,
        _ => Vouch::Nothing(format!(
            "receiving {receiving} (error {}), applying {applying} (error {})",
            errors[0], errors[1]
        )),
    }
}

fn worse(one: Vouch, other: Vouch) -> Vouch {
    match (one, other) {
        (nothing @ Vouch::Nothing(_), _) | (_, nothing @ Vouch::Nothing(_)) => nothing,
        (Vouch::Behind(one), Vouch::Behind(other)) => Vouch::Behind(one.max(other)),
        (behind @ Vouch::Behind(_), _) | (_, behind @ Vouch::Behind(_)) => behind,
        _ => Vouch::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(names: &[&str], cells: &[&str]) -> Vouch {
        let row: Vec<_> = cells
            .iter()
            .map(|cell| (*cell != "NULL").then(|| (*cell).to_owned()))
            .collect();
        let rows = ResultRows {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            rows: vec![row.clone()],
        };
        channel(&rows, &row, cells.last() == Some(&"ro"))
    }

    #[test]
    fn a_replica_vouches_for_what_it_has_applied() {
        const NAMES: [&str; 6] = [
            "Slave_IO_Running",
            "Slave_SQL_Running",
            "Seconds_Behind_Master",
            "Last_IO_Errno",
            "Last_SQL_Errno",
            "read_only",
        ];
        let found = |cells: [&str; 6]| status(&NAMES, &cells);
        assert_eq!(found(["Yes", "Yes", "0", "0", "0", "ro"]), Vouch::Now);
        assert_eq!(found(["Yes", "Yes", "7", "0", "0", "ro"]), Vouch::Behind(8));
        assert_eq!(found(["No", "No", "NULL", "0", "0", "rw"]), Vouch::Now);
        for standing in [
            ["No", "No", "NULL", "0", "0", "ro"],
            ["No", "No", "NULL", "0", "1062", "rw"],
            ["Connecting", "Yes", "NULL", "2003", "0", "ro"],
            ["Yes", "No", "NULL", "0", "0", "rw"],
            ["Yes", "Yes", "NULL", "0", "0", "ro"],
        ] {
            assert!(matches!(found(standing), Vouch::Nothing(_)), "{standing:?}");
        }
    }

    #[test]
    fn of_several_sources_the_worst_counts() {
        let nothing = Vouch::Nothing("x".to_owned());
        let all = [Vouch::Behind(2), nothing.clone(), Vouch::Behind(5), Vouch::Now];
        assert_eq!(all.into_iter().fold(Vouch::Now, worse), nothing);
        let some = [Vouch::Behind(2), Vouch::Now, Vouch::Behind(5)];
        assert_eq!(some.into_iter().fold(Vouch::Now, worse), Vouch::Behind(5));
    }
}
