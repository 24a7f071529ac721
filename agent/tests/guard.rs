//! The guard: the real agent program and the guard process that it starts, on real files.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use crate::support::guarded::{Guarded, LONG, NONCE, arming, cancel, confirm, extend, lives, report, wait_gone};
    use crate::support::sandbox::snapshot;
    use crate::support::{Channel, TXN, bundled, task};
    use rollgate_agent::protocol::{AgentErrorKind, Answer, Call, GuardCause, GuardForm, GuardState, TxnOpen};
    use serde_json::json;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    /// Not so short that a busy machine does not come to its first step before it.
    const SHORT: u64 = 2_000;

    fn open(txn: &str, run: &str, generation: u64) -> Call {
        let (txn, run) = (txn.to_owned(), run.to_owned());
        Call::TxnOpen(TxnOpen { txn, run, host: "h".into(), play: "p".into(), generation, rollback: Vec::new() })
    }

    #[test]
    fn row_4_and_row_12_unconfirmed_at_the_deadline_is_reverted_and_who_wakes_later_is_refused() {
        let mut host = Guarded::new(SHORT);
        assert_eq!((host.armed.state, host.armed.form), (GuardState::Armed, GuardForm::Process));
        assert!(host.armed.weak.is_some());
        let file = host.write("file", "before");
        let before = snapshot(host.root.path());
        host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
        let found = host.wait_for(GuardState::RevertedByGuard);
        assert_eq!(host.read("file"), "before");
        let fired = found.fired.unwrap();
        assert_eq!((fired.cause, fired.error), (GuardCause::Deadline, None));
        assert!(found.deadline_ms <= fired.begun_ms && fired.begun_ms <= fired.ended_ms.unwrap());
        assert_eq!(fired.revert.unwrap().done.len(), 1);
        assert_eq!((fired.verify.as_ref().unwrap().compared, fired.verify.unwrap().different), (1, vec![]));
        // The sleeping controller wakes (rows 4 and 12).
        let late = host.step(2, "copy", json!({"dest": file, "content": "late"})).unwrap_err();
        assert_eq!(late.kind, AgentErrorKind::Fenced);
        for call in [confirm(NONCE), extend(NONCE), cancel(NONCE)] {
            let late = host.call(call).unwrap_err();
            assert_eq!(late.kind, AgentErrorKind::GuardLost);
            assert!(late.message.contains("it has reverted this host"), "{}", late.message);
        }
        assert_eq!(host.call(open(&"b".repeat(32), "run1", 1)).unwrap_err().kind, AgentErrorKind::Fenced);
        let Ok(Answer::Revert(again)) = host.call(Call::Revert { txn: TXN.to_owned() }) else { panic!("refused") };
        assert_eq!((again.done.len(), again.failed), (1, None));
        assert_eq!(host.status().state, GuardState::RevertedByGuard);
        assert_eq!(snapshot(host.root.path()), before);
        let mut next = host.contact("run2");
        assert_eq!((next.welcome.generation, next.welcome.open_txn.clone()), (2, None));
        next.call(open(&"c".repeat(32), "run2", 3)).unwrap();
    }

    #[test]
    fn an_extension_moves_the_deadline_by_the_armed_time_and_delay() {
        let mut host = Guarded::with(LONG, |_| Vec::new(), |arm| arm.delay_ms = LONG);
        assert!(host.armed.left_ms > LONG);
        // As if the time had passed, all but a little.
        let path = host.record("deadline");
        let mut deadline: serde_json::Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        deadline["at_ms"] = json!(deadline["at_ms"].as_u64().unwrap() - LONG - LONG / 2);
        fs_err::write(&path, serde_json::to_vec(&deadline).unwrap()).unwrap();
        assert!(host.status().left_ms < LONG);
        let extended = report(host.call(extend(NONCE)).unwrap());
        assert!(extended.left_ms > LONG);
        let again = report(host.call(Call::GuardArm(arming(LONG))).unwrap());
        assert!(again.left_ms > LONG);
        assert!(again.deadline_ms >= extended.deadline_ms);
    }

    #[test]
    fn row_14_the_wall_clock_decides_nothing() {
        let mut host = Guarded::new(LONG);
        let file = host.write("file", "before");
        host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
        let changed = snapshot(host.root.path());
        let path = host.record("deadline");
        let text = fs_err::read(&path).unwrap();
        for hour in [-3_600_000_i64, 3_600_000] {
            let mut deadline: serde_json::Value = serde_json::from_slice(&text).unwrap();
            // As if the host's clock had been set since.
            deadline["wall_ms"] = json!(deadline["wall_ms"].as_i64().unwrap() + 1_000 * hour);
            fs_err::write(&path, serde_json::to_vec(&deadline).unwrap()).unwrap();
            let found = host.status();
            assert_eq!(found.state, GuardState::Armed);
            assert!(found.left_ms > LONG / 2 && found.left_ms <= LONG);
            assert_eq!(snapshot(host.root.path()), changed);
        }
    }

    #[test]
    fn an_extension_does_not_wait_for_the_step_under_way() {
        let mut host = Guarded::new(LONG);
        let fifo = host.at("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let mut held = task("shell", json!({"cmd": format!("echo begun; read line < {fifo}")}));
        held.step = Some(crate::support::step(1));
        let channel = host.channel.as_mut().unwrap();
        let id = channel.request(Call::Task(held));
        channel.wait_output(id, "begun");
        assert_eq!(report(host.call(extend(NONCE)).unwrap()).state, GuardState::Armed);
        fs_err::write(fifo, "go\n").unwrap();
        assert!(host.channel.as_mut().unwrap().answer(id).is_ok());
    }

    #[test]
    fn a_confirmed_change_stays_and_keeps_nobody_out() {
        let mut host = Guarded::new(LONG);
        let file = host.write("file", "before");
        host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
        let guard = host.pid();
        let mut fresh = host.contact("run1");
        assert_eq!(report(fresh.call(confirm(NONCE)).unwrap()).state, GuardState::Confirmed);
        wait_gone(guard);
        for call in [confirm(NONCE), extend(NONCE)] {
            assert_eq!(report(host.call(call).unwrap()).state, GuardState::Confirmed, "the same again");
        }
        assert_eq!(host.call(cancel(NONCE)).unwrap_err().kind, AgentErrorKind::Fenced);
        let late = host.step(2, "copy", json!({"dest": file, "content": "late"})).unwrap_err();
        assert_eq!(late.kind, AgentErrorKind::Fenced);
        assert_eq!(host.read("file"), "after");
        assert_eq!(host.contact("run2").welcome.open_txn, None);
        host.call(Call::TxnKeep { txn: TXN.to_owned(), keep_undo_s: 3600 }).unwrap();
        host.call(open(&"b".repeat(32), "run1", 2)).unwrap();
        assert!(matches!(host.call(Call::Revert { txn: TXN.to_owned() }), Ok(Answer::Revert(_))), "its own run's");
        assert_eq!(host.read("file"), "before");
        assert_eq!(host.status().state, GuardState::Reverted);
    }

    #[test]
    fn row_31_stale_nonces_and_other_runs_are_refused() {
        let mut host = Guarded::new(LONG);
        let file = host.write("file", "before");
        let before = snapshot(host.root.path());
        host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
        let changed = snapshot(host.root.path());
        let stale = "f".repeat(32);
        for call in [extend(&stale), confirm(&stale), cancel(&stale), confirm(""), Call::GuardArm(arming(LONG))] {
            let mut call = call;
            if let Call::GuardArm(arm) = &mut call {
                arm.nonce.clone_from(&stale);
            }
            assert_eq!(host.call(call).unwrap_err().kind, AgentErrorKind::Fenced);
        }
        let mut other = host.contact("run2");
        for call in [extend(NONCE), confirm(NONCE), cancel(NONCE), Call::GuardArm(arming(LONG))] {
            assert_eq!(other.call(call).unwrap_err().kind, AgentErrorKind::Fenced, "another run's");
        }
        let refused = other.call(open(&"b".repeat(32), "run2", 2)).unwrap_err();
        assert_eq!(refused.kind, AgentErrorKind::Fenced);
        assert!(refused.message.contains("run1"), "{}", refused.message);
        let keep = Call::TxnKeep { txn: TXN.to_owned(), keep_undo_s: 0 };
        let unconfirmed = host.call(keep).unwrap_err();
        assert!(unconfirmed.message.contains("has not been confirmed"), "{}", unconfirmed.message);
        let none = Call::GuardConfirm { txn: "a".repeat(32), nonce: NONCE.to_owned() };
        assert_eq!(host.call(none).unwrap_err().kind, AgentErrorKind::Fenced);
        let text = fs_err::read_to_string(host.record("guard.json")).unwrap();
        assert!(!text.contains(NONCE), "the nonce itself is not kept");
        assert_eq!(host.status().state, GuardState::Armed);
        assert_eq!(snapshot(host.root.path()), changed, "nobody has done anything");
        // And the record that it would use is as it was.
        let Ok(Answer::Revert(_)) = host.call(Call::Revert { txn: TXN.to_owned() }) else { panic!("refused") };
        assert_eq!(snapshot(host.root.path()), before);
    }

    #[test]
    fn a_guard_outlives_its_agent() {
        let mut host = Guarded::new(LONG);
        let file = host.write("file", "before");
        host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
        let mut channel = host.channel.take().unwrap();
        channel.child.kill().unwrap();
        channel.child.wait().unwrap();
        assert!(lives(host.pid()));
        let mut fresh = host.contact("run1");
        assert_eq!(report(fresh.call(cancel(NONCE)).unwrap()).state, GuardState::Armed);
        drop(fresh);
        let found = host.wait_for(GuardState::RevertedByGuard);
        assert_eq!(found.fired.unwrap().cause, GuardCause::Cancelled);
        assert_eq!(host.read("file"), "before");
    }

    #[test]
    fn a_dead_guard_is_started_again_at_the_next_contact() {
        let mut host = Guarded::new(LONG);
        let first = host.pid();
        host.kill_guard();
        assert_eq!(report(host.call(extend(NONCE)).unwrap()).state, GuardState::Armed);
        assert_ne!(host.pid(), first);
        assert!(lives(host.pid()));
        host.kill_guard();
        host.status();
        assert!(lives(host.pid()));
        host.kill_guard();
        let refused = host.contact("run2").call(open(&"b".repeat(32), "run2", 2)).unwrap_err();
        assert_eq!(refused.kind, AgentErrorKind::Fenced);
        assert!(lives(host.pid()));
    }

    #[test]
    fn a_confirm_and_the_deadline_at_once_have_one_winner() {
        for wait in [0, 20, 40, 60, 80, 100, 120, 140, 160, 200] {
            let mut host = Guarded::new(100);
            let file = host.write("file", "before");
            // The deadline may come before the step.
            let stepped = host.step(1, "copy", json!({"dest": file, "content": "after"})).is_ok();
            let mut fresh = host.contact("run1");
            std::thread::sleep(std::time::Duration::from_millis(wait));
            match fresh.call(confirm(NONCE)) {
                Ok(answer) => {
                    assert_eq!(report(answer).state, GuardState::Confirmed);
                    wait_gone(host.pid());
                    assert_eq!(host.status().state, GuardState::Confirmed);
                    assert_eq!(host.read("file"), if stepped { "after" } else { "before" });
                }
                Err(error) => {
                    assert_eq!(error.kind, AgentErrorKind::GuardLost, "{error}");
                    host.wait_for(GuardState::RevertedByGuard);
                    assert_eq!(host.read("file"), "before");
                }
            }
        }
    }

    #[test]
    fn the_controllers_own_revert_disarms() {
        let mut host = Guarded::new(LONG);
        let file = host.write("file", "before");
        host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
        let guard = host.pid();
        host.call(Call::Revert { txn: TXN.to_owned() }).unwrap();
        wait_gone(guard);
        let found = host.status();
        assert_eq!((found.state, found.fired.is_none()), (GuardState::Reverted, true));
        assert_eq!(host.call(confirm(NONCE)).unwrap_err().kind, AgentErrorKind::GuardLost);
    }

    #[test]
    fn row_31_deleted_files_disarm_nothing() {
        let mut host = Guarded::new(SHORT);
        let file = host.write("file", "before");
        let before = snapshot(host.root.path());
        host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
        for name in ["guard.json", "deadline", "guard.run"] {
            fs_err::remove_file(host.record(name)).unwrap();
        }
        host.wait_for(GuardState::RevertedByGuard);
        assert_eq!(snapshot(host.root.path()), before);
    }

    #[test]
    fn a_guard_that_starts_without_its_files_reverts() {
        for missing in ["guard.json", "deadline"] {
            let mut host = Guarded::new(LONG);
            let file = host.write("file", "before");
            host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
            host.reboot();
            fs_err::remove_file(host.record(missing)).unwrap();
            assert_eq!(host.call(confirm(NONCE)).unwrap_err().kind == AgentErrorKind::GuardLost, missing == "deadline");
            host.wait_for(GuardState::RevertedByGuard);
            assert_eq!(host.read("file"), "before");
        }
    }

    #[test]
    fn row_5_after_a_reboot_files_come_back_first_and_the_rest_when_the_host_is_up() {
        let notes = |root: &tempfile::TempDir| format!("echo rollback >> {}", root.path().join("notes").display());
        let rollback = |root: &tempfile::TempDir| vec![bundled("shell", json!({"cmd": notes(root)}))];
        let mut host = Guarded::with(LONG, rollback, |_| {});
        let (one, two, three) = (host.write("1", "before"), host.write("2", "before"), host.write("3", "before"));
        let before = snapshot(host.root.path());
        host.step(1, "copy", json!({"dest": one, "content": "after"})).unwrap();
        let undo = vec![bundled("shell", json!({"cmd": format!("echo undo >> {}", host.at("notes"))}))];
        host.step_with(2, "copy", json!({"dest": two, "content": "after"}), |step| step.undo = undo).unwrap();
        host.step(3, "copy", json!({"dest": three, "content": "after"})).unwrap();
        host.channel = None;
        host.reboot();
        assert!(host.command(&["boot"]).status.success());
        assert_eq!([host.read("1"), host.read("2"), host.read("3")], ["after", "before", "before"]);
        assert!(!std::path::Path::new(&host.at("notes")).exists(), "no task runs before the host is up");
        // The second unit starts the guard's own.
        assert!(host.command(&["run", TXN]).status.success());
        let found = host.wait_for(GuardState::RevertedByGuard);
        assert_eq!(found.fired.unwrap().cause, GuardCause::Reboot);
        assert_eq!(host.read("notes"), "undo\nrollback\n");
        fs_err::remove_file(host.at("notes")).unwrap();
        assert_eq!(snapshot(host.root.path()), before);
    }

    #[test]
    fn a_reboot_that_was_expected_gives_one_more_deadline_and_a_second_none() {
        let mut host = Guarded::with(LONG, |_| Vec::new(), |arm| arm.expect_reboot = true);
        let file = host.write("file", "before");
        host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
        host.reboot();
        assert!(host.command(&["boot"]).status.success());
        let found = host.status();
        assert_eq!((found.state, host.read("file").as_str()), (GuardState::Armed, "after"));
        assert!(found.left_ms > LONG / 2);
        host.reboot();
        assert!(host.command(&["boot"]).status.success());
        assert_eq!(host.read("file"), "before");
        host.wait_for(GuardState::RevertedByGuard);
    }

    #[test]
    fn a_revert_cut_short_goes_on() {
        let wait = |root: &tempfile::TempDir| {
            let (begun, fifo) = (root.path().join("begun"), root.path().join("fifo"));
            rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
            vec![bundled("shell", json!({"cmd": format!("touch {}; read line < {}", begun.display(), fifo.display())}))]
        };
        let mut host = Guarded::with(LONG, wait, |_| {});
        let file = host.write("file", "before");
        host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
        host.call(cancel(NONCE)).unwrap();
        while !std::path::Path::new(&host.at("begun")).exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        host.kill_guard();
        let begun = host.status();
        assert_eq!(begun.state, GuardState::Reverting);
        assert_eq!(host.call(confirm(NONCE)).unwrap_err().kind, AgentErrorKind::GuardLost);
        // The contact has started the guard again. The task that was cut short reads, too.
        let mut fifo = fs_err::OpenOptions::new().read(true).write(true).open(host.at("fifo")).unwrap();
        fifo.write_all(b"go\ngo\n").unwrap();
        let found = host.wait_for(GuardState::RevertedByGuard);
        let fired = found.fired.unwrap();
        assert_eq!((fired.cause, fired.begun_ms), (GuardCause::Cancelled, begun.fired.unwrap().begun_ms));
        assert_eq!(host.read("file"), "before");
        assert_eq!(host.contact("run2").welcome.generation, 2, "raised once");
    }

    #[test]
    fn a_revert_of_a_kept_change_goes_on_after_a_reboot_whether_or_not_it_had_a_guard() {
        for had_guard in [true, false] {
            let mut host = Guarded::new(LONG);
            let (one, two) = (host.write("1", "before"), host.write("2", "before"));
            let before = snapshot(host.root.path());
            host.step(1, "copy", json!({"dest": one, "content": "after"})).unwrap();
            host.step(2, "copy", json!({"dest": two, "content": "after"})).unwrap();
            let guard = host.pid();
            assert_eq!(report(host.call(confirm(NONCE)).unwrap()).state, GuardState::Confirmed);
            wait_gone(guard);
            if !had_guard {
                for name in ["guard.json", "deadline", "guard.run"] {
                    fs_err::remove_file(host.record(name)).unwrap();
                }
            }
            // Half of it is put back.
            host.write("1", "an operator's");
            let Ok(Answer::Revert(half)) = host.call(Call::Revert { txn: TXN.to_owned() }) else { panic!("refused") };
            assert!(half.failed.unwrap().contains("drifted"));
            assert_eq!([host.read("1"), host.read("2")], ["an operator's", "before"]);
            host.write("1", "after");
            host.channel = None;
            assert!(host.command(&["boot"]).status.success());
            assert_eq!(snapshot(host.root.path()), before);
            assert_eq!(host.status().state, GuardState::Reverting);
            assert!(host.command(&["run", TXN]).status.success());
            let fired = host.wait_for(GuardState::RevertedByGuard).fired.unwrap();
            assert_eq!((fired.cause, fired.error), (GuardCause::Reboot, None));
        }
    }

    #[test]
    fn what_cannot_be_put_back_is_said_and_can_be_tried_again() {
        let mut host = Guarded::new(LONG);
        let file = host.write("file", "before");
        host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
        host.write("file", "an operator's");
        host.call(cancel(NONCE)).unwrap();
        let found = host.wait_for(GuardState::RevertFailed);
        let fired = found.fired.unwrap();
        assert_eq!(fired.revert.unwrap().drifted.len(), 1);
        assert_eq!(fired.verify.unwrap().different.len(), 1);
        assert_eq!(host.read("file"), "an operator's");
        assert_eq!(host.contact("run2").welcome.open_txn, Some((TXN.to_owned(), "run1".to_owned())));
        assert_eq!(host.command(&["revert", TXN]).status.code(), Some(5));
        host.write("file", "after");
        let again = host.command(&["revert", TXN]);
        assert!(again.status.success(), "{again:?}");
        assert!(String::from_utf8_lossy(&again.stdout).contains("reverted by its guard"), "{again:?}");
        assert_eq!(host.read("file"), "before");
    }

    #[test]
    fn a_damaged_record_changes_nothing() {
        let mut host = Guarded::new(LONG);
        let file = host.write("file", "before");
        host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
        host.kill_guard();
        let log = fs_err::read_to_string(host.record("steps.jsonl")).unwrap();
        fs_err::write(
            host.record("steps.jsonl"),
            log.replacen("before", "befool", 1).replacen("\"seq\":1", "\"seq\":7", 1),
        )
        .unwrap();
        host.call(cancel(NONCE)).unwrap();
        let found = host.wait_for(GuardState::RevertFailed);
        assert!(found.fired.unwrap().error.unwrap().contains("damaged"));
        assert_eq!(host.read("file"), "after");
    }

    #[test]
    fn a_record_that_others_can_write_is_not_followed() {
        let mut host = Guarded::new(LONG);
        let file = host.write("file", "before");
        host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
        host.reboot();
        let open = std::fs::Permissions::from_mode(0o666);
        fs_err::set_permissions(host.record("steps.jsonl"), open).unwrap();
        for words in [["boot", ""], ["run", TXN]] {
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            let output = host.command(&words);
            let said = [output.stdout, output.stderr].concat();
            assert!(String::from_utf8_lossy(&said).contains("nobody else's to read"), "{words:?}");
        }
        assert_eq!(host.read("file"), "after");
    }

    #[test]
    fn root_on_the_host_lists_confirms_and_reverts() {
        let mut host = Guarded::new(LONG);
        let file = host.write("file", "before");
        host.step(1, "copy", json!({"dest": file, "content": "after"})).unwrap();
        let listed = String::from_utf8(host.command(&["list"]).stdout).unwrap();
        assert!(listed.starts_with(&format!("transaction {TXN} of run run1: armed, ")), "{listed}");
        assert!(host.command(&["confirm", TXN]).status.success());
        assert_eq!(report(host.call(confirm(NONCE)).unwrap()).state, GuardState::Confirmed);
        assert!(host.command(&["revert", TXN]).status.success());
        assert_eq!(host.read("file"), "before");
        assert_eq!(host.status().fired.unwrap().cause, GuardCause::Operator);
        assert!(!host.command(&["confirm", TXN]).status.success());
        assert!(!host.command(&["revert", &"9".repeat(32)]).status.success());
        assert!(!host.command(&["what"]).status.success());
    }

    #[test]
    fn nothing_can_be_armed_without_an_open_transaction() {
        let state = tempfile::tempdir().unwrap();
        let mut channel = Channel::open(state.path(), "run1");
        assert_eq!(channel.call(Call::GuardArm(arming(LONG))).unwrap_err().kind, AgentErrorKind::Fenced);
        channel.open_txn("run1", 1, Vec::new()).unwrap();
        let mut bad = arming(LONG);
        bad.nonce = "short".to_owned();
        assert_eq!(channel.call(Call::GuardArm(bad)).unwrap_err().kind, AgentErrorKind::Guard);
        assert_eq!(channel.call(extend(NONCE)).unwrap_err().kind, AgentErrorKind::Fenced);
        let Ok(Answer::Guards(none)) = channel.call(Call::GuardStatus { txn: None }) else { panic!("no list") };
        assert!(none.is_empty());
    }
}
