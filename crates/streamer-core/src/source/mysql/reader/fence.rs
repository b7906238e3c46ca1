//! Where the reader stops so that rows of a snapshot are handed over at the place that they show.
//!
//! A server shows a transaction to readers of its log before it shows it to queries. So a view is used only where it holds
//! everything that was handed over, and a view whose place is known between two bounds only (MySQL's GTIDs) only where no
//! transaction between them touched its table. Else another view is opened: views are cheap.

use super::super::track::FilePlace;
use super::{Open, Reader};
use crate::offset::Offset;
use crate::source::{Item, Steer, View};

/// Where the reader was steered to.
#[derive(Debug, Default)]
pub enum Fence {
    /// Nowhere, or it has answered.
    #[default]
    None,
    /// The next place between two transactions.
    Hold,
    /// The place of a view.
    Until {
        /// The view.
        view: Box<View>,
        /// Nothing was handed over that the view may lack, or may hold as well.
        is_exact: bool,
    },
    /// It stands, and waits.
    Stands,
}

impl Reader {
    /// Stops somewhere, or nowhere any more. `server` is the identity of the server that is read.
    pub fn steer(&mut self, to: Steer, server: &str) {
        self.fence = match to {
            Steer::Free => Fence::None,
            Steer::Hold => Fence::Hold,
            Steer::Until(view) => {
                let is_same = view
                    .server
                    .as_deref()
                    .is_none_or(|of| server.is_empty() || of == server);
                let is_exact = is_same && self.is_in(&view);
                if let (Offset::MysqlFile { file, offset, .. }, true, None) =
                    (&view.high, is_exact, &self.ended_at)
                {
                    // Everything that was handed over lies before it, which later views need not be asked again.
                    self.ended_at = Some(FilePlace {
                        file: file.clone(),
                        offset: *offset,
                    });
                }
                Fence::Until {
                    is_exact,
                    view: Box::new(view),
                }
            }
        };
    }

    /// Whether everything that was handed over is in a view.
    fn is_in(&self, view: &View) -> bool {
        let holds_low = view.low.as_ref().is_none_or(|low| self.track.fits(low));
        let Offset::MysqlFile { file, offset, .. } = &view.high else {
            return holds_low;
        };
        let high = FilePlace {
            file: file.clone(),
            offset: *offset,
        };
        let holds_end = match (&self.ended_at, self.track.done()) {
            (Some(ended), _) => !high.is_before(&ended.file, ended.offset),
            // Nothing was read yet: everything up to the place where reading began was handed over.
            (None, Offset::MysqlFile { file, offset, .. }) => !high.is_before(file, *offset),
            (None, _) => view.low.is_some(),
        };
        holds_low && holds_end
    }

    /// The answer to the steering, where the reader has come to its place and has nothing left to hand over.
    pub fn stand(&mut self) -> Option<Item> {
        let is_exact = match &self.fence {
            Fence::None | Fence::Stands => return None,
            Fence::Hold => true,
            Fence::Until { is_exact: false, .. } => false,
            Fence::Until { view, .. } if !self.has_come_to(view) => return None,
            Fence::Until { .. } => true,
        };
        self.fence = Fence::Stands;
        Some(Item::Held { turn: 0, is_exact })
    }

    /// Whether the reader should stop before it reads more.
    pub fn is_to_stand(&self) -> bool {
        self.is_between()
            && match &self.fence {
                Fence::None => false,
                Fence::Hold | Fence::Stands | Fence::Until { is_exact: false, .. } => true,
                Fence::Until { view, .. } => self.has_come_to(view),
            }
    }

    fn has_come_to(&self, view: &View) -> bool {
        let is_behind_file = match &view.high {
            Offset::MysqlFile { file, offset, .. } => !self.place.is_before(file, *offset),
            high => self.has_read(high),
        };
        // A log that was opened at a GTID has no place in a file until the first event comes.
        is_behind_file || view.end.as_ref().is_some_and(|end| self.has_read(end))
    }

    /// A transaction is done: it may lie between the bounds of a view.
    pub(super) fn pass_fence(&mut self, open: &Open) {
        let Fence::Until { view, is_exact } = &mut self.fence else {
            return;
        };
        let is_held = open.xa.is_some();
        let is_of_table = open.touched.iter().any(|table| {
            table.database.eq_ignore_ascii_case(&view.table.database)
                && table.table.eq_ignore_ascii_case(&view.table.table)
        });
        let is_in_low = match (&view.low, &open.id) {
            (Some(Offset::MysqlGtid(low)), super::TransactionId::Mysql(gtid)) => low.contains(gtid),
            // The place is exact.
            _ => true,
        };
        *is_exact &= is_in_low || !(is_of_table || is_held || open.changes_tables);
    }
}
