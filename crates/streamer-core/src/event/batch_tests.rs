//! Tests of [`BatchWriter`].

use super::*;

fn transaction() -> Transaction {
    Transaction {
        id: "t:1".into(),
        committed_ms: 7.0,
        position_before: "p".into(),
    }
}

#[test]
fn rows_of_one_shape_share_a_record() {
    let mut writer = BatchWriter::new();
    writer.begin_transaction(transaction(), 0);
    for value in [1.0, 2.0] {
        writer.begin_row(Operation::Insert, None, Some(3), 0);
        writer.put_number(value);
        writer.end_row();
    }
    writer.commit(&"q".into());
    let batch = writer.take();
    assert_eq!(batch.text, b"t:1pq");
    assert_eq!(
        batch.numbers,
        [
            1.0, 7.0, 3.0, 4.0, 0.0, 2.0, 0.0, -1.0, 3.0, 0.0, 2.0, 1.0, 2.0, 3.0, 5.0
        ]
    );
    assert_eq!(batch.changes, 2);
    assert_eq!(batch.position.as_deref(), Some("q"));
}

#[test]
fn a_transaction_goes_on_in_the_next_batch_with_its_index() {
    let mut writer = BatchWriter::new();
    writer.begin_transaction(transaction(), 5);
    writer.begin_row(Operation::Insert, None, Some(0), 0);
    writer.end_row();
    writer.take();
    writer.begin_row(Operation::Insert, None, Some(0), 0);
    writer.end_row();
    let batch = writer.take();
    assert_eq!(batch.numbers[..5], [1.0, 7.0, 3.0, 4.0, 6.0]);
    assert_eq!(batch.position.as_deref(), Some("p+t:1/7"));
}

#[test]
fn an_empty_transaction_leaves_nothing() {
    let mut writer = BatchWriter::new();
    writer.begin_transaction(transaction(), 0);
    writer.commit(&"q".into());
    assert!(writer.is_empty());
}

#[test]
fn text_beyond_latin_1_stands_apart() {
    let mut writer = BatchWriter::new();
    writer.put_text("aé");
    writer.put_text("😀é");
    writer.put_text("");
    writer.put_utf8("ÿ".as_bytes());
    writer.put_utf8(b"\xff");
    let batch = writer.take();
    assert_eq!(batch.numbers, [2.0, -3.0, 2.0, 3.0, -4.0]);
    assert_eq!(batch.text, b"a\xe9\xff");
    assert_eq!(batch.wide, [0x3d, 0xd8, 0x00, 0xde, 0xe9, 0x00, 0xfd, 0xff]);
}

#[test]
fn integers_outside_the_safe_range_are_escaped() {
    let mut writer = BatchWriter::new();
    writer.put_i64(-9_007_199_254_740_991);
    writer.put_u64(u64::MAX);
    let batch = writer.take();
    assert_eq!(batch.numbers, [-9_007_199_254_740_991.0, f64::INFINITY, 20.0]);
    assert_eq!(batch.text, b"18446744073709551615");
}

#[test]
fn a_rewound_row_leaves_no_trace() {
    let mut writer = BatchWriter::new();
    writer.put_text("kept");
    let mark = writer.mark();
    writer.put_text("é");
    writer.put_text("€");
    writer.put_bytes(&[1]);
    writer.rewind(mark);
    let batch = writer.take();
    assert_eq!(batch.text, b"kept");
    assert_eq!(
        (batch.wide.len(), batch.bytes.len(), batch.numbers.len()),
        (0, 0, 1)
    );
}

#[test]
fn an_abandoned_transaction_leaves_the_ones_before_it() {
    let mut writer = BatchWriter::new();
    writer.begin_transaction(transaction(), 0);
    writer.begin_row(Operation::Insert, None, Some(0), 0);
    writer.end_row();
    writer.commit(&"q".into());
    let kept = writer.mark().numbers;
    writer.begin_transaction(transaction(), 0);
    writer.begin_row(Operation::Insert, None, Some(0), 0);
    writer.end_row();
    assert_eq!(writer.abandon_transaction(), 0);
    let batch = writer.take();
    assert_eq!((batch.changes, batch.numbers.len()), (1, kept));
}

#[test]
fn an_abandoned_transaction_says_how_much_of_it_was_taken() {
    let mut writer = BatchWriter::new();
    writer.begin_transaction(transaction(), 0);
    for _ in 0..3 {
        writer.begin_row(Operation::Insert, None, Some(0), 0);
        writer.end_row();
    }
    writer.take();
    writer.begin_row(Operation::Insert, None, Some(0), 0);
    writer.end_row();
    assert_eq!(writer.abandon_transaction(), 3);
    assert!(writer.is_empty());
}

#[test]
fn changed_sets_are_cut_into_words_of_48_bits() {
    let mut writer = BatchWriter::new();
    writer.put_changed((0..49).map(|column| column == 0 || column == 48));
    assert_eq!(writer.take().numbers, [1.0, 1.0]);
    assert_eq!(BatchWriter::changed_words(48), 1);
    assert_eq!(BatchWriter::changed_words(49), 2);
}
