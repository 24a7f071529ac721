//! The real agent program over its pipes.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use crate::support::{Channel, start, task};
    use rollgate_agent::protocol::{
        AgentErrorKind, BlobPart, Call, FromAgent, Hello, PROTOCOL_VERSION, ToAgent, read_frame, write_frame,
    };
    use rollgate_agent::serve::{Ending, serve};
    use serde_json::json;
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    #[test]
    fn a_welcome_names_the_protocol_and_a_private_state_directory() {
        let state = tempfile::tempdir().unwrap();
        let at = state.path().join("new/state");
        let channel = Channel::open(&at, "run1");
        assert_eq!(channel.welcome.protocol, PROTOCOL_VERSION);
        assert_eq!(channel.welcome.state_dir, at.to_str().unwrap());
        assert_eq!(channel.welcome.generation, 0);
        assert!(channel.welcome.path.ends_with("rollgate-agent"));
        assert_eq!(fs_err::metadata(at.join("txn")).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs_err::metadata(&at).unwrap().permissions().mode() & 0o022, 0);
        assert!(channel.close().success());
    }

    #[test]
    fn a_state_directory_that_others_can_write_is_refused() {
        let state = tempfile::tempdir().unwrap();
        fs_err::set_permissions(state.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let mut child = start();
        let state_dir = Some(state.path().to_str().unwrap().to_owned());
        let hello = Hello { protocol: PROTOCOL_VERSION, run: "r".into(), state_dir };
        write_frame(child.stdin.as_mut().unwrap(), &ToAgent::Hello(hello)).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("nobody else can write"));
    }

    #[test]
    fn a_controller_of_another_protocol_is_told_ours() {
        let mut child = start();
        let hello = Hello { protocol: PROTOCOL_VERSION + 1, run: "r".into(), state_dir: None };
        write_frame(child.stdin.as_mut().unwrap(), &ToAgent::Hello(hello)).unwrap();
        let answer: FromAgent = read_frame(child.stdout.as_mut().unwrap()).unwrap();
        assert!(matches!(answer, FromAgent::Welcome(welcome) if welcome.protocol == PROTOCOL_VERSION));
        assert_eq!(child.wait().unwrap().code(), Some(3));
    }

    #[test]
    fn a_command_streams_its_output_and_answers_once() {
        let state = tempfile::tempdir().unwrap();
        let mut channel = Channel::open(state.path(), "run1");
        let id = channel.request(Call::Task(task("shell", json!({"cmd": "echo out; echo err >&2; exit 3"}))));
        channel.wait_output(id, "out");
        let report = channel.answer(id);
        let Ok(rollgate_agent::protocol::Answer::Task(report)) = report else { panic!("{report:?}") };
        assert_eq!(report.data["rc"], json!(3));
        assert_eq!(report.data["stdout"], json!("out"));
        assert_eq!(report.data["stderr"], json!("err"));
        assert_eq!(report.failed.as_deref(), Some("non-zero return code"));
        assert!(channel.close().success());
    }

    #[test]
    fn a_cancelled_request_ends_its_whole_process_group() {
        let state = tempfile::tempdir().unwrap();
        let mut channel = Channel::open(state.path(), "run1");
        let command = "sleep 1000 & echo child=$!.; wait";
        let id = channel.request(Call::Task(task("shell", json!({"cmd": command}))));
        let mut seen = String::new();
        let child = loop {
            if let FromAgent::Progress { progress: rollgate_agent::protocol::Progress::Output { data, .. }, .. } =
                channel.read()
            {
                seen.push_str(&String::from_utf8_lossy(&data));
            }
            if let Some((_, rest)) = seen.split_once("child=")
                && let Some((pid, _)) = rest.split_once('.')
            {
                break pid.to_owned();
            }
        };
        channel.send(&ToAgent::Cancel { id });
        assert_eq!(channel.answer(id).unwrap_err().kind, AgentErrorKind::Cancelled);
        let stat = fs_err::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        // Gone, or a zombie that nobody has reaped.
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
        assert!(channel.close().success());
    }

    #[test]
    fn a_timeout_is_its_own_kind_of_end() {
        let state = tempfile::tempdir().unwrap();
        let mut channel = Channel::open(state.path(), "run1");
        let mut slow = task("command", json!({"argv": ["sleep", "1000"]}));
        slow.timeout_ms = Some(50);
        assert_eq!(channel.task(slow).unwrap_err().kind, AgentErrorKind::TimedOut);
    }

    /// A command that says it has begun, then waits for a line on a fifo and leaves a mark.
    fn held(state: &tempfile::TempDir) -> (serde_json::Value, std::path::PathBuf, std::path::PathBuf) {
        let fifo = state.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let mark = state.path().join("mark");
        let command = format!("echo begun; read line < {}; echo $line > {}", fifo.display(), mark.display());
        (json!({"cmd": command}), fifo, mark)
    }

    #[test]
    fn when_the_channel_closes_a_critical_step_ends_first() {
        let state = tempfile::tempdir().unwrap();
        let (params, fifo, mark) = held(&state);
        let mut channel = Channel::open(state.path(), "run1");
        let mut critical = task("shell", params);
        critical.critical = true;
        let id = channel.request(Call::Task(critical));
        channel.wait_output(id, "begun");
        drop(channel.to.take());
        fs_err::write(fifo, "done\n").unwrap();
        assert!(channel.child.wait().unwrap().success());
        assert_eq!(fs_err::read_to_string(mark).unwrap(), "done\n");
    }

    #[test]
    fn when_the_channel_closes_other_steps_are_ended() {
        let state = tempfile::tempdir().unwrap();
        let (params, _fifo, mark) = held(&state);
        let mut channel = Channel::open(state.path(), "run1");
        let id = channel.request(Call::Task(task("shell", params)));
        channel.wait_output(id, "begun");
        assert!(channel.close().success());
        assert!(!mark.exists());
    }

    #[test]
    fn a_channel_on_which_nothing_is_heard_ends() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let output = theirs.try_clone().unwrap();
        assert_eq!(serve(theirs, output, Duration::from_millis(20)).unwrap(), Ending::LeaseExpired);
        drop(ours);
    }

    #[test]
    fn the_bytes_of_a_frame_that_never_ends_do_not_hold_the_lease() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let output = theirs.try_clone().unwrap();
        let trickle = std::thread::spawn(move || {
            ours.write_all(&[0, 0x7f, 0xff, 0xff]).unwrap();
            // Until nobody reads any more.
            while ours.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        assert_eq!(serve(theirs, output, Duration::from_millis(50)).unwrap(), Ending::LeaseExpired);
        // Its reader is left with the descriptor until the process ends.
        drop(trickle);
    }

    #[test]
    fn hostile_frames_end_the_agent_with_a_sentence() {
        let huge = [0xff, 0xff, 0xff, 0xff, 0].to_vec();
        let garbage = [&[0, 0, 0, 4][..], b"\xc1\xc1\xc1\xc1"].concat();
        let mut nested = vec![0x91; 4000];
        nested.push(0xc0);
        let deep = [&u32::try_from(nested.len()).unwrap().to_be_bytes()[..], &nested].concat();
        for bytes in [huge, garbage, deep] {
            let mut child = start();
            let mut to = child.stdin.take().unwrap();
            to.write_all(&bytes).unwrap();
            let mut said = String::new();
            child.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
            assert!(!child.wait().unwrap().success());
            assert!(said.contains("does not speak this protocol"), "{said}");
        }
    }

    #[test]
    fn a_request_under_way_keeps_its_number() {
        let state = tempfile::tempdir().unwrap();
        let (params, fifo, _mark) = held(&state);
        let mut channel = Channel::open(state.path(), "run1");
        let id = channel.request(Call::Task(task("shell", params)));
        channel.wait_output(id, "begun");
        channel.send(&ToAgent::Request { id, call: Box::new(Call::Facts) });
        assert!(channel.answer(id).unwrap_err().message.contains("under way already"));
        fs_err::write(fifo, "done\n").unwrap();
        assert!(channel.answer(id).is_ok());
    }

    #[test]
    fn changes_take_turns_and_reading_does_not_wait_for_them() {
        let state = tempfile::tempdir().unwrap();
        let (params, fifo, mark) = held(&state);
        let mut channel = Channel::open(state.path(), "run1");
        let first = channel.request(Call::Task(task("shell", params)));
        channel.wait_output(first, "begun");
        let second = channel.request(Call::Task(task("shell", json!({"cmd": format!("cat {}", mark.display())}))));
        assert!(channel.call(Call::Facts).is_ok());
        fs_err::write(fifo, "done\n").unwrap();
        let Ok(rollgate_agent::protocol::Answer::Task(report)) = channel.answer(second) else { panic!("no report") };
        assert_eq!(report.data["stdout"], json!("done"));
    }

    #[test]
    fn a_staged_file_must_have_its_digest() {
        let state = tempfile::tempdir().unwrap();
        let mut channel = Channel::open(state.path(), "run1");
        let part = BlobPart { sha256: "0".repeat(64), offset: 0, size: 3, data: b"abc".to_vec() };
        let error = channel.call(Call::Blob(part)).unwrap_err();
        assert_eq!(error.kind, AgentErrorKind::Invalid);
    }
}
