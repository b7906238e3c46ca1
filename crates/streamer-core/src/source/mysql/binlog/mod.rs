//! The binary log: what stands in an event, without knowing what it means for a row.
//!
//! Guarantees: no read goes beyond an event, nothing is allocated by a length that the event does not hold, a checksum
//! that does not agree is an error, and an unknown event is visible as such. Nothing here waits.

mod format;
mod gtid;
mod header;
mod payload;
mod query;
mod rows_event;
mod table_map;
mod wire;

pub use format::Format;
pub use gtid::{MariadbBegin, MysqlBegin, read_mariadb_list};
pub use header::{CHECKSUM_BYTES, EventType, HEADER_BYTES, Header, body, checksum_agrees};
pub use payload::Payload;
pub use query::Query;
pub use rows_event::{RowsEvent, RowsKind, uncompress};
pub use table_map::{OptionalMetadata, TableMap, bits, real_type};
pub use wire::Wire;

#[cfg(test)]
mod hostile_tests;
