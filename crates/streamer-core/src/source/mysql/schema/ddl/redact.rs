//! Takes passwords out of statements that are shown to users.

use std::borrow::Cow;
use std::ops::Range;

use super::token::{Token, tokenize};
use super::{Session, SqlMode};

/// Words after which a string is a secret.
const SECRET_AFTER: &[&str] = &[
    "password",
    "master_password",
    "source_password",
    "master_ssl_key",
    "connection",
    "privilege_checks_user",
    "encryption_key",
    "secret",
    "token",
    "auth_string",
    "authentication_string",
];

/// `statement` with every password replaced by `'***'`; the statement itself where it holds none.
///
/// Replaced are the strings after IDENTIFIED … BY and AS, USING (`VIA … USING`), REPLACE, PASSWORD (with or without
/// parentheses or equals sign), CONNECTION, and the replication commands' own words. A statement about accounts, servers
/// or replication that cannot be read to its end is cut at its first quote.
pub fn redact<'a>(statement: &'a str, session: &Session<'_>) -> Cow<'a, str> {
    if !may_hold_secret(statement) {
        return Cow::Borrowed(statement);
    }
    // Double quotes may be strings or identifiers: a secret must not depend on knowing which.
    let session = Session {
        sql_mode: SqlMode(session.sql_mode.0 & !4),
        ..session.clone()
    };
    let tokens = tokenize(statement, &session);
    let mut secrets = Vec::new();
    let account = concerns_accounts(&tokens);
    let mut identified = false;
    for (index, (token, range)) in tokens.iter().enumerate() {
        match token {
            Token::Broken => return Cow::Owned(cut(statement, range.start, &secrets)),
            Token::Word(word) if is(word, "identified") => identified = true,
            Token::Symbol(',') if account => identified = false,
            Token::Text(_) | Token::Bytes(_) if is_secret(&tokens, index, account, identified) => {
                secrets.push(range.clone());
            }
            _ => {}
        }
    }
    if secrets.is_empty() {
        return Cow::Borrowed(statement);
    }
    Cow::Owned(replace(statement, &secrets))
}

fn is(word: &str, other: &str) -> bool {
    word.eq_ignore_ascii_case(other)
}

/// Cheap: most DDL holds none of these.
fn may_hold_secret(statement: &str) -> bool {
    let lower = statement.to_ascii_lowercase();
    [
        "password",
        "identified",
        "connection",
        "secret",
        "token",
        "master_",
        "source_",
        "auth",
        "encryption_key",
    ]
    .iter()
    .any(|word| lower.contains(word))
}

type Tokens<'a> = [(Token<'a>, Range<usize>)];

fn concerns_accounts(tokens: &Tokens<'_>) -> bool {
    tokens.iter().take(6).any(|(token, _)| {
        matches!(token, Token::Word(word) if ["user", "role", "grant", "set", "server", "change", "start"]
            .iter()
            .any(|other| is(word, other)))
    })
}

fn is_secret(tokens: &Tokens<'_>, index: usize, account: bool, identified: bool) -> bool {
    let mut before = tokens
        .get(..index)
        .unwrap_or_default()
        .iter()
        .rev()
        .map(|(token, _)| token);
    let mut skipped = before.by_ref().skip_while(|token| {
        matches!(token, Token::Symbol('=' | '(' | ':')) || matches!(token, Token::Text(_))
    });
    let Some(Token::Word(word)) = skipped.next() else {
        // SET PASSWORD FOR 'a'@'b' = 'secret'
        return account && assigns_password(tokens, index);
    };
    if SECRET_AFTER.iter().any(|secret| is(word, secret)) {
        return true;
    }
    if account
        && (identified || is(word, "identified"))
        && ["by", "as", "using", "replace"].iter().any(|w| is(word, w))
    {
        return true;
    }
    account && (is(word, "replace") || assigns_password(tokens, index))
}

/// Inside SET PASSWORD, after the equals sign.
fn assigns_password(tokens: &Tokens<'_>, index: usize) -> bool {
    let set = matches!(tokens.first(), Some((Token::Word(word), _)) if is(word, "set"));
    let password = matches!(tokens.get(1), Some((Token::Word(word), _)) if is(word, "password"));
    let assigned = tokens.get(..index).unwrap_or_default().iter().any(|(token, _)| {
        matches!(token, Token::Symbol('=')) || matches!(token, Token::Word(word) if is(word, "to"))
    });
    set && password && assigned
}

fn replace(statement: &str, secrets: &[Range<usize>]) -> String {
    let mut shown = String::with_capacity(statement.len());
    let mut at = 0;
    for secret in secrets {
        shown.push_str(statement.get(at..secret.start).unwrap_or_default());
        shown.push_str("'***'");
        at = secret.end;
    }
    shown.push_str(statement.get(at..).unwrap_or_default());
    shown
}

/// Everything from where the statement cannot be read is left out.
fn cut(statement: &str, at: usize, secrets: &[Range<usize>]) -> String {
    let head = statement.get(..at).unwrap_or_default();
    format!("{}…", replace(head, secrets))
}
