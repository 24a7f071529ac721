//! Files of the controller that playbooks name.

use std::path::{Path, PathBuf};

/// Where a file named in a task is: as it is if absolute, else in `kind` (`files`, `templates`, `vars`) beside the
/// playbook, else beside the playbook itself, as Ansible looks for it.
pub fn find_file(dir: &Path, kind: &str, name: &str) -> Option<PathBuf> {
    let given = Path::new(name);
    let candidates =
        if given.is_absolute() { vec![given.to_owned()] } else { vec![dir.join(kind).join(given), dir.join(given)] };
    candidates.into_iter().find(|path| path.exists())
}
