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
use crate::config::{Heartbeat, MongodbConfig};
use crate::error::{Error, Result};
use crate::source::mongodb::{Connected, client_error, connect_pool};

/// Most connections to each server, where the URL does not say (`maxPoolSize`).
const MAX_CONNECTIONS: u32 = 10;
/// Longest wait for a connection.
const WAITING: Duration = Duration::from_secs(10);
/// Longest time of one question, on the server.
const QUESTION: Duration = Duration::from_secs(60);
/// The same with its way.
const ANSWER: Duration = Duration::from_secs(65);
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
    connected: OnceCell<Connected>,
    permits: Arc<Semaphore>,
}

impl Pool {
    /// Nothing connects yet.
    pub fn new(config: MongodbConfig, heartbeat: Heartbeat) -> Self {
        Self {
            config,
            heartbeat,
            connected: OnceCell::new(),
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS as usize)),
        }
    }

    async fn connected(&self) -> Result<&Connected> {
        self.connected
            .get_or_try_init(|| connect_pool(&self.config, self.heartbeat, MAX_CONNECTIONS))
            .await
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>> {
        match timeout(WAITING, self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::new(
                Code::ConnectionLost,
                "The connections for queries are closed.",
            )),
            Err(_) => Err(Error::new(
                Code::ServerBusy,
                format!("A connection was expected within {WAITING:?}, all {MAX_CONNECTIONS} are in use."),
            )
            .with_advice("Make the queries shorter, or ask for less at the same time.")),
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
        let limit = i64::try_from(QUESTION.as_millis()).unwrap_or(i64::MAX);
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
        match timeout(ANSWER, answer).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(trouble(&error)),
            Err(_) => Err(Trouble::Failed(late())),
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
        match timeout(ANSWER, answer).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(late()),
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

fn late() -> Error {
    Error::new(
        Code::Timeout,
        format!("An answer to a query was expected within {QUESTION:?}, none came."),
    )
}

fn trouble(error: &DriverError) -> Trouble {
    match error.kind.as_ref() {
        ErrorKind::Command(command)
            if command.code == INVALID_OPTIONS && command.message.contains("afterClusterTime") =>
        {
            Trouble::Ahead
        }
        _ => Trouble::Failed(failed(error)),
    }
}

/// What a server says of a query may hold a part of it.
fn failed(error: &DriverError) -> Error {
    match error.kind.as_ref() {
        ErrorKind::Command(command) if command.code == EXPIRED => late(),
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
