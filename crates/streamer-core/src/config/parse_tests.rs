//! Tests of the configuration: what is accepted, and every sentence about what is not.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;

use super::super::{Address, Secret, TlsMode, VerifyTls};
use super::*;
use crate::code::Code;

const POSITION: &str = "mariadb:0-1-100,1-2-5~70022d51";

fn only(config: &Config) -> (&SourceConfig, &MysqlConfig) {
    let [source] = config.sources.as_slice() else {
        panic!("{config:?}");
    };
    let ConnectorConfig::Mysql(mysql) = &source.connector else {
        panic!("a source of MySQL")
    };
    (source, mysql)
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp {
        host: host.to_owned(),
        port,
    }
}

fn identity() -> TlsMode {
    TlsMode::Required {
        authorities: None,
        identity: None,
        verify: Some(VerifyTls::Identity),
    }
}

#[test]
fn a_url_alone_means_every_default() {
    let config = Config::parse(&json!("mysql://ann:pw@db.example.com/shop")).unwrap();
    let (source, mysql) = only(&config);
    assert_eq!(source.name, "default");
    assert_eq!(source.from, From::Now);
    assert_eq!(source.tables.patterns(), ["shop.*"]);
    assert_eq!(mysql.addresses, [tcp("db.example.com", 3306)]);
    assert_eq!((mysql.user.as_str(), mysql.password.reveal()), ("ann", "pw"));
    assert_eq!(mysql.database.as_deref(), Some("shop"));
    assert_eq!(mysql.tls, identity());
    assert_eq!(
        (mysql.server_id, mysql.integers, mysql.dates),
        (None, Integers::Bigint, Dates::Date)
    );
    assert_eq!(config.heartbeat, Heartbeat::default());
    assert_eq!(config.heartbeat.timeout, Duration::from_secs(3));
    assert_eq!(
        (config.reconnect, config.delivery, config.log),
        (Reconnect::default(), Delivery::default(), false)
    );
}

#[test]
fn a_source_alone_is_a_configuration() {
    let config = Config::parse(&json!({ "url": "mysql://localhost", "tables": ["a.b"] })).unwrap();
    let (source, mysql) = only(&config);
    assert_eq!(source.tables.patterns(), ["a.b"]);
    assert_eq!(mysql.tls, TlsMode::Off);
    assert_eq!(mysql.database, None);
}

#[test]
fn every_option_is_read() {
    let config = Config::parse(&json!({
        "sources": {
            "shop.eu-1": {
                "url": "mariadb://root@127.0.0.1:3307/shop", "tables": ["orders", "!x"], "from": POSITION, "tls": true,
                "serverId": 4294967295_u32, "integers": "always-bigint", "dates": "string",
            },
            "plain": "mysql://h",
        },
        "heartbeat": { "intervalMs": 10, "timeoutMs": 20 },
        "reconnect": { "initialMs": 1, "maxMs": 1, "attempts": 0 },
        "delivery": { "batchSize": 65536, "bufferBytes": 65536 },
        "logger": { "$logger": true },
    }))
    .unwrap();
    let names: Vec<_> = config.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["plain", "shop.eu-1"]);
    let source = &config.sources[1];
    let ConnectorConfig::Mysql(mysql) = &source.connector else {
        panic!("a source of MySQL")
    };
    assert_eq!(source.from, From::Position(Position::parse(POSITION).unwrap()));
    assert_eq!(source.tables.patterns(), ["shop.orders", "!shop.x"]);
    assert_eq!(mysql.tls, identity());
    assert_eq!(mysql.server_id, Some(u32::MAX));
    assert_eq!(
        (mysql.integers, mysql.dates),
        (Integers::AlwaysBigint, Dates::String)
    );
    let millis = Duration::from_millis;
    assert_eq!(
        config.heartbeat,
        Heartbeat {
            interval: millis(10),
            timeout: millis(20)
        }
    );
    assert_eq!(
        config.reconnect,
        Reconnect {
            initial: millis(1),
            max: millis(1),
            attempts: Some(0)
        }
    );
    assert_eq!(
        config.delivery,
        Delivery {
            batch_size: 65536,
            buffer_bytes: 65536
        }
    );
    assert!(config.log);
}

#[test]
fn one_wait_alone_moves_the_default_of_the_other() {
    let waits = |reconnect| {
        let config = Config::parse(&json!({ "source": "mysql://h", "reconnect": reconnect })).unwrap();
        (
            config.reconnect.initial.as_millis(),
            config.reconnect.max.as_millis(),
        )
    };
    assert_eq!(waits(json!({ "initialMs": 60_000 })), (60_000, 60_000));
    assert_eq!(waits(json!({ "maxMs": 20 })), (20, 20));
    assert_eq!(waits(json!({ "maxMs": 1e3 })), (50, 1000));
}

/// URL, addresses, user, password, database.
type UrlForm = (
    &'static str,
    Vec<Address>,
    &'static str,
    &'static str,
    Option<&'static str>,
);

fn url_forms() -> [UrlForm; 14] {
    [
        ("mysql://h", vec![tcp("h", 3306)], "", "", None),
        ("MySQL://h/", vec![tcp("h", 3306)], "", "", None),
        ("mariadb://h:1/db/", vec![tcp("h", 1)], "", "", Some("db")),
        ("mysql://u@h:65535", vec![tcp("h", 65535)], "u", "", None),
        ("mysql://u:@h", vec![tcp("h", 3306)], "u", "", None),
        ("mysql://:p@h", vec![tcp("h", 3306)], "", "p", None),
        (
            "mysql://a%40b:%2F%3a%23%3F%25+%20%C3%A4@h/d%2Fb",
            vec![tcp("h", 3306)],
            "a@b",
            "/:#?%+ ä",
            Some("d/b"),
        ),
        (
            "mysql://ü:p!$&'()*+,;=ß@h/dä",
            vec![tcp("h", 3306)],
            "ü",
            "p!$&'()*+,;=ß",
            Some("dä"),
        ),
        (
            "mysql://u@[::1]:3307/db",
            vec![tcp("::1", 3307)],
            "u",
            "",
            Some("db"),
        ),
        (
            "mysql://[2001:db8::1]",
            vec![tcp("2001:db8::1", 3306)],
            "",
            "",
            None,
        ),
        (
            "mysql://u:p@h1:3306,h2:3307,[::1]/db",
            vec![tcp("h1", 3306), tcp("h2", 3307), tcp("::1", 3306)],
            "u",
            "p",
            Some("db"),
        ),
        (
            "mysql://bücher.example",
            vec![tcp("xn--bcher-kva.example", 3306)],
            "",
            "",
            None,
        ),
        (
            "mysql://u@localhost/db?socket=/run/my%20sql.sock",
            vec![Address::Socket("/run/my sql.sock".into())],
            "u",
            "",
            Some("db"),
        ),
        (
            "mysql://u@%2Frun%2Fmysqld%2Fmysqld.sock/db",
            vec![Address::Socket("/run/mysqld/mysqld.sock".into())],
            "u",
            "",
            Some("db"),
        ),
    ]
}

#[test]
fn urls_are_read_in_all_their_forms() {
    for (url, addresses, user, password, database) in url_forms() {
        let config = Config::parse(&json!(url)).unwrap_or_else(|error| panic!("{url}: {error}"));
        let (_, mysql) = only(&config);
        assert_eq!(mysql.addresses, addresses, "{url}");
        assert_eq!(
            (mysql.user.as_str(), mysql.password.reveal()),
            (user, password),
            "{url}"
        );
        assert_eq!(mysql.database.as_deref(), database, "{url}");
    }
    let config = Config::parse(&json!("mysql:///db?socket=%2Ftmp%2Fs")).unwrap();
    assert_eq!(
        only(&config).1.addresses,
        [Address::Socket(PathBuf::from("/tmp/s"))]
    );
    assert_eq!(only(&config).1.password, Secret::default());
}

#[test]
fn a_configuration_that_is_only_half_right_names_every_problem_in_one_sentence() {
    let error = Config::parse(&json!({
        "source": { "url": "mysql://h/db", "tabels": [] },
        "heartbeat": { "intervalMs": "fast" },
    }))
    .expect_err("two problems");
    assert_eq!(error.code(), Code::ConfigInvalid);
    assert_eq!(
        error.message(),
        "2 problems in the configuration: source.tabels: unknown option, did you mean \"tables\"?; \
         heartbeat.intervalMs: expected a whole number from 10 to 3600000, found \"fast\""
    );
    assert_eq!(
        error.details().get("problems").unwrap(),
        &json!([
            { "path": "source.tabels", "message": "unknown option, did you mean \"tables\"?" },
            { "path": "heartbeat.intervalMs", "message": "expected a whole number from 10 to 3600000, found \"fast\"" },
        ])
    );
}

#[test]
fn of_very_many_problems_the_sentence_names_the_first_and_the_details_all() {
    let options: serde_json::Map<_, _> = (0..100).map(|n| (format!("wrong{n}"), json!(1))).collect();
    let error =
        Config::parse(&json!({ "source": "mysql://h", "delivery": options })).expect_err("100 problems");
    assert!(error.message().ends_with("; and 80 more"));
    assert_eq!(error.details()["problems"].as_array().unwrap().len(), 100);
}

/// Any JSON, with the names of options and with texts that options take.
fn json_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "\\PC{0,12}",
        Just("mysql://u:p@h/db".to_owned()),
        Just("now".to_owned()),
        Just("$logger".to_owned()),
        "mysql://[a-z%:@/,?#=\\[\\]0-9-]{0,30}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    let mut names: Vec<&str> = STREAMER.iter().chain(&SOURCE).copied().collect();
    names.extend([
        "intervalMs",
        "timeoutMs",
        "batchSize",
        "ca",
        "cert",
        "key",
        "verify",
        "$unsupported",
    ]);
    let name = prop_oneof![prop::sample::select(names).prop_map(str::to_owned), text];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Stands for a password. No option, sentence or path holds it by itself.
const SECRET: &str = "C4n4ryzq";

proptest! {
    #[test]
    fn no_configuration_makes_it_panic(value in json_value()) {
        if let Err(error) = Config::parse(&value) {
            prop_assert_eq!(error.code(), Code::ConfigInvalid);
            prop_assert!(!error.details()["problems"].as_array().unwrap().is_empty());
        }
    }

    #[test]
    fn a_password_never_reaches_a_message(
        scheme in "(mysql|mysql|mariadb|postgres|mysq|jdbc:mysql)(://|:|:/)",
        before in "[a-z0-9%:@/#? &=+,\\[\\]-]{0,6}",
        behind in "[a-z0-9%:@/#? &=+,\\[\\]-]{0,6}",
        rest in "(@|)[a-z0-9%:@/#?,]{0,12}(\\?ssl-mode=x|\\?socket=|)",
        place in 0..9,
    ) {
        let url = format!("{scheme}user:{before}{SECRET}{behind}{rest}");
        let good = "mysql://u@h/db";
        let value = match place {
            0 => json!(url),
            1 => json!({ "source": url }),
            2 => json!({ "source": { "url": url, "tables": ["x", 7], "tls": { "ca": "/nowhere" } } }),
            3 => json!({ "sources": { url: good } }),
            4 => json!({ "source": good, "heartbeat": { "intervalMs": url }, "logger": url }),
            5 => json!({ "source": { "url": good, "from": url, "integers": url, "serverId": url, "tables": url } }),
            6 => json!({ "source": { "url": good, "password": SECRET, "tls": { "key": SECRET, "cert": 1 } } }),
            7 => json!({ "source": { "url": good, "tls": { "key": format!("-----BEGIN X-----\n{SECRET}"), "ca": url, "cert": url } } }),
            _ => json!({ "source": { "url": good, url: 1 }, "delivery": { "batchSize": 0 } }),
        };
        match Config::parse(&value) {
            Err(error) => {
                let all = format!("{error} {error:?} {}", error.to_json());
                prop_assert!(!all.contains(SECRET), "{}", all);
            }
            Ok(config) => {
                // Where the text was understood, the secret may be a user's or host's name, but never what is shown of
                // the password.
                let (_, mysql) = only(&config);
                if mysql.password.reveal().contains(SECRET) {
                    let shown = format!("{config:?}");
                    prop_assert!(!shown.contains(SECRET));
                }
            }
        }
    }
}
