//! Which hosts a play has, in which order.

use super::values::text;
use crate::{
    config::{Diagnostic, Diagnostics},
    inventory::Inventory,
    playbook::{Play, Playbook},
    template::Rendered,
    vars::World,
};
use serde_json::Value;
use std::sync::Arc;

/// The hosts of each play, after `--limit`, in the play's order.
pub type HostsOf = Vec<Vec<String>>;

/// Resolves the hosts of every play before anything is touched.
///
/// # Errors
/// A pattern that cannot be rendered or that names nothing; a `--limit` that leaves nothing at all; a play with
/// `rollout:` without hosts.
pub fn hosts_of(
    playbook: &Playbook,
    inventory: &Inventory,
    world: &Arc<World>,
    limit: Option<&str>,
) -> Result<HostsOf, Diagnostics> {
    let (mut all, mut mistakes) = (Vec::new(), Vec::new());
    for play in &playbook.plays {
        match hosts_of_play(play, inventory, world, limit) {
            Ok(hosts) => all.push(hosts),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if mistakes.is_empty() { Ok(all) } else { Err(Diagnostics(mistakes)) }
}

fn hosts_of_play(
    play: &Play,
    inventory: &Inventory,
    world: &Arc<World>,
    limit: Option<&str>,
) -> Result<Vec<String>, Diagnostic> {
    let mistake = |message: String, help: Option<String>| Diagnostic {
        message,
        place: play.hosts.place.clone().or_else(|| Some(play.place.clone())),
        label: "these hosts".to_owned(),
        help,
    };
    let pattern = match world.play_scope(play).render(&play.hosts)? {
        Rendered::Known(Value::Array(parts)) => parts.iter().map(text).collect::<Vec<_>>().join(","),
        Rendered::Known(value) => text(&value),
        Rendered::Unknown { because } => return Err(mistake(format!("the hosts cannot be known: {because}"), None)),
    };
    let selected = inventory.select(&pattern).map_err(|error| mistake(error.to_string(), error.help()))?;
    let left = match limit {
        Some(limit) => inventory.limit(&selected, limit).map_err(|error| mistake(error.to_string(), error.help()))?,
        None => selected,
    };
    if left.is_empty() && play.rollout.is_some() {
        let message = format!("no host is left of `{pattern}` for a play with rollout:");
        return Err(mistake(message, Some("A rollout that changes nothing is not taken for a good one.".to_owned())));
    }
    ordered(left, &play.order).map_err(|why| mistake(why, None))
}

/// `order:` (ansible.md 3).
fn ordered(mut hosts: Vec<String>, order: &str) -> Result<Vec<String>, String> {
    match order {
        "" | "inventory" => {}
        "reverse_inventory" => hosts.reverse(),
        "sorted" => hosts.sort(),
        "reverse_sorted" => hosts.sort_by(|a, b| b.cmp(a)),
        "shuffle" => {
            let mut keyed = Vec::new();
            for host in hosts {
                let mut random = [0; 8];
                getrandom::fill(&mut random).map_err(|error| format!("no random bytes to shuffle with: {error}"))?;
                keyed.push((random, host));
            }
            keyed.sort();
            hosts = keyed.into_iter().map(|(_, host)| host).collect();
        }
        other => return Err(format!("order is '{other}'")),
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_as_ansible_s() {
        let hosts = || ["b", "a", "c"].map(str::to_owned).to_vec();
        assert_eq!(ordered(hosts(), "inventory").expect("known"), ["b", "a", "c"]);
        assert_eq!(ordered(hosts(), "reverse_inventory").expect("known"), ["c", "a", "b"]);
        assert_eq!(ordered(hosts(), "sorted").expect("known"), ["a", "b", "c"]);
        assert_eq!(ordered(hosts(), "reverse_sorted").expect("known"), ["c", "b", "a"]);
        let mut shuffled = ordered(hosts(), "shuffle").expect("known");
        shuffled.sort();
        assert_eq!(shuffled, ["a", "b", "c"]);
    }
}
