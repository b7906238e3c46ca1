//! The driver `mysql_async`, with which rows are asked for; the log is read through [`link`](super::link).

use mysql_async::{ClientIdentity, OptsBuilder, SslOpts};

use crate::code::Code;
use crate::config::{Address, MysqlConfig, TlsMode, VerifyTls};
use crate::error::Error;

/// The account, the address and the encryption of a source, for the driver.
pub fn driver_options(config: &MysqlConfig, address: Option<&Address>) -> OptsBuilder {
    let mut options = OptsBuilder::default()
        .user(Some(config.user.clone()))
        .pass(Some(config.password.reveal().to_owned()))
        .prefer_socket(false)
        .tcp_nodelay(true);
    match address {
        Some(Address::Tcp { host, port }) => options = options.ip_or_hostname(host.clone()).tcp_port(*port),
        Some(Address::Socket(path)) => options = options.socket(Some(path.to_string_lossy().into_owned())),
        None => {}
    }
    options.ssl_opts(tls(config))
}

fn tls(config: &MysqlConfig) -> Option<SslOpts> {
    match &config.tls {
        TlsMode::Off => None,
        TlsMode::Preferred => (!config.addresses.iter().all(Address::is_local)).then(|| {
            SslOpts::default()
                .with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true)
        }),
        TlsMode::Required {
            authorities,
            identity,
            verify,
        } => {
            let mut options = SslOpts::default()
                .with_danger_accept_invalid_certs(verify.is_none())
                .with_danger_skip_domain_validation(*verify != Some(VerifyTls::Identity));
            if let Some(pem) = authorities {
                options = options
                    .with_root_certs(vec![pem.clone().into()])
                    .with_disable_built_in_roots(true);
            }
            if let Some((chain, key)) = identity {
                let identity =
                    ClientIdentity::new(chain.clone().into(), key.reveal().as_bytes().to_vec().into());
                options = options.with_client_identity(Some(identity));
            }
            Some(options)
        }
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
