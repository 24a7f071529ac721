//! A module's parameters against its spec: names, presence, literal types, choices, and the trap of unquoted modes.

use super::{
    program::{ModuleArgs, Template},
    reader::{Loader, has_template},
};
use crate::config::{Entry, Place, did_you_mean};
use rollgate_agent::modules::{ModuleSpec, ParamKind, ParamSpec, normalise};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A parameter as written.
#[derive(Debug, Clone)]
pub(super) struct Param {
    pub name: String,
    pub name_place: Place,
    pub value: Template,
}

impl Param {
    /// Where the value stands.
    pub(super) fn place(&self) -> &Place {
        self.value.place.as_ref().unwrap_or(&self.name_place)
    }
}

/// What a module accepts, as far as the loader must know.
pub(super) struct Accepted<'a> {
    pub module: &'a str,
    pub spec: &'a ModuleSpec,
    /// Parameters of the spec that the controller sets itself.
    pub hidden: &'a [&'a str],
    /// Parameters that only the controller knows, all of them texts, and whether they must be given.
    pub extra: &'a [(&'a str, bool)],
    /// Ansible's parameters that are not built.
    pub unbuilt: &'a [&'a str],
}

/// Ansible's spellings of booleans.
pub(super) fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::String(text) => match text.trim().to_lowercase().as_str() {
            "y" | "yes" | "on" | "1" | "true" | "t" | "1.0" => Some(true),
            "n" | "no" | "off" | "0" | "false" | "f" | "0.0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

impl Accepted<'_> {
    fn find(&self, name: &str) -> Option<&'static ParamSpec> {
        self.spec
            .params
            .iter()
            .find(|param| param.name == name || param.aliases.contains(&name))
            .filter(|param| !self.is_hidden(param.name))
    }

    /// Whether only the controller gives this parameter.
    fn is_hidden(&self, name: &str) -> bool {
        self.hidden.contains(&name) || name.starts_with('_')
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let own = self.spec.params.iter().map(|param| param.name).filter(|name| !self.is_hidden(name));
        own.chain(self.extra.iter().map(|(name, _)| *name))
    }
}

impl Loader {
    /// Checks parameters and gives them their canonical names.
    pub(super) fn module_args(&mut self, accepted: &Accepted<'_>, params: Vec<Param>, at: &Place) -> ModuleArgs {
        let mut checked: BTreeMap<String, Template> = BTreeMap::new();
        for mut param in params {
            // A null means "not given", as in Ansible.
            if param.value.value.is_null() {
                continue;
            }
            let spec = accepted.find(&param.name);
            if spec.is_none() && !accepted.extra.iter().any(|(name, _)| *name == param.name) {
                self.unknown_param(accepted, &param);
                continue;
            }
            if let Some(spec) = spec {
                self.literal_param(accepted, spec, &mut param);
            }
            let name = spec.map_or(param.name.as_str(), |spec| spec.name).to_owned();
            if checked.contains_key(&name) {
                let message = format!("`{}` is given twice", param.name);
                self.error(&param.name_place, message, "given again here").help = Some("keep one of them".into());
            }
            checked.insert(name, param.value);
        }
        self.missing_params(accepted, &checked, at);
        ModuleArgs { module: accepted.spec.name.to_owned(), params: checked }
    }

    fn unknown_param(&mut self, accepted: &Accepted<'_>, param: &Param) {
        if accepted.unbuilt.contains(&param.name.as_str()) {
            self.unbuilt(&param.name_place, &format!("`{}` of `{}`", param.name, accepted.module), "");
            return;
        }
        let names: Vec<&str> = accepted.names().collect();
        let help = did_you_mean(&param.name, names.iter().copied())
            .unwrap_or_else(|| format!("it takes {}", names.join(", ")));
        let message = format!("`{}` is not a parameter of `{}`", param.name, accepted.module);
        self.error(&param.name_place, message, "unknown parameter").help = Some(help);
    }

    /// Checks a value that holds no template.
    fn literal_param(&mut self, accepted: &Accepted<'_>, spec: &ParamSpec, param: &mut Param) {
        if spec.kind == ParamKind::Mode && param.value.value.is_number() {
            self.mode(param);
            return;
        }
        if has_template(&param.value.value) {
            return;
        }
        let one = Map::from_iter([(spec.name.to_owned(), param.value.value.clone())]);
        let Err(error) = normalise(accepted.spec, &one) else { return };
        if error.param.as_deref() != Some(spec.name) {
            return; // another parameter is missing; that is seen below
        }
        let prefix = format!("parameter `{}` ", spec.name);
        let reason = error.reason.strip_prefix(&prefix).unwrap_or(&error.reason).to_owned();
        let help = param.value.value.as_str().and_then(|text| did_you_mean(text, spec.choices.iter().copied()));
        let message = format!("`{}` of `{}` {reason}", param.name, accepted.module);
        let place = param.place().clone();
        self.error(&place, message, "this value").help = help;
    }

    /// A mode written as a number: YAML reads `0644` as octal, which is what is meant, and `644` as decimal, which is not.
    fn mode(&mut self, param: &mut Param) {
        let written = param.place().text().to_owned();
        if written.starts_with('0') && param.value.value.as_u64().is_some_and(|mode| mode <= 0o7777) {
            let mode = param.value.value.as_u64().unwrap_or_default();
            param.value.value = Value::String(format!("{mode:04o}"));
            return;
        }
        let place = param.place().clone();
        self.error(&place, format!("`mode: {written}` is read as a decimal number"), "an unquoted mode").help =
            Some(format!("write it in quotes and as octal: mode: \"{written:0>4}\""));
    }

    fn missing_params(&mut self, accepted: &Accepted<'_>, given: &BTreeMap<String, Template>, at: &Place) {
        let own = accepted.spec.params.iter().filter(|param| param.required && !accepted.is_hidden(param.name));
        let extra = accepted.extra.iter().filter(|(_, required)| *required).map(|(name, _)| *name);
        let mut missing: Vec<&str> =
            own.map(|param| param.name).chain(extra).filter(|n| !given.contains_key(*n)).collect();
        missing.dedup();
        for name in missing {
            self.error(at, format!("`{}` needs `{name}`", accepted.module), format!("`{name}` is missing"));
        }
        for group in accepted.spec.require_one_of {
            let names: Vec<String> =
                group.iter().filter(|name| !accepted.is_hidden(name)).map(|name| format!("`{name}`")).collect();
            if !names.is_empty() && !group.iter().any(|name| given.contains_key(*name)) {
                self.error(at, format!("`{}` needs {}", accepted.module, names.join(" or ")), "none is given");
            }
        }
    }

    /// The parameters of a map.
    pub(super) fn params_of(&mut self, entries: &[Entry]) -> Vec<Param> {
        entries
            .iter()
            .map(|entry| Param {
                name: entry.key.clone(),
                name_place: entry.key_place.clone(),
                value: self.template(&entry.value),
            })
            .collect()
    }
}
