//! Every interleaving of a writer, two processes that follow the same log, and a store that they share.
//!
//! The server is that of `model.rs`. Each process delivers the log to itself in its own time, into a ledger of its own, has
//! one entry in memory, and reads; the second one begins late, at any place of the log. What a process has asked for it writes
//! into the store, in a step of its own; what lies there may be lost at any time. The log may be reset once: it numbers its
//! places anew then.

use std::collections::{BTreeSet, HashSet};

use super::*;
use crate::event::LogPlace;

/// A weakening of the rule that must be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// What lies in the store is believed.
    NotJudged,
    /// Its reach is what was delivered when it was stored, and not what was proved before the query.
    ReachAfter,
    /// Its reach is the end of the log when it was asked for.
    EndOfLog,
    /// A process takes what it has not seen recorded for unchanged.
    NoFloor,
    /// The file that a reach names is not compared.
    AnyLog,
}

const WRITES: u8 = 2;
const READS: u8 = 2;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    Idle,
    Looking {
        seen: u8,
    },
    Fetching {
        seen: u8,
        need: Sequence,
    },
    Asking {
        seen: u8,
        need: Sequence,
    },
    Querying {
        seen: u8,
        as_of: Sequence,
        reach: (u32, u64),
    },
    Filling {
        seen: u8,
        as_of: Sequence,
        reach: (u32, u64),
        value: u8,
    },
    Storing {
        reach: (u32, u64),
        value: u8,
    },
}

#[derive(Debug, Clone)]
struct Process {
    is_connected: bool,
    delivered: u8,
    ledger: Ledger,
    entry: Option<(u8, Sequence)>,
    step: Step,
    left: u8,
}

#[derive(Debug, Clone)]
struct World {
    logged: u8,
    visible: u8,
    /// Transactions that were in the log when it was reset, and are not in it any more.
    forgotten: u8,
    has_reset: bool,
    store: Option<(u8, (u32, u64))>,
    processes: [Process; 2],
}

fn on_row() -> Vec<Dependency> {
    vec![Dependency {
        table: TableName::new("d", "t"),
        equalities: vec![Equality {
            column: "id".into(),
            values: vec![1],
        }],
    }]
}

fn reach((created, offset): (u32, u64)) -> Reach {
    Reach::Shown {
        file: LogFile { number: 1, created },
        offset,
    }
}

impl Process {
    fn new() -> Self {
        Self {
            is_connected: false,
            delivered: 0,
            ledger: Ledger::new(),
            entry: None,
            step: Step::Idle,
            left: READS,
        }
    }

    /// Begins to follow the log at its end; what was there before is visible or not.
    fn connect(&mut self, world: &World, flaw: Flaw) {
        self.is_connected = true;
        self.delivered = world.logged;
        self.entry = None;
        self.ledger = Ledger::new();
        self.ledger.keep_trail();
        self.ledger.watch(&on_row()[0]);
        self.reading(world);
        if flaw == Flaw::NoFloor {
            // As if it had read the log from its first byte.
            self.ledger.lies_before(1, 1, 0);
        }
        self.ledger.anchor(Place::Since(Instant::now()));
    }

    fn reading(&mut self, world: &World) {
        self.ledger.reading(Some(LogPlace {
            file: 1,
            created: u32::from(world.has_reset),
            offset: u64::from(self.delivered - world.forgotten),
        }));
    }

    fn deliver(&mut self, world: &World) {
        self.delivered += 1;
        self.reading(world);
        self.ledger
            .row(&TableName::new("d", "t"), &[("id".into(), Some(1))]);
        self.ledger.close(Place::Since(Instant::now()));
    }
}

impl World {
    fn fingerprint(&self) -> String {
        let of = |process: &Process| {
            let ledger = &process.ledger;
            format!(
                "{} {} {} {} {} {:?} {:?} {}",
                process.is_connected,
                process.delivered,
                ledger.last_change(&on_row()),
                ledger.visible(),
                ledger.newest(),
                process.entry,
                process.step,
                process.left
            )
        };
        format!(
            "{} {} {} {} {:?} {} {}",
            self.logged,
            self.visible,
            self.forgotten,
            self.has_reset,
            self.store,
            of(&self.processes[0]),
            of(&self.processes[1])
        )
    }

    fn server_steps(&self, flaw: Flaw) -> Vec<World> {
        let mut next = Vec::new();
        let mut step = |make: &dyn Fn(&mut World)| {
            let mut world = self.clone();
            make(&mut world);
            next.push(world);
        };
        if self.logged < WRITES {
            step(&|world| world.logged += 1);
        }
        if self.visible < self.logged {
            step(&|world| world.visible += 1);
        }
        if self.store.is_some() {
            step(&|world| world.store = None);
        }
        if !self.has_reset && self.visible == self.logged {
            // Whoever follows the log is disconnected by it, and begins anew.
            step(&|world| {
                world.has_reset = true;
                world.forgotten = world.logged;
                for process in &mut world.processes {
                    if process.is_connected {
                        process.is_connected = false;
                        process.step = Step::Idle;
                    }
                }
            });
        }
        for index in 0..2 {
            let process = &self.processes[index];
            if !process.is_connected {
                step(&|world| {
                    let now = world.clone();
                    world.processes[index].connect(&now, flaw);
                });
            } else if process.delivered < self.logged {
                step(&|world| {
                    let now = world.clone();
                    world.processes[index].deliver(&now);
                });
            }
        }
        next
    }

    /// The snapshot shows everything that is visible; what was delivered and is not, is not proved.
    fn proof(&self, process: &mut Process) -> (u32, u64) {
        if process.delivered <= self.visible {
            let newest = process.ledger.newest();
            process.ledger.prove(newest);
        }
        (
            u32::from(self.has_reset),
            u64::from(self.visible - self.forgotten),
        )
    }

    fn judges(&self, flaw: Flaw, process: &Process, (created, offset): (u32, u64), need: Sequence) -> bool {
        match flaw {
            Flaw::NotJudged => true,
            Flaw::AnyLog => process
                .ledger
                .holds(&reach((u32::from(self.has_reset), offset)), need),
            _ => process.ledger.holds(&reach((created, offset)), need),
        }
    }

    /// One step of a process; `Err` where it was given what is older than what it knew of.
    fn process_step(&self, index: usize, flaw: Flaw) -> Result<Option<World>, String> {
        let mut world = self.clone();
        let mut process = self.processes[index].clone();
        if !process.is_connected {
            return Ok(None);
        }
        let served = |value: u8, seen: u8| match value < seen {
            true => Err(format!("was told of {seen}, was given {value}: {self:?}")),
            false => Ok(()),
        };
        let need_now = process.ledger.last_change(&on_row());
        process.step = match process.step {
            Step::Idle if process.left == 0 => return Ok(None),
            Step::Idle => {
                process.left -= 1;
                Step::Looking {
                    seen: process.delivered,
                }
            }
            Step::Looking { seen } => match process.entry {
                Some((value, as_of)) if need_now <= as_of => {
                    served(value, seen)?;
                    Step::Idle
                }
                _ => Step::Fetching { seen, need: need_now },
            },
            Step::Fetching { seen, need } => match self.store {
                Some((value, reach)) if self.judges(flaw, &process, reach, need) => {
                    if need_now <= need {
                        process.entry = Some((value, need));
                    }
                    served(value, seen)?;
                    Step::Idle
                }
                _ => Step::Asking { seen, need },
            },
            Step::Asking { seen, need } => {
                let reach = self.proof(&mut process);
                if process.ledger.visible() < need {
                    return Ok(None);
                }
                let reach = match flaw {
                    Flaw::EndOfLog => (reach.0, u64::from(self.logged - self.forgotten)),
                    _ => reach,
                };
                let as_of = process.ledger.visible();
                Step::Querying { seen, as_of, reach }
            }
            Step::Querying { seen, as_of, reach } => Step::Filling {
                seen,
                as_of,
                reach,
                value: self.visible,
            },
            Step::Filling {
                seen,
                as_of,
                reach,
                value,
            } => {
                served(value, seen)?;
                if need_now <= as_of {
                    process.entry = Some((value, as_of));
                    Step::Storing { reach, value }
                } else if flaw == Flaw::ReachAfter {
                    Step::Storing { reach, value }
                } else {
                    Step::Idle
                }
            }
            Step::Storing { reach, value } => {
                let reach = match flaw {
                    Flaw::ReachAfter => (reach.0, u64::from(process.delivered - self.forgotten)),
                    _ => reach,
                };
                // Compared as the script does; what is lost can be replaced by anything.
                if world.store.is_none_or(|(_, stored)| stored <= reach) {
                    world.store = Some((value, reach));
                }
                Step::Idle
            }
        };
        world.processes[index] = process;
        Ok(Some(world))
    }
}

/// Tries everything; the number of states, or what went wrong.
fn explore(flaw: Flaw) -> Result<usize, String> {
    let mut seen = HashSet::new();
    let mut shared = BTreeSet::new();
    let mut start = World {
        logged: 0,
        visible: 0,
        forgotten: 0,
        has_reset: false,
        store: None,
        processes: [Process::new(), Process::new()],
    };
    let now = start.clone();
    start.processes[0].connect(&now, flaw);
    let mut open = vec![start];
    while let Some(world) = open.pop() {
        if !seen.insert(world.fingerprint()) {
            continue;
        }
        open.extend(world.server_steps(flaw));
        for index in 0..2 {
            let next = world.process_step(index, flaw)?;
            if let Some(next) = &next
                && matches!(world.processes[index].step, Step::Fetching { .. })
                && matches!(next.processes[index].step, Step::Idle)
            {
                shared.insert((index, next.store.map(|(value, _)| value), world.has_reset));
            }
            open.extend(next);
        }
    }
    // A model in which nobody is ever answered by the store proves nothing.
    for index in 0..2 {
        for has_reset in [false, true] {
            assert!(shared.contains(&(index, Some(WRITES), has_reset)), "{shared:?}");
        }
    }
    Ok(seen.len())
}

#[test]
fn no_interleaving_of_processes_serves_what_is_older_than_what_each_was_told() {
    let states = explore(Flaw::None).unwrap();
    assert!(states > 10_000, "{states} states are too few to say anything");
}

#[test]
fn every_weakening_of_the_shared_rule_is_found_out() {
    for flaw in [
        Flaw::NotJudged,
        Flaw::ReachAfter,
        Flaw::EndOfLog,
        Flaw::NoFloor,
        Flaw::AnyLog,
    ] {
        assert!(explore(flaw).is_err(), "{flaw:?} was not found out");
    }
}
