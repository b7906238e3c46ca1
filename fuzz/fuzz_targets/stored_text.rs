//! What was stored before and may have been altered: positions, checkpoints, entries of the cache's second level; and configurations.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer_core::cache::{Cipher, Reach, open};
use streamer_core::checkpoint::Record;
use streamer_core::config::Config;
use streamer_core::offset::{GtidSet, MariadbGtidList, MysqlGtid, Position};

fuzz_target!(|data: &[u8]| {
    let _ = Reach::decode(data);
    let _ = open(None, b"name", data);
    let _ = open(Cipher::new(&[7; 32]).as_ref(), b"name", data);
    let _ = GtidSet::decode(data);
    let _ = Record::decode(data, "default", "a file");
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Position::parse(text);
        let _ = GtidSet::parse(text);
        let _ = MysqlGtid::parse(text);
        let _ = MariadbGtidList::parse(text);
        let _ = Config::parse(&serde_json::Value::String(text.to_owned()));
    }
    if let Ok(value) = serde_json::from_slice(data) {
        let _ = Config::parse(&value);
    }
});
