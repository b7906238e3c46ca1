//! What a DDL statement of the log does to tables.
//!
//! An own lexer and a recursive-descent parser for exactly these statements. `sqlparser` (0.63, MySQL dialect) was
//! tried first: it refuses much of what servers log (partition clauses, EXCHANGE, `ADD (…)`, executable comments,
//! MariaDB's IF EXISTS forms, WAIT, system versioning), knows nothing of `sql_mode`, and accepts some statements while
//! dropping what is needed here (character sets, positions of columns).
//!
//! Guarantees: whatever is not understood to its last token becomes [`Effect::Unclear`]; the parser never guesses,
//! never recurses over input, and never panics. What a definition becomes is the catalogue's matter, because it depends
//! on the definition before.
//!
//! Leaves to the caller: to know which statements are DDL of temporary tables when they do not say so. With row format
//! servers log none of them.

mod alter;
mod column;
mod cursor;
mod data_type;
mod redact;
mod table;
mod token;

use crate::source::mysql::link::Flavor;

pub(crate) use alter::{Change, Place};
pub(crate) use column::{DeclaredColumn, MAX_KEY_BYTES, key_bytes};
pub(crate) use cursor::Cursor;
pub(crate) use data_type::{CharsetChoice, DeclaredType, Room, read_type, resolve_text};
pub use redact::redact;
pub(crate) use table::{Declaration, KeyClause};
pub(crate) use token::tokenize;

use table::{Created, read_create};
use token::Token;

use super::definition::TableName;

/// A session's `sql_mode` as the log holds it (MySQL "Query_event", `Q_SQL_MODE_CODE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SqlMode(pub u64);

impl SqlMode {
    /// REAL is FLOAT.
    pub fn real_as_float(self) -> bool {
        self.0 & 1 != 0
    }

    /// Double quotes quote identifiers.
    pub fn ansi_quotes(self) -> bool {
        self.0 & 4 != 0
    }

    /// A backslash in a string is an ordinary character.
    pub fn no_backslash_escapes(self) -> bool {
        self.0 & (1 << 20) != 0
    }

    /// A mode in which type names mean other types: ORACLE (MariaDB), MAXDB.
    fn changes_types(self) -> bool {
        self.0 & (1 << 9 | 1 << 12) != 0
    }
}

/// The session in which a statement ran, as far as the statement's meaning depends on it.
#[derive(Debug, Clone)]
pub struct Session<'a> {
    /// Family of the server.
    pub flavor: Flavor,
    /// Its version.
    pub version: (u16, u16, u16),
    /// Default database; empty for none.
    pub database: &'a str,
    /// `sql_mode`.
    pub sql_mode: SqlMode,
    /// The server's default character set in that session, where known.
    pub server_charset: Option<&'a str>,
    /// The default database's character set, where known. The catalogue's own knowledge goes first.
    pub database_charset: Option<&'a str>,
    /// What `utf8` means: `utf8mb3`, or `utf8mb4` on a MariaDB without `UTF8_IS_UTF8MB3` in `old_mode`.
    pub utf8_charset: &'a str,
    /// `explicit_defaults_for_timestamp`: without it, a TIMESTAMP is NOT NULL unless it says otherwise.
    pub explicit_timestamps: bool,
}

impl<'a> Session<'a> {
    /// A session with the servers' usual settings.
    pub fn new(flavor: Flavor, version: (u16, u16, u16), database: &'a str) -> Self {
        Self {
            flavor,
            version,
            database,
            sql_mode: SqlMode::default(),
            server_charset: None,
            database_charset: None,
            utf8_charset: "utf8mb3",
            explicit_timestamps: true,
        }
    }

    /// 10.11.2 is 101102.
    pub(crate) fn version_number(&self) -> u32 {
        let (major, minor, patch) = self.version;
        u32::from(major) * 10_000 + u32::from(minor) * 100 + u32::from(patch)
    }
}

/// What one statement does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statement {
    /// Its effects, in order; empty where it does not concern table definitions.
    pub effects: Vec<Effect>,
}

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// CREATE TABLE.
    Create {
        /// The new table.
        table: TableName,
        /// Its columns.
        declaration: Box<Declaration>,
        /// IF NOT EXISTS: nothing happens where it exists.
        if_not_exists: bool,
    },
    /// CREATE TABLE … LIKE.
    CreateLike {
        /// The new table.
        table: TableName,
        /// The table that it copies.
        like: TableName,
        /// IF NOT EXISTS.
        if_not_exists: bool,
    },
    /// ALTER TABLE.
    Alter {
        /// The table.
        table: TableName,
        /// What changes.
        changes: Alteration,
    },
    /// DROP TABLE.
    Drop {
        /// The table.
        table: TableName,
    },
    /// RENAME TABLE, ALTER TABLE … RENAME TO.
    Rename {
        /// Name before.
        from: TableName,
        /// Name after.
        to: TableName,
    },
    /// TRUNCATE TABLE: all rows go.
    Truncate {
        /// The table.
        table: TableName,
    },
    /// Rows come or go without being logged one by one: partitions truncated, dropped or exchanged, tablespaces
    /// discarded or imported.
    Rows {
        /// The table.
        table: TableName,
    },
    /// DROP DATABASE.
    DatabaseDropped {
        /// The database.
        database: String,
    },
    /// CREATE or ALTER DATABASE.
    DatabaseCharset {
        /// The database.
        database: String,
        /// CREATE rather than ALTER.
        created: bool,
        /// CREATE … IF NOT EXISTS.
        if_not_exists: bool,
        /// CREATE OR REPLACE: what was in it is gone.
        or_replace: bool,
        /// What it says of its character set.
        charset: CharsetWord,
    },
    /// A view may be there now, be another one, or be gone.
    Views,
    /// Not understood: the definitions of these tables are not known any more. None named: of all tables.
    Unclear {
        /// The tables.
        tables: Vec<TableName>,
    },
}

/// The clauses of an ALTER TABLE.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Alteration(pub(crate) Vec<Change>);

/// A character set as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CharsetWord(pub(crate) CharsetChoice);

impl Statement {
    /// The tables that it names, in order, each once.
    pub fn tables(&self) -> Vec<&TableName> {
        let mut tables: Vec<&TableName> = Vec::new();
        for effect in &self.effects {
            let named: [Option<&TableName>; 2] = match effect {
                Effect::Create { table, .. }
                | Effect::CreateLike { table, .. }
                | Effect::Alter { table, .. }
                | Effect::Drop { table }
                | Effect::Truncate { table }
                | Effect::Rows { table } => [Some(table), None],
                Effect::Rename { from, to } => [Some(from), Some(to)],
                Effect::Unclear { tables: unclear } => {
                    tables.extend(unclear);
                    continue;
                }
                Effect::DatabaseDropped { .. } | Effect::DatabaseCharset { .. } | Effect::Views => continue,
            };
            tables.extend(named.into_iter().flatten());
        }
        let mut seen = std::collections::HashSet::new();
        tables.retain(|table| seen.insert(*table));
        tables
    }
}

/// What `text`, a statement of the log, does to tables.
pub fn parse(text: &str, session: &Session<'_>) -> Statement {
    let tokens = tokenize(text, session);
    let mut reader = Reader {
        cursor: Cursor::new(&tokens),
        session,
        effects: Vec::new(),
        concerned: Vec::new(),
    };
    if reader.statement().is_none() {
        return Statement {
            effects: vec![Effect::Unclear {
                tables: reader.concerned,
            }],
        };
    }
    Statement {
        effects: reader.effects,
    }
}

/// Objects whose CREATE, ALTER and DROP leave tables alone, and the words that come before their names.
const OTHER_OBJECTS: &[&str] = &[
    "view",
    "trigger",
    "procedure",
    "function",
    "aggregate",
    "event",
    "user",
    "role",
    "server",
    "tablespace",
    "undo",
    "logfile",
    "resource",
    "spatial",
    "package",
    "library",
    "definer",
    "algorithm",
    "sql",
    "instance",
    "index",
    "fulltext",
    "materialized",
    "json",
    "prepare",
    "mask",
];

struct Reader<'a, 's> {
    cursor: Cursor<'a>,
    session: &'s Session<'s>,
    effects: Vec<Effect>,
    /// Tables that the statement named so far.
    concerned: Vec<TableName>,
}

impl Reader<'_, '_> {
    fn statement(&mut self) -> Option<()> {
        self.skip_set_statement()?;
        let Some(Token::Word(verb)) = self.cursor.next() else {
            return self.cursor.end();
        };
        match verb.to_ascii_lowercase().as_str() {
            "create" => self.create(),
            "alter" => self.alter(),
            "drop" => self.drop(),
            "rename" => self.rename(),
            "truncate" => self.truncate(),
            "import" if self.cursor.is("table") => None,
            _ => Some(()),
        }
    }

    /// MariaDB: `SET STATEMENT variable = value, … FOR statement`.
    fn skip_set_statement(&mut self) -> Option<()> {
        if !(self.session.flavor == Flavor::Mariadb && self.cursor.take_all(&["set", "statement"])) {
            return Some(());
        }
        while !self.cursor.take("for") {
            match self.cursor.is_symbol('(') {
                true => self.cursor.skip_parentheses()?,
                false => self.cursor.next().map(|_| ())?,
            }
        }
        Some(())
    }

    fn name(&self, (database, table): (Option<String>, String)) -> Option<TableName> {
        let database = database.unwrap_or_else(|| self.session.database.to_owned());
        (!database.is_empty()).then(|| TableName::new(database, table))
    }

    fn table(&mut self) -> Option<TableName> {
        let qualified = self.cursor.qualified()?;
        let table = self.name(qualified)?;
        self.concerned.push(table.clone());
        Some(table)
    }

    fn create(&mut self) -> Option<()> {
        let or_replace = self.cursor.take_all(&["or", "replace"]);
        if self.cursor.take("temporary") {
            return Some(());
        }
        if self.cursor.take("table") {
            return self.create_table(or_replace);
        }
        if self.cursor.take_any(&["database", "schema"]) {
            let if_not_exists = self.cursor.if_not_exists();
            let database = self.cursor.identifier()?;
            return self.database(database, true, if_not_exists, or_replace);
        }
        if self.cursor.take("sequence") {
            self.cursor.if_not_exists();
            self.table()?;
            return None;
        }
        self.cursor.take_any(&["online", "offline"]);
        if self.cursor.take("unique") {
            return self.create_unique();
        }
        self.other_object()
    }

    fn create_table(&mut self, or_replace: bool) -> Option<()> {
        let if_not_exists = self.cursor.if_not_exists();
        let table = self.table()?;
        if self.session.sql_mode.changes_types() {
            return None;
        }
        let created = read_create(&mut self.cursor, self.session)?;
        if or_replace {
            self.effects.push(Effect::Drop { table: table.clone() });
        }
        self.effects.push(match created {
            Created::Declared(declaration) => Effect::Create {
                table,
                declaration: Box::new(declaration),
                if_not_exists,
            },
            Created::Like(database, like) => Effect::CreateLike {
                table,
                like: self.name((database, like))?,
                if_not_exists,
            },
        });
        Some(())
    }

    /// CREATE UNIQUE INDEX, which on MariaDB may add a hidden column.
    fn create_unique(&mut self) -> Option<()> {
        self.cursor.expect("index")?;
        self.cursor.if_not_exists();
        self.cursor.identifier()?;
        let mark = self.cursor.mark();
        if self.cursor.take_any(&["using", "type"]) {
            self.cursor.next()?;
        }
        self.cursor.expect("on")?;
        let table = self.table()?;
        if self.session.flavor == Flavor::Mysql {
            return Some(());
        }
        let hash = {
            self.cursor.back_to(mark);
            self.cursor.is("using") && self.cursor.is_ahead(1, "hash")
        };
        while !self.cursor.is_symbol('(') {
            self.cursor.next()?;
        }
        let columns = table::read_unique(&mut self.cursor, hash)?;
        self.effects.push(Effect::Alter {
            table,
            changes: Alteration(vec![Change::Key(columns)]),
        });
        Some(())
    }

    fn database(
        &mut self,
        database: String,
        created: bool,
        if_not_exists: bool,
        or_replace: bool,
    ) -> Option<()> {
        let mut options = CharsetChoice::default();
        while !self.cursor.at_end() {
            self.cursor.take("default");
            if self.cursor.take("collate") {
                self.cursor.take_symbol('=');
                options.collation = Some(self.cursor.name_or_text()?);
            } else if data_type::read_charset(&mut self.cursor, &mut options)? || self.cursor.take_symbol(',')
            {
            } else if self.cursor.take_any(&["encryption", "comment"]) {
                self.cursor.take_symbol('=');
                self.cursor.text()?;
            } else if self.cursor.take_all(&["read", "only"]) {
                self.cursor.take_symbol('=');
                self.cursor.next()?;
            } else {
                return None;
            }
        }
        self.effects.push(Effect::DatabaseCharset {
            database,
            created,
            if_not_exists,
            or_replace,
            charset: CharsetWord(options),
        });
        Some(())
    }

    fn alter(&mut self) -> Option<()> {
        self.cursor.take_any(&["online", "offline"]);
        self.cursor.take("ignore");
        if self.cursor.take("table") {
            return self.alter_table();
        }
        if self.cursor.take_any(&["database", "schema"]) {
            let word = self.cursor.word_ahead(0).unwrap_or_default().to_ascii_lowercase();
            let option = [
                "default",
                "character",
                "charset",
                "char",
                "collate",
                "encryption",
                "comment",
                "read",
            ];
            let named = !option.contains(&word.as_str());
            let database = match named {
                true => self.cursor.identifier()?,
                false => self.session.database.to_owned(),
            };
            return self.database(database, false, false, false);
        }
        if self.cursor.is("sequence") {
            return Some(());
        }
        self.other_object()
    }

    fn alter_table(&mut self) -> Option<()> {
        self.cursor.if_exists();
        let table = self.table()?;
        if self.session.sql_mode.changes_types() {
            return None;
        }
        let changes = alter::read_alter(&mut self.cursor, self.session)?;
        let mut remaining = Vec::new();
        let mut later = Vec::new();
        for change in changes {
            match change {
                Change::Rows => later.push(Effect::Rows { table: table.clone() }),
                Change::RowsOf(database, other) => later.push(Effect::Rows {
                    table: self.name((database, other))?,
                }),
                Change::RenameTable(database, to) => later.push(Effect::Rename {
                    from: table.clone(),
                    // Without a database, the name stays in the table's own.
                    to: TableName::new(database.unwrap_or_else(|| table.database.to_string()), to),
                }),
                change => remaining.push(change),
            }
        }
        self.effects.push(Effect::Alter {
            table,
            changes: Alteration(remaining),
        });
        self.effects.append(&mut later);
        Some(())
    }

    fn drop(&mut self) -> Option<()> {
        if self.cursor.take("temporary") {
            return Some(());
        }
        if self.cursor.take_any(&["table", "tables", "sequence"]) {
            self.cursor.if_exists();
            loop {
                let table = self.table()?;
                self.effects.push(Effect::Drop { table });
                if !self.cursor.take_symbol(',') {
                    break;
                }
            }
            if self.cursor.take("wait") {
                self.cursor.number()?;
            }
            self.cursor.take("nowait");
            self.cursor.take_any(&["restrict", "cascade"]);
            return self.cursor.end();
        }
        if self.cursor.take_any(&["database", "schema"]) {
            self.cursor.if_exists();
            let database = self.cursor.identifier()?;
            self.effects.push(Effect::DatabaseDropped { database });
            return self.cursor.end();
        }
        self.cursor.take_any(&["online", "offline"]);
        if self.cursor.take("index") {
            self.cursor.if_exists();
            let index = self.cursor.identifier()?;
            self.cursor.expect("on")?;
            let table = self.table()?;
            let change = match index.eq_ignore_ascii_case("primary") {
                true => Change::DropPrimary { if_exists: true },
                false => Change::DropNamed,
            };
            self.effects.push(Effect::Alter {
                table,
                changes: Alteration(vec![change]),
            });
            return Some(());
        }
        self.other_object()
    }

    /// What is no table. DEFINER, ALGORITHM and SQL SECURITY stand in front of views, and some of them in front of others too.
    fn other_object(&mut self) -> Option<()> {
        if self.cursor.is_any(&["view", "algorithm", "definer", "sql"]) {
            self.effects.push(Effect::Views);
        }
        self.cursor.is_any(OTHER_OBJECTS).then_some(())
    }

    /// RENAME TABLE a TO b, c TO d; RENAME USER concerns no table.
    fn rename(&mut self) -> Option<()> {
        if !self.cursor.take_any(&["table", "tables"]) {
            return self.cursor.is("user").then_some(());
        }
        self.cursor.if_exists();
        loop {
            let from = self.table()?;
            if self.cursor.take("wait") {
                self.cursor.number()?;
            }
            self.cursor.take("nowait");
            self.cursor.expect("to")?;
            let to = self.table()?;
            self.effects.push(Effect::Rename { from, to });
            if !self.cursor.take_symbol(',') {
                return self.cursor.end();
            }
        }
    }

    fn truncate(&mut self) -> Option<()> {
        self.cursor.take("table");
        let table = self.table()?;
        if self.cursor.take("wait") {
            self.cursor.number()?;
        }
        self.cursor.take("nowait");
        self.effects.push(Effect::Truncate { table });
        self.cursor.end()
    }
}
