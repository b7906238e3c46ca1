//! Plans of statements, and the definitions that they were made from, as long as none changes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Mysql;
use super::catalog::{Described, describe};
use crate::cache::TableName;
use crate::cache::sql::{Catalog, Plan, Planned, TableFacts, Template};
use crate::error::Result;
use crate::query::backend::Proof;
use crate::query::state::definitions;

/// Most plans that are kept.
const MAX_PLANS: usize = 10_000;

/// A plan, or why there is none.
type Made = std::result::Result<Arc<Plan>, Arc<str>>;

#[derive(Default)]
struct Known {
    plans: HashMap<Arc<str>, Made>,
    catalog: Catalog,
    keys: HashMap<TableName, Vec<String>>,
}

/// What is known of definitions.
#[derive(Default)]
pub(super) struct Plans(Mutex<Known>);

impl Plans {
    /// Everything is asked for anew.
    pub fn forget(&self) {
        *self.0.lock() = Known::default();
    }

    /// Whether a table's definition was read.
    pub fn knows(&self, name: &TableName) -> bool {
        self.0.lock().catalog.contains_key(name)
    }

    /// The plan of a statement that was judged.
    pub fn known(&self, sql: &str) -> Option<Arc<Plan>> {
        self.0.lock().plans.get(sql)?.as_ref().ok().cloned()
    }

    /// A table with the columns of its key.
    pub fn table(&self, name: &TableName) -> Option<(TableFacts, Vec<String>)> {
        let known = self.0.lock();
        let facts = known.catalog.get(name)?.clone();
        Some((facts, known.keys.get(name).cloned().unwrap_or_default()))
    }

    fn remember(&self, sql: &str, plan: Made) -> Made {
        let mut known = self.0.lock();
        if known.plans.len() >= MAX_PLANS {
            known.plans.clear();
        }
        known.plans.insert(sql.into(), plan.clone());
        plan
    }
}

impl Mysql {
    /// The plan of a statement, or why it is not cached.
    pub(super) async fn plan(&self, sql: &str) -> Result<Made> {
        if let Some(plan) = self.plans.0.lock().plans.get(sql) {
            return Ok(plan.clone());
        }
        let template = match Template::parse(sql) {
            Ok(template) => template,
            Err(why) => return Ok(self.plans.remember(sql, Err(why.0.into()))),
        };
        loop {
            let planned = {
                let known = self.plans.0.lock();
                Plan::make(&template, self.config.database.as_deref(), &known.catalog)
            };
            match planned {
                Planned::Ready(plan) => return Ok(self.plans.remember(sql, Ok(Arc::new(plan)))),
                Planned::Refused(why) => return Ok(self.plans.remember(sql, Err(why.0.into()))),
                Planned::Lacks(names) => {
                    for name in names {
                        if !self.learn(name).await? {
                            return Ok(Err("definitions change at this moment".into()));
                        }
                    }
                }
            }
        }
    }

    /// Reads a definition, by the same rule as rows; false where it cannot be proved to be the newest.
    pub(super) async fn learn(&self, name: TableName) -> Result<bool> {
        let cache = &self.state.cache;
        let need = cache.need(&[definitions()]);
        let (site, Some(Proof { as_of, .. })) = self.proved(need).await? else {
            return Ok(false);
        };
        let described = {
            let mut connection = site.connections.reader().await?;
            describe(&mut connection, &name, &self.state.filter).await?
        };
        let Described { facts, key } = described;
        let mut known = self.plans.0.lock();
        if cache.ledger().read().last_change(&[definitions()]) > as_of {
            return Ok(false);
        }
        known.keys.insert(name.clone(), key);
        known.catalog.insert(name, facts);
        Ok(true)
    }
}
