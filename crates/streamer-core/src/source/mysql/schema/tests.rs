//! What needs no server: lexing, redaction, what must not be understood, verification.

use proptest::prelude::*;

use super::ddl::{Effect, Session, SqlMode, parse, redact};
use super::{Aspect, Catalog, Happened, LoggedColumns, Mismatch, TableDefinition, TableName, agrees};
use crate::source::mysql::link::Flavor;

fn mysql() -> Session<'static> {
    Session {
        database_charset: Some("utf8mb4"),
        ..Session::new(Flavor::Mysql, (8, 4, 0), "shop")
    }
}

fn mariadb() -> Session<'static> {
    Session {
        flavor: Flavor::Mariadb,
        version: (10, 11, 2),
        ..mysql()
    }
}

fn created(sql: &str, session: &Session<'_>) -> Option<TableDefinition> {
    let mut catalog = Catalog::new(false);
    catalog.apply(&parse(sql, session), session);
    let (name, _) = catalog.tables().next()?;
    let name = name.clone();
    catalog
        .known(&name.database, &name.table)
        .map(|definition| (**definition).clone())
}

fn names(sql: &str, session: &Session<'_>) -> Vec<String> {
    let definition = created(sql, session).expect(sql);
    definition
        .columns
        .iter()
        .map(|column| column.name.to_string())
        .collect()
}

#[test]
fn comments_run_where_the_server_runs_them() {
    let sql = "CREATE TABLE t (a int -- one, x int\n, b int # two, y int\n /* , z int */ /*!80000 , c int */ \
               /*!50799 , d int */ /*M!100000 , e int */ /*!999999 , f int */)";
    assert_eq!(names(sql, &mysql()), ["a", "b", "c", "d"]);
    assert_eq!(names(sql, &mariadb()), ["a", "b", "e"]);
}

#[test]
fn sql_mode_decides_what_quotes_and_backslashes_mean() {
    let ansi = Session {
        sql_mode: SqlMode(4),
        ..mysql()
    };
    assert_eq!(names(r#"CREATE TABLE t ("a""b" int)"#, &ansi), ["a\"b"]);
    assert_eq!(created(r#"CREATE TABLE t ("a" int)"#, &mysql()), None);
    let plain = Session {
        sql_mode: SqlMode(1 << 20),
        ..mysql()
    };
    assert_eq!(
        names(r"CREATE TABLE t (a int comment '\', b int)", &plain),
        ["a", "b"]
    );
    assert_eq!(
        names(r"CREATE TABLE t (a int comment '\', b int', c int)", &mysql()),
        ["a", "c"]
    );
}

#[test]
fn names_may_begin_with_digits_and_follow_a_point() {
    assert_eq!(
        names("CREATE TABLE 1db.2t (3a int, 4ex int, `0x1` int)", &mysql()),
        ["3a", "4ex", "0x1"]
    );
    assert_eq!(
        names(
            "CREATE TABLE t (a float DEFAULT .5, b float DEFAULT 4e5)",
            &mysql()
        ),
        ["a", "b"]
    );
}

#[test]
fn what_is_not_understood_names_its_tables() {
    for sql in [
        "CREATE TABLE t (a int) SELECT 1",
        "CREATE TABLE t AS SELECT 1",
        "CREATE TABLE t (a newtype)",
        "CREATE TABLE t (a int FUTURE_ATTRIBUTE)",
        "ALTER TABLE t FROBNICATE",
        "ALTER TABLE t ADD a int, DO SOMETHING b",
        "ALTER TABLE t ADD a varchar(3) comment 'open",
        "CREATE TABLE t (a int",
        "CREATE TABLE t (a int) /*!80000 open",
        "DROP TABLE t FOREVER",
        "TRUNCATE TABLE t, u",
    ] {
        let tables = vec![TableName::new("shop", "t")];
        assert_eq!(
            parse(sql, &mysql()).effects,
            [Effect::Unclear { tables }],
            "{sql}"
        );
    }
    assert_eq!(
        parse("CREATE FROBNICATOR x", &mysql()).effects,
        [Effect::Unclear { tables: vec![] }]
    );
}

#[test]
fn other_types_of_a_mode_are_not_guessed() {
    let oracle = Session {
        sql_mode: SqlMode(1 << 9),
        ..mariadb()
    };
    assert_eq!(created("CREATE TABLE t (a date)", &oracle), None);
}

#[test]
fn a_text_column_without_a_known_character_set_is_unknown() {
    let session = Session {
        database_charset: None,
        ..mysql()
    };
    assert_eq!(created("CREATE TABLE t (a varchar(3))", &session), None);
    assert!(created("CREATE TABLE t (a int)", &session).is_some());
}

#[test]
fn statements_that_concern_no_table_have_no_effect() {
    for sql in [
        "",
        ";",
        "/* nothing */",
        "GRANT ALL ON *.* TO a",
        "CREATE USER a",
        "FLUSH TABLES",
        "CREATE TEMPORARY TABLE t (a int)",
    ] {
        assert_eq!(parse(sql, &mysql()).effects, [], "{sql}");
    }
}

#[test]
fn what_may_be_a_view_says_so() {
    for sql in [
        "DROP VIEW IF EXISTS v, w",
        "CREATE VIEW v AS SELECT 'open",
        "CREATE OR REPLACE ALGORITHM=MERGE DEFINER=`a`@`%` SQL SECURITY INVOKER VIEW `v` AS SELECT 1",
        "ALTER SQL SECURITY DEFINER VIEW v AS SELECT 1",
        // By its first word it may be one.
        "CREATE DEFINER=`a`@`%` TRIGGER t BEFORE INSERT ON x FOR EACH ROW BEGIN 'open",
    ] {
        assert_eq!(parse(sql, &mysql()).effects, [Effect::Views], "{sql}");
    }
}

#[test]
fn an_alter_that_does_not_fit_loses_the_table() {
    for clause in [
        "DROP nothing",
        "CHANGE nothing b int",
        "ADD a int",
        "ADD b int AFTER nothing",
        "ADD PRIMARY KEY (z)",
    ] {
        let mut catalog = Catalog::new(false);
        let session = mysql();
        catalog.apply(&parse("CREATE TABLE t (a int)", &session), &session);
        let happened = catalog.apply(&parse(&format!("ALTER TABLE t {clause}"), &session), &session);
        assert!(
            happened.contains(&Happened::Lost(TableName::new("shop", "t"))),
            "{clause}: {happened:?}"
        );
        assert_eq!(catalog.known("shop", "t"), None, "{clause}");
    }
}

#[test]
fn names_fold_and_versions_grow() {
    let session = mysql();
    let mut catalog = Catalog::new(true);
    catalog.apply(&parse("CREATE TABLE Shop.Orders (a int)", &session), &session);
    let first = catalog.table_version("SHOP", "ORDERS").unwrap();
    catalog.apply(&parse("ALTER TABLE shop.ORDERS ADD KEY (a)", &session), &session);
    assert_eq!(catalog.table_version("shop", "orders"), Some(first));
    catalog.apply(&parse("ALTER TABLE shop.ORDERS ADD b int", &session), &session);
    assert!(catalog.table_version("shop", "orders").unwrap() > first);
}

#[test]
fn passwords_leave_statements() {
    for sql in [
        "CREATE USER a@'%' IDENTIFIED BY 'hunter2'",
        "CREATE USER 'a' IDENTIFIED WITH mysql_native_password AS 'hunter2', 'b' IDENTIFIED BY \"hunter2\"",
        "ALTER USER a IDENTIFIED WITH 'caching_sha2_password' BY 'hunter2' REPLACE 'hunter2' RETAIN CURRENT PASSWORD",
        "ALTER USER a IDENTIFIED VIA ed25519 USING PASSWORD('hunter2') OR unix_socket",
        "SET PASSWORD FOR 'a'@'%' = 'hunter2'",
        "SET PASSWORD = PASSWORD('hunter2')",
        "GRANT ALL ON *.* TO a IDENTIFIED BY 'hunter2' WITH GRANT OPTION",
        "GRANT ALL ON *.* TO a IDENTIFIED BY PASSWORD 'hunter2'",
        "CHANGE MASTER TO MASTER_HOST='h', MASTER_PASSWORD='hunter2', MASTER_USER='u'",
        "CHANGE REPLICATION SOURCE TO SOURCE_PASSWORD = 'hunter2'",
        "START REPLICA USER='u' PASSWORD='hunter2'",
        "CREATE TABLE t (a int) ENGINE=FEDERATED CONNECTION='mysql://u:hunter2@h/d/t'",
        "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (USER 'u', PASSWORD 'hunter2')",
        "CREATE USER a IDENTIFIED BY 'hunter2",
        "CREATE USER a IDENTIFIED WITH p AS 0x68756E746572",
    ] {
        for session in [mysql(), mariadb()] {
            let shown = redact(sql, &session);
            assert!(
                !shown.contains("hunter2") && !shown.contains("68756E"),
                "{sql} shows {shown}"
            );
        }
    }
    let harmless = "ALTER TABLE t ADD password varchar(3) DEFAULT 'x' COMMENT 'y'";
    assert_eq!(redact(harmless, &mysql()), harmless);
}

#[test]
fn a_table_map_is_compared_column_by_column() {
    let sql =
        "CREATE TABLE t (a int unsigned NOT NULL, b varchar(10), c char(200), d decimal(7,2), e enum('x'))";
    let definition = created(sql, &mysql()).unwrap();
    let logged = LoggedColumns {
        types: &[3, 15, 254, 246, 254],
        // CHAR(200) of four bytes: 800 = 0x320, bits 8 and 9 inverted in the type.
        metadata: &[0, 40, 0xce20, 0x0702, 0xf701],
        nullable: &[false, true, true, true, true],
        unsigned: Some(&[true, false, false, false, false]),
        collations: Some(&[None, Some(255), Some(45), None, None]),
    };
    assert_eq!(agrees(&definition, &logged), Ok(()));
    let differs = |logged: LoggedColumns<'_>, index: usize, what: Aspect| match agrees(&definition, &logged) {
        Err(Mismatch::Column {
            index: at,
            what: found,
            ..
        }) => assert_eq!((at, found), (index, what)),
        other => panic!("{other:?}"),
    };
    differs(
        LoggedColumns {
            types: &[8, 15, 254, 246, 254],
            ..logged
        },
        0,
        Aspect::Type,
    );
    differs(
        LoggedColumns {
            metadata: &[0, 30, 0xce20, 0x0702, 0xf701],
            ..logged
        },
        1,
        Aspect::Metadata,
    );
    differs(
        LoggedColumns {
            metadata: &[0, 40, 0xce20, 0x0703, 0xf701],
            ..logged
        },
        3,
        Aspect::Metadata,
    );
    differs(
        LoggedColumns {
            nullable: &[true; 5],
            ..logged
        },
        0,
        Aspect::Nullability,
    );
    differs(
        LoggedColumns {
            unsigned: Some(&[false; 5]),
            ..logged
        },
        0,
        Aspect::Signedness,
    );
    differs(
        LoggedColumns {
            collations: Some(&[None, Some(8), None, None, None]),
            ..logged
        },
        1,
        Aspect::Charset,
    );
    let short = LoggedColumns {
        types: &[3],
        ..logged
    };
    assert_eq!(
        agrees(&definition, &short),
        Err(Mismatch::Count {
            defined: 5,
            logged: 1
        })
    );
}

/// Text made of what statements are made of, so that it gets far into the parser.
fn statement() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("CREATE TABLE t ("),
        Just("ALTER TABLE t "),
        Just("ADD "),
        Just("MODIFY "),
        Just("CHANGE a b "),
        Just("a int "),
        Just("b varchar(3) "),
        Just("enum('x',"),
        Just("("),
        Just(")"),
        Just(","),
        Just("'"),
        Just("\""),
        Just("`"),
        Just("/*!"),
        Just("*/"),
        Just("PRIMARY KEY "),
        Just("DEFAULT "),
        Just("0x"),
        Just("."),
        Just("x'4"),
        Just("b'1'"),
        Just("\\"),
        Just("é"),
        Just("CHARSET "),
        Just("= "),
        Just("AFTER a "),
        Just("--"),
        Just("\n"),
        Just("PARTITION BY "),
        Just("IDENTIFIED BY 'p'"),
        Just("1e+"),
        Just("99999999999999999999 "),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in prop_oneof![statement(), any::<String>()], mode: u64) {
        for session in [mysql(), mariadb()] {
            let session = Session { sql_mode: SqlMode(mode), ..session };
            let statement = parse(&text, &session);
            statement.tables();
            Catalog::new(true).apply(&statement, &session);
            let _ = redact(&text, &session);
        }
    }
}
