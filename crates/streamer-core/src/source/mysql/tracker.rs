//! Which definition each table had at the reader's place in the log.
//!
//! # Why a definition is exact
//! Definitions can be asked of a server only as they are now. They are read while a metadata lock is held on each
//! table: no DDL statement can end meanwhile, so they are exact at the position that is read under the same locks. Where
//! the reader begins there, nothing more is needed. Where it begins earlier, the DDL statements between are read
//! first: a table that none of them names had the same definition all along; for the others, the statements of the
//! older log are replayed, and what they lead to must equal what the server has now. Where it does not, or the log
//! does not reach back to the table's creation, the table is not known until the last of those statements is passed.
//! From there on it is what the server has now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::charset::by_collation_id;
use super::history::{LoggedStatement, read_statements};
use super::link::{Flavor, Link, quote_identifier, quote_text};
use super::schema::ddl::{Session, SqlMode, parse, redact};
use super::schema::{
    Catalog, Happened, TableDefinition, TableName, Wanted, columns_query, databases_query, read_columns,
    read_databases,
};
use super::session::{Server, current_offset, earliest_offset};
use crate::code::Code;
use crate::config::{MysqlConfig, TableFilter};
use crate::error::{Error, Result};
use crate::offset::Offset;

/// Seconds that a metadata lock may be waited for: a table in the middle of a long ALTER is not known until it ends.
const LOCK_SECONDS: u32 = 5;
/// Tables in one query.
const CHUNK: usize = 200;
/// Rounds of locking while tables are created meanwhile.
const ROUNDS: u32 = 3;

/// What a table is from a statement on; `None` where it is gone.
type Anchor = (TableName, Option<Arc<TableDefinition>>);

/// Definitions at one place of the log.
pub struct Tracker {
    filter: TableFilter,
    dialect: Dialect,
    catalog: Catalog,
    /// What a table is from a statement on, whatever was replayed before it.
    anchors: HashMap<Arc<str>, Vec<Anchor>>,
    /// Tables whose replayed definition did not lead to the present one.
    distrusted: HashSet<TableName>,
    /// Tables that were asked for in vain since their last DDL statement.
    in_vain: HashSet<TableName>,
    /// Grows whenever a definition may have changed.
    revision: u64,
}

/// What the meaning of a statement depends on beside its session.
#[derive(Debug, Clone)]
struct Dialect {
    flavor: Flavor,
    version: (u16, u16, u16),
    folds_names: bool,
    server_charset: Option<String>,
    utf8_charset: &'static str,
    explicit_timestamps: bool,
}

impl Dialect {
    fn of(server: &Server) -> Self {
        let old_utf8 = server
            .variable("old_mode")
            .is_none_or(|modes| modes.contains("UTF8_IS_UTF8MB3"));
        Self {
            flavor: server.flavor,
            version: server.version,
            folds_names: server.folds_names(),
            server_charset: server.variable("character_set_server").map(str::to_owned),
            utf8_charset: if old_utf8 || server.version < (10, 6, 0) {
                "utf8mb3"
            } else {
                "utf8mb4"
            },
            explicit_timestamps: server.is_on("explicit_defaults_for_timestamp"),
        }
    }

    fn session<'a>(&'a self, logged: &'a LoggedStatement) -> Session<'a> {
        let mut session = Session::new(self.flavor, self.version, &logged.database);
        session.sql_mode = SqlMode(logged.sql_mode);
        session.server_charset = logged
            .server_collation
            .and_then(by_collation_id)
            .or(self.server_charset.as_deref());
        session.database_charset = logged.database_collation.and_then(by_collation_id);
        session.utf8_charset = self.utf8_charset;
        session.explicit_timestamps = self.explicit_timestamps;
        session
    }

    fn apply(&self, catalog: &mut Catalog, logged: &LoggedStatement) -> Vec<Happened> {
        let session = self.session(logged);
        catalog.apply(&parse(&logged.statement, &session), &session)
    }
}

/// The tables that something happened to.
fn tables_of(happened: &Happened) -> impl Iterator<Item = &TableName> {
    let (first, second) = match happened {
        Happened::Changed(table)
        | Happened::Lost(table)
        | Happened::Dropped(table)
        | Happened::Truncated(table)
        | Happened::RowsReplaced(table) => (Some(table), None),
        Happened::Renamed(from, to) => (Some(from), Some(to)),
        Happened::DatabaseChanged(_) | Happened::ViewsChanged | Happened::AllLost => (None, None),
    };
    first.into_iter().chain(second)
}

fn set(catalog: &mut Catalog, table: &TableName, definition: Option<Arc<TableDefinition>>) {
    match definition {
        Some(definition) => catalog.insert((*definition).clone()),
        None => catalog.remove(table),
    }
}

fn get<'a>(catalog: &'a Catalog, table: &TableName) -> Option<&'a Arc<TableDefinition>> {
    catalog.known(&table.database, &table.table)
}

impl Tracker {
    /// A tracker that knows nothing.
    pub fn new(server: &Server, filter: TableFilter) -> Self {
        Self {
            filter,
            dialect: Dialect::of(server),
            catalog: Catalog::new(server.folds_names()),
            anchors: HashMap::new(),
            distrusted: HashSet::new(),
            in_vain: HashSet::new(),
            revision: 0,
        }
    }

    /// Grows whenever a definition may have changed.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The definitions that are certain; of the others, only that they are not.
    pub fn certain(&self) -> Catalog {
        let mut catalog = self.catalog.clone();
        for table in &self.distrusted {
            catalog.insert_unknown(table);
        }
        catalog
    }

    /// Takes definitions that were kept beside the position at which reading begins.
    pub fn restore(&mut self, catalog: Catalog) {
        self.catalog = catalog;
        self.anchors.clear();
        self.distrusted.clear();
        self.in_vain.clear();
        self.revision += 1;
    }

    /// The definition of a table, where it is certain.
    pub fn known(&self, table: &TableName) -> Option<&Arc<TableDefinition>> {
        if self.distrusted.contains(table) {
            return None;
        }
        get(&self.catalog, table)
    }

    /// A statement as users see it: without passwords.
    pub fn shown(&self, logged: &LoggedStatement) -> Arc<str> {
        redact(&logged.statement, &self.dialect.session(logged)).into()
    }

    /// Whether it makes sense to ask the server for a table that is not known.
    pub fn may_ask(&mut self, table: &TableName) -> bool {
        self.in_vain.insert(table.clone())
    }

    /// Applies a DDL statement that the reader passes.
    pub fn apply(&mut self, logged: &LoggedStatement) -> Vec<Happened> {
        let happened = self.dialect.apply(&mut self.catalog, logged);
        self.revision += 1;
        for table in happened.iter().flat_map(tables_of) {
            self.in_vain.remove(table);
            self.distrusted.remove(table);
        }
        if happened.contains(&Happened::AllLost) {
            self.in_vain.clear();
        }
        for (table, known) in self.anchors.remove(&logged.id).unwrap_or_default() {
            set(&mut self.catalog, &table, known);
            self.distrusted.remove(&table);
        }
        happened
    }

    /// Reads the present definitions, and returns the position at which they are exact.
    ///
    /// # Errors
    /// `ERR_STREAMER_DATABASE_UNKNOWN` where the URL's database is not there; else those of a query.
    pub async fn load(&mut self, link: &mut Link, server: &Server, database: Option<&str>) -> Result<Offset> {
        let charsets = read_databases(&link.query(databases_query()).await?);
        let mut catalog = Catalog::new(self.dialect.folds_names);
        if let Some(database) = database {
            let is_there = charsets.iter().any(|(name, _)| {
                name == database || server.folds_names() && name.eq_ignore_ascii_case(database)
            });
            if !is_there {
                return Err(unknown_database(database));
            }
        }
        for (name, charset) in &charsets {
            catalog.insert_database(name, charset.clone());
        }
        link.query(&format!("SET SESSION lock_wait_timeout = {LOCK_SECONDS}"))
            .await?;
        link.query("START TRANSACTION READ ONLY").await?;
        let (tables, now) = self.lock(link, server).await?;
        let read = read_all(link, server, &tables, &mut catalog).await;
        link.query("COMMIT").await?;
        read?;
        self.restore(catalog);
        Ok(now)
    }

    /// Takes a metadata lock on each table that is delivered; reads the position once no table has come meanwhile.
    async fn lock(&self, link: &mut Link, server: &Server) -> Result<(Vec<TableName>, Offset)> {
        let mut locked: Vec<TableName> = Vec::new();
        let mut refused: HashSet<TableName> = HashSet::new();
        let mut round = 0;
        loop {
            let databases = self.filter.exact_databases();
            let present = table_names(link, databases.as_deref().filter(|_| !server.folds_names())).await?;
            let mut news = 0;
            for table in present {
                let is_known = refused.contains(&table) || locked.contains(&table);
                if is_known || !self.filter.includes(&table.database, &table.table) {
                    continue;
                }
                news += 1;
                if lock_table(link, &table).await? {
                    locked.push(table);
                } else {
                    refused.insert(table);
                }
            }
            round += 1;
            if news == 0 || round >= ROUNDS {
                return Ok((locked, current_offset(link, server).await?));
            }
        }
    }

    /// Fails where a table that the configuration names exactly is not there.
    ///
    /// # Errors
    /// `ERR_STREAMER_TABLE_UNKNOWN`, with the nearest name that is there.
    pub fn require_tables(&self) -> Result<()> {
        for (database, table) in self.filter.exact_tables() {
            let name = TableName::new(database, table);
            if get(&self.catalog, &name).is_some() {
                continue;
            }
            let nearest = self
                .catalog
                .tables()
                .map(|(known, _)| known)
                .filter(|known| *known.database == *database)
                .map(|known| (strsim::damerau_levenshtein(&known.table, table), known))
                .filter(|(distance, _)| *distance <= 3)
                .min_by_key(|(distance, _)| *distance);
            let hint = nearest.map_or_else(String::new, |(_, known)| format!(" Did you mean {known}?"));
            return Err(Error::new(
                Code::TableUnknown,
                format!("The table {name} does not exist, or the account may not SELECT from it.{hint}"),
            )
            .with_advice("Check the `tables` option; a pattern with `*` also takes tables that come later.")
            .with_detail("table", name.to_string()));
        }
        Ok(())
    }

    /// Makes the tracker fit a place of the log before the present.
    ///
    /// # Errors
    /// Those of a query and of a dump.
    pub async fn rebuild(
        &mut self,
        link: &mut Link,
        server: &Server,
        config: &MysqlConfig,
        address: usize,
        from: &Offset,
    ) -> Result<()> {
        let in_vain = std::mem::take(&mut self.in_vain);
        let now = self.load(link, server, None).await?;
        self.in_vain = in_vain;
        if now == *from {
            return Ok(());
        }
        let statements = read_statements(config, address, server, from, &now).await?;
        let affected = self.affected(&statements);
        if affected.is_empty() {
            return Ok(());
        }
        let present = std::mem::take(&mut self.catalog);
        let mut begin = present.clone();
        for table in affected.keys() {
            set(&mut begin, table, None);
        }
        if affected.values().any(|affected| !affected.is_created) {
            let earliest = earliest_offset(link, server).await?;
            if earliest != *from {
                let older = read_statements(config, address, server, &earliest, from).await?;
                let mut replayed = Catalog::new(self.dialect.folds_names);
                for statement in &older {
                    self.dialect.apply(&mut replayed, statement);
                }
                for table in affected.keys() {
                    set(&mut begin, table, get(&replayed, table).cloned());
                }
            }
        }
        self.settle(begin, &present, &statements, affected);
        Ok(())
    }

    /// Which tables the statements name, and at which of them each is named last.
    fn affected(&self, statements: &[LoggedStatement]) -> HashMap<TableName, Affected> {
        let mut affected: HashMap<TableName, Affected> = HashMap::new();
        let mut probe = Catalog::new(self.dialect.folds_names);
        for (index, statement) in statements.iter().enumerate() {
            let happened = self.dialect.apply(&mut probe, statement);
            let mut named: Vec<TableName> = happened.iter().flat_map(tables_of).cloned().collect();
            if happened.contains(&Happened::AllLost) {
                named.extend(self.catalog.tables().map(|(table, _)| table.clone()));
            }
            for table in named {
                let is_created = get(&probe, &table).is_some();
                affected
                    .entry(table)
                    .and_modify(|affected| affected.last = index)
                    .or_insert(Affected {
                        last: index,
                        is_created,
                    });
            }
        }
        affected
    }

    /// Replays the statements, and trusts only what leads to the present.
    fn settle(
        &mut self,
        begin: Catalog,
        present: &Catalog,
        statements: &[LoggedStatement],
        affected: HashMap<TableName, Affected>,
    ) {
        let mut end = begin.clone();
        for statement in statements {
            self.dialect.apply(&mut end, statement);
        }
        self.catalog = begin;
        self.revision += 1;
        for (table, affected) in affected {
            let now = get(present, &table).cloned();
            if !same(get(&end, &table), now.as_ref()) {
                self.distrusted.insert(table.clone());
            }
            if self.known(&table).is_none() {
                self.in_vain.insert(table.clone());
            }
            if let Some(statement) = statements.get(affected.last) {
                self.anchors
                    .entry(statement.id.clone())
                    .or_default()
                    .push((table, now));
            }
        }
    }
}

/// What the statements of a stretch do to a table.
struct Affected {
    /// Index of the last one that names it.
    last: usize,
    /// The first one that names it creates it.
    is_created: bool,
}

/// Whether two definitions hold the same columns; what a statement does not tell for certain is left out.
fn same(left: Option<&Arc<TableDefinition>>, right: Option<&Arc<TableDefinition>>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => {
            left.key == right.key
                && left.columns.len() == right.columns.len()
                && left
                    .columns
                    .iter()
                    .zip(&right.columns)
                    .all(|(left, right)| left.name == right.name && left.kind == right.kind)
        }
        _ => false,
    }
}

/// The names of the tables that are not views.
async fn table_names(link: &mut Link, databases: Option<&[&str]>) -> Result<Vec<TableName>> {
    let condition = match databases {
        Some(names) if !names.is_empty() => {
            let names: Vec<String> = names.iter().map(|name| quote_text(name)).collect();
            format!("TABLE_SCHEMA IN ({})", names.join(", "))
        }
        _ => "TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'sys')".to_owned(),
    };
    let rows = link
        .query(&format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES \
             WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND {condition}"
        ))
        .await?;
    Ok(rows
        .rows
        .into_iter()
        .filter_map(|row| match row.as_slice() {
            [Some(database), Some(table)] => Some(TableName::new(database.as_str(), table.as_str())),
            _ => None,
        })
        .collect())
}

/// Reads the definitions of tables into a catalog; one that cannot be said exactly is unknown.
async fn read_all(
    link: &mut Link,
    server: &Server,
    tables: &[TableName],
    catalog: &mut Catalog,
) -> Result<()> {
    for chunk in tables.chunks(CHUNK) {
        let rows = link
            .query(&columns_query(server.flavor, Wanted::Tables(chunk)))
            .await?;
        let reading = read_columns(server.flavor, &rows)?;
        for definition in reading.definitions {
            catalog.insert(definition);
        }
        for unreadable in reading.unreadable {
            catalog.insert_unknown(&unreadable.table);
        }
    }
    Ok(())
}

/// Whether the lock was had: no rows are read.
async fn lock_table(link: &mut Link, table: &TableName) -> Result<bool> {
    let (Ok(database), Ok(name)) = (quote_identifier(&table.database), quote_identifier(&table.table)) else {
        return Ok(false);
    };
    match link
        .query(&format!("SELECT 1 FROM {database}.{name} LIMIT 0"))
        .await
    {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.code(), Code::ConnectionLost | Code::ProtocolUnexpected) => Err(error),
        Err(_) => Ok(false),
    }
}

fn unknown_database(database: &str) -> Error {
    Error::new(
        Code::DatabaseUnknown,
        format!("The database {database} does not exist, or the account may not see it."),
    )
    .with_advice("Check the database's name in the URL, and that the account has SELECT on it.")
    .with_detail("database", database)
}
