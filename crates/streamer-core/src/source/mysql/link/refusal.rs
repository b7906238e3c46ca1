//! What a server's error packet means to us.
//!
//! Source of the numbers: the "Server Error Message Reference" of MySQL and "MariaDB Error Codes".

use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::ErrPacket;

use crate::code::{Code, Retry};
use crate::error::Error;

/// Turns an error packet (its first byte is 0xff) into an error with a stable code.
///
/// The server's own text is kept only for codes whose text holds no row values: handshake, replication and access
/// errors do not.
pub(super) fn from_packet(packet: &[u8], capabilities: CapabilityFlags) -> Error {
    match ParseBuf(packet).parse::<ErrPacket<'_>>(capabilities) {
        Ok(ErrPacket::Error(error)) => from_parts(error.error_code(), &error.message_str()),
        _ => Error::new(
            Code::ProtocolUnexpected,
            "The server sent an error packet that cannot be read.",
        ),
    }
}

fn from_parts(number: u16, text: &str) -> Error {
    let text = text.trim_end_matches('.');
    let (code, retry, advice) = classify(number);
    let error = Error::new(code, format!("The server refused: {text} (error {number})."))
        .with_detail("errno", number);
    let error = match retry {
        Some(retry) => error.with_retry(retry),
        None => error,
    };
    match advice {
        Some(advice) => error.with_advice(advice),
        None => error,
    }
}

fn classify(number: u16) -> (Code, Option<Retry>, Option<&'static str>) {
    match number {
        1045 | 1698 | 1524 | 1862 | 3118 | 3955 | 4151 => (
            Code::AuthRejected,
            None,
            Some("Check user and password in the URL, and from which hosts the account may connect."),
        ),
        1044 => (
            Code::GrantMissing,
            None,
            Some("Grant the account SELECT on the database, or check the database's name."),
        ),
        1049 => (
            Code::DatabaseUnknown,
            None,
            Some("Check the database's name in the URL."),
        ),
        1129 | 1130 => (
            Code::AuthRejected,
            None,
            Some("The server does not let this host connect; see its account and `FLUSH HOSTS`."),
        ),
        1142 | 1143 | 1227 | 1370 => (Code::GrantMissing, None, None),
        1040 | 1203 | 1226 | 1053 | 1152 | 1317 | 3169 => (Code::ServerBusy, None, None),
        1205 | 1213 | 3024 | 1969 => (Code::Timeout, None, None),
        1236 => (Code::PositionLost, None, None),
        1927 => (Code::ConnectionLost, None, None),
        3159 => (
            Code::TlsUnavailable,
            None,
            Some("The server accepts this account only over TLS: set `tls: true`."),
        ),
        _ => (Code::ServerRefused, None, None),
    }
}
