//! A column definition inside CREATE TABLE and ALTER TABLE.

use super::Session;
use super::cursor::Cursor;
use super::data_type::{TypeClause, read_charset, read_type};
use super::token::Token;
use crate::source::mysql::link::Flavor;
use crate::source::mysql::schema::charset;
use crate::source::mysql::schema::definition::{
    CharsetName, ColumnDefinition, ColumnKind, Generated, Storage,
};

/// A declared column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredColumn {
    pub(crate) name: String,
    pub(crate) clause: TypeClause,
    /// NULL or NOT NULL, where said.
    pub(crate) nullable: Option<bool>,
    pub(crate) primary: bool,
    pub(crate) unique: bool,
    pub(crate) auto_increment: bool,
    pub(crate) invisible: bool,
    pub(crate) generated: Option<Generated>,
    /// MariaDB: `ROW START` or `ROW END`.
    pub(crate) row_period: bool,
    /// MariaDB: `WITH SYSTEM VERSIONING`.
    pub(crate) versioned: bool,
    pub(crate) compressed: bool,
    /// CHECK (json_valid(itself)), which is what makes a LONGTEXT JSON on MariaDB.
    pub(crate) json_check: bool,
    /// Another CHECK.
    pub(crate) other_check: bool,
}

/// Reads `name type attributes`.
pub(crate) fn read_column(cursor: &mut Cursor<'_>, session: &Session<'_>) -> Option<DeclaredColumn> {
    let name = read_column_name(cursor)?;
    let clause = read_type(cursor, session)?;
    let mut column = DeclaredColumn {
        name,
        nullable: clause.serial.then_some(false),
        unique: clause.serial,
        clause,
        primary: false,
        auto_increment: false,
        invisible: false,
        generated: None,
        row_period: false,
        versioned: false,
        compressed: false,
        json_check: false,
        other_check: false,
    };
    while !ends(cursor) {
        read_attribute(cursor, &mut column)?;
    }
    Some(column)
}

/// `column`, `table.column`, `database.table.column`.
pub(crate) fn read_column_name(cursor: &mut Cursor<'_>) -> Option<String> {
    let mut name = cursor.identifier()?;
    for _ in 0..2 {
        if !cursor.take_symbol('.') {
            break;
        }
        name = cursor.identifier()?;
    }
    Some(name)
}

fn ends(cursor: &Cursor<'_>) -> bool {
    cursor.clause_ends() || cursor.is_any(&["first", "after"])
}

fn read_attribute(cursor: &mut Cursor<'_>, column: &mut DeclaredColumn) -> Option<()> {
    if cursor.take_all(&["not", "null"]) {
        column.nullable = Some(false);
    } else if cursor.take("null") {
        column.nullable = Some(true);
    } else if cursor.take_all(&["not", "secondary"])
        || cursor.take_all(&["not", "enforced"])
        || cursor.take("enforced")
    {
    } else if cursor.take_all(&["serial", "default", "value"]) {
        column.nullable = Some(false);
        column.unique = true;
        column.auto_increment = true;
    } else if cursor.take("default") {
        skip_default(cursor)?;
    } else if cursor.take_all(&["on", "update"]) {
        skip_value(cursor)?;
    } else if cursor.take("auto_increment") {
        column.auto_increment = true;
    } else if cursor.take("unique") {
        cursor.take("key");
        column.unique = true;
    } else if cursor.take_all(&["primary", "key"]) || cursor.take("key") || cursor.take("primary") {
        column.primary = true;
    } else if cursor.take("invisible") {
        column.invisible = true;
    } else if cursor.take("visible") {
        column.invisible = false;
    } else if cursor.take("comment") {
        cursor.text()?;
    } else if cursor.take("collate") {
        cursor.take_symbol('=');
        column.clause.choice.collation = Some(cursor.name_or_text()?);
    } else if read_charset(cursor, &mut column.clause.choice)? || cursor.take("binary") {
    } else {
        return read_rarer_attribute(cursor, column);
    }
    Some(())
}

fn read_rarer_attribute(cursor: &mut Cursor<'_>, column: &mut DeclaredColumn) -> Option<()> {
    if cursor.take_all(&["generated", "always", "as"]) || cursor.take("as") {
        return read_generation(cursor, column);
    }
    if cursor.take_any(&["virtual"]) {
        column.generated = column.generated.map(|_| Generated::Virtual);
    } else if cursor.take_any(&["stored", "persistent"]) {
        column.generated = column.generated.map(|_| Generated::Stored);
    } else if cursor.take("references") {
        skip_references(cursor)?;
    } else if cursor.take("constraint") {
        if !cursor.is("check") {
            cursor.identifier()?;
        }
        cursor.is("check").then_some(())?;
    } else if cursor.take("check") {
        let own = is_json_check(cursor, &column.name);
        cursor.skip_parentheses()?;
        column.json_check |= own;
        column.other_check |= !own;
    } else if cursor.take("column_format") || cursor.take("storage") || cursor.take("srid") {
        cursor.next()?;
    } else if cursor.take_all(&["with", "system", "versioning"]) {
        column.versioned = true;
    } else if cursor.take_all(&["without", "system", "versioning"]) {
    } else if cursor.take("compressed") {
        column.compressed = true;
        if cursor.take_symbol('=') {
            cursor.next()?;
        }
    } else if cursor.take_any(&["engine_attribute", "secondary_engine_attribute"]) {
        cursor.take_symbol('=');
        cursor.text()?;
    } else {
        // MariaDB's engine-defined attributes: name = value.
        cursor.identifier()?;
        cursor.expect_symbol('=')?;
        matches!(
            cursor.next()?,
            Token::Word(_) | Token::Text(_) | Token::Number(_) | Token::Quoted(_)
        )
        .then_some(())?;
    }
    Some(())
}

fn read_generation(cursor: &mut Cursor<'_>, column: &mut DeclaredColumn) -> Option<()> {
    if cursor.take("row") {
        column.row_period = true;
        column.generated = if cursor.take("end") {
            Some(Generated::RowEnd)
        } else {
            cursor.take("start").then_some(Some(Generated::Stored))?
        };
        return Some(());
    }
    column.generated = Some(Generated::Virtual);
    cursor.skip_parentheses()
}

/// `(json_valid(name))` exactly.
fn is_json_check(cursor: &Cursor<'_>, name: &str) -> bool {
    let own = match cursor.ahead(3) {
        Some(Token::Word(word)) => word.eq_ignore_ascii_case(name),
        Some(Token::Quoted(word)) => word.to_lowercase() == name.to_lowercase(),
        _ => false,
    };
    own && cursor.is_symbol('(')
        && cursor.is_ahead(1, "json_valid")
        && cursor.ahead(2) == Some(&Token::Symbol('('))
        && cursor.ahead(4) == Some(&Token::Symbol(')'))
        && cursor.ahead(5) == Some(&Token::Symbol(')'))
}

/// What follows DEFAULT: a literal, a function call, or anything in parentheses.
pub(crate) fn skip_default(cursor: &mut Cursor<'_>) -> Option<()> {
    if cursor.take_all(&["next", "value", "for"]) {
        cursor.qualified()?;
        return Some(());
    }
    skip_value(cursor)
}

fn skip_value(cursor: &mut Cursor<'_>) -> Option<()> {
    while cursor.take_symbol('-') || cursor.take_symbol('+') {}
    if cursor.is_symbol('(') {
        cursor.skip_parentheses()?;
        return Some(());
    }
    match cursor.next()? {
        Token::Text(_) => {
            while matches!(cursor.peek(), Some(Token::Text(_))) {
                cursor.next()?;
            }
        }
        Token::Number(_) | Token::Bytes(_) => {}
        Token::Word(word) => {
            let literal = word.starts_with('_')
                || ["date", "time", "timestamp"]
                    .iter()
                    .any(|prefix| word.eq_ignore_ascii_case(prefix));
            if literal && matches!(cursor.peek(), Some(Token::Text(_) | Token::Bytes(_))) {
                cursor.next()?;
            } else {
                while cursor.take_symbol('.') {
                    cursor.identifier()?;
                }
                if cursor.is_symbol('(') {
                    cursor.skip_parentheses()?;
                }
            }
        }
        Token::Quoted(_) => {
            while cursor.take_symbol('.') {
                cursor.identifier()?;
            }
        }
        _ => return None,
    }
    Some(())
}

/// What follows REFERENCES.
pub(crate) fn skip_references(cursor: &mut Cursor<'_>) -> Option<()> {
    cursor.qualified()?;
    if cursor.is_symbol('(') {
        cursor.skip_parentheses()?;
    }
    loop {
        if cursor.take("match") {
            cursor.take_any(&["full", "partial", "simple"]).then_some(())?;
        } else if cursor.is("on") && (cursor.is_ahead(1, "delete") || cursor.is_ahead(1, "update")) {
            cursor.next()?;
            cursor.next()?;
            let known = cursor.take_any(&["restrict", "cascade"])
                || cursor.take_all(&["set", "null"])
                || cursor.take_all(&["set", "default"])
                || cursor.take_all(&["no", "action"]);
            known.then_some(())?;
        } else {
            return Some(());
        }
    }
}

impl DeclaredColumn {
    /// The column in its table; `None` where its character set is not known.
    ///
    /// MariaDB takes a LONGTEXT for JSON where its only check is that it is valid; a declared JSON that brings another
    /// check gets none of that kind.
    pub(crate) fn resolve(
        &self,
        default: Option<&CharsetName>,
        session: &Session<'_>,
    ) -> Option<ColumnDefinition> {
        let utf8 = session.utf8_charset;
        let (kind, storage) = self.clause.declared.resolve(&self.clause.choice, default, utf8)?;
        let mut kind = match kind {
            ColumnKind::JsonText { charset } if self.other_check && !self.json_check => ColumnKind::Text {
                charset,
                fixed: false,
            },
            kind => kind,
        };
        let mut storage = storage;
        match (&mut storage, &kind) {
            (Storage::Varying { compressed, .. } | Storage::Long { compressed, .. }, _) => {
                *compressed = self.compressed
            }
            _ if self.compressed => return None,
            _ => {}
        }
        if let (true, Storage::Long { prefix: 4, .. }, ColumnKind::Text { charset, .. }) = (
            self.json_check && session.flavor == Flavor::Mariadb,
            storage,
            &kind,
        ) {
            kind = ColumnKind::JsonText {
                charset: charset.clone(),
            };
        }
        let timestamp = matches!(kind, ColumnKind::Timestamp { .. }) && !session.explicit_timestamps;
        let never_null = self.primary || self.auto_increment || self.row_period;
        Some(ColumnDefinition {
            name: self.name.as_str().into(),
            nullable: !never_null && self.nullable.unwrap_or(!timestamp),
            kind,
            invisible: self.invisible,
            generated: self.generated,
            storage,
        })
    }

    /// Whether a unique index over it alone is too long for MariaDB's engines, so that a hidden hash takes its place.
    pub(crate) fn needs_hash(&self, resolved: &ColumnDefinition) -> bool {
        self.unique && key_bytes(resolved) > MAX_KEY_BYTES
    }
}

/// Longest key of InnoDB. Engines with shorter ones hash earlier; the log's column count shows it.
pub(crate) const MAX_KEY_BYTES: u32 = 3072;

/// Most bytes that a column puts into a key; `u32::MAX` where there is no bound.
pub(crate) fn key_bytes(column: &ColumnDefinition) -> u32 {
    let width = match &column.kind {
        ColumnKind::Text { charset, .. } => charset::max_bytes(charset).unwrap_or(4),
        _ => 1,
    };
    match column.storage {
        Storage::Fixed { length } | Storage::Varying { length, .. } => length.saturating_mul(width),
        Storage::Long { .. } => u32::MAX,
        _ if matches!(
            column.kind,
            ColumnKind::Geometry | ColumnKind::Vector | ColumnKind::Json
        ) =>
        {
            u32::MAX
        }
        _ => 8,
    }
}
