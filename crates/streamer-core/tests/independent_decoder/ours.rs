//! The engine's batches as rows: a reader of the format that `event` describes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use streamer_core::config::{Config, ConnectorConfig};
use streamer_core::event::{Batch, Encoding, RECORD_COMMIT, RECORD_ROWS, RECORD_TRANSACTION, Shape, ShapeId};
use streamer_core::source::mysql::MysqlConnector;
use streamer_core::source::{Connector, Item, Settings};

use crate::columns::{Cell, Column};
use crate::{DATABASE, FINISHED, Row, Seen};

/// The engine's connector, connected: what is committed from now on will be read.
pub async fn connect(port: u16) -> MysqlConnector {
    let config = Config::parse(&json!({
        "url": format!("mysql://root@127.0.0.1:{port}/{DATABASE}"),
        "tables": ["*"],
        "tls": false,
        // Text keeps every digit; as milliseconds, fractions would be rounded.
        "dates": "string",
    }))
    .unwrap();
    let settings = Settings {
        heartbeat: config.heartbeat,
        // Small, so that transactions are cut into several batches.
        batch_size: 5,
        batch_bytes: 1 << 20,
        store: None,
    };
    let source = &config.sources[0];
    let ConnectorConfig::Mysql(mysql) = &source.connector else {
        panic!("a MySQL source");
    };
    let mut connector = MysqlConnector::new(source, mysql, settings);
    connector.connect().await.unwrap();
    connector
}

/// Everything up to the commit of the row that ends the test.
pub async fn read(mut connector: MysqlConnector, columns: Vec<Column>, patience: Duration) -> Vec<Seen> {
    let reading = async {
        let mut reader = Reader {
            columns,
            shapes: HashMap::new(),
            transaction: String::new(),
            seen: Vec::new(),
            met_last: false,
        };
        while !reader.has_finished() {
            match connector.next().await.unwrap() {
                Item::Batch(batch) => reader.take(&batch),
                Item::Gap(gap) => panic!("{gap:?}"),
                Item::Warning(warning) => panic!("{warning}"),
                Item::Schema(_)
                | Item::Redefined(_)
                | Item::Beat(_)
                | Item::Snapshot(_)
                | Item::Held { .. } => {}
            }
        }
        reader.seen
    };
    let seen = tokio::time::timeout(patience, reading)
        .await
        .expect("the engine reads everything in time");
    connector.disconnect().await;
    seen
}

struct Reader {
    columns: Vec<Column>,
    shapes: HashMap<ShapeId, Arc<Shape>>,
    transaction: String,
    seen: Vec<Seen>,
    /// Whether the row that ends the test was met.
    met_last: bool,
}

/// The three pieces of a batch, each with the place that reading has reached.
struct Pieces<'a> {
    numbers: std::slice::Iter<'a, f64>,
    text: &'a [u8],
    text_at: usize,
    wide: Vec<u16>,
    wide_at: usize,
    bytes: &'a [u8],
    bytes_at: usize,
}

impl Pieces<'_> {
    fn number(&mut self) -> f64 {
        *self.numbers.next().expect("a record is complete")
    }

    fn text_to(&mut self, end: f64) -> String {
        if end < 0.0 {
            let start = std::mem::replace(&mut self.wide_at, -end as usize);
            return String::from_utf16(&self.wide[start..self.wide_at]).unwrap();
        }
        let start = std::mem::replace(&mut self.text_at, end as usize);
        let latin = &self.text[start..self.text_at];
        latin.iter().map(|&byte| char::from(byte)).collect()
    }

    fn text(&mut self) -> String {
        let end = self.number();
        self.text_to(end)
    }

    fn cell(&mut self, encoding: Encoding) -> Cell {
        let number = self.number();
        if number.is_nan() {
            return None;
        }
        assert!(number != f64::NEG_INFINITY, "no difference is expected");
        if number == f64::INFINITY {
            return Some(self.text());
        }
        Some(match encoding {
            Encoding::Number | Encoding::Integer => number.to_string(),
            Encoding::Text | Encoding::Set => self.text_to(number),
            Encoding::Bytes => {
                let start = std::mem::replace(&mut self.bytes_at, number as usize);
                let bytes = &self.bytes[start..self.bytes_at];
                bytes.iter().map(|byte| format!("{byte:02x}")).collect()
            }
            Encoding::Date | Encoding::Json | Encoding::Dynamic => panic!("no column has {encoding:?}"),
        })
    }
}

impl Reader {
    fn has_finished(&self) -> bool {
        self.met_last && matches!(self.seen.last(), Some(Seen::Commit))
    }

    fn take(&mut self, batch: &Batch) {
        for shape in &batch.shapes {
            self.shapes.insert(shape.id, shape.clone());
        }
        let mut pieces = Pieces {
            numbers: batch.numbers.iter(),
            text: &batch.text,
            text_at: 0,
            wide: batch
                .wide
                .chunks_exact(2)
                .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                .collect(),
            wide_at: 0,
            bytes: &batch.bytes,
            bytes_at: 0,
        };
        while let Some(&record) = pieces.numbers.next() {
            if record == RECORD_TRANSACTION {
                let _committed_ms = pieces.number();
                self.transaction = pieces.text();
                let _position = pieces.text();
                let _index = pieces.number();
            } else if record == RECORD_ROWS {
                self.rows(&mut pieces);
            } else if record == RECORD_COMMIT {
                let _position = pieces.text();
                self.seen.push(Seen::Commit);
            } else {
                panic!("a record of the kind {record} is not expected");
            }
        }
        assert_eq!(pieces.text_at, pieces.text.len(), "all text belongs to a field");
        assert_eq!(pieces.wide_at, pieces.wide.len(), "all text belongs to a field");
        assert_eq!(pieces.bytes_at, batch.bytes.len(), "all bytes belong to a field");
    }

    fn rows(&mut self, pieces: &mut Pieces<'_>) {
        let operation = ["insert", "update", "delete"][pieces.number() as usize];
        let before = self.shape(pieces.number());
        let after = self.shape(pieces.number());
        let (words, count) = (pieces.number() as usize, pieces.number() as usize);
        let layout = after.as_ref().or(before.as_ref()).unwrap().layout.clone();
        let is_update = before.is_some() && after.is_some();
        self.met_last |= layout.table == FINISHED;
        for _ in 0..count {
            let changed = is_update.then(|| changed(pieces, words, layout.columns.len()));
            let row = Row {
                transaction: self.transaction.clone(),
                table: layout.table.clone(),
                operation,
                before: before.as_ref().map(|shape| self.image(pieces, shape)),
                after: after.as_ref().map(|shape| self.image(pieces, shape)),
                changed,
            };
            self.seen.push(Seen::Row(row));
        }
    }

    fn shape(&self, id: f64) -> Option<Arc<Shape>> {
        (id >= 0.0).then(|| self.shapes[&(id as ShapeId)].clone())
    }

    /// The cells of an image that holds every column.
    fn image(&self, pieces: &mut Pieces<'_>, shape: &Shape) -> Vec<Cell> {
        let columns = &shape.layout.columns;
        assert_eq!(shape.present, (0..columns.len() as u32).collect::<Vec<_>>());
        columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let cell = pieces.cell(column.encoding)?;
                let Some(known) = index.checked_sub(1).and_then(|index| self.columns.get(index)) else {
                    return Some(cell);
                };
                assert_eq!(column.name, known.name);
                Some(known.kind.normalise_ours(&cell))
            })
            .collect()
    }
}

/// A changed set: 48 columns a word, the lowest first.
fn changed(pieces: &mut Pieces<'_>, words: usize, columns: usize) -> Vec<bool> {
    let words: Vec<u64> = (0..words).map(|_| pieces.number() as u64).collect();
    (0..columns)
        .map(|column| words[column / 48] >> (column % 48) & 1 == 1)
        .collect()
}
