//! The engine, driven by connectors that follow a script.

use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::rig::{Rig, Step, ToChannel, batch, beat, configuration, kind, lost, refused};
use super::*;
use crate::code::Retry;
use crate::event::Batch;
use crate::source::{Gap, GapReason, Item, SnapshotProgress, TableRef};

const DEADLINE: Duration = Duration::from_secs(5);

fn count(seen: &[String], kind: &str) -> usize {
    seen.iter().filter(|name| *name == kind).count()
}

#[tokio::test(start_paused = true)]
async fn start_waits_for_every_source_and_ready_follows() {
    let late = vec![lost(), lost(), Step::Connect];
    let mut rig = Rig::new(vec![("a", vec![Step::Connect]), ("b", late)]);
    rig.engine.start().await.unwrap();
    let seen = rig.settle().await;
    assert_eq!(
        (
            count(&seen, "ready"),
            count(&seen, "disconnect"),
            count(&seen, "reconnect")
        ),
        (1, 2, 1)
    );
    let health = rig.engine.health();
    assert!(
        health
            .sources
            .iter()
            .all(|source| source.state == State::Streaming)
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_for_the_operator_rejects_the_start_and_is_no_notice() {
    let mut rig = Rig::new(vec![("a", vec![refused()]), ("b", vec![Step::Connect])]);
    let (first, second) = tokio::join!(rig.engine.start(), rig.engine.start());
    assert_eq!(first.unwrap_err().code(), Code::GrantMissing);
    assert_eq!(second.unwrap_err().code(), Code::GrantMissing);
    assert_eq!(count(&rig.settle().await, "error"), 0);
    let health = rig.engine.health();
    assert_eq!(health.status, Status::Degraded);
    assert_eq!(health.sources[0].state, State::Failed);
    assert_eq!(health.sources[1].state, State::Streaming);
}

#[tokio::test(start_paused = true)]
async fn a_second_source_that_fails_is_told_by_a_notice() {
    let mut rig = Rig::new(vec![("a", vec![refused()]), ("b", vec![refused()])]);
    assert!(rig.engine.start().await.is_err());
    assert_eq!(count(&rig.settle().await, "error"), 1);
}

#[tokio::test(start_paused = true)]
async fn after_the_first_stream_an_error_for_the_operator_is_retried() {
    let script = vec![Step::Connect, lost(), refused(), refused(), Step::Connect];
    let mut rig = Rig::new(vec![("a", script)]);
    rig.engine.start().await.unwrap();
    let codes = [
        rig.notice("disconnect").await,
        rig.notice("disconnect").await,
        rig.notice("disconnect").await,
    ]
    .map(|notice| (notice["error"]["code"].clone(), notice["attempt"].clone()));
    assert_eq!(codes[0], ("ERR_STREAMER_CONNECTION_LOST".into(), 1.into()));
    assert_eq!(codes[2], ("ERR_STREAMER_GRANT_MISSING".into(), 3.into()));
    let again = rig.notice("reconnect").await;
    assert_eq!(again["attempt"], 3);
    assert!(again["downMs"].as_f64().unwrap() >= 0.0);
    assert_eq!(rig.engine.health().sources[0].reconnects, 1);
}

#[tokio::test(start_paused = true)]
async fn attempts_that_are_used_up_fail_the_source() {
    let script = vec![Step::Connect, lost(), lost(), lost()];
    let mut rig = Rig::with(vec![("a", script)], |config| config.reconnect.attempts = Some(2));
    rig.engine.start().await.unwrap();
    let error = rig.notice("error").await;
    assert_eq!(error["error"]["code"], "ERR_STREAMER_CONNECTION_LOST");
    assert_eq!(error["error"]["retry"], Retry::Operator.as_str());
    assert_eq!(rig.engine.health().sources[0].state, State::Failed);
    assert_eq!(rig.engine.health().status, Status::Down);
}

#[tokio::test(start_paused = true)]
async fn failures_are_forgotten_only_after_a_healthy_period() {
    let script = vec![
        Step::Connect,
        lost(),
        Step::Connect,
        Step::Wait(Duration::from_millis(900)),
        lost(),
        Step::Connect,
        Step::Wait(Duration::from_millis(1100)),
        lost(),
    ];
    let mut rig = Rig::new(vec![("a", script)]);
    rig.engine.start().await.unwrap();
    let mut attempts = Vec::new();
    for _ in 0..3 {
        attempts.push(rig.notice("disconnect").await["attempt"].clone());
    }
    assert_eq!(attempts, [1, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_fails_its_source_and_no_other() {
    let script = vec![Step::Connect, Step::Wait(Duration::from_secs(1)), Step::Panic];
    let other = vec![Step::Connect, Step::Wait(Duration::from_secs(2)), batch(10)];
    let mut rig = Rig::new(vec![("a", script), ("b", other)]);
    rig.engine.start().await.unwrap();
    let error = rig.notice("error").await;
    assert_eq!(error["source"], "a");
    assert_eq!(error["error"]["code"], "ERR_STREAMER_INTERNAL");
    assert_eq!(&*rig.batch().await.1, "b");
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_connecting_rejects_the_start() {
    let rig = Rig::new(vec![("a", vec![Step::Panic])]);
    assert_eq!(rig.engine.start().await.unwrap_err().code(), Code::Internal);
}

#[tokio::test]
async fn a_panic_beside_the_sources_ends_them_all_and_another_engine_works() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = configuration(&["a".to_owned(), "b".to_owned()]);
    config.checkpoint = Some(crate::config::Checkpoint {
        place: crate::config::CheckpointPlace::Directory(folder.path().join("positions")),
        interval: Duration::from_secs(1),
    });
    let (sender, _deliveries) = tokio::sync::mpsc::unbounded_channel();
    let broken = Engine::with_connectors(
        config,
        Arc::new(ToChannel(sender)),
        Arc::new(|_, _, _| panic!("scripted")),
    );
    assert_eq!(broken.start().await.unwrap_err().code(), Code::Internal);
    let states: Vec<_> = broken
        .health()
        .sources
        .iter()
        .map(|source| source.state)
        .collect();
    assert_eq!(states, [State::Failed, State::Failed]);
    broken.stop(Duration::from_secs(1)).await;
    let rig = Rig::new(vec![("a", vec![Step::Connect])]);
    rig.engine.start().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reading_stops_at_the_limit_and_one_batch_may_overshoot() {
    let mut script = vec![Step::Connect];
    script.extend((0..10).map(|_| batch(40 << 10)));
    let mut rig = Rig::new(vec![("a", script)]);
    rig.engine.start().await.unwrap();
    let (first, _) = rig.batch().await;
    let (second, _) = rig.batch().await;
    assert_eq!(count(&rig.settle().await, "batch"), 0);
    assert_eq!(rig.asked.load(Ordering::SeqCst), 2);
    rig.engine.acknowledge(first);
    let (third, _) = rig.batch().await;
    assert_eq!(count(&rig.settle().await, "batch"), 0);
    rig.engine.acknowledge(second);
    rig.engine.acknowledge(third);
    assert_eq!(count(&rig.settle().await, "batch"), 2);
    assert_eq!(rig.asked.load(Ordering::SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn in_flight_stays_bounded_with_many_sources_and_a_slow_acknowledger() {
    let names = ["a", "b", "c", "d"];
    let scripts = names.map(|name| {
        let mut script = vec![Step::Connect];
        script.extend((0..50).map(|_| batch(30 << 10)));
        (name, script)
    });
    let mut rig = Rig::new(scripts.into());
    rig.engine.start().await.unwrap();
    let (mut last, mut delivered) = (0, [0; 4]);
    while delivered.iter().sum::<i32>() < 200 {
        let delivery = rig.next().await;
        assert_eq!(delivery.sequence, last + 1);
        last = delivery.sequence;
        let in_flight = rig.engine.shared.outlet.window.in_flight().bytes;
        assert!(in_flight < (64 << 10) + (31 << 10), "{in_flight}");
        if let (Payload::Batch(_), Some(place)) = (
            &delivery.payload,
            names.iter().position(|name| **name == *delivery.source),
        ) {
            delivered[place] += 1;
        }
        let (least, most) = (delivered.iter().min().unwrap(), delivered.iter().max().unwrap());
        assert!(most - least <= 4, "served out of turn: {delivered:?}");
        tokio::time::sleep(Duration::from_millis(3)).await;
        rig.engine.acknowledge(delivery.sequence);
    }
}

#[tokio::test(start_paused = true)]
async fn items_keep_the_order_of_the_log() {
    let gap = Item::Gap(Gap {
        from: None,
        to: Some("q".into()),
        tables: Some(vec!["d.t".into()]),
        reason: GapReason::Undecodable,
        error: None,
    });
    let script = vec![
        Step::Connect,
        batch(1),
        Step::Item(gap),
        batch(2),
        beat(),
        batch(3),
    ];
    let mut rig = Rig::new(vec![("a", script)]);
    rig.engine.start().await.unwrap();
    let mut seen = rig.settle().await;
    seen.retain(|kind| kind != "health" && kind != "ready");
    assert_eq!(seen, ["batch", "gap", "batch", "heartbeat", "batch"]);
}

#[tokio::test(start_paused = true)]
async fn health_is_announced_on_every_transition() {
    let second = Duration::from_secs(1);
    let script = vec![
        Step::Connect,
        beat(),
        Step::Wait(second),
        lost(),
        Step::Connect,
        Step::Wait(second),
    ];
    let mut rig = Rig::new(vec![("a", script)]);
    rig.engine.start().await.unwrap();
    let mut pictures = Vec::new();
    for _ in 0..5 {
        let health = rig.notice("health").await["health"].clone();
        pictures.push((health["status"].clone(), health["sources"]["a"]["state"].clone()));
    }
    let expected = [
        ("down", "connecting"),
        ("degraded", "streaming"),
        ("healthy", "streaming"),
        ("down", "reconnecting"),
        ("healthy", "streaming"),
    ];
    assert_eq!(
        pictures,
        expected.map(|(status, state)| (status.into(), state.into()))
    );
}

#[tokio::test]
async fn a_source_that_falls_silent_is_announced_as_degraded() {
    let mut rig = Rig::with(vec![("a", vec![Step::Connect, beat()])], |config| {
        config.heartbeat.timeout = Duration::from_millis(100);
    });
    rig.engine.start().await.unwrap();
    let mut statuses = Vec::new();
    while statuses.last().is_none_or(|status| status != "healthy") {
        statuses.push(rig.notice("health").await["health"]["status"].clone());
    }
    let next = tokio::time::timeout(DEADLINE, rig.notice("health"))
        .await
        .unwrap();
    assert_eq!(next["health"]["status"], "degraded");
}

#[tokio::test(start_paused = true)]
async fn freshness_waits_for_the_acknowledgement_of_what_came_before_the_beat() {
    let mut rig = Rig::new(vec![("a", vec![Step::Connect, batch(1), beat()])]);
    rig.engine.start().await.unwrap();
    let (sequence, _) = rig.batch().await;
    assert_eq!(count(&rig.settle().await, "heartbeat"), 1);
    assert_eq!(rig.engine.health().sources[0].fresh_until_ms, None);
    rig.engine.acknowledge(sequence);
    assert!(rig.engine.health().sources[0].fresh_until_ms.is_some());
    let before = tokio::time::Instant::now();
    assert_eq!(rig.notice("health").await["health"]["status"], "healthy");
    assert_eq!(
        before.elapsed(),
        Duration::ZERO,
        "announced by the acknowledgement, not by a timer"
    );
}

#[tokio::test(start_paused = true)]
async fn stop_ends_a_connect_that_hangs_and_is_the_last_delivery() {
    let mut rig = Rig::new(vec![("a", vec![])]);
    let engine = Arc::clone(&rig.engine);
    let start = tokio::spawn(async move { engine.start().await });
    tokio::task::yield_now().await;
    let before = tokio::time::Instant::now();
    tokio::join!(rig.engine.stop(DEADLINE), rig.engine.stop(DEADLINE));
    assert!(before.elapsed() < DEADLINE);
    assert_eq!(start.await.unwrap().unwrap_err().code(), Code::Stopped);
    let seen = rig.settle().await;
    assert_eq!(seen.last().map(String::as_str), Some("stop"));
    assert_eq!(count(&seen, "stop"), 1);
    assert_eq!(rig.disconnected.load(Ordering::SeqCst), 1);
    assert_eq!(rig.engine.health().status, Status::Stopped);
    rig.engine.stop(DEADLINE).await;
    assert_eq!(rig.engine.start().await.unwrap_err().code(), Code::Stopped);
    assert!(rig.settle().await.is_empty());
}

/// A connector that a cancellation does not reach: it blocks its thread.
struct Blocking(Mutex<std::sync::mpsc::Receiver<()>>);

impl Connector for Blocking {
    fn connect(&mut self) -> BoxFuture<'_, Result<()>> {
        async { Ok(()) }.boxed()
    }
    fn next(&mut self) -> BoxFuture<'_, Result<Item>> {
        async {
            let _ = self.0.lock().recv();
            Ok(Item::Batch(Batch::default()))
        }
        .boxed()
    }
    fn resume(&mut self, _: Saved) -> Result<()> {
        Ok(())
    }

    fn position(&mut self) -> Option<Arc<str>> {
        None
    }

    fn disconnect(&mut self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_keeps_its_deadline_and_nothing_follows_it() {
    let (sender, mut deliveries) = mpsc::unbounded_channel();
    let (release, blocked) = std::sync::mpsc::channel();
    let blocked = Mutex::new(Some(blocked));
    let factory = move |_: &SourceConfig, _: Settings, _: &Arc<Requests>| -> Box<dyn Connector> {
        Box::new(Blocking(Mutex::new(blocked.lock().take().unwrap())))
    };
    let engine = Engine::with_connectors(
        configuration(&["a".to_owned()]),
        Arc::new(ToChannel(sender)),
        Arc::new(factory),
    );
    engine.start().await.unwrap();
    engine.stop(Duration::from_millis(50)).await;
    // Where the stop came before the first read, nobody waits for it.
    let _ = release.send(());
    engine.tasks.wait().await;
    drop(engine);
    let mut kinds = Vec::new();
    while let Some(delivery) = deliveries.recv().await {
        kinds.push(kind(&delivery.payload));
    }
    assert_eq!(kinds.last().map(String::as_str), Some("stop"), "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn stop_delivers_a_batch_that_was_read_and_waits_for_room() {
    let second = Duration::from_secs(1);
    let flood = vec![Step::Connect, Step::Wait(second / 2), batch(70 << 10)];
    let other = vec![Step::Connect, Step::Wait(second), batch(1)];
    let mut rig = Rig::new(vec![("a", flood), ("b", other)]);
    rig.engine.start().await.unwrap();
    rig.batch().await;
    tokio::time::sleep(second * 2).await;
    assert_eq!(count(&rig.settle().await, "batch"), 0);
    rig.engine.stop(DEADLINE).await;
    let mut seen = rig.settle().await;
    seen.retain(|kind| kind != "health");
    assert_eq!(seen, ["batch", "stop"]);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_engine_delivers_nothing_more() {
    let second = Duration::from_secs(1);
    let mut rig = Rig::new(vec![("a", vec![Step::Connect, Step::Wait(second), batch(1)])]);
    rig.engine.start().await.unwrap();
    rig.settle().await;
    rig.engine.abandon();
    tokio::time::sleep(second * 5).await;
    assert!(rig.settle().await.is_empty());
    assert_eq!(rig.engine.start().await.unwrap_err().code(), Code::Stopped);
    rig.engine.stop(DEADLINE).await;
    assert!(rig.settle().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn log_records_arrive_only_where_a_logger_is_configured() {
    for log in [false, true] {
        let warning = Item::Warning(Error::new(Code::ServerBusy, "Something to read."));
        let mut rig = Rig::with(vec![("a", vec![Step::Connect, Step::Item(warning)])], |config| {
            config.log = log;
        });
        rig.engine.start().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut warned = Vec::new();
        while let Ok(delivery) = rig.deliveries.try_recv() {
            match delivery.payload {
                Payload::Notice(notice) if notice["type"] == "log" && notice["level"] == "warn" => {
                    warned.push(notice);
                }
                _ => {}
            }
        }
        assert_eq!(warned.len(), usize::from(log));
        if let Some(notice) = warned.first() {
            assert_eq!(notice["message"], "Something to read.");
            assert_eq!(notice["fields"]["code"], "ERR_STREAMER_SERVER_BUSY");
            assert_eq!(notice["fields"]["source"], "a");
        }
        let last = rig.engine.health().sources[0].last_error.clone();
        assert_eq!(last.map(|error| error.code()), Some(Code::ServerBusy));
    }
}

#[tokio::test(start_paused = true)]
async fn log_records_are_dropped_and_counted_when_nobody_takes_them() {
    let warning = || Step::Item(Item::Warning(Error::new(Code::ServerBusy, "Something to read.")));
    let mut script = vec![Step::Connect];
    script.extend((0..2000).map(|_| warning()));
    script.push(Step::Wait(Duration::from_secs(1)));
    script.push(warning());
    let mut rig = Rig::with(vec![("a", script)], |config| {
        config.log = true;
        config.delivery.buffer_bytes = 64 << 20;
    });
    rig.engine.start().await.unwrap();
    let seen = rig.settle().await;
    assert!(seen.len() <= 1024, "{}", seen.len());
    rig.engine.acknowledge(u64::MAX);
    let dropped = rig.notice("log").await["fields"]["dropped"].as_u64().unwrap();
    assert_eq!(dropped + u64::try_from(count(&seen, "log")).unwrap(), 2000 + 2);
    let metrics = rig.engine.metrics();
    assert!(
        metrics.contains(&format!("streamer_log_records_dropped_total {dropped}")),
        "{metrics}"
    );
}

#[tokio::test(start_paused = true)]
async fn metrics_are_in_base_units() {
    let told = |table: &str, rows, is_done, remaining| {
        Step::Item(Item::Snapshot(SnapshotProgress {
            id: "s".into(),
            table: Some(TableRef {
                database: "d".into(),
                table: table.into(),
            }),
            rows,
            estimated_rows: Some(8),
            is_done,
            remaining,
            is_last: false,
            position: None,
        }))
    };
    let rows = Step::Item(Item::Batch(Batch {
        changes: 2,
        is_snapshot: true,
        ..Batch::default()
    }));
    let mut script = vec![Step::Connect, batch(100), beat(), told("t", 0, true, 1), rows];
    script.extend([told("u", 2, false, 1), lost(), Step::Connect]);
    let mut rig = Rig::with(vec![("a", script)], |config| {
        config.sources[0].continues_after_gap = true;
    });
    rig.engine.start().await.unwrap();
    rig.notice("reconnect").await;
    let text = rig.engine.metrics();
    for line in [
        "streamer_snapshot_rows_total{source=\"a\"} 2",
        "streamer_snapshot_tables_total{source=\"a\"} 1",
        "streamer_snapshot_tables_remaining{source=\"a\"} 1",
        "streamer_snapshot_table_progress_ratio{source=\"a\"} 0.25",
        "streamer_changes_total{source=\"a\"} 3",
        "streamer_delivered_bytes_total{source=\"a\"} 228",
        "streamer_reconnects_total{source=\"a\"} 1",
        "streamer_errors_total{source=\"a\",code=\"ERR_STREAMER_CONNECTION_LOST\"} 1",
        "streamer_state{source=\"a\",state=\"snapshotting\"} 1",
        "streamer_state{source=\"a\",state=\"failed\"} 0",
        "streamer_heartbeat_round_trip_seconds{source=\"a\"} 0.001",
        "streamer_in_flight_limit_bytes 65536",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_figure_is_documented_and_nothing_else_is() {
    let gap = Item::Gap(Gap {
        from: None,
        to: None,
        tables: None,
        reason: GapReason::LogPurged,
        error: None,
    });
    let committed = Item::Batch(Batch {
        newest_committed_ms: Some(now_ms()),
        ..Batch::default()
    });
    let script = [
        Step::Item(committed),
        Step::Item(gap),
        beat(),
        lost(),
        Step::Connect,
    ];
    let script = std::iter::once(Step::Connect).chain(script).collect();
    let mut rig = Rig::with(vec![("a", script)], |config| {
        config.sources[0].continues_after_gap = true;
    });
    rig.engine.start().await.unwrap();
    rig.notice("reconnect").await;
    let text = rig.engine.metrics();
    // The name in a TYPE line has no `_total`; whether it has one follows from the type.
    let mut exposed: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            format!("{name}{}", if kind == "counter" { "_total" } else { "" })
        })
        .collect();
    let mut documented: Vec<String> = include_str!("../../../../docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once('`'))
        .map(|(name, _)| name.to_owned())
        // Those of the cache are exposed by who has one.
        .filter(|name| !name.starts_with("streamer_cache_"))
        .collect();
    exposed.sort();
    documented.sort();
    assert_eq!(exposed, documented);
}
