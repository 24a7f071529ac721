//! Variables and maps of them.

use crate::{
    config::Place,
    playbook::Template,
    template::{Found, Node, from_json},
};
use serde_json::{Map, Value};
use std::{collections::HashMap, sync::Arc};

/// A variable's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Variable {
    /// As written by the user: rendered when it is used.
    Template(Template),
    /// From a host, or the result of rendering: never rendered (S12).
    Data(Value),
    /// What check mode cannot know.
    Unknown {
        /// Why, a clause.
        because: String,
    },
}

/// A variable made ready for use.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub(super) found: Found,
    pub(super) place: Option<Place>,
}

impl From<&Variable> for Ready {
    fn from(variable: &Variable) -> Self {
        match variable {
            Variable::Template(template) => Self {
                found: Found::Node(Node::new(&template.value, template.place.as_ref())),
                place: template.place.clone(),
            },
            Variable::Data(value) => Self { found: Found::Value(from_json(value)), place: None },
            Variable::Unknown { because } => Self { found: Found::Unknown(because.clone()), place: None },
        }
    }
}

/// Variables of one layer from one place. Immutable once shared.
#[derive(Debug, Clone, Default)]
pub struct VarMap(pub(super) HashMap<String, Ready>);

impl VarMap {
    /// From variables as written; of two of one name the later wins.
    pub fn of_templates<'a>(variables: impl IntoIterator<Item = &'a (String, Template)>) -> Arc<Self> {
        let entries = variables.into_iter().map(|(name, template)| {
            let node = Node::new(&template.value, template.place.as_ref());
            (name.clone(), Ready { found: Found::Node(node), place: template.place.clone() })
        });
        Arc::new(Self(entries.collect()))
    }

    /// From data.
    pub fn of_data(variables: &Map<String, Value>) -> Self {
        let ready = |value: &Value| Ready { found: Found::Value(from_json(value)), place: None };
        Self(variables.iter().map(|(name, value)| (name.clone(), ready(value))).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn set(&mut self, name: &str, variable: &Variable) {
        self.0.insert(name.to_owned(), Ready::from(variable));
    }

    pub(super) fn set_value(&mut self, name: &str, value: minijinja::Value) {
        self.0.insert(name.to_owned(), Ready { found: Found::Value(value), place: None });
    }
}
