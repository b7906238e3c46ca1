//! MongoDB's change streams, and its oplog.
//!
//! The official driver makes connections, finds the primary and authenticates. Everything behind an open cursor is done
//! here: where to resume, what to do where the driver's own change stream ends for good (an `invalidate`, an event that is
//! larger than a reply may be, history that is gone), and the copy of each event's raw documents into a batch.

mod chunks;
mod connect;
mod connector;
mod event;
mod failure;
mod oplog;
mod output;
mod polled;
mod preflight;
mod pulse;
mod reader;
mod resume;
mod scope;
mod stream;
mod transaction;
mod walk;

pub use chunks::MongodbChunks;
pub use connect::{Connected, connect_pool};
pub use connector::MongodbConnector;
pub use failure::client_error;
pub use oplog::OplogConnector;
pub use polled::MongodbTables;

/// Reads a document as an event of a change stream, and as an entry of the oplog.
#[cfg(fuzzing)]
pub fn read_hostile(document: &bson::RawDocument) {
    let _ = event::Event::read(document);
    event::write_changed(&mut String::new(), document);
    oplog::read_hostile(document);
}
