//! The driver's pool, bounded in waiting as well, and commands whose answers stay BSON.

use std::sync::Arc;
use std::time::Duration;

use bson::raw::cstr;
use bson::{RawDocumentBuf, Timestamp, rawdoc};
use futures_util::TryStreamExt;
use mongodb::error::{Error as DriverError, ErrorKind};
use mongodb::options::SelectionCriteria;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::code::Code;
use crate::config::{Heartbeat, MongodbConfig, PoolConfig};
use crate::error::{Error, Result};
use crate::query::backend::{busy, closed, late};
use crate::source::mongodb::{Connected, client_error, connect_pool};

/// Most connections to each server, where the URL does not say (`maxPoolSize`).
const MAX_CONNECTIONS: u32 = 10;
/// What the way of a question and its answer may take beside its time on the server.
const WAY: Duration = Duration::from_secs(5);
/// Longest wait for connections to end.
const CLOSING: Duration = Duration::from_millis(500);

/// MaxTimeMSExpired.
const EXPIRED: i32 = 50;
/// InvalidOptions: among others, a cluster time that the server has not heard of yet.
const INVALID_OPTIONS: i32 = 72;

/// Documents, one after the other.
#[derive(Debug, Default)]
pub(super) struct Documents {
    /// Raw BSON.
    pub bytes: Vec<u8>,
    /// How many.
    pub count: u32,
}

/// Why a question has no answer.
pub(super) enum Trouble {
    /// The server has not heard of the cluster time.
    Ahead,
    /// Anything else.
    Failed(Error),
}

/// Connections to one deployment.
pub(super) struct Pool {
    config: MongodbConfig,
    heartbeat: Heartbeat,
    limits: PoolConfig,
    connected: OnceCell<Connected>,
    permits: Arc<Semaphore>,
}

impl Pool {
    /// Nothing connects yet.
    pub fn new(config: MongodbConfig, heartbeat: Heartbeat, limits: PoolConfig) -> Self {
        Self {
            config,
            heartbeat,
            limits,
            connected: OnceCell::new(),
            permits: Arc::new(Semaphore::new(
                limits.max_connections.unwrap_or(MAX_CONNECTIONS) as usize
            )),
        }
    }

    fn most(&self) -> u32 {
        self.limits.max_connections.unwrap_or(MAX_CONNECTIONS)
    }

    async fn connected(&self) -> Result<&Connected> {
        self.connected
            .get_or_try_init(|| connect_pool(&self.config, self.heartbeat, self.most()))
            .await
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>> {
        match timeout(self.limits.wait, self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(busy(self.limits.wait, &format!("all {}", self.most()))),
        }
    }

    /// Runs `find`. With `time`, the answer is majority-committed and holds everything up to that cluster time.
    pub async fn find(
        &self,
        database: &str,
        mut command: RawDocumentBuf,
        time: Option<Timestamp>,
    ) -> std::result::Result<Documents, Trouble> {
        if let Some(time) = time {
            let concern = rawdoc! { "level": "majority", "afterClusterTime": time };
            command.append(cstr!("readConcern"), concern);
        }
        let limit = i64::try_from(self.limits.query.as_millis()).unwrap_or(i64::MAX);
        command.append(cstr!("maxTimeMS"), limit);
        let _permit = self.permit().await.map_err(Trouble::Failed)?;
        let connected = self.connected().await.map_err(Trouble::Failed)?;
        let answer = async {
            let database = connected.client.database(database);
            let mut action = database.run_raw_cursor_command(command);
            if let Some(criteria) = &connected.criteria {
                action = action.selection_criteria(criteria.clone());
            }
            let mut batches = action.batch().await?;
            let mut found = Documents::default();
            while let Some(batch) = batches.try_next().await? {
                for document in batch.doc_slices()? {
                    let document = document.map_err(DriverError::from)?;
                    let Some(document) = document.as_document() else {
                        continue;
                    };
                    found.bytes.extend_from_slice(document.as_bytes());
                    found.count = found.count.saturating_add(1);
                }
            }
            Ok(found)
        };
        match timeout(self.limits.query + WAY, answer).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(trouble(&error, self.limits.query)),
            Err(_) => Err(Trouble::Failed(late("a query", self.limits.query))),
        }
    }

    /// What the primary says of a collection; `None` where there is none of that name.
    pub async fn describe(&self, database: &str, collection: &str) -> Result<Option<RawDocumentBuf>> {
        let _permit = self.permit().await?;
        let connected = self.connected().await?;
        let command = rawdoc! { "listCollections": 1, "filter": { "name": collection } };
        let answer = async {
            let database = connected.client.database(database);
            let action = database
                .run_raw_cursor_command(command)
                .selection_criteria(primary());
            let mut batches = action.batch().await?;
            while let Some(batch) = batches.try_next().await? {
                for document in batch.doc_slices()? {
                    let document = document.map_err(DriverError::from)?;
                    if let Some(document) = document.as_document() {
                        return Ok(Some(document.to_owned()));
                    }
                }
            }
            Ok(None)
        };
        match timeout(self.limits.query + WAY, answer).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(failed(&error, self.limits.query)),
            Err(_) => Err(late("a query", self.limits.query)),
        }
    }

    /// Ends the connections, as far as they end in time.
    pub async fn close(&self) {
        self.permits.close();
        if let Some(connected) = self.connected.get() {
            let _ = timeout(CLOSING, connected.client.clone().shutdown()).await;
        }
    }
}

fn primary() -> SelectionCriteria {
    SelectionCriteria::ReadPreference(mongodb::options::ReadPreference::Primary)
}

fn trouble(error: &DriverError, limit: Duration) -> Trouble {
    match error.kind.as_ref() {
        ErrorKind::Command(command)
            if command.code == INVALID_OPTIONS && command.message.contains("afterClusterTime") =>
        {
            Trouble::Ahead
        }
        _ => Trouble::Failed(failed(error, limit)),
    }
}

/// What a server says of a query may hold a part of it.
fn failed(error: &DriverError, limit: Duration) -> Error {
    match error.kind.as_ref() {
        ErrorKind::Command(command) if command.code == EXPIRED => late("a query", limit),
        // Not the server as a whole, but this question.
        ErrorKind::Command(command) if client_error(error).code() == Code::ServerRefused => {
            let message: String = command
                .message
                .chars()
                .filter(|c| !c.is_control())
                .take(300)
                .collect();
            Error::new(
                Code::ServerRefused,
                format!("The server refused the query: {}.", message.trim_end_matches('.')),
            )
            .with_detail("serverCode", command.code)
            .with_detail("serverCodeName", command.code_name.as_str())
        }
        _ => client_error(error),
    }
}
