//! The final account: every host in exactly one state, and the exit code that follows (rollout.md R19, R26).

use crate::{
    error::ExitCode,
    journal::{FinalHost, HostState, Recap},
};
use std::collections::BTreeMap;

/// A host's standing over all plays of a run.
#[derive(Debug, Clone, Default)]
struct Entry {
    state: Option<HostState>,
    reason: Option<String>,
    recap: Recap,
    unreachable_before: bool,
}

/// The account of a run.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// In the order in which the hosts first appeared.
    order: Vec<String>,
    hosts: BTreeMap<String, Entry>,
    aborted: bool,
}

/// How much an operator must know of a state: over several plays the higher one stands.
fn weight(state: HostState) -> u8 {
    match state {
        HostState::Unknown => 7,
        HostState::RollbackFailed => 6,
        HostState::Failed => 5,
        HostState::RolledBack => 4,
        HostState::Changed => 3,
        HostState::NeverStarted => 2,
        HostState::Unchanged => 1,
        _ => 0,
    }
}

/// A host that was out of reach before it could be asked anything has no step that says so.
fn recap(entry: &Entry) -> Recap {
    let unreachable = entry.recap.unreachable.max(u32::from(entry.unreachable_before));
    Recap { unreachable, ..entry.recap }
}

impl Account {
    /// A host takes part in the run.
    pub(crate) fn join(&mut self, host: &str) {
        if !self.hosts.contains_key(host) {
            self.order.push(host.to_owned());
            self.hosts.insert(host.to_owned(), Entry::default());
        }
    }

    /// A host ended a play in this state.
    pub(crate) fn ended(&mut self, host: &str, state: HostState, reason: Option<String>) {
        self.join(host);
        let Some(entry) = self.hosts.get_mut(host) else { return };
        if entry.state.is_none_or(|before| weight(state) > weight(before)) {
            entry.state = Some(state);
            entry.reason = reason;
        }
    }

    /// A host was out of reach before its first mutating step.
    pub(crate) fn unreachable_before_its_first_step(&mut self, host: &str) {
        self.join(host);
        if let Some(entry) = self.hosts.get_mut(host) {
            entry.unreachable_before = true;
        }
    }

    /// A play was aborted: the run is not good, whatever became of its hosts.
    pub(crate) fn aborted(&mut self) {
        self.aborted = true;
    }

    /// The counts of a host's steps so far.
    pub(crate) fn recap(&mut self, host: &str, recap: Recap) {
        self.join(host);
        if let Some(entry) = self.hosts.get_mut(host) {
            entry.recap = recap;
        }
    }

    /// Every host with its one state.
    pub(crate) fn finals(&self) -> Vec<FinalHost> {
        let entries = self.order.iter().filter_map(|host| Some((host, self.hosts.get(host)?)));
        entries
            .map(|(host, entry)| FinalHost {
                host: host.clone(),
                state: entry.state.unwrap_or(HostState::NeverStarted),
                reason: entry.reason.clone(),
                recap: recap(entry),
            })
            .collect()
    }

    /// The exit code of a run that began: 3, 4, 2, 0, the first that fits.
    pub(crate) fn exit_code(&self, paused: bool) -> ExitCode {
        let any = |states: &[HostState]| {
            self.hosts.values().any(|entry| entry.state.is_some_and(|state| states.contains(&state)))
        };
        if paused || any(&[HostState::Unknown, HostState::RollbackFailed]) {
            ExitCode::NeedsOperator
        } else if self.hosts.values().any(|entry| entry.unreachable_before) {
            ExitCode::Unreachable
        } else if self.aborted || any(&[HostState::Failed, HostState::RolledBack]) {
            ExitCode::HostFailed
        } else {
            ExitCode::Success
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(states: &[(&str, HostState)]) -> Account {
        let mut account = Account::default();
        for (host, state) in states {
            account.ended(host, *state, None);
        }
        account
    }

    #[test]
    fn the_first_of_three_four_two_nought_that_fits_wins() {
        let mut lost = account(&[("a", HostState::Failed), ("b", HostState::NeverStarted)]);
        lost.unreachable_before_its_first_step("b");
        assert_eq!(lost.exit_code(false), ExitCode::Unreachable);
        lost.ended("c", HostState::RollbackFailed, None);
        assert_eq!(lost.exit_code(false), ExitCode::NeedsOperator);
        assert_eq!(account(&[("a", HostState::RolledBack)]).exit_code(false), ExitCode::HostFailed);
        assert_eq!(account(&[("a", HostState::Changed)]).exit_code(false), ExitCode::Success);
        assert_eq!(account(&[("a", HostState::Changed)]).exit_code(true), ExitCode::NeedsOperator);
        let mut aborted = account(&[("a", HostState::Changed), ("b", HostState::NeverStarted)]);
        aborted.aborted();
        assert_eq!(aborted.exit_code(false), ExitCode::HostFailed);
    }

    #[test]
    fn over_several_plays_a_host_has_the_state_that_matters_most() {
        let twice = account(&[("a", HostState::Changed), ("a", HostState::Unchanged), ("b", HostState::Unchanged)]);
        let states: Vec<HostState> = twice.finals().iter().map(|host| host.state).collect();
        assert_eq!(states, [HostState::Changed, HostState::Unchanged]);
    }
}
