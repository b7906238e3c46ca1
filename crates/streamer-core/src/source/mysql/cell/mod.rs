//! From the bytes of a row image to cells of a batch.
//!
//! A [`CellPlan`] says how one column of one table version is decoded; it is made once for a table map, from what the
//! log says of the column (type and metadata) and what the definition says (names, sign, character set, labels). Then
//! it is used for every row: cut the cell, write it, without a value object in between.
//!
//! # Guarantees
//! - Nothing is guessed: where the log's type and the definition cannot agree, [`CellPlan::new`] refuses; where bytes
//!   cannot be what the server wrote, [`CellPlan::decode`] does. Both with [`Code::LogUndecodable`].
//! - Arbitrary bytes never panic, never recurse deeper than a fixed bound, and never make it allocate more than what
//!   arrived (compressed columns: than what was inflated).
//! - [`CellPlan::skip`] takes the same bytes as [`CellPlan::decode`], because both cut the same way.
//!
//! NULL is the caller's: the row's bitmap says it, and no cell is there.
//!
//! [`Code::LogUndecodable`]: crate::code::Code::LogUndecodable

mod answer;
mod calendar;
mod compressed;
mod decimal;
mod json;
mod logged;
mod network;
mod number;
mod plan;
mod temporal;
mod value;
mod wire;

pub use answer::AnswerColumn;
pub use plan::CellPlan;

#[cfg(test)]
mod tests;
