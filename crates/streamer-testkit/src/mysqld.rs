//! MySQL and MariaDB servers.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::{Certificates, Result, cache_folder, install, on_path, run};

/// Longest that a server may take to answer.
const READY: Duration = Duration::from_secs(90);

static STARTED: AtomicU32 = AtomicU32::new(0);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// MySQL.
    Mysql,
    /// MariaDB.
    Mariadb,
}

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which server.
    pub flavor: Flavor,
    /// Arguments that come last, and so win.
    pub args: Vec<String>,
    /// Whether it has a certificate of an authority of its own.
    pub tls: bool,
}

/// A server; it is killed and its data is removed when it is dropped.
pub struct Mysqld {
    options: Options,
    /// What its system's root is, seen from ours.
    root: PathBuf,
    /// Its folder, as it sees it.
    folder: PathBuf,
    certificates: Option<Certificates>,
    port: u16,
    child: Option<Child>,
}

impl Mysqld {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// Where it cannot be had or does not come up; with the end of its log.
    pub fn start(options: Options) -> Result<Self> {
        let root = match options.flavor {
            Flavor::Mysql => install::mysql()?,
            Flavor::Mariadb => PathBuf::from("/"),
        };
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(format!("/tmp/st-{}-{number}", std::process::id()));
        let mut server = Self {
            port: free_port()?,
            options,
            root,
            folder,
            certificates: None,
            child: None,
        };
        let outer = server.outer(&server.folder);
        let _ = std::fs::remove_dir_all(&outer);
        std::fs::create_dir_all(&outer)
            .map_err(|error| format!("{} cannot be made: {error}", outer.display()))?;
        let template = server.template()?;
        run(Command::new("cp")
            .arg("-r")
            .arg(&template)
            .arg(outer.join("data")))?;
        // Each server has an identity of its own.
        let _ = std::fs::remove_file(outer.join("data/auto.cnf"));
        if server.options.tls {
            server.certificates = Some(Certificates::make(&outer)?);
        }
        server.launch()?;
        Ok(server)
    }

    /// A path of the server as we see it.
    fn outer(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn program(&self) -> Result<PathBuf> {
        match self.options.flavor {
            Flavor::Mariadb => on_path("mariadbd").ok_or_else(|| "mariadbd is not on the PATH.".to_owned()),
            Flavor::Mysql => Ok(PathBuf::from("/usr/sbin/mysqld")),
        }
    }

    /// A command inside the server's root, that dies with this process.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if self.root != Path::new("/") {
            command.arg("chroot").arg(&self.root);
        }
        command.arg(program);
        command
    }

    /// A data directory as the server makes it, made once for each version.
    fn template(&self) -> Result<PathBuf> {
        let program = self.program()?;
        let version = run(self.command(&program).arg("--version"))?;
        let name: String = version
            .split_whitespace()
            .skip_while(|word| *word != "Ver")
            .nth(1)
            .unwrap_or("unknown")
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let (folder, inner) = match self.options.flavor {
            Flavor::Mariadb => {
                let folder = cache_folder()?.join(format!("template-mariadb-{name}"));
                (folder.clone(), folder)
            }
            Flavor::Mysql => {
                let inner = PathBuf::from(format!("/var/lib/template-mysql-{name}"));
                (self.outer(&inner), inner)
            }
        };
        let lock_path = cache_folder()?.join(format!("template-{name}.lock"));
        let lock = std::fs::File::create(&lock_path).map_err(|error| format!("No lock file: {error}"))?;
        lock.lock()
            .map_err(|error| format!("The lock on a template cannot be had: {error}"))?;
        if folder.join("ready").exists() {
            return Ok(folder);
        }
        let _ = std::fs::remove_dir_all(&folder);
        match self.options.flavor {
            Flavor::Mariadb => run(Command::new("mariadb-install-db")
                .args([
                    "--no-defaults",
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                ])
                .arg(format!("--user={}", user()))
                .arg(format!("--datadir={}", inner.display())))?,
            Flavor::Mysql => run(self
                .command(&program)
                .args(["--no-defaults", "--initialize-insecure"])
                .arg(format!("--user={}", user()))
                .arg(format!("--datadir={}", inner.display())))?,
        };
        std::fs::write(folder.join("ready"), "")
            .map_err(|error| format!("The template cannot be marked: {error}"))?;
        Ok(folder)
    }

    fn launch(&mut self) -> Result<()> {
        let program = self.program()?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .map_err(|error| format!("No log file: {error}"))?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let mut command = self.command(&program);
        command
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        let child = command
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
        self.child = Some(child);
        self.wait_until_ready()
    }

    fn arguments(&self) -> Vec<String> {
        let folder = self.folder.display();
        let mut arguments: Vec<String> = [
            "--no-defaults",
            "--log-bin=binlog",
            "--binlog-format=ROW",
            "--innodb-buffer-pool-size=48M",
            "--innodb-flush-log-at-trx-commit=0",
            "--sync-binlog=0",
            "--max-connections=200",
            "--secure-file-priv=",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend([
            format!("--user={}", user()),
            format!("--datadir={folder}/data"),
            format!("--socket={folder}/s"),
            format!("--pid-file={folder}/pid"),
            format!("--port={}", self.port),
            format!("--server-id={}", 1000 + u32::from(self.port)),
            "--bind-address=127.0.0.1,127.0.0.2".to_owned(),
        ]);
        match self.options.flavor {
            Flavor::Mysql => {
                arguments.extend(["--mysqlx=OFF".to_owned(), "--performance-schema=OFF".to_owned()])
            }
            // One address is what every version takes.
            Flavor::Mariadb => {
                arguments.retain(|argument| !argument.starts_with("--bind-address"));
                arguments.push("--bind-address=127.0.0.1".to_owned());
            }
        }
        if self.certificates.is_some() {
            arguments.extend([
                format!("--ssl-ca={folder}/ca.pem"),
                format!("--ssl-cert={folder}/server-cert.pem"),
                format!("--ssl-key={folder}/server-key.pem"),
            ]);
        }
        arguments.extend(self.options.args.iter().cloned());
        arguments
    }

    fn log_path(&self) -> PathBuf {
        self.outer(&self.folder).join("log")
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let end = Instant::now() + READY;
        loop {
            if greets(self.port) {
                return Ok(());
            }
            let exited = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            if exited.is_some() || Instant::now() > end {
                let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                return Err(format!(
                    "The {:?} server did not come up. Its log ends:\n{}",
                    self.options.flavor,
                    tail.join("\n")
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let child = self.child.as_ref().ok_or("The server does not run.")?;
        run(Command::new("kill").args([signal, &child.id().to_string()])).map(|_| ())
    }

    /// Ends it at once, as a crash does.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().ok_or("The server does not run.")?;
        child.kill().map_err(|error| error.to_string())?;
        child.wait().map(|_| ()).map_err(|error| error.to_string())
    }

    /// Shuts it down in an orderly way.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn stop(&mut self) -> Result<()> {
        self.signal("-TERM")?;
        let mut child = self.child.take().ok_or("The server does not run.")?;
        child.wait().map(|_| ()).map_err(|error| error.to_string())
    }

    /// Freezes it: connections stay open, nothing answers.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal("-STOP")
    }

    /// Lets it run on.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal("-CONT")
    }

    /// Starts it again on the same port and data, with other arguments where they are given.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self, args: Option<Vec<String>>) -> Result<()> {
        if self.child.is_some() {
            self.stop()?;
        }
        if let Some(args) = args {
            self.options.args = args;
        }
        self.launch()
    }

    /// TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.outer(&self.folder).join("s")
    }

    /// Its certificates.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }
}

impl Drop for Mysqld {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = std::fs::remove_dir_all(self.outer(&self.folder));
    }
}

/// The account that servers run as: they refuse root unless told.
fn user() -> String {
    std::env::var("USER").unwrap_or_else(|_| "root".to_owned())
}

/// A port that nothing listens on.
pub(crate) fn free_port() -> Result<u16> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("No free port: {error}"))
}

/// Whether a server greets: its first packet is not an error.
fn greets(port: u16) -> bool {
    let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let _ = socket.set_read_timeout(Some(Duration::from_secs(2)));
    let mut head = [0; 5];
    socket.read_exact(&mut head).is_ok() && head[4] == 10
}
