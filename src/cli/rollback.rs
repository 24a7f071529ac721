//! `rollgate rollback`.

use super::{
    args::{ConnectArgs, InventoryArgs, OutputArgs, StateArgs},
    failure, output,
    run::{agent_digest, local_user, write_reports},
    show::find,
};
use crate::{
    engine::{self, RecordedRun, RollbackSpec, RunBase, roll_back_run},
    error::Error,
    host::{AgentFiles, Target},
    inventory,
    journal::{JournalError, Lock, Reader, RunDir, new_run_id},
    report::Out,
    ssh::SshFleet,
    vars::{self, ConnectionDefaults, World},
};
use clap::Args;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Put back what a run has changed, from the undo records that its hosts keep: latest batch first.
///
/// The rollback is a run of its own. Hosts are reached as the run reached them, unless an inventory is named. Exit codes: 0
/// every host is as before (or had nothing to put back), 3 a host could not be put back or reached, or the rollback was
/// ended, 1 nothing was touched.
///
/// It heeds the same stop words as a run, between hosts; one that is begun with is finished. Ctrl-C or `rollgate pause`
/// begins no further host and waits for `rollgate resume`, twice or `rollgate abort` ends the rollback, three times drops
/// the connections: the hosts finish by themselves.
#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The run's id, as `rollgate runs` lists it, or the beginning of one.
    run: String,

    /// Change nothing: say what would be put back.
    #[arg(short = 'C', long)]
    check: bool,

    /// Hosts at once; as the run would have rolled back, if not said.
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..), value_name = "N")]
    forks: Option<u16>,

    /// Seconds for which a host out of reach is tried.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    deadline: u32,

    #[command(flatten)]
    inventory: InventoryArgs,

    #[command(flatten)]
    connect: ConnectArgs,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    state: StateArgs,
}

pub(super) fn rollback(args: &RollbackArgs) -> Result<u8, Error> {
    let (mut undone, held) = recorded(args)?;
    let targets = targets(args, &mut undone)?;
    let state = args.state.dir()?;
    let dir = RunDir::create(&state, &new_run_id(jiff::Timestamp::now())).map_err(anyhow::Error::from)?;
    let sink = output::sink(&args.output, Some(output::files(&dir)), Out::stdout(), false);
    let agents = AgentFiles::find();
    let agent_sha256 = agent_digest(&agents)?;
    let fleet = Arc::new(SshFleet::new(args.connect.ssh(dir.id(), agents)));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from)?;
    let signals = tokio::sync::mpsc::channel(8);
    let outcome = runtime.block_on(async {
        engine::listen(&signals.0);
        let spec = RollbackSpec {
            parallel: args.forks.map_or_else(|| undone.rollback_parallel.unwrap_or(1), usize::from),
            undone,
            targets,
            check: args.check,
            deadline: Duration::from_secs(u64::from(args.deadline)),
            base: RunBase {
                agent_sha256,
                user: local_user(),
                run_id: dir.id().to_owned(),
                dir: Some(dir.clone()),
                sinks: vec![sink],
                signals: signals.1,
            },
        };
        roll_back_run(spec, fleet).await
    });
    runtime.shutdown_background();
    drop(held);
    let outcome = outcome?;
    if let Err(error) = write_reports(&dir) {
        failure::note(&format!("[WARNING]: the reports were not written: {error:#}"));
    }
    Ok(outcome.exit_code)
}

/// The run meant, held so that nobody else works on it.
fn recorded(args: &RollbackArgs) -> Result<(RecordedRun, Lock), Error> {
    let run = find(&args.state, Some(&args.run))?;
    let held = run.lock().map_err(|error| match error {
        JournalError::Locked { holder } => Error::usage(
            format!("run {} is under way: {holder} has it", run.id()),
            "stop it first: it puts its hosts back itself when it is aborted",
        ),
        other => anyhow::Error::from(other).into(),
    })?;
    let undone = RecordedRun::of(Reader::open(&run.journal()).map_err(anyhow::Error::from)?.events());
    if undone.check {
        return Err(Error::usage(format!("run {} only checked: it changed nothing", run.id()), "name another run"));
    }
    if undone.hosts.is_empty() {
        return Err(Error::usage(format!("run {} had no hosts", run.id()), "`rollgate runs` lists the runs"));
    }
    Ok((undone, held))
}

/// How the hosts are reached; hosts that `--limit` leaves out are taken out of the run.
fn targets(args: &RollbackArgs, undone: &mut RecordedRun) -> Result<BTreeMap<String, Target>, Error> {
    let mut targets: BTreeMap<String, Target> =
        undone.hosts.iter().filter_map(|host| Some((host.host.clone(), host.target.clone()?))).collect();
    let names: Vec<String> = undone.hosts.iter().map(|host| host.host.clone()).collect();
    let inventory = if args.inventory.given() {
        let inventory = inventory::load(&args.inventory.sources()?)?;
        let world = World::of_inventory(&inventory)?;
        let defaults = ConnectionDefaults {
            user: args.connect.user.clone(),
            private_key: args.connect.private_key(),
            ..Default::default()
        };
        for name in &names {
            let Some(scope) = world.host_scope(name) else { continue };
            let target = vars::target(&scope, &defaults);
            let said = |problem: crate::config::Diagnostic| Error::Input(crate::config::Diagnostics(vec![problem]));
            targets.insert(name.clone(), target.map_err(said)?);
        }
        inventory
    } else {
        inventory::load(&[format!("{},", names.join(","))])?
    };
    if let Some(limit) = &args.inventory.limit {
        let left = inventory.limit(&names, limit);
        let left =
            left.map_err(|error| Error::Usage { message: format!("--limit {limit}: {error}"), hint: error.help() })?;
        undone.hosts.retain(|host| left.contains(&host.host));
        if undone.hosts.is_empty() {
            let message = format!("--limit {limit} leaves no host of the run");
            return Err(Error::usage(message, format!("the run had {}", names.join(", "))));
        }
    }
    Ok(targets)
}
