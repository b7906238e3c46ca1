//! Options of a MySQL or MariaDB source.

use std::path::PathBuf;
use std::time::Duration;

use super::Secret;

/// One server, its user, and how its values are shown.
#[derive(Debug, Clone)]
pub struct MysqlConfig {
    /// Where it listens; several are tried in turn.
    pub addresses: Vec<Address>,
    /// User, percent-decoded. Empty where the URL has none.
    pub user: String,
    /// Password, percent-decoded. Empty where the URL has none.
    pub password: Secret,
    /// The URL's database, percent-decoded.
    pub database: Option<String>,
    /// Encryption.
    pub tls: TlsMode,
    /// Replica id; random where absent.
    pub server_id: Option<u32>,
    /// How large integers arrive.
    pub integers: Integers,
    /// How dates arrive.
    pub dates: Dates,
    /// Longest wait for a connection that is being made. Not an option: the connector shortens it after an outage.
    pub connect_deadline: Duration,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host name or IP address (no brackets), and port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port; default 3306.
        port: u16,
    },
    /// Unix socket.
    Socket(PathBuf),
}

impl Address {
    /// Whether the bytes stay on this computer: a socket, `localhost`, 127.0.0.0/8, `::1`.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Tcp { host, .. } => {
                host.eq_ignore_ascii_case("localhost")
                    || host
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

/// Encryption of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain text.
    Off,
    /// TLS where the server offers it, without verification (`ssl-mode=PREFERRED`, which the user asked for by name).
    Preferred,
    /// TLS, or no connection.
    Required {
        /// PEM of the authorities to trust; the system's where absent.
        authorities: Option<Vec<u8>>,
        /// PEM of our certificate chain and our key.
        identity: Option<(Vec<u8>, Secret)>,
        /// `None`: nothing is verified (`verify: false`, `ssl-mode=REQUIRED`).
        verify: Option<VerifyTls>,
    },
}

/// What is verified of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyTls {
    /// The chain (`ssl-mode=VERIFY_CA`).
    Authority,
    /// The chain and the host's name (the default; `ssl-mode=VERIFY_IDENTITY`).
    Identity,
}

/// How 64-bit integers arrive; the JavaScript side applies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Integers {
    /// `number` inside the safe range, else `bigint`.
    #[default]
    Bigint,
    /// `number` inside the safe range, else text.
    String,
    /// `bigint` for every 64-bit column.
    AlwaysBigint,
}

/// How dates arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dates {
    /// `Date`; what a `Date` cannot hold is text.
    #[default]
    Date,
    /// Text, as the server prints it; UTC for TIMESTAMP.
    String,
}
