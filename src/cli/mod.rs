//! The command line: what was typed, then what was meant. One file a subcommand.

mod args;
mod control;
mod failure;
mod inventory;
mod listing;
mod output;
mod plan;
mod rollback;
mod run;
mod runs;
mod session;
mod show;
mod validate;

use crate::{
    engine,
    error::{Error, ExitCode},
};
use clap::{Parser, Subcommand, error::ErrorKind};

/// Safe rolling change over SSH: every host ends changed and healthy, or exactly as it was.
///
/// Exit codes: 0 all good; 1 nothing was touched (usage, input, plan refused); 2 a host failed or was rolled back; 3 an
/// operator is needed (a host is unknown, a rollback failed, or the run is paused); 4 a host was unreachable before its
/// first step.
#[derive(Debug, Parser)]
#[command(name = "rollgate", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    Plan(Box<plan::PlanArgs>),
    Rollback(rollback::RollbackArgs),
    Validate(validate::ValidateArgs),
    Inventory(inventory::InventoryCommand),
    Runs(runs::RunsArgs),
    Show(show::ShowArgs),
    /// Pause a run: no new host starts, hosts in flight finish, and it waits.
    Pause(control::ControlArgs),
    /// Let a paused run go on; one whose batch failed (`on_failure: pause`) keeps its healthy hosts and goes on.
    Resume(control::ControlArgs),
    /// Abort a run: no new step starts, then what `on_failure` says; also one that is paused or waits.
    Abort(control::ControlArgs),
    /// Let the next batch begin (`promote: manual`).
    Promote(control::ControlArgs),
}

/// Runs one command. Its result is the process's exit code (rollout.md R19).
pub fn main() -> std::process::ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => match cli.command {
            Command::Run(args) => run::run(&args),
            Command::Plan(args) => plan::plan(&args),
            Command::Rollback(args) => rollback::rollback(&args),
            Command::Inventory(args) => inventory::inventory(&args),
            Command::Validate(args) => validate::validate(&args),
            Command::Runs(args) => runs::runs(&args),
            Command::Show(args) => show::show(&args),
            Command::Pause(args) => control::control(engine::Command::Pause, &args),
            Command::Resume(args) => control::control(engine::Command::Resume, &args),
            Command::Abort(args) => control::control(engine::Command::Abort, &args),
            Command::Promote(args) => control::control(engine::Command::Promote, &args),
        },
        Err(error) => usage(&error),
    };
    let code = result.unwrap_or_else(|error| {
        failure::report(&error);
        ExitCode::NotStarted as u8
    });
    std::process::ExitCode::from(code)
}

/// What clap has to say: help and version are no errors; a usage error touched nothing.
fn usage(error: &clap::Error) -> Result<u8, Error> {
    // A reader that has gone away is no reason to fail.
    let _ = error.print();
    Ok(match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::Success as u8,
        _ => ExitCode::NotStarted as u8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
