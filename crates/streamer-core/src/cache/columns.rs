//! What answers have in common.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;

use crate::event::Shape;

/// Descriptions that are kept before those that nobody uses any more are looked for.
const FEW: usize = 1024;

/// The columns of an answer. Answers with the same columns share them, and they have a number of their own in this process: whoever
/// knows what it stands for need not read the description again.
#[derive(Debug, PartialEq, Eq)]
pub struct Columns {
    number: u64,
    json: Arc<str>,
}

#[derive(Default)]
struct Known {
    by_json: HashMap<Arc<str>, Weak<Columns>>,
    /// From how many on those that are gone are looked for.
    limit: usize,
}

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
static LAST: AtomicU64 = AtomicU64::new(0);

impl Columns {
    /// Those of a shape.
    pub fn of(shape: &Shape) -> Arc<Self> {
        // Names and numbers: nothing that JSON could refuse.
        Self::from_json(&serde_json::to_string(shape).unwrap_or_default())
    }

    /// Those that [`json`](Self::json) describes.
    pub fn from_json(json: &str) -> Arc<Self> {
        let mut known = KNOWN.lock();
        if let Some(columns) = known.by_json.get(json).and_then(Weak::upgrade) {
            return columns;
        }
        if known.by_json.len() >= known.limit.max(FEW) {
            known.by_json.retain(|_, columns| columns.strong_count() > 0);
            known.limit = known.by_json.len() * 2;
        }
        let columns = Arc::new(Self {
            number: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            json: json.into(),
        });
        known
            .by_json
            .insert(Arc::clone(&columns.json), Arc::downgrade(&columns));
        columns
    }

    /// Their number, from 1 on.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The [`Shape`] as JSON.
    pub fn json(&self) -> &str {
        &self.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_description_is_the_same_object_as_long_as_somebody_uses_it() {
        let one = Columns::from_json("{\"one\":1}");
        assert!(Arc::ptr_eq(&one, &Columns::from_json("{\"one\":1}")));
        assert_ne!(Columns::from_json("{\"other\":1}").number(), one.number());
        let number = one.number();
        drop(one);
        assert_ne!(Columns::from_json("{\"one\":1}").number(), number);
    }

    #[test]
    fn what_nobody_uses_is_not_kept() {
        for number in 0..FEW * 4 {
            Columns::from_json(&format!("{{\"unused\":{number}}}"));
        }
        assert!(KNOWN.lock().by_json.len() <= FEW * 2);
    }
}
