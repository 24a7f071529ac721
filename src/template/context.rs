//! What a template sees: names looked up when they are used, each variable rendered at most once a rendering, with
//! cycles found and undefined values remembered with their reason.

use super::{
    failure::{Carried, Failure},
    node::{Entries, Node},
    python::Omit,
    render::render_text,
};
use crate::config::Diagnostic;
use minijinja::{
    Error, ErrorKind, Value,
    value::{Enumerator, Object, ObjectRepr},
};
use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// The name under which functions and filters find the context itself.
pub(super) const CONTEXT: &str = "__rollgate_context";

/// Variables within variables within variables: how deep. Each level costs stack.
const DEEPEST: usize = 24;

/// Where names come from.
pub trait Variables: Send + Sync {
    /// What a name stands for; none: undefined.
    fn find(&self, name: &str) -> Option<Found>;

    /// All names, for suggestions.
    fn names(&self) -> Vec<String>;

    /// Directories searched by `lookup('file')` and `lookup('template')`, nearest first.
    fn directories(&self) -> Vec<PathBuf>;

    /// Another host's variables, for `hostvars`; none: there is no such host.
    fn of_host(&self, host: &str) -> Option<Arc<dyn Variables>>;

    /// All hosts that `hostvars` has.
    fn hosts(&self) -> Vec<String>;
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub enum Found {
    /// Something to render when it is used.
    Node(Node),
    /// A value, never rendered (S12).
    Value(Value),
    /// A value that check mode cannot know.
    Unknown(String),
}

/// The state of one rendering. It lives as long as the context that [`Context::new`] made.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
    /// Kept by the first context only, so that the contexts of other hosts, which the family keeps, form no cycle.
    _owner: Option<Arc<Family>>,
}

/// One host's part of a rendering.
struct Inner {
    variables: Arc<dyn Variables>,
    /// The host, where it is another one's than that which is rendered for.
    host: Option<String>,
    done: Mutex<HashMap<String, Value>>,
    family: Weak<Family>,
}

/// What all contexts of a rendering share.
#[derive(Default)]
struct Family {
    under_way: Mutex<Vec<String>>,
    /// Why a variable turned out undefined: what its own template said.
    reasons: Mutex<Vec<(String, Diagnostic)>>,
    /// What the templates under way have written so far; the innermost last.
    written: Mutex<Vec<Written>>,
    /// The contexts of other hosts, for `hostvars`.
    others: Mutex<HashMap<String, Context>>,
}

/// What one template has written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) count: usize,
    pub(super) first: Option<(Value, usize)>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

impl Context {
    /// A context for one rendering.
    pub fn new(variables: Arc<dyn Variables>) -> Self {
        let family = Arc::new(Family::default());
        let inner = Inner { variables, host: None, done: Mutex::default(), family: Arc::downgrade(&family) };
        Self { inner: Arc::new(inner), _owner: Some(family) }
    }

    fn of_inner(inner: Arc<Inner>) -> Self {
        Self { inner, _owner: None }
    }

    /// What is shared. An empty one only where a value outlives its rendering, which conversion to data prevents.
    fn family(&self) -> Arc<Family> {
        self.inner.family.upgrade().unwrap_or_default()
    }

    /// The context of another host.
    fn other(&self, host: &str) -> Option<Self> {
        let family = self.family();
        if let Some(known) = lock(&family.others).get(host) {
            return Some(known.clone());
        }
        let inner = Inner {
            variables: self.inner.variables.of_host(host)?,
            host: Some(host.to_owned()),
            done: Mutex::default(),
            family: self.inner.family.clone(),
        };
        let context = Self::of_inner(Arc::new(inner));
        lock(&family.others).insert(host.to_owned(), context.clone());
        Some(context)
    }

    /// A name as error messages call it.
    fn qualified(&self, name: &str) -> String {
        match &self.inner.host {
            Some(host) => format!("hostvars['{host}'].{name}"),
            None => name.to_owned(),
        }
    }

    /// The context as the engine takes it.
    pub(super) fn root(&self) -> Value {
        Value::from_object(Root(self.clone()))
    }

    /// The context that a filter or function runs in.
    pub(super) fn of(state: &minijinja::State<'_, '_>) -> Option<Self> {
        state.lookup(CONTEXT).and_then(|value| value.downcast_object_ref::<Handle>().and_then(Handle::context))
    }

    pub(super) fn variables(&self) -> &dyn Variables {
        self.inner.variables.as_ref()
    }

    /// A variable's value, rendered. Undefined where its template is; an invalid value where it fails otherwise.
    pub(super) fn resolve(&self, name: &str) -> Option<Value> {
        if let Some(value) = lock(&self.inner.done).get(name) {
            return Some(value.clone());
        }
        let value = match self.inner.variables.find(name) {
            None if name == "omit" => Value::from_object(Omit),
            None if name == "hostvars" => Value::from_object(HostVars(Arc::downgrade(&self.inner))),
            None => return None,
            Some(Found::Value(value)) => value,
            Some(Found::Unknown(because)) => Failure::Unknown(because).into_value(),
            Some(Found::Node(node)) => self.render_variable(name, &node),
        };
        lock(&self.inner.done).insert(name.to_owned(), value.clone());
        Some(value)
    }

    fn render_variable(&self, name: &str, node: &Node) -> Value {
        let family = self.family();
        {
            let name = self.qualified(name);
            let mut under_way = lock(&family.under_way);
            if let Some(at) = under_way.iter().position(|other| *other == name) {
                let chain: Vec<_> = under_way.iter().skip(at).chain([&name]).map(String::as_str).collect();
                return Failure::error(cycle(&chain)).into_value();
            }
            if under_way.len() >= DEEPEST {
                return Failure::error(Diagnostic {
                    message: format!(
                        "variables refer to each other more than {DEEPEST} deep: {}",
                        under_way.join(" → ")
                    ),
                    place: None,
                    label: "too deep".to_owned(),
                    help: Some("Use set_fact to work out an intermediate value.".to_owned()),
                })
                .into_value();
            }
            under_way.push(name);
        }
        let value = self.lazy(node, name);
        lock(&family.under_way).pop();
        value
    }

    /// A node's value: strings rendered now, containers when they are read.
    pub(super) fn lazy(&self, node: &Node, owner: &str) -> Value {
        match node {
            Node::Plain(value) => value.clone(),
            Node::Text(text) => match render_text(self, &text.text, text.place.as_ref()) {
                Ok(value) => value,
                Err(Failure::Error { diagnostic, undefined: true }) => {
                    lock(&self.family().reasons).push((self.qualified(owner), *diagnostic));
                    Value::UNDEFINED
                }
                Err(failure) => failure.used_by(owner).into_value(),
            },
            Node::Seq(items) => Value::from_object(LazySeq {
                items: Arc::clone(items),
                context: Arc::downgrade(&self.inner),
                owner: owner.to_owned(),
            }),
            Node::Map(entries) => Value::from_object(LazyMap {
                entries: Arc::clone(entries),
                context: Arc::downgrade(&self.inner),
                owner: owner.to_owned(),
            }),
        }
    }

    /// Why `name` (or something in it) was undefined, if its own template said so.
    pub(super) fn reason(&self, name: &str) -> Option<Diagnostic> {
        let name = self.qualified(name);
        lock(&self.family().reasons).iter().rev().find(|(owner, _)| *owner == name).map(|(_, reason)| reason.clone())
    }

    /// Why the last value that turned out undefined was so.
    pub(super) fn last_reason(&self) -> Option<Diagnostic> {
        lock(&self.family().reasons).last().map(|(_, reason)| reason.clone())
    }

    pub(super) fn begin_writing(&self) {
        lock(&self.family().written).push(Written::default());
    }

    pub(super) fn end_writing(&self) -> Written {
        lock(&self.family().written).pop().unwrap_or_default()
    }

    /// Notes a value written, with the length of its text.
    pub(super) fn note_written(&self, value: &Value, length: usize) {
        if let Some(written) = lock(&self.family().written).last_mut() {
            written.count += 1;
            if written.first.is_none() {
                written.first = Some((value.clone(), length));
            }
        }
    }
}

fn cycle(chain: &[&str]) -> Diagnostic {
    let name = chain.first().copied().unwrap_or_default();
    Diagnostic {
        message: format!("variable `{name}` refers to itself: {}", chain.join(" → ")),
        place: None,
        label: "its value needs its own value".to_owned(),
        help: Some("Give one of them another name.".to_owned()),
    }
}

/// The root object: every name is looked up in the context.
struct Root(Context);

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("variables")
    }
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            CONTEXT => Some(Value::from_object(Handle(Arc::downgrade(&self.0.inner)))),
            "vars" => Some(Value::from_object(Self(self.0.clone()))),
            _ => self.0.resolve(key),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let mut names = self.0.variables().names();
        names.sort();
        Enumerator::Iter(Box::new(names.into_iter().map(Value::from)))
    }
}

/// The context as a value that filters and functions can reach. Weak, so that no value keeps the context alive.
#[derive(Debug)]
struct Handle(Weak<Inner>);

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

impl Handle {
    fn context(&self) -> Option<Context> {
        self.0.upgrade().map(Context::of_inner)
    }
}

impl Object for Handle {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// A list whose items are rendered when they are read.
#[derive(Debug)]
struct LazySeq {
    items: Arc<[Node]>,
    context: Weak<Inner>,
    owner: String,
}

impl Object for LazySeq {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let node = self.items.get(key.as_usize()?)?;
        Some(read(&self.context, node, &self.owner))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.items.len())
    }
}

/// A mapping whose values are rendered when they are read.
#[derive(Debug)]
struct LazyMap {
    entries: Arc<Entries>,
    context: Weak<Inner>,
    owner: String,
}

impl Object for LazyMap {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(read(&self.context, self.entries.get(key.as_str()?)?, &self.owner))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let keys: Vec<Value> = self.entries.order.iter().map(|(key, _)| Value::from(key.as_str())).collect();
        Enumerator::Iter(Box::new(keys.into_iter()))
    }
}

/// `hostvars`: the variables of other hosts, rendered as those hosts see them.
#[derive(Debug)]
struct HostVars(Weak<Inner>);

impl Object for HostVars {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let context = Context::of_inner(self.0.upgrade()?).other(key.as_str()?)?;
        Some(Value::from_object(HostVarsOf(Arc::downgrade(&context.inner))))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let hosts = self.0.upgrade().map(|inner| inner.variables.hosts()).unwrap_or_default();
        Enumerator::Iter(Box::new(hosts.into_iter().map(Value::from)))
    }
}

/// `hostvars[host]`.
#[derive(Debug)]
struct HostVarsOf(Weak<Inner>);

impl Object for HostVarsOf {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Context::of_inner(self.0.upgrade()?).resolve(key.as_str()?)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let mut names = self.0.upgrade().map(|inner| inner.variables.names()).unwrap_or_default();
        names.sort();
        Enumerator::Iter(Box::new(names.into_iter().map(Value::from)))
    }
}

fn read(context: &Weak<Inner>, node: &Node, owner: &str) -> Value {
    match context.upgrade() {
        Some(inner) => Context::of_inner(inner).render_entry(node, owner),
        None => Value::from(Error::from(Carried::gone())),
    }
}

impl Context {
    /// Renders an entry of a container; entries that read their own container again and again are cycles too.
    fn render_entry(&self, node: &Node, owner: &str) -> Value {
        let family = self.family();
        if lock(&family.under_way).len() >= DEEPEST {
            return Failure::error(cycle(&[owner, owner])).into_value();
        }
        lock(&family.under_way).push(format!("{owner}[…]"));
        let value = self.lazy(node, owner);
        lock(&family.under_way).pop();
        value
    }
}

impl From<Carried> for Error {
    fn from(carried: Carried) -> Self {
        Self::new(ErrorKind::InvalidOperation, carried.to_string()).with_source(carried)
    }
}
