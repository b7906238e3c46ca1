//! What a SQL statement depends on, and whether its result may be cached at all.
//!
//! Three steps: [`Template::parse`] reads the text, once a text; [`Plan::make`] resolves its names by a [`Catalog`]; and
//! [`Plan::bind`] puts the parameters of one call into it. What is not known to be harmless is not cached: functions,
//! operators and constructs stand on lists of what may, never on lists of what may not.
//!
//! # Equalities
//! `WHERE a = 1 AND b IN (?, ?)` reads only rows with these values, so only their changes matter: in a conjunction at the top of
//! `WHERE`, or of an inner join's `ON`, of the SELECT that names the table; for integer columns compared with integers,
//! because with other types equality depends on collations and conversions. Everything else depends on the whole table.
//!
//! The parser is not the server's. Where the two could divide a condition differently (`||`, `&&`, `XOR`, comments that the
//! server executes) the statement is not cached.

mod functions;
mod plan;
mod point;
mod template;

pub use functions::is_deterministic_in_sqlite;
pub use plan::{Catalog, Plan, Planned, TableFacts};
pub use point::{MAX_TOGETHER, Point};
pub use template::{Operand, TableUse, Template};

/// Why a result is not cached: a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncacheable(pub String);

impl Uncacheable {
    fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

#[cfg(test)]
mod tests;
