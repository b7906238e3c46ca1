//! Look-ups of one value of a column, many of which can be asked as one.
//!
//! `SELECT a, b FROM t WHERE id = ?` becomes `SELECT a, b, id FROM t WHERE id IN (?, …)`: the last column tells which rows answer which
//! look-up. Only plain columns are asked for, so no row's answer depends on which other rows are asked for with it; and only by
//! integer columns (see [`Plan`](super::Plan)), where equality is the same to us as to the server.

use sqlparser::ast::{
    Expr, Query, Select, SelectItem, SetExpr, Statement, TableFactor, TableWithJoins, Value,
};
use sqlparser::dialect::Dialect;
use sqlparser::parser::Parser;

use super::template::equality;

/// Most look-ups that are asked as one.
pub const MAX_TOGETHER: usize = 64;

/// A look-up, as far as its text tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// The column whose value is looked up, lower case.
    pub column: String,
    /// The statement for many values, up to and with the opening parenthesis of their list.
    head: String,
}

impl Point {
    /// Reads a query; `None` where it is anything else than a look-up.
    pub(super) fn read(query: &Query, dialect: &dyn Dialect) -> Option<Self> {
        let SetExpr::Select(select) = &*query.body else {
            return None;
        };
        let (projection, table, condition) = pieces(select)?;
        // Nothing stands in it but these: no order, no limit, no clause that is not known here.
        let text = query.to_string();
        if text != format!("SELECT {projection} FROM {table} WHERE {condition}") {
            return None;
        }
        // And the text says what the query said.
        let again = Parser::new(dialect)
            .try_with_sql(&text)
            .and_then(|mut parser| parser.parse_statements())
            .ok()?;
        match again.as_slice() {
            [Statement::Query(again)] if **again == *query => {}
            _ => return None,
        }
        let (column, name) = looked_up(condition)?;
        Some(Self {
            column: name,
            head: format!("SELECT {projection}, {column} FROM {table} WHERE {column} IN ("),
        })
    }

    /// The statement for this many values, and the number of its parameters: more than asked for, so that few different statements
    /// are prepared. The last column of its rows is the value that they answer.
    pub fn statement(&self, values: usize) -> (String, usize) {
        let parameters = values.next_power_of_two();
        (
            format!("{}{})", self.head, vec!["?"; parameters].join(", ")),
            parameters,
        )
    }
}

/// Columns, table and condition.
fn pieces(select: &Select) -> Option<(String, &TableFactor, &Expr)> {
    let [TableWithJoins { relation, joins }] = select.from.as_slice() else {
        return None;
    };
    let is_plain = joins.is_empty()
        && matches!(relation, TableFactor::Table { .. })
        && select.projection.iter().all(is_column);
    let projection: Vec<String> = select.projection.iter().map(ToString::to_string).collect();
    is_plain.then_some((projection.join(", "), relation, select.selection.as_ref()?))
}

fn is_column(item: &SelectItem) -> bool {
    let is_name = |expression: &Expr| matches!(expression, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    match item {
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => true,
        SelectItem::UnnamedExpr(expression) => is_name(expression),
        SelectItem::ExprWithAlias { expr, .. } => is_name(expr),
        _ => false,
    }
}

/// The column of `column = ?`, as it is written and by its name.
fn looked_up(condition: &Expr) -> Option<(&Expr, String)> {
    let (column, name, value) = equality(condition)?;
    let is_parameter = match value {
        Expr::Value(value) => matches!(&value.value, Value::Placeholder(text) if text == "?"),
        _ => false,
    };
    is_parameter.then_some((column, name))
}
