//! Writes JSON text as a cell.

use std::fmt::Write;

use super::MAX_SAFE_INTEGER;
use crate::error::Result;
use crate::event::BatchWriter;

/// JSON text being written.
#[derive(Debug)]
pub(super) struct Output<'t> {
    pub(super) text: &'t mut String,
    /// Whether a string stands for another value.
    marked: bool,
}

/// Writes a cell: plain text, or an escape where a string in it stands for another value.
pub(super) fn put(out: &mut BatchWriter, write: impl FnOnce(&mut Output<'_>) -> Result<()>) -> Result<()> {
    let mark = out.mark();
    let marked = out.put_text_with(|text| {
        let start = text.len();
        let mut output = Output { text, marked: false };
        write(&mut output)?;
        Ok(output.marked.then(|| output.text.split_off(start)))
    })?;
    if let Some(text) = marked {
        out.rewind(mark);
        out.put_escaped(&text);
    }
    Ok(())
}

impl<'t> Output<'t> {
    /// Text that is not a cell of its own.
    pub(super) fn new(text: &'t mut String) -> Self {
        Self { text, marked: false }
    }

    /// Appends an object's key.
    pub(super) fn key(&mut self, key: &str) {
        self.text.push('"');
        push_escaped(key, self.text);
        self.text.push_str("\":");
    }

    /// Appends a string value.
    pub(super) fn string(&mut self, value: &str) {
        self.text.push('"');
        if value.starts_with('\0') {
            self.marked = true;
            self.text.push_str("\\u0000s");
        }
        push_escaped(value, self.text);
        self.text.push('"');
    }

    /// Appends an integer.
    pub(super) fn integer(&mut self, negative: bool, size: u64) {
        let sign = if negative { "-" } else { "" };
        let _ = if size <= MAX_SAFE_INTEGER {
            write!(self.text, "{sign}{size}")
        } else {
            self.marked = true;
            write!(self.text, "\"\\u0000i{sign}{size}\"")
        };
    }

    /// Appends a finite double.
    pub(super) fn double(&mut self, value: f64) {
        // The form of `Debug` has an exponent where the size is unusual, and is JSON.
        let _ = write!(self.text, "{value:?}");
    }
}

/// Appends `text` as the inside of a JSON string.
fn push_escaped(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(place) = rest
        .bytes()
        .position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        let (plain, special) = rest.split_at(place);
        out.push_str(plain);
        let mut characters = special.chars();
        match characters.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(control) => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            None => {}
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
}

/// Appends bytes in base64 (RFC 4648, padded).
pub(super) fn push_base64(bytes: &[u8], out: &mut String) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0_u32, |group, &byte| (group << 8) | u32::from(byte));
        for place in 0..4_u32 {
            let digit = ALPHABET.get((group >> (18 - 6 * place)) as usize & 63);
            let written = place as usize <= chunk.len();
            out.push(match digit {
                Some(&digit) if written => char::from(digit),
                _ => '=',
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Output<'_>)) -> String {
        let mut text = String::new();
        write(&mut Output::new(&mut text));
        text
    }

    #[test]
    fn strings_are_escaped_and_marked() {
        assert_eq!(
            written(|out| out.string("a\"\\\n\u{1}é😀")),
            r#""a\"\\\n\u0001é😀""#
        );
        assert_eq!(written(|out| out.string("\0x")), r#""\u0000s\u0000x""#);
        assert_eq!(written(|out| out.string("x\0")), r#""x\u0000""#);
        assert_eq!(written(|out| out.key("\0")), r#""\u0000":"#);
    }

    #[test]
    fn integers_outside_the_safe_range_are_marked() {
        assert_eq!(
            written(|out| out.integer(true, MAX_SAFE_INTEGER)),
            "-9007199254740991"
        );
        assert_eq!(
            written(|out| out.integer(false, u64::MAX)),
            r#""\u0000i18446744073709551615""#
        );
        assert_eq!(
            written(|out| out.integer(true, 1 << 63)),
            r#""\u0000i-9223372036854775808""#
        );
    }

    #[test]
    fn doubles_read_back_as_themselves() {
        for value in [
            1e15,
            1e16,
            1e100,
            5e-324,
            -0.0,
            1.5e-5,
            1.797_693_134_862_315_7e308,
            123.456,
        ] {
            let text = written(|out| out.double(value));
            let read: f64 = serde_json::from_str(&text).unwrap();
            assert_eq!(read.to_bits(), value.to_bits(), "{text}");
        }
    }

    #[test]
    fn base64_is_padded() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"a", "YQ=="),
            (b"ab", "YWI="),
            (b"abc", "YWJj"),
            (b"\xff\xfe\xfd\xfc", "//79/A=="),
        ] {
            assert_eq!(written(|out| push_base64(bytes, out.text)), text);
        }
    }

    #[test]
    fn a_cell_with_marked_strings_is_an_escape() {
        let mut out = BatchWriter::new();
        put(&mut out, |output| {
            output.integer(false, 7);
            Ok(())
        })
        .unwrap();
        put(&mut out, |output| {
            output.integer(false, u64::MAX);
            Ok(())
        })
        .unwrap();
        let batch = out.take();
        assert_eq!(batch.all_text(), r#"7"\u0000i18446744073709551615""#);
        assert_eq!(batch.numbers, [1.0, f64::INFINITY, 30.0]);
    }
}
