//! Tests of the options of a MongoDB source.

use serde_json::{Value, json};

use super::*;
use crate::config::Config;

fn parsed(value: Value) -> MongodbConfig {
    let mut config = Config::parse(&value).unwrap();
    match config.sources.pop().unwrap().connector {
        ConnectorConfig::Mongodb(mongodb) => mongodb,
        other => panic!("{other:?}"),
    }
}

fn refused(value: Value) -> String {
    Config::parse(&value).expect_err("a refusal").message().to_owned()
}

#[test]
fn a_url_is_enough() {
    let config = parsed(json!("mongodb://127.0.0.1:27017,localhost/shop?replicaSet=rs0"));
    assert_eq!(config.database.as_deref(), Some("shop"));
    assert_eq!(config.tls, Some(TlsMode::Off));
    assert_eq!(config.full_document, FullDocument::Default);
    assert_eq!(config.before_change, BeforeChange::Off);
}

#[test]
fn a_connection_that_leaves_the_computer_is_encrypted_unless_the_url_says_otherwise() {
    let remote = parsed(json!("mongodb://db.example.com/shop"));
    assert!(matches!(
        remote.tls,
        Some(TlsMode::Required { verify: Some(_), .. })
    ));
    assert_eq!(parsed(json!("mongodb://db.example.com/shop?tls=false")).tls, None);
    assert_eq!(
        parsed(json!("mongodb+srv://u:p@cluster.example.com/shop")).tls,
        None
    );
    let plain = parsed(json!({ "url": "mongodb://db.example.com/shop", "tls": false }));
    assert_eq!(plain.tls, Some(TlsMode::Off));
}

#[test]
fn all_problems_are_told_at_once_with_their_places() {
    let message = refused(json!({
        "source": {
            "url": "mongodb://localhost/shop",
            "serverId": 3,
            "fullDocument": "updatelookup",
            "fullDocumentBeforeChange": true,
            "log": "opplog",
            "pipeline": [{ "$match": {} }, { "$unset": "_id" }, { "a": 1, "b": 2 }, 5],
        }
    }));
    for part in [
        "source.serverId: unknown option, a MongoDB source has no such option",
        "source.fullDocument: expected",
        "did you mean \"updateLookup\"",
        "source.fullDocumentBeforeChange: expected",
        "source.log: expected",
        "source.pipeline[1]: removes or changes _id",
        "source.pipeline[2]: expected a stage with one operator",
        "source.pipeline[3]: expected a stage, found 5",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(!message.contains("pipeline[0]"), "{message}");
}

#[test]
fn the_oplog_has_no_images_and_no_pipeline() {
    assert_eq!(
        parsed(json!("mongodb://localhost/shop")).log,
        MongodbLog::ChangeStream
    );
    let source = json!({ "url": "mongodb://localhost/shop", "log": "oplog", "fullDocument": "updateLookup", "pipeline": [] });
    assert_eq!(parsed(json!({ "source": source })).log, MongodbLog::Oplog);
    let message = refused(json!({
        "source": {
            "url": "mongodb://localhost/shop",
            "log": "oplog",
            "fullDocument": "required",
            "fullDocumentBeforeChange": "whenAvailable",
            "pipeline": [{ "$match": {} }],
        }
    }));
    for part in [
        "source.fullDocument: the oplog holds no images",
        "source.fullDocumentBeforeChange: the oplog holds no images",
        "source.pipeline: no pipeline runs over the oplog",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn stages_that_remove_the_token_are_seen() {
    let stages = [
        (json!({ "$project": { "_id": 0 } }), true),
        (json!({ "$project": { "_id": false, "ns": 1 } }), true),
        (json!({ "$project": { "_id": 1, "ns": 1 } }), false),
        (json!({ "$project": { "fullDocument.secret": 0 } }), false),
        (json!({ "$unset": ["a", "_id._data"] }), true),
        (json!({ "$addFields": { "_id": "$a" } }), true),
        (json!({ "$set": { "fullDocument._id": 1 } }), false),
    ];
    for (stage, removes) in stages {
        assert_eq!(removes_id(stage.as_object().unwrap()), removes, "{stage}");
    }
}

#[test]
fn no_part_of_a_password_is_shown() {
    for url in [
        "mongodb://user:hunter2@@host/db",
        "mongodb://user:hun/ter2@host/db",
        "mongodb://user:hun%zzter2@host/db",
        "mongodb://user:hunter2@host:99999/db",
        "mongodb://user:hunter2@host/db?authMechanism=NONE",
        "mongodb://user:hunter2@host/db?tls=x&tlsCertificateKeyFilePassword=hunter2",
    ] {
        let message = refused(json!(url));
        for secret in ["hun", "ter2"] {
            assert!(!message.contains(secret), "{message}");
        }
        assert!(message.contains("url: "), "{message}");
    }
    let shown = format!("{:?}", parsed(json!("mongodb://user:hunter2@localhost/db")));
    assert!(!shown.contains("hunter2"), "{shown}");
}
