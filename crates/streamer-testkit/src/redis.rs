//! Redis servers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::place::{Place, free_port};
use crate::running::{Running, alive, ended};
use crate::{Result, Server, install, spawn};

const TIMEOUT: Duration = Duration::from_secs(2);

/// How a Redis server is started.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// Arguments that come last, and so win. Without any, nothing is written to disk, and a restart forgets everything.
    pub args: Vec<String>,
}

/// A Redis server without a password; it is killed and its folder removed when it is dropped.
pub struct Redis {
    running: Option<Running>,
    options: RedisOptions,
    program: PathBuf,
    port: u16,
    version: String,
    place: Place,
}

impl Redis {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// Where it cannot be had or does not come up; with the end of its log.
    pub fn start(options: RedisOptions) -> Result<Self> {
        let mut redis = Self {
            running: None,
            options,
            program: install::redis()?,
            port: free_port()?,
            version: String::new(),
            place: Place::new(Path::new("/"))?,
        };
        redis.launch()?;
        Ok(redis)
    }

    fn launch(&mut self) -> Result<()> {
        let mut command = spawn::mortal(&self.program, self.place.root());
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--port")
            .arg(self.port.to_string())
            .arg("--dir")
            .arg(self.place.inner(""))
            .args(&self.options.args);
        let (port, version) = (self.port, &mut self.version);
        let answers = || ask_version(port).map(|seen| *version = seen).is_some();
        let running = Running::start(command, &self.place.outer("log"), answers)
            .map_err(|error| format!("redis: {error}"))?;
        self.running = Some(running);
        Ok(())
    }
}

impl Server for Redis {
    fn kill(&mut self) -> Result<()> {
        ended(&mut self.running)?.kill()
    }

    fn stop(&mut self) -> Result<()> {
        ended(&mut self.running)?.stop()
    }

    fn pause(&mut self) -> Result<()> {
        alive(&self.running)?.pause()
    }

    fn resume(&mut self) -> Result<()> {
        alive(&self.running)?.resume()
    }

    fn restart(&mut self, args: Option<Vec<String>>) -> Result<()> {
        if self.running.is_some() {
            self.stop()?;
        }
        if let Some(args) = args {
            self.options.args = args;
        }
        self.launch()
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn data_dir(&self) -> PathBuf {
        self.place.outer("")
    }
}

/// Asks with an inline command; the answer is a bulk string, a line `redis_version:…` among its lines. A server that still
/// loads its data answers with an error instead.
fn ask_version(port: u16) -> Option<String> {
    let mut socket = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), TIMEOUT).ok()?;
    socket.set_read_timeout(Some(TIMEOUT)).ok()?;
    // The server closes after QUIT, so the answer is what comes until then.
    socket.write_all(b"INFO server\r\nQUIT\r\n").ok()?;
    let mut answer = String::new();
    socket.take(64 << 10).read_to_string(&mut answer).ok()?;
    answer.lines().find_map(|line| {
        line.strip_prefix("redis_version:")
            .map(|version| version.trim().to_owned())
    })
}
