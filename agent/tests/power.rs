//! Row 8 of the failure matrix: files that a power cut has truncated. What a step changed, and its undo record: neither
//! half is ever taken for the whole.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use crate::support::guarded::{Guarded, LONG};
    use crate::support::sandbox::{Sandbox, agent};
    use crate::support::{TXN, bundled};
    use proptest::prelude::*;
    use proptest::sample::Index;
    use rollgate_agent::protocol::{Answer, Call, GuardState, RevertReport};
    use rollgate_agent::serve::Control;
    use rollgate_agent::undo::{Object, Record, Transaction, path_text};
    use serde_json::json;
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    /// A whole file of settings, and two that others write to as well.
    const BEFORE: [(&str, &str); 3] = [
        ("settings", "{\"log\": 1}\n"),
        ("subuid", "alice:100000:65536\nbob:1:2\n"),
        ("hosts", "127.0.0.1 localhost\n"),
    ];

    /// A sandbox in which each of the files has been changed, and those in the order of the steps.
    fn changed() -> (Sandbox, Vec<PathBuf>) {
        let mut sandbox = Sandbox::with_rollback(vec![bundled("command", json!({"cmd": "true"}))]);
        for (name, text) in BEFORE {
            sandbox.write(name, text);
        }
        let settings = json!({"dest": sandbox.at("settings"), "content": "{\"log\": 1, \"remap\": \"dockremap\"}\n"});
        sandbox.step("copy", settings);
        let line = "dockremap:165536:65536\n";
        sandbox.step("copy", json!({"dest": sandbox.at("subuid"), "content": line, "merge": "lines"}));
        sandbox.step("lineinfile", json!({"path": sandbox.at("hosts"), "line": "10.0.0.1 db"}));
        sandbox.step("copy", json!({"dest": sandbox.at("new"), "content": "new\n"}));
        let paths = ["settings", "subuid", "hosts", "new"].map(|name| sandbox.path(name));
        (sandbox, paths.into())
    }

    type Texts = BTreeMap<PathBuf, Vec<u8>>;

    fn texts(sandbox: &Sandbox) -> Texts {
        let entries = fs_err::read_dir(sandbox.root.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fs_err::read(path).unwrap())).collect()
    }

    fn before(sandbox: &Sandbox) -> Texts {
        BEFORE.iter().map(|(name, text)| (sandbox.path(name), text.as_bytes().to_vec())).collect()
    }

    /// Reverts as a new agent would, after the power came back. An error is a refusal.
    fn revert(sandbox: &Sandbox) -> Result<RevertReport, String> {
        let agent = agent(sandbox.state.path(), "run2");
        match agent.answer(&Call::Revert { txn: TXN.to_owned() }, &Control::default(), &|_| {}) {
            Ok(Answer::Revert(report)) => match report.failed {
                Some(why) => Err(why),
                None => Ok(report),
            },
            other => Err(format!("{other:?}")),
        }
    }

    /// All files of the transaction, but its log.
    fn records(sandbox: &Sandbox) -> Vec<PathBuf> {
        let directory = sandbox.state.path().join("txn").join(TXN);
        let blobs = fs_err::read_dir(directory.join("blobs")).unwrap().map(|entry| entry.unwrap().path());
        let names = ["manifest.json", "state", "rollback.json"].map(|name| directory.join(name));
        let mut found: Vec<PathBuf> = blobs.chain(names).collect();
        found.sort();
        found
    }

    fn truncate(path: &Path, offset: &Index) -> Vec<u8> {
        let whole = fs_err::read(path).unwrap();
        fs_err::write(path, &whole[..offset.index(whole.len())]).unwrap();
        whole
    }

    /// Where each step's records begin, and where the last one's end.
    fn begins(log: &str) -> Vec<usize> {
        let lines = log.match_indices("{\"v\":1").map(|(at, _)| at);
        let begins = |at: &usize| log[*at..].lines().next().is_some_and(|line| line.contains("\"record\":{\"begin\":"));
        lines.filter(begins).chain([log.len()]).collect()
    }

    /// Every line of a file that others write to is whole.
    fn lines_are_whole(found: &[u8], known: &[&[u8]]) -> bool {
        let lines: Vec<&[u8]> = known.iter().flat_map(|text| text.split_inclusive(|byte| *byte == b'\n')).collect();
        found.split_inclusive(|byte| *byte == b'\n').all(|line| lines.contains(&line))
    }

    fn cases() -> u32 {
        if std::env::var("ROLLGATE_FULL").is_ok_and(|full| full == "1") { 400 } else { 24 }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn row_8_a_file_truncated_at_any_offset_is_kept_and_told(which: Index, offset: Index) {
            let (sandbox, paths) = changed();
            let path = &paths[which.index(paths.len())];
            let (before, after) = (before(&sandbox), texts(&sandbox));
            let whole = truncate(path, &offset);
            let torn = fs_err::read(path).unwrap();
            match revert(&sandbox) {
                Ok(_) => {
                    // Others may have taken lines out of a file that they write to as well. Half a line is no edit.
                    let found = texts(&sandbox);
                    prop_assert!(path.ends_with("subuid") || path.ends_with("hosts"));
                    prop_assert!(lines_are_whole(&found[path], &[&before[path], &after[path]]), "{:?}", found[path]);
                    let others = |texts: Texts| texts.into_iter().filter(|(other, _)| other != path).collect::<Texts>();
                    prop_assert_eq!(others(found), others(before));
                }
                Err(why) => {
                    prop_assert!(why.contains("drifted"), "{}", why);
                    prop_assert_eq!(&fs_err::read(path).unwrap(), &torn, "it was written to");
                    fs_err::write(path, whole).unwrap();
                    prop_assert_eq!(revert(&sandbox).map(|report| report.failed), Ok(None));
                    prop_assert_eq!(texts(&sandbox), before);
                }
            }
        }

        #[test]
        fn row_8_an_undo_record_truncated_at_any_offset_is_never_taken_for_whole(
            which: Index,
            offset: Index,
            others: bool,
        ) {
            let (sandbox, paths) = changed();
            let mut before = before(&sandbox);
            if others {
                // Then lines are taken back one by one, by what the record says of the whole.
                for path in [&paths[1], &paths[2]] {
                    let theirs = [fs_err::read(path).unwrap(), b"theirs\n".to_vec()].concat();
                    fs_err::write(path, theirs).unwrap();
                    before.get_mut(path).unwrap().extend(b"theirs\n");
                }
            }
            let after = texts(&sandbox);
            let records = records(&sandbox);
            let record = &records[which.index(records.len())];
            let whole = truncate(record, &offset);
            let first = revert(&sandbox);
            for (path, found) in texts(&sandbox) {
                let known = [before.get(&path), after.get(&path)];
                prop_assert!(known.contains(&Some(&found)), "{} is neither: {:?}", path.display(), found);
            }
            match first {
                // What was left behind by the last step of a file is not needed to put back what was there before.
                Ok(_) => prop_assert_eq!(&texts(&sandbox), &before),
                Err(why) => prop_assert!(why.contains("damaged") || why.contains("manifest"), "{}", why),
            }
            fs_err::write(record, whole).unwrap();
            prop_assert_eq!(revert(&sandbox).map(|report| report.failed), Ok(None));
            prop_assert_eq!(texts(&sandbox), before);
        }

        #[test]
        fn row_8_power_lost_at_any_byte_of_a_step_s_records(which: Index, offset: Index) {
            let (sandbox, paths) = changed();
            let before = before(&sandbox);
            let log = fs_err::read_to_string(sandbox.log()).unwrap();
            // A file is on disk as the step left it once its pre-image is, and as it was until then.
            let step = which.index(paths.len());
            let starts = begins(&log);
            let cut = starts[step] + offset.index(starts[step + 1] - starts[step]);
            fs_err::write(sandbox.log(), &log[..cut]).unwrap();
            let written: Vec<&str> = log[..cut].split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
            let is_changed = |path: &Path| {
                let pre = format!("\"pre\":{{\"step\":{},\"object\":{{\"path\":\"{}\"}}", step + 1, path_text(path));
                written.iter().any(|line| line.contains(&pre))
            };
            for (number, path) in paths.iter().enumerate().skip(step) {
                if number > step || !is_changed(path) {
                    match before.get(path) {
                        Some(text) => fs_err::write(path, text).unwrap(),
                        None => fs_err::remove_file(path).unwrap(),
                    }
                }
            }
            if written.iter().any(|line| line.contains("\"staging\":")) {
                // Half of the new bytes, which were on their way.
                fs_err::write(sandbox.path(".rollgate-0123456789abcdef01234567"), "{\"log\"").unwrap();
            }
            prop_assert_eq!(revert(&sandbox).map(|report| report.failed), Ok(None));
            prop_assert_eq!(texts(&sandbox), before);
        }
    }

    #[test]
    fn row_8_a_guard_whose_files_are_truncated_reverts() {
        for name in ["guard.json", "deadline", "guard.run"] {
            for keep in [0, 7] {
                let mut host = Guarded::new(LONG);
                let file = host.write("file", "before");
                host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
                host.channel = None;
                host.reboot();
                let whole = fs_err::read(host.record(name)).unwrap();
                fs_err::write(host.record(name), &whole[..keep.min(whole.len())]).unwrap();
                // The next contact starts it again.
                host.wait_for(GuardState::RevertedByGuard);
                assert_eq!(host.read("file"), "before", "{name} cut after {keep} bytes");
            }
        }
    }

    #[test]
    fn a_temporary_file_of_a_first_step_that_was_cut_short_is_removed() {
        let mut sandbox = Sandbox::new();
        let file = sandbox.write("settings", "old\n");
        let refused = json!({"dest": file, "content": "new\n", "validate": "false %s"});
        assert!(sandbox.step("copy", refused).failed.is_some());
        let (_, records) = Transaction::open(sandbox.state.path(), TXN).unwrap().log().unwrap();
        assert!(records.iter().any(|record| matches!(record, Record::Staging { .. })), "{records:?}");
        assert!(!records.iter().any(|record| matches!(record, Record::Pre { object: Object::Path(_), .. })));
        sandbox.write(".rollgate-0123456789abcdef01234567", "half");
        let report = sandbox.revert();
        assert!(report.no_op && report.failed.is_none());
        assert_eq!(fs_err::read_dir(sandbox.root.path()).unwrap().count(), 1);
    }
}
