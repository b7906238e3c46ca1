//! TLS through rustls with ring, the only crypto provider in the binary.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::transport::Transport;
use crate::code::Code;
use crate::error::{Error, Result};

/// How far the server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// Not at all: encrypts against listeners, not against impostors.
    None,
    /// Signed by a trusted authority; the name is not compared.
    Authority,
    /// Signed by a trusted authority and made for the host in the URL.
    Identity,
}

/// PEM texts for a [`TlsClient`].
#[derive(Default)]
pub struct PemTexts {
    /// Authorities to trust instead of the system's.
    pub authorities: Option<Vec<u8>>,
    /// The client's own certificate and key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A prepared TLS configuration, made once per source.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsClient")
    }
}

impl TlsClient {
    /// Reads the authorities and prepares the verifier.
    ///
    /// # Errors
    /// `ERR_STREAMER_CONFIG_INVALID` where a PEM text holds no certificate or key.
    pub fn new(verification: Verification, pem: &PemTexts) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = match &pem.authorities {
            Some(text) => roots_from(text)?,
            None if verification == Verification::None => RootCertStore::empty(),
            None => system_roots()?,
        };
        let verifier = make_verifier(verification, roots, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| internal(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &pem.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate, "tls.cert")?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|_| pem_problem("tls.key", "holds no private key in PEM form"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|_| pem_problem("tls.key", "does not fit the certificate in `tls.cert`"))?
            }
        };
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Runs the TLS handshake over a connected socket.
    pub(super) async fn secure(&self, host: &str, transport: Transport) -> Result<Transport> {
        let Transport::Tcp(stream) = transport else {
            return Ok(transport);
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            Error::new(
                Code::TlsFailed,
                format!("\"{host}\" is not a name that TLS can verify."),
            )
        })?;
        match TlsConnector::from(self.config.clone())
            .connect(name, stream)
            .await
        {
            Ok(stream) => Ok(Transport::Tls(Box::new(stream))),
            Err(error) => Err(handshake_failed(host, &error)),
        }
    }
}

fn make_verifier(
    verification: Verification,
    roots: RootCertStore,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>> {
    if verification == Verification::None {
        return Ok(Arc::new(Lenient {
            chain: None,
            provider: provider.clone(),
        }));
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| internal(&error))?;
    if verification == Verification::Identity {
        return Ok(chain);
    }
    Ok(Arc::new(Lenient {
        chain: Some(chain),
        provider: provider.clone(),
    }))
}

fn certificates(pem: &[u8], option: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .unwrap_or_default();
    if found.is_empty() {
        return Err(pem_problem(option, "holds no certificate in PEM form"));
    }
    Ok(found)
}

fn roots_from(pem: &[u8]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "tls.ca")? {
        roots
            .add(certificate)
            .map_err(|_| pem_problem("tls.ca", "holds a certificate that cannot be an authority"))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Error::new(
            Code::TlsFailed,
            "The system has no trusted certificate authorities.",
        )
        .with_advice("Give the authority's certificate as `tls: { ca: '/path/ca.pem' }`."));
    }
    Ok(roots)
}

fn pem_problem(option: &str, what: &str) -> Error {
    Error::new(Code::ConfigInvalid, format!("`{option}` {what}.")).with_detail("path", option)
}

fn internal(error: &dyn fmt::Display) -> Error {
    Error::new(Code::TlsFailed, format!("TLS could not be set up: {error}."))
}

/// Checks signatures always, the chain where `chain` is given, the host name never.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::Error::InvalidCertificate;
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Tells a certificate that is not trusted from everything else that can go wrong.
fn handshake_failed(host: &str, error: &std::io::Error) -> Error {
    let cause = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(reason)) = cause else {
        let why = cause.map_or_else(|| error.to_string(), ToString::to_string);
        return Error::new(
            Code::TlsFailed,
            format!("The TLS handshake with {host} failed: {why}."),
        );
    };
    let (why, advice) = match reason {
        CertificateError::UnknownIssuer => (
            "it is signed by an authority that is not trusted",
            "Give the authority's certificate as `tls: { ca: '/path/ca.pem' }`.",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("it has expired", "Renew the server's certificate.")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("it is not valid yet", "Check the clocks of both machines.")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "it was made for another host name",
            "Use the name in the certificate, or `ssl-mode=VERIFY_CA` in the URL to leave the name unchecked.",
        ),
        _ => ("it is not acceptable", "Check the server's certificate."),
    };
    Error::new(
        Code::TlsCertificateRejected,
        format!("The certificate of {host} was rejected: {why}."),
    )
    .with_advice(advice)
    .with_detail(
        "reason",
        format!("{reason:?}")
            .split(['(', ' ', '{'])
            .next()
            .unwrap_or_default(),
    )
}
