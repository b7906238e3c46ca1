//! Reads changes of a server until there were so many, and does nothing with them: what the engine costs by itself.
//!
//! `drain <url> <changes>` reads from the beginning of the log. `benchmark/instructions.js` runs it under callgrind.
#![allow(clippy::expect_used, reason = "a tool: what it cannot do ends it")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use serde_json::json;
use streamer_core::config::Config;
use streamer_core::pipeline::{Delivery, Engine, Payload, Sink};
use tokio::sync::Notify;

/// Counts changes, and acknowledges each batch at once.
struct Count {
    left: AtomicU64,
    engine: OnceLock<Weak<Engine>>,
    done: Notify,
}

impl Sink for Count {
    fn deliver(&self, delivery: Delivery) {
        if let Payload::Batch(batch) = &delivery.payload {
            let changes = u64::from(batch.changes);
            let left = self.left.load(Ordering::Relaxed).saturating_sub(changes);
            self.left.store(left, Ordering::Relaxed);
            if left == 0 {
                self.done.notify_one();
            }
        }
        if let Some(engine) = self.engine.get().and_then(Weak::upgrade) {
            engine.acknowledge(delivery.sequence);
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("the first argument is a URL");
    let changes = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .expect("the second argument is a number of changes");
    let config = json!({ "source": { "url": url, "tables": ["t"], "from": "earliest" } });
    let config = Config::parse(&config).expect("a URL that is understood");
    let count = Arc::new(Count {
        left: AtomicU64::new(changes),
        engine: OnceLock::new(),
        done: Notify::new(),
    });
    let engine = Arc::new(Engine::new(config, Arc::clone(&count) as Arc<dyn Sink>));
    let _ = count.engine.set(Arc::downgrade(&engine));
    engine.start().await.expect("a server that can be followed");
    count.done.notified().await;
    engine.stop(Duration::from_secs(5)).await;
}
