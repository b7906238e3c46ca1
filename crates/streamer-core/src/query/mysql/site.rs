//! The server that is asked: the one whose log is read, and no other.
//!
//! Of several hosts the reader chooses, and queries follow it. What is proved of a server says nothing of another, so a proof and
//! the question behind it go to one [`Site`], and a proof counts only in the era of the ledger in which the site was looked up:
//! an era ends, under the ledger's lock, where the log is read through another connection.

use std::sync::Arc;

use mysql_async::Conn;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::pool::Connections;
use super::proof::Means;
use crate::cache::Era;
use crate::config::{MysqlConfig, PoolConfig};
use crate::error::Result;
use crate::query::state::State;
use crate::source::Host;

/// One server, with the connections to it. They end with the last who uses it.
pub(super) struct Site {
    pub host: Host,
    pub connections: Connections,
    means: OnceCell<Means>,
}

impl Site {
    /// What the server can prove.
    pub async fn means(&self, connection: &mut Conn) -> Result<Means> {
        self.means
            .get_or_try_init(|| Means::of(connection))
            .await
            .copied()
    }

    /// The same, where it was asked for already.
    pub fn known_means(&self) -> Option<Means> {
        self.means.get().copied()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let connections = self.connections.clone();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { connections.close().await });
        }
    }
}

/// The site that is asked now.
#[derive(Default)]
pub(super) struct Sites(Mutex<Option<Arc<Site>>>);

impl Sites {
    /// The site of the host that is read, or was read last; before that, of the first. Must be called on a tokio runtime.
    pub fn now(&self, state: &State, config: &MysqlConfig, limits: PoolConfig) -> (Arc<Site>, Era) {
        let mut kept = self.0.lock();
        // Within the lock: who was held up since does not bring an old host back.
        let (host, era) = state.host();
        if let Some(site) = kept.as_ref().filter(|site| site.host == host) {
            return (Arc::clone(site), era);
        }
        let site = Arc::new(Site {
            connections: Connections::new(config, host.index, limits),
            host,
            means: OnceCell::new(),
        });
        *kept = Some(Arc::clone(&site));
        (site, era)
    }

    /// Ends all connections.
    pub async fn close(&self) {
        let site = self.0.lock().clone();
        if let Some(site) = site {
            site.connections.close().await;
        }
    }
}
