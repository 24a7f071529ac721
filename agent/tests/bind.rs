//! Paths of the host that containers bind, given to a range and taken back on a real file system: what was there gets back what
//! it had, what was made since gets no power, and it may be stopped at any change.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use crate::support::tree::{CAPABLE, Listing, Until, attribute, differences, file, give, listing, zoo};
    use rollgate_agent::migrate::bind::{Bind, Book, Given, Policy, Standing};
    use rollgate_agent::migrate::{IdRange, Mapping, MigrateError, Nobody, Watch};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::{Path, PathBuf};
    use tempfile::TempDir;

    const UID: u32 = 231_072;
    const GID: u32 = 300_000;

    struct Site {
        root: PathBuf,
        state: TempDir,
        _directory: TempDir,
    }

    impl Site {
        /// None where nobody can give files away.
        fn new() -> Option<Self> {
            if !rustix::process::geteuid().is_root() {
                eprintln!("skipped: only root gives files away");
                return None;
            }
            let directory = tempfile::tempdir().unwrap();
            let root = fs_err::canonicalize(directory.path()).unwrap();
            fs_err::create_dir(root.join("app")).unwrap();
            Some(Self { root, state: tempfile::tempdir().unwrap(), _directory: directory })
        }

        fn at(&self, path: &str) -> PathBuf {
            self.root.join("app").join(path)
        }

        fn listing(&self) -> Listing {
            listing(&self.root, &[PathBuf::from("app")])
        }

        fn book(&self) -> Book {
            Book::open(&self.state.path().join("book")).unwrap()
        }

        fn bind<'a>(&self, policy: Policy, recurse: bool, watch: &'a dyn Watch) -> Bind<'a> {
            let mapping = Mapping { uid: IdRange::new(UID, 65536).unwrap(), gid: IdRange::new(GID, 65536).unwrap() };
            Bind::new(&self.root.join("app"), mapping, policy, recurse, watch).unwrap()
        }

        fn give(&self, policy: Policy, recurse: bool) -> Given {
            self.bind(policy, recurse, &Nobody).give(&mut self.book()).unwrap()
        }

        /// As another process would: all that it knows is in the record.
        fn take_back(&self, watch: &dyn Watch) -> Result<Given, MigrateError> {
            let mut book = self.book();
            match Bind::recorded(&book, watch)? {
                Some(bind) => bind.take_back(&mut book),
                None => Ok(Given::default()),
            }
        }
    }

    fn assert_same(expected: &Listing, found: &Listing) {
        let told = differences(expected, found);
        assert!(told.is_empty(), "{}", told.join("\n"));
    }

    fn owner(path: &Path) -> (u32, u32, u32) {
        let meta = fs_err::symlink_metadata(path).unwrap();
        (meta.uid(), meta.gid(), meta.permissions().mode() & 0o7777)
    }

    #[test]
    fn a_tree_is_given_and_comes_back() {
        let Some(site) = Site::new() else { return };
        zoo(&site.at("zoo"));
        let before = site.listing();
        let given = site.give(Policy::Chown, true);
        assert!(given.changed > 10 && given.inodes >= given.changed, "{given:?}");
        assert_eq!(site.book().standing(), Standing::Given);
        let (uid, gid, _) = owner(&site.at(""));
        assert_eq!((uid, gid), (UID, GID));
        // Again there is nothing to do.
        assert_eq!(site.give(Policy::Chown, true).changed, 0);
        let taken = site.take_back(&Nobody).unwrap();
        assert_eq!((taken.made_since.len(), taken.lost.len()), (0, 0), "{taken:?}");
        assert_same(&before, &site.listing());
        assert_eq!(site.take_back(&Nobody).unwrap(), Given::default());
    }

    #[test]
    fn only_the_path_itself_is_given_unless_it_is_asked_for() {
        let Some(site) = Site::new() else { return };
        file(&site.at("inner"), "x", 5, 6, 0o644);
        let before = site.listing();
        assert_eq!(site.give(Policy::Chown, false), Given { inodes: 1, changed: 1, ..Given::default() });
        assert_eq!((owner(&site.at("")).0, owner(&site.at("inner")).0), (UID, 5));
        site.take_back(&Nobody).unwrap();
        assert_same(&before, &site.listing());
    }

    #[test]
    fn what_was_made_since_gets_no_power_and_is_listed() {
        let Some(site) = Site::new() else { return };
        file(&site.at("tool"), "true", 0, 0, 0o4755);
        file(&site.at("kept"), "kept", 0, 0, 0o4755);
        let replaced = file(&site.at("capable"), "x", 7, 7, 0o755);
        attribute(&replaced, "security.capability", &CAPABLE);
        site.give(Policy::Chown, true);
        // The container's root writes another program into a setuid file, and gives the bits back.
        fs_err::write(site.at("tool"), "a shell").unwrap();
        fs_err::set_permissions(site.at("tool"), std::fs::Permissions::from_mode(0o4755)).unwrap();
        // And makes some of its own.
        let made = file(&site.at("made"), "a shell", UID, GID, 0o6755);
        attribute(&made, "security.capability", &CAPABLE);
        let by_user = file(&site.at("by-user"), "", UID + 1000, GID + 1000, 0o600);
        // A file that replaces another is not that one.
        fs_err::remove_file(&replaced).unwrap();
        file(&replaced, "x", UID, GID, 0o4755);

        let taken = site.take_back(&Nobody).unwrap();
        assert_eq!(taken.lost, [site.at("tool").display().to_string()]);
        let mut made_since = taken.made_since.clone();
        made_since.sort();
        let names = ["by-user", "capable", "made"].map(|name| site.at(name).display().to_string());
        assert_eq!(made_since, names);
        assert_eq!(owner(&site.at("tool")), (0, 0, 0o755));
        assert_eq!(owner(&site.at("kept")), (0, 0, 0o4755));
        assert_eq!(owner(&made), (0, 0, 0o755));
        assert_eq!(owner(&replaced), (0, 0, 0o755));
        assert_eq!(owner(&by_user), (1000, 1000, 0o600));
        let mut value = [0; 64];
        assert!(rustix::fs::lgetxattr(&made, "security.capability", &mut value).is_err());
    }

    #[test]
    fn an_access_list_lets_the_containers_root_in_and_goes_again() {
        let Some(site) = Site::new() else { return };
        file(&site.at("data"), "x", 0, 0, 0o640);
        fs_err::os::unix::fs::symlink("data", site.at("link")).unwrap();
        let before = site.listing();
        site.give(Policy::Acl, true);
        let mut value = [0; 256];
        let length = rustix::fs::lgetxattr(site.at("data"), "system.posix_acl_access", &mut value).unwrap();
        assert!(value[..length].windows(4).any(|id| id == UID.to_le_bytes()), "{:?}", &value[..length]);
        assert!(rustix::fs::lgetxattr(site.at(""), "system.posix_acl_default", &mut value).is_ok());
        assert_eq!((owner(&site.at("data")).0, owner(&site.at("data")).2 & 0o707), (0, 0o600));
        site.take_back(&Nobody).unwrap();
        assert_same(&before, &site.listing());
    }

    #[test]
    fn what_cannot_be_told_from_the_ranges_is_refused_and_nothing_is_changed() {
        let Some(site) = Site::new() else { return };
        give(&file(&site.at("odd"), "", 0, 0, 0o644), 70_000, 0);
        let error = site.bind(Policy::Chown, true, &Nobody).give(&mut site.book()).unwrap_err();
        assert!(error.to_string().contains("odd is 70000:0's"), "{error}");
        let shadow = file(&site.root.join("shadow"), "secret", 0, 0, 0o600);
        fs_err::remove_file(site.at("odd")).unwrap();
        fs_err::hard_link(&shadow, site.at("odd")).unwrap();
        let before = site.listing();
        let error = site.bind(Policy::Chown, true, &Nobody).give(&mut site.book()).unwrap_err();
        assert!(error.to_string().contains("odd has another name outside"), "{error}");
        assert_eq!((site.book().standing(), site.book().inodes()), (Standing::AsItWas, 0));
        assert_same(&before, &site.listing());
    }

    #[test]
    fn stopped_at_any_change_it_goes_on_or_back() {
        let Some(site) = Site::new() else { return };
        zoo(&site.at("zoo"));
        file(&site.at("tool"), "true", 0, 0, 0o4755);
        let before = site.listing();
        site.give(Policy::Chown, true);
        let given = site.listing();
        site.take_back(&Nobody).unwrap();
        let mut points = 0;
        for changes in 0.. {
            let until = Until::changes(changes);
            let stopped = site.bind(Policy::Chown, true, &until).give(&mut site.book()).is_err();
            if changes % 2 == 0 && site.book().standing() != Standing::AsItWas {
                site.give(Policy::Chown, true);
                assert_same(&given, &site.listing());
            }
            // Back, stopped once more on the way.
            let _maybe = site.take_back(&Until::changes(changes / 2));
            site.take_back(&Nobody).unwrap();
            assert_same(&before, &site.listing());
            assert_eq!(site.book().standing(), Standing::AsItWas);
            points += 1;
            if !stopped {
                break;
            }
        }
        assert!(points > 30, "{points}");
    }
}
