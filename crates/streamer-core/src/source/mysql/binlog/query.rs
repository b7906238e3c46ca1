//! The query event: a statement, or the words that begin and end a transaction.
//!
//! Source: MySQL internals, "QUERY_EVENT"; `libs/mysql/binlog/event/statement_events.h` for the status variables.

use super::wire::{Wire, truncated};
use crate::error::Result;

/// A statement of the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<'a> {
    /// Default database of the session, in utf8mb3.
    pub database: &'a [u8],
    /// The statement, in the client's character set.
    pub statement: &'a [u8],
    /// Bits of the session's `sql_mode`; 0 where the event does not say.
    pub sql_mode: u64,
    /// Collation ids: client, connection, server.
    pub collations: Option<[u16; 3]>,
    /// Collation id of the default database, where it differs from the server's.
    pub database_collation: Option<u16>,
    /// Error that the statement ended with on the source; 0 for none.
    pub error_code: u16,
    /// Microseconds of the time at which it began, where logged.
    pub microseconds: Option<u32>,
}

impl<'a> Query<'a> {
    /// Reads the body of a query event.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where a field goes beyond the end.
    pub fn read(body: &'a [u8]) -> Result<Self> {
        let mut wire = Wire(body);
        wire.skip(8)?; // thread id, seconds that it took
        let database_bytes = usize::from(wire.u8()?);
        let error_code = wire.u16()?;
        let status_bytes = usize::from(wire.u16()?);
        let status = wire.take(status_bytes)?;
        let database = wire.take(database_bytes)?;
        wire.skip(1)?;
        let mut query = Self {
            database,
            statement: wire.rest(),
            error_code,
            ..Self::default()
        };
        query.read_status(Wire(status))?;
        Ok(query)
    }

    /// Reads the status variables as far as they are known. They stand in the order in which servers learnt them, so
    /// an unknown one hides only later ones.
    fn read_status(&mut self, mut wire: Wire<'a>) -> Result<()> {
        while !wire.is_empty() {
            match wire.u8()? {
                0 | 3 => wire.skip(4)?,
                1 => self.sql_mode = wire.u64()?,
                2 => {
                    wire.short_bytes()?;
                    wire.skip(1)?;
                }
                4 => self.collations = Some([wire.u16()?, wire.u16()?, wire.u16()?]),
                5 | 6 => wire.short_bytes().map(|_| ())?,
                7 | 18 => wire.skip(2)?,
                8 => self.database_collation = Some(wire.u16()?),
                9 | 17 | 129 => wire.skip(8)?,
                10 => wire.skip(4)?,
                11 => {
                    wire.short_bytes()?;
                    wire.short_bytes()?;
                }
                12 => skip_database_names(&mut wire)?,
                13 | 128 => self.microseconds = Some(wire.u24()?),
                16 | 19 | 20 => wire.skip(1)?,
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}

/// Names of databases that the statement touched; a count of 254 says that there were too many to list.
fn skip_database_names(wire: &mut Wire<'_>) -> Result<()> {
    let count = wire.u8()?;
    if count == 254 {
        return Ok(());
    }
    for _ in 0..count {
        let end = wire.0.iter().position(|&byte| byte == 0).ok_or_else(truncated)?;
        wire.skip(end + 1)?;
    }
    Ok(())
}
