//! Answers as JavaScript reads them.
//!
//! What the cache holds is copied into memory of JavaScript's that is used again and again: a hit makes no garbage and costs one copy. What
//! the source was asked for comes in memory of its own.
//! Three numbers stand in front: that of the columns (see [`Columns`]; 0 where there are none), how many rows there are, and flags.
//! The cells follow, [packed](streamer_core::event::packed); of a value of the application, its bytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use streamer_core::cache::{Columns, Found, Value};

/// Numbers in front of an answer.
const HEAD: usize = 3;

/// Flag: the source is not followed.
const STALE: u8 = 1;
/// Flag: it ends soon, and the caller is to load it anew; nobody else is told.
const DUE: u8 = 2;

/// An answer of the source.
#[napi(object, object_from_js = false)]
pub struct Answer {
    /// The number of the columns, how many rows there are, flags; then the cells.
    pub bytes: Buffer,
    /// The columns, as a JSON object; absent where there are none.
    pub columns: Option<String>,
}

impl Answer {
    /// Of a value.
    pub fn of(value: &Value) -> Self {
        let (columns, count, content) = parts(value);
        let mut bytes = head(columns, count, 0).to_vec();
        bytes.extend_from_slice(content);
        Self {
            bytes: bytes.into(),
            columns: columns.map(|columns| columns.json().to_owned()),
        }
    }
}

/// What is left of what the cache gave last.
#[derive(Default)]
struct Left {
    /// All of it, where it did not fit.
    found: Option<Found>,
    columns: Option<Arc<Columns>>,
}

/// What the cache gave last: it is asked for again where it did not fit, and for what its columns are.
#[derive(Default)]
pub struct LastFound(Mutex<Left>);

impl LastFound {
    /// Writes what was found into memory of the caller's; the bytes that it has, negated where they do not fit.
    pub fn hand_over(&self, found: Found, into: &mut [u8]) -> f64 {
        let written = write(&found, into);
        let columns = parts(&found.value).0.cloned();
        let found = (written < 0.0).then_some(found);
        *self.left() = Left { found, columns };
        written
    }

    /// The same again, of what did not fit, once; 0 where there is nothing.
    pub fn again(&self, into: &mut [u8]) -> f64 {
        let found = self.left().found.take();
        found.map_or(0.0, |found| write(&found, into))
    }

    /// The columns of what was found last, as a JSON object.
    pub fn columns(&self) -> Option<String> {
        let left = self.left();
        left.columns.as_ref().map(|columns| columns.json().to_owned())
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parts(value: &Value) -> (Option<&Arc<Columns>>, u32, &[u8]) {
    match value {
        Value::Rows {
            cells,
            columns,
            count,
        } => (columns.as_ref(), *count, cells.bytes()),
        Value::Bytes(bytes) => (None, 0, bytes),
    }
}

fn head(columns: Option<&Arc<Columns>>, count: u32, flags: u8) -> [u8; HEAD * size_of::<f64>()] {
    let number = columns.map_or(0, |columns| columns.number());
    let numbers = [number as f64, count.into(), flags.into()];
    let mut bytes = [0; HEAD * size_of::<f64>()];
    for (place, number) in bytes.as_chunks_mut().0.iter_mut().zip(numbers) {
        *place = number.to_le_bytes();
    }
    bytes
}

fn write(found: &Found, into: &mut [u8]) -> f64 {
    let (columns, count, content) = parts(&found.value);
    let stale = if found.is_stale { STALE } else { 0 };
    let due = if found.is_due { DUE } else { 0 };
    let head = head(columns, count, stale | due);
    let size = head.len() + content.len();
    let Some(into) = into.get_mut(..size) else {
        return -(size as f64);
    };
    let (front, behind) = into.split_at_mut(head.len());
    front.copy_from_slice(&head);
    behind.copy_from_slice(content);
    size as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_handed_over_again() {
        let last = LastFound::default();
        let mut small = [0; 26];
        assert_eq!(last.again(&mut small), 0.0);
        let found = Found {
            value: Value::Bytes([7, 8, 9].into()),
            is_due: true,
            is_stale: false,
        };
        assert_eq!(last.hand_over(found, &mut small), -27.0);
        assert_eq!(small, [0; 26]);
        let mut enough = [0; 30];
        assert_eq!(last.again(&mut enough), 27.0);
        assert_eq!(enough[16..24], 2_f64.to_le_bytes());
        assert_eq!(enough[24..27], [7, 8, 9]);
        assert_eq!(last.again(&mut enough), 0.0);
        assert_eq!(last.columns(), None);
    }
}
