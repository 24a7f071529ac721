//! `rollgate pause`, `abort`, `resume` and `promote`.

use super::{args::StateArgs, show::find};
use crate::{
    engine::{Command, ask_run, is_live},
    error::Error,
    journal::{JournalError, Reader, RunDir},
    report::{Out, RunView},
};
use clap::Args;
use std::io::ErrorKind;

/// Which run, and why.
#[derive(Debug, Args)]
pub(super) struct ControlArgs {
    /// The run's id, as `rollgate runs` lists it, or the beginning of one; the one that is under way if it is left out.
    run: Option<String>,

    /// Why, for the journal and the reports.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    state: StateArgs,
}

/// Says a stop word to a run that is under way.
pub(super) fn control(command: Command, args: &ControlArgs) -> Result<u8, Error> {
    let run = match &args.run {
        Some(id) => find(&args.state, Some(id))?,
        None => the_live_one(args)?,
    };
    let reply = match ask_run(&run, command, args.reason.clone()) {
        Ok(reply) => reply,
        Err(error) => return Err(not_heard(&run, command, &error)),
    };
    if !reply.ok {
        let hint = format!("`rollgate show {}` shows where it stands", run.id());
        return Err(Error::usage(reply.message.trim_end_matches('.'), hint));
    }
    Out::stdout().write(&format!("{}\n", reply.message));
    Ok(0)
}

/// The only run that a controller serves.
fn the_live_one(args: &ControlArgs) -> Result<RunDir, Error> {
    let dir = args.state.dir()?;
    let mut live = RunDir::list(&dir).map_err(anyhow::Error::from)?;
    live.retain(is_live);
    match (live.len(), live.pop()) {
        (1, Some(run)) => Ok(run),
        (0, _) => Err(Error::usage(
            format!("no run is under way below {}", dir.join("runs").display()),
            "`rollgate runs` lists the runs; --state-dir names another place",
        )),
        (many, last) => {
            let ids: Vec<&str> = live.iter().chain(&last).map(RunDir::id).collect();
            Err(Error::usage(format!("{many} runs are under way"), format!("name one of {}", ids.join(", "))))
        }
    }
}

/// Why a run did not hear it, and what can be done.
fn not_heard(run: &RunDir, command: Command, error: &std::io::Error) -> Error {
    let id = run.id();
    if let Some(code) = Reader::open(&run.journal()).ok().and_then(|it| RunView::of(it.events()).exit_code) {
        let message = format!("run {id} has ended, with exit code {code}");
        return Error::usage(message, format!("`rollgate show {id}` shows it"));
    }
    let nobody = matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound);
    if let Err(JournalError::Locked { holder }) = run.lock() {
        let message = format!("run {id} is under way ({holder}), and does not answer: {error}");
        return Error::usage(message, "stop it with SIGINT: once pauses it, twice aborts it");
    }
    if !nobody {
        return anyhow::Error::from(std::io::Error::new(error.kind(), format!("run {id} cannot be reached: {error}")))
            .into();
    }
    let taken_over = if command == Command::Resume { "a run cannot be taken over from its journal yet; " } else { "" };
    let hint =
        format!("{taken_over}`rollgate show {id}` shows how far it came, `rollgate rollback {id}` puts its hosts back");
    Error::usage(format!("the controller of run {id} is gone: it ended without a result"), hint)
}
