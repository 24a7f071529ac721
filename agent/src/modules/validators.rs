//! Validators by name: what the parameter `validator` of `copy` and `template` may be.

use super::{Context, ModuleError, docker_daemon_json};
use std::path::Path;

/// The names.
pub const VALIDATORS: &[&str] = &["docker_daemon_json"];

/// Judges a file's new content before it is put at `dest`. Reads the host, changes nothing.
///
/// # Errors
/// [`ModuleError::Failed`] with what is wrong and where, or for a name that is not in [`VALIDATORS`].
pub fn validate(name: &str, cx: &Context, content: &[u8], dest: &Path) -> Result<(), ModuleError> {
    match name {
        "docker_daemon_json" => docker_daemon_json::validate(cx, content, dest),
        other => {
            Err(ModuleError::failed(format!("no validator is called {other:?}; there is {}", VALIDATORS.join(", "))))
        }
    }
}
