//! `rollgate show`.

use super::{
    args::{OutputArgs, StateArgs},
    output,
};
use crate::{
    error::Error,
    journal::{Reader, RunDir},
    report::{Out, RunView, close_report, html},
};
use clap::{Args, ValueEnum};

/// Show a run again from its journal: the same output as while it ran.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The run's id, as `rollgate runs` lists it, or the beginning of one; the latest run if it is left out.
    run: Option<String>,

    /// A report instead of the output.
    #[arg(long, value_enum, conflicts_with = "output")]
    format: Option<Format>,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    state: StateArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The HTML report.
    Html,
    /// The close report of a change ticket, in Markdown.
    Ticket,
}

pub(super) fn show(args: &ShowArgs) -> Result<u8, Error> {
    let run = find(&args.state, args.run.as_deref())?;
    let reader = Reader::open(&run.journal()).map_err(anyhow::Error::from)?;
    match args.format {
        Some(Format::Html) => Out::stdout().write(&html::report(&RunView::of(reader.events()))),
        Some(Format::Ticket) => Out::stdout().write(&close_report(&RunView::of(reader.events()))),
        None => {
            let mut sink = output::sink(&args.output, Some(output::files(&run)), Out::stdout(), true);
            reader.events().for_each(|event| sink.event(event));
            sink.finish();
        }
    }
    Ok(0)
}

/// The run meant: the only one whose id begins so; the latest where none is named.
pub(super) fn find(state: &StateArgs, id: Option<&str>) -> Result<RunDir, Error> {
    let dir = state.dir()?;
    let mut runs = RunDir::list(&dir).map_err(anyhow::Error::from)?;
    let hint = "`rollgate runs` lists the runs";
    let Some(id) = id else {
        let none = || Error::usage(format!("there is no run below {}", dir.join("runs").display()), hint);
        return runs.pop().ok_or_else(none);
    };
    if let Some(exact) = runs.iter().position(|run| run.id() == id) {
        return Ok(runs.swap_remove(exact));
    }
    runs.retain(|run| run.id().starts_with(id));
    match (runs.len(), runs.pop()) {
        (1, Some(run)) => Ok(run),
        (0, _) => Err(Error::usage(format!("there is no run {id} below {}", dir.join("runs").display()), hint)),
        (many, _) => Err(Error::usage(format!("{many} runs begin with {id}"), "give more of its id")),
    }
}
