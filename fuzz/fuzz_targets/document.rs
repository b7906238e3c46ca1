//! Events of MongoDB's change streams, and entries of its oplog.
#![no_main]

use bson::RawDocument;
use libfuzzer_sys::fuzz_target;
use streamer_core::source::mongodb::read_hostile;

fuzz_target!(|data: &[u8]| {
    if let Ok(document) = RawDocument::from_bytes(data) {
        read_hostile(document);
    }
});
