//! Documents of MongoDB in a batch: raw BSON, copied once.

use super::batch::{BatchWriter, Operation};
use super::layout::ShapeId;

/// A change of one document.
pub const RECORD_DOCUMENT: f64 = 5.0;

/// A change of one document; its texts are written by [`BatchWriter::put_document`].
#[derive(Debug, Clone, Copy)]
pub struct DocumentChange<'a> {
    /// Commit time by the source's clock, in ms since the Unix epoch.
    pub committed_ms: f64,
    /// Id of the transaction; empty where the change stands alone.
    pub transaction: &'a str,
    /// Index of the change in its transaction.
    pub index: u32,
    /// What happened: insert, update, replace, delete.
    pub operation: Operation,
    /// Database and collection.
    pub shape: ShapeId,
    /// The key, raw.
    pub key: &'a [u8],
    /// The document before, raw; empty where it is not known.
    pub before: &'a [u8],
    /// The document after, raw; empty where it is not known.
    pub after: &'a [u8],
    /// The server's description of the update, raw; empty where it has none.
    pub update: &'a [u8],
}

/// The change is the last of its transaction.
const LAST: u8 = 1;
/// A failover may still roll the change back.
const UNCOMMITTED: u8 = 2;

/// Where a change says whether it is the last of its transaction; of the batch in which it was written only.
#[derive(Debug, Clone, Copy)]
pub struct LastMark {
    at: usize,
    flags: u8,
}

impl BatchWriter {
    /// Writes a change of one document. `id`, `position` and `changed` append their text: the change's id, the position
    /// after it, and the paths of the changed fields as a JSON array (nothing where there are none to tell).
    pub fn put_document(
        &mut self,
        change: &DocumentChange<'_>,
        id: impl FnOnce(&mut String),
        position: impl FnOnce(&mut String),
        changed: impl FnOnce(&mut String),
    ) -> LastMark {
        self.end_rows();
        self.put_number(RECORD_DOCUMENT);
        self.put_number(change.committed_ms);
        self.put_text_with(id);
        let position_at = self.mark();
        self.put_text_with(position);
        self.reach_text(position_at);
        self.put_text(change.transaction);
        self.put_number(f64::from(change.index));
        let last = LastMark {
            at: self.numbers_len(),
            flags: if self.is_uncommitted { UNCOMMITTED } else { 0 },
        };
        self.put_number(f64::from(last.flags));
        self.put_number(f64::from(change.operation as u8));
        self.put_number(f64::from(change.shape));
        self.put_bytes(change.key);
        self.put_bytes(change.before);
        self.put_bytes(change.after);
        self.put_bytes(change.update);
        self.put_text_with(changed);
        self.count_change(change.committed_ms);
        last
    }

    /// The change at `mark` is the last of its transaction.
    pub fn mark_last(&mut self, mark: LastMark) {
        self.replace_number(mark.at, f64::from(mark.flags | LAST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_one_record() {
        let mut writer = BatchWriter::new();
        let change = DocumentChange {
            committed_ms: 1.5,
            transaction: "t",
            index: 2,
            operation: Operation::Replace,
            shape: 7,
            key: b"key",
            before: b"",
            after: b"after",
            update: b"",
        };
        let mark = writer.put_document(&change, |text| text.push('i'), |text| text.push('ä'), |_| ());
        writer.mark_last(mark);
        let batch = writer.take();
        let numbers = [
            5.0, 1.5, 1.0, 2.0, 3.0, 2.0, 1.0, 4.0, 7.0, 3.0, 3.0, 8.0, 8.0, 3.0,
        ];
        assert_eq!(batch.numbers, numbers);
        assert_eq!(
            (batch.text.as_slice(), batch.bytes.as_slice()),
            (&b"i\xe4t"[..], &b"keyafter"[..])
        );
        assert_eq!((batch.changes, batch.newest_committed_ms), (1, Some(1.5)));
        assert_eq!(batch.position.as_deref(), Some("ä"));
    }

    #[test]
    fn what_may_be_rolled_back_says_so() {
        let mut writer = BatchWriter::new();
        let change = DocumentChange {
            committed_ms: 0.0,
            transaction: "t",
            index: 0,
            operation: Operation::Delete,
            shape: 0,
            key: b"key",
            before: b"",
            after: b"",
            update: b"",
        };
        writer.set_uncommitted(true);
        let mark = writer.put_document(&change, |_| (), |_| (), |_| ());
        writer.table_change(Operation::Drop, "d", "t", "");
        writer.mark_last(mark);
        writer.set_uncommitted(false);
        writer.put_document(&change, |_| (), |_| (), |_| ());
        writer.table_change(Operation::Drop, "d", "t", "");
        let numbers = writer.take().numbers;
        assert_eq!(
            [numbers[6], numbers[15], numbers[25], numbers[34]],
            [3.0, 22.0, 0.0, 6.0]
        );
    }
}
