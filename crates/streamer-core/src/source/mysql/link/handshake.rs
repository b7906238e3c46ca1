//! The connection phase: greeting, TLS, authentication
//! (MySQL internals, "Connection Phase"; MariaDB, "Connection").

use mysql_common::constants::CapabilityFlags;
use mysql_common::crypto;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse, SslRequest};
use mysql_common::proto::MySerialize;

use super::packet::PacketStream;
use super::{Endpoint, Flavor, Greeting, Login, refusal};
use crate::code::Code;
use crate::error::{Error, Result};

const MAX_PACKET_SIZE: u32 = 1 << 30;
/// caching_sha2_password: the server's cache knows the password.
const SHA2_FAST_OK: u8 = 3;
/// caching_sha2_password: the server wants the whole password.
const SHA2_FULL: u8 = 4;
/// caching_sha2_password: ask for the server's RSA key.
const SHA2_REQUEST_KEY: u8 = 2;

fn wanted_capabilities() -> CapabilityFlags {
    CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_LONG_PASSWORD
        | CapabilityFlags::CLIENT_LONG_FLAG
        | CapabilityFlags::CLIENT_TRANSACTIONS
        | CapabilityFlags::CLIENT_PLUGIN_AUTH
        | CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
        | CapabilityFlags::CLIENT_CONNECT_WITH_DB
        | CapabilityFlags::CLIENT_CONNECT_ATTRS
        | CapabilityFlags::CLIENT_SSL
}

/// What the rounds of authentication share.
struct Exchange<'a> {
    stream: PacketStream,
    login: &'a Login<'a>,
    plugin: AuthPlugin<'static>,
    nonce: Vec<u8>,
}

/// Runs the whole connection phase.
pub(super) async fn run(
    mut stream: PacketStream,
    endpoint: &Endpoint,
    login: &Login<'_>,
) -> Result<(PacketStream, Greeting)> {
    let range = stream
        .greeting()
        .await
        .map_err(|error| no_greeting(endpoint, error))?;
    let packet = stream.bytes(&range);
    if packet.first() == Some(&0xff) {
        return Err(refusal::from_packet(packet, CapabilityFlags::empty()));
    }
    if packet.first() != Some(&10) {
        return Err(not_mysql(endpoint));
    }
    let handshake = ParseBuf(packet)
        .parse::<HandshakePacket<'_>>(())
        .map_err(|_| not_mysql(endpoint))?
        .into_owned();
    let greeting = greeting_of(&handshake);
    let mut capabilities = handshake.capabilities() & wanted_capabilities();
    if login.database.is_none() {
        // The request for TLS and the response must say the same, or the server reads the fields shifted.
        capabilities.remove(CapabilityFlags::CLIENT_CONNECT_WITH_DB);
    }
    capabilities = negotiate_tls(&mut stream, endpoint, login, capabilities).await?;
    let mut nonce = handshake.scramble_1_ref().to_vec();
    nonce.extend_from_slice(handshake.scramble_2_ref().unwrap_or_default());
    nonce.resize(20, 0);
    let plugin = match handshake.auth_plugin() {
        Some(AuthPlugin::CachingSha2Password) => AuthPlugin::CachingSha2Password,
        _ => AuthPlugin::MysqlNativePassword,
    };
    let mut exchange = Exchange {
        stream,
        login,
        plugin,
        nonce,
    };
    exchange.respond(&greeting, capabilities).await?;
    exchange.authenticate().await?;
    Ok((exchange.stream, greeting))
}

fn greeting_of(handshake: &HandshakePacket<'_>) -> Greeting {
    let text = handshake.server_version_str().into_owned();
    let mariadb = handshake.maria_db_server_version_parsed();
    let flavor = match mariadb.is_some() || text.to_ascii_lowercase().contains("mariadb") {
        true => Flavor::Mariadb,
        false => Flavor::Mysql,
    };
    Greeting {
        flavor,
        version: mariadb
            .or_else(|| handshake.server_version_parsed())
            .unwrap_or_default(),
        version_text: text,
        connection_id: handshake.connection_id(),
    }
}

/// Switches to TLS where the login asks for it; a server that offers none is refused, never talked to in the clear.
async fn negotiate_tls(
    stream: &mut PacketStream,
    endpoint: &Endpoint,
    login: &Login<'_>,
    mut capabilities: CapabilityFlags,
) -> Result<CapabilityFlags> {
    let (Some(tls), Endpoint::Tcp { host, .. }) = (login.tls, endpoint) else {
        capabilities.remove(CapabilityFlags::CLIENT_SSL);
        return Ok(capabilities);
    };
    if !capabilities.contains(CapabilityFlags::CLIENT_SSL) {
        return Err(Error::new(
            Code::TlsUnavailable,
            format!("{endpoint} offers no TLS, and nothing was sent to it."),
        )
        .with_advice("Switch TLS on at the server, or set `tls: false` to send everything in plain text."));
    }
    let mut request = Vec::new();
    SslRequest::new(capabilities, MAX_PACKET_SIZE, 45).serialize(&mut request);
    stream.write(&request).await?;
    stream.upgrade(|transport| tls.secure(host, transport)).await?;
    Ok(capabilities)
}

impl Exchange<'_> {
    async fn respond(&mut self, greeting: &Greeting, capabilities: CapabilityFlags) -> Result<()> {
        let attributes = [
            ("_client_name", "ultimate-streaming"),
            ("_client_version", env!("CARGO_PKG_VERSION")),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let proof = self.proof()?;
        let response = HandshakeResponse::new(
            Some(proof),
            greeting.version,
            Some(self.login.user.as_bytes()),
            self.login.database.map(str::as_bytes),
            Some(self.plugin.clone()),
            capabilities,
            capabilities
                .contains(CapabilityFlags::CLIENT_CONNECT_ATTRS)
                .then(|| attributes.into_iter().collect()),
            MAX_PACKET_SIZE,
        );
        let mut packet = Vec::new();
        response.serialize(&mut packet);
        self.stream.write(&packet).await
    }

    /// What proves to the server that we know the password, by the current method.
    fn proof(&self) -> Result<Vec<u8>> {
        match &self.plugin {
            AuthPlugin::CachingSha2Password | AuthPlugin::MysqlNativePassword | AuthPlugin::Ed25519 => {
                Ok(self
                    .plugin
                    .gen_data(Some(self.login.password), &self.nonce)
                    .map(|proof| proof.to_vec())
                    .unwrap_or_default())
            }
            AuthPlugin::MysqlClearPassword if self.stream.is_private() => {
                Ok([self.login.password.as_bytes(), &[0]].concat())
            }
            AuthPlugin::MysqlClearPassword => {
                Err(unsupported_method("mysql_clear_password", "only over TLS"))
            }
            AuthPlugin::MysqlOldPassword => {
                Err(unsupported_method("mysql_old_password", "never, it is broken"))
            }
            AuthPlugin::MariadbParsec { .. } => Err(unsupported_method("parsec", "not yet")),
            AuthPlugin::Other(name) => Err(unsupported_method(&String::from_utf8_lossy(name), "not")),
        }
    }

    /// Answers the server until it says OK.
    async fn authenticate(&mut self) -> Result<()> {
        for _round in 0..8 {
            let range = self.stream.next().await.map_err(closed_while_authenticating)?;
            let packet = self.stream.bytes(&range).to_vec();
            match packet.as_slice() {
                [0x00, ..] => return Ok(()),
                [0xff, ..] => return Err(refusal::from_packet(&packet, CapabilityFlags::CLIENT_PROTOCOL_41)),
                [0xfe, ..] => self.switch_method(&packet).await?,
                [0x01, SHA2_FAST_OK] => {}
                [0x01, SHA2_FULL] => self.send_whole_password().await?,
                _ => {
                    return Err(Error::new(
                        Code::ProtocolUnexpected,
                        "The server's answer during login makes no sense.",
                    ));
                }
            }
        }
        Err(Error::new(
            Code::ProtocolUnexpected,
            "The server kept asking for other ways to log in.",
        ))
    }

    async fn switch_method(&mut self, packet: &[u8]) -> Result<()> {
        let request = ParseBuf(packet)
            .parse::<AuthSwitchRequest<'_>>(())
            .map_err(|_| unsupported_method("mysql_old_password", "never, it is broken"))?;
        self.nonce = request.plugin_data().to_vec();
        self.plugin = request.auth_plugin().into_owned();
        let proof = self.proof()?;
        self.stream.write(&proof).await
    }

    /// caching_sha2_password's full round: inside TLS or a unix socket as it is, else encrypted with the server's key.
    async fn send_whole_password(&mut self) -> Result<()> {
        let mut password = [self.login.password.as_bytes(), &[0]].concat();
        if self.stream.is_private() {
            return self.stream.write(&password).await;
        }
        self.stream.write(&[SHA2_REQUEST_KEY]).await?;
        let range = self.stream.next().await?;
        let key = match self.stream.bytes(&range) {
            [0x01, key @ ..] if key.starts_with(b"-----BEGIN PUBLIC KEY-----") => key.to_vec(),
            [0xff, ..] => {
                let packet = self.stream.bytes(&range);
                return Err(refusal::from_packet(packet, CapabilityFlags::CLIENT_PROTOCOL_41));
            }
            _ => {
                return Err(Error::new(
                    Code::ProtocolUnexpected,
                    "The server sent no public key for the login.",
                ));
            }
        };
        for (byte, mask) in password.iter_mut().zip(self.nonce.iter().cycle()) {
            *byte ^= mask;
        }
        let encrypted = std::panic::catch_unwind(|| crypto::encrypt(&password, &key)).map_err(|_| {
            Error::new(
                Code::ProtocolUnexpected,
                "The server's public key for the login cannot be used.",
            )
        })?;
        self.stream.write(&encrypted).await
    }
}

fn unsupported_method(name: &str, when: &str) -> Error {
    Error::new(
        Code::AuthRejected,
        format!("The server asks for the authentication method {name}, which is supported {when}."),
    )
    .with_advice(
        "Let the account use caching_sha2_password (MySQL), or ed25519 or mysql_native_password (MariaDB).",
    )
    .with_detail("method", name)
}

fn closed_while_authenticating(error: Error) -> Error {
    if error.code() != Code::ConnectionLost {
        return error;
    }
    Error::new(
        Code::ConnectionLost,
        "The server closed the connection during the login.",
    )
}

fn no_greeting(endpoint: &Endpoint, error: Error) -> Error {
    match error.code() {
        Code::ConnectionLost => Error::new(
            Code::ConnectionLost,
            format!("{endpoint} accepted the connection and closed it without a greeting."),
        ),
        Code::ProtocolUnexpected => not_mysql(endpoint),
        _ => error,
    }
}

fn not_mysql(endpoint: &Endpoint) -> Error {
    Error::new(
        Code::ProtocolUnexpected,
        format!("What answers at {endpoint} is not a MySQL or MariaDB server."),
    )
    .with_advice("Check the port in the URL; MySQL's X protocol (33060) is not the classic one (3306).")
}
