//! An engine's data root: what of it is the containers', what of it names its own place, and its way into the remapped root
//! and back.

mod container;
mod copied;
mod edit;
mod hands;
mod idle;
mod layout;
mod log;
mod migration;
mod survey;

pub use container::{Container, is_bound, options_moved, sources_moved, userns_mode_set};
pub use copied::room;
pub(crate) use idle::unescaped;
pub use idle::{mounts_below, wait_until_idle};
pub use layout::{Layout, MOVED};
pub use log::Stage;
pub use migration::{Done, Migration};
pub use survey::{HostMode, Strategy, Survey, Wanted, remapped};
