//! The judge: from policy and measurements to findings. It reads, never acts; the same rounds give the same findings.

use super::{
    evidence::sentence,
    percentile,
    policy::Policy,
    round::ProbeRules,
    state::ProbeState,
    trigger::TriggerRules,
    verdict::{Evidence, Verdict},
};
use crate::{
    journal::ProbePhase,
    playbook::{Scope, TriggerAction},
};
use minijinja::{Value, value::Serde};
use serde_json::Map;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// What a round gives rise to.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// A trigger fired. Said once each time its condition comes to hold.
    Fired(Fired),
    /// A probe could not be asked more often running than `max_consecutive_errors` tolerates: `on_inconclusive`.
    Inconclusive {
        /// The probe.
        probe: String,
        /// The host.
        host: String,
        /// Why, a sentence.
        evidence: String,
        /// The cause lies outside host and change: a registry, an image.
        environment: bool,
    },
    /// A trigger's condition cannot be told. To be treated like an inconclusive probe: it cannot fire.
    Unreadable {
        /// The trigger.
        trigger: String,
        /// The host.
        host: String,
        /// Why.
        error: String,
    },
}

/// A trigger that fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// Its name.
    pub trigger: String,
    /// The host, in host scope.
    pub host: Option<String>,
    /// The condition as written.
    pub when: String,
    /// The values that made it hold, a sentence.
    pub evidence: String,
    /// What follows.
    pub action: TriggerAction,
    /// Only to be reported: `mode: dry_run`, or the host was as sick before its change.
    pub dry_run: bool,
}

/// One round of a probe on a host: the fields of the `probed` event, so that a journal can be judged again.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    /// The host.
    pub host: &'a str,
    /// The probe.
    pub probe: &'a str,
    /// When in the host's life.
    pub phase: ProbePhase,
    /// The verdict.
    pub verdict: Verdict,
    /// The evidence.
    pub evidence: &'a Evidence,
}

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    rounds: u32,
    fired: bool,
}

/// Which state an expression reads: one host's, the batch's, the run's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Over {
    Host(String),
    Batch,
    Run,
}

/// Counters of a play's probes, folded from rounds in journal order.
#[derive(Debug)]
pub struct Judge {
    policy: Arc<Policy>,
    batch: BTreeSet<String>,
    /// Per scope and probe.
    states: HashMap<(Over, String), ProbeState>,
    held: HashMap<(usize, Over), Held>,
    inconclusive: BTreeSet<(String, String)>,
    /// Per host and probe: the last round before the change.
    before: BTreeMap<(String, String), (Verdict, Evidence)>,
    /// Per host and probe: the last round after the rollback.
    after_rollback: BTreeMap<(String, String), Verdict>,
    /// Per probe and host: rounds on not-yet-changed hosts since the batch began.
    peers: BTreeMap<String, BTreeMap<String, Vec<u64>>>,
    variables: HashMap<String, Map<String, serde_json::Value>>,
    /// Host and probe, where a probe's `when` says that it does not exist on that host.
    absent: BTreeSet<(String, String)>,
}

impl Judge {
    /// A judge that has seen nothing.
    pub fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            batch: BTreeSet::new(),
            states: HashMap::new(),
            held: HashMap::new(),
            inconclusive: BTreeSet::new(),
            before: BTreeMap::new(),
            after_rollback: BTreeMap::new(),
            peers: BTreeMap::new(),
            variables: HashMap::new(),
            absent: BTreeSet::new(),
        }
    }

    /// The values of [`Policy::variables`] on a host.
    pub fn set_variables(&mut self, host: &str, variables: Map<String, serde_json::Value>) {
        self.variables.insert(host.to_owned(), variables);
    }

    /// Says that a probe's `when` is false on a host: there it is not waited for, and no condition over it fires.
    pub fn set_absent(&mut self, host: &str, probe: &str) {
        self.absent.insert((host.to_owned(), probe.to_owned()));
    }

    /// A batch begins: before its hosts' baseline rounds. Counters over the batch start anew; baseline rounds of other
    /// hosts from here on are those of not-yet-changed hosts.
    pub fn begin_batch(&mut self, hosts: &[String]) {
        self.batch = hosts.iter().cloned().collect();
        self.states.retain(|(over, _), _| *over != Over::Batch);
        self.held.retain(|(_, over), _| *over != Over::Batch);
        self.peers.clear();
    }

    /// Takes one round, in the order of the journal.
    pub fn observe(&mut self, round: Round<'_>) -> Vec<Finding> {
        let policy = Arc::clone(&self.policy);
        let Some(rules) = policy.probe(round.probe) else { return Vec::new() };
        match round.phase {
            ProbePhase::Baseline => {
                self.baseline(round);
                Vec::new()
            }
            ProbePhase::Rollback => {
                self.after_rollback.insert((round.host.to_owned(), round.probe.to_owned()), round.verdict);
                Vec::new()
            }
            ProbePhase::Verify | ProbePhase::Bake => self.changed_host(&policy, rules, round),
        }
    }

    fn baseline(&mut self, round: Round<'_>) {
        if !self.batch.contains(round.host) {
            let times = round.evidence.elapsed_ms.clone();
            self.peers.entry(round.probe.to_owned()).or_default().insert(round.host.to_owned(), times);
        }
        let key = (round.host.to_owned(), round.probe.to_owned());
        self.before.insert(key, (round.verdict, round.evidence.clone()));
    }

    fn changed_host(&mut self, policy: &Policy, rules: &ProbeRules, round: Round<'_>) -> Vec<Finding> {
        let mut overs = vec![Over::Host(round.host.to_owned())];
        self.apply(&overs, rules, round);
        if self.blames(round.host, round.probe) {
            let batch = self.batch.contains(round.host).then_some(Over::Batch);
            let wider: Vec<Over> = std::iter::once(Over::Run).chain(batch).collect();
            self.apply(&wider, rules, round);
            overs.extend(wider);
        }
        let mut findings = Vec::new();
        findings.extend(self.inconclusive(rules, round));
        // Never on no_data or error (R13).
        if !matches!(round.verdict, Verdict::Healthy | Verdict::Unhealthy) {
            return findings;
        }
        for (index, trigger) in policy.triggers.iter().enumerate() {
            let over = match trigger.scope {
                Scope::Host => Over::Host(round.host.to_owned()),
                Scope::Batch => Over::Batch,
                Scope::Run => Over::Run,
            };
            if trigger.probes.contains(round.probe) && overs.contains(&over) {
                findings.extend(self.evaluate(policy, index, trigger, over, round));
            }
        }
        findings
    }

    fn apply(&mut self, overs: &[Over], rules: &ProbeRules, round: Round<'_>) {
        for over in overs {
            let state = self.states.entry((over.clone(), round.probe.to_owned())).or_default();
            state.apply(rules, round.verdict, round.evidence);
        }
    }

    /// Whether a bad round of a probe says something of the change: the probe was not unhealthy before it, or has been
    /// healthy since.
    fn blames(&self, host: &str, probe: &str) -> bool {
        self.before_verdict(host, probe) != Some(Verdict::Unhealthy)
            || self.state(host, probe).is_some_and(|state| state.was_healthy)
    }

    fn inconclusive(&mut self, rules: &ProbeRules, round: Round<'_>) -> Option<Finding> {
        let state = self.state(round.host, round.probe)?;
        let key = (round.host.to_owned(), round.probe.to_owned());
        if state.peak_errors <= rules.max_consecutive_errors {
            self.inconclusive.remove(&key);
            return None;
        }
        let errors = state.peak_errors;
        if rules.dry_run || !self.inconclusive.insert(key) {
            return None;
        }
        Some(Finding::Inconclusive {
            probe: round.probe.to_owned(),
            host: round.host.to_owned(),
            evidence: format!(
                "{} could not be asked {errors} times running, {} are tolerated: {}",
                round.probe, rules.max_consecutive_errors, round.evidence.detail
            ),
            environment: round.evidence.environment,
        })
    }

    fn evaluate(
        &mut self,
        policy: &Policy,
        index: usize,
        trigger: &TriggerRules,
        over: Over,
        round: Round<'_>,
    ) -> Option<Finding> {
        let names = self.names(policy, trigger, &over, round)?;
        let unreadable = |error| {
            let (trigger, host) = (trigger.name.clone(), round.host.to_owned());
            Some(Finding::Unreadable { trigger, host, error })
        };
        let given = self.variables.get(round.host);
        let unknown = trigger.variables().find(|name| given.is_none_or(|given| !given.contains_key(*name)));
        if let Some(name) = unknown {
            return unreadable(format!("the variable '{name}' has no value on this host"));
        }
        let holds = match trigger.when.holds(&Value::from(names.clone())) {
            Ok(holds) => holds,
            Err(error) => return unreadable(error),
        };
        let counts = trigger.counted.contains(round.probe);
        let held = self.held.entry((index, over)).or_default();
        if !holds {
            *held = Held::default();
            return None;
        }
        held.rounds += u32::from(counts);
        if held.fired || held.rounds < trigger.rounds {
            return None;
        }
        held.fired = true;
        let of_host = trigger.scope == Scope::Host;
        let sick_before = of_host && self.sick_before_by(round.host, &trigger.probes);
        let blamed = !of_host || trigger.probes.iter().any(|probe| self.blames(round.host, probe));
        Some(Finding::Fired(Fired {
            trigger: trigger.name.clone(),
            host: (trigger.scope == Scope::Host).then(|| round.host.to_owned()),
            when: trigger.when.source().to_owned(),
            evidence: sentence(trigger, &names, round, sick_before),
            action: trigger.action,
            dry_run: trigger.dry_run || !blamed,
        }))
    }

    /// The values of a condition's names; none while a probe that it names has not measured anything.
    fn names(
        &self,
        policy: &Policy,
        trigger: &TriggerRules,
        over: &Over,
        round: Round<'_>,
    ) -> Option<BTreeMap<String, Value>> {
        let mut names: BTreeMap<String, Value> = BTreeMap::new();
        for (name, value) in self.variables.get(round.host).into_iter().flatten() {
            names.insert(name.clone(), Value::from(Serde(value)));
        }
        for probe in &trigger.probes {
            let rules = policy.probe(probe)?;
            let state = self.states.get(&(over.clone(), probe.clone())).filter(|state| state.measured > 0)?;
            let own = self.state(round.host, probe).unwrap_or(state);
            names.insert(probe.clone(), state.names(own, rules, self.baseline_p95(rules, over)));
        }
        Some(names)
    }

    /// The larger of the same hosts' p95 before their change and that of the hosts not yet changed; fewer than
    /// `min_samples` are not judged.
    fn baseline_p95(&self, rules: &ProbeRules, over: &Over) -> Option<f64> {
        let judged = |times: &[u64]| {
            if times.len() < rules.min_samples as usize { None } else { percentile::p95(times) }
        };
        let counts = |host: &str| match over {
            Over::Host(own) => own == host,
            Over::Batch => self.batch.contains(host),
            Over::Run => true,
        };
        let own: Vec<u64> = self
            .before
            .iter()
            .filter(|((host, probe), _)| *probe == rules.name && counts(host))
            .flat_map(|(_, (_, evidence))| evidence.elapsed_ms.iter().copied())
            .collect();
        let peers: Vec<u64> = self.peers.get(&rules.name).into_iter().flatten().flat_map(|(_, t)| t.clone()).collect();
        [judged(&own), judged(&peers)].into_iter().flatten().reduce(f64::max)
    }

    fn sick_before_by(&self, host: &str, probes: &BTreeSet<String>) -> bool {
        probes.iter().any(|probe| self.before_verdict(host, probe) == Some(Verdict::Unhealthy))
    }

    fn state(&self, host: &str, probe: &str) -> Option<&ProbeState> {
        self.states.get(&(Over::Host(host.to_owned()), probe.to_owned()))
    }

    /// The probes that exist on a host and act.
    fn enforced(&self, host: &str) -> impl Iterator<Item = &ProbeRules> {
        let exists = move |probe: &&ProbeRules| !self.absent.contains(&(host.to_owned(), probe.name.clone()));
        self.policy.probes.iter().filter(|probe| !probe.dry_run).filter(exists)
    }

    /// Whether every enforced probe of a changed host is healthy, each for its `success_threshold`, with no other
    /// verdict since. True where there is no probe. A probe that was unhealthy before the change and is so for its
    /// `failure_threshold` after it is as it was: nobody waits for it.
    pub fn healthy(&self, host: &str) -> bool {
        self.enforced(host)
            .all(|rules| self.state(host, &rules.name).is_some_and(|state| self.is_well(host, rules, state)))
    }

    fn is_well(&self, host: &str, rules: &ProbeRules, state: &ProbeState) -> bool {
        state.healthy(rules) || (state.sick(rules) && !self.blames(host, &rules.name))
    }

    /// Why a changed host is sick: an enforced probe unhealthy for its `failure_threshold`.
    pub fn sick(&self, host: &str) -> Option<String> {
        self.enforced(host).find_map(|rules| {
            let state = self.state(host, &rules.name).filter(|state| state.sick(rules))?;
            if !self.blames(host, &rules.name) {
                return None;
            }
            Some(self.reading(&rules.name, state))
        })
    }

    /// Why a changed host is not healthy yet, a sentence a probe; for a deadline's message.
    pub fn wanting(&self, host: &str) -> Vec<String> {
        let wanting = self.enforced(host).filter_map(|rules| match self.state(host, &rules.name) {
            None => Some(format!("{} has not been asked", rules.name)),
            Some(state) if !self.is_well(host, rules, state) => Some(self.reading(&rules.name, state)),
            Some(_) => None,
        });
        wanting.collect()
    }

    /// What should be known of a changed host that counts as healthy: how often its probes flapped, and which are as
    /// unhealthy as before its change. None where there is nothing.
    pub fn remarks(&self, host: &str) -> Option<String> {
        let said = self.enforced(host).filter_map(|rules| {
            let state = self.state(host, &rules.name)?;
            match state.flaps {
                0 if state.sick(rules) => Some(format!("as sick as before: {}", self.reading(&rules.name, state))),
                0 => None,
                flaps => Some(format!("{} flapped {flaps}×", rules.name)),
            }
        });
        let said: Vec<String> = said.collect();
        (!said.is_empty()).then(|| said.join(", "))
    }

    /// Whether an enforced probe was unhealthy before anything was done to the host, and has not been healthy since.
    pub fn still_sick(&self, host: &str) -> bool {
        self.enforced(host).any(|rules| !self.blames(host, &rules.name))
    }

    /// Forgets what was measured of a host after its change: it has been put back and is changed again.
    pub fn forget(&mut self, host: &str) {
        self.states.retain(|(over, _), _| !matches!(over, Over::Host(own) if own == host));
        self.held.retain(|(_, over), _| !matches!(over, Over::Host(own) if own == host));
        self.inconclusive.retain(|(own, _)| own != host);
        self.after_rollback.retain(|(own, _), _| own != host);
    }

    fn reading(&self, probe: &str, state: &ProbeState) -> String {
        let verdict = state.verdict.map_or("not asked", Verdict::word);
        let detail = state.last.as_ref().map(|(_, evidence)| evidence.detail.as_str()).filter(|d| !d.is_empty());
        let flaps = match state.flaps {
            0 => String::new(),
            n => format!(", flapped {n}×"),
        };
        match detail {
            Some(detail) => format!("{probe} is {verdict}: {detail}{flaps}"),
            None => format!("{probe} is {verdict}{flaps}"),
        }
    }

    /// Whether an enforced probe found the host unhealthy before anything was done to it (R4).
    pub fn sick_before(&self, host: &str) -> bool {
        self.enforced(host).any(|rules| self.before_verdict(host, &rules.name) == Some(Verdict::Unhealthy))
    }

    fn before_verdict(&self, host: &str, probe: &str) -> Option<Verdict> {
        self.before.get(&(host.to_owned(), probe.to_owned())).map(|(verdict, _)| *verdict)
    }

    /// What a rolled back host has not regained, a sentence a probe: probes healthy before the change that are not after
    /// the rollback (R18, R28). Empty: it is as healthy as it was.
    pub fn not_regained(&self, host: &str) -> Vec<String> {
        let lost = self.enforced(host).filter(|rules| self.before_verdict(host, &rules.name) == Some(Verdict::Healthy));
        lost.filter_map(|rules| {
            let key = (host.to_owned(), rules.name.clone());
            match self.after_rollback.get(&key) {
                Some(Verdict::Healthy) => None,
                Some(verdict) => Some(format!("{} was healthy and is {}", rules.name, verdict.word())),
                None => Some(format!("{} was healthy and has not been asked again", rules.name)),
            }
        })
        .collect()
    }
}
