//! What proves that a server's log is still the one that was read.
//!
//! Positions alone do not: a log that was reset begins to count anew, and once it has grown past a stored position, that
//! position names a place in it again, where other transactions lie. So beside the position the reader keeps a
//! *witness*: the file that it stands in, with the second in which the server began it, and the first event of the last
//! transaction that was done in it, by its place and a checksum. To resume on the same server, the witness is read
//! again and must be equal, byte for byte.
//!
//! A witness says nothing of another server, to which a replica's log came over the network: there the GTIDs decide, which
//! name the server that a transaction comes from.

use std::sync::Arc;

use super::binlog::{EventType, Header};

/// The last transaction of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Where its first event lies in the file.
    pub offset: u64,
    /// Checksum of that event.
    pub crc: u32,
}

/// A place in a log that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// `server_uuid` or `server_uid` of the server; empty where it has none.
    pub identity: Arc<str>,
    /// Its `server_id`.
    pub server_id: u32,
    /// File of the log.
    pub file: Arc<str>,
    /// When the server began the file, seconds since the epoch.
    pub created: u32,
    /// The last transaction that was done in it; `None` where there is none yet.
    pub begin: Option<Begin>,
}

impl Witness {
    /// The text that is stored beside a position: fields divided by spaces, the file name last.
    pub fn to_text(&self) -> String {
        let identity = if self.identity.is_empty() {
            "-"
        } else {
            &*self.identity
        };
        let begin = self.begin.map_or_else(
            || "-".to_owned(),
            |begin| format!("{}:{:08x}", begin.offset, begin.crc),
        );
        format!(
            "{identity} {} {} {begin} {}",
            self.server_id, self.created, self.file
        )
    }

    /// Reads [`to_text`](Self::to_text) back; `None` where it is not understood, and proves nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.splitn(5, ' ');
        let identity = fields
            .next()
            .map(|identity| if identity == "-" { "" } else { identity })?;
        let server_id = fields.next()?.parse().ok()?;
        let created = fields.next()?.parse().ok()?;
        let begin = match fields.next()? {
            "-" => None,
            begin => {
                let (offset, crc) = begin.split_once(':')?;
                Some(Begin {
                    offset: offset.parse().ok()?,
                    crc: u32::from_str_radix(crc, 16).ok()?,
                })
            }
        };
        Some(Self {
            identity: identity.into(),
            server_id,
            file: fields.next()?.into(),
            created,
            begin,
        })
    }
}

/// Checksum of an event's meaning: of everything but its length and place, which differ with the session's checksums.
pub fn checksum(header: &Header, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header.timestamp.to_le_bytes());
    hasher.update(&header.server_id.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// Remembers the witness while the log is read.
#[derive(Debug, Default)]
pub struct Watch {
    file: Arc<str>,
    created: u32,
    /// First event of the transaction that is open, and of the last one that is done: where it lies, and its bytes. The
    /// checksum is made when somebody asks.
    open: Option<First>,
    done: Option<First>,
    /// A used one whose buffer is taken again.
    spare: Option<First>,
}

#[derive(Debug)]
struct First {
    offset: u64,
    header: Header,
    body: Vec<u8>,
}

impl Watch {
    /// A file begins, or reading begins in it.
    pub fn file(&mut self, file: &Arc<str>, header: &Header) {
        if header.event_type != EventType::FormatDescription || header.timestamp == 0 {
            return;
        }
        if self.file != *file || self.created != header.timestamp {
            self.file = file.clone();
            self.created = header.timestamp;
            self.done = None;
        }
        self.open = None;
    }

    /// When the server began `file`, seconds since the epoch; `None` where it is not the one that is being read.
    pub fn created(&self, file: &str) -> Option<u32> {
        (*self.file == *file && self.created != 0).then_some(self.created)
    }

    /// A transaction begins at `offset` of the present file.
    pub fn begin(&mut self, offset: u64, header: &Header, body: &[u8]) {
        let mut first = self.open.take().or_else(|| self.spare.take()).unwrap_or(First {
            offset,
            header: *header,
            body: Vec::new(),
        });
        first.offset = offset;
        first.header = *header;
        first.body.clear();
        first.body.extend_from_slice(body);
        self.open = Some(first);
    }

    /// A transaction begins, and its place is not certain: reading began directly in front of it.
    pub fn skip(&mut self) {
        self.spare = self.open.take().or_else(|| self.spare.take());
    }

    /// The transaction that began last is done.
    pub fn done(&mut self) {
        if let Some(first) = self.open.take() {
            self.spare = self.done.replace(first);
        }
    }

    /// The place of the log was lost.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// What was seen of the log; `None` where its file is not known.
    pub fn witness(&self, identity: &Arc<str>, server_id: u32) -> Option<Witness> {
        (!self.file.is_empty()).then(|| Witness {
            identity: identity.clone(),
            server_id,
            file: self.file.clone(),
            created: self.created,
            begin: self.done.as_ref().map(|first| Begin {
                offset: first.offset,
                crc: checksum(&first.header, &first.body),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_is_read_back() {
        let whole = Witness {
            identity: "3e11fa47-71ca-11e1-9e33-c80aa9429562".into(),
            server_id: 7,
            file: "my log.000012".into(),
            created: 1_763_923_200,
            begin: Some(Begin {
                offset: 5_000_000_000,
                crc: 0x0011_aabb,
            }),
        };
        let bare = Witness {
            identity: "".into(),
            begin: None,
            ..whole.clone()
        };
        for witness in [whole, bare] {
            assert_eq!(Witness::parse(&witness.to_text()), Some(witness));
        }
    }

    #[test]
    fn what_is_not_understood_proves_nothing() {
        for text in [
            "",
            "-",
            "a b c d e",
            "uid 1 2 3 file",
            "uid 1 2 3:zz file",
            "uid 1 2 -",
        ] {
            assert_eq!(Witness::parse(text), None, "{text}");
        }
    }
}
