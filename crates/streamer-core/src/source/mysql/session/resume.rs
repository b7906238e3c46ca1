//! Whether a server still has the log from a place on, and whether it is the same log.

use super::super::link::Link;
use super::place::{current_offset, earliest_offset, logged_offset};
use super::server::Server;
use crate::error::Result;
use crate::offset::Offset;
use crate::source::GapReason;

/// Why reading cannot go on at a place, and where it goes on instead.
#[derive(Debug, Clone)]
pub struct Lost {
    /// Why.
    pub reason: GapReason,
    /// The next place that can be had.
    pub instead: Offset,
}

/// Compares a place with the log of the server; `None` where reading can go on there.
///
/// # Errors
/// Those of a query.
pub async fn verify_resume(link: &mut Link, server: &Server, from: &Offset) -> Result<Option<Lost>> {
    let logged = logged_offset(link, server).await?;
    let reason = match (from, &logged) {
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
            file_reason(link, file, *offset).await?
        }
        // The server's kind of position changed: another server, or gtid_mode was switched.
        _ => Some(GapReason::SourceReplaced),
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

/// Looks a file place up in the list of files.
async fn file_reason(link: &mut Link, file: &str, offset: u64) -> Result<Option<GapReason>> {
    let logs = link.query("SHOW BINARY LOGS").await?;
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
            return Ok((!fits).then_some(GapReason::SourceRewound));
        }
    }
    Ok(Some(if number(file) < first {
        GapReason::LogPurged
    } else {
        GapReason::SourceRewound
    }))
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
