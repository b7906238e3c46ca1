//! Proof of the decoding: `mysql_cdc`, which shares no code with the engine, reads the same log of a real server, and
//! must find the same transactions with the same rows in the same order, cell by cell.
//!
//! What it cannot decode is not compared: JSON, COMPRESSED, VECTOR, UUID and INET6, negative TIME, binary strings that
//! are not UTF-8, and digits of a second behind the milliseconds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test: failing is its purpose

#[path = "independent_decoder/columns.rs"]
mod columns;
#[path = "independent_decoder/ours.rs"]
mod ours;
#[path = "real/server.rs"]
mod server;
#[path = "independent_decoder/theirs.rs"]
mod theirs;
#[path = "independent_decoder/workload.rs"]
mod workload;

use std::collections::BTreeMap;
use std::time::Duration;

use streamer_core::source::mysql::link::Link;
use streamer_testkit::{Flavor, Mysqld, Server as _};

use columns::{Cell, Column, columns};

const DATABASE: &str = "independent_decoder";
const KEYED: &str = "keyed";
const PLAIN: &str = "plain";
const FINISHED: &str = "finished";
/// The other decoder cannot log in without a password.
const USER: &str = "reader";
const PASSWORD: &str = "of-the-log";
const PATIENCE: Duration = Duration::from_secs(60);

/// What a decoder found, in the order of the log.
#[derive(Debug)]
enum Seen {
    Row(Row),
    Commit,
}

#[derive(Debug)]
struct Row {
    transaction: String,
    table: String,
    operation: &'static str,
    before: Option<Vec<Cell>>,
    after: Option<Vec<Cell>>,
    /// Of an update, the columns that changed; only the engine says so.
    changed: Option<Vec<bool>>,
}

fn start(flavor: Flavor, metadata: &str) -> Mysqld {
    let mut args = match flavor {
        // So that transactions have an identity that can be compared; MariaDB's always have one.
        Flavor::Mysql => vec![
            "--gtid-mode=ON".to_owned(),
            "--enforce-gtid-consistency=ON".to_owned(),
        ],
        Flavor::Mariadb => Vec::new(),
    };
    args.push(format!("--binlog-row-metadata={metadata}"));
    server::start(flavor, args)
}

/// Prepares the session, the account and the tables.
async fn prepare(link: &mut Link, columns: &[Column]) {
    for sql in [
        "SET NAMES utf8mb4",
        // Zero dates and values that are cut are wanted too.
        "SET SESSION sql_mode = ''",
        "SET SESSION time_zone = '+00:00'",
        &format!("CREATE DATABASE {DATABASE}"),
        &format!("USE {DATABASE}"),
        &format!("CREATE USER {USER} IDENTIFIED BY '{PASSWORD}'"),
        &format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {USER}"),
    ] {
        link.query(sql).await.unwrap();
    }
    workload::create(link, columns).await;
}

/// The file and the place in it where the log ends.
async fn end_of_log(link: &mut Link, flavor: Flavor) -> (String, u32) {
    let sql = match flavor {
        Flavor::Mysql => "SHOW BINARY LOG STATUS",
        Flavor::Mariadb => "SHOW MASTER STATUS",
    };
    let status = link.query(sql).await.unwrap();
    let row = &status.rows[0];
    let file = status.cell(row, "File").unwrap().to_owned();
    (file, status.cell(row, "Position").unwrap().parse().unwrap())
}

async fn run(flavor: Flavor, metadata: &str) {
    let server = start(flavor, metadata);
    let mut link = server::connect(&server).await;
    prepare(&mut link, &columns()).await;
    let (file, position) = end_of_log(&mut link, flavor).await;
    let connector = ours::connect(server.port()).await;
    workload::run(&mut link, &columns()).await;
    let port = server.port();
    let theirs = tokio::task::spawn_blocking(move || theirs::read(port, file, position, columns(), PATIENCE));
    let ours = ours::read(connector, columns(), PATIENCE).await;
    let theirs = theirs.await.expect("the other decoder reads the log");
    compare(&ours, &theirs);
}

fn compare(ours: &[Seen], theirs: &[Seen]) {
    let columns = columns();
    let (mut compared, mut values) = (BTreeMap::new(), vec![0; columns.len()]);
    let mut differences = Vec::new();
    for (number, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let text = match (ours, theirs) {
            (Seen::Row(ours), Seen::Row(theirs)) => {
                *compared.entry((&*ours.table, ours.operation)).or_insert(0) += 1;
                for cells in ours.before.iter().chain(&ours.after) {
                    for (count, cell) in values.iter_mut().zip(cells.iter().skip(1)) {
                        *count += usize::from(cell.is_some());
                    }
                }
                row_difference(ours, theirs, &columns)
            }
            (Seen::Commit, Seen::Commit) => continue,
            _ => format!("ours {ours:?}\n    theirs {theirs:?}"),
        };
        if !text.is_empty() {
            differences.push(format!("{number}: {text}"));
        }
    }
    let shown = differences.len().min(20);
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences[..shown].join("\n")
    );
    assert_eq!(ours.len(), theirs.len(), "ours and theirs hold as many");
    for table in [KEYED, PLAIN] {
        for operation in ["insert", "update", "delete"] {
            let count = compared.get(&(table, operation)).copied().unwrap_or(0);
            assert!(count > 20, "only {count} times {operation} in {table}");
        }
    }
    for (column, count) in columns.iter().zip(values) {
        assert!(count > 100, "{} had only {count} values", column.name);
    }
}

/// How two rows differ; empty where they do not.
fn row_difference(ours: &Row, theirs: &Row, columns: &[Column]) -> String {
    let head = |row: &Row| (row.transaction.clone(), row.table.clone(), row.operation);
    if head(ours) != head(theirs) {
        return format!("ours {:?}, theirs {:?}", head(ours), head(theirs));
    }
    let mut text = image_difference("before", &ours.before, &theirs.before, columns);
    text += &image_difference("after", &ours.after, &theirs.after, columns);
    if let (Some(changed), Some(before), Some(after)) = (&ours.changed, &theirs.before, &theirs.after) {
        for (index, &flag) in changed.iter().enumerate() {
            let differs = before[index] != after[index];
            let is_cut = index > 0 && columns.get(index - 1).is_some_and(|column| column.kind.is_cut());
            if flag != differs && !(flag && is_cut) {
                text += &format!("{} {}: changed is {flag}\n", ours.table, name_of(columns, index));
            }
        }
    }
    text
}

fn image_difference(
    image: &str,
    ours: &Option<Vec<Cell>>,
    theirs: &Option<Vec<Cell>>,
    columns: &[Column],
) -> String {
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return match ours == theirs {
            true => String::new(),
            false => format!("{image}: ours {ours:?}, theirs {theirs:?}\n"),
        };
    };
    assert_eq!(ours.len(), theirs.len());
    let cells = ours.iter().zip(theirs).enumerate();
    cells
        .filter(|(_, (ours, theirs))| ours != theirs)
        .map(|(index, (ours, theirs))| {
            format!(
                "{image} {}: ours {ours:?}, theirs {theirs:?}\n",
                name_of(columns, index)
            )
        })
        .collect()
}

fn name_of(columns: &[Column], index: usize) -> &'static str {
    index
        .checked_sub(1)
        .and_then(|index| columns.get(index))
        .map_or("id", |column| column.name)
}

#[tokio::test]
async fn an_independent_decoder_finds_the_same_in_the_log_of_mysql() {
    run(Flavor::Mysql, "MINIMAL").await;
}

#[tokio::test]
async fn an_independent_decoder_finds_the_same_in_the_log_of_mariadb() {
    run(Flavor::Mariadb, "MINIMAL").await;
}

#[tokio::test]
async fn it_finds_the_same_where_the_log_of_mysql_names_the_columns() {
    run(Flavor::Mysql, "FULL").await;
}

#[tokio::test]
async fn it_finds_the_same_where_the_log_of_mariadb_names_the_columns() {
    run(Flavor::Mariadb, "FULL").await;
}
