//! What a cached value depends on.

use std::fmt;
use std::sync::{Arc, LazyLock};

use super::ledger::Sequence;

/// A table as the ledger names it: lower case, because a name that two tables share by case only drops more than it
/// must, never less.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName(Arc<str>);

impl TableName {
    /// The table `table` of `database`.
    pub fn new(database: &str, table: &str) -> Self {
        // A NUL stands in no identifier, a dot may.
        Self(format!("{}\0{}", database.to_lowercase(), table.to_lowercase()).into())
    }

    /// Database and table.
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('\0').unwrap_or(("", &self.0))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, table) = self.parts();
        write!(f, "{database}.{table}")
    }
}

/// `column IN (values)`, for an integer column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Equality {
    /// Column, lower case.
    pub column: Arc<str>,
    /// The values that it may have.
    pub values: Vec<i128>,
}

/// Rows of a table that a value was made from: those that fulfil every equality; all rows where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dependency {
    /// The table.
    pub table: TableName,
    /// Conjunction.
    pub equalities: Vec<Equality>,
}

/// What a value depends on, and since when definitions are as this was derived from.
#[derive(Debug, Clone)]
pub struct Grounds {
    /// The dependencies.
    pub on: Arc<[Dependency]>,
    /// The newest change of any definition.
    pub defined: Sequence,
}

impl Dependency {
    /// All definitions: of columns, keys, and views.
    pub fn on_definitions() -> &'static Self {
        static DEFINITIONS: LazyLock<Dependency> =
            LazyLock::new(|| Dependency::on_table(TableName::new("", "")));
        &DEFINITIONS
    }

    /// All rows of a table.
    pub fn on_table(table: TableName) -> Self {
        Self {
            table,
            equalities: Vec::new(),
        }
    }

    /// Bytes in memory.
    pub fn weight(&self) -> usize {
        let values = self
            .equalities
            .iter()
            .map(|equality| 48 + equality.values.len() * size_of::<i128>());
        40 + values.sum::<usize>()
    }
}
