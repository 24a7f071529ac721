//! The engine over fleets made for tests: hosts that follow a script in paused time, and real agents in sandboxes.

mod budgets;
mod control;
mod dispatcher;
mod faults;
mod guard;
mod knobs;
mod language;
mod laws;
mod model;
mod progress;
mod rehearsal;
mod rollout;
mod rows;
mod sandbox;
mod scene;
mod script;
mod script_guard;
mod support;
mod vigil;
