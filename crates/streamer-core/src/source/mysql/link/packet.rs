//! Framing: a packet is three bytes of length, one of sequence, then the payload; a payload of 16 MB - 1 goes on in
//! the next packet (MySQL internals, "MySQL Packets").
//!
//! Packets are handed out as ranges of the read buffer, so that the decoder reads them where the kernel put them.
//! Only payloads above 16 MB are joined in a second buffer.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::transport::Transport;
use crate::code::Code;
use crate::error::{Error, Result};

const HEADER: usize = 4;
const MAX_CHUNK: usize = 0xff_ffff;

/// Most that one read adds to the buffer, whatever length the server announced.
pub const MAX_EAGER_RESERVE: usize = 256 << 10;

/// Largest payload that is accepted: the protocol's own limit for `max_allowed_packet` plus an event's header.
const MAX_PAYLOAD: usize = (1 << 30) + 1024;

/// Longest greeting: a version, some fixed fields, the name of a plugin.
const MAX_GREETING: u32 = 64 << 10;

/// A buffer that grew for one large packet goes back to this size.
const KEEP_CAPACITY: usize = 1 << 20;

/// Where a packet's payload lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketRange {
    joined: bool,
    start: usize,
    end: usize,
}

/// A transport read and written packet by packet.
pub(super) struct PacketStream {
    transport: Option<Transport>,
    buffer: Vec<u8>,
    /// Where the next packet's header begins.
    at: usize,
    /// Payload of a packet that spans several chunks.
    joined: Vec<u8>,
    joining: bool,
    sequence: u8,
    received: u64,
}

impl PacketStream {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            transport: Some(transport),
            buffer: Vec::new(),
            at: 0,
            joined: Vec::new(),
            joining: false,
            sequence: 0,
            received: 0,
        }
    }

    /// Replaces the transport by what `upgrade` makes of it (TLS). Nothing may have been read ahead.
    pub(super) async fn upgrade<F>(&mut self, upgrade: impl FnOnce(Transport) -> F) -> Result<()>
    where
        F: Future<Output = Result<Transport>>,
    {
        if self.at != self.buffer.len() {
            return Err(Error::new(
                Code::TlsFailed,
                "The server sent plain text after TLS had been agreed.",
            ));
        }
        if let Some(transport) = self.transport.take() {
            self.transport = Some(upgrade(transport).await?);
        }
        Ok(())
    }

    pub(super) fn is_private(&self) -> bool {
        self.transport.as_ref().is_some_and(Transport::is_private)
    }

    /// The next packet is the first of a command.
    pub(super) fn begin_command(&mut self) {
        self.sequence = 0;
    }

    pub(super) async fn write(&mut self, payload: &[u8]) -> Result<()> {
        let mut frame = Vec::with_capacity(payload.len() + HEADER);
        let mut rest = payload;
        loop {
            let (chunk, after) = rest.split_at(rest.len().min(MAX_CHUNK));
            frame.extend_from_slice(&(chunk.len() as u32).to_le_bytes()[..3]);
            frame.push(self.sequence);
            frame.extend_from_slice(chunk);
            self.sequence = self.sequence.wrapping_add(1);
            rest = after;
            if chunk.len() < MAX_CHUNK {
                break;
            }
        }
        let transport = self
            .transport
            .as_mut()
            .ok_or_else(|| lost(&io::ErrorKind::NotConnected.into()))?;
        transport.write_all(&frame).await.map_err(|error| lost(&error))?;
        transport.flush().await.map_err(|error| lost(&error))
    }

    pub(super) fn bytes(&self, range: &PacketRange) -> &[u8] {
        let buffer = if range.joined { &self.joined } else { &self.buffer };
        buffer.get(range.start..range.end).unwrap_or_default()
    }

    /// Bytes that have arrived so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// A whole packet out of what has been read, if there is one.
    pub(super) fn buffered(&mut self) -> Result<Option<PacketRange>> {
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            let Some(&[a, b, c, sequence]) = rest.first_chunk::<HEADER>() else {
                return Ok(None);
            };
            let length = u32::from_le_bytes([a, b, c, 0]) as usize;
            if rest.len() < HEADER + length {
                return Ok(None);
            }
            let (start, end) = (self.at + HEADER, self.at + HEADER + length);
            self.at = end;
            self.sequence = sequence.wrapping_add(1);
            if !self.joining && length < MAX_CHUNK {
                return Ok(Some(PacketRange {
                    joined: false,
                    start,
                    end,
                }));
            }
            if let Some(range) = self.join(start, end)? {
                return Ok(Some(range));
            }
        }
    }

    /// Adds a chunk to the packet that is being joined; the packet where this was its last.
    fn join(&mut self, start: usize, end: usize) -> Result<Option<PacketRange>> {
        if !self.joining {
            self.joined.clear();
            self.joined.shrink_to(KEEP_CAPACITY);
            self.joining = true;
        }
        if self.joined.len() + (end - start) > MAX_PAYLOAD {
            return Err(Error::new(
                Code::LimitExceeded,
                "The server sent a packet of more than 1 GiB.",
            ));
        }
        self.joined
            .extend_from_slice(self.buffer.get(start..end).unwrap_or_default());
        if end - start == MAX_CHUNK {
            return Ok(None);
        }
        self.joining = false;
        Ok(Some(PacketRange {
            joined: true,
            start: 0,
            end: self.joined.len(),
        }))
    }

    /// Adds what has arrived to the buffer, once something has. Cancel-safe: a read either has appended, or has not happened.
    async fn read_more(&mut self) -> Result<()> {
        let transport = self
            .transport
            .as_mut()
            .ok_or_else(|| lost(&io::ErrorKind::NotConnected.into()))?;
        let read = transport
            .read_buf(&mut self.buffer)
            .await
            .map_err(|error| lost(&error))?;
        if read == 0 {
            return Err(lost(&io::ErrorKind::UnexpectedEof.into()));
        }
        self.received += read as u64;
        Ok(())
    }

    /// Waits for a whole packet. Cancel-safe: a read either has appended what arrived, or has not happened.
    pub(super) async fn next(&mut self) -> Result<PacketRange> {
        loop {
            if let Some(range) = self.buffered()? {
                return Ok(range);
            }
            self.make_room();
            self.read_more().await?;
        }
    }

    /// Waits for the server's greeting; what cannot be one is refused by its first bytes, because what other protocols
    /// say would be read as the length of a packet that never ends.
    pub(super) async fn greeting(&mut self) -> Result<PacketRange> {
        loop {
            if let Some(&[a, b, c, sequence, version]) = self.buffer.first_chunk::<5>() {
                let length = u32::from_le_bytes([a, b, c, 0]);
                if sequence == 0 && length <= MAX_GREETING && matches!(version, 10 | 0xff) {
                    return self.next().await;
                }
                return Err(Error::new(
                    Code::ProtocolUnexpected,
                    "The first bytes are no greeting.",
                ));
            }
            self.read_more().await?;
        }
    }

    /// Moves the unread rest to the front and makes sure that a read finds room.
    fn make_room(&mut self) {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
            if self.buffer.capacity() > MAX_CHUNK && self.buffer.len() < KEEP_CAPACITY {
                self.buffer.shrink_to(KEEP_CAPACITY);
            }
        }
        if self.buffer.capacity() - self.buffer.len() < MAX_EAGER_RESERVE / 2 {
            self.buffer.reserve(MAX_EAGER_RESERVE);
        }
    }
}

fn lost(error: &io::Error) -> Error {
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the server closed it".to_owned(),
        io::ErrorKind::ConnectionReset => "it was reset".to_owned(),
        _ => error.to_string(),
    };
    Error::new(
        Code::ConnectionLost,
        format!("The connection to the server broke: {why}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    async fn stream_of(bytes: Vec<u8>) -> PacketStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(&bytes).await.unwrap();
        });
        PacketStream::new(Transport::Tcp(TcpStream::connect(address).await.unwrap()))
    }

    fn frame(payload: &[u8], sequence: u8) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_le_bytes()[..3].to_vec();
        frame.push(sequence);
        frame.extend_from_slice(payload);
        frame
    }

    #[tokio::test]
    async fn a_payload_above_16_mb_is_joined() {
        let payload: Vec<u8> = (0..MAX_CHUNK + 5).map(|i| i as u8).collect();
        let mut bytes = frame(&payload[..MAX_CHUNK], 0);
        bytes.extend(frame(&payload[MAX_CHUNK..], 1));
        bytes.extend(frame(b"after", 2));
        let mut stream = stream_of(bytes).await;
        let range = stream.next().await.unwrap();
        assert!(stream.bytes(&range) == payload);
        let range = stream.next().await.unwrap();
        assert_eq!(stream.bytes(&range), b"after");
    }

    #[tokio::test]
    async fn a_payload_of_exactly_one_chunk_ends_with_an_empty_one() {
        let payload = vec![7; MAX_CHUNK];
        let mut bytes = frame(&payload, 0);
        bytes.extend(frame(b"", 1));
        let mut stream = stream_of(bytes).await;
        let range = stream.next().await.unwrap();
        assert_eq!(stream.bytes(&range).len(), MAX_CHUNK);
    }

    #[tokio::test]
    async fn an_announced_length_reserves_nothing_beyond_a_read() {
        let mut bytes = vec![0xfe, 0xff, 0xff, 0];
        bytes.extend([1, 2, 3]);
        let mut stream = stream_of(bytes).await;
        assert_eq!(stream.next().await.unwrap_err().code(), Code::ConnectionLost);
        assert!(stream.buffer.capacity() <= 2 * MAX_EAGER_RESERVE);
    }
}
