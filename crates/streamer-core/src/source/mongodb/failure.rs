//! What an error of the driver or the server means, and what helps.

use mongodb::error::{CommandError, Error as DriverError, ErrorKind};

use super::event::missing_field;
use crate::code::Code;
use crate::error::Error;

/// What the stream does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The cursor is gone, the connection is not: open it again.
    Reopen,
    /// An event is larger than a reply may be.
    Avoid,
    /// The server no longer has the place.
    Skip,
    /// Connect again, or give up, as the error says.
    Fail,
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
        // CursorNotFound, CursorKilled, RetryChangeStream.
        43 | 237 | 234 => Remedy::Reopen,
        // ChangeStreamHistoryLost.
        286 => Remedy::Skip,
        // BSONObjectTooLarge.
        10334 => Remedy::Avoid,
        // ChangeStreamFatalError stands for several.
        280 if is_too_large(&command.message) => Remedy::Avoid,
        280 if command.message.contains("resume token was not found") => Remedy::Skip,
        _ => Remedy::Fail,
    }
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
            format!("The user may not read the change stream: {message}."),
        )
        .with_advice("Grant the role read on the database, or readAnyDatabase for all of them."),
        18 => return authentication(&command.message),
        40573 => return standalone(),
        280 if command.message.contains("_id") => return missing_field("_id, which holds the resume token"),
        47 => Error::new(
            Code::ServerSettingUnsuitable,
            "The server has kept no image of a document for which `required` was asked.",
        )
        .with_advice(
            "Ask for whenAvailable, or run \
             db.runCommand({collMod: \"<collection>\", changeStreamPreAndPostImages: {enabled: true}}).",
        ),
        260 | 50811 | 50795 => Error::new(
            Code::PositionInvalid,
            format!("The server refuses the position: {message}."),
        )
        .with_advice("Hand over a `position` that this source delivered."),
        // Steps down, shuts down, starts, recovers, or a member of it cannot be reached.
        6 | 7 | 89 | 91 | 133 | 189 | 262 | 9001 | 10107 | 10058 | 11600 | 11602 | 13388 | 13435 | 13436
        | 63 | 150 | 43 | 237 | 234 => Error::new(
            Code::ConnectionLost,
            format!("The server ended the stream: {message}."),
        ),
        _ => Error::new(
            Code::ServerRefused,
            format!("The server refused the change stream: {message}."),
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
        return Error::new(
            Code::TlsCertificateRejected,
            "The server's certificate is not trusted, has expired, or names another host.",
        )
        .with_advice("Name the authority in `tls.ca`.");
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

fn transport(message: &str, code: Code) -> Error {
    let lower = message.to_ascii_lowercase();
    if lower.contains("certificate") {
        return Error::new(
            Code::TlsCertificateRejected,
            "The server's certificate is not trusted, has expired, or names another host.",
        );
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
