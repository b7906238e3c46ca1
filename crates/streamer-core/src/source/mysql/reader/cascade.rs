//! Rows that foreign keys change behind the log's back.

use std::sync::Arc;

use super::super::binlog::{RowsEvent, RowsKind};
use super::super::cascades::{Cascades, Followers};
use super::super::plan::{Image, Plan};
use super::super::schema::{Happened, TableName};
use super::{Deliver, Reader};
use crate::event::Operation;

impl Reader {
    /// The foreign keys of the server, read anew.
    pub fn set_cascades(&mut self, cascades: Cascades) {
        self.cascades = cascades;
        self.wants_cascades = false;
        self.followers.clear();
    }

    /// A statement that may have changed foreign keys makes them wanted.
    pub(super) fn notice_constraints(&mut self, happened: &[Happened], statement: &str) {
        let concerns_parent = happened.iter().any(|what| match what {
            Happened::Dropped(table) | Happened::Renamed(table, _) => self.cascades.has(table),
            Happened::AllLost | Happened::DatabaseChanged(_) => !self.cascades.is_empty(),
            _ => false,
        });
        self.followers.clear();
        let statement = statement.to_ascii_lowercase();
        let names_one = ["references", "foreign", "constraint"]
            .iter()
            .any(|word| statement.contains(word));
        self.wants_cascades |= concerns_parent || names_one;
    }

    /// What deleted rows take along; notes the tables of which no more is known.
    pub(super) fn followers(&mut self, plan: &Plan, image: &Image, header: &RowsEvent) -> Vec<Arc<Image>> {
        if header.ignores_foreign_keys || header.kind != RowsKind::Delete || !self.cascades.has(plan.name()) {
            return Vec::new();
        }
        let (tables, tracker) = (&self.tables, &self.tracker);
        let (cascades, numbers, writer) = (&self.cascades, &mut self.numbers, &mut self.writer);
        let Followers { derived, wide } = self.followers.entry(image.shape.id).or_insert_with(|| {
            let followers = cascades.of_delete(
                plan,
                image,
                numbers,
                |table| tables.includes(&table.database, &table.table),
                |table| tracker.known(table),
            );
            for image in &followers.derived {
                writer.define(Arc::clone(&image.shape));
            }
            followers
        });
        if let Some(open) = &mut self.open {
            open.cascaded.extend(wide.iter().cloned());
        }
        derived.clone()
    }

    /// Indices of the columns whose change concerns children.
    pub(super) fn watched(&self, plan: &Plan, header: &RowsEvent) -> Vec<usize> {
        let is_update = matches!(header.kind, RowsKind::Update | RowsKind::PartialUpdate);
        if header.ignores_foreign_keys || !is_update || !self.cascades.has(plan.name()) {
            return Vec::new();
        }
        plan.places(&self.cascades.referenced(plan.name()))
    }

    /// Rows of a table changed in a way that its children follow.
    pub(super) fn cascade(&mut self, table: &TableName, is_update: bool) {
        let tables = &self.tables;
        let wide = self.cascades.wide(table, is_update, |table| {
            tables.includes(&table.database, &table.table)
        });
        if let Some(open) = &mut self.open {
            open.cascaded.extend(wide);
        }
    }

    /// Rows of a table that is not delivered; its children may be.
    pub(super) fn excluded_rows(&mut self, table: &TableName, header: &RowsEvent) {
        if header.kind != RowsKind::Insert && !header.ignores_foreign_keys && self.cascades.has(table) {
            self.cascade(table, header.kind != RowsKind::Delete);
        }
    }

    /// Tells of the tables in which foreign keys changed rows, at the end of the transaction.
    pub(super) fn write_cascades(&mut self) {
        let Some(open) = &mut self.open else { return };
        if open.cascaded.is_empty() || open.delivery == Deliver::Nothing {
            return;
        }
        let cascaded = std::mem::take(&mut open.cascaded);
        self.begin_writing();
        for table in cascaded {
            match self.open.as_mut().map(|open| &mut open.delivery) {
                Some(Deliver::Behind(skip)) if *skip > 0 => {
                    *skip -= 1;
                    self.writer.skip_change();
                }
                _ => self
                    .writer
                    .table_change(Operation::Derived, &table.database, &table.table, ""),
            }
        }
    }
}
