//! Which places of the log the sequences of this process reach to, so that what another process states can be judged.
//!
//! A *mark* says: everything that was recorded under sequences up to this one lies before these places. A statement holds
//! everything up to a sequence where it holds the places of any mark at or above it: a later mark only asks for more. So
//! marks may be thinned out, and those of long ago are: the older, the further apart.

use std::collections::VecDeque;

use super::ledger::Sequence;
use super::reach::{LogFile, Reach};
use crate::event::LogPlace;
use crate::offset::GtidSet;

/// Most marks.
const MAX_MARKS: usize = 1_024;

/// Most files that are remembered.
const MAX_FILES: usize = 64;

#[derive(Debug, Clone)]
struct Mark {
    sequence: Sequence,
    gtids: Option<GtidSet>,
    place: Option<(u64, u64)>,
}

/// See the module's header.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail {
    marks: VecDeque<Mark>,
    /// Everything that was delivered lies in these; `None` where it cannot be said.
    gtids: Option<GtidSet>,
    /// Files that were read since the connection was made, oldest first.
    files: VecDeque<LogFile>,
}

impl Trail {
    /// What was recorded cannot be placed any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// A file is being read.
    pub fn file(&mut self, place: &LogPlace) {
        let file = LogFile {
            number: place.file,
            created: place.created,
        };
        if self.files.back() != Some(&file) {
            if self.files.len() >= MAX_FILES {
                self.files.pop_front();
            }
            self.files.push_back(file);
        }
    }

    /// The file that is being read.
    pub fn newest_file(&self) -> Option<LogFile> {
        self.files.back().copied()
    }

    /// The file with this number, where it was read.
    pub fn file_of(&self, number: u64) -> Option<LogFile> {
        self.files
            .iter()
            .rev()
            .find(|file| file.number == number)
            .copied()
    }

    /// More was delivered; `None` where it has no GTIDs.
    pub fn add(&mut self, gtids: Option<&GtidSet>) {
        self.gtids = match (self.gtids.take(), gtids) {
            (Some(all), Some(gtids)) => Some(all.union(gtids)),
            _ => None,
        };
    }

    /// Everything that was delivered, and whatever was missed, lies in these.
    pub fn anchor(&mut self, gtids: Option<&GtidSet>) {
        self.gtids = gtids.cloned();
    }

    /// Everything recorded up to `sequence` lies before `place`, and in what was delivered.
    pub fn mark(&mut self, sequence: Sequence, place: Option<(u64, u64)>) {
        if place.is_none() && self.gtids.is_none() {
            return;
        }
        // The end of the log that was read for a proof says less than what was noted since.
        if self.marks.back().is_some_and(|last| last.sequence >= sequence) {
            return;
        }
        if self.marks.len() >= MAX_MARKS {
            let half = self.marks.len() / 2;
            let mut at = 0;
            self.marks.retain(|_| {
                at += 1;
                at > half || at % 2 == 0
            });
        }
        self.marks.push_back(Mark {
            sequence,
            gtids: self.gtids.clone(),
            place,
        });
    }

    /// Whether a statement holds everything recorded up to `need`.
    pub fn holds(&self, reach: &Reach, need: Sequence) -> bool {
        if !self.files.contains(reach.file()) {
            return false;
        }
        let first = self.marks.partition_point(|mark| mark.sequence < need);
        let mut marks = self.marks.range(first..);
        match reach {
            Reach::Executed { gtids, .. } => marks
                .find_map(|mark| mark.gtids.as_ref())
                .is_some_and(|delivered| delivered.is_subset_of(gtids)),
            Reach::Shown { file, offset } => marks
                .find_map(|mark| mark.place)
                .is_some_and(|place| place <= (file.number, *offset)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: LogFile = LogFile {
        number: 3,
        created: 100,
    };

    fn shown(offset: u64) -> Reach {
        Reach::Shown { file: FILE, offset }
    }

    fn reading(trail: &mut Trail, number: u64, created: u32) {
        trail.file(&LogPlace {
            file: number,
            created,
            offset: 4,
        });
    }

    fn trail() -> Trail {
        let mut trail = Trail::default();
        reading(&mut trail, FILE.number, FILE.created);
        trail
    }

    #[test]
    fn a_statement_holds_what_lies_before_it() {
        let mut trail = trail();
        trail.mark(5, Some((3, 100)));
        trail.mark(6, Some((3, 200)));
        assert!(trail.holds(&shown(100), 5));
        assert!(trail.holds(&shown(100), 2));
        assert!(!trail.holds(&shown(99), 5));
        assert!(!trail.holds(&shown(199), 6));
        // Nothing says where that lies.
        assert!(!trail.holds(&shown(u64::MAX), 7));
    }

    #[test]
    fn thinning_only_asks_for_more() {
        let mut trail = trail();
        for sequence in 0..100_000 {
            trail.mark(sequence, Some((3, sequence)));
        }
        assert!(trail.marks.len() <= MAX_MARKS);
        for need in (0..100_000).step_by(997) {
            assert!(!trail.holds(&shown(need - u64::from(need > 0)), need) || need == 0);
            assert!(trail.holds(&shown(100_000), need));
        }
        assert!(trail.holds(&shown(99_990), 99_990));
    }

    #[test]
    fn a_file_that_was_not_read_proves_nothing() {
        let mut trail = trail();
        trail.mark(5, Some((1, 1)));
        assert!(trail.holds(&shown(9), 5));
        // The same number, of a log that was reset since.
        let before = Reach::Shown {
            file: LogFile { created: 99, ..FILE },
            offset: 9,
        };
        assert!(!trail.holds(&before, 5));
        trail.clear();
        reading(&mut trail, 3, 101);
        trail.mark(5, Some((3, 1)));
        assert!(!trail.holds(&shown(9), 5));
    }

    #[test]
    fn a_set_holds_what_was_delivered_before_a_mark() {
        let server = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let set = |text: &str| GtidSet::parse(&format!("{server}:{text}")).unwrap();
        let executed = |text: &str| Reach::Executed {
            gtids: set(text),
            file: FILE,
        };
        let mut trail = trail();
        trail.add(Some(&set("9")));
        trail.mark(1, None);
        assert!(!trail.holds(&executed("1-9"), 1));
        trail.anchor(Some(&set("1-10")));
        trail.mark(2, None);
        trail.add(Some(&set("12")));
        trail.mark(3, None);
        assert!(trail.holds(&executed("1-10"), 2));
        assert!(!trail.holds(&executed("1-11"), 3));
        assert!(trail.holds(&executed("1-10:12"), 3));
        trail.add(None);
        trail.mark(4, None);
        assert!(!trail.holds(&executed("1-20"), 4));
    }
}
