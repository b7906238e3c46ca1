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

impl Known {
    fn remember(&mut self, sql: &str, made: Made) -> Made {
        if self.plans.len() >= MAX_PLANS {
            self.plans.clear();
        }
        self.plans.insert(sql.into(), made.clone());
        made
    }
}

/// What is known of definitions. The ledger's lock is taken before this one.
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

    fn remember(&self, sql: &str, made: Made) -> Made {
        self.0.lock().remember(sql, made)
    }

    /// Makes a plan from what is known, or says which tables are not.
    fn make(
        &self,
        sql: &str,
        template: &Template,
        database: Option<&str>,
    ) -> std::result::Result<Made, Vec<TableName>> {
        let mut known = self.0.lock();
        Ok(match Plan::make(template, database, &known.catalog) {
            Planned::Ready(plan) => known.remember(sql, Ok(Arc::new(plan))),
            Planned::Refused(why) => known.remember(sql, Err(why.0.into())),
            Planned::Lacks(names) => return Err(names),
        })
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
            match self.plans.make(sql, &template, self.config.database.as_deref()) {
                Ok(made) => return Ok(made),
                Err(lacking) => {
                    for name in lacking {
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
        let need = cache.ledger().read().defined();
        let (site, Some(Proof { as_of, .. })) = self.proved(need).await? else {
            return Ok(false);
        };
        let describing = async {
            let mut connection = site.connections.reader().await?;
            let described = describe(&mut connection, &name, &self.state.filter).await?;
            Ok(Some(described).filter(|_| site.is_at(&connection)))
        };
        let Some(Described { facts, key }) = site.until_left(describing).await.transpose()?.flatten() else {
            return Ok(false);
        };
        let ledger = cache.ledger().read();
        if ledger.defined() > as_of {
            return Ok(false);
        }
        // Within the ledger's lock, under which definitions are forgotten.
        let mut known = self.plans.0.lock();
        known.keys.insert(name.clone(), key);
        known.catalog.insert(name, facts);
        Ok(true)
    }
}
