//! Walks over the tokens of a statement. `None` everywhere means: this is not what the grammar here understands.

use super::token::Token;

/// A place among tokens.
pub(crate) struct Cursor<'a> {
    tokens: &'a [(Token<'a>, std::ops::Range<usize>)],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(tokens: &'a [(Token<'a>, std::ops::Range<usize>)]) -> Self {
        Self { tokens, at: 0 }
    }

    pub(crate) fn peek(&self) -> Option<&'a Token<'a>> {
        self.ahead(0)
    }

    pub(crate) fn ahead(&self, count: usize) -> Option<&'a Token<'a>> {
        self.tokens.get(self.at + count).map(|(token, _)| token)
    }

    pub(crate) fn next(&mut self) -> Option<&'a Token<'a>> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    /// At the end, or before the semicolon that ends the statement.
    pub(crate) fn at_end(&self) -> bool {
        match self.peek() {
            None => true,
            Some(Token::Symbol(';')) => self.ahead(1).is_none(),
            _ => false,
        }
    }

    pub(crate) fn end(&self) -> Option<()> {
        self.at_end().then_some(())
    }

    /// Before what ends a definition: a comma, a closing parenthesis, the end, or partitions.
    pub(crate) fn clause_ends(&self) -> bool {
        self.at_end()
            || self.is_symbol(',')
            || self.is_symbol(')')
            || self.is("partition")
            || (self.is("remove") && self.is_ahead(1, "partitioning"))
    }

    pub(crate) fn mark(&self) -> usize {
        self.at
    }

    pub(crate) fn back_to(&mut self, mark: usize) {
        self.at = mark;
    }

    /// The bare word at a distance.
    pub(crate) fn word_ahead(&self, count: usize) -> Option<&'a str> {
        match self.ahead(count)? {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(crate) fn is(&self, word: &str) -> bool {
        self.is_ahead(0, word)
    }

    pub(crate) fn is_ahead(&self, count: usize, word: &str) -> bool {
        self.word_ahead(count)
            .is_some_and(|found| found.eq_ignore_ascii_case(word))
    }

    pub(crate) fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    pub(crate) fn take(&mut self, word: &str) -> bool {
        let found = self.is(word);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn take_any(&mut self, words: &[&str]) -> bool {
        let found = self.is_any(words);
        self.at += usize::from(found);
        found
    }

    /// Takes several words, or none of them.
    pub(crate) fn take_all(&mut self, words: &[&str]) -> bool {
        let found = words
            .iter()
            .enumerate()
            .all(|(index, word)| self.is_ahead(index, word));
        self.at += if found { words.len() } else { 0 };
        found
    }

    pub(crate) fn expect(&mut self, word: &str) -> Option<()> {
        self.take(word).then_some(())
    }

    pub(crate) fn is_symbol(&self, symbol: char) -> bool {
        self.peek() == Some(&Token::Symbol(symbol))
    }

    pub(crate) fn take_symbol(&mut self, symbol: char) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect_symbol(&mut self, symbol: char) -> Option<()> {
        self.take_symbol(symbol).then_some(())
    }

    /// An identifier, bare or quoted.
    pub(crate) fn identifier(&mut self) -> Option<String> {
        let name = match self.peek()? {
            Token::Word(word) => (*word).to_owned(),
            Token::Quoted(name) => name.clone(),
            _ => return None,
        };
        self.at += 1;
        Some(name)
    }

    /// `name` or `database.name` or `.name`.
    pub(crate) fn qualified(&mut self) -> Option<(Option<String>, String)> {
        if self.take_symbol('.') {
            return Some((None, self.identifier()?));
        }
        let first = self.identifier()?;
        match self.take_symbol('.') {
            true => Some((Some(first), self.identifier()?)),
            false => Some((None, first)),
        }
    }

    /// A name where strings are allowed too: charsets, engines.
    pub(crate) fn name_or_text(&mut self) -> Option<String> {
        match self.peek()? {
            Token::Text(text) => {
                self.at += 1;
                Some(text.clone())
            }
            _ => self.identifier(),
        }
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        match self.next()? {
            Token::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        match self.next()? {
            Token::Number(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// Skips `( … )` with everything inside.
    pub(crate) fn skip_parentheses(&mut self) -> Option<()> {
        self.parenthesized().map(|_| ())
    }

    /// The tokens inside `( … )`, and goes behind it.
    pub(crate) fn parenthesized(&mut self) -> Option<&'a [(Token<'a>, std::ops::Range<usize>)]> {
        self.expect_symbol('(')?;
        let begin = self.at;
        let mut depth = 1_usize;
        while depth > 0 {
            match self.next()? {
                Token::Symbol('(') => depth += 1,
                Token::Symbol(')') => depth -= 1,
                Token::Broken => return None,
                _ => {}
            }
        }
        self.tokens.get(begin..self.at - 1)
    }

    /// `[IF NOT EXISTS]`.
    pub(crate) fn if_not_exists(&mut self) -> bool {
        self.take_all(&["IF", "NOT", "EXISTS"])
    }

    /// `[IF EXISTS]`.
    pub(crate) fn if_exists(&mut self) -> bool {
        self.take_all(&["IF", "EXISTS"])
    }
}
