//! Random transactions. The seed is fixed, so that a failure can be repeated.

use fastrand::Rng;
use streamer_core::source::mysql::link::Link;

use crate::columns::Column;
use crate::{FINISHED, KEYED, PLAIN};

const TRANSACTIONS: usize = 240;

/// Makes the tables: one with a key, one without, and the one whose first row ends the test.
pub async fn create(link: &mut Link, columns: &[Column]) {
    let definitions: String = columns
        .iter()
        .map(|column| format!(", `{}` {}", column.name, column.definition))
        .collect();
    for (table, key) in [(KEYED, " PRIMARY KEY"), (PLAIN, "")] {
        let sql = format!("CREATE TABLE {table} (id INT{key}{definitions}) CHARACTER SET utf8mb4");
        link.query(&sql).await.unwrap();
    }
    let sql = format!("CREATE TABLE {FINISHED} (id INT PRIMARY KEY)");
    link.query(&sql).await.unwrap();
}

struct Workload<'a> {
    link: &'a mut Link,
    columns: &'a [Column],
    rng: Rng,
    /// Keys that were given out so far; some of their rows are gone.
    ids: i32,
    /// How often rows were given other keys; each time by another distance, so that none meet.
    moves: i32,
}

/// Runs the transactions, and then writes the row that ends the test.
pub async fn run(link: &mut Link, columns: &[Column]) {
    let mut work = Workload {
        link,
        columns,
        rng: Rng::with_seed(20_240_229),
        ids: 0,
        moves: 0,
    };
    for number in 0..TRANSACTIONS {
        work.transaction().await;
        if number % 50 == 49 {
            work.execute("FLUSH BINARY LOGS").await;
        }
    }
    work.execute(&format!("INSERT INTO {FINISHED} VALUES (1)")).await;
}

impl Workload<'_> {
    async fn execute(&mut self, sql: &str) {
        if let Err(error) = self.link.query(sql).await {
            panic!("{sql}\n    refused by the server: {error}");
        }
    }

    async fn transaction(&mut self) {
        // One statement by itself now and then: the server wraps it.
        if self.rng.u32(0..5) == 0 {
            let sql = self.statement();
            return self.execute(&sql).await;
        }
        self.execute("BEGIN").await;
        for _ in 0..self.rng.usize(1..6) {
            let sql = self.statement();
            self.execute(&sql).await;
        }
        let end = if self.rng.u32(0..10) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        self.execute(end).await;
    }

    fn statement(&mut self) -> String {
        let table = if self.rng.u32(0..5) < 2 { PLAIN } else { KEYED };
        match self.rng.u32(0..10) {
            0..4 => self.insert("INSERT", table, self.ids + 1),
            4..7 => self.update(table),
            7 => {
                self.moves += 1;
                let (by, some) = (self.moves * 100_000, self.some());
                format!("UPDATE {table} SET id = id + {by} WHERE id BETWEEN {some}")
            }
            // Over rows of before, where they still are.
            8 => {
                let first = self.rng.i32(0..=self.ids);
                self.insert("REPLACE", table, first)
            }
            _ => format!("DELETE FROM {table} WHERE id BETWEEN {}", self.some()),
        }
    }

    /// A few neighbouring ids.
    fn some(&mut self) -> String {
        let first = self.rng.i32(0..=self.ids);
        format!("{first} AND {}", first + self.rng.i32(1..8))
    }

    fn insert(&mut self, verb: &str, table: &str, first: i32) -> String {
        let rows: Vec<String> = (first..first + self.rng.i32(1..6))
            .map(|id| {
                self.ids = self.ids.max(id);
                let columns = self.columns.iter();
                let cells: String = columns
                    .map(|column| format!(", {}", column.kind.literal(&mut self.rng)))
                    .collect();
                format!("({id}{cells})")
            })
            .collect();
        format!("{verb} INTO {table} VALUES {}", rows.join(", "))
    }

    fn update(&mut self, table: &str) -> String {
        let sets: Vec<String> = (0..self.rng.usize(1..6))
            .map(|_| {
                let column = &self.columns[self.rng.usize(..self.columns.len())];
                format!("`{}` = {}", column.name, column.kind.literal(&mut self.rng))
            })
            .collect();
        format!(
            "UPDATE {table} SET {} WHERE id BETWEEN {}",
            sets.join(", "),
            self.some()
        )
    }
}
