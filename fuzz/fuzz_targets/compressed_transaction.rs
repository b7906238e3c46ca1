//! A compressed transaction of MySQL (`TRANSACTION_PAYLOAD_EVENT`): the events in it, one after the other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer_core::source::mysql::binlog::Payload;

fuzz_target!(|data: &[u8]| {
    if let Ok(mut payload) = Payload::open(data) {
        for _ in 0..100 {
            match payload.next(data) {
                Ok(Some(_)) => drop(payload.event().len()),
                _ => break,
            }
        }
    }
});
