//! The form in which a checkpoint is stored: text that a person can read and a checksum can vouch for.
//!
//! ```text
//! ultimate-streaming checkpoint 1
//! {"source":"default","position":"mysql:…","savedAt":1763923200000,"definitions":"5d2f0c1a"}
//! crc32 91d00f3e
//! ```
//!
//! The checksum (CRC-32, eight hexadecimal digits) covers all before its line. The number in the first line is the
//! version of the form; what a later version means is not guessed. Form 2 is form 1 with `snapshot`: how far a snapshot has
//! come. It is written only while one is under way, so that a version which knows nothing of snapshots goes on where
//! none is, and refuses to leave one out.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::error::{Error, Result};

const TITLE: &str = "ultimate-streaming checkpoint ";
const PLAIN: u32 = 1;
/// With a snapshot that is under way.
const VERSION: u32 = 2;

/// A stored checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Name of the source in the configuration.
    pub source: String,
    /// Everything up to here is done.
    pub position: String,
    /// What proves that the log is the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub witness: Option<String>,
    /// How far a snapshot has come, where one is under way.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snapshot: Option<String>,
    /// When it was stored, ms since the epoch; for people.
    pub saved_at: u64,
    /// Checksum of the definitions that belong to it, which also names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definitions: Option<String>,
}

impl Record {
    /// A checkpoint of now.
    pub fn new(
        source: &str,
        position: &str,
        witness: Option<&str>,
        snapshot: Option<String>,
        definitions: Option<String>,
    ) -> Self {
        let saved_at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        Self {
            source: source.to_owned(),
            position: position.to_owned(),
            witness: witness.map(ToOwned::to_owned),
            snapshot,
            saved_at: u64::try_from(saved_at).unwrap_or(u64::MAX),
            definitions,
        }
    }

    /// The stored form.
    pub fn encode(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        let version = if self.snapshot.is_some() { VERSION } else { PLAIN };
        let text = format!("{TITLE}{version}\n{json}\n");
        format!("{text}crc32 {}\n", checksum(text.as_bytes()))
    }

    /// Reads the stored form back. `place` names it in the error.
    ///
    /// # Errors
    /// `ERR_STREAMER_CHECKPOINT_INVALID` where it is damaged, of a later version, or of another source.
    pub fn decode(bytes: &[u8], source: &str, place: &str) -> Result<Self> {
        let damaged = |what: &str| invalid(place, format!("The checkpoint {place} is damaged: {what}."));
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
        let version = text
            .strip_prefix(TITLE)
            .and_then(|rest| rest.split('\n').next())
            .and_then(|version| version.parse::<u32>().ok())
            .ok_or_else(|| damaged("it does not begin as one"))?;
        if version > VERSION {
            return Err(invalid(
                place,
                format!(
                    "The checkpoint {place} was stored by a later version of this library (form {version})."
                ),
            )
            .with_advice("Run the version that stored it, or a later one."));
        }
        let body = text
            .trim_end_matches('\n')
            .rsplit_once('\n')
            .filter(|(_, last)| last.starts_with("crc32 "));
        let Some((_, last)) = body else {
            return Err(damaged("its end is missing"));
        };
        let Some(covered) = text.find(last).and_then(|at| text.get(..at)) else {
            return Err(damaged("its end is missing"));
        };
        if last.strip_prefix("crc32 ") != Some(checksum(covered.as_bytes()).as_str()) {
            return Err(damaged("its checksum does not match"));
        }
        let json = covered.lines().nth(1).unwrap_or_default();
        let record: Self =
            serde_json::from_str(json).map_err(|_| damaged("its content is not understood"))?;
        if record.source != source {
            return Err(invalid(
                place,
                format!(
                    "The checkpoint {place} belongs to the source \"{}\", not to \"{source}\".",
                    record.source
                ),
            ));
        }
        Ok(record)
    }
}

/// CRC-32 as eight hexadecimal digits.
pub(super) fn checksum(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}

fn invalid(place: &str, sentence: String) -> Error {
    Error::new(Code::CheckpointInvalid, sentence)
        .with_advice(
            "Restore it, or delete it to begin where `from` says; what was committed meanwhile may then be missed.",
        )
        .with_detail("checkpoint", place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record::new(
            "default",
            "mysql:3e11fa47:1-77~5d2f0c1a",
            Some("uid 1 1763923200 - log.000001"),
            None,
            Some("0011aabb".to_owned()),
        )
    }

    #[test]
    fn what_was_stored_is_read_back() {
        let record = record();
        let text = record.encode();
        assert_eq!(Record::decode(text.as_bytes(), "default", "c").unwrap(), record);
    }

    #[test]
    fn only_a_snapshot_that_is_under_way_takes_a_later_form() {
        let text = record().encode();
        assert!(text.starts_with("ultimate-streaming checkpoint 1\n"), "{text}");
        assert!(!text.contains("snapshot"), "{text}");
        let mut record = record();
        record.snapshot = Some("{}".to_owned());
        let text = record.encode();
        assert!(text.starts_with("ultimate-streaming checkpoint 2\n"), "{text}");
        assert_eq!(Record::decode(text.as_bytes(), "default", "c").unwrap(), record);
    }

    #[test]
    fn any_byte_that_changed_is_noticed() {
        let text = record().encode().into_bytes();
        for at in 0..text.len() - 1 {
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            let error = Record::decode(&damaged, "default", "c").unwrap_err();
            assert_eq!(error.code(), Code::CheckpointInvalid, "byte {at}");
        }
        for length in 0..text.len() - 1 {
            assert!(
                Record::decode(&text[..length], "default", "c").is_err(),
                "cut at {length}"
            );
        }
    }

    #[test]
    fn later_versions_and_other_sources_are_refused() {
        let later = record().encode().replace("checkpoint 1\n", "checkpoint 3\n");
        let error = Record::decode(later.as_bytes(), "default", "c").unwrap_err();
        assert!(error.message().contains("later version"), "{error}");
        let other = Record::decode(record().encode().as_bytes(), "orders", "c").unwrap_err();
        assert!(other.message().contains("belongs to the source"), "{other}");
    }
}
