//! The tokio runtime of the library: not the host's, so that a busy application delays no heartbeat.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use streamer_core::code::Code;
use streamer_core::error::{Error, Result};
use tokio::runtime::{Builder, Handle, Runtime};

/// One thread reads and decodes; another keeps the heartbeats of other sources going meanwhile.
const THREADS: usize = 2;

/// The runtime while somebody holds a lease.
static CURRENT: Mutex<Weak<Shared>> = Mutex::new(Weak::new());

struct Shared {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not wait: this may be the thread of JavaScript, or one of the runtime's own.
            runtime.shutdown_background();
        }
    }
}

/// A claim to the runtime. All engines of a process share one; its threads end with the last lease.
#[derive(Clone)]
pub struct Lease(Arc<Shared>);

impl Lease {
    /// The runtime that runs, or a new one.
    ///
    /// # Errors
    /// `ERR_STREAMER_INTERNAL` where the system gives no threads.
    pub fn take() -> Result<Self> {
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = current.upgrade() {
            return Ok(Self(shared));
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("streamer")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(Code::Internal, format!("The system gives no threads: {error}."))
                    .with_advice("Raise the limit of threads of this process or container.")
            })?;
        let shared = Arc::new(Shared {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        });
        *current = Arc::downgrade(&shared);
        Ok(Self(shared))
    }

    /// Where tasks are spawned.
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }
}
