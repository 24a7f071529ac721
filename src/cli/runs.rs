//! `rollgate runs`.

use super::args::StateArgs;
use crate::{
    error::Error,
    journal::{JournalError, Reader, RunDir},
    report::{Out, Paint, RunView, Style, one_line, words},
};
use clap::Args;

/// List the runs of this machine, latest last.
#[derive(Debug, Args)]
pub(super) struct RunsArgs {
    #[command(flatten)]
    state: StateArgs,
}

pub(super) fn runs(args: &RunsArgs) -> Result<u8, Error> {
    let dir = args.state.dir()?;
    let runs = RunDir::list(&dir).map_err(anyhow::Error::from)?;
    let out = Out::stdout();
    if runs.is_empty() {
        out.write(&format!("No run has been made yet; they are kept below {}.\n", dir.join("runs").display()));
    }
    for run in &runs {
        out.write(&line(run));
    }
    Ok(0)
}

/// `20261121T204857.123Z-1a2b3c  exit 0   12 s  site.yml  3 changed`.
fn line(run: &RunDir) -> String {
    let view = match Reader::open(&run.journal()) {
        Ok(reader) => RunView::of(reader.events()),
        Err(error) => return format!("{}  {}\n", run.id(), one_line(&error.to_string())),
    };
    let paint = Paint::stdout();
    let ended = match view.exit_code {
        Some(0) => paint.paint(Style::Good, "exit 0"),
        Some(code) => paint.paint(Style::Bad, &format!("exit {code}")),
        None => match run.lock() {
            Err(JournalError::Locked { holder }) => paint.paint(Style::Changed, &format!("under way, {holder}")),
            _ => paint.paint(Style::Bad, "ended without a result"),
        },
    };
    let head = view.head.as_ref();
    let playbook = head.map_or("?", |head| head.playbook.as_str());
    let check = if head.is_some_and(|head| head.check) { " (check)" } else { "" };
    let counts: Vec<String> = words::FINAL
        .iter()
        .map(|state| (view.in_state(*state).len(), words::state(*state)))
        .filter(|(hosts, _)| *hosts > 0)
        .map(|(hosts, word)| format!("{hosts} {word}"))
        .collect();
    let took = words::took(view.elapsed_ms);
    format!("{}  {ended}  {took}  {}{check}  {}\n", run.id(), one_line(playbook), counts.join(", "))
}
