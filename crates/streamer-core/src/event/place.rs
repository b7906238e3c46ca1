//! Places in the files of a server's log.

/// A place in the files of a server's log, and which log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogPlace {
    /// Number of the file: its suffix.
    pub file: u64,
    /// When the server began the file, seconds since the epoch. A log that was reset numbers its files anew, and begins them
    /// later.
    pub created: u32,
    /// Byte.
    pub offset: u64,
}
