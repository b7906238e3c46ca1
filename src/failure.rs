//! Errors on their way to JavaScript: the message is JSON, of which the facade makes a `StreamerError`.

/// An error as napi throws it.
pub fn thrown(error: &streamer_core::error::Error) -> napi::Error {
    napi::Error::from_reason(error.to_json().to_string())
}
