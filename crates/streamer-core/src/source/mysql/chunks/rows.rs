//! Rows on their way from the server: a task reads them as fast as they are taken, into batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use tokio::sync::mpsc;

use super::super::cell::AnswerColumn;
use super::connection::failed;
use super::order::Described;
use crate::config::Dates;
use crate::error::Result;
use crate::event::{BatchWriter, Column, Shape, ShapeId, TableLayout};
use crate::source::{Cursor, Rest, Rows, TableRef, row_id};

/// Numbers of shapes begin here: those of the log count from 0.
const FIRST_SHAPE: ShapeId = 1 << 31;

/// The shapes of tables that were read.
#[derive(Debug, Default)]
pub struct Shapes {
    known: HashMap<TableRef, (TableLayout, ShapeId)>,
    count: ShapeId,
}

impl Shapes {
    /// Makes each known again before its next row.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// The shape of a table's rows, which the batch learns of where it is new.
    fn get(&mut self, table: &TableRef, layout: TableLayout, writer: &mut BatchWriter) -> ShapeId {
        if let Some((known, id)) = self.known.get(table)
            && *known == layout
        {
            return *id;
        }
        let id = FIRST_SHAPE + self.count;
        self.count += 1;
        writer.define(Arc::new(Shape {
            id,
            present: (0..layout.columns.len() as u32).collect(),
            layout: Arc::new(layout.clone()),
            synthetic: false,
        }));
        self.known.insert(table.clone(), (layout, id));
        id
    }
}

/// Which rows are read.
pub struct Reading {
    /// Of which table.
    pub described: Arc<Described>,
    /// Behind which row.
    pub after: Option<Cursor>,
    /// How many, where the table has an order.
    pub limit: u32,
    /// What ids begin with.
    pub prefix: String,
    /// Where they are handed over.
    pub position: Arc<str>,
    /// How dates arrive.
    pub dates: Dates,
    /// Rows of a batch.
    pub batch_rows: u32,
    /// Bytes of a batch.
    pub batch_bytes: usize,
}

/// Reads until the rows are at their end, or nobody takes them; gives back what it was lent, the connection only where it can be
/// used again.
pub async fn stream(
    mut conn: Conn,
    reading: Reading,
    mut shapes: Shapes,
    out: mpsc::Sender<Result<Rows>>,
) -> (Option<Conn>, Shapes) {
    match read(&mut conn, &reading, &mut shapes, &out).await {
        Ok(true) => (Some(conn), shapes),
        Ok(false) => (None, shapes),
        Err(error) => {
            // A refusal leaves the connection as it was.
            let is_usable = matches!(error, mysql_async::Error::Server(_));
            let _ = out.send(Err(failed(&error))).await;
            (is_usable.then_some(conn), shapes)
        }
    }
}

/// False where nobody takes the rows any more: what is left of the answer makes the connection useless.
async fn read(
    conn: &mut Conn,
    reading: &Reading,
    shapes: &mut Shapes,
    out: &mpsc::Sender<Result<Rows>>,
) -> mysql_async::Result<bool> {
    let described = &reading.described;
    let Ok(sql) = described.select(reading.after.as_ref(), reading.limit) else {
        return Ok(true);
    };
    let mut answer = conn.exec_iter(sql, ()).await?;
    let columns = answer.columns().unwrap_or_else(|| Vec::new().into());
    let shown = described.columns.len();
    let plans: Vec<AnswerColumn> = columns
        .iter()
        .take(shown)
        .map(|column| {
            let is_json = described.json.contains(&column.name_str().to_lowercase());
            AnswerColumn::new(column, reading.dates, is_json)
        })
        .collect();
    let mut writer = BatchWriter::new();
    let shape = shapes.get(&described.table, layout(described, &plans), &mut writer);
    let begin = |writer: &mut BatchWriter| {
        writer.begin_reads(now_ms(), &reading.prefix, &reading.position, shape);
    };
    begin(&mut writer);
    let (mut count, mut number, mut last) = (0_u32, 0_u64, None);
    while let Some(row) = answer.next().await? {
        let cells = write(&row, described, &plans, number, &mut writer);
        number += 1;
        count = count.saturating_add(1);
        last = cells.or(last);
        if writer.changes() >= reading.batch_rows || writer.weight() >= reading.batch_bytes {
            let rows = taken(&mut writer, last.take(), described, Rest::Rows);
            if out.send(Ok(rows)).await.is_err() {
                return Ok(false);
            }
            begin(&mut writer);
        }
    }
    drop(answer);
    if writer.changes() == 0 {
        // The batch that would have told of the shape is not handed over.
        shapes.forget();
    }
    let is_full = described.has_order() && count >= reading.limit;
    let rest = if is_full { Rest::Table } else { Rest::Nothing };
    let rows = taken(&mut writer, last, described, rest);
    // Where nobody listens any more the rows come again.
    let _ = out.send(Ok(rows)).await;
    Ok(true)
}

fn taken(
    writer: &mut BatchWriter,
    last: Option<Vec<crate::source::Cell>>,
    described: &Described,
    rest: Rest,
) -> Rows {
    let batch = writer.take();
    Rows {
        batch: (batch.changes > 0).then_some(batch),
        last: last.map(|cells| Cursor {
            cells,
            order: described.order_name(),
        }),
        rest,
    }
}

/// Writes a row; what puts it in order, where it has an order.
fn write(
    row: &Row,
    described: &Described,
    plans: &[AnswerColumn],
    number: u64,
    writer: &mut BatchWriter,
) -> Option<Vec<crate::source::Cell>> {
    let shown = described.columns.len();
    let value = |index: usize| row.as_ref(index).unwrap_or(&Value::NULL);
    let cells = described.has_order().then(|| {
        let values: Vec<Value> = (shown..shown + described.order_columns())
            .map(|index| value(index).clone())
            .collect();
        described.cells(&values)
    });
    match &cells {
        Some(cells) => writer.begin_read(&row_id(cells)),
        None => writer.begin_read(&number.to_string()),
    }
    for (index, plan) in plans.iter().enumerate() {
        plan.put(value(index), writer);
    }
    writer.end_row();
    cells
}

fn layout(described: &Described, plans: &[AnswerColumn]) -> TableLayout {
    let named = described.columns.iter().zip(plans).map(|(name, plan)| Column {
        name: name.clone(),
        encoding: plan.encoding(),
    });
    let place = |name: &String| described.columns.iter().position(|column| column == name);
    TableLayout {
        database: described.table.database.to_string(),
        table: described.table.table.to_string(),
        columns: named.collect(),
        key: described
            .key
            .iter()
            .filter_map(place)
            .map(|index| index as u32)
            .collect(),
    }
}

fn now_ms() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64() * 1000.0)
}
