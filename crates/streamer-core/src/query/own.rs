//! Values of the application, kept by the same rule as the answers to queries.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::service::Queries;
use crate::cache::sql::TableFacts;
use crate::cache::{Counters, Dependency, Equality, Key, KeyWriter, Sequence, TableName, Value};
use crate::code::Code;
use crate::error::{Error, Result};

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

    /// Resolves what a value is said to depend on: tables, with integers by column or as their key.
    ///
    /// # Errors
    /// `ERR_STREAMER_ARGUMENT_INVALID` for a table that is not followed.
    pub async fn dependencies(&self, on: &[(String, Vec<(String, i128)>)]) -> Result<Arc<[Dependency]>> {
        let mut found = Vec::with_capacity(on.len());
        for (table, equalities) in on {
            let name = match table.split_once('.') {
                Some((database, table)) => TableName::new(database, table),
                None => TableName::new(self.config.database.as_deref().unwrap_or_default(), table),
            };
            if !self.known.lock().catalog.contains_key(&name) {
                self.learn(name.clone()).await?;
            }
            let known = self.known.lock();
            let integers = match known.catalog.get(&name) {
                Some(TableFacts::Base {
                    integers,
                    obstacle: None,
                    ..
                }) => integers.clone(),
                // Definitions change: as a whole, which is always right.
                None => BTreeSet::new(),
                Some(_) => {
                    return Err(Error::new(
                        Code::ArgumentInvalid,
                        format!("dependsOn names {name}, which this source does not follow."),
                    ));
                }
            };
            let key = known.keys.get(&name).and_then(|key| match key.as_slice() {
                [column] => Some(column.clone()),
                _ => None,
            });
            let equalities = equalities.iter().filter_map(|(column, value)| {
                let column = if column.is_empty() {
                    key.clone()?
                } else {
                    column.to_lowercase()
                };
                integers.contains(&column).then(|| Equality {
                    column: column.into(),
                    values: vec![*value],
                })
            });
            found.push(Dependency {
                table: name.clone(),
                equalities: equalities.collect(),
            });
        }
        Ok(found.into())
    }

    /// What a load that begins now may count as; `None` where its value cannot be kept.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn begin(&self, dependencies: &[Dependency]) -> Result<Option<Sequence>> {
        Counters::add(&self.cache.counters.misses);
        Counters::add(&self.cache.counters.loads);
        if self.settings.is_none() || !self.is_live() {
            return Ok(None);
        }
        let need = self.cache.need(dependencies);
        let is_proved = self.await_visible(need).await?;
        Ok(is_proved.then(|| self.cache.visible()))
    }

    /// The newest change of what a value depends on: a load that began before it must not be shared.
    pub fn generation(&self, dependencies: &[Dependency]) -> Sequence {
        self.cache.need(dependencies)
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
        let ttl = ttl
            .or(self.settings.map(|settings| settings.ttl))
            .unwrap_or_default();
        self.is_live()
            && self.cache.fill(
                Self::own_key(key),
                Arc::new(Value::Bytes(bytes)),
                dependencies,
                as_of,
                ttl,
            )
    }

    /// Drops a value of the application.
    pub fn drop_key(&self, key: &str) -> bool {
        self.cache.remove(&Self::own_key(key))
    }
}
