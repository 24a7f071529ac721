//! The guard: a host reverts a change by itself when nobody confirms it before its deadline (rollout.md 2.6, R14).
//!
//! `<state>/txn/<id>/guard.json` says where a guard stands, `deadline` until when the change may stay unconfirmed. Both are
//! written under the guard's lock, which is held for moments only, so that a deadline can be moved while a step holds the
//! host's lock. A guard fires, and a change is confirmed, only under both: exactly one of the two wins.

mod boot;
mod clock;
mod error;
mod fire;
mod form;
mod hung;
mod lease;
mod local;
mod notify;
mod record;
mod runner;
mod units;

pub use boot::{boot, booted};
pub use error::GuardError;
pub use form::outlive_reboot;
pub use lease::{Holder, arm, cancel, confirm, extend, forbid_keeping, revive, settle_reverted, status, still_armed};
pub use local::{confirm_here, revert_here};
pub use runner::{Ran, run};

pub(crate) use runner::ensure_running;
