//! Encryption: the `tls` option and the URL's `ssl-` parameters, which must not contradict each other.
//!
//! Where neither is given, a connection that leaves this computer is encrypted and verified; plain text there must be
//! asked for by name. Files are read and checked here, so that a wrong path is found before anything connects.

use std::fs::File;
use std::io::Read;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::Value;

use super::problem::{Options, Problems, found};
use super::url::{SslMode, UrlTls};
use super::{Secret, TlsMode, VerifyTls};

/// Largest PEM text or file, in bytes: the system's whole list of authorities has a quarter of it.
const MAX_PEM_BYTES: u64 = 1 << 20;

/// Names the two places of the option and of the URL.
pub(super) struct Places<'a> {
    pub(super) option: &'a str,
    pub(super) url: &'a str,
}

/// The mode that option and URL ask for; `None` where there was a problem.
pub(super) fn resolve(
    option: Option<&Value>,
    url: &UrlTls,
    local: bool,
    places: &Places<'_>,
    problems: &mut Problems,
) -> Option<TlsMode> {
    let from_url = read_url(url, places.url, problems)?;
    let from_option = match option {
        Some(value) => Some((value, read_option(value, places.option, problems)?)),
        None => None,
    };
    match (from_option, from_url) {
        (None, None) if local => Some(TlsMode::Off),
        (None, None) => Some(verified()),
        (None, Some(mode)) => Some(mode),
        (Some((_, mode)), None) => Some(mode),
        // `true` asks for verified encryption; the URL may say how.
        (Some((Value::Bool(true), _)), Some(mode @ TlsMode::Required { verify: Some(_), .. })) => Some(mode),
        (Some((_, mode)), Some(other)) if mode == other => Some(mode),
        _ => {
            problems.add(
                places.option,
                "contradicts the ssl- parameters of the URL, leave one of them out",
            );
            None
        }
    }
}

fn verified() -> TlsMode {
    TlsMode::Required {
        authorities: None,
        identity: None,
        verify: Some(VerifyTls::Identity),
    }
}

/// What was given as PEM text or as a file, and its place in the configuration.
#[derive(Default)]
struct Sources<'a> {
    authorities: Option<&'a str>,
    certificate: Option<&'a str>,
    key: Option<&'a str>,
}

/// `Some(None)`: the URL says nothing of encryption.
fn read_url(url: &UrlTls, path: &str, problems: &mut Problems) -> Option<Option<TlsMode>> {
    let sources = Sources {
        authorities: url.authorities.as_deref(),
        certificate: url.certificate.as_deref(),
        key: url.key.as_deref(),
    };
    let files = sources
        .authorities
        .or(sources.certificate)
        .or(sources.key)
        .is_some();
    let verify = match (url.mode, files) {
        (None, false) => return Some(None),
        (Some(SslMode::Disabled), false) => return Some(Some(TlsMode::Off)),
        (Some(SslMode::Preferred), false) => return Some(Some(TlsMode::Preferred)),
        (Some(SslMode::Disabled | SslMode::Preferred), true) => {
            problems.add(
                path,
                "ssl-ca, ssl-cert and ssl-key need ssl-mode REQUIRED, VERIFY_CA or VERIFY_IDENTITY",
            );
            return None;
        }
        (Some(SslMode::Required), _) => None,
        (Some(SslMode::VerifyCa), _) => Some(VerifyTls::Authority),
        (Some(SslMode::VerifyIdentity) | None, _) => Some(VerifyTls::Identity),
    };
    if sources.authorities.is_some() && verify.is_none() {
        problems.add(
            path,
            "ssl-ca has no effect with ssl-mode REQUIRED, expected VERIFY_CA or VERIFY_IDENTITY",
        );
        return None;
    }
    let place = |name: &str| (path.to_owned(), format!("ssl-{name}: "));
    required(&sources, verify, place, problems).map(Some)
}

fn read_option(value: &Value, path: &str, problems: &mut Problems) -> Option<TlsMode> {
    match value {
        Value::Bool(true) => return Some(verified()),
        Value::Bool(false) => return Some(TlsMode::Off),
        Value::Object(_) => {}
        _ => {
            problems.add(
                path,
                format!("expected true, false or an object, found {}", found(value)),
            );
            return None;
        }
    }
    let options = Options::read(path, value, problems)?;
    options.refuse_unknown(&["ca", "cert", "key", "verify"], problems, |key| {
        let known = matches!(key, "rejectUnauthorized" | "verifyIdentity" | "servername");
        known.then(|| "did you mean \"verify\"?".to_owned())
    });
    let sources = read_sources(&options, problems);
    let verify = match options.get("verify") {
        None | Some(Value::Bool(true)) => Some(VerifyTls::Identity),
        Some(Value::Bool(false)) => None,
        Some(other) => {
            problems.add(
                options.path_of("verify"),
                format!("expected true or false, found {}", found(other)),
            );
            return None;
        }
    };
    let sources = sources?;
    if sources.authorities.is_some() && verify.is_none() {
        problems.add(
            options.path_of("ca"),
            "has no effect with verify: false, leave one of them out",
        );
        return None;
    }
    required(
        &sources,
        verify,
        |name| (options.path_of(name), String::new()),
        problems,
    )
}

/// The texts of `ca`, `cert` and `key`; `None` where one is no text.
fn read_sources<'a>(options: &Options<'a>, problems: &mut Problems) -> Option<Sources<'a>> {
    let mut text = |key| match options.get(key) {
        None => Some(None),
        Some(Value::String(text)) if !text.is_empty() => Some(Some(text.as_str())),
        // A text gets here only when it is empty: nothing of a key is shown.
        Some(other) => {
            let found = found(other);
            problems.add(
                options.path_of(key),
                format!("expected PEM text or the path of a PEM file, found {found}"),
            );
            None
        }
    };
    let (authorities, certificate, key) = (text("ca"), text("cert"), text("key"));
    Some(Sources {
        authorities: authorities?,
        certificate: certificate?,
        key: key?,
    })
}

/// Reads what the sources name. `place` gives the path and the beginning of a problem with `ca`, `cert` or `key`.
fn required(
    sources: &Sources<'_>,
    verify: Option<VerifyTls>,
    place: impl Fn(&str) -> (String, String),
    problems: &mut Problems,
) -> Option<TlsMode> {
    let mut read = |name: &str, text: Option<&str>, check: fn(&[u8]) -> Result<(), &'static str>| {
        let pem = text
            .map(|text| read_pem(name, text).and_then(|pem| check(&pem).map(|()| pem).map_err(Into::into)));
        if let Some(Err(sentence)) = &pem {
            let (path, start) = place(name);
            problems.add(path, format!("{start}{sentence}"));
        }
        pem.transpose()
    };
    let authorities = read("ca", sources.authorities, check_certificates);
    let certificate = read("cert", sources.certificate, check_certificates);
    let key = read("key", sources.key, check_key);
    let identity = match (certificate.ok()?, key.ok()?) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            if let Err(sentence) = check_pair(&certificate, &key) {
                let (path, start) = place("key");
                problems.add(path, format!("{start}{sentence}"));
                return None;
            }
            Some((certificate, Secret::new(String::from_utf8(key).ok()?)))
        }
        (certificate, _) => {
            let (given, missing) = if certificate.is_some() {
                ("cert", "key")
            } else {
                ("key", "cert")
            };
            let ((path, start), (_, other)) = (place(given), place(missing));
            let other = if other.is_empty() {
                missing
            } else {
                other.trim_end_matches(": ")
            };
            problems.add(
                path,
                format!("{start}a certificate and its key belong together, {other} is missing"),
            );
            return None;
        }
    };
    Some(TlsMode::Required {
        authorities: authorities.ok()?,
        identity,
        verify,
    })
}

/// PEM text, or the content of the file that the text names.
fn read_pem(name: &str, text: &str) -> Result<Vec<u8>, String> {
    if text.contains("-----BEGIN") {
        return match text.len() as u64 {
            length if length > MAX_PEM_BYTES => Err(format!("expected at most {MAX_PEM_BYTES} bytes of PEM")),
            _ if !text.contains('\n') && text.contains("\\n") => {
                Err("the line breaks of the PEM text arrived as \\n, expected real ones".to_owned())
            }
            _ => Ok(text.as_bytes().to_vec()),
        };
    }
    let file = shown_path(name, text);
    let failed = |reason: String| format!("cannot read {file}, {reason}");
    let because = |error: std::io::Error| failed(reason(&error));
    let opened = std::fs::metadata(text).map_err(because)?;
    if !opened.is_file() {
        return Err(failed("it is not a file".to_owned()));
    }
    let mut pem = Vec::new();
    File::open(text)
        .and_then(|file| file.take(MAX_PEM_BYTES + 1).read_to_end(&mut pem))
        .map_err(|error| failed(reason(&error)))?;
    if pem.len() as u64 > MAX_PEM_BYTES {
        return Err(failed(format!("it has more than {MAX_PEM_BYTES} bytes")));
    }
    if std::str::from_utf8(&pem).is_err() {
        return Err(failed("it is not PEM text".to_owned()));
    }
    Ok(pem)
}

/// The system's sentence without its number: `No such file or directory`.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((sentence, _)) => sentence.to_owned(),
        None => text,
    }
}

/// A path as it was given, unless it could be a URL, or a key whose frame is missing: base64 has no dot and no leading
/// slash.
fn shown_path(name: &str, text: &str) -> String {
    // Behind a Windows drive's letter alone may a colon stand.
    let url = text.contains('@') || text.rfind(':').is_some_and(|at| at != 1);
    let key = name == "key" && !text.starts_with('/') && !text.contains(['.', '\\']);
    if url || key || text.chars().count() > 300 || text.chars().any(char::is_control) {
        "the file (its name is not shown, since it may hold a secret)".to_owned()
    } else {
        format!("the file {}", Value::from(text))
    }
}

fn check_certificates(pem: &[u8]) -> Result<(), &'static str> {
    let mut count = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        if certificate.is_err() {
            return Err("is damaged, expected certificates in PEM form");
        }
        count += 1;
    }
    if count > 0 {
        Ok(())
    } else {
        Err("holds no certificate in PEM form")
    }
}

fn check_key(pem: &[u8]) -> Result<(), &'static str> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(_) => Ok(()),
        Err(_) if String::from_utf8_lossy(pem).contains("ENCRYPTED") => {
            Err("is protected by a passphrase, expected a key without one")
        }
        Err(_) => Err("holds no private key in PEM form"),
    }
}

fn check_pair(certificate: &[u8], key: &[u8]) -> Result<(), &'static str> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let (Ok(chain), Ok(key)) = (chain, PrivateKeyDer::from_pem_slice(key)) else {
        return Err("holds no private key in PEM form");
    };
    match CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()) {
        Ok(_) => Ok(()),
        Err(_) => Err("does not fit the certificate"),
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
