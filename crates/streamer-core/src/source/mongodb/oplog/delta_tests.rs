//! Tests of what is made of the oplog's updates, beside an application of the difference that knows nothing of them.

use std::collections::HashSet;

use bson::{Bson, Document, doc};
use proptest::prelude::*;

use super::*;

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

/// `updatedFields`, `removedFields`, `truncatedArrays`.
fn described(o: Document) -> (Document, Vec<Bson>, Vec<Bson>) {
    match read(&raw(&o)).unwrap() {
        Update::Delta(delta) => {
            let delta = Document::try_from(delta.as_ref()).unwrap();
            (
                delta.get_document("updatedFields").unwrap().clone(),
                delta.get_array("removedFields").unwrap().clone(),
                delta.get_array("truncatedArrays").unwrap().clone(),
            )
        }
        Update::Replacement => panic!("a replacement"),
    }
}

#[test]
fn a_difference_is_told_as_a_change_stream_tells_it() {
    let (updated, removed, truncated) = described(doc! {
        "$v": 2,
        "diff": {
            "d": { "gone": false },
            "u": { "a": 2 },
            "i": { "n": { "x": 1 } },
            "sb": { "u": { "c": 3 }, "sd": { "a": true, "l": 4, "u0": "first", "s2": { "u": { "e": 5 }, "d": { "f": false } } } },
        },
    });
    let names: Vec<_> = updated.keys().map(String::as_str).collect();
    assert_eq!(names, ["a", "n", "b.c", "b.d.0", "b.d.2.e"]);
    assert_eq!(updated.get_document("n").unwrap(), &doc! { "x": 1 });
    assert_eq!(removed, [Bson::from("gone"), Bson::from("b.d.2.f")]);
    assert_eq!(truncated, [Bson::from(doc! { "field": "b.d", "newSize": 4 })]);
}

#[test]
fn version_1_is_paths() {
    let o = doc! { "$v": 1, "$set": { "a.b": 1, "c.0": 2 }, "$unset": { "d": true } };
    let expected = (doc! { "a.b": 1, "c.0": 2 }, vec![Bson::from("d")], Vec::new());
    assert_eq!(described(o.clone()), expected);
    let mut old = o;
    old.remove("$v");
    assert_eq!(described(old), expected);
}

#[test]
fn a_document_without_operators_is_a_replacement() {
    assert_eq!(read(&raw(&doc! { "_id": 1, "diff": 2 })), Ok(Update::Replacement));
    assert_eq!(read(&raw(&doc! {})), Ok(Update::Replacement));
}

#[test]
fn what_is_not_understood_is_refused() {
    for o in [
        doc! { "$v": 3, "diff": {} },
        doc! { "$v": 2 },
        doc! { "$v": 2, "diff": { "b": { "a": { "o": 1, "d": 1 } } } },
        doc! { "$v": 2, "diff": { "sa": { "a": true, "x1": 1 } } },
        doc! { "$v": 2, "diff": { "sa": { "a": true, "ux": 1 } } },
        doc! { "$v": 2, "diff": { "sa": { "a": true, "l": "2" } } },
        doc! { "$v": 2, "diff": { "sa": 1 } },
        doc! { "$v": 2, "diff": { "u": 1 } },
        doc! { "$v": 1, "$inc": { "a": 1 } },
    ] {
        assert!(read(&raw(&o)).is_err(), "{o}");
    }
    let mut deep = doc! { "u": { "a": 1 } };
    for _ in 0..300 {
        deep = doc! { "sx": deep };
    }
    assert_eq!(
        read(&raw(&doc! { "$v": 2, "diff": deep })),
        Err(Unknown("is nested too deeply"))
    );
}

/// A tree of changes, from which both a difference and the document after it are made.
#[derive(Debug, Clone)]
enum Tree {
    Fields {
        removed: Vec<String>,
        set: Vec<(String, i32, bool)>,
        below: Vec<(String, Tree)>,
    },
    Elements {
        length: Option<u8>,
        set: Vec<(u8, i32)>,
        below: Vec<(u8, Tree)>,
    },
}

fn tree() -> impl Strategy<Value = Tree> {
    let name = || "[a-e]{1,2}|s|u|\u{e4}";
    let leaf = Just(Tree::Fields {
        removed: Vec::new(),
        set: Vec::new(),
        below: Vec::new(),
    });
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let fields = (
            proptest::collection::vec(name(), 0..3),
            proptest::collection::vec((name(), any::<i32>(), any::<bool>()), 0..3),
            proptest::collection::vec((name(), inner.clone()), 0..3),
        );
        let elements = (
            proptest::option::of(0..6_u8),
            proptest::collection::vec((0..9_u8, any::<i32>()), 0..3),
            proptest::collection::vec((0..9_u8, inner), 0..3),
        );
        prop_oneof![
            fields.prop_map(|(removed, set, below)| Tree::Fields { removed, set, below }),
            elements.prop_map(|(length, set, below)| Tree::Elements { length, set, below }),
        ]
    })
}

/// Makes the difference, and does to the document what it says. Each name is used once a level.
fn grow(tree: &Tree, target: &mut Bson) -> Document {
    match tree {
        Tree::Fields { removed, set, below } => {
            if !matches!(target, Bson::Document(_)) {
                *target = Bson::Document(doc! {});
            }
            match target {
                Bson::Document(held) => grow_fields(removed, set, below, held),
                other => panic!("{other}"),
            }
        }
        Tree::Elements { length, set, below } => {
            if !matches!(target, Bson::Array(_)) {
                *target = Bson::Array(Vec::new());
            }
            match target {
                Bson::Array(held) => grow_elements(*length, set, below, held),
                other => panic!("{other}"),
            }
        }
    }
}

fn grow_fields(
    removed: &[String],
    set: &[(String, i32, bool)],
    below: &[(String, Tree)],
    held: &mut Document,
) -> Document {
    let mut used = HashSet::new();
    let (mut deletes, mut updates, mut inserts, mut subs) = (doc! {}, doc! {}, doc! {}, doc! {});
    for name in removed.iter().filter(|name| used.insert((*name).clone())) {
        deletes.insert(name, false);
        held.remove(name);
    }
    for (name, value, is_new) in set {
        if used.insert(name.clone()) {
            let section = if *is_new { &mut inserts } else { &mut updates };
            section.insert(name, value);
            held.insert(name, value);
        }
    }
    for (name, tree) in below {
        if used.insert(name.clone()) {
            let place = held.entry(name.clone()).or_insert(Bson::Null);
            subs.insert(format!("s{name}"), grow(tree, place));
        }
    }
    let mut diff = doc! {};
    for (name, section) in [("d", deletes), ("u", updates), ("i", inserts)] {
        if !section.is_empty() {
            diff.insert(name, section);
        }
    }
    diff.extend(subs);
    diff
}

fn grow_elements(
    length: Option<u8>,
    set: &[(u8, i32)],
    below: &[(u8, Tree)],
    held: &mut Vec<Bson>,
) -> Document {
    let mut used = HashSet::new();
    let mut diff = doc! { "a": true };
    let fits = |length: &usize| *length <= held.len() && below.is_empty();
    if let Some(length) = length.map(usize::from).filter(fits) {
        held.truncate(length);
        diff.insert("l", length as i32);
    }
    let touched = set
        .iter()
        .map(|(index, _)| *index)
        .chain(below.iter().map(|(index, _)| *index));
    if let Some(last) = touched.max() {
        while held.len() <= usize::from(last) {
            held.push(Bson::Null);
        }
    }
    for (index, value) in set.iter().filter(|(index, _)| used.insert(*index)) {
        held[usize::from(*index)] = Bson::Int32(*value);
        diff.insert(format!("u{index}"), value);
    }
    for (index, tree) in below {
        if used.insert(*index) {
            let sub = grow(tree, &mut held[usize::from(*index)]);
            diff.insert(format!("s{index}"), sub);
        }
    }
    diff
}

/// What a path leads to, made where it is not there.
fn place<'a>(root: &'a mut Bson, path: &str) -> &'a mut Bson {
    path.split('.').fold(root, |held, step| match held {
        Bson::Document(held) => held.entry(step.to_owned()).or_insert(Bson::Null),
        Bson::Array(held) => {
            let index: usize = step.parse().unwrap();
            while held.len() <= index {
                held.push(Bson::Null);
            }
            &mut held[index]
        }
        other => panic!("{other} holds nothing"),
    })
}

fn applied(mut root: Bson, (updated, removed, truncated): &(Document, Vec<Bson>, Vec<Bson>)) -> Bson {
    for path in removed.iter().filter_map(Bson::as_str) {
        let (holder, name) = match path.rsplit_once('.') {
            Some((holder, name)) => (place(&mut root, holder), name),
            None => (&mut root, path),
        };
        if let Bson::Document(holder) = holder {
            holder.remove(name);
        }
    }
    for cut in truncated.iter().filter_map(Bson::as_document) {
        let array = place(&mut root, cut.get_str("field").unwrap());
        if let Bson::Array(array) = array {
            array.truncate(cut.get_i32("newSize").unwrap() as usize);
        }
    }
    for (path, value) in updated {
        *place(&mut root, path) = value.clone();
    }
    root
}

/// Order of fields is not told by either.
fn sorted(value: &Bson) -> Bson {
    match value {
        Bson::Document(document) => {
            let mut fields: Vec<_> = document
                .iter()
                .map(|(name, value)| (name.clone(), sorted(value)))
                .collect();
            fields.sort_by(|(left, _), (right, _)| left.cmp(right));
            Bson::Document(fields.into_iter().collect())
        }
        Bson::Array(array) => Bson::Array(array.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// Containers where the tree has some, so that what is applied by path finds them as the server's documents do.
fn prepared(tree: &Tree) -> Bson {
    match tree {
        Tree::Fields { below, set, removed } => {
            let mut held = doc! { "kept": 1 };
            for (name, tree) in below {
                if !held.contains_key(name) {
                    held.insert(name, prepared(tree));
                }
            }
            for name in set.iter().map(|(name, ..)| name).chain(removed) {
                if !held.contains_key(name) {
                    held.insert(name, "before");
                }
            }
            Bson::Document(held)
        }
        Tree::Elements { below, .. } => {
            let mut held = vec![Bson::from("before"); 4];
            let mut used = HashSet::new();
            for (index, tree) in below.iter().filter(|(index, _)| used.insert(*index)) {
                while held.len() <= usize::from(*index) {
                    held.push(Bson::Null);
                }
                held[usize::from(*index)] = prepared(tree);
            }
            Bson::Array(held)
        }
    }
}

proptest! {
    #[test]
    fn what_is_told_makes_of_a_document_what_the_difference_makes_of_it(tree in tree()) {
        let tree = match tree {
            Tree::Elements { .. } => Tree::Fields { removed: Vec::new(), set: Vec::new(), below: vec![("r".to_owned(), tree)] },
            tree => tree,
        };
        let before = prepared(&tree);
        let mut after = before.clone();
        let diff = grow(&tree, &mut after);
        let told = described(doc! { "$v": 2, "diff": diff });
        prop_assert_eq!(sorted(&applied(before, &told)), sorted(&after));
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut document = ((bytes.len() + 5) as i32).to_le_bytes().to_vec();
        document.extend_from_slice(&bytes);
        document.push(0);
        if let Ok(raw) = RawDocument::from_bytes(&document) {
            let _ = read(raw);
        }
        let mut wrapped = rawdoc! { "$v": 2 };
        if let Ok(raw) = RawDocumentBuf::from_bytes(document) {
            wrapped.append(bson::raw::cstr!("diff"), raw);
            let _ = read(&wrapped);
        }
    }
}
