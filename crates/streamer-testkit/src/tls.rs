//! Certificates for a server that is tested with TLS: an authority of its own, the server's, a client's.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

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
    /// A certificate for the same names and the same key, which has expired.
    pub expired_cert: PathBuf,
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
        let leaf = |key: &KeyPair, names: &[&str], common: &str, is_expired: bool| -> Result<String> {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let mut params = CertificateParams::new(names).map_err(text)?;
            params.distinguished_name.push(DnType::CommonName, common);
            if is_expired {
                params.not_after = date_time_ymd(2020, 1, 1);
            }
            Ok(params.signed_by(key, &issuer).map_err(text)?.pem())
        };
        let (names, common) = (["localhost", "127.0.0.1"], "streamer test server");
        let key = KeyPair::generate().map_err(text)?;
        let client_key = KeyPair::generate().map_err(text)?;
        let write = |name: &str, pem: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            std::fs::write(&path, pem)
                .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
            Ok(path)
        };
        Ok(Self {
            ca: write("ca.pem", &authority_cert.pem())?,
            cert: write("server-cert.pem", &leaf(&key, &names, common, false)?)?,
            key: write("server-key.pem", &key.serialize_pem())?,
            expired_cert: write("expired-cert.pem", &leaf(&key, &names, common, true)?)?,
            client_cert: write(
                "client-cert.pem",
                &leaf(&client_key, &[], "streamer test client", false)?,
            )?,
            client_key: write("client-key.pem", &client_key.serialize_pem())?,
        })
    }
}
