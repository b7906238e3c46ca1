//! Places of a source that is polled: for each table a value of the column by which it is polled.

use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// `poll:<database>:<table>:<column>:<value>,…`.
pub(super) const KIND: &str = "poll";

/// What stays as it is in names.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// How far each table has been read. A table that is not named did not exist yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PollOffset {
    /// The tables, in any order.
    pub cursors: Vec<PollCursor>,
}

/// How far one table has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollCursor {
    /// Database.
    pub database: Arc<str>,
    /// Table.
    pub table: Arc<str>,
    /// The column by which it is polled; empty where all rows are compared.
    pub column: Arc<str>,
    /// Rows with at least this value are read again; `None` is all of them. Times are microseconds since the epoch.
    pub low: Option<i128>,
}

impl PollOffset {
    pub(super) fn parse(place: &str) -> Option<Self> {
        if place.is_empty() {
            return Some(Self::default());
        }
        let cursors = place.split(',').map(PollCursor::parse).collect::<Option<_>>()?;
        Some(Self { cursors })
    }
}

impl PollCursor {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let mut name = || -> Option<Arc<str>> {
            let text = percent_decode_str(parts.next()?).decode_utf8().ok()?;
            Some(text.into())
        };
        let (database, table, column) = (name()?, name()?, name()?);
        let low = match parts.next()? {
            "" => None,
            digits => Some(digits.parse().ok()?),
        };
        parts.next().is_none().then_some(Self {
            database,
            table,
            column,
            low,
        })
    }
}

impl fmt::Display for PollOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, cursor) in self.cursors.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            for name in [&cursor.database, &cursor.table, &cursor.column] {
                write!(f, "{}:", utf8_percent_encode(name, NAME))?;
            }
            if let Some(low) = cursor.low {
                write!(f, "{low}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::offset::{Offset, Position};

    proptest! {
        #[test]
        fn positions_come_back_from_their_text(
            cursors in proptest::collection::vec(("\\PC{1,9}", "\\PC{1,9}", "\\PC{0,9}", proptest::option::of(any::<i64>())), 0..4)
        ) {
            let cursors = cursors.into_iter().map(|(database, table, column, low)| PollCursor {
                database: database.into(),
                table: table.into(),
                column: column.into(),
                low: low.map(i128::from),
            });
            let position = Position {
                start: Offset::Poll(PollOffset { cursors: cursors.collect() }),
                delivered: None,
                within: None,
            };
            prop_assert_eq!(Position::parse(&position.to_string()).unwrap(), position);
        }
    }

    #[test]
    fn other_texts_are_no_places() {
        for text in ["a", "a:b:c", "a:b:c:x", "a:b:c:1:2", "a:b:c:1,", ",", "%ff:b:c:1"] {
            assert_eq!(PollOffset::parse(text), None, "{text}");
        }
    }
}
