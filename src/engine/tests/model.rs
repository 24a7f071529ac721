//! The run as a model: random faults and verdicts, and what must hold whatever they are.

use super::{
    script::{Health, Script, ScriptFleet, StepFault},
    support::{Log, Outcome, Project, Seen},
};
use crate::{
    engine::{Command, Order, Signal},
    journal::{EventKind, HostState, StopCause},
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::sync::mpsc;

#[derive(Debug, Clone)]
struct Case {
    scripts: Vec<Script>,
    batches: Vec<usize>,
    max_unavailable: Option<usize>,
    max_parallel: Option<usize>,
    max_fail: usize,
    on_failure: &'static str,
    bake: u64,
    action: &'static str,
    manual: bool,
    rollback: &'static str,
    /// What an operator says, and when, in seconds since the last time.
    words: Vec<(u64, Signal)>,
}

impl Case {
    fn hosts(&self) -> Vec<String> {
        (0..self.scripts.len()).map(|n| format!("h{n}")).collect()
    }

    fn playbook(&self) -> String {
        let optional = |key: &str, value: Option<usize>| value.map(|n| format!("    {key}: {n}\n")).unwrap_or_default();
        format!(
            "- hosts: all
  gather_facts: false
  rollout:
    batches: {:?}
{}{}    max_fail: {}
    min_healthy_time: 4s
    healthy_deadline: 40s
    rollback_deadline: 60s
    bake_time: {}s
    on_failure: {}
    promote: {}
    pause_timeout: 50s
    rollback: {}
    probes:
      - name: alive
        command: look
        interval: 2s
        timeout: 5s
        failure_threshold: 2
    triggers:
      - name: sick
        when: alive.consecutive_failures >= 3
        action: {}
  tasks:
    - name: Look
      command: look
      changed_when: false
    - name: First
      command: change one
      accept_irreversible: true
    - name: Second
      command: change two
      accept_irreversible: true
      notify: third
  handlers:
    - name: third
      command: change three
      accept_irreversible: true
",
            self.batches,
            optional("max_unavailable", self.max_unavailable),
            optional("max_parallel", self.max_parallel),
            self.max_fail,
            self.bake,
            self.on_failure,
            if self.manual { "manual" } else { "auto" },
            self.rollback,
            self.action,
        )
    }

    fn run(&self) -> (Outcome, std::sync::Arc<ScriptFleet>) {
        let mut project = Project::new(&self.playbook(), &self.hosts().join("\n"));
        // Time is paused: the journal's thread would look like idleness. Its order is that of the events.
        project.journal = false;
        let log = Log::default();
        let scripts = self.hosts().into_iter().zip(self.scripts.iter().cloned()).collect();
        let fleet = ScriptFleet::new(scripts, &log);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        let (sender, signals) = mpsc::channel(4);
        let words = self.words.clone();
        let outcome = runtime.block_on(async {
            let operator = async {
                for (wait, word) in words {
                    tokio::time::sleep(Duration::from_secs(wait)).await;
                    let _ = sender.send(word).await;
                }
                // Nothing waits for ever: in the end somebody answers.
                loop {
                    for command in [Command::Promote, Command::Resume] {
                        tokio::time::sleep(Duration::from_secs(70)).await;
                        let _ = sender.send(said(command)).await;
                    }
                }
            };
            tokio::select! {
                outcome = project.run_with(|_| fleet.clone(), &log, signals) => outcome,
                () = operator => unreachable!("the operator never leaves"),
            }
        });
        (outcome, fleet)
    }
}

fn said(command: Command) -> Signal {
    Signal::Order(Order { command, cause: StopCause::Operator { uid: 0, user: None, reason: None } })
}

fn word() -> impl Strategy<Value = Signal> {
    prop_oneof![
        4 => Just(Signal::Interrupt),
        1 => Just(Signal::Hangup),
        2 => Just(said(Command::Pause)),
        2 => Just(said(Command::Resume)),
        1 => Just(said(Command::Abort)),
        2 => Just(said(Command::Promote)),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    let fault = prop_oneof![
        12 => Just(StepFault::None),
        1 => Just(StepFault::Unchanged),
        1 => Just(StepFault::Fails),
        1 => Just(StepFault::Lost),
        1 => (1_u64..100).prop_map(StepFault::Slow),
    ];
    let health = |good: u32| prop_oneof![good => Just(Health::Good), 2 => Just(Health::Bad), 1 => Just(Health::Error), 1 => Just(Health::Lost)];
    (
        prop::bool::weighted(0.05),
        prop::collection::vec(fault, 0..4),
        prop::collection::vec(health(20), 0..2),
        prop::collection::vec(health(12), 0..8),
        prop::collection::vec(health(6), 0..3),
        prop_oneof![8 => Just(0_u32), 1 => 1_u32..5],
        prop::bool::weighted(0.05),
    )
        .prop_map(|(unreachable, steps, before, after, restored, revert_fails, gone)| Script {
            unreachable,
            steps,
            before,
            after,
            restored,
            revert_fails,
            gone,
            lost_at_revert: false,
        })
}

fn case() -> impl Strategy<Value = Case> {
    (
        prop::collection::vec(script(), 1..9),
        prop::collection::vec(1_usize..5, 1..3),
        prop::option::of(1_usize..4),
        prop::option::of(1_usize..4),
        0_usize..4,
        prop::sample::select(vec!["rollback_batch", "rollback_run", "pause", "continue"]),
        prop::sample::select(vec![0_u64, 9]),
        prop::sample::select(vec!["abort_batch", "fail_host", "rollback_run", "pause"]),
        (
            prop::bool::weighted(0.2),
            prop::sample::select(vec!["{}", "{max_parallel: 1, on_failure: pause}", "{min_healthy_time: 5s}"]),
        ),
        prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec((0_u64..30, word()), 1..6)],
    )
        .prop_map(
            |(
                scripts,
                batches,
                max_unavailable,
                max_parallel,
                max_fail,
                on_failure,
                bake,
                action,
                (manual, rollback),
                words,
            )| Case {
                scripts,
                batches,
                max_unavailable,
                max_parallel,
                max_fail,
                on_failure,
                bake,
                action,
                manual,
                rollback,
                words,
            },
        )
}

/// The states that the events tell, and the most hosts disrupted at any moment by what the events tell.
#[derive(Default)]
struct Told {
    states: BTreeMap<String, HostState>,
    started: BTreeSet<String>,
}

impl Told {
    fn disrupted(&self) -> usize {
        let disrupted = |host: &&String| {
            matches!(
                self.states.get(*host),
                Some(HostState::Running | HostState::Verifying | HostState::RollbackFailed | HostState::Unknown)
            )
        };
        self.started.iter().filter(disrupted).count()
    }
}

fn each_host_ends_in_one_state(case: &Case, run: &Outcome) -> Result<(), TestCaseError> {
    let hosts: Vec<String> = run.outcome.hosts.iter().map(|host| host.host.clone()).collect();
    prop_assert_eq!(hosts, case.hosts());
    for host in &run.outcome.hosts {
        prop_assert!(host.state.is_final(), "{} ends as {:?}", host.host, host.state);
    }
    Ok(())
}

fn every_mutation_follows_its_intent(run: &Outcome) -> Result<(), TestCaseError> {
    let mut permitted: BTreeMap<String, usize> = BTreeMap::new();
    for seen in &run.log {
        match seen {
            Seen::Event(event) => match &event.kind {
                EventKind::StepIntent { id, .. } => *permitted.entry(id.host.clone()).or_default() += 1,
                EventKind::RollbackIntent { host, .. } => {
                    permitted.insert(format!("revert {host}"), 1);
                }
                EventKind::TxnOpened { host, .. } => {
                    permitted.insert(format!("open {host}"), 1);
                }
                _ => {}
            },
            Seen::Call { host, call } if call.starts_with("task") => {
                let left = permitted.entry(host.clone()).or_default();
                prop_assert!(*left > 0, "{host} ran `{call}` without an intent");
                *left -= 1;
            }
            Seen::Call { host, call } if call == "revert" || call == "open" => {
                prop_assert!(permitted.contains_key(&format!("{call} {host}")), "{host}: {call} without an intent");
            }
            Seen::Call { .. } => {}
        }
    }
    Ok(())
}

fn nothing_begins_after_an_abort(run: &Outcome) -> Result<(), TestCaseError> {
    let mut aborted = false;
    for kind in run.kinds() {
        match kind {
            EventKind::Aborted { .. } => aborted = true,
            EventKind::BatchEnded { outcome, .. } if outcome == "continued" => aborted = false,
            EventKind::StepIntent { id, .. } => prop_assert!(!aborted, "{} began a step after the abort", id.host),
            EventKind::HostChanged { host, state: HostState::Running, .. } => {
                prop_assert!(!aborted, "{host} was started after the abort");
            }
            EventKind::BatchStarted { .. } => prop_assert!(!aborted, "a batch began after the abort"),
            _ => {}
        }
    }
    Ok(())
}

fn nothing_begins_while_the_run_is_paused_or_waits(run: &Outcome) -> Result<(), TestCaseError> {
    let (mut paused, mut unpromoted) = (false, false);
    for kind in run.kinds() {
        match kind {
            EventKind::Paused { .. } => paused = true,
            EventKind::Waits { what, .. } if what == "promotion" => unpromoted = true,
            EventKind::Resumed { .. } => paused = false,
            // The next batch of `continue`, or none.
            EventKind::Aborted { .. } => (paused, unpromoted) = (false, false),
            EventKind::Promoted { .. } => unpromoted = false,
            EventKind::BatchStarted { .. } => {
                prop_assert!(!paused && !unpromoted, "a batch began: {paused} {unpromoted}");
            }
            EventKind::HostChanged { host, state: HostState::Running, .. } => {
                prop_assert!(!paused && !unpromoted, "{host} began: {paused} {unpromoted}");
            }
            _ => {}
        }
    }
    Ok(())
}

fn the_budget_holds(case: &Case, run: &Outcome) -> Result<(), TestCaseError> {
    let cut = crate::rollout::batches(
        &case.batches.iter().map(|n| crate::playbook::Size::Count(*n)).collect::<Vec<_>>(),
        &case.hosts(),
    );
    let largest = cut.iter().map(Vec::len).max().unwrap_or(0);
    let limit = case.max_unavailable.unwrap_or(largest);
    let mut told = Told::default();
    let mut in_flight: BTreeSet<String> = BTreeSet::new();
    for kind in run.kinds() {
        let EventKind::HostChanged { host, state, .. } = kind else { continue };
        told.states.insert(host.clone(), *state);
        if *state == HostState::Running {
            told.started.insert(host.clone());
            let disrupted = told.disrupted();
            prop_assert!(disrupted <= limit, "{disrupted} disrupted with {host}, {limit} allowed");
        }
        if matches!(state, HostState::Running | HostState::Verifying) {
            in_flight.insert(host.clone());
        } else {
            in_flight.remove(host);
        }
        if let Some(limit) = case.max_parallel {
            prop_assert!(in_flight.len() <= limit, "{in_flight:?} in flight, {limit} allowed");
        }
    }
    Ok(())
}

fn batches_come_in_order(case: &Case, run: &Outcome) -> Result<(), TestCaseError> {
    let sizes: Vec<_> = case.batches.iter().map(|n| crate::playbook::Size::Count(*n)).collect();
    let cut = crate::rollout::batches(&sizes, &case.hosts());
    let mut now = None;
    for kind in run.kinds() {
        match kind {
            EventKind::BatchStarted { batch, .. } => {
                prop_assert_eq!(*batch, now.map_or(0, |now: usize| now + 1));
                now = Some(*batch);
            }
            EventKind::HostChanged { host, state: HostState::Running, .. } => {
                let batch = now.and_then(|now| cut.get(now));
                prop_assert!(batch.is_some_and(|batch| batch.contains(host)), "{host} started in batch {now:?}");
            }
            _ => {}
        }
    }
    Ok(())
}

/// What is said of a host is so.
fn states_are_true(case: &Case, run: &Outcome, fleet: &ScriptFleet) -> Result<(), TestCaseError> {
    for (host, state) in run.states() {
        let changed = fleet.is_changed(&host);
        match state {
            HostState::Unchanged | HostState::NeverStarted | HostState::RolledBack => {
                prop_assert!(!changed, "{host} is said to be {state:?} and holds the change");
            }
            HostState::Changed => prop_assert!(changed, "{host} is said to be changed and is not"),
            _ => {}
        }
    }
    let reverts = |host: &str| {
        let is = |seen: &&Seen| matches!(seen, Seen::Call { host: at, call } if at == host && call == "revert");
        run.log.iter().filter(is).count()
    };
    for (host, script) in case.hosts().iter().zip(&case.scripts) {
        prop_assert!(reverts(host) <= 3, "{host} was reverted {} times", reverts(host));
        if script.revert_fails >= 3 && reverts(host) == 3 {
            prop_assert_eq!(run.state(host), HostState::RollbackFailed);
        }
    }
    Ok(())
}

/// The exit code says what happened (R19).
fn the_exit_code_is_right(run: &Outcome) -> Result<(), TestCaseError> {
    let has = |wanted: &[HostState]| run.states().iter().any(|(_, state)| wanted.contains(state));
    let code = run.outcome.exit_code;
    if has(&[HostState::Unknown, HostState::RollbackFailed]) || run.outcome.paused {
        prop_assert_eq!(code, 3);
    } else if has(&[HostState::Failed, HostState::RolledBack]) {
        prop_assert!(code == 2 || code == 4, "{code}");
    }
    if code == 0 {
        prop_assert!(!has(&[HostState::NeverStarted]), "good, though a host was never started");
        let aborted = run.kinds().any(|kind| matches!(kind, EventKind::Aborted { .. }));
        prop_assert!(!aborted, "good, though the run was aborted");
    }
    Ok(())
}

/// More failures than `max_fail` always abort, and fewer never do.
fn max_fail_is_exact(case: &Case, run: &Outcome) -> Result<(), TestCaseError> {
    for kind in run.kinds() {
        if let EventKind::Aborted { cause: StopCause::Failures { failed, tolerated }, .. } = kind {
            // An operator who lets a failed batch go on tolerates what has failed so far.
            let forgiven = run.kinds().any(|kind| matches!(kind, EventKind::Resumed { .. }));
            let exact = (*failed, *tolerated) == (case.max_fail + 1, case.max_fail);
            prop_assert!(exact || (forgiven && *failed == tolerated + 1), "at {failed}, {tolerated} tolerated");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_contract_holds(case in case()) {
        let (run, fleet) = case.run();
        each_host_ends_in_one_state(&case, &run)?;
        every_mutation_follows_its_intent(&run)?;
        nothing_begins_after_an_abort(&run)?;
        nothing_begins_while_the_run_is_paused_or_waits(&run)?;
        the_budget_holds(&case, &run)?;
        batches_come_in_order(&case, &run)?;
        states_are_true(&case, &run, &fleet)?;
        the_exit_code_is_right(&run)?;
        max_fail_is_exact(&case, &run)?;
    }
}
