//! Events of a binary log: the first two bytes choose the kind and whether there are checksums, the rest is the event.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer_core::source::mysql::binlog::{
    EventType, Format, Header, MariadbBegin, MysqlBegin, Query, RowsEvent, TableMap, Wire, body,
    checksum_agrees, read_mariadb_list, uncompress,
};

fuzz_target!(|data: &[u8]| {
    let [kind, flags, bytes @ ..] = data else {
        return;
    };
    let has_checksums = flags & 1 != 0;
    let _ = Format::read(bytes);
    if let Ok(header) = Header::read(bytes) {
        let _ = body(bytes, &header, has_checksums);
        let _ = checksum_agrees(bytes, bytes.len(), &header);
    }
    let _ = MysqlBegin::read(bytes, has_checksums);
    let _ = MysqlBegin::read_tagged(bytes);
    let _ = MariadbBegin::read(bytes, 1);
    let _ = read_mariadb_list(bytes);
    let _ = Query::read(bytes);
    let _ = RowsEvent::read(bytes, EventType::from(*kind), &Format::default());
    let _ = TableMap::read(&mut Wire(bytes));
    let _ = uncompress(bytes);
});
