//! The DDL statements of a stretch of the log, read ahead of the rows.
//!
//! Definitions can be asked of a server only as they are now. Where reading begins earlier, the statements between
//! there and now say which of them were different: they are read once, on a dump that ends at the end of the log.

use std::sync::Arc;
use std::time::Duration;

use super::binlog::{EventType, MariadbBegin, MysqlBegin, Query, Wire, uncompress};
use super::link::Flavor;
use super::reader::statement_text;
use super::session::{DumpIdentity, Server, begin_dump, connect_again};
use super::stream::{Event, EventStream};
use super::track::{FilePlace, Track, TransactionId};
use super::words::{Words, classify};
use crate::code::Code;
use crate::config::MysqlConfig;
use crate::error::{Error, Result};
use crate::offset::{Offset, Position};

/// Statements that one stretch may hold.
const MAX_STATEMENTS: usize = 1_000_000;
/// Patience with a server that looks for the beginning of a stretch.
const SILENCE: Duration = Duration::from_secs(60);

/// A DDL statement of the log.
#[derive(Debug, Clone)]
pub struct LoggedStatement {
    /// Its transaction.
    pub id: Arc<str>,
    /// The statement.
    pub statement: String,
    /// Default database of its session.
    pub database: String,
    /// `sql_mode` of its session.
    pub sql_mode: u64,
    /// Collation of the server.
    pub server_collation: Option<u16>,
    /// Collation of the default database, where it differs from the server's.
    pub database_collation: Option<u16>,
}

impl LoggedStatement {
    /// Out of a query event.
    pub fn new(query: &Query<'_>, id: Arc<str>) -> Self {
        Self {
            id,
            statement: statement_text(query).into_owned(),
            database: String::from_utf8_lossy(query.database).into_owned(),
            sql_mode: query.sql_mode,
            server_collation: query.collations.map(|[_, _, server]| server),
            database_collation: query.database_collation,
        }
    }
}

/// Reads the statements between two places, in order.
///
/// # Errors
/// Those of a dump; `ERR_STREAMER_LIMIT_EXCEEDED` for more than a million statements.
pub async fn read_statements(
    config: &MysqlConfig,
    address: usize,
    server: &Server,
    from: &Offset,
    to: &Offset,
) -> Result<Vec<LoggedStatement>> {
    let mut link = connect_again(config, address).await?;
    link.query("SET NAMES utf8mb4").await?;
    let identity = DumpIdentity::choose(&mut link, server, None).await?;
    begin_dump(&mut link, server, &identity, from, Duration::from_secs(10), true).await?;
    let mut stream = EventStream::new(link, SILENCE);
    let mut history = History {
        flavor: server.flavor,
        end: end_at(to),
        place: FilePlace::default(),
        id: None,
        statements: Vec::new(),
    };
    while let Some(event) = stream.next().await? {
        history.take(&event, &stream)?;
    }
    Ok(history.statements)
}

fn end_at(to: &Offset) -> Track {
    Track::new(&Position {
        start: to.clone(),
        delivered: None,
        within: None,
    })
}

struct History {
    flavor: Flavor,
    end: Track,
    place: FilePlace,
    id: Option<TransactionId>,
    statements: Vec<LoggedStatement>,
}

impl History {
    fn take(&mut self, event: &Event, stream: &EventStream) -> Result<()> {
        let begins_at = self.place.offset;
        let logged = event.logged_header();
        let body = stream.body(event);
        if event.header.event_type == EventType::Rotate {
            let mut wire = Wire(body);
            self.place.offset = wire.u64()?;
            self.place.file = String::from_utf8_lossy(wire.rest()).into();
            return Ok(());
        }
        if !logged.is_artificial() {
            self.place.advance(logged.next_offset, logged.event_bytes);
        }
        match event.header.event_type {
            EventType::Gtid | EventType::AnonymousGtid | EventType::GtidTagged | EventType::MariadbGtid => {
                self.begin(event, body, begins_at)
            }
            EventType::Query => self.query(&Query::read(body)?),
            EventType::QueryCompressed => {
                let query = Query::read(body)?;
                let statement = uncompress(query.statement)?;
                self.query(&Query {
                    statement: &statement,
                    ..query
                })
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, event: &Event, body: &[u8], begins_at: u64) -> Result<()> {
        let place = TransactionId::Place {
            file: self.place.file.clone(),
            offset: begins_at,
        };
        let gtid = match (event.header.event_type, self.flavor) {
            (EventType::MariadbGtid, _) => {
                let begin = MariadbBegin::read(body, event.header.server_id)?;
                Some(TransactionId::Mariadb(begin.gtid))
            }
            (EventType::GtidTagged, _) => MysqlBegin::read_tagged(body)?.gtid.map(TransactionId::Mysql),
            (event_type, _) => MysqlBegin::read(body, event_type == EventType::AnonymousGtid)?
                .gtid
                .map(TransactionId::Mysql),
        };
        self.id = Some(match gtid {
            Some(TransactionId::Mysql(_)) if !self.end.has_gtids() => place,
            Some(gtid) => gtid,
            None => place,
        });
        Ok(())
    }

    fn query(&mut self, query: &Query<'_>) -> Result<()> {
        let Some(id) = &self.id else {
            return Ok(());
        };
        if !self.end.covers(id) || classify(query.statement) != Words::Definition {
            return Ok(());
        }
        if self.statements.len() >= MAX_STATEMENTS {
            return Err(Error::new(
                Code::LimitExceeded,
                "The log holds more than a million DDL statements between the place where reading begins and now.",
            )
            .with_advice("`SET GLOBAL binlog_row_metadata=FULL` makes reading them unnecessary."));
        }
        self.statements
            .push(LoggedStatement::new(query, id.to_string().into()));
        Ok(())
    }
}
