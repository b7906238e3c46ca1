//! Bounded reading of the bytes of an event.

use crate::code::Code;
use crate::error::{Error, Result};

/// Takes fields from the front of a slice; every read that goes beyond its end is an error, never a panic.
#[derive(Debug, Clone, Copy)]
pub struct Wire<'a>(pub &'a [u8]);

impl<'a> Wire<'a> {
    /// What is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Bytes that are left.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, count: usize) -> Result<()> {
        self.take(count).map(|_| ())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or_else(truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes, little-endian, as all integers here.
    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Three bytes.
    pub fn u24(&mut self) -> Result<u32> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Six bytes.
    pub fn u48(&mut self) -> Result<u64> {
        let [a, b, c, d, e, f] = self.array()?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// Seven bytes.
    pub fn u56(&mut self) -> Result<u64> {
        let [a, b, c, d, e, f, g] = self.array()?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, g, 0]))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length-encoded integer (MySQL internals, "Integer Types").
    pub fn lenenc(&mut self) -> Result<u64> {
        match self.u8()? {
            0xfc => self.u16().map(u64::from),
            0xfd => self.u24().map(u64::from),
            0xfe => self.u64(),
            0xfb | 0xff => Err(truncated()),
            small => Ok(u64::from(small)),
        }
    }

    /// A length-encoded integer that counts bytes or items in memory.
    pub fn lenenc_len(&mut self) -> Result<usize> {
        usize::try_from(self.lenenc()?).map_err(|_| truncated())
    }

    /// A string behind a length of one byte.
    pub fn short_bytes(&mut self) -> Result<&'a [u8]> {
        let length = usize::from(self.u8()?);
        self.take(length)
    }

    /// A string behind a length-encoded length.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.lenenc_len()?;
        self.take(length)
    }
}

/// The error of a field that goes beyond the end of its event.
pub fn truncated() -> Error {
    Error::new(
        Code::LogUndecodable,
        "A field goes beyond the end of its binlog event.",
    )
}
