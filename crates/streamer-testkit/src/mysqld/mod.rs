//! MySQL and MariaDB servers.

mod greeting;
mod template;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::place::{Place, free_port};
use crate::running::{Running, alive, ended};
use crate::{Certificates, Result, Server, install, on_path, run, spawn};

/// How often another port is tried when somebody took the one that was free a moment ago.
const PORTS: u32 = 3;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// MySQL.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl Flavor {
    /// `mysql` or `mariadb`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
        }
    }
}

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which server.
    pub flavor: Flavor,
    /// Arguments that come last, and so win. Without any, what a user's server has by default holds, but for the binlog
    /// (on, `ROW`), a unique server id, small buffers, no wait for the disk at commit, and no performance schema on MySQL.
    pub args: Vec<String>,
    /// Whether it has a certificate of an authority of its own; [`Mysqld::certificates`] has it.
    pub tls: bool,
}

impl Options {
    /// A server with the kit's defaults.
    pub fn new(flavor: Flavor) -> Self {
        Self {
            flavor,
            args: Vec::new(),
            tls: false,
        }
    }
}

/// A server; it is killed and its data directory removed when it is dropped, and killed when this process ends in any way.
///
/// `root` has no password, over TCP on 127.0.0.1 and over the unix socket.
pub struct Mysqld {
    // Before the place: what still runs would write into a folder that is being removed.
    running: Option<Running>,
    options: Options,
    program: PathBuf,
    certificates: Option<Certificates>,
    port: u16,
    version: String,
    place: Place,
}

impl Mysqld {
    /// Starts a server on a fresh copy of an empty data directory, and waits until it takes clients.
    ///
    /// # Errors
    /// Where it cannot be had or does not come up; with the end of its log.
    pub fn start(options: Options) -> Result<Self> {
        let (root, program) = match options.flavor {
            Flavor::Mysql => install::mysql()?,
            Flavor::Mariadb => (PathBuf::from("/"), install::mariadb()?),
        };
        let place = Place::new(&root)?;
        let template = template::template(options.flavor, &root, &program)?;
        run(Command::new("cp")
            .arg("-r")
            .arg(&template)
            .arg(place.outer("data")))?;
        let certificates = options
            .tls
            .then(|| Certificates::make(&place.outer("")))
            .transpose()?;
        let mut server = Self {
            running: None,
            options,
            program,
            certificates,
            port: 0,
            version: String::new(),
            place,
        };
        for attempt in 1.. {
            server.port = free_port()?;
            match server.launch() {
                Err(error) if attempt < PORTS && error.contains("Address already in use") => {}
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        Ok(server)
    }

    fn launch(&mut self) -> Result<()> {
        let mut command = spawn::mortal(&self.program, self.place.root());
        command.args(self.arguments());
        let (port, version) = (self.port, &mut self.version);
        let answers = || {
            greeting::version(port, Duration::from_secs(2))
                .map(|seen| *version = seen)
                .is_some()
        };
        let running = Running::start(command, &self.place.outer("log"), answers)
            .map_err(|error| format!("{}: {error}", self.options.flavor.as_str()))?;
        self.running = Some(running);
        Ok(())
    }

    fn arguments(&self) -> Vec<String> {
        let at = |name: &str| self.place.inner(name).display().to_string();
        let mut arguments: Vec<String> = [
            "--no-defaults",
            "--log-bin=binlog",
            "--binlog-format=ROW",
            "--innodb-buffer-pool-size=32M",
            // Written at each commit, flushed by the system when it likes: fast, and nothing is lost when only the server
            // dies. With 0 a kill loses up to a second of rows that its binlog has.
            "--innodb-flush-log-at-trx-commit=2",
            "--sync-binlog=0",
            "--max-connections=200",
            "--secure-file-priv=",
            "--skip-name-resolve",
            "--bind-address=127.0.0.1,127.0.0.2",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend([
            format!("--datadir={}", at("data")),
            format!("--socket={}", at("s")),
            format!("--pid-file={}", at("pid")),
            // Of its own: a server that starts removes the temporary tables that it finds in the shared one.
            format!("--tmpdir={}", at(".")),
            format!("--port={}", self.port),
            format!("--server-id={}", server_id(self.port)),
        ]);
        arguments.extend(as_root());
        if self.options.flavor == Flavor::Mysql {
            // Half a gigabyte less memory for each server.
            arguments.extend(["--mysqlx=OFF", "--performance-schema=OFF"].map(str::to_owned));
        }
        if self.certificates.is_some() {
            arguments.extend([
                format!("--ssl-ca={}", at("ca.pem")),
                format!("--ssl-cert={}", at("server-cert.pem")),
                format!("--ssl-key={}", at("server-key.pem")),
            ]);
        }
        arguments.extend(self.options.args.iter().cloned());
        arguments
    }

    /// Which server it is.
    pub fn flavor(&self) -> Flavor {
        self.options.flavor
    }

    /// Unix socket, as this process sees it.
    pub fn socket(&self) -> PathBuf {
        self.place.outer("s")
    }

    /// Error log.
    pub fn log(&self) -> PathBuf {
        self.place.outer("log")
    }

    /// Its certificates, where [`Options::tls`] asked for some.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }
}

impl Server for Mysqld {
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
        format!("mysql://root@127.0.0.1:{}", self.port)
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn data_dir(&self) -> PathBuf {
        self.place.outer("data")
    }
}

/// No two servers that run at the same time share a port, so none share an id.
fn server_id(port: u16) -> u32 {
    1000 + u32::from(port)
}

/// Servers refuse to run as root unless told.
fn as_root() -> Option<String> {
    rustix::process::geteuid()
        .is_root()
        .then(|| "--user=root".to_owned())
}

/// The program in the PATH that is MariaDB's server.
pub(crate) fn mariadbd() -> Option<PathBuf> {
    on_path("mariadbd").or_else(|| on_path("mysqld").filter(|program| is_mariadb(program)))
}

/// The program in the PATH that is MySQL's server.
pub(crate) fn mysqld() -> Option<PathBuf> {
    on_path("mysqld").filter(|program| !is_mariadb(program))
}

/// Debian's MariaDB calls itself `mysqld` too.
fn is_mariadb(program: &Path) -> bool {
    run(Command::new(program).arg("--version")).is_ok_and(|text| text.contains("MariaDB"))
}
