//! Transactions: fences, the order of undoing, handlers, `undo:` and `rollback:` tasks, drift, interruption.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use crate::support::sandbox::{Sandbox, agent, report};
    use crate::support::{Channel, TXN, bundled, step, task};
    use rollgate_agent::protocol::{AgentErrorKind, Answer, BundledTask, Call, Progress, Step, TxnOpen};
    use rollgate_agent::serve::Control;
    use rollgate_agent::undo::{Accounts, Recorder, Transaction};
    use rustix::process::{Pid, Signal, kill_process};
    use serde_json::json;
    use std::cell::RefCell;

    fn open(txn: &str, run: &str, generation: u64) -> Call {
        let (txn, run) = (txn.to_owned(), run.to_owned());
        Call::TxnOpen(TxnOpen { txn, run, host: "h".into(), play: "p".into(), generation, rollback: Vec::new() })
    }

    /// A process that nobody else ends: what a killed agent had started is not looked for.
    struct Ended(Pid);

    impl Ended {
        /// The one that writes its number into a pipe.
        fn reading(fifo: &std::path::Path) -> Self {
            let number = fs_err::read_to_string(fifo).unwrap();
            Self(Pid::from_raw(number.trim().parse().unwrap()).unwrap())
        }
    }

    impl Drop for Ended {
        fn drop(&mut self) {
            let _gone = kill_process(self.0, Signal::KILL);
        }
    }

    /// A shell command that appends a word to a file.
    fn note(sandbox: &Sandbox, word: &str) -> serde_json::Value {
        json!({"cmd": format!("echo {word} >> {}", sandbox.at("notes"))})
    }

    #[test]
    fn the_oldest_state_wins_and_other_runs_see_the_transaction() {
        let mut sandbox = Sandbox::new();
        let file = sandbox.write("file", "0");
        let before = sandbox.snapshot();
        for text in ["1", "2", "3"] {
            sandbox.step("copy", json!({"dest": file, "content": text}));
        }
        let other = agent(sandbox.state.path(), "run2").welcome().unwrap();
        assert_eq!((other.generation, other.open_txn), (1, Some((TXN.to_owned(), "run1".to_owned()))));
        assert_eq!(sandbox.agent.welcome().unwrap().open_txn, None);
        assert!(!sandbox.verify().different.is_empty());
        let report = sandbox.revert();
        assert_eq!((report.failed, report.no_op, report.done.len()), (None, false, 3));
        assert_eq!(sandbox.snapshot(), before);
        let verified = sandbox.verify();
        assert_eq!((verified.compared, verified.different), (1, vec![]));
        assert_eq!(agent(sandbox.state.path(), "run2").welcome().unwrap().open_txn, None);
    }

    #[test]
    fn a_second_revert_tells_the_same_and_does_nothing() {
        let mut sandbox = Sandbox::new();
        let file = sandbox.write("file", "0");
        sandbox.step("copy", json!({"dest": file, "content": "1"}));
        let first = sandbox.revert();
        sandbox.write("file", "written since");
        let second = sandbox.revert();
        assert_eq!(first.done, second.done);
        assert_eq!(sandbox.read("file"), "written since");
    }

    #[test]
    fn nothing_done_is_nothing_to_undo() {
        let mut sandbox = Sandbox::with_rollback(vec![bundled("command", json!({"cmd": "false"}))]);
        let file = sandbox.write("file", "same");
        sandbox.step("copy", json!({"dest": file, "content": "same"}));
        let report = sandbox.revert();
        assert_eq!((report.no_op, report.done.len(), report.failed), (true, 0, None));
    }

    #[test]
    fn steps_are_fenced() {
        let mut sandbox = Sandbox::new();
        let file = sandbox.write("file", "0");
        let copy = json!({"dest": file, "content": "1"});
        let fenced = |result: Result<_, rollgate_agent::protocol::AgentError>| {
            let _: rollgate_agent::protocol::TaskReport = match result {
                Err(error) => return assert_eq!(error.kind, AgentErrorKind::Fenced, "{error}"),
                Ok(report) => report,
            };
            panic!("not refused");
        };
        fenced(sandbox.step_with("copy", copy.clone(), |step| step.generation = 2));
        fenced(sandbox.step_with("copy", copy.clone(), |step| step.txn = "f".repeat(32)));
        let mut late = task("copy", copy.clone());
        late.step = Some(step(77));
        let other = agent(sandbox.state.path(), "run2");
        fenced(other.answer(&Call::Task(late), &Control::default(), &|_| {}).map(report));
        sandbox.step_with("copy", copy.clone(), |step| step.seq = 9).unwrap();
        // That one has been run, and may have changed something: a refusal would say that nothing has.
        let again = sandbox.step_with("file", json!({"path": file, "state": "absent"}), |step| step.seq = 9);
        assert_eq!(again.unwrap_err().kind, AgentErrorKind::Internal);
        sandbox.revert();
        fenced(sandbox.step_with("copy", copy, |_| {}));
        assert_eq!(sandbox.read("file"), "0");
    }

    #[test]
    fn undo_tasks_come_after_their_step_while_the_transaction_is_open() {
        let mut sandbox = Sandbox::new();
        let (made, marked) = (sandbox.at("made"), sandbox.at("marked"));
        let command = |line: String| json!({"cmd": line});
        // One that had begun with another task, and one that had nothing to record.
        let touch = command(format!("touch {made}"));
        let wrong = bundled("command", command("false".to_owned()));
        let begun = sandbox.step_with("command", touch, |step| {
            step.seq = 5;
            step.undo = vec![wrong];
        });
        begun.unwrap();
        sandbox.step_with("command", command("true".to_owned()), |step| step.seq = 6).unwrap();
        let later = |seq, line| Call::UndoTasks(Step { undo: vec![bundled("command", command(line))], ..step(seq) });
        sandbox.call(&later(5, format!("rm {made}"))).unwrap();
        for _ in 0..2 {
            sandbox.call(&later(6, format!("touch {marked}"))).unwrap();
        }
        let report = sandbox.revert();
        assert!(report.failed.is_none(), "{report:?}");
        assert!(!sandbox.path("made").exists() && sandbox.path("marked").exists(), "{report:?}");
        let late = sandbox.call(&later(6, "true".to_owned())).unwrap_err();
        assert_eq!(late.kind, AgentErrorKind::Fenced, "{late}");
    }

    #[test]
    fn transactions_are_fenced() {
        let sandbox = Sandbox::new();
        let run2 = agent(sandbox.state.path(), "run2");
        let ask = |call: &Call| run2.answer(call, &Control::default(), &|_| {}).map(|_| ()).map_err(|error| error.kind);
        let second = "b".repeat(32);
        let keep = Call::TxnKeep { txn: TXN.to_owned(), keep_undo_s: 0 };
        assert_eq!(ask(&keep), Err(AgentErrorKind::Fenced), "another run's is not ours to keep");
        assert_eq!(ask(&open(&second, "run2", 2)), Err(AgentErrorKind::Fenced), "another run's is open");
        assert!(sandbox.call(&open(TXN, "run1", 1)).is_ok(), "the same again");
        sandbox.revert();
        assert_eq!(ask(&open(&second, "run2", 1)), Err(AgentErrorKind::Fenced), "an equal generation of another run");
        assert_eq!(ask(&open("../../x", "run2", 2)), Err(AgentErrorKind::Record), "no id");
        assert_eq!(ask(&open(&second, "run2", 2)), Ok(()));
        assert_eq!(run2.welcome().unwrap().generation, 2);
        let late = sandbox.call(&open(&"c".repeat(32), "run1", 1)).unwrap_err();
        assert_eq!(late.kind, AgentErrorKind::Fenced, "a sleeping controller's lower generation");
    }

    #[test]
    fn what_is_kept_can_be_undone_until_it_is_pruned_or_superseded() {
        let mut sandbox = Sandbox::new();
        let file = sandbox.write("file", "0");
        sandbox.step("copy", json!({"dest": file, "content": "1"}));
        sandbox.call(&Call::TxnKeep { txn: TXN.to_owned(), keep_undo_s: 3600 }).unwrap();
        assert_eq!(agent(sandbox.state.path(), "run2").welcome().unwrap().open_txn, None);
        let run2 = agent(sandbox.state.path(), "run2");
        run2.answer(&open(&"d".repeat(32), "run2", 2), &Control::default(), &|_| {}).unwrap();
        let error = sandbox.call(&Call::Revert { txn: TXN.to_owned() }).unwrap_err();
        assert_eq!(error.kind, AgentErrorKind::Fenced);
        sandbox.call(&Call::TxnKeep { txn: TXN.to_owned(), keep_undo_s: 0 }).unwrap();
        assert!(!sandbox.log().exists());
        sandbox.call(&Call::TxnKeep { txn: TXN.to_owned(), keep_undo_s: 0 }).unwrap();
    }

    #[test]
    fn a_later_run_that_changed_nothing_or_is_undone_keeps_nobody_from_undoing_an_earlier_one() {
        for later_changes in [false, true] {
            let mut sandbox = Sandbox::new();
            let (file, other) = (sandbox.write("file", "0"), sandbox.write("other", "0"));
            let before = sandbox.snapshot();
            sandbox.step("copy", json!({"dest": file, "content": "1"}));
            sandbox.call(&Call::TxnKeep { txn: TXN.to_owned(), keep_undo_s: 3600 }).unwrap();
            let (txn, run2) = ("d".repeat(32), agent(sandbox.state.path(), "run2"));
            let say = |call: &Call| run2.answer(call, &Control::default(), &|_| {});
            say(&open(&txn, "run2", 2)).unwrap();
            let content = if later_changes { "2" } else { "0" };
            let mut step = step(1);
            (step.txn, step.generation) = (txn.clone(), 2);
            let mut copy = task("copy", json!({"dest": other, "content": content}));
            copy.step = Some(step);
            report(say(&Call::Task(copy)).unwrap());
            say(&Call::TxnKeep { txn: txn.clone(), keep_undo_s: 3600 }).unwrap();
            let undo = Call::Revert { txn: TXN.to_owned() };
            if later_changes {
                assert_eq!(sandbox.call(&undo).unwrap_err().kind, AgentErrorKind::Fenced);
                say(&Call::Revert { txn }).unwrap();
            }
            sandbox.revert();
            assert_eq!(sandbox.snapshot(), before, "{later_changes}");
        }
    }

    #[test]
    fn undo_tasks_run_in_their_place_and_handlers_and_rollback_after_all_steps() {
        let root = tempfile::tempdir().unwrap();
        let notes = root.path().join("notes");
        let say = |word: &str| json!({"cmd": format!("echo {word} >> {}", notes.display())});
        let mut sandbox = Sandbox::with_rollback(vec![bundled("shell", say("rollback"))]);
        let (one, two) = (sandbox.write("one", "0"), sandbox.write("two", "0"));
        let notify = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        sandbox
            .step_with("copy", json!({"dest": one, "content": "1"}), |step| step.notify = notify(&["b", "a"]))
            .unwrap();
        sandbox.step_with("shell", say("did"), |step| step.undo = vec![bundled("shell", say("undid"))]).unwrap();
        sandbox
            .step_with("copy", json!({"dest": two, "content": "1"}), |step| step.notify = notify(&["never"]))
            .unwrap();
        sandbox.step_with("shell", say("handler-a"), |step| step.handler = Some((0, "a".into()))).unwrap();
        sandbox.step_with("shell", say("handler-b"), |step| step.handler = Some((1, "b".into()))).unwrap();
        sandbox.step_with("shell", say("handler-b"), |step| step.handler = Some((1, "b".into()))).unwrap();
        sandbox.step_with("shell", say("unrelated"), |step| step.handler = Some((2, "c".into()))).unwrap();
        fs_err::write(&notes, "").unwrap();
        let told = RefCell::new(Vec::new());
        let progress = |progress: Progress| {
            if let Progress::Reverted(step) = progress {
                told.borrow_mut().push(step.what);
            }
        };
        let call = Call::Revert { txn: TXN.to_owned() };
        sandbox.agent.answer(&call, &Control::default(), &progress).unwrap();
        assert_eq!(fs_err::read_to_string(&notes).unwrap(), "undid\nhandler-a\nhandler-b\nrollback\n");
        let expected = [
            format!("restore path {two}"),
            "undo bundled".to_owned(),
            format!("restore path {one}"),
            "handler a".to_owned(),
            "handler b".to_owned(),
            "rollback bundled".to_owned(),
        ];
        assert_eq!(*told.borrow(), expected);
    }

    #[test]
    fn a_handler_whose_own_change_was_recorded_is_undone_and_not_run_again() {
        let mut sandbox = Sandbox::new();
        let (one, two) = (sandbox.write("one", "0"), sandbox.write("two", "0"));
        let before = sandbox.snapshot();
        sandbox
            .step_with("copy", json!({"dest": one, "content": "1"}), |step| step.notify = vec!["write two".into()])
            .unwrap();
        let handler = Some((0, "write two".to_owned()));
        sandbox.step_with("copy", json!({"dest": two, "content": "1"}), |step| step.handler = handler).unwrap();
        assert!(sandbox.revert().failed.is_none());
        assert_eq!(sandbox.snapshot(), before);
    }

    #[test]
    fn a_part_that_fails_is_tried_three_times_and_stops_the_host_until_it_is_cured() {
        let mut sandbox = Sandbox::new();
        let first = sandbox.write("first", "0");
        sandbox.step("copy", json!({"dest": first, "content": "1"}));
        let undo = json!({"cmd": format!("echo try >> {}; test -e {}", sandbox.at("notes"), sandbox.at("cure"))});
        let bundled = vec![bundled("shell", undo)];
        sandbox.step_with("command", json!({"cmd": "true"}), |step| step.undo = bundled).unwrap();
        let report = sandbox.revert();
        assert!(report.failed.unwrap().starts_with("undo bundled: non-zero return code"));
        assert_eq!(sandbox.read("notes"), "try\ntry\ntry\n");
        assert_eq!(sandbox.read("first"), "1");
        assert!(agent(sandbox.state.path(), "run2").welcome().unwrap().open_txn.is_some());
        sandbox.write("cure", "");
        assert!(sandbox.revert().failed.is_none());
        assert_eq!((sandbox.read("notes").as_str(), sandbox.read("first").as_str()), ("try\ntry\ntry\ntry\n", "0"));
    }

    #[test]
    fn a_part_that_fails_says_what_it_wrote_but_with_no_log() {
        let writes = json!({"cmd": "echo secret; exit 7"});
        for (no_log, says) in
            [(false, "non-zero return code 7: secret"), (true, "it failed; its output is hidden (no_log)")]
        {
            let mut sandbox = Sandbox::new();
            let undo = vec![BundledTask { no_log, ..bundled("shell", writes.clone()) }];
            sandbox.step_with("command", json!({"cmd": "true"}), |step| step.undo = undo).unwrap();
            assert_eq!(sandbox.revert().failed.unwrap(), format!("undo bundled: {says}"));

            let mut sandbox = Sandbox::new();
            let file = sandbox.write("file", "0");
            let ours = json!({"dest": file, "content": "1"});
            sandbox.step_with("copy", ours, |step| step.notify = vec!["tell".into()]).unwrap();
            let told = sandbox.step_with("shell", writes.clone(), |step| {
                step.handler = Some((0, "tell".into()));
                step.no_log = no_log;
            });
            told.unwrap();
            assert_eq!(sandbox.revert().failed.unwrap(), format!("handler tell: {says}"));
        }
    }

    #[test]
    fn a_file_that_somebody_else_wrote_is_kept_and_ours_put_beside_the_record() {
        let mut sandbox = Sandbox::new();
        let file = sandbox.write("file", "before");
        sandbox.step("copy", json!({"dest": file, "content": "ours"}));
        sandbox.write("file", "theirs");
        let report = sandbox.revert();
        assert!(report.failed.unwrap().contains("drifted"));
        assert_eq!(report.drifted, [format!("path {file}")]);
        assert_eq!(sandbox.read("file"), "theirs");
        let beside = sandbox.state.path().join("txn").join(TXN).join("drifted");
        let kept: Vec<_> = fs_err::read_dir(beside).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(fs_err::read_to_string(&kept[0]).unwrap(), "before");
    }

    #[test]
    fn what_a_step_put_into_a_directory_that_it_made_goes_with_it() {
        let sandbox = Sandbox::new();
        let before = sandbox.snapshot();
        let transaction = Transaction::open(sandbox.state.path(), TXN).unwrap();
        let useradd = task("command", json!({"cmd": "useradd"}));
        let mut recorder = Recorder::for_step(&transaction, &useradd, &step(1)).unwrap();
        let home = sandbox.path("home");
        recorder.path(&home).unwrap();
        fs_err::create_dir_all(home.join(".config")).unwrap();
        fs_err::write(home.join(".profile"), "skeleton").unwrap();
        recorder.done(true, false).unwrap();
        assert!(sandbox.revert().failed.is_none());
        assert_eq!(sandbox.snapshot(), before);
    }

    #[test]
    fn users_and_groups_go_as_they_came_and_lines_of_others_stay() {
        let etc = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs_err::write(etc.path().join(file), text).unwrap();
        let read = |file: &str| fs_err::read_to_string(etc.path().join(file)).unwrap();
        write("passwd", "root:x:0:0::/root:/bin/sh\n");
        write("group", "root:x:0:\nwheel:x:10:root\n");
        let accounts = Accounts::below(etc.path());
        let mut sandbox = Sandbox::new();
        sandbox.agent = agent(sandbox.state.path(), "run1").with_accounts(accounts.clone());
        let transaction = Transaction::open(sandbox.state.path(), TXN).unwrap();
        let useradd = task("command", json!({"cmd": "useradd"}));
        let recorder = Recorder::for_step(&transaction, &useradd, &step(1)).unwrap();
        let mut recorder = recorder.with_accounts(accounts);
        recorder.user("remap").unwrap();
        write("passwd", "root:x:0:0::/root:/bin/sh\nremap:x:998:998::/:/sbin/nologin\n");
        write("group", "root:x:0:\nwheel:x:10:root,remap\nremap:x:998:\n");
        recorder.done(true, false).unwrap();
        assert_eq!(sandbox.verify().different.len(), 2);
        write("passwd", &(read("passwd") + "bob:x:1001:1001::/:/bin/sh\n"));
        assert!(sandbox.revert().failed.is_none());
        assert_eq!(read("passwd"), "root:x:0:0::/root:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n");
        assert_eq!(read("group"), "root:x:0:\nwheel:x:10:root\n");
        assert!(sandbox.verify().different.is_empty());
    }

    #[test]
    fn what_others_put_into_a_directory_that_a_step_made_stays() {
        let sandbox = Sandbox::new();
        let transaction = Transaction::open(sandbox.state.path(), TXN).unwrap();
        let useradd = task("command", json!({"cmd": "useradd"}));
        let mut recorder = Recorder::for_step(&transaction, &useradd, &step(1)).unwrap();
        let home = sandbox.path("home");
        recorder.path(&home).unwrap();
        fs_err::create_dir(&home).unwrap();
        fs_err::write(home.join(".profile"), "skeleton").unwrap();
        recorder.done(true, false).unwrap();
        fs_err::write(home.join("thesis"), "theirs").unwrap();
        let report = sandbox.revert();
        assert_eq!((report.failed, report.drifted), (None, vec![format!("path {}", home.display())]));
        let left: Vec<_> = fs_err::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["thesis"]);
    }

    #[test]
    fn a_restored_mode_does_not_wait_for_content() {
        use std::os::unix::fs::PermissionsExt;
        let mut sandbox = Sandbox::new();
        let file = sandbox.write("file", "x");
        let before = sandbox.snapshot();
        sandbox.step("file", json!({"path": file, "mode": "0400"}));
        fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(sandbox.revert().failed.is_none());
        assert_eq!(sandbox.snapshot(), before);
    }

    #[test]
    fn a_step_that_failed_half_way_is_undone() {
        let mut sandbox = Sandbox::new();
        let note_undo = vec![bundled("shell", note(&sandbox, "undone"))];
        let failing = json!({"cmd": format!("echo half >> {}; exit 1", sandbox.at("half"))});
        let report = sandbox.step_with("shell", failing, |step| step.undo = note_undo).unwrap();
        assert!(report.failed.is_some());
        sandbox.revert();
        assert_eq!(sandbox.read("notes"), "undone\n");
    }

    #[test]
    fn an_agent_that_was_killed_leaves_what_another_undoes() {
        let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = root.path().join("file");
        fs_err::write(&file, "before").unwrap();
        let fifo = root.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let mut channel = Channel::open(state.path(), "run1");
        channel.open_txn("run1", 1, Vec::new()).unwrap();
        let mut copy = task("copy", json!({"dest": file, "content": "after"}));
        copy.step = Some(step(1));
        assert!(channel.task(copy).unwrap().recorded);
        // The second step is in the middle of its validation when the agent dies.
        let validate = format!("sh -c 'echo $$ > {}; exec sleep 1000' %s", fifo.display());
        let mut second = task("copy", json!({"dest": file, "content": "later", "validate": validate}));
        second.step = Some(step(2));
        channel.request(Call::Task(second));
        let _validating = Ended::reading(&fifo);
        assert_eq!(fs_err::read_dir(root.path()).unwrap().count(), 3, "the new file is staged beside the old one");
        channel.child.kill().unwrap();
        channel.child.wait().unwrap();
        let mut channel = Channel::open(state.path(), "run1");
        let Ok(Answer::Revert(report)) = channel.call(Call::Revert { txn: TXN.to_owned() }) else { panic!() };
        assert_eq!(report.failed, None);
        assert_eq!(fs_err::read_to_string(&file).unwrap(), "before");
        assert_eq!(fs_err::read_dir(root.path()).unwrap().count(), 2, "no temporary file is left");
        assert!(channel.close().success());
    }
}
