//! Laws: whatever was applied, and wherever it was cut short, undoing it leaves the tree as it was (rollout.md R28).

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use crate::support::TXN;
    use crate::support::sandbox::Sandbox;
    use proptest::prelude::*;
    use rollgate_agent::protocol::{Call, Progress};
    use rollgate_agent::serve::Control;
    use serde_json::{Value, json};
    use std::cell::Cell;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    const NAMES: [&str; 6] = ["a", "b", "d", "d/a", "d/e", "d/e/f"];

    /// What is there before.
    #[derive(Debug, Clone)]
    enum Start {
        File { text: String, mode: u32, xattr: bool },
        Directory { mode: u32 },
        Link { to: usize },
    }

    /// What a step does.
    #[derive(Debug, Clone)]
    enum Act {
        Copy { text: String, mode: Option<u32> },
        Directory,
        Absent,
        Link { to: usize },
        Line { line: String },
        Touch { mode: u32 },
    }

    fn mode() -> impl Strategy<Value = u32> {
        prop::sample::select(vec![0o600, 0o644, 0o755, 0o4711, 0o2770, 0o1777, 0o444])
    }

    fn start() -> impl Strategy<Value = Start> {
        prop_oneof![
            ("[a-z\n]{0,12}", mode(), any::<bool>()).prop_map(|(text, mode, xattr)| Start::File { text, mode, xattr }),
            mode().prop_map(|mode| Start::Directory { mode: mode | 0o700 }),
            (0..NAMES.len()).prop_map(|to| Start::Link { to }),
        ]
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            ("[a-z\n]{0,12}", prop::option::of(mode())).prop_map(|(text, mode)| Act::Copy { text, mode }),
            Just(Act::Directory),
            Just(Act::Absent),
            (0..NAMES.len()).prop_map(|to| Act::Link { to }),
            "[a-z]{1,4}".prop_map(|line| Act::Line { line }),
            mode().prop_map(|mode| Act::Touch { mode }),
        ]
    }

    fn tree() -> impl Strategy<Value = Vec<(usize, Start)>> {
        prop::collection::vec((0..NAMES.len(), start()), 0..6)
    }

    fn acts() -> impl Strategy<Value = Vec<(usize, Act)>> {
        prop::collection::vec((0..NAMES.len(), act()), 1..6)
    }

    fn plant(root: &Path, tree: &[(usize, Start)]) {
        for (name, start) in tree {
            let path = root.join(NAMES[*name]);
            // A name that is taken, or below what is no directory, stays as it is.
            match start {
                Start::File { text, mode, xattr } => {
                    if path.symlink_metadata().is_err() && fs_err::write(&path, text).is_ok() {
                        if *xattr {
                            let flags = rustix::fs::XattrFlags::empty();
                            // Not every file system has them; the law holds there as well.
                            let _unsupported = rustix::fs::lsetxattr(&path, "user.rollgate", b"1", flags);
                        }
                        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
                    }
                }
                Start::Directory { mode } => {
                    if fs_err::create_dir(&path).is_ok() {
                        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
                    }
                }
                Start::Link { to } => {
                    let _taken = symlink(root.join(NAMES[*to]), &path);
                }
            }
        }
    }

    fn params(sandbox: &Sandbox, name: usize, act: &Act) -> (&'static str, Value) {
        let path = sandbox.at(NAMES[name]);
        let octal = |mode: &u32| format!("{mode:04o}");
        match act {
            Act::Copy { text, mode } => (
                "copy",
                json!({"dest": path, "content": text, "mode": mode.as_ref().map(octal), "backup": text.len() > 9}),
            ),
            Act::Directory => ("file", json!({"path": path, "state": "directory"})),
            Act::Absent => ("file", json!({"path": path, "state": "absent"})),
            Act::Link { to } => (
                "file",
                json!({"path": path, "state": "link", "src": sandbox.at(NAMES[*to]), "force": true, "follow": false}),
            ),
            Act::Line { line } => ("lineinfile", json!({"path": path, "line": line, "create": true})),
            Act::Touch { mode } => {
                ("file", json!({"path": path, "state": "touch", "mode": octal(mode), "follow": false}))
            }
        }
    }

    /// Applies; steps may fail (a directory in the way), which must be undone as well.
    fn applied(tree: &[(usize, Start)], acts: &[(usize, Act)]) -> (Sandbox, Snapshot) {
        let mut sandbox = Sandbox::new();
        plant(sandbox.root.path(), tree);
        let before = sandbox.snapshot();
        for (name, act) in acts {
            let (module, params) = params(&sandbox, *name, act);
            // What the agent refuses changes nothing.
            let _refused = sandbox.step_with(module, params, |_| {});
        }
        (sandbox, before)
    }

    type Snapshot = std::collections::BTreeMap<std::path::PathBuf, rollgate_agent::files::PathState>;

    /// Reverts, and dies after so many parts are done. True if it came to its end.
    fn revert_until(sandbox: &Sandbox, parts: usize) -> bool {
        let done = Cell::new(0);
        let progress = |progress: Progress| {
            if matches!(progress, Progress::Reverted(_)) {
                done.set(done.get() + 1);
                assert!(done.get() <= parts, "dies here");
            }
        };
        let call = Call::Revert { txn: TXN.to_owned() };
        catch_unwind(AssertUnwindSafe(|| sandbox.agent.answer(&call, &Control::default(), &progress))).is_ok()
    }

    /// Takes away the log's last line: the part was done, but not yet written down.
    fn forget_last(sandbox: &Sandbox) {
        let text = fs_err::read(sandbox.log()).unwrap();
        let end = text[..text.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        fs_err::write(sandbox.log(), &text[..end]).unwrap();
    }

    fn cases() -> u32 {
        if std::env::var("ROLLGATE_FULL").is_ok_and(|full| full == "1") { 2000 } else { 48 }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_applied_and_reverted_is_as_before(tree in tree(), acts in acts()) {
            let (sandbox, before) = applied(&tree, &acts);
            let report = sandbox.revert();
            prop_assert_eq!(report.failed, None);
            prop_assert_eq!(sandbox.snapshot(), before);
            prop_assert!(sandbox.verify().different.is_empty());
        }

        #[test]
        fn a_revert_cut_short_at_any_record_and_repeated_ends_as_before(
            tree in tree(),
            acts in acts(),
            forget in any::<bool>(),
        ) {
            let (sandbox, before) = applied(&tree, &acts);
            let mut parts = 0;
            while !revert_until(&sandbox, parts) {
                if forget {
                    forget_last(&sandbox);
                }
                parts += 1;
                prop_assert!(parts < 500, "never ends");
            }
            prop_assert_eq!(sandbox.snapshot(), before);
            prop_assert!(sandbox.verify().different.is_empty());
        }

        #[test]
        fn a_step_cut_short_after_its_change_is_undone(tree in tree(), acts in acts()) {
            let (sandbox, before) = applied(&tree, &acts);
            // The last step's end, and what it left, were never written.
            let text = fs_err::read_to_string(sandbox.log()).unwrap();
            let mut lines: Vec<&str> = text.lines().collect();
            while lines.last().is_some_and(|line| line.contains("\"post\":") || line.contains("\"end\":")) {
                lines.pop();
            }
            let cut: String = lines.iter().map(|line| format!("{line}\n")).collect();
            fs_err::write(sandbox.log(), cut).unwrap();
            let report = sandbox.revert();
            prop_assert_eq!(report.failed, None);
            prop_assert_eq!(sandbox.snapshot(), before);
        }
    }
}
