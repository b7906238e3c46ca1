//! Certificates for a server that is tested with TLS: an authority of its own, the server's, a client's.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::Result;

/// PEM files in one folder.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority.
    pub ca: PathBuf,
    /// The server's certificate, for `localhost` and 127.0.0.1.
    pub cert: PathBuf,
    /// The server's key.
    pub key: PathBuf,
    /// A client's certificate.
    pub client_cert: PathBuf,
    /// The client's key.
    pub client_key: PathBuf,
}

impl Certificates {
    /// Makes fresh ones in a folder.
    ///
    /// # Errors
    /// Where they cannot be made or written.
    pub fn make(folder: &Path) -> Result<Self> {
        let text = |error: rcgen::Error| format!("A certificate cannot be made: {error}");
        let authority_key = KeyPair::generate().map_err(text)?;
        let mut authority = CertificateParams::new(Vec::new()).map_err(text)?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority
            .distinguished_name
            .push(DnType::CommonName, "streamer test authority");
        let authority_cert = authority.self_signed(&authority_key).map_err(text)?;
        let issuer = Issuer::new(authority, authority_key);
        let leaf = |names: &[&str], common: &str| -> Result<(String, String)> {
            let key = KeyPair::generate().map_err(text)?;
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let mut params = CertificateParams::new(names).map_err(text)?;
            params.distinguished_name.push(DnType::CommonName, common);
            let cert = params.signed_by(&key, &issuer).map_err(text)?;
            Ok((cert.pem(), key.serialize_pem()))
        };
        let server = leaf(&["localhost", "127.0.0.1"], "streamer test server")?;
        let client = leaf(&[], "streamer test client")?;
        let write = |name: &str, pem: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            std::fs::write(&path, pem)
                .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
            Ok(path)
        };
        Ok(Self {
            ca: write("ca.pem", &authority_cert.pem())?,
            cert: write("server-cert.pem", &server.0)?,
            key: write("server-key.pem", &server.1)?,
            client_cert: write("client-cert.pem", &client.0)?,
            client_key: write("client-key.pem", &client.1)?,
        })
    }
}
