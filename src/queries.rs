//! Queries and the cache, as methods of `Engine`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use napi::bindgen_prelude::{
    BigInt, Buffer, BufferSlice, Either, Env, FromNapiValue, Null, Object, ToNapiValue, Unknown,
};
use napi::{Result, ValueType};
use napi_derive::napi;
use streamer_core::cache::{Grounds, Sequence, Value};
use streamer_core::code::Code;
use streamer_core::error::Error;
use streamer_core::query::{Named, NamedValue, Param, Proof, Queries, QueryOptions, Read, closed};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answers::Answer;
use crate::engine::Engine;
use crate::failure::thrown;

/// A load of the application.
struct Load {
    queries: Arc<Queries>,
    /// `None` until they are resolved: then the load counts as depending on everything.
    grounds: Option<Grounds>,
    /// The newest change of what it depends on when it was announced.
    generation: Sequence,
    /// `None` where its value is not kept.
    proof: Option<Proof>,
}

/// Loads of the application that are under way, by number.
#[derive(Default)]
pub struct Loads {
    last: AtomicU64,
    open: Mutex<HashMap<u64, Load>>,
}

impl Loads {
    fn announce(&self, queries: Arc<Queries>) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let load = Load {
            generation: queries.newest(),
            queries,
            grounds: None,
            proof: None,
        };
        self.with(|open| open.insert(number, load));
        number
    }

    /// What it depends on, from which moment on; nothing where the load has ended meanwhile.
    fn resolve(&self, number: u64, grounds: &Grounds, generation: Sequence) {
        self.with(|open| {
            if let Some(load) = open.get_mut(&number) {
                load.grounds = Some(grounds.clone());
                load.generation = generation;
            }
        });
    }

    fn begin(&self, number: u64, proof: Option<Proof>) {
        self.with(|open| {
            if let Some(load) = open.get_mut(&number) {
                load.proof = proof;
            }
        });
    }

    fn with<T>(&self, run: impl FnOnce(&mut HashMap<u64, Load>) -> T) -> T {
        run(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Questions that are under way.
#[derive(Default)]
pub struct Asked {
    tasks: TaskTracker,
    ended: CancellationToken,
}

impl Asked {
    /// Answers all that are left: the connections are closed.
    pub async fn end(&self) {
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Questions that may be given up, by the numbers that JavaScript gave them.
#[derive(Default)]
pub struct Open(Mutex<HashMap<u64, oneshot::Sender<()>>>);

impl Open {
    fn with<T>(&self, run: impl FnOnce(&mut HashMap<u64, oneshot::Sender<()>>) -> T) -> T {
        run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn unfit() -> napi::Error {
    thrown(&Error::new(
        Code::ArgumentInvalid,
        "params: expected null, booleans, numbers, bigints, strings, dates or bytes.",
    ))
}

/// A parameter as it comes from JavaScript.
fn param(param: Unknown<'_>) -> Result<Param> {
    Ok(match param.get_type()? {
        ValueType::Null | ValueType::Undefined => Param::Null,
        ValueType::Boolean => Param::Integer(bool::from_unknown(param)?.into()),
        ValueType::Number => match f64::from_unknown(param)? {
            whole if whole.fract() == 0.0 && whole.abs() < 9_007_199_254_740_992.0 => {
                Param::Integer(whole as i64)
            }
            real => Param::Real(real),
        },
        ValueType::BigInt => {
            let value = BigInt::from_unknown(param)?;
            match (value.get_i64(), value.get_u64()) {
                ((small, true), _) => Param::Integer(small),
                (_, (false, large, true)) => Param::Unsigned(large),
                _ => Param::Wide(value.get_i128().0.to_string()),
            }
        }
        ValueType::String => Param::Text(String::from_unknown(param)?),
        _ => Param::Bytes(BufferSlice::from_unknown(param).map_err(|_| unfit())?.to_vec()),
    })
}

fn params(from: Vec<Unknown<'_>>) -> Result<Vec<Param>> {
    from.into_iter().map(param).collect()
}

fn statement(sql: String, values: Vec<Unknown<'_>>) -> Result<Read> {
    let params = params(values)?;
    Ok(Read::Sql { sql, params })
}

fn ttl(ttl_ms: Option<f64>) -> Option<Duration> {
    let ms = ttl_ms.filter(|ms| ms.is_finite() && *ms >= 0.0)?;
    Some(Duration::from_secs_f64(ms.min(86_400_000.0) / 1000.0))
}

/// A question that has no answer because nobody waits for it.
fn given_up() -> Error {
    Error::new(Code::Timeout, "The query was given up.")
}

/// An integer in decimal text, or a value of MongoDB as extended JSON.
fn named_value(value: serde_json::Value) -> Option<NamedValue> {
    match value {
        serde_json::Value::String(digits) => digits.parse().ok().map(NamedValue::Integer),
        other => NamedValue::from_extended_json(other),
    }
}

/// `[table, [column, value][]][]` as JSON; see [`named_value`].
fn read_dependencies(json: &str) -> Result<Vec<Named>> {
    let invalid = || {
        thrown(&Error::new(
            Code::ArgumentInvalid,
            "dependsOn: expected tables with keys.",
        ))
    };
    let list: Vec<(String, Vec<(String, serde_json::Value)>)> =
        serde_json::from_str(json).map_err(|_| invalid())?;
    list.into_iter()
        .map(|(table, equalities)| {
            let equalities: Option<Vec<(String, NamedValue)>> = equalities
                .into_iter()
                .map(|(column, value)| Some((column, named_value(value)?)))
                .collect();
            Ok((table, equalities.ok_or_else(invalid)?))
        })
        .collect()
}

fn documents(namespace: String, request: &[u8]) -> Read {
    let request = request.to_vec();
    Read::Find { namespace, request }
}

impl Engine {
    fn queries(&self, source: Option<&str>) -> Result<Arc<Queries>> {
        self.running.sources.get(source).cloned().ok_or_else(|| {
            thrown(&Error::new(
                Code::ArgumentInvalid,
                "source: expected the name of a source, which is needed where there are several.",
            ))
        })
    }

    /// Writes what memory holds; it is renewed in the background where it ends soon.
    fn look(&self, source: Option<&str>, read: Read, ttl_ms: Option<f64>, into: &mut [u8]) -> Result<f64> {
        let queries = self.queries(source)?;
        let Some(found) = queries.lookup(&read).map_err(|error| thrown(&error))? else {
            return Ok(0.0);
        };
        if found.is_due {
            let lease = self.running.lease()?;
            lease
                .handle()
                .spawn(async move { queries.renew(&read, ttl(ttl_ms)).await });
        }
        Ok(self.running.found.hand_over(found, into))
    }

    /// Asks, until JavaScript gives the question up.
    fn ask<'env>(
        &self,
        env: &'env Env,
        source: Option<&str>,
        read: Read,
        options: QueryOptions,
        ticket: Option<f64>,
    ) -> Result<Object<'env>> {
        let queries = self.queries(source)?;
        let running = Arc::clone(&self.running);
        let leaving = ticket.map(|ticket| {
            let (sender, receiver) = oneshot::channel();
            running.open.with(|open| open.insert(ticket as u64, sender));
            (ticket as u64, receiver)
        });
        self.promise(env, async move {
            let asked = queries.query(&read, &options);
            let Some((ticket, receiver)) = leaving else {
                return Ok(Answer::of(&asked.await?));
            };
            let outcome = tokio::select! {
                outcome = asked => outcome,
                _ = receiver => Err(given_up()),
            };
            running.open.with(|open| open.remove(&ticket));
            Ok(Answer::of(&outcome?))
        })
    }

    /// Runs a future on the engine's runtime and settles a promise with it.
    fn promise<'env, T, F>(&self, env: &'env Env, future: F) -> Result<Object<'env>>
    where
        T: ToNapiValue + Send + 'static,
        F: Future<Output = streamer_core::error::Result<T>> + Send + 'static,
    {
        let lease = self.running.lease()?;
        let (deferred, promise) = env.create_deferred()?;
        let asked = &self.running.asked;
        let ended = asked.ended.clone();
        lease.handle().spawn(asked.tasks.track_future(async move {
            let outcome = tokio::select! {
                biased;
                outcome = future => outcome,
                () = ended.cancelled() => Err(closed()),
            };
            match outcome {
                Ok(value) => deferred.resolve(move |_| Ok(value)),
                Err(error) => deferred.reject(thrown(&error)),
            }
        }));
        Ok(promise)
    }
}

#[napi]
impl Engine {
    /// Writes what memory holds for a query into memory of the caller's: the bytes that it has, negated where they do not fit, and 0
    /// where the source must be asked. See `answers.rs` for their layout.
    #[napi]
    pub fn lookup(
        &self,
        source: Option<String>,
        sql: String,
        #[napi(ts_arg_type = "(null | boolean | number | bigint | string | Buffer)[]")] values: Vec<
            Unknown<'_>,
        >,
        ttl_ms: Option<f64>,
        mut into: BufferSlice<'_>,
    ) -> Result<f64> {
        self.look(source.as_deref(), statement(sql, values)?, ttl_ms, &mut into)
    }

    /// The answer to a query, from memory or from the source. `ticket`: a number by which `giveUp` names it.
    #[napi(ts_return_type = "Promise<Answer>")]
    #[allow(clippy::too_many_arguments)]
    pub fn query<'env>(
        &self,
        env: &'env Env,
        source: Option<String>,
        sql: String,
        #[napi(ts_arg_type = "(null | boolean | number | bigint | string | Buffer)[]")] values: Vec<
            Unknown<'_>,
        >,
        bypasses: bool,
        ttl_ms: Option<f64>,
        after: Option<String>,
        ticket: Option<f64>,
    ) -> Result<Object<'env>> {
        let ttl = ttl(ttl_ms);
        let options = QueryOptions { bypasses, ttl, after };
        self.ask(env, source.as_deref(), statement(sql, values)?, options, ticket)
    }

    /// The same for a `find`. `request`: BSON with `filter`, `projection`, `sort`, `limit`, `skip`.
    #[napi]
    pub fn lookup_find(
        &self,
        source: Option<String>,
        namespace: String,
        request: BufferSlice<'_>,
        ttl_ms: Option<f64>,
        mut into: BufferSlice<'_>,
    ) -> Result<f64> {
        self.look(
            source.as_deref(),
            documents(namespace, &request),
            ttl_ms,
            &mut into,
        )
    }

    /// The documents that a `find` gives, from memory or from the source: one after the other in `bytes`.
    #[napi(ts_return_type = "Promise<Answer>")]
    #[allow(clippy::too_many_arguments)]
    pub fn find<'env>(
        &self,
        env: &'env Env,
        source: Option<String>,
        namespace: String,
        request: Buffer,
        bypasses: bool,
        ttl_ms: Option<f64>,
        after: Option<String>,
        ticket: Option<f64>,
    ) -> Result<Object<'env>> {
        let ttl = ttl(ttl_ms);
        let options = QueryOptions { bypasses, ttl, after };
        self.ask(
            env,
            source.as_deref(),
            documents(namespace, &request),
            options,
            ticket,
        )
    }

    /// Nobody waits for a question any more.
    #[napi]
    pub fn give_up(&self, ticket: f64) {
        self.running.open.with(|open| open.remove(&(ticket as u64)));
    }

    /// Runs a statement that changes something; resolves with `{ affectedRows, insertId, position }` as JSON text.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn execute<'env>(
        &self,
        env: &'env Env,
        source: Option<String>,
        sql: String,
        #[napi(ts_arg_type = "(null | boolean | number | bigint | string | Buffer)[]")] values: Vec<
            Unknown<'_>,
        >,
    ) -> Result<Object<'env>> {
        let queries = self.queries(source.as_deref())?;
        let params = params(values)?;
        self.promise(env, async move {
            let done = queries.execute(&sql, &params).await?;
            let json = serde_json::json!({
                "affectedRows": done.affected,
                "insertId": done.last_insert_id.map(|id| id.to_string()),
                "position": done.position,
            });
            Ok(json.to_string())
        })
    }

    /// Why a statement is cached or not, as JSON text.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn explain<'env>(&self, env: &'env Env, source: Option<String>, sql: String) -> Result<Object<'env>> {
        let queries = self.queries(source.as_deref())?;
        let read = statement(sql, Vec::new())?;
        self.promise(env, async move { Ok(queries.explain(&read).await?.to_string()) })
    }

    /// The same of a `find`.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn explain_find<'env>(
        &self,
        env: &'env Env,
        source: Option<String>,
        namespace: String,
        request: Buffer,
    ) -> Result<Object<'env>> {
        let queries = self.queries(source.as_deref())?;
        let read = documents(namespace, &request);
        self.promise(env, async move { Ok(queries.explain(&read).await?.to_string()) })
    }

    /// Writes what memory holds under a key of the application, as `lookup` does; 0 where it must be loaded.
    #[napi]
    pub fn wrapped(&self, source: Option<String>, key: String, mut into: BufferSlice<'_>) -> Result<f64> {
        let queries = self.queries(source.as_deref())?;
        let found = queries.wrapped(&key).map_err(|error| thrown(&error))?;
        Ok(found.map_or(0.0, |found| self.running.found.hand_over(found, &mut into)))
    }

    /// Writes what memory gave last once more, as `lookup` does.
    #[napi]
    pub fn found(&self, mut into: BufferSlice<'_>) -> f64 {
        self.running.found.again(&mut into)
    }

    /// The columns of what memory gave last, as a JSON object; `null` where it has none.
    #[napi]
    pub fn found_columns(&self) -> Option<String> {
        self.running.found.columns()
    }

    /// Announces a load; returns its number. `endLoad` must follow.
    #[napi]
    pub fn announce_load(&self, source: Option<String>) -> Result<f64> {
        let queries = self.queries(source.as_deref())?;
        Ok(self.running.loads.announce(queries) as f64)
    }

    /// Resolves when an announced load may begin: with `null`, or, unless it renews, with the value that another process has loaded.
    #[napi(ts_return_type = "Promise<null | Buffer>")]
    #[allow(clippy::too_many_arguments)]
    pub fn begin_load<'env>(
        &self,
        env: &'env Env,
        number: f64,
        source: Option<String>,
        key: String,
        format: String,
        depends_on: String,
        ttl_ms: Option<f64>,
        renews: bool,
    ) -> Result<Object<'env>> {
        let number = number as u64;
        let queries = self.queries(source.as_deref())?;
        let on = read_dependencies(&depends_on)?;
        let running = Arc::clone(&self.running);
        self.promise(env, async move {
            let grounds = queries.grounds(&on).await?;
            // Whatever the value comes from, it holds at least this much.
            let generation = queries.generation(&grounds.on);
            running.loads.resolve(number, &grounds, generation);
            if renews {
                queries.count_renewal();
            } else if let Some(value) = queries
                .loaded_elsewhere(&key, &format, &grounds, ttl(ttl_ms))
                .await
                && let Value::Bytes(bytes) = &value
            {
                return Ok(Either::B(Buffer::from(bytes.to_vec())));
            }
            let proof = queries.begin(&grounds.on).await?;
            running.loads.begin(number, proof);
            Ok(Either::A(Null))
        })
    }

    /// Whether a caller who comes now may share a load: nothing touched what it depends on since it was announced.
    #[napi]
    pub fn is_load_current(&self, number: f64) -> bool {
        self.running.loads.with(|open| {
            open.get(&(number as u64)).is_some_and(|load| {
                let now = match &load.grounds {
                    Some(grounds) => load.queries.generation(&grounds.on),
                    None => load.queries.newest(),
                };
                load.queries.keeps() && now <= load.generation
            })
        })
    }

    /// Ends a load; its value is kept where it may be. `null` where it failed.
    #[napi]
    pub fn end_load(
        &self,
        number: f64,
        key: String,
        format: String,
        value: Option<Buffer>,
        ttl_ms: Option<f64>,
    ) -> bool {
        let Some(load) = self.running.loads.with(|open| open.remove(&(number as u64))) else {
            return false;
        };
        let (Some(value), Some(proof), Some(grounds)) = (value, load.proof, load.grounds) else {
            return false;
        };
        let name = (key.as_str(), format.as_str());
        load.queries.end(name, &value, &grounds, proof, ttl(ttl_ms))
    }

    /// The position that a source has reached; `null` before it streams.
    #[napi]
    pub fn position(&self, source: Option<String>) -> Result<Option<String>> {
        let position = self.queries(source.as_deref())?.position();
        Ok(position.map(|position| position.to_string()))
    }

    /// Drops a value of the application; returns whether there was one.
    #[napi]
    pub fn drop_key(&self, source: Option<String>, key: String, format: String) -> Result<bool> {
        Ok(self.queries(source.as_deref())?.drop_key(&key, &format))
    }

    /// Lets everything that depends on these be asked for again.
    #[napi(ts_return_type = "Promise<null>")]
    pub fn invalidate<'env>(
        &self,
        env: &'env Env,
        source: Option<String>,
        depends_on: String,
    ) -> Result<Object<'env>> {
        let queries = self.queries(source.as_deref())?;
        let on = read_dependencies(&depends_on)?;
        self.promise(env, async move {
            let grounds = queries.grounds(&on).await?;
            queries.invalidate(&grounds.on);
            Ok(Null)
        })
    }

    /// Drops everything.
    #[napi]
    pub fn clear_cache(&self) {
        for queries in self.running.sources.all() {
            queries.clear();
        }
    }

    /// Figures of the caches of all sources together, as JSON text.
    #[napi]
    pub fn cache_stats(&self) -> String {
        let mut sum: HashMap<&str, u64> = HashMap::new();
        for queries in self.running.sources.all() {
            let figures = queries.figures();
            for (name, value) in [
                ("hits", figures.hits),
                ("misses", figures.misses),
                ("bypassed", figures.bypassed),
                ("loads", figures.loads),
                ("coalesced", figures.coalesced),
                ("invalidations", figures.invalidated),
                ("rejectedFills", figures.rejected),
                ("proofs", figures.proofs),
                ("stale", figures.stale),
                ("renewed", figures.renewed),
                ("gathered", figures.gathered),
                ("unproved", figures.unproved),
                ("redisHits", figures.second.hits),
                ("redisMisses", figures.second.misses),
                ("redisRefused", figures.second.refused),
                ("redisFailures", figures.second.failures),
                ("redisWrites", figures.second.writes),
                ("entries", figures.entries as u64),
                ("bytes", figures.bytes),
            ] {
                *sum.entry(name).or_default() += value;
            }
        }
        serde_json::json!(sum).to_string()
    }
}
