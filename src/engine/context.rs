//! What the units of a run share.

use super::{
    dispatcher::Desk,
    guard::GuardCx,
    once::Once,
    spec::{Options, TargetOf},
    values::{known, said, text},
};
use crate::{
    clock::Clock,
    host::{Connection, Fleet, Host, RunAs, Target},
    playbook::{Inherited, Play, Playbook, Task, find_file},
    secrets::Redactor,
    vars::{Scope, World, become_variables},
};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Shared by all units of a run. Nothing in it changes but the variables, which guard themselves, and the list of hosts.
pub(crate) struct RunCx {
    pub(crate) desk: Desk,
    pub(crate) clock: Clock,
    pub(crate) world: Arc<World>,
    pub(crate) playbook: Arc<Playbook>,
    /// How a host is reached in a play.
    pub(crate) target: TargetOf,
    pub(crate) fleet: Arc<dyn Fleet>,
    pub(crate) options: Options,
    pub(crate) run_id: String,
    pub(crate) redactor: Redactor,
    /// The key of step digests.
    pub(crate) key: Vec<u8>,
    /// The hosts made so far: one each for the run.
    pub(crate) hosts: Mutex<HashMap<String, Arc<dyn Host>>>,
}

impl RunCx {
    /// The host of a target, made at its first use.
    pub(crate) fn host(&self, target: &Target) -> Arc<dyn Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hosts.entry(target.name.clone()).or_insert_with(|| self.fleet.host(target)))
    }

    /// This machine, for `delegate_to: localhost`.
    pub(crate) fn localhost(&self) -> Arc<dyn Host> {
        let name = "localhost".to_owned();
        let address = name.clone();
        self.host(&Target { name, address, connection: Connection::Local, ..Target::default() })
    }

    /// This machine, for probes `from: controller`: never a host of the inventory, whatever those are called.
    pub(crate) fn controller(&self) -> Arc<dyn Host> {
        let (name, address) = ("(controller)".to_owned(), "localhost".to_owned());
        self.host(&Target { name, address, connection: Connection::Local, ..Target::default() })
    }

    /// Every host made so far.
    pub(crate) fn all_hosts(&self) -> Vec<Arc<dyn Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Where a `copy` or `template` finds its `src`: `files/` or `templates/` beside the playbook, then beside it.
    pub(crate) fn find_file(&self, src: &str, kind: &str) -> Result<PathBuf, String> {
        let dir = &self.playbook.dir;
        find_file(dir, kind, src).ok_or_else(|| {
            format!("there is no file {src} on the controller; looked in {0}/{kind} and {0}", dir.display())
        })
    }
}

/// A play as the units of a batch see it.
pub(crate) struct PlayCx {
    pub(crate) index: usize,
    pub(crate) play: Arc<Play>,
    /// `run_once` tasks of this batch, where hosts run their own lists; none: the play runs them itself (linear).
    pub(crate) once: Option<Once>,
    /// The hosts of the batch: those that share what a `run_once` task registers.
    pub(crate) batch: Vec<String>,
    /// Nothing is changed.
    pub(crate) check: bool,
    /// The hosts' guards, where the play has them.
    pub(crate) guard: Option<Arc<GuardCx>>,
}

impl PlayCx {
    /// Whether steps record how they are undone.
    pub(crate) fn transactional(&self) -> bool {
        self.play.rollout.is_some() && !self.check
    }

    /// How long a running step may go on after an abort.
    pub(crate) fn abort_grace(&self) -> Duration {
        self.play.rollout.as_ref().map_or(Duration::from_secs(60), |rollout| rollout.abort_grace)
    }

    /// Whether a task is to be run at all: tags.
    pub(crate) fn selects(&self, task: &Task, options: &Options) -> bool {
        super::tags::selected(&task.inherited.tags, &options.tags, &options.skip_tags)
    }
}

/// Whom a task runs as: `ansible_become` and `ansible_become_user` beat the keywords, those the command line.
pub(crate) fn run_as(inherited: &Inherited, options: &Options, scope: &Scope) -> Result<RunAs, String> {
    let variables = become_variables(scope).map_err(|error| said(&error))?;
    if !variables.on.or(inherited.r#become.on).unwrap_or(options.r#become) {
        return Ok(RunAs::Login);
    }
    let user = match (variables.user, &inherited.r#become.user) {
        (Some(user), _) => Some(user),
        (None, Some(template)) => Some(text(&known(scope, template)?)),
        (None, None) => options.become_user.clone(),
    };
    Ok(RunAs::Become(user.filter(|user| !user.is_empty()).unwrap_or_else(|| "root".to_owned())))
}
