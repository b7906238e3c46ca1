//! Places in a source's log.

mod mariadb;
mod mysql;
mod position;

pub use mariadb::{MariadbGtid, MariadbGtidList};
pub use mysql::{GtidInterval, GtidSet, MysqlGtid};
pub use position::{Offset, Position, Within};
