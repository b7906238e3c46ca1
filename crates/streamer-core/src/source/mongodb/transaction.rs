//! Which transaction a change belongs to.
//!
//! The events of a multi-document transaction carry its session and its number in it, and share one cluster time. None
//! says that it is the last: that is known only by what follows.

use bson::{RawDocument, spec::BinarySubtype};

use crate::offset::Within;

/// The transaction of the newest change.
#[derive(Debug, Default)]
pub struct Transactions {
    session: Vec<u8>,
    number: i64,
    /// Empty where the newest change stood alone.
    id: String,
    next: u32,
    /// How far a position that was handed in had come.
    within: Option<Within>,
}

impl Transactions {
    /// Goes on behind a position.
    pub fn behind(within: Option<Within>) -> Self {
        Self {
            within,
            ..Self::default()
        }
    }

    /// Takes a change of a transaction; returns whether it is the one of the change before.
    pub fn enter(&mut self, session: &RawDocument, number: i64) -> bool {
        let bytes = session_bytes(session);
        if !self.id.is_empty() && self.number == number && self.session == bytes {
            return true;
        }
        self.session.clear();
        self.session.extend_from_slice(bytes);
        self.number = number;
        self.id.clear();
        write_id(&mut self.id, bytes, number);
        self.next = match self.within.take() {
            Some(within) if *within.transaction == *self.id => within.changes,
            _ => 0,
        };
        false
    }

    /// The change stands alone.
    pub fn leave(&mut self) {
        self.id.clear();
        self.within = None;
    }

    /// The id; empty where the newest change stands alone.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The index of the newest change, which counts it.
    pub fn take_index(&mut self) -> u32 {
        let index = self.next;
        self.next = self.next.saturating_add(1);
        index
    }
}

/// The id of a transaction: its session's in hexadecimal, and its number in it.
pub fn transaction_id(session: &RawDocument, number: i64) -> String {
    let mut text = String::new();
    write_id(&mut text, session_bytes(session), number);
    text
}

fn session_bytes(session: &RawDocument) -> &[u8] {
    match session.get_binary("id") {
        Ok(binary) if binary.subtype == BinarySubtype::Uuid => binary.bytes,
        _ => session.as_bytes(),
    }
}

fn write_id(text: &mut String, session: &[u8], number: i64) {
    for byte in session {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text.push(':');
    text.push_str(&number.to_string());
}

#[cfg(test)]
mod tests {
    use bson::{Binary, rawdoc};

    use super::*;

    #[test]
    fn a_transaction_goes_on_while_session_and_number_stay() {
        let session = |byte: u8| {
            let id = Binary {
                subtype: BinarySubtype::Uuid,
                bytes: vec![byte; 2],
            };
            rawdoc! { "id": id }
        };
        let mut transactions = Transactions::behind(Some(Within {
            transaction: "0101:5".into(),
            changes: 3,
        }));
        assert!(!transactions.enter(&session(1), 5));
        assert_eq!(transactions.id(), "0101:5");
        assert_eq!(transactions.take_index(), 3);
        assert!(transactions.enter(&session(1), 5));
        assert_eq!(transactions.take_index(), 4);
        assert!(!transactions.enter(&session(1), 6));
        assert_eq!(transactions.id(), "0101:6");
        assert_eq!(transactions.take_index(), 0);
        transactions.leave();
        assert_eq!(transactions.id(), "");
        assert!(!transactions.enter(&session(2), 6));
        assert_eq!(transactions.id(), "0202:6");
        assert_eq!(transactions.take_index(), 0);
    }
}
