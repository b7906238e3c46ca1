//! What can be done with a SQLite database beside following it.

use std::path::PathBuf;

use napi::Result;
use napi_derive::napi;
use streamer_core::code::Code;
use streamer_core::config::sqlite_path;
use streamer_core::error::Error;
use streamer_core::source::sqlite::remove;

use crate::failure::thrown;

/// Lets this copy of SQLite and others in the process exclude each other, where that can be had.
pub fn isolate_locks() {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    crate::locks::isolate();
}

/// Takes the triggers and the change log out of a SQLite database, which a path or a `sqlite:` URL names. Returns how many
/// triggers and tables those were. Blocks while another process holds the write lock, 10 s at most.
// The macro registers it, except where tests are built.
#[cfg_attr(test, allow(dead_code))]
#[napi]
pub fn uninstall_sqlite(place: String) -> Result<Vec<u32>> {
    let is_url = place
        .get(..7)
        .is_some_and(|start| start.eq_ignore_ascii_case("sqlite:"));
    let path = if is_url {
        let refused = |sentence| {
            thrown(&Error::new(
                Code::ArgumentInvalid,
                format!("The URL: {sentence}."),
            ))
        };
        sqlite_path(&place).map_err(refused)?
    } else {
        PathBuf::from(place)
    };
    isolate_locks();
    let removed = remove(&path).map_err(|error| thrown(&error))?;
    Ok(vec![removed.triggers as u32, removed.tables as u32])
}
