//! The oplog's own loop: choose a member, open a cursor at the place, read, and find out what became of a place that is not there.

use std::sync::Arc;
use std::time::Duration;

use bson::{RawDocumentBuf, rawdoc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{timeout, timeout_at};

use super::entry::Entry;
use super::filter::filter;
use super::member::{Member, NOTHING, oplog_error};
use super::place;
use super::reader::{Anchor, OplogReader, Taken};
use super::watch::Watch;
use super::work::{Step, Work};
use crate::checkpoint::Saved;
use crate::code::Code;
use crate::config::{From, FullDocument, MongodbConfig, SourceConfig, TableFilter};
use crate::error::{Error, Result};
use crate::offset::{MongodbOffset, Offset, OpTime, Position};
use crate::source::mongodb::connect::{Connected, connect};
use crate::source::mongodb::connector::{
    FAREWELL, FIRST_ANSWER, MAX_PATIENCE, not_connected, of_other_kind, silent,
};
use crate::source::mongodb::failure::{Remedy, remedy};
use crate::source::mongodb::preflight::{self, Server};
use crate::source::mongodb::pulse::Pulse;
use crate::source::mongodb::reader::Limits;
use crate::source::mongodb::stream::Stream;
use crate::source::{Connector, Gap, Item, Settings, Steer};

/// How often a place is looked for in a row, before the supervisor takes over.
const MAX_OPENINGS: u32 = 8;

/// Follows the oplog of a replica set.
pub struct OplogConnector {
    config: MongodbConfig,
    tables: TableFilter,
    from: From,
    /// Where reading goes on after a gap: what the configuration says, whatever a checkpoint says of the beginning.
    after_gap: From,
    /// Of the checkpoint: how far a majority was, and what was handed over.
    witness: Option<(OpTime, OpTime)>,
    settings: Settings,
    reader: Option<OplogReader>,
    running: Option<Running>,
    failure: Option<Error>,
    /// Grows while answers do not come in time: a large one may need longer than the heartbeat allows.
    patience: Duration,
    /// Reading stops between two entries, at the end of an answer of the server; whether it said so.
    held: Option<bool>,
}

struct Running {
    connected: Connected,
    server: Server,
    member: Member,
    watch: Watch,
    stream: Option<Stream>,
    work: Option<Work>,
    pulse: Pulse,
}

impl OplogConnector {
    /// A connector for a source. Nothing connects yet.
    pub fn new(source: &SourceConfig, config: &MongodbConfig, settings: Settings) -> Self {
        Self {
            config: config.clone(),
            tables: source.tables.clone(),
            from: source.from.clone(),
            after_gap: source.from.clone(),
            witness: None,
            patience: settings.heartbeat.timeout,
            settings,
            reader: None,
            running: None,
            failure: None,
            held: None,
        }
    }

    async fn open(&mut self) -> Result<()> {
        self.running = None;
        self.held = None;
        if let From::Position(position) = &self.from {
            optime_of(position)?;
        }
        let connected = connect(&self.config, self.settings.heartbeat).await?;
        let server = preflight::ask(&connected).await?;
        let member = Member::choose(&connected).await?;
        if self.reader.is_none() {
            self.reader = Some(self.begin(&member).await?);
        }
        if let Some(reader) = &mut self.reader {
            reader.committed = reader.committed.max(member.committed);
        }
        let interval = self.settings.heartbeat.interval;
        self.running = Some(Running {
            watch: Watch::start(member.clone(), interval),
            connected,
            server,
            member,
            stream: None,
            work: None,
            pulse: Pulse::new(interval),
        });
        self.open_stream().await
    }

    /// Where a source that has not read yet begins.
    async fn begin(&self, member: &Member) -> Result<OplogReader> {
        let limits = Limits {
            changes: self.settings.batch_size,
            bytes: self.settings.batch_bytes,
        };
        let (at, is_unread) = match &self.from {
            From::Now => (member.newest().await?, false),
            From::Earliest => (member.oldest().await?, true),
            From::Position(position) => (optime_of(position)?, false),
        };
        let has_lookup = self.config.full_document == FullDocument::UpdateLookup;
        let mut reader = OplogReader::new(self.tables.clone(), limits, at, is_unread, has_lookup);
        if let From::Position(position) = &self.from {
            let (committed, touched) = self.witness.unwrap_or((NOTHING, at));
            reader.committed = committed;
            reader.touched = touched;
            reader.resume_within(position.within.clone());
        }
        Ok(reader)
    }

    /// Opens the cursor at the place; where the place is not there, finds out where reading goes on. Cancel-safe: what was found is kept
    /// whole or not at all.
    async fn open_stream(&mut self) -> Result<()> {
        let (Some(running), Some(reader)) = (&mut self.running, &mut self.reader) else {
            return Err(not_connected());
        };
        running.work = None;
        let skips_backlog = matches!(self.after_gap, From::Now);
        for _ in 0..MAX_OPENINGS {
            let member = &running.member;
            // A transaction was handed over in part: its entry lies behind the place.
            if reader.touched > reader.at() && !member.has(reader.touched).await? {
                place::find(reader, member, skips_backlog).await?;
                continue;
            }
            let opening = Stream::start(
                running.connected.client.database("local"),
                command(&self.tables, reader.at())?,
                self.settings.heartbeat.interval,
                member.criteria.clone(),
            );
            let opened = timeout(FIRST_ANSWER, opening).await;
            let mut stream = opened
                .map_err(|_| silent())?
                .map_err(|error| oplog_error(&error))?;
            let loaded = timeout(FIRST_ANSWER, stream.load()).await;
            loaded
                .map_err(|_| silent())?
                .map_err(|error| oplog_error(&error))?;
            let (anchor, entry) = match stream.event()? {
                Some(raw) => {
                    let entry = Entry::read(raw)?;
                    (reader.anchor(&entry), Some((entry, raw)))
                }
                None => (Anchor::Missing, None),
            };
            match (anchor, entry) {
                (Anchor::Here, _) => {}
                (Anchor::Unread, Some((entry, raw))) => {
                    if let Taken::Parts(part) = reader.take(&entry)? {
                        running.work = Some(Work::new(part, raw.to_owned()));
                    }
                }
                _ => {
                    place::find(reader, member, skips_backlog).await?;
                    continue;
                }
            }
            running.stream = Some(stream);
            return Ok(());
        }
        Err(Error::new(
            Code::ConnectionLost,
            "The oplog is removed faster than its oldest entry can be read.",
        ))
    }

    /// Waits for the next answer of the server. Cancel-safe.
    async fn load(&mut self) -> Result<()> {
        let Some(Running {
            stream: Some(stream),
            watch,
            ..
        }) = &mut self.running
        else {
            return Err(not_connected());
        };
        let until = stream.asked() + self.patience;
        let loaded = tokio::select! {
            biased;
            loaded = timeout_at(until, stream.load()) => loaded,
            Ok(_) = watch.seen.wait_for(|seen| seen.has_stepped_down) => return Err(stepped_down()),
        };
        match loaded {
            Ok(Ok(())) => {
                self.patience = self.settings.heartbeat.timeout;
                self.see();
                Ok(())
            }
            Ok(Err(error)) => {
                if let Some(running) = &mut self.running {
                    running.stream = None;
                }
                match remedy(&error) {
                    Remedy::Reopen => Ok(()),
                    _ => Err(oplog_error(&error)),
                }
            }
            Err(_) => {
                self.patience = (self.patience * 2).min(MAX_PATIENCE.max(self.settings.heartbeat.timeout));
                Err(silent())
            }
        }
    }

    /// Takes over how far a majority is.
    fn see(&mut self) {
        if let (Some(running), Some(reader)) = (&self.running, &mut self.reader) {
            reader.committed = reader.committed.max(running.watch.seen.borrow().committed);
        }
    }

    async fn next_item(&mut self) -> Result<Item> {
        loop {
            let reader = self.reader.as_mut().ok_or_else(not_connected)?;
            if let Some(item) = reader.output.ready.pop_front() {
                return Ok(item);
            }
            if let Some(failure) = self.failure.take() {
                self.running = None;
                return Err(failure);
            }
            let running = self.running.as_mut().ok_or_else(not_connected)?;
            match &mut self.held {
                Some(is_told @ false) if running.is_at_end() && reader.is_between_entries() => {
                    *is_told = true;
                    return Ok(Item::Held {
                        turn: 0,
                        is_exact: true,
                    });
                }
                Some(true) => std::future::pending().await,
                _ => {}
            }
            let result = match (&mut running.work, &running.stream) {
                (Some(work), _) => match work.step(reader, &running.member).await {
                    Ok(Step::Done) => {
                        running.work = None;
                        Ok(())
                    }
                    Ok(Step::Going) => Ok(()),
                    Err(error) => Err(error),
                },
                (None, None) => self.open_stream().await,
                (None, Some(stream)) if stream.has_batch() => self.read(),
                (None, Some(_)) => self.load().await,
            };
            if let Err(error) = result {
                if let Some(reader) = &mut self.reader {
                    reader.output.flush();
                }
                self.failure = Some(error);
            }
        }
    }

    /// Takes in entries of the present batch until something is ready, or the batch is at its end.
    fn read(&mut self) -> Result<()> {
        let (Some(running), Some(reader)) = (&mut self.running, &mut self.reader) else {
            return Err(not_connected());
        };
        let Some(stream) = &mut running.stream else {
            return Err(not_connected());
        };
        while reader.output.ready.is_empty() {
            let Some(raw) = stream.event()? else {
                let answer = stream.finish();
                let newest = running.watch.seen.borrow().newest;
                if let (true, Some((newest, known)), Some(asked)) = (answer.is_empty, newest, answer.asked)
                    && known <= asked
                {
                    reader.advance(newest);
                }
                reader.output.flush();
                let beat = running.pulse.feel(&running.server, &answer, reader.position());
                if running.pulse.is_due(!answer.is_empty) {
                    reader.output.ready.push_back(Item::Beat(beat));
                }
                return Ok(());
            };
            let entry = Entry::read(raw)?;
            if let Taken::Parts(part) = reader.take(&entry)? {
                running.work = Some(Work::new(part, raw.to_owned()));
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The command that opens the cursor.
fn command(tables: &TableFilter, at: OpTime) -> Result<RawDocumentBuf> {
    let filter = RawDocumentBuf::try_from(&filter(tables, at))
        .map_err(|_| Error::new(Code::ConfigInvalid, "A pattern of `tables` has no form in BSON."))?;
    Ok(rawdoc! {
        "find": "oplog.rs",
        "filter": filter,
        "tailable": true,
        "awaitData": true,
    })
}

/// The entry that a position names.
fn optime_of(position: &Position) -> Result<OpTime> {
    let found = match &position.start {
        Offset::Mongodb(MongodbOffset::Oplog(optime)) => return Ok(*optime),
        Offset::Mongodb(_) => "one in a change stream was found".to_owned(),
        other => format!("one of the kind {} was found", other.kind()),
    };
    Err(Error::new(
        Code::PositionInvalid,
        format!("A position in the oplog was expected, {found}."),
    )
    .with_advice("Hand over a `position` that this source delivered with log: 'oplog'; or leave `log` out."))
}

fn stepped_down() -> Error {
    Error::new(
        Code::ConnectionLost,
        "The primary stepped down: reading goes on with the new one.",
    )
}

impl Running {
    /// Whether everything that the server has answered was taken in.
    fn is_at_end(&self) -> bool {
        self.work.is_none() && self.stream.as_ref().is_some_and(|stream| !stream.has_batch())
    }
}

impl Connector for OplogConnector {
    fn connect(&mut self) -> BoxFuture<'_, Result<()>> {
        self.open().boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Item>> {
        self.next_item().boxed()
    }

    fn resume(&mut self, saved: Saved) -> Result<()> {
        let position = Position::parse(&saved.position)?;
        optime_of(&position).map_err(of_other_kind)?;
        self.witness = saved.witness.as_deref().and_then(place::read_witness);
        self.from = From::Position(position);
        Ok(())
    }

    fn position(&mut self) -> Option<Arc<str>> {
        let position = self.reader.as_ref()?.position();
        (!position.is_empty()).then_some(position)
    }

    /// A view is of the place at which reading stands, so it stands where it should.
    fn steer(&mut self, to: Steer) {
        self.held = match to {
            Steer::Free => None,
            Steer::Hold | Steer::Until(_) => Some(false),
        };
    }

    fn witness(&self) -> Option<Arc<str>> {
        let reader = self.reader.as_ref()?;
        Some(place::write_witness(reader.committed, reader.touched).into())
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
                drop(running.watch);
                // The end of the cursor is sent behind its drop; the client waits for it.
                let farewell = async {
                    if let Some(stream) = running.stream {
                        stream.close().await;
                    }
                    running.connected.client.shutdown().await;
                };
                let _ = timeout(FAREWELL, farewell).await;
            }
        }
        .boxed()
    }
}
