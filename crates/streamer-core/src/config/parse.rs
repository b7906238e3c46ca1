//! From what JavaScript handed over to a [`Config`]: names, bounds and defaults of every option.

use std::time::Duration;

use serde_json::Value;

use super::problem::{Options, Problems, found, is_logger, member, nearest, shown};
use super::{
    Capture, Config, ConnectorConfig, Dates, Delivery, From, Heartbeat, Integers, MysqlConfig, PoolConfig,
    Reconnect, SourceConfig, TableFilter, cache, checkpoint, mongodb, poll, pool, redis, snapshot, sqlite,
    tls, url,
};
use crate::offset::Position;

const STREAMER: [&str; 9] = [
    "source",
    "sources",
    "checkpoint",
    "cache",
    "pool",
    "heartbeat",
    "reconnect",
    "delivery",
    "logger",
];
const SOURCE: [&str; 11] = [
    "url",
    "tables",
    "from",
    "capture",
    "poll",
    "snapshot",
    "snapshotRate",
    "tls",
    "serverId",
    "integers",
    "dates",
];

/// What the only source is called.
pub(super) const DEFAULT_NAME: &str = "default";

/// Most sources of one streamer.
const MAX_SOURCES: usize = 256;

/// Longest name of a source.
const MAX_NAME: usize = 64;

/// A server under load may take its time to greet.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

const MIN_INTERVAL: u64 = 10;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
const MAX_BATCH: u64 = 65_536;
const MIN_BUFFER: u64 = 64 << 10;
const MAX_BUFFER: u64 = 4 << 30;

/// Reads a URL, a source, or a whole configuration.
pub(super) fn parse(value: &Value) -> Result<Config, crate::error::Error> {
    let mut problems = Problems::default();
    match (parse_any(value, &mut problems), problems.is_empty()) {
        (Some(config), true) => Ok(config),
        _ => Err(problems.into_error()),
    }
}

fn parse_any(value: &Value, problems: &mut Problems) -> Option<Config> {
    if let Value::String(_) = value {
        return with_defaults(parse_source(DEFAULT_NAME, "", value, problems));
    }
    if !value.is_object() || Options::read("", value, &mut Problems::default()).is_none() {
        let found = found(value);
        problems.add("config", format!("expected a URL or an object, found {found}"));
        return None;
    }
    let options = Options::read("", value, problems)?;
    let has = |key: &&&str| options.get(key).is_some();
    let whole = STREAMER.iter().take(2).any(|key| has(&key));
    if !whole && SOURCE.iter().any(|key| has(&key)) {
        return with_defaults(parse_source(DEFAULT_NAME, "", value, problems));
    }
    parse_streamer(&options, problems)
}

/// A configuration of one source and nothing else.
fn with_defaults(source: Option<SourceConfig>) -> Option<Config> {
    Some(Config {
        sources: vec![source?],
        heartbeat: Heartbeat::default(),
        pool: PoolConfig::default(),
        reconnect: Reconnect::default(),
        delivery: Delivery::default(),
        checkpoint: None,
        cache: None,
        redis: None,
        log: false,
    })
}

fn parse_streamer(options: &Options<'_>, problems: &mut Problems) -> Option<Config> {
    options.refuse_unknown(&STREAMER, problems, |key| {
        SOURCE
            .contains(&key)
            .then(|| format!("it belongs to a source: source.{key}"))
    });
    let sources = parse_sources(options, problems);
    let mut section = |key| {
        let value = options.get(key)?;
        Options::read(key, value, problems)
    };
    let (heartbeat, reconnect, delivery) = (section("heartbeat"), section("reconnect"), section("delivery"));
    let pool = section("pool");
    Some(Config {
        heartbeat: heartbeat.map_or_else(Heartbeat::default, |options| parse_heartbeat(&options, problems)),
        reconnect: reconnect.map_or_else(Reconnect::default, |options| parse_reconnect(&options, problems)),
        delivery: delivery.map_or_else(Delivery::default, |options| parse_delivery(&options, problems)),
        pool: pool.map_or_else(PoolConfig::default, |options| parse_pool(&options, problems)),
        checkpoint: checkpoint::parse(options.get("checkpoint"), problems),
        cache: cache::parse(options.get("cache"), problems),
        redis: redis::parse(options.get("cache"), problems),
        log: parse_logger(options, problems),
        sources: sources?,
    })
}

fn parse_sources(options: &Options<'_>, problems: &mut Problems) -> Option<Vec<SourceConfig>> {
    match (options.get("source"), options.get("sources")) {
        (Some(source), None) => Some(vec![parse_source(DEFAULT_NAME, "source", source, problems)?]),
        (None, Some(sources)) => parse_named_sources(sources, problems),
        (Some(_), Some(_)) => {
            problems.add("sources", "excludes source, expected one of them");
            None
        }
        (None, None) => {
            // Where a misspelled key was reported already, saying that it is missing as well helps nobody.
            let misspelled = options
                .object
                .keys()
                .any(|key| matches!(nearest(key, &STREAMER), Some("source" | "sources")));
            if !misspelled {
                problems.add("source", "missing, expected a URL or an object with a url");
            }
            None
        }
    }
}

fn parse_named_sources(value: &Value, problems: &mut Problems) -> Option<Vec<SourceConfig>> {
    let options = Options::read("sources", value, problems)?;
    let count = options.object.len();
    if count == 0 || count > MAX_SOURCES {
        problems.add(
            "sources",
            format!("expected 1 to {MAX_SOURCES} sources, found {count}"),
        );
        return None;
    }
    let mut sources = Vec::with_capacity(count);
    for (name, source) in options.object {
        let named = !name.is_empty()
            && name.len() <= MAX_NAME
            && name
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-'));
        if !named {
            let found = shown(name);
            problems.add(
                "sources",
                format!("a source's name has 1 to {MAX_NAME} letters, digits, dots, dashes and underscores, found {found}"),
            );
        }
        sources.push(parse_source(name, &options.path_of(name), source, problems));
    }
    sources.into_iter().collect()
}

/// A source at `path`, which is empty where it is the whole configuration.
fn parse_source(name: &str, path: &str, value: &Value, problems: &mut Problems) -> Option<SourceConfig> {
    if let Value::String(text) = value {
        let path = if path.is_empty() { "url" } else { path };
        let options = Options {
            path,
            object: &serde_json::Map::new(),
        };
        return read_source(name, &options, text, path, problems);
    }
    if !value.is_object() {
        problems.add(
            path,
            format!("expected a URL or an object with a url, found {}", found(value)),
        );
        return None;
    }
    let options = Options::read(path, value, problems)?;
    let is = |test: fn(&str) -> bool| options.get("url").and_then(Value::as_str).is_some_and(test);
    let (known, kind): (&[&str], _) = match () {
        () if is(mongodb::is_url) => (&mongodb::OPTIONS, "MongoDB"),
        () if is(sqlite::is_url) => (&sqlite::OPTIONS, "SQLite"),
        () => (&SOURCE, "MySQL"),
    };
    options.refuse_unknown(known, problems, |key| match key {
        _ if STREAMER.contains(&key) => Some(format!(
            "it stands beside \"source\", not in it: {{ source, {key} }}"
        )),
        _ if SOURCE.contains(&key) => Some(format!("a {kind} source has no such option")),
        _ if mongodb::OPTIONS.contains(&key) => Some("it belongs to a MongoDB source".to_owned()),
        _ => None,
    });
    let path = options.path_of("url");
    match options.get("url") {
        Some(Value::String(text)) => read_source(name, &options, text, &path, problems),
        other => {
            match other {
                Some(other) => {
                    problems.add(path, format!("expected a URL, found {}", found(other)));
                }
                None if !options
                    .object
                    .keys()
                    .any(|key| nearest(key, &SOURCE) == Some("url")) =>
                {
                    problems.add(path, "missing, expected mysql://user:password@host:3306/database");
                }
                None => {}
            }
            // The other options are worth their problems all the same.
            read_options(&options, problems);
            None
        }
    }
}

fn read_source(
    name: &str,
    options: &Options<'_>,
    text: &str,
    url_path: &str,
    problems: &mut Problems,
) -> Option<SourceConfig> {
    if mongodb::is_url(text) {
        return mongodb::read_source(name, options, text, url_path, problems);
    }
    if sqlite::is_url(text) {
        return sqlite::read_source(name, options, text, url_path, problems);
    }
    let url = url::parse(text, url_path, problems);
    let (from, server_id, integers, dates) = read_options(options, problems);
    let (capture, poll) = poll::parse(options, problems);
    let snapshot = snapshot::read(options, problems);
    if capture == Capture::Poll {
        snapshot::refuse(options, snapshot, problems);
    }
    let Some(url) = url else {
        // Patterns are read as if the URL named a database, so that its absence is not reported twice.
        read_tables(options, Some(DEFAULT_NAME), problems);
        return None;
    };
    let tables = read_tables(options, url.database.as_deref(), problems);
    let local = url.addresses.iter().all(super::Address::is_local);
    let option_path = options.path_of("tls");
    let places = tls::Places {
        option: &option_path,
        url: url_path,
    };
    let tls = tls::resolve(options.get("tls"), &url.tls, local, &places, problems);
    Some(SourceConfig {
        name: name.to_owned(),
        tables: tables?,
        from: from?,
        continues_after_gap: options.get("from").is_some() || snapshot.repairs(),
        capture,
        poll,
        snapshot,
        connector: ConnectorConfig::Mysql(MysqlConfig {
            addresses: url.addresses,
            user: url.user,
            password: url.password,
            database: url.database,
            tls: tls?,
            server_id,
            integers,
            dates,
            connect_deadline: CONNECT_DEADLINE,
        }),
    })
}

/// The options that do not depend on the URL.
fn read_options(
    options: &Options<'_>,
    problems: &mut Problems,
) -> (Option<From>, Option<u32>, Integers, Dates) {
    let server_id = options.whole("serverId", 1, u64::from(u32::MAX), problems);
    let integers = [
        ("bigint", Integers::Bigint),
        ("string", Integers::String),
        ("always-bigint", Integers::AlwaysBigint),
    ];
    let dates = [("date", Dates::Date), ("string", Dates::String)];
    (
        read_from(options, problems),
        server_id.and_then(|id| u32::try_from(id).ok()),
        options
            .choice("integers", &integers, problems)
            .unwrap_or_default(),
        options.choice("dates", &dates, problems).unwrap_or_default(),
    )
}

pub(super) fn read_from(options: &Options<'_>, problems: &mut Problems) -> Option<From> {
    const WORDS: [&str; 2] = ["now", "earliest"];
    let path = options.path_of("from");
    let text = match options.get("from") {
        None => return Some(From::Now),
        Some(Value::String(text)) => text.as_str(),
        Some(other) => {
            let found = found(other);
            problems.add(
                path,
                format!("expected \"now\", \"earliest\" or a position, found {found}"),
            );
            return None;
        }
    };
    match (text, nearest(text, &WORDS)) {
        ("now", _) => return Some(From::Now),
        ("earliest", _) => return Some(From::Earliest),
        (_, Some(nearest)) => {
            problems.add(
                path,
                format!("expected \"now\", \"earliest\" or a position, did you mean \"{nearest}\"?"),
            );
            return None;
        }
        (_, None) => {}
    }
    match Position::parse(text) {
        Ok(position) => Some(From::Position(position)),
        Err(error) => {
            let sentence = error.message().trim_end_matches('.').replace("; ", ", ");
            problems.add(
                path,
                format!("expected \"now\", \"earliest\" or a position: {sentence}"),
            );
            None
        }
    }
}

pub(super) fn read_tables(
    options: &Options<'_>,
    database: Option<&str>,
    problems: &mut Problems,
) -> Option<TableFilter> {
    let path = options.path_of("tables");
    let none: &[&str] = &[];
    let values = match options.get("tables") {
        None => return TableFilter::parse(none, database).ok(),
        Some(Value::Array(values)) if !values.is_empty() => values,
        Some(Value::Array(_)) => {
            problems.add(
                path,
                "expected at least one pattern, found an empty array, leave the option out for all tables",
            );
            return None;
        }
        Some(other) => {
            problems.add(
                path,
                format!("expected an array of patterns, found {}", found(other)),
            );
            return None;
        }
    };
    let mut patterns = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        match value {
            Value::String(pattern) => patterns.push(pattern.as_str()),
            _ => problems.add(
                format!("{path}[{index}]"),
                format!("expected a pattern, found {}", found(value)),
            ),
        }
    }
    if patterns.len() < values.len() {
        return None;
    }
    TableFilter::parse(&patterns, database)
        .map_err(|refused| {
            for problem in refused {
                let index = problem
                    .index
                    .map(|index| format!("[{index}]"))
                    .unwrap_or_default();
                problems.add(format!("{path}{index}"), problem.message);
            }
        })
        .ok()
}

fn parse_heartbeat(options: &Options<'_>, problems: &mut Problems) -> Heartbeat {
    options.refuse_unknown(
        &["intervalMs", "timeoutMs"],
        problems,
        without_unit(&["intervalMs", "timeoutMs"]),
    );
    let before = options.get("intervalMs").is_some();
    let interval = options.whole("intervalMs", MIN_INTERVAL, HOUR, problems);
    let timeout = options.whole("timeoutMs", 2 * MIN_INTERVAL, DAY, problems);
    let default = Heartbeat::default();
    let known = interval.is_some() || !before;
    let interval = interval.map_or(default.interval, Duration::from_millis);
    let timeout = timeout.map_or(interval * 3, Duration::from_millis);
    // A beat may arrive almost one interval late without anything being wrong.
    if known && timeout < interval * 2 {
        let (least, found) = (interval.as_millis() * 2, timeout.as_millis());
        problems.add(
            options.path_of("timeoutMs"),
            format!("expected at least two intervals ({least}), found {found}"),
        );
    }
    Heartbeat { interval, timeout }
}

fn parse_pool(options: &Options<'_>, problems: &mut Problems) -> PoolConfig {
    let known = ["maxConnections", "waitMs", "queryMs"];
    options.refuse_unknown(&known, problems, without_unit(&known));
    pool::parse(options, problems)
}

fn parse_reconnect(options: &Options<'_>, problems: &mut Problems) -> Reconnect {
    let known = ["initialMs", "maxMs", "attempts"];
    options.refuse_unknown(&known, problems, without_unit(&known));
    let default = Reconnect::default();
    let initial = options.whole("initialMs", 1, HOUR, problems);
    let max = options.whole("maxMs", 1, DAY, problems);
    let attempts = options.whole("attempts", 0, u64::from(u32::MAX), problems);
    if let (Some(initial), Some(max)) = (initial, max)
        && max < initial
    {
        problems.add(
            options.path_of("maxMs"),
            format!("expected at least initialMs ({initial}), found {max}"),
        );
    }
    let initial_wait = initial.map_or(default.initial, Duration::from_millis);
    let max = max.map(Duration::from_millis);
    Reconnect {
        // One of the two alone moves the other's default.
        initial: if initial.is_none() {
            max.map_or(initial_wait, |max| initial_wait.min(max))
        } else {
            initial_wait
        },
        max: max.unwrap_or(default.max.max(initial_wait)),
        attempts: attempts.and_then(|attempts| u32::try_from(attempts).ok()),
    }
}

fn parse_delivery(options: &Options<'_>, problems: &mut Problems) -> Delivery {
    options.refuse_unknown(&["batchSize", "bufferBytes"], problems, |_| None);
    let default = Delivery::default();
    let batch = options.whole("batchSize", 1, MAX_BATCH, problems);
    let buffer = options.whole("bufferBytes", MIN_BUFFER, MAX_BUFFER, problems);
    Delivery {
        batch_size: batch
            .and_then(|size| u32::try_from(size).ok())
            .unwrap_or(default.batch_size),
        // A 32-bit platform cannot hold the highest of them anyway.
        buffer_bytes: buffer.map_or(default.buffer_bytes, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        }),
    }
}

/// `interval` is too far from `intervalMs` for the edit distance, and the likeliest mistake.
fn without_unit<'a>(known: &'a [&'a str]) -> impl Fn(&str) -> Option<String> + 'a {
    move |key| {
        let meant = known.iter().find(|name| name.strip_suffix("Ms") == Some(key))?;
        Some(format!("did you mean \"{meant}\"?"))
    }
}

fn parse_logger(options: &Options<'_>, problems: &mut Problems) -> bool {
    match options.get("logger") {
        None => false,
        Some(value) if is_logger(value) => true,
        Some(other) => {
            let found = found(other);
            problems.add(
                member("", "logger"),
                format!("expected an object with the methods debug, info, warn and error, found {found}"),
            );
            false
        }
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
