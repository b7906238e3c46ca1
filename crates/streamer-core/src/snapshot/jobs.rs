//! What is left to be read, and how that is stored.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::requests::{Request, new_id};
use crate::checkpoint::Progress;
use crate::code::Code;
use crate::error::{Error, Result};
use crate::source::{Cursor, SnapshotProgress, TableRef, TableSize};

/// A table that is to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    /// Which.
    #[serde(flatten)]
    pub table: TableRef,
    /// The snapshot that it belongs to.
    pub id: Arc<str>,
    /// Behind which row reading goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// Rows that were handed over.
    pub rows: u64,
    /// Times that it was begun anew: a table without an order is read from its beginning each time.
    #[serde(default)]
    pub attempt: u32,
    /// About how many rows it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated: Option<u64>,
    /// It was told that it is begun.
    #[serde(skip)]
    pub is_told: bool,
    /// A view did not show it.
    #[serde(skip)]
    pub is_missing: bool,
}

/// Tables that are to be looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lookup {
    /// The snapshot.
    pub id: Arc<str>,
    /// Of all tables of the source, those that match; all where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<String>,
    /// Of all tables of the source, those of these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// What is left to be read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Jobs {
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    lookups: VecDeque<Arc<Lookup>>,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    tables: VecDeque<Arc<Job>>,
    #[serde(skip)]
    version: u64,
}

impl Progress for Jobs {
    fn version(&self) -> u64 {
        self.version
    }

    fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Jobs {
    /// From the text of a checkpoint.
    ///
    /// # Errors
    /// `ERR_STREAMER_CHECKPOINT_INVALID` where it is not understood.
    pub fn parse(text: &str) -> Result<Self> {
        let jobs: Self = serde_json::from_str(text).map_err(|_| {
            Error::new(
                Code::CheckpointInvalid,
                "The progress of a snapshot in the checkpoint is not understood.",
            )
            .with_advice("Delete the checkpoint to begin the snapshot anew.")
        })?;
        let mut jobs = Self { version: 1, ..jobs };
        jobs.settle();
        Ok(jobs)
    }

    /// A table without an order that was read in part is read from its beginning.
    pub fn settle(&mut self) {
        for job in &mut self.tables {
            if job.rows > 0 && job.after.is_none() {
                *job = Arc::new(again(job));
                self.version += 1;
            }
        }
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.lookups.is_empty() && self.tables.is_empty()
    }

    /// What a checkpoint keeps; `None` where nothing is left.
    pub fn stored(&self) -> Option<Arc<dyn Progress>> {
        (!self.is_empty()).then(|| Arc::new(self.clone()) as Arc<dyn Progress>)
    }

    /// Reads every table of the source.
    pub fn add_all(&mut self) {
        self.look_up(Lookup {
            id: new_id(),
            patterns: Vec::new(),
            names: Vec::new(),
        });
    }

    /// Reads the tables that the application asked for.
    pub fn add(&mut self, request: &Request) {
        self.look_up(Lookup {
            id: Arc::clone(&request.id),
            patterns: request.patterns.clone(),
            names: Vec::new(),
        });
    }

    /// Changes of these tables, or of all, are missing: what was read of them does not count, and they are read again.
    pub fn repair(&mut self, names: Option<&[String]>) {
        for job in &mut self.tables {
            if names.is_none_or(|names| names.contains(&job.table.to_string())) && job.rows > 0 {
                *job = Arc::new(again(job));
            }
        }
        let wanted = Lookup {
            id: new_id(),
            patterns: Vec::new(),
            names: names.map(<[String]>::to_vec).unwrap_or_default(),
        };
        // One that has not begun yet covers it.
        let is_covered = self.lookups.iter().any(|lookup| {
            lookup.patterns.is_empty()
                && (lookup.names.is_empty() || (!wanted.names.is_empty() && lookup.names == wanted.names))
        });
        if !is_covered {
            self.look_up(wanted);
        }
    }

    fn look_up(&mut self, lookup: Lookup) {
        self.lookups.push_back(Arc::new(lookup));
        self.version += 1;
    }

    /// The next lookup.
    pub fn lookup(&self) -> Option<&Arc<Lookup>> {
        self.lookups.front()
    }

    /// The next lookup has found these tables. What is told where it found none.
    pub fn found(&mut self, tables: Vec<TableSize>) -> Option<SnapshotProgress> {
        let lookup = self.lookups.pop_front()?;
        self.version += 1;
        if tables.is_empty() {
            return Some(SnapshotProgress {
                id: Arc::clone(&lookup.id),
                table: None,
                rows: 0,
                estimated_rows: None,
                is_done: true,
                remaining: 0,
                is_last: self.is_empty(),
                position: None,
            });
        }
        for found in tables {
            self.tables.push_back(Arc::new(Job {
                table: found.table,
                id: Arc::clone(&lookup.id),
                after: None,
                rows: 0,
                attempt: 0,
                estimated: found.rows,
                is_told: false,
                is_missing: false,
            }));
        }
        None
    }

    /// The table that is being read.
    pub fn current(&self) -> Option<&Arc<Job>> {
        self.tables.front()
    }

    /// Tells that the present table is begun, where that was not told.
    pub fn tell_begin(&mut self) -> Option<SnapshotProgress> {
        let job = self.tables.front_mut().filter(|job| !job.is_told)?;
        Arc::make_mut(job).is_told = true;
        self.telling(false)
    }

    /// Rows of the present table were read.
    pub fn read(&mut self, rows: u64, last: Option<Cursor>) {
        if let Some(job) = self.tables.front_mut() {
            let job = Arc::make_mut(job);
            job.rows += rows;
            job.after = last.or(job.after.take());
            job.is_missing = false;
            self.version += 1;
        }
    }

    /// The present table is at its end.
    pub fn finish(&mut self) -> Option<SnapshotProgress> {
        let mut told = self.telling(true)?;
        self.tables.pop_front();
        self.version += 1;
        told.is_last = self.is_empty();
        Some(told)
    }

    /// A view did not show the present table; true where none did twice. The first may have been opened between a new name and the
    /// change that tells of it: the log is behind that when the second one is read.
    pub fn miss(&mut self) -> bool {
        match self.tables.front_mut() {
            Some(job) => std::mem::replace(&mut Arc::make_mut(job).is_missing, true),
            None => false,
        }
    }

    /// A table that is followed has another name, under which it is followed as well. (One that is not any more is found to be gone.)
    pub fn rename(&mut self, from: &TableRef, to: &TableRef) {
        for job in self.tables.iter_mut().filter(|job| job.table == *from) {
            let job = Arc::make_mut(job);
            job.table = to.clone();
            job.is_missing = false;
            self.version += 1;
        }
    }

    /// Reads a table that came to be followed with the rows that it has.
    pub fn add_table(&mut self, table: &TableRef) {
        self.look_up(Lookup {
            id: new_id(),
            patterns: Vec::new(),
            names: vec![table.to_string()],
        });
    }

    /// The present table is read from its beginning.
    pub fn restart(&mut self) {
        if let Some(job) = self.tables.front_mut() {
            *job = Arc::new(again(job));
            self.version += 1;
        }
    }

    /// Another table comes first.
    pub fn postpone(&mut self) {
        self.tables.rotate_left(usize::from(self.tables.len() > 1));
        self.version += 1;
    }

    /// What is told of the present table.
    pub fn telling(&self, is_done: bool) -> Option<SnapshotProgress> {
        let job = self.tables.front()?;
        let of_same = self.tables.iter().filter(|other| other.id == job.id).count();
        Some(SnapshotProgress {
            id: Arc::clone(&job.id),
            table: Some(job.table.clone()),
            rows: job.rows,
            estimated_rows: job.estimated.map(|estimated| estimated.max(job.rows)),
            is_done,
            remaining: of_same - usize::from(is_done),
            is_last: false,
            position: None,
        })
    }
}

/// A table from its beginning.
fn again(job: &Job) -> Job {
    Job {
        after: None,
        rows: 0,
        attempt: job.attempt + 1,
        is_told: false,
        is_missing: false,
        ..job.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Cell;

    fn size(table: &str) -> TableSize {
        TableSize {
            table: TableRef {
                database: "d".into(),
                table: table.into(),
            },
            rows: Some(10),
        }
    }

    fn cursor(value: i64) -> Cursor {
        Cursor {
            cells: vec![Cell::Int(value), Cell::text("é'".as_bytes())],
            order: String::new(),
        }
    }

    #[test]
    fn what_is_left_comes_back_from_its_text() {
        let mut jobs = Jobs::default();
        assert!(jobs.stored().is_none());
        jobs.add_all();
        jobs.found(vec![size("a"), size("b")]);
        jobs.repair(Some(&["d.c".to_owned()]));
        jobs.read(3, Some(cursor(7)));
        let text = jobs.stored().unwrap().to_text();
        let mut read = Jobs::parse(&text).unwrap();
        assert_eq!(read.tables, jobs.tables);
        assert_eq!(read.lookups, jobs.lookups);
        assert_eq!(read.current().unwrap().after, Some(cursor(7)));
        let told = read.finish().unwrap();
        assert_eq!((told.rows, told.remaining, told.is_last), (3, 1, false));
        assert_eq!(&*read.current().unwrap().table.table, "b");
        assert!(Jobs::parse("{").is_err());
    }

    #[test]
    fn a_gap_begins_what_it_names_anew_and_nothing_else() {
        let mut jobs = Jobs::default();
        jobs.add_all();
        jobs.repair(None);
        assert_eq!(jobs.lookups.len(), 1, "what has not begun needs no repair");
        jobs.found(vec![size("a"), size("b")]);
        jobs.read(3, Some(cursor(7)));
        jobs.repair(Some(&["d.b".to_owned()]));
        assert_eq!(jobs.current().unwrap().rows, 3);
        jobs.repair(Some(&["d.a".to_owned()]));
        let job = jobs.current().unwrap();
        assert_eq!((job.rows, job.attempt, job.after.clone()), (0, 1, None));
        assert_eq!(jobs.lookups.len(), 2);
    }

    #[test]
    fn a_snapshot_of_nothing_is_told_at_once() {
        let mut jobs = Jobs::default();
        jobs.add_all();
        let told = jobs.found(Vec::new()).unwrap();
        assert!(told.is_done && told.is_last && told.table.is_none());
    }
}
