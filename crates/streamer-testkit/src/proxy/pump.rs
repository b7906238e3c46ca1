//! Moves the bytes of one connection one way, through whatever fault holds at the moment.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::{Closing, Counting, Fault, Shared};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// A throttled connection is given its bytes this many times a second.
const SHARES: u64 = 20;
/// Between two looks, where another fault wakes the pump at once anyway.
const LONG: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToServer,
    ToClient,
}

struct Pump {
    shared: Arc<Shared>,
    id: u64,
    way: Way,
    from: Arc<TcpStream>,
    to: Arc<TcpStream>,
    /// Bytes delivered since the injection that is in force.
    passed: u64,
    injections: u64,
}

/// The connection is to end.
struct Ends;

pub(super) fn spawn(shared: &Arc<Shared>, id: u64, way: Way, from: Arc<TcpStream>, to: Arc<TcpStream>) {
    let mut pump = Pump {
        shared: shared.clone(),
        id,
        way,
        from,
        to,
        passed: 0,
        injections: 0,
    };
    std::thread::spawn(move || {
        let _ = pump.run();
        pump.end();
    });
}

impl Pump {
    fn run(&mut self) -> Result<(), Ends> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = match (&*self.from).read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read,
            };
            let bytes = buffer.get(..*read.as_ref().unwrap_or(&0)).unwrap_or_default();
            self.deliver(bytes)?;
            if bytes.is_empty() {
                // A reset is passed on as a reset. At an orderly end the other way may still have something to say.
                read.map_err(|_| self.breaks())?;
                let _ = self.to.shutdown(Shutdown::Write);
                return Ok(());
            }
        }
    }

    /// One side has broken the connection, without any fault of ours: so it ends for the other.
    fn breaks(&self) -> Ends {
        self.shared.lock().close(self.id, Closing::Reset);
        Ends
    }

    /// Delivers bytes, or the end of the stream where there are none.
    fn deliver(&mut self, mut bytes: &[u8]) -> Result<(), Ends> {
        let mut is_held = false;
        loop {
            let fault = self.fault()?;
            if fault.holds(self.way) {
                if !is_held {
                    Counting::add(&self.shared.counting.held, bytes.len());
                }
                is_held = true;
                self.wait(LONG);
                continue;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let count = self.step(fault, bytes)?;
            bytes = bytes.get(count..).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Writes as much as a fault lets pass at once; returns how much.
    fn step(&mut self, fault: Fault, bytes: &[u8]) -> Result<usize, Ends> {
        let counting = &self.shared.clone().counting;
        let first = |count: u64| {
            bytes
                .get(..usize::try_from(count).unwrap_or(usize::MAX))
                .unwrap_or(bytes)
        };
        match fault {
            Fault::ResetAfter {
                bytes: limit,
                closing,
            } if self.way == Way::ToClient => {
                let left = limit.saturating_sub(self.passed);
                if left == 0 {
                    if self.shared.lock().close(self.id, closing) {
                        Counting::add(&counting.resets, 1);
                    }
                    self.shared.changed.notify_all();
                    return Err(Ends);
                }
                self.write(first(left))
            }
            Fault::Drip if self.way == Way::ToClient => {
                let count = self.write(first(1))?;
                Counting::add(&counting.drips, count);
                Ok(count)
            }
            Fault::Throttle(bytes_per_second) if self.way == Way::ToClient => {
                let rate = bytes_per_second.max(1);
                let share = (rate / SHARES).max(1);
                let count = self.write(first(share))?;
                Counting::add(&counting.throttled, count);
                self.wait(Duration::from_secs_f64(count as f64 / rate as f64));
                Ok(count)
            }
            _ => self.write(bytes),
        }
    }

    /// One write; none where the receiver takes nothing at the moment.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Ends> {
        let count = match (&*self.to).write(bytes) {
            Ok(count) => count,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                0
            }
            Err(_) => return Err(self.breaks()),
        };
        self.passed += count as u64;
        let counter = match self.way {
            Way::ToServer => &self.shared.counting.to_server,
            Way::ToClient => &self.shared.counting.to_client,
        };
        Counting::add(counter, count);
        Ok(count)
    }

    /// The fault in force, unless the connection is to end.
    fn fault(&mut self) -> Result<Fault, Ends> {
        let state = self.shared.lock();
        let ends = state
            .connections
            .get(&self.id)
            .is_none_or(|connection| connection.closing.is_some());
        if ends {
            return Err(Ends);
        }
        if self.injections != state.injections {
            self.injections = state.injections;
            self.passed = 0;
        }
        Ok(state.fault)
    }

    /// Waits until another fault is injected or this connection is to end, or for a time.
    fn wait(&self, longest: Duration) {
        let state = self.shared.lock();
        let is_same = |state: &mut super::State| {
            state.injections == self.injections
                && state
                    .connections
                    .get(&self.id)
                    .is_some_and(|connection| connection.closing.is_none())
        };
        drop(self.shared.changed.wait_timeout_while(state, longest, is_same));
    }

    fn end(self) {
        let Self {
            shared, id, from, to, ..
        } = self;
        // The connection has handles of its own: with these gone, its are the last.
        drop((from, to));
        let mut state = shared.lock();
        let Some(connection) = state.connections.get_mut(&id) else {
            return;
        };
        connection.pumps -= 1;
        if connection.pumps > 0 {
            return;
        }
        // Closes both sockets, before whoever waits for it is told.
        if let Some(connection) = state.connections.remove(&id)
            && connection.closing == Some(Closing::Fin)
        {
            for socket in [&connection.client, &connection.server] {
                let _ = socket.shutdown(Shutdown::Write);
            }
        }
        drop(state);
        shared.changed.notify_all();
    }
}
