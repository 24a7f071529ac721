//! Triggers, compiled: which probes and fields they name, and how long their condition must hold (R13).

use super::{
    expression::Expression,
    round::{ProbeRules, source},
};
use crate::{
    config::Diagnostic,
    playbook::{PROBE_FIELDS, ProbeMode, Rollout, Scope, Trigger, TriggerAction},
};
use minijinja::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Fields that are one round's raw value: one reading does not fire, it must hold for some rounds.
const RAW: [&str; 4] = ["json", "status", "rc", "verdict"];

/// Counters that rise one by one.
const COUNTERS: [(&str, &str); 2] =
    [("consecutive_failures", "consecutive failure"), ("consecutive_errors", "consecutive error")];

/// The highest threshold that is looked for.
const MOST: u32 = 1000;

/// Where a counter makes a trigger fire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FiresAt {
    pub(super) probe: String,
    /// `consecutive failure`.
    pub(super) what: &'static str,
    pub(super) count: u32,
}

/// A trigger.
#[derive(Debug)]
pub(super) struct TriggerRules {
    pub(super) name: String,
    pub(super) when: Expression,
    pub(super) scope: Scope,
    pub(super) action: TriggerAction,
    pub(super) dry_run: bool,
    /// The probes it names.
    pub(super) probes: BTreeSet<String>,
    /// The probes whose rounds make the condition's rounds count.
    pub(super) counted: BTreeSet<String>,
    /// Rounds running for which it must hold.
    pub(super) rounds: u32,
}

impl TriggerRules {
    pub(super) fn new(trigger: &Trigger, rollout: &Rollout, probes: &[ProbeRules]) -> Result<Self, Diagnostic> {
        let text = source(&trigger.when.value);
        let mistake = |message: String, help: Option<String>| Diagnostic {
            message,
            place: trigger.when.place.clone().or_else(|| Some(trigger.place.clone())),
            label: "a condition over probes".to_owned(),
            help,
        };
        let when =
            Expression::new(&text).map_err(|error| mistake(format!("trigger '{}': {error}", trigger.name), None))?;
        let named: BTreeSet<String> =
            when.roots().into_iter().filter(|root| probes.iter().any(|p| p.name == *root)).map(str::to_owned).collect();
        if named.is_empty() {
            let known: Vec<&str> = rollout.probes.iter().map(|probe| probe.name.as_str()).collect();
            let help = format!("the play's probes are: {}", known.join(", "));
            return Err(mistake(format!("trigger '{}' names no probe of this play", trigger.name), Some(help)));
        }
        let mut counted = BTreeSet::new();
        for path in when.paths() {
            let mut parts = path.split('.');
            let Some(probe) = parts.next().filter(|root| named.contains(*root)) else { continue };
            match parts.next() {
                Some(field) if RAW.contains(&field) => {
                    counted.insert(probe.to_owned());
                }
                Some(field) if PROBE_FIELDS.contains(&field) => {}
                Some(field) => {
                    let help = nearest(field).map(|near| format!("did you mean `{probe}.{near}`?"));
                    let help = help.unwrap_or_else(|| format!("a probe has: {}", PROBE_FIELDS.join(", ")));
                    return Err(mistake(format!("a probe has no field '{field}'"), Some(help)));
                }
                None => {}
            }
        }
        let raw = probes.iter().filter(|p| counted.contains(&p.name)).map(|p| p.failure_threshold).max();
        let rounds = trigger.for_rounds.or(raw).unwrap_or(1).max(1);
        if counted.is_empty() {
            counted.clone_from(&named);
        }
        let dry_run = trigger.mode == ProbeMode::DryRun
            || probes.iter().any(|probe| probe.dry_run && named.contains(&probe.name));
        let (scope, action) = (trigger.scope, trigger.action);
        Ok(Self { name: trigger.name.clone(), when, scope, action, dry_run, probes: named, counted, rounds })
    }

    /// At which count it fires, if its condition is over one counter of one probe and nothing else: told by counting up,
    /// however the condition is written.
    pub(super) fn fires_at(&self) -> Option<FiresAt> {
        let [path] = self.when.paths().iter().collect::<Vec<_>>()[..] else { return None };
        let (probe, field) = path.split_once('.')?;
        let what = COUNTERS.iter().find(|(counter, _)| *counter == field)?.1;
        let holds = |count: &u32| {
            let counted = Value::from(BTreeMap::from([(field, *count)]));
            self.when.holds(&Value::from(BTreeMap::from([(probe, counted)]))) == Ok(true)
        };
        let count = (0..=MOST).find(holds).filter(|count| *count > 0)?;
        // A condition that does not go on to hold is no threshold.
        (count..=count + 3).all(|count| holds(&count)).then(|| FiresAt { probe: probe.to_owned(), what, count })
    }

    /// Names in the condition that are variables of the host.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.when.roots().into_iter().filter(|root| !self.probes.contains(*root))
    }
}

/// The field that someone who wrote `field` most likely meant.
fn nearest(field: &str) -> Option<&'static str> {
    let distance = |known: &&'static str| strsim::damerau_levenshtein(field, known);
    PROBE_FIELDS.into_iter().min_by_key(distance).filter(|known| distance(known) <= 3)
}
