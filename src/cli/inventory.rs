//! `rollgate inventory`.

use super::args::InventoryArgs;
use crate::{
    error::Error,
    inventory::{self, Group, Inventory},
    report::Out,
    secrets::looks_secret,
    vars::World,
};
use clap::Args;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// Show hosts, groups and the variables of the inventory.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(super) struct InventoryCommand {
    #[command(flatten)]
    inventory: InventoryArgs,

    /// All groups with their hosts, and all hosts with their variables, as JSON.
    #[arg(long, group = "what")]
    list: bool,

    /// The variables of one host, as JSON.
    #[arg(long, group = "what", value_name = "HOST")]
    host: Option<String>,

    /// Groups and hosts as a tree.
    #[arg(long, group = "what")]
    graph: bool,

    /// Show values of variables whose names say that they are secret.
    #[arg(long)]
    show_secrets: bool,
}

pub(super) fn inventory(args: &InventoryCommand) -> Result<u8, Error> {
    let inventory = inventory::load(&args.inventory.sources()?)?;
    let limit = match &args.inventory.limit {
        Some(limit) => {
            let all: Vec<String> = inventory.hosts().map(|host| host.name.clone()).collect();
            let left = inventory.limit(&all, limit);
            let left = left.map_err(|error| Error::Usage { message: error.to_string(), hint: error.help() })?;
            Some(left.into_iter().collect())
        }
        None => None,
    };
    let world = World::of_inventory(&inventory)?;
    let shown = Shown { inventory: &inventory, world, limit, secrets: args.show_secrets };
    let text = match &args.host {
        Some(host) => shown.host(host)?,
        None if args.graph => shown.graph("all", 0, &mut BTreeSet::new()),
        None => pretty(&shown.list()),
    };
    Out::stdout().write(&text);
    Ok(0)
}

fn pretty(value: &Value) -> String {
    // Plain data: nothing in it has no JSON form.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

struct Shown<'a> {
    inventory: &'a Inventory,
    world: Arc<World>,
    limit: Option<BTreeSet<String>>,
    secrets: bool,
}

impl Shown<'_> {
    fn in_limit(&self, host: &str) -> bool {
        self.limit.as_ref().is_none_or(|limit| limit.contains(host))
    }

    /// Hosts named in a group. Those of `all` are in `ungrouped` or another group, too, and shown there (Ansible).
    fn members<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = &'a String> {
        group.hosts.iter().filter(move |host| group.name != "all" && self.in_limit(host))
    }

    /// The variables of a host as written, in the inventory and in the files beside it.
    fn vars(&self, name: &str) -> Map<String, Value> {
        let written = self.world.host_scope(name).map(|scope| scope.written()).unwrap_or_default();
        let hidden = |key: &str| looks_secret(key) && !self.secrets;
        written
            .into_iter()
            .map(|(key, (value, _))| if hidden(&key) { (key, json!("(secret)")) } else { (key, value) })
            .collect()
    }

    fn host(&self, name: &str) -> Result<String, Error> {
        if self.inventory.host(name).is_none() {
            let names = self.inventory.hosts().map(|host| host.name.as_str());
            let hint = crate::config::did_you_mean(name, names);
            let hint = hint.unwrap_or_else(|| "`rollgate inventory --graph` shows all hosts".to_owned());
            return Err(Error::usage(format!("the inventory has no host {name}"), hint));
        }
        Ok(pretty(&Value::Object(self.vars(name))))
    }

    /// The shape of `ansible-inventory --list`.
    fn list(&self) -> Value {
        let mut hostvars = Map::new();
        for host in self.inventory.hosts().filter(|host| self.in_limit(&host.name)) {
            let vars = self.vars(&host.name);
            if !vars.is_empty() {
                hostvars.insert(host.name.clone(), Value::Object(vars));
            }
        }
        let mut all = Map::new();
        all.insert("_meta".to_owned(), json!({ "hostvars": hostvars }));
        for group in self.inventory.groups() {
            let mut entry = Map::new();
            if !group.children.is_empty() {
                entry.insert("children".to_owned(), json!(group.children));
            }
            let hosts: Vec<&String> = self.members(group).collect();
            if !hosts.is_empty() {
                entry.insert("hosts".to_owned(), json!(hosts));
            }
            if !entry.is_empty() {
                all.insert(group.name.clone(), Value::Object(entry));
            }
        }
        Value::Object(all)
    }

    /// The shape of `ansible-inventory --graph`.
    fn graph(&self, name: &str, depth: usize, above: &mut BTreeSet<String>) -> String {
        let Some(group) = self.inventory.group(name) else { return String::new() };
        let indent =
            |depth: usize| if depth == 0 { String::new() } else { format!("{}|--", "  |".repeat(depth - 1) + "  ") };
        let mut text = format!("{}@{name}:\n", indent(depth));
        // A group cannot lie within itself; if a source says so, its loop ends here.
        if !above.insert(name.to_owned()) {
            return text;
        }
        for child in &group.children {
            text.push_str(&self.graph(child, depth + 1, above));
        }
        for host in self.members(group) {
            text.push_str(&format!("{}{host}\n", indent(depth + 1)));
        }
        above.remove(name);
        text
    }
}
