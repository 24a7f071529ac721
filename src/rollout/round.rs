//! From what one round measured to its verdict and evidence (rollout.md 2.1 and 2.2).

use super::{
    expression::Expression,
    verdict::{Evidence, Verdict},
};
use crate::playbook::{Probe, ProbeMode, ProbeTarget};
use minijinja::{Value, value::Serde};
use rollgate_agent::protocol::{ProbeReport, ProbeStatus};
use serde_json::Map;
use std::time::Duration;

/// What came of one sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// The agent's report.
    Report(ProbeReport),
    /// The probe could not be run from the controller's side: SSH, a template, a deadline. Redacted.
    Error(String),
}

/// One item of a probe's `loop:`, or the probe itself, with its samples in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The item's label; none without `loop:`.
    pub label: Option<String>,
    /// Its samples.
    pub samples: Vec<Sample>,
}

/// A probe's rules, compiled once.
#[derive(Debug)]
pub struct ProbeRules {
    /// Its name.
    pub name: String,
    /// Samples a round.
    pub count: u32,
    /// Fires at the nth consecutive unhealthy round.
    pub failure_threshold: u32,
    /// Healthy at the nth consecutive healthy round.
    pub success_threshold: u32,
    /// Tolerates n errors running.
    pub max_consecutive_errors: u32,
    /// Fewer samples judge only the absolute bound of a p95.
    pub min_samples: u32,
    /// Before the first round counts as an answer.
    pub initial_delay: Duration,
    /// Only measured and reported.
    pub dry_run: bool,
    /// Has a `loop:`; then a round is one measurement, however many items it has.
    pub looped: bool,
    http: bool,
    success_when: Option<Expression>,
}

impl ProbeRules {
    pub(super) fn new(probe: &Probe) -> Result<Self, String> {
        let success_when = match &probe.success_when {
            Some(template) => Some(Expression::new(&source(&template.value))?),
            None => None,
        };
        Ok(Self {
            name: probe.name.clone(),
            count: probe.count,
            failure_threshold: probe.failure_threshold.max(1),
            success_threshold: probe.success_threshold.max(1),
            max_consecutive_errors: probe.max_consecutive_errors,
            min_samples: probe.min_samples,
            initial_delay: probe.initial_delay,
            dry_run: probe.mode == ProbeMode::DryRun,
            looped: probe.r#loop.is_some(),
            http: matches!(probe.target, ProbeTarget::Http(_)),
            success_when,
        })
    }

    /// Names in `success_when` that are variables of the host, to be given to [`Self::round`].
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let roots = self.success_when.iter().flat_map(Expression::roots);
        roots.filter(|name| !["json", "status", "rc", "stdout"].contains(name))
    }

    /// Judges a round. `since_last_step` is the time since the host's last step: before `initial_delay` has passed, a
    /// target that does not answer well is pending (`no_data`), not unhealthy.
    pub fn round(
        &self,
        items: &[Item],
        variables: &Map<String, serde_json::Value>,
        since_last_step: Duration,
    ) -> (Verdict, Evidence) {
        let pending = since_last_step < self.initial_delay;
        let mut evidence = Evidence::default();
        let mut details = Vec::new();
        for item in items {
            for sample in &item.samples {
                let (mut verdict, detail) = self.sample(sample, variables);
                if pending && verdict == Verdict::Unhealthy {
                    verdict = Verdict::NoData;
                }
                record(&mut evidence, sample, verdict);
                if verdict != Verdict::Healthy {
                    details.push(match &item.label {
                        Some(label) => format!("{label}: {detail}"),
                        None => detail,
                    });
                }
            }
        }
        evidence.detail = summary(&details, evidence.samples, pending);
        (overall(&evidence.verdicts), evidence)
    }

    /// One sample's verdict, and why it is not healthy.
    fn sample(&self, sample: &Sample, variables: &Map<String, serde_json::Value>) -> (Verdict, String) {
        let report = match sample {
            Sample::Error(message) => return (Verdict::Error, message.clone()),
            Sample::Report(report) => report,
        };
        let answered = report.rc.is_some() || report.http_status.is_some();
        match report.status {
            ProbeStatus::Error | ProbeStatus::Environment => return (Verdict::Error, said(report)),
            ProbeStatus::Bad if !answered => return (Verdict::Unhealthy, said(report)),
            ProbeStatus::Bad | ProbeStatus::Answered => {}
        }
        // The shell's codes for "cannot be run" and "not found": the probe's fault, not the target's (R12).
        if matches!(report.rc, Some(126 | 127)) {
            return (Verdict::Error, said(report));
        }
        match &self.success_when {
            None => plain(report),
            Some(expression) => self.compare(expression, report, variables),
        }
    }

    fn compare(
        &self,
        expression: &Expression,
        report: &ProbeReport,
        variables: &Map<String, serde_json::Value>,
    ) -> (Verdict, String) {
        let roots = expression.roots();
        if self.http && roots.contains("json") {
            if !roots.contains("status") && !matches!(report.http_status, Some(200 | 503)) {
                return (Verdict::Unhealthy, said(report));
            }
            if report.json.is_none() {
                return (Verdict::Unhealthy, format!("the answer is not JSON: {}", said(report)));
            }
        }
        let mut names = variables.clone();
        names.insert("json".to_owned(), report.json.clone().unwrap_or_default());
        names.insert("stdout".to_owned(), report.detail.clone().into());
        if let Some(status) = report.http_status {
            names.insert("status".to_owned(), status.into());
        }
        if let Some(rc) = report.rc {
            names.insert("rc".to_owned(), rc.into());
        }
        match expression.holds(&Value::from(Serde(&names))) {
            // A missing field is unhealthy (2.2), also where the expression would take it for a yes.
            Ok(true) => match missing(expression, report) {
                Some(path) => (Verdict::Unhealthy, format!("{path} is missing")),
                None => (Verdict::Healthy, String::new()),
            },
            Ok(false) => (Verdict::Unhealthy, refuted(expression, &names)),
            Err(error) => (Verdict::Unhealthy, format!("{}: {error}", expression.source())),
        }
    }
}

/// An expression as written: a string, or a literal such as `true`.
pub(super) fn source(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Without `success_when`: exit 0, 2xx, or simply an answer.
fn plain(report: &ProbeReport) -> (Verdict, String) {
    let good = report.status == ProbeStatus::Answered
        && report.rc.is_none_or(|rc| rc == 0)
        && report.http_status.is_none_or(|status| (200..300).contains(&status));
    if good { (Verdict::Healthy, String::new()) } else { (Verdict::Unhealthy, said(report)) }
}

fn said(report: &ProbeReport) -> String {
    let code = match (report.rc, report.http_status) {
        (Some(rc), _) => format!("exit {rc}"),
        (None, Some(status)) => format!("HTTP {status}"),
        (None, None) => String::new(),
    };
    match (code.is_empty(), report.detail.trim()) {
        (true, "") => "no answer".to_owned(),
        (true, detail) => detail.to_owned(),
        (false, "") => code,
        (false, detail) => format!("{code}: {detail}"),
    }
}

/// The first field that `!=` or `not` would take for a yes because it is not there.
fn missing(expression: &Expression, report: &ProbeReport) -> Option<String> {
    let source = expression.source();
    if !(source.contains("!=") || source.contains("not ")) || source.contains("defined") || source.contains("default") {
        return None;
    }
    let mut fields = expression.paths().iter().filter(|path| path.starts_with("json."));
    fields.find(|path| lookup(report.json.as_ref(), path).is_none()).cloned()
}

fn lookup<'a>(json: Option<&'a serde_json::Value>, path: &str) -> Option<&'a serde_json::Value> {
    path.split('.').skip(1).try_fold(json?, |value, key| value.get(key))
}

/// Why an expression does not hold: the values of its names.
fn refuted(expression: &Expression, names: &Map<String, serde_json::Value>) -> String {
    let values: Vec<String> = expression
        .paths()
        .iter()
        .filter(|path| path.as_str() != "stdout")
        .map(|path| {
            let root = names.get(path.split('.').next().unwrap_or(path));
            match lookup(root, path) {
                Some(value) => format!("{path} = {value}"),
                None => format!("{path} is missing"),
            }
        })
        .collect();
    if values.is_empty() { format!("not so: {}", expression.source()) } else { values.join(", ") }
}

fn record(evidence: &mut Evidence, sample: &Sample, verdict: Verdict) {
    evidence.samples += 1;
    evidence.verdicts.push(verdict);
    evidence.healthy += u32::from(verdict == Verdict::Healthy);
    let Sample::Report(report) = sample else { return };
    evidence.environment |= report.status == ProbeStatus::Environment;
    if verdict == Verdict::Healthy || report.status == ProbeStatus::Answered {
        evidence.elapsed_ms.push(report.elapsed_ms);
    }
    evidence.rc = report.rc;
    evidence.status = report.http_status;
    evidence.json.clone_from(&report.json);
}

/// Unhealthy outweighs error, error outweighs no data: only a round without any of them is healthy.
fn overall(verdicts: &[Verdict]) -> Verdict {
    [Verdict::Unhealthy, Verdict::Error, Verdict::NoData]
        .into_iter()
        .find(|verdict| verdicts.contains(verdict))
        .unwrap_or(if verdicts.is_empty() { Verdict::NoData } else { Verdict::Healthy })
}

fn summary(details: &[String], samples: u32, pending: bool) -> String {
    let Some(first) = details.first() else {
        return if samples == 0 { "nothing was measured".to_owned() } else { String::new() };
    };
    let wait = if pending { "pending: " } else { "" };
    if samples == 1 { format!("{wait}{first}") } else { format!("{wait}{} of {samples}: {first}", details.len()) }
}
