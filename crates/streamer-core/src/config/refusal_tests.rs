//! Every sentence about a wrong configuration. Those about URLs and encryption stand beside their code.

use serde_json::{Value, json};

use super::Config;

const URL: &str = "mysql://u@localhost/shop";

/// The problems as `path: message`.
pub(in crate::config) fn problems_of(value: &Value) -> Vec<String> {
    let error = Config::parse(value).expect_err(&value.to_string());
    let problems = error.details()["problems"].as_array().unwrap();
    let text = |problem: &Value, key: &str| problem[key].as_str().unwrap().to_owned();
    problems
        .iter()
        .map(|problem| format!("{}: {}", text(problem, "path"), text(problem, "message")))
        .collect()
}

/// A source with one more option.
fn with(key: &str, value: Value) -> Value {
    json!({ "source": { "url": URL, key: value } })
}

/// A configuration with one more option.
fn top(key: &str, value: Value) -> Value {
    json!({ "source": URL, key: value })
}

/// A value of JavaScript that JSON has no form for.
fn unsupported(kind: &str) -> Value {
    json!({ "$unsupported": kind })
}

fn assert_refused(cases: &[(Value, &str)]) {
    for (value, expected) in cases {
        assert_eq!(problems_of(value).join("\n"), *expected, "of {value}");
    }
}

#[test]
fn a_wrong_shape_is_refused_with_its_path_and_what_was_expected() {
    assert_refused(&[
        (json!(null), "config: expected a URL or an object, found null"),
        (json!(7), "config: expected a URL or an object, found 7"),
        (json!([]), "config: expected a URL or an object, found an array"),
        (
            unsupported("function"),
            "config: expected a URL or an object, found a function",
        ),
        (
            json!({}),
            "source: missing, expected a URL or an object with a url",
        ),
        (
            json!({ "sorce": URL }),
            "sorce: unknown option, did you mean \"source\"?",
        ),
        (
            json!({ "source": null }),
            "source: expected a URL or an object with a url, found null",
        ),
        (
            json!({ "source": [URL] }),
            "source: expected a URL or an object with a url, found an array",
        ),
        (
            json!({ "source": unsupported("symbol") }),
            "source: expected an object, found a symbol",
        ),
        (
            json!({ "source": {} }),
            "source.url: missing, expected mysql://user:password@host:3306/database",
        ),
        (
            json!({ "source": { "URL": URL } }),
            "source.URL: unknown option, did you mean \"url\"?",
        ),
        (
            json!({ "source": { "url": 3306 } }),
            "source.url: expected a URL, found 3306",
        ),
        (
            json!({ "tables": ["a.b"] }),
            "url: missing, expected mysql://user:password@host:3306/database",
        ),
    ]);
}

#[test]
fn a_wrong_list_of_sources_is_refused_with_its_path_and_what_was_expected() {
    assert_refused(&[
        (
            json!({ "source": URL, "sources": { "a": URL } }),
            "sources: excludes source, expected one of them",
        ),
        (
            json!({ "sources": {} }),
            "sources: expected 1 to 256 sources, found 0",
        ),
        (
            json!({ "sources": [URL] }),
            "sources: expected an object, found an array",
        ),
        (
            json!({ "sources": { "a": 1 } }),
            "sources.a: expected a URL or an object with a url, found 1",
        ),
        (
            json!({ "sources": { "a.b": { "url": URL, "from": 1 } } }),
            "sources[\"a.b\"].from: expected \"now\", \"earliest\" or a position, found 1",
        ),
        (
            json!({ "sources": { "my shop": URL } }),
            "sources: a source's name has 1 to 64 letters, digits, dots, dashes and underscores, found \"my shop\"",
        ),
        (
            json!({ "sources": { "": URL } }),
            "sources: a source's name has 1 to 64 letters, digits, dots, dashes and underscores, found an empty text",
        ),
        (
            json!({ "sources": { "x".repeat(65): URL } }),
            "sources: a source's name has 1 to 64 letters, digits, dots, dashes and underscores, found a text of 65 characters",
        ),
        (
            json!({ "sources": { "mysql://u:pw@h": {} } }),
            "sources: a source's name has 1 to 64 letters, digits, dots, dashes and underscores, found a text of 14 characters\nsources[a text of 14 characters].url: missing, expected mysql://user:password@host:3306/database",
        ),
    ]);
}

#[test]
fn an_unknown_or_misplaced_option_is_refused_with_its_path_and_what_was_expected() {
    assert_refused(&[
        (
            top("snapshots", json!(false)),
            "snapshots: unknown option, known are source, sources, checkpoint, cache, pool, heartbeat, reconnect, delivery, logger",
        ),
        (
            top("checkpoints", json!("dir")),
            "checkpoints: unknown option, did you mean \"checkpoint\"?",
        ),
        (
            top("heartBeat", json!({})),
            "heartBeat: unknown option, did you mean \"heartbeat\"?",
        ),
        (
            top("tables", json!(["a.b"])),
            "tables: unknown option, it belongs to a source: source.tables",
        ),
        (
            with("server_id", json!(1)),
            "source.server_id: unknown option, did you mean \"serverId\"?",
        ),
        (
            with("password", json!("x")),
            "source.password: unknown option, known are url, tables, from, capture, poll, snapshot, snapshotRate, tls, serverId, integers, dates",
        ),
        (
            with("reconnect", json!({})),
            "source.reconnect: unknown option, it stands beside \"source\", not in it: { source, reconnect }",
        ),
    ]);
}

#[test]
fn a_wrong_number_is_refused_with_its_path_and_what_was_expected() {
    assert_refused(&[
        (
            top("pool", json!({ "maxConnections": 0, "wait": 5, "queryMs": "1s" })),
            "pool.wait: unknown option, did you mean \"waitMs\"?\npool.maxConnections: expected a whole number from 1 to 1000, found 0\n\
             pool.queryMs: expected a whole number from 1 to 3600000, found \"1s\"",
        ),
        (
            top("heartbeat", json!(1000)),
            "heartbeat: expected an object, found 1000",
        ),
        (
            top("heartbeat", json!({ "interval": 1 })),
            "heartbeat.interval: unknown option, did you mean \"intervalMs\"?",
        ),
        (
            top("heartbeat", json!({ "intervalMs": 9 })),
            "heartbeat.intervalMs: expected a whole number from 10 to 3600000, found 9",
        ),
        (
            top("heartbeat", json!({ "intervalMs": 3_600_001 })),
            "heartbeat.intervalMs: expected a whole number from 10 to 3600000, found 3600001",
        ),
        (
            top("heartbeat", json!({ "intervalMs": 10.5 })),
            "heartbeat.intervalMs: expected a whole number from 10 to 3600000, found 10.5",
        ),
        (
            top("heartbeat", json!({ "intervalMs": unsupported("NaN") })),
            "heartbeat.intervalMs: expected a whole number from 10 to 3600000, found NaN",
        ),
        (
            top("heartbeat", json!({ "intervalMs": unsupported("bigint") })),
            "heartbeat.intervalMs: expected a whole number from 10 to 3600000, found a bigint",
        ),
        (
            top("heartbeat", json!({ "timeoutMs": 1999 })),
            "heartbeat.timeoutMs: expected at least two intervals (2000), found 1999",
        ),
        (
            top("heartbeat", json!({ "intervalMs": "fast", "timeoutMs": 50 })),
            "heartbeat.intervalMs: expected a whole number from 10 to 3600000, found \"fast\"",
        ),
        (
            top("heartbeat", json!({ "timeoutMs": 86_400_001 })),
            "heartbeat.timeoutMs: expected a whole number from 20 to 86400000, found 86400001",
        ),
    ]);
}

#[test]
fn a_wrong_wait_is_refused_with_its_path_and_what_was_expected() {
    assert_refused(&[
        (
            top("reconnect", json!({ "initialMs": 0 })),
            "reconnect.initialMs: expected a whole number from 1 to 3600000, found 0",
        ),
        (
            top("reconnect", json!({ "initialMs": 100, "maxMs": 99 })),
            "reconnect.maxMs: expected at least initialMs (100), found 99",
        ),
        (
            top("reconnect", json!({ "attempts": -1 })),
            "reconnect.attempts: expected a whole number from 0 to 4294967295, found -1",
        ),
        (
            top("reconnect", json!({ "attempts": unsupported("Infinity") })),
            "reconnect.attempts: expected a whole number from 0 to 4294967295, found Infinity",
        ),
        (
            top("reconnect", json!({ "retries": 3 })),
            "reconnect.retries: unknown option, known are initialMs, maxMs, attempts",
        ),
    ]);
}

#[test]
fn a_wrong_size_logger_or_server_id_is_refused_with_its_path_and_what_was_expected() {
    assert_refused(&[
        (
            top("delivery", json!({ "batchSize": 0 })),
            "delivery.batchSize: expected a whole number from 1 to 65536, found 0",
        ),
        (
            top("delivery", json!({ "batchSize": 65_537 })),
            "delivery.batchSize: expected a whole number from 1 to 65536, found 65537",
        ),
        (
            top("delivery", json!({ "bufferBytes": 65_535 })),
            "delivery.bufferBytes: expected a whole number from 65536 to 4294967296, found 65535",
        ),
        (
            top("delivery", json!({ "bufferBytes": 4_294_967_297_u64 })),
            "delivery.bufferBytes: expected a whole number from 65536 to 4294967296, found 4294967297",
        ),
        (
            top("delivery", json!({ "bufferbytes": 1 })),
            "delivery.bufferbytes: unknown option, did you mean \"bufferBytes\"?",
        ),
        (
            top("logger", json!(true)),
            "logger: expected an object with the methods debug, info, warn and error, found true",
        ),
        (
            top("logger", unsupported("function")),
            "logger: expected an object with the methods debug, info, warn and error, found a function",
        ),
        (
            with("serverId", json!(0)),
            "source.serverId: expected a whole number from 1 to 4294967295, found 0",
        ),
        (
            with("serverId", json!(4_294_967_296_u64)),
            "source.serverId: expected a whole number from 1 to 4294967295, found 4294967296",
        ),
        (
            with("serverId", json!("7")),
            "source.serverId: expected a whole number from 1 to 4294967295, found \"7\"",
        ),
    ]);
}

#[test]
fn a_wrong_word_is_refused_with_its_path_and_what_was_expected() {
    assert_refused(&[
        (
            with("integers", json!("bigints")),
            "source.integers: expected \"bigint\" or \"string\" or \"always-bigint\", found \"bigints\", did you mean \"bigint\"?",
        ),
        (
            with("integers", json!(true)),
            "source.integers: expected \"bigint\" or \"string\" or \"always-bigint\", found true",
        ),
        (
            with("dates", json!("moment")),
            "source.dates: expected \"date\" or \"string\", found \"moment\"",
        ),
        (
            with("from", json!("earlyest")),
            "source.from: expected \"now\", \"earliest\" or a position, did you mean \"earliest\"?",
        ),
        (
            with("from", json!("binlog.000003")),
            "source.from: expected \"now\", \"earliest\" or a position: A position ends with a checksum behind a ~, this text has none",
        ),
        (
            with("from", json!("")),
            "source.from: expected \"now\", \"earliest\" or a position: A position was expected, an empty text was found",
        ),
        (
            with("from", json!("mariadb:0-1-101~27cb8c42")),
            "source.from: expected \"now\", \"earliest\" or a position: The checksum of the position does not match: the text was changed or cut",
        ),
    ]);
}

#[test]
fn a_wrong_list_of_tables_is_refused_with_its_path_and_what_was_expected() {
    assert_refused(&[
        (
            with("tables", json!("orders")),
            "source.tables: expected an array of patterns, found \"orders\"",
        ),
        (
            with("tables", json!([])),
            "source.tables: expected at least one pattern, found an empty array, leave the option out for all tables",
        ),
        (
            with("tables", json!(["a", 7])),
            "source.tables[1]: expected a pattern, found 7",
        ),
        (
            with("tables", json!(["a", ""])),
            "source.tables[1]: expected a pattern such as \"database.table\", found none",
        ),
        (
            with("tables", json!(["a.b.c"])),
            "source.tables[0]: expected one dot between database and table, put a name that holds a dot in backquotes",
        ),
        (
            json!({ "url": "mysql://localhost", "tables": ["orders"] }),
            "tables[0]: expected \"database.table\", since the URL names no database, found a pattern without a dot",
        ),
        (
            json!({ "url": "mysql://", "tables": ["orders"] }),
            "url: expected mysql://user:password@host:3306/database, found no host",
        ),
    ]);
}

#[test]
fn a_checkpoint_is_a_directory_or_redis() {
    let cases = [
        (
            json!(true),
            "checkpoint: expected a directory, a redis:// URL, an object with a url, or false, found true",
        ),
        (
            json!(""),
            "checkpoint: expected a directory or a redis:// URL, found an empty text",
        ),
        (
            json!("http://x/y"),
            "checkpoint: expected a directory or a redis:// URL, found a URL of another kind",
        ),
        (
            json!("redis://:s3cret@/0"),
            "checkpoint: expected redis://user:password@host:6379/0, found a URL that cannot be read",
        ),
        (
            json!({}),
            "checkpoint.url: expected a directory or a redis:// URL, found nothing",
        ),
        (
            json!({ "url": "d", "interval": 5 }),
            "checkpoint.interval: unknown option, did you mean \"intervalMs\"?",
        ),
        (
            json!({ "url": "d", "intervalMs": 5 }),
            "checkpoint.intervalMs: expected a whole number from 10 to 3600000, found 5",
        ),
        (
            json!({ "url": "d", "prefix": "p:" }),
            "checkpoint.prefix: belongs to a redis:// URL, found a directory",
        ),
        (
            json!({ "url": "redis://h", "prefix": "" }),
            "checkpoint.prefix: expected 1 to 256 characters, found an empty text",
        ),
    ];
    for (value, expected) in cases {
        let config = json!({ "source": "mysql://u@localhost/shop", "checkpoint": value });
        let error = crate::config::Config::parse(&config).unwrap_err();
        assert_eq!(
            error.details()["problems"].as_array().unwrap().len(),
            1,
            "{error}"
        );
        assert!(error.message().contains(expected), "{error}\nexpected {expected}");
    }
    for value in [
        json!(false),
        json!("./positions"),
        json!({ "url": "rediss://u:p@h:6380/2", "prefix": "app:", "intervalMs": 50 }),
    ] {
        let config = json!({ "source": "mysql://u@localhost/shop", "checkpoint": value });
        let config = crate::config::Config::parse(&config).unwrap();
        assert_eq!(config.checkpoint.is_some(), value != json!(false));
        assert!(!format!("{config:?}").contains("u:p@"));
    }
}
