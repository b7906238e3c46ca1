//! Text in every character set: the first byte chooses it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer_core::source::mysql::charset::{Charset, by_collation_id};

fuzz_target!(|data: &[u8]| {
    let [choice, bytes @ ..] = data else {
        return;
    };
    if let Some(charset) = by_collation_id(u16::from(*choice)).and_then(Charset::by_name) {
        assert!(charset.text(bytes).chars().count() <= bytes.len());
    }
});
