//! Values of the application, kept by the same rule as the answers to queries.

use std::sync::Arc;
use std::time::Duration;

use super::service::Queries;
use crate::cache::{Counters, Dependency, Key, KeyWriter, Sequence, Value};
use crate::error::Result;

impl Queries {
    /// The key of a value of the application.
    fn own_key(key: &str) -> Key {
        let mut writer = KeyWriter::new("own");
        writer.part(1, key.as_bytes());
        writer.finish()
    }

    /// A value of the application.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    pub fn wrapped(&self, key: &str) -> Result<Option<Arc<Value>>> {
        self.peek(&Self::own_key(key))
    }

    /// What a load that begins now may count as; `None` where its value cannot be kept.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn begin(&self, dependencies: &[Dependency]) -> Result<Option<Sequence>> {
        let cache = &self.state.cache;
        Counters::add(&cache.counters.misses);
        Counters::add(&cache.counters.loads);
        if !self.state.is_live() {
            return Ok(None);
        }
        self.backend.prove(cache.need(dependencies)).await
    }

    /// The newest change of what a value depends on: a load that began before it must not be shared.
    pub fn generation(&self, dependencies: &[Dependency]) -> Sequence {
        self.state.cache.need(dependencies)
    }

    /// Keeps a loaded value.
    pub fn end(
        &self,
        key: &str,
        bytes: Vec<u8>,
        dependencies: Arc<[Dependency]>,
        as_of: Sequence,
        ttl: Option<Duration>,
    ) -> bool {
        let (value, ttl) = (Arc::new(Value::Bytes(bytes)), self.ttl(ttl));
        self.state.is_live()
            && self
                .state
                .cache
                .fill(Self::own_key(key), value, dependencies, as_of, ttl)
    }

    /// Drops a value of the application.
    pub fn drop_key(&self, key: &str) -> bool {
        self.state.cache.remove(&Self::own_key(key))
    }
}
