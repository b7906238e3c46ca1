//! Tests of what becomes of entries.

use bson::{Bson, Document, Timestamp, doc};

use super::*;

fn optime(n: u32) -> OpTime {
    OpTime {
        seconds: n,
        increment: 1,
        term: 2,
    }
}

fn reader(patterns: &[&str]) -> OplogReader {
    let tables = TableFilter::parse(patterns, Some("shop"))
        .unwrap()
        .without_system_databases();
    let limits = Limits {
        changes: 100,
        bytes: 1 << 20,
    };
    OplogReader::new(tables, limits, optime(1), false, false)
}

fn entry(n: u32, op: &str, ns: &str, o: Document) -> Document {
    doc! {
        "op": op, "ns": ns, "o": o, "o2": { "_id": 1 },
        "ts": Bson::Timestamp(Timestamp { time: n, increment: 1 }), "t": 2_i64,
    }
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn take(reader: &mut OplogReader, entry: &Document) -> Taken {
    let raw = raw(entry);
    reader.take(&Entry::read(&raw).unwrap()).unwrap()
}

/// Takes an entry of several operations.
fn take_parts(reader: &mut OplogReader, entry: &Document) {
    let raw = raw(entry);
    let entry = Entry::read(&raw).unwrap();
    let Taken::Parts(mut part) = reader.take(&entry).unwrap() else {
        panic!("one operation");
    };
    reader.operation(&mut part, &entry, None).unwrap();
    reader.end(&part);
}

fn batch(reader: &mut OplogReader) -> crate::event::Batch {
    reader.output.flush();
    match reader.output.ready.pop_front() {
        Some(Item::Batch(batch)) => batch,
        other => panic!("{other:?}"),
    }
}

/// The seventh number of a record is its flags: 1 the last of its transaction, 2 uncommitted.
fn flags(reader: &mut OplogReader) -> Vec<f64> {
    batch(reader).numbers.chunks(14).map(|record| record[6]).collect()
}

fn insert(id: i32) -> Document {
    doc! { "op": "i", "ns": "shop.t", "o": { "_id": id }, "o2": { "_id": id } }
}

fn transaction(n: u32, operations: Vec<Document>) -> Document {
    let mut all = entry(n, "c", "admin.$cmd", doc! { "applyOps": operations });
    all.insert("lsid", doc! { "id": "s" });
    all.insert("txnNumber", 4_i64);
    all
}

#[test]
fn what_a_majority_has_is_not_marked() {
    let mut reader = reader(&["*"]);
    reader.committed = optime(2);
    for n in 2..4 {
        assert!(matches!(
            take(&mut reader, &entry(n, "i", "shop.t", doc! { "_id": 1 })),
            Taken::Done
        ));
    }
    assert_eq!(flags(&mut reader), [0.0, 2.0]);
    assert_eq!((reader.at(), reader.touched), (optime(3), optime(3)));
}

#[test]
fn what_is_left_out_moves_the_place_only() {
    let mut reader = reader(&["*", "!secret"]);
    let mut moved = entry(2, "i", "shop.t", doc! { "_id": 1 });
    moved.insert("fromMigrate", true);
    for entry in [
        moved,
        entry(3, "i", "shop.secret", doc! { "_id": 1 }),
        entry(4, "i", "shop.system.js", doc! { "_id": 1 }),
        entry(5, "c", "other.$cmd", doc! { "drop": "t" }),
        entry(6, "n", "", doc! { "msg": "periodic noop" }),
        entry(7, "c", "shop.$cmd", doc! { "startIndexBuild": "t" }),
        entry(8, "c", "shop.$cmd", doc! { "create": "system.views" }),
    ] {
        take(&mut reader, &entry);
    }
    reader.output.flush();
    assert!(reader.output.ready.is_empty());
    assert_eq!((reader.at(), reader.touched), (optime(8), NOTHING));
    reader.advance(optime(5));
    assert_eq!(reader.at(), optime(8));
    reader.advance(optime(9));
    assert_eq!(reader.at(), optime(9));
}

#[test]
fn a_transaction_ends_with_its_last_delivered_change() {
    let mut reader = reader(&["*", "!secret"]);
    reader.committed = optime(9);
    let mut secret = insert(3);
    secret.insert("ns", "shop.secret");
    take_parts(&mut reader, &transaction(2, vec![insert(1), insert(2), secret]));
    let batch = batch(&mut reader);
    let numbers: Vec<_> = batch
        .numbers
        .chunks(14)
        .map(|record| [record[5], record[6]])
        .collect();
    assert_eq!(numbers, [[0.0, 0.0], [1.0, 1.0]]);
    let text = batch.all_text();
    assert!(
        text.contains("0000000200000001-2.0") && text.contains("0000000200000001-2.1"),
        "{text}"
    );
    assert!(text.contains(":4/2"), "{text}");
    assert_eq!(reader.at(), optime(2));
    assert!(!reader.position().contains('+'));
}

#[test]
fn a_place_inside_a_transaction_passes_over_what_was_delivered() {
    let mut first = reader(&["*"]);
    first.output = Output::new(
        first.output.tables.clone(),
        Limits {
            changes: 1,
            bytes: 1 << 20,
        },
    );
    let whole = transaction(2, vec![insert(1), insert(2), insert(3)]);
    take_parts(&mut first, &whole);
    let batches: Vec<_> = std::iter::once(batch(&mut first))
        .chain(std::iter::once(batch(&mut first)))
        .collect();
    let position = crate::offset::Position::parse(batches[1].position.as_deref().unwrap()).unwrap();
    assert_eq!(position.within.as_ref().unwrap().changes, 2);
    let mut again = reader(&["*"]);
    again.resume_within(position.within);
    take_parts(&mut again, &whole);
    let batch = batch(&mut again);
    assert_eq!((batch.changes, batch.numbers[5]), (1, 2.0));
    assert!(batch.all_text().contains("-2.2"));
}

#[test]
fn several_writes_in_one_entry_are_no_transaction() {
    let mut reader = reader(&["*"]);
    let mut separate = transaction(2, vec![insert(1), insert(2)]);
    separate.insert("multiOpType", 1);
    separate.insert(
        "prevOpTime",
        doc! { "ts": Bson::Timestamp(Timestamp { time: 1, increment: 1 }), "t": 2_i64 },
    );
    assert!(
        Part::of(&Entry::read(&raw(&separate)).unwrap())
            .unwrap()
            .previous
            .is_none()
    );
    take_parts(&mut reader, &separate);
    let batch = batch(&mut reader);
    assert_eq!((batch.changes, batch.numbers[6]), (2, 2.0));
    assert!(batch.all_text().contains("+2.1.2/2"), "{}", batch.all_text());
}

#[test]
fn operations_inside_of_others_are_found_and_too_deep_ones_refused() {
    let mut reader = reader(&["*"]);
    let nest =
        |operations: Vec<Document>| doc! { "op": "c", "ns": "shop.$cmd", "o": { "applyOps": operations } };
    take_parts(
        &mut reader,
        &transaction(2, vec![nest(vec![insert(1), insert(2)]), insert(3)]),
    );
    assert_eq!(batch(&mut reader).changes, 3);
    let mut deep = insert(1);
    for _ in 0..20 {
        deep = nest(vec![deep]);
    }
    take_parts(&mut reader, &transaction(3, vec![deep]));
    let Some(Item::Gap(gap)) = reader.output.ready.pop_front() else {
        panic!("no gap");
    };
    assert_eq!(gap.reason, GapReason::Undecodable);
}

#[test]
fn a_change_that_is_not_understood_is_a_gap() {
    let mut reader = reader(&["*"]);
    take(&mut reader, &entry(2, "u", "shop.t", doc! { "$v": 9 }));
    take(&mut reader, &entry(3, "i", "shop.t", doc! { "_id": 1 }));
    let Some(Item::Gap(gap)) = reader.output.ready.pop_front() else {
        panic!("no gap");
    };
    assert_eq!(gap.tables, Some(vec!["shop.t".to_owned()]));
    assert_eq!(batch(&mut reader).changes, 1);
}

#[test]
fn definitions_are_told_in_the_words_of_a_change_stream() {
    let mut reader = reader(&["*"]);
    let index = doc! { "v": 2, "key": { "a": 1 }, "name": "a_1" };
    for (n, o) in [
        doc! { "create": "t", "idIndex": { "v": 2 } },
        doc! { "createIndexes": "t", "v": 2, "key": { "a": 1 }, "name": "a_1" },
        doc! { "commitIndexBuild": "t", "indexBuildUUID": "u", "indexes": [index.clone()] },
        doc! { "collMod": "t", "validator": {} },
    ]
    .into_iter()
    .enumerate()
    {
        take(&mut reader, &entry(n as u32 + 2, "c", "shop.$cmd", o));
    }
    let mut dropped = entry(7, "c", "shop.$cmd", doc! { "dropIndexes": "t", "index": "a_1" });
    dropped.insert("o2", index);
    take(&mut reader, &dropped);
    let statements: Vec<_> = reader
        .output
        .ready
        .drain(..)
        .map(|item| match item {
            Item::Schema(schema) => schema.statement.unwrap().to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    let indexes = r#""indexes":[{"key":{"a":1},"name":"a_1","v":2}]}"#;
    assert_eq!(
        statements,
        [
            r#"{"create":"t","idIndex":{"v":2}}"#.to_owned(),
            format!(r#"{{"createIndexes":"t",{indexes}"#),
            format!(r#"{{"createIndexes":"t",{indexes}"#),
            r#"{"modify":"t","validator":{}}"#.to_owned(),
            format!(r#"{{"dropIndexes":"t",{indexes}"#),
        ]
    );
}

#[test]
fn collections_that_go_are_changes() {
    let mut reader = reader(&["*"]);
    for (n, o) in [
        doc! { "drop": "t" },
        doc! { "renameCollection": "shop.t", "to": "shop.u", "stayTemp": false },
        doc! { "renameCollection": "shop.t", "to": "shop.u", "dropTarget": "uuid" },
        doc! { "dropDatabase": 1 },
    ]
    .into_iter()
    .enumerate()
    {
        take(&mut reader, &entry(n as u32 + 2, "c", "shop.$cmd", o));
    }
    assert_eq!(batch(&mut reader).changes, 5);
}

#[test]
fn views_are_definitions() {
    let mut reader = reader(&["*", "!secret"]);
    let view = |name: &str| doc! { "_id": format!("shop.{name}"), "viewOn": "t", "pipeline": [] };
    take(&mut reader, &entry(2, "i", "shop.system.views", view("v")));
    take(&mut reader, &entry(3, "u", "shop.system.views", view("v")));
    take(&mut reader, &entry(4, "i", "shop.system.views", view("secret")));
    take(
        &mut reader,
        &entry(5, "d", "shop.system.views", doc! { "_id": "shop.v" }),
    );
    let statements: Vec<_> = reader
        .output
        .ready
        .drain(..)
        .filter_map(|item| match item {
            Item::Schema(schema) => schema.statement,
            _ => None,
        })
        .collect();
    let rest = r#""v","pipeline":[],"viewOn":"t"}"#;
    assert_eq!(*statements[0], format!(r#"{{"create":{rest}"#));
    assert_eq!(&*statements[1], r#"{"modify":"v","pipeline":[],"viewOn":"t"}"#);
    assert_eq!(batch(&mut reader).changes, 1);
}

#[test]
fn definitions_inside_of_a_transaction_count_for_its_positions_only() {
    let mut reader = reader(&["*"]);
    let create = doc! { "op": "c", "ns": "shop.$cmd", "o": { "create": "new" } };
    take_parts(&mut reader, &transaction(2, vec![create, insert(1)]));
    let Some(Item::Schema(schema)) = reader.output.ready.pop_front() else {
        panic!("no definition");
    };
    assert!(schema.position.ends_with(":4/1"), "{}", schema.position);
    let batch = batch(&mut reader);
    assert_eq!((batch.numbers[5], batch.numbers[6]), (0.0, 3.0));
    assert!(batch.position.unwrap().ends_with(":4/2"));
}

#[test]
fn a_rollback_is_told_only_where_it_took_back_what_was_delivered() {
    let mut reader = reader(&["*"]);
    take(&mut reader, &entry(2, "i", "shop.t", doc! { "_id": 1 }));
    take(&mut reader, &entry(3, "n", "", doc! {}));
    batch(&mut reader);
    reader.report_rewound(optime(2));
    assert!(reader.output.ready.is_empty());
    assert_eq!(reader.at(), optime(2));
    reader.report_rewound(optime(1));
    let Some(Item::Gap(gap)) = reader.output.ready.pop_front() else {
        panic!("no gap");
    };
    assert_eq!(
        (gap.reason.as_str(), gap.reason.is_of_place()),
        ("source-rewound", false)
    );
    assert!(gap.from.unwrap().starts_with("mongodb-oplog:2.1.2~"));
    assert!(gap.to.unwrap().starts_with("mongodb-oplog:1.1.2~"));
}

#[test]
fn the_first_entry_of_a_cursor_must_be_the_place() {
    let mut reader = reader(&["*"]);
    let whole = transaction(1, vec![insert(1), insert(2)]);
    let anchor = |reader: &OplogReader, entry: &Document| reader.anchor(&Entry::read(&raw(entry)).unwrap());
    assert_eq!(anchor(&reader, &whole), Anchor::Here);
    assert_eq!(anchor(&reader, &entry(2, "n", "", doc! {})), Anchor::Missing);
    let mut other = whole.clone();
    other.insert("t", 3_i64);
    assert_eq!(anchor(&reader, &other), Anchor::Missing);
    // A place inside of the oldest entry of all.
    let name = Part::of(&Entry::read(&raw(&whole)).unwrap())
        .unwrap()
        .transaction()
        .to_owned();
    reader.resume_within(Some(Within {
        transaction: name.into(),
        changes: 1,
    }));
    assert_eq!(anchor(&reader, &whole), Anchor::Unread);
    reader.jump(optime(1), true);
    assert_eq!(anchor(&reader, &whole), Anchor::Unread);
    assert_eq!(&*reader.position(), "");
}
