//! Whatever bytes a server sends, reading them ends, and neither panics nor takes memory by a length that they claim.

use proptest::prelude::*;

use super::*;

/// Bytes as they come, and bytes whose lengths claim much.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let any_bytes = prop::collection::vec(any::<u8>(), 0..200);
    let claims = (
        any_bytes.clone(),
        prop::collection::vec(0xf8_u8..=0xff, 0..12),
        0..200_usize,
    )
        .prop_map(|(mut bytes, claim, at)| {
            let at = at.min(bytes.len());
            bytes.splice(at..at, claim);
            bytes
        });
    prop_oneof![any_bytes, claims]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_events_never_panic(bytes in input(), kind: u8, checksums: bool) {
        let _ = Format::read(&bytes);
        if let Ok(header) = Header::read(&bytes) {
            let _ = body(&bytes, &header, checksums);
            let _ = checksum_agrees(&bytes, bytes.len(), &header);
        }
        let format = Format::default();
        let _ = MysqlBegin::read(&bytes, checksums);
        let _ = MysqlBegin::read_tagged(&bytes);
        let _ = MariadbBegin::read(&bytes, 1);
        let _ = read_mariadb_list(&bytes);
        let _ = Query::read(&bytes);
        let _ = RowsEvent::read(&bytes, EventType::from(kind), &format);
        let _ = TableMap::read(&mut Wire(&bytes));
        let _ = uncompress(&bytes);
    }

    #[test]
    fn arbitrary_compressed_transactions_never_panic(bytes in input()) {
        if let Ok(mut payload) = Payload::open(&bytes) {
            for _ in 0..100 {
                match payload.next(&bytes) {
                    Ok(Some(_)) => drop(payload.event().len()),
                    _ => break,
                }
            }
        }
    }
}
