//! A step that hangs must not keep a guard from its host: the lock is waited for, but not for ever.

use crate::undo::{HostLock, LockHolder, UndoError};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// A step that ends at all has ended by then: a lease of 30 s, TERM's grace, a unit that stops slowly.
pub(super) const LEAST: Duration = Duration::from_secs(60);

/// Takes the host's lock. An agent that holds it longer than `patience` for a step is killed, with what it has started.
/// A revert under way is waited for: it is what the guard wants.
pub(super) fn take_lock(
    state_dir: &Path,
    patience: Duration,
    is_step: impl Fn() -> Result<bool, UndoError>,
) -> Result<HostLock, UndoError> {
    let begun = Instant::now();
    loop {
        if let Some(lock) = HostLock::take_now(state_dir)? {
            return Ok(lock);
        }
        if begun.elapsed() >= patience && is_step()? {
            end_holder(state_dir);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn end_holder(state_dir: &Path) {
    let Some(holder) = LockHolder::find(state_dir) else { return };
    let processes = processes();
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let Some(session) = processes.get(&holder.pid).map(|(_, session)| *session).filter(|_| holder.pid != own) else {
        return;
    };
    // The agent first, so that it starts nothing more; then what it has started, but nothing that has left its session
    // (daemons, and this guard).
    let mut doomed = vec![holder.pid];
    let mut at = 0;
    while let Some(parent) = doomed.get(at).copied() {
        at += 1;
        let children = processes.iter().filter(|(pid, known)| **known == (parent, session) && **pid != own);
        doomed.extend(children.map(|(pid, _)| *pid));
    }
    for pid in doomed.into_iter().filter_map(Pid::from_raw) {
        let _gone_by_itself = kill_process(pid, Signal::KILL);
    }
}

/// Parent and session of each process.
fn processes() -> BTreeMap<i32, (i32, i32)> {
    let Ok(entries) = fs_err::read_dir("/proc") else { return BTreeMap::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter_map(|pid| Some((pid, parent_and_session(pid)?))).collect()
}

fn parent_and_session(pid: i32) -> Option<(i32, i32)> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Fields 4 and 6, counted from after the name, which may hold anything.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    Some((parent, fields.nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::io::{Read, Write};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    #[test]
    fn who_hangs_is_killed_with_what_it_started_and_who_reverts_is_not() {
        let state = tempfile::tempdir().unwrap();
        let lock = state.path().join("lock");
        // `flock` holds the lock and waits for its child, which holds it, too.
        let mut holder = Command::new("flock").arg(&lock).args(["sh", "-c", "sleep 1000; true"]).spawn().unwrap();
        while HostLock::take_now(state.path()).unwrap().is_some() {
            std::thread::sleep(Duration::from_millis(1));
        }
        LockHolder::sign_as(holder.id(), &lock);
        let asked = Cell::new(0);
        let taken = take_lock(state.path(), Duration::ZERO, || {
            asked.set(asked.get() + 1);
            assert!(lives(holder.id()) || asked.get() > 4, "killed while it reverted");
            Ok(asked.get() > 3)
        });
        assert!(taken.is_ok());
        assert_eq!(holder.wait().unwrap().signal(), Some(9));
    }

    fn lives(pid: u32) -> bool {
        fs_err::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn a_process_has_its_parent_and_its_session() {
        // A session of its own: the test's may lie outside of its PID namespace, where it has no number.
        let mut leader =
            Command::new("setsid").arg("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        leader.stdin.as_mut().unwrap().write_all(b".").unwrap();
        leader.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let (own, pid) = (i32::try_from(std::process::id()).unwrap(), i32::try_from(leader.id()).unwrap());
        let known = processes();
        drop(leader.stdin.take());
        leader.wait().unwrap();
        assert_eq!(known.get(&pid), Some(&(own, pid)));
    }
}
