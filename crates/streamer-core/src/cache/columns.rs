//! What answers have in common.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use crate::event::Shape;

/// Bytes of descriptions that are kept before those that nobody uses any more are let go: an answer that is not kept is often asked for
/// again.
const KEPT: usize = 1 << 20;

/// The columns of an answer. Answers with the same columns share them, and they have a number of their own in this process: whoever
/// knows what it stands for need not read the description again.
#[derive(Debug)]
pub struct Columns {
    number: u64,
    json: Arc<str>,
    /// Some entry of a cache answers for their weight.
    is_weighed: AtomicBool,
}

impl PartialEq for Columns {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Eq for Columns {}

#[derive(Default)]
struct Known {
    by_json: HashMap<Arc<str>, Arc<Columns>>,
    bytes: usize,
    /// From how many bytes on those that nobody uses are looked for.
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
        if let Some(columns) = known.by_json.get(json) {
            return Arc::clone(columns);
        }
        if known.bytes + json.len() > known.limit.max(KEPT) {
            known.by_json.retain(|_, columns| Arc::strong_count(columns) > 1);
            known.bytes = known.by_json.keys().map(|json| json.len()).sum();
            known.limit = known.bytes * 2;
        }
        let columns = Arc::new(Self {
            number: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            json: json.into(),
            is_weighed: AtomicBool::new(false),
        });
        // One that is too large to be kept lives as long as somebody uses it.
        if json.len() <= KEPT {
            known.bytes += json.len();
            known
                .by_json
                .insert(Arc::clone(&columns.json), Arc::clone(&columns));
        }
        columns
    }

    /// Their weight in bytes, for the first who asks: the others share them.
    pub(super) fn weigh(&self) -> usize {
        match self.is_weighed.swap(true, Ordering::Relaxed) {
            true => 0,
            false => self.json.len(),
        }
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
    fn the_same_description_is_the_same_object_also_where_nobody_used_it_meanwhile() {
        let one = Columns::from_json("{\"one\":1}");
        assert!(Arc::ptr_eq(&one, &Columns::from_json("{\"one\":1}")));
        assert_ne!(Columns::from_json("{\"other\":1}").number(), one.number());
        let number = one.number();
        drop(one);
        assert_eq!(Columns::from_json("{\"one\":1}").number(), number);
    }

    #[test]
    fn they_weigh_once() {
        let columns = Columns::from_json("{\"weight\":1}");
        assert_eq!((columns.weigh(), columns.weigh()), (12, 0));
    }

    #[test]
    fn what_nobody_uses_is_let_go() {
        let used = Columns::from_json("{\"used\":true}");
        for number in 0..300 {
            Columns::from_json(&format!("{{\"unused{number}\":\"{}\"}}", "x".repeat(KEPT / 100)));
        }
        Columns::from_json(&"x".repeat(KEPT + 1));
        assert!(KNOWN.lock().bytes <= KEPT * 2);
        assert!(Arc::ptr_eq(&used, &Columns::from_json("{\"used\":true}")));
    }
}
