//! The words of states, causes and lists: the same on every screen and in every report.

use super::{text::one_line, view::RehearsalView};
use crate::{
    journal::{HostState, StepStatus, StopCause},
    rollout::count,
};
use rollgate_agent::protocol::WorkProgress;
use std::fmt::Write;

/// A host's state in words.
pub fn state(state: HostState) -> &'static str {
    match state {
        HostState::Pending => "pending",
        HostState::Running => "running",
        HostState::Verifying => "verifying",
        HostState::Healthy => "healthy",
        HostState::RollingBack => "rolling back",
        HostState::Unchanged => "unchanged",
        HostState::Changed => "changed",
        HostState::Failed => "failed",
        HostState::RolledBack => "rolled back",
        HostState::RollbackFailed => "rollback failed",
        HostState::Unknown => "unknown",
        HostState::NeverStarted => "never started",
    }
}

/// Final states, those that need an operator first.
pub const FINAL: [HostState; 7] = [
    HostState::Unknown,
    HostState::RollbackFailed,
    HostState::Failed,
    HostState::RolledBack,
    HostState::NeverStarted,
    HostState::Changed,
    HostState::Unchanged,
];

/// Why something stopped, the end of a sentence.
pub fn cause(cause: &StopCause) -> String {
    match cause {
        StopCause::Signal { signal } if signal == "SIGPIPE" => "nobody reads the output any more".to_owned(),
        StopCause::Signal { signal } if signal == "SIGHUP" => "the terminal was closed (SIGHUP)".to_owned(),
        StopCause::Signal { signal } => format!("{signal} was received"),
        StopCause::Trigger { trigger, host: Some(host) } => {
            format!("trigger “{}” fired on {}", one_line(trigger), one_line(host))
        }
        StopCause::Trigger { trigger, host: None } => format!("trigger “{}” fired", one_line(trigger)),
        StopCause::Failures { failed, tolerated } => {
            let hosts = if *failed == 1 { "host has" } else { "hosts have" };
            format!("{failed} {hosts} failed, {tolerated} tolerated")
        }
        StopCause::Inconclusive { probe, host } => {
            format!("probe {} could not be asked on {}", one_line(probe), one_line(host))
        }
        StopCause::Environment => {
            "the first hosts rolled back did not regain their health: the change is not the cause".to_owned()
        }
        StopCause::Journal { error } => format!("the journal cannot be written: {}", one_line(error)),
        StopCause::Operator { uid, user, reason } => {
            let who = user.as_deref().map_or_else(|| format!("an operator (uid {uid})"), one_line);
            match reason {
                Some(reason) => format!("{who} said so: {}", one_line(reason)),
                None => format!("{who} said so"),
            }
        }
        StopCause::Rollback { host } => format!("{} could not be put back", one_line(host)),
        StopCause::Unreadable { trigger, host } => {
            format!("the condition of trigger “{}” cannot be told on {}", one_line(trigger), one_line(host))
        }
        StopCause::Budget { disrupted, max_unavailable } => {
            format!("{disrupted} unavailable, {max_unavailable} allowed")
        }
        StopCause::Deadline { deadline, host: Some(host) } => format!("{deadline} passed on {}", one_line(host)),
        StopCause::Deadline { deadline, host: None } => format!("{deadline} passed"),
        StopCause::UnhealthyUpgraded { unhealthy, tolerated } => {
            let hosts = if *unhealthy == 1 { "changed host is" } else { "changed hosts are" };
            format!("{unhealthy} {hosts} unhealthy, {tolerated} tolerated")
        }
        StopCause::Preflight { unreachable } => {
            format!("{} out of reach before anything was changed", count(*unreachable, "host is", "hosts are"))
        }
        StopCause::Rehearsal { host } => format!("the rehearsal of the rollback failed on {}", one_line(host)),
    }
}

/// What a rehearsal has shown, a sentence.
pub fn rehearsal(rehearsal: &RehearsalView) -> String {
    let head = format!("on {} at {}", one_line(&rehearsal.host), rehearsal.at.strftime("%F %T UTC"));
    if let Some(why) = &rehearsal.failed {
        return ended(&format!("Rehearsal failed {head}: {}", one_line(why)));
    }
    if !rehearsal.ended {
        return format!("Rehearsal begun {head}; it has not ended.");
    }
    let objects = count(usize::try_from(rehearsal.compared).unwrap_or(usize::MAX), "object", "objects");
    let probes = if rehearsal.probes.is_empty() {
        String::new()
    } else {
        format!(", {} healthy as before", some(&rehearsal.probes, 8))
    };
    let again = if rehearsal.again { "changed again and healthy" } else { "not healthy again with the change" };
    format!(
        "Rehearsed {head}: changed and healthy in {}, put back in {}, {objects} compared and none differs{probes}, {again}.",
        took(rehearsal.applied_ms),
        took(rehearsal.rolled_back_ms)
    )
}

/// What follows, in words: a trigger's `action` or a stanza's `on_failure`.
pub fn then(then: &str) -> String {
    match then {
        "rollback_batch" => "every touched host of the batch is rolled back".to_owned(),
        "rollback_run" => "every touched host of the run is rolled back, latest batch first".to_owned(),
        "abort_batch" => "the batch is aborted".to_owned(),
        "fail_host" => "the host fails and is rolled back alone".to_owned(),
        "pause" => "nothing more starts; an operator decides".to_owned(),
        "keep" => "no further host is rolled back".to_owned(),
        "continue" => "failed hosts are rolled back, the rest is kept".to_owned(),
        other => one_line(other).replace('_', " "),
    }
}

/// What a run waits for, and the commands that answer it.
pub fn waits(what: &str, run: &str) -> String {
    let run = one_line(run);
    match what {
        "promotion" => {
            format!(
                "the batch is good: `rollgate promote {run}` lets the next one begin, `rollgate abort {run}` ends the run"
            )
        }
        "failure" => format!(
            "the batch has failed: `rollgate abort {run}` rolls it back, `rollgate resume {run}` keeps its healthy hosts \
             and goes on"
        ),
        "rollback" => format!(
            "the hosts put back are not as they were: `rollgate resume {run}` rolls the others back all the same, \
             `rollgate abort {run}` leaves them"
        ),
        _ => format!("`rollgate resume {run}` goes on, `rollgate abort {run}` ends the run"),
    }
}

/// What follows a wait that nobody answers, and what the guards of its hosts do; `guards` is how many hosts are held, and
/// within how many milliseconds they have put themselves back when they are held no more.
pub fn unanswered(timeout_ms: Option<u64>, follows: &str, guards: Option<(usize, u64)>) -> String {
    let back = guards.map(|(armed, ms)| {
        format!("{} back within {}", count(armed, "host puts itself", "hosts put themselves"), took(ms))
    });
    let ends = |ms| match (follows, &back) {
        ("end", Some(back)) => format!("; after {} without an answer the run ends, and {back}", took(ms)),
        ("end", None) => format!("; after {} without an answer the run ends as it is", took(ms)),
        _ => format!("; after {} without an answer {}", took(ms), then(follows)),
    };
    let held = match &back {
        Some(back) => format!("; until then this controller holds their guards: should it die, {back}"),
        None => String::new(),
    };
    format!("{}{held}", timeout_ms.map(ends).unwrap_or_default())
}

/// A sentence with one mark at its end.
pub fn ended(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '?', '!', '…']) { text.to_owned() } else { format!("{text}.") }
}

/// `a, b, c and 4 more`.
pub fn some(names: &[impl AsRef<str>], most: usize) -> String {
    let shown: Vec<String> = names.iter().take(most).map(|name| one_line(name.as_ref())).collect();
    match names.len().saturating_sub(most) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Milliseconds as people read them: `0.4 s`, `12 s`, `3 min 20 s`, `1 h 5 min`.
pub fn took(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..10 => format!("{}.{} s", seconds, ms % 1000 / 100),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `shifting 120000 of 300000 files, 410000 a second, 0.4 s left`.
pub fn progress(work: &WorkProgress) -> String {
    let second = |done: u64| u128::from(done) * 1000 / u128::from(work.took_ms.max(1));
    let mut text = format!("{} {}", one_line(&work.doing), work.files);
    if let Some(all) = work.all_files {
        let _ = write!(text, " of {all}");
    }
    let _ = match work.all_bytes {
        Some(all) => write!(
            text,
            " files, {} of {}, {} a second",
            size(work.bytes.into()),
            size(all.into()),
            size(second(work.bytes))
        ),
        None => write!(text, " files, {} a second", second(work.files)),
    };
    if let Some(left) = work.left_ms {
        let _ = write!(text, ", {} left", took(left));
    }
    text
}

/// `3.2 GiB`.
fn size(bytes: u128) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{}.{} GiB", bytes >> 30, ((bytes & 0x3fff_ffff) * 10) >> 30),
    }
}

/// Whether a step is an attempt that `until` does not take yet: its message tells.
pub(super) fn is_tried_again(status: StepStatus, message: Option<&str>) -> bool {
    status == StepStatus::Ignored && message.is_some_and(|message| message.starts_with("Attempt "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_step_has_come_is_told_as_far_as_it_is_known() {
        let looking = WorkProgress {
            doing: "looking at".to_owned(),
            files: 3000,
            all_files: None,
            bytes: 0,
            all_bytes: None,
            took_ms: 1500,
            left_ms: None,
        };
        assert_eq!(progress(&looking), "looking at 3000 files, 2000 a second");
        let shifting = WorkProgress { all_files: Some(9000), left_ms: Some(3000), ..looking.clone() };
        assert_eq!(progress(&shifting), "looking at 3000 of 9000 files, 2000 a second, 3.0 s left");
        let copying = WorkProgress { bytes: 3 << 29, all_bytes: Some(5 << 30), ..shifting };
        assert_eq!(
            progress(&copying),
            "looking at 3000 of 9000 files, 1.5 GiB of 5.0 GiB, 1.0 GiB a second, 3.0 s left"
        );
        assert_eq!(progress(&WorkProgress { took_ms: 0, ..looking }), "looking at 3000 files, 3000000 a second");
    }
}
