//! CREATE TABLE, and the parts that it shares with ALTER TABLE: keys, table options, partitions.

use super::Session;
use super::column::{DeclaredColumn, read_column, skip_references};
use super::cursor::Cursor;
use super::data_type::{CharsetChoice, read_charset};
use super::token::Token;

/// A declared table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declaration {
    pub(crate) columns: Vec<DeclaredColumn>,
    pub(crate) keys: Vec<KeyClause>,
    /// The table's own character set, where said.
    pub(crate) choice: CharsetChoice,
    /// MariaDB: WITH SYSTEM VERSIONING.
    pub(crate) versioned: bool,
}

/// A key that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyClause {
    /// PRIMARY KEY.
    Primary(Vec<String>),
    /// UNIQUE over whole columns (those with a length in parentheses are left out).
    Unique { columns: Vec<String>, hash: bool },
    /// An application-time period: its two columns cannot be NULL.
    Period(String, String),
}

/// What a CREATE TABLE makes.
pub(crate) enum Created {
    /// From columns.
    Declared(Declaration),
    /// As another table.
    Like(Option<String>, String),
}

/// Reads what follows the table's name.
pub(crate) fn read_create(cursor: &mut Cursor<'_>, session: &Session<'_>) -> Option<Created> {
    if cursor.take("like") {
        let (database, table) = cursor.qualified()?;
        cursor.end()?;
        return Some(Created::Like(database, table));
    }
    cursor.expect_symbol('(')?;
    if cursor.take("like") {
        let (database, table) = cursor.qualified()?;
        cursor.expect_symbol(')')?;
        cursor.end()?;
        return Some(Created::Like(database, table));
    }
    let mut declaration = Declaration::default();
    loop {
        match read_key(cursor)? {
            Key::Matters(key) => declaration.keys.push(key),
            Key::Other => {}
            Key::None => declaration.columns.push(read_column(cursor, session)?),
        }
        if cursor.take_symbol(')') {
            break;
        }
        cursor.expect_symbol(',')?;
    }
    while !cursor.at_end() {
        if cursor.take_symbol(',') {
            continue;
        }
        if cursor.is("partition") && cursor.is_ahead(1, "by") {
            read_partition_by(cursor, &declaration)?;
            break;
        }
        read_table_option(cursor, &mut declaration)?;
    }
    cursor.end()?;
    Some(Created::Declared(declaration))
}

fn read_partition_by(cursor: &mut Cursor<'_>, declaration: &Declaration) -> Option<()> {
    if cursor.is_ahead(2, "system_time") && !declaration.versioned {
        return None;
    }
    skip_partition_by(cursor)
}

/// Skips PARTITION BY to the end of the statement, unless a query follows.
pub(crate) fn skip_partition_by(cursor: &mut Cursor<'_>) -> Option<()> {
    while !cursor.at_end() {
        if cursor.is_symbol('(') {
            cursor.skip_parentheses()?;
            continue;
        }
        if cursor.is_any(&["select", "as", "with", "ignore", "replace", "table", "values"]) {
            return None;
        }
        if cursor.next()? == &Token::Broken {
            return None;
        }
    }
    Some(())
}

/// What stands where a column or a key may stand.
pub(crate) enum Key {
    Matters(KeyClause),
    Other,
    None,
}

/// Reads a key, a constraint or a period; `Key::None` and nothing consumed where a column stands.
pub(crate) fn read_key(cursor: &mut Cursor<'_>) -> Option<Key> {
    if cursor.is("constraint") {
        cursor.next()?;
        if !cursor.is_any(&["check", "primary", "unique", "foreign"]) {
            cursor.if_not_exists();
            cursor.identifier()?;
        }
    }
    if cursor.take("check") {
        cursor.skip_parentheses()?;
        if !cursor.take_all(&["not", "enforced"]) {
            cursor.take("enforced");
        }
        return Some(Key::Other);
    }
    if cursor.take_all(&["primary", "key"]) {
        let (columns, _) = read_index(cursor)?;
        return Some(Key::Matters(KeyClause::Primary(
            columns.into_iter().map(|(name, _)| name).collect(),
        )));
    }
    if cursor.take("unique") {
        cursor.take_any(&["key", "index"]);
        let (columns, hash) = read_index(cursor)?;
        let columns = columns
            .into_iter()
            .filter(|(_, whole)| *whole)
            .map(|(name, _)| name);
        return Some(Key::Matters(KeyClause::Unique {
            columns: columns.collect(),
            hash,
        }));
    }
    if cursor.take_all(&["foreign", "key"]) {
        cursor.if_not_exists();
        if !cursor.is_symbol('(') {
            cursor.identifier()?;
        }
        cursor.skip_parentheses()?;
        cursor.expect("references")?;
        skip_references(cursor)?;
        return Some(Key::Other);
    }
    if cursor.is("period") && cursor.is_ahead(1, "for") {
        return read_period(cursor);
    }
    let vector = cursor.is("vector") && (cursor.is_ahead(1, "index") || cursor.is_ahead(1, "key"));
    if cursor.is_any(&["index", "key", "fulltext", "spatial"]) || vector {
        if cursor.take_any(&["fulltext", "spatial", "vector"]) {
            cursor.take_any(&["index", "key"]);
        } else {
            cursor.next()?;
        }
        read_index(cursor)?;
        return Some(Key::Other);
    }
    Some(Key::None)
}

fn read_period(cursor: &mut Cursor<'_>) -> Option<Key> {
    cursor.next()?;
    cursor.next()?;
    cursor.if_not_exists();
    let name = cursor.identifier()?;
    cursor.expect_symbol('(')?;
    let begin = cursor.identifier()?;
    cursor.expect_symbol(',')?;
    let end = cursor.identifier()?;
    cursor.expect_symbol(')')?;
    Some(match name.eq_ignore_ascii_case("system_time") {
        true => Key::Other,
        false => Key::Matters(KeyClause::Period(begin, end)),
    })
}

/// Reads `[IF NOT EXISTS] [name] [USING x] (parts) options`: the columns, each with whether it is there as a whole, and
/// whether USING HASH stands there.
fn read_index(cursor: &mut Cursor<'_>) -> Option<(Vec<(String, bool)>, bool)> {
    cursor.if_not_exists();
    let mut hash = false;
    if !cursor.is_symbol('(') && !cursor.is_any(&["using", "type"]) {
        cursor.identifier()?;
    }
    if cursor.take_any(&["using", "type"]) {
        hash |= cursor.is("hash");
        cursor.next()?;
    }
    cursor.expect_symbol('(')?;
    let mut columns = Vec::new();
    loop {
        if cursor.is_symbol('(') {
            cursor.skip_parentheses()?;
        } else {
            let name = cursor.identifier()?;
            let whole = !cursor.is_symbol('(');
            if !whole {
                cursor.skip_parentheses()?;
            }
            if cursor.is("without") {
                // WITHOUT OVERLAPS: the key holds the period's columns, in an order of its own.
                return None;
            }
            columns.push((name, whole));
        }
        cursor.take_any(&["asc", "desc"]);
        if cursor.take_symbol(')') {
            break;
        }
        cursor.expect_symbol(',')?;
    }
    while !cursor.clause_ends() {
        if cursor.take_any(&["using", "type"]) {
            hash |= cursor.is("hash");
            cursor.next()?;
        } else if cursor.take_any(&["visible", "invisible", "ignored"])
            || cursor.take_all(&["not", "ignored"])
        {
        } else if cursor.take_all(&["with", "parser"]) || cursor.take("comment") {
            cursor.next()?;
        } else if cursor.take_any(&["algorithm", "lock"]) {
            cursor.take_symbol('=');
            cursor.next()?;
        } else {
            let known =
                cursor.take_any(&["key_block_size", "engine_attribute", "secondary_engine_attribute"]);
            if !known {
                cursor.identifier()?;
            }
            (cursor.take_symbol('=') || known).then_some(())?;
            cursor.next()?;
        }
    }
    Some((columns, hash))
}

/// Options that take a word, a string or a number, with or without an equals sign.
const VALUED: &[&str] = &[
    "engine",
    "type",
    "auto_increment",
    "avg_row_length",
    "checksum",
    "comment",
    "compression",
    "connection",
    "delay_key_write",
    "encryption",
    "insert_method",
    "key_block_size",
    "max_rows",
    "min_rows",
    "pack_keys",
    "page_checksum",
    "password",
    "row_format",
    "stats_auto_recalc",
    "stats_persistent",
    "stats_sample_pages",
    "table_checksum",
    "tablespace",
    "transactional",
    "autoextend_size",
    "engine_attribute",
    "sequence",
    "secondary_engine_attribute",
    "secondary_engine",
    "storage",
    "encrypted",
    "encryption_key_id",
    "ietf_quotes",
    "with_system_versioning",
    "nodegroup",
];

/// Reads one table option.
pub(crate) fn read_table_option(cursor: &mut Cursor<'_>, declaration: &mut Declaration) -> Option<()> {
    if cursor.take_all(&["with", "system", "versioning"]) {
        declaration.versioned = true;
        return Some(());
    }
    if cursor.take_all(&["start", "transaction"]) {
        return Some(());
    }
    if cursor.is("default")
        && (cursor.is_ahead(1, "char")
            || cursor.is_ahead(1, "charset")
            || cursor.is_ahead(1, "character")
            || cursor.is_ahead(1, "collate"))
    {
        cursor.next()?;
    }
    if cursor.take("collate") {
        cursor.take_symbol('=');
        declaration.choice.collation = Some(cursor.name_or_text()?);
        return Some(());
    }
    if read_charset(cursor, &mut declaration.choice)? {
        return Some(());
    }
    if (cursor.is("data") || cursor.is("index")) && cursor.is_ahead(1, "directory") {
        cursor.next()?;
        cursor.next()?;
        cursor.take_symbol('=');
        cursor.text()?;
        return Some(());
    }
    if cursor.take("union") {
        cursor.take_symbol('=');
        return cursor.skip_parentheses();
    }
    let valued = cursor.is_any(VALUED);
    cursor.identifier()?;
    (cursor.take_symbol('=') || valued).then_some(())?;
    match cursor.next()? {
        Token::Word(_) | Token::Quoted(_) | Token::Text(_) | Token::Number(_) => Some(()),
        _ => None,
    }
}

/// Reads the parts of a unique index, at their opening parenthesis.
pub(crate) fn read_unique(cursor: &mut Cursor<'_>, hash: bool) -> Option<KeyClause> {
    let (columns, later_hash) = read_index(cursor)?;
    let columns = columns
        .into_iter()
        .filter(|(_, whole)| *whole)
        .map(|(name, _)| name);
    Some(KeyClause::Unique {
        columns: columns.collect(),
        hash: hash || later_hash,
    })
}
