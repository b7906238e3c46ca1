//! Where positions are kept.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::Secret;
use super::problem::{Options, Problems, found};

/// What keys in Redis begin with.
const PREFIX: &str = "ultimate-streaming:checkpoint:";

/// Longest prefix.
const MAX_PREFIX: usize = 256;

const MIN_INTERVAL: u64 = 10;
const HOUR: u64 = 3_600_000;

/// Where positions outlive the process.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The place.
    pub place: CheckpointPlace,
    /// Longest time between two checkpoints while changes arrive. 10 ms to 1 h, default 1000 ms: what a crash can make
    /// arrive twice is a second's changes, at the price of one synchronised write a second.
    pub interval: Duration,
}

/// A place where checkpoints are kept.
#[derive(Debug, Clone)]
pub enum CheckpointPlace {
    /// A directory.
    Directory(PathBuf),
    /// Redis.
    Redis {
        /// `redis://` or `rediss://`; may hold a password.
        url: Secret,
        /// What its keys begin with.
        prefix: String,
    },
}

/// Reads the option; `None` where it is absent, `false`, or wrong.
pub(super) fn parse(value: Option<&Value>, problems: &mut Problems) -> Option<Checkpoint> {
    let path = "checkpoint";
    let (place, interval, prefix) = match value? {
        Value::Bool(false) => return None,
        Value::String(text) => (parse_place(path, text, problems), None, None),
        Value::Object(_) => {
            let options = Options::read(path, value?, problems)?;
            options.refuse_unknown(&["url", "intervalMs", "prefix"], problems, |key| {
                (key == "interval").then(|| "did you mean \"intervalMs\"?".to_owned())
            });
            let interval = options.whole("intervalMs", MIN_INTERVAL, HOUR, problems);
            let prefix = parse_prefix(&options, problems);
            let place = match options.get("url") {
                Some(Value::String(text)) => parse_place(&options.path_of("url"), text, problems),
                other => {
                    let found = other.map_or_else(|| "nothing".to_owned(), found);
                    problems.add(
                        options.path_of("url"),
                        format!("expected a directory or a redis:// URL, found {found}"),
                    );
                    None
                }
            };
            (place, interval, prefix)
        }
        other => {
            let found = found(other);
            problems.add(
                path,
                format!(
                    "expected a directory, a redis:// URL, an object with a url, or false, found {found}"
                ),
            );
            return None;
        }
    };
    let place = match (place?, prefix) {
        (CheckpointPlace::Redis { url, .. }, Some(prefix)) => CheckpointPlace::Redis { url, prefix },
        (CheckpointPlace::Directory(_), Some(_)) => {
            problems.add(
                "checkpoint.prefix",
                "belongs to a redis:// URL, found a directory",
            );
            return None;
        }
        (place, None) => place,
    };
    Some(Checkpoint {
        place,
        interval: Duration::from_millis(interval.unwrap_or(1000)),
    })
}

fn parse_prefix(options: &Options<'_>, problems: &mut Problems) -> Option<String> {
    match options.get("prefix")? {
        Value::String(text) if !text.is_empty() && text.len() <= MAX_PREFIX => Some(text.clone()),
        other => {
            problems.add(
                options.path_of("prefix"),
                format!("expected 1 to {MAX_PREFIX} characters, found {}", found(other)),
            );
            None
        }
    }
}

fn parse_place(path: &str, text: &str, problems: &mut Problems) -> Option<CheckpointPlace> {
    let scheme = text
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("redis" | "rediss") => match url::Url::parse(text) {
            Ok(url) if url.host_str().is_some_and(|host| !host.is_empty()) => Some(CheckpointPlace::Redis {
                url: Secret::new(text.to_owned()),
                prefix: PREFIX.to_owned(),
            }),
            _ => {
                problems.add(
                    path,
                    "expected redis://user:password@host:6379/0, found a URL that cannot be read",
                );
                None
            }
        },
        Some(_) => {
            problems.add(
                path,
                "expected a directory or a redis:// URL, found a URL of another kind",
            );
            None
        }
        None if text.is_empty() => {
            problems.add(
                path,
                "expected a directory or a redis:// URL, found an empty text",
            );
            None
        }
        None if text.contains('\0') => {
            problems.add(path, "expected a directory, found a path with a NUL character");
            None
        }
        None => Some(CheckpointPlace::Directory(PathBuf::from(text))),
    }
}
