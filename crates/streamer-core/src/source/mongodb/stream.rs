//! An open change stream: its cursor, and the batch of the server that is being read.
//!
//! A task of its own asks for the next batch while the present one is read and delivered, so that the server is never idle
//! because we are busy. It is one batch ahead and no more: a stream whose application is slow holds two.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bson::raw::cstr;
use bson::{Bson, RawArrayBuf, RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use futures_util::StreamExt;
use mongodb::Database;
use mongodb::options::SelectionCriteria;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::connect::Connected;
use super::failure::client_error;
use super::preflight::{Server, now_ms};
use super::resume::{Resume, Token};
use super::scope::{Scope, match_stage};
use super::walk::Walk;
use crate::code::Code;
use crate::config::{BeforeChange, FullDocument, MongodbConfig, TableFilter};
use crate::error::{Error, Result};

/// How much of an event is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All that the user wants, many events in a batch.
    Whole,
    /// The same, one event in a batch: an error then stands directly before the event that is too large.
    Single,
    /// One event without its images.
    WithoutImages,
    /// One event without any content.
    KeyOnly,
}

impl Mode {
    /// Most events in an answer.
    const fn events(self) -> u32 {
        match self {
            Self::Whole => ANSWER_EVENTS,
            Self::Single | Self::WithoutImages | Self::KeyOnly => 1,
        }
    }
}

/// What a stream is made from.
pub struct Plan<'a> {
    /// The options.
    pub config: &'a MongodbConfig,
    /// What is delivered.
    pub tables: &'a TableFilter,
    /// What is watched.
    pub scope: &'a Scope,
    /// The server.
    pub server: &'a Server,
    /// Longest wait of the server for an event.
    pub wait: Duration,
}

/// Most events in an answer, as far as they fit into 16 MB; two answers are held at once. The server does nothing between an answer and
/// the next question: with 1,000 events a long stream came to 85 % of what a bare cursor reads that asks for no number, with 4,000 to 91,
/// with 8,000 to 94. (To ask before anybody has looked at the answer is slower: 104,000 events a second instead of 113,000.)
const ANSWER_EVENTS: u32 = 4000;

type DriverError = mongodb::error::Error;

/// A cursor and its present batch.
pub struct Stream {
    replies: mpsc::Receiver<std::result::Result<Reply, DriverError>>,
    /// When the question that is open was asked, as far as it is known.
    asked: Arc<Mutex<Option<Instant>>>,
    batch: Option<Unread>,
    task: JoinHandle<()>,
}

/// What a question was answered with.
struct Reply {
    batch: RawBatch,
    asked: Instant,
    asked_ms: f64,
    took: Duration,
}

/// A batch, and how far it was read.
struct Unread {
    reply: Reply,
    walk: Walk,
}

/// What the server says with a batch.
#[derive(Debug, Default)]
pub struct Answer {
    /// Where the stream stands behind the batch.
    pub token: Option<String>,
    /// The newest operation that the answer covers.
    pub operation_time: Option<Timestamp>,
    /// The newest operation that the server has heard of.
    pub cluster_time: Option<Timestamp>,
    /// It held no event.
    pub is_empty: bool,
    /// When its question was asked.
    pub asked: Option<Instant>,
    /// The same, in ms since the epoch.
    pub asked_ms: f64,
    /// How long it took.
    pub took: Duration,
}

impl Plan<'_> {
    /// The command that opens the stream.
    fn command(&self, resume: &Resume, mode: Mode) -> Result<RawDocumentBuf> {
        let mut pipeline = RawArrayBuf::new();
        pipeline.push(rawdoc! { "$changeStream": self.first_stage(resume, mode) });
        if let Some(stage) = match_stage(self.tables, self.scope) {
            pipeline.push(RawDocumentBuf::try_from(&stage).map_err(|_| not_sent())?);
        }
        if matches!(mode, Mode::Whole | Mode::Single) {
            for stage in &self.config.pipeline {
                let stage = Bson::try_from(stage.clone()).map_err(|_| not_sent())?;
                let Bson::Document(stage) = stage else {
                    return Err(not_sent());
                };
                pipeline.push(RawDocumentBuf::try_from(&stage).map_err(|_| not_sent())?);
            }
        }
        if mode == Mode::KeyOnly {
            let content = ["fullDocument", "fullDocumentBeforeChange", "updateDescription"];
            let fields: RawArrayBuf = content.into_iter().collect();
            pipeline.push(rawdoc! { "$unset": fields });
        } else if self.server.has_split_events() {
            pipeline.push(rawdoc! { "$changeStreamSplitLargeEvent": {} });
        }
        let mut command = match self.scope {
            Scope::Collection(_, table) => rawdoc! { "aggregate": table.as_str() },
            _ => rawdoc! { "aggregate": 1 },
        };
        command.append(cstr!("pipeline"), pipeline);
        let events = i32::try_from(mode.events()).unwrap_or(1);
        command.append(cstr!("cursor"), rawdoc! { "batchSize": events });
        command.append(cstr!("readConcern"), rawdoc! { "level": "majority" });
        Ok(command)
    }

    /// The images that the server is asked for. It would end the stream for good in front of a change without an image that is
    /// required, so [`Reader`](super::reader::Reader) looks for that itself; only with a pipeline, which may drop a change because of
    /// an image that is missing, the server must look first.
    fn images(&self) -> (FullDocument, BeforeChange) {
        let MongodbConfig {
            pipeline,
            full_document,
            before_change,
            ..
        } = self.config;
        let after = match full_document {
            FullDocument::Required if pipeline.is_empty() => FullDocument::WhenAvailable,
            other => *other,
        };
        let before = match before_change {
            BeforeChange::Required if pipeline.is_empty() => BeforeChange::WhenAvailable,
            other => *other,
        };
        (after, before)
    }

    fn first_stage(&self, resume: &Resume, mode: Mode) -> RawDocumentBuf {
        let mut stage = RawDocumentBuf::new();
        if matches!(mode, Mode::Whole | Mode::Single) {
            let (after, before) = self.images();
            stage.append(cstr!("fullDocument"), after.as_str());
            if before != BeforeChange::Off {
                stage.append(cstr!("fullDocumentBeforeChange"), before.as_str());
            }
        }
        if self.server.has_expanded_events() {
            stage.append(cstr!("showExpandedEvents"), true);
        }
        if *self.scope == Scope::Deployment {
            stage.append(cstr!("allChangesForCluster"), true);
        }
        resume.add_to(&mut stage);
        stage
    }
}

fn not_sent() -> Error {
    Error::new(
        Code::ConfigInvalid,
        "A stage of the `pipeline` has no form in BSON.",
    )
}

impl Stream {
    /// Opens a stream.
    ///
    /// # Errors
    /// The driver's; `Err(Err(…))` is what never reached it.
    pub async fn open(
        connected: &Connected,
        plan: &Plan<'_>,
        resume: &Resume,
        mode: Mode,
    ) -> Result<Self, std::result::Result<DriverError, Error>> {
        let first = (Instant::now(), now_ms());
        let cursor = open_cursor(connected, plan, resume, mode).await?;
        Ok(Self::reading(cursor, first))
    }

    /// Opens the cursor of another command, which waits at most so long for something new.
    ///
    /// # Errors
    /// The driver's.
    pub async fn start(
        database: Database,
        command: RawDocumentBuf,
        wait: Duration,
        criteria: Option<SelectionCriteria>,
    ) -> std::result::Result<Self, DriverError> {
        let first = (Instant::now(), now_ms());
        let mut action = database.run_raw_cursor_command(command).max_time(wait);
        if let Some(criteria) = criteria {
            action = action.selection_criteria(criteria);
        }
        let cursor = action.batch().await?;
        Ok(Self::reading(cursor, first))
    }

    fn reading(cursor: RawBatchCursor, first: (Instant, f64)) -> Self {
        let asked = Arc::new(Mutex::new(Some(first.0)));
        let (sender, replies) = mpsc::channel(1);
        Self {
            replies,
            task: tokio::spawn(ask(cursor, first, Arc::clone(&asked), sender)),
            asked,
            batch: None,
        }
    }

    /// Asks the server, beside the stream, whether anything that is wanted follows a place. `None` where its answer proves nothing:
    /// it has not seen the operation at `time` itself.
    ///
    /// # Errors
    /// The driver's; `Err(Err(…))` is what never reached it.
    pub async fn has_more(
        connected: &Connected,
        plan: &Plan<'_>,
        resume: &Resume,
        time: (u32, u32),
    ) -> Result<Option<bool>, std::result::Result<DriverError, Error>> {
        let mut cursor = open_cursor(connected, plan, resume, Mode::Single).await?;
        let first = cursor.next().await.unwrap_or_else(|| Err(closed())).map_err(Ok)?;
        let reply = first.as_raw_document();
        if first.doc_slices().is_ok_and(|events| !events.is_empty()) {
            return Ok(Some(true));
        }
        let seen = reply.get_timestamp("operationTime").ok();
        Ok(seen
            .is_some_and(|seen| (seen.time, seen.increment) >= time)
            .then_some(false))
    }

    /// When the open question was asked.
    pub fn asked(&self) -> Instant {
        *self.asked.lock().get_or_insert_with(Instant::now)
    }

    /// Waits for the next batch. Cancel-safe: the question stays open.
    pub async fn load(&mut self) -> std::result::Result<(), DriverError> {
        let reply = self.replies.recv().await;
        // The next question is about to be asked, or has just been.
        *self.asked.lock() = None;
        self.batch = Some(Unread::new(reply.unwrap_or_else(|| Err(closed()))?)?);
        Ok(())
    }

    /// Ends the stream; the driver knows of the end when this resolves.
    pub async fn close(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Whether a batch is being read.
    pub fn has_batch(&self) -> bool {
        self.batch.is_some()
    }

    /// The next event of the batch.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where the batch is no valid BSON.
    pub fn event(&mut self) -> Result<Option<&RawDocument>> {
        match &mut self.batch {
            Some(batch) => batch.next(),
            None => Ok(None),
        }
    }

    /// Ends the batch; what the server said with it.
    pub fn finish(&mut self) -> Answer {
        let Some(batch) = self.batch.take() else {
            return Answer::default();
        };
        let Reply {
            asked,
            asked_ms,
            took,
            ..
        } = batch.reply;
        let reply = batch.reply.batch.as_raw_document();
        let cursor = reply.get_document("cursor").ok();
        let token = cursor.and_then(|cursor| cursor.get_document("postBatchResumeToken").ok());
        let time = reply.get_document("$clusterTime").ok();
        Answer {
            token: token.and_then(Token::read).map(Cow::into_owned),
            operation_time: reply.get_timestamp("operationTime").ok(),
            cluster_time: time.and_then(|time| time.get_timestamp("clusterTime").ok()),
            is_empty: batch.is_empty(),
            asked: Some(asked),
            asked_ms,
            took,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn open_cursor(
    connected: &Connected,
    plan: &Plan<'_>,
    resume: &Resume,
    mode: Mode,
) -> std::result::Result<RawBatchCursor, std::result::Result<DriverError, Error>> {
    let command = plan.command(resume, mode).map_err(Err)?;
    let database = connected.client.database(plan.scope.database());
    let mut action = database
        .run_raw_cursor_command(command)
        .max_time(plan.wait)
        .batch_size(mode.events());
    if let Some(criteria) = &connected.criteria {
        action = action.selection_criteria(criteria.clone());
    }
    action.batch().await.map_err(Ok)
}

/// Asks for batch after batch, the next one as soon as the one before it was taken.
async fn ask(
    mut cursor: RawBatchCursor,
    first: (Instant, f64),
    asked: Arc<Mutex<Option<Instant>>>,
    replies: mpsc::Sender<std::result::Result<Reply, DriverError>>,
) {
    let mut question = Some(first);
    while let Ok(place) = replies.reserve().await {
        let (since, asked_ms) = question.take().unwrap_or_else(|| (Instant::now(), now_ms()));
        *asked.lock() = Some(since);
        let reply = cursor.next().await.unwrap_or_else(|| Err(closed()));
        let is_last = reply.is_err();
        place.send(reply.map(|batch| Reply {
            batch,
            asked: since,
            asked_ms,
            took: since.elapsed(),
        }));
        if is_last {
            return;
        }
    }
}

fn closed() -> DriverError {
    DriverError::custom("the server closed the cursor".to_owned())
}

impl Unread {
    fn new(reply: Reply) -> std::result::Result<Self, DriverError> {
        let walk = Walk::over(
            reply.batch.as_raw_document().as_bytes(),
            reply.batch.doc_slices()?,
        );
        Ok(Self { walk, reply })
    }

    fn is_empty(&self) -> bool {
        self.reply
            .batch
            .doc_slices()
            .is_ok_and(|events| events.is_empty())
    }

    fn next(&mut self) -> Result<Option<&RawDocument>> {
        self.walk.next(self.reply.batch.as_raw_document().as_bytes())
    }
}

/// The error of a stream that could not be opened.
pub fn opening_error(error: std::result::Result<&DriverError, &Error>) -> Error {
    match error {
        Ok(error) => client_error(error),
        Err(error) => error.clone(),
    }
}
