//! What a statement depends on, by SQLite itself: its authorizer names every table and function while it prepares a statement.
//!
//! Its answer is exact, whatever the statement's form. What it does not tell is which rows are read: that is taken from the
//! text, where the parser knows its form, and else the whole of each table is depended on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::pool::{Seen, Session};
use crate::cache::sql::{Catalog, Plan, Planned, TableFacts, Template, is_deterministic_in_sqlite};
use crate::cache::{Dependency, TableName};
use crate::config::{SQLITE_DATABASE, TableFilter};
use crate::query::backend::Verdict;
use crate::source::sqlite::{TableState, schema_version, shown, table_state};

/// Most plans that are kept.
const MAX_PLANS: usize = 10_000;

/// Tables that hold what their arguments say, and nothing else.
const COMPUTED: [&str; 2] = ["json_each", "json_tree"];

/// What a statement depends on.
#[derive(Debug)]
enum Depends {
    /// Rows that its text picks.
    Rows(Plan),
    /// Whole tables.
    Tables(Arc<[Dependency]>),
}

/// A plan under one version of the definitions.
#[derive(Debug, Clone)]
pub(super) struct Made {
    /// The version.
    pub schema_version: i64,
    depends: Result<Arc<Depends>, Arc<str>>,
}

impl Made {
    /// The dependencies of one call, or why its answer is not kept.
    pub fn bind(&self, integers: &[Option<i128>]) -> Verdict {
        match self.depends.as_deref() {
            Ok(Depends::Rows(plan)) => Ok(plan.bind(integers)),
            Ok(Depends::Tables(tables)) => Ok(Arc::clone(tables)),
            Err(why) => Err(Arc::clone(why)),
        }
    }

    /// For people.
    pub fn explain(&self) -> serde_json::Value {
        let name = |dependency: &Dependency| dependency.table.to_string();
        match self.depends.as_deref() {
            Ok(Depends::Rows(plan)) => {
                let on: Vec<String> = plan.bind(&[]).iter().map(name).collect();
                serde_json::json!({ "cached": true, "dependsOn": on, "columns": plan.columns() })
            }
            Ok(Depends::Tables(tables)) => {
                let on: Vec<String> = tables.iter().map(name).collect();
                serde_json::json!({ "cached": true, "dependsOn": on, "columns": [] })
            }
            Err(why) => serde_json::json!({ "cached": false, "reason": &**why }),
        }
    }
}

/// Plans by text, as long as no definition changes.
#[derive(Default)]
pub(super) struct Plans(Mutex<HashMap<Arc<str>, Made>>);

impl Plans {
    /// Everything is asked for anew.
    pub fn forget(&self) {
        self.0.lock().clear();
    }

    /// The plan of a text.
    pub fn get(&self, sql: &str) -> Option<Made> {
        self.0.lock().get(sql).cloned()
    }

    /// Keeps a plan.
    pub fn put(&self, sql: &str, made: Made) {
        let mut plans = self.0.lock();
        if plans.len() >= MAX_PLANS {
            plans.clear();
        }
        plans.insert(sql.into(), made);
    }
}

/// Makes a plan, inside of a transaction.
pub(super) fn make(session: &Session, sql: &str, filter: &TableFilter) -> rusqlite::Result<Made> {
    let schema_version = schema_version(&session.conn)?;
    let depends = match shown(&session.conn)? {
        None => Err("the database carries no change log yet: the source was not started".into()),
        Some(_) => {
            let seen = session.look(sql)?;
            depends(session, sql, seen, filter)?
        }
    };
    Ok(Made {
        schema_version,
        depends: depends.map(Arc::new),
    })
}

fn depends(
    session: &Session,
    sql: &str,
    seen: Seen,
    filter: &TableFilter,
) -> rusqlite::Result<Result<Depends, Arc<str>>> {
    if seen.is_foreign {
        return Ok(Err("it reads something that is not a table of the file".into()));
    }
    if let Some(name) = seen
        .functions
        .iter()
        .find(|name| !is_deterministic_in_sqlite(name))
    {
        let why = format!("{name}() is not known to give the same result every time");
        return Ok(Err(why.into()));
    }
    let mut catalog = Catalog::new();
    for table in seen
        .tables
        .iter()
        .filter(|name| !COMPUTED.contains(&name.as_str()))
    {
        let name = TableName::new(SQLITE_DATABASE, table);
        let integers = match table_state(&session.conn, table, filter)? {
            Some(TableState {
                integers,
                obstacle: None,
                ..
            }) => integers,
            Some(TableState {
                obstacle: Some(obstacle),
                ..
            }) => return Ok(Err(format!("{name} {obstacle}").into())),
            None => {
                return Ok(Err(
                    format!("{name} is not a table whose changes are logged").into()
                ));
            }
        };
        let facts = TableFacts::Base {
            integers,
            parents: Vec::new(),
            obstacle: None,
        };
        catalog.insert(name, facts);
    }
    if catalog.is_empty() {
        return Ok(Err("it reads no table".into()));
    }
    let tables: BTreeSet<&TableName> = catalog.keys().collect();
    let by_text = Template::parse_sqlite(sql)
        .ok()
        .and_then(|template| match made(&template, &catalog) {
            Planned::Ready(plan) => Some(plan),
            _ => None,
        })
        // The text must name all that SQLite reads.
        .filter(|plan| tables.iter().all(|table| plan.names.contains(table)));
    Ok(Ok(match by_text {
        Some(plan) => Depends::Rows(plan),
        None => Depends::Tables(tables.into_iter().cloned().map(Dependency::on_table).collect()),
    }))
}

/// Names that SQLite did not read are those of common table expressions.
fn made(template: &Template, catalog: &Catalog) -> Planned {
    let mut catalog = catalog.clone();
    loop {
        match Plan::make(template, Some(SQLITE_DATABASE), &catalog) {
            Planned::Lacks(names) => {
                for name in names {
                    catalog.insert(name, TableFacts::Missing);
                }
            }
            planned => return planned,
        }
    }
}
