//! Snapshots that the application asks for while a source is followed.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Most snapshots that wait for a source that has not begun to read them.
const MAX_WAITING: usize = 1024;

/// What was asked for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Names the snapshot.
    pub id: Arc<str>,
    /// Of the tables that the source follows, those that match; all where there is none.
    pub patterns: Vec<String>,
}

/// Where they wait.
#[derive(Debug, Default)]
pub struct Requests {
    waiting: Mutex<Vec<Request>>,
    came: Notify,
}

impl Requests {
    /// Asks for the tables that `patterns` name, which can be read; all where there is none. Returns the id of the snapshot, or
    /// `None` where too many wait.
    pub fn ask(&self, patterns: Vec<String>) -> Option<Arc<str>> {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_WAITING {
            return None;
        }
        let id = new_id();
        waiting.push(Request {
            id: Arc::clone(&id),
            patterns,
        });
        drop(waiting);
        self.came.notify_one();
        Some(id)
    }

    /// Takes what waits.
    pub(super) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.waiting.lock())
    }

    /// Resolves when something came. Cancel-safe.
    pub(super) async fn came(&self) {
        self.came.notified().await;
    }
}

/// A name that no other snapshot has.
pub(super) fn new_id() -> Arc<str> {
    format!("{:012x}", fastrand::u64(..1 << 48)).into()
}
