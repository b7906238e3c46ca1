//! A TCP proxy that breaks connections in the ways that networks do. Every fault counts itself: a fault that injected
//! nothing proves nothing.
//!
//! Bytes are never lost, swapped or repeated on a connection that stays open, because TCP does not do that: what a black
//! hole has swallowed comes out when it heals.

mod counters;
mod pump;

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::Result;
pub use counters::Counters;
use counters::Counting;
use pump::Way;

/// Longest that connections may take to be gone after a cut.
const GONE: Duration = Duration::from_secs(10);
/// After this long a write that its receiver does not take looks whether its connection is to end.
const WRITE: Duration = Duration::from_millis(20);

/// How a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// At once, by a reset: the peer's next read fails.
    Reset,
    /// In an orderly way: the peer reads to the end of the stream.
    Fin,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    Both,
    /// From clients to the server.
    ToServer,
    /// From the server to clients.
    ToClient,
}

/// What happens to connections, present and future ones, until something else is injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing. What was held back is delivered.
    Heal,
    /// Every open connection is closed now. New ones are closed as soon as they are taken, unless `is_once`.
    Cut {
        /// How they are closed.
        closing: Closing,
        /// Whether new connections pass.
        is_once: bool,
    },
    /// Connections stay open, and nothing is delivered, not even that the other side has gone.
    Blackhole(Direction),
    /// What the server sends passes at this many bytes a second on each connection.
    Throttle(u64),
    /// What the server sends passes in pieces of one byte.
    Drip,
    /// A connection is closed after the server has sent this many bytes on it, counted from the injection.
    ResetAfter {
        /// How many bytes still pass.
        bytes: u64,
        /// How it is closed.
        closing: Closing,
    },
}

impl Fault {
    fn holds(self, way: Way) -> bool {
        match self {
            Self::Blackhole(Direction::Both) => true,
            Self::Blackhole(Direction::ToServer) => way == Way::ToServer,
            Self::Blackhole(Direction::ToClient) => way == Way::ToClient,
            _ => false,
        }
    }
}

/// A proxy in front of a server. Its connections are closed when it is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Wakes whoever waits for another fault, or for connections to be gone.
    changed: Condvar,
    counting: Counting,
}

struct State {
    fault: Fault,
    /// Where new connections lead.
    to: SocketAddr,
    /// How often a fault was injected, which tells two equal ones apart.
    injections: u64,
    is_dropped: bool,
    connections: HashMap<u64, Connection>,
    last_connection: u64,
}

struct Connection {
    client: Arc<TcpStream>,
    server: Arc<TcpStream>,
    /// Set once it is to end.
    closing: Option<Closing>,
    /// Pumps that still run, of two.
    pumps: u8,
}

impl Proxy {
    /// Listens on a free port of this machine in front of a port of it.
    ///
    /// # Errors
    /// Where no port is had.
    pub fn start(to: u16) -> Result<Self> {
        Self::start_to(&format!("127.0.0.1:{to}"))
    }

    /// Listens on a free port of this machine in front of `host:port`.
    ///
    /// # Errors
    /// Where no port is had, or the host's name does not resolve.
    pub fn start_to(to: &str) -> Result<Self> {
        let to = resolve(to)?;
        let no_port = |error| format!("No free port: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(no_port)?;
        let port = listener.local_addr().map_err(no_port)?.port();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                fault: Fault::Heal,
                to,
                injections: 0,
                is_dropped: false,
                connections: HashMap::new(),
                last_connection: 0,
            }),
            changed: Condvar::new(),
            counting: Counting::default(),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.lock().is_dropped {
                    break;
                }
                accepting.take(client);
            }
        });
        Ok(Self { port, shared })
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// New connections lead to another `host:port` from now on, as when a service's address moves to another server.
    ///
    /// # Errors
    /// Where the host's name does not resolve.
    pub fn lead_to(&self, to: &str) -> Result<()> {
        self.shared.lock().to = resolve(to)?;
        Ok(())
    }

    /// What it has counted.
    pub fn counters(&self) -> Counters {
        self.shared.counting.read(self.shared.lock().connections.len())
    }

    /// Changes what happens to connections. After a cut it returns when the open ones are closed.
    ///
    /// # Errors
    /// Where they do not close.
    pub fn inject(&self, fault: Fault) -> Result<()> {
        let mut state = self.shared.lock();
        state.injections += 1;
        state.fault = match fault {
            Fault::Cut { is_once: true, .. } => Fault::Heal,
            other => other,
        };
        let Fault::Cut { closing, .. } = fault else {
            self.shared.changed.notify_all();
            return Ok(());
        };
        let cut: Vec<u64> = state.connections.keys().copied().collect();
        for id in &cut {
            if state.close(*id, closing) {
                Counting::add(&self.shared.counting.resets, 1);
            }
        }
        self.shared.changed.notify_all();
        let end = Instant::now() + GONE;
        while cut.iter().any(|id| state.connections.contains_key(id)) {
            if Instant::now() > end {
                return Err("Connections that were cut did not close.".to_owned());
            }
            state = self.shared.wait(state, WRITE);
        }
        Ok(())
    }
}

fn resolve(to: &str) -> Result<SocketAddr> {
    to.to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| format!("{to} is no host and port."))
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_dropped = true;
        let open: Vec<u64> = state.connections.keys().copied().collect();
        for id in open {
            state.close(id, Closing::Reset);
        }
        drop(state);
        self.shared.changed.notify_all();
        // The thread that accepts waits for a client: here it has one.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    /// Begins the end of a connection; false where it has begun before.
    fn close(&mut self, id: u64, closing: Closing) -> bool {
        let Some(connection) = self
            .connections
            .get_mut(&id)
            .filter(|connection| connection.closing.is_none())
        else {
            return false;
        };
        connection.closing = Some(closing);
        for socket in [&connection.client, &connection.server] {
            if closing == Closing::Reset {
                // The last handle on a socket resets it instead of saying goodbye, and drops what it has not sent.
                let _ = SockRef::from(&**socket).set_linger(Some(Duration::ZERO));
            }
            // Wakes the pump that reads, and sends nothing; the pump then closes.
            let _ = socket.shutdown(Shutdown::Read);
        }
        true
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, longest: Duration) -> MutexGuard<'a, State> {
        self.changed
            .wait_timeout(state, longest)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    fn take(self: &Arc<Self>, client: TcpStream) {
        Counting::add(&self.counting.connections, 1);
        let state = self.lock();
        if self.refuses(&state, &client) {
            return;
        }
        let to = state.to;
        drop(state);
        let Ok(server) = TcpStream::connect(to) else {
            // As a server that is down does, as far as a proxy can.
            let _ = SockRef::from(&client).set_linger(Some(Duration::ZERO));
            return;
        };
        for socket in [&client, &server] {
            let _ = (socket.set_nodelay(true), socket.set_write_timeout(Some(WRITE)));
        }
        let mut state = self.lock();
        // Asked again: a cut since then has not seen this connection.
        if self.refuses(&state, &client) {
            return;
        }
        let (client, server) = (Arc::new(client), Arc::new(server));
        state.last_connection += 1;
        let id = state.last_connection;
        let connection = Connection {
            client: client.clone(),
            server: server.clone(),
            closing: None,
            pumps: 2,
        };
        state.connections.insert(id, connection);
        drop(state);
        pump::spawn(self, id, Way::ToServer, client.clone(), server.clone());
        pump::spawn(self, id, Way::ToClient, server, client);
    }

    fn refuses(&self, state: &State, client: &TcpStream) -> bool {
        let Fault::Cut { closing, .. } = state.fault else {
            return false;
        };
        Counting::add(&self.counting.refused, 1);
        if closing == Closing::Reset {
            let _ = SockRef::from(client).set_linger(Some(Duration::ZERO));
        }
        true
    }
}
