//! What is below a directory, to be compared with what was there.

use std::{
    collections::BTreeMap,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
};

/// By path: type and mode, owner, group, and the bytes of files and links.
pub(crate) type Tree = BTreeMap<String, (u32, u32, u32, Vec<u8>)>;

/// Everything below a directory.
pub(crate) fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut below = vec![root.to_owned()];
    while let Some(directory) = below.pop() {
        for entry in fs_err::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs_err::symlink_metadata(&path).unwrap();
            let bytes = if meta.is_file() {
                fs_err::read(&path).unwrap()
            } else if meta.is_symlink() {
                fs_err::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else {
                Vec::new()
            };
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.insert(name, (meta.mode(), meta.uid(), meta.gid(), bytes));
            if meta.is_dir() {
                below.push(path);
            }
        }
    }
    found
}
