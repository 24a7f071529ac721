//! `rollgate-agent guard`: the guard's process, its part at boot, and what root may ask of guards on the host itself.

use crate::{say, usage};
use rollgate_agent::guard::{self, GuardError, Holder, Ran};
use rollgate_agent::protocol::{GuardForm, GuardReport, GuardState};
use rollgate_agent::serve::default_state_dir;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What systemd does not restart after: the revert was tried, and failed. The unit stays failed, for all to see.
const REVERT_FAILED: u8 = 5;

/// Runs one of them.
pub(crate) fn run_command(words: &[&str]) -> ExitCode {
    let mut rest = Vec::new();
    let (mut state_dir, mut detached) = (default_state_dir(), false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--state-dir" => state_dir = words.next().map(PathBuf::from),
            "--detached" => detached = true,
            word => rest.push(word),
        }
    }
    let Some(state_dir) = state_dir else {
        say(&mut std::io::stderr(), "rollgate-agent: which state directory? HOME is not set.");
        return ExitCode::FAILURE;
    };
    let told = |line: &str| say(&mut std::io::stdout(), line);
    let done = match rest.as_slice() {
        ["list"] => list(&state_dir),
        ["confirm", txn] => guard::confirm_here(&state_dir, txn).map(|report| show(&report)),
        ["revert", txn] => guard::revert_here(&state_dir, txn, &told).map(|report| show(&report)),
        ["run", txn] => run(&state_dir, txn, detached),
        ["boot"] => guard::boot(&state_dir, &told).map(|()| ExitCode::SUCCESS).map_err(GuardError::from),
        ["booted"] => guard::booted(&state_dir, &told).map(|()| ExitCode::SUCCESS).map_err(GuardError::from),
        _ => return usage(),
    };
    done.unwrap_or_else(|error| {
        say(&mut std::io::stderr(), &format!("rollgate-agent: {error}."));
        ExitCode::FAILURE
    })
}

fn run(state_dir: &Path, txn: &str, detached: bool) -> Result<ExitCode, GuardError> {
    match guard::run(state_dir, txn, detached)? {
        Ran::Nothing => Ok(ExitCode::SUCCESS),
        // A detached one has nobody to tell.
        Ran::Fired(report) if detached => Ok(code(&report)),
        Ran::Fired(report) => Ok(show(&report)),
    }
}

fn list(state_dir: &Path) -> Result<ExitCode, GuardError> {
    let agent = std::env::current_exe().unwrap_or_default();
    for report in guard::status(&Holder { state_dir, agent: &agent, run: None }, None)? {
        show(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn code(report: &GuardReport) -> ExitCode {
    if report.state == GuardState::RevertFailed { ExitCode::from(REVERT_FAILED) } else { ExitCode::SUCCESS }
}

fn show(report: &GuardReport) -> ExitCode {
    let state = match report.state {
        GuardState::Armed => format!("armed, {} s left", report.left_ms / 1000),
        GuardState::Confirmed => "confirmed".to_owned(),
        GuardState::Reverting => "reverting".to_owned(),
        GuardState::RevertedByGuard => "reverted by its guard".to_owned(),
        GuardState::RevertFailed => "could not be reverted by its guard".to_owned(),
        GuardState::Reverted => "reverted".to_owned(),
    };
    let form = match report.form {
        GuardForm::Systemd => "systemd",
        GuardForm::Process => "process",
    };
    let mut to = std::io::stdout();
    say(&mut to, &format!("transaction {} of run {}: {state} ({form})", report.txn, report.run));
    if report.state == GuardState::RevertFailed
        && let Some(fired) = &report.fired
    {
        let failed = fired.revert.as_ref().and_then(|revert| revert.failed.as_ref());
        for why in failed.into_iter().chain(&fired.error) {
            say(&mut to, &format!("  {why}"));
        }
        for object in fired.verify.iter().flat_map(|verify| &verify.different) {
            say(&mut to, &format!("  {} is {}; it was {}", object.object, object.found, object.expected));
        }
    }
    code(report)
}
