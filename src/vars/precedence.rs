//! Which variable wins: one table (Ansible's, as far as the layers exist here).

/// Where a variable comes from, lowest first. The order of the variants is the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// `vars` of the group `all` in an inventory source.
    InventoryAll,
    /// `vars` of other groups in an inventory source: parents before children, then `ansible_group_priority`, then name.
    InventoryGroup,
    /// `group_vars/all` beside an inventory source.
    InventoryGroupVarsAll,
    /// `group_vars/all` beside the playbook.
    PlaybookGroupVarsAll,
    /// `group_vars/GROUP` beside an inventory source.
    InventoryGroupVars,
    /// `group_vars/GROUP` beside the playbook.
    PlaybookGroupVars,
    /// The host's own in an inventory source.
    InventoryHost,
    /// `host_vars/HOST` beside an inventory source.
    InventoryHostVars,
    /// `host_vars/HOST` beside the playbook.
    PlaybookHostVars,
    /// Gathered facts.
    Facts,
    /// The play's `vars`.
    Play,
    /// The play's `vars_files`.
    VarsFiles,
    /// The task's `vars`, those of its blocks included.
    Task,
    /// `set_fact` and `register`, whichever came last.
    SetFact,
    /// `-e`.
    Extra,
    /// `inventory_hostname`, `groups`, `ansible_check_mode` and the like.
    Magic,
    /// The loop's variables.
    Loop,
    /// What the engine adds for one expression (a result under its `register` name in `until` or `failed_when`).
    Local,
}

/// Every layer, lowest first, with the words that messages and `inventory --host` use.
pub const TABLE: [(Layer, &str); 18] = [
    (Layer::InventoryAll, "the inventory's group all"),
    (Layer::InventoryGroup, "a group of the inventory"),
    (Layer::InventoryGroupVarsAll, "group_vars/all beside the inventory"),
    (Layer::PlaybookGroupVarsAll, "group_vars/all beside the playbook"),
    (Layer::InventoryGroupVars, "group_vars beside the inventory"),
    (Layer::PlaybookGroupVars, "group_vars beside the playbook"),
    (Layer::InventoryHost, "the host in the inventory"),
    (Layer::InventoryHostVars, "host_vars beside the inventory"),
    (Layer::PlaybookHostVars, "host_vars beside the playbook"),
    (Layer::Facts, "gathered facts"),
    (Layer::Play, "the play's vars"),
    (Layer::VarsFiles, "the play's vars_files"),
    (Layer::Task, "the task's vars"),
    (Layer::SetFact, "set_fact or register"),
    (Layer::Extra, "-e"),
    (Layer::Magic, "rollgate itself"),
    (Layer::Loop, "the loop"),
    (Layer::Local, "this task's result"),
];

impl Layer {
    /// The layer in words.
    pub fn words(self) -> &'static str {
        TABLE.iter().find(|(layer, _)| *layer == self).map_or("", |(_, words)| words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_order() {
        assert!(TABLE.is_sorted_by(|one, other| one.0 < other.0));
    }
}
