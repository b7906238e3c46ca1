//! A TCP proxy that breaks connections. Every fault counts itself: one that injected nothing proves nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::Result;

/// What happens to connections, present and future ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None.
    Heal,
    /// Every open connection is closed now; new ones are refused.
    Cut,
    /// Connections stay open, and nothing passes in either direction.
    Blackhole,
    /// What the server sends passes at this many bytes a second.
    Throttle(u64),
    /// What the server sends passes in pieces of one byte.
    Drip,
    /// A connection is closed after the server has sent this many bytes on it.
    ResetAfter(u64),
}

/// What has happened so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections taken.
    pub connections: AtomicU64,
    /// Bytes from clients to the server.
    pub to_server: AtomicU64,
    /// Bytes from the server to clients.
    pub to_client: AtomicU64,
    /// Connections closed by a fault.
    pub resets: AtomicU64,
    /// Bytes swallowed or held back by a fault.
    pub held: AtomicU64,
    /// Pieces of one byte.
    pub drips: AtomicU64,
}

struct Shared {
    fault: Mutex<Fault>,
    counters: Counters,
    open: Mutex<Vec<TcpStream>>,
}

/// A proxy in front of a port of this machine.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens on a free port.
    ///
    /// # Errors
    /// Where none is had.
    pub fn start(to: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("No free port: {error}"))?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        let shared = Arc::new(Shared {
            fault: Mutex::new(Fault::Heal),
            counters: Counters::default(),
            open: Mutex::default(),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepting.take(client, to);
            }
        });
        Ok(Self { port, shared })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has counted.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Changes what happens to connections.
    pub fn inject(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        if fault == Fault::Cut {
            self.shared.cut();
        }
    }
}

impl Shared {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for socket in open.drain(..) {
            if socket.shutdown(Shutdown::Both).is_ok() {
                self.counters.resets.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn take(self: &Arc<Self>, client: TcpStream, to: u16) {
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        if self.fault() == Fault::Cut {
            self.counters.resets.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (Ok(client_reads), Ok(server_reads), Ok(kept)) =
            (client.try_clone(), server.try_clone(), client.try_clone())
        else {
            return;
        };
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(kept);
        let up = self.clone();
        std::thread::spawn(move || up.pump(client_reads, server, true));
        let down = self.clone();
        std::thread::spawn(move || down.pump(server_reads, client, false));
    }

    /// Moves bytes in one direction until either side ends.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, is_upwards: bool) {
        let mut buffer = vec![0; 64 << 10];
        let mut passed = 0_u64;
        while let Ok(count) = from.read(&mut buffer) {
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            while self.fault() == Fault::Blackhole {
                self.counters.held.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
            let written = if is_upwards {
                self.counters.to_server.fetch_add(count as u64, Ordering::Relaxed);
                to.write_all(bytes).is_ok()
            } else {
                self.counters.to_client.fetch_add(count as u64, Ordering::Relaxed);
                self.downwards(&mut to, bytes, passed)
            };
            passed += count as u64;
            if !written {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    fn downwards(&self, to: &mut TcpStream, bytes: &[u8], passed: u64) -> bool {
        match self.fault() {
            Fault::ResetAfter(limit) if passed + bytes.len() as u64 > limit => {
                let left = usize::try_from(limit.saturating_sub(passed)).unwrap_or(0);
                let _ = to.write_all(bytes.get(..left).unwrap_or_default());
                self.counters.resets.fetch_add(1, Ordering::Relaxed);
                false
            }
            Fault::Drip => bytes.iter().all(|byte| {
                self.counters.drips.fetch_add(1, Ordering::Relaxed);
                to.write_all(std::slice::from_ref(byte)).is_ok()
            }),
            Fault::Throttle(bytes_per_second) => {
                let wait = bytes.len() as f64 / bytes_per_second.max(1) as f64;
                self.counters
                    .held
                    .fetch_add(bytes.len() as u64, Ordering::Relaxed);
                std::thread::sleep(Duration::from_secs_f64(wait));
                to.write_all(bytes).is_ok()
            }
            _ => to.write_all(bytes).is_ok(),
        }
    }
}
