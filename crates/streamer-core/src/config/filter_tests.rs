//! Tests of the `tables` option.

use proptest::prelude::*;

use super::*;

fn filter(patterns: &[&str], database: Option<&str>) -> TableFilter {
    TableFilter::parse(patterns, database).unwrap()
}

/// Patterns, the URL's database, a table, and whether it is included.
type Case = (
    &'static [&'static str],
    Option<&'static str>,
    &'static str,
    &'static str,
    bool,
);

#[test]
fn patterns_include_and_exclude_tables() {
    let shop = Some("shop");
    let cases: &[Case] = &[
        (&[], None, "shop", "orders", true),
        (&[], None, "mysql", "user", false),
        (&[], None, "SYS", "x", false),
        (&[], shop, "shop", "orders", true),
        (&[], shop, "other", "orders", false),
        (&[], Some("mysql"), "mysql", "user", true),
        (&["orders"], shop, "shop", "orders", true),
        (&["orders"], shop, "shop", "orders2", false),
        (&["orders"], shop, "shop", "Orders", false),
        (&["orders"], shop, "other", "orders", false),
        (&["*"], shop, "shop", "orders", true),
        (&["*"], shop, "other", "orders", false),
        (&["other.orders"], shop, "other", "orders", true),
        (&["other.orders"], shop, "shop", "orders", false),
        (&["*.*"], None, "mysql", "user", false),
        (&["mys*.*"], None, "mysql", "user", false),
        (&["mysql.*"], None, "mysql", "user", true),
        (&["`mysql`.user"], None, "mysql", "user", true),
        (&["shop.o?der*"], None, "shop", "orders_2024", true),
        (&["shop.o?der*"], None, "shop", "oder", false),
        (&["shop.*_*_x"], None, "shop", "a_b_c_x", true),
        (&["shop.*_*_x"], None, "shop", "a_x", false),
        (&["shop.ä?"], None, "shop", "äß", true),
        (&["shop.**"], None, "shop", "a", true),
        (&["!secrets"], shop, "shop", "secrets", false),
        (&["!secrets"], shop, "shop", "orders", true),
        (&["!secrets"], shop, "other", "orders", false),
        (&["!*.secrets"], None, "shop", "secrets", false),
        (&["!*.secrets"], None, "shop", "orders", true),
        (&["!*.secrets"], None, "mysql", "user", false),
        (&["!shop.a*", "shop.*"], None, "shop", "ab", false),
        (&["mysql.*", "!m*.user"], None, "mysql", "user", false),
        (&["`my.db`.`ta.ble`"], None, "my.db", "ta.ble", true),
        (&["`my.db`.t*"], None, "my.db", "tx", true),
        (&["`a``b`"], shop, "shop", "a`b", true),
        (&["`*`"], shop, "shop", "*", true),
        (&["`*`"], shop, "shop", "x", false),
        (&["`!x`"], shop, "shop", "!x", true),
    ];
    for (patterns, database, in_database, table, expected) in cases {
        let filter = filter(patterns, *database);
        assert_eq!(
            filter.includes(in_database, table),
            *expected,
            "{patterns:?} {database:?} {in_database}.{table}"
        );
    }
}

#[test]
fn case_counts_only_where_the_server_says_so() {
    let exact = filter(&["Shop.Orders", "!Shop.X*"], None);
    assert!(!exact.includes("shop", "orders"));
    let folded = exact.with_lower_case(true);
    assert!(folded.includes("shop", "orders") && folded.includes("SHOP", "ORDERS"));
    assert!(!folded.includes("shop", "xy"));
}

#[test]
fn patterns_that_cannot_be_read_are_refused() {
    let cases = [
        ("", "found none"),
        ("!", "found none"),
        ("a.b.c", "one dot"),
        (".b", "each side"),
        ("a.", "each side"),
        (" a.b", "white space"),
        ("a.b\n", "white space"),
        ("orders", "names no database"),
        ("*", "names no database"),
        ("`a", "closing backquote"),
        ("`a``.b", "closing backquote"),
        ("``.b", "between the backquotes"),
        ("`a`b.c", "around a whole name"),
        ("a`b`.c", "around a whole name"),
        (&"x".repeat(1025), "at most 1024 bytes"),
    ];
    for (pattern, expected) in cases {
        let problems = TableFilter::parse(&["a.b", pattern], None).expect_err(pattern);
        let [
            PatternProblem {
                index: Some(1),
                message,
            },
        ] = problems.as_slice()
        else {
            panic!("{pattern}: {problems:?}");
        };
        assert!(message.contains(expected), "{pattern}: {message}");
    }
}

#[test]
fn databases_and_patterns_are_known_for_queries_and_messages() {
    let mixed = filter(&["orders", "a.`b.c`", "shop.x*", "!shop.y"], Some("shop"));
    assert_eq!(mixed.exact_databases(), Some(vec!["shop", "a"]));
    assert_eq!(mixed.patterns(), ["shop.orders", "a.`b.c`", "shop.x*", "!shop.y"]);
    assert_eq!(filter(&["s*.x"], None).exact_databases(), None);
    assert_eq!(TableFilter::default().exact_databases(), None);
    assert_eq!(TableFilter::default().patterns(), ["*.*"]);
}

#[test]
fn an_evil_pattern_takes_no_time() {
    let pattern = format!("d.{}b", "a*".repeat(500));
    let filter = filter(&[&pattern], None);
    let start = std::time::Instant::now();
    assert!(!filter.includes("d", &"a".repeat(10_000)));
    assert!(start.elapsed().as_secs() < 5);
}

/// Says the same as the matcher, in the slowest and plainest way.
fn matches_plainly(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (['*', rest @ ..], _) => {
            matches_plainly(rest, name) || matches!(name, [_, tail @ ..] if matches_plainly(pattern, tail))
        }
        (['?', rest @ ..], [_, tail @ ..]) => matches_plainly(rest, tail),
        ([p, rest @ ..], [n, tail @ ..]) => p == n && matches_plainly(rest, tail),
        _ => false,
    }
}

proptest! {
    #[test]
    fn wildcards_match_as_defined(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
        let pattern: Vec<char> = pattern.chars().collect();
        let expected = matches_plainly(&pattern, &name.chars().collect::<Vec<_>>());
        prop_assert_eq!(matches_wild(&pattern, &name), expected);
    }

    #[test]
    fn any_name_can_be_named_in_backquotes(database in "\\PC{1,20}", table in "\\PC{1,20}") {
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let pattern = format!("{}.{}", quoted(&database), quoted(&table));
        prop_assert!(filter(&[&pattern], None).includes(&database, &table));
        let again = filter(&[&pattern], None).patterns();
        prop_assert!(filter(&[&again[0]], None).includes(&database, &table));
    }

    #[test]
    fn hostile_patterns_never_panic(pattern in "[`.!*?\\PC]{0,20}") {
        let _ = TableFilter::parse(&[pattern], Some("shop"));
    }
}
