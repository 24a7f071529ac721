//! The resolved program: what the loader guarantees and the engine runs. Nothing here is checked again.

use super::guard::GuardKeys;
use crate::config::Place;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A value from a playbook, inventory or vars file: its strings may hold templates, to be rendered when used.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// The value as written.
    pub value: Value,
    /// Where it was written.
    pub place: Option<Place>,
}

/// A loaded playbook.
#[derive(Debug, Clone)]
pub struct Playbook {
    /// The path as given.
    pub path: String,
    /// Directory of the playbook, absolute: `playbook_dir`, base of `files/`, `templates/`, `vars_files`.
    pub dir: std::path::PathBuf,
    /// Its plays.
    pub plays: Vec<Arc<Play>>,
}

/// A play.
#[derive(Debug, Clone)]
pub struct Play {
    /// Its name, else its `hosts`.
    pub name: String,
    /// Where it begins.
    pub place: Place,
    /// The host pattern, still a template.
    pub hosts: Template,
    /// Whether facts are gathered first. Default true, as in Ansible.
    pub gather_facts: bool,
    /// `vars:` in order.
    pub vars: Vec<(String, Template)>,
    /// `vars_files:` as loaded, in order (names without templates are loaded by the loader).
    pub vars_files: Vec<Vec<(String, Template)>>,
    /// Keywords that tasks inherit.
    pub inherited: Inherited,
    /// pre_tasks, tasks, post_tasks in order; handlers are flushed after each of the three.
    pub sections: [Vec<Arc<Task>>; 3],
    /// Handlers in definition order.
    pub handlers: Vec<Arc<Task>>,
    /// The play's `rollback:` tasks.
    pub rollback: Vec<Arc<Task>>,
    /// `serial:` of a play without `rollout:`.
    pub serial: Vec<Size>,
    /// `max_fail_percentage:`.
    pub max_fail_percentage: Option<f64>,
    /// `any_errors_fatal:`.
    pub any_errors_fatal: bool,
    /// `order:` `inventory`, `reverse_inventory`, `sorted`, `reverse_sorted`, `shuffle`.
    pub order: String,
    /// The `rollout:` stanza.
    pub rollout: Option<Rollout>,
}

/// Keywords that a task inherits from its play, already merged (innermost wins; tags and `when` add up).
#[derive(Debug, Clone, Default)]
pub struct Inherited {
    /// `become:` and its user and method.
    pub r#become: Become,
    /// `remote_user:`.
    pub remote_user: Option<Template>,
    /// `connection:`.
    pub connection: Option<String>,
    /// `environment:` maps, outermost first.
    pub environment: Vec<Template>,
    /// `check_mode:`.
    pub check_mode: Option<bool>,
    /// `diff:`.
    pub diff: Option<bool>,
    /// `no_log:`.
    pub no_log: bool,
    /// `ignore_errors:`.
    pub ignore_errors: bool,
    /// `ignore_unreachable:`.
    pub ignore_unreachable: bool,
    /// `run_once:`.
    pub run_once: bool,
    /// `timeout:`; none: no limit but the controller's.
    pub timeout: Option<Duration>,
    /// `tags:`.
    pub tags: Vec<String>,
}

/// `become`, `become_user`.
#[derive(Debug, Clone, Default)]
pub struct Become {
    /// Whether to become another user; none: not said (the command line's `-b` decides).
    pub on: Option<bool>,
    /// Whom; none: root.
    pub user: Option<Template>,
}

/// A task or handler.
#[derive(Debug, Clone)]
pub struct Task {
    /// Unique in the playbook, in order of appearance; handlers and rollback tasks included.
    pub index: usize,
    /// `name:` as written (a template), else the module's name.
    pub name: String,
    /// Where the task begins.
    pub place: Place,
    /// What it does.
    pub action: Action,
    /// Keywords inherited or its own.
    pub inherited: Inherited,
    /// `vars:`.
    pub vars: Vec<(String, Template)>,
    /// `when:` expressions, all of which must hold.
    pub when: Vec<Template>,
    /// `loop:` (or `with_items`).
    pub r#loop: Option<Template>,
    /// `loop_control:`.
    pub loop_control: LoopControl,
    /// `register:`.
    pub register: Option<String>,
    /// `notify:` handler names and `listen` topics.
    pub notify: Vec<String>,
    /// A handler's `listen:` topics.
    pub listen: Vec<String>,
    /// `changed_when:` expressions, all of which must hold; empty: the module's word. `false` is one expression.
    pub changed_when: Vec<Template>,
    /// `failed_when:`.
    pub failed_when: Vec<Template>,
    /// `until:`, `retries:`, `delay:`.
    pub until: Option<Until>,
    /// `delegate_to: localhost`.
    pub delegate_to_localhost: bool,
    /// `critical: true`: never cut.
    pub critical: bool,
    /// `accept_irreversible: true`.
    pub accept_irreversible: bool,
    /// `undo:` tasks.
    pub undo: Vec<Arc<Self>>,
}

/// What a task does.
#[derive(Debug, Clone)]
pub enum Action {
    /// A module of the agent, by its short name, parameters checked against its spec as far as they hold no template.
    Agent(ModuleArgs),
    /// `template`: rendered on the controller, then copied.
    Template(ModuleArgs),
    /// `copy` of a file of the controller (`src` without `remote_src`).
    CopyFile(ModuleArgs),
    /// `raw`: one line for the login shell.
    Raw(Template),
    /// `assert`.
    Assert {
        /// Expressions.
        that: Vec<Template>,
        /// `fail_msg`.
        fail_msg: Option<Template>,
        /// `success_msg`.
        success_msg: Option<Template>,
        /// `quiet`.
        quiet: bool,
    },
    /// `fail`.
    Fail {
        /// `msg`.
        msg: Template,
    },
    /// `debug`.
    Debug {
        /// `msg`, or none.
        msg: Option<Template>,
        /// `var`: an expression, or none.
        var: Option<Template>,
    },
    /// `set_fact`.
    SetFact {
        /// Names and values.
        facts: Vec<(String, Template)>,
    },
    /// `meta: flush_handlers`, `end_play`, `end_host`, `noop`, `clear_host_errors`.
    Meta(String),
}

/// A module's parameters as written, canonical names, not rendered.
#[derive(Debug, Clone)]
pub struct ModuleArgs {
    /// The short name.
    pub module: String,
    /// Parameters.
    pub params: BTreeMap<String, Template>,
}

/// `loop_control:`.
#[derive(Debug, Clone)]
pub struct LoopControl {
    /// `loop_var`, by default `item`.
    pub loop_var: String,
    /// `index_var`.
    pub index_var: Option<String>,
    /// `label`.
    pub label: Option<Template>,
    /// `pause`.
    pub pause: Duration,
}

/// `until`, `retries`, `delay`.
#[derive(Debug, Clone)]
pub struct Until {
    /// Conditions; empty: until it has not failed.
    pub conditions: Vec<Template>,
    /// How often it is tried again after the first attempt (a number or a template).
    pub retries: Template,
    /// Seconds between attempts (a number or a template).
    pub delay: Template,
}

/// A count or a share of hosts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// So many hosts.
    Count(usize),
    /// So many hundredths of the hosts; 0 < percent <= 100 where it is a size.
    Percent(f64),
}

/// The `rollout:` stanza (rollout.md section 1).
#[derive(Debug, Clone)]
pub struct Rollout {
    /// Where it stands.
    pub place: Place,
    /// `batches`; default one batch of all hosts.
    pub batches: Vec<Size>,
    /// `max_parallel`; none: no limit of its own.
    pub max_parallel: Option<Size>,
    /// `max_unavailable`; none: the largest batch (R4).
    pub max_unavailable: Option<Size>,
    /// `failure_domain`: the host variable whose value is a host's domain.
    pub failure_domain: Option<String>,
    /// `ramp`: hosts of a batch start 1, 2, 4, ... at a time.
    pub ramp: bool,
    /// `rehearse`: the first host to change is changed, put back, compared and changed again.
    pub rehearse: bool,
    /// `max_fail`; default 0.
    pub max_fail: Size,
    /// `max_unhealthy_upgraded`: changed hosts that may be unhealthy; none: no limit of its own.
    pub max_unhealthy_upgraded: Option<Size>,
    /// `on_unreachable_preflight`.
    pub on_unreachable: OnUnreachable,
    /// `min_healthy_time`; default 10 s.
    pub min_healthy_time: Duration,
    /// `healthy_deadline`; default 5 min.
    pub healthy_deadline: Duration,
    /// `progress_deadline`; none: no limit but `healthy_deadline` of each host.
    pub progress_deadline: Option<Duration>,
    /// `bake_time`; default 0.
    pub bake_time: Duration,
    /// `promote`.
    pub promote: Promote,
    /// `on_failure`.
    pub on_failure: OnFailure,
    /// `on_inconclusive`.
    pub on_inconclusive: OnInconclusive,
    /// `pause_timeout`: how long a pause that the run made itself waits for an operator; default 1 h.
    pub pause_timeout: Duration,
    /// `abort_grace`; default 60 s.
    pub abort_grace: Duration,
    /// `rollback_deadline`; default 10 min.
    pub rollback_deadline: Duration,
    /// `keep_undo`; default 7 d.
    pub keep_undo: Duration,
    /// `rollback:` speed.
    pub rollback: RollbackSpeed,
    /// `confirm`, `guard_timeout`, `revert_budget`, `expect_reboot`.
    pub guard: GuardKeys,
    /// Probes.
    pub probes: Vec<Probe>,
    /// Triggers.
    pub triggers: Vec<Trigger>,
}

/// Speed of a rollback (rollout.md 2.5).
#[derive(Debug, Clone, Default)]
pub struct RollbackSpeed {
    /// Hosts rolled back at once; none: `max_parallel`.
    pub max_parallel: Option<Size>,
    /// How long the probes of a host put back must be healthy; default 0: once.
    pub min_healthy_time: Duration,
    /// `on_failure: pause`: a host that could not be put back pauses the rollback of the rest; default `continue`.
    pub pauses: bool,
}

/// `promote:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promote {
    /// The next batch follows by itself.
    Auto,
    /// An operator says so.
    Manual,
}

/// `on_failure:` (R6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// All touched hosts of the batch, healthy ones too.
    RollbackBatch,
    /// All touched hosts of the run.
    RollbackRun,
    /// Nothing more starts.
    Pause,
    /// Only the failed hosts are restored.
    Continue,
}

/// `on_unreachable_preflight:`: a host that cannot be reached before anything was done to it (2.3, R5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnreachable {
    /// Not said: it counts in `max_fail`, and takes up `max_unavailable`.
    Count,
    /// It takes no part, and takes up `max_unavailable` only.
    Exclude,
    /// The run ends before anything is changed.
    Abort,
}

/// `on_inconclusive:` (2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInconclusive {
    /// Wait for an operator.
    Pause,
    /// Abort; `on_failure` follows.
    Abort,
    /// Abort and roll the batch back.
    Rollback,
}

/// A probe.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its name: an identifier, the root of trigger expressions.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// `when:` expressions over the host's variables; where one is false the probe does not exist on that host.
    pub when: Vec<Template>,
    /// What is asked.
    pub target: ProbeTarget,
    /// `from:`: who asks.
    pub from: ProbeFrom,
    /// One measurement an item; an empty list measures nothing (`no_data`).
    pub r#loop: Option<Template>,
    /// Expression over `json`, `status`, `rc`, `stdout`; default: 2xx, exit 0, connected.
    pub success_when: Option<Template>,
    /// Samples a round; default 1.
    pub count: u32,
    /// Before the first round; default 0.
    pub initial_delay: Duration,
    /// From the end of a round to the start of the next; default 5 s.
    pub interval: Duration,
    /// Per attempt; default 10 s.
    pub timeout: Duration,
    /// Fires at the nth consecutive unhealthy; default 3.
    pub failure_threshold: u32,
    /// Default 1.
    pub success_threshold: u32,
    /// Tolerates n; default 4.
    pub max_consecutive_errors: u32,
    /// Fewer samples than this judge only the absolute bound of a p95; default 20.
    pub min_samples: u32,
    /// Enforce or only report.
    pub mode: ProbeMode,
}

/// What a probe asks.
#[derive(Debug, Clone)]
pub enum ProbeTarget {
    /// `command:` by the shell.
    Command(Template),
    /// `http:`.
    Http(Template),
    /// `unix:`, a socket to connect to.
    Unix(Template),
    /// `tcp:`, `host:port` or a port.
    Tcp(Template),
}

/// `from:` of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeFrom {
    /// The host itself, by its agent.
    Host,
    /// The controller, as its own user.
    Controller,
}

/// `mode:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeMode {
    /// Its verdicts and triggers act.
    Enforce,
    /// They are only reported.
    DryRun,
}

/// A trigger.
#[derive(Debug, Clone)]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// Where its `when` stands.
    pub place: Place,
    /// The condition over probes' names; other names are the host's variables (in batch and run scope: those of the
    /// host whose round is judged). A condition over a probe that does not exist on the host never fires.
    pub when: Template,
    /// `scope:`; default host (R13).
    pub scope: Scope,
    /// `action:`; default `abort_batch`.
    pub action: TriggerAction,
    /// `for:`: rounds that a raw value must hold; none: the probe's `failure_threshold`.
    pub for_rounds: Option<u32>,
    /// Enforce or only report.
    pub mode: ProbeMode,
}

/// `scope:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Evaluated for each host.
    Host,
    /// Over the rounds of the batch's hosts, in journal order.
    Batch,
    /// Over all hosts changed so far.
    Run,
}

/// `action:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerAction {
    /// The host fails; it is rolled back alone and counts in `max_fail`.
    FailHost,
    /// Nothing more starts.
    Pause,
    /// The batch is aborted; `on_failure` follows.
    AbortBatch,
    /// All touched hosts of the run are rolled back.
    RollbackRun,
}
