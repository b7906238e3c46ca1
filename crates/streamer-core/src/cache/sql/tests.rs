use std::collections::BTreeSet;

use super::super::{Dependency, TableName};
use super::*;

fn base(integers: &[&str]) -> TableFacts {
    TableFacts::Base {
        integers: integers
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>(),
        parents: Vec::new(),
        obstacle: None,
    }
}

fn catalog() -> Catalog {
    let mut catalog = Catalog::new();
    let mut add = |name: &str, facts| {
        catalog.insert(TableName::new("d", name), facts);
    };
    add("t", base(&["id", "a", "b"]));
    add("u", base(&["id", "t_id"]));
    add("w", base(&["id"]));
    add(
        "v",
        TableFacts::View("select `d`.`t`.`id` AS `id` from `d`.`t` where (`d`.`t`.`a` = 1)".into()),
    );
    add(
        "vv",
        TableFacts::View(
            "select `v`.`id` AS `id` from `d`.`v` join `d`.`u` on((`d`.`u`.`id` = `v`.`id`))".into(),
        ),
    );
    add("vr", TableFacts::View("select rand() AS `r` from `d`.`t`".into()));
    add("loop", TableFacts::View("select * from `d`.`loop`".into()));
    add(
        "child",
        TableFacts::Base {
            integers: BTreeSet::from(["id".to_owned()]),
            parents: vec![TableName::new("d", "t")],
            obstacle: None,
        },
    );
    add(
        "memory",
        TableFacts::Base {
            integers: BTreeSet::new(),
            parents: Vec::new(),
            obstacle: Some("is kept by an engine that is not followed".into()),
        },
    );
    for name in ["c", "c2", "absent"] {
        add(name, TableFacts::Missing);
    }
    catalog.insert(TableName::new("e", "t"), base(&["id"]));
    catalog
}

/// Dependencies as `table(column in values)`, or why not.
fn depends(text: &str, parameters: &[Option<i128>]) -> Result<String, String> {
    let template = Template::parse(text).map_err(|why| why.0)?;
    match Plan::make(&template, Some("d"), &catalog()) {
        Planned::Ready(plan) => {
            assert_eq!(plan.parameters, parameters.len(), "{text}");
            let mut shown: Vec<String> = plan.bind(parameters).iter().map(show).collect();
            shown.sort();
            Ok(shown.join(" "))
        }
        Planned::Lacks(names) => Err(format!("lacks {names:?}")),
        Planned::Refused(why) => Err(why.0),
    }
}

fn show(dependency: &Dependency) -> String {
    let equalities: Vec<String> = dependency
        .equalities
        .iter()
        .map(|equality| format!("{}={:?}", equality.column, equality.values))
        .collect();
    if dependency == Dependency::on_definitions() {
        return "definitions".to_owned();
    }
    format!("{}({})", dependency.table, equalities.join("&")).replace(", ", ",")
}

#[test]
fn what_is_cached_depends_on_what_it_reads() {
    let cases: &[(&str, &[Option<i128>], &str)] = &[
        ("SELECT * FROM t", &[], "d.t()"),
        ("SELECT * FROM T", &[], "d.t()"),
        ("SELECT * FROM e.t WHERE id = 5", &[], "e.t(id=[5])"),
        ("SELECT * FROM `t` WHERE `id` = ?", &[Some(7)], "d.t(id=[7])"),
        ("SELECT * FROM t WHERE 7 = id", &[], "d.t(id=[7])"),
        ("SELECT * FROM t WHERE id = -7", &[], "d.t(id=[-7])"),
        ("SELECT * FROM t WHERE id = ?", &[None], "d.t()"),
        ("SELECT * FROM t WHERE id = '7'", &[], "d.t()"),
        ("SELECT * FROM t WHERE id = 7.5", &[], "d.t()"),
        ("SELECT * FROM t WHERE name = 7", &[], "d.t()"),
        (
            "SELECT * FROM t WHERE id IN (1, ?, 3)",
            &[Some(2)],
            "d.t(id=[1,2,3])",
        ),
        ("SELECT * FROM t WHERE id IN (1, ?, 3)", &[None], "d.t()"),
        ("SELECT * FROM t WHERE id NOT IN (1)", &[], "d.t()"),
        (
            "SELECT * FROM t WHERE a = ? AND b = ?",
            &[Some(1), Some(2)],
            "d.t(a=[1]&b=[2])",
        ),
        (
            "SELECT ? FROM t WHERE a = ? AND b = ?",
            &[Some(9), Some(1), Some(2)],
            "d.t(a=[1]&b=[2])",
        ),
        ("SELECT * FROM t WHERE a = 1 OR b = 2", &[], "d.t()"),
        (
            "SELECT * FROM t WHERE (a = 1 OR b = 2) AND id = 3",
            &[],
            "d.t(id=[3])",
        ),
        ("SELECT * FROM t WHERE NOT a = 1", &[], "d.t()"),
        ("SELECT * FROM t WHERE a <> 1", &[], "d.t()"),
        (
            "SELECT * FROM t WHERE a > 1 AND id = 4 ORDER BY b LIMIT 3",
            &[],
            "d.t(id=[4])",
        ),
        (
            "SELECT COUNT(*), MAX(a) FROM t WHERE b = 1 GROUP BY a HAVING COUNT(*) > 1",
            &[],
            "d.t(b=[1])",
        ),
        (
            "SELECT * FROM t JOIN u ON u.t_id = t.id WHERE t.id = 1",
            &[],
            "d.t(id=[1]) d.u()",
        ),
        (
            "SELECT * FROM t x JOIN u AS y ON y.t_id = x.id AND y.id = 2 WHERE x.id = 1",
            &[],
            "d.t(id=[1]) d.u(id=[2])",
        ),
        (
            "SELECT * FROM t JOIN u ON u.t_id = t.id WHERE t_id = 1",
            &[],
            "d.t() d.u()",
        ),
        ("SELECT * FROM t LEFT JOIN u ON u.t_id = 1", &[], "d.t() d.u()"),
        (
            "SELECT * FROM t LEFT JOIN u ON u.t_id = t.id AND t.id = 5",
            &[],
            "d.t() d.u()",
        ),
        (
            "SELECT * FROM t LEFT JOIN u ON u.t_id = t.id WHERE t.id = 5",
            &[],
            "d.t(id=[5]) d.u()",
        ),
        (
            "SELECT * FROM t, u WHERE t.id = 1 AND u.id = 2",
            &[],
            "d.t(id=[1]) d.u(id=[2])",
        ),
        (
            "SELECT * FROM t a JOIN t b ON a.id = b.a WHERE a.id = 1",
            &[],
            "d.t() d.t(id=[1])",
        ),
        (
            "SELECT * FROM (t JOIN u ON t.id = 1) LEFT JOIN w ON w.id = 2",
            &[],
            "d.t() d.u() d.w()",
        ),
        (
            "SELECT * FROM t WHERE id IN (SELECT t_id FROM u WHERE id = 9)",
            &[],
            "d.t() d.u(id=[9])",
        ),
        (
            "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.t_id = t.id)",
            &[],
            "d.t() d.u()",
        ),
        (
            "SELECT (SELECT MAX(id) FROM u) FROM t WHERE id = 1",
            &[],
            "d.t(id=[1]) d.u()",
        ),
        (
            "SELECT * FROM (SELECT * FROM t WHERE id = 1) s WHERE s.id = 2",
            &[],
            "d.t(id=[1])",
        ),
        (
            "SELECT id FROM t WHERE id = 1 UNION ALL SELECT id FROM u WHERE id = 2",
            &[],
            "d.t(id=[1]) d.u(id=[2])",
        ),
        (
            "WITH c AS (SELECT * FROM t WHERE a = 1) SELECT * FROM c",
            &[],
            "d.t(a=[1])",
        ),
        (
            "WITH c AS (SELECT 1 FROM t), c2 AS (SELECT * FROM c JOIN u) SELECT * FROM c2",
            &[],
            "d.t() d.u()",
        ),
        (
            "WITH RECURSIVE c AS (SELECT id FROM t WHERE id=1 UNION ALL SELECT t.id FROM t JOIN c ON t.a=c.id) SELECT * FROM c",
            &[],
            "d.t() d.t(id=[1])",
        ),
        (
            "WITH t AS (SELECT * FROM u) SELECT * FROM t WHERE id = 1",
            &[],
            "d.t(id=[1]) d.u()",
        ),
        ("SELECT * FROM v WHERE id = 3", &[], "d.t() definitions"),
        ("SELECT * FROM vv", &[], "d.t() d.u() definitions"),
        ("SELECT * FROM child WHERE id = 1", &[], "d.child(id=[1]) d.t()"),
        (
            "SELECT UPPER(name), DATE_ADD(d, INTERVAL 1 DAY), CAST(a AS CHAR) FROM t -- why\n WHERE id = 1",
            &[],
            "d.t(id=[1])",
        ),
        (
            "SELECT CASE WHEN a = 1 THEN 2 ELSE 3 END FROM t WHERE id BETWEEN 1 AND 2 AND a = 5",
            &[],
            "d.t(a=[5])",
        ),
        (
            "SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) FROM t",
            &[],
            "d.t()",
        ),
        (
            "SELECT j->'$.a', j->>'$.b' FROM t WHERE id = 1",
            &[],
            "d.t(id=[1])",
        ),
        (
            "SELECT 'a''b', \"it\", '\\'' FROM t WHERE id = ?",
            &[Some(1)],
            "d.t(id=[1])",
        ),
        ("SELECT '?' FROM t WHERE id = ?", &[Some(1)], "d.t(id=[1])"),
        ("SELECT * FROM t USE INDEX (i) WHERE id = 1;", &[], "d.t(id=[1])"),
        (
            "SELECT DISTINCT a FROM t WHERE id = 18446744073709551615",
            &[],
            "d.t(id=[18446744073709551615])",
        ),
        ("SELECT `current_user` FROM t", &[], "d.t()"),
    ];
    for (text, parameters, expected) in cases {
        assert_eq!(depends(text, parameters).as_deref(), Ok(*expected), "{text}");
    }
}

#[test]
fn what_may_change_without_the_log_is_never_cached() {
    let cases = [
        "SELECT NOW() FROM t",
        "SELECT CURRENT_TIMESTAMP FROM t",
        "SELECT CURDATE(), a FROM t",
        "SELECT UTC_TIMESTAMP FROM t",
        "SELECT * FROM t WHERE d < SYSDATE()",
        "SELECT RAND() FROM t",
        "SELECT * FROM t ORDER BY RAND()",
        "SELECT UUID() FROM t",
        "SELECT CURRENT_USER FROM t",
        "SELECT CURRENT_USER() FROM t",
        "SELECT USER(), a FROM t",
        "SELECT CONNECTION_ID() FROM t",
        "SELECT LAST_INSERT_ID() FROM t",
        "SELECT FOUND_ROWS() FROM t",
        "SELECT SQL_CALC_FOUND_ROWS * FROM t",
        "SELECT SLEEP(1) FROM t",
        "SELECT GET_LOCK('a', 1) FROM t",
        "SELECT own_function(a) FROM t",
        "SELECT d.stored(a) FROM t",
        "SELECT @x FROM t",
        "SELECT @x := a FROM t",
        "SELECT @@global.read_only FROM t",
        "SELECT @@version FROM t",
        "SELECT * FROM t WHERE a = @x",
        "SELECT * FROM t FOR UPDATE",
        "SELECT * FROM t FOR SHARE",
        "SELECT * FROM t LOCK IN SHARE MODE",
        "SELECT * FROM (SELECT * FROM t FOR UPDATE) s",
        "SELECT * FROM t INTO OUTFILE '/tmp/x'",
        "SELECT a INTO @x FROM t",
        "SELECT 1",
        "SELECT * FROM absent",
        "SELECT * FROM memory",
        "SELECT * FROM vr",
        "SELECT * FROM `loop`",
        "SELECT * FROM t; SELECT * FROM u",
        "SELECT * FROM t WHERE id = 1 AND a = 1 || b = 2",
        "SELECT * FROM t WHERE id = 1 AND a = 1 XOR b = 2",
        "SELECT * FROM t WHERE id = 1 && a = 1",
        "SELECT * FROM t WHERE id = 1 /*! OR 1 */",
        "SELECT /*+ SET_VAR(time_zone='+01:00') */ * FROM t",
        "SELECT * FROM t WHERE id = 5 --1",
        "SELECT * FROM t WHERE id = :id",
        "INSERT INTO t VALUES (1)",
        "REPLACE INTO t VALUES (1)",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "TRUNCATE t",
        "CALL p()",
        "SHOW TABLES",
        "EXPLAIN SELECT * FROM t",
        "SET @x = 1",
        "DO SLEEP(1)",
        "CREATE TABLE x AS SELECT * FROM t",
        "BEGIN",
        "TABLE t",
        "HANDLER t OPEN",
        "SELECT * FROM information_schema.tables",
        "SELECT NEXTVAL(s) FROM t",
        "SELECT NEXT VALUE FOR s FROM t",
        "SELECT * FROM t FOR SYSTEM_TIME AS OF NOW()",
        "SELECT * FROM t PROCEDURE ANALYSE()",
        "garbage",
        "",
    ];
    for text in cases {
        assert!(depends(text, &[]).is_err(), "{text}: {:?}", depends(text, &[]));
    }
}

#[test]
fn names_that_the_catalog_lacks_are_asked_for() {
    let template = Template::parse("SELECT * FROM x.y JOIN t").unwrap();
    assert_eq!(
        Plan::make(&template, Some("d"), &catalog()),
        Planned::Lacks(vec![TableName::new("x", "y")])
    );
}

#[test]
fn a_text_that_nests_deep_is_refused_and_ends_nothing() {
    let text = format!(
        "SELECT * FROM t WHERE {}1{}",
        "(".repeat(50_000),
        ")".repeat(50_000)
    );
    assert!(Template::parse(&text).is_err());
}

fn point(text: &str) -> Option<(String, String)> {
    match Plan::make(&Template::parse(text).ok()?, Some("d"), &catalog()) {
        Planned::Ready(plan) => plan
            .point
            .map(|point| (point.column.clone(), point.statement(3).0)),
        _ => None,
    }
}

#[test]
fn look_ups_become_one_statement() {
    for (text, column, many) in [
        (
            "SELECT id, a FROM t WHERE id = ?",
            "id",
            "SELECT id, a, id FROM t WHERE id IN (?, ?, ?, ?)",
        ),
        (
            "select * from `d`.`t` where ? = `A`",
            "a",
            "select *, `A` from `d`.`t` where `A` IN (?, ?, ?, ?)",
        ),
        (
            "SELECT x.b AS c, x.* FROM t AS x WHERE x.id = ?",
            "id",
            "SELECT x.b AS c, x.*, x.id FROM t AS x WHERE x.id IN (?, ?, ?, ?)",
        ),
        (
            "SELECT\tt.id\nFROM t  WHERE t.id=?;",
            "id",
            "SELECT\tt.id, t.id FROM t  WHERE t.id IN (?, ?, ?, ?)",
        ),
    ] {
        assert_eq!(point(text), Some((column.to_owned(), many.to_owned())), "{text}");
    }
    for text in [
        "SELECT id FROM t WHERE id = 7",
        "SELECT id FROM t WHERE id = ? LIMIT 1",
        "SELECT id FROM t WHERE id = ? ORDER BY a",
        "SELECT id FROM t WHERE id = ? AND a = ?",
        "SELECT id FROM t WHERE id = ? AND a = 1",
        "SELECT id FROM t WHERE id > ?",
        "SELECT DISTINCT id FROM t WHERE id = ?",
        "SELECT SQL_NO_CACHE id FROM t WHERE id = ?",
        "SELECT `a``b` FROM t WHERE id = ?",
        "SELECT id /* all */ FROM t WHERE id = ?",
        "SELECT 'x' FROM t WHERE id = ?",
        "SELECT id FROM t USE INDEX (a) WHERE id = ?",
        "SELECT id FROM t WHERE id = ? OR id",
        "SELECT COUNT(*) FROM t WHERE id = ?",
        "SELECT a + 1 FROM t WHERE id = ?",
        "SELECT MAX(a) FROM t WHERE id = ? GROUP BY a",
        "SELECT a FROM t WHERE id = ? GROUP BY a",
        "SELECT a FROM t WHERE id = ? HAVING a > 1",
        "SELECT t.id FROM t JOIN u ON u.t_id = t.id WHERE t.id = ?",
        "SELECT id FROM t, u WHERE id = ?",
        "SELECT id FROM (SELECT id FROM t) AS x WHERE id = ?",
        "SELECT id FROM t WHERE id = ? UNION SELECT id FROM u",
        "WITH c AS (SELECT id FROM t) SELECT id FROM c WHERE id = ?",
        // No column of an integer type.
        "SELECT id FROM t WHERE name = ?",
        // A view: the column is another's.
        "SELECT id FROM v WHERE id = ?",
    ] {
        assert_eq!(point(text), None, "{text}");
    }
}
