//! The change stream's own loop: open, read, and go on where the driver would end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::{Connected, connect};
use super::failure::{Hindrance, Remedy, client_error, culprit, remedy};
use super::preflight::{self, Server};
use super::pulse::Pulse;
use super::reader::{Demands, Limits, Reader, Taken};
use super::resume::{Resume, Token};
use super::scope::Scope;
use super::stream::{Answer, Mode, Plan, Stream, opening_error};
use crate::checkpoint::Saved;
use crate::code::Code;
use crate::config::{From, MongodbConfig, SourceConfig, TableFilter};
use crate::error::{Error, Result};
use crate::offset::{Position, Within};
use crate::source::{Beat, Connector, Gap, Item, Settings, Steer};

/// Longest wait for the first answer of a stream: the server looks for the place before it answers.
pub(super) const FIRST_ANSWER: Duration = Duration::from_secs(60);

/// Longest patience with an answer, however large it is and however slow the link.
pub(super) const MAX_PATIENCE: Duration = Duration::from_secs(120);

/// How often a stream is opened in a row without an answer of it, before the supervisor takes over.
const MAX_OPENINGS: u32 = 8;

/// How long a transaction's newest change waits for the next answer, before the server is asked whether anything follows it.
const NEXT_ANSWER: Duration = Duration::from_millis(1);

/// Least time between two such questions; under load the next answer comes sooner.
const QUESTIONS_APART: Duration = Duration::from_millis(25);

/// Longest wait for the answer to one.
const END_ANSWER: Duration = Duration::from_millis(250);

/// Longest wait for a server that is told of the end.
pub(super) const FAREWELL: Duration = Duration::from_millis(500);

type DriverError = mongodb::error::Error;

/// Follows a deployment of MongoDB.
pub struct MongodbConnector {
    config: MongodbConfig,
    tables: TableFilter,
    scope: Scope,
    from: From,
    /// Where reading goes on after a gap: what the configuration says, whatever a checkpoint says of the beginning.
    after_gap: From,
    settings: Settings,
    reader: Option<Reader>,
    running: Option<Running>,
    failure: Option<Error>,
    /// Grows while answers do not come in time: a large one may need longer than the heartbeat allows.
    patience: Duration,
    has_warned: bool,
    /// Reading stops at the end of a batch of the server; whether it said so.
    held: Option<bool>,
}

struct Running {
    connected: Connected,
    server: Server,
    stream: Option<Stream>,
    mode: Mode,
    /// Why it is not `Whole`.
    hindrance: Hindrance,
    /// The token of the event that is the reason, where the server names it.
    culprit: Option<String>,
    /// Openings since the last answer.
    openings: u32,
    pulse: Pulse,
    /// A transaction's newest change waits for the proof that it is the last, and behind it the beat of its answer.
    held: Option<Beat>,
    /// When the server was last asked for that proof.
    asked_for_end: Option<Instant>,
}

impl MongodbConnector {
    /// A connector for a source. Nothing connects yet.
    pub fn new(source: &SourceConfig, config: &MongodbConfig, settings: Settings) -> Self {
        Self {
            config: config.clone(),
            scope: Scope::of(&source.tables),
            tables: source.tables.clone(),
            from: source.from.clone(),
            after_gap: source.from.clone(),
            patience: settings.heartbeat.timeout,
            settings,
            reader: None,
            running: None,
            failure: None,
            has_warned: false,
            held: None,
        }
    }

    async fn open(&mut self) -> Result<()> {
        self.end_connection();
        let config = &self.config;
        let connected = connect(config, self.settings.heartbeat).await?;
        let server = preflight::ask(&connected).await?;
        let warning = preflight::check_images(&connected, &server, config, &self.tables, &self.scope).await?;
        if self.reader.is_none() {
            let limits = Limits {
                changes: self.settings.batch_size,
                bytes: self.settings.batch_bytes,
            };
            let (resume, within) = begin(&self.from, &connected).await?;
            let demands = Demands::of(config);
            self.reader = Some(Reader::new(self.tables.clone(), limits, demands, resume, within));
        }
        if let (Some(warning), Some(reader), false) = (warning, &mut self.reader, self.has_warned) {
            self.has_warned = true;
            reader.output.ready.push_back(Item::Warning(warning));
        }
        self.running = Some(Running {
            connected,
            server,
            stream: None,
            mode: Mode::Whole,
            hindrance: Hindrance::Large,
            culprit: None,
            openings: 0,
            pulse: Pulse::new(self.settings.heartbeat.interval),
            held: None,
            asked_for_end: None,
        });
        while !self.is_open() {
            self.open_stream().await?;
        }
        // The first answer names the place at which everything that is committed from now on follows.
        self.load().await?;
        if self.is_open() {
            Ok(())
        } else {
            Err(not_connected())
        }
    }

    fn is_open(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.stream.is_some())
    }

    fn end_connection(&mut self) {
        self.running = None;
        self.held = None;
        if let Some(reader) = &mut self.reader {
            reader.cursor_ended();
        }
    }

    /// One attempt to open the stream; what the loop mends is no error. Cancel-safe: nothing is kept of what was begun.
    async fn open_stream(&mut self) -> Result<()> {
        let (Some(running), Some(reader)) = (&mut self.running, &mut self.reader) else {
            return Err(not_connected());
        };
        running.openings += 1;
        reader.cursor_ended();
        let plan = Plan {
            config: &self.config,
            tables: &self.tables,
            scope: &self.scope,
            server: &running.server,
            wait: self.settings.heartbeat.interval,
        };
        let resume = reader.resume();
        let opening = Stream::open(&running.connected, &plan, &resume, running.mode);
        match timeout(FIRST_ANSWER, opening).await {
            Ok(Ok(stream)) => {
                running.stream = Some(stream);
                Ok(())
            }
            Ok(Err(Ok(error))) => self.mend(error).await,
            Ok(Err(error)) => Err(opening_error(error.as_ref())),
            Err(_) => Err(silent()),
        }
    }

    /// Waits for the next answer of the server. Cancel-safe.
    async fn load(&mut self) -> Result<()> {
        let Some(Running {
            stream: Some(stream), ..
        }) = &mut self.running
        else {
            return Err(not_connected());
        };
        let until = stream.asked() + self.patience;
        match timeout_at(until, stream.load()).await {
            Ok(Ok(())) => {
                self.patience = self.settings.heartbeat.timeout;
                Ok(())
            }
            Ok(Err(error)) => self.mend(error).await,
            Err(_) => {
                self.patience = (self.patience * 2).min(MAX_PATIENCE.max(self.settings.heartbeat.timeout));
                Err(silent())
            }
        }
    }

    /// Does what goes on behind an error of the cursor, or says that the connection is lost.
    async fn mend(&mut self, error: DriverError) -> Result<()> {
        let (Some(running), Some(reader)) = (&mut self.running, &mut self.reader) else {
            return Err(client_error(&error));
        };
        running.stream = None;
        running.held = None;
        reader.cursor_ended();
        reader.flush();
        let remedy = remedy(&error);
        if remedy == Remedy::Fail || running.openings >= MAX_OPENINGS {
            return Err(client_error(&error));
        }
        match remedy {
            Remedy::Avoid(hindrance) => {
                running.hindrance = hindrance;
                running.culprit = culprit(&error).map(str::to_owned);
                running.mode = match running.mode {
                    Mode::Whole => Mode::Single,
                    Mode::Single => Mode::WithoutImages,
                    Mode::WithoutImages => Mode::KeyOnly,
                    Mode::KeyOnly => return Err(client_error(&error)),
                };
                running.openings = 0;
            }
            Remedy::Locate if reader.locate() => {}
            Remedy::Skip | Remedy::Locate => {
                // What was the oldest a moment ago may be gone by now.
                let is_now = matches!(self.after_gap, From::Now) || running.openings >= 4;
                let instead = if is_now {
                    Resume::Now
                } else {
                    match preflight::oldest(&running.connected).await {
                        Ok(oldest) => Resume::Time(oldest),
                        Err(error) if error.code() == Code::ConnectionLost => return Err(error),
                        Err(_) => Resume::Now,
                    }
                };
                let lost = Error::new(
                    Code::PositionLost,
                    "The server no longer has the place in its log from which reading should go on.",
                )
                .with_advice("A larger oplog keeps more history: db.adminCommand({replSetResizeOplog: 1, size: <MiB>}).");
                if running.openings <= 1 {
                    reader.report_lost(lost, instead);
                } else {
                    reader.jump(instead);
                }
            }
            Remedy::Reopen | Remedy::Fail => {}
        }
        Ok(())
    }

    /// A transaction's newest change stands at the end of an answer. Waits for what proves whether it is the last: the next answer,
    /// which under load comes at once, else one to a question of its own. What is not proven in time is handed over without.
    /// Cancel-safe: the change stays held.
    async fn settle(&mut self) -> Result<()> {
        let Some(running) = &mut self.running else {
            return Err(not_connected());
        };
        let is_busy = running
            .asked_for_end
            .is_some_and(|at| at.elapsed() < QUESTIONS_APART);
        let pause = if is_busy { QUESTIONS_APART } else { NEXT_ANSWER };
        if let Ok(loaded) = timeout(pause, self.load()).await {
            return loaded;
        }
        if self.ask_for_end().await == Some(true)
            && let Ok(loaded) = timeout(QUESTIONS_APART, self.load()).await
        {
            return loaded;
        }
        if let (Some(running), Some(reader)) = (&mut self.running, &mut self.reader) {
            running.release(reader);
        }
        Ok(())
    }

    /// Asks whether anything follows the newest change, and ends its transaction where nothing does. Returns whether the stream's
    /// own answer is about to come.
    async fn ask_for_end(&mut self) -> Option<bool> {
        let (running, reader) = (self.running.as_mut()?, self.reader.as_mut()?);
        running.asked_for_end = Some(Instant::now());
        let plan = Plan {
            config: &self.config,
            tables: &self.tables,
            scope: &self.scope,
            server: &running.server,
            wait: self.settings.heartbeat.interval,
        };
        let (resume, time) = (reader.resume(), reader.time()?);
        let question = Stream::has_more(&running.connected, &plan, &resume, time);
        // An error of it is not the stream's.
        let has_more = timeout(END_ANSWER, question).await.ok()?.ok()??;
        if !has_more {
            reader.output.end_transaction();
        }
        Some(has_more)
    }

    async fn next_item(&mut self) -> Result<Item> {
        loop {
            let reader = self.reader.as_mut().ok_or_else(not_connected)?;
            if let Some(item) = reader.output.ready.pop_front() {
                return Ok(item);
            }
            if let Some(failure) = self.failure.take() {
                self.end_connection();
                return Err(failure);
            }
            let running = self.running.as_mut().ok_or_else(not_connected)?;
            let has_batch = running.stream.as_ref().map(Stream::has_batch);
            match &mut self.held {
                Some(is_told @ false) if has_batch == Some(false) => {
                    *is_told = true;
                    return Ok(Item::Held {
                        turn: 0,
                        is_exact: true,
                    });
                }
                Some(true) => std::future::pending().await,
                _ => {}
            }
            let result = match has_batch {
                None => self.open_stream().await,
                Some(false) if running.held.is_some() => self.settle().await,
                Some(false) => self.load().await,
                Some(true) => self.read(),
            };
            if let Err(error) = result {
                if let Some(reader) = &mut self.reader {
                    reader.flush();
                }
                self.failure = Some(error);
            }
        }
    }

    /// Takes in events of the present batch until something is ready, or the batch is at its end.
    fn read(&mut self) -> Result<()> {
        let (Some(running), Some(reader)) = (&mut self.running, &mut self.reader) else {
            return Err(not_connected());
        };
        let Some(stream) = &mut running.stream else {
            return Err(not_connected());
        };
        running.openings = 0;
        running.held = None;
        while reader.output.ready.is_empty() {
            let Some(event) = stream.event()? else {
                let answer = stream.finish();
                running.finish(reader, &answer);
                return Ok(());
            };
            let is_reduced = matches!(running.mode, Mode::WithoutImages | Mode::KeyOnly);
            if is_reduced {
                let has_pipeline = !self.config.pipeline.is_empty();
                let culprit = running.culprit.as_deref().filter(|_| has_pipeline);
                if culprit.is_some_and(|culprit| is_before(event, culprit)) {
                    // The pipeline had left it out.
                    reader.pass(event)?;
                    continue;
                }
                let taken = read_reduced(reader, event, has_pipeline, running.hindrance)?;
                running.mode = Mode::Whole;
                running.stream = None;
                return match taken {
                    Taken::Partly => Err(not_connected()),
                    _ => Ok(()),
                };
            }
            let taken = reader.take(event)?;
            if taken == Taken::Invalidated {
                reader.flush();
                running.stream = None;
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Where a source that has not read yet begins.
async fn begin(from: &From, connected: &Connected) -> Result<(Resume, Option<Within>)> {
    Ok(match from {
        From::Now => (Resume::Now, None),
        From::Earliest => (Resume::Time(preflight::oldest(connected).await?), None),
        From::Position(position) => (Resume::from_position(position)?, position.within.clone()),
    })
}

/// Whether an event lies in front of a token.
fn is_before(event: &bson::RawDocument, token: &str) -> bool {
    let own = event.get_document("_id").ok().and_then(Token::read);
    own.is_some_and(|own| *own < *token)
}

/// Takes in an event that could not be had whole, without its images. With a pipeline of the user's, which could not judge it without
/// them, nothing of it is handed over but the gap.
fn read_reduced(
    reader: &mut Reader,
    event: &bson::RawDocument,
    has_pipeline: bool,
    hindrance: Hindrance,
) -> Result<Taken> {
    let from = reader.position();
    let namespace = event.get_document("ns").ok();
    let part = |name| namespace.and_then(|namespace| namespace.get_str(name).ok());
    let table = match (part("db"), part("coll")) {
        (Some(database), Some(table)) => Some(format!("{database}.{table}")),
        _ => None,
    };
    let taken = if has_pipeline {
        reader.pass(event)?;
        Taken::Done
    } else {
        reader.take_reduced(event)?
    };
    reader.report_reduced(from, table, hindrance);
    Ok(taken)
}

impl Running {
    /// The end of the server's batch: proof of life, and a token that may be newer than the last event.
    fn finish(&mut self, reader: &mut Reader, answer: &Answer) {
        if let Some(token) = &answer.token {
            reader.advance(token);
        }
        // A router may have nothing to say because a shard has not answered yet.
        if answer.is_empty && !self.server.is_router {
            reader.output.end_transaction();
        }
        if answer.is_empty && self.mode != Mode::Whole {
            // What was too large is behind us, or was never wanted.
            self.mode = Mode::Whole;
            self.stream = None;
        }
        self.held = Some(self.pulse.feel(&self.server, answer, reader.position()));
        if !reader.output.has_open_end() || self.server.is_router {
            self.release(reader);
        }
    }

    /// Hands over what was read, and says how fresh that is.
    fn release(&mut self, reader: &mut Reader) {
        let has_batch = reader.flush();
        let Some(beat) = self.held.take() else { return };
        if self.pulse.is_due(has_batch) {
            reader.output.ready.push_back(Item::Beat(beat));
        }
    }
}

impl Connector for MongodbConnector {
    fn connect(&mut self) -> BoxFuture<'_, Result<()>> {
        self.open().boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Item>> {
        self.next_item().boxed()
    }

    fn resume(&mut self, saved: Saved) -> Result<()> {
        let position = Position::parse(&saved.position)?;
        Resume::from_position(&position).map_err(of_other_kind)?;
        self.from = From::Position(position);
        Ok(())
    }

    /// A view is of the place at which the stream stands, so it stands where it should.
    fn steer(&mut self, to: Steer) {
        self.held = match to {
            Steer::Free => None,
            Steer::Hold | Steer::Until(_) => Some(false),
        };
    }

    fn position(&mut self) -> Option<Arc<str>> {
        let position = self.reader.as_ref()?.position();
        (!position.is_empty()).then_some(position)
    }

    fn found_gap(&self) -> Option<Gap> {
        match self.reader.as_ref()?.output.ready.front()? {
            Item::Gap(gap) => Some(gap.clone()),
            _ => None,
        }
    }

    fn disconnect(&mut self) -> BoxFuture<'_, ()> {
        async move {
            if let Some(running) = self.running.take() {
                // The end of the cursor is sent behind its drop; the client waits for it.
                let farewell = async {
                    if let Some(stream) = running.stream {
                        stream.close().await;
                    }
                    running.connected.client.shutdown().await;
                };
                let _ = timeout(FAREWELL, farewell).await;
            }
            self.end_connection();
        }
        .boxed()
    }
}

/// The checkpoint's position is not one of this way of reading.
pub(super) fn of_other_kind(error: Error) -> Error {
    let sentence = error.message().to_owned();
    Error::new(Code::CheckpointInvalid, sentence).with_advice(
        "Set `log` back to what it was; or delete the checkpoint, to begin where `from` says: what was committed meanwhile may then be missed.",
    )
}

pub(super) fn silent() -> Error {
    Error::new(
        Code::ConnectionLost,
        "The server was silent for longer than the heartbeat timeout.",
    )
}

pub(super) fn not_connected() -> Error {
    Error::new(Code::ConnectionLost, "The source is not connected.")
}
