//! The columns of the test's tables: how a random value of each is written in SQL, and the one form in which the cells
//! of both decoders are compared.

use fastrand::Rng;
use mysql_cdc::events::row_events::mysql_value::MySqlValue;

/// A normalised cell; `None` is NULL.
pub type Cell = Option<String>;

/// What a column holds.
#[derive(Debug, Clone)]
pub enum Kind {
    Signed(u32),
    Unsigned(u32),
    Float,
    Double,
    /// Precision and scale; whether it may be negative.
    Decimal(usize, usize, bool),
    /// UTF-8 of at most so many characters.
    Text(usize),
    /// A TEXT in latin1.
    Latin1,
    /// Bytes of at most so many.
    Blob(usize),
    /// VARBINARY of at most so many.
    Varbinary(usize),
    /// BINARY of exactly so many.
    Binary(usize),
    Geometry,
    Bit(u32),
    Year,
    Date,
    /// Digits of the fraction.
    Datetime(usize),
    Timestamp(usize),
    Time(usize),
    Enum(Vec<String>),
    Set(Vec<String>),
}

/// A column.
pub struct Column {
    pub name: &'static str,
    pub definition: String,
    pub kind: Kind,
}

fn labels(count: usize) -> Vec<String> {
    (0..count).map(|place| format!("l{place}")).collect()
}

fn listed(word: &str, labels: &[String]) -> String {
    format!("{word}('{}')", labels.join("','"))
}

/// All columns but the first, `id`, of every table.
pub fn columns() -> Vec<Column> {
    let mut all = numbers();
    all.extend(texts());
    all.extend(moments());
    all
}

fn column(name: &'static str, definition: impl Into<String>, kind: Kind) -> Column {
    Column {
        name,
        definition: definition.into(),
        kind,
    }
}

fn numbers() -> Vec<Column> {
    vec![
        column("i8", "TINYINT", Kind::Signed(1)),
        column("u8", "TINYINT UNSIGNED", Kind::Unsigned(1)),
        column("i16", "SMALLINT", Kind::Signed(2)),
        column("u16", "SMALLINT UNSIGNED", Kind::Unsigned(2)),
        column("i24", "MEDIUMINT", Kind::Signed(3)),
        column("u24", "MEDIUMINT UNSIGNED", Kind::Unsigned(3)),
        column("i32", "INT", Kind::Signed(4)),
        column("u32", "INT UNSIGNED", Kind::Unsigned(4)),
        column("i64", "BIGINT", Kind::Signed(8)),
        column("u64", "BIGINT UNSIGNED", Kind::Unsigned(8)),
        column("f32", "FLOAT", Kind::Float),
        column("f64", "DOUBLE", Kind::Double),
        column("price", "DECIMAL(10,2)", Kind::Decimal(10, 2, true)),
        column("long_decimal", "DECIMAL(65,30)", Kind::Decimal(65, 30, true)),
        column("fraction", "DECIMAL(5,5)", Kind::Decimal(5, 5, true)),
        column("whole", "DECIMAL(20,0)", Kind::Decimal(20, 0, true)),
        column("positive", "DECIMAL(9,3) UNSIGNED", Kind::Decimal(9, 3, false)),
        column("bit1", "BIT(1)", Kind::Bit(1)),
        column("bit12", "BIT(12)", Kind::Bit(12)),
        column("bit64", "BIT(64)", Kind::Bit(64)),
    ]
}

fn texts() -> Vec<Column> {
    let (few, many, set, full) = (labels(4), labels(300), labels(12), labels(64));
    vec![
        column("short_char", "CHAR(10)", Kind::Text(10)),
        // More than 255 bytes: its metadata is folded into two bits of the type.
        column("long_char", "CHAR(200)", Kind::Text(200)),
        column("short_text", "VARCHAR(20)", Kind::Text(20)),
        column("long_text", "VARCHAR(300)", Kind::Text(300)),
        column("tiny_text", "TINYTEXT", Kind::Text(60)),
        column("text", "TEXT", Kind::Text(900)),
        column("medium_text", "MEDIUMTEXT", Kind::Text(300)),
        column("long_long_text", "LONGTEXT", Kind::Text(300)),
        column("latin", "TEXT CHARACTER SET latin1", Kind::Latin1),
        column("tiny_blob", "TINYBLOB", Kind::Blob(255)),
        column("blob", "BLOB", Kind::Blob(700)),
        column("long_blob", "LONGBLOB", Kind::Blob(300)),
        column("varbinary", "VARBINARY(40)", Kind::Varbinary(40)),
        column("binary", "BINARY(8)", Kind::Binary(8)),
        column("shape", "GEOMETRY", Kind::Geometry),
        column("few", listed("ENUM", &few), Kind::Enum(few)),
        column("many", listed("ENUM", &many), Kind::Enum(many)),
        column("flags", listed("SET", &set), Kind::Set(set)),
        column("all_flags", listed("SET", &full), Kind::Set(full)),
    ]
}

fn moments() -> Vec<Column> {
    vec![
        column("year", "YEAR", Kind::Year),
        column("date", "DATE", Kind::Date),
        column("datetime", "DATETIME", Kind::Datetime(0)),
        column("datetime3", "DATETIME(3)", Kind::Datetime(3)),
        column("datetime6", "DATETIME(6)", Kind::Datetime(6)),
        column("timestamp", "TIMESTAMP NULL", Kind::Timestamp(0)),
        column("timestamp1", "TIMESTAMP(1) NULL", Kind::Timestamp(1)),
        column("timestamp6", "TIMESTAMP(6) NULL", Kind::Timestamp(6)),
        column("time", "TIME", Kind::Time(0)),
        column("time2", "TIME(2)", Kind::Time(2)),
        column("time6", "TIME(6)", Kind::Time(6)),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digits(rng: &mut Rng, count: usize) -> String {
    (0..count).map(|_| rng.digit(10)).collect()
}

/// A random number of random bits, so that small and large ones are met.
fn bits(rng: &mut Rng, width: u32) -> u64 {
    rng.u64(..) >> (64 - rng.u32(1..=width))
}

/// A length up to `most`; often 0, which must not be taken for NULL.
fn length(rng: &mut Rng, most: usize) -> usize {
    if rng.u32(0..5) == 0 {
        0
    } else {
        rng.usize(0..=most)
    }
}

fn text(rng: &mut Rng, most: usize) -> String {
    const POOL: [char; 14] = [
        'a', 'Z', '0', ' ', '\'', '"', '\\', '\n', '\0', 'ü', 'ß', '漢', '😀', '\u{301}',
    ];
    (0..length(rng, most)).filter_map(|_| rng.choice(POOL)).collect()
}

fn moment(rng: &mut Rng, years: std::ops::Range<u32>, fraction: usize) -> String {
    format!(
        "'{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{}'",
        rng.u32(years),
        rng.u32(1..=12),
        rng.u32(1..=28),
        rng.u32(0..24),
        rng.u32(0..60),
        rng.u32(0..60),
        digits(rng, fraction.max(1)),
    )
}

impl Kind {
    /// A random value as SQL. A value that a column cannot hold is cut by the server: what counts is what it logged.
    pub fn literal(&self, rng: &mut Rng) -> String {
        if rng.u32(0..8) == 0 {
            return "NULL".to_owned();
        }
        match self {
            Self::Signed(bytes) => match rng.u32(0..4) {
                0 => (-1_i64 << (8 * bytes - 1)).to_string(),
                1 => (bits(rng, 8 * bytes - 1)).to_string(),
                _ => (-(bits(rng, 8 * bytes - 1) as i64)).to_string(),
            },
            Self::Unsigned(bytes) => match rng.u32(0..4) {
                0 => (u64::MAX >> (64 - 8 * bytes)).to_string(),
                _ => bits(rng, 8 * bytes).to_string(),
            },
            Self::Float => format!("{:e}", (rng.f32() - 0.5) * 10_f32.powi(rng.i32(-30..30))),
            Self::Double => format!("{:e}", (rng.f64() - 0.5) * 10_f64.powi(rng.i32(-300..300))),
            Self::Decimal(precision, scale, signed) => {
                let sign = if *signed && rng.bool() { "-" } else { "" };
                let whole = rng.usize(0..=precision - scale);
                let fraction = rng.usize(0..=*scale);
                format!("{sign}0{}.{}0", digits(rng, whole), digits(rng, fraction))
            }
            Self::Text(most) => format!("_utf8mb4 x'{}'", hex(text(rng, *most).as_bytes())),
            Self::Latin1 => {
                let bytes: Vec<u8> = (0..length(rng, 50)).map(|_| rng.u8(0xa0..)).collect();
                format!("_latin1 x'{}'", hex(&bytes))
            }
            Self::Blob(most) => {
                let bytes: Vec<u8> = (0..length(rng, *most)).map(|_| rng.u8(..)).collect();
                format!("x'{}'", hex(&bytes))
            }
            // The other decoder refuses bytes here that are not UTF-8.
            Self::Varbinary(most) | Self::Binary(most) => {
                let bytes: Vec<u8> = (0..length(rng, *most)).map(|_| rng.u8(0..3) * 60).collect();
                format!("x'{}'", hex(&bytes))
            }
            Self::Geometry => format!("ST_GeomFromText('POINT({} {})')", rng.i16(..), rng.i16(..)),
            Self::Bit(width) => bits(rng, *width).to_string(),
            Self::Enum(labels) => rng.usize(0..=labels.len()).to_string(),
            Self::Set(labels) => bits(rng, labels.len() as u32).to_string(),
            _ => self.temporal(rng),
        }
    }

    fn temporal(&self, rng: &mut Rng) -> String {
        let zero = rng.u32(0..12) == 0;
        match self {
            Self::Year if zero => "0".to_owned(),
            Self::Year => rng.u32(1901..2156).to_string(),
            Self::Time(_) if zero => "'838:59:59'".to_owned(),
            // The other decoder refuses negative ones.
            Self::Time(fraction) => format!(
                "'{:02}:{:02}:{:02}.{}'",
                rng.u32(0..838),
                rng.u32(0..60),
                rng.u32(0..60),
                digits(rng, (*fraction).max(1)),
            ),
            _ if zero => "'0000-00-00 00:00:00'".to_owned(),
            Self::Timestamp(fraction) => moment(rng, 1971..2038, *fraction),
            Self::Datetime(fraction) => moment(rng, 1..10_000, *fraction),
            _ => moment(rng, 1..10_000, 0),
        }
    }

    /// Whether the common form holds less than the log does, so that a change may be invisible in it.
    pub fn is_cut(&self) -> bool {
        matches!(
            self,
            Self::Float | Self::Datetime(4..) | Self::Timestamp(4..) | Self::Time(4..)
        )
    }

    /// A cell of ours (text, or bytes as hexadecimal) in the common form.
    pub fn normalise_ours(&self, cell: &str) -> String {
        match self {
            // The other decoder does not know labels: back to the numbers that the log holds.
            Self::Enum(_) if cell.is_empty() => "0".to_owned(),
            Self::Enum(labels) => (place(labels, cell) + 1).to_string(),
            Self::Set(_) if cell.is_empty() => "0".to_owned(),
            Self::Set(labels) => cell
                .split(',')
                .fold(0_u64, |bits, label| bits | 1 << place(labels, label))
                .to_string(),
            Self::Bit(_) => u64::from_str_radix(cell, 16).unwrap().to_string(),
            // The other decoder keeps milliseconds.
            Self::Datetime(4..) | Self::Timestamp(4..) | Self::Time(4..) => {
                let (whole, fraction) = cell.split_once('.').unwrap();
                assert_eq!(fraction.len(), 6, "{cell}");
                format!("{whole}.{}", &fraction[..3])
            }
            _ => cell.to_owned(),
        }
    }

    /// A cell of the other decoder in the common form.
    pub fn normalise_theirs(&self, cell: &MySqlValue) -> String {
        match (self, cell) {
            // It reads every integer as unsigned; the sign is in the definition only.
            (Self::Signed(1), MySqlValue::TinyInt(value)) => value.cast_signed().to_string(),
            (Self::Signed(2), MySqlValue::SmallInt(value)) => value.cast_signed().to_string(),
            (Self::Signed(3), MySqlValue::MediumInt(value)) => ((value << 8).cast_signed() >> 8).to_string(),
            (Self::Signed(4), MySqlValue::Int(value)) => value.cast_signed().to_string(),
            (Self::Signed(8), MySqlValue::BigInt(value)) => value.cast_signed().to_string(),
            (Self::Unsigned(1), MySqlValue::TinyInt(value)) => value.to_string(),
            (Self::Unsigned(2), MySqlValue::SmallInt(value)) => value.to_string(),
            (Self::Unsigned(3), MySqlValue::MediumInt(value)) => value.to_string(),
            (Self::Unsigned(4), MySqlValue::Int(value)) => value.to_string(),
            (Self::Unsigned(8), MySqlValue::BigInt(value)) => value.to_string(),
            // Ours is the number that the server prints, which has six digits.
            (Self::Float, MySqlValue::Float(value)) => {
                format!("{value:.5e}").parse::<f64>().unwrap().to_string()
            }
            (Self::Double, MySqlValue::Double(value)) => value.to_string(),
            (Self::Decimal(..), MySqlValue::Decimal(value)) => value.clone(),
            (Self::Text(_), MySqlValue::String(value)) => value.clone(),
            (Self::Text(_), MySqlValue::Blob(value)) => String::from_utf8(value.clone()).unwrap(),
            (Self::Latin1, MySqlValue::Blob(value)) => value.iter().map(|&byte| char::from(byte)).collect(),
            (Self::Blob(_) | Self::Geometry, MySqlValue::Blob(value)) => hex(value),
            (Self::Varbinary(_), MySqlValue::String(value)) => hex(value.as_bytes()),
            // The log leaves trailing zeros out, and it does not put them back.
            (Self::Binary(length), MySqlValue::String(value)) => {
                format!("{:0<width$}", hex(value.as_bytes()), width = 2 * length)
            }
            (Self::Bit(_), MySqlValue::Bit(flags)) => flags
                .iter()
                .fold(0_u64, |value, &flag| value << 1 | u64::from(flag))
                .to_string(),
            (Self::Enum(_), MySqlValue::Enum(value)) => value.to_string(),
            (Self::Set(_), MySqlValue::Set(value)) => value.to_string(),
            _ => self.normalise_moment(cell),
        }
    }

    fn normalise_moment(&self, cell: &MySqlValue) -> String {
        match (self, cell) {
            // YEAR begins at 1901: its 1900 is the zero year.
            (Self::Year, MySqlValue::Year(1900)) => "0".to_owned(),
            (Self::Year, MySqlValue::Year(value)) => value.to_string(),
            (Self::Date, MySqlValue::Date(value)) => {
                format!("{:04}-{:02}-{:02}", value.year, value.month, value.day)
            }
            (Self::Datetime(fraction), MySqlValue::DateTime(value)) => format!(
                "{:04}-{:02}-{:02} {:02}:{:02}:{:02}{}",
                value.year,
                value.month,
                value.day,
                value.hour,
                value.minute,
                value.second,
                point(value.millis, *fraction),
            ),
            (Self::Time(fraction), MySqlValue::Time(value)) => format!(
                "{:02}:{:02}:{:02}{}",
                value.hour,
                value.minute,
                value.second,
                point(value.millis, *fraction),
            ),
            (Self::Timestamp(fraction), MySqlValue::Timestamp(ms)) => timestamp(*ms, *fraction),
            _ => panic!("{self:?} was decoded as {cell:?}"),
        }
    }
}

fn place(labels: &[String], label: &str) -> usize {
    labels.iter().position(|known| known == label).unwrap()
}

/// As many digits of the milliseconds as the column has.
fn point(millis: u32, fraction: usize) -> String {
    if fraction == 0 {
        return String::new();
    }
    format!(".{}", &format!("{millis:03}")[..fraction.min(3)])
}

/// Milliseconds since the epoch as UTC, by counting years and months; zero is the zero TIMESTAMP.
fn timestamp(ms: u64, fraction: usize) -> String {
    let rest = point((ms % 1000) as u32, fraction);
    if ms == 0 {
        return format!("0000-00-00 00:00:00{rest}");
    }
    let (mut days, second) = (ms / 86_400_000, ms / 1000 % 86_400);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{:02} {hour:02}:{minute:02}:{:02}{rest}",
        days + 1,
        second % 60
    )
}
