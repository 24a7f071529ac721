//! `rollgate-agent --stdio` serves one channel, with `--install PLACE SHA256` when it has taken its place; `rollgate-agent
//! guard` is the guard, and what root may ask of it on the host; `rollgate-agent version` says which agent this is;
//! `--digest` says the SHA-256 of its own file.

mod guard_command;

use rollgate_agent::files::digest_of;
use rollgate_agent::protocol::PROTOCOL_VERSION;
use rollgate_agent::serve::{Ending, LEASE, serve};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--stdio"] => stdio(),
        ["--stdio", "--install", place, sha256] => install(Path::new(place), sha256),
        ["--digest"] => digest(),
        ["version" | "--version"] => {
            say(
                &mut std::io::stdout(),
                &format!("rollgate-agent {} protocol {PROTOCOL_VERSION}", env!("CARGO_PKG_VERSION")),
            );
            ExitCode::SUCCESS
        }
        ["guard", rest @ ..] => guard_command::run_command(rest),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    say(
        &mut std::io::stderr(),
        "usage: rollgate-agent --stdio (the rollgate controller starts it)\n\
        \x20      rollgate-agent guard list | confirm TRANSACTION | revert TRANSACTION [--state-dir DIRECTORY]\n\
        \x20      rollgate-agent version",
    );
    ExitCode::FAILURE
}

fn stdio() -> ExitCode {
    // Under sudo the working directory is another user's (S3).
    if std::env::var_os("SUDO_UID").is_some()
        && let Err(error) = std::env::set_current_dir("/")
    {
        say(&mut std::io::stderr(), &format!("rollgate-agent: cannot change to /: {error}."));
        return ExitCode::FAILURE;
    }
    // The descriptors themselves: the standard library's buffers are made for lines.
    let descriptors = (std::io::stdin().as_fd().try_clone_to_owned(), std::io::stdout().as_fd().try_clone_to_owned());
    let (Ok(input), Ok(output)) = descriptors else {
        say(&mut std::io::stderr(), "rollgate-agent: standard input or output is closed.");
        return ExitCode::FAILURE;
    };
    match serve(File::from(input), File::from(output), LEASE) {
        Ok(Ending::Closed) => ExitCode::SUCCESS,
        Ok(Ending::OtherProtocol) => ExitCode::from(3),
        Ok(Ending::LeaseExpired) => {
            say(&mut std::io::stderr(), "rollgate-agent: nothing was heard from the controller for 30 s; ended.");
            ExitCode::from(4)
        }
        Err(error) => {
            say(&mut std::io::stderr(), &format!("rollgate-agent: {error}."));
            ExitCode::FAILURE
        }
    }
}

/// Takes its place, where its own file is whole, and serves. The start script's words (start.sh) say how that went.
fn install(place: &Path, sha256: &str) -> ExitCode {
    let directory = place.parent().unwrap_or(place).display();
    let done = match own_digest() {
        Ok(own) if own == sha256 => fs_err::read_link("/proc/self/exe")
            .and_then(|own| fs_err::rename(own, place))
            .map_err(|error| format!("the agent cannot be put into {directory}: {error}")),
        Ok(_) => Err(format!("the agent did not arrive whole in {directory}")),
        Err(error) => Err(format!("the agent cannot be read in {directory}: {error}")),
    };
    match done {
        Ok(()) => {
            say(&mut std::io::stdout(), &format!("ROLLGATE1 start {}", place.display()));
            stdio()
        }
        Err(why) => {
            if let Ok(own) = fs_err::read_link("/proc/self/exe") {
                let _not_there = fs_err::remove_file(own);
            }
            say(&mut std::io::stdout(), &format!("ROLLGATE1 fail {why}"));
            ExitCode::from(3)
        }
    }
}

/// The SHA-256 of the file that runs.
fn own_digest() -> Result<String, String> {
    let file = fs_err::File::open("/proc/self/exe").map_err(|error| error.to_string())?;
    digest_of(file).map_err(|error| error.to_string())
}

/// Says the SHA-256 of the file that runs: whoever starts it asks first whether it is the one that is meant, and whole.
fn digest() -> ExitCode {
    match own_digest() {
        Ok(digest) => {
            say(&mut std::io::stdout(), &digest);
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&mut std::io::stderr(), &format!("rollgate-agent: its own file cannot be read: {error}."));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line; whoever has gone does not read it.
fn say(to: &mut dyn Write, line: &str) {
    let _nobody_reads = writeln!(to, "{line}");
}
