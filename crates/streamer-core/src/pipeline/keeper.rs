//! From acknowledgements to checkpoints.
//!
//! Each delivery that moves a source forward is entered into the source's ledger with the position that it reaches. An
//! acknowledgement moves the source to the newest position that is behind it, and that one is stored: at once after a
//! quiet time, else once an interval. So a checkpoint never names a change that the application is not done with.
//!
//! The first position of a source that has none is stored before it counts as streaming: a process that is killed
//! right after its start finds it again, instead of beginning at a later "now".

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::checkpoint::{Definitions, Progress, RENEWAL, Saved, Store};
use crate::code::Code;
use crate::error::{Error, Result};
use crate::source::Retention;

/// A place in a source's log that a delivery reaches.
#[derive(Clone)]
pub(super) struct Place {
    /// Its text.
    pub position: Arc<str>,
    /// What proves that it is a place in the same log.
    pub witness: Option<Arc<str>>,
    /// How far a snapshot has come there.
    pub progress: Option<Arc<dyn Progress>>,
    /// Definitions that hold there.
    pub definitions: Option<Arc<dyn Definitions>>,
}

impl Place {
    /// What tells it from another: where rows of a snapshot are read, the position stays.
    fn name(&self) -> (Arc<str>, Option<u64>) {
        let progress = self.progress.as_ref().map(|progress| progress.version());
        (Arc::clone(&self.position), progress)
    }
}

/// What was delivered of one source.
struct Ledger {
    source: Arc<str>,
    /// Deliveries that are not acknowledged, by sequence number.
    delivered: VecDeque<(u64, Place)>,
    reached: Option<Place>,
    /// What is stored: a position, and the version of a snapshot's progress.
    saved: Option<(Arc<str>, Option<u64>)>,
    /// Learns what was stored.
    retention: Option<Arc<dyn Retention>>,
}

impl Ledger {
    fn acknowledge(&mut self, sequence: u64) -> bool {
        let mut moved = false;
        while let Some((delivered, _)) = self.delivered.front()
            && *delivered <= sequence
        {
            self.reached = self.delivered.pop_front().map(|(_, place)| place);
            moved = true;
        }
        moved
    }

    fn unsaved(&self) -> Option<Place> {
        self.reached
            .clone()
            .filter(|place| self.saved.as_ref() != Some(&place.name()))
    }
}

/// Keeps the checkpoints of an engine's sources.
pub(super) struct Keeper {
    store: tokio::sync::Mutex<Box<dyn Store>>,
    ledgers: Mutex<Vec<Ledger>>,
    moved: Notify,
    interval: Duration,
    /// The source whose checkpoint failed last: the next attempt begins behind it, so that it does not keep the others from theirs.
    failed: AtomicUsize,
}

impl Keeper {
    /// A keeper that stores at most once an interval. Nothing is opened yet.
    pub fn new(
        store: Box<dyn Store>,
        interval: Duration,
        sources: impl IntoIterator<Item = Arc<str>>,
    ) -> Self {
        let ledgers = sources.into_iter().map(|source| Ledger {
            source,
            delivered: VecDeque::new(),
            reached: None,
            saved: None,
            retention: None,
        });
        Self {
            store: tokio::sync::Mutex::new(store),
            ledgers: Mutex::new(ledgers.collect()),
            moved: Notify::new(),
            interval,
            failed: AtomicUsize::new(usize::MAX),
        }
    }

    /// Takes possession of all checkpoints, and reads them; in the order of the sources.
    pub async fn open(&self) -> Result<Vec<Option<Saved>>> {
        let names: Vec<Arc<str>> = self
            .ledgers
            .lock()
            .iter()
            .map(|ledger| Arc::clone(&ledger.source))
            .collect();
        let mut store = self.store.lock().await;
        let mut all = Vec::with_capacity(names.len());
        for name in &names {
            match store.open(name).await {
                Ok(saved) => all.push(saved),
                Err(error) => {
                    store.close().await;
                    return Err(error);
                }
            }
        }
        drop(store);
        for (ledger, saved) in self.ledgers.lock().iter_mut().zip(&all) {
            // Versions of a progress count anew in each process.
            ledger.saved = saved
                .as_ref()
                .map(|saved| (saved.position.as_str().into(), saved.snapshot.as_ref().map(|_| 0)));
        }
        Ok(all)
    }

    /// A source that is told of what is stored for it.
    pub fn tell(&self, source: usize, retention: Arc<dyn Retention>) {
        if let Some(ledger) = self.ledgers.lock().get_mut(source) {
            ledger.retention = Some(retention);
        }
    }

    /// A source begins at a place; stored at once where nothing is stored yet.
    pub async fn begin(&self, source: usize, place: Place) -> Result<()> {
        let is_new = {
            let mut ledgers = self.ledgers.lock();
            match ledgers.get_mut(source) {
                Some(ledger) if ledger.saved.is_none() && ledger.reached.is_none() => {
                    ledger.reached = Some(place);
                    true
                }
                _ => false,
            }
        };
        if is_new {
            self.save().await?;
        }
        Ok(())
    }

    /// A delivery reaches a place.
    pub fn deliver(&self, source: usize, sequence: u64, place: Place) {
        if let Some(ledger) = self.ledgers.lock().get_mut(source) {
            ledger.delivered.push_back((sequence, place));
        }
    }

    /// The application is done with everything up to `sequence`.
    pub fn acknowledge(&self, sequence: u64) {
        let mut ledgers = self.ledgers.lock();
        let moved = ledgers
            .iter_mut()
            .map(|ledger| ledger.acknowledge(sequence))
            .fold(false, |all, moved| all | moved);
        drop(ledgers);
        if moved {
            self.moved.notify_one();
        }
    }

    /// The application is done with a part of the oldest delivery of a source: everything up to `position`. Definitions
    /// change at the end of a delivery only, so those of the one before it hold, and so does its witness.
    pub fn progress(&self, source: &str, position: &str) {
        let mut ledgers = self.ledgers.lock();
        let Some(ledger) = ledgers.iter_mut().find(|ledger| *ledger.source == *source) else {
            return;
        };
        if ledger.delivered.is_empty() {
            return;
        }
        let mut place = ledger.reached.take().unwrap_or_else(|| Place {
            position: "".into(),
            witness: None,
            progress: None,
            definitions: None,
        });
        place.position = position.into();
        ledger.reached = Some(place);
        drop(ledgers);
        self.moved.notify_one();
    }

    /// Stores what has moved; returns whether anything has. Not interrupted: a caller that goes away leaves the work to a task of
    /// its own.
    pub async fn save(&self) -> Result<bool> {
        let mut store = self.store.lock().await;
        let mut moved: Vec<(usize, Arc<str>, Place)> = {
            let ledgers = self.ledgers.lock();
            let unsaved = |(index, ledger): (usize, &Ledger)| {
                let place = ledger.unsaved()?;
                Some((index, Arc::clone(&ledger.source), place))
            };
            ledgers.iter().enumerate().filter_map(unsaved).collect()
        };
        let failed = self.failed.load(Ordering::Relaxed);
        let behind = moved.iter().take_while(|(index, ..)| *index <= failed).count();
        moved.rotate_left(behind);
        let is_stored = !moved.is_empty();
        for (index, source, place) in moved {
            self.failed.store(index, Ordering::Relaxed);
            store
                .save(
                    &source,
                    &place.position,
                    place.witness.as_deref(),
                    place.progress.as_ref().map(|progress| progress.to_text()),
                    place.definitions.clone(),
                )
                .await?;
            if let Some(ledger) = self.ledgers.lock().get_mut(index) {
                if let Some(retention) = &ledger.retention {
                    retention.stored(&place.position);
                }
                ledger.saved = Some(place.name());
            }
        }
        self.failed.store(usize::MAX, Ordering::Relaxed);
        Ok(is_stored)
    }

    /// Stores while the engine runs; `told` learns how each attempt went, and whether something was stored. Returns where another
    /// process has taken a checkpoint, or when the engine stops.
    pub async fn run(
        &self,
        cancel: &CancellationToken,
        mut told: impl FnMut(&Result<bool>),
    ) -> Option<Error> {
        let mut due = Instant::now();
        loop {
            let renewal = Instant::now() + RENEWAL;
            let is_moved = tokio::select! {
                () = cancel.cancelled() => return None,
                () = self.moved.notified() => true,
                () = sleep_until(renewal) => false,
            };
            let outcome = if is_moved {
                tokio::select! {
                    () = cancel.cancelled() => return None,
                    () = sleep_until(due) => {}
                }
                let outcome = self.save().await;
                due = Instant::now() + self.interval;
                outcome
            } else {
                self.store.lock().await.renew().await.map(|()| false)
            };
            told(&outcome);
            match outcome {
                Err(error) if error.code() == Code::CheckpointLocked => return Some(error),
                // Again, when it is due.
                Err(_) if is_moved => self.moved.notify_one(),
                Err(_) | Ok(_) => {}
            }
        }
    }

    /// Stores the last positions, and gives the checkpoints free.
    pub async fn finish(&self) -> Result<()> {
        let saved = self.save().await;
        self.store.lock().await.close().await;
        saved.map(|_| ())
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
