//! The URL of a MySQL or MariaDB source.
//!
//! `mysql://user:password@host:3306,host2/database?ssl-mode=VERIFY_CA`. Divided by hand, since a list of hosts is no URL
//! of the standard, and since a reserved character that was left unencoded in a password must be noticed rather than
//! understood as something else. Hosts are read by the `url` crate. No message holds any part of the text but known
//! words and the names of parameters: what a mistake makes of a password cannot be foreseen.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use serde_json::Value;
use url::Host;

use super::problem::{Problems, expected_one_of, nearest, shown};
use super::{Address, Secret};

const DEFAULT_PORT: u16 = 3306;

/// Longest URL, in bytes.
const MAX_URL_BYTES: usize = 8192;

/// Most hosts of one URL.
const MAX_HOSTS: usize = 32;

/// Longest name of a database, in characters (reference manual, "Identifier Length Limits").
const MAX_DATABASE: usize = 64;

const SHAPE: &str = "expected mysql://user:password@host:3306/database";

const ENCODE: &str = "a reserved character in user or password must be percent-encoded \
                      (@ is %40, : is %3A, / is %2F, # is %23, ? is %3F, % is %25)";

/// What a URL says.
#[derive(Debug, Default)]
pub(super) struct ServerUrl {
    pub(super) addresses: Vec<Address>,
    pub(super) user: String,
    pub(super) password: Secret,
    pub(super) database: Option<String>,
    pub(super) tls: UrlTls,
}

/// The parameters of a URL that are about encryption.
#[derive(Debug, Default)]
pub(super) struct UrlTls {
    pub(super) mode: Option<SslMode>,
    pub(super) authorities: Option<String>,
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
}

/// `ssl-mode` as MySQL's own programs define it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SslMode {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

const SSL_MODES: [(&str, SslMode); 5] = [
    ("DISABLED", SslMode::Disabled),
    ("PREFERRED", SslMode::Preferred),
    ("REQUIRED", SslMode::Required),
    ("VERIFY_CA", SslMode::VerifyCa),
    ("VERIFY_IDENTITY", SslMode::VerifyIdentity),
];

const PARAMETERS: [&str; 5] = ["ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "socket"];

/// Parameters of the URLs of other drivers (mysql2, Connector/J, MariaDB, SQLAlchemy, Prisma, Go).
const FOREIGN_PARAMETERS: [&str; 22] = [
    "allowPublicKeyRetrieval",
    "charset",
    "characterEncoding",
    "collation",
    "compress",
    "connectTimeout",
    "connectionLimit",
    "connection_limit",
    "dateStrings",
    "loc",
    "multipleStatements",
    "parseTime",
    "password",
    "pool_timeout",
    "serverTimezone",
    "sslaccept",
    "sslidentity",
    "supportBigNumbers",
    "timezone",
    "tls",
    "user",
    "useSSL",
];

type Sentence = Cow<'static, str>;

/// Reads a URL; `None` where there was a problem.
pub(super) fn parse(text: &str, path: &str, problems: &mut Problems) -> Option<ServerUrl> {
    let parts = match divide(text) {
        Ok(parts) => parts,
        Err(sentence) => {
            problems.add(path, sentence);
            return None;
        }
    };
    let mut url = ServerUrl::default();
    let mut found = Vec::new();
    let mut note = |result: Result<(), Sentence>| found.extend(result.err());
    note(url.read_user(parts.user));
    note(url.read_database(parts.path));
    let mut socket = None;
    let mut seen = Vec::new();
    for pair in parts.query.split('&').filter(|pair| !pair.is_empty()) {
        note(url.read_parameter(pair, &mut seen, &mut socket));
    }
    note(match socket {
        Some(socket) => url.read_socket(parts.hosts, socket),
        None => url.read_hosts(parts.hosts),
    });
    let valid = found.is_empty();
    for sentence in found {
        problems.add(path, sentence);
    }
    valid.then_some(url)
}

/// A URL's parts, still encoded.
struct Parts<'a> {
    user: &'a str,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

fn divide(text: &str) -> Result<Parts<'_>, Sentence> {
    if text.is_empty() {
        return Err(format!("{SHAPE}, found an empty text").into());
    }
    if text.len() > MAX_URL_BYTES {
        return Err(format!(
            "expected a URL of at most {MAX_URL_BYTES} bytes, found {}",
            text.len()
        )
        .into());
    }
    if text.trim() != text {
        return Err("expected a URL without white space before or behind it".into());
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(
            "white space and control characters in a URL must be percent-encoded (a space is %20)".into(),
        );
    }
    let rest = without_scheme(text)?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if rest.contains('@') {
        // What looked like the end of the hosts was a character of the password.
        return Err(ENCODE.into());
    }
    if rest.contains('#') {
        return Err("a # in a URL must be percent-encoded as %23".into());
    }
    let (user, hosts) = match authority.split_once('@') {
        Some((_, hosts)) if hosts.contains('@') => return Err(ENCODE.into()),
        Some(divided) => divided,
        None => ("", authority),
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Ok(Parts {
        user,
        hosts,
        path: path.strip_prefix('/').unwrap_or(path),
        query,
    })
}

/// What follows `mysql://`, or what is wrong with the scheme.
fn without_scheme(text: &str) -> Result<&str, Sentence> {
    let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
    let scheme = scheme.to_ascii_lowercase();
    let sentence = match scheme.as_str() {
        "mysql" | "mariadb" => {
            return rest
                .strip_prefix("//")
                .ok_or_else(|| format!("{SHAPE}, found no // behind the scheme").into());
        }
        "postgres" | "postgresql" => {
            "PostgreSQL is not supported, expected mysql://, mariadb:// or mongodb://"
        }
        "sqlite3" | "file" => "expected sqlite:path/to/file.db for a SQLite database",
        "http" | "https" => {
            "expected the address of a database, mysql:// or mariadb://, found that of a web server"
        }
        "jdbc" => "expected mysql://, mariadb:// or mongodb:// without jdbc: before it",
        "mysqlx" => {
            "the X protocol is not supported, expected mysql:// and the port of the classic protocol (3306)"
        }
        "redis" | "rediss" => "Redis is no source, expected mysql://, mariadb:// or mongodb://",
        _ if scheme.starts_with("mysql+") || scheme.starts_with("mariadb+") || scheme == "mysql2" => {
            "expected mysql://, mariadb:// or mongodb:// without the name of a driver"
        }
        _ => match nearest(&scheme, &["mysql", "mariadb"]) {
            Some(nearest) if rest.starts_with("//") => {
                return Err(format!("unknown scheme, did you mean {nearest}://?").into());
            }
            _ if rest.starts_with("//") => "unknown scheme, expected mysql://, mariadb:// or mongodb://",
            _ => return Err(format!("{SHAPE}, found a text without scheme").into()),
        },
    };
    Err(sentence.into())
}

impl ServerUrl {
    fn read_user(&mut self, text: &str) -> Result<(), Sentence> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        if password.contains(':') {
            return Err(ENCODE.into());
        }
        self.user = decode(user, "the user")?;
        self.password = Secret::new(decode(password, "the password")?);
        Ok(())
    }

    fn read_database(&mut self, path: &str) -> Result<(), Sentence> {
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.contains('/') {
            return Err(
                "expected one database behind the host, a / in its name must be percent-encoded as %2F"
                    .into(),
            );
        }
        let database = decode(path, "the database")?;
        if database.chars().count() > MAX_DATABASE {
            return Err(format!("the name of a database has at most {MAX_DATABASE} characters").into());
        }
        self.database = Some(database).filter(|database| !database.is_empty());
        Ok(())
    }

    fn read_hosts(&mut self, text: &str) -> Result<(), Sentence> {
        if text.is_empty() {
            return Err(format!("{SHAPE}, found no host").into());
        }
        if text.split(',').count() > MAX_HOSTS {
            return Err(format!("expected at most {MAX_HOSTS} hosts").into());
        }
        for host in text.split(',') {
            self.addresses.push(parse_host(host)?);
        }
        Ok(())
    }

    /// The `socket` parameter; the host may only repeat that the server is on this computer.
    fn read_socket(&mut self, hosts: &str, socket: String) -> Result<(), Sentence> {
        let local = hosts.is_empty()
            || (!hosts.contains(',') && parse_host(hosts)?.is_local() && !encodes_path(hosts));
        if !local {
            return Err(
                "expected either a host or the parameter socket, whose only host is localhost".into(),
            );
        }
        self.addresses.push(socket_address(socket)?);
        Ok(())
    }

    fn read_parameter<'a>(
        &mut self,
        pair: &'a str,
        seen: &mut Vec<&'static str>,
        socket: &mut Option<String>,
    ) -> Result<(), Sentence> {
        let (name, value): (&'a str, &'a str) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
        let Some(known) = PARAMETERS
            .iter()
            .copied()
            .find(|known| plain(known) == plain(name))
        else {
            return Err(unknown_parameter(name));
        };
        if seen.contains(&known) {
            return Err(format!("the parameter {known} stands twice in the URL").into());
        }
        seen.push(known);
        let value = decode(value, &format!("the parameter {known}"))?;
        if value.is_empty() {
            return Err(format!("the parameter {known} has no value").into());
        }
        match known {
            "ssl-mode" => self.tls.mode = Some(parse_mode(&value)?),
            "ssl-ca" => self.tls.authorities = Some(value),
            "ssl-cert" => self.tls.certificate = Some(value),
            "ssl-key" => self.tls.key = Some(value),
            _ => *socket = Some(value),
        }
        Ok(())
    }
}

/// Shows only names that are like one of ours, or that other drivers know: behind an unencoded ? stands what was meant as
/// the rest of a password.
fn unknown_parameter(name: &str) -> Sentence {
    let nearest = nearest(name, &PARAMETERS);
    let foreign = FOREIGN_PARAMETERS
        .iter()
        .any(|foreign| foreign.eq_ignore_ascii_case(name));
    let shown = if nearest.is_some() || foreign {
        format!(" {}", shown(name))
    } else {
        String::new()
    };
    let advice = match nearest {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("known are {}", PARAMETERS.join(", ")),
    };
    format!("unknown parameter{shown} in the URL, {advice}").into()
}

fn parse_mode(text: &str) -> Result<SslMode, Sentence> {
    let upper = text.to_ascii_uppercase().replace('-', "_");
    let names = SSL_MODES.map(|(name, _)| name);
    SSL_MODES
        .iter()
        .find(|(name, _)| *name == upper)
        .map(|(_, mode)| *mode)
        .ok_or_else(|| format!("ssl-mode: {}", expected_one_of(&names, &Value::from(text))).into())
}

/// `host`, `host:port`, `[::1]:port`, or a socket's path with its slashes encoded.
fn parse_host(text: &str) -> Result<Address, Sentence> {
    if encodes_path(text) {
        return socket_address(decode(text, "the socket")?);
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let Some((host, behind)) = bracketed.split_once(']') else {
                return Err("expected a ] behind an IPv6 address".into());
            };
            if host.parse::<Ipv6Addr>().is_err() {
                return Err("expected an IPv6 address between the brackets".into());
            }
            match (behind.strip_prefix(':'), behind) {
                (port, "") | (port @ Some(_), _) => (host.to_owned(), port),
                _ => return Err("expected a : and a port behind the ] of an IPv6 address".into()),
            }
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            if port.is_some_and(|port| port.contains(':')) {
                return Err(
                    "expected an IPv6 address in brackets, as in mysql://user@[::1]:3306/database".into(),
                );
            }
            (parse_name(host)?, port)
        }
    };
    let port = port.map_or(Ok(DEFAULT_PORT), parse_port)?;
    Ok(Address::Tcp { host, port })
}

/// A host's name (in ASCII form) or IPv4 address.
fn parse_name(text: &str) -> Result<String, Sentence> {
    if text.is_empty() {
        return Err(format!("{SHAPE}, found no host").into());
    }
    match Host::parse(text) {
        Ok(Host::Domain(name)) if name.len() <= 253 => Ok(name),
        Ok(Host::Ipv4(address)) => Ok(address.to_string()),
        _ => Err("expected a host's name or address, found characters that neither can hold".into()),
    }
}

fn parse_port(text: &str) -> Result<u16, Sentence> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|port| digits && *port > 0)
        .ok_or_else(|| {
            // Not shown: in mysql://user:password it would be the password.
            "expected a port from 1 to 65535 behind the host, and the host behind user:password@".into()
        })
}

/// Whether a host is in truth a path: `%2Frun%2Fmysqld%2Fmysqld.sock`.
fn encodes_path(host: &str) -> bool {
    host.get(..3)
        .is_some_and(|start| start.eq_ignore_ascii_case("%2f"))
}

fn socket_address(path: String) -> Result<Address, Sentence> {
    if path.starts_with('/') {
        Ok(Address::Socket(PathBuf::from(path)))
    } else {
        Err("expected the whole path of a socket, beginning with /".into())
    }
}

/// The text behind percent-encoding. A `+` is a `+`; what is no escape, no UTF-8, or a zero byte is refused.
fn decode(text: &str, what: &str) -> Result<String, Sentence> {
    let hexadecimal = |digit: Option<char>| digit.is_some_and(|digit| digit.is_ascii_hexdigit());
    let escapes = text.split('%').skip(1).all(|behind| {
        let mut characters = behind.chars();
        hexadecimal(characters.next()) && hexadecimal(characters.next())
    });
    if !escapes {
        return Err(format!(
            "{what} has a % that begins no escape, a % itself must be percent-encoded as %25"
        )
        .into());
    }
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) if decoded.contains('\0') => Err(format!("{what} holds a zero byte").into()),
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(format!("{what} is not UTF-8 behind its percent-encoding").into()),
    }
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
