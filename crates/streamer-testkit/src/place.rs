//! Where servers live: a folder for this process, removed at its end or, had it no chance to, by the next one; and ports
//! that nothing takes by chance.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::{Result, cache_folder};

/// What the folder of one process begins with.
const PREFIX: &str = "streamer-test-";
/// A unix socket's path has 108 bytes at most, with its zero (`sys/un.h`); macOS has 104.
const SOCKET_PATH: usize = 103;

static SERVERS: AtomicU32 = AtomicU32::new(0);
/// Folders of this process, one in each root, with the lock that says that it lives.
static FOLDERS: Mutex<Vec<(PathBuf, File)>> = Mutex::new(Vec::new());

/// A folder for one server, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    /// The server's root, seen from ours.
    root: PathBuf,
    /// The folder, seen from the server's root.
    inner: PathBuf,
}

impl Place {
    /// A fresh folder in the temporary folder of a root.
    ///
    /// # Errors
    /// Where it cannot be made, or a unix socket in it would have too long a path.
    pub(crate) fn new(root: &Path) -> Result<Self> {
        let temporary = if root == Path::new("/") {
            std::env::temp_dir()
        } else {
            PathBuf::from("/tmp")
        };
        let name = format!("{PREFIX}{}", std::process::id());
        claim(&within(root, &temporary), &name)?;
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let place = Self {
            root: root.to_owned(),
            inner: temporary.join(name).join(number.to_string()),
        };
        let folder = place.outer("");
        fs::create_dir_all(&folder)
            .map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
        let socket = place.outer("s");
        if socket.as_os_str().len() > SOCKET_PATH {
            return Err(format!(
                "The socket path {} is longer than {SOCKET_PATH} bytes. Set STREAMER_TEST_CACHE or TMPDIR to a shorter path.",
                socket.display()
            ));
        }
        Ok(place)
    }

    /// The server's root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A name in the folder as we see it.
    pub(crate) fn outer(&self, name: &str) -> PathBuf {
        within(&self.root, &self.inner).join(name)
    }

    /// A name in the folder as the server sees it.
    pub(crate) fn inner(&self, name: &str) -> PathBuf {
        self.inner.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.outer(""));
    }
}

/// A path of another root as we see it.
pub(crate) fn within(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Removes what this process has left behind; to be called when every server has ended.
pub(crate) fn leave() {
    let mut folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    for (folder, _lock) in folders.drain(..) {
        let _ = fs::remove_dir_all(folder);
    }
}

/// Makes this process's folder and locks it, once; and removes folders whose processes are gone. A lock outlives no
/// process, unlike a process id, which another may have by now.
fn claim(temporary: &Path, name: &str) -> Result<()> {
    let mut folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = temporary.join(name);
    if folders.iter().any(|(known, _)| *known == folder) {
        return Ok(());
    }
    let failed = |error: std::io::Error| format!("{} cannot be claimed: {error}", folder.display());
    let _one_at_a_time = locked("places")?;
    for entry in fs::read_dir(temporary).map_err(failed)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    fs::create_dir_all(&folder).map_err(failed)?;
    let lock = File::create(folder.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    folders.push((folder, lock));
    Ok(())
}

fn is_abandoned(folder: &Path) -> bool {
    File::open(folder.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok())
}

/// A lock between all processes that share the cache, held until the file is dropped.
///
/// # Errors
/// Where it cannot be had.
pub(crate) fn locked(name: &str) -> Result<File> {
    let path = cache_folder()?.join(format!("{name}.lock"));
    let failed = |error| format!("{} cannot be locked: {error}", path.display());
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

/// A port on which nothing listens, below those that the system gives to outgoing connections (32768 and up on Linux): a
/// client that tries again and again while its server is down would else sooner or later be given that very port, connect
/// to itself, and keep the server from coming back.
///
/// # Errors
/// Where none is found.
pub(crate) fn free_port() -> Result<u16> {
    for _ in 0..200 {
        let port = fastrand::u16(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("No free port was found between 20000 and 32000.".to_owned())
}
