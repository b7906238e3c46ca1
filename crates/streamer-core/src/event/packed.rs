//! Batches, and the cells of answers, in one piece of memory, which is how JavaScript reads them.
//!
//! Four numbers say how long the pieces are: how many numbers, bytes of text, of wide text, and of bytes. The pieces follow in
//! this order. Numbers are 64-bit floats, little-endian: what JavaScript's typed arrays hold on every platform that there is a
//! build for.

use std::sync::Arc;

use super::batch::Batch;

/// Numbers in front that say how long the pieces are.
const LENGTHS: usize = 4;

const NUMBER: usize = size_of::<f64>();

/// The pieces of a batch. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed(Arc<[u8]>);

impl Packed {
    /// The pieces of a batch.
    pub fn of(batch: &Batch) -> Self {
        let mut bytes = vec![0; size(batch)];
        write(batch, &mut bytes);
        Self(bytes.into())
    }

    /// What [`bytes`](Self::bytes) gave; `None` for anything else.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(LENGTHS * NUMBER)?;
        let mut total = 0_u64;
        for (length, unit) in head.as_chunks::<NUMBER>().0.iter().zip([NUMBER as u64, 1, 1, 1]) {
            let length = f64::from_le_bytes(*length);
            let is_length = length.fract() == 0.0 && (0.0..=rest.len() as f64).contains(&length);
            if !is_length {
                return None;
            }
            total += length as u64 * unit;
        }
        (total == rest.len() as u64).then(|| Self(bytes.into()))
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes that [`write`] needs.
pub fn size(batch: &Batch) -> usize {
    (LENGTHS + batch.numbers.len()) * NUMBER + batch.text.len() + batch.wide.len() + batch.bytes.len()
}

/// Writes a batch to the beginning of `into`. False where it does not fit.
pub fn write(batch: &Batch, into: &mut [u8]) -> bool {
    let Some(into) = into.get_mut(..size(batch)) else {
        return false;
    };
    let lengths = [
        batch.numbers.len(),
        batch.text.len(),
        batch.wide.len(),
        batch.bytes.len(),
    ];
    let (head, rest) = into.split_at_mut(LENGTHS * NUMBER);
    write_numbers(&lengths.map(|length| length as f64), head);
    let (numbers, mut rest) = rest.split_at_mut(batch.numbers.len() * NUMBER);
    write_numbers(&batch.numbers, numbers);
    for piece in [&batch.text, &batch.wide, &batch.bytes] {
        let (place, behind) = rest.split_at_mut(piece.len());
        place.copy_from_slice(piece);
        rest = behind;
    }
    true
}

fn write_numbers(numbers: &[f64], into: &mut [u8]) {
    let (places, _) = into.as_chunks_mut::<NUMBER>();
    for (place, number) in places.iter_mut().zip(numbers) {
        *place = number.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        Batch {
            numbers: vec![1.5, f64::NAN],
            text: b"text".to_vec(),
            wide: vec![1, 2],
            bytes: vec![7],
            ..Batch::default()
        }
    }

    #[test]
    fn a_batch_is_written_piece_by_piece_and_only_where_it_fits() {
        let batch = batch();
        let mut into = vec![0; size(&batch)];
        assert!(write(&batch, &mut into));
        let numbers: Vec<f64> = into
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f64::from_le_bytes(*bytes))
            .collect();
        assert_eq!(numbers[..5], [2.0, 4.0, 2.0, 1.0, 1.5]);
        assert!(numbers[5].is_nan());
        assert_eq!(into[48..], *b"text\x01\x02\x07");
        let mut small = vec![0; into.len() - 1];
        assert!(!write(&batch, &mut small));
    }

    #[test]
    fn what_was_packed_is_read_back_and_nothing_else() {
        let packed = Packed::of(&batch());
        let bytes = packed.bytes();
        assert_eq!(Packed::read(bytes), Some(packed.clone()));
        for length in 0..bytes.len() {
            assert_eq!(Packed::read(&bytes[..length]), None);
        }
        assert_eq!(Packed::read(&[bytes, &[0]].concat()), None);
        for length in [-1.0, 0.5, f64::NAN, f64::INFINITY, 1e300] {
            let mut wrong = bytes.to_vec();
            wrong[..NUMBER].copy_from_slice(&length.to_le_bytes());
            assert_eq!(Packed::read(&wrong), None);
        }
    }
}
