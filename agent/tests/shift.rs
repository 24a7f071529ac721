//! Owners of real trees shifted in place and back: by the manifest, and by what can be read without it.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use crate::support::tree::{
        CAPABLE, Disk, Listing, Until, attribute, differences, file, give, herd, listing, permit, shifted, zoo,
    };
    use rollgate_agent::migrate::{
        Base, Direction, IdRange, Journal, Mapping, MigrateError, Nobody, Shift, Shifted, Watch,
    };
    use rustix::fs::lremovexattr;
    use std::path::{Path, PathBuf};
    use tempfile::TempDir;

    const UID: u32 = 231_072;
    const GID: u32 = 300_000;

    fn mapping() -> Mapping {
        Mapping { uid: IdRange::new(UID, 65536).unwrap(), gid: IdRange::new(GID, 65536).unwrap() }
    }

    /// Trees below a directory, and their journal beside them.
    struct Trees {
        root: PathBuf,
        starts: Vec<PathBuf>,
        state: TempDir,
    }

    impl Trees {
        fn new(root: &Path, starts: &[&str]) -> Self {
            for start in starts {
                fs_err::create_dir_all(root.join(start)).unwrap();
            }
            let root = fs_err::canonicalize(root).unwrap();
            let state = tempfile::tempdir_in(&root).unwrap();
            Self { root, starts: starts.iter().map(PathBuf::from).collect(), state }
        }

        fn at(&self, path: &str) -> PathBuf {
            self.root.join(path)
        }

        fn listing(&self) -> Listing {
            listing(&self.root, &self.starts)
        }

        fn journal(&self) -> Journal {
            Journal::open(&self.state.path().join("journal")).unwrap()
        }

        /// Runs a shift as a new process would: all that it knows is in the journal and in the trees.
        fn shift(&self, direction: Direction, watch: &dyn Watch) -> Result<Shifted, MigrateError> {
            let base = Base::open(&self.root)?;
            let shift = Shift { base: &base, starts: &self.starts, mapping: mapping(), watch };
            let shifted = shift.run(&mut self.journal(), direction, None)?;
            assert_eq!(self.journal().last_done(), Some(direction));
            Ok(shifted)
        }

        /// What the manifest says that is not as it was before.
        fn difference(&self, direction: Direction) -> Option<String> {
            let base = Base::open(&self.root).unwrap();
            let shift = Shift { base: &base, starts: &self.starts, mapping: mapping(), watch: &Nobody };
            shift.difference(&self.journal(), direction).unwrap()
        }

        fn refused(&self) -> String {
            let before = self.listing();
            let error = self.shift(Direction::Into, &Nobody).unwrap_err();
            assert!(matches!(error, MigrateError::Refused(_)), "{error:?}");
            assert_same(&before, &self.listing());
            assert_eq!(self.journal().under_way(), None);
            error.to_string()
        }
    }

    fn assert_same(expected: &Listing, found: &Listing) {
        let told = differences(expected, found);
        assert!(told.is_empty(), "{}", told.join("\n"));
    }

    fn is_root() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("skipped: only root gives files away");
        }
        root
    }

    #[test]
    fn everything_is_shifted_and_comes_back() {
        if !is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let trees = Trees::new(directory.path(), &["overlay2/a/diff", "volumes/v/_data"]);
        zoo(&trees.at("overlay2/a/diff"));
        zoo(&trees.at("volumes/v/_data"));
        fs_err::hard_link(trees.at("overlay2/a/diff/bin/ping"), trees.at("volumes/v/_data/ping")).unwrap();
        let before = trees.listing();
        let into = trees.shift(Direction::Into, &Nobody).unwrap();
        assert_eq!(into.scan.manifest.inodes, before.len() as u64);
        assert_same(&shifted(&before, UID, GID), &trees.listing());
        assert_eq!(trees.difference(Direction::Into), None);
        // Again there is nothing to do.
        assert_eq!(trees.shift(Direction::Into, &Nobody).unwrap().scan.left, 0);
        assert_same(&shifted(&before, UID, GID), &trees.listing());
        trees.shift(Direction::OutOf, &Nobody).unwrap();
        assert_same(&before, &trees.listing());
        assert_eq!(trees.difference(Direction::OutOf), None);
        assert_eq!(trees.shift(Direction::OutOf, &Nobody).unwrap().scan.left, 0);
        assert_same(&before, &trees.listing());
    }

    #[test]
    fn what_was_made_inside_comes_out() {
        if !is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let trees = Trees::new(directory.path(), &["data"]);
        file(&trees.at("data/old"), "old", 5, 5, 0o644);
        trees.shift(Direction::Into, &Nobody).unwrap();
        // By a container: setcap inside gives version 3, for its root. By the host's root: its own ids.
        let made = file(&trees.at("data/made"), "made", UID + 70, GID + 71, 0o4755);
        attribute(&made, "security.capability", &[&[1, 0, 0, 3], &CAPABLE[4..], &UID.to_le_bytes()[..]].concat());
        file(&trees.at("data/by-root"), "", 0, 0, 0o600);
        fs_err::remove_file(trees.at("data/old")).unwrap();
        trees.shift(Direction::OutOf, &Nobody).unwrap();
        let found = trees.listing();
        let made = &found[Path::new("data/made")];
        assert_eq!((made.uid, made.gid, made.mode & 0o7777), (70, 71, 0o4755));
        assert_eq!(made.attributes["security.capability"], CAPABLE);
        assert_eq!(found[Path::new("data/by-root")].uid, 0);
    }

    #[test]
    fn the_manifest_shows_whatever_was_lost() {
        if !is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let trees = Trees::new(directory.path(), &["data"]);
        zoo(&trees.at("data"));
        trees.shift(Direction::Into, &Nobody).unwrap();
        let differs = |undo: &dyn Fn()| {
            let told = trees.difference(Direction::Into).unwrap();
            undo();
            assert_eq!(trees.difference(Direction::Into), None);
            told
        };
        permit(&trees.at("data/bin/sudo"), 0o755);
        assert!(differs(&|| permit(&trees.at("data/bin/sudo"), 0o4755)).contains("another than before"));
        give(&trees.at("data/link"), UID + 42, GID + 44);
        assert!(differs(&|| give(&trees.at("data/link"), UID + 42, GID + 43)).contains("another than before"));
        give(&trees.at("data/link"), 42, GID + 43);
        let told = differs(&|| give(&trees.at("data/link"), UID + 42, GID + 43));
        assert_eq!(told, "1 inodes have not been shifted");
        lremovexattr(trees.at("data/bin/ping"), "security.capability").unwrap();
        let told = differs(&|| attribute(&trees.at("data/bin/ping"), "security.capability", &CAPABLE));
        assert!(told.contains("another than before"), "{told}");
        file(&trees.at("more"), "", UID, GID, 0o600);
        fs_err::rename(trees.at("more"), trees.at("data/bin/more")).unwrap();
        let told = trees.difference(Direction::Into).unwrap();
        assert!(told.starts_with("there are "), "{told}");
    }

    #[test]
    fn what_cannot_be_shifted_is_named_before_anything_is_changed() {
        if !is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let trees = Trees::new(directory.path(), &["data"]);
        zoo(&trees.at("data"));
        fs_err::create_dir(trees.at("elsewhere")).unwrap();

        fs_err::hard_link(trees.at("data/bin/wall"), trees.at("elsewhere/wall")).unwrap();
        let told = trees.refused();
        assert!(told.contains("data/bin/wall (1 elsewhere)") && told.contains("names outside"), "{told}");
        fs_err::remove_file(trees.at("elsewhere/wall")).unwrap();

        give(&trees.at("data/dangling"), 65536, 0);
        let told = trees.refused();
        assert!(told.contains("data/dangling (uid 65536)") && told.contains("no container can have"), "{told}");
        give(&trees.at("data/dangling"), 0, GID + 3);
        let told = trees.refused();
        assert!(told.contains("data/dangling (gid 300003)") && told.contains("in the subordinate range"), "{told}");
        give(&trees.at("data/dangling"), 0, 0);

        // A deletion mark may have names anywhere.
        fs_err::hard_link(trees.at("data/opaque/deleted"), trees.at("elsewhere/mark")).unwrap();
        trees.shift(Direction::Into, &Nobody).unwrap();
    }

    #[test]
    fn trees_in_each_other_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut trees = Trees::new(directory.path(), &["data/inner", "data-too"]);
        trees.starts.push(PathBuf::from("data"));
        assert!(trees.refused().contains("data/inner lies in another directory"));
    }

    #[test]
    fn a_mount_in_a_tree_is_refused() {
        if !is_root() {
            return;
        }
        let disk = Disk::new(64);
        if !disk.is_mounted() {
            eprintln!("skipped: no loop device");
            return;
        }
        let root = disk.path().parent().unwrap().to_owned();
        let trees = Trees::new(&root, &["disk"]);
        let told = trees.shift(Direction::Into, &Nobody).map(drop).unwrap_err().to_string();
        assert!(told.contains("disk: another file system is mounted here"), "{told}");
    }

    #[test]
    fn other_ranges_are_refused_while_a_shift_is_under_way() {
        if !is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let trees = Trees::new(directory.path(), &["data"]);
        zoo(&trees.at("data"));
        trees.shift(Direction::Into, &Until::changes(5)).map(drop).unwrap_err();
        let base = Base::open(&trees.root).unwrap();
        let other = IdRange::new(500_000, 65536).unwrap();
        let mapping = Mapping { uid: other, gid: other };
        let shift = Shift { base: &base, starts: &trees.starts, mapping, watch: &Nobody };
        let told = shift.run(&mut trees.journal(), Direction::Into, None).map(drop).unwrap_err().to_string();
        assert!(told.contains("by other ranges is under way"), "{told}");
    }

    /// Numbers that look random and are the same in every run.
    fn seeded(seed: &mut u64, below: i64) -> i64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((*seed >> 33) % u64::try_from(below).unwrap()).unwrap()
    }

    #[test]
    fn stopped_at_any_change_it_is_continued_or_reversed() {
        if !is_root() {
            return;
        }
        let disk = Disk::new(96);
        let trees = Trees::new(&disk.path(), &["overlay2/a/diff", "volumes/v/_data"]);
        zoo(&trees.at("overlay2/a/diff"));
        herd(&trees.at("volumes/v/_data"), 4800);
        permit(&trees.at("volumes/v/_data"), 0o700);
        let before = trees.listing();
        let after = shifted(&before, UID, GID);
        assert!(before.len() > 5000, "{}", before.len());
        let all = Until::changes(i64::MAX);
        trees.shift(Direction::Into, &all).unwrap();
        assert_same(&after, &trees.listing());
        let changes = i64::MAX - all.left();
        let mut inside = true;
        let mut seed = 4;
        for point in 0..50 {
            let (there, way_there, way_back) = if inside {
                (&before, Direction::OutOf, Direction::Into)
            } else {
                (&after, Direction::Into, Direction::OutOf)
            };
            trees.shift(way_there, &Until::changes(seeded(&mut seed, changes))).map(drop).unwrap_err();
            let way = if point % 2 == 0 { way_there } else { way_back };
            if point % 3 == 0 {
                // And stopped again, on the way on or back, unless it comes to the end.
                let _stopped = trees.shift(way, &Until::changes(seeded(&mut seed, changes / 2)));
            }
            trees.shift(way, &Nobody).unwrap();
            if point % 2 == 0 {
                assert_same(there, &trees.listing());
                inside = !inside;
            } else {
                assert_same(if inside { &after } else { &before }, &trees.listing());
            }
        }
    }
}
