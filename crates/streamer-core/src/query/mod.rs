//! Reads of the sources: pooled, bounded, and answered from memory where the [`cache`](crate::cache) may.
//!
//! [`Queries`] of one source is told of every change before the application is ([`Observer`]), records it in the ledger, and
//! answers reads by the rule (`service.rs`). What differs from one kind of source to the next stands behind one trait
//! (`backend.rs`): what an answer depends on, how it is asked for, what proves that it holds what was delivered. Rows of an answer
//! stand in the encoding of the stream, so that a value is the same whichever way it came.
//!
//! # Guarantees
//! - What [`Queries::query`] returns holds every change that was delivered before the call (MySQL without GTIDs: that was
//!   delivered two seconds before it; see `mysql/proof.rs`).
//! - Callers who ask for the same thing at the same time share one query, as long as none of them knows of a change that
//!   the query may not hold.
//! - While the source does not stream, or was silent for longer than the heartbeat allows, nothing is kept.
//!
//! # Relies on
//! One server: the source's log and the pool's reads are of the same one, which of several hosts is the one that the reader chose
//! (`mysql/site.rs`).

mod backend;
mod figures;
mod mongodb;
mod mysql;
mod own;
mod redis;
mod second;
mod service;
mod sqlite;
mod state;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub use backend::{Executed, Named, NamedValue, Param, Proof, Read, closed};
pub use mysql::SETTLE;
pub use service::Queries;

use backend::Backend;
use mongodb::Mongodb;
use mysql::Mysql;
use second::SecondLevel;
use sqlite::Sqlite;
use state::State;

use crate::cache::Order;
use crate::config::{Config, ConnectorConfig, FullDocument, MongodbLog};
use crate::event::{Batch, LogPlace};
use crate::pipeline::Observer;
use crate::source::{Beat, Gap, Host, SchemaChange};

/// How one query is asked.
#[derive(Debug, Clone, Default)]
pub struct QueryOptions {
    /// The database is asked, whatever is in memory.
    pub bypasses: bool,
    /// How long the answer may be kept; the configured time where absent.
    pub ttl: Option<Duration>,
    /// A position that the answer must hold.
    pub after: Option<String>,
}

/// The queries of every source of an engine.
pub struct Sources(HashMap<String, Arc<Queries>>);

impl Sources {
    /// For the sources of a configuration. Nothing connects yet.
    pub fn new(config: &Config) -> Self {
        let of = config.sources.iter().map(|source| {
            let settings = config.cache.filter(|_| may_keep(&source.connector));
            let state = Arc::new(State::new(source, settings, config.heartbeat.timeout));
            let own = Arc::clone(&state);
            let (backend, order): (Box<dyn Backend>, Order) = match &source.connector {
                ConnectorConfig::Mysql(mysql) => (
                    Box::new(Mysql::new(own, mysql.clone(), config.pool)),
                    Order::Transactions,
                ),
                ConnectorConfig::Mongodb(mongodb) => {
                    let has_exact_images = matches!(
                        mongodb.full_document,
                        FullDocument::WhenAvailable | FullDocument::Required
                    );
                    let backend = Mongodb::new(own, mongodb.clone(), config.heartbeat, config.pool);
                    (Box::new(backend), Order::Positions { has_exact_images })
                }
                ConnectorConfig::Sqlite(sqlite) => {
                    let has_exact_images = true;
                    let backend = Sqlite::new(own, sqlite, config.pool);
                    (Box::new(backend), Order::Positions { has_exact_images })
                }
            };
            let redis = settings.and(config.redis.as_ref());
            // Only of these servers is it known how much of the log an answer holds.
            let second = redis
                .filter(|_| matches!(source.connector, ConnectorConfig::Mysql(_)))
                .and_then(SecondLevel::new);
            let queries = Queries::new(state, backend, order, second);
            (source.name.clone(), Arc::new(queries))
        });
        Self(of.collect())
    }

    /// The queries of a source; of the only one where no name is given.
    pub fn get(&self, name: Option<&str>) -> Option<&Arc<Queries>> {
        match name {
            Some(name) => self.0.get(name),
            None if self.0.len() == 1 => self.0.values().next(),
            None => None,
        }
    }

    /// The figures of the caches in the OpenMetrics text format, without its last line.
    pub fn metrics(&self) -> String {
        figures::render(self.0.iter())
    }

    /// All.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Queries>> {
        self.0.values()
    }
}

/// Whether the log shows every change of what is read.
fn may_keep(connector: &ConnectorConfig) -> bool {
    match connector {
        // What a pipeline of the user's leaves out is not seen; reads of what a majority has say nothing of the oplog's end.
        ConnectorConfig::Mongodb(mongodb) => {
            mongodb.pipeline.is_empty() && mongodb.log == MongodbLog::ChangeStream
        }
        ConnectorConfig::Mysql(_) | ConnectorConfig::Sqlite(_) => true,
    }
}

impl Observer for Sources {
    fn connected(&self, source: &str, host: Host, position: Option<&str>) {
        if let Some(queries) = self.0.get(source) {
            queries.connected(host, position);
        }
    }

    fn polls(&self, source: &str, is_polled: bool) {
        if let Some(queries) = self.0.get(source) {
            queries.polls(is_polled);
        }
    }

    fn reading(&self, source: &str, place: Option<LogPlace>) {
        if let Some(queries) = self.0.get(source) {
            queries.reading(place);
        }
    }

    fn disconnected(&self, source: &str) {
        if let Some(queries) = self.0.get(source) {
            queries.disconnected();
        }
    }

    fn batch(&self, source: &str, batch: &Batch) {
        if let Some(queries) = self.0.get(source) {
            queries.batch(batch);
        }
    }

    fn schema(&self, source: &str, change: &SchemaChange) {
        if let Some(queries) = self.0.get(source) {
            queries.schema(change);
        }
    }

    fn redefined(&self, source: &str, position: &Arc<str>) {
        if let Some(queries) = self.0.get(source) {
            queries.definitions(position);
        }
    }

    fn gap(&self, source: &str, gap: &Gap) {
        if let Some(queries) = self.0.get(source) {
            queries.gap(gap);
        }
    }

    fn beat(&self, source: &str, beat: &Beat) {
        if let Some(queries) = self.0.get(source) {
            queries.beat(beat);
        }
    }
}
