//! Character sets that are known by table; the tables' format stands in `tools/charset-tables/generate.py`.

use std::fmt;

use super::UNKNOWN;

/// Bytes of the table of single bytes.
const SINGLES: usize = 512;
/// In a table: no character begins so.
const ILL_FORMED: u16 = 0xffff;
/// In a table: a character that Unicode does not have.
const UNMAPPED: u16 = 0xfffe;
/// In the table of single bytes: the first byte of a longer character.
const LEAD: u16 = 0xd800;
/// The byte before the second plane of ujis and eucjpms.
const SECOND_PLANE: u8 = 0x8f;
/// The four-byte characters of gb18030: runs of first linear number, first code point, length.
static GB18030_RANGES: &[u8] = include_bytes!("tables/gb18030-ranges.bin");

/// A character set that is known by table.
#[derive(Clone, Copy)]
pub(super) struct Table {
    name: &'static str,
    bytes: &'static [u8],
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Table {}

macro_rules! tables {
    ($($name:literal)+) => {
        impl Table {
            /// The table of a character set.
            pub(super) fn by_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self {
                        name: $name,
                        bytes: include_bytes!(concat!("tables/", $name, ".bin")),
                    }),)+
                    _ => None,
                }
            }
        }
    };
}

tables! {
    "armscii8" "ascii" "big5" "cp1250" "cp1251" "cp1256" "cp1257" "cp850" "cp852" "cp866" "cp932" "dec8" "eucjpms"
    "euckr" "gb18030" "gb2312" "gbk" "geostd8" "greek" "hebrew" "hp8" "keybcs2" "koi8r" "koi8u" "latin1" "latin2"
    "latin5" "latin7" "macce" "macroman" "sjis" "swe7" "tis620" "ujis"
}

/// A character and the bytes that it takes.
type Step = (char, usize);

fn unit(bytes: &[u8], place: usize) -> u16 {
    match bytes.get(2 * place..2 * place + 2) {
        Some(&[low, high]) => u16::from_le_bytes([low, high]),
        _ => ILL_FORMED,
    }
}

fn character(unit: u16) -> char {
    match unit {
        UNMAPPED | ILL_FORMED => UNKNOWN,
        unit => char::from_u32(u32::from(unit)).unwrap_or(UNKNOWN),
    }
}

/// Pairs: `first lead, last lead, first trail, last trail`, then the units.
#[derive(Clone, Copy)]
struct Plane {
    leads: (u8, u8),
    trails: (u8, u8),
    units: &'static [u8],
}

impl Plane {
    /// The plane at the start of `bytes`, and what follows it.
    fn open(bytes: &'static [u8]) -> Option<(Self, &'static [u8])> {
        let (&[first, last, low, high], rest) = bytes.split_first_chunk::<4>()?;
        let size = 2 * (usize::from(last - first) + 1) * (usize::from(high - low) + 1);
        let (units, rest) = rest.split_at_checked(size)?;
        let plane = Self {
            leads: (first, last),
            trails: (low, high),
            units,
        };
        Some((plane, rest))
    }

    /// The character of a pair; `None` where the pair is none.
    fn pair(self, lead: u8, trail: u8) -> Option<char> {
        let inside = |byte: u8, (first, last): (u8, u8)| (first..=last).contains(&byte);
        if !inside(lead, self.leads) || !inside(trail, self.trails) {
            return None;
        }
        let width = usize::from(self.trails.1 - self.trails.0) + 1;
        let place = usize::from(lead - self.leads.0) * width + usize::from(trail - self.trails.0);
        match unit(self.units, place) {
            ILL_FORMED => None,
            unit => Some(character(unit)),
        }
    }
}

impl Table {
    /// Appends the text of `bytes`.
    pub(super) fn decode(self, bytes: &[u8], out: &mut String) {
        // In swe7 some ASCII bytes are letters; everywhere else ASCII that begins a character is itself.
        let ascii = self.name != "swe7";
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            let length = if ascii && first < 0x80 {
                let plain = rest.iter().position(|&byte| byte >= 0x80).unwrap_or(rest.len());
                let run = rest.get(..plain).unwrap_or_default();
                out.push_str(std::str::from_utf8(run).unwrap_or_default());
                plain
            } else {
                let (character, length) = match unit(self.bytes, usize::from(first)) {
                    LEAD => self.longer(rest),
                    unit => (character(unit), 1),
                };
                out.push(character);
                length
            };
            rest = rest.get(length..).unwrap_or_default();
        }
    }

    /// The character of more than one byte at the start of `bytes`.
    fn longer(self, bytes: &[u8]) -> Step {
        let planes = self.bytes.get(SINGLES..).unwrap_or_default();
        let Some((plane, others)) = Plane::open(planes) else {
            return (UNKNOWN, 1);
        };
        let step = match *bytes {
            [SECOND_PLANE, lead, trail, ..] if !others.is_empty() => Plane::open(others)
                .and_then(|(second, _)| second.pair(lead, trail))
                .map(|character| (character, 3)),
            [a, b @ b'0'..=b'9', c, d, ..] if self.name == "gb18030" => gb18030(a, b, c, d),
            [lead, trail, ..] => plane.pair(lead, trail).map(|character| (character, 2)),
            _ => None,
        };
        step.unwrap_or((UNKNOWN, 1))
    }
}

/// A four-byte character of gb18030.
fn gb18030(a: u8, b: u8, c: u8, d: u8) -> Option<Step> {
    if !(0x81..=0xfe).contains(&a) || !(0x81..=0xfe).contains(&c) || !d.is_ascii_digit() {
        return None;
    }
    let digit = |byte: u8, first: u8| u32::from(byte - first);
    let linear = ((digit(a, 0x81) * 10 + digit(b, b'0')) * 126 + digit(c, 0x81)) * 10 + digit(d, b'0');
    let (runs, _) = GB18030_RANGES.as_chunks::<12>();
    let field = |run: &[u8; 12], place: usize| {
        let bytes = run.get(4 * place..4 * place + 4).unwrap_or_default();
        bytes
            .iter()
            .rev()
            .fold(0_u32, |value, &byte| (value << 8) | u32::from(byte))
    };
    let after = runs.partition_point(|run| field(run, 0) <= linear);
    let character = runs.get(after.wrapping_sub(1)).and_then(|run| {
        let offset = linear - field(run, 0);
        if offset < field(run, 2) {
            char::from_u32(field(run, 1) + offset)
        } else {
            None
        }
    });
    Some((character.unwrap_or(UNKNOWN), 4))
}
