//! Cuts a statement into tokens as the servers' lexers do.
//!
//! Relies on the session's `sql_mode` and on the server's family and version, which decide what quotes mean and whether
//! an executable comment (`/*!80023 … */`, `/*M!100301 … */`) is read or skipped.

use super::{Session, SqlMode};
use crate::source::mysql::link::Flavor;

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A keyword or a bare identifier.
    Word(&'a str),
    /// A quoted identifier.
    Quoted(String),
    /// A string.
    Text(String),
    /// Digits, with or without a point or an exponent.
    Number(&'a str),
    /// A hexadecimal or bit literal.
    Bytes(Vec<u8>),
    /// Anything else, one character at a time.
    Symbol(char),
    /// What cannot be a token: an open quote, an open comment. Nothing follows.
    Broken,
}

/// Cuts `statement` into tokens with their byte ranges.
pub(crate) fn tokenize<'a>(
    statement: &'a str,
    session: &Session<'_>,
) -> Vec<(Token<'a>, std::ops::Range<usize>)> {
    let mut lexer = Lexer {
        text: statement,
        at: 0,
        mode: session.sql_mode,
        flavor: session.flavor,
        version: session.version_number(),
        inside_executable: false,
        after_dot: false,
        name_end: None,
    };
    let mut tokens = Vec::new();
    loop {
        match lexer.skip_blank() {
            Blank::Open => {
                tokens.push((Token::Broken, lexer.at..statement.len()));
                return tokens;
            }
            Blank::End => return tokens,
            Blank::Token => {}
        }
        let begin = lexer.at;
        let token = lexer.token().unwrap_or(Token::Broken);
        lexer.after_dot = token == Token::Symbol('.');
        lexer.name_end = matches!(token, Token::Word(_) | Token::Quoted(_)).then_some(lexer.at);
        let broken = token == Token::Broken;
        tokens.push((token, begin..lexer.at.max(begin)));
        if broken {
            return tokens;
        }
    }
}

enum Blank {
    Token,
    End,
    Open,
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    mode: SqlMode,
    flavor: Flavor,
    version: u32,
    inside_executable: bool,
    after_dot: bool,
    /// Where a name ended: a point directly behind it separates, elsewhere it may begin a number.
    name_end: Option<usize>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn skip_past(&mut self, end: &str) -> bool {
        match self.rest().find(end) {
            Some(found) => {
                self.at += found + end.len();
                true
            }
            None => false,
        }
    }

    fn skip_line(&mut self) {
        self.at += self.rest().find('\n').unwrap_or(self.rest().len());
    }

    fn skip_blank(&mut self) -> Blank {
        loop {
            let rest = self.rest();
            let blank = rest.len()
                - rest
                    .trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b')
                    .len();
            if blank > 0 {
                self.at += blank;
                continue;
            }
            match (self.byte(0), self.byte(1), self.byte(2)) {
                (None, ..) if self.inside_executable => return Blank::Open,
                (None, ..) => return Blank::End,
                (Some(b'#'), ..) => self.skip_line(),
                (Some(b'-'), Some(b'-'), third)
                    if third.is_none_or(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) =>
                {
                    self.skip_line();
                }
                (Some(b'*'), Some(b'/'), _) if self.inside_executable => {
                    self.inside_executable = false;
                    self.at += 2;
                }
                (Some(b'/'), Some(b'*'), _) => {
                    if !self.comment() {
                        return Blank::Open;
                    }
                }
                _ => return Blank::Token,
            }
        }
    }

    /// At `/*`: skips the comment, or only its opening where its inside is to be read.
    fn comment(&mut self) -> bool {
        let head = match (self.byte(2), self.byte(3)) {
            (Some(b'!'), _) => 3,
            (Some(b'M'), Some(b'!')) if self.flavor == Flavor::Mariadb => 4,
            _ => {
                self.at += 2;
                return self.skip_past("*/");
            }
        };
        if self.inside_executable {
            self.at += 2;
            return self.skip_past("*/");
        }
        let opening = self.rest().get(head..).unwrap_or_default();
        let digits = opening.bytes().take(6).take_while(u8::is_ascii_digit).count();
        let digits = if digits < 5 { 0 } else { digits };
        let wanted: u32 = opening
            .get(..digits)
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0);
        let foreign = self.flavor == Flavor::Mariadb && head == 3 && (50_700..=99_999).contains(&wanted);
        if wanted <= self.version && !foreign {
            self.at += head + digits;
            self.inside_executable = true;
            return true;
        }
        self.skip_unread_comment()
    }

    /// Comments inside an executable comment that is not executed are skipped as a whole.
    fn skip_unread_comment(&mut self) -> bool {
        self.at += 2;
        let mut depth = 1_usize;
        while depth > 0 {
            let rest = self.rest();
            let Some(end) = rest.find("*/") else {
                return false;
            };
            match rest.find("/*") {
                Some(begin) if begin < end => {
                    depth += 1;
                    self.at += begin + 2;
                }
                _ => {
                    depth -= 1;
                    self.at += end + 2;
                }
            }
        }
        true
    }

    fn token(&mut self) -> Option<Token<'a>> {
        let first = self.rest().chars().next()?;
        let second = self.byte(1);
        match first {
            '`' => self.quoted('`', false).map(Token::Quoted),
            '"' if self.mode.ansi_quotes() => self.quoted('"', false).map(Token::Quoted),
            '"' | '\'' => self
                .quoted(first, !self.mode.no_backslash_escapes())
                .map(Token::Text),
            'x' | 'X' if second == Some(b'\'') => self.literal(16),
            'b' | 'B' if second == Some(b'\'') => self.literal(2),
            'n' | 'N' if second == Some(b'\'') => {
                self.at += 1;
                self.quoted('\'', !self.mode.no_backslash_escapes())
                    .map(Token::Text)
            }
            '0'..='9' | '.' => Some(self.number()),
            first if is_word(first) => Some(Token::Word(self.word())),
            first => {
                self.at += first.len_utf8();
                Some(Token::Symbol(first))
            }
        }
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// A number; or a word that begins with digits; or a point.
    fn number(&mut self) -> Token<'a> {
        let rest = self.rest();
        if self.after_dot {
            return match rest.starts_with('.') {
                true => self.point(),
                false => Token::Word(self.word()),
            };
        }
        if self.name_end == Some(self.at) && rest.starts_with('.') {
            return self.point();
        }
        let bytes = rest.as_bytes();
        let digits = |from: usize| {
            bytes
                .get(from..)
                .unwrap_or_default()
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count()
        };
        let whole = digits(0);
        let radix = match rest.get(..2) {
            Some("0x") => 16,
            Some("0b") => 2,
            _ => 10,
        };
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if radix != 10
            && word > 2
            && let Some(value) = rest.get(2..word).and_then(|text| radix_bytes(text, radix))
        {
            self.at += word;
            return Token::Bytes(value);
        }
        let fraction = match bytes.get(whole) {
            Some(b'.') => 1 + digits(whole + 1),
            _ => 0,
        };
        if whole == 0 && fraction <= 1 {
            return self.point();
        }
        let mut end = whole + fraction;
        if let Some(b'e' | b'E') = bytes.get(end) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + sign);
            if exponent > 0 {
                end += 1 + sign + exponent;
            }
        }
        if end == whole && word > end {
            return Token::Word(self.word());
        }
        self.at += end;
        Token::Number(rest.get(..end).unwrap_or_default())
    }

    fn point(&mut self) -> Token<'a> {
        self.at += 1;
        Token::Symbol('.')
    }

    /// `x'…'` or `b'…'`.
    fn literal(&mut self, radix: u32) -> Option<Token<'a>> {
        let rest = self.rest().get(2..)?;
        let end = rest.find('\'')?;
        self.at += 2 + end + 1;
        radix_bytes(rest.get(..end)?, radix).map(Token::Bytes)
    }

    fn quoted(&mut self, quote: char, escapes: bool) -> Option<String> {
        let mut text = String::new();
        let rest = self.rest();
        let mut chars = rest.char_indices().skip(1).peekable();
        while let Some((index, c)) = chars.next() {
            if c == quote {
                match chars.peek() {
                    Some(&(_, next)) if next == quote => {
                        text.push(quote);
                        chars.next();
                    }
                    _ => {
                        self.at += index + quote.len_utf8();
                        return Some(text);
                    }
                }
            } else if c == '\\' && escapes {
                let (_, escaped) = chars.next()?;
                unescape(escaped, &mut text);
            } else {
                text.push(c);
            }
        }
        self.at = self.text.len();
        None
    }
}

fn unescape(escaped: char, text: &mut String) {
    match escaped {
        '0' => text.push('\0'),
        'b' => text.push('\u{8}'),
        'n' => text.push('\n'),
        'r' => text.push('\r'),
        't' => text.push('\t'),
        'Z' => text.push('\u{1a}'),
        '%' | '_' => {
            text.push('\\');
            text.push(escaped);
        }
        other => text.push(other),
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

fn radix_bytes(text: &str, radix: u32) -> Option<Vec<u8>> {
    let bits = if radix == 16 { 4 } else { 1 };
    let mut bytes = Vec::with_capacity(text.len() * bits / 8 + 1);
    let (mut value, mut filled) = (0_u8, (8 - text.len() * bits % 8) % 8);
    for c in text.chars() {
        value = (value << bits) | u8::try_from(c.to_digit(radix)?).ok()?;
        filled += bits;
        if filled == 8 {
            bytes.push(value);
            (value, filled) = (0, 0);
        }
    }
    Some(bytes)
}
