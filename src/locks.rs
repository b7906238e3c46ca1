//! Locks of SQLite that hold against other copies of SQLite in the process.
//!
//! POSIX gives the locks of a file to the process. So two copies of SQLite in one process (this one, and that of better-sqlite3, libsql or
//! `node:sqlite`) do not exclude each other: the one that opens last truncates the shared index of a write-ahead log under the other, and
//! whoever closes a descriptor drops the locks of both. Commits get lost (<https://www.sqlite.org/howtocorrupt.html>, 2.2 and 2.2.1).
//!
//! Linux has locks that belong to an open file description instead (`F_OFD_SETLK`, `fcntl_locking(2)`): they conflict with those of POSIX
//! also within a process. SQLite lets its system calls be replaced (`xSetSystemCall`), so here:
//!
//! - Every lock of a file is set through one descriptor of its own, kept for that file: SQLite itself counts on locks being the
//!   process's, and frees through one descriptor what it took through another.
//! - A descriptor of a file that was ever locked is not closed, because that would drop the locks of the other copies. It is kept, and
//!   given out again when the file is opened the next time; once the file is deleted, it is closed.
//!
//! Elsewhere than on Linux nothing is replaced.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::mem;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rusqlite::ffi;

/// Device and inode.
type File = (u64, u64);

/// What is kept of a file.
#[derive(Default)]
struct Kept {
    /// Its locks are set through this one.
    locker: Option<RawFd>,
    /// Closed by SQLite.
    idle: Vec<RawFd>,
}

static KEPT: Mutex<Option<HashMap<File, Kept>>> = Mutex::new(None);

/// Makes the locks of this copy of SQLite hold against others. Before the first connection; later calls do nothing.
pub fn isolate() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the default VFS lives as long as the process, and is only changed here, before a connection is made. SQLite calls the
        // replacements through pointers of the types that it declares in `os_unix.c`: `open(const char*, int, int)`, `close(int)`, and
        // `fcntl(int, int, ...)`, whose third argument is passed in the same register as a fixed one by the calling conventions of
        // Linux on x86-64 and aarch64.
        unsafe {
            let vfs = ffi::sqlite3_vfs_find(std::ptr::null());
            let Some(set) = vfs.as_ref().and_then(|vfs| vfs.xSetSystemCall) else {
                return;
            };
            type Plain = unsafe extern "C" fn();
            let calls: [(&std::ffi::CStr, Plain); 3] = [
                (
                    c"open",
                    mem::transmute::<unsafe extern "C" fn(*const c_char, c_int, c_int) -> c_int, Plain>(open),
                ),
                (
                    c"close",
                    mem::transmute::<unsafe extern "C" fn(c_int) -> c_int, Plain>(close),
                ),
                (
                    c"fcntl",
                    mem::transmute::<unsafe extern "C" fn(c_int, c_int, *mut c_void) -> c_int, Plain>(fcntl),
                ),
            ];
            for (name, call) in calls {
                set(vfs, name.as_ptr(), Some(call));
            }
        }
    });
}

fn kept() -> MutexGuard<'static, Option<HashMap<File, Kept>>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file behind a descriptor, and whether it has a name.
fn file_of(descriptor: RawFd) -> Option<(File, bool)> {
    // SAFETY: `stat` is plain data, which the call fills in.
    unsafe {
        let mut stat: libc::stat = mem::zeroed();
        (libc::fstat(descriptor, &raw mut stat) == 0)
            .then_some(((stat.st_dev, stat.st_ino), stat.st_nlink > 0))
    }
}

/// Closes what is kept of files that have no name any more: nobody can come to know of their locks.
fn sweep(all: &mut HashMap<File, Kept>) {
    all.retain(|_, kept| {
        let is_deleted = kept
            .locker
            .and_then(file_of)
            .is_none_or(|(_, has_name)| !has_name);
        if is_deleted {
            for descriptor in kept.idle.drain(..).chain(kept.locker.take()) {
                // SAFETY: nobody else has these descriptors.
                unsafe { libc::close(descriptor) };
            }
        }
        !is_deleted
    });
}

/// The descriptor through which the locks of a file are set.
fn locker(descriptor: RawFd) -> Option<RawFd> {
    let (file, _) = file_of(descriptor)?;
    let mut all = kept();
    let all = all.get_or_insert_default();
    if let Some(locker) = all.get(&file).and_then(|kept| kept.locker) {
        return Some(locker);
    }
    sweep(all);
    let path = std::ffi::CString::new(format!("/proc/self/fd/{descriptor}")).ok()?;
    let opened = |flags: c_int| {
        // SAFETY: `path` ends with a zero.
        let opened = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) };
        (opened >= 0).then_some(opened)
    };
    let locker = opened(libc::O_RDWR).or_else(|| opened(libc::O_RDONLY))?;
    all.entry(file).or_default().locker = Some(locker);
    Some(locker)
}

/// `fcntl`, whose locks are those of one open file description a file.
unsafe extern "C" fn fcntl(descriptor: c_int, command: c_int, argument: *mut c_void) -> c_int {
    let of_description = match command {
        libc::F_SETLK => libc::F_OFD_SETLK,
        libc::F_SETLKW => libc::F_OFD_SETLKW,
        libc::F_GETLK => libc::F_OFD_GETLK,
        // SAFETY: as SQLite called.
        _ => return unsafe { libc::fcntl(descriptor, command, argument) },
    };
    match locker(descriptor) {
        // SAFETY: with these commands SQLite hands over a `struct flock` of its own.
        Some(locker) => unsafe {
            (*argument.cast::<libc::flock>()).l_pid = 0;
            libc::fcntl(locker, of_description, argument)
        },
        // SAFETY: as SQLite called.
        None => unsafe { libc::fcntl(descriptor, command, argument) },
    }
}

/// `close`, which keeps descriptors of files that were locked.
unsafe extern "C" fn close(descriptor: c_int) -> c_int {
    if let Some((file, has_name)) = file_of(descriptor)
        && let Some(all) = kept().as_mut()
        && let Some(of_file) = all.get_mut(&file)
    {
        of_file.idle.push(descriptor);
        if !has_name {
            sweep(all);
        }
        return 0;
    }
    // SAFETY: as SQLite called.
    unsafe { libc::close(descriptor) }
}

/// `open`, which gives out what was kept.
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    if flags & (libc::O_EXCL | libc::O_TRUNC) == 0
        && let Some(descriptor) = take_idle(path, flags & libc::O_ACCMODE)
    {
        return descriptor;
    }
    // SAFETY: as SQLite called.
    unsafe { libc::open(path, flags, mode) }
}

/// A kept descriptor of the file at `path` that was opened for the same access.
fn take_idle(path: *const c_char, access: c_int) -> Option<RawFd> {
    let mut all = kept();
    let all = all.as_mut()?;
    // SAFETY: SQLite's path ends with a zero, and `stat` is plain data, which the call fills in.
    let file = unsafe {
        let mut stat: libc::stat = mem::zeroed();
        if libc::stat(path, &raw mut stat) != 0 {
            return None;
        }
        (stat.st_dev, stat.st_ino)
    };
    let idle = &mut all.get_mut(&file)?.idle;
    // SAFETY: the descriptor is open, and the command takes no argument.
    let fits =
        |descriptor: &RawFd| unsafe { libc::fcntl(*descriptor, libc::F_GETFL) } & libc::O_ACCMODE == access;
    let at = idle.iter().position(fits)?;
    Some(idle.swap_remove(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_holds_against_the_process_itself_and_survives_what_is_closed() {
        isolate();
        let path = std::env::temp_dir().join(format!("streamer-locks-{}.db", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch("CREATE TABLE t (id INTEGER); BEGIN IMMEDIATE")
            .unwrap();
        // As another copy would look at it, with a lock of the process.
        let other = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let is_free = |file: &std::fs::File| {
            // SAFETY: plain data.
            let mut lock: libc::flock = unsafe { mem::zeroed() };
            (lock.l_type, lock.l_whence) = (libc::F_WRLCK as _, libc::SEEK_SET as _);
            // SAFETY: the descriptor is open, and the lock lives.
            let asked = unsafe {
                libc::fcntl(
                    std::os::fd::AsRawFd::as_raw_fd(file),
                    libc::F_GETLK,
                    &raw mut lock,
                )
            };
            assert_eq!(asked, 0);
            i32::from(lock.l_type) == libc::F_UNLCK
        };
        assert!(!is_free(&other));
        // What would drop every lock of the process.
        drop(std::fs::File::open(&path).unwrap());
        assert!(!is_free(&other));
        connection.execute_batch("COMMIT").unwrap();
        assert!(is_free(&other));
        // Closed descriptors are given out again.
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        drop(connection);
        let before = count();
        for _ in 0..20 {
            let again = rusqlite::Connection::open(&path).unwrap();
            again.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        }
        assert!(count() <= before + 4, "{} descriptors, {before} before", count());
        std::fs::remove_file(&path).unwrap();
    }
}
