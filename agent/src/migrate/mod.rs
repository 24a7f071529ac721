//! Data of a Docker host, shifted into a subordinate range and out of it again: every owner is the container's id plus the
//! range's start; setuid, capabilities, access lists, links and deletion marks stay what they are.

pub mod acl;
mod beneath;
pub mod bind;
pub mod caps;
mod copy;
pub mod docker;
mod error;
mod ids;
mod inode;
mod journal;
mod manifest;
mod scan;
mod shift;
mod special;
mod walk;
mod watch;

pub use beneath::Base;
pub use copy::{Bytes, copy};
pub use error::MigrateError;
pub use ids::{Direction, IdRange, Mapping, Place};
pub use journal::Journal;
pub use manifest::Manifest;
pub use scan::{Sample, Scan, scan, scan_copy};
pub use shift::{Shift, Shifted};
pub use watch::{Nobody, Watch};
