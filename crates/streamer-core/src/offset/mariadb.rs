//! MariaDB's GTIDs.
//!
//! MariaDB keeps a log per *domain*; the last transaction of each domain is a place in the log of any server of the
//! replication topology. Source: MariaDB knowledge base, "Global Transaction ID".

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::code::Code;
use crate::error::{Error, Result};

/// One transaction: `domain-server-sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MariadbGtid {
    /// `gtid_domain_id`: transactions of one domain have one order.
    pub domain: u32,
    /// `server_id` of the server that committed it first.
    pub server: u32,
    /// Grows within the domain, with gaps.
    pub sequence: u64,
}

impl MariadbGtid {
    /// Reads `domain-server-sequence`.
    ///
    /// # Errors
    /// `ERR_STREAMER_POSITION_INVALID` where it is no GTID.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split('-');
        let gtid = (|| {
            Some(Self {
                domain: number(parts.next()?)?,
                server: number(parts.next()?)?,
                sequence: number(parts.next()?)?,
            })
        })();
        gtid.filter(|_| parts.next().is_none()).ok_or_else(|| {
            Error::new(
                Code::PositionInvalid,
                "A MariaDB GTID is three whole numbers, domain-server-sequence, such as 0-1-100.",
            )
        })
    }
}

/// Digits only: `parse` alone would take a leading `+`.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

impl FromStr for MariadbGtid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for MariadbGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

/// The last transaction of each domain. Its text is what `@slave_connect_state` takes: a server refuses a domain that
/// is named twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MariadbGtidList {
    domains: BTreeMap<u32, MariadbGtid>,
}

impl MariadbGtidList {
    /// The place before every transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `0-1-100,1-2-5` with any white space around the commas: what `@@gtid_binlog_pos` holds.
    ///
    /// # Errors
    /// `ERR_STREAMER_POSITION_INVALID` where it is no such list, or names a domain twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut list = Self::default();
        for part in text
            .split(',')
            .map(str::trim_ascii)
            .filter(|part| !part.is_empty())
        {
            let gtid = MariadbGtid::parse(part)?;
            if list.domains.insert(gtid.domain, gtid).is_some() {
                let sentence = format!("A list of MariaDB GTIDs names domain {} twice.", gtid.domain);
                return Err(Error::new(Code::PositionInvalid, sentence));
            }
        }
        Ok(list)
    }

    /// Notes that this transaction is now the last of its domain, even if its sequence is lower than that before: without
    /// `gtid_strict_mode` a log can hold that, and a server searches for exactly this GTID.
    pub fn advance(&mut self, gtid: &MariadbGtid) {
        self.domains.insert(gtid.domain, *gtid);
    }

    /// Whether the transaction lies at or before the last one of its domain.
    pub fn covers(&self, gtid: &MariadbGtid) -> bool {
        self.last(gtid.domain)
            .is_some_and(|last| gtid.sequence <= last.sequence)
    }

    /// Whether every transaction of this list lies at or before `other`.
    pub fn is_covered_by(&self, other: &Self) -> bool {
        self.iter().all(|gtid| other.covers(gtid))
    }

    /// The last transaction of a domain.
    pub fn last(&self, domain: u32) -> Option<&MariadbGtid> {
        self.domains.get(&domain)
    }

    /// The last transaction of each domain, by domain.
    pub fn iter(&self) -> impl Iterator<Item = &MariadbGtid> {
        self.domains.values()
    }

    /// Whether no domain has a transaction.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }
}

/// For GTID_LIST events, which hold one entry for each server of a domain: the entry that the server lists last in
/// a domain is the newest of it (`rpl_binlog_state::get_gtid_list` in `sql/rpl_gtid.cc`), and wins.
impl FromIterator<MariadbGtid> for MariadbGtidList {
    fn from_iter<I: IntoIterator<Item = MariadbGtid>>(gtids: I) -> Self {
        let domains = gtids.into_iter().map(|gtid| (gtid.domain, gtid)).collect();
        Self { domains }
    }
}

impl FromStr for MariadbGtidList {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for MariadbGtidList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, gtid) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{gtid}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_and_printed_in_the_form_of_the_server() {
        for (text, printed) in [
            ("", ""),
            ("0-1-100", "0-1-100"),
            (" 1-2-5,\n0-1-100 ", "0-1-100,1-2-5"),
            (
                "4294967295-4294967295-18446744073709551615",
                "4294967295-4294967295-18446744073709551615",
            ),
        ] {
            assert_eq!(MariadbGtidList::parse(text).unwrap().to_string(), printed);
        }
    }

    #[test]
    fn text_that_is_no_list_is_refused() {
        for text in [
            "0",
            "0-1",
            "0-1-2-3",
            "0-1-",
            "a-1-1",
            "0-1-+1",
            "4294967296-1-1",
            "0--1",
            "0-1-1,0-2-2",
            "0-1-1;1-1-1",
        ] {
            let error = MariadbGtidList::parse(text).expect_err(text);
            assert_eq!(error.code(), Code::PositionInvalid, "{text}");
        }
    }

    #[test]
    fn advancing_and_covering_look_at_the_domain_alone() {
        let gtid = |text| MariadbGtid::parse(text).unwrap();
        let mut list = MariadbGtidList::parse("0-1-100").unwrap();
        assert!(list.covers(&gtid("0-7-100")));
        assert!(!list.covers(&gtid("0-1-101")));
        assert!(!list.covers(&gtid("1-1-1")));
        list.advance(&gtid("0-2-101"));
        list.advance(&gtid("3-2-1"));
        assert_eq!(list.to_string(), "0-2-101,3-2-1");
        assert!(MariadbGtidList::parse("0-1-100").unwrap().is_covered_by(&list));
        assert!(!list.is_covered_by(&MariadbGtidList::new()));
    }

    #[test]
    fn the_last_entry_of_a_domain_wins_in_a_gtid_list_event() {
        let entries = ["0-1-100", "0-2-99", "1-1-1"].map(|text| MariadbGtid::parse(text).unwrap());
        let list: MariadbGtidList = entries.into_iter().collect();
        assert_eq!(list.to_string(), "0-2-99,1-1-1");
    }
}
