//! A round: samples one after another.

use super::{command, network};
use crate::protocol::{ProbeCall, ProbeKind, ProbeReport, ProbeStatus};
use crate::serve::Control;
use std::time::{Duration, Instant};

/// How much of an output goes into a report, in bytes.
pub(super) const DETAIL_CAP: usize = 512;

/// What one attempt saw, before it is timed.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) status: ProbeStatus,
    pub(super) rc: Option<i32>,
    pub(super) http_status: Option<u16>,
    pub(super) json: Option<serde_json::Value>,
    pub(super) detail: String,
}

impl Seen {
    pub(super) fn new(status: ProbeStatus, detail: impl Into<String>) -> Self {
        Self { status, rc: None, http_status: None, json: None, detail: detail.into() }
    }
}

/// Takes `count` samples (at least one), each within its own timeout. A cancelled request ends with the samples it has.
#[must_use]
pub fn run(call: &ProbeCall, control: &Control) -> Vec<ProbeReport> {
    let mut reports = Vec::new();
    for _ in 0..call.count.max(1) {
        if control.ended().is_some() {
            break;
        }
        reports.push(sample(call, control));
    }
    reports
}

fn sample(call: &ProbeCall, control: &Control) -> ProbeReport {
    let timeout = Duration::from_millis(call.timeout_ms.max(1));
    let begun = Instant::now();
    let seen = match &call.kind {
        ProbeKind::Command { command } => command::ask(command, timeout, control),
        ProbeKind::Http { url, unix_socket } => network::get(url, unix_socket.as_deref(), timeout, control),
        ProbeKind::Unix { path } => network::connect_unix(path, timeout, control),
        ProbeKind::Tcp { host, port } => network::connect_tcp(host, *port, timeout, control),
    };
    ProbeReport {
        status: seen.status,
        elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        rc: seen.rc,
        http_status: seen.http_status,
        json: seen.json,
        detail: seen.detail,
    }
}

/// The beginning of an output, cut at a character.
pub(super) fn beginning(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..DETAIL_CAP).unwrap_or(bytes));
    text.trim().to_owned()
}
