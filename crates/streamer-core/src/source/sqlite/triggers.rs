//! The triggers of a table: statements, nothing else.
//!
//! An image of a row is as many columns of the log as the table has, each with the value itself: no text form stands in
//! between, so that a BLOB, a 64-bit integer, an infinity and a text with a NUL in it arrive as they are. Columns of the log have
//! no type, and so convert nothing.
//!
//! What SQLite does without firing a trigger is the removal of rows that are in the way of a REPLACE. Such rows are logged
//! *before* the row that is in their way, as candidates: whether it really took their place is known only by what follows
//! (`replaced`).

use super::log::{Op, PREFIX};
use super::schema::{Table, Unique};

/// A trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Its name: begins with `_streamer_` and the number of the table's version.
    pub name: String,
    /// `CREATE TRIGGER`.
    pub sql: String,
}

/// A name in a statement.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What names of triggers of a table's version begin with.
pub fn prefix(id: i64) -> String {
    format!("{PREFIX}{id}_")
}

/// Which version a trigger belongs to.
pub fn version_of(name: &str) -> Option<i64> {
    name.strip_prefix(PREFIX)?.split_once('_')?.0.parse().ok()
}

/// The columns of the log that `count` cells from `first` on take.
fn cells(first: usize, count: usize) -> String {
    (first..first + count).map(|cell| format!(", c{cell}")).collect()
}

/// `, NEW."a", NEW."b"`.
fn image(table: &Table, row: &str) -> String {
    let rowid = table.rowid.filter(|_| table.layout.has_rowid);
    let rowid = rowid.map(|name| format!(", {row}.{name}"));
    let columns = table
        .layout
        .columns
        .iter()
        .map(|name| format!(", {row}.{}", quoted(name)));
    rowid.into_iter().chain(columns).collect()
}

/// `INSERT` of an entry with one image, or two.
fn entry(table: &Table, id: i64, op: Op, images: &[&str]) -> String {
    let width = table.layout.width() * images.len();
    let values: String = images.iter().map(|row| image(table, row)).collect();
    let (op, columns) = (op as i64, cells(0, width));
    format!("INSERT INTO {PREFIX}log(tbl, op, at{columns}) VALUES ({id}, {op}, julianday('now'){values});")
}

/// The same from a query, whose rows are called `x`.
pub fn entries_from(table: &Table, id: i64, op: Op, images: &[&str], from: &str) -> String {
    let width = table.layout.width() * images.len();
    let values: String = images.iter().map(|row| image(table, row)).collect();
    let (op, columns, name) = (op as i64, cells(0, width), quoted(&table.name));
    format!(
        "INSERT INTO {PREFIX}log(tbl, op, at{columns}) SELECT {id}, {op}, julianday('now'){values} FROM {name} AS x {from};"
    )
}

/// The expressions that tell one row from another.
pub fn identity(table: &Table, row: &str) -> Vec<String> {
    match table.rowid {
        Some(name) => vec![format!("{row}.{name}")],
        None => key(table, row),
    }
}

fn key(table: &Table, row: &str) -> Vec<String> {
    let names = table
        .layout
        .key
        .iter()
        .filter_map(|&index| table.layout.columns.get(index));
    names.map(|name| format!("{row}.{}", quoted(name))).collect()
}

/// The key is, byte by byte, what it was.
fn same_key(table: &Table) -> String {
    let pairs = key(table, "NEW").into_iter().zip(key(table, "OLD"));
    let same: Vec<String> = pairs
        .map(|(new, old)| format!("{new} IS {old} COLLATE BINARY"))
        .collect();
    same.join(" AND ")
}

/// Rows `x` that have the values of `NEW` in the columns of one of these.
fn in_the_way(uniques: &[&Unique]) -> String {
    let each: Vec<String> = uniques
        .iter()
        .map(|unique| {
            let equal: Vec<String> = unique
                .columns
                .iter()
                .map(|(name, collation)| {
                    let (name, collation) = (quoted(name), quoted(collation));
                    format!("x.{name} = NEW.{name} COLLATE {collation}")
                })
                .collect();
            format!("({})", equal.join(" AND "))
        })
        .collect();
    format!("({})", each.join(" OR "))
}

/// The triggers that write the log for a table, whose present version is `id`.
pub fn triggers(table: &Table, id: i64) -> Vec<Trigger> {
    let make = |kind: &str, event: &str, when: &str, body: &str| {
        let name = format!("{}{}_{kind}", prefix(id), table.name);
        let (quoted_name, on) = (quoted(&name), quoted(&table.name));
        let when = if when.is_empty() {
            String::new()
        } else {
            format!("WHEN {when} ")
        };
        let sql = format!(
            "CREATE TRIGGER {quoted_name} {event} ON {on} {when}BEGIN \
             /* ultimate-streaming; to remove: npx ultimate-streaming sqlite uninstall FILE */ {body} END"
        );
        Trigger { name, sql }
    };
    let mut all = vec![
        make(
            "insert",
            "AFTER INSERT",
            "",
            &entry(table, id, Op::Insert, &["NEW"]),
        ),
        make(
            "delete",
            "AFTER DELETE",
            "",
            &entry(table, id, Op::Delete, &["OLD"]),
        ),
    ];
    let update = entry(table, id, Op::Update, &["OLD", "NEW"]);
    if table.layout.key.is_empty() {
        all.push(make("update", "AFTER UPDATE", "", &update));
    } else {
        let same = same_key(table);
        let (delete, insert) = (
            entry(table, id, Op::Delete, &["OLD"]),
            entry(table, id, Op::Insert, &["NEW"]),
        );
        all.push(make("update", "AFTER UPDATE", &same, &update));
        all.push(make(
            "rekey",
            "AFTER UPDATE",
            &format!("NOT ({same})"),
            &format!("{delete} {insert}"),
        ));
    }
    all.extend(candidates(table, id, &make));
    all
}

fn candidates(table: &Table, id: i64, make: &dyn Fn(&str, &str, &str, &str) -> Trigger) -> Vec<Trigger> {
    let by_rowid = Unique {
        columns: table
            .rowid
            .filter(|_| table.layout.has_rowid)
            .map(|name| (name.to_owned(), "BINARY".to_owned()))
            .into_iter()
            .collect(),
    };
    let mut uniques: Vec<&Unique> = table.uniques.iter().collect();
    if !by_rowid.columns.is_empty() {
        uniques.push(&by_rowid);
    }
    if uniques.is_empty() {
        return Vec::new();
    }
    let (name, way) = (quoted(&table.name), in_the_way(&uniques));
    let on_insert = make(
        "replace",
        "BEFORE INSERT",
        &format!("EXISTS (SELECT 1 FROM {name} AS x WHERE {way})"),
        &entries_from(table, id, Op::Candidate, &["x", "NEW"], &format!("WHERE {way}")),
    );
    let mut moved: Vec<String> = Vec::new();
    for (column, _) in uniques.iter().flat_map(|unique| &unique.columns) {
        let column = quoted(column);
        let test = format!("NEW.{column} IS NOT OLD.{column} COLLATE BINARY");
        if !moved.contains(&test) {
            moved.push(test);
        }
    }
    let is_other: Vec<String> = identity(table, "x")
        .into_iter()
        .zip(identity(table, "OLD"))
        .map(|(x, old)| format!("{x} IS {old}"))
        .collect();
    let other = format!("{way} AND NOT ({})", is_other.join(" AND "));
    let on_update = make(
        "displace",
        "BEFORE UPDATE",
        &format!(
            "({}) AND EXISTS (SELECT 1 FROM {name} AS x WHERE {other})",
            moved.join(" OR ")
        ),
        &entries_from(table, id, Op::Candidate, &["x", "NEW"], &format!("WHERE {other}")),
    );
    vec![on_insert, on_update]
}
