//! The events of a dump, one by one: verified, and with compressed transactions opened.
//!
//! Guarantees: an event that is handed out has agreed with its checksum; silence for longer than the heartbeat timeout
//! is an error. Relies on the link for framing, and on the caller to finish with an event before the next.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

use super::binlog::{
    CHECKSUM_BYTES, EventType, Format, HEADER_BYTES, Header, Payload, body, checksum_agrees,
};
use super::link::{Link, PacketRange};
use crate::code::Code;
use crate::error::{Error, Result};

/// First byte of a packet that holds an event.
const PACKET_EVENT: u8 = 0x00;
/// First byte of a packet that ends a dump that was asked not to wait.
const PACKET_END: u8 = 0xfe;

/// An event, whose bytes stay where they are.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its header.
    pub header: Header,
    /// The event of the log that it stands in, where it was inside a compressed transaction.
    pub outer: Option<Header>,
    packet: PacketRange,
}

impl Event {
    /// The header that counts for the position in the file.
    pub fn logged_header(&self) -> &Header {
        self.outer.as_ref().unwrap_or(&self.header)
    }
}

/// A dump that has been asked for.
pub struct EventStream {
    link: Link,
    format: Format,
    /// The present file's format is known: checksums are.
    described: bool,
    payload: Option<(Payload, Header, PacketRange)>,
    silence: Duration,
    /// The server has said that nothing follows.
    ended: bool,
}

impl EventStream {
    /// Reads the answer to a dump command that `link` has sent. `silence` is how long a living server may say nothing.
    pub fn new(link: Link, silence: Duration) -> Self {
        Self {
            link,
            format: Format::default(),
            described: false,
            payload: None,
            silence,
            ended: false,
        }
    }

    /// Changes how long a living server may say nothing.
    pub fn set_silence(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// How events of the present file are laid out.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// An event that has arrived, without waiting; the socket is asked once.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn ready(&mut self) -> Result<Option<Event>> {
        if let Some(event) = self.inner_event()? {
            return Ok(Some(event));
        }
        let packet = match self.link.buffered_packet()? {
            Some(packet) => packet,
            None => match self.link.next_packet().now_or_never() {
                Some(packet) => packet?,
                None => return Ok(None),
            },
        };
        self.open(packet)
    }

    /// Waits for the next event; `None` where a dump that was asked not to wait has ended. Cancel-safe.
    ///
    /// # Errors
    /// `ERR_STREAMER_CONNECTION_LOST` where it broke or was silent for too long, `…_LOG_CORRUPT`, `…_LOG_UNDECODABLE`,
    /// or what the server says that ends the dump (`…_POSITION_LOST`).
    pub async fn next(&mut self) -> Result<Option<Event>> {
        if let Some(event) = self.inner_event()? {
            return Ok(Some(event));
        }
        while !self.ended {
            let received = self.link.received_bytes();
            match timeout(self.silence, self.link.next_packet()).await {
                Ok(packet) => return self.open(packet?),
                Err(_) if self.link.received_bytes() > received => {}
                Err(_) => return Err(self.silent()),
            }
        }
        Ok(None)
    }

    fn silent(&self) -> Error {
        Error::new(
            Code::ConnectionLost,
            format!(
                "The server sent nothing, not even a heartbeat, for {} ms.",
                self.silence.as_millis()
            ),
        )
    }

    /// The body of an event.
    pub fn body(&self, event: &Event) -> &[u8] {
        if event.outer.is_some() {
            return self
                .payload
                .as_ref()
                .map(|(payload, ..)| payload.event())
                .unwrap_or_default();
        }
        let bytes = self.link.packet(&event.packet).get(1..).unwrap_or_default();
        let end = if self.format.checksums || event.header.event_type == EventType::FormatDescription {
            bytes.len().saturating_sub(CHECKSUM_BYTES)
        } else {
            bytes.len()
        };
        bytes.get(HEADER_BYTES..end).unwrap_or_default()
    }

    /// The next event of a compressed transaction that is being opened; after its last one the payload is closed.
    fn inner_event(&mut self) -> Result<Option<Event>> {
        let Some((payload, outer, packet)) = &mut self.payload else {
            return Ok(None);
        };
        let bytes = self.link.packet(packet).get(1..).unwrap_or_default();
        let compressed = body(bytes, outer, false)?;
        if let Some(header) = payload.next(compressed)? {
            return Ok(Some(Event {
                header,
                outer: Some(*outer),
                packet: packet.clone(),
            }));
        }
        self.payload = None;
        Ok(None)
    }

    fn open(&mut self, packet: PacketRange) -> Result<Option<Event>> {
        let bytes = self.link.packet(&packet);
        let event = match bytes.split_first() {
            Some((&PACKET_EVENT, event)) => event,
            Some((&PACKET_END, _)) => {
                self.ended = true;
                return Ok(None);
            }
            _ => {
                return Err(self.link.refusal(bytes).unwrap_or_else(|| {
                    Error::new(
                        Code::ProtocolUnexpected,
                        "The server sent a packet that holds no event.",
                    )
                }));
            }
        };
        let header = Header::read(event)?;
        let checksums = match header.event_type {
            // Where the file has no checksums, a server that changes this event for us does not renew the one it has.
            EventType::FormatDescription => Format::read(event)?.checksums,
            // The rotate event in front of the first format description has a checksum where the session asked for one.
            EventType::Rotate if !self.described => {
                let end = event.len().saturating_sub(CHECKSUM_BYTES);
                self.format.checksums = checksum_agrees(event, end, &header);
                self.format.checksums
            }
            _ => self.format.checksums,
        };
        let content = body(event, &header, checksums)?;
        match header.event_type {
            EventType::FormatDescription => {
                self.format = Format::read(event)?;
                self.described = true;
            }
            EventType::TransactionPayload => {
                self.payload = Some((Payload::open(content)?, header, packet));
                return match self.inner_event()? {
                    Some(event) => Ok(Some(event)),
                    None => Err(Error::new(
                        Code::LogUndecodable,
                        "A compressed transaction holds no event.",
                    )),
                };
            }
            _ => {}
        }
        Ok(Some(Event {
            header,
            outer: None,
            packet,
        }))
    }
}
