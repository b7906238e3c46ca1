//! Values of the application, kept by the same rule as the answers to queries.

use std::time::Duration;

use super::backend::Proof;
use super::service::Queries;
use crate::cache::{Counters, Dependency, Found, Grounds, Key, KeyWriter, Sequence, Value};
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
    pub fn wrapped(&self, key: &str) -> Result<Option<Found>> {
        self.peek(&Self::own_key(key))
    }

    /// A load takes the place of a value that ends soon.
    pub fn count_renewal(&self) {
        Counters::add(&self.state.cache.counters.renewed);
    }

    /// What a load that begins now may count as; `None` where its value cannot be kept.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn begin(&self, dependencies: &[Dependency]) -> Result<Option<Proof>> {
        let cache = &self.state.cache;
        Counters::add(&cache.counters.misses);
        Counters::add(&cache.counters.loads);
        if !self.state.is_live() || !self.state.keeps_own {
            if self.state.settings.is_some() {
                self.settle().await?;
            }
            return Ok(None);
        }
        self.backend.prove(cache.need(dependencies)).await
    }

    /// The name of a value of the application in the second level. `format` names the serialisation.
    fn shared_key(key: &str, format: &str) -> Key {
        let mut writer = KeyWriter::new("own");
        writer.part(1, key.as_bytes());
        writer.part(2, format.as_bytes());
        writer.finish()
    }

    /// A value of the application that another process has loaded; it is kept in memory then. Only where values are encrypted:
    /// what others can forge is not handed to a deserialiser.
    pub async fn loaded_elsewhere(
        &self,
        key: &str,
        format: &str,
        grounds: &Grounds,
        ttl: Option<Duration>,
    ) -> Option<Value> {
        self.second.as_ref().filter(|second| second.is_sealed())?;
        let cache = &self.state.cache;
        let need = cache.need(&grounds.on);
        let (ttl, name) = (self.ttl(ttl), Self::shared_key(key, format));
        let (value, left) = self.read_second(&name, need, ttl).await?;
        cache.fill(Self::own_key(key), value.clone(), grounds, need, left);
        Some(value)
    }

    /// The newest change of what a value depends on: a load that began before it must not be shared.
    pub fn generation(&self, dependencies: &[Dependency]) -> Sequence {
        self.state.cache.need(dependencies)
    }

    /// Keeps a loaded value that is as of what [`begin`](Self::begin) gave.
    pub fn end(
        &self,
        (key, format): (&str, &str),
        bytes: &[u8],
        grounds: &Grounds,
        Proof { as_of, statement }: Proof,
        ttl: Option<Duration>,
    ) -> bool {
        let (value, ttl) = (Value::Bytes(bytes.into()), self.ttl(ttl));
        let cache = &self.state.cache;
        let is_kept =
            self.state.is_live() && cache.fill(Self::own_key(key), value.clone(), grounds, as_of, ttl);
        if is_kept && self.second.as_ref().is_some_and(|second| second.is_sealed()) {
            self.share(&Self::shared_key(key, format), statement, ttl, &value);
        }
        is_kept
    }

    /// Drops a value of the application, in the second level too.
    pub fn drop_key(&self, key: &str, format: &str) -> bool {
        self.forget_in_second(&Self::shared_key(key, format));
        self.state.cache.remove(&Self::own_key(key))
    }
}
