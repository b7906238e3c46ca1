//! Servers that are already running, at a URL that the environment names: used as they are, never ended.

use std::path::PathBuf;

use crate::{Result, Server};

const NOT_OURS: &str = "This server was running before; only one that the kit started can be ended, frozen or restarted. \
                        Ask for one of its own (`own`).";

/// Where such a server is.
pub(crate) struct Place {
    /// Its URL without a path.
    pub(crate) url: String,
    /// Its port.
    pub(crate) port: u16,
}

impl Place {
    /// What `STREAMER_TEST_<SERVER>_URL` says.
    ///
    /// # Errors
    /// Where it is no URL with a host and a port.
    pub(crate) fn named(server: &str) -> Result<Option<Self>> {
        let variable = format!("STREAMER_TEST_{}_URL", server.to_ascii_uppercase());
        match std::env::var(&variable) {
            Ok(url) if !url.is_empty() => Self::parse(&url)
                .map(Some)
                // The URL may hold a password, so it is not shown.
                .ok_or_else(|| format!("{variable} is no URL of the form scheme://user@host:port.")),
            _ => Ok(None),
        }
    }

    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, options) = match rest.split_once('/') {
            Some((authority, path)) => (authority, path.split_once('?').map(|(_, options)| options)),
            None => (rest, None),
        };
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let first = host.split(',').next()?;
        let port = first.rsplit_once(':')?.1.parse().ok()?;
        // MongoDB names its replica set there; the others' options are the test's affair.
        let kept = options
            .filter(|_| scheme.starts_with("mongodb"))
            .map(|options| format!("/?{options}"));
        Some(Self {
            url: format!("{scheme}://{authority}{}", kept.unwrap_or_default()),
            port,
        })
    }
}

/// A server that somebody else started.
pub(crate) struct External(pub(crate) Place);

impl Server for External {
    fn kill(&mut self) -> Result<()> {
        Err(NOT_OURS.to_owned())
    }

    fn stop(&mut self) -> Result<()> {
        Err(NOT_OURS.to_owned())
    }

    fn pause(&mut self) -> Result<()> {
        Err(NOT_OURS.to_owned())
    }

    fn resume(&mut self) -> Result<()> {
        Err(NOT_OURS.to_owned())
    }

    fn restart(&mut self, _args: Option<Vec<String>>) -> Result<()> {
        Err(NOT_OURS.to_owned())
    }

    fn port(&self) -> u16 {
        self.0.port
    }

    fn url(&self) -> String {
        self.0.url.clone()
    }

    fn version(&self) -> &str {
        ""
    }

    fn data_dir(&self) -> PathBuf {
        PathBuf::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_url_gives_a_port_and_loses_its_path() {
        let place = Place::parse("mysql://root:a%2Fb@127.0.0.1:3307/app?ssl=1").unwrap();
        assert_eq!(
            (place.url.as_str(), place.port),
            ("mysql://root:a%2Fb@127.0.0.1:3307", 3307)
        );
        let place = Place::parse("mongodb://a:27017,b:27018/?replicaSet=rs0").unwrap();
        assert_eq!(
            (place.url.as_str(), place.port),
            ("mongodb://a:27017,b:27018/?replicaSet=rs0", 27017)
        );
        assert!(Place::parse("mysql://root@localhost/").is_none());
    }
}
