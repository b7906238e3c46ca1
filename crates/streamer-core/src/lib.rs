//! The engine of `ultimate-streaming`.
//!
//! Follows the log of a database and encodes every committed change into compact batches. It knows nothing
//! of Node.js: the addon at the root of the workspace turns batches into JavaScript values.
//!
//! The arrows between the rooms go one way (a test reads the `use` lines):
//! `query -> cache, pipeline; cache -> offset, event; pipeline -> source, checkpoint, offset, event, config`; `source -> checkpoint, offset, event, config`; no source imports
//! another.
#![forbid(unsafe_code)]

pub mod cache;
pub mod checkpoint;
pub mod code;
pub mod config;
pub mod error;
pub mod event;
pub mod offset;
pub mod pipeline;
pub mod query;
pub mod snapshot;
pub mod source;
