//! Data of a real engine, migrated and taken back by the real program. With `ROLLGATE_LAB=1`, as root, with `dockerd`,
//! `busybox` and `setcap`.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::process::Command;

    /// What the engine said each time, without what must be another.
    fn accounts(strategy: &str) -> Option<BTreeMap<String, Vec<String>>> {
        let wanted = std::env::var("ROLLGATE_LAB").is_ok_and(|lab| lab == "1");
        if !wanted {
            eprintln!("skipped: without ROLLGATE_LAB=1");
            return None;
        }
        for path in ["/usr/sbin/dockerd", "/usr/bin/busybox", "/usr/sbin/setcap"] {
            assert!(Path::new(path).exists(), "there is no {path}");
        }
        let directory = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/run.sh");
        let output = Command::new(script)
            .args([Path::new(env!("CARGO_BIN_EXE_rollgate")), &directory.path().join("e"), Path::new(strategy)])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        let mut accounts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut name = String::new();
        for line in text.lines() {
            match line.strip_prefix("== ") {
                Some(next) => next.clone_into(&mut name),
                None => accounts.entry(name.clone()).or_default().push(line.to_owned()),
            }
        }
        Some(accounts)
    }

    fn differing<'a>(one: &'a [String], other: &[String]) -> Vec<&'a str> {
        one.iter().filter(|line| !other.contains(line)).map(String::as_str).collect()
    }

    fn goes_there_and_back(strategy: &str) {
        let Some(accounts) = accounts(strategy) else { return };
        let [before, remapped, back] = ["before", "remapped", "back"].map(|name| &accounts[name]);
        assert!(before.contains(&"the owner reads what is private".to_owned()), "{before:#?}");
        assert!(before.contains(&"/bin/setuid 0:0 4755 regular file".to_owned()), "{before:#?}");
        assert!(before.contains(&"cap_net_raw=ep".to_owned()), "{before:#?}");
        let changed = differing(remapped, before);
        assert_eq!(changed.len(), 2, "{changed:#?}");
        assert_eq!(changed[0], "db  0 231072 65536");
        assert!(changed[1].starts_with("root ") && changed[1].ends_with("/231072.231072"), "{changed:#?}");
        assert_eq!(differing(back, before), ["second"]);
        assert_eq!(differing(before, back), Vec::<&str>::new());
    }

    #[test]
    fn data_that_is_moved_is_seen_by_a_remapped_engine_and_comes_back() {
        goes_there_and_back("move");
    }

    #[test]
    fn data_that_is_copied_is_seen_by_a_remapped_engine_and_comes_back() {
        goes_there_and_back("copy");
    }
}
