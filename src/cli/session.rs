//! What `run` and `plan` begin with: everything read and checked, every mistake at once, no host touched.

use super::args::{ConnectArgs, InventoryArgs, StateArgs};
use crate::{
    config::{Diagnostic, Diagnostics},
    engine::{self, TargetOf},
    error::Error,
    host::AgentFiles,
    inventory::Inventory,
    playbook::{self, Playbook},
    report::Out,
    secrets::{Redactor, looks_secret},
    ssh::SshOptions,
    template::Rendered,
    vars::{self, ConnectionDefaults, World},
};
use clap::Args;
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

/// Options of commands that work on hosts.
#[derive(Debug, Args)]
pub(super) struct PlayArgs {
    /// The playbook.
    pub(super) playbook: PathBuf,

    #[command(flatten)]
    pub(super) inventory: InventoryArgs,

    /// Variables: name=value, JSON or YAML, or @FILE. Wins over every other source.
    #[arg(short, long = "extra-vars", value_name = "VARS")]
    extra_vars: Vec<String>,

    /// Only tasks with one of these tags.
    #[arg(short, long, value_name = "TAGS", value_delimiter = ',')]
    tags: Vec<String>,

    /// No task with one of these tags.
    #[arg(long, value_name = "TAGS", value_delimiter = ',')]
    skip_tags: Vec<String>,

    /// Most hosts worked on at once.
    #[arg(short, long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..), value_name = "N")]
    forks: u16,

    /// Become another user on the hosts, by sudo.
    #[arg(short, long)]
    r#become: bool,

    /// Whom to become, root if not said.
    #[arg(long, value_name = "USER")]
    become_user: Option<String>,

    #[command(flatten)]
    connect: ConnectArgs,

    /// List the hosts of each play, and do nothing else.
    #[arg(long)]
    pub(super) list_hosts: bool,

    /// List the tasks that would run, and do nothing else.
    #[arg(long)]
    pub(super) list_tasks: bool,

    /// List the tags of each play, and do nothing else.
    #[arg(long)]
    pub(super) list_tags: bool,

    /// Check the playbook, and do nothing else.
    #[arg(long)]
    pub(super) syntax_check: bool,

    #[command(flatten)]
    pub(super) state: StateArgs,
}

/// What was meant.
pub(super) struct Session {
    pub(super) playbook: Arc<Playbook>,
    pub(super) inventory: Arc<Inventory>,
    pub(super) sources: Vec<String>,
    pub(super) world: Arc<World>,
    pub(super) redactor: Redactor,
    pub(super) options: engine::Options,
    pub(super) extra: Vec<String>,
}

impl PlayArgs {
    /// Whether something is only to be listed.
    pub(super) fn only_lists(&self) -> bool {
        self.list_hosts || self.list_tasks || self.list_tags || self.syntax_check
    }

    /// Reads everything.
    ///
    /// # Errors
    /// All mistakes of playbook, inventory and variables together.
    pub(super) fn session(&self, check: bool, diff: bool, verbosity: u8) -> Result<Session, Error> {
        let sources = self.inventory.sources()?;
        let mut problems = Diagnostics::default();
        let playbook = keep(playbook::load(&self.playbook), &mut problems);
        let inventory = keep(crate::inventory::load(&sources), &mut problems);
        let extra = keep(vars::parse_extra(&self.extra_vars), &mut problems);
        let (Some(playbook), Some(inventory), Some(extra)) = (playbook, inventory, extra) else {
            return Err(problems.into());
        };
        let redactor = Redactor::new();
        let options = vars::Options {
            check_mode: check,
            diff_mode: diff,
            forks: usize::from(self.forks),
            verbosity,
            limit: self.inventory.limit.clone(),
            tags: self.tags.clone(),
            skip_tags: self.skip_tags.clone(),
        };
        let world = World::new(&inventory, &playbook, extra, &options)?;
        if let Some(limit) = &self.inventory.limit {
            leaves_some(&inventory, limit)?;
        }
        let hosts = engine::hosts_of(&playbook, &inventory, &world, self.inventory.limit.as_deref())?;
        secrets(&redactor, &playbook, &world, &hosts);
        let options = engine::Options {
            check,
            // Always asked for: the journal and the reports show them, whether or not the screen does (`-D`).
            diff: true,
            forks: usize::from(self.forks),
            limit: self.inventory.limit.clone(),
            tags: self.tags.clone(),
            skip_tags: self.skip_tags.clone(),
            r#become: self.r#become,
            become_user: self.become_user.clone(),
            ..engine::Options::default()
        };
        Ok(Session {
            playbook: Arc::new(playbook),
            inventory: Arc::new(inventory),
            sources,
            world,
            redactor,
            options,
            extra: self.extra_vars.clone(),
        })
    }

    /// How hosts are reached.
    pub(super) fn ssh(&self, run: &str, agents: AgentFiles) -> SshOptions {
        self.connect.ssh(run, agents)
    }

    /// How each host of a play is reached: its variables win over the play, the play over the command line.
    pub(super) fn target(&self, world: &Arc<World>) -> TargetOf {
        let world = Arc::clone(world);
        let (user, key) = (self.connect.user.clone(), self.connect.private_key());
        Arc::new(move |play, host| {
            let said = |diagnostic: Diagnostic| match &diagnostic.place {
                Some(place) => format!("{} ({place})", diagnostic.message),
                None => diagnostic.message,
            };
            let scope = world.scope(play, host);
            let user = match &play.inherited.remote_user {
                Some(template) => match scope.render_text(template).map_err(said)? {
                    Rendered::Known(user) => Some(user),
                    Rendered::Unknown { because } => return Err(format!("the remote_user cannot be known: {because}")),
                },
                None => user.clone(),
            };
            let connection = play.inherited.connection.clone();
            let private_key = key.clone();
            vars::target(&scope, &ConnectionDefaults { user, private_key, connection, ..Default::default() })
                .map_err(said)
        })
    }

    /// Prints what only was to be listed.
    pub(super) fn list(&self, session: &Session) -> Result<(), Error> {
        let mut text = format!("\nplaybook: {}\n", session.playbook.path);
        let limit = session.options.limit.as_deref();
        let hosts = engine::hosts_of(&session.playbook, &session.inventory, &session.world, limit)?;
        if self.list_hosts || self.list_tasks || self.list_tags {
            for (index, (play, hosts)) in session.playbook.plays.iter().zip(hosts).enumerate() {
                text.push_str(&super::listing::play(self, index, play, &hosts));
            }
        }
        Out::stdout().write(&text);
        Ok(())
    }

    /// Whether the tags given let a task run.
    pub(super) fn selects(&self, tags: &[String]) -> bool {
        engine::selected(tags, &self.tags, &self.skip_tags)
    }
}

/// The value, or its mistakes among the others.
fn keep<T>(result: Result<T, Diagnostics>, problems: &mut Diagnostics) -> Option<T> {
    result.map_err(|found| problems.extend(found)).ok()
}

/// A `--limit` that leaves no host at all is a mistake.
fn leaves_some(inventory: &Inventory, limit: &str) -> Result<(), Error> {
    let all: Vec<String> = inventory.hosts().map(|host| host.name.clone()).collect();
    let left = inventory.limit(&all, limit);
    let left =
        left.map_err(|error| Error::Usage { message: format!("--limit {limit}: {error}"), hint: error.help() })?;
    if left.is_empty() {
        let message = format!("--limit {limit} leaves no host");
        return Err(Error::usage(message, "`rollgate inventory --graph` shows groups and hosts"));
    }
    Ok(())
}

/// Values of variables whose names say that they are secrets are never shown (S5), wherever they are written.
fn secrets(redactor: &Redactor, playbook: &Playbook, world: &Arc<World>, hosts: &[Vec<String>]) {
    let mut known = BTreeSet::new();
    for (play, hosts) in playbook.plays.iter().zip(hosts) {
        for host in hosts {
            let scope = world.scope(play, host);
            for name in scope.origins().keys().filter(|name| looks_secret(name)) {
                // What cannot be rendered before a host was asked is no secret of the inventory.
                let Ok(Rendered::Known(value)) = scope.expression(name, None) else { continue };
                if known.insert(value.to_string()) {
                    redactor.add_value(&value);
                }
            }
        }
    }
}
