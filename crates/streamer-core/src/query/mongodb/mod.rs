//! Reads of MongoDB through the official driver. Documents stay BSON, which JavaScript's own `bson` decodes.
//!
//! # The proof
//! Change streams deliver what is committed by a majority. A read with the concern `majority` behind a cluster time waits until
//! the member that is asked knows everything up to that time to be committed by a majority, and shows it. So an answer to a
//! question with `afterClusterTime: T` holds every change whose event has a cluster time of at most T, whichever member
//! answers, a secondary that lags and a new primary among them; and nothing in it is ever rolled back.
//!
//! T is the time of the newest change that the answer depends on, or the latest one that was proved already, where that is
//! later: on the member that has shown it nobody waits. Where the log is read before the majority has committed, as
//! MongoDB's own log can be, a read behind the time of such a change waits for its commit, and the same holds.
//!
//! A read with the concern `local` proves nothing and is not kept. Aggregations are not read here.
//!
//! # What is not kept
//! Views and time series (their changes have other names), capped collections (documents leave them without a word in the
//! log), collections that are not followed, sources with a `pipeline`, and what `filter.rs` does not know.

mod filter;
mod pool;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bson::raw::cstr;
use bson::{RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use self::pool::{Documents, Pool, Trouble};
use super::backend::{
    Asked, Backend, Executed, Named, NamedValue, Outcome, Param, Proof, Read, Verdict, foreign_position,
    position_not_visible, wrong_kind,
};
use super::state::State;
use crate::cache::document::hash;
use crate::cache::{Counters, Dependency, Equality, KeyWriter, Place, Sequence, TableName, Value};
use crate::code::Code;
use crate::config::{Heartbeat, MongodbConfig, PoolConfig};
use crate::error::{Error, Result};
use crate::event::{Batch, Packed};
use crate::offset::Position;

/// Longest wait for a member to hear of a cluster time.
const HEARING: Duration = Duration::from_secs(10);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(5);

/// Most collections whose definitions are kept.
const MAX_KNOWN: usize = 10_000;

/// Reads of one deployment.
pub(super) struct Mongodb {
    state: Arc<State>,
    database: Option<String>,
    pool: Pool,
    known: Mutex<HashMap<(String, String), Facts>>,
    /// The latest cluster time behind which a read was answered.
    seen: AtomicU64,
}

/// A collection, by what answers from it depend on.
#[derive(Debug, Clone)]
struct Facts {
    /// Text equals text only byte by byte.
    compares_bytes: bool,
    /// Why changes of it may be missed: a part of a sentence that begins with its name.
    obstacle: Option<&'static str>,
}

/// A question in its parts.
struct Question<'a> {
    database: &'a str,
    collection: &'a str,
    request: &'a RawDocument,
}

impl Question<'_> {
    fn part(&self, name: &str) -> Result<Option<&RawDocument>> {
        match self.request.get(name) {
            Ok(None) => Ok(None),
            Ok(Some(RawBsonRef::Document(part))) => Ok(Some(part)),
            _ => Err(Error::new(
                Code::ArgumentInvalid,
                format!("{name}: expected a document."),
            )),
        }
    }

    fn command(&self) -> Result<RawDocumentBuf> {
        let mut command = rawdoc! { "find": self.collection };
        let empty = RawDocumentBuf::new();
        command.append(cstr!("filter"), self.part("filter")?.unwrap_or(&empty));
        if let Some(projection) = self.part("projection")? {
            command.append(cstr!("projection"), projection);
        }
        if let Some(sort) = self.part("sort")? {
            command.append(cstr!("sort"), sort);
        }
        for (name, key) in [("limit", cstr!("limit")), ("skip", cstr!("skip"))] {
            if let Ok(Some(value)) = self.request.get(name) {
                command.append(key, value);
            }
        }
        Ok(command)
    }
}

fn timestamp(clock: u64) -> Timestamp {
    Timestamp {
        time: (clock >> 32) as u32,
        increment: clock as u32,
    }
}

fn value(found: Documents) -> Value {
    let cells = Batch {
        bytes: found.bytes,
        ..Batch::default()
    };
    Value::Rows {
        cells: Packed::of(&cells),
        columns: None,
        count: found.count,
    }
}

impl Mongodb {
    /// For a deployment. Nothing connects yet.
    pub fn new(state: Arc<State>, config: MongodbConfig, heartbeat: Heartbeat, limits: PoolConfig) -> Self {
        Self {
            state,
            database: config.database.clone(),
            pool: Pool::new(config, heartbeat, limits),
            known: Mutex::default(),
            seen: AtomicU64::new(0),
        }
    }

    fn namespace<'a>(&'a self, namespace: &'a str) -> Result<(&'a str, &'a str)> {
        let parts = match (namespace.split_once('.'), &self.database) {
            (Some(parts), _) => Some(parts),
            (None, Some(database)) => Some((database.as_str(), namespace)),
            (None, None) => None,
        };
        parts
            .filter(|(database, collection)| {
                !database.is_empty() && !collection.is_empty() && !namespace.contains('\0')
            })
            .ok_or_else(|| {
                Error::new(
                    Code::ArgumentInvalid,
                    "namespace: expected database.collection, or a collection where the URL names a database.",
                )
            })
    }

    fn question<'a>(&'a self, read: &'a Read) -> Result<Question<'a>> {
        let Read::Find { namespace, request } = read else {
            return Err(wrong_kind("find()", "query()"));
        };
        let (database, collection) = self.namespace(namespace)?;
        let request = RawDocument::from_bytes(request)
            .map_err(|_| Error::new(Code::ArgumentInvalid, "filter: expected a document."))?;
        Ok(Question {
            database,
            collection,
            request,
        })
    }

    /// The cluster time behind which to read for `need`, and up to where an answer then holds everything.
    fn wanted(&self, need: Sequence) -> Option<(u64, Sequence)> {
        let ledger = self.state.cache.ledger().read();
        let seen = self.seen.load(Ordering::Acquire);
        let clock = match ledger.visible() >= need {
            true => seen,
            false => match ledger.place_of(need)? {
                Place::Clock(clock) => seen.max(*clock),
                _ => return None,
            },
        };
        let covers = |place: &Place| matches!(place, Place::Clock(other) if *other <= clock);
        let as_of = ledger.covered(covers);
        (clock > 0 && as_of >= need).then_some((clock, as_of))
    }

    /// A read behind a cluster time was answered.
    fn answered(&self, clock: u64) {
        // First the time: whoever finds the sequence visible reads behind it.
        self.seen.fetch_max(clock, Ordering::AcqRel);
        self.state
            .cache
            .ledger()
            .write()
            .prove_places(|place| matches!(place, Place::Clock(other) if *other <= clock));
    }

    /// The cluster time of the newest change that was delivered.
    fn delivered(&self) -> Option<u64> {
        match self.state.cache.ledger().read().horizon() {
            Some((_, Place::Clock(clock))) => Some(*clock),
            _ => None,
        }
    }

    async fn find(&self, question: &Question<'_>, clock: Option<u64>) -> Result<Documents> {
        let deadline = Instant::now() + HEARING;
        loop {
            let command = question.command()?;
            let time = clock.map(timestamp);
            match self.pool.find(question.database, command, time).await {
                Ok(found) => {
                    if let Some(clock) = clock {
                        self.answered(clock);
                    }
                    return Ok(found);
                }
                Err(Trouble::Failed(error)) => return Err(error),
                // Another member told of it.
                Err(Trouble::Ahead) if Instant::now() < deadline => sleep(PAUSE).await,
                Err(Trouble::Ahead) => return Err(position_not_visible(HEARING)),
            }
        }
    }

    async fn read(&self, read: &Read) -> Outcome {
        let question = self.question(read)?;
        let found = self.find(&question, self.delivered()).await?;
        Ok(value(found))
    }

    async fn read_proved(&self, read: &Read, need: Sequence) -> Result<Asked> {
        let question = self.question(read)?;
        let wanted = self.wanted(need);
        let clock = wanted.map(|(clock, _)| clock);
        let found = self.find(&question, clock.or_else(|| self.delivered())).await?;
        Ok(Asked {
            value: value(found),
            proof: wanted.map(|(_, as_of)| Proof::of(as_of)),
        })
    }

    async fn read_after(&self, read: &Read, position: Position) -> Outcome {
        let question = self.question(read)?;
        let Some(Place::Clock(clock)) = Place::of(&position) else {
            return Err(foreign_position());
        };
        let clock = self.delivered().map_or(clock, |delivered| delivered.max(clock));
        Ok(value(self.find(&question, Some(clock)).await?))
    }

    /// What is known of a collection, or what the server says; `None` while definitions change.
    async fn facts(&self, database: &str, collection: &str) -> Result<Option<Facts>> {
        let name = (database.to_owned(), collection.to_owned());
        if let Some(facts) = self.known.lock().get(&name) {
            return Ok(Some(facts.clone()));
        }
        // The primary shows every definition of which an event was delivered.
        let cache = &self.state.cache;
        let as_of = cache.ledger().read().defined();
        let described = self.pool.describe(database, collection).await?;
        let facts = self.facts_of(database, collection, described.as_deref());
        let ledger = cache.ledger().read();
        if ledger.defined() > as_of {
            return Ok(None);
        }
        // Within the ledger's lock, under which definitions are forgotten.
        let mut known = self.known.lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(name, facts.clone());
        Ok(Some(facts))
    }

    fn facts_of(&self, database: &str, collection: &str, described: Option<&RawDocument>) -> Facts {
        let options = described.and_then(|described| described.get_document("options").ok());
        let has = |option: &str| options.is_some_and(|options| matches!(options.get(option), Ok(Some(_))));
        let is_capped = options.is_some_and(|options| options.get_bool("capped").unwrap_or(false));
        let obstacle = match described.map(|described| described.get_str("type").unwrap_or_default()) {
            _ if !self.state.filter.includes(database, collection) => Some("is not followed by this source"),
            // What is made under that name may be a view.
            None => Some("is not there"),
            Some("view") => Some("is a view"),
            Some("timeseries") => Some("is a time series, whose changes are not in the log"),
            Some("collection") if is_capped => {
                Some("is capped: documents leave it without a word in the log")
            }
            Some("collection") => None,
            Some(_) => Some("is not a collection whose changes are logged"),
        };
        Facts {
            compares_bytes: !has("collation"),
            obstacle,
        }
    }

    async fn judged(&self, read: &Read) -> Result<Verdict> {
        let question = self.question(read)?;
        let Some(facts) = self.facts(question.database, question.collection).await? else {
            return Ok(Err("definitions change at this moment".into()));
        };
        let table = TableName::new(question.database, question.collection);
        if let Some(obstacle) = facts.obstacle {
            return Ok(Err(format!("{table} {obstacle}").into()));
        }
        let empty = RawDocumentBuf::new();
        let filter = question.part("filter")?.unwrap_or(&empty);
        let projection = question.part("projection")?.unwrap_or(&empty);
        let sort = question.part("sort")?.unwrap_or(&empty);
        let checked = filter::check_projection(projection, 0).and_then(|()| filter::check_sort(sort));
        let equalities = checked.and_then(|()| filter::equalities(filter, facts.compares_bytes));
        Ok(equalities.map(|equalities| Arc::from(vec![Dependency { table, equalities }])))
    }

    async fn named(&self, on: &[Named]) -> Result<Arc<[Dependency]>> {
        let mut found = Vec::with_capacity(on.len());
        for (namespace, equalities) in on {
            let (database, collection) = self.namespace(namespace)?;
            let table = TableName::new(database, collection);
            let facts = self.facts(database, collection).await?;
            if facts.as_ref().is_some_and(|facts| facts.obstacle.is_some()) {
                return Err(Error::new(
                    Code::ArgumentInvalid,
                    format!("dependsOn names {table}, which this source does not follow."),
                ));
            }
            // Definitions change: as a whole, which is always right.
            let can_tell = facts.is_some_and(|facts| facts.compares_bytes);
            let equalities = equalities
                .iter()
                .filter(|_| can_tell)
                .filter_map(|(field, value)| {
                    let value = match value {
                        NamedValue::Bson(value) => hash(value.as_raw_bson_ref()),
                        NamedValue::Integer(value) => hash(RawBsonRef::Int64(i64::try_from(*value).ok()?)),
                    };
                    Some(Equality {
                        column: if field.is_empty() { "_id" } else { field }.into(),
                        values: vec![value?],
                    })
                });
            found.push(Dependency {
                table,
                equalities: equalities.collect(),
            });
        }
        Ok(found.into())
    }

    /// A read of the application begins: it asks a member itself, of which only the deployment's commits are known.
    async fn proved(&self, need: Sequence) -> Result<Option<Sequence>> {
        let Some((clock, as_of)) = self.wanted(need) else {
            return Ok(None);
        };
        if self.state.cache.visible() >= need {
            return Ok(Some(as_of));
        }
        Counters::add(&self.state.cache.counters.proofs);
        // Nothing has to be there: the wait is what counts.
        let request = rawdoc! { "filter": {}, "limit": 1_i64 };
        let question = Question {
            database: self.database.as_deref().unwrap_or("admin"),
            collection: "streamer",
            request: &request,
        };
        match self.find(&question, Some(clock)).await {
            Ok(_) => Ok(Some(as_of)),
            // The user may read some collections only.
            Err(error) if matches!(error.code(), Code::GrantMissing | Code::ServerRefused) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Backend for Mongodb {
    fn identify(&self, key: &mut KeyWriter) {
        key.part(2, self.database.as_deref().unwrap_or_default().as_bytes());
    }

    fn forget_definitions(&self) {
        self.known.lock().clear();
    }

    fn judge<'a>(&'a self, read: &'a Read) -> BoxFuture<'a, Result<Verdict>> {
        self.judged(read).boxed()
    }

    fn prove(&self, need: Sequence) -> BoxFuture<'_, Result<Option<Proof>>> {
        async move { Ok(self.proved(need).await?.map(Proof::of)) }.boxed()
    }

    // Every read is behind the cluster time of what was delivered.
    fn shows_delivered(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, read: &'a Read) -> BoxFuture<'a, Outcome> {
        self.read(read).boxed()
    }

    fn ask<'a>(&'a self, read: &'a Read, need: Sequence) -> BoxFuture<'a, Result<Asked>> {
        self.read_proved(read, need).boxed()
    }

    fn run_after<'a>(&'a self, read: &'a Read, position: Position) -> BoxFuture<'a, Outcome> {
        self.read_after(read, position).boxed()
    }

    fn execute<'a>(&'a self, _: &'a str, _: &'a [Param]) -> BoxFuture<'a, Result<Executed>> {
        async {
            Err(Error::new(
                Code::ArgumentInvalid,
                "execute() is not for this kind of source, which is written to by its driver.",
            )
            .with_advice("Write with the package mongodb, and hand the position of a change to `after`."))
        }
        .boxed()
    }

    fn explain<'a>(&'a self, read: &'a Read) -> BoxFuture<'a, Result<serde_json::Value>> {
        async move {
            Ok(match self.judged(read).await? {
                Ok(dependencies) => {
                    let on: Vec<String> = dependencies
                        .iter()
                        .map(|dependency| dependency.table.to_string())
                        .collect();
                    let fields = |dependency: &Dependency| {
                        let table = dependency.table.to_string();
                        let named = |equality: &Equality| format!("{table}.{}", equality.column);
                        dependency.equalities.iter().map(named).collect::<Vec<_>>()
                    };
                    let columns: Vec<String> = dependencies.iter().flat_map(fields).collect();
                    serde_json::json!({ "cached": true, "dependsOn": on, "columns": columns })
                }
                Err(why) => serde_json::json!({ "cached": false, "reason": &*why }),
            })
        }
        .boxed()
    }

    fn dependencies<'a>(&'a self, on: &'a [Named]) -> BoxFuture<'a, Result<Arc<[Dependency]>>> {
        self.named(on).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.pool.close().boxed()
    }
}
