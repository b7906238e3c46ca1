//! What a table looked like when its rows were written.

mod catalog;
mod charset;
pub mod ddl;
mod definition;
mod information_schema;
mod stored;
#[cfg(test)]
mod tests;
mod verify;

pub use catalog::{Catalog, Happened, Knowledge};
pub use definition::{
    CharsetName, ColumnDefinition, ColumnKind, Generated, Storage, TableDefinition, TableName,
};
pub(crate) use information_schema::current_key;
pub use information_schema::{
    Reading, Unreadable, Wanted, columns_query, databases_query, read_columns, read_databases,
};
pub use stored::StoredCatalog;
pub use verify::{Aspect, LoggedColumns, Mismatch, agrees};
