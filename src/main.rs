//! The command line of rollgate: parse, run one command, turn its result into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    rollgate::cli::main()
}
