//! What the log leaves out: rows that foreign keys change.
//!
//! InnoDB carries ON DELETE and ON UPDATE actions out below the log: before MySQL 9.6, and in MariaDB, no event tells of the
//! children's rows (MySQL bug 32506). From 9.6 on, unless `innodb_native_foreign_keys` is on, the server logs them.
//!
//! The constraints are read from the server, so they are those of the present; a backlog from before a constraint was added
//! is told of too much, one from before it was dropped of too little. What follows from a change of the parent is derived
//! as far as it is certain: of a child whose primary key is made of the constraint's columns it is known which row is gone,
//! if there was one. Of everything else it is known only that rows of the table changed. No `delete` is made of either: the
//! log does not say whether a child existed, the server cannot be asked about a moment that is over, and what an earlier event
//! of this process told of it would make the ids of changes depend on where the process began.
//!
//! Sources: the manuals' "FOREIGN KEY Constraints"; `information_schema.KEY_COLUMN_USAGE`, `REFERENTIAL_CONSTRAINTS`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::link::{Flavor, Link};
use super::plan::{Image, Plan, ShapeNumbers};
use super::schema::{TableDefinition, TableName};
use super::session::Server;
use crate::error::Result;

/// The key of the row of a child that goes with its parent's.
pub type Derived = Arc<Image>;

/// A constraint with an action, seen from the parent.
#[derive(Debug, Clone)]
struct Edge {
    child: TableName,
    /// The parent's column, and the child's that refers to it.
    columns: Vec<(String, String)>,
    /// ON DELETE does something.
    on_delete: bool,
    /// What it does is to delete.
    deletes: bool,
    /// ON UPDATE does something.
    on_update: bool,
}

/// All constraints with an action, by parent.
#[derive(Debug, Default)]
pub struct Cascades {
    edges: HashMap<TableName, Vec<Edge>>,
}

/// What the deletion of rows of a table takes along.
#[derive(Debug, Default)]
pub struct Followers {
    /// Rows whose key is known, written with each row of the parent.
    pub derived: Vec<Derived>,
    /// Tables of which no more is known than that rows changed.
    pub wide: BTreeSet<TableName>,
}

impl Cascades {
    /// Reads the constraints that the account may see.
    ///
    /// # Errors
    /// Those of a query.
    pub async fn read(link: &mut Link, server: &Server) -> Result<Self> {
        let mut cascades = Self::default();
        let is_logged = server.flavor == Flavor::Mysql
            && server.version >= (9, 6, 0)
            && !server.is_on("innodb_native_foreign_keys");
        if is_logged {
            return Ok(cascades);
        }
        let rows = link
            .query(
                "SELECT k.TABLE_SCHEMA, k.TABLE_NAME, k.COLUMN_NAME, k.REFERENCED_TABLE_SCHEMA, \
                 k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME, r.DELETE_RULE, r.UPDATE_RULE, k.ORDINAL_POSITION \
                 FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r \
                 ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME \
                 AND r.TABLE_NAME = k.TABLE_NAME WHERE k.REFERENCED_TABLE_NAME IS NOT NULL \
                 ORDER BY k.CONSTRAINT_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION",
            )
            .await?;
        for row in &rows.rows {
            cascades.add(row);
        }
        cascades.edges.retain(|_, edges| {
            edges.retain(|edge| edge.on_delete || edge.on_update);
            !edges.is_empty()
        });
        Ok(cascades)
    }

    /// Takes in one column of a constraint; columns of one constraint follow one another.
    fn add(&mut self, row: &[Option<String>]) {
        let [
            Some(database),
            Some(table),
            Some(column),
            Some(parent_database),
            Some(parent_table),
            Some(parent_column),
            Some(delete_rule),
            Some(update_rule),
            Some(ordinal),
        ] = row
        else {
            return;
        };
        let acts = |rule: &str| matches!(rule, "CASCADE" | "SET NULL" | "SET DEFAULT");
        let parent = TableName::new(parent_database.as_str(), parent_table.as_str());
        let edges = self.edges.entry(parent).or_default();
        if ordinal == "1" {
            edges.push(Edge {
                child: TableName::new(database.as_str(), table.as_str()),
                columns: Vec::new(),
                on_delete: acts(delete_rule),
                deletes: delete_rule == "CASCADE",
                on_update: acts(update_rule),
            });
        }
        if let Some(edge) = edges.last_mut() {
            edge.columns.push((parent_column.clone(), column.clone()));
        }
    }

    /// Whether no constraint has an action.
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// Whether a table is a parent.
    pub fn has(&self, table: &TableName) -> bool {
        self.edges.contains_key(table)
    }

    /// What a deleted row of `plan`'s table takes along. `included` says which tables are delivered, `definition` what is
    /// known of them.
    pub fn of_delete<'a>(
        &self,
        plan: &Plan,
        image: &Image,
        numbers: &mut ShapeNumbers,
        included: impl Fn(&TableName) -> bool,
        definition: impl Fn(&TableName) -> Option<&'a Arc<TableDefinition>>,
    ) -> Followers {
        let mut followers = Followers::default();
        for edge in self.edges.get(plan.name()).into_iter().flatten() {
            if !edge.on_delete {
                continue;
            }
            let derived = definition(&edge.child)
                .filter(|_| edge.deletes && included(&edge.child))
                .and_then(|child| plan.derive(image, child, &edge.columns, numbers));
            match derived {
                Some(derived) => {
                    followers.derived.push(Arc::new(derived));
                    self.descend(&edge.child, &mut followers.wide, &mut HashSet::new());
                }
                None => {
                    followers.wide.insert(edge.child.clone());
                    self.descend(&edge.child, &mut followers.wide, &mut HashSet::new());
                }
            }
        }
        followers.wide.retain(|table| included(table));
        followers
    }

    /// Tables in which rows may change when rows of a table are deleted (or, with `is_update`, their referenced columns
    /// change).
    pub fn wide(
        &self,
        table: &TableName,
        is_update: bool,
        included: impl Fn(&TableName) -> bool,
    ) -> BTreeSet<TableName> {
        let mut wide = BTreeSet::new();
        for edge in self.edges.get(table).into_iter().flatten() {
            if (is_update && edge.on_update) || (!is_update && edge.on_delete) {
                wide.insert(edge.child.clone());
                self.descend(&edge.child, &mut wide, &mut HashSet::new());
            }
        }
        wide.retain(|table| included(table));
        wide
    }

    /// The parent's columns whose change concerns its children.
    pub fn referenced(&self, table: &TableName) -> Vec<&str> {
        self.edges
            .get(table)
            .into_iter()
            .flatten()
            .filter(|edge| edge.on_update)
            .flat_map(|edge| edge.columns.iter().map(|(parent, _)| parent.as_str()))
            .collect()
    }

    fn descend(&self, table: &TableName, into: &mut BTreeSet<TableName>, seen: &mut HashSet<TableName>) {
        if !seen.insert(table.clone()) {
            return;
        }
        for edge in self.edges.get(table).into_iter().flatten() {
            into.insert(edge.child.clone());
            self.descend(&edge.child, into, seen);
        }
    }
}
