//! Definitions beside a checkpoint: JSON, compressed (Zstandard).

use std::io::Read;

use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, Knowledge};
use super::definition::{CharsetName, TableDefinition, TableName};
use crate::checkpoint::Definitions;

/// Version of the form.
const FORM: u32 = 1;
/// Largest text that is unpacked: 100,000 tables take less.
const MAX_BYTES: u64 = 256 << 20;
/// The definitions change seldom, and a process that follows a log has better things to do.
const LEVEL: i32 = 1;

/// A catalogue at one place of the log.
pub struct StoredCatalog {
    version: u64,
    catalog: Catalog,
}

#[derive(Serialize, Deserialize)]
struct Form {
    form: u32,
    fold_case: bool,
    databases: Vec<(CharsetName, CharsetName)>,
    tables: Vec<TableDefinition>,
    unknown: Vec<TableName>,
}

impl StoredCatalog {
    /// A catalogue under a version.
    pub fn new(version: u64, catalog: Catalog) -> Self {
        Self { version, catalog }
    }

    /// Reads a catalogue back; `None` where the bytes are of another form, or of a server that treats names otherwise.
    pub fn read(bytes: &[u8], fold_case: bool) -> Option<Catalog> {
        let mut text = Vec::new();
        zstd::Decoder::new(bytes)
            .ok()?
            .take(MAX_BYTES)
            .read_to_end(&mut text)
            .ok()?;
        let form: Form = serde_json::from_slice(&text).ok()?;
        if form.form != FORM || form.fold_case != fold_case {
            return None;
        }
        let mut catalog = Catalog::new(fold_case);
        for (database, charset) in form.databases {
            catalog.insert_database(&database, charset);
        }
        for table in form.tables {
            catalog.insert(table);
        }
        for table in form.unknown {
            catalog.insert_unknown(&table);
        }
        Some(catalog)
    }
}

impl Definitions for StoredCatalog {
    fn version(&self) -> u64 {
        self.version
    }

    fn to_bytes(&self) -> Vec<u8> {
        let (mut tables, mut unknown) = (Vec::new(), Vec::new());
        for (name, knowledge) in self.catalog.tables() {
            match knowledge {
                Knowledge::Known(definition) => tables.push((**definition).clone()),
                Knowledge::Unknown => unknown.push(name.clone()),
            }
        }
        tables.sort_by(|left, right| left.name.cmp(&right.name));
        unknown.sort();
        let mut databases: Vec<_> = self
            .catalog
            .databases()
            .map(|(database, charset)| (database.clone(), charset.clone()))
            .collect();
        databases.sort();
        let form = Form {
            form: FORM,
            fold_case: self.catalog.folds_case(),
            databases,
            tables,
            unknown,
        };
        let text = serde_json::to_vec(&form).unwrap_or_default();
        zstd::encode_all(text.as_slice(), LEVEL).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::mysql::link::Flavor;
    use crate::source::mysql::schema::ddl::{Session, parse};

    #[test]
    fn a_catalogue_is_read_back_as_it_was() {
        let mut catalog = Catalog::new(false);
        let session = Session::new(Flavor::Mysql, (8, 4, 0), "shop");
        catalog.insert_database("shop", "utf8mb4");
        for sql in [
            "CREATE TABLE a (id BIGINT UNSIGNED PRIMARY KEY, e ENUM('x','y'), d DECIMAL(10,2), t VARCHAR(20) CHARSET latin1)",
            "CREATE TABLE b (x BINARY(3), j JSON, g INT GENERATED ALWAYS AS (1) STORED, b BIT(3))",
        ] {
            catalog.apply(&parse(sql, &session), &session);
        }
        catalog.insert_unknown(&TableName::new("shop", "c"));
        let bytes = StoredCatalog::new(1, catalog.clone()).to_bytes();
        let read = StoredCatalog::read(&bytes, false).unwrap();
        assert_eq!(read.tables().count(), 3);
        for (name, knowledge) in catalog.tables() {
            assert_eq!(read.get(&name.database, &name.table), Some(knowledge), "{name}");
        }
        assert!(StoredCatalog::read(&bytes, true).is_none());
        assert!(StoredCatalog::read(&bytes[..bytes.len() / 2], false).is_none());
        assert!(StoredCatalog::read(b"{}", false).is_none());
    }
}
