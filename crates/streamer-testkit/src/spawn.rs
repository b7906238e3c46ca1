//! Starts children on one thread that lives as long as this process.
//!
//! A server must die with whoever started it, also when that is killed. `setpriv --pdeathsig` asks the kernel for it, and
//! the signal comes when the *thread* that made the child ends; a test's own thread ends long before the process does.
//! Where there is no `setpriv` (not Linux), children outlive a parent that is killed, and only that.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::{Result, on_path};

struct Order {
    command: Command,
    answer: Sender<io::Result<Child>>,
}

/// A command that dies with this process, inside another root where one is given. It must be started by [`spawn`].
pub(crate) fn mortal(program: &Path, root: &Path) -> Command {
    let mut words: Vec<OsString> = Vec::new();
    if on_path("setpriv").is_some() {
        words.extend(["setpriv", "--pdeathsig", "KILL", "--"].map(Into::into));
    }
    if root != Path::new("/") {
        words.extend(["chroot".into(), root.as_os_str().to_owned()]);
    }
    words.push(program.as_os_str().to_owned());
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// Starts a command made by [`mortal`].
///
/// # Errors
/// Where it cannot be started.
pub(crate) fn spawn(command: Command) -> Result<Child> {
    static ORDERS: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = channel();
        std::thread::spawn(move || serve(&receiver));
        Mutex::new(sender)
    });
    let shown = command.get_program().to_string_lossy().into_owned();
    let (answer, answered) = channel();
    let gone = || "The thread that starts servers is gone.".to_owned();
    orders
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send(Order { command, answer })
        .map_err(|_| gone())?;
    answered
        .recv()
        .map_err(|_| gone())?
        .map_err(|error| format!("{shown} cannot be started: {error}"))
}

fn serve(orders: &Receiver<Order>) {
    while let Ok(Order { mut command, answer }) = orders.recv() {
        let _ = answer.send(command.spawn());
    }
}
