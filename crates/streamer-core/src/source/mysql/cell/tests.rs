//! Cells of every type, from bytes that were worked out by hand from the manual or taken from a server's log.

use std::sync::Arc;

use proptest::prelude::*;

use super::logged::*;
use super::*;
use crate::code::Code;
use crate::config::Dates;
use crate::event::{Batch, BatchWriter, Encoding};
use crate::source::mysql::schema::ColumnKind;

fn labels(labels: &[&str]) -> Arc<[Arc<str>]> {
    labels.iter().map(|&label| Arc::from(label)).collect()
}

fn text(charset: &str) -> ColumnKind {
    ColumnKind::Text {
        charset: charset.into(),
        fixed: false,
    }
}

fn integer(bytes: u8, unsigned: bool) -> ColumnKind {
    ColumnKind::Integer { bytes, unsigned }
}

fn decoded(logged: u8, metadata: u16, kind: &ColumnKind, dates: Dates, cell: &[u8]) -> (Encoding, Batch) {
    let plan = CellPlan::new(logged, metadata, kind, dates).unwrap();
    let mut input = cell.to_vec();
    input.extend([0xaa; 3]);
    let mut out = BatchWriter::new();
    assert_eq!(plan.decode(&input, &mut out).unwrap(), cell.len(), "{kind:?}");
    assert_eq!(plan.skip(&input).unwrap(), cell.len());
    (plan.encoding(), out.take())
}

fn number(logged: u8, metadata: u16, kind: ColumnKind, cell: &[u8]) -> f64 {
    let (encoding, batch) = decoded(logged, metadata, &kind, Dates::Date, cell);
    assert!(matches!(
        encoding,
        Encoding::Number | Encoding::Integer | Encoding::Date
    ));
    batch.numbers[0]
}

fn string(logged: u8, metadata: u16, kind: ColumnKind, cell: &[u8]) -> String {
    let (encoding, batch) = decoded(logged, metadata, &kind, Dates::String, cell);
    assert!(matches!(
        encoding,
        Encoding::Text | Encoding::Json | Encoding::Set
    ));
    batch.all_text()
}

fn bytes(logged: u8, metadata: u16, kind: ColumnKind, cell: &[u8]) -> Vec<u8> {
    let (encoding, batch) = decoded(logged, metadata, &kind, Dates::Date, cell);
    assert_eq!(encoding, Encoding::Bytes);
    batch.bytes
}

#[test]
fn integers_take_their_sign_from_the_definition() {
    assert_eq!(number(TINY, 0, integer(1, false), &[0xff]), -1.0);
    assert_eq!(number(TINY, 0, integer(1, true), &[0xff]), 255.0);
    assert_eq!(number(SHORT, 0, integer(2, false), &[0, 0x80]), -32_768.0);
    assert_eq!(number(INT24, 0, integer(3, true), &[0xff; 3]), 16_777_215.0);
    assert_eq!(number(LONG, 0, integer(4, true), &[0xff; 4]), 4_294_967_295.0);
    assert_eq!(number(LONGLONG, 0, integer(8, false), &[0xff; 8]), -1.0);
    let (encoding, batch) = decoded(LONGLONG, 0, &integer(8, true), Dates::Date, &[0xff; 8]);
    assert_eq!(
        (encoding, batch.all_text().as_str()),
        (Encoding::Integer, "18446744073709551615")
    );
    assert_eq!(number(YEAR, 0, ColumnKind::Year, &[124]), 2_024.0);
    assert_eq!(number(YEAR, 0, ColumnKind::Year, &[0]), 0.0);
}

#[test]
fn floating_numbers_are_finite() {
    assert_eq!(number(FLOAT, 4, ColumnKind::Float, &1.1_f32.to_le_bytes()), 1.1);
    assert_eq!(number(DOUBLE, 8, ColumnKind::Double, &0.1_f64.to_le_bytes()), 0.1);
    let plan = CellPlan::new(DOUBLE, 8, &ColumnKind::Double, Dates::Date).unwrap();
    for value in [f64::NAN, f64::INFINITY] {
        assert!(
            plan.decode(&value.to_le_bytes(), &mut BatchWriter::new())
                .is_err()
        );
    }
}

#[test]
fn strings_find_the_width_of_their_length() {
    assert_eq!(string(VARCHAR, 255, text("latin1"), b"\x02\xe9!"), "é!");
    assert_eq!(string(VARCHAR, 256, text("latin1"), b"\x02\x00\xe9!"), "é!");
    // CHAR(10) of latin1, and CHAR(255) of utf8mb4: 1020 bytes, whose upper bits hide in the type.
    assert_eq!(string(STRING, 0xfe0a, text("latin1"), b"\x01a"), "a");
    assert_eq!(
        string(STRING, 0xcefc, text("utf8mb4"), "\x02\x00é".as_bytes()),
        "é"
    );
    assert_eq!(string(BLOB, 1, text("utf8mb4"), b"\x01a"), "a");
    assert_eq!(string(BLOB, 3, text("utf16"), b"\x02\x00\x00\x20\xac"), "€");
    assert_eq!(
        string(VARCHAR_COMPRESSED, 301, text("utf8mb4"), b"\x03\x00\x00ab"),
        "ab"
    );
    assert_eq!(
        bytes(BLOB, 4, ColumnKind::Binary { fixed: None }, b"\x01\0\0\0\xff"),
        b"\xff"
    );
    assert_eq!(
        bytes(
            STRING,
            0xfe04,
            ColumnKind::Binary { fixed: Some(4) },
            b"\x02\x01\x02"
        ),
        [1, 2, 0, 0]
    );
}

#[test]
fn labels_are_found_by_number_or_bit() {
    let kind = || ColumnKind::Enum {
        labels: labels(&["x", "a,b"]),
    };
    assert_eq!(string(STRING, 0xf701, kind(), &[2]), "a,b");
    assert_eq!(string(STRING, 0xf701, kind(), &[0]), "");
    let set = ColumnKind::Set {
        labels: labels(&["p", "q", "r"]),
    };
    assert_eq!(string(STRING, 0xf801, set.clone(), &[0b101]), "p,r");
    assert_eq!(string(STRING, 0xf801, set.clone(), &[0]), "");
    for (metadata, kind, cell) in [(0xf701, kind(), 3_u8), (0xf801, set, 8)] {
        let plan = CellPlan::new(STRING, metadata, &kind, Dates::Date).unwrap();
        let error = plan.decode(&[cell], &mut BatchWriter::new()).unwrap_err();
        assert_eq!(error.code(), Code::LogUndecodable);
    }
}

#[test]
fn bits_and_shapes_are_bytes() {
    // BIT(9): one bit, one byte.
    assert_eq!(bytes(BIT, 0x0101, ColumnKind::Bit, &[1, 2]), [1, 2]);
    assert_eq!(bytes(BIT, 0x0800, ColumnKind::Bit, &[7; 8]), [7; 8]);
    assert_eq!(bytes(GEOMETRY, 4, ColumnKind::Geometry, b"\x01\0\0\0g"), b"g");
    assert_eq!(
        bytes(VECTOR, 4, ColumnKind::Vector, b"\x04\0\0\0\0\0\x80\x3f"),
        [0, 0, 0x80, 0x3f]
    );
    assert_eq!(
        bytes(VARCHAR, 4, ColumnKind::Vector, b"\x04\0\0\x80\x3f"),
        [0, 0, 0x80, 0x3f]
    );
}

#[test]
fn dates_are_moments_unless_no_calendar_has_them() {
    // 2024-02-29: 2024 << 9 | 2 << 5 | 29.
    let date = |packed: u32| packed.to_le_bytes()[..3].to_vec();
    let leap = date(2024 << 9 | 2 << 5 | 29);
    assert_eq!(number(DATE, 0, ColumnKind::Date, &leap), 1_709_164_800_000.0);
    assert_eq!(string(DATE, 0, ColumnKind::Date, &leap), "2024-02-29");
    for (packed, text) in [
        (0, "0000-00-00"),
        (2023 << 9 | 2 << 5 | 29, "2023-02-29"),
        (2024 << 9, "2024-00-00"),
    ] {
        let (_, batch) = decoded(DATE, 0, &ColumnKind::Date, Dates::Date, &date(packed));
        assert_eq!(
            (batch.numbers[0], batch.all_text().as_str()),
            (f64::INFINITY, text)
        );
    }
    let stamp = ColumnKind::Timestamp { fraction: 3 };
    let cell = [0x65, 0xdf, 0xd7, 0x8b, 0x11, 0xd0];
    assert_eq!(number(TIMESTAMP2, 3, stamp.clone(), &cell), 1_709_168_523_456.0);
    assert_eq!(
        string(TIMESTAMP2, 3, stamp.clone(), &cell),
        "2024-02-29 01:02:03.456"
    );
    let (_, batch) = decoded(TIMESTAMP2, 3, &stamp, Dates::Date, &[0; 6]);
    assert_eq!(
        (batch.numbers[0], batch.all_text().as_str()),
        (f64::INFINITY, "0000-00-00 00:00:00.000")
    );
    assert_eq!(
        string(TIME2, 0, ColumnKind::Time { fraction: 0 }, &[0x7f, 0xff, 0xff]),
        "-00:00:01"
    );
}

#[test]
fn a_type_that_is_not_the_definitions_is_refused() {
    let decimal = ColumnKind::Decimal {
        precision: 10,
        scale: 2,
    };
    let refused = [
        (LONG, 0, integer(8, false)),
        (LONG, 0, ColumnKind::Float),
        (LONG, 0, text("utf8mb4")),
        (NEWDECIMAL, 0x0a03, decimal.clone()),
        (0, 0, decimal),
        (VARCHAR, 10, integer(4, false)),
        (VARCHAR, 10, text("klingon")),
        (VARCHAR, 10, text("binary")),
        (JSON, 4, text("utf8mb4")),
        (BLOB, 4, ColumnKind::Json),
        (BLOB, 5, text("utf8mb4")),
        (BLOB, 0, text("utf8mb4")),
        (STRING, 0xf701, text("utf8mb4")),
        (STRING, 0xfe08, ColumnKind::Binary { fixed: Some(9) }),
        (STRING, 0xf803, ColumnKind::Enum { labels: labels(&[]) }),
        (BIT, 0x0900, ColumnKind::Bit),
        (DATETIME2, 3, ColumnKind::Datetime { fraction: 6 }),
        (DATETIME, 0, ColumnKind::Datetime { fraction: 7 }),
        (TIMESTAMP2, 0, ColumnKind::Datetime { fraction: 0 }),
        (STRING, 0xfe10, ColumnKind::Inet4),
    ];
    for (logged, metadata, kind) in refused {
        let error = CellPlan::new(logged, metadata, &kind, Dates::Date).unwrap_err();
        assert_eq!(error.code(), Code::LogUndecodable, "{logged} {metadata} {kind:?}");
    }
}

#[test]
fn a_difference_is_applied_to_the_cell_before_it() {
    // `{"a":1}` with its length, and JSON_SET(j, '$.a', 3), as MySQL 9.7 logs them.
    let base = [&[13, 0, 0, 0][..], &[0, 1, 0, 12, 0, 11, 0, 1, 0, 5, 1, 0, b'a']].concat();
    let difference = [9, 0, 0, 0, 0, 3, b'$', b'.', b'a', 3, 5, 3, 0, 0xaa];
    let plan = CellPlan::new(JSON, 4, &ColumnKind::Json, Dates::Date).unwrap();
    let mut out = BatchWriter::new();
    assert_eq!(plan.skip_json_difference(&difference).unwrap(), 13);
    assert_eq!(
        plan.decode_json_difference(&difference, Some(&base), &mut out)
            .unwrap(),
        13
    );
    assert_eq!(
        plan.decode_json_difference(&difference, None, &mut out).unwrap(),
        13
    );
    let batch = out.take();
    assert_eq!(
        batch.all_text(),
        r#"{"a":3}[{"op":"replace","path":"$.a","value":3}]"#
    );
    assert_eq!(batch.numbers, [7.0, f64::NEG_INFINITY, 48.0]);
}

fn any_kind() -> impl Strategy<Value = ColumnKind> {
    let fraction = 0..=7_u8;
    prop_oneof![
        (prop::sample::select(&[1_u8, 2, 3, 4, 8][..]), any::<bool>())
            .prop_map(|(width, sign)| integer(width, sign)),
        prop::sample::select(vec![
            ColumnKind::Year,
            ColumnKind::Float,
            ColumnKind::Double,
            ColumnKind::Date,
            ColumnKind::Bit,
            ColumnKind::Json,
            ColumnKind::Geometry,
            ColumnKind::Vector,
            ColumnKind::Uuid,
            ColumnKind::Inet4,
            ColumnKind::Inet6,
            ColumnKind::Binary { fixed: None },
            ColumnKind::JsonText {
                charset: "utf8mb4".into()
            },
            ColumnKind::Set {
                labels: labels(&["a", "b", "c"])
            },
            ColumnKind::Enum {
                labels: labels(&["a"; 300])
            },
            text("utf8mb4"),
            text("latin1"),
            text("ujis"),
            text("gb18030"),
        ]),
        (any::<u8>(), any::<u8>()).prop_map(|(precision, scale)| ColumnKind::Decimal { precision, scale }),
        fraction
            .clone()
            .prop_map(|fraction| ColumnKind::Time { fraction }),
        fraction
            .clone()
            .prop_map(|fraction| ColumnKind::Datetime { fraction }),
        fraction.prop_map(|fraction| ColumnKind::Timestamp { fraction }),
        (0..300_u32).prop_map(|length| ColumnKind::Binary { fixed: Some(length) }),
    ]
}

/// A type, and metadata that often fits it.
fn any_logged(kind: &ColumnKind) -> (Vec<u8>, Vec<u16>) {
    let types = vec![
        TINY,
        SHORT,
        LONG,
        FLOAT,
        DOUBLE,
        TIMESTAMP,
        LONGLONG,
        INT24,
        DATE,
        TIME,
        DATETIME,
        YEAR,
        NEWDATE,
        VARCHAR,
        BIT,
        TIMESTAMP2,
        DATETIME2,
        TIME2,
        TYPED_ARRAY,
        BLOB_COMPRESSED,
        VARCHAR_COMPRESSED,
        VECTOR,
        JSON,
        NEWDECIMAL,
        TINY_BLOB,
        MEDIUM_BLOB,
        LONG_BLOB,
        BLOB,
        VAR_STRING,
        STRING,
        GEOMETRY,
    ];
    let own = match *kind {
        ColumnKind::Decimal { precision, scale } => u16::from_be_bytes([precision, scale]),
        ColumnKind::Time { fraction }
        | ColumnKind::Datetime { fraction }
        | ColumnKind::Timestamp { fraction } => u16::from(fraction),
        ColumnKind::Binary { fixed: Some(length) } => 0xfe00 | length as u16,
        _ => 4,
    };
    (
        types,
        vec![own, 1, 2, 4, 300, 0x0101, 0xf701, 0xf702, 0xf801, 0xfe04, 0xfe10],
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_cells_never_panic_and_take_what_skip_takes(
        kind in any_kind(),
        input in prop::collection::vec(any::<u8>(), 0..40),
        dates in prop::sample::select(vec![Dates::Date, Dates::String]),
        odd: u16,
    ) {
        let (types, mut metadata) = any_logged(&kind);
        metadata.push(odd);
        for logged in types {
            for &metadata in &metadata {
                let Ok(plan) = CellPlan::new(logged, metadata, &kind, dates) else {
                    continue;
                };
                let (skipped, mut out) = (plan.skip(&input), BatchWriter::new());
                if let Ok(length) = plan.decode(&input, &mut out) {
                    prop_assert!(length <= input.len());
                    prop_assert_eq!(length, skipped.unwrap());
                    prop_assert!(!out.take().numbers.is_empty());
                }
            }
        }
    }

    #[test]
    fn arbitrary_differences_never_panic(
        input in prop::collection::vec(any::<u8>(), 0..40),
        base in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
    ) {
        let framed = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes(), bytes].concat();
        let (input, base) = (framed(&input), base.map(|base| framed(&base)));
        let plan = CellPlan::new(JSON, 4, &ColumnKind::Json, Dates::Date).unwrap();
        prop_assert_eq!(plan.skip_json_difference(&input).unwrap(), input.len());
        if let Ok(length) = plan.decode_json_difference(&input, base.as_deref(), &mut BatchWriter::new()) {
            prop_assert_eq!(length, input.len());
        }
    }

    #[test]
    fn mangled_json_never_panics(place in 0..33_usize, byte: u8, other in 0..33_usize, value: u8) {
        let mut cell = vec![
            0x00, 0x02, 0x00, 0x20, 0x00, 0x12, 0x00, 0x01, 0x00, 0x13, 0x00, 0x01, 0x00, 0x05, 0x01, 0x00, 0x02, 0x14,
            0x00, b'a', b'b', 0x02, 0x00, 0x0c, 0x00, 0x05, 0x02, 0x00, 0x0c, 0x0a, 0x00, 0x01, b'x',
        ];
        cell[place] = byte;
        cell[other] = value;
        let mut framed = (cell.len() as u32).to_le_bytes().to_vec();
        framed.extend(&cell);
        let plan = CellPlan::new(JSON, 4, &ColumnKind::Json, Dates::Date).unwrap();
        let mut out = BatchWriter::new();
        if plan.decode(&framed, &mut out).is_ok() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&out.take().all_text()).is_ok());
        }
    }
}
