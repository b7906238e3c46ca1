//! Applies the operations of a difference to a document, as the server does (`apply_json_diffs`, `sql/json_diff.cc`).

use std::borrow::Cow;

use super::super::wire::undecodable;
use super::path::Leg;
use super::tree::Node;
use crate::error::{Error, Result};

/// What an operation does.
#[derive(Debug)]
pub(super) enum Change<'a> {
    Replace(Node<'a>),
    Insert(Node<'a>),
    Remove,
}

#[cold]
fn unfit() -> Error {
    undecodable("Expected a JSON difference that fits the row before it, found a path that leads nowhere.")
}

/// Shorter keys first, then by their bytes.
fn key_order(key: &str) -> (usize, &[u8]) {
    (key.len(), key.as_bytes())
}

/// Where an array's leg points, for `length` elements.
fn cell(leg: &Leg<'_>, length: usize) -> Option<usize> {
    match *leg {
        Leg::Cell(index) => Some(index),
        Leg::FromLast(offset) => length.checked_sub(1)?.checked_sub(offset),
        Leg::Member(_) => None,
    }
}

fn child<'n, 'a>(node: &'n mut Node<'a>, leg: &Leg<'_>) -> Result<&'n mut Node<'a>> {
    match (node, leg) {
        (Node::Object(members), Leg::Member(name)) => members
            .iter_mut()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
            .ok_or_else(unfit),
        (Node::Array(elements), leg) => {
            let place = cell(leg, elements.len()).ok_or_else(unfit)?;
            elements.get_mut(place).ok_or_else(unfit)
        }
        // A value that is no array counts as an array of itself.
        (node, Leg::Cell(0) | Leg::FromLast(0)) => Ok(node),
        _ => Err(unfit()),
    }
}

/// Changes `document` at `path`.
pub(super) fn apply<'a>(document: &mut Node<'a>, path: &[Leg<'_>], change: Change<'a>) -> Result<()> {
    let Some((last, parents)) = path.split_last() else {
        return match change {
            Change::Replace(value) => {
                *document = value;
                Ok(())
            }
            Change::Insert(_) | Change::Remove => Err(unfit()),
        };
    };
    let mut parent = document;
    for leg in parents {
        parent = child(parent, leg)?;
    }
    match change {
        Change::Replace(value) => *child(parent, last)? = value,
        Change::Insert(value) => insert(parent, last, value)?,
        Change::Remove => remove(parent, last)?,
    }
    Ok(())
}

fn insert<'a>(parent: &mut Node<'a>, leg: &Leg<'_>, value: Node<'a>) -> Result<()> {
    match (parent, leg) {
        (Node::Object(members), Leg::Member(name)) => {
            match members.binary_search_by(|(key, _)| key_order(key).cmp(&key_order(name))) {
                Ok(_) => return Err(unfit()),
                Err(place) => members.insert(place, (Cow::Owned(name.to_string()), value)),
            }
        }
        (Node::Array(elements), leg) => {
            // Behind the end means at the end, and before the start at the start.
            let place = match leg {
                Leg::FromLast(_) => cell(leg, elements.len()).unwrap_or(0),
                leg => cell(leg, elements.len()).ok_or_else(unfit)?,
            };
            elements.insert(place.min(elements.len()), value);
        }
        _ => return Err(unfit()),
    }
    Ok(())
}

fn remove(parent: &mut Node<'_>, leg: &Leg<'_>) -> Result<()> {
    match (parent, leg) {
        (Node::Object(members), Leg::Member(name)) => {
            let place = members
                .iter()
                .position(|(key, _)| key == name)
                .ok_or_else(unfit)?;
            members.remove(place);
        }
        (Node::Array(elements), leg) => {
            let place = cell(leg, elements.len()).ok_or_else(unfit)?;
            if place >= elements.len() {
                return Err(unfit());
            }
            elements.remove(place);
        }
        _ => return Err(unfit()),
    }
    Ok(())
}
