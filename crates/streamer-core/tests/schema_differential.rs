//! Proof of the schema tracking: every statement runs on a real server and through the parser and the catalogue;
//! after each, the catalogue must hold exactly what the server's catalogue views show.
//!
//! Each test starts a server of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test: failing is its purpose

#[path = "real/server.rs"]
mod server;
#[path = "schema_differential/statements.rs"]
mod statements;

use std::time::Duration;

use streamer_core::source::mysql::link::{Flavor, Link};
use streamer_core::source::mysql::schema::ddl::{Session, SqlMode, parse};
use streamer_core::source::mysql::schema::{Catalog, Happened, Wanted, columns_query, databases_query};
use streamer_core::source::mysql::schema::{
    Knowledge, Reading, TableDefinition, TableName, read_columns, read_databases,
};

use streamer_testkit::{Flavor as TestFlavor, Mysqld};

use statements::{Expected, Step, steps};

const DATABASE: &str = "schema_differential";

struct Run {
    link: Link,
    flavor: Flavor,
    version: (u16, u16, u16),
    catalog: Catalog,
    sql_mode: SqlMode,
    failures: Vec<String>,
    compared: usize,
}

impl Run {
    async fn start(server: &Mysqld) -> Self {
        let mut link = server::connect(server).await;
        let (flavor, version) = (link.greeting().flavor, link.greeting().version);
        for suffix in ["", "_2", "_3"] {
            let sql = format!("DROP DATABASE IF EXISTS {DATABASE}{suffix}");
            link.query(&sql).await.unwrap();
        }
        link.query("SET NAMES utf8mb4").await.unwrap();
        link.query("SET SESSION character_set_server=latin1")
            .await
            .unwrap();
        let mut run = Self {
            link,
            flavor,
            version,
            catalog: Catalog::new(false),
            sql_mode: SqlMode::default(),
            failures: Vec::new(),
            compared: 0,
        };
        run.step(
            &format!("CREATE DATABASE {DATABASE} CHARACTER SET latin1"),
            Expected::Exact,
        )
        .await;
        run.link.query(&format!("USE {DATABASE}")).await.unwrap();
        run
    }

    async fn step(&mut self, sql: &str, expected: Expected) {
        if let Some(mode) = sql.strip_prefix("SET sql_mode=") {
            self.link.query(sql).await.unwrap();
            let bit = |word: &str, bit: u64| if mode.contains(word) { bit } else { 0 };
            self.sql_mode = SqlMode(
                bit("REAL_AS_FLOAT", 1) | bit("ANSI_QUOTES", 4) | bit("NO_BACKSLASH_ESCAPES", 1 << 20),
            );
            return;
        }
        let mut outcome = self.link.query(sql).await;
        // NOWAIT is refused while the server itself still looks at the table, to purge old versions of its rows.
        for _ in 0..200 {
            if !matches!(&outcome, Err(error) if sql.contains("NOWAIT") && error.message().contains("1205")) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            outcome = self.link.query(sql).await;
        }
        if let Err(error) = outcome {
            self.failures
                .push(format!("{sql}\n    refused by the server: {error}"));
            return;
        }
        let mut session = Session::new(self.flavor, self.version, DATABASE);
        session.sql_mode = self.sql_mode;
        session.server_charset = Some("latin1");
        let statement = parse(sql, &session);
        let happened = self.catalog.apply(&statement, &session);
        let lost = happened
            .iter()
            .any(|what| matches!(what, Happened::Lost(_) | Happened::AllLost));
        match (expected, lost) {
            (Expected::Lost, false) => self.failures.push(format!("{sql}\n    should not be understood")),
            (Expected::Exact, true) => self
                .failures
                .push(format!("{sql}\n    was not understood: {statement:?}")),
            _ => {}
        }
        self.compare(sql, lost).await;
    }

    async fn read(&mut self) -> Reading {
        let databases = [
            DATABASE.to_owned(),
            format!("{DATABASE}_2"),
            format!("{DATABASE}_3"),
        ];
        let sql = columns_query(self.flavor, Wanted::Databases(&databases));
        let rows = self.link.query(&sql).await.unwrap();
        read_columns(self.flavor, &rows).unwrap()
    }

    async fn compare(&mut self, sql: &str, adopt: bool) {
        let reading = self.read().await;
        for table in &reading.unreadable {
            self.failures.push(format!(
                "{sql}\n    {} is unreadable: {}",
                table.table, table.reason
            ));
        }
        for server in &reading.definitions {
            self.compared += 1;
            match self.catalog.get(&server.name.database, &server.name.table) {
                Some(Knowledge::Known(ours)) if **ours == *server => continue,
                Some(Knowledge::Unknown) if adopt => {}
                None if adopt => {}
                Some(Knowledge::Known(ours)) => self.failures.push(difference(sql, ours, server)),
                other => self
                    .failures
                    .push(format!("{sql}\n    {}: {other:?}", server.name)),
            }
            self.catalog.insert(server.clone());
        }
        let exists = |name: &TableName| reading.definitions.iter().any(|server| server.name == *name);
        let vanished: Vec<_> = self
            .catalog
            .tables()
            .map(|(name, _)| name.clone())
            .filter(|name| !exists(name))
            .collect();
        for name in vanished {
            if !adopt {
                self.failures
                    .push(format!("{sql}\n    {name} does not exist any more"));
            }
            self.catalog.remove(&name);
        }
        let rows = self.link.query(databases_query()).await.unwrap();
        for (database, charset) in read_databases(&rows) {
            if database.starts_with(DATABASE) {
                self.catalog.insert_database(&database, charset);
            }
        }
    }
}

fn difference(sql: &str, ours: &TableDefinition, server: &TableDefinition) -> String {
    let mut text = format!("{sql}\n    {}", server.name);
    if ours.key != server.key || ours.charset != server.charset {
        text += &format!(
            "\n    key {:?} {:?}, charset {:?} {:?}",
            ours.key, server.key, ours.charset, server.charset
        );
    }
    let longer = ours.columns.len().max(server.columns.len());
    for index in 0..longer {
        let (left, right) = (ours.columns.get(index), server.columns.get(index));
        if left != right {
            text += &format!("\n      ours   {left:?}\n      server {right:?}");
        }
    }
    text
}

async fn run(server: TestFlavor, only: Flavor) {
    let server = server::start(server, Vec::new());
    let mut run = Run::start(&server).await;
    assert_eq!(run.flavor, only);
    for Step { sql, expected } in steps(only) {
        run.step(sql, expected).await;
    }
    assert!(
        run.compared > 100,
        "only {} definitions were compared",
        run.compared
    );
    assert!(
        run.failures.is_empty(),
        "{} differences:\n{}",
        run.failures.len(),
        run.failures.join("\n")
    );
}

#[tokio::test]
async fn the_catalogue_equals_mysql_after_every_statement() {
    run(TestFlavor::Mysql, Flavor::Mysql).await;
}

#[tokio::test]
async fn the_catalogue_equals_mariadb_after_every_statement() {
    run(TestFlavor::Mariadb, Flavor::Mariadb).await;
}
