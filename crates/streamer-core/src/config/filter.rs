//! Which tables are delivered.
//!
//! A table is delivered where a pattern names it and no pattern with a leading `!` does; their order means nothing.
//! The system databases ([`SYSTEM_DATABASES`]) belong to it only where a pattern, or the URL, names one exactly: `*.*`
//! means the user's own tables.

use std::fmt;

/// Databases in which the server keeps its own tables.
pub const SYSTEM_DATABASES: [&str; 4] = ["mysql", "information_schema", "performance_schema", "sys"];

/// Longest pattern, in bytes: two names of 64 characters of four bytes, quoted, with room to spare.
const MAX_PATTERN_BYTES: usize = 1024;

/// Most patterns of one source.
const MAX_PATTERNS: usize = 4096;

/// The `tables` option: patterns with `*` and `?`; a leading `!` excludes. The default filter delivers every table
/// outside of the system databases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableFilter {
    /// Empty: everything outside of the system databases.
    included: Vec<Pattern>,
    excluded: Vec<Pattern>,
    lower_case: bool,
    /// The source keeps nothing of its own in databases of these names.
    no_system: bool,
}

/// `database.table`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    database: Part,
    table: Part,
}

/// One name of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// This name.
    Exact(String),
    /// Names with `*` (any characters, or none) and `?` (one character).
    Wild(Vec<char>),
}

/// One name of a pattern, for a server that filters by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamePattern<'a> {
    /// This name.
    Exact(&'a str),
    /// Names with `*` (any characters, or none) and `?` (one character).
    Wild(&'a [char]),
}

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternProblem {
    /// Which one; `None` is the whole list.
    pub index: Option<usize>,
    /// What was expected, and what was found.
    pub message: String,
}

impl TableFilter {
    /// Reads patterns. One without a dot means a table of `database`, the URL's. Where none includes, all tables of
    /// `database` are included, or all outside of the system databases where the URL names none.
    ///
    /// # Errors
    /// All patterns that cannot be read, each with what is wrong.
    pub fn parse<T: AsRef<str>>(patterns: &[T], database: Option<&str>) -> Result<Self, Vec<PatternProblem>> {
        if patterns.len() > MAX_PATTERNS {
            let message = format!(
                "expected at most {MAX_PATTERNS} patterns, found {}",
                patterns.len()
            );
            return Err(vec![PatternProblem { index: None, message }]);
        }
        let mut filter = Self::default();
        let mut problems = Vec::new();
        for (index, text) in patterns.iter().map(AsRef::as_ref).enumerate() {
            let (list, pattern) = match text.strip_prefix('!') {
                Some(pattern) => (&mut filter.excluded, pattern),
                None => (&mut filter.included, text),
            };
            match parse_pattern(pattern, database) {
                Ok(pattern) => list.push(pattern),
                Err(message) => problems.push(PatternProblem {
                    index: Some(index),
                    message,
                }),
            }
        }
        if let Some(database) = database.filter(|_| filter.included.is_empty()) {
            let (database, table) = (Part::Exact(database.to_owned()), Part::wild("*"));
            filter.included.push(Pattern { database, table });
        }
        if problems.is_empty() {
            Ok(filter)
        } else {
            Err(problems)
        }
    }

    /// The same filter for a server whose `lower_case_table_names` is not 0: names are compared without regard to case.
    #[must_use]
    pub fn with_lower_case(mut self, lower_case: bool) -> Self {
        self.lower_case = lower_case;
        if lower_case {
            for pattern in self.included.iter_mut().chain(&mut self.excluded) {
                pattern.database.fold();
                pattern.table.fold();
            }
        }
        self
    }

    /// The same filter for a source that has no [`SYSTEM_DATABASES`]: a database of such a name is the user's.
    #[must_use]
    pub fn without_system_databases(mut self) -> Self {
        self.no_system = true;
        self
    }

    /// The patterns, included and excluded, each as database and table with `*` and `?` where they are wild. No included
    /// one means everything.
    pub fn parts(&self) -> (Vec<[NamePattern<'_>; 2]>, Vec<[NamePattern<'_>; 2]>) {
        (parts_of(&self.included), parts_of(&self.excluded))
    }

    /// Whether changes of this table are delivered. Callers keep the answer per table.
    pub fn includes(&self, database: &str, table: &str) -> bool {
        if self.lower_case {
            self.includes_folded(&database.to_lowercase(), &table.to_lowercase())
        } else {
            self.includes_folded(database, table)
        }
    }

    fn is_system(&self, database: &str) -> bool {
        let is_named = |system: &&str| system.eq_ignore_ascii_case(database);
        !self.no_system && SYSTEM_DATABASES.iter().any(is_named)
    }

    fn includes_folded(&self, database: &str, table: &str) -> bool {
        let system = self.is_system(database);
        let named = |pattern: &Pattern| {
            (!system || pattern.database.is_exact())
                && pattern.database.matches(database)
                && pattern.table.matches(table)
        };
        let included = if self.included.is_empty() {
            !system
        } else {
            self.included.iter().any(named)
        };
        included
            && !self
                .excluded
                .iter()
                .any(|pattern| pattern.database.matches(database) && pattern.table.matches(table))
    }

    /// The databases that can hold an included table, where every pattern names its database exactly: what a query of
    /// `information_schema` can be restricted to. Each once; folded where the filter is.
    pub fn exact_databases(&self) -> Option<Vec<&str>> {
        if self.included.is_empty() {
            return None;
        }
        let mut databases: Vec<&str> = Vec::new();
        for pattern in &self.included {
            match &pattern.database {
                Part::Exact(name) if databases.contains(&name.as_str()) => {}
                Part::Exact(name) => databases.push(name),
                Part::Wild(_) => return None,
            }
        }
        Some(databases)
    }

    /// The tables that patterns name exactly, as `(database, table)`; folded where the filter is.
    pub fn exact_tables(&self) -> Vec<(&str, &str)> {
        self.included
            .iter()
            .filter_map(|pattern| match (&pattern.database, &pattern.table) {
                (Part::Exact(database), Part::Exact(table)) => Some((database.as_str(), table.as_str())),
                _ => None,
            })
            .collect()
    }

    /// Whether a table of this database can be included.
    pub fn concerns_database(&self, database: &str) -> bool {
        let folded;
        let database = if self.lower_case {
            folded = database.to_lowercase();
            folded.as_str()
        } else {
            database
        };
        if self.included.is_empty() {
            return !self.is_system(database);
        }
        self.included
            .iter()
            .any(|pattern| pattern.database.matches(database))
    }

    /// The patterns in full (`database.table`), those that exclude with their `!`: for messages. A filter of everything is
    /// `*.*`.
    pub fn patterns(&self) -> Vec<String> {
        let everything = self.included.is_empty().then(|| "*.*".to_owned());
        let included = self.included.iter().map(Pattern::to_string);
        let excluded = self.excluded.iter().map(|pattern| format!("!{pattern}"));
        everything.into_iter().chain(included).chain(excluded).collect()
    }
}

fn parts_of(patterns: &[Pattern]) -> Vec<[NamePattern<'_>; 2]> {
    patterns
        .iter()
        .map(|pattern| [pattern.database.shown(), pattern.table.shown()])
        .collect()
}

fn parse_pattern(text: &str, database: Option<&str>) -> Result<Pattern, String> {
    if text.len() > MAX_PATTERN_BYTES {
        return Err(format!(
            "expected at most {MAX_PATTERN_BYTES} bytes, found {}",
            text.len()
        ));
    }
    if text.is_empty() {
        return Err("expected a pattern such as \"database.table\", found none".to_owned());
    }
    if text.trim() != text || text.contains(char::is_control) {
        return Err(
            "expected a pattern without white space around it and without control characters".to_owned(),
        );
    }
    let (first, rest) = parse_part(text)?;
    let Some(rest) = rest else {
        let database = database.ok_or_else(|| {
            "expected \"database.table\", since the URL names no database, found a pattern without a dot"
                .to_owned()
        })?;
        return Ok(Pattern {
            database: Part::Exact(database.to_owned()),
            table: first,
        });
    };
    let (table, more) = parse_part(rest)?;
    if more.is_some() {
        return Err(
            "expected one dot between database and table, put a name that holds a dot in backquotes"
                .to_owned(),
        );
    }
    Ok(Pattern {
        database: first,
        table,
    })
}

/// The first name of a pattern, and what follows its dot.
fn parse_part(text: &str) -> Result<(Part, Option<&str>), String> {
    let Some(quoted) = text.strip_prefix('`') else {
        let (name, rest) = match text.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("expected a name on each side of the dot".to_owned());
        }
        if name.contains('`') {
            return Err("expected backquotes around a whole name".to_owned());
        }
        return Ok((Part::new(name), rest));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let Some((before, behind)) = rest.split_once('`') else {
            return Err("expected a closing backquote".to_owned());
        };
        name.push_str(before);
        // A doubled backquote stands for one in the name.
        match behind.strip_prefix('`') {
            Some(behind) => {
                name.push('`');
                rest = behind;
            }
            None => {
                rest = behind;
                break;
            }
        }
    }
    if name.is_empty() {
        return Err("expected a name between the backquotes".to_owned());
    }
    match rest.strip_prefix('.') {
        Some(rest) => Ok((Part::Exact(name), Some(rest))),
        None if rest.is_empty() => Ok((Part::Exact(name), None)),
        None => Err("expected backquotes around a whole name".to_owned()),
    }
}

impl Part {
    fn new(name: &str) -> Self {
        if name.contains(['*', '?']) {
            Self::wild(name)
        } else {
            Self::Exact(name.to_owned())
        }
    }

    fn wild(pattern: &str) -> Self {
        Self::Wild(pattern.chars().collect())
    }

    fn shown(&self) -> NamePattern<'_> {
        match self {
            Self::Exact(name) => NamePattern::Exact(name),
            Self::Wild(pattern) => NamePattern::Wild(pattern),
        }
    }

    fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }

    fn fold(&mut self) {
        match self {
            Self::Exact(name) => *name = name.to_lowercase(),
            Self::Wild(pattern) => *pattern = pattern.iter().flat_map(|c| c.to_lowercase()).collect(),
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Wild(pattern) => matches_wild(pattern, name),
        }
    }
}

/// Goes back to the last `*` only: at most the product of both lengths, whatever the pattern.
fn matches_wild(pattern: &[char], name: &str) -> bool {
    let mut name = name.chars();
    let mut at = 0;
    // Behind the last `*`, and the name where that `*` ended.
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            retry = Some((at, name.clone()));
            continue;
        }
        let mut next = name.clone();
        let matched = match (next.next(), pattern.get(at)) {
            (None, None) => return true,
            (None, Some(_)) => return false,
            (Some(found), Some(expected)) => *expected == '?' || *expected == found,
            (Some(_), None) => false,
        };
        if matched {
            at += 1;
            name = next;
            continue;
        }
        let Some((behind, from)) = &mut retry else {
            return false;
        };
        from.next();
        at = *behind;
        name = from.clone();
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wild(pattern) => pattern.iter().try_for_each(|c| write!(f, "{c}")),
            Self::Exact(name) if name.contains(['.', '`', '*', '?', '!']) || name.trim() != name => {
                write!(f, "`{}`", name.replace('`', "``"))
            }
            Self::Exact(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
