//! Ansible's filters, as ansible-core 2.19 has them.

mod arguments;
mod data;
mod encode;
mod jinja;
mod json;
mod methods;
mod paths;
mod regex;
mod sets;
mod sizes;
mod text;
mod yaml;

pub(super) use arguments::Given;
pub(super) use methods::method;
pub(super) use regex::{Flags, compile};

use minijinja::Environment;

/// The filters that this adds to the engine's.
pub(super) const NAMES: &[&str] = &[
    "shuffle",
    "wordcount",
    "truncate",
    "random",
    "filesizeformat",
    "center",
    "b64decode",
    "b64encode",
    "basename",
    "bool",
    "checksum",
    "combine",
    "comment",
    "dict2items",
    "difference",
    "dirname",
    "expanduser",
    "extract",
    "flatten",
    "from_json",
    "from_yaml",
    "hash",
    "human_readable",
    "human_to_bytes",
    "intersect",
    "items2dict",
    "log",
    "mandatory",
    "md5",
    "path_join",
    "permutations",
    "pow",
    "product",
    "quote",
    "regex_escape",
    "regex_findall",
    "regex_replace",
    "regex_search",
    "root",
    "sha1",
    "splitext",
    "subelements",
    "symmetric_difference",
    "ternary",
    "to_json",
    "to_nice_json",
    "to_nice_yaml",
    "to_yaml",
    "type_debug",
    "union",
    "zip_longest",
];

/// Adds the filters to an engine.
pub(super) fn register(environment: &mut Environment<'static>) {
    data::register(environment);
    encode::register(environment);
    jinja::register(environment);
    json::register(environment);
    paths::register(environment);
    regex::register(environment);
    sets::register(environment);
    sizes::register(environment);
    text::register(environment);
    yaml::register(environment);
}
