//! `stat`: what a path is. Keys and values are those of ansible-core's `stat.py`.

use super::inode_flags::InodeFlags;
use super::programs::find_program;
use super::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::accounts;
use crate::protocol::{Change, ModuleCall, TaskReport};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::Digest;
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

pub(super) const SPEC: ModuleSpec = ModuleSpec {
    name: "stat",
    params: &[
        ParamSpec { aliases: &["dest", "name"], ..ParamSpec::required("path", ParamKind::Path) },
        ParamSpec::optional("follow", ParamKind::Bool),
        ParamSpec::optional("get_checksum", ParamKind::Bool),
        ParamSpec { aliases: &["mime", "mime_type", "mime-type"], ..ParamSpec::optional("get_mime", ParamKind::Bool) },
        ParamSpec { aliases: &["attr", "attributes"], ..ParamSpec::optional("get_attributes", ParamKind::Bool) },
        ParamSpec {
            aliases: &["checksum", "checksum_algo"],
            choices: &["md5", "sha1", "sha224", "sha256", "sha384", "sha512"],
            ..ParamSpec::optional("checksum_algorithm", ParamKind::Str)
        },
    ],
    free_form: None,
    undo: UndoClass::NotNeeded,
    check: CheckClass::ReadOnly,
    require_one_of: &[],
};

/// How long `file` may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stat {
    path: String,
    #[serde(default)]
    follow: bool,
    #[serde(default = "yes")]
    get_checksum: bool,
    #[serde(default = "yes")]
    get_mime: bool,
    #[serde(default = "yes")]
    get_attributes: bool,
    #[serde(default = "sha1")]
    checksum_algorithm: String,
}

fn yes() -> bool {
    true
}

fn sha1() -> String {
    "sha1".to_owned()
}

pub(super) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    Ok(Box::new(decode::<Stat>(call)?))
}

impl Module for Stat {
    fn check(&self, cx: &Context) -> Result<TaskReport, ModuleError> {
        let path = Path::new(&self.path);
        let looked = if self.follow { fs_err::metadata(path) } else { fs_err::symlink_metadata(path) };
        let stat = match looked {
            Ok(meta) => Value::Object(self.describe(cx, path, &meta)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => json!({"exists": false}),
            Err(error) => return Err(error.into()),
        };
        Ok(TaskReport::new(Change::Unchanged).with("stat", stat))
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        self.check(cx)
    }
}

impl Stat {
    fn describe(&self, cx: &Context, path: &Path, meta: &Metadata) -> Result<Map<String, Value>, ModuleError> {
        let mut stat = self.inode(meta);
        let may = |access| rustix::fs::access(path, access).is_ok();
        let readable = may(rustix::fs::Access::READ_OK);
        stat.insert("readable".to_owned(), json!(readable));
        stat.insert("writeable".to_owned(), json!(may(rustix::fs::Access::WRITE_OK)));
        stat.insert("executable".to_owned(), json!(may(rustix::fs::Access::EXEC_OK)));
        if meta.is_symlink() {
            let target = fs_err::read_link(path)?;
            let source = fs_err::canonicalize(path)
                .unwrap_or_else(|_| path.parent().unwrap_or_else(|| Path::new("/")).join(&target));
            stat.insert("lnk_source".to_owned(), json!(source.to_string_lossy()));
            stat.insert("lnk_target".to_owned(), json!(target.to_string_lossy()));
        }
        if let Some(user) = accounts::user_by_id(cx, meta.uid())? {
            stat.insert("pw_name".to_owned(), json!(user.name));
        }
        if let Some(group) = accounts::group_by_id(cx, meta.gid())? {
            stat.insert("gr_name".to_owned(), json!(group.name));
        }
        if meta.is_file() && readable && self.get_checksum {
            stat.insert("checksum".to_owned(), json!(checksum(path, &self.checksum_algorithm)?));
        }
        if self.get_mime {
            let (kind, charset) = mime(cx, path);
            stat.insert("mimetype".to_owned(), json!(kind));
            stat.insert("charset".to_owned(), json!(charset));
        }
        if self.get_attributes {
            stat.extend(attributes(path));
        }
        Ok(stat)
    }

    fn inode(&self, meta: &Metadata) -> Map<String, Value> {
        let (mode, kind) = (meta.mode(), meta.file_type());
        let bit = |bit: u32| Value::Bool(mode & bit != 0);
        let seconds = |whole: i64, nanos: i64| json!(whole as f64 + nanos as f64 / 1e9);
        let entries = [
            ("exists", json!(true)),
            ("path", json!(self.path)),
            ("mode", json!(format!("{:04o}", mode & 0o7777))),
            ("isdir", json!(kind.is_dir())),
            ("ischr", json!(kind.is_char_device())),
            ("isblk", json!(kind.is_block_device())),
            ("isreg", json!(kind.is_file())),
            ("isfifo", json!(kind.is_fifo())),
            ("islnk", json!(kind.is_symlink())),
            ("issock", json!(kind.is_socket())),
            ("uid", json!(meta.uid())),
            ("gid", json!(meta.gid())),
            ("size", json!(meta.size())),
            ("inode", json!(meta.ino())),
            ("dev", json!(meta.dev())),
            ("nlink", json!(meta.nlink())),
            ("atime", seconds(meta.atime(), meta.atime_nsec())),
            ("mtime", seconds(meta.mtime(), meta.mtime_nsec())),
            ("ctime", seconds(meta.ctime(), meta.ctime_nsec())),
            ("wusr", bit(0o200)),
            ("rusr", bit(0o400)),
            ("xusr", bit(0o100)),
            ("wgrp", bit(0o020)),
            ("rgrp", bit(0o040)),
            ("xgrp", bit(0o010)),
            ("woth", bit(0o002)),
            ("roth", bit(0o004)),
            ("xoth", bit(0o001)),
            ("isuid", bit(0o4000)),
            ("isgid", bit(0o2000)),
            ("blocks", json!(meta.blocks())),
            ("block_size", json!(meta.blksize())),
            ("device_type", json!(meta.rdev())),
        ];
        entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The file's digest in hexadecimal, read in pieces.
fn checksum(path: &Path, algorithm: &str) -> std::io::Result<String> {
    match algorithm {
        "md5" => digest::<md5::Md5>(path),
        "sha224" => digest::<sha2::Sha224>(path),
        "sha256" => digest::<sha2::Sha256>(path),
        "sha384" => digest::<sha2::Sha384>(path),
        "sha512" => digest::<sha2::Sha512>(path),
        _ => digest::<sha1::Sha1>(path),
    }
}

fn digest<D: Digest>(path: &Path) -> std::io::Result<String> {
    let mut file = fs_err::File::open(path)?;
    let mut digest = D::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => digest.update(buffer.get(..read).unwrap_or_default()),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What `file` says; `unknown` where it is not there or says nothing.
fn mime(cx: &Context, path: &Path) -> (String, String) {
    let unknown = || ("unknown".to_owned(), "unknown".to_owned());
    let Some(program) = find_program(cx, "file") else { return unknown() };
    let argv = [program.as_os_str(), "--mime-type".as_ref(), "--mime-encoding".as_ref(), path.as_os_str()];
    let Ok(finished) = cx.process(argv).timeout(HELPER_TIMEOUT).run() else { return unknown() };
    let said = finished.stdout_text();
    let parsed = said.rsplit_once(": ").and_then(|(_, kind)| kind.split_once(';'));
    match parsed.and_then(|(kind, charset)| Some((kind, charset.split_once('=')?.1))) {
        Some((kind, charset)) if finished.success() => (kind.trim().to_owned(), charset.trim().to_owned()),
        _ => unknown(),
    }
}

/// What `lsattr` would say.
fn attributes(path: &Path) -> Map<String, Value> {
    let found = InodeFlags::of(path);
    let words = found.as_ref().map(InodeFlags::words).unwrap_or_default();
    let letters = found.as_ref().map(InodeFlags::letters).unwrap_or_default();
    let version = found.map_or(Value::Null, |found| json!(found.version.to_string()));
    [("version", version), ("attributes", json!(words)), ("attr_flags", json!(letters))]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Mode;

    fn stat(params: Value) -> Value {
        let dir = tempfile::tempdir().unwrap();
        let Value::Object(params) = params else { return Value::Null };
        let call = ModuleCall { module: "stat".to_owned(), params };
        let module = crate::modules::build(&call).unwrap();
        let mut report = module.check(&Context::new(Mode::Check, dir.path())).unwrap();
        assert_eq!(report.change, Change::Unchanged);
        report.data.remove("stat").unwrap()
    }

    #[test]
    fn a_file_is_described() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs_err::write(&path, "abc").unwrap();
        fs_err::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o4640)).unwrap();
        let stat = stat(json!({"path": path}));
        assert_eq!((&stat["exists"], &stat["isreg"], &stat["size"]), (&json!(true), &json!(true), &json!(3)));
        assert_eq!(
            (&stat["mode"], &stat["isuid"], &stat["wgrp"], &stat["roth"]),
            (&json!("4640"), &json!(true), &json!(false), &json!(false))
        );
        assert_eq!(stat["checksum"], "a9993e364706816aba3e25717850c26c9cd0d89d");
    }

    #[test]
    fn every_algorithm_gives_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs_err::write(&path, "abc").unwrap();
        for (algorithm, begin) in [
            ("md5", "900150983cd2"),
            ("sha224", "23097d223405"),
            ("sha256", "ba7816bf8f01"),
            ("sha384", "cb00753f45a3"),
            ("sha512", "ddaf35a19361"),
        ] {
            let stat = stat(json!({"path": path, "checksum": algorithm}));
            assert!(stat["checksum"].as_str().unwrap().starts_with(begin), "{algorithm}");
        }
    }

    #[test]
    fn a_link_is_seen_or_followed() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("l");
        fs_err::os::unix::fs::symlink("f", &link).unwrap();
        let seen = stat(json!({"path": link, "get_mime": false, "get_attributes": false}));
        assert_eq!((&seen["islnk"], &seen["lnk_target"]), (&json!(true), &json!("f")));
        assert!(seen.get("checksum").is_none() && seen.get("mimetype").is_none());
        assert_eq!(stat(json!({"path": link, "follow": true})), json!({"exists": false}));
        fs_err::write(dir.path().join("f"), "").unwrap();
        assert_eq!(stat(json!({"path": link, "follow": true}))["isreg"], true);
    }
}
