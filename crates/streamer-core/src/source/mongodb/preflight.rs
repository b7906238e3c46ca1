//! What is asked of the server before its stream is opened, so that what is missing is said in one sentence.

use std::time::{Duration, Instant};

use bson::{Document, Timestamp, doc};
use mongodb::options::SelectionCriteria;
use mongodb::{Client, Database};

use super::connect::Connected;
use super::failure::{client_error, standalone};
use super::scope::Scope;
use crate::code::Code;
use crate::config::{BeforeChange, FullDocument, MongodbConfig, TableFilter};
use crate::error::{Error, Result};

/// Most collections that one warning names.
const MAX_NAMED: usize = 10;

/// What a server told of itself.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    /// Version: major, minor, patch.
    pub version: (u32, u32, u32),
    /// Round trip of the last question.
    pub round_trip: Duration,
    /// The server's clock minus ours, in ms.
    pub clock_offset_ms: f64,
    /// It is `mongos`, which puts the streams of several shards together.
    pub is_router: bool,
}

impl Server {
    /// `showExpandedEvents`.
    pub fn has_expanded_events(&self) -> bool {
        self.version >= (6, 0, 0)
    }

    /// `$changeStreamSplitLargeEvent`.
    pub fn has_split_events(&self) -> bool {
        self.version >= (7, 0, 0) || (self.version >= (6, 0, 9) && self.version < (6, 1, 0))
    }

    fn has_images(&self) -> bool {
        self.version >= (6, 0, 0)
    }
}

/// Asks the server who it is.
///
/// # Errors
/// `ERR_STREAMER_SERVER_SETTING_UNSUITABLE` for a standalone server, `ERR_STREAMER_SERVER_UNSUPPORTED` for an old one, and those of the
/// connection.
pub async fn ask(connected: &Connected) -> Result<Server> {
    let admin = connected.client.database("admin");
    let build = run(&admin, doc! { "buildInfo": 1 }, &connected.criteria).await?;
    let text = build.get_str("version").unwrap_or_default();
    let version = version(text);
    if version < (4, 2, 0) {
        return Err(Error::new(
            Code::ServerUnsupported,
            format!("MongoDB 4.2 or newer was expected, {text} was found."),
        )
        .with_advice("Older versions do not say how far an idle change stream has come."));
    }
    let asked = Instant::now();
    let asked_ms = now_ms();
    let hello = run(&admin, doc! { "isMaster": 1 }, &connected.criteria).await?;
    let round_trip = asked.elapsed();
    let is_router = hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
    if !is_router && hello.get_str("setName").is_err() {
        return Err(standalone());
    }
    let half = round_trip.as_secs_f64() * 500.0;
    let clock_offset_ms = hello
        .get_datetime("localTime")
        .map_or(0.0, |time| time.timestamp_millis() as f64 - asked_ms - half);
    Ok(Server {
        version,
        round_trip,
        clock_offset_ms,
        is_router,
    })
}

/// The server's clock, in microseconds since the Unix epoch.
///
/// # Errors
/// Those of the connection.
pub async fn clock(connected: &Connected) -> Result<i128> {
    let admin = connected.client.database("admin");
    let hello = run(&admin, doc! { "isMaster": 1 }, &connected.criteria).await?;
    let time = hello
        .get_datetime("localTime")
        .map(|time| time.timestamp_millis());
    time.map(|ms| i128::from(ms) * 1000)
        .map_err(|_| Error::new(Code::ProtocolUnexpected, "The server does not tell the time."))
}

/// Looks whether the server keeps the images that are wanted; what it cannot see, it leaves.
///
/// # Errors
/// `ERR_STREAMER_SERVER_UNSUPPORTED` where the server knows no images, `ERR_STREAMER_SERVER_SETTING_UNSUITABLE` where one is required of a
/// collection that keeps none.
pub async fn check_images(
    connected: &Connected,
    server: &Server,
    config: &MongodbConfig,
    tables: &TableFilter,
    scope: &Scope,
) -> Result<Option<Error>> {
    let (option, is_required) = match (config.before_change, config.full_document) {
        (BeforeChange::Required, _) => ("fullDocumentBeforeChange", true),
        (_, FullDocument::Required) => ("fullDocument", true),
        (BeforeChange::WhenAvailable, _) => ("fullDocumentBeforeChange", false),
        (_, FullDocument::WhenAvailable) => ("fullDocument", false),
        _ => return Ok(None),
    };
    if !server.has_images() {
        return Err(Error::new(
            Code::ServerUnsupported,
            format!("`{option}` needs MongoDB 6.0, which keeps images; an older one was found."),
        )
        .with_advice("Leave the option out, or use fullDocument: 'updateLookup'."));
    }
    let missing = without_images(connected, tables, scope).await;
    if missing.is_empty() {
        return Ok(None);
    }
    let commands: Vec<String> = missing.iter().take(MAX_NAMED).map(command).collect();
    let error = Error::new(
        Code::ServerSettingUnsuitable,
        format!(
            "`{option}` wants images, which {} of the collections do not keep.",
            missing.len()
        ),
    )
    .with_advice(format!("Run {}", commands.join("; ")))
    .with_detail(
        "collections",
        missing
            .iter()
            .map(|(db, table)| format!("{db}.{table}"))
            .collect::<Vec<_>>(),
    );
    if is_required { Err(error) } else { Ok(Some(error)) }
}

fn command((database, table): &(String, String)) -> String {
    let (database, table) = (
        serde_json::Value::from(&**database),
        serde_json::Value::from(&**table),
    );
    format!(
        "db.getSiblingDB({database}).runCommand({{collMod: {table}, changeStreamPreAndPostImages: {{enabled: true}}}})"
    )
}

/// The watched collections that keep no images; none where the user may not list them.
async fn without_images(connected: &Connected, tables: &TableFilter, scope: &Scope) -> Vec<(String, String)> {
    let databases = match scope {
        Scope::Deployment => connected.client.list_database_names().await.unwrap_or_default(),
        Scope::Database(database) | Scope::Collection(database, _) => vec![database.clone()],
    };
    let mut missing = Vec::new();
    for database in databases {
        if matches!(database.as_str(), "admin" | "config" | "local") || !tables.concerns_database(&database) {
            continue;
        }
        missing.extend(
            collections_without(&connected.client, &database)
                .await
                .into_iter()
                .filter(|table| !table.starts_with("system.") && tables.includes(&database, table))
                .map(|table| (database.clone(), table)),
        );
    }
    missing
}

async fn collections_without(client: &Client, database: &str) -> Vec<String> {
    use futures_util::TryStreamExt;
    let database = client.database(database);
    let filter = doc! {
        "type": "collection",
        "options.changeStreamPreAndPostImages.enabled": { "$ne": true },
    };
    match database.list_collections().filter(filter).await {
        Ok(cursor) => cursor
            .map_ok(|collection| collection.name)
            .try_collect()
            .await
            .unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// The cluster time of the oldest operation that the server still has.
///
/// # Errors
/// `ERR_STREAMER_GRANT_MISSING` where the user may not read it, and those of the connection.
pub async fn oldest(connected: &Connected) -> Result<Timestamp> {
    let local = connected.client.database("local");
    let find = doc! {
        "find": "oplog.rs",
        "sort": { "$natural": 1 },
        "limit": 1,
        "singleBatch": true,
        "projection": { "ts": 1 },
    };
    let answer = run(&local, find, &connected.criteria).await?;
    let oldest = answer
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"))
        .ok()
        .and_then(|batch| batch.first())
        .and_then(bson::Bson::as_document)
        .and_then(|entry| entry.get_timestamp("ts").ok());
    oldest.ok_or_else(|| {
        Error::new(
            Code::ServerSettingUnsuitable,
            "The oldest operation of the server cannot be read.",
        )
        .with_advice("Begin with from: 'now', or connect to a member of a replica set.")
    })
}

async fn run(
    database: &Database,
    command: Document,
    criteria: &Option<SelectionCriteria>,
) -> Result<Document> {
    let mut action = database.run_command(command);
    if let Some(criteria) = criteria {
        action = action.selection_criteria(criteria.clone());
    }
    action.await.map_err(|error| client_error(&error))
}

/// `6.0.5-rc1` as three numbers.
fn version(text: &str) -> (u32, u32, u32) {
    let mut parts = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

/// Our clock, in ms since the epoch.
pub fn now_ms() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_decide_what_is_asked_for() {
        let server = |text: &str| Server {
            version: version(text),
            round_trip: Duration::ZERO,
            clock_offset_ms: 0.0,
            is_router: false,
        };
        let known = |text: &str| {
            (
                server(text).has_expanded_events(),
                server(text).has_split_events(),
            )
        };
        assert_eq!(known("5.0.9"), (false, false));
        assert_eq!(known("6.0.5-rc1"), (true, false));
        assert_eq!(known("6.0.9"), (true, true));
        assert_eq!(known("6.3.1"), (true, false));
        assert_eq!(known("8.0.0"), (true, true));
    }
}
