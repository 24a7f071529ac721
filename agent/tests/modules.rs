//! The modules on real files, each change undone.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use crate::support::sandbox::Sandbox;
    use rollgate_agent::protocol::Change;
    use serde_json::json;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn copy_makes_a_file_and_a_second_time_changes_nothing() {
        let mut sandbox = Sandbox::new();
        let params = json!({"dest": sandbox.at("new"), "content": "text\n", "mode": "0640"});
        let checked = sandbox.check("copy", params.clone());
        assert_eq!(checked.change, Change::Changed);
        assert_eq!((checked.diff[0].before.as_str(), checked.diff[0].after.as_str()), ("", "text\n"));
        assert!(!sandbox.path("new").exists());
        let report = sandbox.step("copy", params.clone());
        assert_eq!((report.change, report.failed, report.recorded), (Change::Changed, None, true));
        assert_eq!(report.data["mode"], json!("0640"));
        assert_eq!(report.data["checksum"], json!("aa785adca3fcdfe1884ae840e13c6d294a2414e8"));
        assert_eq!(sandbox.read("new"), "text\n");
        let again = sandbox.step("copy", params);
        assert_eq!((again.change, again.recorded), (Change::Unchanged, false));
        assert!(sandbox.revert().failed.is_none());
        assert!(!sandbox.path("new").exists());
    }

    #[test]
    fn copy_keeps_mode_and_owner_of_what_is_there_and_undo_brings_all_back() {
        let mut sandbox = Sandbox::new();
        let dest = sandbox.write("file", "old");
        fs_err::set_permissions(&dest, std::fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&dest, Some(12), Some(34)).unwrap();
        }
        let before = sandbox.snapshot();
        sandbox.step("copy", json!({"dest": dest, "content": "new"}));
        let metadata = fs_err::metadata(&dest).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o600);
        if is_root() {
            assert_eq!((metadata.uid(), metadata.gid()), (12, 34));
        }
        sandbox.step("copy", json!({"dest": dest, "content": "newer", "mode": "u=rwx,go="}));
        assert!(sandbox.revert().failed.is_none());
        assert_eq!(sandbox.snapshot(), before);
        assert!(sandbox.verify().different.is_empty());
    }

    #[test]
    fn a_backup_has_ansibles_name_and_the_mode_of_the_file() {
        let mut sandbox = Sandbox::new();
        let dest = sandbox.write("file", "old");
        fs_err::set_permissions(&dest, std::fs::Permissions::from_mode(0o604)).unwrap();
        let before = sandbox.snapshot();
        let report = sandbox.step("copy", json!({"dest": dest, "content": "new", "backup": true}));
        let backup = report.data["backup_file"].as_str().unwrap();
        let rest = backup.strip_prefix(&format!("{dest}.{}.", std::process::id())).unwrap();
        assert_eq!(rest.len(), "2024-02-29@12:34:56~".len());
        assert_eq!(fs_err::metadata(backup).unwrap().mode() & 0o7777, 0o604);
        assert_eq!(fs_err::read_to_string(backup).unwrap(), "old");
        sandbox.revert();
        assert_eq!(sandbox.snapshot(), before);
    }

    #[test]
    fn what_does_not_validate_is_not_put_in_place() {
        let mut sandbox = Sandbox::new();
        let dest = sandbox.write("file", "old");
        let before = sandbox.snapshot();
        let report = sandbox.step("copy", json!({"dest": dest, "content": "bad", "validate": "grep -q good %s"}));
        assert!(report.failed.unwrap().contains("failed to validate"));
        assert_eq!(sandbox.snapshot(), before);
        let report = sandbox.step("copy", json!({"dest": dest, "content": "good", "validate": "grep -q good %s"}));
        assert_eq!((report.failed, report.change), (None, Change::Changed));
    }

    #[test]
    fn docker_settings_with_a_key_twice_are_not_put_in_place() {
        let mut sandbox = Sandbox::new();
        let dest = sandbox.write("daemon.json", "{}");
        let params =
            json!({"dest": dest, "content": r#"{"debug": true, "debug": false}"#, "validator": "docker_daemon_json"});
        assert!(sandbox.step("copy", params).failed.is_some());
        assert_eq!(sandbox.read("daemon.json"), "{}");
    }

    #[test]
    fn copy_from_the_host_takes_bytes_and_mode() {
        let mut sandbox = Sandbox::new();
        let src = sandbox.write("src", "bytes");
        fs_err::set_permissions(&src, std::fs::Permissions::from_mode(0o751)).unwrap();
        fs_err::create_dir(sandbox.path("dir")).unwrap();
        sandbox.step("copy", json!({"src": src, "remote_src": true, "dest": sandbox.at("dir")}));
        assert_eq!(sandbox.read("dir/src"), "bytes");
        assert_eq!(fs_err::metadata(sandbox.path("dir/src")).unwrap().mode() & 0o7777, 0o751);
        let error = sandbox.step_with("copy", json!({"src": src, "dest": sandbox.at("x")}), |_| {}).unwrap_err();
        assert!(error.message.contains("remote_src"));
    }

    #[test]
    fn copy_into_a_missing_directory_says_so_and_makes_it_where_dest_ends_with_a_slash() {
        let mut sandbox = Sandbox::new();
        let before = sandbox.snapshot();
        let report = sandbox.step("copy", json!({"dest": sandbox.at("no/file"), "content": "x"}));
        assert!(report.failed.unwrap().contains("does not exist"));
        let params = json!({"dest": format!("{}/", sandbox.at("a/b")), "_original_basename": "f", "content": "x"});
        sandbox.step("copy", params);
        assert_eq!(sandbox.read("a/b/f"), "x");
        assert!(sandbox.revert().failed.is_none());
        assert_eq!(sandbox.snapshot(), before);
    }

    #[test]
    fn a_link_in_the_place_of_dest_is_replaced_or_followed() {
        let mut sandbox = Sandbox::new();
        sandbox.write("target", "target");
        symlink("target", sandbox.path("link")).unwrap();
        let before = sandbox.snapshot();
        sandbox.step("copy", json!({"dest": sandbox.at("link"), "content": "new", "follow": true}));
        assert_eq!((sandbox.read("target").as_str(), sandbox.path("link").is_symlink()), ("new", true));
        sandbox.step("copy", json!({"dest": sandbox.at("link"), "content": "own"}));
        assert_eq!((sandbox.read("target").as_str(), sandbox.read("link").as_str()), ("new", "own"));
        assert!(sandbox.revert().failed.is_none());
        assert_eq!(sandbox.snapshot(), before);
    }

    #[test]
    fn merged_lines_stay_ours_to_take_back() {
        let mut sandbox = Sandbox::new();
        let dest = sandbox.write("subuid", "ann:100000:65536\n");
        sandbox.step("copy", json!({"dest": dest, "content": "remap:165536:65536\n", "merge": "lines"}));
        assert_eq!(sandbox.read("subuid"), "ann:100000:65536\nremap:165536:65536\n");
        sandbox.write("subuid", "ann:100000:65536\nremap:165536:65536\nbob:231072:65536\n");
        let report = sandbox.revert();
        assert_eq!((report.failed, report.drifted), (None, vec![]));
        assert_eq!(sandbox.read("subuid"), "ann:100000:65536\nbob:231072:65536\n");
        assert!(sandbox.verify().different.is_empty());
    }

    #[test]
    fn file_makes_directories_and_undo_removes_them() {
        let mut sandbox = Sandbox::new();
        let before = sandbox.snapshot();
        let params = json!({"path": sandbox.at("a/b/c"), "state": "directory", "mode": "0750"});
        assert_eq!(sandbox.check("file", params.clone()).change, Change::Changed);
        sandbox.step("file", params.clone());
        for name in ["a", "a/b", "a/b/c"] {
            assert_eq!(fs_err::metadata(sandbox.path(name)).unwrap().mode() & 0o7777, 0o750, "{name}");
        }
        assert_eq!(sandbox.step("file", params).change, Change::Unchanged);
        assert!(sandbox.revert().failed.is_none());
        assert_eq!(sandbox.snapshot(), before);
    }

    #[test]
    fn a_directory_that_others_use_by_now_is_kept_and_named() {
        let mut sandbox = Sandbox::new();
        sandbox.step("file", json!({"path": sandbox.at("d"), "state": "directory"}));
        sandbox.write("d/theirs", "x");
        let report = sandbox.revert();
        assert_eq!(report.failed, None);
        assert_eq!(report.drifted, [format!("path {}", sandbox.at("d"))]);
        assert_eq!(sandbox.read("d/theirs"), "x");
        assert_eq!(sandbox.verify().different.len(), 1);
    }

    #[test]
    fn a_tree_that_was_deleted_comes_back_whole() {
        let mut sandbox = Sandbox::new();
        fs_err::create_dir_all(sandbox.path("t/sub/deep")).unwrap();
        sandbox.write("t/file", "1");
        sandbox.write("t/sub/file", "2");
        symlink("../file", sandbox.path("t/sub/link")).unwrap();
        fs_err::set_permissions(sandbox.path("t/sub/deep"), std::fs::Permissions::from_mode(0o500)).unwrap();
        let before = sandbox.snapshot();
        let report = sandbox.step("file", json!({"path": sandbox.at("t"), "state": "absent"}));
        assert_eq!((report.change, report.data["state"].clone()), (Change::Changed, json!("absent")));
        assert!(!sandbox.path("t").exists());
        assert!(sandbox.revert().failed.is_none());
        assert_eq!(sandbox.snapshot(), before);
    }

    #[test]
    fn a_tree_that_could_not_be_made_again_is_not_deleted() {
        let mut sandbox = Sandbox::new();
        fs_err::create_dir(sandbox.path("t")).unwrap();
        sandbox.write("t/file", "1");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, sandbox.path("t/fifo"), kind, 0o600.into(), 0).unwrap();
        let before = sandbox.snapshot();
        let refused =
            sandbox.step_with("file", json!({"path": sandbox.at("t"), "state": "absent"}), |_| {}).unwrap_err();
        assert_eq!(refused.kind, rollgate_agent::protocol::AgentErrorKind::Record);
        assert!(refused.message.contains("special file"), "{refused}");
        assert_eq!(sandbox.snapshot(), before);
        sandbox.task("file", json!({"path": sandbox.at("t"), "state": "absent"}));
        assert!(!sandbox.path("t").exists(), "outside of a transaction nothing has to come back");
    }

    /// An ACL as the kernel stores it (linux/posix_acl_xattr.h): user rw, user 1234 r, group r, mask r, others none.
    const ACL: &[u8] = &[
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 210, 4, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4,
        0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
    ];

    #[test]
    fn an_acl_is_kept_by_copy_and_comes_back_with_undo() {
        let mut sandbox = Sandbox::new();
        let file = sandbox.write("file", "0");
        let none = rustix::fs::XattrFlags::empty();
        if rustix::fs::setxattr(&file, "system.posix_acl_access", ACL, none).is_err() {
            eprintln!("skipped an_acl_is_kept_by_copy: this file system has no ACLs");
            return;
        }
        let before = sandbox.snapshot();
        let acl = |sandbox: &Sandbox| {
            sandbox.snapshot()[&sandbox.path("file")].xattrs.get("system.posix_acl_access").cloned()
        };
        let was = acl(&sandbox);
        assert!(was.is_some());
        sandbox.step("copy", json!({"dest": file, "content": "1"}));
        assert_eq!(acl(&sandbox), was);
        sandbox.step("copy", json!({"dest": file, "content": "2", "mode": "0660"}));
        assert_ne!(acl(&sandbox), was, "the mode changes the mask");
        sandbox.step("file", json!({"path": file, "state": "absent"}));
        assert!(sandbox.revert().failed.is_none());
        assert_eq!(sandbox.snapshot(), before);
    }

    #[test]
    fn copy_takes_a_staged_file_by_its_digest() {
        let mut sandbox = Sandbox::new();
        let bytes = vec![0xfe; 100_000];
        let sha256 = rollgate_agent::files::digest(&bytes);
        let params = json!({"dest": sandbox.at("big"), "content": {"blob": sha256, "size": bytes.len()}});
        let missing = sandbox.step("copy", params.clone());
        assert!(missing.failed.unwrap().contains("has not been staged"));
        for (index, data) in bytes.chunks(60_000).enumerate() {
            let (offset, size) = ((index * 60_000) as u64, bytes.len() as u64);
            let part = rollgate_agent::protocol::BlobPart { sha256: sha256.clone(), offset, size, data: data.to_vec() };
            sandbox.call(&rollgate_agent::protocol::Call::Blob(part)).unwrap();
        }
        assert_eq!(sandbox.step("copy", params).failed, None);
        assert_eq!(fs_err::read(sandbox.path("big")).unwrap(), bytes);
        sandbox.step("copy", json!({"dest": sandbox.at("small"), "content_b64": "/wA="}));
        assert_eq!(fs_err::read(sandbox.path("small")).unwrap(), [0xff, 0]);
    }

    #[test]
    fn links_are_made_changed_and_undone() {
        let mut sandbox = Sandbox::new();
        sandbox.write("one", "1");
        sandbox.write("two", "2");
        let before = sandbox.snapshot();
        sandbox.step("file", json!({"path": sandbox.at("l"), "src": "one", "state": "link"}));
        assert_eq!(sandbox.read("l"), "1");
        let params = json!({"path": sandbox.at("l"), "src": "two", "state": "link"});
        sandbox.step("file", params.clone());
        assert_eq!(sandbox.read("l"), "2");
        assert_eq!(sandbox.step("file", params).change, Change::Unchanged);
        let missing = sandbox.step("file", json!({"path": sandbox.at("m"), "src": "no", "state": "link"}));
        assert!(missing.failed.unwrap().contains("src file does not exist"));
        let refused = sandbox.step("file", json!({"path": sandbox.at("one"), "src": "two", "state": "link"}));
        assert!(refused.failed.unwrap().contains("refusing to convert"));
        sandbox.step("file", json!({"path": sandbox.at("one"), "src": "two", "state": "link", "force": true}));
        assert!(sandbox.path("one").is_symlink());
        sandbox.step("file", json!({"path": sandbox.at("h"), "src": sandbox.at("two"), "state": "hard"}));
        assert_eq!(fs_err::metadata(sandbox.path("h")).unwrap().nlink(), 2);
        assert!(sandbox.revert().failed.is_none());
        assert_eq!(sandbox.snapshot(), before);
    }

    #[test]
    fn modes_are_set_below_a_directory_and_come_back() {
        let mut sandbox = Sandbox::new();
        fs_err::create_dir(sandbox.path("d")).unwrap();
        sandbox.write("d/script", "x");
        fs_err::set_permissions(sandbox.path("d/script"), std::fs::Permissions::from_mode(0o744)).unwrap();
        sandbox.write("d/plain", "x");
        let before = sandbox.snapshot();
        sandbox.step(
            "file",
            json!({"path": sandbox.at("d"), "state": "directory", "recurse": true, "mode": "u=rwX,go=rX"}),
        );
        assert_eq!(fs_err::metadata(sandbox.path("d/script")).unwrap().mode() & 0o7777, 0o755);
        assert_eq!(fs_err::metadata(sandbox.path("d/plain")).unwrap().mode() & 0o7777, 0o644);
        sandbox.revert();
        assert_eq!(sandbox.snapshot(), before);
    }

    #[test]
    fn touch_and_states_of_what_is_there() {
        let mut sandbox = Sandbox::new();
        let before = sandbox.snapshot();
        let params = json!({"path": sandbox.at("t"), "state": "touch", "mode": "0600"});
        sandbox.step("file", params.clone());
        assert_eq!(sandbox.step("file", params).change, Change::Changed);
        let preserving = json!({"path": sandbox.at("t"), "state": "touch", "modification_time": "preserve", "access_time": "preserve"});
        assert_eq!(sandbox.step("file", preserving).change, Change::Unchanged);
        assert_eq!(sandbox.step("file", json!({"path": sandbox.at("t")})).change, Change::Unchanged);
        assert!(sandbox.step("file", json!({"path": sandbox.at("no"), "state": "file"})).failed.is_some());
        assert!(sandbox.step("file", json!({"path": sandbox.at("t"), "state": "directory"})).failed.is_some());
        sandbox.revert();
        assert_eq!(sandbox.snapshot(), before);
    }

    #[test]
    fn row_7_a_full_disk_leaves_the_file_as_it_was_and_nothing_beside_it() {
        let mut sandbox = Sandbox::new();
        let at = sandbox.path("tiny");
        fs_err::create_dir(&at).unwrap();
        let mounted = is_root()
            && std::process::Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs", at.to_str().unwrap()])
                .status()
                .is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("skipped row_7_a_full_disk_leaves_the_file_as_it_was: no tmpfs can be mounted here");
            return;
        }
        let dest = sandbox.write("tiny/daemon.json", "{}");
        let before = sandbox.snapshot();
        let report = sandbox.step("copy", json!({"dest": dest, "content": "x".repeat(200_000)}));
        let after = sandbox.snapshot();
        let reverted = sandbox.revert();
        let unmounted = std::process::Command::new("umount").arg(&at).status().unwrap();
        assert!(report.failed.unwrap().contains("No space left"));
        assert_eq!(after, before);
        assert!(reverted.failed.is_none());
        assert!(unmounted.success());
    }

    /// The cases were run through `lineinfile.py` of ansible-core 2.19.14.
    #[test]
    fn lineinfile_does_what_ansible_does() {
        let sandbox = Sandbox::new();
        let cases: serde_json::Value = serde_json::from_str(include_str!("data/lineinfile.json")).unwrap();
        let mut wrong = Vec::new();
        for case in cases.as_array().unwrap() {
            let path = sandbox.write("file", case["text"].as_str().unwrap());
            let mut params = case["params"].clone();
            params["path"] = json!(path);
            let checked = sandbox.check("lineinfile", params.clone());
            let report = sandbox.task("lineinfile", params);
            let found = (report.change == Change::Changed, report.data["msg"].clone(), sandbox.read("file"));
            let expected =
                (case["changed"] == json!(true), case["msg"].clone(), case["after"].as_str().unwrap().to_owned());
            if found != expected || checked.change != report.change {
                wrong.push(format!("{case}\n  gave {found:?}"));
            }
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.as_array().unwrap().len(), wrong.join("\n"));
    }

    #[test]
    fn a_line_that_others_wrote_beside_stays_when_ours_is_taken_back() {
        let mut sandbox = Sandbox::new();
        let path = sandbox.write("conf", "a=1\nb=2\n");
        sandbox.step("lineinfile", json!({"path": path, "regexp": "^a=", "line": "a=9"}));
        sandbox.step("lineinfile", json!({"path": path, "line": "c=3"}));
        sandbox.write("conf", "a=9\nb=2\nc=3\ntheirs\n");
        let report = sandbox.revert();
        assert_eq!(report.failed, None);
        assert_eq!(sandbox.read("conf"), "a=1\nb=2\ntheirs\n");
        assert!(sandbox.verify().different.is_empty());
    }

    #[test]
    fn lineinfile_edits_the_file_behind_a_link_and_makes_one_only_when_asked() {
        let mut sandbox = Sandbox::new();
        sandbox.write("real", "x\n");
        symlink("real", sandbox.path("link")).unwrap();
        let before = sandbox.snapshot();
        sandbox.step("lineinfile", json!({"path": sandbox.at("link"), "line": "y"}));
        assert_eq!((sandbox.read("real").as_str(), sandbox.path("link").is_symlink()), ("x\ny\n", true));
        let missing = json!({"path": sandbox.at("new/file"), "line": "y"});
        assert!(sandbox.step("lineinfile", missing).failed.unwrap().contains("does not exist"));
        sandbox
            .step("lineinfile", json!({"path": sandbox.at("new/file"), "line": "y", "create": true, "mode": "0600"}));
        assert_eq!(sandbox.read("new/file"), "y\n");
        assert!(sandbox.revert().failed.is_none());
        assert_eq!(sandbox.snapshot(), before);
    }

    #[test]
    fn a_command_need_not_run_where_its_result_is_there() {
        let sandbox = Sandbox::new();
        let made = sandbox.write("made", "");
        let params = json!({"cmd": "echo hi", "creates": made});
        for report in [sandbox.check("command", params.clone()), sandbox.task("command", params)] {
            assert_eq!((report.change, report.data["rc"].clone()), (Change::Unchanged, json!(0)));
            assert_eq!(report.data["stdout"], json!(format!("skipped, since {made} exists")));
        }
        assert_eq!(sandbox.check("command", json!({"cmd": "x", "creates": "/no/such"})).change, Change::Changed);
        assert_eq!(sandbox.check("command", json!({"cmd": "x"})).change, Change::Unknown);
        let report = sandbox.task("command", json!({"cmd": "echo 'a b' $HOME", "expand_argument_vars": false}));
        assert_eq!(report.data["cmd"], json!(["echo", "a b", "$HOME"]));
        assert_eq!(report.data["stdout"], json!("a b $HOME"));
        let report = sandbox.task("command", json!({"argv": ["cat"], "stdin": "line"}));
        assert_eq!(report.data["stdout"], json!("line"));
        let report = sandbox.task("shell", json!({"cmd": "pwd; echo $0", "chdir": sandbox.at("")}));
        assert_eq!(report.failed, None);
    }
}
