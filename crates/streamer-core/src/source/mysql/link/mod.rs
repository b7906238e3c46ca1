//! One connection to a MySQL or MariaDB server.
//!
//! `mysql_async` reads a whole binlog event into a buffer of the size that the event's header claims, copies the
//! format description for each event, and swallows a compressed transaction that it cannot open. A replication
//! stream needs bounds on all three, a deadline on every read, and its own socket options, so the framing, the TLS
//! set-up and the order of the handshake are here; the packets themselves and the cryptography of each authentication
//! method are `mysql_common`'s.
//!
//! Guarantees: nothing is allocated on the word of a length field beyond [`MAX_EAGER_RESERVE`] (memory grows with
//! the bytes that arrive); a password leaves in the clear only inside TLS or through a unix socket; the server
//! cannot ask for a local file, because the capability is never offered and such a request ends the connection.

mod handshake;
mod packet;
mod query;
mod refusal;
mod tls;
mod transport;

use std::time::Duration;

use tokio::time::timeout;

use crate::code::Code;
use crate::error::{Error, Result};

pub use packet::{MAX_EAGER_RESERVE, PacketRange};
pub use query::{ResultRows, quote_identifier, quote_text};
pub use tls::{PemTexts, TlsClient, Verification};

use packet::PacketStream;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host name or address, looked up anew at each connection.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket's path.
    Unix {
        /// Path.
        path: String,
    },
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path } => f.write_str(path),
        }
    }
}

/// Who connects, and how.
pub struct Login<'a> {
    /// User name.
    pub user: &'a str,
    /// Password; empty for none.
    pub password: &'a str,
    /// Database to select, where one is named.
    pub database: Option<&'a str>,
    /// TLS, or `None` for plain text.
    pub tls: Option<&'a TlsClient>,
}

/// Which family of servers answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// Oracle's MySQL, Percona Server, and what behaves like them.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl Flavor {
    /// The product's name in prose.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mysql => "MySQL",
            Self::Mariadb => "MariaDB",
        }
    }
}

/// What the server said of itself in its greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Family.
    pub flavor: Flavor,
    /// Major, minor, patch.
    pub version: (u16, u16, u16),
    /// The version as the server prints it.
    pub version_text: String,
    /// The connection's id, as in `SHOW PROCESSLIST`.
    pub connection_id: u32,
}

/// An authenticated connection.
pub struct Link {
    stream: PacketStream,
    greeting: Greeting,
}

impl Link {
    /// Connects and authenticates within `deadline`.
    ///
    /// # Errors
    /// `ERR_STREAMER_HOST_UNKNOWN`, `…_CONNECT_FAILED`, `…_TIMEOUT`, `…_PROTOCOL_UNEXPECTED`, `…_TLS_*`,
    /// `…_AUTH_REJECTED`, `…_DATABASE_UNKNOWN`, `…_SERVER_BUSY`.
    pub async fn connect(endpoint: &Endpoint, login: &Login<'_>, deadline: Duration) -> Result<Self> {
        let connecting = async {
            let transport = transport::connect(endpoint).await?;
            handshake::run(PacketStream::new(transport), endpoint, login).await
        };
        match timeout(deadline, connecting).await {
            Ok(result) => result.map(|(stream, greeting)| Self { stream, greeting }),
            Err(_) => Err(Error::new(
                Code::Timeout,
                format!(
                    "{endpoint} did not complete the handshake within {} ms.",
                    deadline.as_millis()
                ),
            )
            .with_advice(
                "The library tries again; if it lasts, check that a MySQL or MariaDB server answers there.",
            )),
        }
    }

    /// What the server said of itself.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Sends a command and leaves its answer to [`next_packet`](Self::next_packet).
    pub async fn send_command(&mut self, command: &[u8]) -> Result<()> {
        self.stream.begin_command();
        self.stream.write(command).await
    }

    /// A packet that has arrived whole, without waiting.
    pub fn buffered_packet(&mut self) -> Result<Option<PacketRange>> {
        self.stream.buffered()
    }

    /// Waits for the next packet. Cancel-safe: what has arrived stays.
    pub async fn next_packet(&mut self) -> Result<PacketRange> {
        self.stream.next().await
    }

    /// Bytes that have arrived so far: a packet that takes long still shows that the server lives.
    pub fn received_bytes(&self) -> u64 {
        self.stream.received()
    }

    /// The bytes of a packet; valid until the next call that reads.
    pub fn packet(&self, range: &PacketRange) -> &[u8] {
        self.stream.bytes(range)
    }
}
