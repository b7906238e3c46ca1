//! A declared type: what a column definition says before it is known which character set it takes.

use std::sync::Arc;

use super::Session;
use super::cursor::Cursor;
use super::token::Token;
use crate::source::mysql::link::Flavor;
use crate::source::mysql::schema::charset;
use crate::source::mysql::schema::definition::{CharsetName, ColumnKind, Storage};

/// A type without its character set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeclaredType {
    /// What no character set changes.
    Plain(ColumnKind, Storage),
    /// CHAR, VARCHAR and TEXT: text, or bytes where the character set is `binary`.
    Text(Room),
    /// ENUM, SET.
    Labels { set: bool, labels: Vec<Label> },
    /// MariaDB's JSON.
    JsonText,
}

/// A label of ENUM or SET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Label {
    /// A string.
    Text(String),
    /// A hexadecimal literal: bytes in the column's character set.
    Bytes(Vec<u8>),
}

/// How much text fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// CHAR(n).
    Fixed(u32),
    /// VARCHAR(n).
    Varying(u32),
    /// TINYTEXT, TEXT, MEDIUMTEXT, LONGTEXT by the bytes of their length.
    Long(u8),
    /// TEXT(n): the smallest of the four that fits.
    Sized(u64),
}

/// Which character set a definition asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CharsetChoice {
    /// `CHARACTER SET x`; `None` inside is DEFAULT.
    pub(crate) charset: Option<String>,
    /// `COLLATE x`.
    pub(crate) collation: Option<String>,
}

impl CharsetChoice {
    /// The character set that it names; `Some(None)` where it leaves it to the default, `None` where it is unknown.
    pub(crate) fn named(&self, utf8: &str) -> Option<Option<CharsetName>> {
        if let Some(name) = &self.charset {
            let name = charset::canonical(name, utf8);
            charset::max_bytes(&name)?;
            return Some(Some(name.into()));
        }
        match &self.collation {
            None => Some(None),
            Some(name) if name.eq_ignore_ascii_case("default") => Some(None),
            Some(name) => match charset::of_collation(name, utf8) {
                Some(name) => Some(Some(name.into())),
                None if name.to_ascii_lowercase().starts_with("uca1400_") => Some(None),
                None => None,
            },
        }
    }
}

/// A type and the attributes that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeClause {
    pub(crate) declared: DeclaredType,
    pub(crate) choice: CharsetChoice,
    /// SERIAL: NOT NULL, too.
    pub(crate) serial: bool,
}

/// Reads a type name with its lengths, without the attributes that follow.
pub(crate) fn read_type(cursor: &mut Cursor<'_>, session: &Session<'_>) -> Option<TypeClause> {
    let word = match cursor.next()? {
        Token::Word(word) => word.to_ascii_lowercase(),
        _ => return None,
    };
    let mut choice = CharsetChoice::default();
    let mut serial = false;
    let declared = match word.as_str() {
        "tinyint" | "int1" => integer(cursor, 1)?,
        "smallint" | "int2" => integer(cursor, 2)?,
        "mediumint" | "int3" | "middleint" => integer(cursor, 3)?,
        "int" | "integer" | "int4" => integer(cursor, 4)?,
        "bigint" | "int8" => integer(cursor, 8)?,
        "bool" | "boolean" => plain(ColumnKind::Integer {
            bytes: 1,
            unsigned: false,
        }),
        "serial" => {
            serial = true;
            plain(ColumnKind::Integer {
                bytes: 8,
                unsigned: true,
            })
        }
        "float" | "float4" | "float8" | "double" | "real" => floating(cursor, &word, session)?,
        "decimal" | "dec" | "numeric" | "fixed" => decimal(cursor)?,
        "bit" => {
            let bits = u8::try_from(length(cursor)?.unwrap_or(1)).ok()?;
            DeclaredType::Plain(ColumnKind::Bit, Storage::Bits { bits })
        }
        "date" | "year" | "time" | "datetime" | "timestamp" => temporal(cursor, &word)?,
        "json" if session.flavor == Flavor::Mysql => plain(ColumnKind::Json),
        "json" => DeclaredType::JsonText,
        "vector" => {
            length(cursor)?;
            plain(ColumnKind::Vector)
        }
        "uuid" => plain(ColumnKind::Uuid),
        "inet4" => plain(ColumnKind::Inet4),
        "inet6" => plain(ColumnKind::Inet6),
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => plain(ColumnKind::Geometry),
        "enum" | "set" => labels(cursor, word == "set")?,
        _ => text(cursor, &word, &mut choice)?,
    };
    let mut clause = TypeClause {
        declared,
        choice,
        serial,
    };
    read_type_attributes(cursor, &mut clause)?;
    Some(clause)
}

fn plain(kind: ColumnKind) -> DeclaredType {
    DeclaredType::Plain(kind, Storage::Plain)
}

/// `[(n)]`.
fn length(cursor: &mut Cursor<'_>) -> Option<Option<u64>> {
    if !cursor.take_symbol('(') {
        return Some(None);
    }
    let length = cursor.number()?;
    cursor.expect_symbol(')')?;
    Some(Some(length))
}

/// `[(n [, m])]`.
fn lengths(cursor: &mut Cursor<'_>) -> Option<(Option<u64>, Option<u64>)> {
    if !cursor.take_symbol('(') {
        return Some((None, None));
    }
    let first = cursor.number()?;
    let second = match cursor.take_symbol(',') {
        true => Some(cursor.number()?),
        false => None,
    };
    cursor.expect_symbol(')')?;
    Some((Some(first), second))
}

fn integer(cursor: &mut Cursor<'_>, bytes: u8) -> Option<DeclaredType> {
    length(cursor)?;
    Some(plain(ColumnKind::Integer {
        bytes,
        unsigned: false,
    }))
}

fn floating(cursor: &mut Cursor<'_>, word: &str, session: &Session<'_>) -> Option<DeclaredType> {
    if word == "double" {
        cursor.take("precision");
    }
    let (first, second) = lengths(cursor)?;
    let single = match word {
        "float" => second.is_some() || first.is_none_or(|digits| digits <= 24),
        "float4" => true,
        "real" => session.sql_mode.real_as_float(),
        _ => false,
    };
    Some(plain(if single {
        ColumnKind::Float
    } else {
        ColumnKind::Double
    }))
}

fn decimal(cursor: &mut Cursor<'_>) -> Option<DeclaredType> {
    let (precision, scale) = lengths(cursor)?;
    let precision = precision.filter(|&precision| precision > 0).unwrap_or(10);
    Some(plain(ColumnKind::Decimal {
        precision: u8::try_from(precision).ok()?,
        scale: u8::try_from(scale.unwrap_or(0)).ok()?,
    }))
}

fn temporal(cursor: &mut Cursor<'_>, word: &str) -> Option<DeclaredType> {
    if word == "date" {
        return Some(plain(ColumnKind::Date));
    }
    let digits = length(cursor)?;
    if word == "year" {
        return Some(plain(ColumnKind::Year));
    }
    let fraction = u8::try_from(digits.unwrap_or(0))
        .ok()
        .filter(|&digits| digits <= 6)?;
    Some(plain(match word {
        "time" => ColumnKind::Time { fraction },
        "datetime" => ColumnKind::Datetime { fraction },
        _ => ColumnKind::Timestamp { fraction },
    }))
}

fn labels(cursor: &mut Cursor<'_>, set: bool) -> Option<DeclaredType> {
    cursor.expect_symbol('(')?;
    let mut labels = Vec::new();
    loop {
        labels.push(match cursor.next()? {
            Token::Text(text) => Label::Text(text.clone()),
            Token::Bytes(bytes) => Label::Bytes(bytes.clone()),
            _ => return None,
        });
        if cursor.take_symbol(')') {
            return Some(DeclaredType::Labels { set, labels });
        }
        cursor.expect_symbol(',')?;
    }
}

/// CHAR, VARCHAR, TEXT, BINARY, VARBINARY, BLOB and their synonyms.
fn text(cursor: &mut Cursor<'_>, word: &str, choice: &mut CharsetChoice) -> Option<DeclaredType> {
    let national = |choice: &mut CharsetChoice| choice.charset = Some("utf8mb3".to_owned());
    let bytes = |choice: &mut CharsetChoice| choice.charset = Some(charset::BINARY.to_owned());
    let room = match word {
        "char" | "character" => match cursor.take("varying") {
            true => varying(cursor)?,
            false => fixed(cursor)?,
        },
        "nchar" | "national" => {
            national(choice);
            let named = match word {
                "nchar" => "char",
                _ if cursor.take_any(&["char", "character"]) => "char",
                _ => "",
            };
            match (named, cursor.take_any(&["varchar", "varying", "varcharacter"])) {
                (_, true) => varying(cursor)?,
                ("char", false) => fixed(cursor)?,
                _ => return None,
            }
        }
        "nvarchar" => {
            national(choice);
            varying(cursor)?
        }
        "varchar" | "varcharacter" => varying(cursor)?,
        "binary" => {
            bytes(choice);
            fixed(cursor)?
        }
        "varbinary" => {
            bytes(choice);
            varying(cursor)?
        }
        "tinytext" => Room::Long(1),
        "text" => length(cursor)?
            .filter(|&n| n > 0)
            .map_or(Room::Long(2), Room::Sized),
        "mediumtext" => Room::Long(3),
        "longtext" => Room::Long(4),
        "long" => {
            if cursor.take("varbinary") {
                bytes(choice);
            } else if cursor.take_any(&["char", "character"]) {
                cursor.expect("varying")?;
            } else {
                cursor.take_any(&["varchar", "varcharacter"]);
            }
            Room::Long(3)
        }
        "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            bytes(choice);
            match word {
                "tinyblob" => Room::Long(1),
                "mediumblob" => Room::Long(3),
                "longblob" => Room::Long(4),
                _ => length(cursor)?
                    .filter(|&n| n > 0)
                    .map_or(Room::Long(2), Room::Sized),
            }
        }
        _ => return None,
    };
    Some(DeclaredType::Text(room))
}

fn fixed(cursor: &mut Cursor<'_>) -> Option<Room> {
    let length = length(cursor)?.unwrap_or(1);
    u32::try_from(length).ok().filter(|&n| n <= 255).map(Room::Fixed)
}

fn varying(cursor: &mut Cursor<'_>) -> Option<Room> {
    u32::try_from(length(cursor)??).ok().map(Room::Varying)
}

/// UNSIGNED, ZEROFILL, BINARY, BYTE, ASCII, UNICODE, COMPRESSED and the character set, in the order in which they come.
fn read_type_attributes(cursor: &mut Cursor<'_>, clause: &mut TypeClause) -> Option<()> {
    loop {
        if cursor.take_any(&["unsigned", "zerofill"]) {
            if let DeclaredType::Plain(ColumnKind::Integer { unsigned, .. }, _) = &mut clause.declared {
                *unsigned = true;
            }
        } else if cursor.take("signed") || cursor.take("binary") {
            // BINARY chooses a collation of the same character set.
        } else if cursor.take("byte") {
            clause.choice.charset = Some(charset::BINARY.to_owned());
        } else if cursor.take("ascii") {
            clause.choice.charset = Some("latin1".to_owned());
        } else if cursor.take("unicode") {
            clause.choice.charset = Some("ucs2".to_owned());
        } else if !read_charset(cursor, &mut clause.choice)? {
            return Some(());
        }
    }
}

/// `CHARACTER SET x`, `CHARSET x`; says whether there was one.
pub(crate) fn read_charset(cursor: &mut Cursor<'_>, choice: &mut CharsetChoice) -> Option<bool> {
    let one = (cursor.is("charset")) && !matches!(cursor.ahead(1), None | Some(Token::Symbol(',' | ')')));
    if !(one && cursor.take("charset")
        || cursor.take_all(&["character", "set"])
        || cursor.take_all(&["char", "set"]))
    {
        return Some(false);
    }
    cursor.take_symbol('=');
    let name = cursor.name_or_text()?;
    choice.charset = (!name.eq_ignore_ascii_case("default")).then_some(name);
    Some(true)
}

impl DeclaredType {
    /// The kind and the storage in a character set; `None` where that cannot be said exactly.
    pub(crate) fn resolve(
        &self,
        choice: &CharsetChoice,
        default: Option<&CharsetName>,
        utf8: &str,
    ) -> Option<(ColumnKind, Storage)> {
        let charset = || choice.named(utf8)?.or_else(|| default.cloned());
        match self {
            Self::Plain(kind, storage) => Some((kind.clone(), *storage)),
            Self::JsonText => {
                let charset = choice.named(utf8)?.unwrap_or_else(|| "utf8mb4".into());
                Some((
                    ColumnKind::JsonText { charset },
                    Storage::Long {
                        prefix: 4,
                        compressed: false,
                    },
                ))
            }
            Self::Text(room) => resolve_text(*room, &charset()?),
            Self::Labels { set, labels } => {
                let plain = labels
                    .iter()
                    .all(|label| matches!(label, Label::Text(text) if !text.ends_with(' ')));
                let charset = if plain {
                    CharsetName::from(charset::BINARY)
                } else {
                    charset()?
                };
                let labels = labels
                    .iter()
                    .map(|label| label_text(label, &charset))
                    .collect::<Option<Arc<[Arc<str>]>>>()?;
                let kind = match set {
                    true => ColumnKind::Set { labels },
                    false => ColumnKind::Enum { labels },
                };
                Some((kind, Storage::Plain))
            }
        }
    }
}

/// Servers drop the trailing spaces of labels, except of binary ones.
fn label_text(label: &Label, charset: &str) -> Option<Arc<str>> {
    let text = match label {
        Label::Text(text) => text.as_str(),
        Label::Bytes(bytes) => {
            let text = std::str::from_utf8(bytes).ok()?;
            let narrow = !matches!(charset, "ucs2" | "utf16" | "utf16le" | "utf32");
            let same = narrow && text.is_ascii() || matches!(charset, "utf8mb3" | "utf8mb4");
            same.then_some(text)?
        }
    };
    Some(match charset {
        charset::BINARY => text.into(),
        _ => text.trim_end_matches(' ').into(),
    })
}

pub(crate) fn resolve_text(room: Room, charset: &CharsetName) -> Option<(ColumnKind, Storage)> {
    let width = charset::max_bytes(charset)?;
    let binary = &**charset == charset::BINARY;
    let storage = match room {
        Room::Fixed(length) => Storage::Fixed { length },
        Room::Varying(length) if u64::from(length) * u64::from(width) > 65_535 => Storage::Long {
            prefix: prefix_for(u64::from(length) * u64::from(width)),
            compressed: false,
        },
        Room::Varying(length) => Storage::Varying {
            length,
            compressed: false,
        },
        Room::Long(prefix) => Storage::Long {
            prefix,
            compressed: false,
        },
        Room::Sized(length) => Storage::Long {
            prefix: prefix_for(length.saturating_mul(u64::from(width))),
            compressed: false,
        },
    };
    let kind = match (binary, storage) {
        (true, Storage::Fixed { length }) => ColumnKind::Binary { fixed: Some(length) },
        (true, _) => ColumnKind::Binary { fixed: None },
        (false, storage) => ColumnKind::Text {
            charset: charset.clone(),
            fixed: matches!(storage, Storage::Fixed { .. }),
        },
    };
    Some((kind, storage))
}

fn prefix_for(bytes: u64) -> u8 {
    match bytes {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xff_ffff => 3,
        _ => 4,
    }
}
