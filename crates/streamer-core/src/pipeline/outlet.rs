//! The one place through which everything leaves the engine, in order.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::window::Window;
use crate::event::Batch;

/// Where deliveries go.
pub trait Sink: Send + Sync + 'static {
    /// Takes a delivery. Called in the order of the sequence numbers, never twice at a time. Must not block; may call
    /// [`Engine::acknowledge`](super::Engine::acknowledge).
    fn deliver(&self, delivery: Delivery);
}

/// Something that is handed over.
#[derive(Debug)]
pub struct Delivery {
    /// Grows by one from delivery to delivery, over all sources; begins at 1.
    pub sequence: u64,
    /// The source that it comes from; empty where it concerns the engine.
    pub source: Arc<str>,
    /// What it is.
    pub payload: Payload,
}

/// What is handed over.
#[derive(Debug)]
pub enum Payload {
    /// Changes.
    Batch(Batch),
    /// Anything else, as JSON with a `type`; see `pipeline/notice.rs`.
    Notice(Value),
}

impl Payload {
    /// Bytes that it holds until it is acknowledged.
    fn weight(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.weight(),
            Self::Notice(notice) => notice.to_string().len(),
        }
    }
}

/// What decides the order of deliveries.
struct Order {
    last: u64,
    /// `None` once the outlet is closed. The sink is let go then, because it may hold what holds the engine.
    sink: Option<Arc<dyn Sink>>,
}

/// Numbers deliveries, accounts for them in the window, and hands them over.
pub(super) struct Outlet {
    pub window: Window,
    order: Mutex<Order>,
}

impl Outlet {
    /// An outlet that holds up to `limit` bytes in flight.
    pub fn new(sink: Arc<dyn Sink>, limit: usize) -> Self {
        Self {
            window: Window::new(limit),
            order: Mutex::new(Order {
                last: 0,
                sink: Some(sink),
            }),
        }
    }

    /// Hands over, whether there is room or not; returns false where the outlet is closed. `record` learns the sequence
    /// number before anybody can acknowledge it.
    pub fn send(&self, source: &Arc<str>, payload: Payload, record: impl FnOnce(u64)) -> bool {
        let weight = payload.weight();
        let mut order = self.order.lock();
        let Some(sink) = order.sink.clone() else {
            return false;
        };
        order.last += 1;
        let sequence = order.last;
        self.window.add(sequence, weight);
        record(sequence);
        sink.deliver(Delivery {
            sequence,
            source: Arc::clone(source),
            payload,
        });
        true
    }

    /// Hands over a notice.
    pub fn notify(&self, source: &Arc<str>, notice: Value) -> bool {
        self.notify_with(source, notice, |_| {})
    }

    /// Hands over a notice; `record` as in [`send`](Self::send).
    pub fn notify_with(&self, source: &Arc<str>, notice: Value, record: impl FnOnce(u64)) -> bool {
        self.send(source, Payload::Notice(notice), record)
    }

    /// Nothing is handed over from here on, after `last` where it is given.
    pub fn close(&self, last: Option<Value>) {
        if let Some(last) = last {
            self.notify(&Arc::from(""), last);
        }
        let sink = self.order.lock().sink.take();
        drop(sink);
    }
}
