//! Tests of what becomes of events.

use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};

use super::*;

fn reader(patterns: &[&str]) -> Reader {
    let tables = TableFilter::parse(patterns, Some("shop"))
        .unwrap()
        .without_system_databases();
    let limits = Limits {
        changes: 100,
        bytes: 1 << 20,
    };
    Reader::new(tables, limits, Demands::default(), Resume::Now, None)
}

fn token(n: u32) -> String {
    format!("82{n:08X}000000012B042C")
}

fn event(n: u32, operation: &str, table: &str) -> Document {
    doc! {
        "_id": { "_data": token(n) },
        "operationType": operation,
        "clusterTime": Bson::Timestamp(Timestamp { time: n, increment: 1 }),
        "ns": { "db": "shop", "coll": table },
        "documentKey": { "_id": i64::from(n) },
        "fullDocument": { "_id": i64::from(n) },
    }
}

fn take(reader: &mut Reader, event: &Document) -> Taken {
    reader.take(&RawDocumentBuf::try_from(event).unwrap()).unwrap()
}

fn changes(reader: &mut Reader) -> Vec<u32> {
    reader.flush();
    let count = |item| match item {
        Item::Batch(batch) => batch.changes,
        _ => 0,
    };
    reader.output.ready.drain(..).map(count).collect()
}

#[test]
fn fragments_become_one_event() {
    let mut reader = reader(&["*"]);
    let mut first = event(1, "update", "t");
    first.remove("fullDocument");
    first.insert("splitEvent", doc! { "fragment": 1, "of": 2 });
    assert_eq!(take(&mut reader, &first), Taken::Partly);
    assert_eq!(reader.resume(), Resume::Now);
    let second = doc! {
        "_id": { "_data": token(2) },
        "splitEvent": { "fragment": 2, "of": 2 },
        "fullDocument": { "_id": 1_i64, "name": "assembled" },
    };
    assert_eq!(take(&mut reader, &second), Taken::Done);
    reader.flush();
    let Some(Item::Batch(batch)) = reader.output.ready.pop_front() else {
        panic!("no batch");
    };
    assert_eq!(batch.changes, 1);
    assert!(batch.bytes.windows(9).any(|bytes| bytes == b"assembled"));
    assert!(reader.position().starts_with(&format!("mongodb:{}", token(2))));
}

#[test]
fn a_change_is_the_last_of_its_transaction_where_that_is_known() {
    let mut reader = reader(&["*"]);
    let mut in_transaction = event(1, "insert", "t");
    in_transaction.insert("lsid", doc! { "id": "s" });
    in_transaction.insert("txnNumber", 4_i64);
    // The seventh number of a record says it.
    let last = |reader: &mut Reader| {
        reader.flush();
        match reader.output.ready.pop_front() {
            Some(Item::Batch(batch)) => batch
                .numbers
                .chunks(14)
                .map(|record| record[6])
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    take(&mut reader, &in_transaction);
    take(&mut reader, &in_transaction);
    take(&mut reader, &event(2, "insert", "t"));
    assert_eq!(last(&mut reader), [0.0, 1.0, 0.0]);
    take(&mut reader, &in_transaction);
    reader.advance(&token(1));
    assert_eq!(last(&mut reader), [0.0]);
    take(&mut reader, &in_transaction);
    reader.advance(&token(3));
    assert_eq!(last(&mut reader), [1.0]);
}

#[test]
fn what_the_filter_leaves_out_moves_the_position_only() {
    let mut reader = reader(&["*", "!secret"]);
    take(&mut reader, &event(1, "insert", "secret"));
    take(&mut reader, &event(2, "drop", "secret"));
    assert!(changes(&mut reader).is_empty());
    assert!(reader.position().contains(&token(2)));
    take(&mut reader, &event(3, "insert", "t"));
    take(&mut reader, &event(4, "drop", "t"));
    assert_eq!(changes(&mut reader), [2]);
}

#[test]
fn an_invalidate_is_resumed_behind() {
    let mut reader = reader(&["t"]);
    let invalidate = doc! { "_id": { "_data": token(5) }, "operationType": "invalidate" };
    assert_eq!(take(&mut reader, &invalidate), Taken::Invalidated);
    assert!(matches!(
        reader.resume(),
        Resume::Token(Token {
            is_invalidate: true,
            ..
        })
    ));
    take(&mut reader, &event(6, "insert", "t"));
    assert!(matches!(
        reader.resume(),
        Resume::Token(Token {
            is_invalidate: false,
            ..
        })
    ));
}

#[test]
fn a_rename_over_a_collection_drops_it_first() {
    let mut reader = reader(&["*"]);
    let mut rename = event(1, "rename", "t");
    rename.insert("to", doc! { "db": "shop", "coll": "u" });
    take(&mut reader, &rename);
    assert_eq!(changes(&mut reader), [1]);
    rename.insert(
        "operationDescription",
        doc! { "dropTarget": "uuid", "to": { "db": "shop", "coll": "u" } },
    );
    take(&mut reader, &rename);
    assert_eq!(changes(&mut reader), [2]);
}

#[test]
fn definitions_stand_behind_the_changes_before_them() {
    let mut reader = reader(&["*"]);
    take(&mut reader, &event(1, "insert", "t"));
    let mut create = event(2, "createIndexes", "t");
    create.insert("operationDescription", doc! { "indexes": [{ "name": "a_1" }] });
    take(&mut reader, &create);
    let items: Vec<_> = reader.output.ready.drain(..).collect();
    let [Item::Batch(_), Item::Schema(schema)] = items.as_slice() else {
        panic!("{items:?}");
    };
    let statement = schema.statement.as_deref().unwrap();
    assert_eq!(statement, r#"{"createIndexes":"t","indexes":[{"name":"a_1"}]}"#);
}

fn demanding(demands: Demands) -> Reader {
    let mut reader = reader(&["t", "u"]);
    reader.demands = demands;
    reader
}

#[test]
fn changes_without_a_required_image_are_one_gap_behind_them() {
    let mut reader = demanding(Demands {
        before: true,
        after: true,
        has_pipeline: false,
    });
    take(&mut reader, &event(1, "insert", "t"));
    let mut update = event(2, "update", "t");
    update.insert("fullDocument", Bson::Null);
    update.insert("fullDocumentBeforeChange", doc! { "_id": 2_i64 });
    take(&mut reader, &update);
    take(&mut reader, &event(3, "delete", "u"));
    reader.flush();
    let (batch, gap) = (reader.output.ready.pop_front(), reader.output.ready.pop_front());
    assert!(matches!(batch, Some(Item::Batch(batch)) if batch.changes == 3));
    let Some(Item::Gap(gap)) = gap else {
        panic!("no gap")
    };
    assert_eq!(gap.tables, Some(vec!["shop.t".to_owned(), "shop.u".to_owned()]));
    assert!(gap.from.unwrap().contains(&token(1)));
    assert!(gap.to.unwrap().contains(&token(3)));
    // What was asked for without images is told of by who asked.
    reader
        .take_reduced(&RawDocumentBuf::try_from(&event(4, "delete", "t")).unwrap())
        .unwrap();
    reader.flush();
    assert_eq!(reader.output.ready.len(), 1);
}

#[test]
fn a_name_that_a_pipeline_changed_is_refused() {
    let has_pipeline = |has_pipeline| Demands {
        has_pipeline,
        ..Demands::default()
    };
    for operation in ["insert", "drop", "rename", "createIndexes"] {
        let mut renamed = event(1, operation, "elsewhere");
        if operation != "insert" {
            renamed.remove("documentKey");
        }
        let renamed = RawDocumentBuf::try_from(&renamed).unwrap();
        let error = demanding(has_pipeline(true)).take(&renamed).unwrap_err();
        assert_eq!(error.code(), Code::ConfigInvalid, "{operation}");
        assert!(error.message().contains("field ns"), "{error}");
        demanding(has_pipeline(false)).take(&renamed).unwrap();
    }
    let otherwise = RawDocumentBuf::try_from(&event(1, "addition", "t")).unwrap();
    let error = demanding(has_pipeline(true)).take(&otherwise).unwrap_err();
    assert!(error.message().contains("field operationType"), "{error}");
}

#[test]
fn a_token_that_the_server_does_not_find_is_passed_by_its_time() {
    let mut reader = reader(&["*"]);
    take(&mut reader, &event(2, "insert", "t"));
    reader.flush();
    reader.output.ready.clear();
    let place = reader.position();
    assert!(reader.locate());
    assert_eq!(
        reader.resume(),
        Resume::Time(Timestamp {
            time: 2,
            increment: 1
        })
    );
    assert_eq!(reader.position(), place);
    // What is sent again: the place in front of it, and itself.
    reader.advance(&token(1));
    take(&mut reader, &event(2, "insert", "t"));
    assert_eq!((changes(&mut reader), reader.position()), (vec![], place));
    take(&mut reader, &event(3, "insert", "t"));
    assert_eq!(changes(&mut reader), [1]);
    assert!(matches!(reader.resume(), Resume::Token(_)));
    // Once it was tried in vain, the place is lost.
    assert!(reader.locate());
    assert!(!reader.locate());
}
