//! Everything below some directories, seen once each by one of several threads.

use super::MigrateError;
use super::beneath::{Base, Found};
use rustix::fs::RawDir;
use rustix::io::Errno;
use rustix::process::fchdir;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

/// What a thread does with each thing it finds.
pub(super) trait Visitor: Send {
    /// Looks at it. True for a directory whose entries are to be visited, too.
    fn visit(&mut self, found: &Found<'_>) -> Result<bool, MigrateError>;

    /// Called by each thread when nothing is left.
    fn finish(&mut self) -> Result<(), MigrateError> {
        Ok(())
    }
}

/// How many threads do a walk: two even on one processor, for one waits for the disk while the other works.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8)
}

enum Work {
    /// One of the directories given, itself.
    Start(PathBuf),
    /// The entries of a directory.
    Entries(PathBuf),
}

#[derive(Default)]
struct State {
    /// The last found is taken first: depth before breadth, so that little waits.
    waiting: Vec<Work>,
    busy: usize,
    failed: Option<MigrateError>,
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    fn take(&self) -> Option<Work> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(work) = state.waiting.pop() {
                state.busy += 1;
                return Some(work);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, found: &mut Vec<Work>, result: Result<(), MigrateError>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.busy -= 1;
        state.waiting.append(found);
        if let Err(error) = result {
            state.failed.get_or_insert(error);
        }
        drop(state);
        self.changed.notify_all();
    }

    fn has_failed(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failed.is_some()
    }

    fn fail(&self, result: Result<(), MigrateError>) {
        if let Err(error) = result {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).failed.get_or_insert(error);
        }
    }
}

/// Visits each of `starts`, and everything below those that are directories, with one thread a visitor. The first error
/// ends it.
pub(super) fn walk<V: Visitor>(base: &Base, starts: &[PathBuf], mut visitors: Vec<V>) -> Result<Vec<V>, MigrateError> {
    let waiting = starts.iter().rev().map(|start| Work::Start(start.clone())).collect();
    let queue = Queue { state: Mutex::new(State { waiting, ..State::default() }), changed: Condvar::new() };
    std::thread::scope(|scope| {
        for visitor in &mut visitors {
            let queue = &queue;
            scope.spawn(move || run(base, queue, visitor));
        }
    });
    match queue.state.into_inner().unwrap_or_else(PoisonError::into_inner).failed {
        Some(error) => Err(error),
        None => Ok(visitors),
    }
}

/// One thread's hands.
struct Walker<'a, V> {
    base: &'a Base,
    visitor: &'a mut V,
    /// Whether the thread has a working directory of its own, which makes a path of a name.
    roams: bool,
    buffer: Vec<u8>,
    next: Vec<Work>,
}

fn run<V: Visitor>(base: &Base, queue: &Queue, visitor: &mut V) {
    let mut walker = Walker { base, visitor, roams: roams(), buffer: Vec::with_capacity(32 << 10), next: Vec::new() };
    while let Some(work) = queue.take() {
        let result = match work {
            Work::Start(path) => walker.start(path),
            Work::Entries(path) => walker.entries(&path),
        };
        queue.done(&mut walker.next, result);
    }
    if !queue.has_failed() {
        queue.fail(visitor.finish());
    }
}

/// Gives this thread a working directory of its own, where that is allowed.
#[expect(
    deprecated,
    reason = "what makes it unsafe is sharing no descriptors (UnshareFlags::FILES), which is not asked for"
)]
fn roams() -> bool {
    rustix::thread::unshare(rustix::thread::UnshareFlags::FS).is_ok()
}

impl<V: Visitor> Walker<'_, V> {
    fn start(&mut self, path: PathBuf) -> Result<(), MigrateError> {
        let (Some(below), Some(name)) = (path.parent(), path.file_name()) else {
            let base = self.base.path().display();
            return Err(MigrateError::Refused(format!("{} is no path below {base}", path.display())));
        };
        let name = CString::new(name.as_bytes()).map_err(|_| self.base.refused(&path, Errno::INVAL))?;
        let dir = self.open(below)?;
        let found = Found { dir: dir.as_fd(), below, name: &name, here: self.roams };
        if self.visitor.visit(&found)? {
            self.next.push(Work::Entries(path));
        }
        Ok(())
    }

    fn entries(&mut self, below: &Path) -> Result<(), MigrateError> {
        let dir = self.open(below)?;
        let mut listing = RawDir::new(&dir, self.buffer.spare_capacity_mut());
        while let Some(entry) = listing.next() {
            let entry = entry.map_err(|error| MigrateError::system("list", self.base.full(below), error))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let found = Found { dir: dir.as_fd(), below, name, here: self.roams };
            if self.visitor.visit(&found)? {
                self.next.push(Work::Entries(found.path()));
            }
        }
        Ok(())
    }

    fn open(&self, below: &Path) -> Result<OwnedFd, MigrateError> {
        let dir = self.base.dir(below)?;
        if self.roams {
            fchdir(&dir).map_err(|error| MigrateError::system("enter", self.base.full(below), error))?;
        }
        Ok(dir)
    }
}
