//! Connectors: one reader for each kind of source. No connector imports another.

pub mod mysql;
