//! `user`: a local user, by the shadow tools, as ansible-core's `user.py`.

mod argv;
mod module;

pub(super) use module::{SPEC, build};
