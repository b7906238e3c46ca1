//! Batches as the engine writes them, in `__test__/fixtures/batches.jsonl`, which `__test__/decode.test.js` reads: so the reader is
//! tested against the real writer. One JSON document a line, `{ numbers, text, wide, bytes, shapes }`; numbers that JSON cannot hold are
//! `"NaN"`, `"Infinity"`, `"-Infinity"`. `UPDATE_FIXTURES=1 cargo test -p streamer-core --test sample_batches` writes it anew.

use std::sync::Arc;

use serde_json::{Value, json};
use streamer_core::event::{
    Batch, BatchWriter, Column, Encoding, Operation, Shape, TableLayout, Transaction,
};

fn number(value: f64) -> Value {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(value)
    }
}

fn line(batch: &Batch) -> String {
    let numbers: Vec<_> = batch.numbers.iter().copied().map(number).collect();
    let shapes: Vec<_> = batch.shapes.iter().map(AsRef::as_ref).collect();
    let text: String = batch.text.iter().map(|&byte| char::from(byte)).collect();
    let document = json!({ "numbers": numbers, "text": text, "wide": batch.wide, "bytes": batch.bytes, "shapes": shapes });
    format!("{document}\n")
}

fn shape(id: u32, table: &str, columns: &[(&str, Encoding)], key: &[u32], present: &[u32]) -> Arc<Shape> {
    let columns = columns
        .iter()
        .map(|(name, encoding)| Column {
            name: (*name).to_owned(),
            encoding: *encoding,
        })
        .collect();
    let layout = TableLayout {
        database: "shop".to_owned(),
        table: table.to_owned(),
        columns,
        key: key.to_vec(),
    };
    Arc::new(Shape {
        id,
        layout: Arc::new(layout),
        present: present.to_vec(),
        synthetic: false,
    })
}

fn transaction(id: &str, before: &str) -> Transaction {
    Transaction {
        id: id.into(),
        committed_ms: 1_700_000_000_123.0,
        position_before: before.into(),
    }
}

/// Every encoding with its plain form, its escape, and NULL.
fn encodings() -> Batch {
    let columns = [
        ("id", Encoding::Number),
        ("big", Encoding::Integer),
        ("name", Encoding::Text),
        ("raw", Encoding::Bytes),
        ("at", Encoding::Date),
        ("doc", Encoding::Json),
        ("flags", Encoding::Set),
    ];
    let mut writer = BatchWriter::new();
    writer.define(shape(0, "orders", &columns, &[0], &[0, 1, 2, 3, 4, 5, 6]));
    writer.begin_transaction(transaction("tx:1", "before:1"), 0);
    writer.begin_row(Operation::Insert, None, Some(0), 0);
    writer.put_number(1.0);
    writer.put_i64(-5);
    writer.put_text("grün 😀");
    writer.put_bytes(&[0, 255, 7]);
    writer.put_number(1_600_000_000_000.0);
    writer.put_text(r#"{"a":[1,"\u0000i5"],"__proto__":{"x":1}}"#);
    writer.put_text("a,b");
    writer.end_row();
    writer.begin_row(Operation::Insert, None, Some(0), 0);
    writer.put_number(2.5);
    writer.put_u64(u64::MAX);
    writer.put_text("");
    writer.put_bytes(&[]);
    writer.put_escaped("0000-00-00 00:00:00");
    writer
        .put_escaped(r#"{"n":"\u0000i18446744073709551615","s":["\u0000s\u0000x"],"__proto__":"\u0000i7"}"#);
    writer.put_text("");
    writer.end_row();
    writer.begin_row(Operation::Insert, None, Some(0), 0);
    for _ in 0..7 {
        writer.put_null();
    }
    writer.end_row();
    writer.commit(&"after:1".into());
    writer.take()
}

/// Updates with partial images, a JSON difference, and a delete, in two batches of one transaction.
fn partial_images() -> [Batch; 2] {
    let columns = [
        ("a", Encoding::Number),
        ("b", Encoding::Number),
        ("doc", Encoding::Json),
    ];
    let mut writer = BatchWriter::new();
    writer.define(shape(1, "items", &columns, &[1, 0], &[0, 1]));
    writer.define(shape(2, "items", &columns, &[1, 0], &[1, 2]));
    writer.begin_transaction(transaction("tx:2", "before:2"), 0);
    writer.begin_row(Operation::Update, Some(1), Some(2), 1);
    writer.put_changed([false, true, true]);
    writer.put_number(1.0);
    writer.put_number(2.0);
    writer.put_number(3.0);
    writer.put_json_difference(r#"[{"op":"replace","path":"$.x","value":1}]"#);
    writer.end_row();
    let first = writer.take();
    writer.begin_row(Operation::Delete, Some(2), None, 0);
    writer.put_number(9.0);
    writer.put_text("null");
    writer.end_row();
    writer.table_change(Operation::Rename, "shop", "items", "shop.things");
    writer.commit(&"after:2".into());
    writer.begin_transaction(transaction("tx:3", "after:2"), 0);
    writer.table_change(Operation::Truncate, "shop", "things", "");
    writer.commit(&"after:3".into());
    [first, writer.take()]
}

/// 50 columns with names that mean something in JavaScript, and changed sets of two words.
fn wide() -> Batch {
    let special = [
        "__proto__",
        "constructor",
        "toString",
        "1",
        "0",
        "",
        "then",
        "toJSON",
    ];
    let names: Vec<String> = special
        .iter()
        .map(|name| (*name).to_owned())
        .chain((special.len()..50).map(|index| format!("c{index}")))
        .collect();
    let columns: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), Encoding::Number))
        .collect();
    let present: Vec<_> = (0..50).collect();
    let mut writer = BatchWriter::new();
    writer.define(shape(3, "wide", &columns, &[], &present));
    writer.begin_transaction(transaction("tx:4", "after:3"), 5);
    writer.begin_row(
        Operation::Update,
        Some(3),
        Some(3),
        BatchWriter::changed_words(50),
    );
    writer.put_changed((0..50).map(|column| matches!(column, 0 | 47 | 48 | 49)));
    for offset in [0, 100] {
        for column in 0..50 {
            writer.put_number(f64::from(offset + column));
        }
    }
    writer.end_row();
    writer.commit(&"after:4".into());
    writer.take()
}

#[test]
fn the_fixture_holds_what_the_writer_writes() {
    let [first, second] = partial_images();
    let written: String = [encodings(), first, second, wide()].iter().map(line).collect();
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../__test__/fixtures/batches.jsonl"
    );
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(file, &written).expect("the fixture can be written");
    }
    let fixture = std::fs::read_to_string(file).expect("the fixture exists");
    assert_eq!(written, fixture);
}
