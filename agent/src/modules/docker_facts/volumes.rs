//! What `docker volume inspect` says, and whose ids a volume's files will have.

use super::classes::{Caveat, Effect};
use super::container::Container;
use super::engine::text;
use serde_json::{Map, Value, json};

/// File systems of a volume's own mount whose owners are another host's business.
const NETWORK: [&str; 7] = ["9p", "ceph", "cifs", "glusterfs", "nfs", "nfs4", "smb3"];

/// A volume.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Volume {
    /// Its name.
    pub(super) name: String,
    /// `local`, or a plugin.
    pub(super) driver: String,
    /// Where its data is.
    pub(super) mountpoint: String,
    /// What it was made with.
    pub(super) options: Map<String, Value>,
}

/// Whose ids a volume's files will have after a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    /// Shifted with everything else.
    Shifted,
    /// As they are: only containers with the host's user namespace use it.
    Left,
    /// Containers of both kinds use it: a person decides.
    Undecided,
    /// Its data is somewhere else and stays as it is.
    Elsewhere,
    /// A plugin's.
    Plugin,
}

impl Ownership {
    fn word(self) -> &'static str {
        match self {
            Self::Shifted => "shifted",
            Self::Left => "left",
            Self::Undecided => "undecided",
            Self::Elsewhere => "elsewhere",
            Self::Plugin => "plugin",
        }
    }
}

impl Volume {
    /// Reads one element of the list.
    pub(super) fn read(value: &Value) -> Self {
        Self {
            name: text(value, "/Name"),
            driver: text(value, "/Driver"),
            mountpoint: text(value, "/Mountpoint"),
            options: value.pointer("/Options").and_then(Value::as_object).cloned().unwrap_or_default(),
        }
    }

    fn option(&self, name: &str) -> &str {
        self.options.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn mount_options(&self) -> impl Iterator<Item = &str> {
        self.option("o").split(',')
    }

    fn is_bound(&self) -> bool {
        self.mount_options().any(|option| matches!(option, "bind" | "rbind"))
    }

    fn is_network(&self) -> bool {
        NETWORK.contains(&self.option("type"))
    }

    fn has_ids(&self) -> bool {
        self.mount_options().any(|option| option.starts_with("uid=") || option.starts_with("gid="))
    }
}

/// The volumes with those that use them, and what is to be known of them.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    /// The facts of each.
    pub(super) facts: Vec<Value>,
    /// What a remap changes.
    pub(super) caveats: Vec<Caveat>,
}

/// Judges volumes. `host` says of each container whether it runs, or will have to run, with the host's user namespace.
pub(super) fn judge(volumes: &[Volume], containers: &[Container], host: &[bool]) -> Volumes {
    let mut judged = Volumes::default();
    for volume in volumes {
        let of = |wanted: bool| -> Vec<&str> {
            let users = containers.iter().zip(host).filter(|(_, host)| **host == wanted);
            users
                .filter(|(container, _)| container.volumes.iter().any(|(name, ..)| *name == volume.name))
                .map(|(container, _)| container.name.as_str())
                .collect()
        };
        let (of_host, others) = (of(true), of(false));
        let ownership = match () {
            () if volume.driver != "local" => Ownership::Plugin,
            () if volume.is_bound() || volume.is_network() => Ownership::Elsewhere,
            () if of_host.is_empty() => Ownership::Shifted,
            () if others.is_empty() => Ownership::Left,
            () => Ownership::Undecided,
        };
        judged.caveats.extend(said(volume, ownership, &of_host, &others));
        judged.facts.push(json!({
            "name": volume.name, "driver": volume.driver, "mountpoint": volume.mountpoint, "options": volume.options,
            "ownership": ownership.word(), "containers": others, "host_containers": of_host,
        }));
    }
    judged
}

fn said(volume: &Volume, ownership: Ownership, of_host: &[&str], others: &[&str]) -> Vec<Caveat> {
    let mut said = Vec::new();
    let mut say = |kind, effect, reason: String, resolution: &str| {
        said.push(Caveat::new("", &format!("volume {}", volume.name), kind, effect, reason, resolution));
    };
    match ownership {
        Ownership::Undecided => say(
            "volume_shared",
            Effect::Refused,
            format!(
                "{} use it with the host's user namespace, {} without: its owners cannot be right for both",
                of_host.join(", "),
                others.join(", ")
            ),
            "name it in leave_volumes or shift_volumes",
        ),
        Ownership::Elsewhere if volume.is_bound() => say(
            "volume_bound",
            Effect::Note,
            format!("its data is in {} and keeps its owners", volume.option("device")),
            "name that directory in bind_policies, or change its owners by hand",
        ),
        Ownership::Elsewhere => say(
            "volume_network",
            Effect::Note,
            format!("it is mounted from {} ({}), whose owners stay", volume.option("device"), volume.option("type")),
            "change owners on its server, or give its containers --userns=host",
        ),
        Ownership::Plugin => say(
            "volume_plugin",
            Effect::Note,
            format!("its driver {} is not told of the map", volume.driver),
            "give its containers --userns=host",
        ),
        Ownership::Shifted | Ownership::Left => {}
    }
    if volume.driver == "local" && volume.has_ids() {
        say(
            "volume_ids",
            Effect::Note,
            format!("its mount names ids ({})", volume.option("o")),
            "the migration shifts them; `docker volume inspect` shows the old ones",
        );
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, driver: &str, options: Value) -> Volume {
        Volume::read(&json!({"Name": name, "Driver": driver, "Mountpoint": "/m", "Options": options}))
    }

    fn user(name: &str, volumes: &[&str]) -> Container {
        let volumes = volumes.iter().map(|name| ((*name).to_owned(), "/d".to_owned(), "local".to_owned())).collect();
        Container { name: name.to_owned(), volumes, ..Container::default() }
    }

    #[test]
    fn a_volume_goes_with_those_that_use_it() {
        let all = [
            volume("db", "local", Value::Null),
            volume("agent", "local", json!({})),
            volume("both", "local", json!({"type": "tmpfs", "o": "size=1m,uid=5", "device": "tmpfs"})),
            volume("srv", "local", json!({"type": "none", "o": "bind", "device": "/srv"})),
            volume("far", "local", json!({"type": "nfs", "o": "addr=x,rw", "device": ":/x"})),
            volume("ssh", "sshfs", json!({})),
            volume("idle", "local", json!({})),
        ];
        let containers = [user("web", &["db", "both"]), user("exporter", &["agent", "both"])];
        let judged = judge(&all, &containers, &[false, true]);
        let words: Vec<&str> = judged.facts.iter().map(|fact| fact["ownership"].as_str().unwrap()).collect();
        assert_eq!(words, ["shifted", "left", "undecided", "elsewhere", "elsewhere", "plugin", "shifted"]);
        let kinds: Vec<&str> = judged.caveats.iter().map(|caveat| caveat.kind).collect();
        assert_eq!(kinds, ["volume_shared", "volume_ids", "volume_bound", "volume_network", "volume_plugin"]);
        assert_eq!(
            judged.caveats[0].reason,
            "exporter use it with the host's user namespace, web without: its owners cannot be right for both"
        );
    }
}
