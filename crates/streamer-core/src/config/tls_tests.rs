//! Tests of encryption: defaults, contradictions, and files.

use std::fs;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;

use super::*;
use crate::config::refusals::problems_of;
use crate::config::{Config, ConnectorConfig};

fn mode(value: Value) -> TlsMode {
    let config = Config::parse(&value).unwrap_or_else(|error| panic!("{value}: {error}"));
    match config.sources.into_iter().next().unwrap().connector {
        ConnectorConfig::Mysql(mysql) => mysql.tls,
        ConnectorConfig::Mongodb(_) | ConnectorConfig::Sqlite(_) => panic!("a source of MySQL"),
    }
}

fn required(verify: Option<VerifyTls>) -> TlsMode {
    TlsMode::Required {
        authorities: None,
        identity: None,
        verify,
    }
}

/// A certificate and its key as PEM.
fn pair() -> (String, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["db.test".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

#[test]
fn what_leaves_this_computer_is_encrypted_and_verified_unless_asked_otherwise() {
    let (identity, authority) = (Some(VerifyTls::Identity), Some(VerifyTls::Authority));
    let cases = [
        ("mysql://localhost", TlsMode::Off),
        ("mysql://127.9.9.9", TlsMode::Off),
        ("mysql://[::1]", TlsMode::Off),
        ("mysql://%2Ftmp%2Fs", TlsMode::Off),
        ("mysql://localhost,db", required(identity)),
        ("mysql://10.0.0.1", required(identity)),
        ("mysql://db", required(identity)),
        ("mysql://db?ssl-mode=disabled", TlsMode::Off),
        ("mysql://db?sslmode=Preferred", TlsMode::Preferred),
        ("mysql://db?sslMode=REQUIRED", required(None)),
        ("mysql://db?ssl_mode=verify-ca", required(authority)),
        ("mysql://localhost?ssl-mode=VERIFY_IDENTITY", required(identity)),
    ];
    for (url, expected) in cases {
        assert_eq!(mode(json!(url)), expected, "{url}");
    }
}

#[test]
fn option_and_url_may_agree() {
    let cases = [
        ("mysql://db", json!(false), TlsMode::Off),
        (
            "mysql://localhost",
            json!(true),
            required(Some(VerifyTls::Identity)),
        ),
        (
            "mysql://localhost",
            json!({}),
            required(Some(VerifyTls::Identity)),
        ),
        ("mysql://db", json!({ "verify": false }), required(None)),
        (
            "mysql://db?ssl-mode=REQUIRED",
            json!({ "verify": false }),
            required(None),
        ),
        ("mysql://db?ssl-mode=DISABLED", json!(false), TlsMode::Off),
        (
            "mysql://db?ssl-mode=VERIFY_CA",
            json!(true),
            required(Some(VerifyTls::Authority)),
        ),
    ];
    for (url, tls, expected) in cases {
        assert_eq!(mode(json!({ "url": url, "tls": tls })), expected, "{url} {tls}");
    }
}

#[test]
fn pem_arrives_as_text_or_as_file() {
    let (certificate, key) = pair();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ca_file, key_file) = (file("ca.pem", &certificate), file("key.pem", &key));
    let expected = TlsMode::Required {
        authorities: Some(certificate.clone().into_bytes()),
        identity: Some((certificate.clone().into_bytes(), Secret::new(key.clone()))),
        verify: Some(VerifyTls::Identity),
    };
    let url = "mysql://db";
    let texts = json!({ "url": url, "tls": { "ca": certificate, "cert": certificate, "key": key } });
    let files = json!({ "url": url, "tls": { "ca": ca_file, "cert": ca_file, "key": key_file } });
    let in_url = json!(format!(
        "{url}?ssl-ca={ca_file}&ssl-cert={ca_file}&ssl-key={key_file}"
    ));
    for value in [texts, files, in_url] {
        assert_eq!(mode(value), expected);
    }
}

#[test]
fn every_wrong_encryption_is_refused_with_what_was_expected() {
    let (certificate, key) = pair();
    let (_, other_key) = pair();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    fs::write(directory.path().join("empty.pem"), "").unwrap();
    fs::write(directory.path().join("binary.pem"), [0xff, 0xfe]).unwrap();
    fs::write(
        directory.path().join("huge.pem"),
        vec![b'x'; MAX_PEM_BYTES as usize + 1],
    )
    .unwrap();
    let damaged = certificate.replacen("MI", "**", 1);
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let flat = certificate.replace('\n', "\\n");
    let secret = "MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8Q";
    let contradiction = "tls: contradicts the ssl- parameters of the URL, leave one of them out".to_owned();
    let cases = [
        ("", json!("yes"), "tls: expected true, false or an object, found \"yes\"".to_owned()),
        ("", json!(null), "tls: expected true, false or an object, found null".to_owned()),
        ("", json!({ "$unsupported": "function" }), "tls: expected an object, found a function".to_owned()),
        ("", json!({ "caa": "x" }), "tls.caa: unknown option, did you mean \"ca\"?".to_owned()),
        ("", json!({ "rejectUnauthorized": false }), "tls.rejectUnauthorized: unknown option, did you mean \"verify\"?".to_owned()),
        ("", json!({ "verify": 0 }), "tls.verify: expected true or false, found 0".to_owned()),
        ("", json!({ "ca": "" }), "tls.ca: expected PEM text or the path of a PEM file, found an empty text".to_owned()),
        ("", json!({ "ca": ["x"] }), "tls.ca: expected PEM text or the path of a PEM file, found an array".to_owned()),
        ("", json!({ "ca": certificate, "verify": false }), "tls.ca: has no effect with verify: false, leave one of them out".to_owned()),
        ("", json!({ "cert": certificate }), "tls.cert: a certificate and its key belong together, key is missing".to_owned()),
        ("", json!({ "key": key }), "tls.key: a certificate and its key belong together, cert is missing".to_owned()),
        ("", json!({ "cert": certificate, "key": other_key }), "tls.key: does not fit the certificate".to_owned()),
        ("", json!({ "cert": certificate, "key": certificate }), "tls.key: holds no private key in PEM form".to_owned()),
        ("", json!({ "cert": certificate, "key": locked }), "tls.key: is protected by a passphrase, expected a key without one".to_owned()),
        ("", json!({ "ca": key }), "tls.ca: holds no certificate in PEM form".to_owned()),
        ("", json!({ "ca": damaged }), "tls.ca: is damaged, expected certificates in PEM form".to_owned()),
        ("", json!({ "ca": flat }), "tls.ca: the line breaks of the PEM text arrived as \\n, expected real ones".to_owned()),
        ("", json!({ "ca": format!("{path}/no.pem") }), format!("tls.ca: cannot read the file \"{path}/no.pem\", No such file or directory")),
        ("", json!({ "ca": path }), format!("tls.ca: cannot read the file \"{path}\", it is not a file")),
        ("", json!({ "ca": format!("{path}/empty.pem") }), "tls.ca: holds no certificate in PEM form".to_owned()),
        ("", json!({ "ca": format!("{path}/binary.pem") }), format!("tls.ca: cannot read the file \"{path}/binary.pem\", it is not PEM text")),
        ("", json!({ "ca": format!("{path}/huge.pem") }), format!("tls.ca: cannot read the file \"{path}/huge.pem\", it has more than 1048576 bytes")),
        ("", json!({ "cert": certificate, "key": secret }), "tls.key: cannot read the file (its name is not shown, since it may hold a secret), No such file or directory".to_owned()),
        ("?ssl-mode=DISABLED", json!(true), contradiction.clone()),
        ("?ssl-mode=PREFERRED", json!(true), contradiction.clone()),
        ("?ssl-mode=REQUIRED", json!(true), contradiction.clone()),
        ("?ssl-mode=VERIFY_CA", json!({}), contradiction.clone()),
        ("?ssl-mode=REQUIRED", json!(false), contradiction),
        ("?ssl-mode=DISABLED&ssl-ca=x", json!(false), "url: ssl-ca, ssl-cert and ssl-key need ssl-mode REQUIRED, VERIFY_CA or VERIFY_IDENTITY".to_owned()),
        ("?ssl-mode=REQUIRED&ssl-ca=x", json!({ "verify": false }), "url: ssl-ca has no effect with ssl-mode REQUIRED, expected VERIFY_CA or VERIFY_IDENTITY".to_owned()),
        ("?ssl-ca=/no/ca.pem", json!(true), "url: ssl-ca: cannot read the file \"/no/ca.pem\", No such file or directory".to_owned()),
    ];
    for (parameters, tls, expected) in cases {
        let value = json!({ "url": format!("mysql://db/shop{parameters}"), "tls": tls });
        assert_eq!(problems_of(&value).join("\n"), expected);
    }
    let lonely = json!(format!("mysql://db?ssl-key={path}/empty.pem"));
    assert_eq!(
        problems_of(&lonely),
        ["url: ssl-key: holds no private key in PEM form"]
    );
}
