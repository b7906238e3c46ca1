//! Snapshots: the rows that tables hold already, joined with the log of their changes.
//!
//! [`Joined`] is a connector around the one that reads the log. While there are tables to read it takes turns: a part of the log,
//! then a *chunk* of a table (rows in the order of its key, some milliseconds' worth), read on a connection of its own by the
//! source's [`Chunks`](crate::source::Chunks). No lock is taken and no transaction is longer than a chunk.
//!
//! # How a chunk is joined with the log
//!
//! 1. *Hold.* The connector of the log hands over what it has read, and stops between two transactions.
//! 2. *Open.* A view is opened: a consistent snapshot of the database, as every server makes them. The view says which place of
//!    the log it shows.
//! 3. *Approach.* The log is handed over up to exactly that place, and the connector stops again.
//! 4. *Read.* The rows of the chunk are handed over, then the log goes on.
//!
//! So rows stand in the stream at the place where they were true: whatever was committed before the view is in them, and was
//! handed over before them; whatever came later comes behind them. Nothing is lost, and no row is older than a change that came
//! before it. There is no window whose keys would have to be compared and dropped, as other readers of watermarks have one:
//! so changes that hold a row in part (MINIMAL images, deltas of documents), keys that compare equal without being equal, and
//! tables without a key need no case of their own. The price is that the log waits for the time of a chunk.
//!
//! What a view shows is known differently:
//!
//! | source | the place |
//! |---|---|
//! | SQLite | the newest entry of the change log, read in the same transaction: exact |
//! | MariaDB | the server names it: exact |
//! | MongoDB | the other way around: documents are read at the cluster time at which the log stands |
//! | MySQL | between two GTID sets, and a view is used only where nothing between them touched its table; or under a lock of the table |
//!
//! # Why it ends whole
//! A table is read in the order of a key that no two rows share, each chunk behind the last row of the one before it. A row that is
//! there during the whole snapshot is read by the chunk that covers its key. One that is inserted, or whose key moves it behind or before
//! the present row, is in the log, since everything from the place of the first chunk on is handed over.
//!
//! # After a kill
//! Which tables are left, and behind which row, is stored beside the position ([`Progress`](crate::checkpoint::Progress)),
//! and both name the same moment. A new process reads the log from that position, and the table from that row, so rows that were
//! handed over behind the checkpoint come again, as they are by then. Their ids are those of before: the id of a row is made of the
//! snapshot's and the row's key.
//!
//! # Relies on
//! A connector that stops where it is steered to, and a `Chunks` that says truly what its view shows.

mod jobs;
mod joined;
mod pace;
mod requests;

pub use joined::Joined;
pub use requests::Requests;
