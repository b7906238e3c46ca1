//! The read path of one source: memory, single flight, the rule, and what happens while the source is not followed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::QueryOptions;
use super::backend::{Backend, Executed, Named, Outcome, Param, Proof, Read};
use super::second::SecondLevel;
use super::state::{Serves, State};
use crate::cache::{
    Counters, Dependency, Feed, Figures, Found, Grounds, Key, KeyWriter, Ledger, Order, Place, Sequence,
    TableName,
};
use crate::error::Result;
use crate::event::{Batch, LogPlace};
use crate::offset::Position;
use crate::source::{Beat, Gap, Host, SchemaChange};

/// Fills that are begun anew because something changed meanwhile.
const TRIES: usize = 3;

/// Longest wait for a proof while the source is not followed.
const SETTLING: Duration = Duration::from_secs(2);

/// Pause before a proof is asked for on another connection.
const AGAIN: Duration = Duration::from_millis(20);

type Flights = HashMap<Key, (Sequence, watch::Receiver<Option<Outcome>>)>;

/// What a read that may be kept is about.
pub(super) struct Sought<'a> {
    pub key: Key,
    read: &'a Read,
    pub grounds: Grounds,
    pub ttl: Duration,
}

/// Queries to one source, through its cache.
pub struct Queries {
    pub(super) state: Arc<State>,
    pub(super) backend: Box<dyn Backend>,
    feed: Mutex<Feed>,
    flights: Mutex<Flights>,
    /// What the keys of all reads begin with.
    key: KeyWriter,
    /// What no proof came for in time while the source was not followed: nobody waits for it twice.
    unsettled: AtomicU64,
    pub(super) second: Option<Arc<SecondLevel>>,
}

impl Queries {
    /// For a source. Nothing connects yet.
    pub(super) fn new(
        state: Arc<State>,
        backend: Box<dyn Backend>,
        order: Order,
        second: Option<Arc<SecondLevel>>,
    ) -> Self {
        if second.is_some() {
            state.cache.ledger().write().keep_trail();
        }
        let mut key = KeyWriter::new("read");
        key.part(1, state.name.as_bytes());
        backend.identify(&mut key);
        Self {
            second,
            state,
            backend,
            key,
            feed: Mutex::new(Feed::new(order)),
            flights: Mutex::default(),
            unsettled: AtomicU64::new(0),
        }
    }

    // What the source hands over.

    pub(super) fn connected(&self, host: Host, position: Option<&str>) {
        self.state.reached(position.map(Arc::from).as_ref());
        {
            let mut ledger = self.state.cache.ledger().write();
            let era = ledger.reconnect();
            if let Some(position) = position {
                anchor(&mut ledger, position);
            }
            self.backend.forget_definitions();
            // Before anybody sees the new era: what is proved in it is proved of this host.
            self.state.connected(host, era);
        }
        self.unsettled.store(0, Ordering::Relaxed);
        self.backend.connected();
    }

    pub(super) fn polls(&self, is_polled: bool) {
        self.state.polls(is_polled);
    }

    pub(super) fn reading(&self, place: Option<LogPlace>) {
        self.state.cache.ledger().write().reading(place);
    }

    pub(super) fn disconnected(&self) {
        // Of what was delivered last, the end of its transaction may be missing.
        if let Some(position) = self.state.position() {
            let mut ledger = self.state.cache.ledger().write();
            if ledger.is_open() {
                anchor(&mut ledger, &position);
            }
        }
        self.state.disconnected();
    }

    pub(super) fn batch(&self, batch: &Batch) {
        self.state.reached(batch.position.as_ref());
        if self.state.settings.is_none() {
            return;
        }
        {
            let mut feed = self.feed.lock();
            let mut ledger = self.state.cache.ledger().write();
            if feed.batch(batch, &mut ledger) {
                self.redefined(&mut ledger);
            }
        }
        self.state.sign();
    }

    pub(super) fn schema(&self, change: &SchemaChange) {
        self.state.reached(Some(&change.position));
        {
            let mut ledger = self.state.cache.ledger().write();
            match &change.table {
                Some(table) => ledger.whole_table(&TableName::new(&change.database, table)),
                None if change.database.is_empty() => ledger.any_table(),
                None => ledger.whole_database(&change.database),
            }
            self.redefined(&mut ledger);
            anchor(&mut ledger, &change.position);
        }
        self.state.sign();
    }

    pub(super) fn definitions(&self, position: &Arc<str>) {
        self.state.reached(Some(position));
        {
            let mut ledger = self.state.cache.ledger().write();
            self.redefined(&mut ledger);
            anchor(&mut ledger, position);
        }
        self.state.sign();
    }

    /// Under the ledger's lock: whoever derives something from definitions that hold since a sequence gets those that do.
    fn redefined(&self, ledger: &mut Ledger) {
        ledger.redefined();
        self.backend.forget_definitions();
    }

    pub(super) fn gap(&self, gap: &Gap) {
        self.state.reached(gap.to.as_ref());
        let mut ledger = self.state.cache.ledger().write();
        ledger.everything();
        self.backend.forget_definitions();
    }

    pub(super) fn beat(&self, beat: &Beat) {
        self.state.reached(Some(&beat.position));
        anchor(&mut self.state.cache.ledger().write(), &beat.position);
        self.state.sign();
    }

    // Reads.

    fn key(&self, read: &Read) -> Key {
        let mut key = self.key.clone();
        read.identify(&mut key);
        key.finish()
    }

    /// What memory holds for a read.
    ///
    /// # Errors
    /// `ERR_STREAMER_CONNECTION_LOST` where reads are refused while the source is not followed.
    pub fn lookup(&self, read: &Read) -> Result<Option<Found>> {
        self.peek(&self.key(read))
    }

    pub(super) fn peek(&self, key: &Key) -> Result<Option<Found>> {
        if self.state.settings.is_none() {
            return Ok(None);
        }
        let is_stale = match self.state.serves()? {
            Serves::Current => false,
            Serves::Stale => true,
            Serves::Nothing => return Ok(None),
        };
        let found = self.state.cache.look(key, is_stale);
        if found.is_some() {
            self.count(|counters| &counters.hits);
            if is_stale {
                self.count(|counters| &counters.stale);
            }
        }
        Ok(found)
    }

    fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64) {
        Counters::add(counter(&self.state.cache.counters));
    }

    async fn run(&self, read: &Read) -> Outcome {
        self.count(|counters| &counters.bypassed);
        self.count(|counters| &counters.loads);
        self.backend.run(read).await
    }

    /// The same, of what was delivered and may not be visible yet.
    async fn run_settled(&self, read: &Read) -> Outcome {
        if self.backend.shows_delivered() {
            return self.run(read).await;
        }
        self.count(|counters| &counters.bypassed);
        self.count(|counters| &counters.loads);
        loop {
            let era = self.state.cache.ledger().read().era();
            self.settle().await?;
            // Else another server is read by now, of which nothing was proved.
            if let Some(value) = self.backend.run_in(read, era).await? {
                return Ok(value);
            }
        }
    }

    /// The answer to a read, from memory or from the source. Must be called on a tokio runtime. Cancel-safe: what was begun
    /// for others as well is begun anew by one of them.
    ///
    /// # Errors
    /// What the source or the connection failed with; `ERR_STREAMER_SERVER_BUSY` where no connection came free;
    /// `ERR_STREAMER_POSITION_INVALID` for a wrong `after`.
    pub async fn query(&self, read: &Read, options: &QueryOptions) -> Outcome {
        if let Some(after) = &options.after {
            let position = Position::parse(after)?;
            if self.state.settings.is_some() && !self.backend.shows_delivered() {
                self.settle().await?;
            }
            self.count(|counters| &counters.loads);
            return self.backend.run_after(read, position).await;
        }
        if options.bypasses || self.state.settings.is_none() {
            return self.run(read).await;
        }
        if self.state.serves()? == Serves::Nothing {
            return self.run_settled(read).await;
        }
        let key = self.key(read);
        if let Some(found) = self.peek(&key)? {
            return Ok(found.value);
        }
        let defined = self.defined();
        let Ok(on) = self.backend.judge(read).await? else {
            return self.run_settled(read).await;
        };
        self.count(|counters| &counters.misses);
        let ttl = self.ttl(options.ttl);
        let grounds = Grounds { on, defined };
        self.shared(&Sought {
            key,
            read,
            grounds,
            ttl,
        })
        .await
    }

    /// Puts a newer answer in the place of one that ends soon, which is served meanwhile. Where that fails, nothing is lost.
    pub async fn renew(&self, read: &Read, ttl: Option<Duration>) {
        let defined = self.defined();
        let Ok(Ok(on)) = self.backend.judge(read).await else {
            return;
        };
        self.count(|counters| &counters.renewed);
        let sought = Sought {
            key: self.key(read),
            read,
            grounds: Grounds { on, defined },
            ttl: self.ttl(ttl),
        };
        let need = self.state.cache.need(&sought.grounds.on);
        let _ = self.ask_first(&sought, need).await;
    }

    /// What was delivered last may not be visible yet: waits for a proof that it is. Where none comes in time, or the database has
    /// none to give, it is asked all the same, and that is counted.
    ///
    /// # Errors
    /// What the database, or the connection to it, failed with twice.
    pub(super) async fn settle(&self) -> Result<()> {
        // What is polled was read by a query: it is visible.
        if self.state.is_polled() {
            return Ok(());
        }
        let need = self.state.cache.ledger().write().delivered();
        if need <= self.unsettled.load(Ordering::Relaxed) {
            self.count(|counters| &counters.unproved);
            return Ok(());
        }
        let proof = async {
            // A connection may have ended together with that of the log.
            match self.backend.prove(need).await {
                Err(_) => {
                    tokio::time::sleep(AGAIN).await;
                    self.backend.prove(need).await
                }
                proof => proof,
            }
        };
        let proof = tokio::time::timeout(SETTLING, proof).await.unwrap_or(Ok(None));
        if proof?.is_none() {
            self.unsettled.fetch_max(need, Ordering::Relaxed);
            self.count(|counters| &counters.unproved);
        }
        Ok(())
    }

    /// The newest change of anything that is watched.
    pub fn newest(&self) -> Sequence {
        self.state.cache.ledger().read().newest()
    }

    /// Whether anything is kept at all.
    pub fn keeps(&self) -> bool {
        self.state.settings.is_some()
    }

    pub(super) fn ttl(&self, asked: Option<Duration>) -> Duration {
        asked
            .or(self.state.settings.map(|settings| settings.ttl))
            .unwrap_or_default()
    }

    /// One query for all who ask for the same.
    async fn shared(&self, sought: &Sought<'_>) -> Outcome {
        let need = self.state.cache.need(&sought.grounds.on);
        loop {
            let joined = {
                let mut flights = self.flights.lock();
                match flights.get(&sought.key) {
                    // It began with at least what we must see.
                    Some((begun, outcome)) if *begun >= need => Ok(outcome.clone()),
                    _ => {
                        // One may have landed since memory was asked.
                        if let Some(value) = self.state.cache.get(&sought.key) {
                            return Ok(value);
                        }
                        let (sender, receiver) = watch::channel(None);
                        flights.insert(sought.key, (need, receiver.clone()));
                        Err((sender, receiver))
                    }
                }
            };
            match joined {
                Ok(mut outcome) => {
                    self.count(|counters| &counters.coalesced);
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
                    let outcome = self.fill(sought, need).await;
                    let mut flights = self.flights.lock();
                    if flights
                        .get(&sought.key)
                        .is_some_and(|(_, flight)| flight.same_channel(&receiver))
                    {
                        flights.remove(&sought.key);
                    }
                    sender.send_replace(Some(outcome.clone()));
                    return outcome;
                }
            }
        }
    }

    /// Asks the source by the rule; see [`cache`](crate::cache).
    async fn fill(&self, sought: &Sought<'_>, first_need: Sequence) -> Outcome {
        if let Some(value) = self.ask_second(sought, first_need).await {
            return Ok(value);
        }
        self.ask_first(sought, first_need).await
    }

    /// The same, of the source itself.
    async fn ask_first(&self, sought: &Sought<'_>, first_need: Sequence) -> Outcome {
        let cache = &self.state.cache;
        let mut need = first_need;
        let mut last = None;
        for _ in 0..TRIES {
            self.count(|counters| &counters.loads);
            let asked = self.backend.ask(sought.read, need).await?;
            if asked.proof.is_none() {
                self.count(|counters| &counters.unproved);
            }
            let Some(Proof { as_of, statement }) = asked.proof.filter(|_| self.state.is_live()) else {
                return Ok(asked.value);
            };
            let value = asked.value;
            if cache.fill(sought.key, value.clone(), &sought.grounds, as_of, sought.ttl) {
                self.share(&sought.key, statement, sought.ttl, &value);
                return Ok(value);
            }
            let now = cache.need(&sought.grounds.on);
            if now <= as_of {
                // Too large to be kept, or definitions changed.
                return Ok(value);
            }
            need = now;
            last = Some(value);
        }
        // It holds what was delivered before the call, which is what was promised.
        match last {
            Some(value) => Ok(value),
            None => self.backend.run(sought.read).await,
        }
    }

    /// Runs a statement that changes something.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn execute(&self, sql: &str, params: &[Param]) -> Result<Executed> {
        self.backend.execute(sql, params).await
    }

    /// Why a read is cached or not, as JSON.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn explain(&self, read: &Read) -> Result<serde_json::Value> {
        if self.state.settings.is_none() {
            return Ok(
                serde_json::json!({ "cached": false, "reason": "no cache is configured for this source" }),
            );
        }
        if self.state.is_polled() {
            return Ok(serde_json::json!({
                "cached": false,
                "reason": "the source is polled, and only its log tells of every change",
            }));
        }
        self.backend.explain(read).await
    }

    /// Resolves what a value of the application is said to depend on.
    ///
    /// # Errors
    /// `ERR_STREAMER_ARGUMENT_INVALID` for a table that is not followed.
    pub async fn grounds(&self, on: &[Named]) -> Result<Grounds> {
        let defined = self.defined();
        let on = self.backend.dependencies(on).await?;
        let on = self.state.cache.ledger().read().with_own_names(&on);
        Ok(Grounds { on, defined })
    }

    fn defined(&self) -> Sequence {
        self.state.cache.ledger().read().defined()
    }

    /// Lets everything that depends on these be asked for again.
    pub fn invalidate(&self, dependencies: &[Dependency]) {
        let mut ledger = self.state.cache.ledger().write();
        for dependency in dependencies {
            ledger.touch_dependency(dependency);
        }
    }

    /// Closes the connections; queries fail afterwards.
    pub async fn close(&self) {
        self.backend.close().await;
        if let Some(second) = &self.second {
            second.close();
        }
    }

    /// The position that reading has reached: what was delivered lies before it.
    pub fn position(&self) -> Option<Arc<str>> {
        self.state.position().filter(|position| !position.is_empty())
    }

    /// Drops everything.
    pub fn clear(&self) {
        self.state.cache.clear();
    }

    /// The figures now.
    pub fn figures(&self) -> Figures {
        let mut figures = self.state.cache.figures();
        if let Some(second) = &self.second {
            figures.second = second.figures();
        }
        figures
    }
}

/// Everything that was handed over lies before this position.
fn anchor(ledger: &mut Ledger, position: &str) {
    let position = Position::parse(position).ok();
    if let Some(place) = position.and_then(|position| Place::of(&position)) {
        ledger.anchor(place);
    }
}
