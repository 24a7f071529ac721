//! A run from its first event to its last.

use super::{
    account::Account,
    base::Purpose,
    check_play::check_play,
    context::{PlayCx, RunCx},
    dispatcher::Desk,
    domains::domains_of,
    hosts::hosts_of,
    linear_play::Linear,
    rollout_play::{Driver, PlayEnd},
    spec::{RunOutcome, RunSpec},
    stop::Level,
    unit::Unit,
};
use crate::{config::Diagnostics, error::Error, host::Fleet, journal::EventKind, playbook::Play, rollout::Policy};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

/// How long saying goodbye to all hosts may take.
const GOODBYE: Duration = Duration::from_secs(10);

/// Runs a playbook. Everything that happens is an event: to the journal first, then to the sinks.
///
/// # Errors
/// Nothing was touched: hosts that cannot be resolved, conditions that cannot be read, a journal that cannot be begun.
pub async fn run(spec: RunSpec, fleet: Arc<dyn Fleet>) -> Result<RunOutcome, Error> {
    let hosts = hosts_of(&spec.playbook, &spec.inventory, &spec.world, spec.options.limit.as_deref())?;
    crate::playbook::check_rollback(&spec.playbook)?;
    failure_domains(&spec, &hosts)?;
    let policies = policies(&spec.playbook.plays)?;
    let purpose = Purpose {
        command: spec.command,
        playbook: spec.playbook.path.clone(),
        inventory: spec.inventory_sources,
        check: spec.options.check,
    };
    let mut opened = spec.base.open(purpose, spec.redactor.clone())?;
    let desk = opened.desk.clone();
    let run = Arc::new(RunCx {
        desk: desk.clone(),
        clock: opened.clock.clone(),
        world: spec.world,
        playbook: spec.playbook,
        target: spec.target,
        fleet,
        options: spec.options,
        run_id: opened.run_id.clone(),
        redactor: spec.redactor,
        key: std::mem::take(&mut opened.key),
        hosts: Mutex::default(),
    });
    let (account, paused) = plays(&run, &hosts, policies).await;
    let exit_code = account.exit_code(paused) as u8;
    desk.emit(EventKind::RunEnded { exit_code, hosts: account.finals() });
    opened.deaf();
    goodbye(&run).await;
    desk.close().await;
    Ok(RunOutcome { exit_code, run_id: run.run_id.clone(), hosts: account.finals(), paused })
}

/// Every host must be in a domain where a play has a `failure_domain`.
fn failure_domains(spec: &RunSpec, hosts: &[Vec<String>]) -> Result<(), Error> {
    let plays = spec.playbook.plays.iter().zip(hosts);
    let mistakes: Vec<_> = plays.filter_map(|(play, hosts)| domains_of(&spec.world, play, hosts).err()).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(Diagnostics(mistakes).into()) }
}

/// The compiled probes and triggers of each play.
fn policies(plays: &[Arc<Play>]) -> Result<Vec<Option<Policy>>, Error> {
    let compiled: Result<Vec<_>, _> =
        plays.iter().map(|play| play.rollout.as_ref().map(Policy::new).transpose()).collect();
    Ok(compiled?)
}

async fn plays(run: &Arc<RunCx>, hosts: &[Vec<String>], policies: Vec<Option<Policy>>) -> (Account, bool) {
    let mut account = Account::default();
    hosts.iter().flatten().for_each(|host| account.join(host));
    let mut units: BTreeMap<String, Unit> = BTreeMap::new();
    let mut out: BTreeSet<String> = BTreeSet::new();
    let mut paused = false;
    let playbook = Arc::clone(&run.playbook);
    for (index, ((play, policy), hosts)) in playbook.plays.iter().zip(policies).zip(hosts).enumerate() {
        let still: Vec<&String> = hosts.iter().filter(|host| !out.contains(*host)).collect();
        if still.is_empty() {
            let message = format!("The play '{}' has no hosts.", play.name);
            run.desk.emit(EventKind::Warning { host: None, message });
            continue;
        }
        let end =
            one_play(run, play, index, policy, take_units(run, play, index, &still, &mut units, &mut account)).await;
        for host in end.hosts {
            if host.unreachable_before {
                account.unreachable_before_its_first_step(&host.host);
            }
            account.recap(&host.host, host.recap);
            account.ended(&host.host, host.state, host.reason);
            if host.out {
                out.insert(host.host);
            }
        }
        units.extend(end.units.into_iter().map(|unit| (unit.name.clone(), unit)));
        paused |= end.paused;
        if end.aborted {
            account.aborted();
        }
        if end.stop || run.desk.stopped().level > Level::Pause {
            break;
        }
    }
    (account, paused)
}

async fn one_play(
    run: &Arc<RunCx>,
    play: &Arc<Play>,
    index: usize,
    policy: Option<Policy>,
    units: Vec<Unit>,
) -> PlayEnd {
    match (&play.rollout, policy) {
        (Some(_), _) if run.options.check => check_play(run, play, index, units).await,
        (Some(rollout), Some(policy)) => Driver::new(Arc::clone(run), play, rollout, index, policy, units).run().await,
        _ => Linear::new(Arc::clone(run), play, index, units).run().await,
    }
}

/// The units of a play's hosts: those of earlier plays, or new ones.
fn take_units(
    run: &Arc<RunCx>,
    play: &Arc<Play>,
    index: usize,
    hosts: &[&String],
    known: &mut BTreeMap<String, Unit>,
    account: &mut Account,
) -> Vec<Unit> {
    let cx = Arc::new(PlayCx {
        index,
        play: Arc::clone(play),
        once: None,
        batch: hosts.iter().map(|host| (*host).clone()).collect(),
        check: run.options.check,
        guard: None,
    });
    let mut units = Vec::new();
    for host in hosts {
        if let Some(mut unit) = known.remove(*host) {
            unit.begin_play(Arc::clone(&cx));
            units.push(unit);
            continue;
        }
        match (run.target)(play, host) {
            Ok(target) => {
                let handle = run.host(&target);
                units.push(Unit::new(Arc::clone(run), Arc::clone(&cx), (*host).clone(), handle));
            }
            Err(why) => {
                let reason = format!("its connection variables cannot be used: {why}");
                run.desk.emit(EventKind::Warning { host: Some((*host).clone()), message: reason.clone() });
                account.ended(host, crate::journal::HostState::NeverStarted, Some(reason));
                account.unreachable_before_its_first_step(host);
            }
        }
    }
    units
}

async fn goodbye(run: &Arc<RunCx>) {
    let hosts = run.all_hosts();
    let closing = futures::future::join_all(hosts.iter().map(|host| host.close()));
    let killed = |desk: Desk| async move { desk.until(Level::Kill).await };
    tokio::select! {
        _ = tokio::time::timeout(GOODBYE, closing) => {}
        () = killed(run.desk.clone()) => {}
    }
}
