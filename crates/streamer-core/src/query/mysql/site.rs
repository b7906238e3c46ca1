//! The server that is asked: the one whose log is read, and no other.
//!
//! Of several hosts the reader chooses, and queries follow it. What is proved of a server says nothing of another. So a proof and
//! the question behind it go to one [`Site`], which is of one era of the ledger: an era ends, under the ledger's lock, where the log is
//! read through another connection. And because new connections to an address may lead elsewhere than old ones (a name with several
//! addresses, an address that moved), each connection is asked once which server it leads to ([`Connections::is_at`]).

use std::sync::Arc;

use mysql_async::Conn;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::gather::Gather;
use super::pool::Connections;
use super::proof::Means;
use crate::cache::Era;
use crate::config::{MysqlConfig, PoolConfig};
use crate::error::Result;
use crate::query::backend::closed;
use crate::query::state::State;
use crate::source::Host;

/// One server in one era. Connections outlive it where the next era is of the same server.
pub(super) struct Site {
    pub host: Host,
    pub era: Era,
    pub connections: Arc<Connections>,
    /// Whose turn it is to ask for a proof.
    pub proving: tokio::sync::Mutex<()>,
    /// Look-ups that are asked together.
    pub gather: Gather,
    means: OnceCell<Means>,
    /// Another host is read.
    left: CancellationToken,
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

    /// Whether a connection leads to this server; where it has no name, that is believed.
    pub fn is_at(&self, connection: &Conn) -> bool {
        let name = self.host.server.as_deref();
        name.is_none_or(|name| self.connections.is_at(connection, name))
    }

    /// Whether connections to that host are good for this one: it may be that its name was not known yet.
    fn is_of(&self, host: &Host) -> bool {
        let is_named = self.host.server.is_some();
        self.host.index == host.index && (!is_named || self.host.server == host.server)
    }

    /// Runs what waits for this server; `None` as soon as another host is read, however silent this one is.
    pub async fn until_left<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            outcome = work => Some(outcome),
            () = self.left.cancelled() => None,
        }
    }
}

enum Kept {
    /// Nothing was asked yet.
    None,
    /// The site that is asked.
    Site(Arc<Site>),
    /// No more questions.
    Closed,
}

/// The site that is asked now.
pub(super) struct Sites(Mutex<Kept>);

impl Default for Sites {
    fn default() -> Self {
        Self(Mutex::new(Kept::None))
    }
}

impl Sites {
    /// The site of the host that is read, or was read last; before that, of the first. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// `ERR_STREAMER_CONNECTION_LOST` after [`close`](Self::close).
    pub fn now(&self, state: &State, config: &MysqlConfig, limits: PoolConfig) -> Result<Arc<Site>> {
        let mut kept = self.0.lock();
        // Within the lock: who was held up since does not bring an old host back.
        let (host, era) = state.host();
        let former = match &*kept {
            Kept::Closed => return Err(closed()),
            Kept::None => None,
            Kept::Site(site) if site.era == era => return Ok(Arc::clone(site)),
            Kept::Site(site) => Some(site),
        };
        let (connections, left) = match former {
            Some(site) if site.is_of(&host) => (Arc::clone(&site.connections), site.left.clone()),
            _ => {
                former.inspect(|site| site.left.cancel());
                let connections = Connections::new(config, host.index, limits);
                (Arc::new(connections), CancellationToken::new())
            }
        };
        let site = Arc::new(Site {
            host,
            era,
            connections,
            proving: tokio::sync::Mutex::new(()),
            gather: Gather::default(),
            means: OnceCell::new(),
            left,
        });
        *kept = Kept::Site(Arc::clone(&site));
        Ok(site)
    }

    /// Lets go of a site whose host is read no more: nobody waits for it any longer.
    pub fn leave(&self, state: &State) {
        let mut kept = self.0.lock();
        if let Kept::Site(site) = &*kept
            && !site.is_of(&state.host().0)
        {
            site.left.cancel();
            *kept = Kept::None;
        }
    }

    /// Ends all connections; none is made any more.
    pub async fn close(&self) {
        let kept = std::mem::replace(&mut *self.0.lock(), Kept::Closed);
        if let Kept::Site(site) = kept {
            site.connections.close().await;
        }
    }
}
