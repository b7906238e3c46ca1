//! What is asked beside the cursor, once every interval: how far a majority is, and where the oplog ends.
//!
//! A cursor whose filter passes nothing says nothing of how far it came. Where the oplog ended when it was asked is passed as soon as a
//! question to the cursor that was sent later finds nothing: without that, a source whose collections rest would lose its place when
//! the oplog has gone round.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::member::Member;
use crate::offset::OpTime;

/// The newest answers.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// A majority has the oplog up to here.
    pub committed: OpTime,
    /// The newest entry, and when that was known.
    pub newest: Option<(OpTime, Instant)>,
    /// The member takes no writes any more.
    pub has_stepped_down: bool,
}

/// Asks until it is dropped.
pub struct Watch {
    /// The answers.
    pub seen: watch::Receiver<Seen>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Watches a member.
    pub fn start(member: Member, interval: Duration) -> Self {
        let (sender, seen) = watch::channel(Seen {
            committed: member.committed,
            newest: None,
            has_stepped_down: false,
        });
        let task = tokio::spawn(ask(member, interval, sender));
        Self { seen, task }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What fails is asked again: the cursor notices a connection that is lost.
async fn ask(member: Member, interval: Duration, sender: watch::Sender<Seen>) {
    loop {
        tokio::time::sleep(interval).await;
        if let Ok(hello) = member.hello().await {
            let has_stepped_down = member.must_be_primary && !hello.is_primary;
            sender.send_if_modified(|seen| {
                seen.committed = seen.committed.max(hello.committed);
                seen.has_stepped_down = has_stepped_down;
                // Only this is waited for.
                has_stepped_down
            });
        }
        if let Ok(newest) = member.newest().await {
            sender.send_if_modified(|seen| {
                seen.newest = Some((newest, Instant::now()));
                false
            });
        }
    }
}
