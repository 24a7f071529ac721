//! What is known of one probe in one scope: a host, a batch, or the run. A fold of rounds in journal order.

use super::{
    percentile,
    round::ProbeRules,
    verdict::{Evidence, Verdict},
};
use minijinja::{Value, context, value::Serde};
use std::collections::VecDeque;

/// Counters and latest readings.
#[derive(Debug, Clone, Default)]
pub(super) struct ProbeState {
    /// Rounds that were healthy or unhealthy.
    pub(super) measured: u32,
    /// Consecutive failures at the end of the last round.
    failures: u32,
    /// The most consecutive failures that the last round saw.
    peak_failures: u32,
    errors: u32,
    /// The most consecutive errors that the last round saw.
    pub(super) peak_errors: u32,
    healthy_rounds: u32,
    unhealthy_rounds: u32,
    /// Rounds running in which every item was unhealthy.
    all_unhealthy_rounds: u32,
    /// The last round had an item and every item was unhealthy.
    all_unhealthy_now: bool,
    pub(super) flaps: u32,
    /// It has been healthy at least once.
    pub(super) was_healthy: bool,
    pub(super) verdict: Option<Verdict>,
    /// The last round that measured something.
    pub(super) last: Option<(Verdict, Evidence)>,
    /// Times of the last `count` samples that answered.
    times: VecDeque<u64>,
}

impl ProbeState {
    /// Takes one round.
    pub(super) fn apply(&mut self, rules: &ProbeRules, verdict: Verdict, evidence: &Evidence) {
        self.count_samples(rules, verdict, evidence);
        self.count_rounds(verdict, evidence);
        self.times.extend(&evidence.elapsed_ms);
        let kept = self.times.len().saturating_sub((rules.count as usize).max(evidence.elapsed_ms.len()));
        self.times.drain(..kept);
        if matches!(verdict, Verdict::Healthy | Verdict::Unhealthy) {
            let before = self.last.as_ref().map(|(verdict, _)| *verdict);
            self.flaps += u32::from(before == Some(Verdict::Healthy) && verdict == Verdict::Unhealthy);
            self.measured += 1;
            self.last = Some((verdict, evidence.clone()));
        }
        self.was_healthy |= verdict == Verdict::Healthy;
        self.verdict = Some(verdict);
    }

    /// Success resets the failures, an error does not; any answer resets the errors (2.1).
    fn count_samples(&mut self, rules: &ProbeRules, verdict: Verdict, evidence: &Evidence) {
        let whole = [verdict];
        let samples: &[Verdict] =
            if rules.looped || evidence.verdicts.is_empty() { &whole } else { &evidence.verdicts };
        // What a round reaches on the way counts even if its last samples were good.
        (self.peak_failures, self.peak_errors) = (0, 0);
        for sample in samples {
            match sample {
                Verdict::Healthy => (self.failures, self.errors) = (0, 0),
                Verdict::Unhealthy => {
                    self.failures += 1;
                    self.errors = 0;
                }
                Verdict::NoData | Verdict::Error => self.errors += 1,
            }
            self.peak_failures = self.peak_failures.max(self.failures);
            self.peak_errors = self.peak_errors.max(self.errors);
        }
    }

    fn count_rounds(&mut self, verdict: Verdict, evidence: &Evidence) {
        self.all_unhealthy_now =
            !evidence.verdicts.is_empty() && evidence.verdicts.iter().all(|sample| *sample == Verdict::Unhealthy);
        if self.all_unhealthy_now {
            self.all_unhealthy_rounds += 1;
        } else if evidence.verdicts.contains(&Verdict::Healthy) {
            self.all_unhealthy_rounds = 0;
        }
        match verdict {
            Verdict::Healthy => {
                self.healthy_rounds += 1;
                self.unhealthy_rounds = 0;
            }
            Verdict::Unhealthy => {
                self.unhealthy_rounds += 1;
                self.healthy_rounds = 0;
            }
            Verdict::NoData | Verdict::Error => self.healthy_rounds = 0,
        }
    }

    /// Healthy for `success_threshold` rounds running, with nothing else since.
    pub(super) fn healthy(&self, rules: &ProbeRules) -> bool {
        self.healthy_rounds >= rules.success_threshold
    }

    /// Unhealthy for `failure_threshold` rounds running.
    pub(super) fn sick(&self, rules: &ProbeRules) -> bool {
        self.unhealthy_rounds >= rules.failure_threshold
    }

    /// p95 in seconds of the last `count` samples; with fewer than `min_samples`, their maximum.
    fn p95(&self, rules: &ProbeRules) -> Option<f64> {
        let times: Vec<u64> = self.times.iter().copied().collect();
        if times.len() < rules.min_samples as usize { percentile::longest(&times) } else { percentile::p95(&times) }
    }

    /// The names of an expression. `all_unhealthy` is that of `own`, the host's state (R13). The baseline is infinite
    /// where it is not to be judged, so that nothing is slower than it.
    pub(super) fn names(&self, own: &Self, rules: &ProbeRules, baseline: Option<f64>) -> Value {
        let (verdict, last) = match &self.last {
            Some((verdict, evidence)) => (Some(*verdict), evidence.clone()),
            None => (None, Evidence::default()),
        };
        let enough = self.times.len() >= rules.min_samples as usize;
        let baseline = baseline.filter(|_| enough).unwrap_or(f64::INFINITY);
        let undefined = || Value::UNDEFINED;
        context! {
            consecutive_failures => self.peak_failures,
            consecutive_errors => self.peak_errors,
            all_unhealthy => own.all_unhealthy_now && own.all_unhealthy_rounds >= rules.failure_threshold,
            p95 => self.p95(rules).map_or_else(undefined, Value::from),
            baseline => context! { p95 => baseline },
            json => last.json.as_ref().map_or_else(undefined, |value| Value::from(Serde(value))),
            status => last.status.map_or_else(undefined, Value::from),
            rc => last.rc.map_or_else(undefined, Value::from),
            verdict => verdict.map_or_else(undefined, |value| Value::from(Serde(value))),
            samples => last.samples,
            healthy => last.healthy,
            flaps => self.flaps,
        }
    }
}
