//! What the read path and the backend of one source share: what its log said, and whether it lives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cache::{Cache, Dependency, Era};
use crate::code::Code;
use crate::config::{CacheConfig, ConnectorConfig, SourceConfig, TableFilter, WhenDisconnected};
use crate::error::{Error, Result};
use crate::source::Host;

/// What memory may answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    /// What holds every change that was delivered, of a source that is followed.
    Current,
    /// The same, of one that is not followed now.
    Stale,
    /// The source is to be asked.
    Nothing,
}

fn has_one_host(connector: &ConnectorConfig) -> bool {
    match connector {
        ConnectorConfig::Mysql(mysql) => mysql.addresses.len() == 1,
        ConnectorConfig::Mongodb(_) | ConnectorConfig::Sqlite(_) => true,
    }
}

/// Proof of life of the source.
struct Life {
    is_connected: bool,
    /// It is polled: what may be kept depends on a log.
    is_polled: bool,
    /// The host that is read.
    host: Host,
    /// Since when, as the ledger counts.
    era: Era,
    last_sign: Instant,
}

/// One source, as its log shows it.
pub(super) struct State {
    /// Its name.
    pub name: Arc<str>,
    /// Which tables are followed.
    pub filter: TableFilter,
    /// What may be kept; `None` without a cache.
    pub settings: Option<CacheConfig>,
    /// Whether values of the application are kept as well: not where its own connections may lead to another server.
    pub keeps_own: bool,
    /// Entries, and when what was changed.
    pub cache: Cache,
    silence: Duration,
    life: Mutex<Life>,
    position: Mutex<Option<Arc<str>>>,
}

impl State {
    /// Of a source that is not connected yet, and counts as silent after `silence`.
    pub fn new(source: &SourceConfig, settings: Option<CacheConfig>, silence: Duration) -> Self {
        let cache = Cache::new(settings.map_or(0, |settings| settings.max_bytes));
        cache.need(std::slice::from_ref(Dependency::on_definitions()));
        Self {
            name: source.name.as_str().into(),
            filter: source.tables.clone(),
            settings,
            keeps_own: has_one_host(&source.connector),
            cache,
            silence,
            life: Mutex::new(Life {
                is_connected: false,
                is_polled: false,
                host: Host::default(),
                era: 0,
                last_sign: Instant::now(),
            }),
            position: Mutex::new(None),
        }
    }

    /// Everything that was handed over lies before this position.
    pub fn reached(&self, position: Option<&Arc<str>>) {
        if let Some(position) = position {
            *self.position.lock() = Some(Arc::clone(position));
        }
    }

    /// The position that was reached last.
    pub fn position(&self) -> Option<Arc<str>> {
        self.position.lock().clone()
    }

    /// The source streams from this host.
    pub fn connected(&self, host: Host, era: Era) {
        *self.life.lock() = Life {
            is_connected: true,
            is_polled: false,
            host,
            era,
            last_sign: Instant::now(),
        };
    }

    /// Whether the source is polled, and not streamed.
    pub fn polls(&self, is_polled: bool) {
        self.life.lock().is_polled = is_polled;
    }

    /// Whether it is polled.
    pub fn is_polled(&self) -> bool {
        self.life.lock().is_polled
    }

    /// The source does not stream.
    pub fn disconnected(&self) {
        self.life.lock().is_connected = false;
    }

    /// The source showed that it lives.
    pub fn sign(&self) {
        self.life.lock().last_sign = Instant::now();
    }

    /// The host that is read, or was read last, and in which era.
    pub fn host(&self) -> (Host, Era) {
        let life = self.life.lock();
        (life.host.clone(), life.era)
    }

    /// The server whose log is read, where it has a name.
    pub fn server(&self) -> Option<Arc<str>> {
        self.life.lock().host.server.clone()
    }

    /// Whether what is asked for may be kept now.
    pub fn is_live(&self) -> bool {
        let life = self.life.lock();
        let is_followed = life.is_connected && !life.is_polled;
        self.settings.is_some() && is_followed && life.last_sign.elapsed() < self.silence
    }

    /// Whether memory may answer now.
    pub fn serves(&self) -> Result<Serves> {
        if self.is_live() {
            return Ok(Serves::Current);
        }
        if self.is_polled() {
            return Ok(Serves::Nothing);
        }
        match self.settings.map(|settings| settings.when_disconnected) {
            None | Some(WhenDisconnected::Bypass) => Ok(Serves::Nothing),
            Some(WhenDisconnected::Stale) => Ok(Serves::Stale),
            Some(WhenDisconnected::Refuse) => Err(Error::new(
                Code::ConnectionLost,
                "Reads are refused while the source is not followed (`whenDisconnected`).",
            )),
        }
    }
}
