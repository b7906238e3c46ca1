//! Which server answered, and its settings as far as capture depends on them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::code::Code;
use crate::config::{Address, MysqlConfig, TlsMode, VerifyTls};
use crate::error::{Error, Result};

use super::super::link::{Endpoint, Flavor, Link, Login, PemTexts, TlsClient, Verification};

/// Settings that are read at each connection, in lower case.
const VARIABLES: &[&str] = &[
    "binlog_checksum",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "character_set_server",
    "explicit_defaults_for_timestamp",
    "gtid_mode",
    "innodb_native_foreign_keys",
    "log_bin",
    "log_replica_updates",
    "log_slave_updates",
    "lower_case_table_names",
    "old_mode",
    "server_id",
    "server_uid",
    "server_uuid",
    "wsrep_on",
];

/// A server as it was found at the beginning of a connection.
#[derive(Debug, Clone)]
pub struct Server {
    /// MySQL or MariaDB.
    pub flavor: Flavor,
    /// Major, minor, patch.
    pub version: (u16, u16, u16),
    /// The version as the server prints it.
    pub version_text: String,
    /// Its settings by lower-case name; one that it does not have is absent.
    variables: HashMap<String, String>,
}

impl Server {
    /// Prepares the session of `link`, and reads the facts.
    ///
    /// # Errors
    /// The server's refusal by class.
    pub async fn read(link: &mut Link) -> Result<Self> {
        link.query("SET NAMES utf8mb4").await?;
        link.query("SET SESSION time_zone = '+00:00', sql_mode = ''")
            .await?;
        let names: Vec<String> = VARIABLES.iter().map(|name| format!("'{name}'")).collect();
        let rows = link
            .query(&format!(
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})",
                names.join(", ")
            ))
            .await?;
        let variables = rows
            .rows
            .into_iter()
            .filter_map(|row| match row.as_slice() {
                [Some(name), Some(value)] => Some((name.to_ascii_lowercase(), value.clone())),
                _ => None,
            })
            .collect();
        let greeting = link.greeting();
        Ok(Self {
            flavor: greeting.flavor,
            version: greeting.version,
            version_text: greeting.version_text.clone(),
            variables,
        })
    }

    /// A setting's value.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Whether a setting is ON (or 1).
    pub fn is_on(&self, name: &str) -> bool {
        matches!(self.variable(name), Some("ON" | "on" | "1"))
    }

    /// Identity of the server: `server_uuid` of MySQL, `server_uid` of MariaDB.
    pub fn identity(&self) -> Arc<str> {
        self.variable("server_uuid")
            .or_else(|| self.variable("server_uid"))
            .unwrap_or_default()
            .into()
    }

    /// What names the server among others; see [`server_name`].
    pub fn name(&self) -> Arc<str> {
        let uuid = self.variable("server_uuid");
        server_name(uuid, self.variable("server_uid"), self.server_id())
    }

    /// Whether positions are GTIDs: always on MariaDB, with `gtid_mode=ON` on MySQL.
    pub fn has_gtids(&self) -> bool {
        self.flavor == Flavor::Mariadb || self.variable("gtid_mode") == Some("ON")
    }

    /// Whether table names compare without case.
    pub fn folds_names(&self) -> bool {
        !matches!(self.variable("lower_case_table_names"), None | Some("0"))
    }

    /// Its replica id.
    pub fn server_id(&self) -> u32 {
        self.variable("server_id")
            .and_then(|id| id.parse().ok())
            .unwrap_or(0)
    }

    /// Whether each table map names its columns.
    pub fn logs_names(&self) -> bool {
        self.variable("binlog_row_metadata")
            .is_some_and(|value| value.eq_ignore_ascii_case("FULL"))
    }
}

/// What names a server among others: `server_uuid` of MySQL. `server_uid` of MariaDB is made of a network card and a port, so that two servers
/// of a machine may share it, and older ones have none: `server_id`, which differs in every topology, tells them apart.
pub fn server_name(uuid: Option<&str>, uid: Option<&str>, server_id: u32) -> Arc<str> {
    match uuid {
        Some(uuid) => uuid.into(),
        None => format!("{}/{server_id}", uid.unwrap_or_default()).into(),
    }
}

/// Connects to the first address that answers, beginning with the one at `first`; returns which it was.
///
/// # Errors
/// The error of the last address that was tried; see [`Link::connect`].
pub async fn connect_any(config: &MysqlConfig, first: usize) -> Result<(Link, usize)> {
    let count = config.addresses.len().max(1);
    let mut last = Error::new(Code::ConfigInvalid, "The configuration names no address.");
    for turn in 0..count {
        let index = (first + turn) % count;
        let Some(address) = config.addresses.get(index) else {
            continue;
        };
        match connect(config, address).await {
            Ok(link) => return Ok((link, index)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects to the host that is read, and to no other.
///
/// # Errors
/// Those of [`Link::connect`].
pub async fn connect_again(config: &MysqlConfig, index: usize) -> Result<Link> {
    match config.addresses.get(index) {
        Some(address) => connect(config, address).await,
        None => Err(Error::new(
            Code::ConfigInvalid,
            "The configuration names no such address.",
        )),
    }
}

async fn connect(config: &MysqlConfig, address: &Address) -> Result<Link> {
    let endpoint = match address {
        Address::Tcp { host, port } => Endpoint::Tcp {
            host: host.clone(),
            port: *port,
        },
        Address::Socket(path) => Endpoint::Unix {
            path: path.display().to_string(),
        },
    };
    let tls = match endpoint {
        Endpoint::Unix { .. } => None,
        Endpoint::Tcp { .. } => tls_client(&config.tls)?,
    };
    let login = Login {
        user: &config.user,
        password: config.password.reveal(),
        database: None,
        tls: tls.as_ref(),
    };
    match Link::connect(&endpoint, &login, config.connect_deadline).await {
        Err(error) if config.tls == TlsMode::Preferred && error.code() == Code::TlsUnavailable => {
            let login = Login { tls: None, ..login };
            Link::connect(&endpoint, &login, config.connect_deadline).await
        }
        result => result,
    }
}

fn tls_client(mode: &TlsMode) -> Result<Option<TlsClient>> {
    match mode {
        TlsMode::Off => Ok(None),
        TlsMode::Preferred => TlsClient::new(Verification::None, &PemTexts::default()).map(Some),
        TlsMode::Required {
            authorities,
            identity,
            verify,
        } => {
            let verification = match verify {
                None => Verification::None,
                Some(VerifyTls::Authority) => Verification::Authority,
                Some(VerifyTls::Identity) => Verification::Identity,
            };
            let pem = PemTexts {
                authorities: authorities.clone(),
                identity: identity
                    .as_ref()
                    .map(|(chain, key)| (chain.clone(), key.reveal().as_bytes().to_vec())),
            };
            TlsClient::new(verification, &pem).map(Some)
        }
    }
}
