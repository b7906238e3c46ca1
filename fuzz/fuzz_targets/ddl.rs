//! Statements that define tables, as MySQL and MariaDB log them: the first eight bytes are the mode.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer_core::source::mysql::link::Flavor;
use streamer_core::source::mysql::schema::Catalog;
use streamer_core::source::mysql::schema::ddl::{Session, SqlMode, parse, redact};

fuzz_target!(|data: &[u8]| {
    let Some((mode, text)) = data.split_first_chunk() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    for (flavor, version) in [(Flavor::Mysql, (8, 4, 0)), (Flavor::Mariadb, (10, 11, 2))] {
        let session = Session {
            sql_mode: SqlMode(u64::from_le_bytes(*mode)),
            ..Session::new(flavor, version, "shop")
        };
        let statement = parse(text, &session);
        statement.tables();
        Catalog::new(true).apply(&statement, &session);
        let _ = redact(text, &session);
    }
});
