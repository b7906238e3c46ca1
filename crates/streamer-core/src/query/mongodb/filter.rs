//! What a question to a collection depends on, and whether its answer may be kept.
//!
//! A document fulfils `{ a: 1, b: { $in: [2, 3] } }` only where it fulfils each part, so each equality at the top of a filter,
//! or of an `$and` there, picks the documents whose changes matter. What is not known to give the same answer every time
//! is not kept: operators stand on lists of what may, never on lists of what may not.

use std::sync::Arc;

use bson::{RawArray, RawBsonRef, RawDocument};

use crate::cache::Equality;
use crate::cache::document::hash;

/// Most values of one equality; longer lists depend on the whole collection.
const MAX_VALUES: usize = 1_000;

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 64;

/// Operators whose result depends on the document and on what stands beside them alone.
const OPERATORS: &[&str] = &[
    "$all",
    "$and",
    "$bitsAllClear",
    "$bitsAllSet",
    "$bitsAnyClear",
    "$bitsAnySet",
    "$box",
    "$center",
    "$centerSphere",
    "$comment",
    "$elemMatch",
    "$eq",
    "$exists",
    "$geoIntersects",
    "$geoWithin",
    "$geometry",
    "$gt",
    "$gte",
    "$in",
    "$lt",
    "$lte",
    "$maxDistance",
    "$minDistance",
    "$mod",
    "$ne",
    "$near",
    "$nearSphere",
    "$nin",
    "$nor",
    "$not",
    "$options",
    "$or",
    "$polygon",
    "$regex",
    "$size",
    "$type",
];

/// Why an answer is not kept.
type Refused = Arc<str>;

fn refuse<T>(why: impl Into<Arc<str>>) -> Result<T, Refused> {
    Err(why.into())
}

/// The equalities of a filter whose answers may be kept. `compares_bytes` where text equals text only byte by byte: no
/// collation.
pub(super) fn equalities(filter: &RawDocument, compares_bytes: bool) -> Result<Vec<Equality>, Refused> {
    check(filter, 0)?;
    let mut found = Vec::new();
    if compares_bytes {
        conjunction(filter, &mut found, 0);
    }
    Ok(found)
}

fn check(document: &RawDocument, depth: usize) -> Result<(), Refused> {
    if depth > MAX_DEPTH {
        return refuse("the filter is nested too deep");
    }
    for element in document {
        let Ok((name, value)) = element else {
            return refuse("the filter is no valid BSON");
        };
        let name = name.as_str();
        if name.starts_with('$') && OPERATORS.binary_search(&name).is_err() {
            return refuse(format!("{name} is not known to give the same result every time"));
        }
        check_value(value, depth)?;
    }
    Ok(())
}

fn check_value(value: RawBsonRef<'_>, depth: usize) -> Result<(), Refused> {
    match value {
        RawBsonRef::Document(inner) => check(inner, depth + 1),
        RawBsonRef::Array(array) => check_array(array, depth + 1),
        RawBsonRef::JavaScriptCode(_) | RawBsonRef::JavaScriptCodeWithScope(_) => {
            refuse("it runs JavaScript on the server")
        }
        _ => Ok(()),
    }
}

fn check_array(array: &RawArray, depth: usize) -> Result<(), Refused> {
    if depth > MAX_DEPTH {
        return refuse("the filter is nested too deep");
    }
    for value in array {
        match value {
            Ok(value) => check_value(value, depth)?,
            Err(_) => return refuse("the filter is no valid BSON"),
        }
    }
    Ok(())
}

/// A projection that takes fields as they are. Expressions and what is computed are not read here.
pub(super) fn check_projection(projection: &RawDocument, depth: usize) -> Result<(), Refused> {
    for element in projection {
        let Ok((name, value)) = element else {
            return refuse("the projection is no valid BSON");
        };
        let is_plain = match value {
            RawBsonRef::Boolean(_) | RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_) => {
                !name.as_str().starts_with('$')
            }
            RawBsonRef::Document(inner) if depth < MAX_DEPTH => match only_name(inner) {
                Some("$slice") => true,
                Some("$elemMatch") => check(inner, depth).is_ok(),
                Some(name) if name.starts_with('$') => false,
                _ => check_projection(inner, depth + 1).is_ok(),
            },
            _ => false,
        };
        if !is_plain {
            return refuse("its projection computes something");
        }
    }
    Ok(())
}

/// An order by fields.
pub(super) fn check_sort(sort: &RawDocument) -> Result<(), Refused> {
    let is_plain = sort.into_iter().all(|element| {
        element.is_ok_and(|(name, value)| {
            let is_number = matches!(
                value,
                RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_)
            );
            // The order in which documents lie on disk is nobody's promise.
            is_number && name.as_str() != "$natural"
        })
    });
    match is_plain {
        true => Ok(()),
        false => refuse("its order is not one by fields"),
    }
}

/// The name of the first field.
fn only_name(document: &RawDocument) -> Option<&str> {
    let (name, _) = document.into_iter().next()?.ok()?;
    Some(name.as_str())
}

fn conjunction(filter: &RawDocument, found: &mut Vec<Equality>, depth: usize) {
    for (name, value) in filter.into_iter().flatten() {
        match (name.as_str(), value) {
            ("$and", RawBsonRef::Array(parts)) if depth < MAX_DEPTH => {
                for part in parts.into_iter().flatten() {
                    if let Some(part) = part.as_document() {
                        conjunction(part, found, depth + 1);
                    }
                }
            }
            // A path may lead through arrays.
            (name, value) if !name.starts_with('$') && !name.contains('.') => {
                if let Some(values) = values(value) {
                    found.push(Equality {
                        column: name.into(),
                        values,
                    });
                }
            }
            _ => {}
        }
    }
}

/// The values that a field must have one of.
fn values(value: RawBsonRef<'_>) -> Option<Vec<i128>> {
    let RawBsonRef::Document(inner) = value else {
        return Some(vec![one(value)?]);
    };
    match only_name(inner) {
        Some("$eq") => Some(vec![one(inner.get("$eq").ok()??)?]),
        Some("$in") => {
            let list = inner.get_array("$in").ok()?;
            let mut values = Vec::new();
            for value in list {
                values.push(one(value.ok()?)?);
            }
            (values.len() <= MAX_VALUES).then_some(values)
        }
        Some(name) if name.starts_with('$') => None,
        _ => Some(vec![one(value)?]),
    }
}

/// The number of a value that equals itself and nothing else: an array also equals an element that is this array, null also what is not
/// there, and a regular expression is a pattern.
fn one(value: RawBsonRef<'_>) -> Option<i128> {
    match value {
        RawBsonRef::Array(_) | RawBsonRef::Null => None,
        value => hash(value),
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Document, RawDocumentBuf, doc, oid::ObjectId};

    use super::*;

    fn raw(document: Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(&document).unwrap()
    }

    fn columns(filter: Document) -> Vec<(String, usize)> {
        equalities(&raw(filter), true)
            .unwrap()
            .into_iter()
            .map(|equality| (equality.column.to_string(), equality.values.len()))
            .collect()
    }

    fn id(count: usize) -> Vec<(String, usize)> {
        vec![("_id".to_owned(), count)]
    }

    #[test]
    fn the_operators_are_sorted_so_that_they_can_be_bisected() {
        assert!(OPERATORS.is_sorted());
    }

    #[test]
    fn equalities_at_the_top_pick_documents() {
        assert_eq!(columns(doc! { "_id": 1 }), id(1));
        assert_eq!(columns(doc! { "_id": { "$eq": ObjectId::new() } }), id(1));
        assert_eq!(
            columns(doc! { "_id": { "$in": [1, "a"] }, "b": { "$gt": 1 } }),
            id(2)
        );
        assert_eq!(
            columns(doc! { "$and": [{ "_id": 1 }, { "$or": [{ "b": 1 }] }] }),
            id(1)
        );
        assert_eq!(columns(doc! { "_id": { "a": 1, "b": 2 } }), id(1));
    }

    #[test]
    fn what_may_equal_more_than_one_value_picks_nothing() {
        let regex = bson::Regex {
            pattern: bson::raw::CString::try_from("a").unwrap(),
            options: bson::raw::CString::try_from("").unwrap(),
        };
        for filter in [
            doc! {},
            doc! { "_id": { "$gt": 1 } },
            doc! { "_id": Bson::Null },
            doc! { "_id": { "$in": [1, Bson::Null] } },
            doc! { "_id": Bson::RegularExpression(regex) },
            doc! { "a": [1, 2] },
            doc! { "a.b": 1 },
            doc! { "$or": [{ "_id": 1 }, { "_id": 2 }] },
            doc! { "$nor": [{ "_id": 1 }] },
            doc! { "_id": { "$not": { "$eq": 1 } } },
            doc! { "_id": "1".parse::<bson::Decimal128>().unwrap() },
        ] {
            assert_eq!(columns(filter.clone()), [], "{filter}");
        }
        assert_eq!(equalities(&raw(doc! { "_id": "a" }), false).unwrap(), []);
    }

    #[test]
    fn what_may_differ_from_one_time_to_the_next_is_refused() {
        for filter in [
            doc! { "$where": "true" },
            doc! { "$expr": { "$lt": [{ "$rand": {} }, 0.5] } },
            doc! { "a": { "$elemMatch": { "$unheard": 1 } } },
            doc! { "$and": [{ "$sampleRate": 0.5 }] },
            doc! { "a": Bson::JavaScriptCode("1".into()) },
        ] {
            assert!(equalities(&raw(filter.clone()), true).is_err(), "{filter}");
        }
        for projection in [
            doc! { "a": { "$rand": {} } },
            doc! { "a": "$$NOW" },
            doc! { "a": { "b": { "$add": [1, 2] } } },
        ] {
            assert!(
                check_projection(&raw(projection.clone()), 0).is_err(),
                "{projection}"
            );
        }
        for projection in [
            doc! { "a": 1, "_id": 0 },
            doc! { "a": { "$slice": 2 }, "b": { "c": true } },
        ] {
            assert!(
                check_projection(&raw(projection.clone()), 0).is_ok(),
                "{projection}"
            );
        }
        assert!(check_sort(&raw(doc! { "a": 1, "b": -1 })).is_ok());
        assert!(check_sort(&raw(doc! { "$natural": 1 })).is_err());
    }
}
