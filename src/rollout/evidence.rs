//! The sentence that says which values made a trigger fire.

use super::{judge::Round, trigger::TriggerRules, verdict::Verdict};
use minijinja::Value;
use std::{collections::BTreeMap, fmt::Write};

/// The values of a condition's names, how long it held, and what the round itself said.
pub(super) fn sentence(
    trigger: &TriggerRules,
    names: &BTreeMap<String, Value>,
    round: Round<'_>,
    sick_before: bool,
) -> String {
    let simple = simple_comparison(trigger.when.source());
    let parts: Vec<String> = trigger
        .when
        .paths()
        .iter()
        .map(|path| match &simple {
            Some((left, rest)) if left == path => format!("{path} = {} {rest}", show(names, path)),
            _ => format!("{path} = {}", show(names, path)),
        })
        .collect();
    let mut sentence = parts.join(", ");
    if trigger.rounds > 1 {
        let _ = write!(sentence, ", {} rounds running", trigger.rounds);
    }
    if !round.evidence.detail.is_empty() && round.verdict == Verdict::Unhealthy {
        let _ = write!(sentence, " ({})", round.evidence.detail);
    }
    if sick_before {
        sentence.push_str("; it was unhealthy before the change, too");
    }
    sentence
}

/// `PATH OP VALUE` without more: the path and the rest, so that the evidence reads `a.p95 = 41.2 > 30`.
fn simple_comparison(when: &str) -> Option<(String, String)> {
    let words: Vec<&str> = when.split_whitespace().collect();
    match words.as_slice() {
        [path, op @ (">" | ">=" | "<" | "<=" | "!="), value] => Some(((*path).to_owned(), format!("{op} {value}"))),
        _ => None,
    }
}

fn show(names: &BTreeMap<String, Value>, path: &str) -> String {
    let mut parts = path.split('.');
    let mut value = parts.next().and_then(|root| names.get(root)).cloned().unwrap_or_default();
    for part in parts {
        value = value.get_attr(part).unwrap_or_default();
    }
    if value.is_undefined() {
        return "missing".to_owned();
    }
    match (f64::try_from(value.clone()), value.is_number()) {
        (Ok(number), true) if number.is_infinite() => "not judged".to_owned(),
        _ => serde_json::to_string(&value).unwrap_or_else(|_| value.to_string()),
    }
}
