//! Tests of what is wrong with a URL; what is right is tested with the whole configuration.

use serde_json::json;

use crate::config::refusals::problems_of;

const SHAPE: &str = "expected mysql://user:password@host:3306/database";
const ENCODE: &str = "a reserved character in user or password must be percent-encoded \
                      (@ is %40, : is %3A, / is %2F, # is %23, ? is %3F, % is %25)";

fn assert_refused(cases: &[(&str, String)]) {
    for (url, expected) in cases {
        assert_eq!(problems_of(&json!(url)), [format!("url: {expected}")], "of {url}");
        let listed = problems_of(&json!({ "sources": { "a": { "url": url } } }));
        assert_eq!(listed, [format!("sources.a.url: {expected}")], "of {url}");
    }
}

#[test]
fn an_empty_long_or_spaced_url_is_refused_with_what_was_expected() {
    let space = "white space and control characters in a URL must be percent-encoded (a space is %20)";
    let cases = [
        ("", format!("{SHAPE}, found an empty text")),
        (
            " mysql://h",
            "expected a URL without white space before or behind it".into(),
        ),
        (
            "mysql://h/db\n",
            "expected a URL without white space before or behind it".into(),
        ),
        ("mysql://u:p w@h", space.into()),
        ("mysql://u:p\u{0}w@h", space.into()),
        (
            &format!("mysql://{}", "h".repeat(8192)),
            "expected a URL of at most 8192 bytes, found 8200".into(),
        ),
    ];
    assert_refused(&cases);
}

#[test]
fn a_wrong_scheme_is_refused_with_what_was_expected() {
    let cases = [
        ("localhost", format!("{SHAPE}, found a text without scheme")),
        (
            "localhost:3306/db",
            format!("{SHAPE}, found a text without scheme"),
        ),
        ("mysql:host", format!("{SHAPE}, found no // behind the scheme")),
        ("mysql:/host", format!("{SHAPE}, found no // behind the scheme")),
        (
            "://h",
            "unknown scheme, expected mysql://, mariadb:// or mongodb://".into(),
        ),
        ("mysq://h", "unknown scheme, did you mean mysql://?".into()),
        (
            "oracle://h",
            "unknown scheme, expected mysql://, mariadb:// or mongodb://".into(),
        ),
        (
            "postgres://h/db",
            "PostgreSQL is not supported, expected mysql://, mariadb:// or mongodb://".into(),
        ),
        (
            "file:file.db",
            "expected sqlite:path/to/file.db for a SQLite database".into(),
        ),
        (
            "https://h",
            "expected the address of a database, mysql:// or mariadb://, found that of a web server".into(),
        ),
        (
            "jdbc:mysql://h",
            "expected mysql://, mariadb:// or mongodb:// without jdbc: before it".into(),
        ),
        (
            "mysql+pymysql://h",
            "expected mysql://, mariadb:// or mongodb:// without the name of a driver".into(),
        ),
        (
            "mysqlx://h",
            "the X protocol is not supported, expected mysql:// and the port of the classic protocol (3306)"
                .into(),
        ),
        (
            "redis://h",
            "Redis is no source, expected mysql://, mariadb:// or mongodb://".into(),
        ),
    ];
    assert_refused(&cases);
}

#[test]
fn a_missing_host_is_refused_with_what_was_expected() {
    let cases = [
        ("mysql://", format!("{SHAPE}, found no host")),
        ("mysql:///db", format!("{SHAPE}, found no host")),
        ("mysql://u:p@", format!("{SHAPE}, found no host")),
        ("mysql://u:p@/db", format!("{SHAPE}, found no host")),
        ("mysql://u@:3306", format!("{SHAPE}, found no host")),
        ("mysql://h1,/db", format!("{SHAPE}, found no host")),
        ("mysql://h1,,h2", format!("{SHAPE}, found no host")),
        (
            &format!("mysql://{}", ["h"; 33].join(",")),
            "expected at most 32 hosts".into(),
        ),
    ];
    assert_refused(&cases);
}

#[test]
fn a_wrong_part_of_a_url_is_refused_with_what_was_expected() {
    let port = "expected a port from 1 to 65535 behind the host, and the host behind user:password@";
    let name = "expected a host's name or address, found characters that neither can hold";
    let cases = [
        ("mysql://u:p@ss@h/db", ENCODE.into()),
        ("mysql://u:p/ss@h/db", ENCODE.into()),
        ("mysql://u:p#ss@h/db", ENCODE.into()),
        ("mysql://u:p?ss@h/db", ENCODE.into()),
        ("mysql://u:p:ss@h/db", ENCODE.into()),
        (
            "mysql://h/db#x",
            "a # in a URL must be percent-encoded as %23".into(),
        ),
        (
            "mysql://u:100%@h",
            "the password has a % that begins no escape, a % itself must be percent-encoded as %25".into(),
        ),
        (
            "mysql://u%4:p@h",
            "the user has a % that begins no escape, a % itself must be percent-encoded as %25".into(),
        ),
        (
            "mysql://u:%ff@h",
            "the password is not UTF-8 behind its percent-encoding".into(),
        ),
        ("mysql://u:%00@h", "the password holds a zero byte".into()),
        ("mysql://user:secret", port.into()),
        ("mysql://u@h:", port.into()),
        ("mysql://u@h:0", port.into()),
        ("mysql://u@h:65536", port.into()),
        ("mysql://u@h:+80", port.into()),
        (
            "mysql://u@::1",
            "expected an IPv6 address in brackets, as in mysql://user@[::1]:3306/database".into(),
        ),
        ("mysql://u@[::1", "expected a ] behind an IPv6 address".into()),
        (
            "mysql://u@[x]",
            "expected an IPv6 address between the brackets".into(),
        ),
        (
            "mysql://u@[::1]3306",
            "expected a : and a port behind the ] of an IPv6 address".into(),
        ),
        ("mysql://h^st", name.into()),
        ("mysql://h%20st", name.into()),
        ("mysql://1.2.3.4.5", name.into()),
        (&format!("mysql://{}", "h".repeat(254)), name.into()),
    ];
    assert_refused(&cases);
}

#[test]
fn a_wrong_database_or_parameter_is_refused_with_what_was_expected() {
    let known = "known are ssl-mode, ssl-ca, ssl-cert, ssl-key, socket";
    let modes = "\"DISABLED\" or \"PREFERRED\" or \"REQUIRED\" or \"VERIFY_CA\" or \"VERIFY_IDENTITY\"";
    let socket = "expected either a host or the parameter socket, whose only host is localhost";
    let cases = [
        (
            "mysql://h/a/b",
            "expected one database behind the host, a / in its name must be percent-encoded as %2F".into(),
        ),
        (
            "mysql://h/%80",
            "the database is not UTF-8 behind its percent-encoding".into(),
        ),
        (
            &format!("mysql://h/{}", "d".repeat(65)),
            "the name of a database has at most 64 characters".into(),
        ),
        (
            "mysql://h?sslmod=REQUIRED",
            "unknown parameter \"sslmod\" in the URL, did you mean ssl-mode?".into(),
        ),
        (
            "mysql://h?hunter2",
            format!("unknown parameter in the URL, {known}"),
        ),
        (
            "mysql://h?charset=utf8",
            format!("unknown parameter \"charset\" in the URL, {known}"),
        ),
        (
            "mysql://h?ssl-mode=REQUIRED&sslMode=REQUIRED",
            "the parameter ssl-mode stands twice in the URL".into(),
        ),
        ("mysql://h?ssl-ca", "the parameter ssl-ca has no value".into()),
        (
            "mysql://h?ssl-mode=VERIFY_IDENTITI",
            format!(
                "ssl-mode: expected {modes}, found \"VERIFY_IDENTITI\", did you mean \"VERIFY_IDENTITY\"?"
            ),
        ),
        ("mysql://h?socket=/tmp/s", socket.into()),
        ("mysql://localhost,::1?socket=/tmp/s", socket.into()),
        (
            "mysql://localhost?socket=tmp/s",
            "expected the whole path of a socket, beginning with /".into(),
        ),
        ("mysql://u@%2ftmp%00/db", "the socket holds a zero byte".into()),
    ];
    assert_refused(&cases);
}

#[test]
fn several_mistakes_of_a_url_are_reported_together() {
    let problems = problems_of(&json!({ "source": "mysql://u:%zz@h:x/a/b?color=red" }));
    assert_eq!(problems.len(), 4, "{problems:?}");
}
