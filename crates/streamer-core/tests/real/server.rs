//! A real server for one test, and a link to it.

use std::time::Duration;

use streamer_core::source::mysql::link::{Endpoint, Link, Login};
use streamer_testkit::{Flavor, Mysqld, Options, Server};

/// A server of its own, that ends with the test.
pub fn start(flavor: Flavor, args: Vec<String>) -> Mysqld {
    Mysqld::start(Options {
        flavor,
        args,
        tls: false,
    })
    .expect("the server starts")
}

/// A link of root's.
pub async fn connect(server: &Mysqld) -> Link {
    let endpoint = Endpoint::Tcp {
        host: "127.0.0.1".to_owned(),
        port: server.port(),
    };
    let login = Login {
        user: "root",
        password: "",
        database: None,
        tls: None,
    };
    Link::connect(&endpoint, &login, Duration::from_secs(20))
        .await
        .expect("the server answers")
}
