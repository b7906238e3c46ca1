//! MySQL's GTIDs, tagged ones (MySQL 8.3 and newer) included.
//!
//! A [`GtidSet`] keeps what the server says, gaps too: `1-7:9-10` stays two intervals, so that a number 8 that is
//! committed late is still delivered. Its intervals are sorted, disjoint and never touch, which makes two equal sets
//! equal in memory. Both encodings of the wire stand in `gtid_wire.rs`, the text form here.
//!
//! Sources: reference manual, "GTID Format and Storage"; `sql/rpl_gtid_set.cc` of the server.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::intervals;
use crate::code::Code;
use crate::error::{Error, Result};

/// Largest number that a server gives to a transaction (`GNO_END - 1`).
pub(super) const MAX_NUMBER: u64 = i64::MAX as u64 - 1;

/// Most characters of a tag.
pub(super) const MAX_TAG: usize = 32;

/// First and last number of a run; both belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GtidInterval {
    /// First number, at least 1.
    pub first: u64,
    /// Last number, at least `first`.
    pub last: u64,
}

/// One transaction: `uuid:number` or `uuid:tag:number`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MysqlGtid {
    /// `server_uuid` of the server that committed it first, or a group's name.
    pub uuid: [u8; 16],
    /// Tag, lower case, 1 to 32 characters of `[a-z_][a-z0-9_]*`.
    pub tag: Option<Arc<str>>,
    /// Counts from 1 within `uuid` and `tag`.
    pub number: u64,
}

/// The intervals of one uuid by tag; without tag comes first, as the server prints it.
type Tags = BTreeMap<Option<Arc<str>>, Vec<GtidInterval>>;

/// Every transaction that a server has executed, or any other set of them.
///
/// ```
/// # use streamer_core::offset::GtidSet;
/// let set = GtidSet::parse("3E11FA47-71CA-11E1-9E33-C80AA9429562:1-7:9-10:audit:4")?;
/// assert_eq!(set.to_string(), "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7:9-10:audit:4");
/// # Ok::<(), streamer_core::error::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GtidSet {
    /// Holds no empty map and no empty list, so that equal sets compare equal.
    uuids: BTreeMap<[u8; 16], Tags>,
}

impl GtidSet {
    /// The set of no transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the text form of the server: `uuid:1-3:5,uuid:1-3:tag:5-7`, with any white space and in any case.
    ///
    /// # Errors
    /// `ERR_STREAMER_POSITION_INVALID` where it is no GTID set. A reversed interval (`5-3`) is refused.
    pub fn parse(text: &str) -> Result<Self> {
        let mut set = Self::default();
        for source in text.split(',') {
            let source = source.trim_ascii();
            if !source.is_empty() {
                set.parse_source(source)?;
            }
        }
        set.normalise();
        Ok(set)
    }

    /// Reads one uuid with all that follows it; leaves the intervals unsorted.
    fn parse_source(&mut self, text: &str) -> Result<()> {
        let mut parts = text.split(':').map(str::trim_ascii);
        let uuid = parse_uuid(parts.next().unwrap_or_default())?;
        let tags = self.uuids.entry(uuid).or_default();
        let mut tag = None;
        let mut pending = true;
        for part in parts {
            if part.starts_with(|first: char| first.is_ascii_digit()) {
                tags.entry(tag.clone()).or_default().push(parse_interval(part)?);
                pending = false;
            } else {
                if pending && tag.is_some() {
                    break;
                }
                tag = Some(parse_tag(part)?);
                pending = true;
            }
        }
        if pending {
            return Err(invalid(
                "A GTID set needs numbers behind each uuid and tag, as in uuid:1-5.",
            ));
        }
        Ok(())
    }

    /// Adds a transaction. The number behind the last one, which is the usual case, only moves that interval's end.
    pub fn insert(&mut self, gtid: &MysqlGtid) {
        let tags = self.uuids.entry(gtid.uuid).or_default();
        match tags.get_mut(&gtid.tag) {
            Some(list) => intervals::insert(list, gtid.number),
            None => {
                let (first, last) = (gtid.number, gtid.number);
                tags.insert(gtid.tag.clone(), vec![GtidInterval { first, last }]);
            }
        }
    }

    /// Whether the transaction belongs to the set.
    pub fn contains(&self, gtid: &MysqlGtid) -> bool {
        intervals::contains(self.intervals(&gtid.uuid, gtid.tag.as_ref()), gtid.number)
    }

    /// The intervals of one uuid and tag: ascending, with at least one number between neighbours. Empty where the set
    /// has none.
    pub fn intervals(&self, uuid: &[u8; 16], tag: Option<&Arc<str>>) -> &[GtidInterval] {
        self.uuids
            .get(uuid)
            .and_then(|tags| tags.get(&tag.cloned()))
            .map_or(&[], Vec::as_slice)
    }

    /// Every uuid and tag with its intervals, in the order of the server.
    pub fn sources(&self) -> impl Iterator<Item = (&[u8; 16], Option<&Arc<str>>, &[GtidInterval])> {
        self.uuids.iter().flat_map(|(uuid, tags)| {
            tags.iter()
                .map(move |(tag, list)| (uuid, tag.as_ref(), list.as_slice()))
        })
    }

    /// Whether every transaction of this set belongs to `other`.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.sources()
            .all(|(uuid, tag, list)| intervals::is_subset(list, other.intervals(uuid, tag)))
    }

    /// The transactions of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        for (uuid, tag, list) in other.sources() {
            let tags = union.uuids.entry(*uuid).or_default();
            tags.entry(tag.cloned()).or_default().extend_from_slice(list);
        }
        union.normalise();
        union
    }

    /// The transactions of this set that do not belong to `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        for (uuid, tag, list) in self.sources() {
            let left = intervals::subtract(list, other.intervals(uuid, tag));
            if !left.is_empty() {
                rest.uuids.entry(*uuid).or_default().insert(tag.cloned(), left);
            }
        }
        rest
    }

    /// Whether the sets have a transaction in common.
    pub fn intersects(&self, other: &Self) -> bool {
        self.sources()
            .any(|(uuid, tag, list)| intervals::intersect(list, other.intervals(uuid, tag)))
    }

    /// Whether there is no transaction in it.
    pub fn is_empty(&self) -> bool {
        self.uuids.is_empty()
    }

    /// Whether a transaction of it has a tag: servers older than MySQL 8.3 do not understand such a set.
    pub fn is_tagged(&self) -> bool {
        self.uuids.values().any(|tags| tags.keys().any(Option::is_some))
    }

    /// Adds intervals out of order; [`Self::normalise`] must follow.
    pub(super) fn append(&mut self, uuid: [u8; 16], tag: Option<Arc<str>>, list: Vec<GtidInterval>) {
        if !list.is_empty() {
            self.uuids
                .entry(uuid)
                .or_default()
                .entry(tag)
                .or_default()
                .extend(list);
        }
    }

    /// Sorts and joins: once for a whole text, since inserting one by one would take quadratic time for hostile input.
    pub(super) fn normalise(&mut self) {
        for tags in self.uuids.values_mut() {
            for list in tags.values_mut() {
                intervals::normalise(list);
            }
            tags.retain(|_, list| !list.is_empty());
        }
        self.uuids.retain(|_, tags| !tags.is_empty());
    }
}

impl FromStr for GtidSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// The form of the server without its line breaks: tags are grouped under their uuid.
impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (uuid, tags)) in self.uuids.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write_uuid(f, uuid)?;
            for (tag, list) in tags {
                if let Some(tag) = tag {
                    write!(f, ":{tag}")?;
                }
                for interval in list {
                    write!(f, ":{interval}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for GtidInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl MysqlGtid {
    /// Reads `uuid:number` or `uuid:tag:number`.
    ///
    /// # Errors
    /// `ERR_STREAMER_POSITION_INVALID` where it is no GTID.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = text.trim_ascii().split(':');
        let uuid = parse_uuid(parts.next().unwrap_or_default())?;
        let (tag, number) = match (parts.next(), parts.next(), parts.next()) {
            (Some(number), None, None) => (None, number),
            (Some(tag), Some(number), None) => (Some(parse_tag(tag)?), number),
            _ => return Err(invalid("A GTID has the form uuid:number or uuid:tag:number.")),
        };
        let number = parse_number(number)?;
        Ok(Self { uuid, tag, number })
    }
}

impl FromStr for MysqlGtid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for MysqlGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(f, &self.uuid)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        write!(f, ":{}", self.number)
    }
}

/// Where the dashes of a uuid stand, as counts of hexadecimal digits before them.
const DASHES: [usize; 4] = [8, 12, 16, 20];

/// In one piece: a position is written for every transaction, and sixteen calls of the formatter were a third of what one cost.
fn write_uuid(f: &mut fmt::Formatter<'_>, uuid: &[u8; 16]) -> fmt::Result {
    let mut text = [b'-'; 36];
    let mut places = text.iter_mut();
    for (index, byte) in uuid.iter().enumerate() {
        if DASHES.contains(&(index * 2)) {
            // It stands there already.
            places.next();
        }
        for (digit, place) in [byte >> 4, byte & 15].into_iter().zip(places.by_ref()) {
            *place = if digit < 10 {
                b'0' + digit
            } else {
                b'a' + digit - 10
            };
        }
    }
    f.write_str(std::str::from_utf8(&text).unwrap_or_default())
}

fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    let mut uuid = [0_u8; 16];
    let mut characters = text.chars();
    for (index, byte) in uuid.iter_mut().enumerate() {
        if DASHES.contains(&(index * 2)) && characters.next() != Some('-') {
            return Err(bad_uuid());
        }
        for _ in 0..2 {
            let digit = characters
                .next()
                .and_then(|c| c.to_digit(16))
                .ok_or_else(bad_uuid)?;
            *byte = *byte << 4 | digit as u8;
        }
    }
    if characters.next().is_none() {
        Ok(uuid)
    } else {
        Err(bad_uuid())
    }
}

fn bad_uuid() -> Error {
    invalid("A GTID begins with a uuid such as 3e11fa47-71ca-11e1-9e33-c80aa9429562.")
}

/// Whether this is a tag in the form in which the server keeps it.
pub(super) fn is_tag(text: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    text.len() <= MAX_TAG && text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

fn parse_tag(text: &str) -> Result<Arc<str>> {
    let tag = if text.len() <= MAX_TAG {
        text.to_ascii_lowercase()
    } else {
        String::new()
    };
    if is_tag(&tag) {
        Ok(tag.into())
    } else {
        Err(invalid(
            "The tag of a GTID is 1 to 32 letters, digits and underscores, and does not begin with a digit.",
        ))
    }
}

fn parse_interval(text: &str) -> Result<GtidInterval> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (
            parse_number(first.trim_ascii())?,
            parse_number(last.trim_ascii())?,
        ),
        None => {
            let number = parse_number(text)?;
            (number, number)
        }
    };
    if first > last {
        return Err(invalid(
            "An interval of a GTID set ends at or behind its first number.",
        ));
    }
    Ok(GtidInterval { first, last })
}

fn parse_number(text: &str) -> Result<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| digits && (1..=MAX_NUMBER).contains(number))
        .ok_or_else(|| invalid("The number of a GTID is a whole number from 1 to 9223372036854775806."))
}

fn invalid(sentence: &'static str) -> Error {
    Error::new(Code::PositionInvalid, sentence)
}

#[cfg(test)]
#[path = "mysql_tests.rs"]
mod tests;
