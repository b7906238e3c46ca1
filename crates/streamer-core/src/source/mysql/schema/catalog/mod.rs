//! The definitions of all tables at one position of the log, carried forward statement by statement.
//!
//! A table is in one of three states: known exactly; unknown, because a statement concerned it that could not be
//! applied with certainty; or absent. Nothing is ever guessed: where a statement does not fit what is known of a table,
//! the table becomes unknown, and the caller asks the server again or gives it up.
//!
//! Relies on having been given every table that matters at the position where it begins: a table that is absent is
//! taken not to exist.

mod alteration;

use std::collections::HashMap;
use std::sync::Arc;

use super::charset;
use super::ddl::{CharsetWord, Effect, Session, Statement};
use super::definition::{CharsetName, TableDefinition, TableName};

/// What is known of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knowledge {
    /// Everything.
    Known(Arc<TableDefinition>),
    /// It may exist; its columns are not known.
    Unknown,
}

/// What happened to a table or a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// It was created or altered; what is known of it now is in the catalogue.
    Changed(TableName),
    /// Its definition is not known any more.
    Lost(TableName),
    /// It is gone.
    Dropped(TableName),
    /// It has another name.
    Renamed(TableName, TableName),
    /// Its rows are gone.
    Truncated(TableName),
    /// Rows came or went without being logged one by one.
    RowsReplaced(TableName),
    /// A database was created, altered or dropped.
    DatabaseChanged(Arc<str>),
    /// A view may be another one.
    ViewsChanged,
    /// Nothing is known of any table any more.
    AllLost,
}

/// All definitions at one position.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    tables: HashMap<TableName, Entry>,
    databases: HashMap<Arc<str>, CharsetName>,
    fold_case: bool,
    version: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    knowledge: Knowledge,
    version: u64,
}

impl Catalog {
    /// An empty catalogue. `fold_case` where the server's `lower_case_table_names` is not 0: names compare without
    /// regard to case, and are kept in lower case.
    pub fn new(fold_case: bool) -> Self {
        Self {
            fold_case,
            ..Self::default()
        }
    }

    /// Sets a table's definition, as the server gave it.
    pub fn insert(&mut self, mut definition: TableDefinition) {
        definition.name = self.fold(&definition.name);
        self.set(definition.name.clone(), Knowledge::Known(Arc::new(definition)));
    }

    /// Sets that a table exists, but cannot be known.
    pub fn insert_unknown(&mut self, table: &TableName) {
        let table = self.fold(table);
        self.set(table, Knowledge::Unknown);
    }

    /// Takes a table out, because the server says that there is none.
    pub fn remove(&mut self, table: &TableName) {
        let table = self.fold(table);
        if self.tables.remove(&table).is_some() {
            self.version += 1;
        }
    }

    /// Sets a database's default character set, as the server gave it.
    pub fn insert_database(&mut self, database: &str, charset: impl Into<CharsetName>) {
        let database = self.fold_name(database);
        self.databases.insert(database, charset.into());
    }

    /// What is known of a table; `None` where there is none.
    pub fn get(&self, database: &str, table: &str) -> Option<&Knowledge> {
        let name = TableName::new(self.fold_name(database), self.fold_name(table));
        self.tables.get(&name).map(|entry| &entry.knowledge)
    }

    /// A table's definition, where it is known.
    pub fn known(&self, database: &str, table: &str) -> Option<&Arc<TableDefinition>> {
        match self.get(database, table)? {
            Knowledge::Known(definition) => Some(definition),
            Knowledge::Unknown => None,
        }
    }

    /// The version at which a table last changed; grows with every change and is never used twice.
    pub fn table_version(&self, database: &str, table: &str) -> Option<u64> {
        let name = TableName::new(self.fold_name(database), self.fold_name(table));
        self.tables.get(&name).map(|entry| entry.version)
    }

    /// The version of the newest change of any table.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether names compare without regard to case.
    pub fn folds_case(&self) -> bool {
        self.fold_case
    }

    /// All databases with their default character sets, in no order.
    pub fn databases(&self) -> impl Iterator<Item = (&Arc<str>, &CharsetName)> {
        self.databases.iter()
    }

    /// All tables with what is known of them, in no order.
    pub fn tables(&self) -> impl Iterator<Item = (&TableName, &Knowledge)> {
        self.tables.iter().map(|(name, entry)| (name, &entry.knowledge))
    }

    /// Carries the catalogue over one statement of the log.
    pub fn apply(&mut self, statement: &Statement, session: &Session<'_>) -> Vec<Happened> {
        let mut happened = Vec::new();
        for effect in &statement.effects {
            self.apply_effect(effect, session, &mut happened);
        }
        happened
    }

    fn apply_effect(&mut self, effect: &Effect, session: &Session<'_>, happened: &mut Vec<Happened>) {
        match effect {
            Effect::Create {
                table,
                declaration,
                if_not_exists,
            } => {
                let table = self.fold(table);
                if *if_not_exists && self.tables.contains_key(&table) {
                    return;
                }
                let charset = self.database_charset(&table.database, session);
                let created = alteration::create(&table, declaration, charset.as_ref(), session);
                self.settle(table, created, happened);
            }
            Effect::CreateLike {
                table,
                like,
                if_not_exists,
            } => {
                let table = self.fold(table);
                if *if_not_exists && self.tables.contains_key(&table) {
                    return;
                }
                let copied = self
                    .known(&like.database, &like.table)
                    .map(|original| TableDefinition {
                        name: table.clone(),
                        ..(**original).clone()
                    });
                self.settle(table, copied, happened);
            }
            Effect::Alter { table, changes } => self.alter(table, &changes.0, session, happened),
            Effect::Drop { table } => {
                let table = self.fold(table);
                self.tables.remove(&table);
                self.version += 1;
                happened.push(Happened::Dropped(table));
            }
            Effect::Rename { from, to } => self.rename(from, to, happened),
            Effect::Truncate { table } => happened.push(Happened::Truncated(self.fold(table))),
            Effect::Rows { table } => happened.push(Happened::RowsReplaced(self.fold(table))),
            Effect::DatabaseDropped { database } => {
                let database = self.fold_name(database);
                let mut gone: Vec<TableName> = self
                    .tables
                    .keys()
                    .filter(|table| table.database == database)
                    .cloned()
                    .collect();
                gone.sort();
                happened.extend(gone.into_iter().map(Happened::Dropped));
                self.drop_database(&database);
                happened.push(Happened::DatabaseChanged(database));
            }
            Effect::DatabaseCharset { .. } => self.change_database(effect, session, happened),
            Effect::Views => happened.push(Happened::ViewsChanged),
            Effect::Unclear { tables } => self.lose(tables, happened),
        }
    }

    fn alter(
        &mut self,
        table: &TableName,
        changes: &[super::ddl::Change],
        session: &Session<'_>,
        happened: &mut Vec<Happened>,
    ) {
        let table = self.fold(table);
        let Some(entry) = self.tables.get(&table) else {
            happened.push(Happened::Changed(table));
            return;
        };
        let Knowledge::Known(before) = entry.knowledge.clone() else {
            happened.push(Happened::Changed(table));
            return;
        };
        let charset = self.database_charset(&table.database, session);
        match alteration::alter(&before, changes, charset.as_ref(), session) {
            // An ALTER that leaves the columns as they are (an index, say) keeps the version.
            Some(after) if after == *before => happened.push(Happened::Changed(table)),
            after => self.settle(table, after, happened),
        }
    }

    fn rename(&mut self, from: &TableName, to: &TableName, happened: &mut Vec<Happened>) {
        let (from, to) = (self.fold(from), self.fold(to));
        let knowledge = match self.tables.remove(&from).map(|entry| entry.knowledge) {
            Some(Knowledge::Known(definition)) => Knowledge::Known(Arc::new(TableDefinition {
                name: to.clone(),
                ..(*definition).clone()
            })),
            _ => Knowledge::Unknown,
        };
        let lost = knowledge == Knowledge::Unknown;
        self.set(to.clone(), knowledge);
        happened.push(Happened::Renamed(from, to.clone()));
        if lost {
            happened.push(Happened::Lost(to));
        }
    }

    fn change_database(&mut self, effect: &Effect, session: &Session<'_>, happened: &mut Vec<Happened>) {
        let Effect::DatabaseCharset {
            database,
            created,
            if_not_exists,
            or_replace,
            charset,
        } = effect
        else {
            return;
        };
        let database = self.fold_name(database);
        if *if_not_exists && self.databases.contains_key(&database) {
            return;
        }
        if *or_replace {
            self.drop_database(&database);
        }
        match named_charset(charset, session) {
            Some(Some(charset)) => {
                self.databases.insert(database.clone(), charset);
            }
            // Nothing said: a new database takes the server's.
            Some(None) if *created || *charset != CharsetWord::default() => match session.server_charset {
                Some(charset) => {
                    self.databases.insert(database.clone(), charset.into());
                }
                None => {
                    self.databases.remove(&database);
                }
            },
            Some(None) => {}
            None => {
                self.databases.remove(&database);
            }
        }
        happened.push(Happened::DatabaseChanged(database));
    }

    fn drop_database(&mut self, database: &str) {
        self.tables.retain(|table, _| *table.database != *database);
        self.databases.remove(database);
        self.version += 1;
    }

    fn lose(&mut self, tables: &[TableName], happened: &mut Vec<Happened>) {
        if tables.is_empty() {
            self.version += 1;
            for entry in self.tables.values_mut() {
                *entry = Entry {
                    knowledge: Knowledge::Unknown,
                    version: self.version,
                };
            }
            happened.push(Happened::AllLost);
            return;
        }
        for table in tables {
            let table = self.fold(table);
            self.settle(table, None, happened);
        }
    }

    fn settle(
        &mut self,
        table: TableName,
        definition: Option<TableDefinition>,
        happened: &mut Vec<Happened>,
    ) {
        happened.push(Happened::Changed(table.clone()));
        match definition {
            Some(definition) => self.set(table, Knowledge::Known(Arc::new(definition))),
            None => {
                self.set(table.clone(), Knowledge::Unknown);
                happened.push(Happened::Lost(table));
            }
        }
    }

    fn set(&mut self, table: TableName, knowledge: Knowledge) {
        self.version += 1;
        let entry = Entry {
            knowledge,
            version: self.version,
        };
        self.tables.insert(table, entry);
    }

    fn database_charset(&self, database: &str, session: &Session<'_>) -> Option<CharsetName> {
        let known = self.databases.get(database).cloned();
        known.or_else(|| {
            let same = *self.fold_name(session.database) == *database;
            let charset = session.database_charset.filter(|_| same)?;
            Some(charset::canonical(charset, session.utf8_charset).into())
        })
    }

    fn fold(&self, table: &TableName) -> TableName {
        match self.fold_case {
            true => TableName::new(self.fold_name(&table.database), self.fold_name(&table.table)),
            false => table.clone(),
        }
    }

    fn fold_name(&self, name: &str) -> Arc<str> {
        match self.fold_case {
            true => name.to_lowercase().into(),
            false => name.into(),
        }
    }
}

/// The character set that a clause names; `Some(None)` for the default, `None` for an unknown one.
fn named_charset(word: &CharsetWord, session: &Session<'_>) -> Option<Option<CharsetName>> {
    word.0.named(session.utf8_charset)
}
