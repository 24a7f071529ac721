//! Magic variables: what rollgate itself says.

use super::{
    values::VarMap,
    world::{Batch, Options},
};
use crate::{
    inventory::Inventory,
    playbook::{Play, Playbook},
};
use minijinja::Value;

fn list(items: &[String]) -> Value {
    items.iter().map(|item| Value::from(item.as_str())).collect()
}

/// The same for all hosts of a run.
pub(super) fn of_run(inventory: &Inventory, playbook: &Playbook, options: &Options) -> VarMap {
    let mut map = VarMap::default();
    let groups = inventory.groups().map(|group| {
        let hosts: Value = inventory.hosts_of(&group.name).into_iter().map(Value::from).collect();
        (group.name.clone(), hosts)
    });
    map.set_value("groups", Value::from_pairs(groups));
    map.set_value("playbook_dir", Value::from(playbook.dir.display().to_string()));
    map.set_value("ansible_check_mode", Value::from(options.check_mode));
    map.set_value("ansible_diff_mode", Value::from(options.diff_mode));
    map.set_value("ansible_forks", Value::from(options.forks));
    map.set_value("ansible_verbosity", Value::from(options.verbosity));
    map.set_value("ansible_run_tags", list(if options.tags.is_empty() { &ALL } else { &options.tags }));
    map.set_value("ansible_skip_tags", list(&options.skip_tags));
    if let Some(limit) = &options.limit {
        map.set_value("ansible_limit", Value::from(limit.as_str()));
    }
    map.set_value("rollgate_version", Value::from(env!("CARGO_PKG_VERSION")));
    if let Some(file) = inventory.source_file() {
        map.set_value("inventory_file", Value::from(file.display().to_string()));
    }
    if let Some(directory) = inventory.source_directory() {
        map.set_value("inventory_dir", Value::from(directory.display().to_string()));
    }
    map
}

/// What `ansible_run_tags` says where no tags were named.
static ALL: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(|| vec!["all".to_owned()]);

/// One host's.
pub(super) fn of_host(inventory: &Inventory, host: &str) -> VarMap {
    let mut map = VarMap::default();
    map.set_value("inventory_hostname", Value::from(host));
    let address = host.parse::<std::net::IpAddr>().is_ok();
    let short = if address { host } else { host.split('.').next().unwrap_or(host) };
    map.set_value("inventory_hostname_short", Value::from(short));
    let mut names: Vec<&str> = inventory.groups_of(host).into_iter().filter(|group| *group != "all").collect();
    names.sort_unstable();
    map.set_value("group_names", names.into_iter().map(Value::from).collect());
    map
}

/// A play's.
pub(super) fn of_play(play: &Play) -> VarMap {
    let mut map = VarMap::default();
    map.set_value("ansible_play_name", Value::from(play.name.as_str()));
    map
}

/// A batch's.
pub(super) fn of_batch(batch: &Batch) -> VarMap {
    let mut map = VarMap::default();
    map.set_value("ansible_play_hosts_all", list(&batch.all));
    map.set_value("ansible_play_hosts", list(&batch.active));
    map.set_value("play_hosts", list(&batch.batch));
    map.set_value("ansible_play_batch", list(&batch.batch));
    map
}
