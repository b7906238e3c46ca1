use proptest::prelude::*;

use super::*;
use crate::code::Code;

fn board() -> Board {
    let board = Board::new(["a".into(), "b".into()], Duration::from_millis(3000));
    board.start();
    board
}

fn beat(fresh_until_ms: f64, clock_offset_ms: Option<f64>) -> Beat {
    Beat {
        fresh_until_ms,
        round_trip_ms: 2.0,
        clock_offset_ms,
        position: "p".into(),
    }
}

fn fresh(board: &Board, source: usize) -> Option<f64> {
    board.health(0.0).sources[source].fresh_until_ms
}

#[test]
fn a_beat_counts_at_once_where_everything_was_acknowledged() {
    let board = board();
    board.beat(0, &beat(1000.0, None), 1001.0);
    assert_eq!((fresh(&board, 0), fresh(&board, 1)), (Some(1000.0), None));
}

#[test]
fn a_beat_waits_for_the_batches_before_it() {
    let board = board();
    board.delivered(0, 1, None, 900.0);
    board.delivered(0, 2, None, 900.0);
    board.beat(0, &beat(1000.0, None), 1001.0);
    board.acknowledge(1, 1500.0);
    assert_eq!(fresh(&board, 0), None);
    board.acknowledge(2, 1500.0);
    assert_eq!(fresh(&board, 0), Some(1000.0));
}

#[test]
fn a_beat_does_not_wait_for_another_source() {
    let board = board();
    board.delivered(1, 1, None, 900.0);
    board.beat(0, &beat(1000.0, None), 1001.0);
    assert_eq!(fresh(&board, 0), Some(1000.0));
}

#[test]
fn a_commit_proves_nothing_while_the_clocks_are_not_compared() {
    let board = board();
    board.delivered(0, 1, Some(5000.0), 5001.0);
    board.acknowledge(1, 5002.0);
    assert_eq!(fresh(&board, 0), None);
}

#[test]
fn a_commit_is_corrected_by_the_clock_and_by_half_a_round_trip() {
    let board = board();
    board.beat(0, &beat(1000.0, Some(500.0)), 1001.0);
    board.delivered(0, 1, Some(5500.0), 5010.0);
    assert_eq!(fresh(&board, 0), Some(1000.0));
    board.acknowledge(1, 5020.0);
    assert_eq!(fresh(&board, 0), Some(4999.0));
    assert_eq!(board.health(0.0).sources[0].lag_ms, Some(10.0));
}

#[test]
fn freshness_is_never_in_the_future_and_lag_never_negative() {
    let board = board();
    board.beat(0, &beat(1000.0, Some(0.0)), 1001.0);
    board.delivered(0, 1, Some(9000.0), 2000.0);
    board.acknowledge(1, 2000.0);
    assert_eq!(fresh(&board, 0), Some(2000.0));
    assert_eq!(board.health(0.0).sources[0].lag_ms, Some(0.0));
}

#[test]
fn a_source_that_is_silent_for_too_long_is_degraded() {
    let board = board();
    for source in 0..2 {
        board.enter(source, State::Streaming);
        board.beat(source, &beat(1000.0, None), 1001.0);
    }
    assert_eq!(board.health(4000.0).status, Status::Healthy);
    assert_eq!(board.health(4001.0).status, Status::Degraded);
}

#[test]
fn the_status_follows_the_states() {
    let board = Board::new(["a".into(), "b".into()], Duration::from_millis(3000));
    assert_eq!(board.health(0.0).status, Status::Stopped);
    board.start();
    assert_eq!(board.health(0.0).status, Status::Down);
    board.enter(0, State::Streaming);
    board.enter(1, State::Failed);
    assert_eq!(board.health(0.0).status, Status::Degraded);
    board.end();
    let health = board.health(0.0);
    assert_eq!(health.status, Status::Stopped);
    assert_eq!(health.sources[1].state, State::Failed);
}

#[tokio::test(start_paused = true)]
async fn uptime_is_the_share_of_the_time_spent_streaming() {
    let board = board();
    tokio::time::advance(Duration::from_secs(10)).await;
    board.enter(0, State::Streaming);
    tokio::time::advance(Duration::from_secs(20)).await;
    board.enter(0, State::Reconnecting);
    tokio::time::advance(Duration::from_secs(10)).await;
    board.end();
    tokio::time::advance(Duration::from_secs(60)).await;
    let health = board.health(0.0);
    assert_eq!((health.sources[0].uptime, health.sources[1].uptime), (0.5, 0.0));
}

#[test]
fn the_json_is_that_of_the_contract() {
    let board = board();
    board.enter(0, State::Streaming);
    board.beat(0, &beat(1000.7, None), 1001.0);
    board.blame(1, &Error::new(Code::Timeout, "No answer."));
    let json = board.health(1001.0).to_json();
    assert_eq!(json["status"], "degraded");
    assert_eq!(json["sources"]["a"]["state"], "streaming");
    assert_eq!(json["sources"]["a"]["freshUntil"], 1000.0);
    assert_eq!(json["sources"]["a"]["heartbeatMs"], 2.0);
    assert_eq!(json["sources"]["a"]["lagMs"], Value::Null);
    assert_eq!(json["sources"]["b"]["lastError"]["code"], "ERR_STREAMER_TIMEOUT");
}

proptest! {
    #[test]
    fn freshness_only_grows_and_never_outruns_the_acknowledgements(
        steps in proptest::collection::vec((0_u8..3, 0.0_f64..5000.0, 0_u64..40), 1..80)
    ) {
        let board = board();
        let (mut sequence, mut acknowledged, mut last) = (0, 0, None::<f64>);
        // What may be claimed: the proofs whose batches are acknowledged, no later than the time of the claim.
        let mut proofs: Vec<(u64, f64)> = Vec::new();
        let mut now = 0.0;
        for (kind, value, step) in steps {
            now += 10.0;
            match kind {
                0 => {
                    sequence += 1;
                    board.delivered(0, sequence, None, now);
                }
                1 => {
                    proofs.push((sequence, value));
                    board.beat(0, &beat(value, None), now);
                }
                _ => {
                    acknowledged = (acknowledged + step).min(sequence);
                    board.acknowledge(acknowledged, now);
                }
            }
            let fresh = fresh(&board, 0);
            prop_assert!(fresh >= last);
            last = fresh;
            if let Some(fresh) = fresh {
                let most = proofs
                    .iter()
                    .filter(|(after, _)| *after <= acknowledged)
                    .map(|(_, until)| *until)
                    .fold(f64::MIN, f64::max);
                prop_assert!(fresh <= most && fresh <= now);
            }
        }
    }
}
