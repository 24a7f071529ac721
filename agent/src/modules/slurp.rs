//! `slurp`: a file's bytes in base64, as ansible-core's `slurp.py`.

use super::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::protocol::{Change, ModuleCall, TaskReport};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::io::{ErrorKind, Read};

pub(super) const SPEC: ModuleSpec = ModuleSpec {
    name: "slurp",
    params: &[ParamSpec { aliases: &["path"], ..ParamSpec::required("src", ParamKind::Path) }],
    free_form: None,
    undo: UndoClass::NotNeeded,
    check: CheckClass::ReadOnly,
    require_one_of: &[],
};

/// The largest file, in bytes: its base64 fits a frame.
const CAP: u64 = 8 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slurp {
    src: String,
}

pub(super) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    Ok(Box::new(decode::<Slurp>(call)?))
}

impl Module for Slurp {
    fn check(&self, _: &Context) -> Result<TaskReport, ModuleError> {
        let source = &self.src;
        let mut bytes = Vec::new();
        fs_err::File::open(source).and_then(|file| file.take(CAP + 1).read_to_end(&mut bytes)).map_err(|error| {
            match error.kind() {
                ErrorKind::NotFound => ModuleError::failed(format!("File not found: {source}")),
                ErrorKind::PermissionDenied => ModuleError::failed(format!("File is not readable: {source}")),
                ErrorKind::IsADirectory => {
                    ModuleError::failed(format!("Source is a directory and must be a file: {source}"))
                }
                _ => error.into(),
            }
        })?;
        if bytes.len() as u64 > CAP {
            return Err(ModuleError::failed(format!("{source} is larger than {CAP} bytes, the most that slurp reads")));
        }
        Ok(TaskReport::new(Change::Unchanged)
            .with("content", STANDARD.encode(&bytes))
            .with("encoding", "base64")
            .with("source", source.as_str()))
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        self.check(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Mode;
    use serde_json::json;

    fn slurp(path: &str) -> Result<TaskReport, ModuleError> {
        let dir = tempfile::tempdir().unwrap();
        let params = json!({"path": path}).as_object().unwrap().clone();
        let call = ModuleCall { module: "ansible.builtin.slurp".to_owned(), params };
        crate::modules::build(&call).unwrap().apply(&mut Context::new(Mode::Apply, dir.path()))
    }

    #[test]
    fn bytes_come_back_whatever_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs_err::write(&path, [0, 255, b'\n']).unwrap();
        let report = slurp(path.to_str().unwrap()).unwrap();
        assert_eq!((&report.data["content"], &report.data["encoding"]), (&json!("AP8K"), &json!("base64")));
    }

    #[test]
    fn what_cannot_be_read_is_said_in_ansibles_words() {
        assert_eq!(slurp("/no/such").unwrap_err().to_string(), "File not found: /no/such");
        assert_eq!(slurp("/etc").unwrap_err().to_string(), "Source is a directory and must be a file: /etc");
        assert!(slurp("/dev/zero").unwrap_err().to_string().contains("larger than"));
    }
}
