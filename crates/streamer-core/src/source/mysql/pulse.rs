//! The round trip to the server, and its clock, asked on a connection of its own.
//!
//! A dump answers no questions, so a second connection does, once each heartbeat interval. Losing it says nothing of
//! the dump: it is opened again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::link::Link;
use super::session::{Server, Vouch, connect_again, logged_offset, vouch};
use crate::config::MysqlConfig;
use crate::error::Result;
use crate::offset::Offset;

/// What the newest answer showed.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Round trip in ms.
    pub round_trip_ms: f64,
    /// The server's clock minus ours, in ms.
    pub clock_offset_ms: f64,
    /// When the question was sent, ms since the epoch by the local clock.
    pub asked_ms: f64,
    /// Where the server's log ended: it holds everything that was committed when the question was sent, as far as the server can
    /// vouch for it.
    pub end: Offset,
    /// What the log held.
    pub vouch: Vouch,
    /// Counts answers.
    pub number: u64,
}

impl Reading {
    /// Until when everything that was committed is in the log up to its end, ms since the epoch by the local clock; `None` where the
    /// server does not know.
    pub fn vouched_ms(&self) -> Option<f64> {
        match self.vouch {
            Vouch::Now => Some(self.asked_ms),
            Vouch::Behind(seconds) => Some(self.asked_ms - f64::from(seconds) * 1000.0),
            Vouch::Nothing(_) => None,
        }
    }
}

/// Asks in the background until it is dropped.
pub struct Pulse {
    reading: Arc<Mutex<Option<Reading>>>,
    task: JoinHandle<()>,
}

impl Pulse {
    /// Asks the server that `link` leads to, then each `interval`. The first answer is there when it returns.
    ///
    /// # Errors
    /// Those of a query.
    pub async fn start(
        mut link: Link,
        server: Server,
        config: MysqlConfig,
        address: usize,
        interval: Duration,
    ) -> Result<Self> {
        let reading = Arc::new(Mutex::new(None));
        let mut may_know = true;
        store(&reading, ask(&mut link, &server, &mut may_know).await?);
        let shared = reading.clone();
        let task = tokio::spawn(async move {
            let mut link = Some(link);
            loop {
                sleep(interval).await;
                if link.is_none() {
                    link = connect_again(&config, address).await.ok();
                }
                let Some(open) = link.as_mut() else { continue };
                match timeout(
                    interval.max(Duration::from_secs(1)),
                    ask(open, &server, &mut may_know),
                )
                .await
                {
                    Ok(Ok(answer)) => store(&shared, answer),
                    _ => link = None,
                }
            }
        });
        Ok(Self { reading, task })
    }

    /// The newest answer.
    pub fn reading(&self) -> Option<Reading> {
        self.reading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn store(reading: &Mutex<Option<Reading>>, mut answer: Reading) {
    let mut slot = reading.lock().unwrap_or_else(PoisonError::into_inner);
    answer.number = slot.as_ref().map_or(0, |old| old.number + 1);
    *slot = Some(answer);
}

/// `may_know`: the account may ask for the state of replication, as far as it is known.
async fn ask(link: &mut Link, server: &Server, may_know: &mut bool) -> Result<Reading> {
    let began = Instant::now();
    let sent_ms = now_ms();
    let answer = link.scalar("SELECT UNIX_TIMESTAMP(SYSDATE(6))").await?;
    let round_trip_ms = began.elapsed().as_secs_f64() * 1000.0;
    let server_ms = answer
        .and_then(|text| text.parse::<f64>().ok())
        .map_or(sent_ms, |seconds| seconds * 1000.0);
    // First: what is applied afterwards is in the log as well.
    let vouched = if *may_know {
        vouch(link, server).await?
    } else {
        None
    };
    *may_know = vouched.is_some();
    let end = logged_offset(link, server).await?;
    Ok(Reading {
        vouch: vouched.unwrap_or(Vouch::Now),
        asked_ms: sent_ms,
        end,
        round_trip_ms,
        clock_offset_ms: server_ms - (sent_ms + round_trip_ms / 2.0),
        number: 0,
    })
}

/// Milliseconds since the epoch by the local clock.
pub fn now_ms() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64() * 1000.0)
}
