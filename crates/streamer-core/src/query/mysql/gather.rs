//! Look-ups by the same statement, asked together.
//!
//! The first look-up is asked at once. While [`MAX_ASKING`] questions by a statement are under way, look-ups by it wait, and the next
//! question takes all of them: no timer, no delay where there is no load, and the more load, the fewer queries. Whoever's turn it is asks
//! for the others as well, and then hands the turn to one who waits; where it is given up, those whose look-ups it had taken along
//! begin anew.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::cache::Sequence;
use crate::cache::sql::MAX_TOGETHER;
use crate::code::Code;
use crate::error::{Error, Result};
use crate::query::backend::Asked;

/// Most questions by one statement that are under way.
const MAX_ASKING: usize = 2;

/// A look-up that is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// The value that is looked up.
    pub value: i128,
    /// What its answer must hold.
    pub need: Sequence,
}

/// What comes to one who waits.
enum Word {
    /// The answer.
    Answer(Result<Asked>),
    /// It is your turn to ask.
    Turn(Turn),
}

struct Waiting {
    look: Look,
    word: oneshot::Sender<Word>,
}

#[derive(Default)]
struct Lane {
    asking: usize,
    waiting: VecDeque<Waiting>,
}

/// Lanes by statement.
type Lanes = Arc<Mutex<HashMap<Arc<str>, Lane>>>;

/// See the module's header.
#[derive(Default)]
pub(super) struct Gather(Lanes);

/// The right to ask by a statement. It is handed on when it is dropped, on its way to who was gone as well.
struct Turn {
    lanes: Lanes,
    sql: Arc<str>,
    is_handed_on: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        while !self.is_handed_on {
            let next = {
                let mut lanes = self.lanes.lock();
                let Some(lane) = lanes.get_mut(&self.sql) else {
                    return;
                };
                let next = lane.waiting.pop_front();
                if next.is_none() {
                    lane.asking -= 1;
                    if lane.asking == 0 {
                        lanes.remove(&self.sql);
                    }
                }
                next
            };
            let Some(next) = next else {
                return;
            };
            let turn = Turn {
                lanes: Arc::clone(&self.lanes),
                sql: Arc::clone(&self.sql),
                is_handed_on: false,
            };
            match next.word.send(Word::Turn(turn)) {
                Err(Word::Turn(mut turn)) => turn.is_handed_on = true,
                _ => self.is_handed_on = true,
            }
        }
    }
}

impl Gather {
    /// Answers a look-up by `sql`. `ask` answers several at once, in their order; it is called for whoever's turn it is, with that one's
    /// look-up first.
    ///
    /// # Errors
    /// Those of `ask`, which everybody gets who was asked for.
    pub async fn look<F>(&self, sql: &Arc<str>, look: Look, ask: impl Fn(Vec<Look>) -> F) -> Result<Asked>
    where
        F: Future<Output = Result<Vec<Asked>>>,
    {
        loop {
            let joined = {
                let mut lanes = self.0.lock();
                let lane = lanes.entry(Arc::clone(sql)).or_default();
                if lane.asking < MAX_ASKING {
                    lane.asking += 1;
                    Err(Turn {
                        lanes: Arc::clone(&self.0),
                        sql: Arc::clone(sql),
                        is_handed_on: false,
                    })
                } else {
                    let (word, receiver) = oneshot::channel();
                    lane.waiting.push_back(Waiting { look, word });
                    Ok(receiver)
                }
            };
            let turn = match joined {
                Err(turn) => turn,
                Ok(receiver) => match receiver.await {
                    Ok(Word::Answer(answer)) => return answer,
                    Ok(Word::Turn(turn)) => turn,
                    // Whoever asked was given up.
                    Err(_) => continue,
                },
            };
            return self.take_turn(turn, look, &ask).await;
        }
    }

    async fn take_turn<F>(&self, turn: Turn, look: Look, ask: &impl Fn(Vec<Look>) -> F) -> Result<Asked>
    where
        F: Future<Output = Result<Vec<Asked>>>,
    {
        let others: Vec<Waiting> = {
            let mut lanes = self.0.lock();
            lanes.get_mut(&turn.sql).map_or_else(Vec::new, |lane| {
                let count = lane.waiting.len().min(MAX_TOGETHER - 1);
                lane.waiting.drain(..count).collect()
            })
        };
        let looks = std::iter::once(look).chain(others.iter().map(|other| other.look));
        let answers = ask(looks.collect()).await;
        drop(turn);
        match answers {
            Ok(mut answers) => {
                let rest = answers.split_off(1.min(answers.len()));
                for (other, answer) in others.into_iter().zip(rest) {
                    let _ = other.word.send(Word::Answer(Ok(answer)));
                }
                answers
                    .pop()
                    .ok_or_else(|| Error::new(Code::Internal, "A look-up was not answered."))
            }
            Err(error) => {
                for other in others {
                    let _ = other.word.send(Word::Answer(Err(error.clone())));
                }
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::cache::Value;
    use crate::query::backend::Proof;

    fn answers(looks: &[Look]) -> Vec<Asked> {
        let of = |look: &Look| Asked {
            value: Value::Bytes(look.value.to_string().into_bytes().into()),
            proof: Some(Proof::of(look.need)),
        };
        looks.iter().map(of).collect()
    }

    fn text(asked: &Asked) -> String {
        match &asked.value {
            Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Value::Rows { .. } => String::new(),
        }
    }

    fn at(value: i128) -> Look {
        Look { value, need: 1 }
    }

    #[tokio::test]
    async fn who_waits_is_asked_for_together() {
        let (gather, sql) = (Gather::default(), Arc::from("SELECT"));
        let (questions, gate) = (AtomicUsize::new(0), Semaphore::new(0));
        let ask = |looks: Vec<Look>| {
            questions.fetch_add(1, Ordering::Relaxed);
            let gate = &gate;
            async move {
                let _ = gate.acquire().await;
                Ok(answers(&looks))
            }
        };
        let all = join_all((0..130).map(|value| gather.look(&sql, at(value), ask)));
        let (found, ()) = tokio::join!(all, async { gate.add_permits(1) });
        let found: Vec<String> = found.iter().flatten().map(text).collect();
        assert_eq!(found, (0..130).map(|value| value.to_string()).collect::<Vec<_>>());
        // Two begin at once, the others are taken along.
        let questions = questions.load(Ordering::Relaxed);
        assert!((4..=6).contains(&questions), "{questions} questions");
        assert!(gather.0.lock().is_empty());
    }

    #[tokio::test]
    async fn an_error_is_everybodys_who_was_asked_for() {
        let (gather, sql) = (Gather::default(), Arc::from("SELECT"));
        let asked = Mutex::new(Vec::new());
        let ask = |looks: Vec<Look>| {
            let asked = &asked;
            async move {
                asked
                    .lock()
                    .push(looks.iter().map(|look| look.value).collect::<Vec<_>>());
                tokio::task::yield_now().await;
                match looks.iter().any(|look| look.value == 3) {
                    true => Err(Error::new(Code::Timeout, "late")),
                    false => Ok(answers(&looks)),
                }
            }
        };
        let found = join_all((0..5).map(|value| gather.look(&sql, at(value), ask))).await;
        let asked = asked.lock();
        for (value, found) in (0..5).zip(found) {
            let together = asked.iter().find(|values| values.contains(&value)).unwrap();
            assert_eq!(found.is_err(), together.contains(&3), "{value} of {asked:?}");
        }
        assert!(asked.len() < 5);
    }

    #[tokio::test]
    async fn whoever_gives_up_loses_nobody() {
        let (gather, sql) = (Gather::default(), Arc::from("SELECT"));
        let gate = Semaphore::new(0);
        let ask = |looks: Vec<Look>| {
            let gate = &gate;
            async move {
                let _ = gate.acquire().await;
                Ok(answers(&looks))
            }
        };
        let mut first: Vec<_> = (0..2)
            .map(|value| gather.look(&sql, at(value), ask).boxed())
            .collect();
        let mut later: Vec<_> = (2..6)
            .map(|value| gather.look(&sql, at(value), ask).boxed())
            .collect();
        for look in first.iter_mut().chain(&mut later) {
            assert!(look.now_or_never().is_none());
        }
        // Both who ask are gone; the turns are on their way to the first two who wait, of whom one is gone, too.
        first.clear();
        drop(later.remove(0));
        // It asks for the others, and is given up as well.
        let mut asking = later.remove(0);
        assert!((&mut asking).now_or_never().is_none());
        drop(asking);
        gate.add_permits(1);
        let found: Vec<String> = join_all(later).await.iter().flatten().map(text).collect();
        assert_eq!(found, ["4", "5"]);
        assert!(gather.0.lock().is_empty());
    }
}
