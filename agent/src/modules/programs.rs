//! Finding the host's programs.

use super::{Context, ModuleError};
use std::path::PathBuf;

/// Directories that `sudo` and service managers may have left out of PATH.
const MORE_PATHS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Finds an executable file in PATH and the usual directories.
pub(super) fn find_program(cx: &Context, name: &str) -> Option<PathBuf> {
    let path = cx.environment.get("PATH").cloned().or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .chain(MORE_PATHS)
        .map(|directory| PathBuf::from(directory).join(name))
        .find(|file| file.is_file() && rustix::fs::access(file.as_path(), rustix::fs::Access::EXEC_OK).is_ok())
}

/// Finds a program that a module cannot do without.
///
/// # Errors
/// [`ModuleError::Failed`] names it and what to install.
pub(super) fn required(cx: &Context, name: &str, package: &str) -> Result<String, ModuleError> {
    match find_program(cx, name) {
        Some(path) => Ok(path.to_string_lossy().into_owned()),
        None => Err(ModuleError::failed(format!("the program {name} is not on this host; install {package}"))),
    }
}
