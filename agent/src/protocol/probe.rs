//! What a probe asks, and what a sample of it saw.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeCall {
    /// What to ask.
    pub kind: ProbeKind,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// How many samples this round takes, one after another.
    pub count: u32,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ProbeKind {
    /// A shell command: exit 0 is healthy, 126 and 127 are errors.
    Command {
        /// Run by `/bin/sh -c`.
        command: String,
    },
    /// GET of an `http://` address (`https://` by the host's curl).
    Http {
        /// The address.
        url: String,
        /// Ask through this Unix socket instead of TCP.
        unix_socket: Option<String>,
    },
    /// Connect to a Unix socket.
    Unix {
        /// The socket's path.
        path: String,
    },
    /// Connect to a TCP port.
    Tcp {
        /// Numeric address or `localhost`.
        host: String,
        /// The port.
        port: u16,
    },
}

/// What one sample of a probe saw; the judge on the controller makes the verdict of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeStatus {
    /// The target answered (whether well, `success_when` decides).
    Answered,
    /// The target answered badly or refused: exit code, connection refused, no such socket, timeout after connect.
    Bad,
    /// The probe could not be run: no such command, no descriptor left.
    Error,
    /// The probe could not be run for a reason outside host and change (image missing, registry down).
    Environment,
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// What was seen.
    pub status: ProbeStatus,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// Exit code of a command.
    pub rc: Option<i32>,
    /// HTTP status.
    pub http_status: Option<u16>,
    /// The body as JSON, where it is JSON and at most 256 KiB.
    pub json: Option<Value>,
    /// Why it is bad or an error, or the first 512 bytes of output.
    pub detail: String,
}
