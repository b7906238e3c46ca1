//! Connectors that follow a script, to drive the engine in tests. No server is imitated.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::mpsc;

use super::*;
use crate::event::Batch;
use crate::source::{Beat, Item};

/// What a scripted connector does when it is asked for something.
pub enum Step {
    /// `connect` succeeds.
    Connect,
    /// `connect` or `next` fails.
    Fail(Error),
    /// `next` returns an item.
    Item(Item),
    /// `next` waits so long, then goes on.
    Wait(Duration),
    /// `connect` or `next` panics.
    Panic,
}

/// Follows its script; at the end of it, waits for ever.
struct Scripted {
    steps: VecDeque<Step>,
    asked: Arc<AtomicUsize>,
    disconnected: Arc<AtomicUsize>,
}

impl Connector for Scripted {
    fn connect(&mut self) -> BoxFuture<'_, Result<()>> {
        async {
            match self.steps.pop_front() {
                Some(Step::Connect) => Ok(()),
                Some(Step::Fail(error)) => Err(error),
                Some(Step::Panic) => panic!("scripted"),
                Some(_) => panic!("the script connects first"),
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Item>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        async {
            while let Some(Step::Wait(time)) = self.steps.front() {
                let time = *time;
                tokio::time::sleep(time).await;
                self.steps.pop_front();
            }
            match self.steps.pop_front() {
                Some(Step::Item(item)) => Ok(item),
                Some(Step::Fail(error)) => Err(error),
                Some(Step::Panic) => panic!("scripted"),
                Some(_) => panic!("the script reads while it is connected"),
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn resume(&mut self, _: Saved) -> Result<()> {
        Ok(())
    }

    fn position(&mut self) -> Option<Arc<str>> {
        Some("start".into())
    }

    fn disconnect(&mut self) -> BoxFuture<'_, ()> {
        self.disconnected.fetch_add(1, Ordering::SeqCst);
        async {}.boxed()
    }
}

/// Delivers into a channel.
pub struct ToChannel(pub mpsc::UnboundedSender<Delivery>);

impl Sink for ToChannel {
    fn deliver(&self, delivery: Delivery) {
        let _ = self.0.send(delivery);
    }
}

/// An engine with scripted sources, and what it delivers.
pub struct Rig {
    pub engine: Arc<Engine>,
    pub deliveries: mpsc::UnboundedReceiver<Delivery>,
    /// Calls of `next`.
    pub asked: Arc<AtomicUsize>,
    /// Calls of `disconnect`.
    pub disconnected: Arc<AtomicUsize>,
}

/// A configuration with sources of these names, and the shortest window.
pub fn configuration(names: &[String]) -> Config {
    let sources: serde_json::Map<String, Value> = names
        .iter()
        .map(|name| (name.clone(), Value::from("mysql://u@localhost/db")))
        .collect();
    Config::parse(&serde_json::json!({
        "sources": sources,
        "heartbeat": { "intervalMs": 1000, "timeoutMs": 3000 },
        "delivery": { "bufferBytes": 64 << 10 },
    }))
    .unwrap()
}

impl Rig {
    /// Sources by name, with their scripts.
    pub fn new(scripts: Vec<(&str, Vec<Step>)>) -> Self {
        Self::with(scripts, |_| {})
    }

    /// The same with a configuration of its own.
    pub fn with(scripts: Vec<(&str, Vec<Step>)>, adjust: impl FnOnce(&mut Config)) -> Self {
        let names: Vec<String> = scripts.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut config = configuration(&names);
        adjust(&mut config);
        let (sender, deliveries) = mpsc::unbounded_channel();
        let (asked, disconnected) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let scripts = Mutex::new(
            scripts
                .into_iter()
                .map(|(name, steps)| (name.to_owned(), steps))
                .collect::<Vec<_>>(),
        );
        let (count, closed) = (Arc::clone(&asked), Arc::clone(&disconnected));
        let factory = move |source: &SourceConfig, _: Settings, _: &Arc<Requests>| -> Box<dyn Connector> {
            let mut scripts = scripts.lock();
            let place = scripts.iter().position(|(name, _)| *name == source.name).unwrap();
            Box::new(Scripted {
                steps: scripts.swap_remove(place).1.into(),
                asked: Arc::clone(&count),
                disconnected: Arc::clone(&closed),
            })
        };
        let sink = Arc::new(ToChannel(sender));
        let engine = Engine::with_connectors(config, sink, Arc::new(factory));
        Self {
            engine: Arc::new(engine),
            deliveries,
            asked,
            disconnected,
        }
    }

    /// The next delivery.
    pub async fn next(&mut self) -> Delivery {
        self.deliveries.recv().await.unwrap()
    }

    /// The next notice of a type; what comes before it is acknowledged.
    pub async fn notice(&mut self, kind: &str) -> Value {
        loop {
            let delivery = self.next().await;
            self.engine.acknowledge(delivery.sequence);
            match delivery.payload {
                Payload::Notice(notice) if notice["type"] == kind => return notice,
                _ => {}
            }
        }
    }

    /// The next batch; notices before it weigh little and stay in flight.
    pub async fn batch(&mut self) -> (u64, Arc<str>) {
        loop {
            let delivery = self.next().await;
            if let Payload::Batch(_) = delivery.payload {
                return (delivery.sequence, delivery.source);
            }
        }
    }

    /// What is delivered until every task waits for something else than a millisecond (the clock is paused).
    pub async fn settle(&mut self) -> Vec<String> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut seen = Vec::new();
        while let Ok(delivery) = self.deliveries.try_recv() {
            seen.push(kind(&delivery.payload));
        }
        seen
    }
}

/// The type of a notice, or `batch`.
pub fn kind(payload: &Payload) -> String {
    match payload {
        Payload::Batch(_) => "batch".to_owned(),
        Payload::Notice(notice) => notice["type"].as_str().unwrap().to_owned(),
    }
}

/// One change of so many bytes.
pub fn batch(bytes: usize) -> Step {
    Step::Item(Item::Batch(Batch {
        bytes: vec![0; bytes],
        changes: 1,
        ..Batch::default()
    }))
}

/// A broken connection.
pub fn lost() -> Step {
    Step::Fail(Error::new(Code::ConnectionLost, "The link broke."))
}

/// What an operator must mend.
pub fn refused() -> Step {
    Step::Fail(Error::new(Code::GrantMissing, "A grant is missing."))
}

/// A heartbeat.
pub fn beat() -> Step {
    Step::Item(Item::Beat(Beat {
        fresh_until_ms: now_ms(),
        round_trip_ms: 1.0,
        clock_offset_ms: Some(0.0),
        position: "p".into(),
    }))
}
