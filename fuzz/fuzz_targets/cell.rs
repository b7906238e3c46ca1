//! Cells of rows: the first bytes choose the type of the log, its metadata and the column, the rest is the cell. What is passed over and
//! what is decoded must be of one length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer_core::config::Dates;
use streamer_core::event::BatchWriter;
use streamer_core::source::mysql::CellPlan;
use streamer_core::source::mysql::schema::ColumnKind;

fn kind(choice: u8, size: u8) -> ColumnKind {
    let text = |charset: &str| ColumnKind::Text {
        charset: charset.into(),
        fixed: size & 1 != 0,
    };
    match choice % 20 {
        0 => ColumnKind::Integer {
            bytes: [1, 2, 3, 4, 8][usize::from(size % 5)],
            unsigned: size & 64 != 0,
        },
        1 => ColumnKind::Year,
        2 => ColumnKind::Float,
        3 => ColumnKind::Double,
        4 => ColumnKind::Date,
        5 => ColumnKind::Bit,
        6 => ColumnKind::Json,
        7 => ColumnKind::Geometry,
        8 => ColumnKind::Vector,
        9 => ColumnKind::Uuid,
        10 => ColumnKind::Inet6,
        11 => ColumnKind::Binary {
            fixed: (size & 1 != 0).then_some(u32::from(size)),
        },
        12 => ColumnKind::Set {
            labels: ["a", "b", "c"].map(Into::into).into(),
        },
        13 => ColumnKind::Enum {
            labels: ["a", "b", "c"].map(Into::into).into(),
        },
        14 => ColumnKind::Decimal {
            precision: size,
            scale: size.rotate_left(3),
        },
        15 => ColumnKind::Time { fraction: size % 8 },
        16 => ColumnKind::Datetime { fraction: size % 8 },
        17 => ColumnKind::Timestamp { fraction: size % 8 },
        18 => text("gb18030"),
        _ => text("utf8mb4"),
    }
}

fuzz_target!(|data: &[u8]| {
    let [logged, low, high, choice, size, cell @ ..] = data else {
        return;
    };
    let (metadata, kind) = (u16::from_le_bytes([*low, *high]), kind(*choice, *size));
    let Ok(plan) = CellPlan::new(*logged, metadata, &kind, Dates::Date) else {
        return;
    };
    let (skipped, mut out) = (plan.skip(cell), BatchWriter::new());
    if let Ok(length) = plan.decode(cell, &mut out) {
        assert!(length <= cell.len());
        assert_eq!(Some(length), skipped.ok());
    }
    let _ = plan.decode_json_difference(cell, None, &mut BatchWriter::new());
});
