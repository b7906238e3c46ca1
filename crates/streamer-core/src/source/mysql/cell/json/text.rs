//! JSON that users wrote as text: MariaDB's JSON columns.
//!
//! The text is checked as `JSON.parse` will check it, and copied as it stands, except for what `JSON.parse` would not
//! hold: integers outside the safe range, and string values that begin with U+0000. Keys are never touched; of
//! duplicate keys `JSON.parse` takes the last. Numbers with a fraction or an exponent stay as they are. Text that is
//! not JSON, which a column can hold whose check was off when it was written, is written as it stands; `JSON.parse`
//! refuses it, and it arrives as a string.

use std::borrow::Cow;

use super::MAX_SAFE_INTEGER;
use crate::event::BatchWriter;
use crate::source::mysql::charset::Charset;

/// Writes a cell.
pub(in super::super) fn put(charset: Charset, cell: &[u8], out: &mut BatchWriter) {
    put_str(&charset.text(cell), out);
}

/// Writes a cell whose text is known.
pub(in super::super) fn put_str(text: &str, out: &mut BatchWriter) {
    match rewrite(text) {
        // What was rewritten holds strings that stand for other values.
        Some(Cow::Owned(json)) => out.put_escaped(&json),
        Some(Cow::Borrowed(_)) | None => out.put_text(text),
    }
}

/// The text for `JSON.parse`; `None` where it is not JSON.
fn rewrite(text: &str) -> Option<Cow<'_, str>> {
    let mut scanner = Scanner {
        text,
        at: 0,
        copied: 0,
        out: String::new(),
    };
    scanner.document()?;
    if scanner.copied == 0 {
        return Some(Cow::Borrowed(text));
    }
    scanner.copy_to(text.len());
    Some(Cow::Owned(scanner.out))
}

struct Scanner<'a> {
    text: &'a str,
    /// Bytes read.
    at: usize,
    /// Bytes of `text` that are in `out`.
    copied: usize,
    out: String,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Reads `byte` where it is next.
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn copy_to(&mut self, end: usize) {
        self.out
            .push_str(self.text.get(self.copied..end).unwrap_or_default());
        self.copied = end;
    }

    /// Without recursion, so that any depth will do: `open` says for each open container whether it is an object.
    fn document(&mut self) -> Option<()> {
        let mut open: Vec<bool> = Vec::new();
        loop {
            self.space();
            let container = match self.peek()? {
                b'{' => Some(true),
                b'[' => Some(false),
                _ => None,
            };
            if let Some(object) = container {
                self.at += 1;
                self.space();
                if !self.eat(if object { b'}' } else { b']' }) {
                    open.push(object);
                    if object {
                        self.key()?;
                    }
                    continue;
                }
            } else {
                self.scalar()?;
            }
            // A value has ended: close what ends with it.
            loop {
                self.space();
                let Some(&object) = open.last() else {
                    return self.peek().is_none().then_some(());
                };
                if self.eat(b',') {
                    if object {
                        self.space();
                        self.key()?;
                    }
                    break;
                }
                self.expect(if object { b'}' } else { b']' })?;
                open.pop();
            }
        }
    }

    fn key(&mut self) -> Option<()> {
        self.string(false)?;
        self.space();
        self.expect(b':')
    }

    fn scalar(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string(true),
            b'-' | b'0'..=b'9' => self.number(),
            _ => {
                let literal = ["true", "false", "null"]
                    .into_iter()
                    .find(|literal| self.rest().starts_with(literal))?;
                self.at += literal.len();
                Some(())
            }
        }
    }

    fn string(&mut self, value: bool) -> Option<()> {
        self.expect(b'"')?;
        if value && self.rest().starts_with("\\u0000") {
            self.copy_to(self.at);
            self.out.push_str("\\u0000s");
        }
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => {
                    self.at += 1;
                    self.escape()?;
                }
                0..=0x1f => return None,
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                let digits = self.text.as_bytes().get(self.at + 1..self.at + 5)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                self.at += 5;
            }
            _ => return None,
        }
        Some(())
    }

    /// Reads digits; their number.
    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        self.eat(b'-');
        let first = self.at;
        let zero = self.eat(b'0');
        if !zero && self.digits() == 0 {
            return None;
        }
        let integer_end = self.at;
        if self.eat(b'.') && self.digits() == 0 {
            return None;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            if self.digits() == 0 {
                return None;
            }
        }
        let digits = self.text.get(first..integer_end)?;
        let unsafe_size = || !digits.parse::<u64>().is_ok_and(|size| size <= MAX_SAFE_INTEGER);
        if self.at == integer_end && digits.len() > 15 && unsafe_size() {
            self.copy_to(start);
            self.out.push_str("\"\\u0000i");
            self.copy_to(integer_end);
            self.out.push('"');
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_json_parse_holds_is_left_as_it_stands() {
        for text in [
            r#" {"a" : 1, "a":2, "\u0000":[ ], "b":{}, "c":[1.50, -0, 1e400, 9007199254740991]} "#,
            r#""\ud800""#,
            "12345678901234567890.5",
            "123456789012345678901e2",
            "true",
        ] {
            assert!(matches!(rewrite(text), Some(Cow::Borrowed(_))), "{text}");
        }
    }

    #[test]
    fn unsafe_integers_and_strings_with_nul_are_marked() {
        assert_eq!(
            rewrite(r#"[9007199254740992,{"\u0000k":"\u0000v"},-123456789012345678901234567890, 7]"#)
                .unwrap(),
            r#"["\u0000i9007199254740992",{"\u0000k":"\u0000s\u0000v"},"\u0000i-123456789012345678901234567890", 7]"#
        );
    }

    #[test]
    fn text_that_is_not_json_is_told_apart() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "01",
            "1.",
            "-",
            "'a'",
            "\"\t\"",
            "\"\\x\"",
            "\"\\u12\"",
            "[1] 2",
            "nul",
            "[}",
            "+1",
            "1e",
            "{1:2}",
            "\u{feff}1",
        ] {
            assert_eq!(rewrite(text), None, "{text}");
        }
    }

    #[test]
    fn depth_is_no_matter() {
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(9_999), "]".repeat(9_999));
        let marked = deep(r#""\u0000i9007199254740992""#);
        assert_eq!(
            rewrite(&deep("9007199254740992")).as_deref(),
            Some(marked.as_str())
        );
    }

    proptest! {
        #[test]
        fn it_accepts_what_a_json_parser_accepts(text in r#"[\[\]{}",:0-9eE.+\-a\\u ntrf]{0,12}"#) {
            let accepted = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(rewrite(&text).is_some(), accepted);
        }
    }
}
