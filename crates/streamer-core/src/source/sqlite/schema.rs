//! Definitions of tables, as `PRAGMA`s tell them.

use rusqlite::{Connection, Result, params};
use serde::{Deserialize, Serialize};

/// The columns of a version of a table, in the order in which the log holds them; kept beside the log, so that an entry is
/// read as it was written, whatever became of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Names.
    pub columns: Vec<String>,
    /// Indices of those that are computed from others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generated: Vec<usize>,
    /// Indices of the primary key's columns, in key order; empty where the table has none.
    pub key: Vec<usize>,
    /// The column that is the rowid itself: `INTEGER PRIMARY KEY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<usize>,
    /// The rowid comes first: it tells rows of a table without a key apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_rowid: bool,
}

impl Layout {
    /// Cells of an image in the log.
    pub fn width(&self) -> usize {
        self.columns.len() + usize::from(self.has_rowid)
    }

    /// Where the cells of the columns begin.
    pub fn first(&self) -> usize {
        usize::from(self.has_rowid)
    }

    /// The cells that tell one row from another.
    pub fn identity(&self) -> Vec<usize> {
        if self.has_rowid { vec![0] } else { self.key.clone() }
    }
}

/// Columns of which no two rows have the same values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// Names, each with the collation by which they are compared.
    pub columns: Vec<(String, String)>,
}

/// A table of the user's.
#[derive(Debug, Clone)]
pub struct Table {
    /// Name.
    pub name: String,
    /// `CREATE TABLE`, as the schema has it.
    pub sql: String,
    /// Columns.
    pub layout: Layout,
    /// The primary key and unique indices.
    pub uniques: Vec<Unique>,
    /// Unique indices that cannot be looked through: on an expression, or partial.
    pub opaque: Vec<String>,
    /// A name of the rowid that no column hides; `None` in a `WITHOUT ROWID` table.
    pub rowid: Option<&'static str>,
}

/// Tables of the user's: no views, virtual tables or shadow tables, and none of ours.
pub fn tables(conn: &Connection) -> Result<Vec<String>> {
    let mut names = conn.prepare(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' \
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_streamer\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    names.query_map([], |row| row.get(0))?.collect()
}

/// The text of a table's definition.
pub fn definition(conn: &Connection, name: &str) -> Result<String> {
    conn.query_row(
        "SELECT coalesce(sql, '') FROM main.sqlite_schema WHERE type = 'table' AND name = ?1",
        [name],
        |row| row.get(0),
    )
}

/// Reads a table.
pub fn table(conn: &Connection, name: &str) -> Result<Table> {
    let is_without_rowid: bool = conn.query_row(
        "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1",
        [name],
        |row| row.get(0),
    )?;
    let (mut layout, types) = columns(conn, name)?;
    let rowid = if is_without_rowid {
        None
    } else {
        let is_free = |word: &&str| {
            !layout
                .columns
                .iter()
                .any(|column| column.eq_ignore_ascii_case(word))
        };
        ["rowid", "_rowid_", "oid"].into_iter().find(is_free)
    };
    let indices = indices(conn, name)?;
    let has_key_index = indices.iter().any(|index| index.origin == "pk");
    if let ([key], false, false) = (layout.key.as_slice(), is_without_rowid, has_key_index) {
        let is_integer = types
            .get(*key)
            .is_some_and(|text| text.eq_ignore_ascii_case("INTEGER"));
        layout.alias = is_integer.then_some(*key);
    }
    layout.has_rowid = layout.key.is_empty() && rowid.is_some();
    let (mut uniques, mut opaque) = (Vec::new(), Vec::new());
    if let Some(alias) = layout.alias.and_then(|alias| layout.columns.get(alias)) {
        uniques.push(Unique {
            columns: vec![(alias.clone(), "BINARY".to_owned())],
        });
    }
    for index in indices {
        match index.columns {
            Some(columns) if !index.is_partial => uniques.push(Unique { columns }),
            _ => opaque.push(index.name),
        }
    }
    Ok(Table {
        name: name.to_owned(),
        sql: definition(conn, name)?,
        layout,
        uniques,
        opaque,
        rowid,
    })
}

fn columns(conn: &Connection, name: &str) -> Result<(Layout, Vec<String>)> {
    let mut layout = Layout {
        columns: Vec::new(),
        generated: Vec::new(),
        key: Vec::new(),
        alias: None,
        has_rowid: false,
    };
    let (mut types, mut key) = (Vec::new(), Vec::new());
    let mut query = conn.prepare("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid")?;
    let mut rows = query.query([name])?;
    while let Some(row) = rows.next()? {
        let index = layout.columns.len();
        layout.columns.push(row.get(0)?);
        types.push(row.get(1)?);
        let place: i64 = row.get(2)?;
        if place > 0 {
            key.push((place, index));
        }
        let hidden: i64 = row.get(3)?;
        if hidden >= 2 {
            layout.generated.push(index);
        }
    }
    key.sort_unstable();
    layout.key = key.into_iter().map(|(_, index)| index).collect();
    Ok((layout, types))
}

struct Index {
    name: String,
    origin: String,
    is_partial: bool,
    /// `None` where it is on an expression.
    columns: Option<Vec<(String, String)>>,
}

fn indices(conn: &Connection, name: &str) -> Result<Vec<Index>> {
    let mut list = conn.prepare(
        "SELECT name, origin, partial FROM pragma_index_list(?1) WHERE \"unique\" = 1 ORDER BY name",
    )?;
    let mut found: Vec<Index> = list
        .query_map([name], |row| {
            Ok(Index {
                name: row.get(0)?,
                origin: row.get(1)?,
                is_partial: row.get(2)?,
                columns: None,
            })
        })?
        .collect::<Result<_>>()?;
    let mut query =
        conn.prepare("SELECT name, coll FROM pragma_index_xinfo(?1) WHERE \"key\" = 1 ORDER BY seqno")?;
    for index in &mut found {
        let columns: Vec<(Option<String>, Option<String>)> = query
            .query_map(params![index.name], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_>>()?;
        index.columns = columns
            .into_iter()
            .map(|(name, collation)| Some((name?, collation.unwrap_or_else(|| "BINARY".to_owned()))))
            .collect();
    }
    Ok(found)
}
