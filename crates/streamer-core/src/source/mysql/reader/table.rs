//! From a table map to a plan: the columns as the log describes them, or as they were tracked.

use super::super::binlog::{TableMap, Wire};
use super::super::described;
use super::super::link::Flavor;
use super::super::maps::Mapped;
use super::super::plan::{Images, Plan};
use super::super::schema::{LoggedColumns, TableDefinition, TableName, agrees};
use super::Reader;
use crate::error::Result;

/// How MySQL's own columns for indices on expressions are called.
const HIDDEN: &str = "!hidden!";

impl Reader {
    /// Whether changes of a table are delivered.
    pub(super) fn includes(&self, database: &str, table: &str) -> bool {
        self.tables.includes(database, table)
    }

    /// What is known of a table map; `None` where the server must be asked first.
    pub(super) fn map_table(&mut self, bytes: &[u8]) -> Result<Option<Mapped>> {
        let map = TableMap::read(&mut Wire(bytes))?;
        if !self.includes(&map.database, &map.table) {
            let name = TableName::new(map.database.as_str(), map.table.as_str());
            return Ok(Some(Mapped::Excluded(name)));
        }
        let name = TableName::new(map.database.as_str(), map.table.as_str());
        let Some(definition) = self.definition_of(&name, &map)? else {
            return Ok((!self.tracker.may_ask(&name)).then_some(Mapped::Unknown(name)));
        };
        let hidden: Vec<bool> = definition
            .columns
            .iter()
            .map(|column| column.is_hidden() || column.name.starts_with(HIDDEN))
            .collect();
        let plan = Plan::new(&map, &definition, &hidden, self.dates)?;
        self.unknown.retain(|unknown| *unknown != name);
        Ok(Some(Mapped::Planned {
            plan: plan.into(),
            images: Images::default(),
        }))
    }

    /// The definition that is certain: the map's own, or the tracked one where it agrees with the map.
    fn definition_of(&mut self, name: &TableName, map: &TableMap) -> Result<Option<TableDefinition>> {
        let logged = LoggedColumns {
            types: &map.types,
            metadata: &map.metadata,
            nullable: &map.nullable,
            unsigned: map.optional.unsigned.as_deref(),
            collations: map.optional.collations.as_deref(),
        };
        let tracked = self
            .tracker
            .known(name)
            .filter(|tracked| agrees(tracked, &logged).is_ok());
        let Some(mut described) = described::definition(map)? else {
            return Ok(tracked.map(|tracked| (**tracked).clone()));
        };
        match tracked {
            Some(tracked) => described::refine(&mut described, tracked),
            // MariaDB stores its JSON as LONGTEXT and its UUID as BINARY(16): without a definition nobody knows.
            None if self.flavor == Flavor::Mariadb && described::is_ambiguous(&described) => return Ok(None),
            None => {}
        }
        Ok(Some(described))
    }
}
