//! Deliveries as JavaScript values.

use napi::Result;
use napi::bindgen_prelude::{Buffer, Either, Float64Array, FnArgs};
use napi_derive::napi;
use streamer_core::event::Batch;
use streamer_core::pipeline::{Delivery, Payload};

/// `kind` of a batch.
const KIND_BATCH: u32 = 0;
/// `kind` of a notice.
const KIND_NOTICE: u32 = 1;

/// A batch as `lib/decode.js` reads it; the core's `event` module describes the format.
#[napi(object, object_from_js = false)]
pub struct BatchPayload {
    /// Records. The memory is the engine's own, handed over without a copy where the runtime allows that.
    pub numbers: Float64Array,
    /// Text fields in Latin-1; absent where there are none.
    pub text: Option<Buffer>,
    /// Text fields in UTF-16, little-endian; absent where there are none.
    pub wide: Option<Buffer>,
    /// All bytes fields; absent where there are none.
    pub bytes: Option<Buffer>,
    /// Shapes that are used here for the first time, as a JSON array; absent where there are none.
    pub shapes: Option<String>,
}

/// The arguments of `onItem`: kind, sequence, source, payload.
pub type Arguments = FnArgs<(u32, f64, String, Either<BatchPayload, String>)>;

/// Makes the arguments; runs on the JavaScript thread.
pub fn arguments(delivery: Delivery) -> Result<Arguments> {
    let (kind, payload) = match delivery.payload {
        Payload::Batch(batch) => (KIND_BATCH, Either::A(batch_payload(batch)?)),
        Payload::Notice(notice) => (KIND_NOTICE, Either::B(notice.to_string())),
    };
    // Exact up to 2^53, which at a million deliveries a second lasts 285 years.
    let sequence = delivery.sequence as f64;
    Ok((kind, sequence, delivery.source.to_string(), payload).into())
}

fn batch_payload(batch: Batch) -> Result<BatchPayload> {
    let shapes = if batch.shapes.is_empty() {
        None
    } else {
        let shapes = serde_json::to_string(&batch.shapes);
        Some(shapes.map_err(|error| napi::Error::from_reason(error.to_string()))?)
    };
    Ok(BatchPayload {
        numbers: Float64Array::new(batch.numbers),
        text: buffer(batch.text),
        wide: buffer(batch.wide),
        bytes: buffer(batch.bytes),
        shapes,
    })
}

fn buffer(bytes: Vec<u8>) -> Option<Buffer> {
    (!bytes.is_empty()).then(|| Buffer::from(bytes))
}
