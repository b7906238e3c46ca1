//! MySQL and MariaDB: the server's binary log as changes.

pub mod binlog;
pub mod cascades;
mod cell;
pub mod charset;
mod chunks;
mod connector;
mod described;
mod driver;
mod held;
mod history;
pub mod link;
mod maps;
mod plan;
mod polled;
mod pulse;
mod reader;
mod rows;
pub mod schema;
mod session;
mod stream;
mod track;
mod tracker;
mod witness;
mod words;

pub use cell::AnswerColumn;
#[cfg(fuzzing)]
pub use cell::CellPlan;
pub use chunks::MysqlChunks;
pub use connector::MysqlConnector;
pub use driver::{driver_error, driver_lacks_tls, driver_options};
pub use polled::MysqlTables;
pub use session::server_name;
