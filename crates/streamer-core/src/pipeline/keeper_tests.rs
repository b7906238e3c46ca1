use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::*;

/// What a store was told.
#[derive(Default)]
struct Told {
    saved: Vec<(String, String, Option<u64>)>,
    failing: bool,
    /// The source whose checkpoint cannot be stored.
    refused: Option<&'static str>,
    is_locked: bool,
}

struct Memory(Arc<Mutex<Told>>);

impl Store for Memory {
    fn open<'a>(&'a mut self, _: &'a str) -> BoxFuture<'a, Result<Option<Saved>>> {
        async { Ok(None) }.boxed()
    }

    fn save<'a>(
        &'a mut self,
        source: &'a str,
        position: &'a str,
        _: Option<&'a str>,
        _: Option<String>,
        definitions: Option<Arc<dyn Definitions>>,
    ) -> BoxFuture<'a, Result<()>> {
        let mut told = self.0.lock();
        let result = if told.is_locked {
            Err(Error::new(Code::CheckpointLocked, "Taken."))
        } else if told.failing || told.refused == Some(source) {
            Err(Error::new(Code::CheckpointFailed, "Full."))
        } else {
            let version = definitions.map(|definitions| definitions.version());
            told.saved.push((source.to_owned(), position.to_owned(), version));
            Ok(())
        };
        async { result }.boxed()
    }

    fn renew(&mut self) -> BoxFuture<'_, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

struct Version(u64);

impl Definitions for Version {
    fn version(&self) -> u64 {
        self.0
    }

    fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }
}

fn place(position: &str, version: u64) -> Place {
    Place {
        position: position.into(),
        witness: None,
        progress: None,
        definitions: Some(Arc::new(Version(version))),
    }
}

fn keeper(interval_ms: u64) -> (Arc<Keeper>, Arc<Mutex<Told>>) {
    let told = Arc::<Mutex<Told>>::default();
    let store = Box::new(Memory(Arc::clone(&told)));
    let names = ["a".into(), "b".into()];
    let keeper = Keeper::new(store, Duration::from_millis(interval_ms), names);
    (Arc::new(keeper), told)
}

fn saved(told: &Mutex<Told>) -> Vec<(String, String, Option<u64>)> {
    std::mem::take(&mut told.lock().saved)
}

fn entry(source: &str, position: &str, version: u64) -> (String, String, Option<u64>) {
    (source.to_owned(), position.to_owned(), Some(version))
}

#[tokio::test]
async fn only_what_was_acknowledged_is_stored() {
    let (keeper, told) = keeper(10);
    keeper.begin(0, place("p0", 1)).await.unwrap();
    assert_eq!(saved(&told), [entry("a", "p0", 1)]);
    keeper.deliver(0, 1, place("p1", 1));
    keeper.deliver(1, 2, place("q1", 7));
    keeper.deliver(0, 3, place("p3", 2));
    keeper.save().await.unwrap();
    assert_eq!(saved(&told), []);
    keeper.acknowledge(2);
    keeper.save().await.unwrap();
    assert_eq!(saved(&told), [entry("a", "p1", 1), entry("b", "q1", 7)]);
    keeper.save().await.unwrap();
    assert_eq!(saved(&told), []);
    // A part of the next one: the definitions that it ends with do not hold yet.
    keeper.progress("a", "p2");
    keeper.save().await.unwrap();
    assert_eq!(saved(&told), [entry("a", "p2", 1)]);
    keeper.acknowledge(3);
    keeper.finish().await.unwrap();
    assert_eq!(saved(&told), [entry("a", "p3", 2)]);
}

#[tokio::test]
async fn progress_without_a_delivery_moves_nothing() {
    let (keeper, told) = keeper(10);
    keeper.progress("a", "p2");
    keeper.progress("nobody", "p2");
    keeper.save().await.unwrap();
    assert_eq!(saved(&told), []);
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_stored_once_an_interval_and_its_end_as_well() {
    let (keeper, told) = keeper(1000);
    let cancel = CancellationToken::new();
    let (running, ended) = (Arc::clone(&keeper), cancel.clone());
    let task = tokio::spawn(async move { running.run(&ended, |_| {}).await });
    for sequence in 1..=100 {
        keeper.deliver(0, sequence, place(&format!("p{sequence}"), 1));
        keeper.acknowledge(sequence);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let positions: Vec<_> = saved(&told)
        .into_iter()
        .map(|(_, position, _)| position)
        .collect();
    // At once, then once a second for two and a half seconds.
    assert_eq!(positions.len(), 4, "{positions:?}");
    assert_eq!((positions[0].as_str(), positions[3].as_str()), ("p1", "p100"));
    cancel.cancel();
    assert!(task.await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_and_a_loss_of_possession_ends_it() {
    let (keeper, told) = keeper(100);
    told.lock().failing = true;
    let cancel = CancellationToken::new();
    let failures = Arc::<std::sync::atomic::AtomicUsize>::default();
    let (running, count) = (Arc::clone(&keeper), Arc::clone(&failures));
    let task = tokio::spawn(async move {
        let told = |outcome: &Result<bool>| {
            if outcome.is_err() {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        };
        running.run(&cancel, told).await
    });
    keeper.deliver(0, 1, place("p1", 1));
    keeper.acknowledge(1);
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(failures.load(std::sync::atomic::Ordering::SeqCst), 4);
    told.lock().failing = false;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(saved(&told), [entry("a", "p1", 1)]);
    told.lock().is_locked = true;
    keeper.deliver(0, 2, place("p2", 1));
    keeper.acknowledge(2);
    assert_eq!(task.await.unwrap().unwrap().code(), Code::CheckpointLocked);
}

struct Rows(u64);

impl Progress for Rows {
    fn version(&self) -> u64 {
        self.0
    }

    fn to_text(&self) -> String {
        self.0.to_string()
    }
}

#[tokio::test]
async fn a_snapshot_that_comes_further_at_one_position_is_stored_each_time() {
    let (keeper, told) = keeper(1000);
    keeper.open().await.unwrap();
    for (sequence, rows) in [(1, Some(1)), (2, Some(1)), (3, Some(2)), (4, None)] {
        let progress = rows.map(|rows| Arc::new(Rows(rows)) as Arc<dyn Progress>);
        keeper.deliver(
            0,
            sequence,
            Place {
                progress,
                ..place("p", 1)
            },
        );
        keeper.acknowledge(sequence);
        keeper.save().await.unwrap();
    }
    assert_eq!(told.lock().saved.len(), 3);
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_stored_does_not_keep_others_from_theirs() {
    let (keeper, told) = keeper(10);
    keeper.deliver(0, 1, place("p1", 1));
    keeper.deliver(1, 2, place("q1", 1));
    keeper.acknowledge(2);
    told.lock().refused = Some("a");
    keeper.save().await.unwrap_err();
    assert_eq!(saved(&told), []);
    keeper.save().await.unwrap_err();
    assert_eq!(saved(&told), [entry("b", "q1", 1)]);
    told.lock().refused = None;
    assert!(keeper.save().await.unwrap());
    assert_eq!(saved(&told), [entry("a", "p1", 1)]);
}
