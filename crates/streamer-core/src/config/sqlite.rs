//! Options of a SQLite source.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::parse::{read_from, read_tables};
use super::problem::{Options, Problems};
use super::{Capture, ConnectorConfig, PollConfig, SourceConfig, snapshot};

/// The options of a SQLite source.
pub(super) const OPTIONS: [&str; 6] = ["url", "tables", "from", "capture", "snapshot", "snapshotRate"];

/// What SQLite itself calls the database of a file, and what patterns and changes call it here.
pub const SQLITE_DATABASE: &str = "main";

/// Longest URL, in bytes.
const MAX_URL_BYTES: usize = 8192;

const SHAPE: &str = "expected sqlite:path/to/file.db or sqlite:///absolute/path/to/file.db";

/// A database in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteConfig {
    /// The file; absolute.
    pub path: PathBuf,
}

/// Whether a URL is one of SQLite's.
pub(super) fn is_url(text: &str) -> bool {
    text.get(..7)
        .is_some_and(|start| start.eq_ignore_ascii_case("sqlite:"))
}

/// The file that a URL names.
///
/// # Errors
/// What was expected instead, as a part of a sentence.
pub fn sqlite_path(url: &str) -> Result<PathBuf, String> {
    let rest = url
        .get(7..)
        .filter(|_| is_url(url))
        .ok_or_else(|| SHAPE.to_owned())?;
    if url.len() > MAX_URL_BYTES {
        return Err(format!(
            "expected at most {MAX_URL_BYTES} bytes, found {}",
            url.len()
        ));
    }
    if rest.contains(['?', '#']) {
        return Err(format!(
            "{SHAPE}, found parameters, which it has none of (? is %3F, # is %23)"
        ));
    }
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Err(format!("{SHAPE}, found a host behind the //")),
        None => rest,
    };
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| format!("{SHAPE}, found bytes that are no UTF-8"))?;
    if path.is_empty() || path.contains('\0') {
        return Err(format!("{SHAPE}, found no path"));
    }
    if path == ":memory:" {
        return Err(
            "expected a file, found :memory:, which no other process or connection can write to".to_owned(),
        );
    }
    std::path::absolute(&*path).map_err(|_| format!("{SHAPE}, found no path"))
}

/// Reads a source whose URL is one of SQLite's.
pub(super) fn read_source(
    name: &str,
    options: &Options<'_>,
    text: &str,
    url_path: &str,
    problems: &mut Problems,
) -> Option<SourceConfig> {
    let path = sqlite_path(text).map_err(|sentence| problems.add(url_path, sentence));
    let from = read_from(options, problems);
    let snapshot = snapshot::read(options, problems);
    let tables = read_tables(options, Some(SQLITE_DATABASE), problems);
    if options.get("capture").and_then(serde_json::Value::as_str) == Some("poll") {
        problems.add(
            options.path_of("capture"),
            "a SQLite source is never polled, its change log can always be had",
        );
    } else {
        options.choice("capture", &[("auto", ()), ("log", ())], problems);
    }
    Some(SourceConfig {
        name: name.to_owned(),
        tables: tables?.without_system_databases().with_lower_case(true),
        from: from?,
        continues_after_gap: options.get("from").is_some() || snapshot.repairs(),
        capture: Capture::Log,
        poll: PollConfig::default(),
        snapshot,
        connector: ConnectorConfig::Sqlite(SqliteConfig { path: path.ok()? }),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    #[test]
    fn urls_name_files() {
        let here = std::env::current_dir().unwrap();
        for (url, path) in [
            ("sqlite:app.db", here.join("app.db")),
            ("SQLite:./data/app.db", here.join("data/app.db")),
            ("sqlite:/srv/app.db", "/srv/app.db".into()),
            ("sqlite:///srv/app.db", "/srv/app.db".into()),
            ("sqlite:///srv/my%20app%3F.db", "/srv/my app?.db".into()),
        ] {
            assert_eq!(sqlite_path(url).unwrap(), path, "{url}");
        }
        for url in [
            "sqlite:",
            "sqlite://",
            "sqlite://app.db",
            "sqlite:app.db?mode=ro",
            "sqlite::memory:",
            "sqlite:a%00",
            "sqlit:a",
        ] {
            assert!(sqlite_path(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_table_without_a_database_is_one_of_main() {
        let config = Config::parse(&json!({ "url": "sqlite:app.db", "tables": ["Orders"] })).unwrap();
        let tables = &config.sources.first().unwrap().tables;
        assert!(tables.includes("main", "orders") && !tables.includes("main", "stock"));
    }

    #[test]
    fn options_of_other_sources_are_refused() {
        let error =
            Config::parse(&json!({ "url": "sqlite:app.db", "serverId": 1, "tls": true })).unwrap_err();
        assert!(error.message().contains("serverId: unknown option") || error.message().contains("serverId"));
    }
}
