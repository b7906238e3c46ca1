//! One error type for the engine: a stable code, one sentence, advice, and details without values or secrets.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

use crate::code::{Code, Retry};

/// Why something did not work.
///
/// `message` is one sentence: what was expected, what was found. `advice` says what to do next; where a
/// statement mends it, the exact statement. Neither ever holds a password, a token or a row's value.
#[derive(Debug, Clone)]
pub struct Error {
    code: Code,
    retry: Retry,
    message: Cow<'static, str>,
    advice: Option<Cow<'static, str>>,
    details: Map<String, Value>,
}

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error whose retry class is the code's own.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            retry: code.retry(),
            message: message.into(),
            advice: None,
            details: Map::new(),
        }
    }

    /// Says what to do next.
    #[must_use]
    pub fn with_advice(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Replaces the retry class where the case differs from the code's usual one.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same code, advice and details, told as what befell something larger: `what` and a colon in front of the sentence.
    #[must_use]
    pub fn told_of(&self, what: &str) -> Self {
        Self {
            advice: self.advice.clone(),
            details: self.details.clone(),
            ..Self::new(self.code, format!("{what}: {}", self.message))
        }
    }

    /// Adds a fact that a program can read: a table's name, a setting, a server's error number.
    #[must_use]
    pub fn with_detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What helps.
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// The sentence without the advice.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do next, where something is known to help.
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }

    /// Facts for programs.
    pub fn details(&self) -> &Map<String, Value> {
        &self.details
    }

    /// The form in which errors cross into JavaScript: `{ code, retry, message, details }`.
    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "code": self.code.as_str(),
            "retry": self.retry.as_str(),
            "message": self.to_string(),
            "details": self.details,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(advice) = &self.advice {
            write!(f, " {advice}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_befell_something_larger_keeps_what_helps() {
        let error = Error::new(Code::LogUndecodable, "A cell is cut off.")
            .with_advice("Report it.")
            .with_detail("type", 254)
            .told_of("Column a of d.t")
            .with_detail("column", "a");
        assert_eq!(error.message(), "Column a of d.t: A cell is cut off.");
        assert_eq!(error.advice.as_deref(), Some("Report it."));
        assert_eq!(error.details["type"], 254);
        assert_eq!(error.details["column"], "a");
    }
}
