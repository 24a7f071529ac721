//! The live view: lines as the plain output prints them, and below them what is going on now. One thread draws.

use super::{
    lines::{LineOptions, Lines},
    out::Out,
    sink::Sink,
    text::one_line,
    view::{BatchState, RunView},
    words,
};
use crate::{
    clock::{Clock, millis},
    journal::{Event, HostState},
    rollout::count,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

/// Most hosts shown at once, those with the longest step first.
const ROWS: usize = 8;

/// How often the rows are drawn anew.
const REDRAW: Duration = Duration::from_millis(100);

/// Draws on the terminal that standard output is.
pub struct Live {
    events: Option<Sender<Event>>,
    drawing: Option<JoinHandle<()>>,
}

impl Live {
    /// Begins to draw.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(out: Out, options: LineOptions) -> std::io::Result<Self> {
        Self::start(Some(out), options)
    }

    /// Draws only the rows, no lines.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn rows_only(options: LineOptions) -> std::io::Result<Self> {
        Self::start(None, options)
    }

    fn start(out: Option<Out>, options: LineOptions) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new().name("screen".to_owned());
        let drawing = thread.spawn(move || draw(&receiver, options, out.as_ref()))?;
        Ok(Self { events: Some(sender), drawing: Some(drawing) })
    }
}

impl Sink for Live {
    fn event(&mut self, event: &Event) {
        if let Some(events) = &self.events {
            // The screen may have gone away; the run goes on.
            let _ = events.send(event.clone());
        }
    }

    fn finish(&mut self) {
        self.events = None;
        if let Some(drawing) = self.drawing.take() {
            // A thread that panicked has nothing to draw any more.
            let _ = drawing.join();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.finish();
    }
}

fn draw(events: &Receiver<Event>, options: LineOptions, out: Option<&Out>) {
    let screen = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
    screen.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let mut lines = Lines::new(options);
    let clock = Clock::system();
    let (mut base_ms, mut at_ms, mut drawn_ms) = (0, 0, 0);
    loop {
        match events.recv_timeout(REDRAW) {
            Ok(event) => {
                (base_ms, at_ms) = (event.elapsed_ms, clock.elapsed_ms());
                let text = lines.event(&event);
                if lines.view().exit_code.is_some() {
                    screen.set_message("");
                }
                if let Some(out) = out.filter(|_| !text.is_empty()) {
                    screen.suspend(|| out.write(&text));
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // A thousand events in a moment are drawn once.
        if clock.elapsed_ms().saturating_sub(drawn_ms) < millis(REDRAW) {
            continue;
        }
        drawn_ms = clock.elapsed_ms();
        // The window may have been resized.
        let width = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(80, |size| usize::from(size.ws_col));
        let rows = below(lines.view(), base_ms + drawn_ms.saturating_sub(at_ms));
        let rows: Vec<String> = rows.iter().map(|row| row.chars().take(width.saturating_sub(1)).collect()).collect();
        screen.set_message(rows.join("\n"));
    }
    screen.finish_and_clear();
}

/// The rows below the lines: a summary, then hosts with their current steps.
fn below(view: &RunView, now_ms: u64) -> Vec<String> {
    if view.exit_code.is_some() {
        return Vec::new();
    }
    let mut rows = vec![summary(view, now_ms)];
    let mut current: Vec<(&str, String, u64, String)> = Vec::new();
    for name in &view.order {
        let Some(host) = view.hosts.get(name) else { continue };
        let mut far = String::new();
        let (what, since) = match (&host.current, host.state, host.timeline.last()) {
            (Some((_, _, info, since)), ..) => {
                far = host.progress.as_ref().map(|work| format!(": {}", words::progress(work))).unwrap_or_default();
                (one_line(&info.task), *since)
            }
            (None, HostState::Verifying | HostState::RollingBack, Some((since, state))) => {
                (words::state(*state).to_owned(), *since)
            }
            _ => continue,
        };
        current.push((name, what, now_ms.saturating_sub(since), far));
    }
    current.sort_by_key(|(_, _, took, _)| std::cmp::Reverse(*took));
    let hidden = if current.len() > ROWS { current.len() + 1 - ROWS } else { 0 };
    let shown = current.len() - hidden;
    for (name, what, took, far) in current.iter().take(shown) {
        rows.push(format!("  {:<24} {what} ({}){far}", one_line(name), words::took(*took)));
    }
    if hidden > 0 {
        rows.push(format!("  … and {} more", count(hidden, "host", "hosts")));
    }
    rows
}

/// `PAUSED`, `waits for a promotion`, `waits for an operator, 12 min 3 s left`.
fn waits(view: &RunView, now_ms: u64) -> Option<String> {
    let Some((what, until)) = &view.waits else {
        return (view.stops.last()?.what == "paused").then(|| "PAUSED".to_owned());
    };
    let what = match what.as_str() {
        "promotion" => "waits for a promotion",
        "resume" => "PAUSED",
        _ => "waits for an operator",
    };
    let left = until.map(|until| format!(", {} left", words::took(until.saturating_sub(now_ms))));
    Some(format!("{what}{}", left.unwrap_or_default()))
}

/// `batch 2/4 · 3 running · 5 changed · 1 failed · 32 s`.
fn summary(view: &RunView, now_ms: u64) -> String {
    let mut parts = Vec::new();
    if let Some(waits) = waits(view, now_ms) {
        parts.push(waits);
    }
    if let Some(play) = view.plays.last() {
        let of = play.batches.len();
        let begun = play.batches.iter().rposition(|batch| batch.state != BatchState::Waiting);
        if let Some(index) = begun.filter(|_| of > 1) {
            parts.push(format!("batch {}/{of}", index + 1));
        }
        if let Some(BatchState::Baking { since_ms, bake_ms }) =
            begun.and_then(|i| play.batches.get(i)).map(|b| &b.state)
        {
            let left = (since_ms + bake_ms).saturating_sub(now_ms);
            parts.push(format!("baking, {} left", words::took(left)));
        }
    }
    let mut states: Vec<HostState> = view.hosts.values().map(|host| host.state).collect();
    states.sort_unstable();
    for group in states.chunk_by(|a, b| a == b) {
        if let Some(state) = group.first() {
            parts.push(format!("{} {}", group.len(), words::state(*state)));
        }
    }
    parts.push(words::took(now_ms));
    parts.join(" · ")
}
