//! The statements, one a line. A line may begin with `my:` (MySQL only) or `ma:` (MariaDB only), then `?` where
//! the statement must not be understood.

use streamer_core::source::mysql::link::Flavor;

/// What must come of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The catalogue knows exactly what became of every table.
    Exact,
    /// The catalogue knows that it does not know.
    Lost,
}

/// A statement.
pub struct Step {
    /// Its text.
    pub sql: &'static str,
    /// What must come of it.
    pub expected: Expected,
}

/// The statements that a family of servers takes.
pub fn steps(flavor: Flavor) -> impl Iterator<Item = Step> {
    let (own, foreign) = match flavor {
        Flavor::Mysql => ("my:", "ma:"),
        Flavor::Mariadb => ("ma:", "my:"),
    };
    include_str!("statements.sql")
        .split("\n")
        .map(str::trim)
        .filter(move |line| !line.is_empty() && !line.starts_with("--") && !line.starts_with(foreign))
        .map(move |line| {
            let line = line.strip_prefix(own).unwrap_or(line);
            match line.strip_prefix('?') {
                Some(sql) => Step {
                    sql,
                    expected: Expected::Lost,
                },
                None => Step {
                    sql: line,
                    expected: Expected::Exact,
                },
            }
        })
}
