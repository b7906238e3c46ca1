//! The first packet of a server: whether it takes clients, and what it is.
//!
//! Servers listen before they take clients; the greeting comes only from one that has recovered and is ready.
//! MySQL manual, "Protocol::HandshakeV10"; MariaDB manual, "Initial Handshake Packet".

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// More than any greeting has.
const LONGEST: usize = 1024;
const PROTOCOL: u8 = 10;

/// The version that the server on a port of this machine greets with; none where it does not greet, or greets with an
/// error. `timeout` is for each of connecting and reading.
pub(super) fn version(port: u16, timeout: Duration) -> Option<String> {
    let mut socket = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), timeout).ok()?;
    socket.set_read_timeout(Some(timeout)).ok()?;
    let mut head = [0; 4];
    socket.read_exact(&mut head).ok()?;
    let [low, middle, high, _sequence] = head;
    let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
    let mut body = vec![0; length.min(LONGEST)];
    socket.read_exact(&mut body).ok()?;
    let (&PROTOCOL, text) = body.split_first()? else {
        return None;
    };
    let version = String::from_utf8_lossy(text.split(|&byte| byte == 0).next()?).into_owned();
    // MariaDB before 11 says so to old replicas, which could not read a version of two digits.
    Some(
        version
            .strip_prefix("5.5.5-")
            .map(str::to_owned)
            .unwrap_or(version),
    )
}
