//! Templates and expressions: minijinja with Ansible's filters, tests and lookups, native types, and the unknown value.

mod checks;
mod context;
mod environment;
mod failure;
mod file;
mod filters;
mod lookup;
mod node;
#[cfg(test)]
mod oracle;
mod prepare;
mod python;
mod render;
mod scan;
mod syntax;
#[cfg(test)]
mod tests;
mod version;

pub use context::{Context, Found, Variables};
pub use failure::Failure;
pub use file::{FileOptions, render_file};
pub use node::Node;
pub use python::{Omit, from_json, to_json, to_text};
pub use render::{Rendered, condition, expression, render, render_optional, settle};
pub use syntax::{Mistake, check_expression, check_file, check_template};
pub use version::compare as compare_versions;
