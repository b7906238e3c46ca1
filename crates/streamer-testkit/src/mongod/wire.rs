//! One command to a `mongod`, and its answer: enough to make a replica set and to ask how it does.
//!
//! MongoDB manual, "OP_MSG": a header of four 32-bit numbers, 32 flag bits, then one section of kind 0, a document.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bson::Document;

use crate::Result;

const OP_MSG: i32 = 2013;
/// Header, flags and the kind of the section.
const HEAD: usize = 21;
/// More than any answer here has.
const LONGEST: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Runs a command on the database `admin` of a `mongod` on a port of this machine.
///
/// # Errors
/// Where it does not answer, or refuses.
pub(crate) fn command(port: u16, mut command: Document) -> Result<Document> {
    command.insert("$db", "admin");
    let answer = exchange(port, &command).map_err(|error| format!("mongod on port {port}: {error}"))?;
    match answer.get("ok").and_then(number) {
        Some(1.0) => Ok(answer),
        _ => Err(format!(
            "mongod on port {port} refuses: {}",
            answer.get_str("errmsg").unwrap_or("no reason given")
        )),
    }
}

fn number(value: &bson::Bson) -> Option<f64> {
    value.as_f64().or_else(|| value.as_i32().map(f64::from))
}

fn exchange(port: u16, command: &Document) -> std::io::Result<Document> {
    let mut socket = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), TIMEOUT)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let body = command.to_vec().map_err(std::io::Error::other)?;
    let length = i32::try_from(HEAD + body.len()).map_err(std::io::Error::other)?;
    let mut message = Vec::with_capacity(HEAD + body.len());
    for word in [length, 1, 0, OP_MSG, 0] {
        message.extend_from_slice(&word.to_le_bytes());
    }
    message.push(0);
    message.extend_from_slice(&body);
    socket.write_all(&message)?;
    let mut head = [0; HEAD];
    socket.read_exact(&mut head)?;
    let [a, b, c, d, ..] = head;
    let length = usize::try_from(i32::from_le_bytes([a, b, c, d])).map_err(std::io::Error::other)?;
    let mut answer = vec![0; length.saturating_sub(HEAD).min(LONGEST)];
    socket.read_exact(&mut answer)?;
    Document::from_reader(answer.as_slice()).map_err(std::io::Error::other)
}
