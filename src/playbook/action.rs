//! What a task does: which module, with which parameters, and on which side it runs.

use super::{
    files::find_file,
    free_form::{self, value_place},
    keywords::{CONTROLLER_MODULES, META, TASK, UNBUILT_META, UNBUILT_MODULES, UNBUILT_TEMPLATE},
    params::{Accepted, Param, boolean},
    program::{Action, Template},
    reader::{Loader, is_identifier, is_template},
    syntax,
};
use crate::config::{Entry, Kind, Node, Place, did_you_mean};
use rollgate_agent::modules::{ModuleSpec, spec, specs};
use serde_json::Value;

/// A module's name without the collection that it may be written with.
pub(super) fn short_name(name: &str) -> &str {
    name.strip_prefix("ansible.builtin.").or_else(|| name.strip_prefix("ansible.legacy.")).unwrap_or(name)
}

/// Whether there is such a module, on either side.
fn is_module(name: &str) -> bool {
    CONTROLLER_MODULES.contains(&name) || spec(name).is_some()
}

/// Names of all modules.
fn modules() -> Vec<&'static str> {
    CONTROLLER_MODULES.iter().copied().chain(specs().iter().map(|spec| spec.name)).collect()
}

/// A module as a task names it.
struct Call<'n> {
    /// As written.
    name: String,
    /// Where the name stands.
    place: Place,
    /// The parameters that stand with it.
    value: &'n Node,
    /// Parameters in the same string, after the module's name (`action: copy src=a dest=b`).
    line: Option<String>,
    /// `args:`.
    args: Option<&'n Entry>,
}

impl Loader {
    /// The module of a task and what it comes to.
    pub(super) fn action_of(&mut self, node: &Node, entries: &[Entry]) -> (Option<String>, Option<Action>) {
        let Some(call) = self.call(node, entries) else { return (None, None) };
        let name = short_name(&call.name).to_owned();
        if !is_module(&name) {
            self.missing_module(&call.name, &call.place);
            return (None, None);
        }
        let action = self.action(&name, &call);
        (Some(name), action)
    }

    /// Finds the one module of a task and reports every key that is neither it nor a keyword.
    fn call<'n>(&mut self, node: &'n Node, entries: &'n [Entry]) -> Option<Call<'n>> {
        let args = node.entry("args");
        let (mut modules, mut unknown) = (Vec::new(), Vec::new());
        for entry in entries.iter().filter(|entry| !TASK.known.contains(&entry.key.as_str())) {
            let name = short_name(&entry.key);
            let unbuilt_keyword = TASK.unbuilt.iter().any(|(keyword, _)| *keyword == name);
            if is_module(name) || (!unbuilt_keyword && (UNBUILT_MODULES.contains(&name) || entry.key.contains('.'))) {
                modules.push(entry);
            } else {
                unknown.push(entry);
            }
        }
        let action = node.entry("action").or_else(|| node.entry("local_action"));
        let known = self::modules();
        let named = modules.first().map(|entry| entry.key.as_str()).or(action.map(|_| "action"));
        for entry in &unknown {
            self.unknown_key(entry, &known, named);
        }
        if let (Some(first), Some(second)) = (modules.first().copied().or(action), modules.get(1).copied().or(action))
            && first != second
        {
            let message = format!("a task has one module; this one has `{}` and `{}`", first.key, second.key);
            self.error(&second.key_place, message, "a second one").help = Some("make it two tasks".into());
            return None;
        }
        if let Some(entry) = modules.first() {
            return Some(Call {
                name: entry.key.clone(),
                place: entry.key_place.clone(),
                value: &entry.value,
                line: None,
                args,
            });
        }
        if let Some(entry) = action {
            return self.old_action(entry, args);
        }
        if unknown.is_empty() {
            self.error(&node.place, "this task does nothing", "no module is named").help =
                Some(format!("a task names one of {}", known.join(", ")));
        }
        None
    }

    /// `action: module k=v` or `action: {module: name, …}`.
    fn old_action<'n>(&mut self, entry: &'n Entry, args: Option<&'n Entry>) -> Option<Call<'n>> {
        if let Some(inner) = entry.value.entry("module") {
            let name = self.literal(inner)?;
            return Some(Call { name, place: inner.value.place.clone(), value: &entry.value, line: None, args });
        }
        let Some(text) = entry.value.as_str() else {
            self.expected(entry, "a module's name and its parameters");
            return None;
        };
        let (name, line) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        let place = value_place(text, name, &entry.value.place);
        Some(Call { name: name.to_owned(), place, value: &entry.value, line: Some(line.trim().to_owned()), args })
    }

    fn missing_module(&mut self, name: &str, place: &Place) {
        let short = short_name(name);
        if UNBUILT_MODULES.contains(&short) {
            let instead = match short {
                "include_tasks" | "import_tasks" | "include_role" | "import_role" => "write the tasks into the play",
                "gather_facts" | "setup" => "facts are gathered where the play says gather_facts: true",
                "service" | "sysvinit" | "systemd_service" => "use `systemd`",
                "include_vars" => "use `vars_files`",
                _ => "",
            };
            self.unbuilt(place, &format!("the module `{short}`"), instead);
        } else if short.contains('.') {
            self.unbuilt(place, &format!("the module `{name}` of a collection"), "only modules of ansible.builtin are");
        } else {
            let help = did_you_mean(short, modules());
            self.error(place, format!("there is no module `{name}`"), "unknown module").help = help;
        }
    }

    fn action(&mut self, name: &str, call: &Call<'_>) -> Option<Action> {
        match name {
            "raw" => self.raw(call),
            "meta" => self.meta(call),
            "set_fact" => self.set_fact(call),
            "debug" => self.debug(call),
            "assert" => self.assert(call),
            "fail" => self.fail(call),
            "template" => self.template_module(call),
            _ => {
                let spec = spec(name)?;
                let params = self.params(name, spec.free_form, call)?;
                if name == "copy" {
                    return self.copy(spec, params, call);
                }
                let accepted = Accepted { module: name, spec, hidden: &[], extra: &[], unbuilt: &[] };
                Some(Action::Agent(self.module_args(&accepted, params, &call.place)))
            }
        }
    }

    /// All parameters of a call, from whichever form they were written in.
    fn params(&mut self, name: &str, free: Option<&str>, call: &Call<'_>) -> Option<Vec<Param>> {
        let mut params = match call.args {
            None => Vec::new(),
            Some(entry) => match entry.value.as_map() {
                Some(entries) => self.params_of(entries),
                None if entry.value.as_str().is_some_and(is_template) => {
                    self.unbuilt(&entry.value.place, "a template for `args`", "write the parameters");
                    return None;
                }
                None => {
                    self.expected(entry, "a map of parameters");
                    return None;
                }
            },
        };
        let own = self.own_params(name, free, call)?;
        // What stands with the module wins over `args:`, as in Ansible.
        params.retain(|param| own.iter().all(|other| other.name != param.name));
        params.extend(own);
        Some(params)
    }

    fn own_params(&mut self, name: &str, free: Option<&str>, call: &Call<'_>) -> Option<Vec<Param>> {
        match (&call.line, &call.value.kind) {
            (Some(line), _) => self.line_params(name, free, line, call),
            (None, Kind::Map(entries)) => {
                let mut params = self.params_of(entries);
                if call.place != call.value.place && entries.iter().any(|e| e.value.place == call.place) {
                    params.retain(|param| param.name != "module"); // `action: {module: name}`
                }
                Some(params)
            }
            (None, Kind::Scalar(Value::Null)) => Some(Vec::new()),
            (None, Kind::Scalar(Value::String(text))) => self.line_params(name, free, text, call),
            (None, Kind::Scalar(Value::Number(number))) if free.is_some() => {
                self.line_params(name, free, &number.to_string(), call)
            }
            _ => {
                let message = format!("`{name}` takes a map of parameters, found {}", call.value.describe());
                self.error(&call.value.place, message, "expected `parameter: value` lines");
                None
            }
        }
    }

    /// `a=1 b=2`, or a command line.
    fn line_params(&mut self, name: &str, free: Option<&str>, line: &str, call: &Call<'_>) -> Option<Vec<Param>> {
        let place = &call.value.place;
        let before = self.problems.0.len();
        self.check_templates(call.value);
        if self.problems.0.len() > before {
            return None;
        }
        let Some(parsed) = free_form::parse(line, free.is_some()) else {
            self.error(place, "a quote is not closed", "no end of it was found").help =
                Some("close the quote, or write a single one as \\'".into());
            return None;
        };
        let mut params: Vec<Param> = Vec::new();
        for (key, value) in parsed.params {
            let at = value_place(line, &value, place);
            let name_place = value_place(line, &format!("{key}="), place);
            params.push(Param {
                name: key,
                name_place,
                value: Template { value: Value::String(value), place: Some(at) },
            });
        }
        match (free, parsed.rest) {
            (_, rest) if rest.is_empty() => {}
            (Some(free), rest) => params.push(Param {
                name: free.to_owned(),
                name_place: call.place.clone(),
                value: Template { value: Value::String(rest), place: Some(place.clone()) },
            }),
            (None, rest) => {
                let at = value_place(line, &rest, place);
                let message = format!("`{name}` takes parameters, not a line of text");
                self.error(&at, message, "expected `parameter: value` lines, or parameter=value");
                return None;
            }
        }
        Some(params)
    }

    /// `copy` reads its source on the controller unless `remote_src` says otherwise.
    fn copy(&mut self, spec: &'static ModuleSpec, mut params: Vec<Param>, call: &Call<'_>) -> Option<Action> {
        let given = |name: &str| params.iter().position(|param| param.name == name && !param.value.value.is_null());
        let remote = given("remote_src");
        if let Some(at) = remote
            && params[at].value.value.as_str().is_some_and(is_template)
        {
            let place = params[at].place().clone();
            self.unbuilt(&place, "a template for `remote_src`", "write true or false");
            return None;
        }
        let on_host = remote.is_some_and(|at| boolean(&params[at].value.value) == Some(true));
        if on_host || given("src").is_none() {
            let hidden = ["content_b64"];
            let accepted = Accepted { module: "copy", spec, hidden: &hidden, extra: &[], unbuilt: &[] };
            return Some(Action::Agent(self.module_args(&accepted, params, &call.place)));
        }
        if let Some(at) = given("content") {
            let place = params[at].name_place.clone();
            self.error(&place, "`copy` takes `src` or `content`, not both", "a second source").help =
                Some("keep one of them".into());
        }
        params.retain(|param| !matches!(param.name.as_str(), "remote_src" | "content"));
        if let Some(src) = params.iter().find(|param| param.name == "src") {
            let src = src.value.clone();
            self.source_file("files", &src);
        }
        let hidden = ["src", "content", "content_b64", "remote_src", "blob"];
        let extra = [("src", true)];
        let accepted =
            Accepted { module: "copy", spec, hidden: &hidden, extra: &extra, unbuilt: &["local_follow", "decrypt"] };
        Some(Action::CopyFile(self.module_args(&accepted, params, &call.place)))
    }

    /// `template`: `copy` of what the controller renders.
    fn template_module(&mut self, call: &Call<'_>) -> Option<Action> {
        let params = self.params("template", None, call)?;
        if let Some(src) = params.iter().find(|param| param.name == "src") {
            let src = src.value.clone();
            self.source_file("templates", &src);
        }
        let hidden = ["src", "content", "content_b64", "remote_src", "blob"];
        let Some(spec) = spec("copy") else {
            self.unbuilt(&call.place, "the module `template`", "");
            return None;
        };
        let extra = [("src", true)];
        let unbuilt: Vec<&str> = UNBUILT_TEMPLATE
            .iter()
            .copied()
            .filter(|name| spec.params.iter().all(|param| param.name != *name))
            .collect();
        let accepted = Accepted { module: "template", spec, hidden: &hidden, extra: &extra, unbuilt: &unbuilt };
        let mut args = self.module_args(&accepted, params, &call.place);
        args.module = "template".into();
        Some(Action::Template(args))
    }

    /// A file of the controller that is named without a template must be there; a template must compile.
    fn source_file(&mut self, kind: &str, src: &Template) {
        let (Some(name), Some(place)) = (src.value.as_str(), &src.place) else { return };
        if is_template(name) {
            return;
        }
        let Some(path) = find_file(&self.dir, kind, name) else {
            let help = format!("it was looked for in {0}/{kind} and {0}", self.dir.display());
            self.error(place, format!("the file `{name}` is not there"), "not found").help = Some(help);
            return;
        };
        if path.is_dir() {
            self.unbuilt(place, "copying a directory", "copy its files one by one, with `loop`");
        } else if kind == "templates" {
            match crate::config::read(&path) {
                Ok(source) => syntax::file(&source, &mut self.problems),
                Err(problems) => self.problems.extend(problems),
            }
        }
    }

    fn raw(&mut self, call: &Call<'_>) -> Option<Action> {
        let mut params = self.params("raw", Some("cmd"), call)?;
        let command = params.iter().position(|param| param.name == "cmd").map(|at| params.remove(at));
        for other in &params {
            self.unbuilt(&other.name_place, &format!("`{}` of `raw`", other.name), "");
        }
        if command.is_none() {
            self.error(&call.place, "`raw` needs a command line", "nothing to run");
        }
        command.map(|param| Action::Raw(param.value))
    }

    fn meta(&mut self, call: &Call<'_>) -> Option<Action> {
        let word = call.line.clone().or_else(|| call.value.as_str().map(str::to_owned)).unwrap_or_default();
        if META.contains(&word.as_str()) {
            return Some(Action::Meta(word));
        }
        if UNBUILT_META.contains(&word.as_str()) {
            self.unbuilt(&call.value.place, &format!("`meta: {word}`"), "");
            return None;
        }
        let help =
            did_you_mean(&word, META.iter().copied()).unwrap_or_else(|| format!("write one of {}", META.join(", ")));
        self.error(&call.value.place, "`meta` takes one of a few words", "unknown word").help = Some(help);
        None
    }

    fn set_fact(&mut self, call: &Call<'_>) -> Option<Action> {
        let params = self.params("set_fact", None, call)?;
        if params.is_empty() {
            self.error(&call.place, "`set_fact` sets nothing", "expected `name: value` lines");
        }
        let mut facts = Vec::new();
        for param in params {
            if param.name == "cacheable" {
                self.unbuilt(&param.name_place, "`cacheable`", "facts last for one run");
            } else if is_identifier(&param.name) {
                facts.push((param.name, param.value));
            } else {
                let message = format!("`{}` cannot be the name of a variable", param.name);
                self.error(&param.name_place, message, "expected letters, digits and underscores, no digit first");
            }
        }
        Some(Action::SetFact { facts })
    }

    fn debug(&mut self, call: &Call<'_>) -> Option<Action> {
        let (mut msg, mut var) = (None, None);
        for param in self.params("debug", None, call)? {
            match param.name.as_str() {
                "msg" => msg = Some(param.value),
                "var" => var = self.expression("var", &param),
                "verbosity" => self.unbuilt(&param.name_place, "`verbosity`", ""),
                _ => self.unknown_own(&param, "debug", &["msg", "var"]),
            }
        }
        if msg.is_some() && var.is_some() {
            self.error(&call.place, "`debug` takes `msg` or `var`, not both", "keep one of them");
        }
        Some(Action::Debug { msg, var })
    }

    fn assert(&mut self, call: &Call<'_>) -> Option<Action> {
        let (mut that, mut fail_msg, mut success_msg, mut quiet) = (None, None, None, false);
        for param in self.params("assert", None, call)? {
            match param.name.as_str() {
                "that" => that = Some(self.that(call, &param)),
                "fail_msg" | "msg" => fail_msg = Some(param.value),
                "success_msg" => success_msg = Some(param.value),
                "quiet" => quiet = boolean(&param.value.value).unwrap_or(false),
                _ => self.unknown_own(&param, "assert", &["that", "fail_msg", "success_msg", "quiet"]),
            }
        }
        let Some(that) = that else {
            self.error(&call.place, "`assert` needs `that`", "`that` is missing");
            return None;
        };
        Some(Action::Assert { that, fail_msg, success_msg, quiet })
    }

    /// The conditions of `assert`.
    fn that(&mut self, call: &Call<'_>, param: &Param) -> Vec<Template> {
        let written = call.value.entry("that").or_else(|| call.args.and_then(|args| args.value.entry("that")));
        match written {
            Some(entry) => self.conditions(entry),
            None => self.expression("that", param).into_iter().collect(),
        }
    }

    fn fail(&mut self, call: &Call<'_>) -> Option<Action> {
        let mut msg = Template { value: Value::String("Failed as requested from task".into()), place: None };
        for param in self.params("fail", None, call)? {
            match param.name.as_str() {
                "msg" => msg = param.value,
                _ => self.unknown_own(&param, "fail", &["msg"]),
            }
        }
        Some(Action::Fail { msg })
    }

    /// A parameter that is an expression.
    fn expression(&mut self, key: &str, param: &Param) -> Option<Template> {
        let node = Node { place: param.place().clone(), kind: Kind::Scalar(param.value.value.clone()) };
        self.condition(key, &node)
    }

    fn unknown_own(&mut self, param: &Param, module: &str, names: &[&str]) {
        let help = did_you_mean(&param.name, names.iter().copied())
            .unwrap_or_else(|| format!("it takes {}", names.join(", ")));
        self.error(
            &param.name_place,
            format!("`{}` is not a parameter of `{module}`", param.name),
            "unknown parameter",
        )
        .help = Some(help);
    }
}
