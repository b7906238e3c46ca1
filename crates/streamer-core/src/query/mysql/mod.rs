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
use self::gather::Look;
use self::plans::Plans;
use self::pool::{finish, texts, transaction, within};
use self::proof::{Books, Means, Shown, prove, shows_executed, shows_logged};
use self::site::{Site, Sites};
use super::backend::{
    Asked, Backend, Executed, Named, Outcome, Param, Proof, Read, Verdict, foreign_position, left,
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

/// First and longest pause between two looks for a position.
const AFTER_PAUSE: Duration = Duration::from_millis(1);
const LAST_AFTER_PAUSE: Duration = Duration::from_millis(20);

/// What a position asks of the server.
enum After {
    /// These are executed (MySQL).
    Executed(GtidSet),
    /// These are in the log, and everything in it is visible (MariaDB).
    Logged(Vec<MariadbGtid>),
    /// Time has passed (MySQL without GTIDs).
    Settled,
}

/// Reads of one server.
pub(super) struct Mysql {
    state: Arc<State>,
    config: MysqlConfig,
    limits: PoolConfig,
    plans: Plans,
    sites: Sites,
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
        }
    }

    /// The server to ask.
    fn site(&self) -> Result<Arc<Site>> {
        self.sites.now(&self.state, &self.config, self.limits)
    }

    fn books(&self, site: &Site) -> Books<'_> {
        Books::new(self.state.cache.ledger(), site.era)
    }

    /// What is proved already of everything that is asked of the site afterwards, where that is enough.
    fn proof(&self, site: &Site, need: Sequence) -> Option<Proof> {
        let ledger = self.books(site).read()?;
        // Also where no change waits for it: so that what is shared reaches far.
        let wants_reach = site.known_means() != Some(Means::Time) && ledger.is_reach_older_than(REACH_AGE);
        (ledger.visible() >= need && !wants_reach).then(|| proof_of(site, &ledger))
    }

    /// Waits until `need` is proved to be visible at a site; `None` where it cannot be. What is proved holds for questions to
    /// that site.
    async fn proved(&self, need: Sequence) -> Result<(Arc<Site>, Option<Proof>)> {
        loop {
            let site = self.site()?;
            if let Some(proof) = self.proof(&site, need) {
                return Ok((site, Some(proof)));
            }
            let Some(shown) = site.until_left(self.look(&site, need)).await else {
                continue;
            };
            let shown = shown?;
            let proof = self.books(&site).read().map(|ledger| proof_of(&site, &ledger));
            match (shown, proof) {
                (Shown::Proved, Some(proof)) => return Ok((site, Some(proof))),
                (Shown::Unproved, Some(_)) => return Ok((site, None)),
                // Of a connection to the log that is no more.
                (Shown::Outdated, _) | (_, None) => {}
            }
        }
    }

    /// Asks the site for a proof.
    async fn look(&self, site: &Site, need: Sequence) -> Result<Shown> {
        // One proof serves all who wait for it.
        let _turn = site.proving.lock().await;
        if self.proof(site, need).is_some() {
            return Ok(Shown::Proved);
        }
        let books = self.books(site);
        if books.read().is_none() {
            return Ok(Shown::Outdated);
        }
        Counters::add(&self.state.cache.counters.proofs);
        let mut connection = site.connections.reader().await?;
        if !site.is_at(&connection) {
            return Ok(Shown::Unproved);
        }
        let means = site.means(&mut connection).await?;
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

    /// An answer of the site, and whether it is of the server that is meant.
    async fn answer(&self, site: &Site, read: &Read) -> Result<(Value, bool)> {
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
        let value = answer::ask(&mut connection, sql, bound_all(params), &manner).await?;
        Ok((value, site.is_at(&connection)))
    }

    /// The same, or nobody's where another host is read meanwhile.
    async fn answer_or_leave(&self, site: &Site, read: &Read) -> Result<(Value, bool)> {
        let answer = site.until_left(self.answer(site, read)).await;
        answer.unwrap_or_else(|| Err(left()))
    }

    /// Answers a read by the rule, perhaps through views.
    async fn ask_one(&self, read: &Read, need: Sequence, views: &[(TableName, String)]) -> Result<Asked> {
        loop {
            let (site, proof) = self.proved(need).await?;
            let answer = async {
                match views {
                    [] => self.answer(&site, read).await,
                    views => self.answer_views(&site, read, views).await,
                }
            };
            if let Some(answer) = site.until_left(answer).await {
                let (value, is_proved) = answer?;
                let proof = proof.filter(|_| is_proved);
                return Ok(Asked { value, proof });
            }
        }
    }

    /// An answer through views, and whether they are the ones that were taken for them. Within a transaction no view that was read can
    /// be defined anew, so what is shown there as its definition is the one that was used. Nothing else would prove it: the log may tell
    /// of another one only afterwards (MariaDB).
    async fn answer_views(
        &self,
        site: &Site,
        read: &Read,
        views: &[(TableName, String)],
    ) -> Result<(Value, bool)> {
        let (sql, params) = statement(read)?;
        let mut connection = site.connections.reader().await?;
        let is_there = site.is_at(&connection);
        let means = site.means(&mut connection).await?;
        let mut transaction = transaction(&mut connection, TxOpts::default()).await?;
        let value = answer::ask(&mut transaction, sql, bound_all(params), &self.manner(means)).await?;
        let mut are_same = true;
        for (name, definition) in views {
            are_same &= catalog::definition(&mut transaction, name).await?.as_ref() == Some(definition);
        }
        finish(transaction).await?;
        Ok((value, is_there && are_same))
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
            let answers = site.until_left(self.answer_many(&site, point, &looks)).await;
            if let Some((values, is_there)) = answers.transpose()?.flatten() {
                let proof = proof.filter(|_| is_there);
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
            answers.push(self.ask_one(&single(look), look.need, &[]).await?);
        }
        Ok(answers)
    }

    async fn answer_many(
        &self,
        site: &Site,
        point: &Point,
        looks: &[Look],
    ) -> Result<Option<(Vec<Value>, bool)>> {
        let (sql, parameters) = point.statement(looks.len());
        let mut values: Vec<i128> = looks.iter().map(|look| look.value).collect();
        if let Some(last) = values.last().copied() {
            values.resize(parameters, last);
        }
        let mut connection = site.connections.reader().await?;
        let means = site.means(&mut connection).await?;
        let found = answer::ask_many(&mut connection, &sql, &values, &self.manner(means)).await?;
        Ok(found.map(|found| (found, site.is_at(&connection))))
    }

    /// Answers with what holds a position. Nobody keeps a connection while it is waited for.
    async fn answer_after(&self, read: &Read, position: Position) -> Outcome {
        let sought = sought(position)?;
        if matches!(sought, After::Settled) {
            tokio::time::sleep(SETTLE).await;
        }
        let deadline = tokio::time::Instant::now() + PROOF;
        let mut pause = AFTER_PAUSE;
        loop {
            let site = self.site()?;
            let answer = site
                .until_left(self.answer_where(&site, read, &sought, deadline))
                .await;
            if let Some(value) = answer.transpose()?.flatten() {
                return Ok(value);
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(position_not_visible(PROOF));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_AFTER_PAUSE);
        }
    }

    /// The answer of a site that shows what is sought; `None` where it does not.
    async fn answer_where(
        &self,
        site: &Site,
        read: &Read,
        sought: &After,
        deadline: tokio::time::Instant,
    ) -> Result<Option<Value>> {
        {
            let mut connection = site.connections.reader().await?;
            let means = site.means(&mut connection).await?;
            let is_shown = match (means, sought) {
                (Means::Executed, After::Executed(gtids)) => shows_executed(&mut connection, gtids).await?,
                (Means::Snapshot, After::Logged(gtids)) => {
                    shows_logged(&mut connection, gtids, deadline).await?
                }
                (Means::Time, After::Settled) => true,
                _ => return Err(foreign_position()),
            };
            if !is_shown || !site.is_at(&connection) {
                return Ok(None);
            }
        }
        let (value, is_there) = self.answer(site, read).await?;
        Ok(is_there.then_some(value))
    }

    async fn change(&self, sql: &str, params: &[Param]) -> Result<Executed> {
        let site = self.site()?;
        site.until_left(self.change_at(&site, sql, params))
            .await
            .unwrap_or_else(|| Err(unanswered()))
    }

    async fn change_at(&self, site: &Site, sql: &str, params: &[Param]) -> Result<Executed> {
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
            // What was written is written, whether this is answered or not.
            let rows = texts(&mut connection, question, Vec::new()).await.ok();
            let text = rows.and_then(|rows| rows.into_iter().next()?.into_iter().next()?);
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

    fn connected(&self) {
        self.sites.leave(&self.state);
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
        async move {
            let site = self.site()?;
            Ok(self.answer_or_leave(&site, read).await?.0)
        }
        .boxed()
    }

    fn run_in<'a>(&'a self, read: &'a Read, era: Era) -> BoxFuture<'a, Result<Option<Value>>> {
        async move {
            let site = self.site()?;
            if site.era != era {
                return Ok(None);
            }
            let (value, is_there) = self.answer_or_leave(&site, read).await?;
            if !is_there {
                Counters::add(&self.state.cache.counters.unproved);
            }
            Ok(Some(value))
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
            let Some((point, value)) = plan.as_ref().and_then(|plan| plan.point.as_ref()).zip(value) else {
                let views = plan.as_ref().map_or(&[][..], |plan| &plan.views);
                return self.ask_one(read, need, views).await;
            };
            let ask = |looks| self.ask_together(sql, point, looks);
            self.site()?
                .gather
                .look(&Arc::from(sql), Look { value, need }, ask)
                .await
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
                        .filter(|dependency| *dependency != Dependency::on_definitions())
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

/// A change inside a transaction is visible with the whole of it.
fn sought(position: Position) -> Result<After> {
    let Position {
        start,
        delivered,
        within,
    } = position;
    Ok(match delivered.unwrap_or(start) {
        Offset::MysqlGtid(mut set) => {
            if let Some(within) = within {
                set.insert(&MysqlGtid::parse(&within.transaction)?);
            }
            After::Executed(set)
        }
        Offset::MariadbGtid(list) => {
            let within = within
                .map(|within| MariadbGtid::parse(&within.transaction))
                .transpose()?;
            After::Logged(list.iter().copied().chain(within).collect())
        }
        Offset::MysqlFile { .. } => After::Settled,
        _ => return Err(foreign_position()),
    })
}

/// The server that a statement was sent to is left.
fn unanswered() -> Error {
    Error::new(
        Code::ConnectionLost,
        "The server that was asked is not the one any more whose log is read: whether the statement was run there is not known.",
    )
    .with_advice("Look at what it would have changed before it is run again.")
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
