//! Names of character sets as statements and catalogue views spell them, and the room that a character may take.
//!
//! Sources: MySQL "Supported Character Sets and Collations"; MariaDB "Supported Character Sets and Collations".

use mysql_common::collations::{Collation, CollationId};

/// The charset of bytes.
pub(crate) const BINARY: &str = "binary";

/// Most bytes of a character; `None` for a character set that this version does not know.
pub(crate) fn max_bytes(charset: &str) -> Option<u32> {
    Some(match charset {
        "armscii8" | "ascii" | "binary" | "cp1250" | "cp1251" | "cp1256" | "cp1257" | "cp850" | "cp852"
        | "cp866" | "dec8" | "geostd8" | "greek" | "hebrew" | "hp8" | "keybcs2" | "koi8r" | "koi8u"
        | "latin1" | "latin2" | "latin5" | "latin7" | "macce" | "macroman" | "swe7" | "tis620" => 1,
        "big5" | "cp932" | "euckr" | "gb2312" | "gbk" | "sjis" | "ucs2" => 2,
        "eucjpms" | "ujis" | "utf8mb3" => 3,
        "gb18030" | "utf16" | "utf16le" | "utf32" | "utf8mb4" => 4,
        _ => return None,
    })
}

/// A character set's name in the spelling of this library: lower case, `utf8` as what the server means by it.
pub(crate) fn canonical(name: &str, utf8: &str) -> String {
    match name.to_ascii_lowercase() {
        name if name == "utf8" => utf8.to_owned(),
        name => name,
    }
}

/// The character set of a collation by its name; `None` for one that fits several (`uca1400_ai_ci`).
pub(crate) fn of_collation(collation: &str, utf8: &str) -> Option<String> {
    let collation = collation.to_ascii_lowercase();
    let charset = canonical(collation.split('_').next().unwrap_or_default(), utf8);
    max_bytes(&charset).map(|_| charset)
}

/// The character set of a collation by its id; `None` for an unknown one.
pub(crate) fn of_collation_id(id: u16) -> Option<String> {
    // MariaDB: NOPAD collations are their padded sisters plus 1024; UCA 14.0.0 has a block for each charset. Below 1024
    // a few ids (576 to 767) are MariaDB's own languages.
    let id = match id {
        576..=607 | 2048..=2303 => return Some("utf8mb3".to_owned()),
        608..=639 | 2304..=2559 => return Some("utf8mb4".to_owned()),
        640..=671 | 2560..=2815 => return Some("ucs2".to_owned()),
        672..=703 | 2816..=3071 => return Some("utf16".to_owned()),
        736..=767 | 3072..=3327 => return Some("utf32".to_owned()),
        1025..=2047 => id - 1024,
        id => id,
    };
    let collation = Collation::resolve(CollationId::from(id));
    let name = canonical(collation.charset(), "utf8mb3");
    max_bytes(&name).map(|_| name)
}
