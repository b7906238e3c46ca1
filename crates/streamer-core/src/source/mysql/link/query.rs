//! Text queries for preflight and schema reads: a few statements at the start, never on the hot path.

use std::time::Duration;

use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::Column;
use tokio::time::timeout;

use super::packet::PacketRange;
use super::{Link, refusal};
use crate::code::Code;
use crate::error::{Error, Result};

const COM_QUERY: u8 = 0x03;
/// Longest silence of a server that owes an answer. Its longest wait is one for a metadata lock, of five seconds.
const SILENCE: Duration = Duration::from_secs(20);
/// Rows and bytes that one such query may return.
const MAX_ROWS: usize = 4_000_000;

/// A result set as text.
#[derive(Debug, Default)]
pub struct ResultRows {
    /// Column names.
    pub names: Vec<String>,
    /// Rows; `None` is NULL. Bytes that are not UTF-8 are replaced (the session speaks utf8mb4).
    pub rows: Vec<Vec<Option<String>>>,
}

impl ResultRows {
    /// The first cell of the first row.
    pub fn scalar(&self) -> Option<&str> {
        self.rows.first()?.first()?.as_deref()
    }

    /// A cell by column name (case-insensitive).
    pub fn cell<'a>(&self, row: &'a [Option<String>], name: &str) -> Option<&'a str> {
        let column = self
            .names
            .iter()
            .position(|candidate| candidate.eq_ignore_ascii_case(name))?;
        row.get(column)?.as_deref()
    }
}

impl Link {
    /// Runs a statement and reads its whole result.
    ///
    /// # Errors
    /// The server's refusal by class, `ERR_STREAMER_CONNECTION_LOST`, or `ERR_STREAMER_TIMEOUT` where it says nothing for
    /// 20 s. Not cancel-safe: drop the link afterwards.
    pub async fn query(&mut self, sql: &str) -> Result<ResultRows> {
        let mut command = Vec::with_capacity(sql.len() + 1);
        command.push(COM_QUERY);
        command.extend_from_slice(sql.as_bytes());
        self.send_command(&command).await?;
        let range = self.answer().await?;
        let columns = match self.packet(&range) {
            [0xff, ..] => return Err(refusal::from_packet(self.packet(&range), capabilities())),
            [0x00, ..] => return Ok(ResultRows::default()),
            [0xfb, ..] => {
                return Err(Error::new(
                    Code::ProtocolUnexpected,
                    "The server asked for a local file, which is never sent.",
                ));
            }
            packet => read_lenenc(&mut &*packet).ok_or_else(malformed)?,
        };
        let mut result = ResultRows::default();
        for _ in 0..columns {
            let range = self.answer().await?;
            let column: Column = ParseBuf(self.packet(&range)).parse(()).map_err(|_| malformed())?;
            result.names.push(column.name_str().into_owned());
        }
        self.answer().await?; // EOF after the column definitions
        self.read_rows(columns as usize, &mut result).await?;
        Ok(result)
    }

    /// The next packet of an answer. A server or a link that has frozen is not waited for without end.
    async fn answer(&mut self) -> Result<PacketRange> {
        loop {
            let received = self.received_bytes();
            match timeout(SILENCE, self.next_packet()).await {
                Ok(packet) => return packet,
                Err(_) if self.received_bytes() > received => {}
                Err(_) => {
                    let seconds = SILENCE.as_secs();
                    let message = format!("The server has not answered a query for {seconds} s.");
                    return Err(Error::new(Code::Timeout, message));
                }
            }
        }
    }

    async fn read_rows(&mut self, columns: usize, result: &mut ResultRows) -> Result<()> {
        loop {
            let range = self.answer().await?;
            let packet = self.packet(&range);
            match packet {
                [0xff, ..] => return Err(refusal::from_packet(packet, capabilities())),
                [0xfe, ..] if packet.len() < 9 => return Ok(()),
                _ if result.rows.len() >= MAX_ROWS => {
                    return Err(Error::new(
                        Code::LimitExceeded,
                        "A catalogue query returned more than 4 million rows.",
                    ));
                }
                _ => result
                    .rows
                    .push(parse_row(packet, columns).ok_or_else(malformed)?),
            }
        }
    }

    /// Runs a statement and reads the first cell of its result.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn scalar(&mut self, sql: &str) -> Result<Option<String>> {
        Ok(self.query(sql).await?.scalar().map(str::to_owned))
    }

    /// The error that a packet holds, if it holds one.
    pub fn refusal(&self, packet: &[u8]) -> Option<Error> {
        (packet.first() == Some(&0xff)).then(|| refusal::from_packet(packet, capabilities()))
    }
}

/// Capabilities as error packets see them after the handshake.
fn capabilities() -> CapabilityFlags {
    CapabilityFlags::CLIENT_PROTOCOL_41
}

fn malformed() -> Error {
    Error::new(
        Code::ProtocolUnexpected,
        "The server's answer does not follow the MySQL protocol.",
    )
}

fn parse_row(mut packet: &[u8], columns: usize) -> Option<Vec<Option<String>>> {
    let mut row = Vec::with_capacity(columns);
    for _ in 0..columns {
        if let Some((0xfb, rest)) = packet.split_first() {
            row.push(None);
            packet = rest;
            continue;
        }
        let length = usize::try_from(read_lenenc(&mut packet)?).ok()?;
        let (cell, rest) = packet.split_at_checked(length)?;
        row.push(Some(String::from_utf8_lossy(cell).into_owned()));
        packet = rest;
    }
    Some(row)
}

/// A length-encoded integer (MySQL internals, "Integer Types").
fn read_lenenc(input: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = input.split_first()?;
    let width = match first {
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xfb | 0xff => return None,
        value => {
            *input = rest;
            return Some(u64::from(value));
        }
    };
    let (digits, rest) = rest.split_at_checked(width)?;
    *input = rest;
    Some(
        digits
            .iter()
            .rev()
            .fold(0, |value, &digit| value << 8 | u64::from(digit)),
    )
}

/// Quotes an identifier for both servers, in any `sql_mode`.
///
/// # Errors
/// `ERR_STREAMER_ARGUMENT_INVALID` for a name that no server can hold (NUL, or more than 64 characters).
pub fn quote_identifier(name: &str) -> Result<String> {
    if name.is_empty() || name.contains('\0') || name.chars().count() > 64 {
        return Err(Error::new(
            Code::ArgumentInvalid,
            "An identifier has 1 to 64 characters and no NUL.",
        ));
    }
    Ok(format!("`{}`", name.replace('`', "``")))
}

/// Quotes a text literal as hexadecimal, which no `sql_mode` reads differently.
pub fn quote_text(text: &str) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let mut quoted = String::with_capacity(text.len() * 2 + 24);
    quoted.push_str("CONVERT(X'");
    for byte in text.bytes() {
        quoted.push_str(&format!("{byte:02X}"));
    }
    quoted.push_str("' USING utf8mb4)");
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a server reads where an identifier is quoted: up to the first backquote that stands alone.
    fn read_back(quoted: &str) -> Option<(String, String)> {
        let mut rest = quoted.strip_prefix('`')?.chars().peekable();
        let mut name = String::new();
        while let Some(c) = rest.next() {
            if c == '`' && rest.next_if_eq(&'`').is_none() {
                return Some((name, rest.collect()));
            }
            name.push(c);
        }
        None
    }

    proptest! {
        #[test]
        fn a_quoted_identifier_is_that_identifier_and_nothing_else(name in "\\PC{1,64}|[`;\\-a ]{1,64}") {
            match quote_identifier(&name) {
                Ok(quoted) => prop_assert_eq!(read_back(&quoted), Some((name, String::new()))),
                Err(_) => prop_assert!(name.contains('\0') || name.chars().count() > 64),
            }
        }

        #[test]
        fn quoted_text_holds_nothing_that_ends_it(text in any::<String>()) {
            let quoted = quote_text(&text);
            let inner = quoted.strip_prefix("CONVERT(X'").and_then(|rest| rest.strip_suffix("' USING utf8mb4)"));
            let is_hexadecimal = inner.is_some_and(|inner| inner.bytes().all(|c| c.is_ascii_hexdigit()));
            prop_assert!(is_hexadecimal || quoted == "''");
        }

        #[test]
        fn arbitrary_answers_never_panic(packet in prop::collection::vec(any::<u8>(), 0..200), columns in 0..20_usize) {
            let _ = parse_row(&packet, columns);
            let _ = refusal::from_packet(&packet, capabilities());
        }
    }

    #[test]
    fn names_that_no_server_can_hold_are_refused() {
        for name in ["", "a\0b", &"x".repeat(65)] {
            assert_eq!(quote_identifier(name).unwrap_err().code(), Code::ArgumentInvalid);
        }
    }
}
