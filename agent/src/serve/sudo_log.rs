//! Whether sudo writes down what goes through it: then it has the whole conversation of an agent that it started (S3).

use std::path::{Path, PathBuf};

/// The Defaults options of sudoers(5) that record input or output.
const RECORDING: [&str; 4] = ["log_input", "log_output", "log_stdin", "log_stdout"];

/// Where sudo is told to record, as `file: line`; none where it is not, or where we cannot read that. For whom a line
/// holds is not looked at: it may hold for us.
pub(super) fn recording(etc: &Path) -> Option<String> {
    let mut dropped: Vec<PathBuf> = match fs_err::read_dir(etc.join("sudoers.d")) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| counts(path)).collect(),
        Err(_) => Vec::new(),
    };
    dropped.sort();
    std::iter::once(etc.join("sudoers")).chain(dropped).find_map(|path| {
        let text = fs_err::read_to_string(&path).ok()?;
        Some(format!("{}: {}", path.display(), line(&text)?))
    })
}

/// sudoers(5): names with a dot or a tilde at the end are left out.
fn counts(path: &Path) -> bool {
    path.file_name().is_some_and(|name| !name.to_string_lossy().contains('.') && !name.to_string_lossy().ends_with('~'))
}

fn line(text: &str) -> Option<String> {
    let joined = text.replace("\\\n", " ");
    let on = |line: &str| {
        let Some(rest) = line.strip_prefix("Defaults") else { return false };
        let options = rest.split([',', ' ', '\t']).map(str::trim);
        options.filter_map(|option| option.split('=').next()).any(|option| RECORDING.contains(&option))
    };
    joined.lines().map(str::trim).find(|line| on(line)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_records_is_named_with_its_file() {
        let etc = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs_err::write(etc.path().join(name), text).unwrap();
        assert_eq!(recording(etc.path()), None, "no sudo here");
        write("sudoers", "# Defaults log_input\nDefaults env_reset, !log_output\n@includedir /etc/sudoers.d\n");
        assert_eq!(recording(etc.path()), None);
        fs_err::create_dir(etc.path().join("sudoers.d")).unwrap();
        write("sudoers.d/old.bak", "Defaults log_input\n");
        assert_eq!(recording(etc.path()), None);
        write("sudoers.d/audit", "Defaults:deploy \\\n  log_input, log_output\n");
        let said = recording(etc.path()).unwrap();
        assert!(said.ends_with("sudoers.d/audit: Defaults:deploy    log_input, log_output"), "{said}");
    }
}
