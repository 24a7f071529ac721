//! What the controller does by itself: assert, fail, debug, set_fact.

use super::{
    result::Outcome,
    unit::Unit,
    values::{known, said, text},
};
use crate::{
    playbook::{Action, Task, Template},
    template::Rendered,
    vars::{Scope, Variable},
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Whether an action never reaches a host.
pub(crate) fn is_local(action: &Action) -> bool {
    matches!(action, Action::Assert { .. } | Action::Fail { .. } | Action::Debug { .. } | Action::SetFact { .. })
}

impl Unit {
    /// Does it. Unknown: it depends on what check mode cannot know.
    pub(crate) fn local_action(&self, task: &Task, scope: &Scope) -> Result<Rendered<Outcome>, String> {
        match &task.action {
            Action::Assert { that, fail_msg, success_msg, quiet } => {
                assert_all(scope, that, fail_msg.as_ref(), success_msg.as_ref(), *quiet)
            }
            Action::Fail { msg } => Ok(Rendered::Known(Outcome::failed(text(&known(scope, msg)?)))),
            Action::Debug { msg, var } => debug(scope, msg.as_ref(), var.as_ref()),
            Action::SetFact { facts } => self.set_fact(task, scope, facts),
            _ => Err("this action is done on the host".to_owned()),
        }
    }

    fn set_fact(&self, task: &Task, scope: &Scope, facts: &[(String, Template)]) -> Result<Rendered<Outcome>, String> {
        let (mut values, mut variables, mut because) = (Map::new(), BTreeMap::new(), None);
        for (name, template) in facts {
            let variable = match scope.render(template).map_err(|error| said(&error))? {
                Rendered::Known(value) => {
                    values.insert(name.clone(), value.clone());
                    Variable::Data(value)
                }
                Rendered::Unknown { because: why } => {
                    because = Some(why.clone());
                    Variable::Unknown { because: why }
                }
            };
            variables.insert(name.clone(), variable);
        }
        for host in self.sharing(task) {
            self.run.world.set_facts(host, &variables);
        }
        Ok(match because {
            Some(because) => Rendered::Unknown { because },
            None => {
                let data = Map::from_iter([("ansible_facts".to_owned(), Value::Object(values))]);
                Rendered::Known(Outcome::done(false, data))
            }
        })
    }
}

fn assert_all(
    scope: &Scope,
    that: &[Template],
    fail_msg: Option<&Template>,
    success_msg: Option<&Template>,
    quiet: bool,
) -> Result<Rendered<Outcome>, String> {
    let mut unknown = None;
    for condition in that {
        match scope.condition(condition).map_err(|error| said(&error))? {
            Rendered::Known(true) => {}
            Rendered::Known(false) => {
                let message = match fail_msg {
                    Some(message) => text(&known(scope, message)?),
                    None => "Assertion failed".to_owned(),
                };
                let mut outcome = Outcome::failed(message);
                outcome.data.insert("assertion".to_owned(), condition.value.clone());
                outcome.data.insert("evaluated_to".to_owned(), json!(false));
                return Ok(Rendered::Known(outcome));
            }
            Rendered::Unknown { because } => unknown = unknown.or(Some(because)),
        }
    }
    if let Some(because) = unknown {
        return Ok(Rendered::Unknown { because });
    }
    let message = match success_msg {
        Some(message) => text(&known(scope, message)?),
        None => "All assertions passed".to_owned(),
    };
    let data = if quiet { Map::new() } else { Map::from_iter([("msg".to_owned(), Value::String(message))]) };
    Ok(Rendered::Known(Outcome::done(false, data)))
}

fn debug(scope: &Scope, msg: Option<&Template>, var: Option<&Template>) -> Result<Rendered<Outcome>, String> {
    let (key, rendered) = match (msg, var) {
        (_, Some(var)) => {
            let source = text(&var.value);
            let value =
                scope.expression(&format!("({source}) | default('VARIABLE IS NOT DEFINED!')"), var.place.as_ref());
            (source, value.map_err(|error| said(&error))?)
        }
        (Some(msg), None) => ("msg".to_owned(), scope.render(msg).map_err(|error| said(&error))?),
        (None, None) => ("msg".to_owned(), Rendered::Known(json!("Hello world!"))),
    };
    Ok(rendered.map(|value| Outcome::done(false, Map::from_iter([(key, value)]))))
}

/// What a local step shows: the message of `debug` and of a failed or passed `assert`.
pub(crate) fn shown_data(outcome: &Outcome) -> Option<String> {
    let show = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    let (key, value) = outcome.data.iter().find(|(key, _)| *key != "ansible_facts")?;
    Some(if key == "msg" { show(value) } else { format!("{key}: {}", show(value)) })
}
