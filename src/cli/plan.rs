//! `rollgate plan`.

use super::{
    run::{agent_digest, drive},
    session::PlayArgs,
};
use crate::{
    engine::domains_of,
    error::{Error, ExitCode},
    host::AgentFiles,
    journal::Event,
    plan::{self, Plan},
    playbook::{self, Play},
    report::{LineOptions, Live, Out, Paint, RunView, Sink},
};
use clap::{Args, ValueEnum};
use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Say what a run would do: every task in check mode, batches, thresholds as numbers, how each step is undone. Changes
/// nothing; writes only the agent on each host.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    play: PlayArgs,

    /// The form of the plan on standard output.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Also write the plan as canonical JSON to this file.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Exit with 0 if nothing would change, 2 if something would, 1 on error.
    #[arg(long)]
    detailed_exitcode: bool,

    /// Name tasks as they are checked: -v; differences are always part of a plan.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal.
    Text,
    /// A change ticket, in Markdown.
    Ticket,
    /// Canonical JSON: what the digest is of.
    Json,
}

pub(super) fn plan(args: &PlanArgs) -> Result<u8, Error> {
    let session = args.play.session(true, true, args.verbose)?;
    if args.play.only_lists() {
        args.play.list(&session)?;
        return Ok(0);
    }
    playbook::check_plan(&session.playbook)?;
    let files: Vec<PathBuf> = session.sources.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
    let inputs = plan::inputs(&session.playbook, &files, &session.extra).map_err(anyhow::Error::from)?;
    let (playbook, world, forks) = (Arc::clone(&session.playbook), Arc::clone(&session.world), session.options.forks);
    // What is wrong with them has ended the planning run.
    let domains = |play: &Play, hosts: &[String]| domains_of(&world, play, hosts).unwrap_or_default();
    let view = Arc::new(Mutex::new(RunView::detailed()));
    let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(Fold(Arc::clone(&view)))];
    sinks.extend(rows());
    let code = drive(&args.play, session, "plan", None, sinks, tokio::sync::mpsc::channel(8))?;
    let view = view.lock().unwrap_or_else(PoisonError::into_inner);
    let plan = plan::build(&view, &playbook, inputs, &agent_digest(&AgentFiles::find())?, forks, &domains);
    print(args, &plan)?;
    Ok(match (code, plan.problems().is_empty()) {
        (0, true) if args.detailed_exitcode && plan.changes() => 2,
        (0, true) => ExitCode::Success as u8,
        _ => ExitCode::NotStarted as u8,
    })
}

fn print(args: &PlanArgs, plan: &Plan) -> Result<(), Error> {
    let json = plan::canonical(plan).map_err(anyhow::Error::from)?;
    let digest = plan::digest(plan).map_err(anyhow::Error::from)?;
    if let Some(path) = &args.out {
        write_private(path, &json).map_err(anyhow::Error::from)?;
    }
    let text = match args.format {
        Format::Text => plan::text(plan, &digest, Paint::stdout()),
        Format::Ticket => plan::ticket(plan, &digest),
        Format::Json => json + "\n",
    };
    Out::stdout().write(&text);
    Ok(())
}

/// Plan files are their owner's alone (S15).
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs_err::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Folds events into a view that outlives the run.
struct Fold(Arc<Mutex<RunView>>);

impl Sink for Fold {
    fn event(&mut self, event: &Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).apply(event);
    }
}

/// What is going on meanwhile, where someone is watching.
fn rows() -> Option<Box<dyn Sink>> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let options = LineOptions { verbosity: 0, diff: false, paint: Paint::stdout(), files: None };
    Live::rows_only(options).ok().map(|live| Box::new(live) as Box<dyn Sink>)
}
