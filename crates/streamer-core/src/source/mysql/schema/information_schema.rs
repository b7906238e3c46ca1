//! Definitions out of the server's catalogue views, exact or not at all.
//!
//! One statement asks for columns, tables, keys and checks, so that a single round trip sees one state as far as the
//! server can show one; whether that state belongs to a position of the log is the caller's to ensure.
//!
//! What the log holds beyond the views is added: the two period columns of MariaDB's versioned tables and the hash
//! columns of its long unique indices. MySQL's columns of functional indices are in neither.
//!
//! Sources: MySQL "The INFORMATION_SCHEMA COLUMNS Table" and its neighbours; MariaDB "Information Schema COLUMNS
//! Table"; the order of hidden columns was read from the logs of real servers.

use std::collections::{BTreeMap, BTreeSet};

use super::charset;
use super::ddl::{CharsetChoice, Cursor, Session, read_type, tokenize};
use super::definition::{
    CharsetName, ColumnDefinition, ColumnKind, Generated, Storage, TableDefinition, TableName,
};
use crate::code::Code;
use crate::error::{Error, Result};
use crate::source::mysql::link::{Flavor, ResultRows};

/// Which tables to ask for.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// These tables.
    Tables(&'a [TableName]),
    /// All tables of these databases.
    Databases(&'a [String]),
    /// All tables that are not the server's own.
    Everything,
}

/// What the views say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Exact definitions, by name.
    pub definitions: Vec<TableDefinition>,
    /// Tables that exist, but whose definition cannot be said exactly.
    pub unreadable: Vec<Unreadable>,
}

/// A table that exists, but whose definition cannot be said exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The table.
    pub table: TableName,
    /// What stands in the way.
    pub reason: String,
}

/// The statement whose rows [`read_columns`] reads.
pub fn columns_query(flavor: Flavor, wanted: Wanted<'_>) -> String {
    let u = |column: &str| format!("CONVERT({column} USING utf8mb4)");
    let row = |part: &str, view: &str, cells: [&str; 9], filter: String| {
        let [schema, table, name, position, cells @ ..] = cells;
        let cells = cells.map(u).join(",");
        format!(
            "SELECT '{part}' AS part,{} AS s,{} AS t,{} AS n,{position} AS p,{cells} FROM \
             information_schema.{view} WHERE {filter}",
            u(schema),
            u(table),
            u(name),
        )
    };
    let filter = |schema: &str| filter(schema, "TABLE_NAME", wanted);
    let mut parts = vec![
        row(
            "T",
            "TABLES",
            [
                "TABLE_SCHEMA",
                "TABLE_NAME",
                "ENGINE",
                "0",
                "TABLE_COLLATION",
                "TABLE_TYPE",
                "''",
                "''",
                "''",
            ],
            format!(
                "{} AND TABLE_TYPE NOT IN ('VIEW','SYSTEM VIEW')",
                filter("TABLE_SCHEMA")
            ),
        ),
        row(
            "C",
            "COLUMNS",
            [
                "TABLE_SCHEMA",
                "TABLE_NAME",
                "COLUMN_NAME",
                "ORDINAL_POSITION",
                "COLUMN_TYPE",
                "CHARACTER_SET_NAME",
                "IS_NULLABLE",
                "EXTRA",
                "GENERATION_EXPRESSION",
            ],
            filter("TABLE_SCHEMA"),
        ),
        row(
            "K",
            "STATISTICS",
            [
                "TABLE_SCHEMA",
                "TABLE_NAME",
                "COLUMN_NAME",
                "SEQ_IN_INDEX",
                "INDEX_NAME",
                "INDEX_TYPE",
                "''",
                "''",
                "''",
            ],
            format!(
                "{} AND NON_UNIQUE=0 AND (INDEX_NAME='PRIMARY' OR INDEX_TYPE='HASH')",
                filter("TABLE_SCHEMA")
            ),
        ),
    ];
    if flavor == Flavor::Mariadb {
        parts.push(row(
            "X",
            "CHECK_CONSTRAINTS",
            [
                "CONSTRAINT_SCHEMA",
                "TABLE_NAME",
                "CONSTRAINT_NAME",
                "0",
                "CHECK_CLAUSE",
                "''",
                "''",
                "''",
                "''",
            ],
            format!(
                "{} AND CHECK_CLAUSE LIKE 'json_valid(%'",
                filter("CONSTRAINT_SCHEMA")
            ),
        ));
    }
    parts.join(" UNION ALL ")
}

fn filter(schema: &str, table: &str, wanted: Wanted<'_>) -> String {
    let any = |conditions: Vec<String>| match conditions.is_empty() {
        true => "FALSE".to_owned(),
        false => format!("({})", conditions.join(" OR ")),
    };
    match wanted {
        Wanted::Tables(tables) => any(tables
            .iter()
            .map(|name| {
                format!(
                    "({schema}={} AND {table}={})",
                    literal(&name.database),
                    literal(&name.table)
                )
            })
            .collect()),
        Wanted::Databases(databases) => any(databases
            .iter()
            .map(|database| format!("{schema}={}", literal(database)))
            .collect()),
        Wanted::Everything => {
            format!("{schema} NOT IN ('mysql','sys','information_schema','performance_schema')")
        }
    }
}

/// A name as a literal in the views' own character set: a literal of another one would keep servers from looking it up.
fn literal(name: &str) -> String {
    if name.is_empty() {
        return "''".to_owned();
    }
    let digits: String = name.bytes().map(|byte| format!("{byte:02X}")).collect();
    format!("_utf8 X'{digits}'")
}

/// Default character sets of databases; rows are `(SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME)`.
pub fn databases_query() -> &'static str {
    "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA"
}

/// Reads the rows of [`databases_query`].
pub fn read_databases(rows: &ResultRows) -> Vec<(String, CharsetName)> {
    rows.rows
        .iter()
        .filter_map(|row| {
            let [Some(database), Some(charset), ..] = row.as_slice() else {
                return None;
            };
            Some((database.clone(), charset::canonical(charset, "utf8mb3").into()))
        })
        .collect()
}

/// Reads the rows of [`columns_query`].
///
/// # Errors
/// `ERR_STREAMER_PROTOCOL_UNEXPECTED` where the rows are not what was asked for.
pub fn read_columns(flavor: Flavor, rows: &ResultRows) -> Result<Reading> {
    let mut tables: BTreeMap<TableName, Raw<'_>> = BTreeMap::new();
    let mut order: Vec<Row<'_>> = rows
        .rows
        .iter()
        .map(|row| Row::read(row))
        .collect::<Option<_>>()
        .ok_or_else(unexpected)?;
    order.sort_by_key(|row| (row.part != "T", row.position));
    for row in order {
        let name = TableName::new(row.schema, row.table);
        if row.part == "T" {
            tables.insert(name, Raw::new(&row));
            continue;
        }
        // What is not a table (a view's columns) has no row of its own.
        if let Some(raw) = tables.get_mut(&name) {
            raw.take(row);
        }
    }
    let mut reading = Reading::default();
    for (table, raw) in tables {
        match raw.definition(flavor, &table) {
            Ok(definition) => reading.definitions.push(definition),
            Err(reason) => reading.unreadable.push(Unreadable { table, reason }),
        }
    }
    Ok(reading)
}

fn unexpected() -> Error {
    Error::new(
        Code::ProtocolUnexpected,
        "The server's catalogue views have another shape than was asked for.",
    )
}

/// A row of the query.
struct Row<'a> {
    part: &'a str,
    schema: &'a str,
    table: &'a str,
    name: Option<&'a str>,
    position: u32,
    cells: [Option<&'a str>; 5],
}

impl<'a> Row<'a> {
    fn read(row: &'a [Option<String>]) -> Option<Self> {
        let [part, schema, table, name, position, cells @ ..] = row else {
            return None;
        };
        let [a, b, c, d, e] = cells else {
            return None;
        };
        Some(Self {
            part: part.as_deref()?,
            schema: schema.as_deref()?,
            table: table.as_deref()?,
            name: name.as_deref(),
            position: position.as_deref()?.parse().ok()?,
            cells: [a, b, c, d, e].map(|cell| cell.as_deref()),
        })
    }
}

/// What the views say of one table.
struct Raw<'a> {
    engine: &'a str,
    collation: Option<&'a str>,
    versioned: bool,
    columns: Vec<Row<'a>>,
    key: Vec<&'a str>,
    hashes: BTreeSet<&'a str>,
    checks: Vec<(&'a str, &'a str)>,
}

impl<'a> Raw<'a> {
    fn new(row: &Row<'a>) -> Self {
        Self {
            engine: row.name.unwrap_or_default(),
            collation: row.cells[0],
            versioned: row.cells[1] == Some("SYSTEM VERSIONED"),
            columns: Vec::new(),
            key: Vec::new(),
            hashes: BTreeSet::new(),
            checks: Vec::new(),
        }
    }

    fn take(&mut self, row: Row<'a>) {
        match (row.part, row.name, row.cells) {
            ("C", ..) => self.columns.push(row),
            ("K", Some(column), [Some("PRIMARY"), ..]) => self.key.push(column),
            ("K", _, [Some(index), Some("HASH"), ..]) => {
                self.hashes.insert(index);
            }
            ("X", Some(name), [Some(clause), ..]) => self.checks.push((name, clause)),
            _ => {}
        }
    }

    fn definition(&self, flavor: Flavor, table: &TableName) -> std::result::Result<TableDefinition, String> {
        if self.columns.is_empty() {
            return Err("its columns may not be seen".to_owned());
        }
        let mut columns = Vec::with_capacity(self.columns.len());
        let mut period = false;
        for (index, row) in self.columns.iter().enumerate() {
            // A hole is a column that the account may not see.
            if row.position as usize != index + 1 {
                return Err(format!("its column {} may not be seen", index + 1));
            }
            period |= matches!(row.cells[4], Some("ROW START" | "ROW END"));
            let name = row.name.unwrap_or_default();
            let mut column = self
                .column(flavor, row)
                .ok_or_else(|| format!("the type of its column {name} is not known"))?;
            if self.versioned && row.cells[4] == Some("ROW END") {
                column.generated = Some(Generated::RowEnd);
            }
            columns.push(column);
        }
        let key = self
            .key
            .iter()
            .map(|name| {
                let at = columns.iter().position(|column| *column.name == **name)?;
                u32::try_from(at).ok()
            })
            .collect::<Option<_>>()
            .ok_or("its primary key names a column that may not be seen")?;
        let key = current_key(key, &columns);
        if self.versioned && !period {
            columns.extend(period_columns());
        }
        if flavor == Flavor::Mariadb && !self.engine.eq_ignore_ascii_case("memory") {
            columns.extend((1..=self.hashes.len()).map(hash_column));
        }
        Ok(TableDefinition {
            name: table.clone(),
            columns,
            key,
            charset: self
                .collation
                .and_then(|collation| charset::of_collation(collation, "utf8mb3"))
                .map(Into::into),
        })
    }

    fn column(&self, flavor: Flavor, row: &Row<'_>) -> Option<ColumnDefinition> {
        let [declared, character_set, nullable, extra, _] = row.cells;
        let name = row.name?;
        // A version above all others: what stands in executable comments belongs to the type.
        let session = Session::new(flavor, (99, 0, 0), "");
        let tokens = tokenize(declared?, &session);
        let mut cursor = Cursor::new(&tokens);
        let clause = read_type(&mut cursor, &session)?;
        let is_compressed = cursor.take("compressed");
        cursor.end()?;
        let charset = character_set.map_or_else(
            || charset::BINARY.to_owned(),
            |name| charset::canonical(name, "utf8mb3"),
        );
        // The labels of ENUM and SET stand in the view as they are; their character set says nothing more.
        let labels = matches!(clause.declared, super::ddl::DeclaredType::Labels { .. });
        let default: CharsetName = match labels {
            true => charset::BINARY.into(),
            false => charset.into(),
        };
        let choice = CharsetChoice {
            charset: clause.choice.charset,
            collation: None,
        };
        let (mut kind, mut storage) = clause.declared.resolve(&choice, Some(&default), "utf8mb3")?;
        if let Storage::Varying { compressed, .. } | Storage::Long { compressed, .. } = &mut storage {
            *compressed = is_compressed;
        }
        if let (ColumnKind::Text { charset, .. }, Storage::Long { prefix: 4, .. }) = (&kind, storage)
            && self
                .checks
                .iter()
                .any(|(check, clause)| *check == name && is_json_check(clause, name))
        {
            kind = ColumnKind::JsonText {
                charset: charset.clone(),
            };
        }
        let extra = extra.unwrap_or_default();
        Some(ColumnDefinition {
            name: name.into(),
            kind,
            nullable: nullable == Some("YES"),
            invisible: extra.contains("INVISIBLE"),
            generated: match extra {
                extra if extra.contains("VIRTUAL GENERATED") => Some(Generated::Virtual),
                extra if extra.contains("STORED GENERATED") || extra.contains("PERSISTENT") => {
                    Some(Generated::Stored)
                }
                _ => None,
            },
            storage,
        })
    }
}

/// The clause is quoted as the asking session's `sql_mode` has it.
fn is_json_check(clause: &str, column: &str) -> bool {
    ['`', '"'].into_iter().any(|quote| {
        let doubled = column.replace(quote, &format!("{quote}{quote}"));
        clause == format!("json_valid({quote}{doubled}{quote})")
    })
}

/// The key of the rows that are current: the end of a row, which MariaDB adds to that of a versioned table, tells apart former ones.
pub(crate) fn current_key(mut key: Vec<u32>, columns: &[ColumnDefinition]) -> Vec<u32> {
    let is_end = |index: u32| {
        let column = columns.get(index as usize);
        column.is_some_and(|column| column.generated == Some(Generated::RowEnd))
    };
    key.retain(|&index| !is_end(index));
    key
}

/// What MariaDB adds to a versioned table that declares no period.
pub(crate) fn period_columns() -> [ColumnDefinition; 2] {
    let generated = [("row_start", Generated::Stored), ("row_end", Generated::RowEnd)];
    generated.map(|(name, generated)| ColumnDefinition {
        name: name.into(),
        kind: ColumnKind::Timestamp { fraction: 6 },
        nullable: false,
        invisible: true,
        generated: Some(generated),
        storage: Storage::Period,
    })
}

/// What MariaDB adds for a unique index that is too long for its engine.
fn hash_column(number: usize) -> ColumnDefinition {
    ColumnDefinition {
        name: format!("DB_ROW_HASH_{number}").into(),
        kind: ColumnKind::Integer {
            bytes: 8,
            unsigned: true,
        },
        nullable: true,
        invisible: true,
        generated: Some(Generated::Virtual),
        storage: Storage::Hash,
    }
}
