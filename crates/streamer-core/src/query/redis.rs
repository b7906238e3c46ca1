//! The connection to the second level: never waited for longer than [`PATIENCE`], and left alone for a while where it fails.
//!
//! A connection is made in the background; whoever asks meanwhile is told that there is none. After [`MAX_FAILURES`] commands
//! in a row that failed or came late, or as soon as the connection breaks, it is let go; a task tries again, first soon, then
//! at most every [`LAST_PAUSE`], and a new one counts only once it has answered. So a Redis that is frozen costs a few readers
//! [`PATIENCE`], once, and nobody anything afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ClientTlsConfig, FromRedisValue, RedisError, TlsCertificates};
use tokio::time::timeout;

use crate::config::RedisConfig;

/// Longest wait for an answer that a reader waits for.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

/// Longest wait for a connection, and for the answer to a write.
const BACKGROUND: Duration = Duration::from_secs(1);

/// Failures in a row after which a connection is let go.
const MAX_FAILURES: u32 = 3;

/// Pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);

enum State {
    /// None; another attempt may begin at that moment.
    Down { from: Instant, pause: Duration },
    /// An attempt is under way, behind a pause of that length.
    Connecting,
    /// One that answers, and how often it failed in a row.
    Up(MultiplexedConnection, u32),
    /// No more.
    Closed,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// There is no connection.
    Down,
    /// It failed, or took too long.
    Failed,
    /// What lies there is of another kind.
    Foreign,
}

/// See the module's header.
pub(super) struct Link {
    client: Client,
    state: Mutex<State>,
}

impl Link {
    /// For a Redis; nothing connects yet. `None` where the driver refuses the URL.
    pub fn new(config: &RedisConfig) -> Option<Self> {
        let url = config.url.reveal();
        let client = if config.authorities.is_none() && config.identity.is_none() {
            Client::open(url)
        } else {
            let client_tls = config.identity.as_ref().map(|(chain, key)| ClientTlsConfig {
                client_cert: chain.clone(),
                client_key: key.reveal().as_bytes().to_vec(),
            });
            let certificates = TlsCertificates {
                client_tls,
                root_cert: config.authorities.clone(),
            };
            Client::build_with_tls(url, certificates)
        };
        let state = State::Down {
            from: Instant::now(),
            pause: FIRST_PAUSE,
        };
        Some(Self {
            client: client.ok()?,
            state: Mutex::new(state),
        })
    }

    /// The connection; where there is none, one is made in the background. Must be called on a tokio runtime.
    fn connection(self: &Arc<Self>) -> Option<MultiplexedConnection> {
        let mut state = self.state.lock();
        match &*state {
            State::Up(connection, _) => return Some(connection.clone()),
            State::Down { from, pause } if *from <= Instant::now() => {
                let pause = *pause;
                *state = State::Connecting;
                let link = Arc::clone(self);
                tokio::spawn(async move { link.connect(pause).await });
            }
            State::Down { .. } | State::Connecting | State::Closed => {}
        }
        None
    }

    async fn connect(&self, pause: Duration) {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(BACKGROUND))
            .set_response_timeout(Some(BACKGROUND));
        let attempt = async {
            let mut connection = self
                .client
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            // Whoever is frozen takes connections, and says nothing.
            redis::cmd("PING").query_async::<()>(&mut connection).await?;
            Ok::<_, RedisError>(connection)
        };
        let made = timeout(2 * BACKGROUND, attempt).await;
        let mut state = self.state.lock();
        if matches!(*state, State::Closed) {
            return;
        }
        *state = match made {
            Ok(Ok(connection)) => State::Up(connection, 0),
            _ => State::Down {
                from: Instant::now() + pause,
                pause: (pause * 2).min(LAST_PAUSE),
            },
        };
    }

    /// What a command of a reader answers.
    pub async fn ask<T: FromRedisValue>(self: &Arc<Self>, command: &redis::Cmd) -> Result<T, Silence> {
        let mut connection = self.connection().ok_or(Silence::Down)?;
        self.settle(timeout(PATIENCE, command.query_async(&mut connection)).await)
    }

    /// What a script in the background answers.
    pub async fn run<T: FromRedisValue>(
        self: &Arc<Self>,
        script: &redis::ScriptInvocation<'_>,
    ) -> Result<T, Silence> {
        let mut connection = self.connection().ok_or(Silence::Down)?;
        self.settle(timeout(BACKGROUND, script.invoke_async(&mut connection)).await)
    }

    /// What a command in the background answers.
    pub async fn tell(self: &Arc<Self>, command: &redis::Cmd) -> Result<(), Silence> {
        let mut connection = self.connection().ok_or(Silence::Down)?;
        self.settle(timeout(BACKGROUND, command.query_async(&mut connection)).await)
    }

    fn settle<T>(
        &self,
        answer: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
    ) -> Result<T, Silence> {
        let broke = match &answer {
            Ok(Ok(_)) => None,
            Ok(Err(error)) if error.code() == Some("WRONGTYPE") => return Err(Silence::Foreign),
            Ok(Err(error)) => Some(error.is_unrecoverable_error() || error.is_connection_dropped()),
            Err(_) => Some(false),
        };
        let mut state = self.state.lock();
        if let State::Up(_, failures) = &mut *state {
            match broke {
                None => *failures = 0,
                Some(broke) => {
                    *failures += 1;
                    if broke || *failures >= MAX_FAILURES {
                        *state = State::Down {
                            from: Instant::now(),
                            pause: FIRST_PAUSE,
                        };
                    }
                }
            }
        }
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(Silence::Failed),
        }
    }

    /// Lets the connection go; none is made again.
    pub fn close(&self) {
        *self.state.lock() = State::Closed;
    }
}
