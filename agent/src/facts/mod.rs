//! Facts of a host, under the names that Ansible gives them. docs/facts.md lists them. Read from files, with a handful of
//! short processes: well under 50 ms.

mod gather;
mod network;
mod os;
mod resources;
mod time;
mod user;

pub use gather::gather;
