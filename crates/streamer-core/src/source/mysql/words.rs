//! Statements of the log that steer a transaction. Everything else is DDL, or a change in statement format.
//!
//! Both servers write these themselves, in capital letters and without comments; XA names are hexadecimal.

use std::sync::Arc;

/// What a statement of the log means for the transaction around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// BEGIN.
    Begin,
    /// COMMIT.
    Commit,
    /// ROLLBACK of everything.
    Rollback,
    /// ROLLBACK TO a savepoint.
    RollbackTo,
    /// SAVEPOINT or RELEASE SAVEPOINT.
    Savepoint,
    /// XA START with the transaction's name.
    XaStart(Arc<str>),
    /// XA END.
    XaEnd,
    /// XA COMMIT; in one phase, it ends the transaction that is open.
    XaCommit {
        /// Name.
        xid: Arc<str>,
        /// Without an earlier prepare.
        one_phase: bool,
    },
    /// XA ROLLBACK.
    XaRollback(Arc<str>),
    /// A change of rows in statement format.
    Change,
    /// A statement that does not concern rows or definitions.
    Nothing,
    /// Anything else: DDL.
    Definition,
}

/// Reads the first words of a statement.
pub fn classify(statement: &[u8]) -> Words {
    let head = String::from_utf8_lossy(statement.get(..statement.len().min(512)).unwrap_or_default());
    let text = skip_space_and_comments(&head);
    let upper = text.to_ascii_uppercase();
    let mut words = upper.split_ascii_whitespace();
    match (words.next().unwrap_or_default(), words.next().unwrap_or_default()) {
        ("BEGIN", "") => Words::Begin,
        ("START", "TRANSACTION") => Words::Begin,
        ("COMMIT", _) => Words::Commit,
        ("ROLLBACK", "TO") => Words::RollbackTo,
        ("ROLLBACK", _) => Words::Rollback,
        ("SAVEPOINT", _) | ("RELEASE", "SAVEPOINT") => Words::Savepoint,
        ("XA", action) => xa(action, text),
        ("INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "CALL" | "WITH", _) => Words::Change,
        ("SET" | "FLUSH" | "ANALYZE" | "OPTIMIZE" | "REPAIR" | "GRANT" | "REVOKE" | "DO", _) => {
            Words::Nothing
        }
        _ => Words::Definition,
    }
}

fn xa(action: &str, text: &str) -> Words {
    let name = text.split_ascii_whitespace().nth(2).unwrap_or_default();
    let xid: Arc<str> = name.to_ascii_lowercase().into();
    match action {
        "START" | "BEGIN" => Words::XaStart(xid),
        "COMMIT" => Words::XaCommit {
            xid,
            one_phase: text.to_ascii_uppercase().contains("ONE PHASE"),
        },
        "ROLLBACK" => Words::XaRollback(xid),
        _ => Words::XaEnd,
    }
}

/// The name of an XA transaction as `XA COMMIT` writes it, from the fields of a prepare event.
pub fn xid_text(format_id: u32, global: &[u8], branch: &[u8]) -> Arc<str> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("x'{}',x'{}',{format_id}", hex(global), hex(branch)).into()
}

/// The statement behind leading blanks and plain comments; `/*!` and `/*M!` are code, not comments.
fn skip_space_and_comments(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        let rest = match text.strip_prefix("/*") {
            Some(rest) if !rest.starts_with('!') && !rest.starts_with("M!") => rest,
            _ => return text,
        };
        match rest.split_once("*/") {
            Some((_, after)) => text = after,
            None => return text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        assert_eq!(classify(b"BEGIN"), Words::Begin);
        assert_eq!(classify(b"COMMIT"), Words::Commit);
        assert_eq!(classify(b"ROLLBACK TO `a`"), Words::RollbackTo);
        assert_eq!(
            classify(b"/* a comment */ insert into t values (1)"),
            Words::Change
        );
        assert_eq!(classify(b"/*!40000 DROP TABLE t */"), Words::Definition);
        assert_eq!(
            classify(b"XA COMMIT X'6162',X'',1 ONE PHASE"),
            Words::XaCommit {
                xid: "x'6162',x'',1".into(),
                one_phase: true
            }
        );
        assert_eq!(&*xid_text(1, b"ab", b""), "x'6162',x'',1");
    }
}
