//! Tests of GTID sets: text, algebra, and both encodings.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa";

fn set(text: &str) -> GtidSet {
    GtidSet::parse(text).unwrap()
}

#[test]
fn text_of_the_server_is_read_and_printed_in_its_form() {
    let cases = [
        ("", String::new()),
        (" \n", String::new()),
        (&format!("{A}:1"), format!("{A}:1")),
        (&format!("{A}:1-5:7-9"), format!("{A}:1-5:7-9")),
        (&format!("{A}:7:1-5"), format!("{A}:1-5:7")),
        (&format!("{A}:1-5:6-9"), format!("{A}:1-9")),
        (&format!("{A}:3-9:1-5:4"), format!("{A}:1-9")),
        (&format!("{}:1 - 5 : 9", A.to_uppercase()), format!("{A}:1-5:9")),
        (&format!("{B}:1,\n{A}:2"), format!("{A}:2,{B}:1")),
        (&format!("{A}:1,{A}:2"), format!("{A}:1-2")),
        (&format!("{A}:1-3:tag:5-7:9"), format!("{A}:1-3:tag:5-7:9")),
        (&format!("{A}:tag:5-7"), format!("{A}:tag:5-7")),
        (&format!("{A}:b:1:a:2,{A}:3:b:2"), format!("{A}:3:a:2:b:1-2")),
        (&format!("{A}:_X9:1"), format!("{A}:_x9:1")),
        (
            &format!("{A}:1-9223372036854775806"),
            format!("{A}:1-9223372036854775806"),
        ),
    ];
    for (text, printed) in cases {
        assert_eq!(set(text).to_string(), printed, "of {text:?}");
        assert_eq!(set(&printed), set(text));
    }
}

#[test]
fn text_that_is_no_gtid_set_is_refused() {
    let long_tag = format!("{A}:{}:1", "t".repeat(33));
    let cases = [
        "x",
        ":",
        "1-5",
        "3e11fa47:1",
        &A[1..],
        A,
        &format!("{A}:"),
        &format!("{A}:0"),
        &format!("{A}:5-3"),
        &format!("{A}:1-"),
        &format!("{A}:-1"),
        &format!("{A}:+1"),
        &format!("{A}:1-+2"),
        &format!("{A}:1:"),
        &format!("{A}:tag"),
        &format!("{A}:1:tag"),
        &format!("{A}:a:b:1"),
        &format!("{A}:a-b:1"),
        &format!("{A}:9tag:1"),
        &format!("{A}:9223372036854775807"),
        &format!("{A}:99999999999999999999999"),
        &format!("{A} {B}:1"),
        &format!("{A}ä:1"),
        &format!("{}:1", A.replace('-', "")),
        &format!("{A}:1;{B}:1"),
        &long_tag,
    ];
    for text in cases {
        let error = GtidSet::parse(text).expect_err(text);
        assert_eq!(error.code(), Code::PositionInvalid, "{text}");
    }
}

#[test]
fn a_single_gtid_is_read_and_printed() {
    for text in [format!("{A}:1"), format!("{A}:tag:18")] {
        assert_eq!(MysqlGtid::parse(&text).unwrap().to_string(), text);
    }
    for text in [
        A,
        "",
        &format!("{A}:tag"),
        &format!("{A}:tag:1:2"),
        &format!("{A}:1-2"),
        &format!("{A}:0"),
    ] {
        assert!(MysqlGtid::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_gap_stays_until_its_number_arrives() {
    let mut executed = set(&format!("{A}:1-7:9-10"));
    let late = MysqlGtid::parse(&format!("{A}:8")).unwrap();
    assert!(!executed.contains(&late));
    executed.insert(&late);
    assert_eq!(executed.to_string(), format!("{A}:1-10"));
}

#[test]
fn the_untagged_encoding_is_that_of_the_server() {
    let bytes = set(&format!("{B}:1-5:7")).encode();
    let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 0];
    expected.extend([0xaa; 16]);
    for number in [2_u64, 1, 6, 7, 8] {
        expected.extend(number.to_le_bytes());
    }
    assert_eq!(bytes, expected);
}

#[test]
fn the_tagged_encoding_is_that_of_the_server() {
    let bytes = set(&format!("{B}:3:ab:1")).encode();
    let mut expected = vec![1, 2, 0, 0, 0, 0, 0, 1];
    expected.extend([0xaa; 16]);
    expected.push(0);
    for number in [1_u64, 3, 4] {
        expected.extend(number.to_le_bytes());
    }
    expected.extend([0xaa; 16]);
    expected.extend([4, b'a', b'b']);
    for number in [1_u64, 1, 2] {
        expected.extend(number.to_le_bytes());
    }
    assert_eq!(bytes, expected);
}

/// The body of a PREVIOUS_GTIDS_LOG_EVENT that MySQL 9.7.4 wrote; its own uuid is replaced.
const PREVIOUS_GTIDS: &str = "
    0104000000000001
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa00 0200000000000000
        0700000000000000 0800000000000000 feffffffffffff7f ffffffffffffff7f
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa065f7839 0100000000000000 0400000000000000 0500000000000000
    bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb00 0100000000000000 0100000000000000 0300000000000000
    bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb0a6175646974 0100000000000000 0100000000000000 0300000000000000";

#[test]
fn bytes_of_a_server_are_read_and_written() {
    let digits: String = PREVIOUS_GTIDS.split_whitespace().collect();
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect();
    let executed = GtidSet::decode(&bytes).unwrap();
    // What the same server showed as `@@gtid_executed`.
    let shown = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:7:9223372036854775806:_x9:4,\n\
                 bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb:1-2:audit:1-2";
    assert_eq!(executed, set(shown));
    assert_eq!(executed.to_string(), shown.replace('\n', ""));
    assert_eq!(executed.encode(), bytes);
}

#[test]
fn a_damaged_encoding_is_refused_wherever_it_ends() {
    for text in [format!("{A}:1-5:7"), format!("{A}:1:tag:5,{B}:2")] {
        let bytes = set(&text).encode();
        for end in 0..bytes.len() {
            assert!(GtidSet::decode(&bytes[..end]).is_err(), "{text} cut at {end}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(GtidSet::decode(&longer).is_err());
        let mut other_format = bytes;
        other_format[7] = 2;
        let error = GtidSet::decode(&other_format).expect_err("format 2");
        assert_eq!(error.code(), Code::LogUndecodable);
    }
}

#[test]
fn a_claimed_count_allocates_nothing() {
    let mut bytes = (u64::MAX >> 8).to_le_bytes().to_vec();
    assert!(GtidSet::decode(&bytes).is_err());
    bytes[..8].copy_from_slice(&1_u64.to_le_bytes());
    bytes.extend([7; 16]);
    bytes.extend(u64::MAX.to_le_bytes());
    assert!(GtidSet::decode(&bytes).is_err());
}

/// Numbers below 40 under two uuids and two tags: small enough that intervals meet often.
type Model = BTreeSet<(u8, u8, u64)>;

fn gtid((uuid, tag, number): (u8, u8, u64)) -> MysqlGtid {
    let tag = (tag > 0).then(|| Arc::from(format!("tag_{tag}")));
    MysqlGtid {
        uuid: [uuid; 16],
        tag,
        number,
    }
}

fn model() -> impl Strategy<Value = Vec<(u8, u8, u64)>> {
    proptest::collection::vec((0..2_u8, 0..2_u8, 1..40_u64), 0..60)
}

fn build(numbers: &[(u8, u8, u64)]) -> GtidSet {
    let mut set = GtidSet::new();
    for number in numbers {
        set.insert(&gtid(*number));
    }
    set
}

proptest! {
    #[test]
    fn sets_behave_as_sets_of_numbers(left in model(), right in model()) {
        let (a, b) = (build(&left), build(&right));
        let (left, right): (Model, Model) = (left.into_iter().collect(), right.into_iter().collect());
        let of = |numbers: Vec<(u8, u8, u64)>| build(&numbers);
        prop_assert_eq!(a.union(&b), of(left.union(&right).copied().collect()));
        prop_assert_eq!(a.subtract(&b), of(left.difference(&right).copied().collect()));
        prop_assert_eq!(a.intersects(&b), !left.is_disjoint(&right));
        prop_assert_eq!(a.is_subset_of(&b), left.is_subset(&right));
        prop_assert!(a.is_subset_of(&a.union(&b)));
        prop_assert_eq!(a.is_empty(), left.is_empty());
        for number in 1..41 {
            prop_assert_eq!(a.contains(&gtid((0, 1, number))), left.contains(&(0, 1, number)));
        }
    }

    #[test]
    fn text_and_encoding_come_back_as_they_went(numbers in model()) {
        let set = build(&numbers);
        prop_assert_eq!(&GtidSet::parse(&set.to_string()).unwrap(), &set);
        prop_assert_eq!(&GtidSet::decode(&set.encode()).unwrap(), &set);
    }

    #[test]
    fn hostile_bytes_and_text_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
        let _ = GtidSet::decode(&bytes);
        let _ = GtidSet::parse(&text);
        let _ = GtidSet::parse(&format!("{A}{text}"));
    }
}
