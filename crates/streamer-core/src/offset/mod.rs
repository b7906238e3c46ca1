//! Places in a source's log.

mod gtid_wire;
mod intervals;
mod mariadb;
mod mongodb;
mod mysql;
mod poll;
mod position;
mod sqlite;

pub use mariadb::{MariadbGtid, MariadbGtidList};
pub use mongodb::{MongodbOffset, OpTime};
pub use mysql::{GtidInterval, GtidSet, MysqlGtid};
pub use poll::{PollCursor, PollOffset};
pub use position::{MAX_POSITION_BYTES, Offset, Position, Within};
pub use sqlite::SqliteOffset;
