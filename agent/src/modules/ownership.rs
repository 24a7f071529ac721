//! Mode, owner and group, as `file`, `copy` and `lineinfile` share them: what is asked, what a path has, the difference.

use super::{AttributeError, Attributes, Context, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec};
use crate::files::{Kind, PathState, open_parent};
use crate::protocol::{Diff, Mode, TaskReport};
use std::path::Path;
use std::sync::OnceLock;

pub(super) const MODE: ParamSpec = ParamSpec::optional("mode", ParamKind::Mode);
pub(super) const OWNER: ParamSpec = ParamSpec::optional("owner", ParamKind::Str);
pub(super) const GROUP: ParamSpec = ParamSpec::optional("group", ParamKind::Str);

/// What is asked, resolved on this host.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) attributes: Attributes,
    /// In check mode, an owner or group that is not there yet: an earlier task may make it.
    pub(super) missing: Vec<String>,
}

impl Asked {
    pub(super) fn resolve(
        spec: &ModuleSpec,
        owner: Option<&str>,
        group: Option<&str>,
        mode: Option<&str>,
        cx: &Context,
    ) -> Result<Self, ModuleError> {
        let mut asked = Self::default();
        let mut take = |param: &str, owner, group, mode| match Attributes::resolve(owner, group, mode, &cx.control) {
            Ok(found) => {
                asked.attributes.uid = asked.attributes.uid.or(found.uid);
                asked.attributes.gid = asked.attributes.gid.or(found.gid);
                asked.attributes.mode = asked.attributes.mode.take().or(found.mode);
                Ok(())
            }
            Err(error @ AttributeError::Unknown { .. }) if cx.mode == Mode::Check => {
                asked.missing.push(format!("{error}; an earlier task may make it"));
                Ok(())
            }
            Err(error @ AttributeError::Mode) => {
                Err(ModuleError::from(ParamError::new(spec.name, param, error.to_string())))
            }
            Err(error) => Err(ModuleError::failed(error.to_string())),
        };
        take("owner", owner, None, None)?;
        take("group", None, group, None)?;
        take("mode", None, None, mode)?;
        Ok(asked)
    }

    /// The state that a path of this state is to have.
    pub(super) fn applied_to(&self, now: &PathState) -> PathState {
        let mut wanted = now.clone();
        wanted.uid = self.attributes.uid.unwrap_or(now.uid);
        wanted.gid = self.attributes.gid.unwrap_or(now.gid);
        if let (Some(mode), true) = (&self.attributes.mode, now.kind != Kind::Link) {
            wanted.mode = mode.applied_to(now.mode, now.kind == Kind::Directory);
        }
        wanted
    }

    /// Whether a path of this state would be changed.
    pub(super) fn differs(&self, now: &PathState) -> bool {
        let wanted = self.applied_to(now);
        !self.missing.is_empty() || (wanted.mode, wanted.uid, wanted.gid) != (now.mode, now.uid, now.gid)
    }

    /// Gives an existing path its owner, group and mode; recorded first. True if something changed.
    pub(super) fn apply(&self, path: &Path, now: &PathState, cx: &mut Context) -> Result<bool, ModuleError> {
        if !self.differs(now) {
            return Ok(false);
        }
        cx.undo.path(path)?;
        self.set(path, now)?;
        Ok(true)
    }

    /// The same, for a path that has been recorded.
    pub(super) fn set(&self, path: &Path, now: &PathState) -> Result<(), ModuleError> {
        let wanted = self.applied_to(now);
        let parent = open_parent(path)?;
        if (wanted.uid, wanted.gid) != (now.uid, now.gid) {
            let changed = |wanted: u32, now: u32| (wanted != now).then_some(wanted);
            parent.set_owner(changed(wanted.uid, now.uid), changed(wanted.gid, now.gid))?;
        }
        // A change of owner clears set-id bits, so the mode comes after it.
        if now.kind != Kind::Link && (wanted.mode != now.mode || wanted.mode & 0o6000 != 0) {
            parent.set_mode(wanted.mode)?;
        }
        Ok(parent.sync()?)
    }
}

/// The difference of owner, group and mode, if there is one.
pub(super) fn attribute_diff(path: &Path, before: &PathState, after: &PathState) -> Option<Diff> {
    if before.kind == after.kind && (before.mode, before.uid, before.gid) == (after.mode, after.uid, after.gid) {
        return None;
    }
    let lines = |state: &PathState| match state.kind {
        Kind::Absent => "state: absent\n".to_owned(),
        kind => {
            let target = state.target.as_ref().map(|target| format!("src: {target}\n")).unwrap_or_default();
            let (state_name, mode) = (state_name(kind), state.mode);
            format!("state: {state_name}\n{target}mode: {mode:04o}\nowner: {}\ngroup: {}\n", state.uid, state.gid)
        }
    };
    Some(Diff::of_states(format!("{} (attributes)", path.display()), lines(before), lines(after)))
}

/// Ansible's name for a kind of path.
pub(super) fn state_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Absent => "absent",
        Kind::File | Kind::Other => "file",
        Kind::Directory => "directory",
        Kind::Link => "link",
    }
}

/// Adds what Ansible registers about a path: uid, gid, owner, group, mode, state, size.
pub(super) fn with_path_info(report: TaskReport, state: &PathState) -> TaskReport {
    if state.kind == Kind::Absent {
        return report;
    }
    report
        .with("uid", state.uid)
        .with("gid", state.gid)
        .with("owner", name_of("/etc/passwd", state.uid))
        .with("group", name_of("/etc/group", state.gid))
        .with("mode", format!("{:04o}", state.mode))
        .with("state", state_name(state.kind))
        .with("size", state.size)
}

/// The name of an id where the local files know it, else the number: asking every name service would cost a process.
fn name_of(file: &str, id: u32) -> String {
    let text = fs_err::read_to_string(file).unwrap_or_default();
    let name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| id.to_string())
}

/// The mode of a new file or directory: what the umask leaves. The agent never changes its own, so it is read once.
pub(super) fn new_mode(of_directory: bool) -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    let umask = UMASK.get_or_init(|| {
        let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
        let umask = status.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("Umask:")?.trim(), 8).ok());
        umask.unwrap_or(0o022)
    });
    (if of_directory { 0o777 } else { 0o666 }) & !umask
}
