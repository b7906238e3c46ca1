//! The bytes below the protocol: TCP, TLS over TCP, or a unix socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_rustls::client::TlsStream;

use super::Endpoint;
use crate::code::Code;
use crate::error::{Error, Result};

/// A peer that vanished without a word is noticed by the kernel after this time at the latest; the heartbeat is
/// sooner, this covers what the heartbeat cannot see (bytes that we sent and nobody acknowledged).
const TCP_DEAD_AFTER: Duration = Duration::from_secs(30);

/// A connected socket.
pub(super) enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Transport {
    /// Whether a password may be sent in the clear.
    pub(super) fn is_private(&self) -> bool {
        !matches!(self, Self::Tcp(_))
    }
}

/// Opens the socket. The name is looked up anew each time, and every address is tried.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<Transport> {
    match endpoint {
        Endpoint::Tcp { host, port } => connect_tcp(endpoint, host, *port).await,
        #[cfg(unix)]
        Endpoint::Unix { path } => UnixStream::connect(path)
            .await
            .map(Transport::Unix)
            .map_err(|error| connect_failed(endpoint, &error)),
        #[cfg(not(unix))]
        Endpoint::Unix { .. } => Err(Error::new(
            Code::ConnectFailed,
            "Unix sockets do not exist on this platform.",
        )),
    }
}

async fn connect_tcp(endpoint: &Endpoint, host: &str, port: u16) -> Result<Transport> {
    let addresses: Vec<_> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| {
            Error::new(
                Code::HostUnknown,
                format!("The host name \"{host}\" could not be resolved ({error})."),
            )
            .with_advice("Check its spelling in the URL, and the machine's DNS.")
        })?
        .collect();
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                tune(&stream);
                return Ok(Transport::Tcp(stream));
            }
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable));
    Err(connect_failed(endpoint, &error))
}

/// Socket options are a help, not a need: where the platform has none of them, the heartbeat remains.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5));
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(TCP_DEAD_AFTER));
    #[cfg(not(target_os = "linux"))]
    let _ = TCP_DEAD_AFTER;
}

fn connect_failed(endpoint: &Endpoint, error: &io::Error) -> Error {
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        io::ErrorKind::NotFound => "the socket file does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "this process may not open it".to_owned(),
        _ => error.to_string(),
    };
    Error::new(
        Code::ConnectFailed,
        format!("{endpoint} could not be reached: {why}."),
    )
    .with_advice("Check host and port in the URL, and that the server runs.")
}

macro_rules! forward {
    ($self:ident, $inner:ident => $call:expr) => {
        match $self.get_mut() {
            Transport::Tcp($inner) => $call,
            Transport::Tls($inner) => $call,
            #[cfg(unix)]
            Transport::Unix($inner) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        forward!(self, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        forward!(self, inner => Pin::new(inner).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}
