//! MongoDB replica sets.

mod wire;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bson::{Document, doc};

use crate::place::{Place, free_port};
use crate::running::{Running, alive, ended};
use crate::{Result, Server, install, spawn};

/// The name of each set.
const SET: &str = "rs0";
/// Longest that a set may take to choose its primary.
const ELECTION: Duration = Duration::from_secs(60);

/// How a replica set is started.
#[derive(Debug, Clone)]
pub struct MongodOptions {
    /// How many members it has: one or three.
    pub members: usize,
    /// Arguments of each member that come last, and so win.
    pub args: Vec<String>,
}

impl Default for MongodOptions {
    fn default() -> Self {
        Self {
            members: 1,
            args: Vec::new(),
        }
    }
}

/// A replica set without authentication; its members are killed and their data removed when it is dropped.
///
/// As a [`Server`], what is done is done to all members.
pub struct Mongod {
    members: Vec<Member>,
    options: MongodOptions,
    program: PathBuf,
    version: String,
}

struct Member {
    running: Option<Running>,
    port: u16,
    place: Place,
}

impl Mongod {
    /// Starts the members, makes a set of them and waits until it has a primary.
    ///
    /// # Errors
    /// Where they cannot be had, do not come up, or do not agree.
    pub fn start(options: MongodOptions) -> Result<Self> {
        if ![1, 3].contains(&options.members) {
            return Err(format!(
                "A replica set has one member or three, not {}.",
                options.members
            ));
        }
        let mut set = Self {
            members: Vec::new(),
            program: install::mongodb()?,
            options,
            version: String::new(),
        };
        for _ in 0..set.options.members {
            set.members.push(Member {
                running: None,
                port: free_port()?,
                place: Place::new(Path::new("/"))?,
            });
        }
        set.launch()?;
        set.initiate()?;
        set.primary()?;
        let first = set.member(0)?.port;
        let answer = wire::command(first, doc! { "buildInfo": 1 })?;
        answer
            .get_str("version")
            .unwrap_or_default()
            .clone_into(&mut set.version);
        Ok(set)
    }

    fn launch(&mut self) -> Result<()> {
        for member in &mut self.members {
            if member.running.is_none() {
                member.launch(&self.program, &self.options.args)?;
            }
        }
        Ok(())
    }

    fn initiate(&self) -> Result<()> {
        let members: Vec<Document> = (0..)
            .zip(&self.members)
            .map(|(id, member): (i32, _)| doc! { "_id": id, "host": format!("127.0.0.1:{}", member.port) })
            .collect();
        let config = doc! {
            "_id": SET,
            "members": members,
            // Elections after 2 s instead of 10: a test waits for them.
            "settings": { "electionTimeoutMillis": 2000 },
        };
        wire::command(self.member(0)?.port, doc! { "replSetInitiate": config }).map(|_| ())
    }

    /// The index of the member that takes writes, waiting until there is one.
    ///
    /// # Errors
    /// Where none is chosen.
    pub fn primary(&self) -> Result<usize> {
        let end = Instant::now() + ELECTION;
        loop {
            let found = self.members.iter().position(|member| {
                member.running.is_some()
                    && wire::command(member.port, doc! { "hello": 1 })
                        .is_ok_and(|answer| answer.get_bool("isWritablePrimary").unwrap_or(false))
            });
            if let Some(index) = found {
                return Ok(index);
            }
            if Instant::now() > end {
                return Err(format!("No primary was chosen within {} s.", ELECTION.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills one member.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn kill_member(&mut self, index: usize) -> Result<()> {
        ended(&mut self.member_mut(index)?.running)?.kill()
    }

    /// Freezes one member.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn pause_member(&mut self, index: usize) -> Result<()> {
        alive(&self.member(index)?.running)?.pause()
    }

    /// Lets one member run on.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn resume_member(&mut self, index: usize) -> Result<()> {
        alive(&self.member(index)?.running)?.resume()
    }

    /// Starts one member again that has ended.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn restart_member(&mut self, index: usize) -> Result<()> {
        let (program, args) = (self.program.clone(), self.options.args.clone());
        let member = self.member_mut(index)?;
        if let Ok(mut running) = ended(&mut member.running) {
            running.stop()?;
        }
        member.launch(&program, &args)
    }

    fn member(&self, index: usize) -> Result<&Member> {
        self.members
            .get(index)
            .ok_or_else(|| format!("The set has no member {index}."))
    }

    fn member_mut(&mut self, index: usize) -> Result<&mut Member> {
        self.members
            .get_mut(index)
            .ok_or_else(|| format!("The set has no member {index}."))
    }

    fn each(&mut self, action: impl Fn(&mut Member) -> Result<()>) -> Result<()> {
        self.members.iter_mut().try_for_each(action)
    }
}

impl Member {
    fn launch(&mut self, program: &Path, args: &[String]) -> Result<()> {
        let folder = self.place.outer("data");
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
        let mut command = spawn::mortal(program, self.place.root());
        command
            .args([
                "--replSet",
                SET,
                "--bind_ip",
                "127.0.0.1",
                "--wiredTigerCacheSizeGB",
                "0.25",
            ])
            .args([
                "--nounixsocket",
                "--setParameter",
                "diagnosticDataCollectionEnabled=false",
            ])
            .arg("--port")
            .arg(self.port.to_string())
            .arg("--dbpath")
            .arg(self.place.inner("data"))
            .args(args);
        let port = self.port;
        let answers = || wire::command(port, doc! { "hello": 1 }).is_ok();
        let running = Running::start(command, &self.place.outer("log"), answers)
            .map_err(|error| format!("mongodb: {error}"))?;
        self.running = Some(running);
        Ok(())
    }
}

impl Server for Mongod {
    fn kill(&mut self) -> Result<()> {
        self.each(|member| ended(&mut member.running)?.kill())
    }

    fn stop(&mut self) -> Result<()> {
        self.each(|member| ended(&mut member.running)?.stop())
    }

    fn pause(&mut self) -> Result<()> {
        self.each(|member| alive(&member.running)?.pause())
    }

    fn resume(&mut self) -> Result<()> {
        self.each(|member| alive(&member.running)?.resume())
    }

    fn restart(&mut self, args: Option<Vec<String>>) -> Result<()> {
        self.each(|member| match member.running.take() {
            Some(mut running) => running.stop(),
            None => Ok(()),
        })?;
        if let Some(args) = args {
            self.options.args = args;
        }
        self.launch()?;
        self.primary().map(|_| ())
    }

    /// The first member's.
    fn port(&self) -> u16 {
        self.members.first().map_or(0, |member| member.port)
    }

    fn url(&self) -> String {
        let hosts: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("127.0.0.1:{}", member.port))
            .collect();
        format!("mongodb://{}/?replicaSet={SET}", hosts.join(","))
    }

    fn version(&self) -> &str {
        &self.version
    }

    /// The first member's.
    fn data_dir(&self) -> PathBuf {
        self.members
            .first()
            .map(|member| member.place.outer("data"))
            .unwrap_or_default()
    }
}
