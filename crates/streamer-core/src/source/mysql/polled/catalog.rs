//! Which tables there are, and by which column each is polled.
//!
//! A column is found by itself only where the server keeps it: a TIMESTAMP or DATETIME that each change sets (`DEFAULT
//! CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP`), or an AUTO_INCREMENT primary key; both behind an index. One that the
//! application keeps has to be named, because nobody else knows that it is always set.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::link::{Flavor, ResultRows, quote_text};
use super::super::schema::{ColumnKind, TableDefinition, Wanted, columns_query, read_columns};
use crate::config::{PollConfig, TableFilter};
use crate::error::Result;
use crate::source::poll::{Found, Growth, Way, hash};

/// Names of columns that are taken before others that each change sets.
const LIKELY: [&str; 6] = [
    "updated_at",
    "modified_at",
    "updatedat",
    "modifiedat",
    "changed_at",
    "last_modified",
];

/// A column as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolledColumn {
    /// Its name.
    pub name: String,
    /// It holds JSON, as text.
    pub is_json: bool,
    /// It holds bytes.
    pub is_binary: bool,
}

/// One version of a table.
#[derive(Debug, Clone)]
pub struct PolledTable {
    /// Names this version: the same for equal definitions.
    pub id: u64,
    /// Database.
    pub database: Arc<str>,
    /// Table.
    pub table: Arc<str>,
    /// All columns that a user sees.
    pub columns: Vec<PolledColumn>,
    /// Indices of the primary key's columns, in its order.
    pub key: Vec<usize>,
    /// Index of the column by which it is polled.
    pub cursor: Option<usize>,
    /// That column is a time.
    pub is_time: bool,
}

impl PartialEq for PolledTable {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// Asks for the definitions of all tables of some databases, or of all.
pub fn definitions_query(flavor: Flavor, databases: Option<&[String]>) -> String {
    columns_query(flavor, databases.map_or(Wanted::Everything, Wanted::Databases))
}

/// Asks for what the definitions leave out: columns that the server sets, and those that an index begins with.
pub fn hints_query(databases: Option<&[String]>) -> String {
    let within = match databases {
        None => "TABLE_SCHEMA NOT IN ('mysql','sys','information_schema','performance_schema')".to_owned(),
        Some(names) => {
            let names: Vec<String> = names.iter().map(|name| quote_text(name)).collect();
            format!("TABLE_SCHEMA IN ({})", names.join(","))
        }
    };
    let u = |column: &str| format!("CONVERT({column} USING utf8mb4)");
    let names = ["TABLE_SCHEMA", "TABLE_NAME", "COLUMN_NAME"].map(u).join(",");
    format!(
        "SELECT 'index',{names} FROM information_schema.STATISTICS WHERE {within} AND SEQ_IN_INDEX=1 \
         UNION ALL SELECT 'counter',{names} FROM information_schema.COLUMNS WHERE {within} AND LOWER(EXTRA) LIKE '%auto_increment%' \
         UNION ALL SELECT 'time',{names} FROM information_schema.COLUMNS WHERE {within} \
         AND LOWER(EXTRA) LIKE '%on update current_timestamp%' AND LOWER(COLUMN_DEFAULT) LIKE 'current_timestamp%'"
    )
}

/// What the server sets or finds quickly: kind, database, table, column.
type Hints<'a> = HashSet<(&'a str, &'a str, &'a str, &'a str)>;

/// Reads the answers to both questions.
///
/// # Errors
/// `ERR_STREAMER_PROTOCOL_UNEXPECTED` where they are not what was asked for.
pub fn read(
    flavor: Flavor,
    definitions: &ResultRows,
    hints: &ResultRows,
    filter: &TableFilter,
    config: &PollConfig,
) -> Result<Vec<Found<PolledTable>>> {
    let hints: Hints<'_> = hints
        .rows
        .iter()
        .filter_map(|row| match row.as_slice() {
            [Some(kind), Some(database), Some(table), Some(column)] => {
                Some((kind.as_str(), database.as_str(), table.as_str(), column.as_str()))
            }
            _ => None,
        })
        .collect();
    let reading = read_columns(flavor, definitions)?;
    let mut found: Vec<Found<PolledTable>> = reading
        .definitions
        .iter()
        .filter(|definition| filter.includes(&definition.name.database, &definition.name.table))
        .map(|definition| describe(definition, &hints, config))
        .collect();
    let unreadable = reading
        .unreadable
        .into_iter()
        .filter(|unreadable| filter.includes(&unreadable.table.database, &unreadable.table.table));
    for unreadable in unreadable {
        let (database, table) = (unreadable.table.database, unreadable.table.table);
        found.push(Found {
            handle: PolledTable {
                id: 0,
                database: Arc::clone(&database),
                table: Arc::clone(&table),
                columns: Vec::new(),
                key: Vec::new(),
                cursor: None,
                is_time: false,
            },
            database,
            table,
            way: Way::Unusable(unreadable.reason),
        });
    }
    Ok(found)
}

fn describe(definition: &TableDefinition, hints: &Hints<'_>, config: &PollConfig) -> Found<PolledTable> {
    let seen: Vec<_> = definition
        .columns
        .iter()
        .filter(|column| !column.is_hidden())
        .collect();
    let columns: Vec<PolledColumn> = seen
        .iter()
        .map(|column| PolledColumn {
            name: column.name.to_string(),
            is_json: matches!(column.kind, ColumnKind::JsonText { .. }),
            is_binary: matches!(column.kind, ColumnKind::Binary { .. }),
        })
        .collect();
    // Hidden columns are the last ones.
    let key: Vec<usize> = definition.key.iter().map(|&column| column as usize).collect();
    let way = way_of(definition, hints, config);
    let cursor = match &way {
        Way::Column { column, .. } => seen.iter().position(|other| other.name == *column),
        _ => None,
    };
    let kinds: Vec<String> = seen
        .iter()
        .map(|column| format!("{}\n{:?}", column.name, column.kind))
        .collect();
    let (database, table) = (&definition.name.database, &definition.name.table);
    let mut parts: Vec<&[u8]> = vec![database.as_bytes(), table.as_bytes()];
    parts.extend(kinds.iter().map(String::as_bytes));
    let chosen = format!("{key:?}{way:?}");
    parts.push(chosen.as_bytes());
    Found {
        handle: PolledTable {
            id: hash(&parts) as u64,
            database: Arc::clone(database),
            table: Arc::clone(table),
            columns,
            key,
            cursor,
            is_time: matches!(
                &way,
                Way::Column {
                    growth: Growth::ServerTime | Growth::OwnTime,
                    ..
                }
            ),
        },
        database: Arc::clone(database),
        table: Arc::clone(table),
        way,
    }
}

fn way_of(definition: &TableDefinition, hints: &Hints<'_>, config: &PollConfig) -> Way {
    let name = definition.name.to_string();
    let has_key = !definition.key.is_empty();
    let named = config.columns.get(&name).or(config
        .column
        .as_ref()
        .filter(|column| definition.columns.iter().any(|other| *other.name == ***column)));
    if let Some(column) = named {
        return match growth_of(definition, column) {
            Some(_) if !has_key => Way::Unusable("it has no primary key".to_owned()),
            Some(_) if !has_ordered_key(definition) => {
                Way::Unusable("its primary key cannot be read in order".to_owned())
            }
            Some(growth) => Way::Column {
                column: column.as_str().into(),
                growth,
                is_insert_only: false,
            },
            None => Way::Unusable(format!(
                "its column {column}, which `poll` names, does not exist, or is neither a whole number nor a time"
            )),
        };
    }
    if !has_key {
        return Way::Unusable("it has no primary key".to_owned());
    }
    let has = |kind: &'static str, column: &str| {
        hints.contains(&(kind, &*definition.name.database, &*definition.name.table, column))
    };
    let set_by_server = definition
        .columns
        .iter()
        .filter(|column| has("time", &column.name) && has("index", &column.name))
        .min_by_key(|column| {
            let lower = column.name.to_lowercase();
            LIKELY
                .iter()
                .position(|likely| *likely == lower)
                .unwrap_or(LIKELY.len())
        });
    if let (Some(column), true) = (set_by_server, has_ordered_key(definition))
        && let Some(growth) = growth_of(definition, &column.name)
    {
        return Way::Column {
            column: column.name.clone(),
            growth,
            is_insert_only: false,
        };
    }
    let counter = match definition.key.as_slice() {
        [only] => definition.columns.get(*only as usize),
        _ => None,
    };
    match counter {
        Some(column) if has("counter", &column.name) => Way::Column {
            column: column.name.clone(),
            growth: Growth::Counter,
            is_insert_only: true,
        },
        _ if config.compare_rows == 0 => Way::Unusable("it has no column to poll it by".to_owned()),
        _ => Way::Compare,
    }
}

fn growth_of(definition: &TableDefinition, name: &str) -> Option<Growth> {
    let column = definition.columns.iter().find(|column| *column.name == *name)?;
    match column.kind {
        ColumnKind::Integer { .. } => Some(Growth::Counter),
        ColumnKind::Timestamp { .. } => Some(Growth::ServerTime),
        // Of which zone its writers are, it does not say.
        ColumnKind::Datetime { .. } => Some(Growth::OwnTime),
        _ => None,
    }
}

/// Whether each column of the key compares with a parameter in the order in which the server sorts it.
fn has_ordered_key(definition: &TableDefinition) -> bool {
    definition.key.iter().all(|&index| {
        let kind = definition.columns.get(index as usize).map(|column| &column.kind);
        matches!(
            kind,
            Some(
                ColumnKind::Integer { .. }
                    | ColumnKind::Decimal { .. }
                    | ColumnKind::Year
                    | ColumnKind::Date
                    | ColumnKind::Time { .. }
                    | ColumnKind::Datetime { .. }
                    | ColumnKind::Timestamp { .. }
                    | ColumnKind::Text { .. }
                    | ColumnKind::Binary { .. }
            )
        )
    })
}
