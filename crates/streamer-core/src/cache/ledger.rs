//! The rule: what was changed when, what of it is proved to be visible, and so which values may be kept and served.
//!
//! One ledger a source. Changes are recorded under a *sequence*, a number of this process that grows in the order of
//! the log. No log position is compared here: a place in the log only says which proof covers a sequence.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dependency::{Dependency, TableName};
use super::place::Place;
use super::reach::{LogFile, Reach};
use super::trail::Trail;
use crate::event::LogPlace;

/// Number of a step in the log, of this process.
pub type Sequence = u64;

/// Number of a connection to the log: what is proved of a server holds for the connection that was made to it.
pub type Era = u64;

/// Most values of a column whose last change is remembered one by one.
const MAX_VALUES: usize = 65_536;

/// Most places that wait for a proof; more are joined.
const MAX_PENDING: usize = 4_096;

/// Most sequences of what the application said that are remembered one by one.
const MAX_TOLD: usize = 256;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Column {
    /// A value that stands not in `values` was changed here at the latest.
    floor: Sequence,
    values: HashMap<i128, Sequence>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Table {
    /// Newest change of any row.
    any: Sequence,
    /// Newest change of which the rows are not known: truncate, DDL, rows without a column that is watched.
    whole: Sequence,
    /// Columns that some dependency asks for.
    columns: HashMap<Arc<str>, Column>,
}

/// See the module's header and that of [`cache`](super).
#[derive(Debug, Clone)]
pub struct Ledger {
    /// Which connection the log is read through.
    era: Era,
    /// Changes are recorded under this sequence.
    current: Sequence,
    /// Something was recorded under it.
    is_dirty: bool,
    /// What was recorded cannot be proved by the places of transactions: changes may be missing.
    needs_anchor: bool,
    /// Everything up to it is in every snapshot that is taken from now on.
    visible: Sequence,
    /// Newest change that concerns everything.
    all: Sequence,
    tables: HashMap<TableName, Table>,
    pending: VecDeque<(Sequence, Place)>,
    /// What was closed or anchored last, proved or not.
    last: Option<(Sequence, Place)>,
    /// What was delivered since the last place and not recorded, because nothing depended on it.
    unrecorded: Option<Place>,
    /// Delivered last was a part of a transaction.
    is_open: bool,
    /// Kept for a second level.
    trail: Option<Trail>,
    /// What is delivered next ends before it.
    reading: Option<LogPlace>,
    /// Everything that was delivered ends before it.
    place: Option<LogPlace>,
    /// Sequences of what the application, and not the log, said had changed; all up to the second are taken for such.
    told: (VecDeque<Sequence>, Sequence),
    /// The most that the server proved to be visible, and when it last did.
    shown: Option<(Reach, Instant)>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// A ledger that knows nothing: nothing may be kept before [`anchor`](Self::anchor) or [`mark`](Self::mark) was
    /// proved.
    pub fn new() -> Self {
        Self {
            era: 0,
            current: 1,
            is_dirty: true,
            needs_anchor: true,
            visible: 0,
            all: 1,
            tables: HashMap::new(),
            pending: VecDeque::new(),
            last: None,
            unrecorded: None,
            is_open: false,
            trail: None,
            reading: None,
            place: None,
            told: (VecDeque::new(), 0),
            shown: None,
        }
    }

    /// Keeps from now on what judging a second level needs.
    pub fn keep_trail(&mut self) {
        self.trail = Some(Trail::default());
    }

    /// Whether changes of this table matter to anything: others need not be recorded.
    pub fn is_watched(&self, table: &TableName) -> bool {
        self.tables.contains_key(table)
    }

    /// Columns of a table by whose values changes are to be recorded.
    pub fn watched_columns(&self, table: &TableName) -> Vec<Arc<str>> {
        match self.tables.get(table) {
            Some(table) => table.columns.keys().cloned().collect(),
            None => Vec::new(),
        }
    }

    /// Begins to record what a dependency asks for. What was changed before is not known, so it counts as changed now.
    pub fn watch(&mut self, dependency: &Dependency) {
        let is_new = self.tables.get(&dependency.table).is_none_or(|table| {
            let mut columns = dependency.equalities.iter().map(|equality| &equality.column);
            columns.any(|column| !table.columns.contains_key(column))
        });
        if !is_new {
            return;
        }
        let now = self.delivered();
        let table = self
            .tables
            .entry(dependency.table.clone())
            .or_insert_with(|| Table {
                any: now,
                whole: now,
                columns: HashMap::new(),
            });
        for equality in &dependency.equalities {
            if !table.columns.contains_key(&equality.column) {
                let column = Column {
                    floor: now,
                    values: HashMap::new(),
                };
                table.columns.insert(Arc::clone(&equality.column), column);
            }
        }
    }

    /// The same dependencies with the names that the ledger keeps, where it has them: many entries share these.
    pub fn with_own_names(&self, dependencies: &[Dependency]) -> Arc<[Dependency]> {
        let own = |dependency: &Dependency| {
            let mut dependency = dependency.clone();
            if let Some((name, table)) = self.tables.get_key_value(&dependency.table) {
                dependency.table = name.clone();
                for equality in &mut dependency.equalities {
                    if let Some((name, _)) = table.columns.get_key_value(&equality.column) {
                        equality.column = Arc::clone(name);
                    }
                }
            }
            dependency
        };
        dependencies.iter().map(own).collect()
    }

    /// The sequence of the newest change.
    pub fn newest(&self) -> Sequence {
        if self.is_dirty {
            self.current
        } else {
            self.current - 1
        }
    }

    /// Up to which sequence everything is proved to be visible.
    pub fn visible(&self) -> Sequence {
        self.visible
    }

    /// A sequence that counts as visible only once everything that was delivered is, also what was not recorded.
    pub fn delivered(&mut self) -> Sequence {
        if self.is_open {
            return self.touch();
        }
        if let Some(place) = self.unrecorded.take() {
            self.touch();
            match self.needs_anchor {
                true => self.unrecorded = Some(place),
                false => self.push(place),
            }
        }
        self.newest()
    }

    fn touch(&mut self) -> Sequence {
        self.is_dirty = true;
        self.current
    }

    /// A row of `table` had or has these values in watched columns; `None` where a watched column has a value that is
    /// no integer, which no equality names.
    pub fn row(&mut self, table: &TableName, values: &[(Arc<str>, Option<i128>)]) {
        if !self.tables.contains_key(table) {
            return;
        }
        let now = self.touch();
        let Some(table) = self.tables.get_mut(table) else {
            return;
        };
        table.any = now;
        for (name, value) in values {
            if let (Some(column), Some(value)) = (table.columns.get_mut(name), value) {
                if column.values.len() >= MAX_VALUES && !column.values.contains_key(value) {
                    column.floor = now;
                    column.values.clear();
                }
                column.values.insert(*value, now);
            }
        }
    }

    /// Any row of `table` may have changed.
    pub fn whole_table(&mut self, table: &TableName) {
        let now = self.touch();
        if let Some(table) = self.tables.get_mut(table) {
            table.any = now;
            table.whole = now;
        }
    }

    /// Definitions may have changed: what was derived from them holds no more.
    pub fn redefined(&mut self) {
        self.whole_table(&Dependency::on_definitions().table);
    }

    /// The newest change of any definition. They are watched from the beginning on.
    pub fn defined(&self) -> Sequence {
        self.last_change(std::slice::from_ref(Dependency::on_definitions()))
    }

    /// Any row of any table of `database` may have changed.
    pub fn whole_database(&mut self, database: &str) {
        let now = self.touch();
        let database = database.to_lowercase();
        for (name, table) in &mut self.tables {
            if name.parts().0 == database {
                table.any = now;
                table.whole = now;
            }
        }
    }

    /// The log does not say that the application is right: what others have kept may lack what it knows.
    fn tell(&mut self) {
        let now = self.touch();
        let (told, floor) = &mut self.told;
        if told.back() != Some(&now) {
            if told.len() >= MAX_TOLD {
                *floor = told.pop_front().unwrap_or(*floor);
            }
            told.push_back(now);
        }
    }

    /// What depends on these rows is to be asked for again: the application says so.
    pub fn touch_dependency(&mut self, dependency: &Dependency) {
        let was_dirty = self.is_dirty;
        self.tell();
        if dependency.equalities.is_empty() {
            self.whole_table(&dependency.table);
        }
        for equality in &dependency.equalities {
            for value in &equality.values {
                self.row(&dependency.table, &[(Arc::clone(&equality.column), Some(*value))]);
            }
        }
        self.repeat(was_dirty);
    }

    /// Anything may have changed, unseen.
    pub fn everything(&mut self) {
        self.all = self.touch();
        self.needs_anchor = true;
        self.is_open = false;
        (self.reading, self.place, self.shown) = (None, None, None);
        if let Some(trail) = &mut self.trail {
            trail.clear();
        }
    }

    /// The log is read through another connection, perhaps of another server: nothing that was asked before proves anything now.
    pub fn reconnect(&mut self) -> Era {
        self.everything();
        self.visible = 0;
        self.era += 1;
        self.era
    }

    /// Which connection the log is read through.
    pub fn era(&self) -> Era {
        self.era
    }

    /// Anything may have changed, by what the log says.
    pub fn any_table(&mut self) {
        self.all = self.touch();
    }

    /// Anything is to be asked for again. The log says nothing of it.
    pub fn clear(&mut self) {
        let was_dirty = self.is_dirty;
        self.tell();
        self.all = self.current;
        self.repeat(was_dirty);
    }

    /// What was touched is no change of the log: it is proved with what was closed last.
    fn repeat(&mut self, was_dirty: bool) {
        if self.is_dirty
            && !was_dirty
            && !self.needs_anchor
            && let Some((_, place)) = self.last.clone()
        {
            self.push(place);
        }
    }

    /// The transactions of what was recorded have ended; `place` covers all of them. Inside a transaction it is not
    /// called: its rows are proved with its end.
    pub fn close(&mut self, place: Place) {
        self.is_open = false;
        self.place = self.reading.take();
        if let Some(trail) = &mut self.trail {
            trail.add(place.gtids());
        }
        let place = match self.unrecorded.take() {
            Some(before) => before.joined(&place),
            None => place,
        };
        if self.is_dirty && !self.needs_anchor {
            self.push(place);
        } else {
            self.unrecorded = Some(place);
        }
    }

    /// What was delivered last is a part of a transaction.
    pub fn stays_open(&mut self) {
        self.is_open = true;
        (self.reading, self.place) = (None, None);
    }

    /// Whether delivered last was a part of a transaction.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Everything that was delivered lies before `place`, whatever was missed.
    pub fn anchor(&mut self, place: Place) {
        self.is_open = false;
        self.place = self.reading.take();
        if let Some(trail) = &mut self.trail {
            trail.anchor(place.gtids());
        }
        if self.is_dirty {
            self.needs_anchor = false;
            self.unrecorded = None;
            self.push(place);
        }
    }

    /// What is delivered next ends before this place in the server's files; `None` where it is not known.
    pub fn reading(&mut self, place: Option<LogPlace>) {
        self.reading = place;
        if let (Some(trail), Some(place)) = (&mut self.trail, &place) {
            trail.file(place);
        }
    }

    /// Everything up to the mark `sequence` lies before this place.
    pub fn lies_before(&mut self, sequence: Sequence, number: u64, offset: u64) {
        if let Some(trail) = &mut self.trail {
            trail.mark(sequence, Some((number, offset)));
        }
    }

    /// The file of the log that is being read; `None` where it is not known, or nobody asks.
    pub fn file(&self) -> Option<LogFile> {
        self.trail.as_ref()?.newest_file()
    }

    /// The file of the log with this number, where it was read.
    pub fn file_of(&self, number: u64) -> Option<LogFile> {
        self.trail.as_ref()?.file_of(number)
    }

    /// All of this is in every snapshot that is taken from now on.
    pub fn show(&mut self, reach: Reach) {
        let now = Instant::now();
        match &mut self.shown {
            Some((shown, at)) if shown.rank() >= reach.rank() => *at = now,
            shown => *shown = Some((reach, now)),
        }
    }

    /// What of the log is in every snapshot that is taken from now on; `None` where it is not known.
    pub fn shown(&self) -> Option<&Reach> {
        self.shown.as_ref().map(|(reach, _)| reach)
    }

    /// Whether it was not said for as long as this, and could be.
    pub fn is_reach_older_than(&self, age: Duration) -> bool {
        let is_old = self.shown.as_ref().is_none_or(|(_, at)| at.elapsed() >= age);
        is_old && self.file().is_some()
    }

    /// Whether a value of that reach, of whatever process, holds everything that was recorded up to `need`.
    pub fn holds(&self, reach: &Reach, need: Sequence) -> bool {
        let (told, floor) = &self.told;
        let is_told = need <= *floor || told.contains(&need);
        !is_told && self.trail.as_ref().is_some_and(|trail| trail.holds(reach, need))
    }

    fn push(&mut self, place: Place) {
        if self.pending.len() >= MAX_PENDING
            && let Some((sequence, last)) = self.pending.back_mut()
        {
            // Later, and so of more: the joined place proves both.
            *sequence = self.current;
            *last = last.joined(&place);
        } else {
            self.pending.push_back((self.current, place.clone()));
        }
        self.last = Some((self.current, place));
        if let Some(trail) = &mut self.trail {
            let place = self.place.map(|place| (place.file, place.offset));
            trail.mark(self.current, place);
        }
        self.current += 1;
        self.is_dirty = false;
    }

    /// The newest sequence that has a place, with the place: whatever shows it shows every change up to the sequence.
    pub fn horizon(&self) -> Option<(Sequence, &Place)> {
        self.last.as_ref().map(|(sequence, place)| (*sequence, place))
    }

    /// Sets a mark: everything that was recorded is at most its sequence, and everything later is above it. For proofs
    /// that need no places: the end of the log is read after the mark.
    pub fn mark(&mut self) -> Sequence {
        let newest = self.newest();
        if self.is_dirty {
            self.current += 1;
            self.is_dirty = false;
        }
        newest
    }

    /// Everything up to `sequence` is in every snapshot that is taken from now on.
    pub fn prove(&mut self, sequence: Sequence) {
        self.visible = self.visible.max(sequence);
        while self
            .pending
            .front()
            .is_some_and(|(first, _)| *first <= self.visible)
        {
            self.pending.pop_front();
        }
    }

    /// Proves every leading place of which `is_covered` holds. A place behind one that is not covered proves nothing.
    pub fn prove_places(&mut self, mut is_covered: impl FnMut(&Place) -> bool) {
        while let Some((sequence, place)) = self.pending.front()
            && is_covered(place)
        {
            self.visible = self.visible.max(*sequence);
            self.pending.pop_front();
        }
    }

    /// Whether the places of transactions can prove what was recorded: not while an anchor is missing.
    pub fn is_provable(&self) -> bool {
        !self.needs_anchor
    }

    /// The place that covers `sequence` and is not proved yet.
    pub fn place_of(&self, sequence: Sequence) -> Option<&Place> {
        let (_, place) = self.pending.iter().find(|(waiting, _)| *waiting >= sequence)?;
        Some(place)
    }

    /// Up to which sequence everything is visible to whoever sees the places of which `is_covered` holds.
    pub fn covered(&self, is_covered: impl Fn(&Place) -> bool) -> Sequence {
        let leading = self.pending.iter().take_while(|(_, place)| is_covered(place));
        leading
            .map(|(sequence, _)| *sequence)
            .fold(self.visible, Sequence::max)
    }

    /// What has to be proved before `sequence` counts as visible: places that wait, up to it.
    pub fn pending(&self, sequence: Sequence) -> impl Iterator<Item = &Place> {
        self.pending
            .iter()
            .filter(move |(waiting, _)| *waiting <= sequence)
            .map(|(_, place)| place)
    }

    /// The newest change that touched one of these.
    pub fn last_change(&self, dependencies: &[Dependency]) -> Sequence {
        dependencies
            .iter()
            .map(|dependency| self.last_change_of(dependency))
            .fold(self.all, Sequence::max)
    }

    fn last_change_of(&self, dependency: &Dependency) -> Sequence {
        let Some(table) = self.tables.get(&dependency.table) else {
            return self.newest();
        };
        // A row fulfils a conjunction only where it fulfils each part: one part that was not touched is enough.
        let rows = dependency.equalities.iter().map(|equality| {
            let Some(column) = table.columns.get(&equality.column) else {
                return table.any;
            };
            let values = equality
                .values
                .iter()
                .filter_map(|value| column.values.get(value));
            values.copied().fold(column.floor, Sequence::max)
        });
        rows.min().unwrap_or(table.any).max(table.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TableName {
        TableName::new("d", "T")
    }

    fn on(pairs: &[(&str, &[i128])]) -> Vec<Dependency> {
        let equalities = pairs
            .iter()
            .map(|(column, values)| super::super::Equality {
                column: Arc::from(*column),
                values: values.to_vec(),
            })
            .collect();
        vec![Dependency {
            table: table(),
            equalities,
        }]
    }

    fn watched(dependencies: &[&[Dependency]]) -> Ledger {
        let mut ledger = Ledger::new();
        for dependency in dependencies.iter().flat_map(|each| each.iter()) {
            ledger.watch(dependency);
        }
        ledger.anchor(Place::Since(Instant::now()));
        ledger.prove_places(|_| true);
        ledger
    }

    fn row(ledger: &mut Ledger, values: &[(&str, i128)]) {
        let values: Vec<_> = values
            .iter()
            .map(|(name, value)| (Arc::from(*name), Some(*value)))
            .collect();
        ledger.row(&table(), &values);
        ledger.mark();
    }

    #[test]
    fn a_conjunction_is_touched_only_where_each_part_is() {
        let (both, five) = (on(&[("a", &[1]), ("b", &[2])]), on(&[("a", &[5])]));
        let mut ledger = watched(&[&both, &five]);
        let before = ledger.visible();
        row(&mut ledger, &[("a", 1), ("b", 3)]);
        assert!(ledger.last_change(&both) <= before);
        row(&mut ledger, &[("a", 1), ("b", 2)]);
        assert!(ledger.last_change(&both) > before);
        assert!(ledger.last_change(&five) <= before);
        assert!(ledger.last_change(&[Dependency::on_table(table())]) > before);
    }

    #[test]
    fn a_column_that_was_not_watched_counts_as_changed_now() {
        let mut ledger = watched(&[&on(&[("a", &[1])])]);
        row(&mut ledger, &[("a", 1)]);
        let late = on(&[("c", &[7])]);
        for dependency in &late {
            ledger.watch(dependency);
        }
        assert!(ledger.last_change(&late) > ledger.visible());
    }

    #[test]
    fn values_beyond_the_bound_raise_the_floor() {
        let first = on(&[("a", &[-1])]);
        let mut ledger = watched(&[&first]);
        let before = ledger.visible();
        for value in 0..=MAX_VALUES as i128 {
            row(&mut ledger, &[("a", value)]);
        }
        assert!(ledger.last_change(&first) > before);
    }

    #[test]
    fn a_place_is_not_proved_before_the_ones_in_front_of_it() {
        let mut ledger = watched(&[&on(&[])]);
        let moment = Instant::now();
        for _ in 0..2 {
            ledger.row(&table(), &[]);
            ledger.close(Place::Since(moment));
        }
        let visible = ledger.visible();
        let mut first = true;
        ledger.prove_places(|_| !std::mem::take(&mut first));
        assert_eq!(ledger.visible(), visible);
        ledger.prove_places(|_| true);
        assert_eq!(ledger.visible(), ledger.newest());
    }

    #[test]
    fn after_a_gap_the_end_of_a_transaction_proves_nothing_before_an_anchor_does() {
        let mut ledger = watched(&[&on(&[])]);
        ledger.everything();
        ledger.close(Place::Since(Instant::now()));
        ledger.prove_places(|_| true);
        assert!(ledger.last_change(&on(&[])) > ledger.visible());
        ledger.anchor(Place::Since(Instant::now()));
        ledger.prove_places(|_| true);
        assert!(ledger.last_change(&on(&[])) <= ledger.visible());
    }

    #[test]
    fn what_the_application_drops_is_proved_with_what_was_delivered_last() {
        let all = on(&[]);
        let mut ledger = watched(&[&all]);
        ledger.row(&table(), &[]);
        ledger.close(Place::Clock(5));
        ledger.touch_dependency(&all[0]);
        assert!(ledger.last_change(&all) > ledger.visible());
        ledger.prove_places(|place| *place == Place::Clock(5));
        assert!(ledger.last_change(&all) <= ledger.visible());
        // A transaction that goes on is not.
        ledger.row(&table(), &[]);
        ledger.clear();
        ledger.prove_places(|_| true);
        assert!(ledger.last_change(&all) > ledger.visible());
    }
}
