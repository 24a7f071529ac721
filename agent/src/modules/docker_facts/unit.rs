//! The flags that the engine's unit passes, and moby's rule that no directive stands in a flag and in daemon.json at once.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// dockerd flags whose directive in daemon.json has another name (moby, `opts.NamedOption`).
const NAMED: &[(&str, &str)] = &[
    ("add-runtime", "runtimes"),
    ("authorization-plugin", "authorization-plugins"),
    ("cdi-spec-dir", "cdi-spec-dirs"),
    ("cluster-store-opt", "cluster-store-opts"),
    ("default-address-pool", "default-address-pools"),
    ("default-network-opt", "default-network-opts"),
    ("default-ulimit", "default-ulimits"),
    ("dns-opt", "dns-opts"),
    ("exec-opt", "exec-opts"),
    ("feature", "features"),
    ("graph", "data-root"),
    ("host", "hosts"),
    ("host-gateway-ip", "host-gateway-ips"),
    ("insecure-registry", "insecure-registries"),
    ("label", "labels"),
    ("log-opt", "log-opts"),
    ("node-generic-resource", "node-generic-resources"),
    ("registry-mirror", "registry-mirrors"),
    ("storage-opt", "storage-opts"),
];

/// One-letter flags.
const SHORT: &[(char, &str)] = &[
    ('D', "debug"),
    ('G', "group"),
    ('H', "host"),
    ('b', "bridge"),
    ('g', "graph"),
    ('l', "log-level"),
    ('p', "pidfile"),
    ('s', "storage-driver"),
];

/// Directives whose values are maps of their own and not nested directives (moby, `flatOptions`).
const FLAT: &[&str] = &[
    "builder",
    "cluster-store-opts",
    "default-network-opts",
    "default-ulimits",
    "features",
    "log-opts",
    "proxies",
    "runtimes",
];

/// Directives that may stand in both places (moby, `skipDuplicates`).
const BOTH: &[&str] = &["runtimes"];

/// A flag with its directive's name and its value, where one was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::modules) struct Flag {
    /// As written: `-H`, `--host`.
    pub(in crate::modules) flag: String,
    /// The directive in daemon.json: `hosts`.
    pub(in crate::modules) directive: String,
    /// The value, if any.
    pub(in crate::modules) value: Option<String>,
}

/// Reads dockerd's flags. dockerd takes no other arguments, so a word without a dash is the flag's value before it.
pub(super) fn flags(argv: &[String]) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    for word in argv.iter().skip(1) {
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            flags.push(Flag { flag: format!("--{name}"), directive: directive(name), value });
        } else if let Some((letter, rest)) = word.strip_prefix('-').and_then(|short| {
            let mut characters = short.chars();
            Some((characters.next()?, characters.as_str()))
        }) {
            let name = SHORT.iter().find(|(short, _)| *short == letter).map_or("", |(_, name)| name);
            let value = rest.strip_prefix('=').unwrap_or(rest);
            let value = (!value.is_empty()).then(|| value.to_owned());
            flags.push(Flag { flag: format!("-{letter}"), directive: directive(name), value });
        } else if let Some(flag) = flags.last_mut()
            && flag.value.is_none()
        {
            flag.value = Some(word.clone());
        }
    }
    flags
}

fn directive(flag: &str) -> String {
    NAMED.iter().find(|(name, _)| *name == flag).map_or(flag, |(_, directive)| directive).to_owned()
}

/// The flags that daemon.json sets as well; dockerd refuses to start with any (moby, `findConfigurationConflicts`).
pub(in crate::modules) fn conflicts<'a>(flags: &'a [Flag], config: &Map<String, Value>) -> Vec<&'a Flag> {
    let mut directives: Vec<&str> = Vec::new();
    for (name, value) in config {
        match value {
            Value::Object(nested) if !FLAT.contains(&name.as_str()) => {
                directives.extend(nested.keys().map(String::as_str));
            }
            _ => directives.push(name),
        }
    }
    flags
        .iter()
        .filter(|flag| directives.contains(&flag.directive.as_str()) && !BOTH.contains(&flag.directive.as_str()))
        .collect()
}

/// The command of `systemctl show --property=ExecStart`: `{ path=… ; argv[]=/usr/bin/dockerd -H fd:// ; ignore_errors=… }`,
/// with `$NAME` and `${NAME}` filled in.
pub(super) fn argv_of_show(value: &str, environment: &BTreeMap<String, String>) -> Vec<String> {
    let Some((_, rest)) = value.split_once("argv[]=") else { return Vec::new() };
    let command = rest.split(" ; ").next().unwrap_or_default();
    expand(command, environment)
}

/// The command of the last `ExecStart=` in a unit and its drop-ins, joined in order; an empty one forgets those before.
pub(super) fn argv_of_unit(text: &str, environment: &BTreeMap<String, String>) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let mut commands: Vec<&str> = Vec::new();
    for line in joined.lines() {
        match line.trim().strip_prefix("ExecStart=").map(str::trim) {
            Some("") => commands.clear(),
            Some(command) => commands.push(command),
            None => {}
        }
    }
    let command = commands.last().map_or("", |command| command.trim_start_matches(['-', '@', ':', '+', '!']));
    expand(command, environment)
}

/// Splits at blanks, takes quotes off, and fills variables in: `$NAME` as a word of its own becomes several words.
fn expand(command: &str, environment: &BTreeMap<String, String>) -> Vec<String> {
    let mut words = Vec::new();
    for word in command.split_whitespace() {
        let word = word.trim_matches(['"', '\'']);
        match word.strip_prefix('$').filter(|name| !name.starts_with('{')) {
            Some(name) => {
                let value = environment.get(name).map(String::as_str).unwrap_or_default();
                words.extend(value.split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned()));
            }
            None => {
                let mut word = word.to_owned();
                for (name, value) in environment {
                    word = word.replace(&format!("${{{name}}}"), value);
                }
                words.push(word);
            }
        }
    }
    words
}

/// Reads an `EnvironmentFile=`: `NAME=value` lines, quotes taken off.
pub(super) fn environment_file(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| {
            let value = value.trim();
            let bare = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
            (name.trim().trim_start_matches("export ").to_owned(), bare.unwrap_or(value).to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn clash(argv: &str, config: Value) -> Vec<String> {
        let flags = flags(&words(argv));
        let config = config.as_object().unwrap().clone();
        conflicts(&flags, &config).into_iter().map(|flag| flag.flag.clone()).collect()
    }

    #[test]
    fn a_directive_may_stand_in_one_place_only() {
        let argv =
            "/usr/bin/dockerd -H fd:// --containerd=/run/c.sock -s overlay2 --debug --label a=b --add-runtime x=/y";
        assert_eq!(clash(argv, json!({"hosts": ["fd://"]})), ["-H"]);
        assert_eq!(
            clash(argv, json!({"storage-driver": "overlay2", "labels": [], "debug": true})),
            ["-s", "--debug", "--label"]
        );
        assert!(clash(argv, json!({"userns-remap": "dockremap", "runtimes": {"nvidia": {}}})).is_empty());
        assert_eq!(clash("dockerd --userns-remap default", json!({"userns-remap": "x"})), ["--userns-remap"]);
        assert_eq!(clash("dockerd -Htcp://x --graph=/d", json!({"hosts": [], "data-root": "/d"})), ["-H", "--graph"]);
    }

    #[test]
    fn nested_directives_count_and_maps_of_values_do_not() {
        assert_eq!(clash("dockerd --bip=10.0.0.1/8", json!({"network": {"bip": "x"}})), ["--bip"]);
        assert!(clash("dockerd --debug", json!({"log-opts": {"debug": "x"}})).is_empty());
    }

    #[test]
    fn values_are_read_from_the_same_or_the_next_word() {
        let read = flags(&words("dockerd -H unix:///a -D --mtu=1400 --storage-driver overlay2"));
        let values: Vec<_> = read.iter().map(|flag| (flag.directive.as_str(), flag.value.as_deref())).collect();
        assert_eq!(
            values,
            [
                ("hosts", Some("unix:///a")),
                ("debug", None),
                ("mtu", Some("1400")),
                ("storage-driver", Some("overlay2"))
            ]
        );
    }

    #[test]
    fn commands_are_found_in_show_and_in_units() {
        let show = "{ path=/usr/sbin/dockerd ; argv[]=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS --bip=${BIP} ; ignore_errors=no ; start_time=[n/a] ; pid=0 }";
        let environment = environment_file("# x\nDOCKER_OPTS=\"--debug -s overlay2\"\nBIP='10.0.0.1/8'\n");
        assert_eq!(
            argv_of_show(show, &environment),
            words("/usr/sbin/dockerd -H fd:// --debug -s overlay2 --bip=10.0.0.1/8")
        );
        let unit = "[Service]\nExecStart=/a --x\nExecStart=\nExecStart=-/usr/bin/dockerd \\\n  -H fd:// $NONE\n";
        assert_eq!(argv_of_unit(unit, &BTreeMap::new()), words("/usr/bin/dockerd -H fd://"));
        assert!(argv_of_unit("[Unit]\n", &BTreeMap::new()).is_empty());
        assert!(argv_of_show("", &BTreeMap::new()).is_empty());
    }
}
