//! Keeps rooms apart and files readable: arrows between modules, the length of files and of functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MAX_FILE_LINES: usize = 700;
const MAX_FUNCTION_LINES: usize = 70;

/// Files and functions that may be longer, each with its reason.
const LONGER: &[(&str, &str)] = &[
    ("index.d.ts", "the whole public contract, in one place"),
    (
        "alteration.rs::change_in_place",
        "one arm for each clause of ALTER TABLE",
    ),
    (
        "information_schema.rs::columns_query",
        "one statement, which is read as a whole",
    ),
    (
        "tests.rs::a_table_map_is_compared_column_by_column",
        "a table of cases",
    ),
    ("model.rs::reader_step", "one arm for each step of a reader"),
    (
        "shared_model.rs::process_step",
        "one arm for each step of a process",
    ),
    (
        "tests.rs::what_is_cached_depends_on_what_it_reads",
        "a table of cases",
    ),
    (
        "tests.rs::what_may_change_without_the_log_is_never_cached",
        "a table of cases",
    ),
];

/// Which rooms of the core each room may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("code", &[]),
    ("error", &["code"]),
    ("event", &[]),
    ("offset", &["error", "code"]),
    ("cache", &["error", "code", "event", "offset"]),
    (
        "query",
        &[
            "error", "code", "event", "offset", "config", "cache", "source", "pipeline",
        ],
    ),
    ("config", &["error", "code", "offset"]),
    ("checkpoint", &["error", "code", "config"]),
    (
        "source",
        &["error", "code", "offset", "config", "event", "checkpoint"],
    ),
    (
        "snapshot",
        &["error", "code", "config", "event", "source", "checkpoint"],
    ),
    (
        "pipeline",
        &[
            "error",
            "code",
            "offset",
            "config",
            "event",
            "source",
            "checkpoint",
            "snapshot",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Source files that git knows of, or would take in.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| root().join(line))
        .filter(|path| path.is_file())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted))
        })
        .collect()
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

fn may_be_longer(what: &str) -> bool {
    LONGER.iter().any(|(exception, _)| what.ends_with(exception))
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<String> = files(&["rs", "js", "mjs", "ts"])
        .iter()
        .filter(|path| !name(path).starts_with("native."))
        .filter_map(|path| {
            let lines = std::fs::read_to_string(path).unwrap().lines().count();
            (lines > MAX_FILE_LINES && !may_be_longer(&name(path)))
                .then(|| format!("{}: {lines}", name(path)))
        })
        .collect();
    assert!(long.is_empty(), "longer than {MAX_FILE_LINES} lines: {long:#?}");
}

/// The functions of a file with the number of their lines; rustfmt closes each at the indentation of its `fn`.
fn functions(text: &str) -> Vec<(String, usize)> {
    let mut open: Vec<(usize, String, usize)> = Vec::new();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words = line.trim_start();
        let declares = [
            "fn ",
            "pub fn ",
            "async fn ",
            "pub async fn ",
            "const fn ",
            "pub const fn ",
        ]
        .iter()
        .any(|start| words.starts_with(start))
            || (words.starts_with("pub(") && words.contains(" fn "));
        if declares && !words.ends_with([';', '}']) {
            let name = words.split("fn ").nth(1).unwrap_or_default();
            let name = name.split(['(', '<']).next().unwrap_or_default().to_owned();
            open.push((indent, name, number));
        }
        if words.starts_with('}')
            && let Some(at) = open.iter().rposition(|(opened, ..)| *opened == indent)
        {
            let (_, name, start) = open.remove(at);
            found.push((name, number - start + 1));
        }
    }
    found
}

#[test]
fn no_function_is_too_long_to_read() {
    let mut long = Vec::new();
    for path in files(&["rs"]) {
        for (function, lines) in functions(&std::fs::read_to_string(&path).unwrap()) {
            let what = format!("{}::{function}", name(&path));
            if lines > MAX_FUNCTION_LINES && !may_be_longer(&what) {
                long.push(format!("{what}: {lines}"));
            }
        }
    }
    assert!(
        long.is_empty(),
        "longer than {MAX_FUNCTION_LINES} lines: {long:#?}"
    );
}

#[test]
fn arrows_between_rooms_go_one_way() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let source = root().join("crates/streamer-core/src");
    let mut wrong = Vec::new();
    for path in files(&["rs"]) {
        let Ok(inside) = path.strip_prefix(&source) else {
            continue;
        };
        let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
        let room = first.trim_end_matches(".rs").to_owned();
        if room == "lib" {
            continue;
        }
        let allowed = arrows
            .get(room.as_str())
            .unwrap_or_else(|| panic!("the room {room} stands in no arrow"));
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (at, _) in code.match_indices("crate::") {
            let used: String = code[at + 7..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            if arrows.contains_key(used.as_str()) && used != room && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{} uses {used}", name(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_source_imports_another() {
    let sources = root().join("crates/streamer-core/src/source");
    let rooms: Vec<String> = std::fs::read_dir(&sources)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        // What polling is to every database; it imports none of them.
        .filter(|room| room != "poll")
        .collect();
    assert!(rooms.contains(&"mysql".to_owned()));
    for path in files(&["rs"]) {
        let Ok(inside) = path.strip_prefix(&sources) else {
            continue;
        };
        let text = std::fs::read_to_string(&path).unwrap();
        for room in &rooms {
            let own = inside.starts_with(room) || inside == Path::new("mod.rs");
            assert!(
                own || !text.contains(&format!("source::{room}")),
                "{} imports {room}",
                name(&path)
            );
        }
    }
}
