//! By which columns rows are put in order, and how a value goes back to the server.

use std::collections::HashSet;

use mysql_async::{Conn, Value};

use super::super::link::quote_identifier;
use super::connection::texts;
use super::view::quoted;
use crate::error::Result;
use crate::source::{Cell, Cursor, TableRef, from_hexadecimal};

/// The name of every primary key.
const PRIMARY: &str = "PRIMARY";

/// How values of a column are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Integers, years.
    Integer,
    /// ENUM, SET, BIT: as the number that they are sorted by.
    Number,
    /// FLOAT, DOUBLE: as a double, which holds both exactly.
    Real,
    /// As text of this type: DECIMAL(p,s), DATE, DATETIME(6), TIME(6).
    Cast(String),
    /// BINARY, VARBINARY.
    Bytes,
    /// Text of this character set and collation, by its bytes.
    Text(String, String),
    /// UUID, INET4, INET6: as text.
    Printed,
}

/// A column by which rows are put in order.
#[derive(Debug, Clone)]
struct Column {
    /// Quoted.
    name: String,
    kind: Kind,
}

/// A table as far as reading its rows needs it.
#[derive(Debug, Clone)]
pub struct Described {
    /// Which.
    pub table: TableRef,
    /// Names of its columns.
    pub columns: Vec<String>,
    /// Names, lower case, of text columns that hold JSON.
    pub json: HashSet<String>,
    /// Names of the primary key's columns.
    pub key: Vec<String>,
    /// About how long a row is.
    pub row_bytes: Option<u64>,
    index: Option<String>,
    order: Vec<Column>,
}

impl Described {
    /// Rows have an order in which they can be read in parts.
    pub fn has_order(&self) -> bool {
        !self.order.is_empty()
    }

    /// Columns behind those of the table: what puts a row in order.
    pub fn order_columns(&self) -> usize {
        self.order.len()
    }

    /// What must not change between two parts.
    pub fn order_name(&self) -> String {
        let columns = self
            .order
            .iter()
            .map(|column| format!("{} {:?}", column.name, column.kind));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// Whether a row that was kept is one in this order.
    pub fn holds(&self, after: &Cursor) -> bool {
        after.order == self.order_name()
            && after.cells.len() == self.order.len()
            && self
                .order
                .iter()
                .zip(&after.cells)
                .all(|(column, cell)| column.literal(cell).is_some())
    }

    /// The statement that reads rows behind `after`.
    ///
    /// # Errors
    /// `ERR_STREAMER_ARGUMENT_INVALID` for a name that no server can hold.
    pub fn select(&self, after: Option<&Cursor>, limit: u32) -> Result<String> {
        let mut columns = Vec::with_capacity(self.columns.len() + self.order.len());
        for name in &self.columns {
            columns.push(quote_identifier(name)?);
        }
        columns.extend(self.order.iter().map(Column::shown));
        let (columns, table) = (columns.join(", "), quoted(&self.table)?);
        let Some(index) = self.index.as_ref().filter(|_| self.has_order()) else {
            return Ok(format!("SELECT {columns} FROM {table}"));
        };
        let index = quote_identifier(index)?;
        let behind = after.and_then(|after| self.behind(after)).unwrap_or_default();
        let order: Vec<&str> = self.order.iter().map(|column| column.name.as_str()).collect();
        let order = order.join(", ");
        Ok(format!(
            "SELECT {columns} FROM {table} FORCE INDEX ({index}) {behind} ORDER BY {order} LIMIT {limit}"
        ))
    }

    /// `(a, b) > (1, 2)` in a form in which servers use an index: `a >= 1 AND (a > 1 OR a = 1 AND b > 2)`.
    fn behind(&self, after: &Cursor) -> Option<String> {
        let pairs: Option<Vec<(String, String)>> = self
            .order
            .iter()
            .zip(&after.cells)
            .map(|(column, cell)| Some((column.compared(), column.literal(cell)?)))
            .collect();
        let pairs = pairs?;
        let mut terms = Vec::with_capacity(pairs.len());
        for (index, (name, value)) in pairs.iter().enumerate() {
            let mut term: Vec<String> = pairs
                .iter()
                .take(index)
                .map(|(name, value)| format!("{name} = {value}"))
                .collect();
            term.push(format!("{name} > {value}"));
            terms.push(format!("({})", term.join(" AND ")));
        }
        let (first, value) = pairs.first()?;
        Some(format!("WHERE {first} >= {value} AND ({})", terms.join(" OR ")))
    }

    /// The values that put a row in order.
    pub fn cells(&self, values: &[Value]) -> Vec<Cell> {
        let kinds = self.order.iter().map(|column| &column.kind);
        kinds.zip(values).map(|(kind, value)| cell(kind, value)).collect()
    }
}

fn cell(kind: &Kind, value: &Value) -> Cell {
    match value {
        Value::Int(value) => Cell::Int(*value),
        Value::UInt(value) => Cell::Uint(*value),
        Value::Float(value) => Cell::Real(f64::from(*value).to_bits()),
        Value::Double(value) => Cell::Real(value.to_bits()),
        Value::Bytes(bytes) if *kind == Kind::Bytes => Cell::bytes(bytes),
        Value::Bytes(bytes) => Cell::text(bytes),
        _ => Cell::Null,
    }
}

impl Column {
    /// What is selected to put a row in order.
    fn shown(&self) -> String {
        let name = &self.name;
        match &self.kind {
            Kind::Integer | Kind::Real | Kind::Bytes => name.clone(),
            Kind::Number => format!("{name} + 0"),
            Kind::Cast(_) | Kind::Printed => format!("CAST({name} AS CHAR)"),
            Kind::Text(..) => format!("CAST({name} AS BINARY)"),
        }
    }

    /// What is compared with a literal.
    fn compared(&self) -> String {
        match self.kind {
            Kind::Number => format!("{} + 0", self.name),
            _ => self.name.clone(),
        }
    }

    /// A value for a statement; `None` where it is none of this column. What is not a number goes as hexadecimal digits.
    fn literal(&self, cell: &Cell) -> Option<String> {
        let is_hexadecimal = |text: &str| from_hexadecimal(text).is_some();
        match (&self.kind, cell) {
            (Kind::Integer | Kind::Number, Cell::Int(value)) => Some(value.to_string()),
            (Kind::Integer | Kind::Number, Cell::Uint(value)) => Some(value.to_string()),
            (Kind::Number, Cell::Real(bits)) => Some(format!("{:.0}", f64::from_bits(*bits))),
            (Kind::Real, Cell::Real(bits)) => {
                let value = f64::from_bits(*bits);
                value.is_finite().then(|| format!("{value:e}"))
            }
            (Kind::Bytes, Cell::Bytes(text)) if is_hexadecimal(text) => Some(format!("X'{text}'")),
            (Kind::Text(charset, collation), Cell::Text(text)) if is_hexadecimal(text) => {
                Some(format!("_{charset} X'{text}' COLLATE {collation}"))
            }
            (Kind::Cast(kind), Cell::Text(text)) => {
                let text = String::from_utf8(from_hexadecimal(text)?).ok()?;
                let is_plain = text
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || b"-.: ".contains(&byte));
                is_plain.then(|| format!("CAST('{text}' AS {kind})"))
            }
            (Kind::Printed, Cell::Text(text)) => {
                let text = String::from_utf8(from_hexadecimal(text)?).ok()?;
                let is_plain = text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte));
                is_plain.then(|| format!("'{text}'"))
            }
            _ => None,
        }
    }
}

/// Reads a table's definition; `None` where there is no such table.
///
/// # Errors
/// What the server refused with, or `ERR_STREAMER_CONNECTION_LOST`.
pub async fn describe(conn: &mut Conn, table: &TableRef) -> Result<Option<Described>> {
    let columns = texts(
        conn,
        "SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, NUMERIC_PRECISION, NUMERIC_SCALE \
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
        params(table),
    )
    .await?;
    if columns.is_empty() {
        return Ok(None);
    }
    let indices = texts(
        conn,
        "SELECT INDEX_NAME, COLUMN_NAME, NULLABLE, SUB_PART FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX",
        params(table),
    )
    .await?;
    let size = texts(
        conn,
        "SELECT AVG_ROW_LENGTH FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
        params(table),
    )
    .await?;
    let names = |wanted: &str| {
        let of = indices
            .iter()
            .filter(|row| row.first().and_then(Option::as_deref) == Some(wanted));
        of.filter_map(|row| row.get(1).cloned().flatten())
            .collect::<Vec<_>>()
    };
    let mut described = Described {
        table: table.clone(),
        columns: columns
            .iter()
            .filter_map(|row| row.first().cloned().flatten())
            .collect(),
        json: HashSet::new(),
        key: names(PRIMARY),
        row_bytes: size
            .first()
            .and_then(|row| row.first().cloned().flatten())
            .and_then(|bytes| bytes.parse().ok()),
        index: None,
        order: Vec::new(),
    };
    // Rows of a table without a primary key cannot be told apart by whoever is given them: they are read in one view.
    if let Some(order) = order_of(PRIMARY, &indices, &columns)? {
        described.index = Some(PRIMARY.to_owned());
        described.order = order;
    }
    Ok(Some(described))
}

type Texts = Vec<Vec<Option<String>>>;

/// The columns of an index, where it puts all rows in an order that can be written down.
fn order_of(index: &str, indices: &Texts, columns: &Texts) -> Result<Option<Vec<Column>>> {
    let mut order = Vec::new();
    for row in indices {
        let cell = |at: usize| row.get(at).and_then(Option::as_deref);
        if cell(0) != Some(index) {
            continue;
        }
        // No expression, no NULL, no prefix.
        let (Some(name), Some("" | "NO") | None, None) = (cell(1), cell(2), cell(3)) else {
            return Ok(None);
        };
        let found = columns
            .iter()
            .find(|row| row.first().and_then(Option::as_deref) == Some(name));
        let Some(kind) = found.and_then(|row| kind_of(row)) else {
            return Ok(None);
        };
        order.push(Column {
            name: quote_identifier(name)?,
            kind,
        });
    }
    Ok((!order.is_empty()).then_some(order))
}

fn kind_of(row: &[Option<String>]) -> Option<Kind> {
    let cell = |at: usize| row.get(at).and_then(Option::as_deref);
    let is_word = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    Some(match cell(1)? {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Kind::Integer,
        "enum" | "set" | "bit" => Kind::Number,
        "float" | "double" => Kind::Real,
        "decimal" => {
            let (precision, scale): (u8, u8) = (cell(4)?.parse().ok()?, cell(5)?.parse().ok()?);
            Kind::Cast(format!("DECIMAL({precision},{scale})"))
        }
        "date" => Kind::Cast("DATE".to_owned()),
        "datetime" | "timestamp" => Kind::Cast("DATETIME(6)".to_owned()),
        "time" => Kind::Cast("TIME(6)".to_owned()),
        "binary" | "varbinary" => Kind::Bytes,
        "char" | "varchar" => match (cell(2)?, cell(3)?) {
            (charset, collation) if is_word(charset) && is_word(collation) => {
                Kind::Text(charset.to_owned(), collation.to_owned())
            }
            _ => return None,
        },
        "uuid" | "inet4" | "inet6" => Kind::Printed,
        _ => return None,
    })
}

/// Adds which text columns of a MariaDB table hold JSON: those with a check that says so.
///
/// # Errors
/// As [`describe`].
pub async fn describe_json(conn: &mut Conn, described: &mut Described) -> Result<()> {
    let rows = texts(
        conn,
        "SELECT CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS \
         WHERE CONSTRAINT_SCHEMA = ? AND TABLE_NAME = ? AND CHECK_CLAUSE LIKE 'json_valid(%'",
        params(&described.table),
    )
    .await?;
    let name = |row: Vec<Option<String>>| {
        let clause = row.into_iter().next().flatten()?;
        let column = clause.strip_prefix("json_valid(`")?.strip_suffix("`)")?;
        Some(column.replace("``", "`").to_lowercase())
    };
    described.json = rows.into_iter().filter_map(name).collect();
    Ok(())
}

fn params(table: &TableRef) -> Vec<Value> {
    vec![Value::from(&*table.database), Value::from(&*table.table)]
}
