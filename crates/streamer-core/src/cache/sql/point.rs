//! Look-ups of one value of a column, many of which can be asked as one.
//!
//! `SELECT a, b FROM t WHERE id = ?` becomes `SELECT a, b, id FROM t WHERE id IN (?, …)`: the last column tells which rows answer which
//! look-up. Only plain columns are asked for, so no row's answer depends on which other rows are asked for with it; and only by
//! integer columns (see [`Plan`](super::Plan)), where equality is the same to us as to the server.
//!
//! The text is taken apart by its words alone, once it is known to be a SELECT that may be cached: names, dots, commas and stars, `FROM` a
//! table, `WHERE` a column `= ?`. Whatever holds anything else (a parenthesis, a number, text, a comment) is no look-up.

/// Most look-ups that are asked as one.
pub const MAX_TOGETHER: usize = 64;

/// What may stand behind SELECT, and is no column.
const MODIFIERS: [&str; 11] = [
    "all",
    "distinct",
    "distinctrow",
    "high_priority",
    "sql_big_result",
    "sql_buffer_result",
    "sql_cache",
    "sql_calc_found_rows",
    "sql_no_cache",
    "sql_small_result",
    "straight_join",
];

/// A look-up, as far as its text tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// The column whose value is looked up, lower case.
    pub column: String,
    /// The statement for many values, up to and with the opening parenthesis of their list.
    head: String,
}

impl Point {
    /// Reads the text of a SELECT that may be cached; `None` where it is anything else than a look-up.
    pub(super) fn read(text: &str) -> Option<Self> {
        let words = scan(text)?;
        let mut rest = words.as_slice();
        take(&mut rest, |word| word.is("select"))?;
        if rest.first()?.is_one_of(&MODIFIERS) {
            return None;
        }
        loop {
            item(&mut rest)?;
            if take(&mut rest, |word| word.text == ",").is_none() {
                break;
            }
        }
        let from = take(&mut rest, |word| word.is("from"))?;
        name(&mut rest)?;
        alias(&mut rest, "where");
        let condition = take(&mut rest, |word| word.is("where"))?;
        let equal = |word: &Word<'_>| word.text == "=";
        let parameter = |word: &Word<'_>| word.text == "?";
        let column = if take(&mut rest, parameter).is_some() {
            take(&mut rest, equal)?;
            name(&mut rest)?
        } else {
            let column = name(&mut rest)?;
            take(&mut rest, equal)?;
            take(&mut rest, parameter)?;
            column
        };
        take(&mut rest, |word| word.text == ";");
        let [.., last] = column else {
            return None;
        };
        let written: String = column.iter().map(|word| word.text).collect();
        let items = text.get(..from.at)?.trim_end();
        let table = text.get(from.at..condition.at + condition.text.len())?;
        rest.is_empty().then(|| Self {
            column: last.text.trim_matches('`').to_lowercase(),
            head: format!("{items}, {written} {table} {written} IN ("),
        })
    }

    /// The statement for this many values, and the number of its parameters: more than asked for, so that few different statements
    /// are prepared. The last column of its rows is the value that they answer.
    pub fn statement(&self, values: usize) -> (String, usize) {
        let parameters = values.next_power_of_two();
        (
            format!("{}{})", self.head, vec!["?"; parameters].join(", ")),
            parameters,
        )
    }
}

/// A name, or a sign.
#[derive(Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    at: usize,
}

impl Word<'_> {
    fn is(&self, keyword: &str) -> bool {
        self.text.eq_ignore_ascii_case(keyword)
    }

    fn is_one_of(&self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is(keyword))
    }

    fn is_name(&self) -> bool {
        !self.is_one_of(&[",", ".", "*", "=", "?", ";"])
    }
}

/// The words of a text; `None` where it holds anything else.
fn scan(text: &str) -> Option<Vec<Word<'_>>> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(first) = text.get(at..)?.chars().next() {
        let rest = text.get(at..)?;
        let length = match first {
            ' ' | '\t' | '\r' | '\n' => {
                at += 1;
                continue;
            }
            ',' | '.' | '*' | '=' | '?' | ';' => 1,
            // A quote within a name is doubled: then it is no look-up.
            '`' => rest.get(1..)?.find('`')? + 2,
            first if is_part(first) && !first.is_ascii_digit() => {
                rest.find(|c: char| !is_part(c)).unwrap_or(rest.len())
            }
            _ => return None,
        };
        if words
            .last()
            .is_some_and(|last: &Word<'_>| last.text.ends_with('`') && last.at + last.text.len() == at)
            && first == '`'
        {
            return None;
        }
        words.push(Word {
            text: rest.get(..length)?,
            at,
        });
        at += length;
    }
    Some(words)
}

fn take<'a>(rest: &mut &[Word<'a>], fits: impl Fn(&Word<'a>) -> bool) -> Option<Word<'a>> {
    let (first, others) = rest.split_first()?;
    fits(first).then(|| {
        *rest = others;
        *first
    })
}

/// `column`, `table.column`, `database.table.column`.
fn name<'a, 'b>(rest: &mut &'b [Word<'a>]) -> Option<&'b [Word<'a>]> {
    let all = *rest;
    take(rest, Word::is_name)?;
    while take(rest, |word| word.text == ".").is_some() {
        take(rest, Word::is_name)?;
    }
    all.get(..all.len() - rest.len())
}

/// `AS other`, `other`, or nothing before `end`.
fn alias(rest: &mut &[Word<'_>], end: &str) {
    take(rest, |word| word.is("as"));
    take(rest, |word| word.is_name() && !word.is(end));
}

/// A column with or without another name, or a star.
fn item(rest: &mut &[Word<'_>]) -> Option<()> {
    loop {
        if take(rest, |word| word.text == "*").is_some() {
            return Some(());
        }
        take(rest, Word::is_name)?;
        if take(rest, |word| word.text == ".").is_none() {
            break;
        }
    }
    alias(rest, "from");
    Some(())
}
