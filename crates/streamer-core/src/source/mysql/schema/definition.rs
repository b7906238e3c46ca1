//! A table's definition, as the server held it at one position of its log.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A table's full name. Names compare as the server compares them: the tracker folds their case where
/// `lower_case_table_names` says so, before it makes one of these.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// Database (schema).
    pub database: Arc<str>,
    /// Table.
    pub table: Arc<str>,
}

impl TableName {
    /// A name from its two parts.
    pub fn new(database: impl Into<Arc<str>>, table: impl Into<Arc<str>>) -> Self {
        Self {
            database: database.into(),
            table: table.into(),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// One version of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDefinition {
    /// Its name.
    pub name: TableName,
    /// All columns in the order of the log, invisible and generated ones too.
    pub columns: Vec<ColumnDefinition>,
    /// Indices of the primary key's columns, in key order; empty where the table has none.
    pub key: Vec<u32>,
    /// Character set that a new text column takes without saying so; `None` where it is not known.
    pub charset: Option<CharsetName>,
}

/// The name of a character set, in the server's spelling and lower case: `utf8mb4`, `latin1`, `binary`.
pub type CharsetName = Arc<str>;

/// A column of a [`TableDefinition`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: Arc<str>,
    /// What it holds.
    pub kind: ColumnKind,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Whether `SELECT *` leaves it out.
    pub invisible: bool,
    /// Whether the server computes it.
    pub generated: Option<Generated>,
    /// How the log keeps it, as far as the kind leaves that open. Decoding does not need it.
    pub storage: Storage,
}

/// What the declared type says beyond the kind: what verification and the tracking of ALTER need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Storage {
    /// The kind says all, or more is not known.
    #[default]
    Plain,
    /// CHAR(n), BINARY(n).
    Fixed {
        /// n: characters, or bytes of BINARY.
        length: u32,
    },
    /// VARCHAR(n), VARBINARY(n).
    Varying {
        /// n: characters, or bytes of VARBINARY.
        length: u32,
        /// MariaDB's COMPRESSED.
        compressed: bool,
    },
    /// TEXT, BLOB and their sizes.
    Long {
        /// Bytes of the length before the value: 1 TINY, 2, 3 MEDIUM, 4 LONG.
        prefix: u8,
        /// MariaDB's COMPRESSED.
        compressed: bool,
    },
    /// BIT(n).
    Bits {
        /// n.
        bits: u8,
    },
    /// `row_start` or `row_end` that MariaDB added to a versioned table that declares none: always the last two
    /// columns, in the log but in no catalogue view.
    Period,
    /// The column in which MariaDB keeps the hash of a unique index that is too long for its engine: at the end, in the
    /// log but in no catalogue view.
    Hash,
}

impl ColumnDefinition {
    /// Whether the server shows it to nobody: applications should not see it either.
    pub fn is_hidden(&self) -> bool {
        matches!(self.storage, Storage::Period | Storage::Hash)
    }
}

/// How the server keeps a generated column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Generated {
    /// Computed when read.
    Virtual,
    /// Kept in the row.
    Stored,
    /// When the row stopped being current, of a table WITH SYSTEM VERSIONING (MariaDB): one that has stopped is history, and no row
    /// that a query sees.
    RowEnd,
}

/// What a column holds: the declared type as far as decoding needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnKind {
    /// TINYINT, SMALLINT, MEDIUMINT, INT, BIGINT (1, 2, 3, 4 or 8 bytes); BOOL is TINYINT, SERIAL is BIGINT UNSIGNED.
    Integer {
        /// Width in the log.
        bytes: u8,
        /// UNSIGNED or ZEROFILL.
        unsigned: bool,
    },
    /// YEAR.
    Year,
    /// FLOAT (4 bytes).
    Float,
    /// DOUBLE, REAL (8 bytes).
    Double,
    /// DECIMAL, NUMERIC.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// DATE.
    Date,
    /// TIME with its fractional digits.
    Time {
        /// 0 to 6.
        fraction: u8,
    },
    /// DATETIME with its fractional digits.
    Datetime {
        /// 0 to 6.
        fraction: u8,
    },
    /// TIMESTAMP with its fractional digits.
    Timestamp {
        /// 0 to 6.
        fraction: u8,
    },
    /// CHAR, VARCHAR, TEXT and their relatives.
    Text {
        /// The character set in which the server keeps it.
        charset: CharsetName,
        /// CHAR rather than VARCHAR or TEXT.
        fixed: bool,
    },
    /// ENUM.
    Enum {
        /// Labels, first is 1.
        labels: Arc<[Arc<str>]>,
    },
    /// SET.
    Set {
        /// Labels, lowest bit first.
        labels: Arc<[Arc<str>]>,
    },
    /// BINARY, VARBINARY, BLOB and their relatives.
    Binary {
        /// Length of BINARY(n), which the log ships without its trailing zeros.
        fixed: Option<u32>,
    },
    /// BIT(n).
    Bit,
    /// MySQL's JSON.
    Json,
    /// MariaDB's JSON: LONGTEXT with a check that it is valid.
    JsonText {
        /// The character set in which the server keeps it.
        charset: CharsetName,
    },
    /// Any geometry: four bytes of SRID, then WKB.
    Geometry,
    /// VECTOR: little-endian floats.
    Vector,
    /// MariaDB's UUID.
    Uuid,
    /// MariaDB's INET4.
    Inet4,
    /// MariaDB's INET6.
    Inet6,
}

impl ColumnKind {
    /// Whether equal values are written alike. Text compares by a collation: `Abc` may be equal to `abc`, with and without spaces behind
    /// it; the labels of an ENUM are compared by their numbers.
    pub fn is_exact(&self) -> bool {
        match self {
            Self::Integer { .. }
            | Self::Year
            | Self::Decimal { .. }
            | Self::Date
            | Self::Time { .. }
            | Self::Datetime { .. }
            | Self::Timestamp { .. }
            | Self::Uuid
            | Self::Inet4
            | Self::Inet6 => true,
            Self::Float
            | Self::Double
            | Self::Text { .. }
            | Self::Enum { .. }
            | Self::Set { .. }
            | Self::Binary { .. }
            | Self::Bit
            | Self::Json
            | Self::JsonText { .. }
            | Self::Geometry
            | Self::Vector => false,
        }
    }
}
