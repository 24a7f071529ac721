//! Putting content at a path: staged, validated, backed up, recorded, then renamed into place. `copy` and `lineinfile`.

use super::ownership::{Asked, attribute_diff, new_mode, with_path_info};
use super::validators;
use super::words::civil;
use super::{Context, ModuleError};
use crate::files::{Final, Kind, PathState, Staged, copy_digesting, digest, fingerprint, read_file};
use crate::protocol::{Change, Diff, TaskReport};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How many bytes are read to show a difference.
const SHOWN: u64 = 104_448;

/// Where the new content is.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// Here.
    Bytes(Vec<u8>),
    /// In a file of this host, with this digest and size.
    File { path: PathBuf, sha256: String, size: u64 },
}

impl Source {
    /// A file of this host.
    pub(super) fn file(path: &Path) -> Result<Self, ModuleError> {
        let (size, sha256) = copy_digesting(&mut fs_err::File::open(path)?, None)?;
        Ok(Self::File { path: path.to_owned(), sha256, size })
    }

    pub(super) fn sha256(&self) -> String {
        match self {
            Self::Bytes(bytes) => digest(bytes),
            Self::File { sha256, .. } => sha256.clone(),
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }

    pub(super) fn bytes(&self) -> Result<Vec<u8>, ModuleError> {
        Ok(match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::File { path, .. } => fs_err::read(path)?,
        })
    }

    fn write(&self, staged: &mut Staged, dest: &Path) -> Result<(), ModuleError> {
        match self {
            Self::Bytes(bytes) => staged.write(bytes)?,
            Self::File { path, sha256, .. } => {
                let mut from = fs_err::File::open(path)?;
                let (_, found) = copy_digesting(&mut from, Some(staged.file()))
                    .map_err(|error| ModuleError::failed(format!("cannot write {}: {error}", dest.display())))?;
                if found != *sha256 {
                    let path = path.display();
                    return Err(ModuleError::failed(format!("{path} has changed while it was being copied")));
                }
            }
        }
        Ok(())
    }
}

/// Content for a path.
pub(super) struct Placement<'a> {
    pub(super) path: &'a Path,
    /// The path as it is.
    pub(super) now: &'a PathState,
    pub(super) source: Source,
    pub(super) asked: &'a Asked,
    /// The mode of a new file, where none is asked for; else what the umask leaves.
    pub(super) new_mode: Option<u32>,
    /// Others write lines into this file as well (R10).
    pub(super) shared: bool,
    pub(super) backup: bool,
    /// A command with `%s` for the new file.
    pub(super) validate: Option<&'a str>,
    /// A validator of ours.
    pub(super) validator: Option<&'a str>,
}

/// What placing came to.
pub(super) struct Placed {
    pub(super) changed: bool,
    pub(super) backup: Option<PathBuf>,
}

impl Placement<'_> {
    /// Whether the bytes are to change. A link in the place of a file is replaced, as Ansible does.
    fn replaces(&self) -> bool {
        self.now.kind != Kind::File || self.now.sha256.as_deref() != Some(&self.source.sha256())
    }

    /// What [`Placement::apply`] would do.
    pub(super) fn check(&self, cx: &Context) -> Result<TaskReport, ModuleError> {
        if self.replaces()
            && let Some(validator) = self.validator
        {
            validators::validate(validator, cx, &self.source.bytes()?, self.path)?;
        }
        let changed = self.replaces() || self.asked.differs(self.now);
        let mut report = TaskReport::changed_if(changed);
        report.warnings.extend(self.asked.missing.iter().cloned());
        if cx.diff {
            report.diff = self.diff()?;
        }
        Ok(report)
    }

    /// The differences of content and of attributes.
    pub(super) fn diff(&self) -> Result<Vec<Diff>, ModuleError> {
        let mut diffs = Vec::new();
        if self.replaces() {
            diffs.push(self.content_diff()?);
        }
        // What a new file will be is in the difference of its content already.
        if self.now.kind == Kind::File {
            diffs.extend(attribute_diff(self.path, self.now, &self.asked.applied_to(self.now)));
        }
        Ok(diffs)
    }

    fn content_diff(&self) -> Result<Diff, ModuleError> {
        let object = self.path.display().to_string();
        let small = |size: u64| size <= SHOWN;
        if small(self.now.size) && small(self.source.size()) {
            let before = if self.now.kind == Kind::File { read_file(self.path)? } else { Vec::new() };
            return Ok(Diff::of_bytes(object, &before, &self.source.bytes()?));
        }
        let note = |size: u64, sha256: &str| format!("({size} bytes, sha256 {sha256})\n");
        let before = self.now.sha256.as_deref().map(|sha256| note(self.now.size, sha256)).unwrap_or_default();
        Ok(Diff::of_states(object, before, note(self.source.size(), &self.source.sha256())))
    }

    /// Does it.
    pub(super) fn apply(&self, cx: &mut Context) -> Result<Placed, ModuleError> {
        if !self.replaces() {
            let changed = self.asked.apply(self.path, self.now, cx)?;
            return Ok(Placed { changed, backup: None });
        }
        let last = self.last();
        cx.undo.staging(self.path)?;
        let mut staged = Staged::create(self.path)?;
        self.source.write(&mut staged, self.path)?;
        self.validate(&mut staged, &last, cx)?;
        let backup = if self.backup && self.now.kind == Kind::File { Some(self.back_up(cx)?) } else { None };
        if self.shared {
            cx.undo.sharing(self.path, &self.source.bytes()?)?;
        } else {
            cx.undo.replacing(self.path, &self.source.sha256())?;
        }
        staged.commit(&last)?;
        Ok(Placed { changed: true, backup })
    }

    fn last(&self) -> Final {
        let attributes = &self.asked.attributes;
        if self.now.kind == Kind::File {
            let wanted = self.asked.applied_to(self.now);
            return Final {
                mode: wanted.mode,
                uid: Some(wanted.uid),
                gid: Some(wanted.gid),
                xattrs: Some(self.now.xattrs.clone()),
            };
        }
        let new = self.new_mode.unwrap_or_else(|| new_mode(false));
        let mode = attributes.mode.as_ref().map_or(new, |mode| mode.applied_to(new, false));
        Final { mode, uid: attributes.uid, gid: attributes.gid, xattrs: None }
    }

    fn validate(&self, staged: &mut Staged, last: &Final, cx: &Context) -> Result<(), ModuleError> {
        if let Some(validator) = self.validator {
            validators::validate(validator, cx, &self.source.bytes()?, self.path)?;
        }
        let Some(command) = self.validate else { return Ok(()) };
        // visudo and sshd look at the mode as well.
        staged.dress(last)?;
        let path = staged.path().display().to_string();
        let words = shlex::split(command).unwrap_or_default();
        let words: Vec<String> = words.into_iter().map(|word| word.replace("%s", &path)).collect();
        let finished = cx.process(&words).run()?;
        if finished.success() {
            return Ok(());
        }
        let said = if finished.stderr.is_empty() { finished.stdout_text() } else { finished.stderr_text() };
        let said = said.replace(&path, &self.path.display().to_string());
        let rc = finished.rc;
        Err(ModuleError::failed(format!("failed to validate {}: rc {rc}: {}", self.path.display(), said.trim())))
    }

    /// Copies the old file beside itself under Ansible's name for backups, with its mode, owner and attributes (S4).
    fn back_up(&self, cx: &mut Context) -> Result<PathBuf, ModuleError> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let suffix = backup_suffix(SystemTime::now(), std::process::id());
        let place = self.path.with_file_name(format!("{name}.{suffix}"));
        let mut staged = Staged::create(&place)?;
        staged.write(&read_file(self.path)?)?;
        cx.undo.replacing(&place, self.now.sha256.as_deref().unwrap_or_default())?;
        staged.commit(&Final {
            mode: self.now.mode,
            uid: Some(self.now.uid),
            gid: Some(self.now.gid),
            xattrs: Some(self.now.xattrs.clone()),
        })?;
        Ok(place)
    }
}

/// `PID.YYYY-MM-DD@HH:MM:SS~`, in UTC.
fn backup_suffix(time: SystemTime, pid: u32) -> String {
    let (year, month, day, hour, minute, second) = civil(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    format!("{pid}.{year:04}-{month:02}-{day:02}@{hour:02}:{minute:02}:{second:02}~")
}

/// What is registered about a path that content was put at.
pub(super) fn placed_report(path: &Path, placed: &Placed, key: &str) -> Result<TaskReport, ModuleError> {
    let mut report = TaskReport::new(if placed.changed { Change::Changed } else { Change::Unchanged });
    if let Some(backup) = &placed.backup {
        report = report.with(key, backup.display().to_string());
    }
    Ok(with_path_info(report, &fingerprint(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn backups_are_named_as_ansible_names_them() {
        let time = UNIX_EPOCH + Duration::from_secs(1_709_210_096);
        assert_eq!(backup_suffix(time, 77), "77.2024-02-29@12:34:56~");
    }
}
