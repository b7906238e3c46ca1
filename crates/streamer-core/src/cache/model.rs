//! Every interleaving of two writers, the log, the feed and two readers of one row, against the real ledger.
//!
//! The database is modelled as the servers do it: a transaction enters the log first, from then on the feed may deliver it,
//! and becomes visible later, in the order of the log; the executed set grows after that. Values are the number of the
//! transaction that wrote them. Each step is atomic; all orders of steps are tried, from every state once.

use std::collections::{BTreeSet, HashSet};

use super::*;

/// A weakening of the rule that must be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// No proof: a query begins at once, and counts as of everything that was delivered.
    NoProof,
    /// A lease: no proof, and a fill is void where something was recorded since the miss.
    Lease,
    /// The end of the log is taken for what is visible.
    EndOfLog,
    /// `as_of` is read after the query.
    AsOfAfter,
    /// Listeners are told before the change is recorded.
    ToldFirst,
    /// What was touched is compared when an entry is filled, never when it is served, and nothing is dropped.
    CheckedOnceOnly,
    /// Fills are not compared, and entries are dropped by events only.
    NotComparedAtFill,
}

const WRITES: u8 = 2;
const READS: u8 = 2;

/// Where a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    Idle {
        left: u8,
    },
    Looking {
        left: u8,
        seen: u8,
    },
    Asking {
        left: u8,
        seen: u8,
        need: Sequence,
    },
    /// The executed set was read, and not yet noted.
    Proving {
        left: u8,
        seen: u8,
        need: Sequence,
        executed: u8,
        mark: Sequence,
    },
    Querying {
        left: u8,
        seen: u8,
        as_of: Sequence,
        need: Sequence,
    },
    Filling {
        left: u8,
        seen: u8,
        as_of: Sequence,
        need: Sequence,
        value: u8,
    },
}

#[derive(Debug, Clone)]
struct World {
    logged: u8,
    visible: u8,
    executed: u8,
    delivered: u8,
    /// The newest value that a listener was told of.
    told: u8,
    /// A delivery in two parts, where the flaw turns them round.
    telling: bool,
    ledger: Ledger,
    entry: Option<(u8, Sequence)>,
    readers: [Step; 2],
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

impl World {
    fn new() -> Self {
        let mut ledger = Ledger::new();
        ledger.watch(&on_row()[0]);
        let mark = ledger.mark();
        ledger.prove(mark);
        Self {
            logged: 0,
            visible: 0,
            executed: 0,
            delivered: 0,
            told: 0,
            telling: false,
            ledger,
            entry: None,
            readers: [Step::Idle { left: READS }; 2],
        }
    }

    /// What tells states apart.
    fn fingerprint(&self) -> String {
        let last = self.ledger.last_change(&on_row());
        format!(
            "{} {} {} {} {} {} {last} {} {} {:?} {:?}",
            self.logged,
            self.visible,
            self.executed,
            self.delivered,
            self.told,
            self.telling,
            self.ledger.visible(),
            self.ledger.newest(),
            self.entry,
            self.readers
        )
    }

    fn record(&mut self, flaw: Flaw) {
        self.ledger
            .row(&TableName::new("d", "t"), &[("id".into(), Some(1))]);
        self.ledger.mark();
        if flaw == Flaw::NotComparedAtFill {
            self.entry = None;
        }
    }

    /// Steps of the server and of the feed.
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
        if self.executed < self.visible {
            step(&|world| world.executed += 1);
        }
        if self.telling {
            step(&|world| {
                world.record(flaw);
                world.telling = false;
            });
        } else if self.delivered < self.logged {
            step(&|world| {
                world.delivered += 1;
                world.told = world.delivered;
                if flaw == Flaw::ToldFirst {
                    world.telling = true;
                } else {
                    world.record(flaw);
                }
            });
        }
        next
    }

    fn has_proof(&self, flaw: Flaw, need: Sequence) -> bool {
        matches!(flaw, Flaw::NoProof | Flaw::Lease) || self.ledger.visible() >= need
    }

    /// One step of a reader; `Err` where it was given what is older than what it knew of.
    fn reader_step(&self, index: usize, flaw: Flaw) -> Result<Option<World>, String> {
        let mut world = self.clone();
        let served = |value: u8, seen: u8| {
            if value < seen {
                Err(format!("was told of {seen}, was given {value}: {self:?}"))
            } else {
                Ok(())
            }
        };
        world.readers[index] = match self.readers[index] {
            Step::Idle { left: 0 } => return Ok(None),
            Step::Idle { left } => Step::Looking {
                left: left - 1,
                seen: self.told,
            },
            Step::Looking { left, seen } => {
                let need = self.ledger.last_change(&on_row());
                let judged = !matches!(flaw, Flaw::CheckedOnceOnly | Flaw::NotComparedAtFill);
                match self.entry {
                    Some((value, as_of)) if !judged || need <= as_of => {
                        served(value, seen)?;
                        Step::Idle { left }
                    }
                    _ => Step::Asking { left, seen, need },
                }
            }
            Step::Asking { left, seen, need } if self.has_proof(flaw, need) => {
                let as_of = match flaw {
                    Flaw::NoProof | Flaw::Lease => self.ledger.newest(),
                    _ => self.ledger.visible(),
                };
                Step::Querying {
                    left,
                    seen,
                    as_of,
                    need,
                }
            }
            Step::Asking { left, seen, need } => Step::Proving {
                left,
                seen,
                need,
                mark: self.ledger.newest(),
                executed: if flaw == Flaw::EndOfLog {
                    self.logged
                } else {
                    self.executed
                },
            },
            Step::Proving {
                left,
                seen,
                need,
                executed,
                mark,
            } => {
                // What was delivered before the mark was in the log then: `mark` counts deliveries, from the first.
                if u64::from(executed) + 1 >= mark {
                    world.ledger.prove(mark);
                }
                Step::Asking { left, seen, need }
            }
            Step::Querying {
                left,
                seen,
                as_of,
                need,
            } => Step::Filling {
                left,
                seen,
                as_of,
                need,
                value: self.visible,
            },
            Step::Filling {
                left,
                seen,
                as_of,
                need,
                value,
            } => {
                let as_of = if flaw == Flaw::AsOfAfter {
                    self.ledger.visible()
                } else {
                    as_of
                };
                if flaw == Flaw::NotComparedAtFill || self.ledger.last_change(&on_row()) <= as_of {
                    world.entry = Some((value, as_of));
                }
                if !matches!(flaw, Flaw::Lease | Flaw::NoProof) {
                    served(value, seen)?;
                }
                let _ = need;
                Step::Idle { left }
            }
        };
        Ok(Some(world))
    }

    /// Writes have ended and everything was delivered: what is served now must be the row.
    fn stale(&self, flaw: Flaw) -> Option<String> {
        let is_quiet = self.delivered == WRITES && self.visible == WRITES && !self.telling;
        let (value, as_of) = self.entry?;
        let judged = !matches!(flaw, Flaw::CheckedOnceOnly | Flaw::NotComparedAtFill);
        let is_served = !judged || self.ledger.last_change(&on_row()) <= as_of;
        (is_quiet && is_served && value < WRITES).then(|| format!("{value} stays: {self:?}"))
    }
}

/// Tries everything; the number of states, or what went wrong.
fn explore(flaw: Flaw) -> Result<usize, String> {
    let mut seen = HashSet::new();
    let mut kinds = BTreeSet::new();
    let mut open = vec![World::new()];
    while let Some(world) = open.pop() {
        if !seen.insert(world.fingerprint()) {
            continue;
        }
        kinds.extend(world.readers);
        if let Some(stale) = world.stale(flaw) {
            return Err(stale);
        }
        open.extend(world.server_steps(flaw));
        for index in 0..world.readers.len() {
            open.extend(world.reader_step(index, flaw)?);
        }
    }
    // A model whose readers never get as far as filling proves nothing.
    assert!(kinds.iter().any(|step| matches!(
        step,
        Step::Filling {
            left: 0,
            value: WRITES,
            ..
        }
    )));
    Ok(seen.len())
}

#[test]
fn no_interleaving_serves_what_is_older_than_a_delivered_change() {
    let states = explore(Flaw::None).unwrap();
    assert!(states > 10_000, "{states} states are too few to say anything");
}

#[test]
fn every_weakening_of_the_rule_is_found_out() {
    for flaw in [
        Flaw::NoProof,
        Flaw::Lease,
        Flaw::EndOfLog,
        Flaw::AsOfAfter,
        Flaw::ToldFirst,
        Flaw::CheckedOnceOnly,
        Flaw::NotComparedAtFill,
    ] {
        assert!(explore(flaw).is_err(), "{flaw:?} was not found out");
    }
}
