//! The driver `mysql_async`, with which rows are asked for; the log is read through [`link`](super::link).

use mysql_async::{ClientIdentity, Conn, OptsBuilder, SslOpts};

use crate::code::Code;
use crate::config::{Address, MysqlConfig, TlsMode, VerifyTls};
use crate::error::Error;

/// The account, the address and the encryption of a source, for the driver.
///
/// As the [`link`](super::link) encrypts: never on a socket of this machine; with `PREFERRED`, wherever the server can.
pub fn driver_options(config: &MysqlConfig, address: Option<&Address>) -> OptsBuilder {
    let options = OptsBuilder::default()
        .user(Some(config.user.clone()))
        .pass(Some(config.password.reveal().to_owned()))
        .prefer_socket(false)
        .tcp_nodelay(true);
    match address {
        Some(Address::Tcp { host, port }) => options
            .ip_or_hostname(host.clone())
            .tcp_port(*port)
            .ssl_opts(encryption(&config.tls)),
        Some(Address::Socket(path)) => options.socket(Some(path.to_string_lossy().into_owned())),
        None => options,
    }
}

fn encryption(mode: &TlsMode) -> Option<SslOpts> {
    let (authorities, identity, verify) = match mode {
        TlsMode::Off => return None,
        TlsMode::Preferred => (None, None, None),
        TlsMode::Required {
            authorities,
            identity,
            verify,
        } => (authorities.as_ref(), identity.as_ref(), *verify),
    };
    let mut options = SslOpts::default()
        .with_danger_accept_invalid_certs(verify.is_none())
        .with_danger_skip_domain_validation(verify != Some(VerifyTls::Identity));
    if let Some(pem) = authorities {
        options = options
            .with_root_certs(vec![pem.clone().into()])
            .with_disable_built_in_roots(true);
    }
    if let Some((chain, key)) = identity {
        let key = key.reveal().as_bytes().to_vec();
        options = options.with_client_identity(Some(ClientIdentity::new(chain.clone().into(), key.into())));
    }
    Some(options)
}

/// Whether the server has no TLS; where it is only preferred, plain text is next.
pub fn driver_lacks_tls(error: &mysql_async::Error) -> bool {
    use mysql_async::DriverError::NoClientSslFlagFromServer;
    matches!(error, mysql_async::Error::Driver(NoClientSslFlagFromServer))
}

/// Connects with what `adapt` makes of [`driver_options`].
///
/// # Errors
/// Those of the driver.
pub async fn driver_connect(
    config: &MysqlConfig,
    address: &Address,
    adapt: impl FnOnce(OptsBuilder) -> OptsBuilder + Send,
) -> mysql_async::Result<Conn> {
    let options = adapt(driver_options(config, Some(address)));
    match Conn::new(options.clone()).await {
        Err(error) if config.tls == TlsMode::Preferred && driver_lacks_tls(&error) => {
            Conn::new(options.ssl_opts(None)).await
        }
        answer => answer,
    }
}

/// An error of the driver. What a server says of a statement may hold a part of it, never a parameter.
pub fn driver_error(error: &mysql_async::Error) -> Error {
    match error {
        mysql_async::Error::Server(refusal) => {
            let sentence = format!("The server refused the statement: {}", refusal.message);
            Error::new(Code::ServerRefused, sentence)
                .with_detail("serverCode", refusal.code)
                .with_detail("sqlState", refusal.state.clone())
        }
        mysql_async::Error::Io(_) => Error::new(Code::ConnectionLost, "The connection for queries broke.")
            .with_advice("Ask again; another connection is made."),
        other => Error::new(
            Code::ProtocolUnexpected,
            format!("The driver could not go on: {other}."),
        ),
    }
}
