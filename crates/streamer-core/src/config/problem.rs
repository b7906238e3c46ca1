//! Problems of a configuration: collected, not thrown, so that a user sees all of them at once.
//!
//! Nothing that may be secret reaches a message: of a value that was found only its kind is named, or a short text that
//! looks neither like a URL nor like a key; names are shown where they are names.

use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::error::Error;

/// Most problems that the sentence names; `details` holds the others too.
const MAX_NAMED: usize = 20;

/// Most problems that are kept.
const MAX_KEPT: usize = 1000;

/// Longest text that is shown.
const MAX_SHOWN: usize = 40;

/// What is wrong, and where.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<(String, String)>,
}

impl Problems {
    /// Adds one. Messages hold no semicolon, which divides them in the sentence.
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.list.len() < MAX_KEPT {
            self.list.push((path.into(), message.into()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `ERR_STREAMER_CONFIG_INVALID`, with one sentence that lists them.
    pub(super) fn into_error(self) -> Error {
        let count = self.list.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        let named: Vec<_> = self
            .list
            .iter()
            .take(MAX_NAMED)
            .map(|(path, message)| format!("{path}: {message}"))
            .collect();
        let mut sentence = format!("{count} {noun} in the configuration: {}", named.join("; "));
        if count > MAX_NAMED {
            sentence.push_str(&format!("; and {} more", count - MAX_NAMED));
        }
        let problems: Vec<_> = self
            .list
            .into_iter()
            .map(|(path, message)| json!({ "path": path, "message": message }))
            .collect();
        Error::new(Code::ConfigInvalid, sentence).with_detail("problems", problems)
    }
}

/// An object of options.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options<'a> {
    /// Where it stands; empty at the top.
    pub(super) path: &'a str,
    pub(super) object: &'a Map<String, Value>,
}

impl<'a> Options<'a> {
    /// The object at `path`, or a problem.
    pub(super) fn read(path: &'a str, value: &'a Value, problems: &mut Problems) -> Option<Self> {
        match value {
            Value::Object(object) if marker(object).is_none() => Some(Self { path, object }),
            _ => {
                problems.add(path, format!("expected an object, found {}", found(value)));
                None
            }
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key)
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        member(self.path, key)
    }

    /// Refuses every key that is not known; `elsewhere` says where a key belongs that is known in another place.
    pub(super) fn refuse_unknown(
        &self,
        known: &[&str],
        problems: &mut Problems,
        elsewhere: impl Fn(&str) -> Option<String>,
    ) {
        for key in self.object.keys().filter(|key| !known.contains(&key.as_str())) {
            let message = match (elsewhere(key), nearest(key, known)) {
                (Some(place), _) => format!("unknown option, {place}"),
                (None, Some(nearest)) => format!("unknown option, did you mean \"{nearest}\"?"),
                (None, None) => format!("unknown option, known are {}", known.join(", ")),
            };
            problems.add(self.path_of(key), message);
        }
    }

    /// A whole number; `None` where it is absent or wrong.
    pub(super) fn whole(&self, key: &str, min: u64, max: u64, problems: &mut Problems) -> Option<u64> {
        let value = self.get(key)?;
        let number = value.as_u64().or_else(|| {
            let number = value.as_f64()?;
            // Every bound of ours is below 2^53, up to which these are exact.
            (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64)
        });
        let valid = number.filter(|number| (min..=max).contains(number));
        if valid.is_none() {
            let found = found(value);
            problems.add(
                self.path_of(key),
                format!("expected a whole number from {min} to {max}, found {found}"),
            );
        }
        valid
    }

    /// One of several words; `None` where it is absent or wrong.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        words: &[(&str, T)],
        problems: &mut Problems,
    ) -> Option<T> {
        let value = self.get(key)?;
        let word = value.as_str();
        let chosen = words.iter().find(|(name, _)| Some(*name) == word);
        if chosen.is_none() {
            let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
            problems.add(self.path_of(key), expected_one_of(&names, value));
        }
        chosen.map(|(_, choice)| *choice)
    }
}

/// `expected "a" or "b", found "c", did you mean "b"?`
pub(super) fn expected_one_of(names: &[&str], value: &Value) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let nearest = value
        .as_str()
        .and_then(|word| nearest(word, names))
        .map(|nearest| format!(", did you mean \"{nearest}\"?"))
        .unwrap_or_default();
    format!(
        "expected {}, found {}{nearest}",
        quoted.join(" or "),
        found(value)
    )
}

/// The known word that is most like a mistyped one: case, `-` and `_` count nothing, and one error in three letters is
/// allowed.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    if word.len() > 2 * MAX_SHOWN {
        return None;
    }
    let word = plain(word);
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&word, &plain(name)), *name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1) && *distance < word.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The path of an object's member: `source.tables`, `sources["a.b"].url`.
pub(super) fn member(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key.len() <= 2 * MAX_SHOWN
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '-'));
    match (plain, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{}]", shown(key)),
    }
}

/// What was found, in few words.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => shown(text),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(object) => marker(object).unwrap_or("an object").to_owned(),
    }
}

/// Whether the value is the logger that JavaScript keeps for itself.
pub(super) fn is_logger(value: &Value) -> bool {
    value.get("$logger") == Some(&Value::Bool(true))
}

/// JavaScript values without a form in JSON arrive as objects of one member.
fn marker(object: &Map<String, Value>) -> Option<&'static str> {
    if object.len() != 1 {
        return None;
    }
    if object.contains_key("$logger") {
        return Some("a logger");
    }
    Some(match object.get("$unsupported")?.as_str()? {
        "function" => "a function",
        "bigint" => "a bigint",
        "symbol" => "a symbol",
        "NaN" => "NaN",
        "Infinity" => "Infinity",
        "-Infinity" => "-Infinity",
        "undefined" => "undefined",
        _ => "a value that has no form in JSON",
    })
}

/// A text in quotes, if it is short and cannot be a URL, an address with a password, or a key.
pub(super) fn shown(text: &str) -> String {
    let characters = text.chars().count();
    let revealing = text.contains(['@', '/', ':']) || text.contains("-----");
    if text.is_empty() {
        "an empty text".to_owned()
    } else if characters > MAX_SHOWN || revealing || text.chars().any(char::is_control) {
        format!("a text of {characters} characters")
    } else {
        Value::from(text).to_string()
    }
}
