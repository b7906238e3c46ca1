//! What an error of the driver or the server means, and what helps.

use mongodb::error::{CommandError, Error as DriverError, ErrorKind};

use super::event::missing_field;
use crate::code::Code;
use crate::error::Error;
use crate::offset::MongodbOffset;
use crate::source::poll::LOG_UNAVAILABLE;

/// What the stream does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The cursor is gone, the connection is not: open it again.
    Reopen,
    /// An event cannot be had as it was asked for.
    Avoid(Hindrance),
    /// The server no longer has the place.
    Skip,
    /// The server does not find the token among the events that are watched now: another `pipeline` or other `tables` leave out the
    /// event that it is of. Its time is known.
    Locate,
    /// Connect again, or give up, as the error says.
    Fail,
}

/// Why an event cannot be had whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
    /// It is larger than a reply may be.
    Large,
    /// An image was required that the server has not kept.
    NoImage,
}

impl Hindrance {
    /// What a gap says of it.
    pub fn error(self) -> Error {
        match self {
            Self::Large => Error::new(
                Code::LimitExceeded,
                "An event of the change stream is larger than the 16 MiB that the server can send: its images are missing.",
            )
            .with_advice("MongoDB 6.0.9, 7.0 and newer send such events in parts; smaller documents, or no images, avoid them."),
            Self::NoImage => Error::new(
                Code::ServerSettingUnsuitable,
                "The server has kept no image of a document for which `required` was asked.",
            )
            .with_advice(
                "Run db.runCommand({collMod: \"<collection>\", changeStreamPreAndPostImages: {enabled: true}}) \
                 for every collection, and keep images for longer (expireAfterSeconds) than reading may stand still.",
            ),
        }
    }
}

/// The command's error, where the server sent one.
fn command(error: &DriverError) -> Option<&CommandError> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command),
        _ => None,
    }
}

/// What the stream does about an error of its cursor.
pub fn remedy(error: &DriverError) -> Remedy {
    let Some(command) = command(error) else {
        return Remedy::Fail;
    };
    match command.code {
        // CursorNotFound, CursorKilled, RetryChangeStream; CappedPositionLost, of the oplog.
        43 | 237 | 234 | 136 => Remedy::Reopen,
        // ChangeStreamHistoryLost.
        286 => Remedy::Skip,
        // BSONObjectTooLarge.
        10334 => Remedy::Avoid(Hindrance::Large),
        // NoMatchingDocument.
        47 => Remedy::Avoid(Hindrance::NoImage),
        // ChangeStreamFatalError stands for several.
        280 if is_too_large(&command.message) => Remedy::Avoid(Hindrance::Large),
        280 if command.message.contains("resume token was not found") => Remedy::Locate,
        _ => Remedy::Fail,
    }
}

/// The token of the event that stands in the way, where the server names it: its sentence quotes the event, whose first field is `_id`.
pub fn culprit(error: &DriverError) -> Option<&str> {
    let (_, quoted) = command(error)?.message.split_once("_data: \"")?;
    let (token, _) = quoted.split_once('"')?;
    Some(token).filter(|token| MongodbOffset::time_of(token).is_some())
}

fn is_too_large(message: &str) -> bool {
    message.contains("BSONObj size") || message.contains("BSONObjectTooLarge")
}

/// The error that the user sees.
pub fn client_error(error: &DriverError) -> Error {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => refused(command),
        ErrorKind::Authentication { message, .. } => authentication(message),
        ErrorKind::DnsResolve { message, .. } => Error::new(
            Code::HostUnknown,
            format!(
                "The deployment's name could not be resolved: {}.",
                sentence(message)
            ),
        ),
        ErrorKind::ServerSelection { message, .. } => unreachable_server(message),
        ErrorKind::Io(io) => transport(&io.to_string(), Code::ConnectionLost),
        ErrorKind::ConnectionPoolCleared { message, .. } => transport(message, Code::ConnectionLost),
        ErrorKind::InvalidTlsConfig { message, .. } => Error::new(
            Code::TlsFailed,
            format!("The driver cannot use the certificates: {}.", sentence(message)),
        ),
        ErrorKind::InvalidArgument { .. } => Error::new(
            Code::ConfigInvalid,
            "The driver refuses an option of the URL: the options do not fit together.",
        ),
        ErrorKind::IncompatibleServer { message, .. } => Error::new(
            Code::ServerUnsupported,
            format!("The server's version does not fit: {}.", sentence(message)),
        )
        .with_advice("MongoDB 4.2 or newer is needed."),
        ErrorKind::InvalidResponse { message, .. } => Error::new(
            Code::ProtocolUnexpected,
            format!(
                "The server's answer is not what was expected: {}.",
                sentence(message)
            ),
        ),
        _ => Error::new(Code::ConnectionLost, "The driver could not go on."),
    }
}

fn refused(command: &CommandError) -> Error {
    let message = sentence(&command.message);
    let error = match command.code {
        13 => Error::new(
            Code::GrantMissing,
            format!("The user may not read what is watched: {message}."),
        )
        .with_advice("Grant the role read on the database, or readAnyDatabase for all of them."),
        18 => return authentication(&command.message),
        40573 => return standalone(),
        280 if command.message.contains("_id") => return missing_field("_id, which holds the resume token"),
        47 => Hindrance::NoImage.error(),
        260 | 50811 | 50795 => Error::new(
            Code::PositionInvalid,
            format!("The server refuses the position: {message}."),
        )
        .with_advice("Hand over a `position` that this source delivered."),
        // Steps down, shuts down, starts, recovers, or a member of it cannot be reached.
        6 | 7 | 89 | 91 | 133 | 189 | 262 | 9001 | 10107 | 10058 | 11600 | 11602 | 13388 | 13435 | 13436
        | 63 | 150 | 43 | 237 | 234 | 136 => Error::new(
            Code::ConnectionLost,
            format!("The server ended the stream: {message}."),
        ),
        _ => Error::new(
            Code::ServerRefused,
            format!("The server refused what was asked of it: {message}."),
        ),
    };
    error
        .with_detail("serverCode", command.code)
        .with_detail("serverCodeName", command.code_name.as_str())
}

/// The server is no member of a replica set.
pub fn standalone() -> Error {
    Error::new(
        Code::ServerSettingUnsuitable,
        "A replica set or a sharded cluster was expected, a standalone server was found: it keeps no log.",
    )
    .with_advice("Start mongod with --replSet rs0, then run rs.initiate() in mongosh.")
    .with_detail(LOG_UNAVAILABLE, true)
}

fn authentication(message: &str) -> Error {
    Error::new(
        Code::AuthRejected,
        format!(
            "The server refused user, password or mechanism: {}.",
            sentence(message)
        ),
    )
    .with_advice("Check user, password and authSource of the URL.")
}

/// No server fits; the driver says in its text why each did not.
fn unreachable_server(message: &str) -> Error {
    let lower = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["authentication failed", "scram"]) {
        return authentication("Authentication failed");
    }
    if has(&["certificate"]) {
        return certificate(&lower);
    }
    if has(&[
        "failed to lookup address",
        "name or service not known",
        "nodename nor servname",
    ]) {
        return Error::new(Code::HostUnknown, "The server's name could not be resolved.");
    }
    if has(&["connection refused"]) {
        return Error::new(Code::ConnectFailed, "Nothing listens where the URL says.")
            .with_advice("Check host and port, and that the server runs.");
    }
    Error::new(
        Code::ConnectFailed,
        "No server of the deployment could be chosen: none answers, none fits the read preference, or the set's name differs.",
    )
    .with_advice("Check hosts, replicaSet, readPreference and tls of the URL, and that the set has a primary.")
}

/// Why a certificate was rejected, as far as the text of the driver tells; in lower case.
fn certificate(lower: &str) -> Error {
    let has = |word: &str| lower.contains(word);
    let (why, advice) = if has("expired") {
        ("has expired", "Renew it.")
    } else if has("not valid yet") || has("notvalidyet") {
        ("is not valid yet", "Check the clocks of both machines.")
    } else if has("unknownissuer") {
        (
            "is signed by an authority that is not trusted",
            "Name the authority in `tls.ca`.",
        )
    } else if has("not valid for name") || has("notvalidforname") {
        (
            "was made for another host name",
            "Use the name in the certificate.",
        )
    } else {
        (
            "is not trusted, or not accepted by the other side",
            "Check `tls` and the server's log.",
        )
    };
    Error::new(
        Code::TlsCertificateRejected,
        format!("The server's certificate {why}."),
    )
    .with_advice(advice)
}

fn transport(message: &str, code: Code) -> Error {
    let lower = message.to_ascii_lowercase();
    if lower.contains("certificate") {
        return certificate(&lower);
    }
    Error::new(code, format!("The connection broke: {}.", sentence(message)))
}

/// A foreign text as part of a sentence of ours: one line, not too long, without its full stop.
fn sentence(message: &str) -> String {
    let line: String = message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect();
    line.trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_in_the_way_is_found_in_the_servers_sentence() {
        let token = "8265EB6D3B000000022B042C";
        let error = |message: String| {
            let mut command: CommandError =
                bson::deserialize_from_document(bson::doc! { "code": 10334, "codeName": "", "errmsg": "" })
                    .unwrap();
            command.message = message;
            DriverError::from(ErrorKind::Command(command))
        };
        for sentence in [
            format!("BSONObj size: 17 (0x11) is invalid. First element: _id: {{ _data: \"{token}\" }}"),
            format!("not found for event: {{_id: {{_data: \"{token}\"}}, operationType: \"update\"}}"),
        ] {
            assert_eq!(culprit(&error(sentence)), Some(token));
        }
        assert_eq!(culprit(&error("_data: \"x\"".to_owned())), None);
        assert_eq!(culprit(&error("nothing".to_owned())), None);
    }
}
