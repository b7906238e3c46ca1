//! The Node.js binding: names and values cross here, and nothing else happens.
//!
//! Threads: the engine runs on a tokio runtime of this library, shared by all environments of a process (the main thread
//! and its workers), which lives as long as an engine runs. It calls JavaScript through one thread-safe function an
//! engine, one call a delivery, in order; the delivery window bounds what waits there.
//!
//! What keeps a process alive: a promise of `start()` or `stop()` that is pending. Nothing else: the function for
//! deliveries never does, so the facade decides.
//!
//! What a worker that ends leaves behind: nothing. Its cleanup hook abandons the engines of its environment without
//! waiting, and calls into an environment that is gone are refused by Node.js in silence.

#![deny(unsafe_code)]

mod answers;
mod delivery;
mod engine;
mod environment;
mod failure;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod locks;
mod queries;
mod runtime;
mod sqlite;
mod version;
