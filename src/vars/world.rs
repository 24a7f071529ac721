//! All variables of a run: those that were written, and what facts, `set_fact` and `register` add per host.

use super::{
    beside::Beside,
    magic,
    precedence::Layer,
    scope::Scope,
    values::{VarMap, Variable},
};
use crate::{
    config::Diagnostics,
    inventory::Inventory,
    playbook::{Play, Playbook, Template},
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

/// What of the command line shows up as variables.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--check`, or building a plan.
    pub check_mode: bool,
    /// `--diff`.
    pub diff_mode: bool,
    /// `--forks`.
    pub forks: usize,
    /// `-v`, how often.
    pub verbosity: u8,
    /// `--limit`.
    pub limit: Option<String>,
    /// `--tags`.
    pub tags: Vec<String>,
    /// `--skip-tags`.
    pub skip_tags: Vec<String>,
}

/// The hosts of a play as its magic variables tell them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// All hosts of the play, whatever happened to them: `ansible_play_hosts_all`.
    pub all: Vec<String>,
    /// Those still active: `ansible_play_hosts`.
    pub active: Vec<String>,
    /// Those of this batch that are still active: `ansible_play_batch`.
    pub batch: Vec<String>,
}

/// What a run adds to a host.
#[derive(Debug, Clone, Default)]
struct Added {
    facts: Arc<VarMap>,
    set: Arc<VarMap>,
}

/// A layer's maps of one host.
type Stack = Vec<(Layer, Arc<VarMap>)>;

/// All variables of a run.
pub struct World {
    inventory: Inventory,
    directory: PathBuf,
    beside_inventory: Vec<Beside>,
    beside_playbook: Beside,
    extra: Arc<VarMap>,
    plays: Vec<(Arc<Play>, Stack)>,
    /// The same for every host.
    magic: Arc<VarMap>,
    groups: HashMap<String, Arc<VarMap>>,
    written: HashMap<String, OnceLock<Arc<Stack>>>,
    added: RwLock<HashMap<String, Added>>,
    batches: RwLock<HashMap<usize, Arc<VarMap>>>,
}

impl World {
    /// Reads `group_vars` and `host_vars` beside the playbook and puts all variables in order.
    ///
    /// # Errors
    /// Every mistake in those files.
    pub fn new(
        inventory: &Inventory,
        playbook: &Playbook,
        extra: Vec<(String, Template)>,
        options: &Options,
    ) -> Result<Arc<Self>, Diagnostics> {
        let mut problems = Diagnostics::default();
        let mut load = |directory: &Path| {
            Beside::load(directory).unwrap_or_else(|mut found| {
                problems.0.append(&mut found.0);
                Beside::default()
            })
        };
        // A playbook that lies beside its inventory has one set of files, at both ranks.
        let beside_inventory = inventory.directories().iter().map(|directory| load(directory)).collect();
        let beside_playbook = if playbook.dir.as_os_str().is_empty() || inventory.directories().contains(&playbook.dir)
        {
            Beside::default()
        } else {
            load(&playbook.dir)
        };
        if !problems.0.is_empty() {
            return Err(problems);
        }
        let plays = playbook.plays.iter().map(|play| (Arc::clone(play), play_stack(play))).collect();
        let groups = inventory.groups().map(|group| {
            // What orders groups is no variable of their hosts.
            let vars = group.vars.iter().filter(|(name, _)| name != "ansible_group_priority");
            (group.name.clone(), VarMap::of_templates(vars))
        });
        let groups = groups.collect();
        Ok(Arc::new(Self {
            directory: playbook.dir.clone(),
            beside_inventory,
            beside_playbook,
            extra: VarMap::of_templates(&extra),
            plays,
            magic: Arc::new(magic::of_run(inventory, playbook, options)),
            groups,
            written: inventory.hosts().map(|host| (host.name.clone(), OnceLock::new())).collect(),
            added: RwLock::default(),
            batches: RwLock::default(),
            inventory: inventory.clone(),
        }))
    }

    /// The variables of an inventory and of the files beside it, without a playbook.
    ///
    /// # Errors
    /// Every mistake in those files.
    pub fn of_inventory(inventory: &Inventory) -> Result<Arc<Self>, Diagnostics> {
        // No directory, or one that the inventory has already, is not read for the playbook.
        let dir = inventory.source_directory().unwrap_or(Path::new("")).to_path_buf();
        let playbook = Playbook { path: String::new(), dir, plays: Vec::new() };
        Self::new(inventory, &playbook, Vec::new(), &Options::default())
    }

    /// The inventory.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// The playbook's directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The inventory's hosts.
    pub(super) fn hosts(&self) -> Vec<String> {
        self.inventory.hosts().map(|host| host.name.clone()).collect()
    }

    /// What a host's templates see in a play, now. Later changes do not show in it, but for `hostvars` of other hosts.
    pub fn scope(self: &Arc<Self>, play: &Play, host: &str) -> Scope {
        let mut stack = self.host_stack(host);
        stack.extend(self.play_layers(play));
        Scope::new(Arc::clone(self), host, stack)
    }

    /// What templates outside any host see: `-e`, the play's vars, magic variables. For `hosts:` and the like.
    pub fn play_scope(self: &Arc<Self>, play: &Play) -> Scope {
        let mut stack = vec![(Layer::Extra, Arc::clone(&self.extra)), (Layer::Magic, Arc::clone(&self.magic))];
        stack.extend(self.play_layers(play));
        Scope::new(Arc::clone(self), "", stack)
    }

    /// A host's variables outside any play, as `hostvars` shows them; none: the inventory has no such host.
    pub fn host_scope(self: &Arc<Self>, host: &str) -> Option<Scope> {
        self.written.contains_key(host).then(|| Scope::new(Arc::clone(self), host, self.host_stack(host)))
    }

    fn play_layers(&self, play: &Play) -> Stack {
        let known = self.plays.iter().find(|(known, _)| std::ptr::eq(Arc::as_ptr(known), play));
        let mut stack = known.map_or_else(|| play_stack(play), |(_, stack)| stack.clone());
        stack.push((Layer::Magic, Arc::new(magic::of_play(play))));
        let batches = self.batches.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(batch) = batches.get(&key(play)) {
            stack.push((Layer::Magic, Arc::clone(batch)));
        }
        stack
    }

    fn host_stack(&self, host: &str) -> Stack {
        let mut stack = match self.written.get(host) {
            Some(written) => written.get_or_init(|| Arc::new(self.written_stack(host))).as_ref().clone(),
            None => self.written_stack(host),
        };
        let added = self.added.read().unwrap_or_else(PoisonError::into_inner).get(host).cloned().unwrap_or_default();
        stack.push((Layer::Facts, added.facts));
        stack.push((Layer::SetFact, added.set));
        stack
    }

    /// Everything about a host that does not change during the run.
    fn written_stack(&self, host: &str) -> Stack {
        let mut stack = vec![(Layer::Extra, Arc::clone(&self.extra)), (Layer::Magic, Arc::clone(&self.magic))];
        stack.push((Layer::Magic, Arc::new(magic::of_host(&self.inventory, host))));
        for group in self.inventory.groups_of(host) {
            let all = group == "all";
            if let Some(map) = self.groups.get(group) {
                stack.push((if all { Layer::InventoryAll } else { Layer::InventoryGroup }, Arc::clone(map)));
            }
            let (beside_inventory, beside_playbook) = if all {
                (Layer::InventoryGroupVarsAll, Layer::PlaybookGroupVarsAll)
            } else {
                (Layer::InventoryGroupVars, Layer::PlaybookGroupVars)
            };
            for directory in &self.beside_inventory {
                stack.extend(directory.group(group).map(|map| (beside_inventory, map)));
            }
            stack.extend(self.beside_playbook.group(group).map(|map| (beside_playbook, map)));
        }
        if let Some(host) = self.inventory.host(host) {
            stack.push((Layer::InventoryHost, VarMap::of_templates(&host.vars)));
        }
        for directory in &self.beside_inventory {
            stack.extend(directory.host(host).map(|map| (Layer::InventoryHostVars, map)));
        }
        stack.extend(self.beside_playbook.host(host).map(|map| (Layer::PlaybookHostVars, map)));
        stack.retain(|(_, map)| !map.is_empty());
        stack
    }

    /// Adds `set_fact` values to a host. A later `register` of the same name replaces them, and the other way round.
    pub fn set_facts(&self, host: &str, facts: &BTreeMap<String, Variable>) {
        self.add_set(host, facts.iter());
    }

    /// Registers a result on a host.
    pub fn register(&self, host: &str, name: &str, result: &Variable) {
        self.add_set(host, std::iter::once((name, result)));
    }

    fn add_set<'a, N: AsRef<str>>(&self, host: &str, variables: impl Iterator<Item = (N, &'a Variable)>) {
        let mut added = self.added.write().unwrap_or_else(PoisonError::into_inner);
        let set = &mut added.entry(host.to_owned()).or_default().set;
        let map = Arc::make_mut(set);
        for (name, variable) in variables {
            map.set(name.as_ref(), variable);
        }
    }

    /// Notes the facts gathered on a host: each by its name (`ansible_...`), and all in `ansible_facts` without the prefix.
    pub fn gathered(&self, host: &str, facts: &Map<String, Value>) {
        let mut map = VarMap::of_data(facts);
        let short: Map<String, Value> = facts
            .iter()
            .map(|(name, value)| (name.strip_prefix("ansible_").unwrap_or(name).to_owned(), value.clone()))
            .collect();
        map.set("ansible_facts", &Variable::Data(Value::Object(short)));
        let mut added = self.added.write().unwrap_or_else(PoisonError::into_inner);
        added.entry(host.to_owned()).or_default().facts = Arc::new(map);
    }

    /// Says which hosts a play has, and which are in its batch now.
    pub fn set_batch(&self, play: &Play, batch: &Batch) {
        let map = Arc::new(magic::of_batch(batch));
        self.batches.write().unwrap_or_else(PoisonError::into_inner).insert(key(play), map);
    }
}

/// What tells plays of one loaded playbook apart: they are never moved.
fn key(play: &Play) -> usize {
    std::ptr::from_ref(play) as usize
}

fn play_stack(play: &Play) -> Stack {
    let mut stack = vec![(Layer::Play, VarMap::of_templates(&play.vars))];
    stack.extend(play.vars_files.iter().map(|file| (Layer::VarsFiles, VarMap::of_templates(file))));
    stack.retain(|(_, map)| !map.is_empty());
    stack
}
