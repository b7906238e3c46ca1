//! A statement read without knowledge of any schema.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, Function, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select,
    SelectFlavor, SetExpr, TableFactor, TableWithJoins, UnaryOperator, Value, ValueWithSpan, Visit, Visitor,
};
use sqlparser::dialect::{Dialect, MySqlDialect, SQLiteDialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Token};

use super::Uncacheable;
use super::functions::{is_deterministic, is_deterministic_in_sqlite, is_niladic};
use super::point::Point;

/// Longest text that is read.
const MAX_BYTES: usize = 256 << 10;

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 64;

/// Most values of one equality; longer lists depend on the whole table.
const MAX_VALUES: usize = 1_000;

/// What a column is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// An integer in the text.
    Literal(i128),
    /// The parameter with this index.
    Parameter(usize),
}

/// A table in one place of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableUse {
    /// Database, where the text names one.
    pub database: Option<String>,
    /// Table, view, or common table expression.
    pub table: String,
    /// Columns that must have one of these values, by the conditions that hold for every row of the place.
    pub equalities: Vec<(String, Vec<Operand>)>,
}

/// A statement that may be cached, as far as its text tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Every table that it names.
    pub uses: Vec<TableUse>,
    /// Names of common table expressions, lower case.
    pub expressions: Vec<String>,
    /// Parameters.
    pub parameters: usize,
    /// What it looks up, where it is nothing but a look-up; not told in SQLite's dialect.
    pub point: Option<Point>,
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// Why its result is not cached.
    pub fn parse(text: &str) -> Result<Self, Uncacheable> {
        check_length(text)?;
        check_text(text)?;
        let template = Self::read(text, &MySqlDialect {}, is_deterministic)?;
        Ok(Self {
            point: Point::read(text),
            ..template
        })
    }

    /// Reads a text in SQLite's dialect.
    ///
    /// # Errors
    /// What is not known here.
    pub fn parse_sqlite(text: &str) -> Result<Self, Uncacheable> {
        check_length(text)?;
        Self::read(text, &SQLiteDialect {}, is_deterministic_in_sqlite)
    }

    fn read(text: &str, dialect: &dyn Dialect, may_call: fn(&str) -> bool) -> Result<Self, Uncacheable> {
        let query = parse_query(text, dialect)?;
        let mut reading = Reading {
            uses: Vec::new(),
            relations: Vec::new(),
            expressions: Vec::new(),
            placeholders: Vec::new(),
            may_call,
        };
        if let ControlFlow::Break(refusal) = query.visit(&mut reading) {
            return Err(refusal);
        }
        reading.finish()
    }
}

/// The one query of a text. Nothing else is given to the parser: so what reads every other statement is no part of the addon, which
/// it would make 0.4 MB larger.
fn parse_query(text: &str, dialect: &dyn Dialect) -> Result<Box<Query>, Uncacheable> {
    let unknown = || Uncacheable::because("the statement has a form that is not known here");
    let no_single = || Uncacheable::because("it is not a single SELECT");
    let mut parser = Parser::new(dialect)
        .with_recursion_limit(MAX_DEPTH)
        .try_with_sql(text)
        .map_err(|_| unknown())?;
    while parser.consume_token(&Token::SemiColon) {}
    if !begins_query(&parser.peek_token_ref().token) {
        return Err(no_single());
    }
    let query = parser.parse_query().map_err(|_| unknown())?;
    let is_over = parser.consume_token(&Token::SemiColon);
    while parser.consume_token(&Token::SemiColon) {}
    match parser.peek_token_ref().token {
        Token::EOF => Ok(query),
        _ if is_over => Err(no_single()),
        _ => Err(unknown()),
    }
}

fn begins_query(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::FROM
        ),
        Token::LParen => true,
        _ => false,
    }
}

fn check_length(text: &str) -> Result<(), Uncacheable> {
    if text.len() > MAX_BYTES {
        return Err(Uncacheable::because("the statement is longer than 256 KiB"));
    }
    Ok(())
}

/// What the server's lexer would take for something else than the parser's.
fn check_text(text: &str) -> Result<(), Uncacheable> {
    if ["/*!", "/*M!", "/*m!", "/*+"]
        .iter()
        .any(|hint| text.contains(hint))
    {
        return Err(Uncacheable::because(
            "it holds a comment that the server executes",
        ));
    }
    // Also inside of text, where they would be harmless: rare, and not worth a lexer.
    if ["||", "&&"].iter().any(|operator| text.contains(operator)) {
        return Err(Uncacheable::because(
            "it holds || or &&, which servers read differently by their settings",
        ));
    }
    let is_double_minus = text
        .match_indices("--")
        .any(|(at, _)| !text[at + 2..].starts_with([' ', '\n', '\t', '\r']));
    if is_double_minus {
        return Err(Uncacheable::because(
            "it holds -- without a space, which is no comment",
        ));
    }
    Ok(())
}

struct Reading {
    /// Whether a function, lower case, may stand in what is cached.
    may_call: fn(&str) -> bool,
    uses: Vec<(TableUse, PendingEqualities)>,
    relations: Vec<(Option<String>, String)>,
    expressions: Vec<String>,
    placeholders: Vec<Location>,
}

/// An operand whose parameter has no number yet.
#[derive(Debug, Clone)]
enum Pending {
    Literal(i128),
    At(Location),
}

/// Columns with what they are compared with.
type PendingEqualities = Vec<(String, Vec<Pending>)>;

type Step = ControlFlow<Uncacheable>;

fn refuse(reason: impl Into<String>) -> Step {
    ControlFlow::Break(Uncacheable::because(reason))
}

impl Visitor for Reading {
    type Break = Uncacheable;

    fn pre_visit_query(&mut self, query: &Query) -> Step {
        if !query.locks.is_empty() {
            return refuse("it locks rows (FOR UPDATE, FOR SHARE)");
        }
        let is_plain = query.fetch.is_none()
            && query.for_clause.is_none()
            && query.settings.is_none()
            && query.format_clause.is_none()
            && query.pipe_operators.is_empty();
        if !is_plain {
            return refuse("it has a clause that is not known here");
        }
        if let Some(with) = &query.with {
            for expression in &with.cte_tables {
                self.expressions.push(expression.alias.name.value.to_lowercase());
            }
        }
        match is_read(&query.body) {
            true => ControlFlow::Continue(()),
            false => refuse("it is not only a SELECT"),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> Step {
        if select.into.is_some() {
            return refuse("it writes (INTO)");
        }
        let calculates = select
            .select_modifiers
            .as_ref()
            .is_some_and(|modifiers| modifiers.sql_calc_found_rows);
        let is_plain = select.optimizer_hints.is_empty()
            && select.top.is_none()
            && select.exclude.is_none()
            && select.lateral_views.is_empty()
            && select.prewhere.is_none()
            && select.connect_by.is_empty()
            && select.cluster_by.is_empty()
            && select.distribute_by.is_empty()
            && select.sort_by.is_empty()
            && select.qualify.is_none()
            && select.value_table_mode.is_none()
            && select.flavor == SelectFlavor::Standard;
        if calculates || !is_plain {
            return refuse(
                "it has a clause that is not known here, or leaves something behind (SQL_CALC_FOUND_ROWS)",
            );
        }
        self.scope(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> Step {
        match name_of(relation) {
            Some(name) => {
                self.relations.push(name);
                ControlFlow::Continue(())
            }
            None => refuse("it names a table in a form that is not known here"),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Step {
        match factor {
            TableFactor::Table {
                args: None,
                version: None,
                sample: None,
                json_path: None,
                with_ordinality: false,
                with_hints,
                ..
            } if with_hints.is_empty() => ControlFlow::Continue(()),
            TableFactor::Derived { sample: None, .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::JsonTable { .. } => ControlFlow::Continue(()),
            _ => refuse("it reads from something that is neither table nor sub-select"),
        }
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> Step {
        match expression {
            Expr::Function(function) => check_function(function, self.may_call),
            Expr::BinaryOp { op, .. } => check_operator(op),
            Expr::UnaryOp { op, .. } => match op {
                UnaryOperator::Plus
                | UnaryOperator::Minus
                | UnaryOperator::Not
                | UnaryOperator::BitwiseNot => ControlFlow::Continue(()),
                _ => refuse(format!("the operator {op} is not known here")),
            },
            expression if is_known(expression) => ControlFlow::Continue(()),
            _ => refuse("it holds an expression that is not known here"),
        }
    }

    fn pre_visit_ident(&mut self, ident: &Ident) -> Step {
        if ident.value.starts_with('@') {
            return refuse("it reads a variable");
        }
        if ident.quote_style.is_none() && is_niladic(&ident.value.to_lowercase()) {
            return refuse(format!("{} is not the same every time", ident.value));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> Step {
        match &value.value {
            Value::Placeholder(text) if text == "?" => {
                self.placeholders.push(value.span.start);
                ControlFlow::Continue(())
            }
            Value::Placeholder(text) if text.starts_with('@') => refuse("it reads a variable"),
            Value::Placeholder(_) => refuse("its parameters are not written as ?"),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn is_read(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => true,
        SetExpr::SetOperation { left, right, .. } => is_read(left) && is_read(right),
        _ => false,
    }
}

fn check_function(function: &Function, may_call: fn(&str) -> bool) -> Step {
    let [part] = function.name.0.as_slice() else {
        return refuse("it calls a stored function");
    };
    let Some(ident) = part.as_ident() else {
        return refuse("it calls something that is not known here");
    };
    let name = ident.value.to_lowercase();
    if may_call(&name) {
        ControlFlow::Continue(())
    } else {
        refuse(format!(
            "{name}() is not known to give the same result every time"
        ))
    }
}

fn check_operator(operator: &BinaryOperator) -> Step {
    use BinaryOperator as Op;
    match operator {
        Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo | Op::MyIntegerDivide => {}
        Op::Gt | Op::Lt | Op::GtEq | Op::LtEq | Op::Spaceship | Op::Eq | Op::NotEq => {}
        Op::And | Op::Or | Op::BitwiseOr | Op::BitwiseAnd | Op::BitwiseXor => {}
        Op::PGBitwiseShiftLeft | Op::PGBitwiseShiftRight | Op::Arrow | Op::LongArrow | Op::Regexp => {}
        // `||`, `&&`, `XOR`: the parser's precedence is not the server's. `:=` writes a variable.
        other => return refuse(format!("the operator {other} is not known here")),
    }
    ControlFlow::Continue(())
}

fn is_known(expression: &Expr) -> bool {
    matches!(
        expression,
        Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::Between { .. }
            | Expr::Like { .. }
            | Expr::RLike { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. }
            | Expr::Convert { .. }
            | Expr::Cast { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Collate { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::Prefixed { .. }
            | Expr::TypedString(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_)
            | Expr::Tuple(_)
            | Expr::Interval(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..)
            | Expr::MemberOf(_)
    )
}

/// Database and table.
fn name_of(name: &ObjectName) -> Option<(Option<String>, String)> {
    let mut parts = name
        .0
        .iter()
        .map(|part| part.as_ident().map(|ident| ident.value.clone()));
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Some(table)), None, None) => Some((None, table)),
        (Some(Some(database)), Some(Some(table)), None) => Some((Some(database), table)),
        _ => None,
    }
}

/// A table of a FROM, under the name by which columns refer to it.
struct Instance {
    /// Lower case; `None` for what is not a table.
    name: Option<String>,
    table: Option<(Option<String>, String)>,
}

impl Reading {
    /// Takes in the tables of a SELECT with the equalities that hold for all of its rows.
    fn scope(&mut self, select: &Select) {
        let mut instances = Vec::new();
        let mut conditions = Vec::new();
        for table in &select.from {
            collect(table, &mut instances, &mut conditions);
        }
        conditions.extend(&select.selection);
        let mut equalities = Vec::new();
        for condition in conditions {
            conjuncts(condition, &mut equalities);
        }
        let sole = instances.len() == 1;
        for instance in &instances {
            let Some((database, table)) = &instance.table else {
                continue;
            };
            let is_named_once = instances
                .iter()
                .filter(|other| other.name == instance.name)
                .count()
                == 1;
            let own = equalities.iter().filter(|(qualifier, ..)| match qualifier {
                None => sole,
                Some(qualifier) => is_named_once && instance.name.as_ref() == Some(qualifier),
            });
            let own = own.map(|(_, column, operands)| (column.clone(), operands.clone()));
            let place = TableUse {
                database: database.clone(),
                table: table.clone(),
                equalities: Vec::new(),
            };
            self.uses.push((place, own.collect()));
        }
    }

    fn finish(mut self) -> Result<Template, Uncacheable> {
        self.placeholders.sort_by_key(|place| (place.line, place.column));
        if self
            .placeholders
            .windows(2)
            .any(|pair| pair.first() == pair.last())
        {
            return Err(Uncacheable::because("its parameters cannot be told apart"));
        }
        let number = |place: &Location| self.placeholders.iter().position(|other| other == place);
        let mut uses = Vec::new();
        for (mut place, equalities) in self.uses {
            for (column, operands) in equalities {
                let operands: Option<Vec<Operand>> = operands
                    .iter()
                    .map(|operand| match operand {
                        Pending::Literal(value) => Some(Operand::Literal(*value)),
                        Pending::At(place) => number(place).map(Operand::Parameter),
                    })
                    .collect();
                place
                    .equalities
                    .extend(operands.map(|operands| (column, operands)));
            }
            uses.push(place);
        }
        // What was named anywhere else counts as a whole.
        for (database, table) in self.relations {
            if !uses
                .iter()
                .any(|place| place.database == database && place.table == table)
            {
                uses.push(TableUse {
                    database,
                    table,
                    equalities: Vec::new(),
                });
            }
        }
        if uses.is_empty() {
            return Err(Uncacheable::because("it reads no table"));
        }
        Ok(Template {
            uses,
            expressions: self.expressions,
            parameters: self.placeholders.len(),
            point: None,
        })
    }
}

/// Tables of one element of FROM; conditions of its inner joins.
fn collect<'a>(table: &'a TableWithJoins, instances: &mut Vec<Instance>, conditions: &mut Vec<&'a Expr>) {
    collect_factor(&table.relation, instances);
    // An inner join's condition holds for every row only where no outer join follows that brings rows back.
    let is_inner = table
        .joins
        .iter()
        .all(|join| inner_condition(&join.join_operator).is_some());
    for join in &table.joins {
        collect_factor(&join.relation, instances);
        if let (true, Some(Some(condition))) = (is_inner, inner_condition(&join.join_operator)) {
            conditions.push(condition);
        }
    }
}

fn collect_factor(factor: &TableFactor, instances: &mut Vec<Instance>) {
    match factor {
        TableFactor::Table { name, alias, .. } => {
            let table = name_of(name);
            let called = match (alias, &table) {
                (Some(alias), _) => Some(alias.name.value.to_lowercase()),
                (None, Some((_, table))) => Some(table.to_lowercase()),
                (None, None) => None,
            };
            instances.push(Instance { name: called, table });
        }
        TableFactor::NestedJoin { table_with_joins, .. } => {
            // The nested join may stand on the outer side of another: its own conditions are left out.
            let mut own = Vec::new();
            collect(table_with_joins, instances, &mut own);
        }
        TableFactor::Derived { alias, .. } | TableFactor::JsonTable { alias, .. } => {
            let name = alias.as_ref().map(|alias| alias.name.value.to_lowercase());
            instances.push(Instance { name, table: None });
        }
        _ => instances.push(Instance {
            name: None,
            table: None,
        }),
    }
}

/// The condition of an inner join, where it has one; `None` for an outer join.
fn inner_condition(operator: &JoinOperator) -> Option<Option<&Expr>> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::CrossJoin(constraint)
        | JoinOperator::StraightJoin(constraint) => Some(match constraint {
            JoinConstraint::On(condition) => Some(condition),
            _ => None,
        }),
        _ => None,
    }
}

type Found = (Option<String>, String, Vec<Pending>);

/// The equalities of a conjunction.
fn conjuncts(condition: &Expr, found: &mut Vec<Found>) {
    match condition {
        Expr::Nested(inner) => conjuncts(inner, found),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            conjuncts(left, found);
            conjuncts(right, found);
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Eq,
            right,
        } => {
            let pair = column(left)
                .zip(operand(right))
                .or_else(|| column(right).zip(operand(left)));
            if let Some(((qualifier, name), operand)) = pair {
                found.push((qualifier, name, vec![operand]));
            }
        }
        Expr::InList {
            expr,
            list,
            negated: false,
        } if list.len() <= MAX_VALUES => {
            let operands: Option<Vec<Pending>> = list.iter().map(operand).collect();
            if let Some(((qualifier, name), operands)) = column(expr).zip(operands) {
                found.push((qualifier, name, operands));
            }
        }
        _ => {}
    }
}

/// Qualifier and name, lower case.
fn column(expression: &Expr) -> Option<(Option<String>, String)> {
    match expression {
        Expr::Nested(inner) => column(inner),
        Expr::Identifier(name) => Some((None, name.value.to_lowercase())),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [qualifier, name] => Some((Some(qualifier.value.to_lowercase()), name.value.to_lowercase())),
            _ => None,
        },
        _ => None,
    }
}

fn operand(expression: &Expr) -> Option<Pending> {
    match expression {
        Expr::Nested(inner) => operand(inner),
        Expr::Value(value) => match &value.value {
            Value::Number(text, false) => text.parse().ok().map(Pending::Literal),
            Value::Placeholder(text) if text == "?" => Some(Pending::At(value.span.start)),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match operand(expr)? {
            Pending::Literal(value) => value.checked_neg().map(Pending::Literal),
            Pending::At(_) => None,
        },
        _ => None,
    }
}
