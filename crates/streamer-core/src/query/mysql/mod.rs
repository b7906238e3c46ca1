//! Reads of MySQL and MariaDB: pooled statements, whose plans come from their text and from what the server says of tables.

mod answer;
mod catalog;
mod gather;
mod plans;
mod pool;
mod proof;
mod site;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use mysql_async::{TxOpts, Value as Bound};

use self::answer::Manner;
use self::gather::{Gather, Look};
use self::plans::Plans;
use self::pool::{finish, texts, transaction, within};
use self::proof::{Books, Means, Shown, is_server, prove};
use self::site::{Site, Sites};
use super::backend::{
    Asked, Backend, Executed, Named, Outcome, Param, Proof, Read, Verdict, foreign_position,
    position_not_visible, wrong_kind,
};
use super::state::State;
use crate::cache::sql::{Point, TableFacts, Template};
use crate::cache::{
    Counters, Dependency, Equality, Era, KeyWriter, Ledger, Sequence, Statement, TableName, Value,
};
use crate::code::Code;
use crate::config::{MysqlConfig, PoolConfig};
use crate::error::{Error, Result};
use crate::offset::{GtidSet, MariadbGtid, MariadbGtidList, MysqlGtid, Offset, Position};

pub use proof::SETTLE;

/// Longest wait for a proof; longer, and the answer may not hold what was delivered last.
const PROOF: Duration = Duration::from_secs(10);

/// Age at which what is known to be visible is asked for again, where answers are shared.
const REACH_AGE: Duration = Duration::from_millis(500);

/// Reads of one server.
pub(super) struct Mysql {
    state: Arc<State>,
    config: MysqlConfig,
    limits: PoolConfig,
    plans: Plans,
    sites: Sites,
    proving: tokio::sync::Mutex<()>,
    gather: Gather,
}

/// A parameter as the driver takes it.
fn bound(param: &Param) -> Bound {
    match param {
        Param::Null => Bound::NULL,
        Param::Integer(value) => Bound::Int(*value),
        Param::Unsigned(value) => Bound::UInt(*value),
        Param::Real(value) => Bound::Double(*value),
        // Wider than any column: as decimal text, which the server converts.
        Param::Text(text) | Param::Wide(text) => Bound::Bytes(text.clone().into_bytes()),
        Param::Bytes(bytes) => Bound::Bytes(bytes.clone()),
    }
}

fn bound_all(params: &[Param]) -> Vec<Bound> {
    params.iter().map(bound).collect()
}

/// The statement of a read, the only kind that these servers know.
fn statement(read: &Read) -> Result<(&str, &[Param])> {
    match read {
        Read::Sql { sql, params } => Ok((sql, params)),
        Read::Find { .. } => Err(wrong_kind("query()", "find()")),
    }
}

impl Mysql {
    /// For a server. Nothing connects yet.
    pub fn new(state: Arc<State>, config: MysqlConfig, limits: PoolConfig) -> Self {
        Self {
            state,
            config,
            limits,
            plans: Plans::default(),
            sites: Sites::default(),
            proving: tokio::sync::Mutex::new(()),
            gather: Gather::default(),
        }
    }

    /// The server to ask, and the era in which what it proves counts.
    fn site(&self) -> (Arc<Site>, Era) {
        self.sites.now(&self.state, &self.config, self.limits)
    }

    /// What is proved already of everything that is asked of the site afterwards, where that is enough.
    fn proof(&self, site: &Site, books: Books<'_>, need: Sequence) -> Option<Proof> {
        let ledger = books.read()?;
        // Also where no change waits for it: so that what is shared reaches far.
        let wants_reach = site.known_means() != Some(Means::Time) && ledger.is_reach_older_than(REACH_AGE);
        (ledger.visible() >= need && !wants_reach).then(|| proof_of(site, &ledger))
    }

    /// Waits until `need` is proved to be visible at a site; `None` where it cannot be. What is proved holds for questions to
    /// that site.
    async fn proved(&self, need: Sequence) -> Result<(Arc<Site>, Option<Proof>)> {
        loop {
            let (site, era) = self.site();
            let books = Books::new(self.state.cache.ledger(), era);
            if let Some(proof) = self.proof(&site, books, need) {
                return Ok((site, Some(proof)));
            }
            let shown = self.look(&site, books, need).await?;
            let proof = books.read().map(|ledger| proof_of(&site, &ledger));
            match (shown, proof) {
                (Shown::Proved, Some(proof)) => return Ok((site, Some(proof))),
                (Shown::Unproved, Some(_)) => return Ok((site, None)),
                // Of a server that is read no more.
                (Shown::Outdated, _) | (_, None) => {}
            }
        }
    }

    /// Asks the site for a proof.
    async fn look(&self, site: &Site, books: Books<'_>, need: Sequence) -> Result<Shown> {
        // One proof serves all who wait for it.
        let _turn = self.proving.lock().await;
        if self.proof(site, books, need).is_some() {
            return Ok(Shown::Proved);
        }
        Counters::add(&self.state.cache.counters.proofs);
        let mut connection = site.connections.reader().await?;
        let means = site.means(&mut connection).await?;
        if !is_server(&mut connection, means, site.host.server.as_deref()).await? {
            return Ok(Shown::Unproved);
        }
        let deadline = tokio::time::Instant::now() + PROOF;
        prove(&mut connection, means, books, need, deadline).await
    }

    fn manner(&self, means: Means) -> Manner {
        Manner {
            dates: self.config.dates,
            has_text_json: means == Means::Snapshot,
            limit: self.limits.query,
        }
    }

    async fn answer(&self, site: &Site, read: &Read) -> Outcome {
        let (sql, params) = statement(read)?;
        // What is not known to be a plain read may leave something in its session.
        let is_plain = self.plans.known(sql).is_some() || Template::parse(sql).is_ok();
        let mut connection = match is_plain {
            true => site.connections.reader().await?,
            false => site.connections.writer().await?,
        };
        // Which columns hold JSON depends on the server, and is asked with its means.
        let means = site.means(&mut connection).await?;
        let manner = self.manner(means);
        answer::ask(&mut connection, sql, bound_all(params), &manner).await
    }

    /// Answers a read by the rule.
    async fn ask_one(&self, read: &Read, need: Sequence) -> Result<Asked> {
        let (site, proof) = self.proved(need).await?;
        let value = self.answer(&site, read).await?;
        Ok(Asked { value, proof })
    }

    /// The same, through views. Within a transaction no view that was read can be defined anew, so what is shown there as its definition
    /// is the one that was used; the log may tell of another one only afterwards (MariaDB), so nothing else proves it.
    async fn ask_views(&self, read: &Read, need: Sequence, views: &[(TableName, String)]) -> Result<Asked> {
        let (sql, params) = statement(read)?;
        let (site, proof) = self.proved(need).await?;
        let mut connection = site.connections.reader().await?;
        let means = site.means(&mut connection).await?;
        let mut transaction = transaction(&mut connection, TxOpts::default()).await?;
        let value = answer::ask(&mut transaction, sql, bound_all(params), &self.manner(means)).await?;
        let mut are_same = true;
        for (name, definition) in views {
            are_same &= catalog::definition(&mut transaction, name).await?.as_ref() == Some(definition);
        }
        finish(transaction).await?;
        Ok(Asked {
            value,
            proof: proof.filter(|_| are_same),
        })
    }

    /// Answers look-ups by the same rule: what is proved is what the one needs that needs most.
    async fn ask_together(&self, sql: &str, point: &Point, looks: Vec<Look>) -> Result<Vec<Asked>> {
        let single = |look: &Look| Read::Sql {
            sql: sql.to_owned(),
            params: vec![Param::of_integer(look.value)],
        };
        if looks.len() > 1 {
            let need = looks.iter().map(|look| look.need).max().unwrap_or_default();
            let (site, proof) = self.proved(need).await?;
            if let Some(values) = self.answer_many(&site, point, &looks).await? {
                for _ in &looks {
                    Counters::add(&self.state.cache.counters.gathered);
                }
                let asked = values.into_iter().take(looks.len()).map(|value| Asked {
                    value,
                    proof: proof.clone(),
                });
                return Ok(asked.collect());
            }
        }
        let mut answers = Vec::with_capacity(looks.len());
        for look in &looks {
            answers.push(self.ask_one(&single(look), look.need).await?);
        }
        Ok(answers)
    }

    async fn answer_many(&self, site: &Site, point: &Point, looks: &[Look]) -> Result<Option<Vec<Value>>> {
        let (sql, parameters) = point.statement(looks.len());
        let mut values: Vec<i128> = looks.iter().map(|look| look.value).collect();
        if let Some(last) = values.last().copied() {
            values.resize(parameters, last);
        }
        let mut connection = site.connections.reader().await?;
        let means = site.means(&mut connection).await?;
        answer::ask_many(&mut connection, &sql, &values, &self.manner(means)).await
    }

    async fn answer_after(&self, read: &Read, position: Position) -> Outcome {
        let Position {
            start,
            delivered,
            within,
        } = position;
        let (site, _) = self.site();
        let mut connection = site.connections.reader().await?;
        let means = site.means(&mut connection).await?;
        let is_shown = match (means, delivered.unwrap_or(start)) {
            (Means::Executed, Offset::MysqlGtid(mut set)) => {
                // A change inside a transaction is visible with the whole of it.
                if let Some(within) = within {
                    set.insert(&MysqlGtid::parse(&within.transaction)?);
                }
                let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET(?, {})", PROOF.as_secs());
                let rows = texts(&mut connection, &wait, vec![Bound::from(set.to_string())]).await?;
                rows.first()
                    .and_then(|row| row.first().cloned().flatten())
                    .as_deref()
                    == Some("0")
            }
            (Means::Snapshot, Offset::MariadbGtid(list)) => {
                let mut gtids: Vec<MariadbGtid> = list.iter().copied().collect();
                if let Some(within) = within {
                    gtids.push(MariadbGtid::parse(&within.transaction)?);
                }
                proof::shows_logged(&mut connection, &gtids, tokio::time::Instant::now() + PROOF).await?
            }
            (Means::Time, Offset::MysqlFile { .. }) => {
                tokio::time::sleep(SETTLE).await;
                true
            }
            _ => return Err(foreign_position()),
        };
        if !is_shown {
            return Err(position_not_visible(PROOF));
        }
        drop(connection);
        self.answer(&site, read).await
    }

    async fn change(&self, sql: &str, params: &[Param]) -> Result<Executed> {
        let (site, _) = self.site();
        let mut connection = site.connections.writer().await?;
        let means = site.means(&mut connection).await?;
        within(self.limits.query, connection.exec_drop(sql, bound_all(params))).await?;
        let (affected, last_insert_id) = (connection.affected_rows(), connection.last_insert_id());
        // MariaDB names this session's transaction; MySQL's set holds it, and whatever else was committed until now.
        let question = match means {
            Means::Snapshot => Some("SELECT @@last_gtid"),
            Means::Executed => Some("SELECT @@GLOBAL.gtid_executed"),
            Means::Time => None,
        };
        let mut position = None;
        if let Some(question) = question {
            let rows = texts(&mut connection, question, Vec::new()).await?;
            let text = rows
                .into_iter()
                .next()
                .and_then(|row| row.into_iter().next().flatten());
            position = text.and_then(|text| position_of(means, &text));
        }
        Ok(Executed {
            affected,
            last_insert_id: last_insert_id.map(i128::from),
            position,
        })
    }

    async fn named(&self, on: &[Named]) -> Result<Arc<[Dependency]>> {
        let mut found = Vec::with_capacity(on.len());
        for (table, equalities) in on {
            let name = match table.split_once('.') {
                Some((database, table)) => TableName::new(database, table),
                None => TableName::new(self.config.database.as_deref().unwrap_or_default(), table),
            };
            if !self.plans.knows(&name) {
                self.learn(name.clone()).await?;
            }
            let (integers, key) = match self.plans.table(&name) {
                Some((
                    TableFacts::Base {
                        integers,
                        obstacle: None,
                        ..
                    },
                    key,
                )) => (integers, key),
                // Definitions change: as a whole, which is always right.
                None => (BTreeSet::new(), Vec::new()),
                Some(_) => {
                    return Err(Error::new(
                        Code::ArgumentInvalid,
                        format!("dependsOn names {name}, which this source does not follow."),
                    ));
                }
            };
            let key = match key.as_slice() {
                [column] => Some(column.clone()),
                _ => None,
            };
            let equalities = equalities.iter().filter_map(|(column, value)| {
                let column = if column.is_empty() {
                    key.clone()?
                } else {
                    column.to_lowercase()
                };
                let value = value.integer().filter(|_| integers.contains(&column))?;
                Some(Equality {
                    column: column.into(),
                    values: vec![value],
                })
            });
            found.push(Dependency {
                table: name.clone(),
                equalities: equalities.collect(),
            });
        }
        Ok(found.into())
    }
}

impl Backend for Mysql {
    fn identify(&self, key: &mut KeyWriter) {
        key.part(2, self.config.database.as_deref().unwrap_or_default().as_bytes());
        key.part(3, self.config.user.as_bytes());
        key.part(5, format!("{:?}", self.config.dates).as_bytes());
    }

    fn forget_definitions(&self) {
        self.plans.forget();
    }

    fn judge<'a>(&'a self, read: &'a Read) -> BoxFuture<'a, Result<Verdict>> {
        async move {
            let (sql, params) = statement(read)?;
            let plan = self.plan(sql).await?;
            Ok(plan.map(|plan| {
                let integers: Vec<Option<i128>> = params.iter().map(Param::integer).collect();
                plan.bind(&integers)
            }))
        }
        .boxed()
    }

    fn prove(&self, need: Sequence) -> BoxFuture<'_, Result<Option<Proof>>> {
        async move { Ok(self.proved(need).await?.1) }.boxed()
    }

    // A change is shipped before it is visible.
    fn shows_delivered(&self) -> bool {
        false
    }

    fn run<'a>(&'a self, read: &'a Read) -> BoxFuture<'a, Outcome> {
        async move { self.answer(&self.site().0, read).await }.boxed()
    }

    fn run_in<'a>(&'a self, read: &'a Read, era: Era) -> BoxFuture<'a, Result<Option<Value>>> {
        async move {
            let (site, now) = self.site();
            match now == era {
                true => self.answer(&site, read).await.map(Some),
                false => Ok(None),
            }
        }
        .boxed()
    }

    fn ask<'a>(&'a self, read: &'a Read, need: Sequence) -> BoxFuture<'a, Result<Asked>> {
        async move {
            let (sql, params) = statement(read)?;
            let value = match params {
                [param] => param.integer(),
                _ => None,
            };
            let plan = self.plans.known(sql);
            if let Some(plan) = plan.as_ref().filter(|plan| !plan.views.is_empty()) {
                return self.ask_views(read, need, &plan.views).await;
            }
            let Some((point, value)) = plan.as_ref().and_then(|plan| plan.point.as_ref()).zip(value) else {
                return self.ask_one(read, need).await;
            };
            let ask = |looks| self.ask_together(sql, point, looks);
            self.gather.look(&Arc::from(sql), Look { value, need }, ask).await
        }
        .boxed()
    }

    fn run_after<'a>(&'a self, read: &'a Read, position: Position) -> BoxFuture<'a, Outcome> {
        self.answer_after(read, position).boxed()
    }

    fn execute<'a>(&'a self, sql: &'a str, params: &'a [Param]) -> BoxFuture<'a, Result<Executed>> {
        self.change(sql, params).boxed()
    }

    fn explain<'a>(&'a self, read: &'a Read) -> BoxFuture<'a, Result<serde_json::Value>> {
        async move {
            let (sql, _) = statement(read)?;
            Ok(match self.plan(sql).await? {
                Ok(plan) => {
                    let depends = plan
                        .bind(&[])
                        .iter()
                        .filter(|dependency| !dependency.is_of_definitions())
                        .map(|dependency| dependency.table.to_string())
                        .collect::<Vec<_>>();
                    serde_json::json!({ "cached": true, "dependsOn": depends, "columns": plan.columns() })
                }
                Err(why) => serde_json::json!({ "cached": false, "reason": &*why }),
            })
        }
        .boxed()
    }

    fn dependencies<'a>(&'a self, on: &'a [Named]) -> BoxFuture<'a, Result<Arc<[Dependency]>>> {
        self.named(on).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.sites.close().boxed()
    }
}

fn proof_of(site: &Site, ledger: &Ledger) -> Proof {
    let statement = ledger.shown().zip(site.host.server.as_ref());
    Proof {
        as_of: ledger.visible(),
        statement: statement.map(|(reach, server)| Statement {
            server: Arc::clone(server),
            reach: reach.clone(),
        }),
    }
}

fn position_of(means: Means, text: &str) -> Option<String> {
    let start = match means {
        Means::Snapshot => Offset::MariadbGtid(MariadbGtidList::parse(text).ok()?),
        _ => Offset::MysqlGtid(GtidSet::parse(text).ok()?),
    };
    let position = Position {
        start,
        delivered: None,
        within: None,
    };
    Some(position.base_text())
}
