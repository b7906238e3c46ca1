//! The same log as `mysql_cdc` reads it, which shares no code with the engine.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mysql_cdc::binlog_client::BinlogClient;
use mysql_cdc::binlog_options::BinlogOptions;
use mysql_cdc::events::binlog_event::BinlogEvent;
use mysql_cdc::events::row_events::mysql_value::MySqlValue;
use mysql_cdc::events::row_events::row_data::RowData;
use mysql_cdc::replica_options::ReplicaOptions;
use mysql_cdc::ssl_mode::SslMode;

use crate::columns::{Cell, Column};
use crate::{DATABASE, FINISHED, KEYED, PASSWORD, Row, Seen, USER};

/// Everything from a place of the log up to the commit of the row that ends the test. Blocks.
pub fn read(port: u16, file: String, position: u32, columns: Vec<Column>, patience: Duration) -> Vec<Seen> {
    let mut client = BinlogClient::new(ReplicaOptions {
        port,
        hostname: "127.0.0.1".to_owned(),
        username: USER.to_owned(),
        password: PASSWORD.to_owned(),
        ssl_mode: SslMode::Disabled,
        server_id: 4_000_000_000,
        // An event at least this often, so that the deadline below is looked at.
        heartbeat_interval: Duration::from_secs(1),
        binlog: BinlogOptions::from_position(file, position),
        ..ReplicaOptions::default()
    });
    let mut reader = Reader {
        columns,
        tables: HashMap::new(),
        transaction: String::new(),
        has_rows: false,
        seen: Vec::new(),
        met_last: false,
    };
    let end = Instant::now() + patience;
    let events = client.replicate().expect("the other decoder connects");
    for event in events {
        let (_, event) = event.expect("the other decoder understands every event");
        reader.take(event);
        if reader.has_finished() {
            return reader.seen;
        }
        assert!(Instant::now() < end, "the other decoder reads everything in time");
    }
    panic!("the server ended the dump");
}

struct Reader {
    columns: Vec<Column>,
    /// Tables of the test by their number in the log.
    tables: HashMap<u64, String>,
    transaction: String,
    has_rows: bool,
    seen: Vec<Seen>,
    /// Whether the row that ends the test was met.
    met_last: bool,
}

impl Reader {
    fn has_finished(&self) -> bool {
        self.met_last && matches!(self.seen.last(), Some(Seen::Commit))
    }

    fn take(&mut self, event: BinlogEvent) {
        match event {
            BinlogEvent::MySqlGtidEvent(event) => self.transaction = event.gtid.to_string(),
            BinlogEvent::MariaDbGtidEvent(event) => self.transaction = event.gtid.to_string(),
            BinlogEvent::TableMapEvent(map) if map.database_name == DATABASE => {
                self.tables.insert(map.table_id, map.table_name);
            }
            BinlogEvent::WriteRowsEvent(event) => {
                for row in &event.rows {
                    self.row(event.table_id, "insert", None, Some(row));
                }
            }
            BinlogEvent::DeleteRowsEvent(event) => {
                for row in &event.rows {
                    self.row(event.table_id, "delete", Some(row), None);
                }
            }
            BinlogEvent::UpdateRowsEvent(event) => {
                for row in &event.rows {
                    self.update(event.table_id, &row.before_update, &row.after_update);
                }
            }
            BinlogEvent::XidEvent(_) if std::mem::take(&mut self.has_rows) => self.seen.push(Seen::Commit),
            _ => {}
        }
    }

    /// The engine hands over an update that changes the key as a delete and an insert.
    fn update(&mut self, table: u64, before: &RowData, after: &RowData) {
        let is_keyed = self.tables.get(&table).is_some_and(|name| name == KEYED);
        if is_keyed && id(before) != id(after) {
            self.row(table, "delete", Some(before), None);
            self.row(table, "insert", None, Some(after));
        } else {
            self.row(table, "update", Some(before), Some(after));
        }
    }

    fn row(
        &mut self,
        table: u64,
        operation: &'static str,
        before: Option<&RowData>,
        after: Option<&RowData>,
    ) {
        let Some(name) = self.tables.get(&table) else {
            return;
        };
        self.met_last |= name == FINISHED;
        self.has_rows = true;
        self.seen.push(Seen::Row(Row {
            transaction: self.transaction.clone(),
            table: name.clone(),
            operation,
            before: before.map(|row| self.image(row)),
            after: after.map(|row| self.image(row)),
            changed: None,
        }));
    }

    fn image(&self, row: &RowData) -> Vec<Cell> {
        let rest = row.cells.iter().skip(1).zip(&self.columns);
        let rest = rest.map(|(cell, column)| Some(column.kind.normalise_theirs(cell.as_ref()?)));
        std::iter::once(Some(id(row).to_string())).chain(rest).collect()
    }
}

fn id(row: &RowData) -> i32 {
    match &row.cells[0] {
        Some(MySqlValue::Int(value)) => value.cast_signed(),
        other => panic!("the id was decoded as {other:?}"),
    }
}
