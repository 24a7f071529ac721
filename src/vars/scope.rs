//! What a template of one host sees at one moment. Immutable: what happens later does not change it.

use super::{
    precedence::Layer,
    values::{VarMap, Variable},
    world::World,
};
use crate::{
    config::{Diagnostic, Place},
    playbook::{LoopControl, Task, Template},
    template::{self, Context, FileOptions, Found, Rendered, Variables, render_file},
};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Variables of one host, by precedence. Cheap to clone.
#[derive(Clone)]
pub struct Scope(Arc<Inner>);

struct Inner {
    world: Arc<World>,
    host: String,
    /// Lowest first; several maps of one layer in their own order.
    stack: Vec<(Layer, Arc<VarMap>)>,
}

/// Where a variable's value comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The layer that wins.
    pub layer: Layer,
    /// Where it was written, if it was written.
    pub place: Option<Place>,
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope").field("host", &self.0.host).finish_non_exhaustive()
    }
}

impl Scope {
    pub(super) fn new(world: Arc<World>, host: &str, stack: Vec<(Layer, Arc<VarMap>)>) -> Self {
        let mut stack = stack;
        // Stable: within a layer the given order stays.
        stack.sort_by_key(|(layer, _)| *layer);
        Self(Arc::new(Inner { world, host: host.to_owned(), stack }))
    }

    /// The host whose variables these are; empty where there is none.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// Whether the inventory has this host.
    pub(super) fn known(&self) -> bool {
        self.0.world.inventory().host(&self.0.host).is_some()
    }

    /// The same with one more map of variables.
    pub(super) fn add(&self, layer: Layer, map: Arc<VarMap>) -> Self {
        if map.is_empty() {
            return self.clone();
        }
        let mut stack = self.0.stack.clone();
        let at = stack.partition_point(|(other, _)| *other <= layer);
        stack.insert(at, (layer, map));
        Self(Arc::new(Inner { world: Arc::clone(&self.0.world), host: self.0.host.clone(), stack }))
    }

    /// With the task's `vars`.
    pub fn task(&self, task: &Task) -> Self {
        self.add(Layer::Task, VarMap::of_templates(&task.vars))
    }

    /// With one item of a loop: `item` (or `loop_var`), `index_var`, and `ansible_loop` with `index`, `index0`, `first`,
    /// `last`, `length`, `revindex`, `revindex0`.
    pub fn item(&self, control: &LoopControl, item: Value, index: usize, length: usize) -> Self {
        let mut map = VarMap::default();
        map.set(&control.loop_var, &Variable::Data(item));
        map.set("ansible_loop_var", &Variable::Data(Value::from(control.loop_var.as_str())));
        if let Some(name) = &control.index_var {
            map.set(name, &Variable::Data(Value::from(index)));
        }
        let extended = serde_json::json!({
            "index": index + 1,
            "index0": index,
            "first": index == 0,
            "last": index + 1 == length,
            "length": length,
            "revindex": length.saturating_sub(index),
            "revindex0": length.saturating_sub(index + 1),
        });
        map.set("ansible_loop", &Variable::Data(extended));
        self.add(Layer::Loop, Arc::new(map))
    }

    /// With one more variable, above all others.
    pub fn with(&self, name: &str, variable: Variable) -> Self {
        let mut map = VarMap::default();
        map.set(name, &variable);
        self.add(Layer::Local, Arc::new(map))
    }

    /// Where a variable's value comes from; none: there is no such variable.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.0
            .stack
            .iter()
            .rev()
            .find_map(|(layer, map)| map.0.get(name).map(|ready| Origin { layer: *layer, place: ready.place.clone() }))
    }

    /// The names of all variables, sorted, with where each comes from.
    pub fn origins(&self) -> BTreeMap<String, Origin> {
        let mut found = BTreeMap::new();
        for (layer, map) in &self.0.stack {
            for (name, ready) in &map.0 {
                found.insert(name.clone(), Origin { layer: *layer, place: ready.place.clone() });
            }
        }
        found
    }

    /// All variables that the user wrote, by name, as written and where: templates are not rendered.
    pub fn written(&self) -> BTreeMap<String, (Value, Origin)> {
        let mut found = BTreeMap::new();
        for (layer, map) in &self.0.stack {
            for (name, ready) in &map.0 {
                if let Found::Node(node) = &ready.found {
                    let origin = Origin { layer: *layer, place: ready.place.clone() };
                    found.insert(name.clone(), (node.written(), origin));
                } else {
                    found.remove(name);
                }
            }
        }
        found
    }

    fn context(&self) -> Context {
        Context::new(Arc::new(self.clone()))
    }

    /// Renders a value as written: native types, nested containers; `omit` leaves an entry out.
    ///
    /// # Errors
    /// What is wrong in it, and where. `omit` as the whole value is an error: see [`Self::render_optional`].
    pub fn render(&self, template: &Template) -> Result<Rendered<Value>, Diagnostic> {
        template::render(&self.context(), template)
    }

    /// Like [`Self::render`]; none for `omit`.
    ///
    /// # Errors
    /// What is wrong in it, and where.
    pub fn render_optional(&self, template: &Template) -> Result<Rendered<Option<Value>>, Diagnostic> {
        template::render_optional(&self.context(), template)
    }

    /// Renders a module's parameters; those that come to `omit` are left out. Unknown if any of them is.
    ///
    /// # Errors
    /// The first mistake.
    pub fn render_params(
        &self,
        params: &BTreeMap<String, Template>,
    ) -> Result<Rendered<Map<String, Value>>, Diagnostic> {
        let mut rendered = Map::new();
        for (name, template) in params {
            match self.render_optional(template)? {
                Rendered::Known(Some(value)) => drop(rendered.insert(name.clone(), value)),
                Rendered::Known(None) => {}
                Rendered::Unknown { because } => return Ok(Rendered::Unknown { because }),
            }
        }
        Ok(Rendered::Known(rendered))
    }

    /// Renders to text, as for a name or a message: what is no text is written as Python writes it.
    ///
    /// # Errors
    /// What is wrong in it, and where.
    pub fn render_text(&self, template: &Template) -> Result<Rendered<String>, Diagnostic> {
        Ok(self.render(template)?.map(|value| template::to_text(&value)))
    }

    /// Evaluates a condition: an expression without braces, which must come to true or false.
    ///
    /// # Errors
    /// What is wrong in it; a result that is not a boolean included.
    pub fn condition(&self, template: &Template) -> Result<Rendered<bool>, Diagnostic> {
        template::condition(&self.context(), template)
    }

    /// Whether all conditions hold, evaluated in order until one does not. An unknown one is unknown only if no known
    /// one before it is false.
    ///
    /// # Errors
    /// What is wrong in one of them.
    pub fn all(&self, conditions: &[Template]) -> Result<Rendered<bool>, Diagnostic> {
        for condition in conditions {
            match self.condition(condition)? {
                Rendered::Known(true) => {}
                other => return Ok(other),
            }
        }
        Ok(Rendered::Known(true))
    }

    /// Evaluates an expression without braces.
    ///
    /// # Errors
    /// What is wrong in it.
    pub fn expression(&self, expression: &str, place: Option<&Place>) -> Result<Rendered<Value>, Diagnostic> {
        template::expression(&self.context(), expression, place)
    }

    /// Renders a template file of the controller.
    ///
    /// # Errors
    /// What is wrong in it, and where; a file that cannot be read.
    pub fn template_file(&self, path: &Path) -> Result<Rendered<String>, Diagnostic> {
        self.template_file_with(path, &FileOptions::default())
    }

    /// Like [`Self::template_file`] with the options of the `template` module.
    ///
    /// # Errors
    /// What is wrong in it, and where; a file that cannot be read.
    pub fn template_file_with(&self, path: &Path, options: &FileOptions) -> Result<Rendered<String>, Diagnostic> {
        template::settle(render_file(&self.context(), path, options))
    }
}

impl Variables for Scope {
    fn find(&self, name: &str) -> Option<Found> {
        self.0.stack.iter().rev().find_map(|(_, map)| map.0.get(name)).map(|ready| ready.found.clone())
    }

    fn names(&self) -> Vec<String> {
        self.origins().into_keys().collect()
    }

    fn directories(&self) -> Vec<PathBuf> {
        vec![self.0.world.directory().to_path_buf()]
    }

    fn of_host(&self, host: &str) -> Option<Arc<dyn Variables>> {
        self.0.world.host_scope(host).map(|scope| Arc::new(scope) as Arc<dyn Variables>)
    }

    fn hosts(&self) -> Vec<String> {
        self.0.world.hosts()
    }
}
