//! `cache.redis`: the second level of the cache.

use std::fmt;

use serde_json::Value;

use super::problem::{Options, Problems, found};
use super::tls::{self, Places};
use super::url::UrlTls;
use super::{Secret, TlsMode, VerifyTls};

/// What keys begin with.
const PREFIX: &str = "ultimate-streaming:cache:";

/// Longest prefix.
const MAX_PREFIX: usize = 256;

/// Bytes of a key for encryption.
const KEY_BYTES: usize = 32;

const PATH: &str = "cache.redis";

/// A Redis that processes share.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://` or `rediss://`; may hold a password.
    pub url: Secret,
    /// What its keys begin with.
    pub prefix: String,
    /// PEM of the authorities to trust; the system's where absent.
    pub authorities: Option<Vec<u8>>,
    /// PEM of our certificate chain and our key.
    pub identity: Option<(Vec<u8>, Secret)>,
    /// Values are encrypted with it.
    pub key: Option<EncryptionKey>,
}

/// A key for values. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionKey([u8; KEY_BYTES]);

impl EncryptionKey {
    /// The key itself, for the one place that uses it.
    pub fn reveal(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey(***)")
    }
}

/// Reads `cache.redis`; `None` where it is absent or wrong.
pub(super) fn parse(cache: Option<&Value>, problems: &mut Problems) -> Option<RedisConfig> {
    let value = cache?.as_object()?.get("redis")?;
    let mut config = RedisConfig {
        url: Secret::default(),
        prefix: PREFIX.to_owned(),
        authorities: None,
        identity: None,
        key: None,
    };
    match value {
        Value::String(text) => config.url = parse_url(PATH, text, problems)?,
        Value::Object(_) => {
            let options = Options::read(PATH, value, problems)?;
            options.refuse_unknown(&["url", "prefix", "tls", "encryptionKey"], problems, |key| {
                (key == "key" || key == "secret").then(|| "did you mean \"encryptionKey\"?".to_owned())
            });
            let url = match options.get("url") {
                Some(Value::String(text)) => parse_url(&options.path_of("url"), text, problems),
                other => {
                    let found = other.map_or_else(|| "nothing".to_owned(), found);
                    let message = format!("expected redis://user:password@host:6379/0, found {found}");
                    problems.add(options.path_of("url"), message);
                    None
                }
            };
            if let Some(prefix) = parse_prefix(&options, problems) {
                config.prefix = prefix;
            }
            config.key = parse_key(&options, problems);
            let tls = parse_tls(&options, url.as_ref(), problems);
            config.url = url?;
            if let Some(TlsMode::Required {
                authorities,
                identity,
                ..
            }) = tls
            {
                (config.authorities, config.identity) = (authorities, identity);
            }
        }
        other => {
            let message = format!(
                "expected a redis:// URL, or an object with one, found {}",
                found(other)
            );
            problems.add(PATH, message);
            return None;
        }
    }
    Some(config)
}

fn parse_url(path: &str, text: &str, problems: &mut Problems) -> Option<Secret> {
    let url = url::Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "redis" | "rediss") && url.host_str().is_some_and(|host| !host.is_empty())
    });
    // Behind # the driver would take that nothing is to be verified.
    if url.is_some_and(|url| url.fragment().is_none()) {
        return Some(Secret::new(text));
    }
    problems.add(
        path,
        "expected redis:// or rediss:// with a host, found a text that is no such URL",
    );
    None
}

fn parse_prefix(options: &Options<'_>, problems: &mut Problems) -> Option<String> {
    match options.get("prefix")? {
        Value::String(text) if !text.is_empty() && text.len() <= MAX_PREFIX => Some(text.clone()),
        other => {
            let message = format!("expected 1 to {MAX_PREFIX} characters, found {}", found(other));
            problems.add(options.path_of("prefix"), message);
            None
        }
    }
}

fn parse_tls(options: &Options<'_>, url: Option<&Secret>, problems: &mut Problems) -> Option<TlsMode> {
    let value = options.get("tls")?;
    let path = options.path_of("tls");
    let places = Places {
        option: &path,
        url: &path,
    };
    let mode = tls::resolve(Some(value), &UrlTls::default(), false, &places, problems)?;
    let is_encrypted = url?.reveal().to_ascii_lowercase().starts_with("rediss:");
    match &mode {
        TlsMode::Off if is_encrypted => problems.add(path, "contradicts rediss://, leave one of them out"),
        TlsMode::Required {
            verify: Some(VerifyTls::Identity),
            ..
        } if !is_encrypted => problems.add(path, "needs a URL that begins with rediss://"),
        TlsMode::Off
        | TlsMode::Required {
            verify: Some(VerifyTls::Identity),
            ..
        } => return Some(mode),
        _ => problems.add(
            path,
            "the certificate of Redis is always verified, leave verify out",
        ),
    }
    None
}

fn parse_key(options: &Options<'_>, problems: &mut Problems) -> Option<EncryptionKey> {
    let value = options.get("encryptionKey")?;
    let key = value
        .as_str()
        .and_then(base64)
        .and_then(|bytes| bytes.try_into().ok());
    if key.is_none() {
        // Not even its length is told.
        problems.add(
            options.path_of("encryptionKey"),
            "expected 32 bytes in base64 (44 characters, as `openssl rand -base64 32` prints them), found something else",
        );
    }
    key.map(EncryptionKey)
}

/// Reads base64 (RFC 4648, section 4, or 5), with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    fn problems(redis: Value) -> Vec<String> {
        let config = json!({ "source": "mysql://h/d", "cache": { "redis": redis } });
        match Config::parse(&config) {
            Ok(_) => Vec::new(),
            Err(error) => vec![error.to_string()],
        }
    }

    fn parsed(redis: Value) -> RedisConfig {
        let config = json!({ "source": "mysql://h/d", "cache": { "redis": redis } });
        Config::parse(&config).unwrap().redis.unwrap()
    }

    #[test]
    fn a_url_is_enough() {
        let config = parsed(json!("redis://:pw@h:6379/1"));
        assert_eq!(config.url.reveal(), "redis://:pw@h:6379/1");
        assert_eq!(config.prefix, PREFIX);
        assert!(config.key.is_none() && !format!("{config:?}").contains("pw"));
    }

    #[test]
    fn a_key_has_32_bytes() {
        let text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let config = parsed(json!({ "url": "rediss://h", "prefix": "p:", "encryptionKey": text }));
        let expected: Vec<u8> = (0..32).collect();
        assert_eq!(config.key.as_ref().unwrap().reveal()[..], expected[..]);
        assert!(!format!("{config:?}").contains("31"));
        for wrong in [
            "",
            "AAEC",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh!=",
            "hunter2",
        ] {
            let found = problems(json!({ "url": "redis://h", "encryptionKey": wrong }));
            assert!(found[0].contains("cache.redis.encryptionKey"), "{found:?}");
            assert!(wrong.is_empty() || !found[0].contains(wrong));
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let found = problems(json!({
            "url": "http://h",
            "prefix": "",
            "encryptionKey": 5,
            "tls": "yes",
            "hosts": [],
        }));
        for path in ["url", "prefix", "encryptionKey", "tls", "hosts"] {
            assert!(found[0].contains(&format!("cache.redis.{path}: ")), "{found:?}");
        }
    }

    #[test]
    fn encryption_is_asked_for_by_the_url_and_always_verified() {
        for (redis, part) in [
            (json!({ "url": "redis://h", "tls": true }), "rediss://"),
            (json!({ "url": "rediss://h", "tls": false }), "contradicts"),
            (
                json!({ "url": "rediss://h", "tls": { "verify": false } }),
                "always verified",
            ),
            (json!("rediss://h/#insecure"), "no such URL"),
            (json!(7), "cache.redis"),
        ] {
            let found = problems(redis);
            assert!(found[0].contains(part), "{found:?}");
        }
        assert!(problems(json!({ "url": "rediss://h", "tls": true })).is_empty());
    }
}
