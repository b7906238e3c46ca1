//! Statements on real databases, and what is read of them.

use super::*;

#[test]
fn a_log_goes_without_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let mut conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, a)")
        .unwrap();
    let filter = crate::config::TableFilter::default();
    install::install(&mut conn, &filter, None, 0).unwrap();
    conn.execute("INSERT INTO t(a) VALUES (1)", []).unwrap();
    assert_eq!(log::newest(&conn).unwrap(), 1);
    let removed = remove(&path).unwrap();
    assert_eq!((removed.triggers, removed.tables), (6, 4));
    let left: i64 = conn
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%streamer%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
}
