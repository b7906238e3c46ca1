//! Options of a MongoDB source.
//!
//! The driver divides the URL, by the rules of MongoDB's own specification. Its sentences may repeat parts of the text,
//! so they are shown only for what remains of a URL without user and password.

use mongodb::options::{ConnectionString, HostInfo, ServerAddress, Tls};
use serde_json::Value;

use super::parse::{DEFAULT_NAME, read_from, read_tables};
use super::problem::{Options, Problems, found};
use super::url::UrlTls;
use super::{Capture, ConnectorConfig, Secret, SourceConfig, TlsMode, poll, snapshot, tls};

/// The options of a MongoDB source.
pub(super) const OPTIONS: [&str; 12] = [
    "url",
    "tables",
    "from",
    "capture",
    "poll",
    "snapshot",
    "snapshotRate",
    "tls",
    "log",
    "pipeline",
    "fullDocument",
    "fullDocumentBeforeChange",
];

/// Most stages of a pipeline: the server's own limit.
const MAX_STAGES: usize = 1000;

/// Longest URL, in bytes.
const MAX_URL_BYTES: usize = 8192;

/// A deployment, its user, and what is read of its changes.
#[derive(Debug, Clone)]
pub struct MongodbConfig {
    /// The URL as it was given; it holds the password.
    pub url: Secret,
    /// The URL's database.
    pub database: Option<String>,
    /// Encryption; `None` where the URL says it, or where `mongodb+srv://` implies it.
    pub tls: Option<TlsMode>,
    /// Where changes are read.
    pub log: MongodbLog,
    /// The user's stages, as extended JSON.
    pub pipeline: Vec<Value>,
    /// Images after a change.
    pub full_document: FullDocument,
    /// Images before a change.
    pub before_change: BeforeChange,
}

/// Where changes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MongodbLog {
    /// Change streams: what a majority has.
    #[default]
    ChangeStream,
    /// The oplog: at once, and before a majority has it.
    Oplog,
}

/// Which updates carry the whole document after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FullDocument {
    /// None: an update carries what it changed.
    #[default]
    Default,
    /// All, as the document is when the event is read; it may be newer than the update.
    UpdateLookup,
    /// Those whose image the server has kept.
    WhenAvailable,
    /// All; one whose image the server has not kept is followed by a gap.
    Required,
}

impl FullDocument {
    /// The server's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::UpdateLookup => "updateLookup",
            Self::WhenAvailable => "whenAvailable",
            Self::Required => "required",
        }
    }
}

/// Which changes carry the document before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BeforeChange {
    /// None.
    #[default]
    Off,
    /// Those whose image the server has kept.
    WhenAvailable,
    /// All; one whose image the server has not kept is followed by a gap.
    Required,
}

impl BeforeChange {
    /// The server's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::WhenAvailable => "whenAvailable",
            Self::Required => "required",
        }
    }
}

/// Whether a URL is one of MongoDB's.
pub(super) fn is_url(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    is_scheme("mongodb://") || is_scheme("mongodb+srv://")
}

/// Reads a source whose URL is one of MongoDB's.
pub(super) fn read_source(
    name: &str,
    options: &Options<'_>,
    text: &str,
    url_path: &str,
    problems: &mut Problems,
) -> Option<SourceConfig> {
    let url = read_url(text, url_path, problems);
    let from = read_from(options, problems);
    let log = [
        ("change-stream", MongodbLog::ChangeStream),
        ("oplog", MongodbLog::Oplog),
    ];
    let log = options.choice("log", &log, problems).unwrap_or_default();
    let (capture, poll) = poll::parse(options, problems);
    let snapshot = snapshot::read(options, problems);
    if capture == Capture::Poll {
        snapshot::refuse(options, snapshot, problems);
    }
    let full_document = [
        ("default", FullDocument::Default),
        ("updateLookup", FullDocument::UpdateLookup),
        ("whenAvailable", FullDocument::WhenAvailable),
        ("required", FullDocument::Required),
    ];
    let before_change = [
        ("off", BeforeChange::Off),
        ("whenAvailable", BeforeChange::WhenAvailable),
        ("required", BeforeChange::Required),
    ];
    let full_document = options
        .choice("fullDocument", &full_document, problems)
        .unwrap_or_default();
    let before_change = options
        .choice("fullDocumentBeforeChange", &before_change, problems)
        .unwrap_or_default();
    let pipeline = read_pipeline(options, problems);
    if log == MongodbLog::Oplog {
        refuse_images(options, (full_document, before_change), problems);
    }
    let Some(url) = url else {
        // Patterns are read as if the URL named a database, so that its absence is not reported twice.
        read_tables(options, Some(DEFAULT_NAME), problems);
        return None;
    };
    let tables = read_tables(options, url.default_database.as_deref(), problems);
    let tls = read_tls(options, &url, url_path, problems)?;
    Some(SourceConfig {
        name: name.to_owned(),
        tables: tables?.without_system_databases(),
        from: from?,
        continues_after_gap: options.get("from").is_some() || snapshot.repairs(),
        capture,
        poll,
        snapshot,
        connector: ConnectorConfig::Mongodb(MongodbConfig {
            url: Secret::new(text),
            database: url.default_database,
            tls,
            log,
            pipeline: pipeline?,
            full_document,
            before_change,
        }),
    })
}

/// What only a change stream has.
fn refuse_images(options: &Options<'_>, images: (FullDocument, BeforeChange), problems: &mut Problems) {
    let mut refuse = |key: &str, sentence: &str| problems.add(options.path_of(key), sentence);
    if matches!(images.0, FullDocument::WhenAvailable | FullDocument::Required) {
        refuse(
            "fullDocument",
            "the oplog holds no images, expected \"default\" or \"updateLookup\" with log: \"oplog\"",
        );
    }
    if images.1 != BeforeChange::Off {
        refuse(
            "fullDocumentBeforeChange",
            "the oplog holds no images, leave it out with log: \"oplog\"",
        );
    }
    if matches!(options.get("pipeline"), Some(Value::Array(stages)) if !stages.is_empty()) {
        refuse(
            "pipeline",
            "no pipeline runs over the oplog, leave it out with log: \"oplog\", and choose with `tables`",
        );
    }
}

fn read_url(text: &str, path: &str, problems: &mut Problems) -> Option<ConnectionString> {
    if text.len() > MAX_URL_BYTES {
        problems.add(
            path,
            format!("expected at most {MAX_URL_BYTES} bytes, found {}", text.len()),
        );
        return None;
    }
    match ConnectionString::parse(text) {
        Ok(url) => Some(url),
        Err(_) => {
            problems.add(path, refusal(text));
            None
        }
    }
}

/// Why the driver refuses a URL, without a word of its user and password.
fn refusal(text: &str) -> String {
    let shape = "expected mongodb://user:password@host:27017/database";
    let (scheme, rest) = text.split_once("://").unwrap_or(("mongodb", ""));
    let without_user = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let lower = text.to_ascii_lowercase();
    let may_show = !["password", "token", "secret"]
        .iter()
        .any(|word| lower.contains(word));
    match ConnectionString::parse(format!("{}://{without_user}", scheme.to_ascii_lowercase())) {
        Err(error) if may_show => {
            let sentence = match error.kind.as_ref() {
                mongodb::error::ErrorKind::InvalidArgument { message, .. } => message.replace(';', ","),
                _ => "it cannot be read".to_owned(),
            };
            let sentence: String = sentence.chars().filter(|c| !c.is_control()).take(200).collect();
            format!("{shape}: {sentence}")
        }
        Err(_) => format!("{shape}, or an option of it is not valid"),
        Ok(_) => "a reserved character in user or password must be percent-encoded \
                  (@ is %40, : is %3A, / is %2F, # is %23, ? is %3F, % is %25), \
                  or the authentication options do not fit together"
            .to_owned(),
    }
}

/// `Some(None)`: the URL decides.
fn read_tls(
    options: &Options<'_>,
    url: &ConnectionString,
    url_path: &str,
    problems: &mut Problems,
) -> Option<Option<TlsMode>> {
    let option = options.get("tls");
    let path = options.path_of("tls");
    let (is_local, is_named) = match &url.host_info {
        HostInfo::HostIdentifiers(hosts) => (hosts.iter().all(is_local), true),
        _ => (false, false),
    };
    match (&url.tls, option) {
        (Some(_), None) => return Some(None),
        (Some(Tls::Enabled(_)), Some(Value::Bool(true))) => return Some(None),
        (Some(Tls::Disabled), Some(Value::Bool(false))) => return Some(None),
        (Some(_), Some(_)) => {
            problems.add(
                path,
                "contradicts the tls options of the URL, leave one of them out",
            );
            return None;
        }
        (None, None) if !is_named => return Some(None),
        (None, _) => {}
    }
    let places = tls::Places {
        option: &path,
        url: url_path,
    };
    tls::resolve(option, &UrlTls::default(), is_local, &places, problems).map(Some)
}

fn is_local(address: &ServerAddress) -> bool {
    match address {
        ServerAddress::Tcp { host, .. } => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.eq_ignore_ascii_case("localhost")
                || host
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        }
        // A socket's path.
        _ => true,
    }
}

fn read_pipeline(options: &Options<'_>, problems: &mut Problems) -> Option<Vec<Value>> {
    let path = options.path_of("pipeline");
    let stages = match options.get("pipeline") {
        None => return Some(Vec::new()),
        Some(Value::Array(stages)) if stages.len() <= MAX_STAGES => stages,
        Some(Value::Array(stages)) => {
            problems.add(
                path,
                format!("expected at most {MAX_STAGES} stages, found {}", stages.len()),
            );
            return None;
        }
        Some(other) => {
            problems.add(
                path,
                format!("expected an array of stages, found {}", found(other)),
            );
            return None;
        }
    };
    let mut is_valid = true;
    for (index, stage) in stages.iter().enumerate() {
        let mut refuse = |sentence: String| {
            is_valid = false;
            problems.add(format!("{path}[{index}]"), sentence);
        };
        match stage {
            Value::Object(object) if object.len() == 1 => {
                if removes_id(object) {
                    refuse(
                        "removes or changes _id, which holds the resume token, expected stages that keep it"
                            .to_owned(),
                    );
                } else if bson::Bson::try_from(stage.clone()).is_err() {
                    refuse("expected extended JSON".to_owned());
                }
            }
            Value::Object(object) => {
                refuse(format!(
                    "expected a stage with one operator, found {} keys",
                    object.len()
                ));
            }
            other => refuse(format!("expected a stage, found {}", found(other))),
        }
    }
    is_valid.then(|| stages.clone())
}

/// Whether a stage touches the field in which the resume token arrives, as far as can be seen.
fn removes_id(stage: &serde_json::Map<String, Value>) -> bool {
    let Some((operator, value)) = stage.iter().next() else {
        return false;
    };
    let is_id = |path: &str| path == "_id" || path.starts_with("_id.");
    match (operator.as_str(), value) {
        ("$unset", Value::String(path)) => is_id(path),
        ("$unset", Value::Array(paths)) => paths.iter().filter_map(Value::as_str).any(is_id),
        ("$project", Value::Object(fields)) => fields.iter().any(|(path, value)| {
            let keeps = match value {
                Value::Bool(keeps) => *keeps,
                Value::Number(number) => number.as_f64() != Some(0.0),
                _ => false,
            };
            is_id(path) && (path != "_id" || !keeps)
        }),
        ("$set" | "$addFields", Value::Object(fields)) => fields.keys().any(|path| is_id(path)),
        _ => false,
    }
}

#[cfg(test)]
#[path = "mongodb_tests.rs"]
mod tests;
