//! The connector of MySQL and MariaDB.
//!
//! Two connections a source: one carries the dump, one answers questions (settings, positions, definitions, the round
//! trip). [`connect`](Connector::connect) reads the position before it asks for the dump, so a write that is committed
//! after it has returned lies behind the position and will be seen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::binlog::EventType;
use super::cascades::Cascades;
use super::link::Link;
use super::pulse::{Pulse, now_ms};
use super::reader::{Reader, Taken};
use super::rows::BatchLimits;
use super::schema::StoredCatalog;
use super::session::{
    DumpIdentity, Lost, Server, Side, Vouch, begin_dump, check, connect_again, connect_any, current_offset,
    earliest_offset, is_registered, refused_place, stalled, verify_resume,
};
use super::stream::{Event, EventStream};
use super::tracker::Tracker;
use super::witness::Witness;
use crate::checkpoint::{Definitions, Saved};
use crate::code::{Code, Retry};
use crate::config::{Address, From, MysqlConfig, SourceConfig, TlsMode};
use crate::error::{Error, Result};
use crate::event::LogPlace;
use crate::offset::{Offset, Position};
use crate::source::{Beat, Connector, Gap, Host, Item, Settings, Steer};

/// Longest and shortest time that a connection may take to be made.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(10);
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(1);
/// The second time is no accident.
const MAX_KICKS: u32 = 2;

/// Reads one MySQL or MariaDB server.
pub struct MysqlConnector {
    source: SourceConfig,
    config: MysqlConfig,
    settings: Settings,
    /// The address that answered last.
    address: usize,
    identity: Option<DumpIdentity>,
    /// Times in a row that another reader was found with our replica id after the dump had ended.
    kicks: u32,
    /// When the last connection ended.
    down_since: Option<Instant>,
    reader: Option<Reader>,
    running: Option<Running>,
    /// What ended the connection; handed out behind what was read before it.
    failure: Option<Error>,
    /// Where a checkpoint says to begin, with the definitions that hold there; taken by the first connection.
    resume: Option<(Position, Option<Vec<u8>>)>,
    /// What proves that the log is the one that was read, as a checkpoint tells it, or as the last connection saw it.
    witness: Option<Witness>,
    /// Identity and `server_id` of the server that is read.
    server: (Arc<str>, u32),
    /// What names that server among others.
    name: Option<Arc<str>>,
    /// Definitions at the end of the item that was returned last.
    definitions: Option<Arc<StoredCatalog>>,
}

/// A connection that runs.
struct Running {
    stream: EventStream,
    pulse: Pulse,
    /// The newest answer of the pulse that became a beat.
    beaten: Option<u64>,
    /// Everything that was committed before this moment has been read; ms since the epoch, local clock.
    proven_ms: Option<f64>,
    /// Position at the last heartbeat, and the newest answer of the pulse then.
    idle: Option<(Arc<str>, u64)>,
    /// The server is a replica that stands still, which has been told.
    is_standing: bool,
    /// An event for which definitions are being read.
    undecided: Option<Event>,
}

impl MysqlConnector {
    /// A connector for a source; nothing connects yet.
    pub fn new(source: &SourceConfig, config: &MysqlConfig, settings: Settings) -> Self {
        Self {
            source: source.clone(),
            config: config.clone(),
            settings,
            address: 0,
            identity: None,
            kicks: 0,
            down_since: None,
            reader: None,
            running: None,
            failure: None,
            resume: None,
            witness: None,
            server: ("".into(), 0),
            name: None,
            definitions: None,
        }
    }

    async fn open(&mut self) -> Result<()> {
        self.end_connection();
        self.config.connect_deadline = self.patience();
        let (mut link, address) = connect_any(&self.config, self.address).await?;
        self.address = address;
        let server = Server::read(&mut link).await?;
        let identity = match self.kept_identity(&mut link, &server).await {
            Some(identity) => identity,
            None if self.kicks >= MAX_KICKS => DumpIdentity::choose(&mut link, &server, None).await?,
            None => DumpIdentity::choose(&mut link, &server, self.config.server_id).await?,
        };
        check(&mut link, &server, &identity).await?;
        self.tell(&server);
        self.witness = self.seen().or_else(|| self.witness.take());
        self.identity = Some(identity.clone());
        self.find_place(&mut link, &server).await?;
        self.name = Some(server.name());
        let now = (server.identity(), server.server_id());
        if self.server != now {
            self.server = now;
            if let Some(reader) = &mut self.reader {
                reader.watch.clear();
            }
        }
        let cascades = Cascades::read(&mut link, &server).await?;
        if let Some(reader) = &mut self.reader {
            reader.set_cascades(cascades);
        }
        let stream = self.begin_stream(&mut link, &server, &identity).await?;
        let interval = self.settings.heartbeat.interval;
        let pulse = Pulse::start(link, server, self.config.clone(), self.address, interval).await?;
        self.running = Some(Running {
            stream,
            pulse,
            beaten: None,
            proven_ms: None,
            idle: None,
            is_standing: false,
            undecided: None,
        });
        self.down_since = None;
        Ok(())
    }

    /// What the last connection saw of the log.
    fn seen(&self) -> Option<Witness> {
        let (identity, server_id) = &self.server;
        self.reader.as_ref()?.watch.witness(identity, *server_id)
    }

    /// How long a connection may take to be made. An attempt that began while nothing answered must not be waited for long
    /// after the server is back: it gets a quarter of the outage so far.
    fn patience(&self) -> Duration {
        self.down_since.map_or(LONGEST_ATTEMPT, |since| {
            (since.elapsed() / 4).clamp(SHORTEST_ATTEMPT, LONGEST_ATTEMPT)
        })
    }

    /// The identity of the last connection, unless another reader uses it too: a server ends the dump of the one when the
    /// other one connects, and they would do so for ever.
    async fn kept_identity(&mut self, link: &mut Link, server: &Server) -> Option<DumpIdentity> {
        let identity = self.identity.take()?;
        if !is_registered(link, server, identity.server_id).await {
            self.kicks = 0;
            return Some(identity);
        }
        self.kicks += 1;
        if self.kicks < MAX_KICKS {
            return Some(identity);
        }
        tracing::warn!(
            code = Code::ServerIdTaken.as_str(),
            serverId = identity.server_id,
            "Another reader uses the same replica id, and each ends the dump of the other: this one takes a random id."
        );
        None
    }

    /// Says in the log what an operator should know of this connection.
    fn tell(&self, server: &Server) {
        let address = self.config.addresses.get(self.address);
        let is_local = address.is_some_and(Address::is_local);
        match &self.config.tls {
            TlsMode::Off if !is_local => {
                tracing::warn!(
                    "The connection is not encrypted: TLS was switched off for a server that is not local."
                );
            }
            TlsMode::Required { verify: None, .. } | TlsMode::Preferred => {
                tracing::warn!(
                    "The server's certificate is not verified: whoever answers there is believed."
                );
            }
            _ => {}
        }
        if !server.logs_names() {
            tracing::info!(
                "The server logs no column names: definitions are tracked along its log. \
                 SET GLOBAL binlog_row_metadata=FULL makes each table describe itself."
            );
        }
    }

    /// Makes the reader at the first connection, and checks its place at every later one.
    async fn find_place(&mut self, link: &mut Link, server: &Server) -> Result<()> {
        if self.reader.is_none() {
            let tables = self.source.tables.clone().with_lower_case(server.folds_names());
            let mut tracker = Tracker::new(server, tables.clone());
            let now = tracker
                .load(link, server, self.config.database.as_deref())
                .await?;
            tracker.require_tables()?;
            let (position, kept) = match (&self.resume, &self.source.from) {
                (Some((position, kept)), _) => (position.clone(), kept.as_deref()),
                (None, From::Now) => (plain(now.clone()), None),
                (None, From::Earliest) => (plain(earliest_offset(link, server).await?), None),
                (None, From::Position(position)) => (position.clone(), None),
            };
            // Where prepared transactions are read again, statements between them may have been applied to what was kept.
            let kept = kept
                .filter(|_| position.delivered.is_none())
                .and_then(|bytes| StoredCatalog::read(bytes, server.folds_names()));
            let limits = BatchLimits {
                changes: self.settings.batch_size,
                bytes: self.settings.batch_bytes,
            };
            let flavor = server.flavor;
            let mut reader = Reader::new(flavor, tables, self.config.dates, limits, &position, tracker);
            let is_lost = (position.start != now || self.witness.is_some())
                && self.check_place(link, server, &mut reader).await?;
            if is_lost {
                self.witness = None;
            }
            if position.start != now || is_lost {
                match kept {
                    Some(catalog) if !is_lost => reader.tracker.restore(catalog),
                    _ => self.rebuild_definitions(link, server, &mut reader).await?,
                }
            }
            if reader.behind.is_empty() {
                let (revision, certain) = (reader.tracker.revision(), reader.tracker.certain());
                self.definitions = Some(Arc::new(StoredCatalog::new(revision, certain)));
            }
            self.reader = Some(reader);
        } else if let Some(mut reader) = self.reader.take() {
            let checked = self.check_place(link, server, &mut reader).await;
            self.reader = Some(reader);
            if checked? {
                self.witness = None;
            }
        }
        Ok(())
    }

    /// Where the log no longer holds the reader's place, a gap is reported and reading goes on at the next one. Returns
    /// whether that was so.
    async fn check_place(&self, link: &mut Link, server: &Server, reader: &mut Reader) -> Result<bool> {
        let identity = self.identity.as_ref().ok_or_else(not_connected)?;
        let side = Side {
            config: &self.config,
            address: self.address,
            identity,
        };
        let witness = self.witness.as_ref();
        let Some(lost) = verify_resume(link, server, reader.track.start(), witness, side).await? else {
            return Ok(false);
        };
        self.skip_lost(link, server, reader, lost).await?;
        Ok(true)
    }

    async fn skip_lost(
        &self,
        link: &mut Link,
        server: &Server,
        reader: &mut Reader,
        lost: Lost,
    ) -> Result<()> {
        // `now` was asked for by name: what lies between is not wanted.
        let instead = match self.source.from {
            From::Now if self.source.continues_after_gap => current_offset(link, server).await?,
            _ => lost.instead,
        };
        reader.jump(lost.reason, instead);
        self.rebuild_definitions(link, server, reader).await
    }

    async fn rebuild_definitions(&self, link: &mut Link, server: &Server, reader: &mut Reader) -> Result<()> {
        let from = reader.track.start().clone();
        reader
            .tracker
            .rebuild(link, server, &self.config, self.address, &from)
            .await
    }

    async fn begin_stream(
        &mut self,
        link: &mut Link,
        server: &Server,
        identity: &DumpIdentity,
    ) -> Result<EventStream> {
        let mut tries = 0;
        loop {
            let from = self
                .reader
                .as_ref()
                .ok_or_else(not_connected)?
                .track
                .start()
                .clone();
            match self.try_stream(server, identity, &from).await {
                Ok(stream) => return Ok(stream),
                Err(error) if error.code() == Code::PositionLost && tries == 0 => {
                    tries += 1;
                    let Some(reason) = refused_place(error.message()) else {
                        return Err(error);
                    };
                    let instead = earliest_offset(link, server).await?;
                    if let Some(mut reader) = self.reader.take() {
                        let skipped = self
                            .skip_lost(link, server, &mut reader, Lost { reason, instead })
                            .await;
                        self.reader = Some(reader);
                        skipped?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens a dump, and waits until the server has begun to send it.
    async fn try_stream(
        &mut self,
        server: &Server,
        identity: &DumpIdentity,
        from: &Offset,
    ) -> Result<EventStream> {
        let mut link = connect_again(&self.config, self.address).await?;
        link.query("SET NAMES utf8mb4").await?;
        let heartbeat = self.settings.heartbeat;
        begin_dump(&mut link, server, identity, from, heartbeat.interval, false).await?;
        // The server looks for the place before it sends anything: more patience than for a heartbeat.
        let mut stream = EventStream::new(link, heartbeat.timeout.max(Duration::from_secs(30)));
        loop {
            let event = stream.next().await?.ok_or_else(ended)?;
            let is_described = event.header.event_type == EventType::FormatDescription;
            if let Some(reader) = &mut self.reader {
                reader.handle(event, &stream)?;
            }
            if is_described {
                stream.set_silence(heartbeat.timeout);
                return Ok(stream);
            }
        }
    }

    /// Another reader with our replica id ended the dump.
    fn explain(failure: Error) -> Error {
        if failure.code() != Code::PositionLost || !failure.message().contains("server_uuid/server_id") {
            return failure;
        }
        Error::new(
            Code::ServerIdTaken,
            "The server ended the dump, because another reader connected with the same replica id.",
        )
        .with_advice("Give each reader a `serverId` of its own, or leave it out.")
        .with_retry(Retry::Automatic)
    }

    fn end_connection(&mut self) {
        if self.running.take().is_some() {
            self.down_since.get_or_insert_with(Instant::now);
        }
        if let Some(reader) = &mut self.reader {
            reader.connection_ended();
        }
    }

    /// Keeps the definitions that hold at the end of an item: those of the reader, where it is not ahead of it.
    fn keep_definitions(&mut self, item: &Item) {
        let (Some(reader), Some(position)) = (&mut self.reader, item.position()) else {
            return;
        };
        let revision = reader.tracker.revision();
        let is_kept = matches!(&self.definitions, Some(kept) if kept.version() == revision);
        let base = position.split_once('+').map_or(&**position, |(base, _)| base);
        if !is_kept && base == &*reader.track.text() {
            self.definitions = Some(Arc::new(StoredCatalog::new(revision, reader.tracker.certain())));
        }
    }

    async fn next_item(&mut self) -> Result<Item> {
        loop {
            let Some(reader) = &mut self.reader else {
                return Err(not_connected());
            };
            if self.failure.is_some() {
                reader.connection_ended();
            }
            // Never between a transaction's last row and its end: the row would not say that it is the last.
            let may_flush = reader.has_job() || reader.is_between();
            if (reader.is_full() && may_flush || self.failure.is_some()) && reader.writer.changes() > 0 {
                return Ok(Item::Batch(reader.writer.take()));
            }
            if reader.is_between() && !reader.behind.is_empty() {
                if reader.writer.changes() > 0 {
                    return Ok(Item::Batch(reader.writer.take()));
                }
                if let Some(item) = reader.behind.pop_front() {
                    return Ok(item);
                }
            }
            if let Some(failure) = self.failure.take() {
                self.end_connection();
                return Err(Self::explain(failure));
            }
            if reader.is_to_stand() && !reader.has_job() {
                if reader.writer.changes() > 0 {
                    return Ok(Item::Batch(reader.writer.take()));
                }
                match reader.stand() {
                    Some(item) => return Ok(item),
                    None => std::future::pending().await,
                }
            }
            let running = self.running.as_mut().ok_or_else(not_connected)?;
            match step(reader, running, &self.config, self.address).await {
                Ok(Some(item)) => return Ok(item),
                Ok(None) => {}
                Err(error) => self.failure = Some(error),
            }
        }
    }
}

/// Takes in one event; an item where one is ready. Cancel-safe: an event for which definitions are read is kept until they are.
async fn step(
    reader: &mut Reader,
    running: &mut Running,
    config: &MysqlConfig,
    address: usize,
) -> Result<Option<Item>> {
    if reader.has_job() {
        reader.write_rows(&running.stream)?;
        return Ok(None);
    }
    if running.undecided.is_some() {
        decide(reader, running, config, address).await?;
    }
    if reader.wants_cascades && reader.is_between() {
        let mut link = connect_again(config, address).await?;
        let server = Server::read(&mut link).await?;
        reader.set_cascades(Cascades::read(&mut link, &server).await?);
    }
    let event = match running.stream.ready()? {
        Some(event) => event,
        None => {
            if reader.is_between() {
                if reader.writer.changes() > 0 {
                    return Ok(Some(Item::Batch(reader.writer.take())));
                }
                if let Some(beat) = running.due_beat(reader) {
                    return Ok(Some(Item::Beat(beat)));
                }
            }
            running.stream.next().await?.ok_or_else(ended)?
        }
    };
    let beats = matches!(
        event.header.event_type,
        EventType::Heartbeat | EventType::HeartbeatV2
    );
    if reader.handle(event.clone(), &running.stream)? == Taken::NeedsDefinitions {
        running.undecided = Some(event);
    }
    if beats && reader.is_between() && reader.writer.changes() == 0 {
        running.check_log(reader)?;
        if let Some(warning) = running.standstill() {
            return Ok(Some(Item::Warning(warning)));
        }
        return Ok(running.idle_beat(reader).map(Item::Beat));
    }
    Ok(None)
}

/// Reads the definitions that an event lacks, and takes it in.
async fn decide(
    reader: &mut Reader,
    running: &mut Running,
    config: &MysqlConfig,
    address: usize,
) -> Result<()> {
    let mut link = connect_again(config, address).await?;
    let server = Server::read(&mut link).await?;
    let from = reader.track.done().clone();
    reader
        .tracker
        .rebuild(&mut link, &server, config, address, &from)
        .await?;
    if let Some(event) = running.undecided.take() {
        reader.handle(event, &running.stream)?;
    }
    Ok(())
}

impl Running {
    /// A dump of a log that was reset goes on with heartbeats and never sends anything again. So while nothing comes, what
    /// the server says of the end of its log must hold everything that was read: an answer that is newer than the
    /// last change.
    fn check_log(&mut self, reader: &mut Reader) -> Result<()> {
        let Some(reading) = self.pulse.reading() else {
            return Ok(());
        };
        let position = reader.track.text();
        let is_newer =
            matches!(&self.idle, Some((at, number)) if *at == position && reading.number > *number);
        if is_newer && !reader.track.fits(&reading.end) {
            return Err(Error::new(
                Code::ConnectionLost,
                "The server's log does not hold any more what was read from it: it was reset.",
            ));
        }
        let since = match self.idle.take() {
            Some((at, number)) if at == position => number,
            _ => reading.number,
        };
        self.idle = Some((position, since));
        Ok(())
    }

    /// Until when everything that the server had committed is known to have been read: when the newest question was sent whose
    /// answer lies behind the reader. A heartbeat of the dump proves less than it seems to: on a slow link it may
    /// have been written long before it arrived.
    fn prove(&mut self, reader: &Reader) {
        if let Some(reading) = self.pulse.reading()
            && reader.has_read(&reading.end)
            && let Some(vouched_ms) = reading.vouched_ms()
        {
            self.proven_ms = Some(self.proven_ms.map_or(vouched_ms, |proven| proven.max(vouched_ms)));
        }
    }

    /// Why a replica has no more to send, once for each time that it stands still.
    fn standstill(&mut self) -> Option<Error> {
        let reading = self.pulse.reading()?;
        let Vouch::Nothing(found) = &reading.vouch else {
            self.is_standing = false;
            return None;
        };
        let was_standing = std::mem::replace(&mut self.is_standing, true);
        (!was_standing).then(|| stalled(found))
    }

    /// A heartbeat of the dump; the link lives.
    fn idle_beat(&mut self, reader: &mut Reader) -> Option<Beat> {
        self.prove(reader);
        let reading = self.pulse.reading()?;
        self.beaten = Some(reading.number);
        Some(Beat {
            fresh_until_ms: self.proven_ms?,
            round_trip_ms: reading.round_trip_ms,
            clock_offset_ms: Some(reading.clock_offset_ms),
            position: reader.track.text(),
        })
    }

    /// Under load there are no heartbeats: the newest commit is a proof too, once for each answer of the pulse.
    fn due_beat(&mut self, reader: &mut Reader) -> Option<Beat> {
        let reading = self.pulse.reading()?;
        let committed_ms = reader.newest_committed_ms?;
        if self.beaten == Some(reading.number) {
            return None;
        }
        self.beaten = Some(reading.number);
        self.prove(reader);
        let committed_ms = (committed_ms - reading.clock_offset_ms).min(now_ms());
        Some(Beat {
            fresh_until_ms: self
                .proven_ms
                .map_or(committed_ms, |proven| proven.max(committed_ms)),
            round_trip_ms: reading.round_trip_ms,
            clock_offset_ms: Some(reading.clock_offset_ms),
            position: reader.track.text(),
        })
    }
}

impl Connector for MysqlConnector {
    fn connect(&mut self) -> BoxFuture<'_, Result<()>> {
        self.open().boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Item>> {
        async {
            let item = self.next_item().await?;
            self.keep_definitions(&item);
            Ok(item)
        }
        .boxed()
    }

    fn resume(&mut self, saved: Saved) -> Result<()> {
        let position = Position::parse(&saved.position)?;
        self.witness = saved.witness.as_deref().and_then(Witness::parse);
        self.resume = Some((position, saved.definitions));
        Ok(())
    }

    fn steer(&mut self, to: Steer) {
        if let Some(reader) = &mut self.reader {
            reader.steer(to, &self.server.0);
        }
    }

    fn position(&mut self) -> Option<Arc<str>> {
        self.reader.as_mut().map(|reader| reader.track.text())
    }

    fn found_gap(&self) -> Option<Gap> {
        match self.reader.as_ref()?.behind.front()? {
            Item::Gap(gap) => Some(gap.clone()),
            _ => None,
        }
    }

    fn host(&self) -> Host {
        Host {
            index: self.address,
            server: self.name.clone(),
        }
    }

    fn log_place(&self) -> Option<LogPlace> {
        self.reader.as_ref()?.log_place()
    }

    fn witness(&self) -> Option<Arc<str>> {
        self.seen().map(|witness| witness.to_text().into())
    }

    fn definitions(&self) -> Option<Arc<dyn Definitions>> {
        let kept = self.definitions.clone()?;
        Some(kept)
    }

    fn disconnect(&mut self) -> BoxFuture<'_, ()> {
        async move {
            self.end_connection();
        }
        .boxed()
    }
}

fn plain(start: Offset) -> Position {
    Position {
        start,
        delivered: None,
        within: None,
    }
}

fn ended() -> Error {
    Error::new(Code::ConnectionLost, "The server ended the dump.")
}

fn not_connected() -> Error {
    Error::new(Code::ConnectionLost, "The source is not connected.")
}
