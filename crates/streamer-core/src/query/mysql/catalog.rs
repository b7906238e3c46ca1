//! What the server says of tables: types of columns, foreign keys, engines.

use std::collections::{BTreeSet, HashSet};

use mysql_async::Value;
use mysql_async::prelude::Queryable;

use super::pool::texts;
use crate::cache::TableName;
use crate::cache::sql::TableFacts;
use crate::config::TableFilter;
use crate::error::Result;

/// Most tables that lead to one another by foreign keys.
const MAX_PARENTS: usize = 64;

/// Engines whose changes all stand in the log. MEMORY loses its rows at a restart without a word.
const ENGINES: [&str; 4] = ["innodb", "myisam", "aria", "rocksdb"];

/// A table as the cache sees it.
#[derive(Debug, Clone)]
pub(super) struct Described {
    /// What plans are made from.
    pub facts: TableFacts,
    /// Columns of the primary key, lower case, in its order.
    pub key: Vec<String>,
}

/// Reads one table.
pub(super) async fn describe(
    connection: &mut impl Queryable,
    name: &TableName,
    filter: &TableFilter,
) -> Result<Described> {
    let rows = texts(
        connection,
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES \
         WHERE LOWER(TABLE_SCHEMA) = ? AND LOWER(TABLE_NAME) = ?",
        params(name),
    )
    .await?;
    let [row] = rows.as_slice() else {
        let facts = match rows.is_empty() {
            true => TableFacts::Missing,
            false => obstructed("shares its name with another that differs by case only"),
        };
        return Ok(Described {
            facts,
            key: Vec::new(),
        });
    };
    let cell = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
    let (database, table) = (cell(0), cell(1));
    if cell(2) == "VIEW" {
        let facts = match definition(connection, name).await? {
            Some(definition) => TableFacts::View(definition),
            None => obstructed("is a view whose definition is not shown to this user (SHOW VIEW)"),
        };
        return Ok(Described {
            facts,
            key: Vec::new(),
        });
    }
    let obstacle = match cell(2) {
        "BASE TABLE" if !filter.includes(database, table) => Some("is not followed by this source"),
        "BASE TABLE" if ENGINES.contains(&cell(3).to_lowercase().as_str()) => None,
        "BASE TABLE" => Some("is kept by an engine that is not followed"),
        _ => Some("is not a table whose changes are logged"),
    };
    if let Some(obstacle) = obstacle {
        return Ok(Described {
            facts: obstructed(obstacle),
            key: Vec::new(),
        });
    }
    let (integers, key) = columns(connection, name).await?;
    let (parents, unfollowed) = parents(connection, name, filter).await?;
    let facts = TableFacts::Base {
        integers,
        parents,
        obstacle: unfollowed
            .map(|parent| format!("is changed by a foreign key of {parent}, which is not followed")),
    };
    Ok(Described { facts, key })
}

/// What a view is, as the server prints it; `None` where there is none, or it is not shown to this user.
pub(super) async fn definition(connection: &mut impl Queryable, name: &TableName) -> Result<Option<String>> {
    let rows = texts(
        connection,
        "SELECT VIEW_DEFINITION FROM information_schema.VIEWS \
         WHERE LOWER(TABLE_SCHEMA) = ? AND LOWER(TABLE_NAME) = ?",
        params(name),
    )
    .await?;
    let text = rows
        .into_iter()
        .next()
        .and_then(|row| row.into_iter().next().flatten());
    Ok(text.filter(|text| !text.is_empty()))
}

fn obstructed(obstacle: &str) -> TableFacts {
    TableFacts::Base {
        integers: BTreeSet::new(),
        parents: Vec::new(),
        obstacle: Some(obstacle.to_owned()),
    }
}

fn params(name: &TableName) -> Vec<Value> {
    let (database, table) = name.parts();
    vec![Value::from(database), Value::from(table)]
}

async fn columns(
    connection: &mut impl Queryable,
    name: &TableName,
) -> Result<(BTreeSet<String>, Vec<String>)> {
    let rows = texts(
        connection,
        "SELECT LOWER(COLUMN_NAME), DATA_TYPE, COLUMN_KEY FROM information_schema.COLUMNS \
         WHERE LOWER(TABLE_SCHEMA) = ? AND LOWER(TABLE_NAME) = ? ORDER BY ORDINAL_POSITION",
        params(name),
    )
    .await?;
    let (mut integers, mut key) = (BTreeSet::new(), Vec::new());
    for row in rows {
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        let (column, kind, role) = (cells.next(), cells.next(), cells.next());
        let (Some(column), Some(kind)) = (column, kind) else {
            continue;
        };
        if role.as_deref() == Some("PRI") {
            key.push(column.clone());
        }
        if matches!(
            kind.as_str(),
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint"
        ) {
            integers.insert(column);
        }
    }
    Ok((integers, key))
}

/// Tables from which foreign keys reach this one, over any number of steps; and one of them that is not followed.
async fn parents(
    connection: &mut impl Queryable,
    name: &TableName,
    filter: &TableFilter,
) -> Result<(Vec<TableName>, Option<String>)> {
    let (mut found, mut open) = (Vec::new(), vec![name.clone()]);
    let mut seen = HashSet::from([name.clone()]);
    while let Some(child) = open.pop() {
        let rows = texts(
            connection,
            "SELECT UNIQUE_CONSTRAINT_SCHEMA, REFERENCED_TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS \
             WHERE LOWER(CONSTRAINT_SCHEMA) = ? AND LOWER(TABLE_NAME) = ? \
             AND NOT (DELETE_RULE IN ('RESTRICT', 'NO ACTION') AND UPDATE_RULE IN ('RESTRICT', 'NO ACTION'))",
            params(&child),
        )
        .await?;
        for row in rows {
            let [Some(database), Some(table)] = row.as_slice() else {
                continue;
            };
            if !filter.includes(database, table) || found.len() >= MAX_PARENTS {
                return Ok((found, Some(format!("{database}.{table}"))));
            }
            let parent = TableName::new(database, table);
            if seen.insert(parent.clone()) {
                found.push(parent.clone());
                open.push(parent);
            } else if parent == *name {
                // A table whose rows change its own rows.
                found.push(parent);
            }
        }
    }
    Ok((found, None))
}

/// Columns of a MariaDB table that hold JSON: text with a check that says so.
pub(super) async fn json_columns(
    connection: &mut impl Queryable,
    name: &TableName,
) -> Result<HashSet<String>> {
    let rows = texts(
        connection,
        "SELECT CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS \
         WHERE LOWER(CONSTRAINT_SCHEMA) = ? AND LOWER(TABLE_NAME) = ? AND CHECK_CLAUSE LIKE 'json_valid(%'",
        params(name),
    )
    .await?;
    let clause = |row: Vec<Option<String>>| row.into_iter().next().flatten();
    Ok(rows
        .into_iter()
        .filter_map(clause)
        .filter_map(|clause| {
            let column = clause.strip_prefix("json_valid(`")?.strip_suffix("`)")?;
            Some(column.replace("``", "`").to_lowercase())
        })
        .collect())
}
