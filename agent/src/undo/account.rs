//! Users and groups: only their own lines of the account files are recorded and put back (S4, R10).

use super::UndoError;
use crate::files::{FileError, Final, PathState, Staged, fingerprint};
use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// lckpwdf(3) waits as long.
const LOCK_WAIT: Duration = Duration::from_secs(15);

/// Which of the account files name a user in their first field.
const USER_FILES: [&str; 4] = ["passwd", "shadow", "subuid", "subgid"];

/// Which of the account files name a group in their first field.
const GROUP_FILES: [&str; 2] = ["group", "gshadow"];

/// The own lines of a user or a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountState {
    /// Lines whose first field is the name, by file.
    pub lines: BTreeMap<String, Vec<String>>,
    /// For a user: the groups that list it, by file.
    pub member_of: BTreeMap<String, BTreeSet<String>>,
}

impl AccountState {
    /// One line for people. Shadow's and gshadow's lines are secret: only that they are there.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        for (file, lines) in self.lines.iter().filter(|(_, lines)| !lines.is_empty()) {
            let shown = if file.contains("shadow") { format!("{} line(s)", lines.len()) } else { lines.join(" ") };
            parts.push(format!("{file}: {shown}"));
        }
        if let Some(groups) = self.member_of.get("group").filter(|groups| !groups.is_empty()) {
            parts.push(format!("in {}", groups.iter().cloned().collect::<Vec<_>>().join(", ")));
        }
        if parts.is_empty() { "absent".to_owned() } else { parts.join("; ") }
    }

    /// As it should be now: as before, with the members that others gave or took from a group since we left it.
    pub(super) fn merged(&self, left: &Self, now: &Self) -> Self {
        let mut wanted = self.clone();
        for file in GROUP_FILES {
            if let ([was], [ours], [is]) = (self.lines(file), left.lines(file), now.lines(file)) {
                wanted.lines.insert(file.to_owned(), vec![merge_members(was, ours, is)]);
            }
        }
        wanted
    }

    fn lines(&self, file: &str) -> &[String] {
        self.lines.get(file).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The account files, in `/etc` except in tests.
#[derive(Debug, Clone)]
pub struct Accounts {
    etc: PathBuf,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { etc: PathBuf::from("/etc") }
    }
}

impl Accounts {
    /// The account files of another directory.
    #[must_use]
    pub fn below(etc: &Path) -> Self {
        Self { etc: etc.to_owned() }
    }

    /// A user as it is: its lines and its memberships.
    ///
    /// # Errors
    /// [`UndoError::Io`].
    pub fn user(&self, name: &str) -> Result<AccountState, UndoError> {
        let mut state = self.own_lines(name, &USER_FILES)?;
        for file in GROUP_FILES {
            let text = self.read(file)?.unwrap_or_default();
            let groups = text.lines().filter(|line| members(line).contains(&name)).map(|line| first(line).to_owned());
            state.member_of.insert(file.to_owned(), groups.collect());
        }
        Ok(state)
    }

    /// A group as it is.
    ///
    /// # Errors
    /// [`UndoError::Io`].
    pub fn group(&self, name: &str) -> Result<AccountState, UndoError> {
        self.own_lines(name, &GROUP_FILES)
    }

    /// Puts a user's own lines back as `before` says. True if something was not so.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn restore_user(&self, name: &str, before: &AccountState) -> Result<bool, UndoError> {
        let _lock = self.lock()?;
        let mut changed = false;
        for file in USER_FILES {
            changed |= self.edit(file, |text| own_lines_back(text, name, before.lines(file)))?;
        }
        for file in GROUP_FILES {
            let wanted = before.member_of.get(file).cloned().unwrap_or_default();
            changed |= self.edit(file, |text| memberships_back(text, name, &wanted))?;
        }
        Ok(changed)
    }

    /// Puts a group's own lines back as `before` says; members that others have changed since `ours` stay so.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn restore_group(
        &self,
        name: &str,
        before: &AccountState,
        ours: Option<&AccountState>,
    ) -> Result<bool, UndoError> {
        let _lock = self.lock()?;
        let mut changed = false;
        for file in GROUP_FILES {
            changed |= self.edit(file, |text| {
                let now: Vec<&str> = text.lines().filter(|line| first(line) == name).collect();
                let wanted = match (before.lines(file), ours.map(|ours| ours.lines(file)), now.as_slice()) {
                    ([was], Some([left]), [is]) if is != left => vec![merge_members(was, left, is)],
                    (was, _, _) => was.to_vec(),
                };
                own_lines_back(text, name, &wanted)
            })?;
        }
        Ok(changed)
    }

    fn own_lines(&self, name: &str, files: &[&str]) -> Result<AccountState, UndoError> {
        let mut state = AccountState::default();
        for file in files {
            let text = self.read(file)?.unwrap_or_default();
            let own = text.lines().filter(|line| first(line) == name).map(str::to_owned);
            state.lines.insert((*file).to_owned(), own.collect());
        }
        Ok(state)
    }

    fn read(&self, file: &str) -> Result<Option<String>, UndoError> {
        match fs_err::read(self.etc.join(file)) {
            // Bytes that are no UTF-8 (old comments) must survive an edit, so such a file is not edited as text.
            Ok(bytes) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| UndoError::Other(format!("{} is no UTF-8", self.etc.join(file).display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn edit(&self, file: &str, change: impl FnOnce(&str) -> String) -> Result<bool, UndoError> {
        let path = self.etc.join(file);
        let found = self.read(file)?;
        let text = found.clone().unwrap_or_default();
        let wanted = change(&text);
        if wanted == text {
            return Ok(false);
        }
        let like = match found {
            Some(_) => fingerprint(&path)?,
            // The file itself went away: it comes back as shadow-utils make it.
            None => PathState { mode: if file.contains("shadow") { 0o640 } else { 0o644 }, ..PathState::absent() },
        };
        replace(&path, wanted.as_bytes(), &like)?;
        Ok(true)
    }

    /// Keeps shadow-utils out, as lckpwdf(3) does.
    fn lock(&self) -> Result<OwnedFd, UndoError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(self.etc.join(".pwd.lock"), flags, Mode::from_raw_mode(0o600))
            .map_err(std::io::Error::from)?;
        let begun = Instant::now();
        loop {
            match fcntl_lock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(fd),
                Err(Errno::AGAIN | Errno::ACCESS) if begun.elapsed() < LOCK_WAIT => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
        }
    }
}

fn replace(path: &Path, bytes: &[u8], like: &PathState) -> Result<(), FileError> {
    let mut staged = Staged::create(path)?;
    staged.write(bytes)?;
    staged.commit(&Final {
        mode: like.mode,
        uid: Some(like.uid),
        gid: Some(like.gid),
        xattrs: Some(like.xattrs.clone()),
    })
}

fn first(line: &str) -> &str {
    line.split(':').next().unwrap_or_default()
}

/// The members that a line of group or gshadow lists last.
fn members(line: &str) -> Vec<&str> {
    line.rsplit(':').next().unwrap_or_default().split(',').filter(|name| !name.is_empty()).collect()
}

fn with_members<'a>(line: &str, members: impl IntoIterator<Item = &'a str>) -> String {
    let head = line.rsplit_once(':').map_or(line, |(head, _)| head);
    format!("{head}:{}", members.into_iter().collect::<Vec<_>>().join(","))
}

/// The group's line as it was, with the members that others added or removed since we left it.
fn merge_members(was: &str, left: &str, now: &str) -> String {
    let (was_in, left_in, now_in) = (members(was), members(left), members(now));
    let kept = now_in.iter().filter(|name| was_in.contains(name) || !left_in.contains(name));
    let back = was_in.iter().filter(|name| !left_in.contains(name) && !now_in.contains(name));
    with_members(was, kept.chain(back).copied())
}

/// The text with exactly these lines of this name: in place where the name is there, else at the end.
fn own_lines_back(text: &str, name: &str, wanted: &[String]) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.iter().filter(|line| first(line) == name).eq(wanted) {
        return text.to_owned();
    }
    let at = lines.iter().position(|line| first(line) == name);
    lines.retain(|line| first(line) != name);
    let at = at.unwrap_or(lines.len()).min(lines.len());
    lines.splice(at..at, wanted.iter().map(String::as_str));
    finish(&lines)
}

fn memberships_back(text: &str, name: &str, wanted: &BTreeSet<String>) -> String {
    if text.lines().all(|line| members(line).contains(&name) == wanted.contains(first(line))) {
        return text.to_owned();
    }
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let now = members(line);
            match (now.contains(&name), wanted.contains(first(line))) {
                (true, false) => with_members(line, now.into_iter().filter(|member| *member != name)),
                (false, true) => with_members(line, now.into_iter().chain([name])),
                _ => line.to_owned(),
            }
        })
        .collect();
    finish(&lines)
}

fn finish<S: AsRef<str>>(lines: &[S]) -> String {
    lines.iter().map(|line| format!("{}\n", line.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etc() -> (tempfile::TempDir, Accounts) {
        let directory = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n"),
            ("shadow", "root:*:1::::::\nann:$6$secret:19000:0:99999:7:::\n"),
            ("group", "root:x:0:\nann:x:1000:\ndocker:x:999:ann\n"),
            ("gshadow", "root:*::\nann:!::\ndocker:!::ann\n"),
            ("subuid", "ann:100000:65536\n"),
        ] {
            fs_err::write(directory.path().join(file), text).unwrap();
        }
        let accounts = Accounts::below(directory.path());
        (directory, accounts)
    }

    fn append(directory: &tempfile::TempDir, file: &str, line: &str) {
        let path = directory.path().join(file);
        let text = fs_err::read_to_string(&path).unwrap_or_default();
        fs_err::write(&path, format!("{text}{line}\n")).unwrap();
    }

    fn all(directory: &tempfile::TempDir) -> Vec<Option<String>> {
        USER_FILES
            .iter()
            .chain(&GROUP_FILES)
            .map(|file| fs_err::read_to_string(directory.path().join(file)).ok())
            .collect()
    }

    #[test]
    fn a_user_that_was_made_goes_and_others_stay() {
        let (directory, accounts) = etc();
        let before = accounts.user("remap").unwrap();
        let files = all(&directory);
        append(&directory, "passwd", "remap:x:998:998::/:/sbin/nologin");
        append(&directory, "shadow", "remap:!:19000::::::");
        append(&directory, "subuid", "remap:165536:65536");
        assert!(accounts.restore_user("remap", &before).unwrap());
        assert_eq!(all(&directory), files);
        assert!(!accounts.restore_user("remap", &before).unwrap());
    }

    #[test]
    fn a_user_that_was_deleted_comes_back_with_its_password_and_memberships() {
        let (directory, accounts) = etc();
        let before = accounts.user("ann").unwrap();
        let files = all(&directory);
        accounts.restore_user("ann", &AccountState::default()).unwrap();
        assert_ne!(all(&directory), files);
        append(&directory, "passwd", "bob:x:1001:1001::/:/bin/sh");
        accounts.restore_user("ann", &before).unwrap();
        assert_eq!(accounts.user("ann").unwrap(), before);
        assert!(fs_err::read_to_string(directory.path().join("passwd")).unwrap().contains("bob:"));
        assert!(!before.describe().contains("secret"));
    }

    #[test]
    fn members_that_others_added_to_a_group_stay() {
        let (directory, accounts) = etc();
        let before = accounts.group("docker").unwrap();
        let group = directory.path().join("group");
        let edit = |from: &str, to: &str| {
            let text = fs_err::read_to_string(&group).unwrap().replace(from, to);
            fs_err::write(&group, text).unwrap();
        };
        edit("docker:x:999:ann", "docker:x:777:ann,ours");
        let ours = accounts.group("docker").unwrap();
        edit("docker:x:777:ann,ours", "docker:x:777:ann,ours,theirs");
        accounts.restore_group("docker", &before, Some(&ours)).unwrap();
        assert!(fs_err::read_to_string(&group).unwrap().contains("docker:x:999:ann,theirs\n"));
    }
}
