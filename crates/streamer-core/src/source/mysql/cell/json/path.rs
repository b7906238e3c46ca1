//! Paths into a document, as differences name them: `$.a."b c"[3][last]`.
//!
//! Syntax: "JSON Path Syntax" in MySQL's manual, without wildcards and ranges, which a difference never has.

use std::borrow::Cow;

use super::super::wire::undecodable;
use super::MAX_DEPTH;
use crate::error::{Error, Result};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leg<'a> {
    /// An object's member.
    Member(Cow<'a, str>),
    /// An array's element, from its start.
    Cell(usize),
    /// An array's element, from its last.
    FromLast(usize),
}

#[cold]
fn broken() -> Error {
    undecodable("Expected the path of a JSON difference, found something else.")
}

/// The legs of a path.
pub(super) fn parse(path: &str) -> Result<Vec<Leg<'_>>> {
    let mut rest = path.strip_prefix('$').ok_or_else(broken)?;
    let mut legs = Vec::new();
    while !rest.is_empty() {
        if legs.len() == MAX_DEPTH {
            return Err(broken());
        }
        let (leg, after) = if let Some(member) = rest.strip_prefix('.') {
            parse_member(member)?
        } else {
            parse_cell(rest.strip_prefix('[').ok_or_else(broken)?)?
        };
        legs.push(leg);
        rest = after;
    }
    Ok(legs)
}

fn parse_member(rest: &str) -> Result<(Leg<'_>, &str)> {
    if rest.starts_with('"') {
        // A quoted name is a JSON string.
        let mut names = serde_json::Deserializer::from_str(rest).into_iter::<Cow<'_, str>>();
        let name = names.next().and_then(|name| name.ok()).ok_or_else(broken)?;
        let after = rest.get(names.byte_offset()..).ok_or_else(broken)?;
        return Ok((Leg::Member(Cow::Owned(name.into_owned())), after));
    }
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    match rest.split_at(end) {
        ("" | "*", _) => Err(broken()),
        (name, after) => Ok((Leg::Member(Cow::Borrowed(name)), after)),
    }
}

fn parse_cell(rest: &str) -> Result<(Leg<'_>, &str)> {
    let (index, after) = rest.split_once(']').ok_or_else(broken)?;
    let number = |text: &str| text.trim().parse::<usize>().map_err(|_| broken());
    let leg = match index.trim().strip_prefix("last") {
        None => Leg::Cell(number(index)?),
        Some("") => Leg::FromLast(0),
        Some(offset) => Leg::FromLast(number(offset.trim_start().strip_prefix('-').ok_or_else(broken)?)?),
    };
    Ok((leg, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_server_are_read() {
        let member = |name: &'static str| Leg::Member(Cow::Borrowed(name));
        assert_eq!(parse("$").unwrap(), []);
        assert_eq!(
            parse("$.a[3].é").unwrap(),
            [member("a"), Leg::Cell(3), member("é")]
        );
        assert_eq!(parse(r#"$."q\"x"."[.""#).unwrap(), [member("q\"x"), member("[.")]);
        assert_eq!(
            parse("$[last][last-2]").unwrap(),
            [Leg::FromLast(0), Leg::FromLast(2)]
        );
        for path in [
            "",
            "a",
            "$a",
            "$.",
            "$[",
            "$[x]",
            "$[1 to 2]",
            "$.*",
            "$[*]",
            "$**.a",
            "$.\"a",
        ] {
            assert!(parse(path).is_err(), "{path}");
        }
        assert!(parse(&format!("${}", "[0]".repeat(MAX_DEPTH + 1))).is_err());
    }
}
