//! The statements of a poll. Names are quoted; values are parameters, but for the number of rows.

use mysql_async::Value;

use super::super::link::quote_identifier;
use super::catalog::{PolledColumn, PolledTable};
use super::row::{PolledRow, decode, value_of};
use crate::error::Result;
use crate::source::poll::{Row, Start};

fn list<'a>(columns: impl Iterator<Item = &'a PolledColumn>) -> Result<Vec<String>> {
    columns.map(|column| quote_identifier(&column.name)).collect()
}

fn name(table: &PolledTable) -> Result<String> {
    Ok(format!(
        "{}.{}",
        quote_identifier(&table.database)?,
        quote_identifier(&table.table)?
    ))
}

/// Bytes are compared as bytes.
fn parameter(column: &PolledColumn) -> &'static str {
    match column.is_binary {
        true => "CAST(? AS BINARY)",
        false => "?",
    }
}

fn key_columns(table: &PolledTable) -> impl Iterator<Item = &PolledColumn> {
    table.key.iter().filter_map(|&index| table.columns.get(index))
}

/// A page of a table in the order of its column and its key; of one without a column, in any order.
///
/// # Errors
/// `ERR_STREAMER_ARGUMENT_INVALID` for a name that no server can hold.
pub fn page(table: &PolledTable, start: Start<'_, PolledRow>, limit: usize) -> Result<(String, Vec<Value>)> {
    let mut sql = format!(
        "SELECT {} FROM {}",
        list(table.columns.iter())?.join(","),
        name(table)?
    );
    let mut params = Vec::new();
    let column = table.cursor.and_then(|index| table.columns.get(index));
    if let Some(column) = column {
        let quoted = quote_identifier(&column.name)?;
        let mut order = vec![quoted.clone()];
        order.extend(list(key_columns(table).filter(|other| *other != column))?);
        match start {
            Start::Beginning => sql.push_str(&format!(" WHERE {quoted} IS NOT NULL")),
            Start::From(low) => {
                sql.push_str(&format!(" WHERE {quoted} >= ?"));
                params.push(value_of(low, table.is_time));
            }
            Start::After(row) => {
                let cursor = value_of(row.cursor().unwrap_or_default(), table.is_time);
                let mut marks = vec!["?"];
                marks.extend(key_columns(table).filter(|other| *other != column).map(parameter));
                // The first condition finds the place in the index, the second one is exact.
                sql.push_str(&format!(
                    " WHERE {quoted} >= ? AND ({}) > ({})",
                    order.join(","),
                    marks.join(",")
                ));
                params.extend([cursor.clone(), cursor]);
                let own = table.key.iter().filter(|&&index| Some(index) != table.cursor);
                params.extend(own.map(|&index| row.value(index)));
            }
        }
        sql.push_str(&format!(" ORDER BY {}", order.join(",")));
    }
    sql.push_str(&format!(" LIMIT {limit}"));
    Ok((sql, params))
}

/// The rows with the highest values.
///
/// # Errors
/// As [`page`].
pub fn newest(table: &PolledTable, limit: usize) -> Result<String> {
    let column = table.cursor.and_then(|index| table.columns.get(index));
    let quoted = column.map_or_else(|| Ok("1".to_owned()), |column| quote_identifier(&column.name))?;
    Ok(format!(
        "SELECT {} FROM {} WHERE {quoted} IS NOT NULL ORDER BY {quoted} DESC LIMIT {limit}",
        list(table.columns.iter())?.join(","),
        name(table)?
    ))
}

/// Keys in their order, behind one.
///
/// # Errors
/// As [`page`].
pub fn keys(table: &PolledTable, after: Option<&[u8]>, limit: usize) -> Result<(String, Vec<Value>)> {
    let columns = list(key_columns(table))?.join(",");
    let mut sql = format!("SELECT {columns} FROM {}", name(table)?);
    let mut params = Vec::new();
    if let Some(after) = after {
        let marks: Vec<&str> = key_columns(table).map(parameter).collect();
        sql.push_str(&format!(" WHERE ({columns}) > ({})", marks.join(",")));
        params = decode(after);
    }
    sql.push_str(&format!(" ORDER BY {columns} LIMIT {limit}"));
    Ok((sql, params))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(names: &[String]) -> PolledTable {
        let column = |name: &String| PolledColumn {
            name: name.clone(),
            is_json: false,
            is_binary: false,
        };
        PolledTable {
            id: 1,
            database: names[0].as_str().into(),
            table: names[1].as_str().into(),
            columns: names[2..].iter().map(column).collect(),
            key: vec![1],
            cursor: Some(0),
            is_time: true,
        }
    }

    /// What a server reads of a statement: its names, and everything else without them.
    fn tokens(sql: &str) -> (Vec<String>, String) {
        let (mut names, mut rest) = (Vec::new(), String::new());
        let mut characters = sql.chars().peekable();
        while let Some(character) = characters.next() {
            if character != '`' {
                rest.push(character);
                continue;
            }
            let mut name = String::new();
            while let Some(inside) = characters.next() {
                match inside {
                    '`' if characters.peek() == Some(&'`') => {
                        characters.next();
                        name.push('`');
                    }
                    '`' => break,
                    other => name.push(other),
                }
            }
            names.push(name);
            rest.push('N');
        }
        (names, rest)
    }

    proptest! {
        #[test]
        fn names_are_read_as_they_are(names in proptest::collection::vec("[^\\x00]{1,64}", 4)) {
            let (plain, plain_rest) = tokens(&page(&table(&["d", "t", "c", "k"].map(str::to_owned)), Start::From(1), 5).unwrap().0);
            prop_assert_eq!(plain, ["c", "k", "d", "t", "c", "c", "k"]);
            let (found, rest) = tokens(&page(&table(&names), Start::From(1), 5).unwrap().0);
            let [database, name, column, key] = [&names[0], &names[1], &names[2], &names[3]];
            let mut expected = vec![column, key, database, name, column, column];
            // A key that is the column stands in the order once.
            expected.extend((key != column).then_some(key));
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected);
            if key != column {
                prop_assert_eq!(rest, plain_rest);
            }
        }
    }

    #[test]
    fn a_hostile_name_stays_a_name() {
        let names = ["d", "a`;drop table x;--", "c", "k"].map(str::to_owned);
        let (sql, params) = keys(&table(&names), None, 10).unwrap();
        assert_eq!(
            sql,
            "SELECT `k` FROM `d`.`a``;drop table x;--` ORDER BY `k` LIMIT 10"
        );
        assert!(params.is_empty());
        assert!(newest(&table(&["d", "t", "a\0b", "k"].map(str::to_owned)), 1).is_err());
    }
}
