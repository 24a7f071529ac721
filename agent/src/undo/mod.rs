//! Transactions: what a step is about to change is recorded, durably, before it is changed; and undone from the record.

mod account;
mod bound;
mod data_root;
mod error;
mod fence;
mod history;
mod hold;
mod lines;
mod log;
mod object;
mod preview;
mod record;
mod recorder;
mod rerun;
mod revert;
mod txn;
mod unit;
mod verify;

pub use account::{AccountState, Accounts};
pub use bound::BoundState;
pub use data_root::DataRootState;
pub use error::{UndoError, boot_identity, now_ms};
pub use fence::{Generation, HostLock};
pub use lines::{take_back, taken_back};
pub use log::Log;
pub use preview::preview;
pub use record::{Manifest, Object, Part, RECORD_VERSION, Record, Standing, State, TxnState, path_of, path_text};
pub use recorder::Recorder;
pub use revert::{Revert, Scope, revert};
pub use txn::{Transaction, is_txn_id, prune};
pub use unit::{UnitState, unit_state};
pub use verify::verify;

pub(crate) use fence::{LockHolder, write_json};
pub(crate) use hold::{hold, hold_half_way, release};
pub(crate) use txn::{make_private, read_json};
pub(crate) use unit::RUNTIME_UNITS;
