//! The class `Engine` that the facade drives.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use napi::bindgen_prelude::{BufferSlice, Env, Function, Object};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Result, Status};
use napi_derive::napi;
use streamer_core::code::Code;
use streamer_core::config::Config;
use streamer_core::error::Error;
use streamer_core::event::packed;
use streamer_core::pipeline::{self, Delivery, Observer, Sink};
use streamer_core::query::Sources;

use crate::delivery::{Arguments, Inbox};
use crate::environment::leave_with;
use crate::failure::thrown;
use crate::runtime::Lease;

/// Longest `stop()` that may be asked for.
const MAX_STOP_MS: f64 = 24.0 * 3600.0 * 1000.0;

/// Unbounded for Node.js, because the delivery window bounds it; weak, because it must not keep the process alive.
type OnItem = ThreadsafeFunction<Arguments, (), Arguments, Status, false, true, 0>;

/// Hands deliveries to JavaScript.
struct ToJavascript {
    on_item: OnItem,
    inbox: Arc<Inbox>,
}

impl Sink for ToJavascript {
    fn deliver(&self, delivery: Delivery) {
        let arguments = self.inbox.announce(delivery);
        // Refused only by an environment that goes away, whose cleanup hook abandons the engine.
        self.on_item
            .call(arguments, ThreadsafeFunctionCallMode::NonBlocking);
    }
}

/// What outlives a call from JavaScript.
pub struct Running {
    core: pipeline::Engine,
    inbox: Arc<Inbox>,
    /// Reads are kept.
    has_cache: bool,
    /// Queries and caches.
    pub sources: Arc<Sources>,
    /// Loads of the application that are under way.
    pub loads: crate::queries::Loads,
    /// Questions that may be given up.
    pub open: crate::queries::Open,
    /// Questions that are under way.
    pub asked: crate::queries::Asked,
    /// What memory gave last.
    pub found: crate::answers::LastFound,
    /// Held from the start to the end of the stop.
    lease: Mutex<Option<Lease>>,
}

impl Running {
    /// The runtime, held from now to the stop.
    pub fn lease(&self) -> Result<Lease> {
        let mut held = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_ref() {
            Some(lease) => Ok(lease.clone()),
            None => Ok(held
                .insert(Lease::take().map_err(|error| thrown(&error))?)
                .clone()),
        }
    }

    fn release(&self) {
        self.inbox.clear();
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(lease);
    }

    /// Ends everything without waiting: the environment goes away.
    pub fn abandon(&self) {
        self.core.abandon();
        self.release();
    }
}

/// Follows the sources of one streamer.
///
/// Errors are `Error`s whose message is JSON: `{ code, retry, message, details }`.
///
/// `onItem` is held until `stop()` has resolved; what it refers to is not collected before. An engine that is collected
/// without having been stopped is abandoned.
#[napi]
pub struct Engine {
    pub(crate) running: Arc<Running>,
}

#[napi]
impl Engine {
    /// Reads the configuration, JSON text, and throws where it is wrong. Connects to nothing.
    ///
    /// `onItem` is called once for each delivery, in order. `kind` 0 is a batch, which is fetched with `fetch`; `kind` 1 a notice:
    /// JSON text with a `type`. Each is in flight until it is acknowledged, and reading pauses while too much is.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        config_json: String,
        #[napi(
            ts_arg_type = "(kind: number, sequence: number, source: string, payload: BatchHead | string) => void"
        )]
        on_item: Function<'_, Arguments, ()>,
    ) -> Result<Self> {
        crate::sqlite::isolate_locks();
        let config = parse(&config_json)?;
        let on_item = on_item
            .build_threadsafe_function::<Arguments>()
            .weak::<true>()
            .build_callback(|context| Ok(context.value))?;
        let inbox = Arc::new(Inbox::default());
        let sources = Arc::new(Sources::new(&config));
        let has_cache = config.cache.is_some();
        let observer = Arc::clone(&sources) as Arc<dyn Observer>;
        let running = Arc::new(Running {
            has_cache,
            core: pipeline::Engine::observed(
                config,
                Arc::new(ToJavascript {
                    on_item,
                    inbox: Arc::clone(&inbox),
                }),
                Some(observer),
            ),
            inbox,
            sources,
            loads: crate::queries::Loads::default(),
            open: crate::queries::Open::default(),
            asked: crate::queries::Asked::default(),
            found: crate::answers::LastFound::default(),
            lease: Mutex::new(None),
        });
        leave_with(&env, &running)?;
        Ok(Self { running })
    }

    /// Resolves when every source streams: a write made afterwards will be seen. Idempotent.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn start<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let lease = self.running.lease()?;
        let (deferred, promise) = env.create_deferred()?;
        let running = Arc::clone(&self.running);
        lease.handle().spawn(async move {
            match running.core.start().await {
                Ok(()) => deferred.resolve(|_| Ok(())),
                Err(error) => deferred.reject(thrown(&error)),
            }
        });
        Ok(promise)
    }

    /// Stops reading, closes the connections, and delivers a `stop` notice last; resolves within `timeoutMs`. `settle` must
    /// follow. Idempotent.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn stop<'env>(&self, env: &'env Env, timeout_ms: f64) -> Result<Object<'env>> {
        let lease = self.running.lease()?;
        let (deferred, promise) = env.create_deferred()?;
        let running = Arc::clone(&self.running);
        let deadline = Duration::from_secs_f64(bounded(timeout_ms) / 1000.0);
        lease.handle().spawn(async move {
            running.core.stop(deadline).await;
            for queries in running.sources.all() {
                queries.close().await;
            }
            running.asked.end().await;
            deferred.resolve(|_| Ok(()));
        });
        Ok(promise)
    }

    /// Stores the last positions, where there are checkpoints, and lets go of the runtime. Rejects where they could not be
    /// stored: what was done since the last checkpoint will be delivered again.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn settle<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let lease = self.running.lease()?;
        let (deferred, promise) = env.create_deferred()?;
        let running = Arc::clone(&self.running);
        let handle = lease.handle().clone();
        handle.spawn(async move {
            let settled = running.core.settle().await;
            running.release();
            match settled {
                Ok(()) => deferred.resolve(|_| Ok(())),
                Err(error) => deferred.reject(thrown(&error)),
            }
            drop(lease);
        });
        Ok(promise)
    }

    /// Writes the batch `sequence` into memory of the caller's, at least as long as it was announced; each batch once, in order.
    /// The core's `event` module describes its pieces; in front of them, four numbers say how long they are: numbers, bytes of
    /// text, of wide text, and of bytes.
    #[napi]
    pub fn fetch(&self, sequence: f64, mut into: BufferSlice<'_>) -> Result<()> {
        let sequence = sequence as u64;
        let batch = self.running.inbox.remove(sequence);
        self.running.core.begin(sequence);
        if batch.is_some_and(|batch| packed::write(&batch, &mut into)) {
            return Ok(());
        }
        Err(thrown(&Error::new(
            Code::Internal,
            "A batch was fetched that is not there, or into too little memory.",
        )))
    }

    /// The application is done with everything up to `sequence`.
    #[napi]
    pub fn acknowledge(&self, sequence: f64) {
        if sequence >= 1.0 {
            self.running.core.acknowledge(sequence as u64);
        }
    }

    /// The application is done with everything of a source up to `position`, which lies inside the oldest batch that is not
    /// acknowledged.
    #[napi]
    pub fn progress(&self, source: String, position: String) {
        self.running.core.progress(&source, &position);
    }

    /// Reads the rows of a source's tables that match `patterns`, all where there is none, beside its log. Returns the id that its
    /// `snapshot` notices carry.
    #[napi]
    pub fn snapshot(&self, source: Option<String>, patterns: Vec<String>) -> Result<String> {
        let asked = self.running.core.snapshot(source.as_deref(), patterns);
        asked.map(|id| id.to_string()).map_err(|error| thrown(&error))
    }

    /// `Health` as JSON text.
    #[napi]
    pub fn health(&self) -> String {
        self.running.core.health().to_json().to_string()
    }

    /// Figures in the Prometheus text format.
    #[napi]
    pub fn metrics(&self) -> String {
        let mut text = self.running.core.metrics();
        if let Some(end) = text.rfind("# EOF").filter(|_| self.running.has_cache) {
            text.insert_str(end, &self.running.sources.metrics());
        }
        text
    }
}

fn parse(config_json: &str) -> Result<Config> {
    let value = serde_json::from_str(config_json).map_err(|error| {
        let sentence = format!("The configuration is no JSON text: {error}.");
        thrown(&Error::new(Code::ConfigInvalid, sentence))
    })?;
    Config::parse(&value).map_err(|error| thrown(&error))
}

/// A wait in ms that a `Duration` can hold; what is no number is no wait.
fn bounded(timeout_ms: f64) -> f64 {
    if timeout_ms.is_nan() {
        0.0
    } else {
        timeout_ms.clamp(0.0, MAX_STOP_MS)
    }
}
