//! Answers in the encoding of the stream.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use mysql_async::consts::ColumnType;
use mysql_async::prelude::Queryable;
use mysql_async::{Column, Row, Value as Bound};

use super::bound;
use super::catalog::json_columns;
use super::pool::within;
use crate::cache::{Columns, TableName, Value};
use crate::config::Dates;
use crate::error::Result;
use crate::event::{self, BatchWriter, Packed, Shape, TableLayout};
use crate::query::backend::Param;
use crate::source::mysql::AnswerColumn;

/// Character set of columns that hold bytes.
const BINARY: u16 = 63;

/// How answers are asked for and read.
pub(super) struct Manner {
    /// What dates become.
    pub dates: Dates,
    /// The server's JSON columns are text with a check (MariaDB).
    pub has_text_json: bool,
    /// Longest wait for an answer.
    pub limit: Duration,
}

/// Runs a statement.
pub(super) async fn ask(
    connection: &mut impl Queryable,
    sql: &str,
    params: Vec<Bound>,
    manner: &Manner,
) -> Result<Value> {
    let (columns, rows) = rows(connection, sql, params, manner.limit).await?;
    let json = match manner.has_text_json {
        true => text_json(connection, &columns).await?,
        false => vec![false; columns.len()],
    };
    Ok(encode(&columns, rows.iter(), &json, manner.dates))
}

/// Runs a look-up for many values: `sql` ends its rows with the value that they answer, and takes the `values`, of which some may
/// stand twice. One answer a value, in their order; `None` where the rows do not tell.
pub(super) async fn ask_many(
    connection: &mut impl Queryable,
    sql: &str,
    values: &[i128],
    manner: &Manner,
) -> Result<Option<Vec<Value>>> {
    let params = values.iter().map(|value| bound(&Param::of_integer(*value)));
    let (columns, rows) = rows(connection, sql, params.collect(), manner.limit).await?;
    let Some((_, columns)) = columns.split_last() else {
        return Ok(None);
    };
    let json = match manner.has_text_json {
        true => text_json(connection, columns).await?,
        false => vec![false; columns.len()],
    };
    let mut found: HashMap<i128, Vec<&Row>> = HashMap::new();
    for row in &rows {
        let value = match row.as_ref(columns.len()) {
            Some(Bound::Int(value)) => i128::from(*value),
            Some(Bound::UInt(value)) => i128::from(*value),
            _ => return Ok(None),
        };
        found.entry(value).or_default().push(row);
    }
    let of = |value: &i128| {
        let rows = found.get(value).map_or(&[][..], Vec::as_slice);
        encode(columns, rows.iter().copied(), &json, manner.dates)
    };
    Ok(Some(values.iter().map(of).collect()))
}

async fn rows(
    connection: &mut impl Queryable,
    sql: &str,
    params: Vec<Bound>,
    limit: Duration,
) -> Result<(Arc<[Column]>, Vec<Row>)> {
    let answer = async {
        let mut answer = connection.exec_iter(sql, params).await?;
        let columns = answer.columns();
        let rows: Vec<Row> = answer.collect().await?;
        answer.drop_result().await?;
        Ok((columns.unwrap_or_else(|| Vec::new().into()), rows))
    };
    within(limit, answer).await
}

async fn text_json(connection: &mut impl Queryable, columns: &[Column]) -> Result<Vec<bool>> {
    let mut json = Vec::with_capacity(columns.len());
    let mut tables: HashMap<TableName, HashSet<String>> = HashMap::new();
    for column in columns {
        let (table, name) = (column.org_table_str(), column.org_name_str().to_lowercase());
        let is_text = column.column_type() == ColumnType::MYSQL_TYPE_BLOB && column.character_set() != BINARY;
        if !is_text || table.is_empty() {
            json.push(false);
            continue;
        }
        let table = TableName::new(&column.schema_str(), &table);
        if !tables.contains_key(&table) {
            let found = json_columns(connection, &table).await?;
            tables.insert(table.clone(), found);
        }
        json.push(tables.get(&table).is_some_and(|names| names.contains(&name)));
    }
    Ok(json)
}

fn encode<'a>(columns: &[Column], rows: impl Iterator<Item = &'a Row>, json: &[bool], dates: Dates) -> Value {
    let plans: Vec<AnswerColumn> = columns
        .iter()
        .zip(json)
        .map(|(column, is_json)| AnswerColumn::new(column, dates, *is_json))
        .collect();
    let named = columns.iter().zip(&plans).map(|(column, plan)| event::Column {
        name: column.name_str().into_owned(),
        encoding: plan.encoding(),
    });
    let layout = TableLayout {
        database: String::new(),
        table: String::new(),
        columns: named.collect(),
        key: Vec::new(),
    };
    let shape = Shape {
        id: 0,
        layout: Arc::new(layout),
        present: (0..columns.len() as u32).collect(),
        synthetic: false,
    };
    let mut writer = BatchWriter::new();
    let mut count = 0;
    for row in rows {
        count += 1;
        for (index, plan) in plans.iter().enumerate() {
            plan.put(row.as_ref(index).unwrap_or(&Bound::NULL), &mut writer);
        }
    }
    Value::Rows {
        cells: Packed::of(&writer.take()),
        columns: Some(Columns::of(&shape)),
        count,
    }
}
