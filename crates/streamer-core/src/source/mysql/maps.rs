//! The table maps of a connection: which plan the rows behind a table id are decoded with.
//!
//! A server writes a table map in front of each statement's rows. Most are the same bytes again, so a plan is found by
//! the bytes of its map; only a new one is parsed.

use std::sync::Arc;

// Looked up once a statement, which is once a row where each writes one; `SipHash` was a sixth of that.
use foldhash::HashMap;

use super::plan::{Images, Plan};
use super::schema::TableName;

/// Entries after which everything is forgotten at the next file: plans of dropped and altered tables.
const MANY: usize = 4096;

/// What is known of a table map.
#[derive(Debug)]
pub enum Mapped {
    /// Not among the tables that are delivered.
    Excluded(TableName),
    /// Delivered.
    Planned {
        /// How its rows are decoded.
        plan: Arc<Plan>,
        /// The images met so far.
        images: Images,
    },
    /// Its columns are not known with certainty.
    Unknown(TableName),
}

/// Where a table map is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapId(usize);

/// Table maps by table id and by their bytes.
#[derive(Debug, Default)]
pub struct TableMaps {
    entries: Vec<Mapped>,
    by_bytes: HashMap<Vec<u8>, MapId>,
    by_table_id: HashMap<u64, MapId>,
}

impl TableMaps {
    /// A map with the same bytes.
    pub fn find(&self, bytes: &[u8]) -> Option<MapId> {
        self.by_bytes.get(bytes).copied()
    }

    /// Keeps a new map.
    pub fn add(&mut self, bytes: &[u8], mapped: Mapped) -> MapId {
        let id = MapId(self.entries.len());
        self.entries.push(mapped);
        self.by_bytes.insert(bytes.to_vec(), id);
        id
    }

    /// Rows that name `table_id` belong to this map from now on.
    pub fn name(&mut self, table_id: u64, map: MapId) {
        self.by_table_id.insert(table_id, map);
    }

    /// The map that `table_id` names.
    pub fn of_table_id(&mut self, table_id: u64) -> Option<&mut Mapped> {
        let MapId(index) = *self.by_table_id.get(&table_id)?;
        self.entries.get_mut(index)
    }

    /// A definition changed: no map is trusted any more. Table ids stay valid until the next map names them anew.
    pub fn forget_definitions(&mut self) {
        self.by_bytes.clear();
    }

    /// A new file: table ids begin anew.
    pub fn begin_file(&mut self) {
        self.by_table_id.clear();
        if self.entries.len() > MANY {
            self.clear();
        }
    }

    /// A new connection.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.by_bytes.clear();
        self.by_table_id.clear();
    }
}
