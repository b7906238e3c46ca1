//! JSON of both servers as text that `JSON.parse` reads without loss.
//!
//! MySQL logs JSON in a binary form ([`binary`]), and a difference of it in PARTIAL_UPDATE_ROWS_EVENT
//! ([`difference`]). MariaDB's JSON is text that users wrote ([`text`]).
//!
//! # The text
//! It is plain JSON, with two agreements for what `JSON.parse` cannot hold, both of them string values (never keys)
//! that begin with the escape `\u0000`:
//!
//! | written | means |
//! |---|---|
//! | `"\u0000i-9223372036854775808"` | an integer outside ±(2^53 − 1) |
//! | `"\u0000s\u0000abc"` | the string `"\u0000abc"`: one that itself begins with U+0000 |
//!
//! A cell that holds one of these is an escape, all others are plain text ([`Encoding::Json`]): what is plain need not
//! be searched. Decimals, dates and times inside MySQL's JSON are strings
//! with the text that the server prints; other opaque values are `"base64:type252:AP8="`, as the server prints them.
//! Doubles are written with the fewest digits that read back as the same double, which need not be the server's
//! digits, but are the same number.
//!
//! [`Encoding::Json`]: crate::event::Encoding::Json

mod apply;
mod binary;
mod difference;
mod output;
mod path;
mod text;
mod tree;

pub(super) use binary::put;
pub(super) use difference::{DIFFERENCE, put_changed, put_difference};
pub(super) use text::{put as put_text, put_str};

/// Deepest nesting of a binary document that is read. The server's own limit is 100.
const MAX_DEPTH: usize = 150;

/// Largest integer that a JavaScript `number` holds exactly.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;
