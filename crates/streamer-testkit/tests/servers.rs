//! Servers start, crash, freeze and come back as tests need them to. Real servers: one that is missing is a failure.
// The exception for tests does not reach functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, SslOpts};
use streamer_testkit::{Flavor, Mongod, MongodOptions, Mysqld, Options, Redis, RedisOptions, Server};

fn options(server: &Mysqld) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(server.port())
        .user(Some("root"))
        .prefer_socket(false)
}

async fn connect(server: &Mysqld) -> Conn {
    Conn::new(options(server)).await.unwrap()
}

async fn text(conn: &mut Conn, query: &str) -> String {
    conn.query_first::<String, _>(query).await.unwrap().unwrap()
}

/// What a user's server has by default is what the kit's has, and what is committed outlives a crash.
async fn crashes_and_comes_back(flavor: Flavor, metadata: &str) {
    let mut server = Mysqld::start(Options::new(flavor)).unwrap();
    let mut conn = connect(&server).await;
    assert_eq!(text(&mut conn, "SELECT VERSION()").await, server.version());
    assert_eq!(text(&mut conn, "SELECT @@log_bin").await, "1");
    assert_eq!(text(&mut conn, "SELECT @@binlog_format").await, "ROW");
    assert_eq!(text(&mut conn, "SELECT @@binlog_row_metadata").await, metadata);
    conn.query_drop("CREATE DATABASE app").await.unwrap();
    conn.query_drop("CREATE TABLE app.t (id INT PRIMARY KEY) ENGINE=InnoDB")
        .await
        .unwrap();
    conn.query_drop("INSERT INTO app.t VALUES (1), (2)")
        .await
        .unwrap();

    server.kill().unwrap();
    assert!(conn.query_drop("SELECT 1").await.is_err());
    assert_eq!(server.kill().unwrap_err(), "The server does not run.");
    let port = server.port();
    server
        .restart(Some(vec!["--max-connections=77".to_owned()]))
        .unwrap();
    assert_eq!(server.port(), port);
    let mut conn = connect(&server).await;
    assert_eq!(text(&mut conn, "SELECT COUNT(*) FROM app.t").await, "2");
    assert_eq!(text(&mut conn, "SELECT @@max_connections").await, "77");

    server.stop().unwrap();
    server.restart(None).unwrap();
    let mut conn = connect(&server).await;
    assert_eq!(text(&mut conn, "SELECT COUNT(*) FROM app.t").await, "2");
    assert_eq!(text(&mut conn, "SELECT @@max_connections").await, "77");
}

#[tokio::test]
async fn mysql_keeps_its_rows_through_a_crash() {
    crashes_and_comes_back(Flavor::Mysql, "MINIMAL").await;
}

#[tokio::test]
async fn mariadb_keeps_its_rows_through_a_crash() {
    crashes_and_comes_back(Flavor::Mariadb, "NO_LOG").await;
}

#[tokio::test]
async fn a_paused_server_answers_only_when_it_is_resumed() {
    let mut server = Mysqld::start(Options::new(Flavor::Mariadb)).unwrap();
    let mut conn = connect(&server).await;
    server.pause().unwrap();
    let mut asked = Box::pin(conn.query_first::<u8, _>("SELECT 1"));
    assert!(
        tokio::time::timeout(Duration::from_millis(200), &mut asked)
            .await
            .is_err()
    );
    server.resume().unwrap();
    assert_eq!(asked.await.unwrap(), Some(1));
    // A frozen server takes no signal, and still has to be stoppable.
    server.pause().unwrap();
    server.stop().unwrap();
}

async fn takes_only_clients_that_trust_its_authority(flavor: Flavor) {
    let server = Mysqld::start(Options {
        tls: true,
        ..Options::new(flavor)
    })
    .unwrap();
    let certificates = server.certificates().unwrap();
    let trusting = SslOpts::default().with_root_certs(vec![certificates.ca.clone().into()]);
    let mut conn = Conn::new(options(&server).ssl_opts(trusting)).await.unwrap();
    let (_, cipher): (String, String) = conn
        .query_first("SHOW STATUS LIKE 'Ssl_cipher'")
        .await
        .unwrap()
        .unwrap();
    assert_ne!(cipher, "");
    assert!(
        Conn::new(options(&server).ssl_opts(SslOpts::default()))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn mysql_has_a_certificate_of_its_own_authority() {
    takes_only_clients_that_trust_its_authority(Flavor::Mysql).await;
}

#[tokio::test]
async fn mariadb_has_a_certificate_of_its_own_authority() {
    takes_only_clients_that_trust_its_authority(Flavor::Mariadb).await;
}

#[tokio::test]
async fn two_servers_share_neither_identity_nor_place() {
    let (one, two) = (
        Mysqld::start(Options::new(Flavor::Mysql)).unwrap(),
        Mysqld::start(Options::new(Flavor::Mysql)).unwrap(),
    );
    let (mut first, mut second) = (connect(&one).await, connect(&two).await);
    for variable in ["@@server_uuid", "@@server_id", "@@port", "@@datadir"] {
        let query = format!("SELECT CONCAT({variable}, '')");
        assert_ne!(
            text(&mut first, &query).await,
            text(&mut second, &query).await,
            "{variable}"
        );
    }
}

#[tokio::test]
async fn a_server_started_by_a_thread_that_ended_lives_on() {
    let server = std::thread::spawn(|| Mysqld::start(Options::new(Flavor::Mariadb)).unwrap())
        .join()
        .unwrap();
    let mut conn = connect(&server).await;
    assert_eq!(text(&mut conn, "SELECT 1").await, "1");
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let args = vec!["--no-such-option".to_owned()];
    let failure = Mysqld::start(Options {
        args,
        ..Options::new(Flavor::Mariadb)
    })
    .err()
    .unwrap();
    assert!(failure.contains("no-such-option"), "{failure}");
}

#[test]
fn nothing_is_left_of_a_dropped_server() {
    let server = Mysqld::start(Options::new(Flavor::Mysql)).unwrap();
    let (data_dir, socket, port) = (server.data_dir(), server.socket(), server.port());
    assert!(data_dir.exists() && socket.exists());
    drop(server);
    assert!(!data_dir.exists() && !socket.exists());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

fn ask(port: u16, command: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(socket, "{command}\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn redis_keeps_its_log_through_a_crash_when_asked() {
    let args = ["--appendonly", "yes", "--appendfsync", "always"]
        .map(str::to_owned)
        .to_vec();
    let mut redis = Redis::start(RedisOptions { args }).unwrap();
    assert!(
        redis.version().starts_with(|c: char| c.is_ascii_digit()),
        "{}",
        redis.version()
    );
    assert_eq!(ask(redis.port(), "SET a 1"), "+OK\r\n+OK\r\n");
    redis.kill().unwrap();
    redis.restart(None).unwrap();
    assert_eq!(ask(redis.port(), "GET a"), "$1\r\n1\r\n+OK\r\n");
}

#[test]
fn a_replica_set_elects_another_primary_when_one_is_killed() {
    let members = 3;
    let mut set = Mongod::start(MongodOptions {
        members,
        ..MongodOptions::default()
    })
    .unwrap();
    let first = set.primary().unwrap();
    set.kill_member(first).unwrap();
    let begin = Instant::now();
    let second = set.primary().unwrap();
    assert_ne!(first, second);
    assert!(begin.elapsed() < Duration::from_secs(30));
    set.restart_member(first).unwrap();
    set.pause_member(first).unwrap();
    set.resume_member(first).unwrap();
}

#[test]
fn a_set_of_one_comes_back_as_its_own_primary() {
    let mut set = Mongod::start(MongodOptions::default()).unwrap();
    assert!(set.url().ends_with("/?replicaSet=rs0"), "{}", set.url());
    set.kill().unwrap();
    set.restart(None).unwrap();
    assert_eq!(set.primary().unwrap(), 0);
}

/// Starts a MySQL and a MariaDB in a process of their own; returns it, and their ports and data directories.
fn kit_process() -> (std::process::Child, Vec<(u16, std::path::PathBuf)>) {
    let mut kit = std::process::Command::new(env!("CARGO_BIN_EXE_streamer-testkit"))
        .arg("serve")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let input = kit.stdin.as_mut().unwrap();
    for (id, server) in ["mysql", "mariadb"].iter().enumerate() {
        let command = serde_json::json!({ "id": id, "do": "start", "server": server, "own": true });
        writeln!(input, "{command}").unwrap();
    }
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(kit.stdout.as_mut().unwrap()));
    let servers = (0..2)
        .map(|_| {
            let answer: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            let started = &answer["ok"];
            let port = started["port"].as_u64().unwrap_or_else(|| panic!("{answer}"));
            (port as u16, started["dataDir"].as_str().unwrap().into())
        })
        .collect();
    drop(lines);
    (kit, servers)
}

#[test]
fn servers_die_with_a_kit_that_is_killed_and_the_next_one_clears_up() {
    let (mut kit, servers) = kit_process();
    kit.kill().unwrap();
    kit.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    for (port, _) in &servers {
        while TcpStream::connect(("127.0.0.1", *port)).is_ok() {
            assert!(Instant::now() < end, "the server on {port} lives on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let (mut kit, others) = kit_process();
    for (_, data_dir) in &servers {
        assert!(!data_dir.exists(), "{} is left", data_dir.display());
    }
    // The end of its input ends the kit, which then clears up itself.
    drop(kit.stdin.take());
    assert!(kit.wait().unwrap().success());
    for (_, data_dir) in &others {
        assert!(!data_dir.exists(), "{} is left", data_dir.display());
    }
}
