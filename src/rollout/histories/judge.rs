//! The judge: counters by host, batch and run, what only reports, who is blamed.

use super::cases;
use crate::{
    journal::ProbePhase,
    playbook::{Probe, ProbeMode, Scope, Trigger, TriggerAction},
    rollout::{
        Finding, Judge, Policy, Round,
        tests::{command, evidence, rollout, trigger},
        verdict::Verdict,
    },
};
use Verdict::{Error, Healthy, NoData, Unhealthy};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

const FIRE_AT: u32 = 3;
const TOLERATED_ERRORS: u32 = 2;
const SUCCESSES: u32 = 2;

/// One probe that acts and one that only reports; a trigger over each scope.
fn policy() -> Arc<Policy> {
    static POLICY: OnceLock<Arc<Policy>> = OnceLock::new();
    let made = || {
        let acts = Probe { max_consecutive_errors: TOLERATED_ERRORS, success_threshold: SUCCESSES, ..command("p") };
        let reports = Probe { mode: ProbeMode::DryRun, ..command("dry") };
        let when = format!("p.consecutive_failures >= {FIRE_AT}");
        let named = |name: &str, scope, when: &str| Trigger { name: name.to_owned(), scope, ..trigger(when) };
        let triggers = vec![
            named("host", Scope::Host, &when),
            named("batch", Scope::Batch, &when),
            named("run", Scope::Run, &when),
            Trigger { mode: ProbeMode::DryRun, ..named("quiet", Scope::Host, "p.consecutive_failures >= 1") },
            named("dry", Scope::Host, "dry.consecutive_failures >= 1"),
            Trigger {
                for_rounds: Some(2),
                action: TriggerAction::Pause,
                ..named("held", Scope::Host, "p.verdict == 'unhealthy'")
            },
        ];
        Arc::new(Policy::new(&rollout(vec![acts, reports], triggers)).unwrap())
    };
    Arc::clone(POLICY.get_or_init(made))
}

#[derive(Debug, Clone)]
enum Act {
    Begin(Vec<u8>),
    See(u8, ProbePhase, Verdict),
    Dry(u8, Verdict),
    Forget(u8),
}

fn name(host: u8) -> String {
    format!("h{host}")
}

fn act() -> impl Strategy<Value = Act> {
    let verdict = prop_oneof![3 => Just(Healthy), 4 => Just(Unhealthy), 1 => Just(NoData), 1 => Just(Error)];
    let phase = prop_oneof![
        1 => Just(ProbePhase::Baseline), 5 => Just(ProbePhase::Verify), 2 => Just(ProbePhase::Bake), 1 => Just(ProbePhase::Rollback)
    ];
    prop_oneof![
        1 => prop::collection::vec(0_u8..4, 1..4).prop_map(Act::Begin),
        14 => (0_u8..4, phase, verdict.clone()).prop_map(|(host, phase, verdict)| Act::See(host, phase, verdict)),
        2 => (0_u8..4, verdict).prop_map(|(host, verdict)| Act::Dry(host, verdict)),
        1 => (0_u8..4).prop_map(Act::Forget),
    ]
}

/// A counter of failures running, and whether its trigger has spoken since it last did not hold.
#[derive(Default, Clone)]
struct Counter {
    failures: u32,
    spoke: bool,
}

impl Counter {
    /// Success resets, an error does not; it fires at the nth and then is still until it has not held.
    fn take(&mut self, verdict: Verdict, at: u32) -> bool {
        match verdict {
            Healthy => *self = Self::default(),
            Unhealthy => self.failures += 1,
            NoData | Error => return false,
        }
        let fires = self.failures >= at && !self.spoke;
        self.spoke |= fires;
        fires
    }
}

/// What the contract says of one host.
#[derive(Default, Clone)]
struct HostLaw {
    before: Option<Verdict>,
    host: Counter,
    quiet: Counter,
    held: u32,
    held_spoke: bool,
    was_healthy: bool,
    healthy_run: u32,
    unhealthy_run: u32,
    errors: u32,
    inconclusive: bool,
}

impl HostLaw {
    fn blamed(&self) -> bool {
        self.before != Some(Unhealthy) || self.was_healthy
    }
}

#[derive(Default)]
struct Law {
    batch: BTreeSet<u8>,
    hosts: BTreeMap<u8, HostLaw>,
    of_batch: Counter,
    of_run: Counter,
}

impl Law {
    fn begin(&mut self, hosts: &[u8]) {
        self.batch = hosts.iter().copied().collect();
        self.of_batch = Counter::default();
    }

    /// The names of the triggers that act and those that only report, and whether it has become inconclusive.
    fn see(&mut self, host: u8, verdict: Verdict) -> (Vec<&'static str>, Vec<&'static str>, bool) {
        let law = self.hosts.entry(host).or_default();
        law.was_healthy |= verdict == Healthy;
        law.errors = if matches!(verdict, NoData | Error) { law.errors + 1 } else { 0 };
        let says = law.errors > TOLERATED_ERRORS && !law.inconclusive;
        law.inconclusive = law.errors > TOLERATED_ERRORS;
        match verdict {
            Healthy => (law.healthy_run, law.unhealthy_run) = (law.healthy_run + 1, 0),
            Unhealthy => (law.healthy_run, law.unhealthy_run) = (0, law.unhealthy_run + 1),
            NoData | Error => law.healthy_run = 0,
        }
        let measured = matches!(verdict, Healthy | Unhealthy);
        let blamed = law.blamed();
        let (mut acts, mut reports) = (Vec::new(), Vec::new());
        let mut fired = |name, reported: bool| if reported { reports.push(name) } else { acts.push(name) };
        if law.host.take(verdict, FIRE_AT) {
            fired("host", !blamed);
        }
        if blamed && self.batch.contains(&host) && self.of_batch.take(verdict, FIRE_AT) {
            fired("batch", false);
        }
        if blamed && self.of_run.take(verdict, FIRE_AT) {
            fired("run", false);
        }
        if law.quiet.take(verdict, 1) {
            fired("quiet", true);
        }
        if measured {
            law.held = if verdict == Unhealthy { law.held + 1 } else { 0 };
            law.held_spoke &= law.held > 0;
            if law.held >= 2 && !law.held_spoke {
                law.held_spoke = true;
                fired("held", !blamed);
            }
        }
        (acts, reports, says)
    }
}

fn told(findings: &[Finding]) -> (Vec<&str>, Vec<&str>, bool) {
    let (mut acts, mut reports, mut inconclusive) = (Vec::new(), Vec::new(), false);
    for finding in findings {
        match finding {
            Finding::Fired(fired) if fired.dry_run => reports.push(fired.trigger.as_str()),
            Finding::Fired(fired) => acts.push(fired.trigger.as_str()),
            Finding::Inconclusive { .. } => inconclusive = true,
            Finding::Unreadable { .. } => acts.push("unreadable"),
        }
    }
    (acts, reports, inconclusive)
}

proptest! {
    #![proptest_config(cases(1000))]

    /// Triggers fire at their number by host, batch and run in journal order; success resets and an error does not; what
    /// only reports never acts; only healthy advances; nobody is blamed for what was so before.
    #[test]
    fn the_judge_follows_its_definition(acts in prop::collection::vec(act(), 1..60)) {
        let mut judge = Judge::new(policy());
        let mut law = Law::default();
        judge.begin_batch(&[name(0), name(1)]);
        law.begin(&[0, 1]);
        for act in acts {
            match act {
                Act::Begin(hosts) => {
                    judge.begin_batch(&hosts.iter().copied().map(name).collect::<Vec<_>>());
                    law.begin(&hosts);
                }
                Act::Forget(host) => {
                    judge.forget(&name(host));
                    let before = law.hosts.get(&host).and_then(|law| law.before);
                    law.hosts.insert(host, HostLaw { before, ..HostLaw::default() });
                }
                Act::Dry(host, verdict) => {
                    let said = evidence(&[verdict]);
                    let phase = ProbePhase::Verify;
                    let round = Round { host: &name(host), probe: "dry", phase, verdict, evidence: &said };
                    let findings = judge.observe(round);
                    let (acted, _, inconclusive) = told(&findings);
                    prop_assert!(acted.is_empty() && !inconclusive, "what only reports has acted: {:?}", findings);
                }
                Act::See(host, phase, verdict) => {
                    let said = evidence(&[verdict]);
                    let round = Round { host: &name(host), probe: "p", phase, verdict, evidence: &said };
                    let findings = judge.observe(round);
                    match phase {
                        ProbePhase::Baseline => law.hosts.entry(host).or_default().before = Some(verdict),
                        ProbePhase::Rollback => {}
                        ProbePhase::Verify | ProbePhase::Bake => {
                            let (acts, reports, inconclusive) = law.see(host, verdict);
                            prop_assert_eq!(told(&findings), (acts, reports, inconclusive));
                            let of = &law.hosts[&host];
                            let as_before = !of.blamed() && of.unhealthy_run >= 3;
                            prop_assert_eq!(judge.healthy(&name(host)), of.healthy_run >= SUCCESSES || as_before);
                            prop_assert_eq!(judge.still_sick(&name(host)), !of.blamed());
                            continue;
                        }
                    }
                    prop_assert!(findings.is_empty(), "no change, no finding: {:?}", findings);
                }
            }
        }
    }
}
