//! Differences of JSON columns in PARTIAL_UPDATE_ROWS_EVENT (`binlog_row_value_options=PARTIAL_JSON`).
//!
//! Format: `Json_diff::write_binary`, `sql/json_diff.cc`: four bytes of length, then operations; each is a byte (0
//! replace, 1 insert, 2 remove), a path behind its length, and for the first two a binary document behind its length.

use super::super::wire::{Extent, little, undecodable};
use super::apply::{Change, apply};
use super::output::{self, Output};
use super::path;
use super::tree::Node;
use crate::error::{Error, Result};
use crate::event::BatchWriter;

/// Where a difference ends.
pub(in super::super) const DIFFERENCE: Extent = Extent::Prefixed(4);

const REPLACE: u8 = 0;
const INSERT: u8 = 1;
const REMOVE: u8 = 2;

/// One operation, its document unread.
#[derive(Debug)]
struct Operation<'a> {
    name: &'static str,
    path: &'a str,
    /// `None` for a removal.
    document: Option<&'a [u8]>,
}

#[cold]
fn broken() -> Error {
    undecodable("Expected a JSON difference, found bytes that are not.")
}

/// Writes the document `base`, changed by `difference`, as a cell.
pub(in super::super) fn put_changed(base: &[u8], difference: &[u8], out: &mut BatchWriter) -> Result<()> {
    let mut document = Node::read(base)?;
    for operation in Operations(difference) {
        let operation = operation?;
        let value = operation.document.map(Node::read).transpose()?;
        let change = match (operation.name, value) {
            ("replace", Some(value)) => Change::Replace(value),
            (_, Some(value)) => Change::Insert(value),
            (_, None) => Change::Remove,
        };
        apply(&mut document, &path::parse(operation.path)?, change)?;
    }
    output::put(out, |output| document.write(output))
}

/// Writes the operations of `difference` as a cell.
pub(in super::super) fn put_difference(difference: &[u8], out: &mut BatchWriter) -> Result<()> {
    let mut text = String::new();
    let mut output = Output::new(&mut text);
    output.text.push('[');
    for (place, operation) in Operations(difference).enumerate() {
        let operation = operation?;
        path::parse(operation.path)?;
        output
            .text
            .push_str(if place > 0 { ",{\"op\":\"" } else { "{\"op\":\"" });
        output.text.push_str(operation.name);
        output.text.push_str("\",\"path\":");
        output.string(operation.path);
        if let Some(document) = operation.document {
            output.text.push_str(",\"value\":");
            Node::read(document)?.write(&mut output)?;
        }
        output.text.push('}');
    }
    output.text.push(']');
    out.put_json_difference(&text);
    Ok(())
}

/// Walks the operations of a difference; ends after the first error.
struct Operations<'a>(&'a [u8]);

impl<'a> Operations<'a> {
    fn bytes(&mut self) -> Result<&'a [u8]> {
        let (width, skipped) = match self.0.first() {
            Some(0xfc) => (2, 1),
            Some(0xfd) => (3, 1),
            Some(0xfe) => (8, 1),
            Some(0xfb | 0xff) | None => return Err(broken()),
            Some(_) => (1, 0),
        };
        let number = self.0.get(skipped..skipped + width).ok_or_else(broken)?;
        let length = usize::try_from(little(number)).map_err(|_| broken())?;
        let rest = self.0.get(skipped + width..).ok_or_else(broken)?;
        let (bytes, rest) = rest.split_at_checked(length).ok_or_else(broken)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn read(&mut self) -> Result<Operation<'a>> {
        let (&code, rest) = self.0.split_first().ok_or_else(broken)?;
        self.0 = rest;
        let name = match code {
            REPLACE => "replace",
            INSERT => "insert",
            REMOVE => "remove",
            _ => return Err(broken()),
        };
        let path = std::str::from_utf8(self.bytes()?).map_err(|_| broken())?;
        let document = if code == REMOVE { None } else { Some(self.bytes()?) };
        Ok(Operation { name, path, document })
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Result<Operation<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let operation = self.read();
        if operation.is_err() {
            self.0 = &[];
        }
        Some(operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    /// `{"a": 1, "b": {"c": [1, 2, 3], "d e": "long string long string"}, "é": 2, "q\"x": 1}`, from MySQL 9.7.
    const BASE: &str = "0004006200200001002100010022000200240003000502000027000502000501006162c3a971227802003b00120001\
                        00130003000216000c23006364206503000d00050100050200050300176c6f6e6720737472696e67206c6f6e672073\
                        7472696e67";

    fn applied(difference: &str) -> Result<String> {
        let mut out = BatchWriter::new();
        put_changed(&hex(BASE), &hex(difference)[4..], &mut out)?;
        Ok(out.take().all_text())
    }

    #[test]
    fn differences_of_the_server_are_applied() {
        // JSON_SET(j, '$.b.c[1]', 'x', '$.b."d e"', 5, '$.b.new', CAST(1.5 AS DECIMAL(5,2)))
        let difference = "310000000008242e622e635b315d030c01780009242e622e2264206522030505000107242e622e6e65770a0ff6070b\
                          028000000132";
        assert_eq!(
            applied(difference).unwrap(),
            r#"{"a":2,"b":{"c":[1,"x",3],"d e":5,"new":"1.50"},"é":2,"q\"x":1}"#
        );
        // JSON_REMOVE(j, '$.b.c[0]')
        assert_eq!(
            applied("0a0000000208242e622e635b305d").unwrap(),
            r#"{"a":2,"b":{"c":[2,3],"d e":"long string long string"},"é":2,"q\"x":1}"#
        );
        // JSON_SET(j, '$.b.c[9]', 8)
        assert_eq!(
            applied("0e0000000108242e622e635b395d03050800").unwrap(),
            r#"{"a":2,"b":{"c":[1,2,3,8],"d e":"long string long string"},"é":2,"q\"x":1}"#
        );
    }

    #[test]
    fn an_insertion_outside_an_array_goes_to_its_nearer_end() {
        // `[1]`; what MySQL 9.7 makes of JSON_SET(j, '$[last-1]', 2, '$[9]', 3).
        let base = [2, 1, 0, 7, 0, 5, 1, 0];
        let difference = [
            &[1, 9][..],
            b"$[last-1]",
            &[3, 5, 2, 0],
            &[1, 4],
            b"$[9]",
            &[3, 5, 3, 0],
        ]
        .concat();
        let mut out = BatchWriter::new();
        put_changed(&base, &difference, &mut out).unwrap();
        assert_eq!(out.take().all_text(), "[2,1,3]");
    }

    #[test]
    fn without_a_base_the_operations_are_written() {
        let mut out = BatchWriter::new();
        let input = [
            &[0_u8, 3, b'$', b'.', b'a', 3, 5, 3, 0][..],
            &[2, 6, b'$', b'.', b'b', b'[', b'0', b']'],
        ]
        .concat();
        put_difference(&input, &mut out).unwrap();
        let batch = out.take();
        assert_eq!(
            batch.all_text(),
            r#"[{"op":"replace","path":"$.a","value":3},{"op":"remove","path":"$.b[0]"}]"#
        );
        assert_eq!(batch.numbers.first(), Some(&f64::NEG_INFINITY));
    }

    #[test]
    fn a_difference_that_does_not_fit_its_base_is_refused() {
        // replace $.z
        assert!(applied("090000000003242e7a03050300").is_err());
        // remove $.b.c[7]
        assert!(applied("0a0000000208242e622e635b375d").is_err());
    }
}
