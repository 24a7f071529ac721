//! What `run` and `plan` begin with: everything read and checked, every mistake at once, no host touched.

use super::args::{InventoryArgs, StateArgs};
use crate::{
    config::{Diagnostic, Diagnostics},
    engine,
    error::Error,
    host::AgentFiles,
    inventory::Inventory,
    playbook::{self, Play, Playbook, Template},
    report::Out,
    secrets::{Redactor, looks_secret},
    ssh::SshOptions,
    template::Rendered,
    vars::{self, World},
};
use clap::Args;
use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

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

    /// Log in as this user.
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,

    /// Become another user on the hosts, by sudo.
    #[arg(short, long)]
    r#become: bool,

    /// Whom to become, root if not said.
    #[arg(long, value_name = "USER")]
    become_user: Option<String>,

    /// Log in with this private key.
    #[arg(long, visible_alias = "key-file", value_name = "FILE")]
    private_key: Option<PathBuf>,

    /// Seconds until a connection must stand.
    #[arg(short = 'T', long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..), value_name = "SECONDS")]
    timeout: u16,

    /// known_hosts files to use instead of those of the ssh configuration.
    #[arg(long, value_name = "FILE")]
    known_hosts: Vec<PathBuf>,

    /// Add the keys of unknown hosts to the first known_hosts file. A changed key is never accepted.
    #[arg(long)]
    accept_new_host_keys: bool,

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
    pub(super) limit: Option<String>,
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
        secrets(&redactor, &inventory, &extra);
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
        let limit = match &self.inventory.limit {
            Some(limit) => Some(limited(&inventory, limit)?),
            None => None,
        };
        let options = engine::Options {
            check,
            diff,
            forks: usize::from(self.forks),
            limit,
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
            limit: self.inventory.limit.clone(),
            options,
            extra: self.extra_vars.clone(),
        })
    }

    /// How hosts are reached.
    pub(super) fn ssh(&self, run: &str, agents: AgentFiles) -> SshOptions {
        SshOptions {
            user: self.user.clone(),
            identity_files: self.private_key.iter().cloned().collect(),
            connect_timeout: Duration::from_secs(u64::from(self.timeout)),
            known_hosts: (!self.known_hosts.is_empty()).then(|| self.known_hosts.clone()),
            accept_new_host_keys: self.accept_new_host_keys,
            on_new_key: Some(Arc::new(|host, notice| {
                super::failure::note(&format!("[WARNING]: [{host}] {notice}"));
            })),
            agents,
            ..SshOptions::new(run)
        }
    }

    /// Prints what only was to be listed.
    pub(super) fn list(&self, session: &Session) -> Result<(), Error> {
        let mut text = format!("\nplaybook: {}\n", session.playbook.path);
        for (index, play) in session.playbook.plays.iter().enumerate() {
            if self.list_hosts || self.list_tasks || self.list_tags {
                text.push_str(&super::listing::play(self, session, index, play)?);
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

impl Session {
    /// The hosts of a play, in order, after `--limit`; and its pattern.
    pub(super) fn hosts(&self, play: &Play) -> Result<(String, Vec<String>), Error> {
        let one = |diagnostic| Error::Input(Diagnostics(vec![diagnostic]));
        let pattern = match self.world.play_scope(play).render(&play.hosts).map_err(one)? {
            Rendered::Known(serde_json::Value::Array(parts)) => {
                let parts: Vec<String> =
                    parts.iter().map(|part| part.as_str().unwrap_or_default().to_owned()).collect();
                parts.join(",")
            }
            Rendered::Known(value) => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            Rendered::Unknown { because } => {
                return Err(Error::usage(because, "hosts: cannot depend on what hosts say"));
            }
        };
        let select = |error: crate::inventory::SelectError, place: Option<crate::config::Place>| {
            let mut diagnostic = Diagnostic::new(place, error.to_string(), "");
            diagnostic.help = error.help();
            Error::Input(Diagnostics(vec![diagnostic]))
        };
        let place = || play.hosts.place.clone().or_else(|| Some(play.place.clone()));
        let hosts = self.inventory.select(&pattern).map_err(|error| select(error, place()))?;
        let hosts = match &self.limit {
            Some(limit) => self.inventory.limit(&hosts, limit).map_err(|error| select(error, None))?,
            None => hosts,
        };
        Ok((pattern, hosts))
    }
}

/// The value, or its mistakes among the others.
fn keep<T>(result: Result<T, Diagnostics>, problems: &mut Diagnostics) -> Option<T> {
    result.map_err(|found| problems.extend(found)).ok()
}

/// The hosts that `--limit` leaves; none at all is an error.
fn limited(inventory: &Inventory, limit: &str) -> Result<BTreeSet<String>, Error> {
    let all: Vec<String> = inventory.hosts().map(|host| host.name.clone()).collect();
    let left = inventory
        .limit(&all, limit)
        .map_err(|error| Error::Usage { message: format!("--limit {limit}: {error}"), hint: error.help() })?;
    if left.is_empty() {
        return Err(Error::usage(
            format!("--limit {limit} leaves no host"),
            "`rollgate inventory --graph` shows groups and hosts",
        ));
    }
    Ok(left.into_iter().collect())
}

/// Values whose names say that they are secrets are never shown (S5).
fn secrets(redactor: &Redactor, inventory: &Inventory, extra: &[(String, Template)]) {
    let groups = inventory.groups().flat_map(|group| &group.vars);
    let hosts = inventory.hosts().flat_map(|host| &host.vars);
    for (name, template) in groups.chain(hosts).chain(extra) {
        if looks_secret(name) {
            redactor.add_value(&template.value);
        }
    }
}
