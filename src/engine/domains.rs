//! Which failure domain each host of a play is in, from its variables.

use super::values::{said, text};
use crate::{
    config::Diagnostic,
    playbook::{Play, Template},
    rollout::DomainOf,
    template::Rendered,
    vars::World,
};
use serde_json::Value;
use std::sync::Arc;

/// The domain of each host; empty where the play has no `failure_domain`.
///
/// # Errors
/// Hosts whose variable is not defined, or is no plain value: they are named.
pub fn domains_of(world: &Arc<World>, play: &Play, hosts: &[String]) -> Result<DomainOf, Diagnostic> {
    let Some(rollout) = &play.rollout else { return Ok(DomainOf::new()) };
    let Some(variable) = &rollout.failure_domain else { return Ok(DomainOf::new()) };
    let template = Template { value: Value::String(format!("{{{{ {variable} }}}}")), place: None };
    let (mut domains, mut without) = (DomainOf::new(), Vec::new());
    for host in hosts {
        match world.scope(play, host).render(&template) {
            Ok(Rendered::Known(Value::Null | Value::Array(_) | Value::Object(_))) => {
                without.push(format!("{host} (not a plain value)"));
            }
            Ok(Rendered::Known(value)) if text(&value).is_empty() => without.push(format!("{host} (empty)")),
            Ok(Rendered::Known(value)) => drop(domains.insert(host.clone(), text(&value))),
            Ok(Rendered::Unknown { because }) => without.push(format!("{host} ({because})")),
            Err(error) => without.push(format!("{host} ({})", said(&error))),
        }
    }
    if without.is_empty() {
        return Ok(domains);
    }
    const NAMED: usize = 8;
    let more = without.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    without.truncate(NAMED);
    Err(Diagnostic {
        message: format!("failure_domain: `{variable}` says nothing on {}{more}", without.join(", ")),
        place: Some(rollout.place.clone()),
        label: "every host of the play must be in a failure domain".to_owned(),
        help: Some(format!(
            "set `{variable}` for these hosts in the inventory; facts are not known yet when a plan is made"
        )),
    })
}
