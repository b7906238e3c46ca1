//! The two encodings of a MySQL GTID set: in COM_BINLOG_DUMP_GTID, and in the PREVIOUS_GTIDS_LOG_EVENT.
//!
//! All numbers are little-endian. Untagged: u64 count of uuids; per uuid 16 bytes, u64 count of intervals, and per
//! interval u64 first and u64 last + 1. Tagged (MySQL 8.3 and newer, written as soon as one transaction has a tag): the
//! first u64 holds 1 in its highest and its lowest byte and the count between them; a uuid appears once per tag, and
//! behind its 16 bytes stands the tag's length, doubled (the server's variable-length integer), and the tag.
//! Source: `Gtid_set::encode`, `encode_nsids_format` in `sql/rpl_gtid_set.cc`, `Tag::encode_tag` in `libs/mysql/gtid`.

use std::sync::Arc;

use super::mysql::{MAX_NUMBER, MAX_TAG, is_tag};
use super::{GtidInterval, GtidSet};
use crate::code::Code;
use crate::error::{Error, Result};

/// Marks the tagged format in the highest and the lowest byte of the header.
const TAGGED: u64 = 1;

impl GtidSet {
    /// The set as COM_BINLOG_DUMP_GTID carries it: in the tagged format only where a tag is in it, so that older servers
    /// understand every set without one.
    pub fn encode(&self) -> Vec<u8> {
        let tagged = self.is_tagged();
        let count = self.sources().count() as u64;
        let header = if tagged {
            TAGGED << 56 | count << 8 | TAGGED
        } else {
            count
        };
        let mut bytes = header.to_le_bytes().to_vec();
        for (uuid, tag, list) in self.sources() {
            bytes.extend_from_slice(uuid);
            if tagged {
                let tag = tag.map_or("", |tag| tag);
                // At most 64: one byte.
                bytes.push((tag.len() as u8) << 1);
                bytes.extend_from_slice(tag.as_bytes());
            }
            bytes.extend_from_slice(&(list.len() as u64).to_le_bytes());
            for interval in list {
                bytes.extend_from_slice(&interval.first.to_le_bytes());
                bytes.extend_from_slice(&interval.last.saturating_add(1).to_le_bytes());
            }
        }
        bytes
    }

    /// Reads either encoding: the body of a PREVIOUS_GTIDS_LOG_EVENT without its checksum.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where the bytes end early, go on, or hold what no server writes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Input(bytes);
        let header = input.number()?;
        let (tagged, count) = match header >> 56 {
            0 => (false, header),
            TAGGED => (true, header << 8 >> 16),
            _ => return Err(undecodable("is in a format that this version does not know")),
        };
        let mut set = Self::new();
        // Neither loop trusts its count: each turn consumes bytes, or fails for want of them.
        for _ in 0..count {
            let uuid = input.array()?;
            let tag = if tagged { input.tag()? } else { None };
            let mut list = Vec::new();
            for _ in 0..input.number()? {
                list.push(input.interval()?);
            }
            set.append(uuid, tag, list);
        }
        if !input.0.is_empty() {
            return Err(undecodable("is longer than its counts say"));
        }
        set.normalise();
        Ok(set)
    }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or_else(ends_early)?;
        self.0 = rest;
        Ok(*head)
    }

    fn number(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn interval(&mut self) -> Result<GtidInterval> {
        let (first, end) = (self.number()?, self.number()?);
        if first == 0 || end <= first || end > MAX_NUMBER + 1 {
            return Err(undecodable("has an interval that is empty or out of range"));
        }
        Ok(GtidInterval { first, last: end - 1 })
    }

    fn tag(&mut self) -> Result<Option<Arc<str>>> {
        let [length] = self.array()?;
        // An odd byte begins an integer of several bytes: more than a tag can be long.
        if length & 1 == 1 {
            return Err(undecodable("has a tag that no server accepts"));
        }
        let length = usize::from(length >> 1);
        let (tag, rest) = self.0.split_at_checked(length).ok_or_else(ends_early)?;
        self.0 = rest;
        match std::str::from_utf8(tag) {
            Ok("") => Ok(None),
            Ok(tag) if length <= MAX_TAG && is_tag(tag) => Ok(Some(tag.into())),
            _ => Err(undecodable("has a tag that no server accepts")),
        }
    }
}

fn ends_early() -> Error {
    undecodable("ends before its counts are reached")
}

fn undecodable(found: &str) -> Error {
    Error::new(
        Code::LogUndecodable,
        format!("A GTID set in the binary log {found}."),
    )
}
