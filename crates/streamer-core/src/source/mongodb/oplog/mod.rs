//! MongoDB's oplog, read directly: sooner than a change stream, which waits until a majority has a write.
//!
//! A cursor waits at the end of `local.oplog.rs` of one member. It is opened at the entry that was read last, which must be the first
//! that it gives: so a place that is gone, or that a failover took back, is noticed before anything behind it is delivered.

mod connector;
mod delta;
mod entry;
mod filter;
mod member;
mod part;
mod place;
mod reader;
mod watch;
mod work;

pub use connector::OplogConnector;

/// Reads a document as an entry.
#[cfg(fuzzing)]
pub fn read_hostile(document: &bson::RawDocument) {
    if let Ok(entry) = entry::Entry::read(document) {
        let _ = (entry.command(), entry.names());
    }
}
