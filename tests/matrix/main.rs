//! Rows of the failure matrix, by the real program over a real sshd: each fault is brought about for real, and at the end
//! every host is compared byte for byte.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test")]

mod connection;
mod controllers;
mod disk;
#[path = "../support/fleet.rs"]
#[expect(dead_code, reason = "each test binary uses its part")]
mod fleet;
mod guard;
mod lost;
mod preflight;
#[path = "../support/proxy.rs"]
mod proxy;
mod rollback;
#[path = "../support/sshd.rs"]
mod sshd;
#[path = "../support/transcript.rs"]
#[expect(dead_code, reason = "each test binary uses its part")]
mod transcript;
