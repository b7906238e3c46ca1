//! Whether a server still has the log from a place on, and whether it is the same log.

use std::time::Duration;

use super::super::binlog::EventType;
use super::super::link::{Flavor, Link, ResultRows};
use super::super::stream::EventStream;
use super::super::witness::{Witness, checksum};
use super::dump::{DumpIdentity, begin_file};
use super::place::{current_offset, earliest_offset, logged_offset};
use super::server::{Server, connect_again};
use crate::code::Code;
use crate::config::MysqlConfig;
use crate::error::Result;
use crate::offset::Offset;
use crate::source::GapReason;

/// A dump of one event is waited for so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// First event of a file.
const FIRST_OFFSET: u64 = 4;

/// Why reading cannot go on at a place, and where it goes on instead.
#[derive(Debug, Clone)]
pub struct Lost {
    /// Why.
    pub reason: GapReason,
    /// The next place that can be had.
    pub instead: Offset,
}

/// How a server is asked beside the link that is open.
pub struct Side<'a> {
    /// Account and addresses.
    pub config: &'a MysqlConfig,
    /// The address that answered.
    pub address: usize,
    /// As whom.
    pub identity: &'a DumpIdentity,
}

/// Compares a place, and what proves that it is a place of the same log, with the log of the server; `None` where reading
/// can go on there.
///
/// # Errors
/// Those of a query.
pub async fn verify_resume(
    link: &mut Link,
    server: &Server,
    from: &Offset,
    witness: Option<&Witness>,
    side: Side<'_>,
) -> Result<Option<Lost>> {
    let is_other = witness.is_some_and(|witness| is_other(witness, server));
    let reason = match (compare_places(link, server, from).await?, witness) {
        (Some(GapReason::SourceRewound), _) if is_other => Some(GapReason::SourceReplaced),
        (Some(reason), _) => Some(reason),
        (None, Some(witness)) if is_other => {
            is_impostor(witness, server).then_some(GapReason::SourceReplaced)
        }
        (None, Some(witness)) => {
            let agrees = agrees(link, server, witness, side).await?;
            (!agrees).then_some(GapReason::SourceRewound)
        }
        (None, None) => None,
    };
    let Some(reason) = reason else {
        return Ok(None);
    };
    let earliest = earliest_offset(link, server).await?;
    let instead = match (reason, from, earliest) {
        (GapReason::SourceReplaced, ..) => current_offset(link, server).await?,
        (GapReason::LogPurged, Offset::MysqlGtid(ours), Offset::MysqlGtid(purged)) => {
            Offset::MysqlGtid(ours.union(&purged))
        }
        (_, _, earliest) => earliest,
    };
    Ok(Some(Lost { reason, instead }))
}

/// Whether the log has the place, by what it says of itself.
async fn compare_places(link: &mut Link, server: &Server, from: &Offset) -> Result<Option<GapReason>> {
    let logged = logged_offset(link, server).await?;
    Ok(match (from, &logged) {
        (Offset::MysqlGtid(ours), Offset::MysqlGtid(executed)) => {
            if !ours.is_subset_of(executed) {
                Some(GapReason::SourceRewound)
            } else {
                match earliest_offset(link, server).await? {
                    Offset::MysqlGtid(purged) if !purged.is_subset_of(ours) => Some(GapReason::LogPurged),
                    _ => None,
                }
            }
        }
        (Offset::MariadbGtid(ours), Offset::MariadbGtid(theirs)) if !ours.is_covered_by(theirs) => {
            Some(GapReason::SourceRewound)
        }
        (Offset::MariadbGtid(ours), Offset::MariadbGtid(_)) => match earliest_offset(link, server).await? {
            Offset::MariadbGtid(first) if !first.is_covered_by(ours) => Some(GapReason::LogPurged),
            _ => None,
        },
        (Offset::MysqlFile { server: ours, .. }, Offset::MysqlFile { server: theirs, .. })
            if ours != theirs =>
        {
            Some(GapReason::SourceReplaced)
        }
        (Offset::MysqlFile { file, offset, .. }, Offset::MysqlFile { .. }) => {
            file_reason(&link.query("SHOW BINARY LOGS").await?, file, *offset)
        }
        // The server's kind of position changed: another server, or gtid_mode was switched.
        _ => Some(GapReason::SourceReplaced),
    })
}

/// Whether another server answers than the one that the witness stems from.
fn is_other(witness: &Witness, server: &Server) -> bool {
    let identity = server.identity();
    if witness.identity.is_empty() || identity.is_empty() {
        return witness.server_id != server.server_id();
    }
    witness.identity != identity
}

/// MariaDB's GTIDs name a server by its `server_id` alone. No replica has the one of its source, so another server with
/// the same one has another history, however alike its GTIDs look. The nodes of a Galera cluster share one, and their history.
fn is_impostor(witness: &Witness, server: &Server) -> bool {
    server.flavor == Flavor::Mariadb && witness.server_id == server.server_id() && !server.is_on("wsrep_on")
}

/// Whether the witness still lies in the log. A file that was purged meanwhile proves nothing, either way.
async fn agrees(link: &mut Link, server: &Server, witness: &Witness, side: Side<'_>) -> Result<bool> {
    let begin = witness.begin.filter(|begin| u32::try_from(begin.offset).is_ok());
    let offset = begin.map_or(FIRST_OFFSET, |begin| begin.offset);
    let logs = link.query("SHOW BINARY LOGS").await?;
    match file_reason(&logs, &witness.file, offset) {
        Some(GapReason::LogPurged) => return Ok(true),
        Some(_) => return Ok(false),
        None => {}
    }
    let mut probe = connect_again(side.config, side.address).await?;
    begin_file(&mut probe, server, side.identity, &witness.file, offset).await?;
    let mut stream = EventStream::new(probe, PATIENCE);
    match read_witness(&mut stream, witness).await {
        // Nothing that is an event lies there.
        Err(error)
            if matches!(
                error.code(),
                Code::PositionLost | Code::LogCorrupt | Code::LogUndecodable
            ) =>
        {
            Ok(false)
        }
        read => read,
    }
}

async fn read_witness(stream: &mut EventStream, witness: &Witness) -> Result<bool> {
    let mut is_described = false;
    while let Some(event) = stream.next().await? {
        match event.header.event_type {
            EventType::FormatDescription if !is_described => {
                if event.header.timestamp != witness.created {
                    return Ok(false);
                }
                is_described = true;
                if witness.begin.is_none() {
                    return Ok(true);
                }
            }
            EventType::Gtid | EventType::AnonymousGtid | EventType::GtidTagged | EventType::MariadbGtid => {
                let crc = checksum(&event.header, stream.body(&event));
                return Ok(is_described && witness.begin.is_some_and(|begin| begin.crc == crc));
            }
            EventType::Rotate | EventType::Heartbeat | EventType::HeartbeatV2 => {}
            _ if event.header.next_offset == 0 => {}
            _ if witness.begin.is_none() => {}
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// Looks a file place up in the list of files.
fn file_reason(logs: &ResultRows, file: &str, offset: u64) -> Option<GapReason> {
    let number = |name: &str| {
        name.rsplit_once('.')
            .and_then(|(_, digits)| digits.parse::<u64>().ok())
    };
    let mut first = None;
    for row in &logs.rows {
        let [Some(name), Some(bytes), ..] = row.as_slice() else {
            continue;
        };
        first = first.or_else(|| number(name));
        if name == file {
            let fits = bytes.parse::<u64>().is_ok_and(|bytes| offset <= bytes);
            return (!fits).then_some(GapReason::SourceRewound);
        }
    }
    Some(if number(file) < first {
        GapReason::LogPurged
    } else {
        GapReason::SourceRewound
    })
}

/// What a server's refusal to begin at a place means; `None` where it means something else.
pub fn refused_place(text: &str) -> Option<GapReason> {
    let text = text.to_ascii_lowercase();
    let purged = [
        "purged",
        "could not find first log file",
        "too old",
        "could not find gtid state",
    ];
    let rewound = [
        "position > file size",
        "not in the master's binlog",
        "is not in the",
        "diverged",
        "has more gtids",
    ];
    if purged.iter().any(|words| text.contains(words)) {
        return Some(GapReason::LogPurged);
    }
    if rewound.iter().any(|words| text.contains(words)) {
        return Some(GapReason::SourceRewound);
    }
    None
}
