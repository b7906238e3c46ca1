//! Deliveries as JavaScript values.
//!
//! A batch is announced by a call and fetched by another, when its turn has come: until then it lies here, where it is
//! nobody's garbage, and then it is copied into memory that JavaScript keeps for all batches. Handing the memory itself
//! over would leave it to the garbage collector, which frees it late, and counts it as pressure.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use napi::bindgen_prelude::{Either, FnArgs};
use napi_derive::napi;
use streamer_core::event::Batch;
use streamer_core::pipeline::{Delivery, Payload};

/// `kind` of a batch.
const KIND_BATCH: u32 = 0;
/// `kind` of a notice.
const KIND_NOTICE: u32 = 1;

/// Numbers in front of a batch that say how long its pieces are.
const LENGTHS: usize = 4;

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
                    size: size_of_fetched(&batch) as f64,
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

fn size_of_fetched(batch: &Batch) -> usize {
    (LENGTHS + batch.numbers.len()) * size_of::<f64>()
        + batch.text.len()
        + batch.wide.len()
        + batch.bytes.len()
}

/// Writes a batch: how many numbers, bytes of text, of wide text and of bytes it has, each as a number; then these pieces. False
/// where they do not fit.
pub fn write(batch: &Batch, into: &mut [u8]) -> bool {
    if into.len() < size_of_fetched(batch) {
        return false;
    }
    let lengths = [
        batch.numbers.len(),
        batch.text.len(),
        batch.wide.len(),
        batch.bytes.len(),
    ];
    let (head, rest) = into.split_at_mut(LENGTHS * size_of::<f64>());
    write_numbers(&lengths.map(|length| length as f64), head);
    let (numbers, mut rest) = rest.split_at_mut(batch.numbers.len() * size_of::<f64>());
    write_numbers(&batch.numbers, numbers);
    for piece in [&batch.text, &batch.wide, &batch.bytes] {
        let (place, behind) = rest.split_at_mut(piece.len());
        place.copy_from_slice(piece);
        rest = behind;
    }
    true
}

fn write_numbers(numbers: &[f64], into: &mut [u8]) {
    let (places, _) = into.as_chunks_mut::<{ size_of::<f64>() }>();
    for (place, number) in places.iter_mut().zip(numbers) {
        *place = number.to_ne_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_written_piece_by_piece_and_only_where_it_fits() {
        let batch = Batch {
            numbers: vec![1.5, f64::NAN],
            text: b"text".to_vec(),
            wide: vec![1, 2],
            bytes: vec![7],
            ..Batch::default()
        };
        let mut into = vec![0; size_of_fetched(&batch)];
        assert!(write(&batch, &mut into));
        let numbers: Vec<f64> = into
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f64::from_ne_bytes(*bytes))
            .collect();
        assert_eq!(numbers[..5], [2.0, 4.0, 2.0, 1.0, 1.5]);
        assert!(numbers[5].is_nan());
        assert_eq!(into[48..], *b"text\x01\x02\x07");
        let mut small = vec![0; into.len() - 1];
        assert!(!write(&batch, &mut small));
    }
}
