//! How much of a server's log a value holds, in terms that another process can compare with its own reading.
//!
//! Sequences are of one process. What goes to the second level is a statement about the log itself:
//!
//! | server | statement | order |
//! |---|---|---|
//! | MySQL with GTIDs | a reading of `gtid_executed`; everything in it was visible to the query | readings of one server are each a subset of the next, so the number of GTIDs in them orders them |
//! | MariaDB | the place of the log that a consistent snapshot showed; everything before it was visible | file number and byte |
//!
//! A log that was reset counts anew, and both statements then seem to speak of the new log. So each also names a file of the
//! log, and the second in which the server began it; a reader believes only statements that name a file which it has read
//! itself.

use std::sync::Arc;

use crate::code::Code;
use crate::error::{Error, Result};
use crate::offset::GtidSet;

/// Longest GTID set that is stored; one with more gaps costs more than it is worth.
const MAX_GTIDS: usize = 16 << 10;

/// A file of a server's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogFile {
    /// Its number.
    pub number: u64,
    /// When the server began it, seconds since the epoch.
    pub created: u32,
}

/// Everything in the log that a value holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// These transactions; `file` was being read when they were asked for.
    Executed {
        /// What was executed.
        gtids: GtidSet,
        /// Which log it is.
        file: LogFile,
    },
    /// What lies before a byte of a file.
    Shown {
        /// The file.
        file: LogFile,
        /// The byte.
        offset: u64,
    },
}

/// A reach, and whose log it speaks of.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What names the server.
    pub server: Arc<str>,
    /// Everything in its log that a value holds.
    pub reach: Reach,
}

impl Reach {
    /// The file that it names.
    pub fn file(&self) -> &LogFile {
        match self {
            Self::Executed { file, .. } | Self::Shown { file, .. } => file,
        }
    }

    /// Orders what was stated of one log.
    pub fn rank(&self) -> u128 {
        match self {
            Self::Executed { gtids, .. } => gtids
                .sources()
                .flat_map(|(_, _, intervals)| intervals)
                .map(|interval| u128::from(interval.last - interval.first) + 1)
                .sum(),
            Self::Shown { file, offset } => u128::from(file.number) << 64 | u128::from(*offset),
        }
    }

    /// Its bytes; `None` where they would be too many.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![u8::from(matches!(self, Self::Shown { .. }))];
        bytes.extend_from_slice(&self.file().number.to_be_bytes());
        bytes.extend_from_slice(&self.file().created.to_be_bytes());
        match self {
            Self::Executed { gtids, .. } => {
                let gtids = gtids.encode();
                if gtids.len() > MAX_GTIDS {
                    return None;
                }
                bytes.extend_from_slice(&gtids);
            }
            Self::Shown { offset, .. } => bytes.extend_from_slice(&offset.to_be_bytes()),
        }
        Some(bytes)
    }

    /// Reads [`encode`](Self::encode) back.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let invalid = || {
            Error::new(
                Code::LogUndecodable,
                "A reach in the second level is not understood.",
            )
        };
        let ([kind], bytes) = bytes.split_first_chunk().ok_or_else(invalid)?;
        let (number, bytes) = bytes.split_first_chunk().ok_or_else(invalid)?;
        let (created, bytes) = bytes.split_first_chunk().ok_or_else(invalid)?;
        let file = LogFile {
            number: u64::from_be_bytes(*number),
            created: u32::from_be_bytes(*created),
        };
        match kind {
            0 => Ok(Self::Executed {
                gtids: GtidSet::decode(bytes)?,
                file,
            }),
            1 => Ok(Self::Shown {
                file,
                offset: u64::from_be_bytes(bytes.try_into().map_err(|_| invalid())?),
            }),
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> LogFile {
        LogFile {
            number: 12,
            created: 1_763_923_200,
        }
    }

    fn executed(text: &str) -> Reach {
        Reach::Executed {
            gtids: GtidSet::parse(text).unwrap(),
            file: file(),
        }
    }

    #[test]
    fn it_is_read_back() {
        let server = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        for reach in [
            executed(""),
            executed(&format!("{server}:1-5:8")),
            Reach::Shown {
                file: file(),
                offset: 5_000_000_000,
            },
        ] {
            let bytes = reach.encode().unwrap();
            assert_eq!(Reach::decode(&bytes).unwrap(), reach);
            assert!(Reach::decode(&bytes[..bytes.len() - 1]).is_err());
            assert!(Reach::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
        assert!(Reach::decode(&[]).is_err());
    }

    #[test]
    fn later_readings_rank_higher() {
        let server = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let other = "4e11fa47-71ca-11e1-9e33-c80aa9429562";
        let ranks: Vec<u128> = ["", ":1", ":1-5:8", ":1-8"]
            .iter()
            .map(|rest| match *rest {
                "" => executed("").rank(),
                rest => executed(&format!("{server}{rest}")).rank(),
            })
            .collect();
        assert_eq!(ranks, [0, 1, 6, 8]);
        assert_eq!(executed(&format!("{server}:1-8,{other}:3")).rank(), 9);
        let shown = |number, offset| Reach::Shown {
            file: LogFile { number, ..file() },
            offset,
        };
        assert!(shown(12, 9).rank() < shown(12, 10).rank());
        assert!(shown(12, u64::MAX).rank() < shown(13, 4).rank());
    }
}
