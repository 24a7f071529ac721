//! Hosts, groups, and how groups contain each other.

use crate::{config::Place, playbook::Template};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

/// A group.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Hosts named directly in it, in order.
    pub hosts: Vec<String>,
    /// Groups named directly in it, in order.
    pub children: Vec<String>,
    /// Its variables, in order; of two of one name the later wins.
    pub vars: Vec<(String, Template)>,
    /// Where it was first named.
    pub place: Option<Place>,
}

/// A host.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its variables in inventory sources, in order; of two of one name the later wins.
    pub vars: Vec<(String, Template)>,
    /// Where it was first named; none: on the command line.
    pub place: Option<Place>,
}

/// All hosts and groups. Every group but `all` lies within `all`; every host in no other group lies in `ungrouped`.
#[derive(Debug, Clone)]
pub struct Inventory {
    groups: Vec<Group>,
    hosts: Vec<Host>,
    group_index: HashMap<String, usize>,
    host_index: HashMap<String, usize>,
    /// Groups that a host lies in, directly or not, lowest precedence first.
    memberships: HashMap<String, Vec<String>>,
    /// Directories beside which `group_vars` and `host_vars` may lie, in order of the sources.
    directories: Vec<PathBuf>,
    /// The sources that are files or directories, in order.
    sources: Vec<PathBuf>,
}

impl Default for Inventory {
    fn default() -> Self {
        let mut inventory = Self {
            groups: Vec::new(),
            hosts: Vec::new(),
            group_index: HashMap::new(),
            host_index: HashMap::new(),
            memberships: HashMap::new(),
            directories: Vec::new(),
            sources: Vec::new(),
        };
        inventory.group_mut("all", None);
        inventory.group_mut("ungrouped", None);
        inventory.add_child("all", "ungrouped");
        inventory
    }
}

impl Inventory {
    /// All groups, `all` and `ungrouped` first, the others in the order in which they were first named.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter()
    }

    /// All hosts, in the order in which they were first named.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter()
    }

    /// A group by name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.group_index.get(name).and_then(|at| self.groups.get(*at))
    }

    /// A host by name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.host_index.get(name).and_then(|at| self.hosts.get(*at))
    }

    /// The hosts of a group and of the groups within it, level by level, each once (Ansible's order).
    pub fn hosts_of(&self, group: &str) -> Vec<&str> {
        let mut seen = HashSet::new();
        self.descendants(group)
            .into_iter()
            .filter_map(|name| self.group(name))
            .flat_map(|group| &group.hosts)
            .map(String::as_str)
            .filter(|host| seen.insert(*host))
            .collect()
    }

    /// A group and the groups within it, level by level, each once.
    fn descendants<'a>(&'a self, group: &'a str) -> Vec<&'a str> {
        let mut found = vec![group];
        let mut seen = HashSet::from([group]);
        let mut at = 0;
        while let Some(name) = found.get(at).copied() {
            at += 1;
            for child in self.group(name).map(|group| group.children.as_slice()).unwrap_or_default() {
                if seen.insert(child.as_str()) {
                    found.push(child);
                }
            }
        }
        found
    }

    /// The groups that a host lies in, lowest precedence first: `all`, then by depth, `ansible_group_priority` and name.
    /// A host that the inventory does not have lies in `all` only.
    pub fn groups_of(&self, host: &str) -> Vec<&str> {
        match self.memberships.get(host) {
            Some(groups) => groups.iter().map(String::as_str).collect(),
            None => vec!["all"],
        }
    }

    /// Directories beside which `group_vars` and `host_vars` may lie, in order of the sources.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// The first source that is a file or directory.
    pub fn source_file(&self) -> Option<&Path> {
        self.sources.first().map(PathBuf::as_path)
    }

    /// The directory of the first source.
    pub fn source_directory(&self) -> Option<&Path> {
        self.directories.first().map(PathBuf::as_path)
    }

    /// The group of a name, made if it is not there.
    pub(super) fn group_mut(&mut self, name: &str, place: Option<&Place>) -> &mut Group {
        let at = *self.group_index.entry(name.to_owned()).or_insert_with(|| {
            self.groups.push(Group { name: name.to_owned(), place: place.cloned(), ..Group::default() });
            self.groups.len() - 1
        });
        &mut self.groups[at]
    }

    /// The host of a name, made if it is not there.
    pub(super) fn host_mut(&mut self, name: &str, place: Option<&Place>) -> &mut Host {
        let at = *self.host_index.entry(name.to_owned()).or_insert_with(|| {
            self.hosts.push(Host { name: name.to_owned(), place: place.cloned(), ..Host::default() });
            self.hosts.len() - 1
        });
        &mut self.hosts[at]
    }

    /// Puts a host into a group.
    pub(super) fn add_host(&mut self, group: &str, host: &str) {
        let group = self.group_mut(group, None);
        if !group.hosts.iter().any(|other| other == host) {
            group.hosts.push(host.to_owned());
        }
    }

    /// Puts a group into another. False: that would close a circle, and nothing was done.
    pub(super) fn add_child(&mut self, parent: &str, child: &str) -> bool {
        if self.descendants(child).contains(&parent) {
            return false;
        }
        let parent = self.group_mut(parent, None);
        if !parent.children.iter().any(|other| other == child) {
            parent.children.push(child.to_owned());
        }
        true
    }

    /// Notes a source and the directory beside which its variables lie.
    pub(super) fn add_source(&mut self, path: &Path, directory: &Path) {
        self.sources.push(path.to_path_buf());
        if !self.directories.iter().any(|other| other == directory) {
            self.directories.push(directory.to_path_buf());
        }
    }

    /// Brings everything under `all`, the hosts of no group under `ungrouped`, and works out who lies where.
    pub(super) fn reconcile(&mut self) {
        let children: HashSet<String> = self.groups.iter().flat_map(|group| group.children.clone()).collect();
        let tops: Vec<String> = self
            .groups
            .iter()
            .map(|group| &group.name)
            .filter(|name| *name != "all" && !children.contains(*name))
            .cloned()
            .collect();
        for name in tops {
            self.add_child("all", &name);
        }
        let grouped: HashSet<String> = self
            .groups
            .iter()
            .filter(|group| group.name != "all" && group.name != "ungrouped")
            .flat_map(|group| group.hosts.clone())
            .collect();
        let loose: Vec<String> =
            self.hosts.iter().map(|host| host.name.clone()).filter(|name| !grouped.contains(name)).collect();
        self.group_mut("ungrouped", None).hosts.retain(|host| !grouped.contains(host));
        for host in loose {
            self.add_host("ungrouped", &host);
        }
        self.work_out_memberships();
    }

    fn work_out_memberships(&mut self) {
        let depths = self.depths();
        let mut memberships: HashMap<String, Vec<String>> = HashMap::new();
        for group in &self.groups {
            for host in self.hosts_of(&group.name) {
                memberships.entry(host.to_owned()).or_default().push(group.name.clone());
            }
        }
        for groups in memberships.values_mut() {
            groups.sort_by_cached_key(|name| {
                let depth = depths.get(name).copied().unwrap_or_default();
                (depth, self.priority(name), name.clone())
            });
        }
        self.memberships = memberships;
    }

    /// How deep each group lies below `all`, by its longest way.
    fn depths(&self) -> HashMap<String, usize> {
        let mut depths: HashMap<String, usize> = HashMap::from([("all".to_owned(), 0)]);
        let mut open = vec!["all".to_owned()];
        while let Some(name) = open.pop() {
            let next = depths.get(&name).copied().unwrap_or_default() + 1;
            for child in self.group(&name).map(|group| group.children.clone()).unwrap_or_default() {
                let depth = depths.entry(child.clone()).or_default();
                if next > *depth {
                    *depth = next;
                    open.push(child);
                }
            }
        }
        depths
    }

    /// `ansible_group_priority`: of groups of one depth the higher wins; 1 unless set.
    fn priority(&self, group: &str) -> i64 {
        let vars = self.group(group).map(|group| group.vars.as_slice()).unwrap_or_default();
        let set = vars.iter().rev().find(|(name, _)| name == "ansible_group_priority").map(|(_, value)| &value.value);
        set.and_then(|value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Inventory {
        let mut inventory = Inventory::default();
        for (group, hosts) in [("web", ["w1", "w2"]), ("db", ["d1", "w2"])] {
            for host in hosts {
                inventory.host_mut(host, None);
                inventory.group_mut(group, None);
                inventory.add_host(group, host);
            }
        }
        inventory.host_mut("alone", None);
        inventory.group_mut("prod", None);
        inventory.add_child("prod", "web");
        inventory.reconcile();
        inventory
    }

    #[test]
    fn every_host_lies_in_all() {
        let inventory = sample();
        assert_eq!(inventory.hosts_of("all"), ["alone", "d1", "w2", "w1"]);
        assert_eq!(inventory.hosts_of("prod"), ["w1", "w2"]);
        assert_eq!(inventory.groups_of("w2"), ["all", "db", "prod", "web"]);
        assert_eq!(inventory.groups_of("alone"), ["all", "ungrouped"]);
    }

    #[test]
    fn circles_are_refused() {
        let mut inventory = sample();
        assert!(!inventory.add_child("web", "prod"));
        assert!(!inventory.add_child("web", "web"));
    }

    #[test]
    fn priority_decides_between_groups_of_one_depth() {
        let mut inventory = sample();
        let high = Template { value: serde_json::json!(10), place: None };
        inventory.group_mut("db", None).vars.push(("ansible_group_priority".to_owned(), high));
        inventory.reconcile();
        assert_eq!(inventory.groups_of("w2"), ["all", "prod", "db", "web"]);
    }
}
