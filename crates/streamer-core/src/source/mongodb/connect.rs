//! A client of the official driver, made from a source's options.

use std::io::Write;
use std::time::Duration;

use mongodb::Client;
use mongodb::options::{ClientOptions, SelectionCriteria, Tls, TlsOptions};
use tempfile::NamedTempFile;

use super::failure::client_error;
use crate::code::Code;
use crate::config::{Heartbeat, MongodbConfig, TlsMode};
use crate::error::{Error, Result};

/// Longest search for a server where the URL names none: the supervisor tries again, and says so meanwhile.
const SELECTION: Duration = Duration::from_secs(10);

/// Longest wait for one connection where the URL names none.
const CONNECT: Duration = Duration::from_secs(10);

/// A client, and which member it reads.
pub struct Connected {
    /// The driver's client.
    pub client: Client,
    /// The read preference of the URL.
    pub criteria: Option<SelectionCriteria>,
}

/// Makes a client. Nothing is connected yet, except to the resolver for a `mongodb+srv://` URL.
///
/// # Errors
/// `ERR_STREAMER_HOST_UNKNOWN` where DNS does not know the deployment, `ERR_STREAMER_CONFIG_INVALID` where the driver refuses an
/// option, `ERR_STREAMER_TLS_FAILED` where it cannot use the certificates.
pub async fn connect(config: &MongodbConfig, heartbeat: Heartbeat) -> Result<Connected> {
    let mut options = options(config, heartbeat).await?;
    options.retry_reads = Some(false);
    make(config, options)
}

/// The same for reads: so many connections to each server where the URL does not say.
///
/// # Errors
/// As [`connect`].
pub async fn connect_pool(
    config: &MongodbConfig,
    heartbeat: Heartbeat,
    max_connections: u32,
) -> Result<Connected> {
    let mut options = options(config, heartbeat).await?;
    options.max_pool_size.get_or_insert(max_connections);
    make(config, options)
}

async fn options(config: &MongodbConfig, heartbeat: Heartbeat) -> Result<ClientOptions> {
    let mut options = ClientOptions::parse(config.url.reveal())
        .await
        .map_err(|error| client_error(&error))?;
    options
        .app_name
        .get_or_insert_with(|| "ultimate-streaming".to_owned());
    options.server_selection_timeout.get_or_insert(SELECTION);
    options.connect_timeout.get_or_insert(CONNECT);
    // A member that went away is noticed by its monitor no later than by silence.
    let pace = heartbeat
        .timeout
        .clamp(Duration::from_millis(500), Duration::from_secs(10));
    options.heartbeat_freq.get_or_insert(pace);
    Ok(options)
}

fn make(config: &MongodbConfig, mut options: ClientOptions) -> Result<Connected> {
    let criteria = options.selection_criteria.clone();
    // The driver reads the files while the client is made; they are gone when this returns.
    let mut files = Vec::new();
    if let Some(mode) = &config.tls {
        options.tls = Some(encryption(mode, &mut files)?);
    }
    let client = Client::with_options(options).map_err(|error| client_error(&error))?;
    Ok(Connected { client, criteria })
}

fn encryption(mode: &TlsMode, files: &mut Vec<NamedTempFile>) -> Result<Tls> {
    let (authorities, identity, verify) = match mode {
        TlsMode::Off => return Ok(Tls::Disabled),
        TlsMode::Preferred => (None, None, None),
        TlsMode::Required {
            authorities,
            identity,
            verify,
        } => (authorities.as_ref(), identity.as_ref(), *verify),
    };
    let mut options = TlsOptions::default();
    if verify.is_none() {
        options.allow_invalid_certificates = Some(true);
    }
    if let Some(pem) = authorities {
        options.ca_file_path = Some(stored(&[pem], files)?);
    }
    if let Some((certificate, key)) = identity {
        options.cert_key_file_path = Some(stored(&[certificate, b"\n", key.reveal().as_bytes()], files)?);
    }
    Ok(Tls::Enabled(options))
}

/// The driver takes certificates as files only; these can be read by this user alone.
fn stored(parts: &[&[u8]], files: &mut Vec<NamedTempFile>) -> Result<std::path::PathBuf> {
    let written = NamedTempFile::new().and_then(|mut file| {
        for part in parts {
            file.write_all(part)?;
        }
        file.flush()?;
        Ok(file)
    });
    match written {
        Ok(file) => {
            let path = file.path().to_owned();
            files.push(file);
            Ok(path)
        }
        Err(error) => Err(Error::new(
            Code::TlsFailed,
            format!("The certificates could not be handed to the driver: {error}."),
        )
        .with_advice("Make the directory for temporary files writable.")),
    }
}
