//! A value as written, ready to be rendered piece by piece: only what an expression reads is rendered.

use super::{
    python::{from_json, to_json},
    scan::is_template,
};
use crate::config::Place;
use minijinja::Value;
use serde_json::Value as Json;
use std::{collections::HashMap, sync::Arc};

/// A value from a playbook, inventory or vars file.
#[derive(Debug, Clone)]
pub enum Node {
    /// Nothing in it is a template.
    Plain(Value),
    /// A string to render.
    Text(Arc<Text>),
    /// A list with templates in it.
    Seq(Arc<[Self]>),
    /// A mapping with templates in its values. Keys are never rendered, as in Ansible.
    Map(Arc<Entries>),
}

/// A template string and where it stands.
#[derive(Debug)]
pub struct Text {
    pub(super) text: String,
    pub(super) place: Option<Place>,
}

/// A mapping's entries in their order.
#[derive(Debug)]
pub struct Entries {
    pub(super) order: Vec<(String, Node)>,
    pub(super) index: HashMap<String, usize>,
}

impl Entries {
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.index.get(key).and_then(|at| self.order.get(*at)).map(|(_, node)| node)
    }
}

impl Node {
    /// Takes a value apart. `place` is where the whole value was written.
    pub fn new(value: &Json, place: Option<&Place>) -> Self {
        if !holds_template(value) {
            return Self::Plain(from_json(value));
        }
        match value {
            Json::String(text) => Self::Text(Arc::new(Text { text: text.clone(), place: place.cloned() })),
            Json::Array(items) => Self::Seq(items.iter().map(|item| Self::new(item, place)).collect()),
            Json::Object(map) => {
                let order: Vec<_> = map.iter().map(|(key, value)| (key.clone(), Self::new(value, place))).collect();
                let index = order.iter().enumerate().map(|(at, (key, _))| (key.clone(), at)).collect();
                Self::Map(Arc::new(Entries { order, index }))
            }
            other => Self::Plain(from_json(other)),
        }
    }
}

impl Node {
    /// The value as it was written, templates not rendered.
    pub fn written(&self) -> Json {
        match self {
            // Plain values came from JSON, so that they have a form in it.
            Self::Plain(value) => to_json(value).unwrap_or_default(),
            Self::Text(text) => Json::String(text.text.clone()),
            Self::Seq(items) => items.iter().map(Self::written).collect(),
            Self::Map(entries) => entries.order.iter().map(|(key, node)| (key.clone(), node.written())).collect(),
        }
    }
}

fn holds_template(value: &Json) -> bool {
    match value {
        Json::String(text) => is_template(text),
        Json::Array(items) => items.iter().any(holds_template),
        Json::Object(map) => map.values().any(holds_template),
        _ => false,
    }
}
