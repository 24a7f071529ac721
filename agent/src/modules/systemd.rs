//! `systemd`: a unit's state, by systemctl, as ansible-core's `systemd_service.py`.

use super::programs::required;
use super::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::protocol::{Change, Diff, ModuleCall, TaskReport};
use crate::serve::Finished;
use serde::Deserialize;
use serde_json::{Map, Value};

pub(super) const SPEC: ModuleSpec = ModuleSpec {
    name: "systemd",
    params: PARAMS,
    free_form: None,
    undo: UndoClass::Exact,
    check: CheckClass::Exact,
    require_one_of: &[&["state", "enabled", "masked", "daemon_reload", "daemon_reexec"]],
};

/// ansible-core's own name for the module; `systemd` is an alias of it there.
pub(super) const SERVICE_SPEC: ModuleSpec = ModuleSpec {
    name: "systemd_service",
    params: PARAMS,
    free_form: None,
    undo: UndoClass::Exact,
    check: CheckClass::Exact,
    require_one_of: SPEC.require_one_of,
};

const PARAMS: &[ParamSpec] = &[
    ParamSpec { aliases: &["service", "unit"], ..ParamSpec::optional("name", ParamKind::Str) },
    ParamSpec {
        choices: &["reloaded", "restarted", "started", "stopped"],
        ..ParamSpec::optional("state", ParamKind::Str)
    },
    ParamSpec::optional("enabled", ParamKind::Bool),
    ParamSpec::optional("masked", ParamKind::Bool),
    ParamSpec { aliases: &["daemon-reload"], ..ParamSpec::optional("daemon_reload", ParamKind::Bool) },
    ParamSpec { aliases: &["daemon-reexec"], ..ParamSpec::optional("daemon_reexec", ParamKind::Bool) },
    ParamSpec { choices: &["system"], ..ParamSpec::optional("scope", ParamKind::Str) },
    ParamSpec::optional("no_block", ParamKind::Bool),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Reloaded,
    Restarted,
    Started,
    Stopped,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Systemd {
    name: Option<String>,
    state: Option<State>,
    enabled: Option<bool>,
    masked: Option<bool>,
    #[serde(default)]
    daemon_reload: bool,
    #[serde(default)]
    daemon_reexec: bool,
    #[expect(dead_code, reason = "one scope is accepted, and it is the default")]
    scope: Option<String>,
    #[serde(default)]
    no_block: bool,
}

pub(super) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    let module: Systemd = decode(call)?;
    match &module.name {
        Some(name) if name.contains(['*', '?', '[', ' ', '\n', '/']) || name.starts_with('-') || name.is_empty() => {
            Err(ParamError::new("systemd", "name", "must be one unit's name; patterns are not supported"))
        }
        None if module.state.is_some() || module.enabled.is_some() || module.masked.is_some() => {
            Err(ParamError::new("systemd", "name", "is missing: state, enabled and masked need it"))
        }
        _ => Ok(Box::new(module)),
    }
}

impl Module for Systemd {
    fn check(&self, cx: &Context) -> Result<TaskReport, ModuleError> {
        let systemctl = required(cx, "systemctl", "systemd")?;
        let Some(name) = &self.name else { return Ok(TaskReport::new(Change::Unchanged)) };
        let unit = Unit::look(cx, &systemctl, name)?;
        if !unit.exists() && !unit.masked() && self.masked.is_none() {
            // A task that check mode did not run may bring it.
            let mut report = TaskReport::new(Change::Unknown).with("name", name.as_str());
            report.warnings.push(format!("{name} is not on this host yet: whether it changes cannot be known"));
            return Ok(report);
        }
        let actions = self.actions(&unit)?;
        Ok(self.report(cx, &unit, &actions))
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        let systemctl = required(cx, "systemctl", "systemd")?;
        for (wanted, verb) in [(self.daemon_reload, "daemon-reload"), (self.daemon_reexec, "daemon-reexec")] {
            if wanted {
                let finished = cx.process([systemctl.as_str(), verb]).run()?;
                refusal(&finished, &format!("systemctl {verb}"))
                    .map_or(Ok(()), |error| Err(ModuleError::Failed(error)))?;
            }
        }
        let Some(name) = &self.name else { return Ok(TaskReport::new(Change::Unchanged)) };
        let unit = Unit::look(cx, &systemctl, name)?;
        let actions = self.actions(&unit)?;
        let mut report = self.report(cx, &unit, &actions);
        if !actions.is_empty() {
            cx.undo.unit(&unit.id)?;
        }
        if actions.iter().any(|action| action.verb == "stop") {
            for stopped in unit.stopped_with(cx, &systemctl)? {
                cx.undo.unit(&stopped)?;
            }
        }
        for action in &actions {
            let mut argv = vec![systemctl.as_str()];
            if self.no_block {
                argv.push("--no-block");
            }
            argv.extend([action.verb, "--", name]);
            let finished = cx.process(&argv).run()?;
            if let Some(error) = refusal(&finished, &format!("Unable to {} service {name}", action.verb)) {
                return Ok(report.failing(error));
            }
            let said = finished.stderr_text();
            report.warnings.extend(said.lines().filter(|line| line.starts_with("Warning")).map(str::to_owned));
        }
        if !actions.is_empty() {
            let after = Unit::look(cx, &systemctl, name)?;
            report.data.insert("status".to_owned(), Value::Object(after.status));
        }
        Ok(report)
    }

    /// A restart that is cut in the middle leaves a service down.
    fn critical(&self) -> bool {
        true
    }
}

/// One call of systemctl.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Action {
    verb: &'static str,
    before: String,
    after: &'static str,
}

impl Systemd {
    /// What is to be done, in Ansible's order: mask, enable, state.
    fn actions(&self, unit: &Unit) -> Result<Vec<Action>, ModuleError> {
        let mut actions = Vec::new();
        if let Some(masked) = self.masked.filter(|masked| *masked != unit.masked()) {
            let (verb, after) = if masked { ("mask", "masked") } else { ("unmask", "unmasked") };
            actions.push(Action { verb, before: unit.file_state.clone(), after });
        }
        let exists = unit.exists() || unit.masked();
        if !exists && (self.enabled.is_some() || self.state.is_some()) {
            return Err(ModuleError::failed(format!(
                "Could not find the requested service {}: host",
                self.name.as_deref().unwrap_or_default()
            )));
        }
        if let Some(enabled) = self.enabled.filter(|enabled| *enabled != unit.enabled()) {
            let (verb, after) = if enabled { ("enable", "enabled") } else { ("disable", "disabled") };
            actions.push(Action { verb, before: unit.file_state.clone(), after });
        }
        let before = unit.active_state().to_owned();
        let verb = match (self.state, unit.running()) {
            (None, _) | (Some(State::Started), true) => None,
            (Some(State::Started | State::Restarted | State::Reloaded), false) => Some(("start", "active")),
            (Some(State::Restarted), true) => Some(("restart", "active (restarted)")),
            (Some(State::Reloaded), true) => Some(("reload", "active (reloaded)")),
            (Some(State::Stopped), running) => (running || before == "deactivating").then_some(("stop", "inactive")),
        };
        actions.extend(verb.map(|(verb, after)| Action { verb, before, after }));
        Ok(actions)
    }

    fn report(&self, cx: &Context, unit: &Unit, actions: &[Action]) -> TaskReport {
        let name = self.name.as_deref().unwrap_or_default();
        let mut report = TaskReport::changed_if(!actions.is_empty())
            .with("name", name)
            .with("status", Value::Object(unit.status.clone()));
        if let Some(enabled) = self.enabled {
            report = report.with("enabled", enabled);
        }
        match self.state {
            Some(State::Stopped) => report = report.with("state", "stopped"),
            Some(_) => report = report.with("state", "started"),
            None => {}
        }
        if cx.diff {
            for action in actions {
                let diff = Diff::of_states(format!("unit {}", unit.id), action.before.as_str(), action.after);
                report = report.differing(diff);
            }
        }
        report
    }
}

/// A unit as `systemctl show` has it.
#[derive(Debug, Default)]
struct Unit {
    /// The unit's own name, with its suffix.
    id: String,
    status: Map<String, Value>,
    /// As `systemctl is-enabled` says.
    file_state: String,
    enabled_rc: i32,
}

impl Unit {
    fn look(cx: &Context, systemctl: &str, name: &str) -> Result<Self, ModuleError> {
        let shown = cx.process([systemctl, "show", "--", name]).run()?;
        if let Some(error) = refusal(&shown, "systemctl show") {
            return Err(ModuleError::Failed(error));
        }
        let status = parse_show(&shown.stdout_text());
        if status.is_empty() {
            let said = shown.stderr_text();
            return Err(ModuleError::failed(format!("systemctl does not answer on this host: {}", said.trim())));
        }
        let enabled = cx.process([systemctl, "is-enabled", "--", name]).run()?;
        let id = status.get("Id").and_then(Value::as_str).unwrap_or(name).to_owned();
        let file_state = enabled.stdout_text().trim().to_owned();
        Ok(Self { id, status, file_state, enabled_rc: enabled.rc })
    }

    /// The running units that systemd stops with this one, since they need it (systemd.unit(5): `Requires=`, `BindsTo=`,
    /// `PartOf=`): stopping docker.socket stops docker.service.
    fn stopped_with(&self, cx: &Context, systemctl: &str) -> Result<Vec<String>, ModuleError> {
        let mut stopped: Vec<String> = Vec::new();
        let mut next = self.needed_by();
        while let Some(name) = next.pop() {
            if name == self.id || stopped.contains(&name) {
                continue;
            }
            let unit = Self::look(cx, systemctl, &name)?;
            if unit.running() {
                next.extend(unit.needed_by());
                stopped.push(unit.id);
            }
        }
        Ok(stopped)
    }

    fn needed_by(&self) -> Vec<String> {
        let lists = ["RequiredBy", "BoundBy", "ConsistsOf"].into_iter().map(|list| self.text(list));
        lists.flat_map(str::split_whitespace).map(str::to_owned).collect()
    }

    fn text(&self, name: &str) -> &str {
        self.status.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn active_state(&self) -> &str {
        self.text("ActiveState")
    }

    fn exists(&self) -> bool {
        !matches!(self.text("LoadState"), "" | "not-found")
    }

    fn running(&self) -> bool {
        matches!(self.active_state(), "active" | "activating" | "reloading")
    }

    fn masked(&self) -> bool {
        self.file_state == "masked"
    }

    /// Enabled for good: not only until the next boot, nor by another name.
    fn enabled(&self) -> bool {
        self.enabled_rc == 0 && !matches!(self.file_state.as_str(), "enabled-runtime" | "indirect" | "alias")
    }
}

/// Why systemctl did not do it, if it did not; an ignored request exits with 0 in a chroot.
fn refusal(finished: &Finished, what: &str) -> Option<String> {
    let said = finished.stderr_text();
    let ignored = said.contains("ignoring request") || said.contains("ignoring command");
    (!finished.success() || ignored).then(|| format!("{what}: {}", said.trim()))
}

/// `Name=value` lines. Only values of `Exec…` go over several lines, in braces.
fn parse_show(text: &str) -> Map<String, Value> {
    let mut status = Map::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        if let Some((name, mut value)) = open.take() {
            value.push('\n');
            value.push_str(line);
            if line.trim_end().ends_with('}') {
                status.insert(name, Value::from(value.trim()));
            } else {
                open = Some((name, value));
            }
        } else if let Some((name, value)) = line.split_once('=') {
            let braces = name.starts_with("Exec") && value.trim_start().starts_with('{');
            if braces && !value.trim_end().ends_with('}') {
                open = Some((name.to_owned(), value.to_owned()));
            } else {
                status.insert(name.to_owned(), Value::from(value.trim()));
            }
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn unit(active: &str, file_state: &str, rc: i32) -> Unit {
        let status = parse_show(&format!("Id=x.service\nLoadState=loaded\nActiveState={active}\n"));
        Unit { id: "x.service".to_owned(), status, file_state: file_state.to_owned(), enabled_rc: rc }
    }

    fn module(params: Value) -> Systemd {
        serde_json::from_value(params).unwrap()
    }

    fn verbs(params: Value, unit: &Unit) -> Vec<&'static str> {
        module(params).actions(unit).unwrap().into_iter().map(|action| action.verb).collect()
    }

    #[test]
    fn a_state_is_reached_by_the_one_verb_that_is_needed() {
        let (up, down) = (unit("active", "enabled", 0), unit("inactive", "disabled", 1));
        for (state, on_up, on_down) in [
            ("started", None, Some("start")),
            ("stopped", Some("stop"), None),
            ("restarted", Some("restart"), Some("start")),
            ("reloaded", Some("reload"), Some("start")),
        ] {
            let wanted = json!({"name": "x", "state": state});
            assert_eq!(verbs(wanted.clone(), &up), on_up.into_iter().collect::<Vec<_>>(), "{state}");
            assert_eq!(verbs(wanted, &down), on_down.into_iter().collect::<Vec<_>>(), "{state}");
        }
        assert_eq!(verbs(json!({"name": "x", "state": "stopped"}), &unit("deactivating", "", 1)), ["stop"]);
        assert_eq!(verbs(json!({"name": "x", "state": "started"}), &unit("failed", "", 1)), ["start"]);
    }

    #[test]
    fn what_stops_with_a_unit_is_what_needs_it() {
        let text =
            "Id=docker.socket\nRequiredBy=docker.service\nWantedBy=sockets.target\nConsistsOf=a.service b.service\n";
        let unit = Unit { status: parse_show(text), ..Unit::default() };
        assert_eq!(unit.needed_by(), ["docker.service", "a.service", "b.service"]);
    }

    #[test]
    fn enabling_means_for_good() {
        let wanted = json!({"name": "x", "enabled": true});
        assert!(verbs(wanted.clone(), &unit("active", "enabled", 0)).is_empty());
        assert!(verbs(wanted.clone(), &unit("active", "static", 0)).is_empty());
        assert_eq!(verbs(wanted.clone(), &unit("active", "enabled-runtime", 0)), ["enable"]);
        assert_eq!(verbs(wanted, &unit("active", "disabled", 1)), ["enable"]);
        assert_eq!(verbs(json!({"name": "x", "enabled": false}), &unit("active", "enabled", 0)), ["disable"]);
    }

    #[test]
    fn masking_comes_first_and_needs_no_unit() {
        let absent = Unit { file_state: "not-found".to_owned(), enabled_rc: 1, ..Unit::default() };
        assert_eq!(verbs(json!({"name": "x", "masked": true}), &absent), ["mask"]);
        let error = module(json!({"name": "x", "state": "started"})).actions(&absent).unwrap_err();
        assert_eq!(error.to_string(), "Could not find the requested service x: host");
        let masked = unit("inactive", "masked", 1);
        let wanted = json!({"name": "x", "masked": false, "enabled": true, "state": "started"});
        assert_eq!(verbs(wanted, &masked), ["unmask", "enable", "start"]);
    }

    #[test]
    fn values_in_braces_may_go_over_lines() {
        let text = "Id=a.service\nExecStart={ path=/a ; argv[]=/a -c x\ny ; }\nDescription={ odd\nActiveState=active\n";
        let status = parse_show(text);
        assert_eq!(status["ActiveState"], "active");
        assert_eq!(status["Description"], "{ odd");
        assert_eq!(status["ExecStart"], "{ path=/a ; argv[]=/a -c x\ny ; }");
    }

    #[test]
    fn a_host_without_systemd_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let call = ModuleCall {
            module: "systemd".to_owned(),
            params: json!({"name": "no-such-unit-here", "state": "started"}).as_object().unwrap().clone(),
        };
        let mut cx = Context::new(crate::protocol::Mode::Apply, dir.path());
        let error = crate::modules::build(&call).unwrap().apply(&mut cx).unwrap_err().to_string();
        assert!(
            ["systemd", "no-such-unit-here"].iter().any(|word| error.contains(word)),
            "either there is no systemd, or no such unit: {error}"
        );
    }

    #[test]
    fn one_name_is_needed_and_a_pattern_is_none() {
        for params in [
            json!({"state": "started"}),
            json!({"name": "a*", "state": "started"}),
            json!({"name": "--now", "enabled": true}),
        ] {
            let call = ModuleCall { module: "systemd".to_owned(), params: params.as_object().unwrap().clone() };
            assert!(crate::modules::build(&call).is_err(), "{params}");
        }
    }
}
