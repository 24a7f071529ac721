//! Trees copied with everything that they are, on one file system and to another one.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use crate::support::tree::{Disk, Listing, differences, herd, listing, zoo};
    use rollgate_agent::migrate::{Base, Bytes, MigrateError, Nobody, Watch, copy};
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    fn is_root() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("skipped: only root gives files away");
        }
        root
    }

    /// A listing without what a copy cannot have: inode numbers become the first name of each inode.
    fn portable(root: &Path, start: &str) -> Listing {
        let mut found = listing(root, &[PathBuf::from(start)]);
        let mut first: BTreeMap<u64, u64> = BTreeMap::new();
        for (number, seen) in (0_u64..).zip(found.values_mut()) {
            seen.inode = *first.entry(seen.inode).or_insert(number);
            if seen.mode & 0o170_000 == 0o040_000 {
                (seen.size, seen.blocks) = (0, 0);
            }
        }
        found
    }

    fn texts(root: &Path, found: &Listing) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = found.iter().filter(|(_, seen)| seen.mode & 0o170_000 == 0o100_000 && seen.size < 1 << 20);
        files.map(|(path, _)| (path.clone(), fs_err::read(root.join(path)).unwrap())).collect()
    }

    fn assert_copied(from: &Path, to: &Path) {
        let (before, after) = (portable(from, "data"), portable(to, "data"));
        let told = differences(&before, &after);
        assert!(told.is_empty(), "{}", told.join("\n"));
        assert_eq!(texts(from, &before), texts(to, &after));
    }

    fn copied(from: &Path, to: &Path, bytes: Bytes, watch: &dyn Watch) -> Result<(), MigrateError> {
        copy(&Base::open(from)?, &Base::open(to)?, &[PathBuf::from("data")], bytes, watch)
    }

    #[test]
    fn a_copy_is_all_that_the_original_is() {
        if !is_root() {
            return;
        }
        let (disk, other) = (Disk::new(96), Disk::new(96));
        fs_err::create_dir_all(disk.path().join("from/data")).unwrap();
        fs_err::create_dir(disk.path().join("to")).unwrap();
        let from = disk.path().join("from");
        zoo(&from.join("data"));
        herd(&from.join("data"), 500);
        let holes = fs_err::File::create(from.join("data/holes")).unwrap();
        for at in [0, 5 << 20, 9 << 20] {
            std::os::unix::fs::FileExt::write_all_at(holes.file(), b"data", at).unwrap();
        }
        holes.set_len(12 << 20).unwrap();
        copied(&from, &disk.path().join("to"), Bytes::Copied, &Nobody).unwrap();
        assert_copied(&from, &disk.path().join("to"));
        // And to another file system.
        copied(&from, &other.path(), Bytes::Copied, &Nobody).unwrap();
        assert_copied(&from, &other.path());
        // What is there is never written over.
        assert!(copied(&from, &other.path(), Bytes::Copied, &Nobody).is_err());
    }

    #[test]
    fn bytes_are_shared_where_the_file_system_can() {
        let Some(disk) = Some(is_root()).filter(|root| *root).and_then(|_| Disk::sharing()) else { return };
        fs_err::create_dir_all(disk.path().join("from/data")).unwrap();
        fs_err::create_dir(disk.path().join("to")).unwrap();
        let (from, to) = (disk.path().join("from"), disk.path().join("to"));
        zoo(&from.join("data"));
        herd(&from.join("data"), 200);
        // Two of these have no room.
        fs_err::write(from.join("data/large"), vec![1; 160 << 20]).unwrap();
        copied(&from, &to, Bytes::Shared, &Nobody).unwrap();
        let without_blocks = |root: &Path| {
            let mut found = portable(root, "data");
            found.values_mut().for_each(|seen| seen.blocks = 0);
            found
        };
        let told = differences(&without_blocks(&from), &without_blocks(&to));
        assert!(told.is_empty(), "{}", told.join("\n"));
        fs_err::write(to.join("data/large"), "other").unwrap();
        assert_eq!(fs_err::metadata(from.join("data/large")).unwrap().len(), 160 << 20);
    }

    #[test]
    fn bytes_are_shared_only_where_the_file_system_can() {
        if !is_root() {
            return;
        }
        let (disk, other) = (Disk::new(96), Disk::new(96));
        fs_err::create_dir(disk.path().join("data")).unwrap();
        fs_err::write(disk.path().join("data/file"), "text").unwrap();
        let error = copied(&disk.path(), &other.path(), Bytes::Shared, &Nobody).unwrap_err();
        assert!(error.to_string().contains("cannot share the bytes of"), "{error}");
    }

    #[test]
    fn a_directory_of_another_file_system_is_not_copied() {
        if !is_root() {
            return;
        }
        let (disk, other) = (Disk::new(96), Disk::new(96));
        if !disk.is_mounted() || !other.is_mounted() {
            eprintln!("skipped: no loop device");
            return;
        }
        let from = disk.path().parent().unwrap().to_owned();
        let base = Base::open(&from).unwrap();
        let to = Base::open(&other.path()).unwrap();
        let error = copy(&base, &to, &[PathBuf::from("disk")], Bytes::Copied, &Nobody).unwrap_err();
        assert!(error.to_string().contains("another file system is mounted here"), "{error}");
    }
}
