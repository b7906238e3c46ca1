//! What a change stream watches: one collection, a database or the whole deployment, and the `$match` that lets the
//! server drop what the `tables` option leaves out.

use bson::{Bson, Document, Regex, doc};

use crate::config::{NamePattern, TableFilter};

/// The collection, database or deployment that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Deployment,
    /// One database.
    Database(String),
    /// One collection.
    Collection(String, String),
}

impl Scope {
    /// The narrowest that holds all tables of the filter.
    pub fn of(tables: &TableFilter) -> Self {
        let (included, _) = tables.parts();
        let (Some([NamePattern::Exact(database), first]), Some(databases)) =
            (included.first().copied(), tables.exact_databases())
        else {
            return Self::Deployment;
        };
        match (first, included.len(), databases.len()) {
            (NamePattern::Exact(table), 1, _) => Self::Collection(database.to_owned(), table.to_owned()),
            (_, _, 1) => Self::Database(database.to_owned()),
            _ => Self::Deployment,
        }
    }

    /// The database that the command is sent to.
    pub fn database(&self) -> &str {
        match self {
            Self::Deployment => "admin",
            Self::Database(database) | Self::Collection(database, _) => database,
        }
    }
}

/// The stage by which the server drops what the filter leaves out; `None` where it leaves out nothing.
///
/// A rename concerns both of its names; what concerns a whole database passes wherever one of its tables may. What passes
/// is looked at again by the filter itself.
pub fn match_stage(tables: &TableFilter, scope: &Scope) -> Option<Document> {
    let (included, excluded) = tables.parts();
    if matches!(scope, Scope::Collection(..)) || (included.is_empty() && excluded.is_empty()) {
        return None;
    }
    let named = |place: &str, patterns: &[[NamePattern<'_>; 2]]| -> Vec<Bson> {
        let table = |[database, table]: &[NamePattern<'_>; 2]| {
            let mut both = doc! {};
            both.insert(format!("{place}.db"), condition(*database));
            both.insert(format!("{place}.coll"), condition(*table));
            Bson::Document(both)
        };
        patterns.iter().map(table).collect()
    };
    let passes = |place: &str| {
        let mut all = doc! {};
        if !included.is_empty() {
            all.insert("$or", named(place, &included));
        }
        if !excluded.is_empty() {
            all.insert("$nor", named(place, &excluded));
        }
        all
    };
    let databases: Vec<Bson> = included
        .iter()
        .map(|[database, _]| Bson::Document(doc! { "ns.db": condition(*database) }))
        .collect();
    let mut whole_database = doc! { "ns.coll": { "$exists": false } };
    if !databases.is_empty() {
        whole_database.insert("$or", databases);
    }
    let mut renamed = passes("to");
    renamed.insert("to.coll", doc! { "$exists": true });
    let invalidate = doc! { "operationType": "invalidate" };
    Some(doc! { "$match": { "$or": [passes("ns"), renamed, whole_database, invalidate] } })
}

/// An exact name, or an anchored regular expression in which only `*` and `?` are special.
fn condition(name: NamePattern<'_>) -> Bson {
    match name {
        NamePattern::Exact(name) => return Bson::String(name.to_owned()),
        NamePattern::Wild(['*']) => return Bson::Document(doc! { "$exists": true }),
        NamePattern::Wild(_) => {}
    }
    let mut text = String::from("^");
    pattern(&mut text, name, ".");
    // Not `$`, which would match in front of a line break at the end of a name.
    text.push_str("\\z");
    match (
        bson::raw::CString::try_from(text),
        bson::raw::CString::try_from("s".to_owned()),
    ) {
        (Ok(pattern), Ok(options)) => Bson::RegularExpression(Regex { pattern, options }),
        // A NUL, which no name holds.
        _ => Bson::Document(doc! { "$exists": true }),
    }
}

/// Appends a name as a part of a regular expression, in which `any` stands for any one character.
pub fn pattern(text: &mut String, name: NamePattern<'_>, any: &str) {
    let literal = |c: char, text: &mut String| {
        if c.is_ascii() && !c.is_alphanumeric() && c != '_' {
            text.push('\\');
        }
        text.push(c);
    };
    match name {
        NamePattern::Exact(name) => name.chars().for_each(|c| literal(c, text)),
        NamePattern::Wild(pattern) => {
            for character in pattern {
                match character {
                    '*' => {
                        text.push_str(any);
                        text.push('*');
                    }
                    '?' => text.push_str(any),
                    c => literal(*c, text),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(patterns: &[&str]) -> TableFilter {
        TableFilter::parse(patterns, Some("shop"))
            .unwrap()
            .without_system_databases()
    }

    #[test]
    fn the_narrowest_scope_is_watched() {
        let collection = Scope::Collection("shop".into(), "orders".into());
        assert_eq!(Scope::of(&filter(&["orders"])), collection);
        assert_eq!(
            Scope::of(&filter(&["orders", "items"])),
            Scope::Database("shop".into())
        );
        assert_eq!(Scope::of(&filter(&[])), Scope::Database("shop".into()));
        assert_eq!(Scope::of(&filter(&["orders", "other.items"])), Scope::Deployment);
        assert_eq!(Scope::of(&filter(&["*.orders"])), Scope::Deployment);
        assert_eq!(Scope::of(&TableFilter::default()), Scope::Deployment);
    }

    #[test]
    fn wildcards_are_anchored_and_everything_else_is_escaped() {
        let shown = |patterns: &[&str]| {
            let tables = filter(patterns);
            match_stage(&tables, &Scope::of(&tables)).map(|stage| stage.to_string())
        };
        assert_eq!(shown(&["orders"]), None);
        let text = shown(&["`a.b`", "or*s$+?", "!*_tmp"]).unwrap();
        assert!(text.contains(r#""a.b""#), "{text}");
        assert!(text.contains(r"^or.*s\$\+.\z"), "{text}");
        assert!(text.contains(r"^.*_tmp\z"), "{text}");
        assert!(text.contains("$nor"), "{text}");
    }
}
