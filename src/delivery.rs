//! Deliveries as JavaScript values.
//!
//! A batch is announced by a call and fetched by another, when its turn has come: until then it lies here, where it is
//! nobody's garbage, and then it is copied into memory that JavaScript keeps for all batches. Handing the memory itself
//! over would leave it to the garbage collector, which frees it late, and counts it as pressure.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use napi::bindgen_prelude::{Either, FnArgs};
use napi_derive::napi;
use streamer_core::event::{Batch, packed};
use streamer_core::pipeline::{Delivery, Payload};

/// `kind` of a batch.
const KIND_BATCH: u32 = 0;
/// `kind` of a notice.
const KIND_NOTICE: u32 = 1;

/// What announces a batch.
#[napi(object, object_from_js = false)]
pub struct BatchHead {
    /// Bytes that `fetch` writes.
    pub size: f64,
    /// Shapes that are used here for the first time, as a JSON array; absent where there are none.
    pub shapes: Option<String>,
}

/// The arguments of `onItem`: kind, sequence, source, payload.
pub type Arguments = FnArgs<(u32, f64, String, Either<BatchHead, String>)>;

/// Batches that were announced and not fetched, oldest first; the delivery window bounds them.
#[derive(Default)]
pub struct Inbox(Mutex<VecDeque<(u64, Batch)>>);

impl Inbox {
    fn with<T>(&self, run: impl FnOnce(&mut VecDeque<(u64, Batch)>) -> T) -> T {
        run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a delivery in; the arguments that announce it.
    pub fn announce(&self, delivery: Delivery) -> Arguments {
        let Delivery {
            sequence,
            source,
            payload,
        } = delivery;
        let (kind, payload) = match payload {
            Payload::Batch(batch) => {
                let head = BatchHead {
                    size: packed::size(&batch) as f64,
                    // Names and numbers: nothing that JSON could refuse.
                    shapes: (!batch.shapes.is_empty())
                        .then(|| serde_json::to_string(&batch.shapes).unwrap_or_default()),
                };
                self.with(|waiting| waiting.push_back((sequence, batch)));
                (KIND_BATCH, Either::A(head))
            }
            Payload::Notice(notice) => (KIND_NOTICE, Either::B(notice.to_string())),
        };
        // Exact up to 2^53, which at a million deliveries a second lasts 285 years.
        (kind, sequence as f64, source.to_string(), payload).into()
    }

    /// Removes a batch, and whatever is older.
    pub fn remove(&self, sequence: u64) -> Option<Batch> {
        self.with(|waiting| {
            loop {
                match waiting.front() {
                    Some((oldest, _)) if *oldest <= sequence => {
                        let (oldest, batch) = waiting.pop_front()?;
                        if oldest == sequence {
                            return Some(batch);
                        }
                    }
                    _ => return None,
                }
            }
        })
    }

    /// Forgets everything: nobody will fetch it.
    pub fn clear(&self) {
        self.with(VecDeque::clear);
    }
}
