//! Which entries the server is asked for.

use bson::{Bson, Document, Regex, Timestamp, doc};

use crate::config::{NamePattern, TableFilter};
use crate::offset::OpTime;
use crate::source::mongodb::scope::pattern;

/// The entries from one on: that one itself, whatever it is; changes of collections that the filter may include, and of their
/// databases' views; commands, which say for themselves what they concern; and the no-ops by which an idle set shows how far it is.
///
/// The parts of a transaction are left out until it is committed: they are read again then.
pub fn filter(tables: &TableFilter, from: OpTime) -> Document {
    let time = Bson::Timestamp(Timestamp {
        time: from.seconds,
        increment: from.increment,
    });
    let (included, excluded) = tables.parts();
    let mut changes = doc! { "op": { "$in": ["i", "u", "d"] }, "fromMigrate": { "$ne": true } };
    if !included.is_empty() {
        let views = NamePattern::Exact("system.views");
        let names: Vec<Bson> = included
            .iter()
            .flat_map(|&[database, table]| [name(&[database, table]), name(&[database, views])])
            .collect();
        changes.insert("ns", doc! { "$in": names });
    }
    let mut without: Vec<Bson> = excluded
        .iter()
        .map(|pattern| Bson::from(doc! { "ns": name(pattern) }))
        .collect();
    if tables.exact_databases().is_none() {
        without.push(Bson::from(doc! { "ns": regex("^(admin|config|local)\\.") }));
    }
    if !without.is_empty() {
        changes.insert("$nor", without);
    }
    let commands = doc! {
        "op": "c",
        "fromMigrate": { "$ne": true },
        "o.partialTxn": { "$ne": true },
        "o.prepare": { "$ne": true },
    };
    let nothing = doc! { "op": "n", "ns": "" };
    doc! {
        "ts": { "$gte": time.clone() },
        "$or": [changes, commands, nothing, { "ts": time }],
    }
}

/// `database.collection` of a pattern: a text, or an anchored regular expression.
fn name([database, table]: &[NamePattern<'_>; 2]) -> Bson {
    if let (NamePattern::Exact(database), NamePattern::Exact(table)) = (database, table) {
        return Bson::from(format!("{database}.{table}"));
    }
    let mut text = String::from("^");
    pattern(&mut text, *database, "[^.]");
    text.push_str("\\.");
    pattern(&mut text, *table, ".");
    // Not `$`, which would match in front of a line break at the end of a name.
    text.push_str("\\z");
    regex(&text)
}

fn regex(text: &str) -> Bson {
    let cstring = |text: &str| bson::raw::CString::try_from(text.to_owned());
    match (cstring(text), cstring("s")) {
        (Ok(pattern), Ok(options)) => Bson::RegularExpression(Regex { pattern, options }),
        // A NUL, which no name holds.
        _ => Bson::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(patterns: &[&str], database: Option<&str>) -> String {
        let tables = TableFilter::parse(patterns, database)
            .unwrap()
            .without_system_databases();
        let from = OpTime {
            seconds: 5,
            increment: 1,
            term: 2,
        };
        filter(&tables, from).to_string()
    }

    #[test]
    fn names_are_anchored_and_only_wildcards_are_special() {
        let text = shown(&["orders", "`a.b`", "or*s$+?", "!*_tmp"], Some("shop"));
        for part in [
            r#""shop.orders""#,
            r#""shop.a.b""#,
            r#""shop.system.views""#,
            r"^shop\.or.*s\$\+.\z",
            r"^shop\..*_tmp\z",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("admin"), "{text}");
        let text = shown(&["*.orders"], None);
        assert!(
            text.contains(r"^[^.]*\.orders\z") && text.contains("admin"),
            "{text}"
        );
        assert!(shown(&[], None).contains("admin"));
    }
}
