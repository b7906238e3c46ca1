//! One event of a change stream, looked at where it lies.
//!
//! The event is walked once; nothing is copied or decoded beyond what decides its way. What the server sends is taken as
//! hostile: every length is checked by the iterators of the `bson` crate.

use std::borrow::Cow;

use bson::{RawBsonRef, RawDocument, Timestamp};

use super::resume::Token;
use crate::code::Code;
use crate::error::{Error, Result};
use crate::offset::MongodbOffset;

/// The parts of an event; absent ones are `None`, or empty.
#[derive(Debug, Default)]
pub struct Event<'a> {
    /// `_id`; see [`Token`].
    pub token: Cow<'a, str>,
    /// `operationType`.
    pub operation: &'a str,
    /// `clusterTime`.
    pub cluster_time: Option<Timestamp>,
    /// `wallTime`, in ms since the epoch.
    pub wall_ms: Option<i64>,
    /// `ns`, or `to`.
    pub database: &'a str,
    /// Collection; empty where the event concerns a database.
    pub table: &'a str,
    /// New name of a rename.
    pub to: Option<(&'a str, &'a str)>,
    /// `documentKey`.
    pub key: Option<&'a RawDocument>,
    /// `fullDocumentBeforeChange`.
    pub before: Option<&'a RawDocument>,
    /// `fullDocument`.
    pub after: Option<&'a RawDocument>,
    /// `updateDescription`.
    pub update: Option<&'a RawDocument>,
    /// `operationDescription`.
    pub description: Option<&'a RawDocument>,
    /// `lsid`.
    pub session: Option<&'a RawDocument>,
    /// `txnNumber`.
    pub number: Option<i64>,
    /// `splitEvent`: which fragment of how many.
    pub split: Option<(i32, i32)>,
}

impl<'a> Event<'a> {
    /// Reads an event.
    ///
    /// # Errors
    /// `ERR_STREAMER_CONFIG_INVALID` where the pipeline took a field that nothing can do without;
    /// `ERR_STREAMER_LOG_UNDECODABLE` where it is no BSON.
    pub fn read(raw: &'a RawDocument) -> Result<Self> {
        let mut event = Self::default();
        for element in raw.iter_elements() {
            let element = element.map_err(undecodable)?;
            let key = element.key().as_str();
            let value = || element.value().map_err(undecodable);
            match key {
                "_id" => {
                    let token = value()?.as_document().and_then(Token::read);
                    event.token = token.unwrap_or_default();
                }
                "operationType" => event.operation = value()?.as_str().unwrap_or_default(),
                "clusterTime" => event.cluster_time = value()?.as_timestamp(),
                "wallTime" => event.wall_ms = value()?.as_datetime().map(bson::DateTime::timestamp_millis),
                "ns" => (event.database, event.table) = namespace(value()?),
                "to" => event.to = Some(namespace(value()?)),
                "documentKey" => event.key = value()?.as_document(),
                "fullDocument" => event.after = value()?.as_document(),
                "fullDocumentBeforeChange" => event.before = value()?.as_document(),
                "updateDescription" => event.update = value()?.as_document(),
                "operationDescription" => event.description = value()?.as_document(),
                "lsid" => event.session = value()?.as_document(),
                "txnNumber" => event.number = value()?.as_i64(),
                "splitEvent" => event.split = value()?.as_document().and_then(fragment),
                _ => {}
            }
        }
        Ok(event)
    }

    /// Refuses an event from which the pipeline took what nothing can do without.
    ///
    /// # Errors
    /// `ERR_STREAMER_CONFIG_INVALID`.
    pub fn check(&self) -> Result<()> {
        let missing = if self.token.is_empty() {
            "_id, which holds the resume token"
        } else if self.operation.is_empty() {
            "operationType"
        } else if self.database.is_empty() && self.operation != "invalidate" {
            "ns"
        } else {
            return Ok(());
        };
        Err(missing_field(missing))
    }

    /// Commit time, in ms since the epoch: of the server's clock where the event has it, else in whole seconds; those of the token
    /// where a pipeline took the rest.
    pub fn committed_ms(&self) -> f64 {
        match (self.wall_ms, self.cluster_time) {
            (Some(ms), _) => ms as f64,
            (None, Some(time)) => f64::from(time.time) * 1000.0,
            (None, None) => {
                MongodbOffset::time_of(&self.token).map_or(0.0, |(time, _)| f64::from(time) * 1000.0)
            }
        }
    }
}

/// The pipeline took a field of an event.
pub fn missing_field(field: &str) -> Error {
    Error::new(
        Code::ConfigInvalid,
        format!("The `pipeline` removes or changes the field {field} of an event."),
    )
    .with_advice("Keep _id, operationType, ns and documentKey in every stage as the server made them.")
}

fn namespace(value: RawBsonRef<'_>) -> (&str, &str) {
    let Some(namespace) = value.as_document() else {
        return ("", "");
    };
    let part = |name| namespace.get_str(name).unwrap_or_default();
    (part("db"), part("coll"))
}

fn fragment(split: &RawDocument) -> Option<(i32, i32)> {
    Some((split.get_i32("fragment").ok()?, split.get_i32("of").ok()?))
}

pub(super) fn undecodable(_: bson::error::Error) -> Error {
    Error::new(
        Code::LogUndecodable,
        "An event of the change stream is no valid BSON.",
    )
}

/// Appends the changed paths of an update description as a JSON array.
pub fn write_changed(text: &mut String, update: &RawDocument) {
    let mut paths = Paths { text, count: 0 };
    for part in update.iter_elements().flatten() {
        let Ok(value) = part.value() else { continue };
        match (part.key().as_str(), value) {
            ("updatedFields", RawBsonRef::Document(fields)) => {
                for field in fields.iter_elements().flatten() {
                    paths.add(field.key().as_str());
                }
            }
            ("removedFields", RawBsonRef::Array(fields)) => {
                for path in fields.into_iter().flatten().filter_map(RawBsonRef::as_str) {
                    paths.add(path);
                }
            }
            ("truncatedArrays", RawBsonRef::Array(arrays)) => {
                for array in arrays.into_iter().flatten().filter_map(RawBsonRef::as_document) {
                    if let Ok(path) = array.get_str("field") {
                        paths.add(path);
                    }
                }
            }
            _ => {}
        }
    }
    let count = paths.count;
    text.push_str(if count == 0 { "[]" } else { "]" });
}

struct Paths<'a> {
    text: &'a mut String,
    count: usize,
}

impl Paths<'_> {
    fn add(&mut self, path: &str) {
        self.text.push(if self.count == 0 { '[' } else { ',' });
        self.count += 1;
        let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
        if path.bytes().all(is_plain) {
            self.text.push('"');
            self.text.push_str(path);
            self.text.push('"');
        } else {
            self.text.push_str(&serde_json::Value::from(path).to_string());
        }
    }
}

/// Appends the id of a change: its cluster time and a hash of its token, the same whenever it is delivered.
pub fn write_id(text: &mut String, token: &str) {
    let time = token.get(2..18).filter(|_| token.starts_with("82"));
    text.push_str(time.unwrap_or("0000000000000000"));
    text.push('-');
    // FNV-1a, 64 bits: the time beside it makes a collision one within a transaction.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in token.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    for shift in (0..16).rev() {
        let digit = u32::try_from((hash >> (shift * 4)) & 15).unwrap_or_default();
        text.push(char::from_digit(digit, 16).unwrap_or('0'));
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, DateTime, doc, rawdoc};

    use super::*;

    fn raw(document: &bson::Document) -> bson::RawDocumentBuf {
        bson::RawDocumentBuf::try_from(document).unwrap()
    }

    #[test]
    fn an_event_is_read_where_it_lies() {
        let raw = raw(&doc! {
            "_id": { "_data": "8265EB6D3B000000022B" },
            "operationType": "update",
            "clusterTime": Bson::Timestamp(Timestamp { time: 7, increment: 1 }),
            "wallTime": DateTime::from_millis(7123),
            "ns": { "db": "shop", "coll": "orders" },
            "documentKey": { "_id": 1 },
            "fullDocument": Bson::Null,
            "updateDescription": { "updatedFields": { "a.b": 1 }, "removedFields": [] },
            "splitEvent": { "fragment": 1, "of": 2 },
        });
        let event = Event::read(&raw).unwrap();
        event.check().unwrap();
        assert_eq!(
            (event.database, event.table, event.operation),
            ("shop", "orders", "update")
        );
        assert_eq!((event.committed_ms(), event.split), (7123.0, Some((1, 2))));
        assert_eq!(event.key.unwrap().get_i32("_id").unwrap(), 1);
        assert!(event.after.is_none() && event.before.is_none());
    }

    #[test]
    fn what_a_pipeline_took_is_named() {
        let event = rawdoc! { "operationType": "insert", "ns": { "db": "a", "coll": "b" } };
        let error = Event::read(&event).unwrap().check().unwrap_err();
        assert_eq!(error.code(), Code::ConfigInvalid);
        assert!(error.message().contains("_id"), "{error}");
    }

    #[test]
    fn changed_paths_are_json() {
        let changed = |description: bson::Document| {
            let mut text = String::new();
            write_changed(&mut text, &raw(&description));
            text
        };
        let description = doc! {
            "updatedFields": { "a": 1, "b.\"c\"": 2 },
            "removedFields": ["d\n"],
            "truncatedArrays": [{ "field": "e", "newSize": 1 }],
            "disambiguatedPaths": { "x": 1 },
        };
        assert_eq!(changed(description), r#"["a","b.\"c\"","d\n","e"]"#);
        assert_eq!(changed(doc! { "updatedFields": {} }), "[]");
    }

    #[test]
    fn ids_follow_the_token() {
        let id = |token: &str| {
            let mut text = String::new();
            write_id(&mut text, token);
            text
        };
        assert_eq!(id("8265EB6D3B000000022B"), id("8265EB6D3B000000022B"));
        assert!(id("8265EB6D3B000000022B").starts_with("65EB6D3B00000002-"));
        assert_ne!(id("8265EB6D3B000000022B"), id("8265EB6D3B000000022C"));
        assert_eq!(id("x").len(), 33);
    }

    proptest::proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let mut document = ((bytes.len() + 5) as i32).to_le_bytes().to_vec();
            document.extend_from_slice(&bytes);
            document.push(0);
            if let Ok(raw) = RawDocument::from_bytes(&document) {
                let _ = Event::read(raw);
                write_changed(&mut String::new(), raw);
            }
        }
    }
}
