//! Notices that another process has committed.
//!
//! `PRAGMA data_version` tells, for 3 µs a question. When to ask is told by the system: it says that a file next to the
//! database is written, which is before the commit can be seen, so that is the start of asking often. An event may be missing
//! (a file system of another computer, a container's mount), so it is asked from time to time anyway; where that finds what
//! no event announced, events are not relied upon for a while.

use std::path::Path;
use std::time::{Duration, Instant};

/// How long it is asked often after an event.
const ALERT: Duration = Duration::from_millis(20);

/// Between questions just after an event, and some time later.
const OFTEN: Duration = Duration::from_micros(100);
const OFTEN_FOR: Duration = Duration::from_millis(3);
const LESS_OFTEN: Duration = Duration::from_millis(1);

/// Between questions where nothing happens.
const IDLE: Duration = Duration::from_millis(50);

/// How long events are not relied upon.
const DISTRUST: Duration = Duration::from_secs(10);

/// Without events from the system: between questions where nothing happens, up to this.
const PLAIN_IDLE: Duration = Duration::from_millis(5);

/// When to look.
pub struct Watch {
    events: Option<Events>,
    last_event: Option<Instant>,
    distrust_until: Option<Instant>,
    last_change: Instant,
    /// Readers and writers exclude each other: questions cost the writer.
    is_wal: bool,
}

impl Watch {
    /// Watches the files of a database.
    pub fn new(path: &Path, is_wal: bool) -> Self {
        Self {
            events: Events::new(path),
            last_event: None,
            distrust_until: None,
            last_change: Instant::now(),
            is_wal,
        }
    }

    /// Whether the database's own file came or went since this was asked last.
    pub fn was_replaced(&mut self) -> bool {
        self.events
            .as_mut()
            .is_some_and(|events| std::mem::take(&mut events.was_replaced))
    }

    /// A look found something.
    pub fn found(&mut self) {
        let now = Instant::now();
        if self.events.is_some() && self.last_event.is_none_or(|at| now - at > ALERT) {
            self.distrust_until = Some(now + DISTRUST);
        }
        self.last_change = now;
    }

    /// Waits until it is time to look.
    pub fn wait(&mut self) {
        let now = Instant::now();
        let is_distrusted = self.distrust_until.is_some_and(|until| now < until);
        let Some(events) = self.events.as_mut().filter(|_| !is_distrusted) else {
            let idle = now - self.last_change;
            let pause = (idle / 100).clamp(LESS_OFTEN, PLAIN_IDLE);
            std::thread::sleep(pause);
            if let Some(events) = &mut self.events {
                events.wait(Duration::ZERO);
            }
            return;
        };
        let since = self.last_event.map(|at| now - at).filter(|since| *since < ALERT);
        let pause = match since {
            Some(since) if since < OFTEN_FOR && self.is_wal => OFTEN,
            Some(_) => LESS_OFTEN,
            None => IDLE,
        };
        if pause == IDLE {
            if events.wait(IDLE) {
                self.last_event = Some(Instant::now());
            }
            return;
        }
        std::thread::sleep(pause);
        if events.wait(Duration::ZERO) {
            self.last_event = Some(Instant::now());
        }
    }
}

#[cfg(target_os = "linux")]
use linux::Events;
#[cfg(not(target_os = "linux"))]
use other::Events;

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify;

    /// What the system tells of a folder.
    pub struct Events {
        queue: OwnedFd,
        name: Vec<u8>,
        pub was_replaced: bool,
    }

    impl Events {
        pub fn new(path: &Path) -> Option<Self> {
            let path = path.canonicalize().ok()?;
            let queue = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).ok()?;
            let flags = inotify::WatchFlags::MODIFY
                | inotify::WatchFlags::CREATE
                | inotify::WatchFlags::DELETE
                | inotify::WatchFlags::MOVED_TO
                | inotify::WatchFlags::MOVED_FROM;
            inotify::add_watch(&queue, path.parent()?, flags).ok()?;
            Some(Self {
                queue,
                name: path.file_name()?.as_encoded_bytes().to_vec(),
                was_replaced: false,
            })
        }

        /// Waits for an event of the database's files; takes all that there are.
        pub fn wait(&mut self, pause: Duration) -> bool {
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: i64::from(pause.subsec_nanos()),
            };
            let mut queues = [PollFd::new(&self.queue, PollFlags::IN)];
            if !matches!(poll(&mut queues, Some(&timeout)), Ok(count) if count > 0) {
                return false;
            }
            let mut space = [const { MaybeUninit::uninit() }; 4096];
            let mut reader = inotify::Reader::new(&self.queue, &mut space);
            let mut is_ours = false;
            let came_or_went = inotify::ReadFlags::CREATE
                | inotify::ReadFlags::DELETE
                | inotify::ReadFlags::MOVED_TO
                | inotify::ReadFlags::MOVED_FROM;
            while let Ok(event) = reader.next() {
                let name = event.file_name().map(|name| name.to_bytes()).unwrap_or_default();
                let Some(rest) = name.strip_prefix(self.name.as_slice()) else {
                    is_ours |= event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW);
                    continue;
                };
                is_ours |= matches!(rest, b"" | b"-wal" | b"-journal");
                self.was_replaced |= rest.is_empty() && event.events().intersects(came_or_went);
            }
            is_ours
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::path::Path;
    use std::time::Duration;

    /// No events: questions alone.
    pub struct Events {
        pub was_replaced: bool,
    }

    impl Events {
        pub fn new(_: &Path) -> Option<Self> {
            None
        }

        pub fn wait(&mut self, _: Duration) -> bool {
            false
        }
    }
}
