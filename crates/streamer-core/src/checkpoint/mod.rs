//! Where positions outlive the process: a directory, or Redis.
//!
//! A checkpoint says: everything up to this position was delivered, and the application is done with it. Beside the
//! position it keeps what a connector needs to begin exactly there and cannot ask of a server later: the definitions
//! of the tables.
//!
//! # Guarantees
//! - A checkpoint is replaced whole or not at all: a crash at any instant leaves the one before it, or the new one.
//! - What is damaged, of a later version, or of another source is an error, never a fresh start.
//! - Two processes cannot write one checkpoint: the second is refused, and told who the first is. A process that was
//!   frozen for so long that another took its place cannot write any more.

mod directory;
mod owner;
mod record;
mod redis;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::config::{Checkpoint as Config, CheckpointPlace};
use crate::error::Result;

pub use directory::Directory;
pub use record::Record;
pub use redis::Redis;

/// What a connector keeps beside its position; made into bytes only when it is stored.
pub trait Definitions: Send + Sync {
    /// Grows with every change; two with one version are equal.
    fn version(&self) -> u64;

    /// The form in which they are stored. Opaque to everyone but the connector.
    fn to_bytes(&self) -> Vec<u8>;
}

/// How far a snapshot has come, for a checkpoint; made into text only when it is stored.
pub trait Progress: Send + Sync {
    /// Grows with every change; two with one version are equal.
    fn version(&self) -> u64;

    /// The form in which it is stored. Opaque to everyone but the reader of snapshots.
    fn to_text(&self) -> String;
}

/// What was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The position's text.
    pub position: String,
    /// What proves that the log is the same; absent where the connector knew of nothing.
    pub witness: Option<String>,
    /// How far a snapshot had come; absent where none was under way.
    pub snapshot: Option<String>,
    /// Definitions that hold at the position; absent where the connector keeps none, or they did not survive.
    pub definitions: Option<Vec<u8>>,
}

/// A place where checkpoints are kept. One store serves all sources of an engine.
pub trait Store: Send {
    /// Takes possession of a source's checkpoint, and reads it; `None` where there is none yet.
    ///
    /// Fails with `ERR_STREAMER_CHECKPOINT_LOCKED` where another process has it, `ERR_STREAMER_CHECKPOINT_INVALID`
    /// where it cannot be believed, `ERR_STREAMER_CHECKPOINT_FAILED` where it cannot be read or written.
    fn open<'a>(&'a mut self, source: &'a str) -> BoxFuture<'a, Result<Option<Saved>>>;

    /// Replaces a checkpoint that was opened. `witness`, `snapshot` and `definitions` are those that hold at the position.
    ///
    /// Fails with `ERR_STREAMER_CHECKPOINT_FAILED`, after which the one before it is intact, or with
    /// `ERR_STREAMER_CHECKPOINT_LOCKED` where another process has taken it meanwhile.
    fn save<'a>(
        &'a mut self,
        source: &'a str,
        position: &'a str,
        witness: Option<&'a str>,
        snapshot: Option<String>,
        definitions: Option<Arc<dyn Definitions>>,
    ) -> BoxFuture<'a, Result<()>>;

    /// Shows that this process lives, where possession ends without that; at least every
    /// [`RENEWAL`](owner::RENEWAL).
    fn renew(&mut self) -> BoxFuture<'_, Result<()>>;

    /// Gives the checkpoints free. Idempotent.
    fn close(&mut self) -> BoxFuture<'_, ()>;
}

pub use owner::RENEWAL;

/// A number that names a store, the same in every process that uses it.
pub fn identity(config: &Config) -> u64 {
    let text = match &config.place {
        CheckpointPlace::Directory(path) => {
            // The directory may not exist yet; a path that cannot be made absolute names itself.
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            path.to_string_lossy().into_owned()
        }
        CheckpointPlace::Redis { url, prefix } => format!("{}\n{prefix}", url.reveal()),
    };
    // FNV-1a: stable over versions, which the hashes of the standard library are not.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The store that a configuration names. Nothing is opened yet.
pub fn store(config: &Config) -> Box<dyn Store> {
    match &config.place {
        CheckpointPlace::Directory(path) => Box::new(Directory::new(path.clone())),
        CheckpointPlace::Redis { url, prefix } => Box::new(Redis::new(url.clone(), prefix)),
    }
}
