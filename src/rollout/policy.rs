//! A stanza's probes and triggers, compiled.

use super::{
    round::ProbeRules,
    trigger::{FiresAt, TriggerRules},
};
use crate::{config::Diagnostics, playbook::Rollout};
use std::collections::BTreeSet;

/// A stanza's probes and triggers, compiled.
#[derive(Debug)]
pub struct Policy {
    pub(super) probes: Vec<ProbeRules>,
    pub(super) triggers: Vec<TriggerRules>,
}

impl Policy {
    /// Compiles; all mistakes at once.
    pub fn new(rollout: &Rollout) -> Result<Self, Diagnostics> {
        let mut mistakes = Vec::new();
        let mut probes = Vec::new();
        for probe in &rollout.probes {
            match ProbeRules::new(probe) {
                Ok(rules) => probes.push(rules),
                Err(error) => mistakes.push(crate::config::Diagnostic {
                    message: format!("success_when of probe '{}': {error}", probe.name),
                    place: probe
                        .success_when
                        .as_ref()
                        .and_then(|t| t.place.clone())
                        .or_else(|| Some(probe.place.clone())),
                    label: "an expression over json, status, rc and stdout".to_owned(),
                    help: None,
                }),
            }
        }
        let mut triggers = Vec::new();
        for trigger in &rollout.triggers {
            match TriggerRules::new(trigger, rollout, &probes) {
                Ok(rules) => triggers.push(rules),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if mistakes.is_empty() { Ok(Self { probes, triggers }) } else { Err(Diagnostics(mistakes)) }
    }

    /// A probe's rules.
    pub fn probe(&self, name: &str) -> Option<&ProbeRules> {
        self.probes.iter().find(|probe| probe.name == name)
    }

    /// For how many rounds running a trigger's condition must hold.
    pub fn rounds(&self, trigger: &str) -> Option<u32> {
        self.triggers.iter().find(|rules| rules.name == trigger).map(|rules| rules.rounds)
    }

    /// At which count a trigger fires that is a condition over one counter of one probe and nothing else.
    pub(super) fn fires_at(&self, trigger: &str) -> Option<FiresAt> {
        self.triggers.iter().find(|rules| rules.name == trigger)?.fires_at()
    }

    /// The probes whose `all_unhealthy` a trigger names.
    pub(super) fn asks_for_all(&self, trigger: &str) -> impl Iterator<Item = &ProbeRules> {
        let rules = self.triggers.iter().find(|rules| rules.name == trigger);
        let named = move |probe: &&ProbeRules| {
            rules.is_some_and(|rules| rules.when.paths().contains(&format!("{}.all_unhealthy", probe.name)))
        };
        self.probes.iter().filter(named)
    }

    /// Names in triggers and `success_when` that are variables of a host: to be given to [`super::Judge::set_variables`] and
    /// [`ProbeRules::round`].
    pub fn variables(&self) -> BTreeSet<&str> {
        let triggers = self.triggers.iter().flat_map(TriggerRules::variables);
        triggers.chain(self.probes.iter().flat_map(ProbeRules::variables)).collect()
    }
}
