//! Checkpoints in a directory: one file a source, one for its definitions, and one that is locked.
//!
//! A file is written aside, synchronised, and renamed over the old one, and then the directory is synchronised: a crash or
//! a full disk at any instant leaves the old one whole. A file whose synchronisation failed is never looked at again. The
//! lock is the operating system's (`flock(2)`, `LockFileEx`): it ends with the process, however that ends. It is that of a file, not
//! of a path: where the directory was deleted and made again, the file there is another one, and is locked anew before anything
//! is written.
//!
//! Files are the owner's alone (0600, in a directory of 0700), and a directory that others may write to is refused:
//! positions of MongoDB hold keys of documents, and whoever can swap a checkpoint can make changes disappear.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::owner::{Owner, taken};
use super::record::{Record, checksum};
use super::{Definitions, Saved, Store};
use crate::code::Code;
use crate::error::{Error, Result};

/// Largest file that is read: positions have at most 4 MiB, definitions of 100,000 tables take less.
const MAX_BYTES: u64 = 256 << 20;

/// Keeps checkpoints in files.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    sources: Vec<Source>,
}

/// A source whose checkpoint this process has.
#[derive(Debug)]
struct Source {
    name: String,
    /// Locked as long as it is open.
    lock: File,
    /// Version and name of the definitions that are stored.
    definitions: Option<(u64, String)>,
}

impl Directory {
    /// A store in a directory, which is made at the first use.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            sources: Vec::new(),
        }
    }

    fn open_source(&mut self, name: &str) -> Result<Option<Saved>> {
        make_directory(&self.path)?;
        let lock = lock(&self.path, name)?;
        check_owner(&self.path, &lock)?;
        self.sources.retain(|source| source.name != name);
        self.sources.push(Source {
            name: name.to_owned(),
            lock,
            definitions: None,
        });
        let file = checkpoint_file(&self.path, name);
        let Some(bytes) = read(&file)? else {
            return Ok(None);
        };
        let record = Record::decode(&bytes, name, &file.display().to_string())?;
        let definitions = match &record.definitions {
            Some(stored) => {
                read(&definitions_file(&self.path, name, stored))?.filter(|bytes| checksum(bytes) == *stored)
            }
            None => None,
        };
        Ok(Some(Saved {
            position: record.position,
            witness: record.witness,
            snapshot: record.snapshot,
            definitions,
        }))
    }

    /// Makes sure that the file that is locked is still the one that others would lock.
    fn keep_possession(&mut self, name: &str) -> Result<()> {
        let path = lock_file(&self.path, name);
        let Some(source) = self.sources.iter_mut().find(|source| source.name == name) else {
            return Err(failed(&self.path, "it was not opened"));
        };
        if is_at(&source.lock, &path) {
            return Ok(());
        }
        check_directory(&self.path)?;
        let lock = lock(&self.path, name)?;
        check_owner(&self.path, &lock)?;
        source.lock = lock;
        // What was stored beside it is gone as well.
        source.definitions = None;
        Ok(())
    }

    fn save_source(
        &mut self,
        name: &str,
        position: &str,
        witness: Option<&str>,
        snapshot: Option<String>,
        definitions: Option<&dyn Definitions>,
    ) -> Result<()> {
        self.keep_possession(name)?;
        let Some(source) = self.sources.iter_mut().find(|source| source.name == name) else {
            return Err(failed(&self.path, "it was not opened"));
        };
        let stored = match (definitions, &source.definitions) {
            (Some(new), Some((version, stored)))
                if new.version() == *version && definitions_file(&self.path, name, stored).exists() =>
            {
                Some(stored.clone())
            }
            (Some(new), _) => {
                let bytes = new.to_bytes();
                let stored = checksum(&bytes);
                replace(&self.path, &definitions_file(&self.path, name, &stored), &bytes)?;
                Some(stored)
            }
            (None, _) => None,
        };
        let record = Record::new(name, position, witness, snapshot, stored.clone());
        let file = checkpoint_file(&self.path, name);
        replace(&self.path, &file, record.encode().as_bytes())?;
        let version = definitions.map(Definitions::version);
        let now = version.zip(stored);
        if now != source.definitions {
            remove_others(&self.path, name, now.as_ref().map(|(_, stored)| stored.as_str()));
            source.definitions = now;
        }
        Ok(())
    }
}

impl Store for Directory {
    fn open<'a>(&'a mut self, source: &'a str) -> BoxFuture<'a, Result<Option<Saved>>> {
        // A few small reads before anything streams.
        async move { self.open_source(source) }.boxed()
    }

    fn save<'a>(
        &'a mut self,
        source: &'a str,
        position: &'a str,
        witness: Option<&'a str>,
        snapshot: Option<String>,
        definitions: Option<Arc<dyn Definitions>>,
    ) -> BoxFuture<'a, Result<()>> {
        let (source, position) = (source.to_owned(), position.to_owned());
        let witness = witness.map(ToOwned::to_owned);
        let path = self.path.clone();
        let mut taken = Self {
            path: std::mem::take(&mut self.path),
            sources: std::mem::take(&mut self.sources),
        };
        async move {
            // Synchronising may take as long as the disk likes, and must not hold a thread of the runtime.
            let work = tokio::task::spawn_blocking(move || {
                let (witness, definitions) = (witness.as_deref(), definitions.as_deref());
                let result = taken.save_source(&source, &position, witness, snapshot, definitions);
                (taken, result)
            });
            match work.await {
                Ok((taken, result)) => {
                    *self = taken;
                    result
                }
                Err(_) => {
                    let error = failed(&path, "the task that writes it ended");
                    self.path = path;
                    Err(error)
                }
            }
        }
        .boxed()
    }

    fn renew(&mut self) -> BoxFuture<'_, Result<()>> {
        let names: Vec<String> = self.sources.iter().map(|source| source.name.clone()).collect();
        // Only the loss of possession is told: what cannot be written is told when there is something to write.
        let lost = names
            .iter()
            .filter_map(|name| self.keep_possession(name).err())
            .find(|error| error.code() == Code::CheckpointLocked);
        async move { lost.map_or(Ok(()), Err) }.boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.sources.clear();
        async {}.boxed()
    }
}

fn checkpoint_file(directory: &Path, source: &str) -> PathBuf {
    directory.join(format!("{source}.checkpoint"))
}

fn definitions_file(directory: &Path, source: &str, stored: &str) -> PathBuf {
    directory.join(format!("{source}.{stored}.definitions"))
}

/// Removes the definitions of earlier checkpoints; what cannot be removed is only litter.
fn remove_others(directory: &Path, source: &str, kept: Option<&str>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let stored = name.to_str().and_then(|name| {
            name.strip_prefix(source)?
                .strip_prefix('.')?
                .strip_suffix(".definitions")
        });
        let is_ours = stored.is_some_and(|stored| {
            stored.len() == 8 && stored.bytes().all(|c| c.is_ascii_hexdigit()) && Some(stored) != kept
        });
        if is_ours {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn lock_file(directory: &Path, source: &str) -> PathBuf {
    directory.join(format!("{source}.lock"))
}

/// Whether an open file is the one at a path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Windows deletes no directory whose files are open.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

fn make_directory(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| refused(path, &error))?;
    check_directory(path)
}

fn check_directory(path: &Path) -> Result<()> {
    let metadata = fs::metadata(path).map_err(|error| refused(path, &error))?;
    if !metadata.is_dir() {
        return Err(failed(path, "it is no directory"));
    }
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::mode(&metadata) & 0o022 != 0 {
        return Err(
            failed(path, "others may write to it").with_advice("Give it to its owner alone: chmod 700.")
        );
    }
    Ok(())
}

/// The directory must be of the user that we are, whom the lock that we have just opened tells.
#[cfg(unix)]
fn check_owner(path: &Path, _lock: &File) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).map_err(|error| refused(path, &error))?;
    if metadata.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(failed(path, "it belongs to another user")
        .with_advice("Choose a directory of the user that runs this process."))
}

#[cfg(not(unix))]
fn check_owner(_: &Path, _: &File) -> Result<()> {
    Ok(())
}

/// Options that never follow a link, and make what is made the owner's alone.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits();
        options.mode(0o600).custom_flags(no_follow as i32);
    }
    options
}

fn lock(directory: &Path, source: &str) -> Result<File> {
    let path = lock_file(directory, source);
    let mut file = options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| refused(&path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = (&mut file).take(4096).read_to_string(&mut holder);
            return Err(taken(source, &holder));
        }
        Err(TryLockError::Error(error)) => return Err(refused(&path, &error)),
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.write_all(Owner::this().text().as_bytes()));
    written.map_err(|error| refused(&path, &error))?;
    Ok(file)
}

/// The content of a file; `None` where there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match options().read(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(path, &error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| refused(path, &error))?;
    Ok(Some(bytes))
}

/// Replaces a file whole.
fn replace(directory: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    let write = || -> std::io::Result<()> {
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = options().write(true).create_new(true).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        synchronise(directory)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&aside);
        refused(path, &error)
    })
}

#[cfg(unix)]
fn synchronise(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Windows orders renames itself, and opens no directory as a file.
#[cfg(not(unix))]
fn synchronise(_: &Path) -> std::io::Result<()> {
    Ok(())
}

fn refused(path: &Path, error: &std::io::Error) -> Error {
    failed(path, &error.to_string())
}

fn failed(path: &Path, why: &str) -> Error {
    Error::new(
        Code::CheckpointFailed,
        format!("The checkpoint {} cannot be used: {why}.", path.display()),
    )
    .with_detail("checkpoint", path.display().to_string())
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
