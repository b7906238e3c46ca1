//! MySQL and MariaDB: the server's binary log as changes.

pub mod link;
pub mod schema;
