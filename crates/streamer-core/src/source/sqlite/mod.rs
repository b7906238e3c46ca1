//! SQLite: every commit of every process, without a server.
//!
//! SQLite has no log that could be followed: its write-ahead log holds pages, and its hooks see one connection only. So
//! triggers write each change of a watched table into a change log, which is a table of the same database: inside of the
//! writer's own transaction, exact, and gone with it where it rolls back. Whoever writes, in whatever language, writes it.
//!
//! - `schema` reads definitions of tables; `triggers` makes the statements; `log` holds our own tables.
//! - `install` brings both together, again whenever a definition has changed: it follows ALTER TABLE, and says what could
//!   not be seen.
//! - `entries` and `rows` turn entries of the log into batches; `replaced` finds rows that a REPLACE removed, for which SQLite
//!   fires no trigger.
//! - `watch` notices a commit; `follower` is the thread that does all of it; `connector` is its other end, `gate` where the thread
//!   stops for a snapshot, whose rows `chunks` reads.
//!
//! What is visible together is delivered as one transaction: it holds one transaction of a writer, or several, never a part
//! of one. The log cannot tell where one ends, since SQLite shows triggers nothing of it.

mod chunks;
mod connector;
mod entries;
mod facts;
mod failure;
mod follower;
mod gate;
mod install;
mod log;
mod place;
mod removal;
mod replaced;
mod rows;
mod schema;
mod triggers;
mod watch;

pub use chunks::SqliteChunks;
pub use connector::SqliteConnector;
pub use facts::{Shown, TableState, file_identity, schema_version, shown, table_state};
pub use failure::failure;
pub use removal::{Removed, open, remove};

#[cfg(test)]
mod tests;
