//! A statement whose tables are known.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::super::dependency::{Dependency, Equality, TableName};
use super::Uncacheable;
use super::point::Point;
use super::template::{Operand, TableUse, Template};

/// Deepest nesting of views.
const MAX_VIEWS: usize = 16;

/// What is known of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableFacts {
    /// It is not there, or its name is that of a common table expression.
    Missing,
    /// A table.
    Base {
        /// Columns of integer types, lower case.
        integers: BTreeSet<String>,
        /// Tables from which a foreign key changes this one without a word in the log (CASCADE, SET NULL).
        parents: Vec<TableName>,
        /// Why its changes cannot be followed; `None` where they can.
        obstacle: Option<String>,
    },
    /// A view, as the server prints its definition.
    View(String),
}

/// What is known of tables, by name.
pub type Catalog = HashMap<TableName, TableFacts>;

/// What making a plan came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// A plan.
    Ready(Plan),
    /// The catalog lacks these; asked again with them it goes further.
    Lacks(Vec<TableName>),
    /// Never cached.
    Refused(Uncacheable),
}

/// A dependency whose parameters are open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    table: TableName,
    equalities: Vec<(Arc<str>, Vec<Operand>)>,
}

/// What a statement depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    open: Vec<Open>,
    /// Every table and view that it names: a definition that changes makes it void.
    pub names: Vec<TableName>,
    /// Parameters that it takes.
    pub parameters: usize,
    /// What it looks up, where many look-ups can be asked as one.
    pub point: Option<Point>,
    /// The views that it reads, with the definitions that were taken to be theirs.
    pub views: Vec<(TableName, String)>,
}

impl Plan {
    /// Resolves the names of a template; those without a database are of `database`.
    pub fn make(template: &Template, database: Option<&str>, catalog: &Catalog) -> Planned {
        let mut making = Making {
            catalog,
            open: Vec::new(),
            names: BTreeSet::new(),
            lacks: Vec::new(),
            views: Vec::new(),
        };
        if let Err(refusal) = making.template(template, database, 0) {
            return Planned::Refused(refusal);
        }
        if !making.lacks.is_empty() {
            return Planned::Lacks(making.lacks);
        }
        if making.open.is_empty() {
            return Planned::Refused(Uncacheable::because("it reads no table"));
        }
        let point = template
            .point
            .clone()
            .filter(|point| making.tells_apart(template, point));
        Planned::Ready(Plan {
            point,
            open: making.open,
            names: making.names.into_iter().collect(),
            parameters: template.parameters,
            views: making.views,
        })
    }

    /// Columns by whose values changes are told apart, as `database.table.column`.
    pub fn columns(&self) -> Vec<String> {
        let of = |open: &Open| {
            let table = open.table.clone();
            let named = open
                .equalities
                .iter()
                .map(move |(column, _)| format!("{table}.{column}"));
            named.collect::<Vec<_>>()
        };
        self.open.iter().flat_map(of).collect()
    }

    /// The dependencies of one call. `integers` are its parameters, those that are no integers as `None`.
    pub fn bind(&self, integers: &[Option<i128>]) -> Arc<[Dependency]> {
        let value = |operand: &Operand| match operand {
            Operand::Literal(value) => Some(*value),
            Operand::Parameter(index) => integers.get(*index).copied().flatten(),
        };
        let bound = self.open.iter().map(|open| Dependency {
            table: open.table.clone(),
            equalities: open
                .equalities
                .iter()
                .filter_map(|(column, operands)| {
                    let values: Option<Vec<i128>> = operands.iter().map(value).collect();
                    Some(Equality {
                        column: Arc::clone(column),
                        values: values?,
                    })
                })
                .collect(),
        });
        bound.collect()
    }
}

struct Making<'a> {
    catalog: &'a Catalog,
    open: Vec<Open>,
    names: BTreeSet<TableName>,
    lacks: Vec<TableName>,
    views: Vec<(TableName, String)>,
}

impl Making<'_> {
    fn template(
        &mut self,
        template: &Template,
        database: Option<&str>,
        depth: usize,
    ) -> Result<(), Uncacheable> {
        if depth > MAX_VIEWS {
            return Err(Uncacheable::because("views are nested too deep"));
        }
        for place in &template.uses {
            let is_expression =
                place.database.is_none() && template.expressions.contains(&place.table.to_lowercase());
            let Some(of) = place.database.as_deref().or(database) else {
                if is_expression {
                    continue;
                }
                return Err(Uncacheable::because("a table's database is not known"));
            };
            let name = TableName::new(of, &place.table);
            self.names.insert(name.clone());
            match self.catalog.get(&name) {
                None => self.lacks.push(name),
                // A table of that name, too, is depended on: which of the two is meant where is the server's to know.
                Some(TableFacts::Missing) if is_expression => {}
                Some(TableFacts::Missing) => {
                    return Err(Uncacheable::because(format!(
                        "{name} is not known, or not shown to this user"
                    )));
                }
                Some(TableFacts::View(definition)) => {
                    let view = Template::parse(definition)
                        .map_err(|why| Uncacheable::because(format!("of the view {name}: {}", why.0)))?;
                    let entry = (name, definition.clone());
                    if !self.views.contains(&entry) {
                        self.views.push(entry);
                    }
                    // Another view of that name reads other tables.
                    self.push(Open {
                        table: Dependency::on_definitions().table.clone(),
                        equalities: Vec::new(),
                    });
                    self.template(&view, Some(of), depth + 1)?;
                }
                Some(TableFacts::Base {
                    integers,
                    parents,
                    obstacle,
                }) => {
                    if let Some(obstacle) = obstacle {
                        return Err(Uncacheable::because(format!("{name} {obstacle}")));
                    }
                    self.base(name, place, integers, parents);
                }
            }
        }
        Ok(())
    }

    /// Whether equality of the column is that of integers, and its table no view.
    fn tells_apart(&self, template: &Template, point: &Point) -> bool {
        let facts = self.names.first().and_then(|name| self.catalog.get(name));
        let is_alone = template.uses.len() == 1 && self.names.len() == 1;
        is_alone
            && matches!(facts, Some(TableFacts::Base { integers, .. }) if integers.contains(&point.column))
    }

    fn base(
        &mut self,
        table: TableName,
        place: &TableUse,
        integers: &BTreeSet<String>,
        parents: &[TableName],
    ) {
        let mut equalities: Vec<(Arc<str>, Vec<Operand>)> = Vec::new();
        for (column, operands) in &place.equalities {
            if integers.contains(column) {
                equalities.push((Arc::from(column.as_str()), operands.clone()));
            }
        }
        if !parents.is_empty() {
            // Rows that a foreign key changes are not in the log, so no row of this table can be told from another.
            for parent in parents {
                self.push(Open {
                    table: parent.clone(),
                    equalities: Vec::new(),
                });
            }
        }
        self.push(Open { table, equalities });
    }

    fn push(&mut self, open: Open) {
        if !self.open.contains(&open) {
            self.open.push(open);
        }
    }
}
