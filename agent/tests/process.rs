//! Processes: their output, their group, their end.

#[cfg(test)]
mod tests {
    use rollgate_agent::protocol::{Progress, Stream};
    use rollgate_agent::serve::{CAPTURE_CAP, Control, Process, RunError};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    fn sh(command: &str) -> Process {
        Process::new(["/bin/sh", "-c", command], &Control::default())
    }

    #[test]
    fn exit_codes_are_those_of_shells() {
        assert_eq!(sh("exit 7").run().unwrap().rc, 7);
        assert_eq!(sh("kill -TERM $$").run().unwrap().rc, 128 + 15);
        assert!(matches!(Process::new(["/no/such"], &Control::default()).run(), Err(RunError::Start { .. })));
        assert!(Process::new(Vec::<String>::new(), &Control::default()).run().is_err());
    }

    #[test]
    fn standard_input_is_empty_unless_given_and_much_of_it_passes() {
        assert_eq!(sh("cat").run().unwrap().stdout, b"");
        let much = vec![b'x'; 1 << 20];
        assert_eq!(sh("cat").stdin(much.clone()).run().unwrap().stdout, much);
        assert_eq!(sh("true").stdin(much).run().unwrap().rc, 0, "a process need not read it");
    }

    #[test]
    fn output_over_the_cap_is_counted_and_not_kept() {
        let finished = sh("head -c 3000000 /dev/zero").run().unwrap();
        assert_eq!(finished.stdout.len(), CAPTURE_CAP);
        assert_eq!(finished.lost, 3_000_000 - CAPTURE_CAP as u64);
    }

    #[test]
    fn output_is_streamed_as_it_comes() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let output = move |progress| {
            if let Progress::Output { stream, data } = progress {
                sink.lock().unwrap().push((stream, data));
            }
        };
        let control = Control::new(None, Some(Arc::new(output)));
        Process::new(["sh", "-c", "echo out; echo err >&2"], &control).streamed(&control).run().unwrap();
        let seen = seen.lock().unwrap();
        assert!(seen.contains(&(Stream::Stdout, b"out\n".to_vec())));
        assert!(seen.contains(&(Stream::Stderr, b"err\n".to_vec())));
    }

    #[test]
    fn a_daemon_that_keeps_the_pipes_open_does_not_keep_the_answer() {
        let finished = sh("sleep 1000 & echo $!").run().unwrap();
        let pid: i32 = finished.stdout_text().trim().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        assert!(rustix::process::test_kill_process(pid).is_ok(), "it lives on, as under a shell");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    #[test]
    fn a_group_that_ignores_term_is_killed() {
        let control = Control::default();
        let process = Process::new(["sh", "-c", "trap '' TERM; echo $$; while :; do sleep 1; done"], &control)
            .timeout(Duration::from_millis(50));
        assert!(matches!(process.run(), Err(RunError::TimedOut { .. })));
    }

    #[test]
    fn a_critical_request_is_not_cut_by_a_cancellation_but_by_its_own_timeout() {
        let control = Control::default().critical();
        control.cancel();
        assert_eq!(Process::new(["true"], &control).run().unwrap().rc, 0);
        let slow = Process::new(["sleep", "1000"], &control).timeout(Duration::from_millis(10));
        assert!(matches!(slow.run(), Err(RunError::TimedOut { .. })));
        let control = Control::default();
        control.cancel();
        assert!(matches!(Process::new(["sleep", "1000"], &control).run(), Err(RunError::Cancelled { .. })));
    }
}
