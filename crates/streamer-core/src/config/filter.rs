//! Which tables are delivered.

/// The `tables` option: patterns with `*` and `?`; a leading `!` excludes.
#[derive(Debug, Clone, Default)]
pub struct TableFilter {}

impl TableFilter {
    /// Whether changes of this table are delivered.
    pub fn includes(&self, _database: &str, _table: &str) -> bool {
        true
    }
}
