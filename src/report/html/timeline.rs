//! A row a host: which state it was in when.

use super::{class, html};
use crate::{
    journal::HostState,
    report::{view::RunView, words},
};
use std::fmt::Write;

/// Most rows drawn; more would be read by nobody.
const ROWS: usize = 200;
const LABEL: u64 = 180;
const WIDTH: u64 = 1000;
const ROW: u64 = 18;

/// The drawing.
pub(super) fn timeline(view: &RunView) -> String {
    let rows = view.order.len().min(ROWS) as u64;
    let total = view.elapsed_ms.max(1);
    let x = |ms: u64| LABEL + ms.min(total) * (WIDTH - LABEL) / total;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"States of hosts over time\">\n",
        rows * ROW + 16
    );
    for (row, name) in view.order.iter().take(ROWS).enumerate() {
        let Some(host) = view.hosts.get(name) else { continue };
        let y = row as u64 * ROW;
        let short: String = name.chars().take(28).collect();
        let _ = writeln!(svg, "<text x=\"0\" y=\"{}\">{}</text>", y + 12, html(&short));
        for (index, (from, state)) in host.timeline.iter().enumerate() {
            let to = host.timeline.get(index + 1).map_or(total, |(to, _)| *to);
            let width = x(to).saturating_sub(x(*from)).max(1);
            let _ = writeln!(
                svg,
                "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{width}\" height=\"{}\"><title>{} {} from {}</title></rect>",
                class(*state),
                x(*from),
                y + 2,
                ROW - 4,
                html(name),
                words::state(*state),
                words::took(*from),
            );
        }
    }
    let _ = writeln!(svg, "<text x=\"{LABEL}\" y=\"{0}\">0</text>", rows * ROW + 12);
    let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\">{}</text>\n</svg>", WIDTH - 70, rows * ROW + 12, words::took(total));
    svg.push_str(&legend(view));
    if view.order.len() > ROWS {
        let _ = writeln!(svg, "<p class=\"dim\">The first {ROWS} of {} hosts.</p>", view.order.len());
    }
    svg
}

/// What the colours mean, of those that are drawn.
fn legend(view: &RunView) -> String {
    let mut states: Vec<HostState> = Vec::new();
    let drawn = view.order.iter().take(ROWS).filter_map(|name| view.hosts.get(name));
    for (_, state) in drawn.flat_map(|host| &host.timeline) {
        if !states.contains(state) {
            states.push(*state);
        }
    }
    let key = |state: &HostState| {
        let (class, word) = (class(*state), words::state(*state));
        format!(
            "<svg class=\"key\" viewBox=\"0 0 10 10\"><rect class=\"{class}\" width=\"10\" height=\"10\"/></svg> {word}\n"
        )
    };
    format!("<p class=\"dim\">{}</p>\n", states.iter().map(key).collect::<String>())
}
