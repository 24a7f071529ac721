//! What an operator does: Ctrl-C twice.

use crate::support::{Lab, NO_STARTS, assert_as_before};
use rollgate::journal::{EventKind, HostState, StopCause};

#[test]
fn the_second_interrupt_puts_the_batch_back() {
    let Some(lab) = Lab::with("interrupt", &["h1", "h2", "h3"]) else { return };
    let before = lab.states();
    let runbook = lab.runbook(&[("batches", "[2, 1]")]);
    let mut run = lab.start("run", &[runbook.to_str().unwrap(), "-e", NO_STARTS]);
    run.until_task("h1", "Load images into the remapped root");
    run.interrupt();
    run.until("it paused", |event| matches!(event, EventKind::Paused { cause: StopCause::Signal { .. } }));
    run.interrupt();
    let run = run.end().expect_code(2);

    let (cause, _) = run.aborted();
    assert!(matches!(&cause, StopCause::Signal { signal } if signal == "SIGINT"), "{cause:?}");
    let states: Vec<_> = run.final_hosts().iter().map(|host| (host.host.as_str(), host.state)).collect();
    // h2 may have been before its first change.
    assert!(
        matches!(
            states[..],
            [
                ("h1", HostState::RolledBack),
                ("h2", HostState::RolledBack | HostState::NeverStarted),
                ("h3", HostState::NeverStarted)
            ]
        ),
        "{}",
        run.account()
    );
    for ((host, before), after) in lab.hosts().zip(&before).zip(lab.states()) {
        assert_as_before(host, before, &after);
    }
}
