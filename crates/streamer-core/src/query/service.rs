//! The queries of one source.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Column, Conn, Row};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, watch};

use super::catalog::{Described, describe, json_columns};
use super::pool::{Connections, texts, within};
use super::proof::{Means, SETTLE, is_server, prove};
use super::{Param, QueryOptions};
use crate::cache::sql::{Catalog, Plan, Planned, Template};
use crate::cache::{
    Cache, Counters, Dependency, Feed, Figures, Key, KeyWriter, Place, Sequence, TableName, Value,
};
use crate::code::Code;
use crate::config::{CacheConfig, MysqlConfig, SourceConfig, TableFilter, WhenDisconnected};
use crate::error::{Error, Result};
use crate::event::{Batch, BatchWriter, Shape, TableLayout};
use crate::offset::{MysqlGtid, Offset, Position};
use crate::source::mysql::AnswerColumn;
use crate::source::{Beat, Gap, SchemaChange};

/// Longest wait for a proof; longer, and the answer may not hold what was delivered last.
const PROOF: Duration = Duration::from_secs(10);

/// Fills that are begun anew because something changed meanwhile.
const TRIES: usize = 3;

/// Most plans that are kept.
const MAX_PLANS: usize = 10_000;

/// What stands for all definitions in the ledger.
fn definitions() -> Dependency {
    Dependency::on_table(TableName::new("", ""))
}

/// What a statement that changes came to.
#[derive(Debug, Clone)]
pub struct Executed {
    /// Rows that it changed.
    pub affected: u64,
    /// The last AUTO_INCREMENT value.
    pub last_insert_id: Option<u64>,
    /// A position that holds it.
    pub position: Option<String>,
}

type Outcome = Result<Arc<Value>>;
type Flights = HashMap<Key, (Sequence, watch::Receiver<Option<Outcome>>)>;

/// What is known of definitions, as long as none changes.
#[derive(Default)]
pub(super) struct Known {
    pub(super) plans: HashMap<Arc<str>, std::result::Result<Arc<Plan>, Arc<str>>>,
    pub(super) catalog: Catalog,
    pub(super) keys: HashMap<TableName, Vec<String>>,
}

/// Proof of life of the source.
struct Life {
    is_connected: bool,
    /// The server whose log is read.
    server: Option<Arc<str>>,
    last_sign: Instant,
}

/// Queries to one source, through its cache.
pub struct Queries {
    name: Arc<str>,
    pub(super) config: MysqlConfig,
    filter: TableFilter,
    pub(super) settings: Option<CacheConfig>,
    silence: Duration,
    pub(super) cache: Cache,
    feed: Mutex<Feed>,
    life: Mutex<Life>,
    pub(super) known: Mutex<Known>,
    flights: Mutex<Flights>,
    connections: OnceCell<Connections>,
    means: OnceCell<Means>,
    proving: tokio::sync::Mutex<()>,
}

impl Queries {
    /// For a source. Nothing connects yet.
    pub fn new(
        source: &SourceConfig,
        config: MysqlConfig,
        settings: Option<CacheConfig>,
        silence: Duration,
    ) -> Self {
        let settings = settings.filter(|_| config.addresses.len() == 1);
        let cache = Cache::new(settings.map_or(0, |settings| settings.max_bytes));
        cache.need(&[definitions()]);
        Self {
            name: source.name.as_str().into(),
            config,
            filter: source.tables.clone(),
            settings,
            silence,
            cache,
            feed: Mutex::new(Feed::new()),
            life: Mutex::new(Life {
                is_connected: false,
                server: None,
                last_sign: Instant::now(),
            }),
            known: Mutex::default(),
            flights: Mutex::default(),
            connections: OnceCell::new(),
            means: OnceCell::new(),
            proving: tokio::sync::Mutex::new(()),
        }
    }

    // What the source hands over.

    pub(super) fn connected(&self, server: Option<Arc<str>>, position: Option<&str>) {
        {
            let mut ledger = self.cache.ledger().write();
            ledger.everything();
            if let Some(position) = position {
                self.anchor(&mut ledger, position);
            }
        }
        self.forget_definitions();
        *self.life.lock() = Life {
            is_connected: true,
            server,
            last_sign: Instant::now(),
        };
    }

    pub(super) fn disconnected(&self) {
        self.life.lock().is_connected = false;
    }

    fn sign(&self) {
        self.life.lock().last_sign = Instant::now();
    }

    pub(super) fn batch(&self, batch: &Batch) {
        self.feed.lock().batch(batch, &mut self.cache.ledger().write());
        self.sign();
    }

    pub(super) fn schema(&self, change: &SchemaChange) {
        {
            let mut ledger = self.cache.ledger().write();
            match &change.table {
                Some(table) => ledger.whole_table(&TableName::new(&change.database, table)),
                None if change.database.is_empty() => ledger.clear(),
                None => ledger.whole_database(&change.database),
            }
            ledger.whole_table(&definitions().table);
            self.anchor(&mut ledger, &change.position);
        }
        self.forget_definitions();
        self.sign();
    }

    pub(super) fn gap(&self, _: &Gap) {
        self.cache.ledger().write().everything();
        self.forget_definitions();
    }

    pub(super) fn beat(&self, beat: &Beat) {
        self.anchor(&mut self.cache.ledger().write(), &beat.position);
        self.sign();
    }

    /// Everything that was handed over lies before this position.
    fn anchor(&self, ledger: &mut crate::cache::Ledger, position: &str) {
        match Position::parse(position).map(|position| position.delivered.unwrap_or(position.start)) {
            Ok(Offset::MysqlGtid(set)) => ledger.anchor(Place::Gtids(set)),
            Ok(Offset::MysqlFile { .. }) => ledger.anchor(Place::Since(Instant::now())),
            _ => {}
        }
    }

    fn forget_definitions(&self) {
        *self.known.lock() = Known::default();
    }

    pub(super) fn is_live(&self) -> bool {
        let life = self.life.lock();
        self.settings.is_some() && life.is_connected && life.last_sign.elapsed() < self.silence
    }

    /// Whether memory may answer now.
    fn may_serve(&self) -> Result<bool> {
        if self.is_live() {
            return Ok(true);
        }
        match self.settings.map(|settings| settings.when_disconnected) {
            None | Some(WhenDisconnected::Bypass) => Ok(false),
            Some(WhenDisconnected::Stale) => Ok(true),
            Some(WhenDisconnected::Refuse) => Err(Error::new(
                Code::ConnectionLost,
                "Reads are refused while the source is not followed (`whenDisconnected`).",
            )),
        }
    }

    // Reads.

    fn key(&self, sql: &str, params: &[Param]) -> Key {
        let mut key = KeyWriter::new("sql");
        key.part(1, self.name.as_bytes());
        key.part(2, self.config.database.as_deref().unwrap_or_default().as_bytes());
        key.part(3, self.config.user.as_bytes());
        key.part(4, sql.as_bytes());
        for param in params {
            match param {
                Param::NULL => key.part(10, &[]),
                Param::Bytes(bytes) => key.part(11, bytes),
                Param::Int(value) => key.part(12, &value.to_be_bytes()),
                Param::UInt(value) => key.part(13, &value.to_be_bytes()),
                Param::Double(value) => key.part(14, &value.to_bits().to_be_bytes()),
                other => key.part(15, other.as_sql(true).as_bytes()),
            }
        }
        key.finish()
    }

    /// What memory holds for a query.
    ///
    /// # Errors
    /// `ERR_STREAMER_CONNECTION_LOST` where reads are refused while the source is not followed.
    pub fn lookup(&self, sql: &str, params: &[Param]) -> Result<Option<Arc<Value>>> {
        self.peek(&self.key(sql, params))
    }

    pub(super) fn peek(&self, key: &Key) -> Result<Option<Arc<Value>>> {
        if self.settings.is_none() || !self.may_serve()? {
            return Ok(None);
        }
        let found = self.cache.get(key);
        if found.is_some() {
            Counters::add(&self.cache.counters.hits);
        }
        Ok(found)
    }

    /// The answer to a query, from memory or from the server. Must be called on a tokio runtime. Cancel-safe: what was begun
    /// for others as well is begun anew by one of them.
    ///
    /// # Errors
    /// What the server or the connection failed with; `ERR_STREAMER_SERVER_BUSY` where no connection came free;
    /// `ERR_STREAMER_POSITION_INVALID` for a wrong `after`.
    pub async fn query(&self, sql: &str, params: &[Param], options: &QueryOptions) -> Outcome {
        if let Some(after) = &options.after {
            return self.query_after(sql, params, after).await;
        }
        if options.bypasses || self.settings.is_none() || !self.may_serve()? {
            Counters::add(&self.cache.counters.bypassed);
            return self.ask(sql, params).await;
        }
        let key = self.key(sql, params);
        if let Some(value) = self.peek(&key)? {
            return Ok(value);
        }
        let Ok(plan) = self.plan(sql).await? else {
            Counters::add(&self.cache.counters.bypassed);
            return self.ask(sql, params).await;
        };
        Counters::add(&self.cache.counters.misses);
        let integers: Vec<Option<i128>> = params.iter().map(integer).collect();
        let dependencies = plan.bind(&integers);
        self.shared(key, sql, params, dependencies, options.ttl).await
    }

    /// One query for all who ask for the same.
    async fn shared(
        &self,
        key: Key,
        sql: &str,
        params: &[Param],
        dependencies: Arc<[Dependency]>,
        ttl: Option<Duration>,
    ) -> Outcome {
        let need = self.cache.need(&dependencies);
        loop {
            let joined = {
                let mut flights = self.flights.lock();
                match flights.get(&key) {
                    // It began with at least what we must see.
                    Some((begun, outcome)) if *begun >= need => Ok(outcome.clone()),
                    _ => {
                        let (sender, receiver) = watch::channel(None);
                        flights.insert(key, (need, receiver.clone()));
                        Err((sender, receiver))
                    }
                }
            };
            match joined {
                Ok(mut outcome) => {
                    Counters::add(&self.cache.counters.coalesced);
                    let landed = outcome
                        .wait_for(Option::is_some)
                        .await
                        .ok()
                        .and_then(|found| found.clone());
                    if let Some(outcome) = landed {
                        return outcome;
                    }
                    // Whoever flew was cancelled.
                    self.flights
                        .lock()
                        .retain(|_, (_, flight)| flight.has_changed().is_ok());
                }
                Err((sender, receiver)) => {
                    let outcome = self.fill(key, sql, params, need, &dependencies, ttl).await;
                    let mut flights = self.flights.lock();
                    if flights
                        .get(&key)
                        .is_some_and(|(_, flight)| flight.same_channel(&receiver))
                    {
                        flights.remove(&key);
                    }
                    sender.send_replace(Some(outcome.clone()));
                    return outcome;
                }
            }
        }
    }

    /// Asks the server by the rule; see [`cache`](crate::cache).
    async fn fill(
        &self,
        key: Key,
        sql: &str,
        params: &[Param],
        first_need: Sequence,
        dependencies: &Arc<[Dependency]>,
        ttl: Option<Duration>,
    ) -> Outcome {
        let ttl = ttl
            .or(self.settings.map(|settings| settings.ttl))
            .unwrap_or_default();
        let mut need = first_need;
        let mut last = None;
        for _ in 0..TRIES {
            let is_proved = self.await_visible(need).await?;
            let as_of = self.cache.visible();
            let value = self.ask(sql, params).await?;
            if !is_proved || !self.is_live() {
                return Ok(value);
            }
            if self
                .cache
                .fill(key, Arc::clone(&value), Arc::clone(dependencies), as_of, ttl)
            {
                return Ok(value);
            }
            let now = self.cache.need(dependencies);
            if now <= as_of {
                // Too large to be kept.
                return Ok(value);
            }
            need = now;
            last = Some(value);
        }
        // It holds what was delivered before the call, which is what was promised.
        match last {
            Some(value) => Ok(value),
            None => self.ask(sql, params).await,
        }
    }

    async fn connections(&self) -> &Connections {
        self.connections
            .get_or_init(|| async { Connections::new(&self.config) })
            .await
    }

    /// Waits until `need` is proved to be visible; false where it cannot be.
    pub(super) async fn await_visible(&self, need: Sequence) -> Result<bool> {
        if self.cache.visible() >= need {
            return Ok(true);
        }
        // One proof serves all who wait for it.
        let _turn = self.proving.lock().await;
        if self.cache.visible() >= need {
            return Ok(true);
        }
        Counters::add(&self.cache.counters.proofs);
        let mut connection = self.connections().await.reader().await?;
        let means = *self.means.get_or_try_init(|| Means::of(&mut connection)).await?;
        let server = self.life.lock().server.clone();
        if !is_server(&mut connection, means, server.as_deref()).await? {
            return Ok(false);
        }
        let deadline = tokio::time::Instant::now() + PROOF;
        prove(&mut connection, means, self.cache.ledger(), need, deadline).await
    }

    async fn ask(&self, sql: &str, params: &[Param]) -> Outcome {
        Counters::add(&self.cache.counters.loads);
        let connections = self.connections().await;
        // What is not known to be a plain read may leave something in its session.
        let mut connection = match Template::parse(sql) {
            Ok(_) => connections.reader().await?,
            Err(_) => connections.writer().await?,
        };
        // Which columns hold JSON depends on the server, and is asked with its means.
        self.means.get_or_try_init(|| Means::of(&mut connection)).await?;
        let (columns, rows) = rows(&mut connection, sql, params).await?;
        let json = self.json_columns(&mut connection, &columns).await?;
        Ok(Arc::new(self.encode(&columns, &rows, &json)))
    }

    async fn json_columns(&self, connection: &mut Conn, columns: &[Column]) -> Result<Vec<bool>> {
        let mut json = Vec::with_capacity(columns.len());
        let mut tables: HashMap<TableName, std::collections::HashSet<String>> = HashMap::new();
        for column in columns {
            let (table, name) = (column.org_table_str(), column.org_name_str().to_lowercase());
            let is_text = column.column_type() == mysql_async::consts::ColumnType::MYSQL_TYPE_BLOB
                && column.character_set() != 63;
            if !is_text || table.is_empty() || self.means.get() != Some(&Means::Snapshot) {
                json.push(false);
                continue;
            }
            let table = TableName::new(&column.schema_str(), &table);
            if !tables.contains_key(&table) {
                let found = json_columns(connection, &table).await?;
                tables.insert(table.clone(), found);
            }
            json.push(tables.get(&table).is_some_and(|names| names.contains(&name)));
        }
        Ok(json)
    }

    fn encode(&self, columns: &[Column], rows: &[Row], json: &[bool]) -> Value {
        let plans: Vec<AnswerColumn> = columns
            .iter()
            .zip(json)
            .map(|(column, is_json)| AnswerColumn::new(column, self.config.dates, *is_json))
            .collect();
        let named = columns
            .iter()
            .zip(&plans)
            .map(|(column, plan)| crate::event::Column {
                name: column.name_str().into_owned(),
                encoding: plan.encoding(),
            });
        let layout = TableLayout {
            database: String::new(),
            table: String::new(),
            columns: named.collect(),
            key: Vec::new(),
        };
        let shape = Shape {
            id: 0,
            layout: Arc::new(layout),
            present: (0..columns.len() as u32).collect(),
            synthetic: false,
        };
        let mut writer = BatchWriter::new();
        for row in rows {
            for (index, plan) in plans.iter().enumerate() {
                plan.put(row.as_ref(index).unwrap_or(&Param::NULL), &mut writer);
            }
        }
        Value::Rows {
            cells: writer.take(),
            shape: serde_json::to_string(&shape).unwrap_or_default().into(),
            count: rows.len() as u32,
        }
    }

    /// The plan of a statement, or why it is not cached.
    async fn plan(&self, sql: &str) -> Result<std::result::Result<Arc<Plan>, Arc<str>>> {
        if let Some(plan) = self.known.lock().plans.get(sql) {
            return Ok(plan.clone());
        }
        let template = match Template::parse(sql) {
            Ok(template) => template,
            Err(why) => return Ok(self.remember(sql, Err(why.0.into()))),
        };
        loop {
            let planned = {
                let known = self.known.lock();
                Plan::make(&template, self.config.database.as_deref(), &known.catalog)
            };
            match planned {
                Planned::Ready(plan) => return Ok(self.remember(sql, Ok(Arc::new(plan)))),
                Planned::Refused(why) => return Ok(self.remember(sql, Err(why.0.into()))),
                Planned::Lacks(names) => {
                    for name in names {
                        if !self.learn(name).await? {
                            return Ok(Err("definitions change at this moment".into()));
                        }
                    }
                }
            }
        }
    }

    fn remember(
        &self,
        sql: &str,
        plan: std::result::Result<Arc<Plan>, Arc<str>>,
    ) -> std::result::Result<Arc<Plan>, Arc<str>> {
        let mut known = self.known.lock();
        if known.plans.len() >= MAX_PLANS {
            known.plans.clear();
        }
        known.plans.insert(sql.into(), plan.clone());
        plan
    }

    /// Reads a definition, by the same rule as rows; false where it cannot be proved to be the newest.
    pub(super) async fn learn(&self, name: TableName) -> Result<bool> {
        let need = self.cache.need(&[definitions()]);
        if !self.await_visible(need).await? {
            return Ok(false);
        }
        let as_of = self.cache.visible();
        let described = {
            let mut connection = self.connections().await.reader().await?;
            describe(&mut connection, &name, &self.filter).await?
        };
        let Described { facts, key } = described;
        let mut known = self.known.lock();
        if self.cache.ledger().read().last_change(&[definitions()]) > as_of {
            return Ok(false);
        }
        known.keys.insert(name.clone(), key);
        known.catalog.insert(name, facts);
        Ok(true)
    }

    /// A query whose answer holds everything up to a position: the server is asked once it shows it.
    async fn query_after(&self, sql: &str, params: &[Param], after: &str) -> Outcome {
        let Position {
            start,
            delivered,
            within,
        } = Position::parse(after)?;
        let mut connection = self.connections().await.reader().await?;
        let means = *self.means.get_or_try_init(|| Means::of(&mut connection)).await?;
        let is_shown = match (means, delivered.unwrap_or(start)) {
            (Means::Executed, Offset::MysqlGtid(mut set)) => {
                // A change inside a transaction is visible with the whole of it.
                if let Some(within) = within {
                    set.insert(&MysqlGtid::parse(&within.transaction)?);
                }
                let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET(?, {})", PROOF.as_secs());
                let rows = texts(&mut connection, &wait, vec![Param::from(set.to_string())]).await?;
                rows.first()
                    .and_then(|row| row.first().cloned().flatten())
                    .as_deref()
                    == Some("0")
            }
            (Means::Snapshot, Offset::MariadbGtid(_)) => {
                // Whoever has the position has it from the log: it lies before the end that is asked for now. That the
                // last mark was proved says nothing, the position may be newer than what was delivered.
                let ledger = parking_lot::RwLock::new(crate::cache::Ledger::new());
                let fresh = ledger.write().mark();
                let deadline = tokio::time::Instant::now() + PROOF;
                prove(&mut connection, means, &ledger, fresh, deadline).await?
            }
            (Means::Time, Offset::MysqlFile { .. }) => {
                tokio::time::sleep(SETTLE).await;
                true
            }
            _ => {
                return Err(Error::new(
                    Code::PositionInvalid,
                    "The position in `after` was expected to be one of this source, it is one of another.",
                ));
            }
        };
        if !is_shown {
            return Err(Error::new(
                Code::Timeout,
                format!("The position in `after` was expected to be visible within {PROOF:?}, it was not."),
            ));
        }
        drop(connection);
        self.ask(sql, params).await
    }

    /// Runs a statement that changes something.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn execute(&self, sql: &str, params: &[Param]) -> Result<Executed> {
        let mut connection = self.connections().await.writer().await?;
        let means = *self.means.get_or_try_init(|| Means::of(&mut connection)).await?;
        within(connection.exec_drop(sql, params.to_vec())).await?;
        let (affected, last_insert_id) = (connection.affected_rows(), connection.last_insert_id());
        // MariaDB names this session's transaction; MySQL's set holds it, and whatever else was committed until now.
        let question = match means {
            Means::Snapshot => Some("SELECT @@last_gtid"),
            Means::Executed => Some("SELECT @@GLOBAL.gtid_executed"),
            Means::Time => None,
        };
        let mut position = None;
        if let Some(question) = question {
            let rows = texts(&mut connection, question, Vec::new()).await?;
            let text = rows
                .into_iter()
                .next()
                .and_then(|row| row.into_iter().next().flatten());
            position = text.and_then(|text| position_of(means, &text));
        }
        Ok(Executed {
            affected,
            last_insert_id,
            position,
        })
    }

    /// Why a statement is cached or not, as JSON.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn explain(&self, sql: &str) -> Result<serde_json::Value> {
        if self.settings.is_none() {
            return Ok(
                serde_json::json!({ "cached": false, "reason": "no cache is configured for this source" }),
            );
        }
        Ok(match self.plan(sql).await? {
            Ok(plan) => {
                let depends = plan
                    .bind(&[])
                    .iter()
                    .map(|dependency| dependency.table.to_string())
                    .collect::<Vec<_>>();
                serde_json::json!({ "cached": true, "dependsOn": depends, "columns": plan.columns() })
            }
            Err(why) => serde_json::json!({ "cached": false, "reason": &*why }),
        })
    }

    /// Lets everything that depends on these be asked for again.
    pub fn invalidate(&self, dependencies: &[Dependency]) {
        let mut ledger = self.cache.ledger().write();
        for dependency in dependencies {
            ledger.touch_dependency(dependency);
        }
    }

    /// Closes the connections; queries fail afterwards.
    pub async fn close(&self) {
        if let Some(connections) = self.connections.get() {
            connections.close().await;
        }
    }

    /// Drops everything.
    pub fn clear(&self) {
        self.cache.clear();
    }

    /// The figures now.
    pub fn figures(&self) -> Figures {
        self.cache.figures()
    }
}

fn integer(param: &Param) -> Option<i128> {
    match param {
        Param::Int(value) => Some(i128::from(*value)),
        Param::UInt(value) => Some(i128::from(*value)),
        _ => None,
    }
}

fn position_of(means: Means, text: &str) -> Option<String> {
    let start = match means {
        Means::Snapshot => Offset::MariadbGtid(crate::offset::MariadbGtidList::parse(text).ok()?),
        _ => Offset::MysqlGtid(crate::offset::GtidSet::parse(text).ok()?),
    };
    let position = Position {
        start,
        delivered: None,
        within: None,
    };
    Some(position.base_text())
}

async fn rows(connection: &mut Conn, sql: &str, params: &[Param]) -> Result<(Arc<[Column]>, Vec<Row>)> {
    let answer = async {
        let mut answer = connection.exec_iter(sql, params.to_vec()).await?;
        let columns = answer.columns();
        let rows: Vec<Row> = answer.collect().await?;
        answer.drop_result().await?;
        Ok((columns.unwrap_or_else(|| Vec::new().into()), rows))
    };
    within(answer).await
}
