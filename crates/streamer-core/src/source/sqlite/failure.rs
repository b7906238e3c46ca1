//! What SQLite's errors mean here.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::code::{Code, Retry};
use crate::error::Error;

/// A busy database: another connection writes, or has locked it.
pub fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// The library's error. SQLite's own words may hold names of tables, never values; they are shown where the code alone says
/// too little.
pub fn failure(error: &rusqlite::Error, path: &Path) -> Error {
    let path = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::new(
            Code::ServerBusy,
            format!("The database {path} was locked by another connection for too long."),
        )
        .with_advice("A process holds a long write transaction or an exclusive lock; WAL mode lets readers go on: PRAGMA journal_mode=WAL."),
        Some(ErrorCode::NotADatabase) => Error::new(
            Code::DatabaseInvalid,
            format!("The file {path} is no SQLite database, or it is encrypted."),
        )
        .with_advice("Check the path."),
        Some(ErrorCode::DatabaseCorrupt) => Error::new(
            Code::DatabaseInvalid,
            format!("The database {path} is damaged."),
        )
        .with_advice("Look at it with PRAGMA integrity_check, and restore it from a copy."),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => read_only(&path.to_string()),
        Some(ErrorCode::CannotOpen) => Error::new(
            Code::DatabaseReadOnly,
            format!("The database {path} cannot be opened for writing, which capture needs."),
        )
        .with_advice("The process needs to read and write the file, and to create files in its folder."),
        Some(ErrorCode::DiskFull) => Error::new(
            Code::ServerBusy,
            format!("The disk of the database {path} is full."),
        ),
        Some(ErrorCode::SystemIoFailure) => Error::new(
            Code::ConnectionLost,
            format!("The database {path} cannot be read: {}.", short(error)),
        ),
        _ => Error::new(
            Code::ServerRefused,
            format!("SQLite refused a statement on {path}: {}.", short(error)),
        )
        .with_retry(Retry::Operator),
    }
}

/// The file cannot be written.
pub fn read_only(path: &str) -> Error {
    Error::new(
        Code::DatabaseReadOnly,
        format!("The database {path} is read-only, and capture keeps its change log in it."),
    )
    .with_advice("Let this process write the file and its folder.")
}

fn short(error: &rusqlite::Error) -> String {
    let text = match error {
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    text.trim_end_matches('.').to_owned()
}
