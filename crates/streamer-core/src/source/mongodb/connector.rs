//! The change stream's own loop: open, read, and go on where the driver would end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::{Connected, connect};
use super::failure::{Remedy, client_error, remedy};
use super::preflight::{self, Server, now_ms};
use super::reader::{Limits, Reader, Taken};
use super::resume::Resume;
use super::scope::Scope;
use super::stream::{Answer, Mode, Plan, Stream, opening_error};
use crate::checkpoint::Saved;
use crate::code::Code;
use crate::config::{From, MongodbConfig, SourceConfig, TableFilter};
use crate::error::{Error, Result};
use crate::offset::{Position, Within};
use crate::source::{Beat, Connector, Gap, Item, Settings};

/// Longest wait for the first answer of a stream: the server looks for the place before it answers.
const FIRST_ANSWER: Duration = Duration::from_secs(60);

/// Longest patience with an answer, however large it is and however slow the link.
const MAX_PATIENCE: Duration = Duration::from_secs(120);

/// How often a stream is opened in a row without an answer of it, before the supervisor takes over.
const MAX_OPENINGS: u32 = 8;

/// Longest wait for a server that is told of the end.
const FAREWELL: Duration = Duration::from_millis(500);

type DriverError = mongodb::error::Error;

/// Follows a deployment of MongoDB.
pub struct MongodbConnector {
    config: MongodbConfig,
    tables: TableFilter,
    scope: Scope,
    from: From,
    settings: Settings,
    reader: Option<Reader>,
    running: Option<Running>,
    failure: Option<Error>,
    /// Grows while answers do not come in time: a large one may need longer than the heartbeat allows.
    patience: Duration,
    has_warned: bool,
}

struct Running {
    connected: Connected,
    server: Server,
    stream: Option<Stream>,
    mode: Mode,
    /// Openings since the last answer.
    openings: u32,
    fresh_until_ms: f64,
    /// When the last beat was handed over.
    beaten: Option<Instant>,
    /// Least time between beats that busy answers give.
    pace: Duration,
}

impl MongodbConnector {
    /// A connector for a source. Nothing connects yet.
    pub fn new(source: &SourceConfig, config: &MongodbConfig, settings: Settings) -> Self {
        Self {
            config: config.clone(),
            scope: Scope::of(&source.tables),
            tables: source.tables.clone(),
            from: source.from.clone(),
            patience: settings.heartbeat.timeout,
            settings,
            reader: None,
            running: None,
            failure: None,
            has_warned: false,
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
            self.reader = Some(Reader::new(self.tables.clone(), limits, resume, within));
        }
        if let (Some(warning), Some(reader), false) = (warning, &mut self.reader, self.has_warned) {
            self.has_warned = true;
            reader.ready.push_back(Item::Warning(warning));
        }
        self.running = Some(Running {
            connected,
            server,
            stream: None,
            mode: Mode::Whole,
            openings: 0,
            fresh_until_ms: 0.0,
            beaten: None,
            pace: self.settings.heartbeat.interval / 2,
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
        reader.cursor_ended();
        reader.flush();
        let remedy = remedy(&error);
        if remedy == Remedy::Fail || running.openings >= MAX_OPENINGS {
            return Err(client_error(&error));
        }
        match remedy {
            Remedy::Avoid => {
                running.mode = match running.mode {
                    Mode::Whole => Mode::Single,
                    Mode::Single => Mode::WithoutImages,
                    Mode::WithoutImages => Mode::KeyOnly,
                    Mode::KeyOnly => return Err(client_error(&error)),
                };
                running.openings = 0;
            }
            Remedy::Skip => {
                let instead = match preflight::oldest(&running.connected).await {
                    // What was the oldest a moment ago may be gone by now.
                    Ok(oldest) if running.openings < 4 => Resume::Time(oldest),
                    Ok(_) => Resume::Now,
                    Err(error) if error.code() == Code::ConnectionLost => return Err(error),
                    Err(_) => Resume::Now,
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

    async fn next_item(&mut self) -> Result<Item> {
        loop {
            let reader = self.reader.as_mut().ok_or_else(not_connected)?;
            if let Some(item) = reader.ready.pop_front() {
                return Ok(item);
            }
            if let Some(failure) = self.failure.take() {
                self.end_connection();
                return Err(failure);
            }
            let running = self.running.as_mut().ok_or_else(not_connected)?;
            let has_batch = running.stream.as_ref().map(Stream::has_batch);
            let result = match has_batch {
                None => self.open_stream().await,
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
        while reader.ready.is_empty() {
            let Some(event) = stream.event()? else {
                let answer = stream.finish();
                running.finish(reader, &answer);
                return Ok(());
            };
            let is_reduced = matches!(running.mode, Mode::WithoutImages | Mode::KeyOnly);
            let taken = if is_reduced {
                let has_pipeline = !self.config.pipeline.is_empty();
                let taken = read_reduced(reader, event, has_pipeline)?;
                running.mode = Mode::Whole;
                running.stream = None;
                return match taken {
                    Taken::Partly => Err(not_connected()),
                    _ => Ok(()),
                };
            } else {
                reader.take(event)?
            };
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

/// Takes in an event that was too large, without its images. With a pipeline of the user's, which could not judge it without
/// them, nothing of it is handed over but the gap.
fn read_reduced(reader: &mut Reader, event: &bson::RawDocument, has_pipeline: bool) -> Result<Taken> {
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
        reader.take(event)?
    };
    reader.report_large(from, table);
    Ok(taken)
}

impl Running {
    /// The end of the server's batch: proof of life, and a token that may be newer than the last event.
    fn finish(&mut self, reader: &mut Reader, answer: &Answer) {
        if let Some(token) = &answer.token {
            reader.advance(token);
        }
        reader.flush();
        if answer.is_empty && self.mode != Mode::Whole {
            // What was too large is behind us, or was never wanted.
            self.mode = Mode::Whole;
            self.stream = None;
        }
        let round_trip_ms = self.server.round_trip.as_secs_f64() * 1000.0;
        let took_ms = answer.took.as_secs_f64() * 1000.0;
        // An empty answer was true when the server gave it, one with events when it was asked.
        let mut fresh = answer.asked_ms;
        if answer.is_empty {
            fresh += (took_ms - round_trip_ms).max(0.0);
        }
        // A member that has heard of newer operations vouches only for those that it has seen.
        if let (Some(seen), Some(known)) = (answer.operation_time, answer.cluster_time)
            && (seen.time, seen.increment) < (known.time, known.increment)
        {
            fresh = fresh.min(f64::from(seen.time) * 1000.0 - self.server.clock_offset_ms);
        }
        self.fresh_until_ms = self.fresh_until_ms.max(fresh.min(now_ms()));
        // Under load answers come by the hundred; each beat is a call into JavaScript.
        if !answer.is_empty && self.beaten.is_some_and(|at| at.elapsed() < self.pace) {
            return;
        }
        self.beaten = Some(Instant::now());
        reader.ready.push_back(Item::Beat(Beat {
            fresh_until_ms: self.fresh_until_ms,
            round_trip_ms,
            clock_offset_ms: Some(self.server.clock_offset_ms),
            position: reader.position(),
        }));
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
        self.from = From::Position(Position::parse(&saved.position)?);
        Ok(())
    }

    fn position(&mut self) -> Option<Arc<str>> {
        let position = self.reader.as_ref()?.position();
        (!position.is_empty()).then_some(position)
    }

    fn found_gap(&self) -> Option<Gap> {
        match self.reader.as_ref()?.ready.front()? {
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

fn silent() -> Error {
    Error::new(
        Code::ConnectionLost,
        "The server was silent for longer than the heartbeat timeout.",
    )
}

fn not_connected() -> Error {
    Error::new(Code::ConnectionLost, "The source is not connected.")
}
