//! All facts in one map.

use super::{network, os, resources, time, user};
use crate::serve::Control;
use serde_json::{Map, Value, json};

/// Gathers the facts. One that cannot be learnt is left out, so that a template's `default` or `is defined` can tell.
#[must_use]
pub fn gather(control: &Control) -> Map<String, Value> {
    let mut facts = Map::new();
    facts.extend(os::kernel());
    facts.extend(os::distribution());
    facts.extend(os::managers());
    facts.extend(os::selinux());
    facts.extend(os::virtualization());
    facts.extend(network::names());
    facts.extend(network::default_route());
    facts.extend(resources::processors());
    facts.extend(resources::memory());
    facts.extend(resources::mounts());
    facts.extend(user::current(control));
    facts.extend(user::environment());
    facts.extend(time::now(control));
    facts.insert("gather_subset".to_owned(), json!(["min"]));
    facts.insert("module_setup".to_owned(), json!(true));
    facts
}

/// A list of named facts.
pub(super) type Facts = Vec<(String, Value)>;

/// One fact, named with Ansible's prefix.
pub(super) fn fact(name: &str, value: impl Into<Value>) -> (String, Value) {
    (format!("ansible_{name}"), value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_playbooks_decide_on_is_always_there() {
        let facts = gather(&Control::default());
        for name in [
            "architecture",
            "date_time",
            "default_ipv4",
            "distribution",
            "distribution_major_version",
            "distribution_version",
            "env",
            "fqdn",
            "hostname",
            "kernel",
            "memtotal_mb",
            "mounts",
            "nodename",
            "os_family",
            "pkg_mgr",
            "processor_vcpus",
            "selinux",
            "service_mgr",
            "system",
            "user_id",
            "virtualization_type",
        ] {
            let value = facts.get(&format!("ansible_{name}")).unwrap_or_else(|| panic!("{name} is missing"));
            assert!(*value != json!("") && !value.is_null(), "{name} is empty");
        }
        assert!(facts["ansible_memtotal_mb"].as_u64().unwrap() > 0);
        assert!(facts["ansible_date_time"]["epoch"].as_str().unwrap().parse::<u64>().unwrap() > 1_700_000_000);
    }
}
