//! `rollgate run`.

use super::{
    args::OutputArgs,
    failure, output,
    session::{PlayArgs, Session},
};
use crate::{
    engine::{self, RunBase, RunSpec, Signal},
    error::Error,
    host::AgentFiles,
    journal::{Reader, RunDir, new_run_id},
    playbook,
    report::{Out, RunView, Sink, close_report, html},
    ssh::SshFleet,
};
use clap::Args;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Run a playbook: plays with a `rollout:` stanza in gated batches, a batch put back when a trigger fires.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    play: PlayArgs,

    /// Change nothing: say what would change, as far as that can be known.
    #[arg(short = 'C', long)]
    check: bool,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &RunArgs) -> Result<u8, Error> {
    let session = args.play.session(args.check, args.output.diff, args.output.verbose)?;
    if args.play.only_lists() {
        args.play.list(&session)?;
        return Ok(0);
    }
    playbook::check_rollback(&session.playbook)?;
    let state = args.play.state.dir()?;
    let run = RunDir::create(&state, &new_run_id(jiff::Timestamp::now())).map_err(anyhow::Error::from)?;
    let signals = mpsc::channel(8);
    let nobody_reads = signals.0.clone();
    let out = Out::stdout().on_gone(move || {
        // A full channel holds other signals, which stop the run as well.
        let _ = nobody_reads.try_send(Signal::Pipe);
    });
    let sink = output::sink(&args.output, Some(output::files(&run)), out, false);
    let code = drive(&args.play, session, "run", Some(run.clone()), vec![sink], signals)?;
    if let Err(error) = write_reports(&run) {
        failure::note(&format!("[WARNING]: the reports were not written: {error:#}"));
    }
    Ok(code)
}

/// Runs the engine to its end and gives back the exit code.
pub(super) fn drive(
    args: &PlayArgs,
    session: Session,
    command: &str,
    dir: Option<RunDir>,
    sinks: Vec<Box<dyn Sink>>,
    signals: (mpsc::Sender<Signal>, mpsc::Receiver<Signal>),
) -> Result<u8, Error> {
    let agents = AgentFiles::find();
    let run_id = dir.as_ref().map_or_else(|| new_run_id(jiff::Timestamp::now()), |dir| dir.id().to_owned());
    let agent_sha256 = agent_digest(&agents)?;
    let target = args.target(&session.world);
    let fleet = Arc::new(SshFleet::new(args.ssh(&run_id, agents)));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from)?;
    let outcome = runtime.block_on(async {
        engine::listen(&signals.0);
        let spec = RunSpec {
            command: command.to_owned(),
            playbook: session.playbook,
            inventory: session.inventory,
            inventory_sources: session.sources,
            target,
            world: session.world,
            redactor: session.redactor,
            options: session.options,
            base: RunBase { agent_sha256, user: local_user(), dir, run_id, sinks, signals: signals.1 },
        };
        engine::run(spec, fleet).await
    });
    // Connections of hosts that do not answer must not hold the process up.
    runtime.shutdown_background();
    Ok(outcome?.exit_code)
}

/// The digest of the agent for this machine's architecture, for the first event and the plan.
pub(super) fn agent_digest(agents: &AgentFiles) -> Result<String, Error> {
    let all = agents.all().map_err(|error| Error::usage(error, "build the agent, or name it in ROLLGATE_AGENT"))?;
    let own = all.iter().find(|agent| agent.arch == std::env::consts::ARCH).or_else(|| all.first());
    Ok(own.map(|agent| agent.sha256.clone()).unwrap_or_default())
}

/// Who runs this, for people: never decides anything.
pub(super) fn local_user() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    name.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// `report.html` and `close.md` in the run's directory, from its journal.
pub(super) fn write_reports(run: &RunDir) -> anyhow::Result<()> {
    let reader = Reader::open(&run.journal())?;
    let view = RunView::of(reader.events());
    fs_err::write(run.path().join("report.html"), html::report(&view))?;
    fs_err::write(run.path().join("close.md"), close_report(&view))?;
    Ok(())
}
