//! The run as a model: random faults and verdicts, and what must hold whatever they are.

use super::{
    laws::*,
    script::{Health, Script, ScriptFleet, StepFault},
    support::{Log, Outcome, Project},
};
use crate::{
    engine::{Command, Order, Signal},
    journal::StopCause,
    playbook::Size,
    rollout::histories::cases,
};
use proptest::prelude::*;
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) scripts: Vec<Script>,
    pub(super) batches: Vec<Size>,
    pub(super) max_unavailable: Option<Size>,
    /// How many failure domains; none: no `failure_domain`.
    pub(super) racks: Option<usize>,
    pub(super) ramp: bool,
    pub(super) rehearse: bool,
    pub(super) progress: Option<u64>,
    pub(super) max_fail_percentage: Option<u8>,
    pub(super) max_parallel: Option<usize>,
    pub(super) max_fail: usize,
    /// `max_unhealthy_upgraded`, in percent.
    pub(super) upgraded: Option<u8>,
    /// `on_unreachable_preflight`; empty: not said.
    pub(super) unreachable: &'static str,
    pub(super) on_failure: &'static str,
    pub(super) bake: u64,
    pub(super) action: &'static str,
    pub(super) manual: bool,
    pub(super) rollback: &'static str,
    /// What an operator says, and when, in seconds since the last time.
    pub(super) words: Vec<(u64, Signal)>,
    pub(super) confirm: &'static str,
}

impl Case {
    pub(super) fn hosts(&self) -> Vec<String> {
        (0..self.scripts.len()).map(|n| format!("h{n}")).collect()
    }

    pub(super) fn rack(&self, host: &str) -> Option<usize> {
        let n: usize = host.trim_start_matches('h').parse().expect("a number");
        self.racks.map(|racks| n % racks)
    }

    pub(super) fn cut(&self) -> Vec<Vec<String>> {
        crate::rollout::batches(&self.batches, &self.hosts())
    }

    pub(super) fn largest(&self) -> usize {
        self.cut().iter().map(Vec::len).max().unwrap_or(0)
    }

    /// How many of so many hosts may be disrupted.
    pub(super) fn limit(&self, of: usize) -> usize {
        self.max_unavailable.map_or(self.largest(), |size| crate::rollout::speed(size, of))
    }

    fn playbook(&self) -> String {
        let optional = |key: &str, value: Option<usize>| value.map(|n| format!("    {key}: {n}\n")).unwrap_or_default();
        let shown = |size: &Size| match size {
            Size::Count(count) => count.to_string(),
            Size::Percent(percent) => format!("'{percent}%'"),
        };
        let batches: Vec<String> = self.batches.iter().map(shown).collect();
        let more = [
            self.max_unavailable.as_ref().map(|size| format!("    max_unavailable: {}\n", shown(size))),
            self.racks.map(|_| "    failure_domain: rack\n".to_owned()),
            self.ramp.then(|| "    ramp: true\n".to_owned()),
            self.rehearse.then(|| "    rehearse: true\n".to_owned()),
            self.progress.map(|seconds| format!("    progress_deadline: {seconds}s\n")),
            self.upgraded.map(|percent| format!("    max_unhealthy_upgraded: {percent}%\n")),
            Some(self.unreachable)
                .filter(|word| !word.is_empty())
                .map(|word| format!("    on_unreachable_preflight: {word}\n")),
        ];
        let percent = self.max_fail_percentage.map(|p| format!("  max_fail_percentage: {p}\n")).unwrap_or_default();
        format!(
            "- hosts: all
  gather_facts: false
{percent}  rollout:
    batches: [{}]
{}{}    max_fail: {}
    min_healthy_time: 4s
    healthy_deadline: 40s
    rollback_deadline: 60s
    bake_time: {}s
    on_failure: {}
    promote: {}
    pause_timeout: 50s
    rollback: {}
    confirm: {}
    guard_timeout: 20s
    revert_budget: 10s
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
      - name: only told
        when: alive.consecutive_failures >= 1
        mode: dry_run
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
            batches.join(", "),
            more.into_iter().flatten().collect::<String>(),
            optional("max_parallel", self.max_parallel),
            self.max_fail,
            self.bake,
            self.on_failure,
            if self.manual { "manual" } else { "auto" },
            self.rollback,
            self.confirm,
            self.action,
        )
    }

    fn run(&self) -> (Outcome, std::sync::Arc<ScriptFleet>) {
        let line = |host: &String| match self.rack(host) {
            Some(rack) => format!("{host} rack=r{rack}"),
            None => host.clone(),
        };
        let inventory: Vec<String> = self.hosts().iter().map(line).collect();
        let mut project = Project::new(&self.playbook(), &inventory.join("\n"));
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
        (prop::bool::weighted(0.05), prop::bool::weighted(0.05)),
    )
        .prop_map(|(unreachable, steps, before, after, restored, revert_fails, gone, (locked, deaf))| Script {
            unreachable,
            steps,
            before,
            after,
            restored,
            revert_fails,
            gone,
            lost_at_revert: false,
            locked,
            deaf,
            tells: None,
        })
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![3 => (1_usize..5).prop_map(Size::Count), 1 => (1_u8..=100).prop_map(|percent| Size::Percent(percent.into()))]
}

fn case() -> impl Strategy<Value = Case> {
    let speeds = (
        prop::collection::vec(size(), 1..3),
        prop::option::of(size()),
        prop::option::of(1_usize..4),
        prop::option::of(1_usize..4),
        prop::bool::weighted(0.25),
        prop::bool::weighted(0.25),
        prop::option::weighted(0.25, 41_u64..90),
    );
    let tolerances = (
        0_usize..4,
        prop::option::weighted(0.25, 0_u8..60),
        prop::option::weighted(0.25, 0_u8..60),
        prop::sample::select(vec!["", "", "exclude", "abort"]),
    );
    (
        prop::collection::vec(script(), 1..9),
        speeds,
        tolerances,
        prop::sample::select(vec!["rollback_batch", "rollback_run", "pause", "continue"]),
        prop::sample::select(vec![0_u64, 9]),
        prop::sample::select(vec!["abort_batch", "fail_host", "rollback_run", "pause"]),
        (
            prop::bool::weighted(0.2),
            prop::sample::select(vec!["{}", "{max_parallel: 1, on_failure: pause}", "{min_healthy_time: 5s}"]),
            prop::sample::select(vec!["per_host", "per_batch"]),
        ),
        prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec((0_u64..30, word()), 1..6)],
    )
        .prop_map(
            |(
                scripts,
                speeds,
                (max_fail, max_fail_percentage, upgraded, unreachable),
                on_failure,
                bake,
                action,
                (manual, rollback, confirm),
                words,
            )| {
                let (batches, max_unavailable, max_parallel, racks, ramp, rehearse, progress) = speeds;
                Case {
                    scripts,
                    batches,
                    max_unavailable,
                    racks,
                    ramp,
                    rehearse,
                    progress,
                    max_fail_percentage,
                    max_parallel,
                    max_fail,
                    upgraded,
                    unreachable,
                    on_failure,
                    bake,
                    action,
                    manual,
                    rollback,
                    words,
                    confirm,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 500, ..cases(300) })]

    #[test]
    fn whatever_happens_the_contract_holds(case in case()) {
        let (run, fleet) = case.run();
        each_host_ends_in_one_state(&case, &run)?;
        every_mutation_follows_its_intent(&run)?;
        nothing_begins_after_an_abort(&run)?;
        the_budget_holds(&case, &run)?;
        batches_come_in_order(&case, &run)?;
        states_are_true(&case, &run, &fleet)?;
        the_exit_code_is_right(&run)?;
        max_fail_is_exact(&case, &run)?;
        max_unhealthy_upgraded_is_exact(&case, &run)?;
        on_unreachable_preflight_is_heeded(&case, &run)?;
        nothing_begins_while_the_run_is_paused_or_waits(&run)?;
        only_what_may_stop_a_run_does(&case, &run)?;
        healthy_means_healthy_for_long_enough(&case, &run)?;
        rolled_back_means_verified(&run)?;
        a_rehearsal_comes_first(&case, &run)?;
        batches_end_with_all_hosts_done_and_asked(&case, &run)?;
    }
}
