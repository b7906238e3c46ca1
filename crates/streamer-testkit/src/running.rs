//! One child that runs: started, asked whether it answers, frozen, ended in an orderly way or at once.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::Result;
use crate::spawn::spawn;

/// Longest that a server may take until it answers; a slow disk and two busy processors take tens of seconds.
const READY: Duration = Duration::from_secs(90);
/// Longest that an orderly end may take.
const STOP: Duration = Duration::from_secs(60);
/// Between two looks at a condition that nothing announces.
const LOOK: Duration = Duration::from_millis(10);
const NOT_RUNNING: &str = "The server does not run.";
/// Lines of a log that an error shows.
const TAIL: usize = 20;

/// A child and its log.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a command, whose output goes to the end of a log, and waits until `answers` says so.
    ///
    /// # Errors
    /// Where it cannot be started, ends, or does not answer in time; with the end of its log.
    pub(crate) fn start(mut command: Command, log: &Path, mut answers: impl FnMut() -> bool) -> Result<Self> {
        let failed = |error: std::io::Error| format!("The log {} cannot be opened: {error}", log.display());
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(failed)?;
        let errors = output.try_clone().map_err(failed)?;
        let begin = output.metadata().map_err(failed)?.len();
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let mut running = Self {
            child: spawn(command)?,
            log: log.to_owned(),
        };
        let end = Instant::now() + READY;
        loop {
            let answered = answers();
            // Asked after: what answers when the child has ended is somebody else on the same port.
            let exited = running.exited()?;
            if answered && exited.is_none() {
                return Ok(running);
            }
            if exited.is_some() || Instant::now() > end {
                let fate = exited.map_or_else(
                    || format!("did not answer within {} s", READY.as_secs()),
                    |status| format!("ended ({status})"),
                );
                running.kill()?;
                return Err(format!(
                    "The server {fate}. Its log ends:\n{}",
                    running.tail(begin)
                ));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .map_err(|error| format!("A server cannot be waited for: {error}"))
    }

    /// The last lines of the log since `begin`.
    fn tail(&self, begin: u64) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let begin = usize::try_from(begin).unwrap_or(0);
        let text = String::from_utf8_lossy(bytes.get(begin..).unwrap_or_default());
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(TAIL)..)
            .unwrap_or_default()
            .join("\n")
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| "The server has no process id.".to_owned())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid()?, signal).map_err(|error| format!("The server cannot be signalled: {error}"))
    }

    /// Ends it at once, as a crash does, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let failed = |error| format!("The server cannot be killed: {error}");
        self.child.kill().map_err(failed)?;
        self.child.wait().map(|_| ()).map_err(failed)
    }

    /// Shuts it down in an orderly way and waits until it is gone. One that does not end is killed, and that is an error.
    pub(crate) fn stop(&mut self) -> Result<()> {
        // A signal to a process that has ended and was not waited for does nothing.
        self.signal(Signal::TERM)?;
        // A frozen process takes no other signal.
        self.signal(Signal::CONT)?;
        let end = Instant::now() + STOP;
        while self.exited()?.is_none() {
            if Instant::now() > end {
                self.kill()?;
                return Err(format!(
                    "The server did not stop within {} s and was killed.",
                    STOP.as_secs()
                ));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Freezes it, and returns when it is frozen.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(self.pid()?), options)
            .map_err(|error| format!("The server cannot be waited for: {error}"))?;
        match status {
            Some(status) if status.stopped() => Ok(()),
            _ => Err("The server ended before it could be paused.".to_owned()),
        }
    }

    /// Lets it run on.
    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }
}

/// The child of a server that has to run.
pub(crate) fn alive(running: &Option<Running>) -> Result<&Running> {
    running.as_ref().ok_or_else(|| NOT_RUNNING.to_owned())
}

/// Takes the child of a server that has to run and is going to end.
pub(crate) fn ended(running: &mut Option<Running>) -> Result<Running> {
    running.take().ok_or_else(|| NOT_RUNNING.to_owned())
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
