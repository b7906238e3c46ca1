//! Values of MongoDB by which the ledger tells documents apart.
//!
//! The ledger compares integers, so a value becomes one: a hash of its canonical form. Two values that an equality of the
//! server takes for one have one hash (`1`, `1.0`, `NumberLong(1)`); two others share one by no more than chance, which
//! drops an entry too many. A value of which that cannot be said for certain (a decimal, a text under a collation, a type
//! that nobody uses any more) has none.

use bson::{RawBsonRef, RawDocument};

use super::key::KeyWriter;

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 16;

/// The number that stands for a value; `None` where equality cannot be told from it.
pub fn hash(value: RawBsonRef<'_>) -> Option<i128> {
    let mut writer = KeyWriter::new("bson");
    put(&mut writer, value, 0)?;
    Some(writer.number())
}

fn put(writer: &mut KeyWriter, value: RawBsonRef<'_>, depth: usize) -> Option<()> {
    match value {
        RawBsonRef::Int32(value) => put_integer(writer, i64::from(value)),
        RawBsonRef::Int64(value) => put_integer(writer, value),
        RawBsonRef::Double(value) => put_double(writer, value),
        RawBsonRef::String(text) => writer.part(3, text.as_bytes()),
        RawBsonRef::ObjectId(id) => writer.part(4, &id.bytes()),
        RawBsonRef::Boolean(value) => writer.part(5, &[u8::from(value)]),
        RawBsonRef::DateTime(time) => writer.part(6, &time.timestamp_millis().to_be_bytes()),
        RawBsonRef::Timestamp(time) => {
            writer.part(7, &time.time.to_be_bytes());
            writer.part(7, &time.increment.to_be_bytes());
        }
        RawBsonRef::Binary(binary) => {
            writer.part(8, &[u8::from(binary.subtype)]);
            writer.part(8, binary.bytes);
        }
        RawBsonRef::Null => writer.part(9, &[]),
        RawBsonRef::Document(document) if depth < MAX_DEPTH => put_document(writer, document, depth)?,
        RawBsonRef::Array(array) if depth < MAX_DEPTH => {
            writer.part(11, &[]);
            for value in array {
                put(writer, value.ok()?, depth + 1)?;
            }
            writer.part(12, &[]);
        }
        _ => return None,
    }
    Some(())
}

fn put_integer(writer: &mut KeyWriter, value: i64) {
    writer.part(1, &value.to_be_bytes());
}

fn put_double(writer: &mut KeyWriter, value: f64) {
    // Both ends are exact: 2^63 is no i64.
    if value.fract() == 0.0 && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value) {
        put_integer(writer, value as i64);
    } else if value.is_nan() {
        writer.part(2, &[]);
    } else {
        writer.part(2, &value.to_bits().to_be_bytes());
    }
}

fn put_document(writer: &mut KeyWriter, document: &RawDocument, depth: usize) -> Option<()> {
    writer.part(13, &[]);
    for element in document.iter_elements() {
        let element = element.ok()?;
        writer.part(14, element.key().as_str().as_bytes());
        put(writer, element.value().ok()?, depth + 1)?;
    }
    writer.part(15, &[]);
    Some(())
}

#[cfg(test)]
mod tests {
    use bson::{Bson, RawBson, doc, oid::ObjectId};

    fn hash(value: impl Into<Bson>) -> Option<i128> {
        let raw = RawBson::try_from(value.into()).unwrap();
        super::hash(raw.as_raw_bson_ref())
    }

    #[test]
    fn values_that_a_server_takes_for_one_have_one_number() {
        assert_eq!(hash(1_i32), hash(1_i64));
        assert_eq!(hash(1_i32), hash(1.0));
        assert_eq!(hash(0.0), hash(-0.0));
        assert_eq!(hash(i64::MIN), hash(i64::MIN as f64));
        assert_eq!(hash(doc! { "a": 1_i32 }), hash(doc! { "a": 1.0 }));
        assert!(hash(ObjectId::new()).is_some());
    }

    #[test]
    fn values_that_differ_have_different_numbers() {
        let values = [
            hash(1_i32),
            hash("1"),
            hash(1.5),
            hash(true),
            hash(9_223_372_036_854_775_808.0),
            hash(i64::MAX),
            hash(Bson::Null),
            hash(doc! { "a": 1, "b": 2 }),
            hash(doc! { "b": 2, "a": 1 }),
            hash(vec![Bson::from(1)]),
        ];
        for (at, one) in values.iter().enumerate() {
            assert!(one.is_some());
            assert!(values.iter().skip(at + 1).all(|other| other != one), "{at}");
        }
    }

    #[test]
    fn values_whose_equality_is_not_certain_have_none() {
        let decimal: bson::Decimal128 = "1".parse().unwrap();
        assert_eq!(hash(decimal), None);
        assert_eq!(hash(Bson::MaxKey), None);
        assert_eq!(hash(doc! { "a": { "b": Bson::Undefined } }), None);
    }
}
