//! From the output options to sinks.

use super::args::{Output, OutputArgs};
use crate::{
    journal::RunDir,
    report::{JsonLines, LineOptions, Live, Out, Paint, Plain, RunFiles, Sink},
};
use std::io::IsTerminal;

/// The files of a run that the account names.
pub(super) fn files(run: &RunDir) -> RunFiles {
    RunFiles { journal: run.journal(), report: run.path().join("report.html") }
}

/// What to show of a run.
pub(super) fn line_options(args: &OutputArgs, files: Option<RunFiles>) -> LineOptions {
    LineOptions { verbosity: args.verbose, diff: args.diff, paint: Paint::stdout(), files }
}

/// The sink for standard output. A replay never draws.
pub(super) fn sink(args: &OutputArgs, files: Option<RunFiles>, out: Out, replay: bool) -> Box<dyn Sink> {
    let options = line_options(args, files);
    match args.output {
        Output::Jsonl => Box::new(JsonLines::new(out)),
        Output::Auto if !replay && std::io::stdout().is_terminal() => match Live::new(out.clone(), options.clone()) {
            Ok(live) => Box::new(live),
            Err(_) => Box::new(Plain::new(out, options)),
        },
        Output::Auto | Output::Text => Box::new(Plain::new(out, options)),
    }
}
