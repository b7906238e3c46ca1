//! Dependencies of SQL statements.
