//! Statements: the words around transactions, and DDL.

use std::borrow::Cow;
use std::sync::Arc;

use super::super::binlog::{Query, uncompress};
use super::super::charset::{Charset, by_collation_id};
use super::super::history::LoggedStatement;
use super::super::schema::Happened;
use super::super::stream::Event;
use super::super::words::{Words, classify};
use super::{Deliver, Reader};
use crate::code::Code;
use crate::error::{Error, Result};
use crate::event::Operation;
use crate::source::{Item, SchemaChange};

impl Reader {
    /// A statement that MariaDB compressed.
    pub(super) fn compressed_query(&mut self, event: &Event, body: &[u8]) -> Result<()> {
        let query = Query::read(body)?;
        let statement = uncompress(query.statement)?;
        self.statement(
            event,
            &Query {
                statement: &statement,
                ..query
            },
        )
    }

    /// A statement.
    pub(super) fn query(&mut self, event: &Event, body: &[u8]) -> Result<()> {
        let query = Query::read(body)?;
        self.statement(event, &query)
    }

    fn statement(&mut self, event: &Event, query: &Query<'_>) -> Result<()> {
        self.ensure_open(event);
        match classify(query.statement) {
            Words::Begin => {
                if let Some(open) = &mut self.open {
                    open.is_explicit = true;
                }
                Ok(())
            }
            Words::Commit => self.commit(),
            Words::Rollback => self.rollback(),
            Words::RollbackTo => {
                self.partial_rollback();
                Ok(())
            }
            Words::Savepoint | Words::XaEnd => Ok(()),
            Words::XaStart(xid) => {
                self.xa_start(xid);
                Ok(())
            }
            Words::XaCommit { one_phase: true, .. } => self.commit(),
            Words::XaCommit { xid, .. } => self.xa_commit(&xid),
            Words::XaRollback(xid) => self.xa_rollback(&xid),
            Words::Change => {
                self.statement_change();
                self.end_single()
            }
            Words::Nothing => self.end_single(),
            Words::Definition if self.open.as_ref().is_some_and(|open| open.defines_nothing) => {
                self.end_single()
            }
            Words::Definition => {
                self.definition(query);
                self.end_single()
            }
        }
    }

    /// A transaction of one statement ends with it.
    fn end_single(&mut self) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.is_explicit) {
            return Ok(());
        }
        self.commit()
    }

    /// Rows changed by a statement that the log holds as a statement: which rows they are cannot be known.
    pub(super) fn statement_change(&mut self) {
        self.gap_everywhere(
            "The log holds a change in statement format: a session had set binlog_format to STATEMENT or MIXED, or the \
             server emptied a MEMORY table after a restart.",
        );
    }

    fn definition(&mut self, query: &Query<'_>) {
        let id = self
            .open
            .as_ref()
            .map(|open| open.id_text.clone())
            .unwrap_or_default();
        let logged = LoggedStatement::new(query, id);
        let happened = self.tracker.apply(&logged);
        if happened.is_empty() {
            return;
        }
        self.notice_constraints(&happened, &logged.statement);
        self.maps.forget_definitions();
        self.unknown.clear();
        let is_delivered = self
            .open
            .as_ref()
            .is_some_and(|open| open.delivery != Deliver::Nothing);
        if !is_delivered {
            return;
        }
        let is_told =
            happened.iter().any(|what| *what != Happened::ViewsChanged) && self.report(&happened, &logged);
        // Whatever has another name, or is not known, may be a view; what is made, altered and dropped as a table is none.
        let redefines = |what: &Happened| {
            !matches!(
                what,
                Happened::Changed(_)
                    | Happened::Dropped(_)
                    | Happened::Truncated(_)
                    | Happened::RowsReplaced(_)
            )
        };
        if !is_told && happened.iter().any(redefines) {
            let position = self.position_after_open();
            self.behind.push_back(Item::Redefined(position));
        }
    }

    /// Changes of whole tables, and the `schema` event behind them; false where they concern no table that is followed.
    fn report(&mut self, happened: &[Happened], logged: &LoggedStatement) -> bool {
        if let Some(open) = &mut self.open {
            open.changes_tables = true;
        }
        let shown = self.tracker.shown(logged);
        let mut concerns = Vec::new();
        for what in happened {
            let (subject, included) = match what {
                Happened::DatabaseChanged(database) => {
                    let included = self.tables.concerns_database(database);
                    ((database.clone(), None), included)
                }
                Happened::AllLost => ((logged.database.as_str().into(), None), true),
                Happened::ViewsChanged => continue,
                Happened::Changed(table)
                | Happened::Lost(table)
                | Happened::Dropped(table)
                | Happened::Renamed(table, _)
                | Happened::Truncated(table)
                | Happened::RowsReplaced(table) => {
                    let renamed_into = match what {
                        Happened::Renamed(_, to) => self.includes(&to.database, &to.table),
                        _ => false,
                    };
                    let included = self.includes(&table.database, &table.table) || renamed_into;
                    ((table.database.clone(), Some(table.table.clone())), included)
                }
            };
            if !included {
                continue;
            }
            match what {
                Happened::Truncated(table) => self.table_change(Operation::Truncate, table, ""),
                Happened::Dropped(table) => self.table_change(Operation::Drop, table, ""),
                Happened::Renamed(from, to) => self.table_change(Operation::Rename, from, &to.to_string()),
                Happened::RowsReplaced(table) => self.rows_replaced(table),
                Happened::Changed(_)
                | Happened::Lost(_)
                | Happened::DatabaseChanged(_)
                | Happened::ViewsChanged
                | Happened::AllLost => {}
            }
            if !concerns.contains(&subject) {
                concerns.push(subject);
            }
        }
        // The position after the statement is known when its transaction has ended, which is at once: DDL commits.
        let position = self.position_after_open();
        let is_told = !concerns.is_empty();
        for (database, table) in concerns {
            self.behind.push_back(Item::Schema(SchemaChange {
                database,
                table,
                statement: Some(shown.clone()),
                position: position.clone(),
            }));
        }
        is_told
    }

    /// Rows of partitions or tablespaces came or went, and the log does not hold them.
    fn rows_replaced(&mut self, table: &super::TableName) {
        let error = Error::new(
            Code::LogUndecodable,
            format!("A statement replaced rows of {table} as a whole: the log holds none of them."),
        )
        .with_detail("table", table.to_string());
        self.gap_with(table, error);
    }

    fn position_after_open(&mut self) -> Arc<str> {
        match &self.open {
            Some(open) => {
                let mut after = self.track.clone();
                after.finish(&open.id, &self.place);
                after.text()
            }
            None => self.track.text(),
        }
    }

    fn table_change(&mut self, operation: Operation, table: &super::TableName, renamed_to: &str) {
        let skipped = match self.open.as_mut().map(|open| &mut open.delivery) {
            Some(Deliver::Behind(skip)) if *skip > 0 => {
                *skip -= 1;
                true
            }
            _ => false,
        };
        self.begin_writing();
        if skipped {
            self.writer.skip_change();
        } else {
            self.writer
                .table_change(operation, &table.database, &table.table, renamed_to);
        }
    }
}

/// The statement as text: the log holds it in the client's character set.
pub fn statement_text<'a>(query: &Query<'a>) -> Cow<'a, str> {
    let client = query
        .collations
        .and_then(|[client, ..]| by_collation_id(client))
        .and_then(Charset::by_name);
    match (std::str::from_utf8(query.statement), client) {
        (Ok(text), _) if text.is_ascii() => Cow::Borrowed(text),
        (_, Some(charset)) => {
            let mut text = String::new();
            charset.decode(query.statement, &mut text);
            Cow::Owned(text)
        }
        (Ok(text), None) => Cow::Borrowed(text),
        (Err(_), None) => String::from_utf8_lossy(query.statement),
    }
}
