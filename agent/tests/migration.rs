//! A data root moved into its remapped root and back, without an engine.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use crate::support::data_root::{AGENT, DB, container, data_root, state, volume_mount};
    use crate::support::tree::{Disk, Listing, Until, differences, file, give, permit};
    use rollgate_agent::migrate::docker::{Migration, Stage, Strategy, Wanted};
    use rollgate_agent::migrate::{Direction, IdRange, Mapping, MigrateError, Nobody, Watch};
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};

    const UID: u32 = 231_072;
    const GID: u32 = 300_000;
    const INNER: &str = "231072.300000";

    type State = (Listing, BTreeMap<PathBuf, String>);

    struct Host {
        /// Holds the data root and the record.
        disk: Disk,
        root: PathBuf,
        wanted: Wanted,
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    impl Host {
        /// None where nobody can give files away.
        fn new(files: u32) -> Option<Self> {
            Self::on(|| Some(Disk::new(96)), files)
        }

        fn on(disk: impl FnOnce() -> Option<Disk>, files: u32) -> Option<Self> {
            if !rustix::process::geteuid().is_root() {
                eprintln!("skipped: only root gives files away");
                return None;
            }
            let disk = disk()?;
            let root = disk.path().join("docker");
            data_root(&root, files);
            let mapping = Mapping { uid: IdRange::new(UID, 65536).unwrap(), gid: IdRange::new(GID, 65536).unwrap() };
            let wanted = Wanted {
                root: root.clone(),
                mapping,
                strategy: Strategy::Move,
                host: set(&["agent"]),
                leave: set(&[]),
                shift: set(&[]),
                units: vec![],
            };
            Some(Self { disk, root, wanted })
        }

        fn migration(&self) -> Migration {
            Migration::open(&self.disk.path().join("record")).unwrap()
        }

        /// As a new process would.
        fn go(&self, direction: Direction, watch: &dyn Watch) -> Result<(), MigrateError> {
            let mut migration = self.migration();
            match direction {
                Direction::Into => migration.into_range(&self.wanted, watch).map(drop)?,
                Direction::OutOf => migration.out_of_range(watch).map(drop)?,
            }
            assert_eq!(self.migration().stage(), Stage::Done(direction));
            Ok(())
        }

        fn state(&self) -> State {
            state(&self.root)
        }

        fn refused(&self) -> String {
            let before = self.state();
            let error = self.go(Direction::Into, &Nobody).unwrap_err();
            assert!(matches!(error, MigrateError::Refused(_)), "{error:?}");
            assert_same(&before, &self.state());
            assert_eq!(self.migration().stage(), Stage::None);
            error.to_string()
        }
    }

    fn assert_same(expected: &State, found: &State) {
        let told = differences(&expected.0, &found.0);
        assert!(told.is_empty(), "{}", told.join("\n"));
        assert_eq!(expected.1, found.1);
    }

    /// What section 2 of the design says that must become of each path.
    fn remapped(before: &State, root: &Path) -> State {
        let moved = ["containers", "engine-id", "image", "network", "overlay2", "plugins", "swarm", "volumes"];
        let place = |path: &Path| {
            let first = path.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned());
            if first.is_some_and(|first| moved.contains(&first.as_str())) {
                Path::new(INNER).join(path)
            } else {
                path.to_owned()
            }
        };
        let mut after = Listing::new();
        for (path, seen) in &before.0 {
            let mut seen = seen.clone();
            let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            match parts.as_slice() {
                ["overlay2" | "volumes", "backingFsBlockDev"] => continue,
                ["overlay2", "l", ..] => {}
                ["containers"] | ["containers", _] | ["containers", _, "mounts"] | ["overlay2"] | ["overlay2", _] => {
                    seen.gid = GID;
                    seen.mode |= 0o010;
                }
                ["overlay2", _, "diff" | "work", ..]
                | ["containers", _, "hostname" | "hosts" | "resolv.conf"]
                | ["containers", _, "mounts", _]
                | ["volumes", "data" | "tmpfs", "_data", ..] => {
                    let one = Listing::from([(path.clone(), seen)]);
                    seen = crate::support::tree::shifted(&one, UID, GID).remove(path).unwrap();
                }
                _ => {}
            }
            after.insert(place(path), seen);
        }
        let mut inner = before.0[Path::new("")].clone();
        (inner.mode, inner.gid) = (0o040_710, GID);
        after.insert(PathBuf::from(INNER), inner);
        let mut texts: BTreeMap<PathBuf, String> =
            before.1.iter().map(|(path, text)| (place(path), text.clone())).collect();
        let mut edit = |path: String, from: &str, to: &str| {
            let text = texts.get_mut(&Path::new(INNER).join(path)).unwrap();
            assert!(text.contains(from), "{text}");
            *text = text.replace(from, to);
        };
        let volumes = |root: PathBuf| root.join("volumes").display().to_string();
        for id in [DB, AGENT] {
            edit(format!("containers/{id}/config.v2.json"), &volumes(root.to_owned()), &volumes(root.join(INNER)));
        }
        edit(format!("containers/{AGENT}/hostconfig.json"), r#""UsernsMode":"""#, r#""UsernsMode":"host""#);
        edit("volumes/tmpfs/opts.json".to_owned(), "uid=1000,gid=1001", "uid=232072,gid=301001");
        (after, texts)
    }

    /// Without the nodes that an engine makes again.
    fn without_nodes(mut state: State) -> State {
        state.0.retain(|path, _| !path.ends_with("backingFsBlockDev"));
        state
    }

    #[test]
    fn each_class_of_path_gets_its_owner_and_everything_comes_back() {
        let Some(host) = Host::new(200) else { return };
        let before = host.state();
        host.go(Direction::Into, &Nobody).unwrap();
        assert_same(&remapped(&before, &host.root), &host.state());
        // Once more is nothing more.
        host.go(Direction::Into, &Nobody).unwrap();
        assert_same(&remapped(&before, &host.root), &host.state());
        host.go(Direction::OutOf, &Nobody).unwrap();
        assert_same(&without_nodes(before.clone()), &host.state());
        host.go(Direction::OutOf, &Nobody).unwrap();
        host.go(Direction::Into, &Nobody).unwrap();
        assert_same(&remapped(&before, &host.root), &host.state());
    }

    #[test]
    fn what_was_made_while_remapped_comes_back_too() {
        let Some(host) = Host::new(20) else { return };
        host.go(Direction::Into, &Nobody).unwrap();
        let inner = host.root.join(INNER);
        container(&inner, &"c".repeat(64), "new", &volume_mount(&inner, "made"), "");
        for path in ["volumes/made/_data/file", "overlay2/3333/diff/file"] {
            let path = inner.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            give(path.parent().unwrap(), UID, GID);
            file(&path, "new", UID + 33, GID + 33, 0o644);
        }
        permit(&inner.join("overlay2/3333"), 0o710);
        give(&inner.join("overlay2/3333"), 0, GID);
        fs_err::create_dir(inner.join("runtimes")).unwrap();
        fs_err::remove_dir_all(inner.join("containers").join(DB)).unwrap();
        host.go(Direction::OutOf, &Nobody).unwrap();
        let (found, texts) = host.state();
        for path in ["volumes/made/_data/file", "overlay2/3333/diff/file"] {
            assert_eq!((found[Path::new(path)].uid, found[Path::new(path)].gid), (33, 33));
        }
        assert_eq!(found[Path::new("overlay2/3333")].gid, 0);
        let config = &texts[&Path::new("containers").join("c".repeat(64)).join("config.v2.json")];
        assert!(config.contains(&format!("{}/volumes/made/_data", host.root.display())), "{config}");
        assert!(!found.contains_key(&Path::new("containers").join(DB)));
        assert!(found.contains_key(&Path::new(INNER).join("runtimes")), "what the engine made for itself stays");
    }

    #[test]
    fn what_forbids_it_is_told_all_at_once_and_nothing_is_changed() {
        let Some(mut host) = Host::new(20) else { return };
        let shared = volume_mount(&host.root, "agent");
        container(&host.root, &"d".repeat(64), "shares", &shared, &format!(r#""IpcMode":"container:{AGENT}","#));
        let inside = host.root.join("volumes/data/_data");
        let bind = format!(r#""/x":{{"Source":"{}","Type":"bind"}}"#, inside.display());
        container(&host.root, &"e".repeat(64), "binds", &bind, r#""Privileged":true,"#);
        host.wanted.host = set(&["agent", "nobody"]);
        let told = host.refused();
        for expected in [
            "there is no container \"nobody\"",
            "container shares joins a namespace of agent",
            "container binds has --privileged",
            "volume agent is used by agent with the host's user namespace and by shares without",
            &format!("container binds binds {}", inside.display()),
        ] {
            assert!(told.contains(expected), "{expected:?} is not in {told}");
        }
        fs_err::create_dir_all(host.root.join(INNER).join("image")).unwrap();
        assert!(host.refused().contains("has data of an engine that has run remapped on this host (image)"));
    }

    #[test]
    fn a_decision_settles_a_shared_volume() {
        let Some(mut host) = Host::new(20) else { return };
        container(&host.root, &"d".repeat(64), "shares", &volume_mount(&host.root, "agent"), "");
        assert!(host.refused().contains("say whether it is shifted or left"));
        host.wanted.shift = set(&["agent"]);
        host.go(Direction::Into, &Nobody).unwrap();
        let (found, _) = host.state();
        let state = &found[&Path::new(INNER).join("volumes/agent/_data/state")];
        assert_eq!((state.uid, state.mode & 0o7777), (UID + 7, 0o4755));
    }

    /// What can be said of a copy as well: inodes by their first names, and nothing of what is kept aside.
    fn portable(mut state: State) -> State {
        let aside = |path: &Path| path.to_string_lossy().starts_with(&format!("{INNER}.before."));
        state.0.retain(|path, _| !aside(path));
        state.1.retain(|path, _| !aside(path));
        let mut first = BTreeMap::new();
        for (number, seen) in (0_u64..).zip(state.0.values_mut()) {
            seen.inode = *first.entry(seen.inode).or_insert(number);
        }
        state
    }

    /// The original, and the copy beside it in the remapped root.
    fn copied(before: &State, root: &Path) -> State {
        let mut both = remapped(before, root);
        // The copy's inodes are others than the original's.
        both.0.values_mut().filter(|seen| seen.inode != 0).for_each(|seen| seen.inode += 1 << 40);
        for (path, seen) in &before.0 {
            both.0.insert(path.clone(), seen.clone());
        }
        both.1.extend(before.1.clone());
        both
    }

    #[test]
    fn a_copy_is_shifted_beside_its_original_and_takes_its_place() {
        let Some(mut host) = Host::new(200) else { return };
        host.wanted.strategy = Strategy::Copy;
        let before = host.state();
        host.go(Direction::Into, &Nobody).unwrap();
        assert_same(&portable(copied(&before, &host.root)), &portable(host.state()));
        assert_eq!(host.migration().difference(&Nobody).unwrap(), None);
        // What is written now is in the copy alone.
        file(&host.root.join(INNER).join("volumes/data/_data/new"), "new", UID + 5, GID + 5, 0o600);
        host.go(Direction::OutOf, &Nobody).unwrap();
        let new = host.root.join("volumes/data/_data/new");
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(&new).unwrap()), 5);
        assert_eq!(host.migration().difference(&Nobody).unwrap(), None);
        fs_err::remove_file(new).unwrap();
        let mut found = portable(host.state());
        let mut expected = portable(without_nodes(before));
        for state in [&mut found, &mut expected] {
            // Ranks have gaps where nodes were.
            *state = portable(state.clone());
        }
        assert_same(&expected, &found);
        assert!(!host.root.join(INNER).exists());
    }

    #[test]
    fn a_copy_that_has_no_room_is_refused_before_anything_is_changed() {
        let Some(mut host) = Host::new(20) else { return };
        host.wanted.strategy = Strategy::Copy;
        if !host.disk.is_mounted() {
            eprintln!("skipped: no loop device");
            return;
        }
        // What belongs to no container is copied as well.
        for large in ["image/large", "volumes/data/_data/large"] {
            fs_err::write(host.root.join(large), vec![1; 60 << 20]).unwrap();
            let told = host.refused();
            assert!(told.contains("a copy of") && told.contains("MiB are free"), "{told}");
            fs_err::rename(host.root.join(large), host.root.join("volumes/data/_data/large")).unwrap();
        }
        host.wanted.strategy = Strategy::Reflink;
        let before = host.state();
        let told = host.go(Direction::Into, &Nobody).unwrap_err().to_string();
        assert!(told.contains("cannot share the bytes of"), "{told}");
        host.go(Direction::OutOf, &Nobody).unwrap();
        assert_same(&before, &host.state());
    }

    #[test]
    fn a_copy_may_share_the_bytes_of_its_original() {
        let Some(mut host) = Host::on(Disk::sharing, 100) else { return };
        host.wanted.strategy = Strategy::Reflink;
        // Two of these have no room.
        let large = "volumes/data/_data/large";
        fs_err::write(host.root.join(large), vec![1; 160 << 20]).unwrap();
        host.go(Direction::Into, &Nobody).unwrap();
        assert_eq!(host.migration().difference(&Nobody).unwrap(), None);
        let inner = host.root.join(INNER).join(large);
        fs_err::OpenOptions::new().append(true).open(&inner).unwrap().set_len(1 << 20).unwrap();
        host.go(Direction::OutOf, &Nobody).unwrap();
        assert_eq!(fs_err::metadata(host.root.join(large)).unwrap().len(), 1 << 20);
        assert_eq!(host.migration().difference(&Nobody).unwrap(), None);
    }

    #[test]
    fn a_copy_stopped_at_seeded_changes_goes_on_or_back() {
        let full = std::env::var("ROLLGATE_FULL").is_ok_and(|full| full == "1");
        let Some(mut host) = Host::new(if full { 4800 } else { 200 }) else { return };
        host.wanted.strategy = Strategy::Copy;
        let before = host.state();
        let inside = |before: &State| portable(copied(before, &host.root));
        let aside = || {
            for entry in fs_err::read_dir(&host.root).unwrap().map(|entry| entry.unwrap()) {
                if entry.file_name().to_string_lossy().contains(".before.") {
                    fs_err::remove_dir_all(entry.path()).unwrap();
                }
            }
        };
        let all = Until::changes(i64::MAX);
        host.go(Direction::Into, &all).unwrap();
        assert_same(&inside(&before), &portable(host.state()));
        let changes = i64::MAX - all.left();
        let back = Until::changes(i64::MAX);
        host.go(Direction::OutOf, &back).unwrap();
        let changes_back = i64::MAX - back.left();
        aside();
        // From here on without the nodes, which an engine would have made again.
        let mut before = host.state();
        let mut seed = 9;
        for point in 0..50 {
            let at = 1 + seeded(&mut seed, changes - 20);
            let stopped = host.go(Direction::Into, &Until::changes(at));
            assert!(matches!(stopped, Err(MigrateError::Stopped(_))), "at {at}: {stopped:?}");
            if point % 2 == 0 {
                host.go(Direction::OutOf, &Nobody).unwrap();
                assert_same(&before, &host.state());
                continue;
            }
            host.go(Direction::Into, &Nobody).unwrap();
            assert_same(&inside(&before), &portable(host.state()));
            let at = 1 + seeded(&mut seed, changes_back - 4);
            let stopped = host.go(Direction::OutOf, &Until::changes(at));
            assert!(matches!(stopped, Err(MigrateError::Stopped(_))), "back at {at}: {stopped:?}");
            assert!(matches!(host.go(Direction::Into, &Nobody), Err(MigrateError::Refused(_))));
            host.go(Direction::OutOf, &Nobody).unwrap();
            assert_same(&portable(before.clone()), &portable(host.state()));
            aside();
            // It has other inodes now.
            before = host.state();
        }
    }

    /// Numbers that look random and are the same in every run.
    fn seeded(seed: &mut u64, below: i64) -> i64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((*seed >> 33) % u64::try_from(below).unwrap()).unwrap()
    }

    /// Stops at a change, goes on or back from there, and looks whether everything is where it should be.
    fn stopped(host: &Host, outside: &State, inside: &State, point: i64, way: Direction, and_on: bool) {
        let back = if way == Direction::Into { Direction::OutOf } else { Direction::Into };
        let stopped = host.go(way, &Until::changes(point));
        assert!(matches!(stopped, Err(MigrateError::Stopped(_))), "{way:?} was not stopped at {point}: {stopped:?}");
        let last = if and_on { way } else { back };
        host.go(last, &Nobody).unwrap_or_else(|error| panic!("{way:?} stopped at {point}, then {last:?}: {error}"));
        assert_same(if last == Direction::Into { inside } else { outside }, &host.state());
    }

    #[test]
    fn stopped_at_each_change_of_a_small_root_it_goes_on_or_back() {
        let Some(host) = Host::new(0) else { return };
        let before = host.state();
        let (outside, inside) = (without_nodes(before.clone()), remapped(&before, &host.root));
        host.go(Direction::Into, &Nobody).unwrap();
        host.go(Direction::OutOf, &Nobody).unwrap();
        let all = Until::changes(i64::MAX);
        host.go(Direction::Into, &all).unwrap();
        let changes = i64::MAX - all.left();
        host.go(Direction::OutOf, &Nobody).unwrap();
        // The first changes nothing: the record itself is about to be written.
        for point in (1..changes).step_by(3) {
            stopped(&host, &outside, &inside, point, Direction::Into, point % 2 == 0);
            if point % 2 == 0 {
                stopped(&host, &outside, &inside, point.min(changes / 2), Direction::OutOf, true);
            }
        }
    }

    #[test]
    fn stopped_at_seeded_changes_of_a_large_root_it_goes_on_or_back() {
        let Some(host) = Host::new(4800) else { return };
        let before = host.state();
        assert!(before.0.len() > 5000, "{}", before.0.len());
        let (outside, inside) = (without_nodes(before.clone()), remapped(&before, &host.root));
        let all = Until::changes(i64::MAX);
        host.go(Direction::Into, &all).unwrap();
        assert_same(&inside, &host.state());
        let changes = i64::MAX - all.left();
        let mut seed = 5;
        let mut way = Direction::OutOf;
        for point in 0..50 {
            let and_on = point % 2 == 0;
            stopped(&host, &outside, &inside, 1 + seeded(&mut seed, changes - 100), way, and_on);
            if and_on {
                way = if way == Direction::Into { Direction::OutOf } else { Direction::Into };
            }
        }
    }
}
