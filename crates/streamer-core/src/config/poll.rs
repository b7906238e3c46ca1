//! How a source is captured: its log, or polling; and the options of polling.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::problem::{Options, Problems, found};

/// Longest name of a column.
const MAX_NAME: usize = 64;
/// Most columns that are named.
const MAX_COLUMNS: usize = 10_000;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

const OPTIONS: [&str; 8] = [
    "column",
    "columns",
    "minIntervalMs",
    "maxIntervalMs",
    "overlapMs",
    "sweepMs",
    "compareRows",
    "checkMs",
];

/// Where changes are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Capture {
    /// The log where it can be had, else polling.
    #[default]
    Auto,
    /// The log, or an error.
    Log,
    /// Polling, whether there is a log or not.
    Poll,
}

/// Options of polling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollConfig {
    /// The column by which every table is polled that has it, and that is not in `columns`.
    pub column: Option<String>,
    /// Columns by `database.table`.
    pub columns: BTreeMap<String, String>,
    /// Shortest wait between two polls of a table. 10 ms to 1 h, default 100 ms.
    pub min_interval: Duration,
    /// Longest wait. `min_interval` to 24 h, default 5 s.
    pub max_interval: Duration,
    /// How much older than its commit the value of a row's column may be. 0 to 24 h, default 5 s.
    pub overlap: Duration,
    /// How often rows that are gone are looked for; `None`, the default, is never. 100 ms to 24 h.
    pub sweep: Option<Duration>,
    /// Most rows of a table that is compared as a whole, for want of a column. 0 to 1,000,000, default 10,000.
    pub compare_rows: usize,
    /// How often it is tried whether the log can be had by now. 100 ms to 24 h, default 30 s.
    pub check: Duration,
}

impl Default for PollConfig {
    fn default() -> Self {
        Self {
            column: None,
            columns: BTreeMap::new(),
            min_interval: Duration::from_millis(100),
            max_interval: Duration::from_secs(5),
            overlap: Duration::from_secs(5),
            sweep: None,
            compare_rows: 10_000,
            check: Duration::from_secs(30),
        }
    }
}

/// Reads `capture` and `poll` of a source.
pub(super) fn parse(options: &Options<'_>, problems: &mut Problems) -> (Capture, PollConfig) {
    let words = [
        ("auto", Capture::Auto),
        ("log", Capture::Log),
        ("poll", Capture::Poll),
    ];
    let capture = options.choice("capture", &words, problems).unwrap_or_default();
    let Some(value) = options.get("poll") else {
        return (capture, PollConfig::default());
    };
    let path = options.path_of("poll");
    if capture == Capture::Log {
        problems.add(path.as_str(), "excludes capture \"log\", which never polls");
    }
    let config = Options::read(&path, value, problems)
        .map(|options| parse_poll(&options, problems))
        .unwrap_or_default();
    (capture, config)
}

fn parse_poll(options: &Options<'_>, problems: &mut Problems) -> PollConfig {
    options.refuse_unknown(&OPTIONS, problems, |key| {
        let meant = OPTIONS.iter().find(|name| name.strip_suffix("Ms") == Some(key))?;
        Some(format!("did you mean \"{meant}\"?"))
    });
    let default = PollConfig::default();
    let mut time = |key: &str, least: u64, most: u64| {
        options
            .whole(key, least, most, problems)
            .map(Duration::from_millis)
    };
    let min = time("minIntervalMs", 10, HOUR);
    let max = time("maxIntervalMs", 10, DAY);
    let overlap = time("overlapMs", 0, DAY);
    let sweep = time("sweepMs", 100, DAY);
    let check = time("checkMs", 100, DAY);
    if let (Some(min), Some(max)) = (min, max)
        && max < min
    {
        let (least, found) = (min.as_millis(), max.as_millis());
        problems.add(
            options.path_of("maxIntervalMs"),
            format!("expected at least minIntervalMs ({least}), found {found}"),
        );
    }
    let compare_rows = options.whole("compareRows", 0, 1_000_000, problems);
    let column = options
        .get("column")
        .and_then(|value| column(&options.path_of("column"), value, problems));
    PollConfig {
        column,
        columns: columns(options, problems),
        // One of the two alone moves the other's default.
        min_interval: min.unwrap_or(max.map_or(default.min_interval, |max| default.min_interval.min(max))),
        max_interval: max.unwrap_or(min.map_or(default.max_interval, |min| default.max_interval.max(min))),
        overlap: overlap.unwrap_or(default.overlap),
        sweep,
        compare_rows: compare_rows
            .and_then(|rows| usize::try_from(rows).ok())
            .unwrap_or(default.compare_rows),
        check: check.unwrap_or(default.check),
    }
}

fn columns(options: &Options<'_>, problems: &mut Problems) -> BTreeMap<String, String> {
    let path = options.path_of("columns");
    let Some(value) = options.get("columns") else {
        return BTreeMap::new();
    };
    let Some(named) = Options::read(&path, value, problems) else {
        return BTreeMap::new();
    };
    if named.object.len() > MAX_COLUMNS {
        problems.add(
            path.as_str(),
            format!(
                "expected at most {MAX_COLUMNS} tables, found {}",
                named.object.len()
            ),
        );
        return BTreeMap::new();
    }
    let mut columns = BTreeMap::new();
    for (table, value) in named.object {
        let path = named.path_of(table);
        let is_table = table
            .split_once('.')
            .is_some_and(|(database, table)| !database.is_empty() && !table.is_empty());
        if !is_table {
            problems.add(path.as_str(), "expected database.table as the name");
        }
        if let Some(column) = column(&path, value, problems) {
            columns.insert(table.clone(), column);
        }
    }
    columns
}

fn column(path: &str, value: &Value, problems: &mut Problems) -> Option<String> {
    match value.as_str() {
        Some(name) if !name.is_empty() && !name.contains('\0') && name.chars().count() <= MAX_NAME => {
            Some(name.to_owned())
        }
        _ => {
            let found = found(value);
            problems.add(
                path,
                format!("expected the name of a column, 1 to {MAX_NAME} characters, found {found}"),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;

    fn source(options: Value) -> Result<crate::config::SourceConfig, String> {
        let mut source = json!({ "url": "mysql://root@localhost/shop" });
        let (Some(source_options), Some(options)) = (source.as_object_mut(), options.as_object()) else {
            return Err(String::new());
        };
        source_options.extend(options.clone());
        Config::parse(&source)
            .map(|config| config.sources[0].clone())
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn the_log_is_taken_where_it_can_be_had() {
        let found = source(json!({})).unwrap();
        assert_eq!(
            (found.capture, found.poll),
            (Capture::Auto, PollConfig::default())
        );
    }

    #[test]
    fn options_of_polling_are_read() {
        let options = json!({ "capture": "poll", "poll": {
            "columns": { "shop.orders": "changed" }, "column": "rev", "minIntervalMs": 6000, "sweepMs": 100, "overlapMs": 0,
        } });
        let found = source(options).unwrap();
        assert_eq!(found.capture, Capture::Poll);
        let (poll, second) = (found.poll, Duration::from_secs(1));
        assert_eq!(
            poll.columns.get("shop.orders").map(String::as_str),
            Some("changed")
        );
        assert_eq!(poll.column.as_deref(), Some("rev"));
        assert_eq!((poll.min_interval, poll.max_interval), (6 * second, 6 * second));
        assert_eq!((poll.sweep, poll.overlap), (Some(second / 10), Duration::ZERO));
    }

    #[test]
    fn every_problem_is_named() {
        let options = json!({ "capture": "pole", "poll": {
            "interval": 1, "columns": { "orders": "", "a.b": 7 }, "column": "", "minIntervalMs": 500, "maxIntervalMs": 100, "sweepMs": -1,
        } });
        let sentence = source(options).unwrap_err();
        for part in [
            "capture: expected \"auto\" or \"log\" or \"poll\"",
            "poll.interval: unknown option",
            "poll.columns.orders: expected database.table",
            "poll.columns.orders: expected the name of a column",
            "poll.columns[\"a.b\"]: expected the name of a column",
            "poll.column: expected",
            "poll.maxIntervalMs: expected at least minIntervalMs (500)",
            "poll.sweepMs: expected a whole number from 100",
        ] {
            assert!(sentence.contains(part), "{part} in {sentence}");
        }
        let sentence = source(json!({ "capture": "log", "poll": {} })).unwrap_err();
        assert!(sentence.contains("poll: excludes capture"), "{sentence}");
    }

    #[test]
    fn sqlite_has_its_log_always() {
        let of = |capture: &str| Config::parse(&json!({ "url": "sqlite:app.db", "capture": capture }));
        assert!(of("auto").is_ok() && of("log").is_ok());
        let sentence = of("poll").unwrap_err();
        assert!(
            sentence
                .message()
                .contains("capture: a SQLite source is never polled"),
            "{sentence}"
        );
    }
}
