//! The clauses of ALTER TABLE.

use super::Session;
use super::column::{DeclaredColumn, read_column, read_column_name, skip_default};
use super::cursor::Cursor;
use super::data_type::CharsetChoice;
use super::table::{Declaration, Key, KeyClause, read_key, read_table_option, skip_partition_by};
use super::token::Token;

/// One clause as far as definitions are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// ADD COLUMN.
    Add {
        column: Box<DeclaredColumn>,
        place: Place,
        if_not_exists: bool,
    },
    /// MODIFY (`from` is the name itself) and CHANGE.
    Replace {
        from: String,
        column: Box<DeclaredColumn>,
        place: Place,
        if_exists: bool,
    },
    /// RENAME COLUMN.
    RenameColumn {
        from: String,
        to: String,
        if_exists: bool,
    },
    /// DROP COLUMN.
    DropColumn { name: String, if_exists: bool },
    /// ALTER COLUMN … SET VISIBLE or INVISIBLE.
    Visibility { name: String, invisible: bool },
    /// ADD a key.
    Key(KeyClause),
    /// DROP PRIMARY KEY.
    DropPrimary { if_exists: bool },
    /// DROP INDEX, which on MariaDB may take a hidden column along, or DROP CONSTRAINT.
    DropNamed,
    /// CONVERT TO CHARACTER SET.
    Convert(CharsetChoice),
    /// DEFAULT CHARACTER SET.
    DefaultCharset(CharsetChoice),
    /// ADD or DROP SYSTEM VERSIONING.
    Versioning(bool),
    /// RENAME TO.
    RenameTable(Option<String>, String),
    /// Rows come or go without being logged one by one.
    Rows,
    /// The same, with another table.
    RowsOf(Option<String>, String),
}

/// Where a column goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// To the end, or where it was.
    Unsaid,
    /// FIRST.
    First,
    /// AFTER.
    After(String),
}

/// Reads what follows the table's name.
pub(crate) fn read_alter(cursor: &mut Cursor<'_>, session: &Session<'_>) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    if cursor.take("wait") {
        cursor.number()?;
    } else {
        cursor.take("nowait");
    }
    let mut options = Declaration::default();
    while !cursor.at_end() {
        if cursor.is("partition") && cursor.is_ahead(1, "by") {
            if cursor.is_ahead(2, "system_time") {
                return None;
            }
            skip_partition_by(cursor)?;
            break;
        }
        read_clause(cursor, session, &mut changes, &mut options)?;
        cursor.take_symbol(',');
    }
    if options.choice != CharsetChoice::default() {
        changes.push(Change::DefaultCharset(options.choice));
    }
    cursor.end()?;
    Some(changes)
}

fn read_clause(
    cursor: &mut Cursor<'_>,
    session: &Session<'_>,
    changes: &mut Vec<Change>,
    options: &mut Declaration,
) -> Option<()> {
    let begin = cursor.mark();
    let word = cursor.word_ahead(0)?.to_ascii_lowercase();
    cursor.next()?;
    match word.as_str() {
        "add" => read_add(cursor, session, changes),
        "drop" => read_drop(cursor, changes),
        "modify" | "change" if !cursor.is_symbol('=') => {
            cursor.take("column");
            let if_exists = cursor.if_exists();
            let from = (word == "change").then(|| read_column_name(cursor));
            let column = read_column(cursor, session)?;
            changes.push(Change::Replace {
                from: from.unwrap_or_else(|| Some(column.name.clone()))?,
                column: Box::new(column),
                place: read_place(cursor)?,
                if_exists,
            });
            Some(())
        }
        "rename" => read_rename(cursor, changes),
        "alter" => read_alter_part(cursor, changes),
        "convert" => read_convert(cursor, changes),
        "order" => read_order(cursor),
        "enable" | "disable" => cursor.expect("keys"),
        "discard" | "import" | "truncate" => {
            changes.push(Change::Rows);
            match cursor.take("partition") {
                true => skip_partition_names(cursor),
                false => cursor.expect("tablespace"),
            }
        }
        "exchange" => read_exchange(cursor, changes),
        "analyze" | "check" | "optimize" | "rebuild" | "repair" | "coalesce" | "reorganize" => {
            cursor.expect("partition")?;
            skip_partition_names(cursor)
        }
        "remove" => cursor.expect("partitioning"),
        "force" | "secondary_load" | "secondary_unload" => Some(()),
        "algorithm" | "lock" => {
            cursor.take_symbol('=');
            cursor.identifier().map(|_| ())
        }
        "with" | "without" if cursor.take("validation") => Some(()),
        _ => {
            cursor.back_to(begin);
            read_table_option(cursor, options)
        }
    }
}

fn read_place(cursor: &mut Cursor<'_>) -> Option<Place> {
    if cursor.take("first") {
        return Some(Place::First);
    }
    match cursor.take("after") {
        true => Some(Place::After(read_column_name(cursor)?)),
        false => Some(Place::Unsaid),
    }
}

fn read_add(cursor: &mut Cursor<'_>, session: &Session<'_>, changes: &mut Vec<Change>) -> Option<()> {
    if cursor.take_all(&["system", "versioning"]) {
        changes.push(Change::Versioning(true));
        return Some(());
    }
    if cursor.take("partition") {
        return skip_partition_names(cursor);
    }
    if cursor.take("column") {
        return read_add_column(cursor, session, changes);
    }
    match read_key(cursor)? {
        Key::Matters(key) => changes.push(Change::Key(key)),
        Key::Other => {}
        Key::None => read_add_column(cursor, session, changes)?,
    }
    Some(())
}

fn read_add_column(cursor: &mut Cursor<'_>, session: &Session<'_>, changes: &mut Vec<Change>) -> Option<()> {
    let if_not_exists = cursor.if_not_exists();
    let several = cursor.take_symbol('(');
    loop {
        match several.then(|| read_key(cursor)) {
            Some(None) => return None,
            Some(Some(Key::Matters(key))) => changes.push(Change::Key(key)),
            Some(Some(Key::Other)) => {}
            Some(Some(Key::None)) | None => {
                let column = read_column(cursor, session)?;
                let place = read_place(cursor)?;
                changes.push(Change::Add {
                    column: Box::new(column),
                    place,
                    if_not_exists,
                });
            }
        }
        if !several || cursor.take_symbol(')') {
            return Some(());
        }
        cursor.expect_symbol(',')?;
    }
}

fn read_drop(cursor: &mut Cursor<'_>, changes: &mut Vec<Change>) -> Option<()> {
    if cursor.take_all(&["system", "versioning"]) {
        changes.push(Change::Versioning(false));
        return Some(());
    }
    if cursor.take("partition") {
        changes.push(Change::Rows);
        cursor.if_exists();
        return skip_partition_names(cursor);
    }
    if cursor.take_all(&["primary", "key"]) {
        changes.push(Change::DropPrimary {
            if_exists: cursor.if_exists(),
        });
        return Some(());
    }
    if cursor.take_all(&["foreign", "key"]) {
        cursor.if_exists();
        return cursor.identifier().map(|_| ());
    }
    if cursor.take_all(&["period", "for"]) {
        cursor.if_exists();
        return cursor.identifier().map(|_| ());
    }
    let named = cursor.take_any(&["index", "key", "constraint", "check"]);
    if named {
        let if_exists = cursor.if_exists();
        let name = cursor.identifier()?;
        changes.push(match name.eq_ignore_ascii_case("primary") {
            true => Change::DropPrimary { if_exists },
            false => Change::DropNamed,
        });
        return Some(());
    }
    cursor.take("column");
    let if_exists = cursor.if_exists();
    let name = read_column_name(cursor)?;
    cursor.take_any(&["restrict", "cascade"]);
    changes.push(Change::DropColumn { name, if_exists });
    Some(())
}

fn read_rename(cursor: &mut Cursor<'_>, changes: &mut Vec<Change>) -> Option<()> {
    if cursor.take("column") {
        let if_exists = cursor.if_exists();
        let from = cursor.identifier()?;
        cursor.expect("to")?;
        let to = cursor.identifier()?;
        changes.push(Change::RenameColumn { from, to, if_exists });
        return Some(());
    }
    if cursor.take_any(&["index", "key"]) {
        cursor.if_exists();
        cursor.identifier()?;
        cursor.expect("to")?;
        return cursor.identifier().map(|_| ());
    }
    if !cursor.take_any(&["to", "as"]) {
        cursor.take_symbol('=');
    }
    let (database, table) = cursor.qualified()?;
    changes.push(Change::RenameTable(database, table));
    Some(())
}

/// ALTER [COLUMN] c SET DEFAULT …, ALTER INDEX i VISIBLE, ALTER CHECK c NOT ENFORCED.
fn read_alter_part(cursor: &mut Cursor<'_>, changes: &mut Vec<Change>) -> Option<()> {
    if cursor.take_any(&["index", "key"]) {
        cursor.if_exists();
        cursor.identifier()?;
        return (cursor.take_any(&["visible", "invisible", "ignored"])
            || cursor.take_all(&["not", "ignored"]))
        .then_some(());
    }
    if cursor.take_any(&["check", "constraint"]) {
        cursor.identifier()?;
        cursor.take("not");
        return cursor.expect("enforced");
    }
    cursor.take("column");
    cursor.if_exists();
    let name = read_column_name(cursor)?;
    if cursor.take_all(&["drop", "default"]) {
        return Some(());
    }
    cursor.expect("set")?;
    if cursor.take("default") {
        return skip_default(cursor);
    }
    let invisible = cursor.is("invisible");
    cursor.take_any(&["visible", "invisible"]).then_some(())?;
    changes.push(Change::Visibility { name, invisible });
    Some(())
}

fn read_convert(cursor: &mut Cursor<'_>, changes: &mut Vec<Change>) -> Option<()> {
    cursor.expect("to")?;
    (cursor.take("charset") || cursor.take_all(&["character", "set"]) || cursor.take_all(&["char", "set"]))
        .then_some(())?;
    cursor.take_symbol('=');
    let name = cursor.name_or_text()?;
    let mut choice = CharsetChoice {
        charset: (!name.eq_ignore_ascii_case("default")).then_some(name),
        collation: None,
    };
    if cursor.take("collate") {
        cursor.take_symbol('=');
        choice.collation = Some(cursor.name_or_text()?);
    }
    changes.push(Change::Convert(choice));
    Some(())
}

fn read_order(cursor: &mut Cursor<'_>) -> Option<()> {
    cursor.expect("by")?;
    loop {
        read_column_name(cursor)?;
        cursor.take_any(&["asc", "desc"]);
        let clause = [
            "add", "drop", "change", "alter", "rename", "order", "convert", "default",
        ]
        .iter()
        .any(|word| cursor.is_ahead(1, word));
        if !cursor.is_symbol(',') || clause {
            return Some(());
        }
        cursor.next()?;
    }
}

fn read_exchange(cursor: &mut Cursor<'_>, changes: &mut Vec<Change>) -> Option<()> {
    cursor.expect("partition")?;
    cursor.identifier()?;
    cursor.take_all(&["with", "table"]).then_some(())?;
    let (database, table) = cursor.qualified()?;
    changes.push(Change::Rows);
    changes.push(Change::RowsOf(database, table));
    if cursor.take_any(&["with", "without"]) {
        cursor.expect("validation")?;
    }
    Some(())
}

/// Partition names and definitions run to the end: no other clause may follow them.
fn skip_partition_names(cursor: &mut Cursor<'_>) -> Option<()> {
    while !cursor.at_end() {
        if cursor.is_symbol('(') {
            cursor.skip_parentheses()?;
        } else if cursor.next()? == &Token::Broken {
            return None;
        }
    }
    Some(())
}
