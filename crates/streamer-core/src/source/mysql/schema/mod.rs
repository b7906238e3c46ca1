//! What a table looked like when its rows were written.

mod definition;

pub use definition::{CharsetName, ColumnDefinition, ColumnKind, Generated, TableDefinition, TableName};
