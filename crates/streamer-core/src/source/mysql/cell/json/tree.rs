//! A document in pieces that can be changed, for differences.

use std::borrow::Cow;

use super::MAX_DEPTH;
use super::binary::{self, Budget, View};
use super::output::Output;
use crate::error::Result;

/// A value of a document.
#[derive(Debug)]
pub(super) enum Node<'a> {
    /// In the order of the server: shorter keys first, then by their bytes.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
    Array(Vec<Node<'a>>),
    Scalar(View<'a>),
}

impl<'a> Node<'a> {
    /// Reads a whole document.
    pub(super) fn read(document: &'a [u8]) -> Result<Self> {
        let (view, mut budget) = binary::open(document)?;
        Self::from_view(view, 1, &mut budget)
    }

    fn from_view(view: View<'a>, depth: usize, budget: &mut Budget) -> Result<Self> {
        let container = match view {
            View::Container(container) => container,
            scalar => return Ok(Self::Scalar(scalar)),
        };
        if depth > MAX_DEPTH {
            return Err(super::super::wire::undecodable(
                "Expected JSON of at most 150 levels, found more.",
            ));
        }
        // The header of a container is at least as long as this, and was found to be there.
        if container.object {
            let mut members = Vec::with_capacity(container.count);
            for place in 0..container.count {
                let key = Cow::Borrowed(container.key(place, budget)?);
                let value = container.value(place, budget)?;
                members.push((key, Self::from_view(value, depth + 1, budget)?));
            }
            Ok(Self::Object(members))
        } else {
            let mut elements = Vec::with_capacity(container.count);
            for place in 0..container.count {
                let value = container.value(place, budget)?;
                elements.push(Self::from_view(value, depth + 1, budget)?);
            }
            Ok(Self::Array(elements))
        }
    }

    /// Appends it as JSON text.
    pub(super) fn write(&self, out: &mut Output<'_>) -> Result<()> {
        match self {
            Self::Scalar(view) => binary::write_scalar(view, out),
            Self::Array(elements) => {
                out.text.push('[');
                for (place, element) in elements.iter().enumerate() {
                    if place > 0 {
                        out.text.push(',');
                    }
                    element.write(out)?;
                }
                out.text.push(']');
                Ok(())
            }
            Self::Object(members) => {
                out.text.push('{');
                for (place, (key, value)) in members.iter().enumerate() {
                    if place > 0 {
                        out.text.push(',');
                    }
                    out.key(key);
                    value.write(out)?;
                }
                out.text.push('}');
                Ok(())
            }
        }
    }
}
