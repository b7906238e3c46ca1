//! Rows in the binary protocol: what they are compared by, and how they become cells.

use std::sync::Arc;

use mysql_async::{Row as DriverRow, Value};

use super::super::cell::AnswerColumn;
use super::ById;
use super::catalog::PolledTable;
use crate::config::Dates;
use crate::event::{BatchWriter, Column, Operation, Shape, TableLayout};
use crate::source::poll::{FIRST_SHAPE, Head, Row, hash};

/// A row as it was read.
pub struct PolledRow {
    row: DriverRow,
    cursor: Option<i128>,
    key: Vec<u8>,
    version: u128,
}

impl PolledRow {
    /// The value of a column.
    pub fn value(&self, index: usize) -> Value {
        self.row.as_ref(index).cloned().unwrap_or(Value::NULL)
    }
}

impl Row for PolledRow {
    fn cursor(&self) -> Option<i128> {
        self.cursor
    }

    fn key(&self) -> Vec<u8> {
        self.key.clone()
    }

    fn version(&self) -> u128 {
        self.version
    }
}

/// Takes in the rows of a page.
pub fn read(table: &PolledTable, rows: Vec<DriverRow>) -> Vec<PolledRow> {
    let read = |row: DriverRow| {
        let at = |index: usize| row.as_ref(index).unwrap_or(&Value::NULL);
        let mut key = Vec::new();
        for &index in &table.key {
            encode_value(at(index), &mut key);
        }
        let mut all = Vec::new();
        for index in 0..row.len() {
            encode_value(at(index), &mut all);
        }
        PolledRow {
            cursor: table.cursor.and_then(|index| cursor_of(at(index))),
            version: hash(&[&all]),
            key,
            row,
        }
    };
    rows.into_iter().map(read).collect()
}

/// Values of a key, each with its kind in front.
pub fn encode(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        encode_value(value, &mut bytes);
    }
    bytes
}

fn encode_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::NULL => out.push(0),
        Value::Int(number) => {
            out.push(1);
            out.extend(number.to_le_bytes());
        }
        Value::UInt(number) => {
            out.push(2);
            out.extend(number.to_le_bytes());
        }
        Value::Bytes(bytes) => {
            out.push(3);
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend(bytes);
        }
        Value::Float(number) => {
            out.push(4);
            out.extend(number.to_bits().to_le_bytes());
        }
        Value::Double(number) => {
            out.push(5);
            out.extend(number.to_bits().to_le_bytes());
        }
        Value::Date(year, month, day, hour, minute, second, micros) => {
            out.push(6);
            out.extend(year.to_le_bytes());
            out.extend([*month, *day, *hour, *minute, *second]);
            out.extend(micros.to_le_bytes());
        }
        Value::Time(negative, days, hours, minutes, seconds, micros) => {
            out.push(7);
            out.push(u8::from(*negative));
            out.extend(days.to_le_bytes());
            out.extend([*hours, *minutes, *seconds]);
            out.extend(micros.to_le_bytes());
        }
    }
}

/// The values of a key that [`encode`] made; what is none of them ends the list.
pub fn decode(mut bytes: &[u8]) -> Vec<Value> {
    let mut values = Vec::new();
    while let Some(value) = decode_value(&mut bytes) {
        values.push(value);
    }
    values
}

fn decode_value(bytes: &mut &[u8]) -> Option<Value> {
    fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
        let (taken, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(*taken)
    }
    let [kind] = take(bytes)?;
    Some(match kind {
        0 => Value::NULL,
        1 => Value::Int(i64::from_le_bytes(take(bytes)?)),
        2 => Value::UInt(u64::from_le_bytes(take(bytes)?)),
        3 => {
            let length = u32::from_le_bytes(take(bytes)?) as usize;
            let (value, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Value::Bytes(value.to_vec())
        }
        4 => Value::Float(f32::from_bits(u32::from_le_bytes(take(bytes)?))),
        5 => Value::Double(f64::from_bits(u64::from_le_bytes(take(bytes)?))),
        6 => {
            let year = u16::from_le_bytes(take(bytes)?);
            let [month, day, hour, minute, second] = take(bytes)?;
            Value::Date(
                year,
                month,
                day,
                hour,
                minute,
                second,
                u32::from_le_bytes(take(bytes)?),
            )
        }
        7 => {
            let [negative] = take(bytes)?;
            let days = u32::from_le_bytes(take(bytes)?);
            let [hours, minutes, seconds] = take(bytes)?;
            let micros = u32::from_le_bytes(take(bytes)?);
            Value::Time(negative == 1, days, hours, minutes, seconds, micros)
        }
        _ => return None,
    })
}

/// Microseconds of a day.
const DAY: i128 = 86_400_000_000;

/// A value of the column by which a table is polled; times are microseconds since the Unix epoch. Zero dates have none.
pub fn cursor_of(value: &Value) -> Option<i128> {
    match value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::UInt(number) => Some(i128::from(*number)),
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let days = days_from_civil(i64::from(*year), i64::from(*month), i64::from(*day))?;
            let seconds = i128::from(*hour) * 3600 + i128::from(*minute) * 60 + i128::from(*second);
            Some(i128::from(days) * DAY + seconds * 1_000_000 + i128::from(*micros))
        }
        _ => None,
    }
}

/// The same as a parameter.
pub fn value_of(cursor: i128, is_time: bool) -> Value {
    if !is_time {
        return match (i64::try_from(cursor), u64::try_from(cursor)) {
            (Ok(number), _) => Value::Int(number),
            (_, Ok(number)) => Value::UInt(number),
            _ if cursor < 0 => Value::Int(i64::MIN),
            _ => Value::UInt(u64::MAX),
        };
    }
    // What a TIMESTAMP or DATETIME can hold.
    let cursor = cursor.clamp(0, 253_402_300_799 * 1_000_000);
    let (days, time) = (cursor.div_euclid(DAY), cursor.rem_euclid(DAY));
    let (year, month, day) = civil_from_days(days as i64);
    let seconds = time / 1_000_000;
    Value::Date(
        year as u16,
        month as u8,
        day as u8,
        (seconds / 3600) as u8,
        (seconds / 60 % 60) as u8,
        (seconds % 60) as u8,
        (time % 1_000_000) as u32,
    )
}

/// Days since 1970-01-01 of the Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// How the columns of one version of a table are written.
struct Layout {
    columns: Vec<AnswerColumn>,
    shape: Arc<Shape>,
}

/// The layouts of all tables.
pub struct Layouts {
    dates: Dates,
    shapes: u32,
    /// Those of rows, and of keys alone; and whether the reader knows of them.
    rows: ById<(Layout, bool)>,
    keys: ById<(Layout, bool)>,
}

impl Layouts {
    /// None yet.
    pub fn new(dates: Dates) -> Self {
        Self {
            dates,
            shapes: FIRST_SHAPE,
            rows: ById::new(),
            keys: ById::new(),
        }
    }

    fn layout(&mut self, table: &PolledTable, row: &DriverRow, indices: &[usize], key: Vec<u32>) -> Layout {
        let answered = row.columns_ref();
        let columns: Vec<AnswerColumn> = answered
            .iter()
            .zip(indices)
            .map(|(column, &index)| {
                let is_json = table.columns.get(index).is_some_and(|column| column.is_json);
                AnswerColumn::new(column, self.dates, is_json)
            })
            .collect();
        let named = columns.iter().zip(indices).map(|(plan, &index)| Column {
            name: table
                .columns
                .get(index)
                .map(|column| column.name.clone())
                .unwrap_or_default(),
            encoding: plan.encoding(),
        });
        let layout = TableLayout {
            database: table.database.to_string(),
            table: table.table.to_string(),
            columns: named.collect(),
            key,
        };
        let id = self.shapes;
        self.shapes = self.shapes.wrapping_add(1);
        let shape = Arc::new(Shape {
            id,
            present: (0..layout.columns.len() as u32).collect(),
            layout: Arc::new(layout),
            synthetic: false,
        });
        Layout { columns, shape }
    }

    /// Learns how keys are written, from an answer that holds them.
    pub fn learn_keys(&mut self, table: &PolledTable, rows: &[DriverRow]) {
        if let (Some(row), false) = (rows.first(), self.keys.contains_key(&table.id)) {
            let key = (0..table.key.len() as u32).collect();
            let layout = self.layout(table, row, &table.key, key);
            self.keys.insert(table.id, (layout, false));
        }
    }

    /// Learns how rows are written, from an answer that holds them.
    pub fn learn(&mut self, table: &PolledTable, rows: &[DriverRow]) {
        if let (Some(row), false) = (rows.first(), self.rows.contains_key(&table.id)) {
            let indices: Vec<usize> = (0..table.columns.len()).collect();
            let key = table.key.iter().map(|&index| index as u32).collect();
            let layout = self.layout(table, row, &indices, key);
            self.rows.insert(table.id, (layout, false));
        }
    }

    /// Writes a row.
    pub fn write(&mut self, table: &PolledTable, row: &PolledRow, head: &Head<'_>, writer: &mut BatchWriter) {
        let Some((layout, is_defined)) = self.rows.get_mut(&table.id) else {
            return;
        };
        if !std::mem::replace(is_defined, true) {
            writer.define(Arc::clone(&layout.shape));
        }
        writer.stand_alone(head.committed_ms, head.id, head.position);
        writer.begin_row(head.operation, None, Some(layout.shape.id), 0);
        for (index, column) in layout.columns.iter().enumerate() {
            column.put(row.row.as_ref(index).unwrap_or(&Value::NULL), writer);
        }
        writer.end_row();
    }

    /// Writes that a row is gone: what is left of it is its key.
    pub fn write_delete(
        &mut self,
        table: &PolledTable,
        key: &[u8],
        head: &Head<'_>,
        writer: &mut BatchWriter,
    ) {
        let columns: Option<(Vec<AnswerColumn>, u32)> = match self.keys.get_mut(&table.id) {
            Some((layout, is_defined)) => {
                if !std::mem::replace(is_defined, true) {
                    writer.define(Arc::clone(&layout.shape));
                }
                Some((layout.columns.clone(), layout.shape.id))
            }
            None => self.keys_of_rows(table, writer),
        };
        let Some((columns, shape)) = columns else { return };
        writer.stand_alone(head.committed_ms, head.id, head.position);
        writer.begin_row(Operation::Delete, Some(shape), None, 0);
        for (column, value) in columns.iter().zip(decode(key)) {
            column.put(&value, writer);
        }
        writer.end_row();
    }

    /// Of a table whose keys were never asked for by themselves: rows were, and they hold the key.
    fn keys_of_rows(
        &mut self,
        table: &PolledTable,
        writer: &mut BatchWriter,
    ) -> Option<(Vec<AnswerColumn>, u32)> {
        let (rows, _) = self.rows.get(&table.id)?;
        let layout = &rows.shape.layout;
        let columns: Vec<AnswerColumn> = table
            .key
            .iter()
            .filter_map(|&index| rows.columns.get(index).copied())
            .collect();
        let named = table
            .key
            .iter()
            .filter_map(|&index| layout.columns.get(index).cloned());
        let shape = Arc::new(Shape {
            id: self.shapes,
            present: (0..columns.len() as u32).collect(),
            layout: Arc::new(TableLayout {
                database: layout.database.clone(),
                table: layout.table.clone(),
                columns: named.collect(),
                key: (0..columns.len() as u32).collect(),
            }),
            synthetic: false,
        });
        self.shapes = self.shapes.wrapping_add(1);
        writer.define(Arc::clone(&shape));
        let id = shape.id;
        let layout = Layout {
            columns: columns.clone(),
            shape,
        };
        self.keys.insert(table.id, (layout, true));
        Some((columns, id))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_come_back(micros in 0..253_402_300_799_000_000_i64) {
            let cursor = i128::from(micros);
            prop_assert_eq!(cursor_of(&value_of(cursor, true)), Some(cursor));
        }

        #[test]
        fn hostile_keys_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn keys_come_back() {
        let key = vec![
            Value::Int(-3),
            Value::UInt(u64::MAX),
            Value::Bytes(b"a\0b".to_vec()),
            Value::NULL,
            Value::Date(2024, 2, 29, 23, 59, 58, 7),
            Value::Time(true, 34, 22, 59, 59, 1),
            Value::Double(0.5),
        ];
        assert_eq!(decode(&encode(&key)), key);
    }

    #[test]
    fn moments_are_counted_from_1970() {
        let moment = Value::Date(2000, 3, 1, 0, 0, 1, 5);
        assert_eq!(cursor_of(&moment), Some(951_868_801_000_005));
        assert_eq!(cursor_of(&Value::Date(0, 0, 0, 0, 0, 0, 0)), None);
        assert_eq!(value_of(u64::MAX.into(), false), Value::UInt(u64::MAX));
    }
}
