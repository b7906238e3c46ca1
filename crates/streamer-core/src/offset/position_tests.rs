//! Tests of the text of positions.

use proptest::prelude::*;

use super::*;
use crate::offset::MariadbGtid;

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

fn offset(kind: u8, numbers: &[u64], name: &str) -> Offset {
    match kind {
        0 => {
            let parts: Vec<_> = numbers
                .iter()
                .map(|number| format!("{UUID}:{}", number + 1))
                .collect();
            Offset::MysqlGtid(GtidSet::parse(&parts.join(",")).unwrap())
        }
        1 => {
            let gtid = |n: &u64| MariadbGtid {
                domain: *n as u32 % 7,
                server: *n as u32,
                sequence: *n,
            };
            Offset::MariadbGtid(numbers.iter().map(gtid).collect())
        }
        _ => Offset::MysqlFile {
            server: UUID.into(),
            file: name.into(),
            offset: numbers.len() as u64,
        },
    }
}

fn position() -> impl Strategy<Value = Position> {
    let numbers = proptest::collection::vec(0..1000_u64, 0..20);
    let within = proptest::option::of(("[!-~]{1,40}", any::<u32>()));
    (0..3_u8, numbers, "\\PC{0,20}", any::<bool>(), within).prop_map(
        |(kind, numbers, name, twice, within)| Position {
            start: offset(kind, &numbers, &name),
            delivered: twice.then(|| offset(kind, &numbers[numbers.len() / 2..], "b")),
            within: within.map(|(transaction, changes)| Within {
                transaction: transaction.into(),
                changes,
            }),
        },
    )
}

#[test]
fn texts_are_readable_and_stay_as_they_are() {
    let gtids = Offset::MysqlGtid(GtidSet::parse(&format!("{UUID}:1-77:audit:4")).unwrap());
    let file = Offset::MysqlFile {
        server: UUID.into(),
        file: "ä:~+ b.000003".into(),
        offset: 1547,
    };
    let list = Offset::MariadbGtid(MariadbGtidList::parse("0-1-100,1-2-5").unwrap());
    let within = Within {
        transaction: format!("{UUID}:78").into(),
        changes: 12,
    };
    let plain = |start| Position {
        start,
        delivered: None,
        within: None,
    };
    let cases = [
        (
            plain(gtids.clone()),
            format!("mysql:{UUID}:1-77:audit:4~5f55b971"),
        ),
        (plain(list.clone()), "mariadb:0-1-100,1-2-5~70022d51".to_owned()),
        (
            plain(file),
            format!("mysql-file:{UUID}:%C3%A4%3A%7E%2B%20b.000003:1547~c9131d74"),
        ),
        (
            plain(Offset::MysqlGtid(GtidSet::new())),
            "mysql:~d297cf95".to_owned(),
        ),
        (
            Position {
                start: list.clone(),
                delivered: Some(list),
                within: Some(within),
            },
            format!("mariadb:0-1-100,1-2-5~mariadb:0-1-100,1-2-5~4033af88+{UUID}:78/12"),
        ),
    ];
    for (position, text) in cases {
        assert_eq!(position.to_string(), text);
        assert_eq!(Position::parse(&text).unwrap(), position);
    }
}

#[test]
fn text_that_is_no_position_is_refused_with_what_is_wrong() {
    let good = Position {
        start: offset(0, &[1], ""),
        delivered: None,
        within: None,
    }
    .to_string();
    let sealed = |text: &str| format!("{text}~{:08x}", crc32fast::hash(text.as_bytes()));
    let cases = [
        (String::new(), "empty"),
        ("now".to_owned(), "ends with a checksum"),
        ("x".repeat(MAX_POSITION_BYTES + 1), "at most"),
        (format!("{good}0"), "does not match"),
        (good.to_uppercase(), "does not match"),
        (good.replace(":2~", ":3~"), "does not match"),
        (format!("{good}+"), "Behind the +"),
        (format!("{good}+a/"), "Behind the +"),
        (format!("{good}+/1"), "Behind the +"),
        (format!("{good}+a/-1"), "Behind the +"),
        (format!("{good}+a/4294967296"), "Behind the +"),
        (format!("{good}+a\n/1"), "Behind the +"),
        (sealed("postgres:82"), "begins with"),
        (sealed("mysql"), "begins with"),
        (sealed("mysql:x"), "begins with a uuid"),
        (sealed("mariadb:x"), "three whole numbers"),
        (sealed("mysql-file:a:b"), "has the form"),
        (sealed("mysql-file:a:%ff:1"), "has the form"),
        (sealed("mysql-file:a:b:+1"), "Behind the +"),
        (sealed("mysql:~mariadb:"), "one kind"),
        (sealed("mysql:~mysql:~mysql:"), "uuid"),
    ];
    for (text, expected) in cases {
        let error = Position::parse(&text).expect_err(expected);
        assert_eq!(error.code(), Code::PositionInvalid);
        assert!(error.message().contains(expected), "{}", error.message());
    }
}

proptest! {
    #[test]
    fn a_position_comes_back_from_its_text(position in position()) {
        let text = position.to_string();
        prop_assert_eq!(Position::parse(&text).unwrap(), position);
        prop_assert!(text.is_ascii() && !text.contains(char::is_whitespace));
    }

    #[test]
    fn a_base_that_was_cut_or_mistyped_is_refused(position in position(), at in any::<prop::sample::Index>(), to in "[ -~]") {
        let base = position.base_text();
        let at = at.index(base.len());
        prop_assert!(Position::parse(&base[..at]).is_err());
        let mistyped = format!("{}{to}{}", &base[..at], &base[at + 1..]);
        // The checksum itself may be written in either case.
        if !mistyped.eq_ignore_ascii_case(&base) {
            prop_assert!(Position::parse(&mistyped).is_err());
        }
    }

    #[test]
    fn the_part_that_javascript_adds_is_read(mut position in position(), changes in any::<u32>()) {
        let text = format!("{}+{UUID}:5/{changes}", position.base_text());
        position.within = Some(Within { transaction: format!("{UUID}:5").into(), changes });
        prop_assert_eq!(Position::parse(&text).unwrap(), position);
    }

    #[test]
    fn hostile_text_never_panics(text in "\\PC{0,80}", tail in "\\PC{0,30}") {
        let _ = Position::parse(&text);
        let sealed = format!("mysql-file:{text}~{:08x}{tail}", crc32fast::hash(format!("mysql-file:{text}").as_bytes()));
        let _ = Position::parse(&sealed);
    }
}
