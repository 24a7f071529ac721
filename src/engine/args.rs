//! Module parameters: rendered, with the files that they name.

use super::{
    calls::{self, CallPlan},
    unit::{Unit, explained},
    values::{said, text},
};
use crate::{
    host::{HostError, RunAs},
    playbook::ModuleArgs,
    template::Rendered,
    vars::Scope,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rollgate_agent::protocol::{BlobPart, Call, ModuleCall};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

/// Content up to this size travels in the parameters, in bytes.
const INLINE: usize = 1 << 20;

/// The size of a part of a staged file, in bytes: well below the largest frame.
const PART: usize = 1 << 20;

/// A call ready to be made.
pub(crate) struct Prepared {
    pub(crate) call: ModuleCall,
    /// A file to be staged on the host first.
    pub(crate) blob: Option<Blob>,
}

/// The bytes of a file too large for the parameters.
pub(crate) struct Blob {
    sha256: String,
    bytes: Vec<u8>,
}

impl Unit {
    /// The `copy` call that puts a rendered template in place.
    pub(crate) fn template_call(&self, args: &ModuleArgs, scope: &Scope) -> Result<Rendered<Prepared>, String> {
        self.file_call(args, scope, "templates", |unit, path| {
            Ok(unit.template_file(scope, path)?.map(String::into_bytes))
        })
    }

    /// The `copy` call that puts a file of the controller in place.
    pub(crate) fn copy_call(&self, args: &ModuleArgs, scope: &Scope) -> Result<Rendered<Prepared>, String> {
        self.file_call(args, scope, "files", |_, path| {
            if path.is_dir() {
                return Err(format!("{} is a directory; name the files one by one (loop:)", path.display()));
            }
            fs_err::read(path).map(Rendered::Known).map_err(|error| error.to_string())
        })
    }

    fn file_call(
        &self,
        args: &ModuleArgs,
        scope: &Scope,
        kind: &str,
        read: impl Fn(&Self, &Path) -> Result<Rendered<Vec<u8>>, String>,
    ) -> Result<Rendered<Prepared>, String> {
        let mut params = match scope.render_params(&args.params).map_err(|error| said(&error))? {
            Rendered::Known(params) => params,
            Rendered::Unknown { because } => return Ok(Rendered::Unknown { because }),
        };
        let src = params.remove("src").map(|src| text(&src)).unwrap_or_default();
        let path = self.run.find_file(&src, kind)?;
        let bytes = match read(self, &path)? {
            Rendered::Known(bytes) => bytes,
            Rendered::Unknown { because } => return Ok(Rendered::Unknown { because }),
        };
        if let Some(name) = path.file_name() {
            params.insert("_original_basename".to_owned(), Value::String(name.to_string_lossy().into_owned()));
        }
        if params.get("mode").and_then(Value::as_str) == Some("preserve") {
            // Ansible: the mode of the file here.
            let mode = fs_err::metadata(&path).map_err(|error| error.to_string())?.permissions().mode();
            params.insert("mode".to_owned(), Value::String(format!("{:04o}", mode & 0o7777)));
        }
        let blob = content(&mut params, bytes);
        let call = ModuleCall { module: "copy".to_owned(), params };
        Ok(Rendered::Known(Prepared { call, blob }))
    }

    /// Stages a file on the host, part by part.
    pub(crate) async fn stage(&self, blob: &Blob, run_as: &RunAs) -> Result<(), HostError> {
        for (index, data) in blob.bytes.chunks(PART).enumerate() {
            let part = BlobPart {
                sha256: blob.sha256.clone(),
                offset: (index * PART) as u64,
                size: blob.bytes.len() as u64,
                data: data.to_vec(),
            };
            let plan = CallPlan::whole(run_as, Duration::from_secs(120)).cut_after(self.play.abort_grace());
            calls::call(&self.run.desk, self.host.as_ref(), Call::Blob(part), plan).await?;
        }
        Ok(())
    }
}

/// Puts content into the parameters: text as it is, other bytes as base64, much of it as the name of a staged file.
fn content(params: &mut Map<String, Value>, bytes: Vec<u8>) -> Option<Blob> {
    if bytes.len() > INLINE {
        let sha256 = crate::journal::hex(&Sha256::digest(&bytes));
        params.insert("content".to_owned(), json!({"blob": sha256, "size": bytes.len()}));
        return Some(Blob { sha256, bytes });
    }
    match String::from_utf8(bytes) {
        Ok(text) => params.insert("content".to_owned(), Value::String(text)),
        Err(error) => params.insert("content_b64".to_owned(), Value::String(STANDARD.encode(error.as_bytes()))),
    };
    None
}

/// What went wrong with a host while a call was prepared.
pub(crate) fn staging(error: &HostError) -> String {
    format!("the file could not be staged: {}", explained(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_travels_as_text_as_base64_or_by_name() {
        let mut params = Map::new();
        assert!(content(&mut params, b"plain\n".to_vec()).is_none());
        assert_eq!(params["content"], json!("plain\n"));
        let mut params = Map::new();
        assert!(content(&mut params, vec![0xff, 0]).is_none());
        assert_eq!(params["content_b64"], json!("/wA="));
        let mut params = Map::new();
        let blob = content(&mut params, vec![b'x'; INLINE + 1]).expect("to be staged");
        assert_eq!(params["content"], json!({"blob": blob.sha256, "size": INLINE + 1}));
    }
}
