//! Where reading goes on when the oplog does not hold the place.
//!
//! # Whether a place is gone, not there yet, or taken back
//! An oplog is sorted by time, and what is visible of it has no holes. So a place that lies between its oldest and its newest entry and
//! is not in it never comes: it was rolled back. One in front of the oldest was removed. One behind the newest may still arrive at
//! a secondary; a primary, or a member that knows of a later election, has another history.
//!
//! # Where two histories part
//! Entries of one election were written by one primary, one after the other. If the oplog holds one of the election of our place in
//! front of it, then we have read that one, and all before it is the same in both. If it holds none of that election, only what a
//! majority was known to have is certain; what follows may come a second time, under the same ids.

use super::member::{Member, NOTHING};
use super::reader::OplogReader;
use crate::code::Code;
use crate::error::{Error, Result};
use crate::offset::OpTime;

/// Finds where reading goes on, and tells what happened to the place. Where it was removed, reading goes on with the present if
/// `skips_backlog`, else with the oldest entry.
///
/// # Errors
/// `ERR_STREAMER_CONNECTION_LOST` where the member has not come so far yet, and those of the connection.
pub async fn find(reader: &mut OplogReader, member: &Member, skips_backlog: bool) -> Result<()> {
    let at = reader.at();
    let newest = member.newest().await?;
    let is_ahead = at.max(reader.touched) > newest;
    if is_ahead && newest.term <= at.term && !member.hello().await?.is_primary {
        return Err(Error::new(
            Code::ConnectionLost,
            "The member has not come as far as reading has: it lags behind.",
        ));
    }
    let oldest = member.oldest().await?;
    if (at.seconds, at.increment) < (oldest.seconds, oldest.increment) {
        let error = Error::new(
            Code::PositionLost,
            "The oplog no longer holds the place from which reading should go on.",
        )
        .with_advice(
            "A larger oplog keeps more history: db.adminCommand({replSetResizeOplog: 1, size: <MiB>}).",
        );
        let (instead, is_unread) = if skips_backlog {
            (newest, false)
        } else {
            (oldest, true)
        };
        reader.report_lost(error, instead, is_unread);
        return Ok(());
    }
    let common = if member.has(at).await? {
        // What was handed over of the entry behind it is not there.
        at
    } else {
        common(at, reader.committed, member).await?.unwrap_or(oldest)
    };
    reader.report_rewound(common);
    Ok(())
}

/// The newest entry that both histories have.
async fn common(at: OpTime, committed: OpTime, member: &Member) -> Result<Option<OpTime>> {
    let Some(before) = member.before(at).await? else {
        return Ok(None);
    };
    if before.term < at.term && committed != NOTHING && committed < at && member.has(committed).await? {
        return Ok(Some(committed));
    }
    Ok(Some(before))
}

/// What a checkpoint keeps beside its position: how far a majority was known to be, and what was handed over.
pub fn write_witness(committed: OpTime, touched: OpTime) -> String {
    format!("oplog {committed} {touched}")
}

/// Reads it back.
pub fn read_witness(text: &str) -> Option<(OpTime, OpTime)> {
    let (committed, touched) = text.strip_prefix("oplog ")?.split_once(' ')?;
    Some((committed.parse().ok()?, touched.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_comes_back_from_its_text() {
        let touched = OpTime {
            seconds: 5,
            increment: 6,
            term: 7,
        };
        for committed in [NOTHING, touched] {
            let text = write_witness(committed, touched);
            assert_eq!(read_witness(&text), Some((committed, touched)));
        }
        for text in ["", "oplog 1.1.1", "uid 1 2", "oplog a b"] {
            assert_eq!(read_witness(text), None);
        }
    }
}
