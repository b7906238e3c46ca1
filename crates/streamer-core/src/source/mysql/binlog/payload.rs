//! A transaction that MySQL wrote as one compressed event (`binlog_transaction_compression`).
//!
//! Source: MySQL's `libs/mysql/binlog/event/control_events.h` (`Transaction_payload_event`). The events inside are opened one
//! after the other, so that memory holds one event of them, not the whole transaction.

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::header::{HEADER_BYTES, Header};
use super::wire::{Wire, truncated};
use crate::code::Code;
use crate::error::{Error, Result};

const FIELD_END: u64 = 0;
const FIELD_BYTES: u64 = 1;
const FIELD_COMPRESSION: u64 = 2;
const COMPRESSION_ZSTD: u64 = 0;
const COMPRESSION_NONE: u64 = 255;
/// What one step of the decoder adds at most.
const STEP: usize = 128 << 10;
/// Largest event inside, as outside.
const MAX_EVENT: usize = (1 << 30) + 1024;
/// A buffer that grew for one large event goes back to this size.
const KEEP_CAPACITY: usize = 1 << 20;

/// Where a payload's compressed bytes lie, and how far they are opened.
pub struct Payload {
    decoder: Option<Decoder<'static>>,
    /// The next compressed byte, counted from the beginning of the body.
    at: usize,
    end: usize,
    /// Opened bytes: the present event, then what was opened of the next.
    opened: Vec<u8>,
    /// Bytes at the front of `opened` that the present event holds.
    present: usize,
}

impl Payload {
    /// Reads the fields in front of the payload.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` for an unknown compression or a field beyond the end.
    pub fn open(body: &[u8]) -> Result<Self> {
        let mut wire = Wire(body);
        let (mut bytes, mut compression) = (None, COMPRESSION_ZSTD);
        loop {
            let field = wire.lenenc()?;
            if field == FIELD_END {
                break;
            }
            let mut value = Wire(wire.lenenc_bytes()?);
            match field {
                FIELD_BYTES => bytes = Some(value.lenenc_len()?),
                FIELD_COMPRESSION => compression = value.lenenc()?,
                _ => {}
            }
        }
        let at = body.len() - wire.len();
        let end = at
            .checked_add(bytes.unwrap_or(wire.len()))
            .filter(|&end| end <= body.len())
            .ok_or_else(truncated)?;
        let decoder = match compression {
            COMPRESSION_ZSTD => Some(Decoder::new().map_err(|_| unreadable())?),
            COMPRESSION_NONE => None,
            other => {
                return Err(Error::new(
                    Code::LogUndecodable,
                    format!("A compressed transaction uses algorithm {other}; zstd (0) was expected."),
                ));
            }
        };
        Ok(Self {
            decoder,
            at,
            end,
            opened: Vec::new(),
            present: 0,
        })
    }

    /// Opens the next event; its bytes are then [`event`](Self::event). `None` after the last one.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where the payload ends inside an event or cannot be opened.
    pub fn next(&mut self, body: &[u8]) -> Result<Option<Header>> {
        self.opened.drain(..self.present);
        self.present = 0;
        if self.opened.capacity() > KEEP_CAPACITY && self.opened.len() < KEEP_CAPACITY {
            self.opened.shrink_to(KEEP_CAPACITY);
        }
        if !self.fill(body, HEADER_BYTES)? {
            return if self.opened.is_empty() {
                Ok(None)
            } else {
                Err(truncated())
            };
        }
        let header = Header::read(&self.opened)?;
        let length = header.event_bytes as usize;
        if !(HEADER_BYTES..=MAX_EVENT).contains(&length) || !self.fill(body, length)? {
            return Err(truncated());
        }
        self.present = length;
        Ok(Some(header))
    }

    /// The body of the present event; events inside a payload have no checksum of their own.
    pub fn event(&self) -> &[u8] {
        self.opened.get(HEADER_BYTES..self.present).unwrap_or_default()
    }

    /// Opens until `wanted` bytes are there; false where the payload ends before.
    fn fill(&mut self, body: &[u8], wanted: usize) -> Result<bool> {
        while self.opened.len() < wanted {
            let input = body.get(self.at..self.end).ok_or_else(truncated)?;
            let Some(decoder) = &mut self.decoder else {
                let taken = input.len().min(STEP);
                self.opened
                    .extend_from_slice(input.get(..taken).unwrap_or_default());
                self.at += taken;
                if taken == 0 {
                    return Ok(false);
                }
                continue;
            };
            let before = self.opened.len();
            self.opened.resize(before + STEP, 0);
            let mut source = InBuffer::around(input);
            let mut sink = OutBuffer::around(self.opened.get_mut(before..).unwrap_or_default());
            decoder.run(&mut source, &mut sink).map_err(|_| unreadable())?;
            let (read, written) = (source.pos(), sink.pos());
            self.at += read;
            self.opened.truncate(before + written);
            if read == 0 && written == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn unreadable() -> Error {
    Error::new(
        Code::LogUndecodable,
        "A compressed transaction is not a valid zstd stream.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event_type: u8, body: &[u8]) -> Vec<u8> {
        let mut event = vec![0, 0, 0, 0, event_type, 1, 0, 0, 0];
        event.extend(((HEADER_BYTES + body.len()) as u32).to_le_bytes());
        event.extend([0; 6]);
        event.extend(body);
        event
    }

    #[test]
    fn events_come_out_one_by_one() {
        let big = vec![7; 300_000];
        let plain = [event(2, b"BEGIN"), event(30, &big), event(16, &[1])].concat();
        let packed = zstd::encode_all(plain.as_slice(), 3).unwrap();
        let mut body = vec![2, 1, 0, 1, 5, 0xfe];
        body[4] = 9;
        body.extend((packed.len() as u64).to_le_bytes());
        body.push(0);
        body.extend(&packed);
        let mut payload = Payload::open(&body).unwrap();
        payload.next(&body).unwrap().unwrap();
        assert_eq!(payload.event(), b"BEGIN");
        payload.next(&body).unwrap().unwrap();
        assert_eq!(payload.event(), big);
        payload.next(&body).unwrap().unwrap();
        assert_eq!(payload.event(), [1]);
        assert!(payload.next(&body).unwrap().is_none());
    }

    #[test]
    fn a_payload_that_ends_inside_an_event_is_refused() {
        let plain = &event(2, b"BEGIN")[..20];
        let packed = zstd::encode_all(plain, 3).unwrap();
        let mut body = vec![0];
        body.extend(&packed);
        let mut payload = Payload::open(&body).unwrap();
        assert!(payload.next(&body).is_err());
    }
}
