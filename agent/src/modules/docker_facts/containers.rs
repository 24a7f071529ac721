//! What `docker inspect` says of containers, and which of them a remap hurts (docker-userns design, section 4).

use super::engine::{list, text};
use serde_json::{Map, Value, json};

/// A container, as far as a remap depends on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Container {
    /// Full id.
    pub(super) id: String,
    /// Name without its slash.
    pub(super) name: String,
    /// The image as given to `docker run`.
    pub(super) image: String,
    /// `running`, `exited`, `created`, `paused`, `restarting`, `dead`.
    pub(super) status: String,
    /// Process id on the host; 0 when not running.
    pub(super) pid: u64,
    /// `--privileged`.
    pub(super) privileged: bool,
    /// `host`, or empty.
    pub(super) userns_mode: String,
    /// `host`, `bridge`, `none`, `container:<id>`, a network's name.
    pub(super) network_mode: String,
    /// `host`, `container:<id>`, or empty.
    pub(super) pid_mode: String,
    /// `host`, `container:<id>`, `private`, `shareable`, or empty.
    pub(super) ipc_mode: String,
    /// `no`, `always`, `unless-stopped`, `on-failure`.
    pub(super) restart_policy: String,
    /// `--rm`: deleted with its anonymous volumes when it stops.
    pub(super) auto_remove: bool,
    /// Runtime's name.
    pub(super) runtime: String,
    /// Paths of host devices.
    pub(super) devices: Vec<String>,
    /// `--gpus` and the like.
    pub(super) device_requests: bool,
    /// Source, destination, writable.
    pub(super) binds: Vec<(String, String, bool)>,
    /// Name, destination, driver.
    pub(super) volumes: Vec<(String, String, String)>,
    /// Labels.
    pub(super) labels: Map<String, Value>,
}

impl Container {
    /// Reads one element of `docker inspect`'s list.
    pub(super) fn read(value: &Value) -> Self {
        let flag = |pointer: &str| value.pointer(pointer).and_then(Value::as_bool).unwrap_or_default();
        let mounts = |kind: &'static str| list(value, "/Mounts").filter(move |mount| text(mount, "/Type") == kind);
        let policy = text(value, "/HostConfig/RestartPolicy/Name");
        Self {
            id: text(value, "/Id"),
            name: text(value, "/Name").trim_start_matches('/').to_owned(),
            image: text(value, "/Config/Image"),
            status: text(value, "/State/Status"),
            pid: value.pointer("/State/Pid").and_then(Value::as_u64).unwrap_or_default(),
            privileged: flag("/HostConfig/Privileged"),
            userns_mode: text(value, "/HostConfig/UsernsMode"),
            network_mode: text(value, "/HostConfig/NetworkMode"),
            pid_mode: text(value, "/HostConfig/PidMode"),
            ipc_mode: text(value, "/HostConfig/IpcMode"),
            restart_policy: if policy.is_empty() { "no".to_owned() } else { policy },
            auto_remove: flag("/HostConfig/AutoRemove"),
            runtime: text(value, "/HostConfig/Runtime"),
            devices: list(value, "/HostConfig/Devices").map(|device| text(device, "/PathOnHost")).collect(),
            device_requests: list(value, "/HostConfig/DeviceRequests").next().is_some(),
            binds: mounts("bind")
                .map(|mount| {
                    let writable = mount.pointer("/RW").and_then(Value::as_bool).unwrap_or_default();
                    (text(mount, "/Source"), text(mount, "/Destination"), writable)
                })
                .collect(),
            volumes: mounts("volume")
                .map(|mount| (text(mount, "/Name"), text(mount, "/Destination"), text(mount, "/Driver")))
                .collect(),
            labels: value.pointer("/Config/Labels").and_then(Value::as_object).cloned().unwrap_or_default(),
        }
    }

    /// Whether it runs now (a paused or restarting one does, too).
    pub(super) fn is_running(&self) -> bool {
        matches!(self.status.as_str(), "running" | "paused" | "restarting")
    }

    /// Whether the engine's socket is mounted into it.
    pub(super) fn holds_engine_socket(&self) -> bool {
        self.binds.iter().any(|(source, ..)| source.ends_with("/docker.sock"))
    }

    /// The facts of it.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "image": self.image, "status": self.status,
            "running": self.is_running(), "pid": self.pid, "privileged": self.privileged,
            "userns_mode": self.userns_mode, "network_mode": self.network_mode, "pid_mode": self.pid_mode,
            "ipc_mode": self.ipc_mode, "restart_policy": self.restart_policy, "auto_remove": self.auto_remove,
            "runtime": self.runtime, "devices": self.devices, "docker_socket": self.holds_engine_socket(),
            "binds": self.binds.iter().map(|(source, destination, writable)|
                json!({"source": source, "destination": destination, "rw": writable})).collect::<Vec<_>>(),
            "volumes": self.volumes.iter().map(|(name, destination, driver)|
                json!({"name": name, "destination": destination, "driver": driver})).collect::<Vec<_>>(),
            "labels": self.labels,
        })
    }
}

/// Something that a remap changes, or breaks, for a container or for the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caveat {
    /// The container's full id; empty for the host.
    pub(super) id: String,
    /// The container's name, or `host`.
    pub(super) name: String,
    /// One word that does not change: `privileged`, `host_network`, ...
    pub(super) kind: &'static str,
    /// Whether the container cannot start at all under the remap.
    pub(super) blocks: bool,
    /// What happens.
    pub(super) reason: String,
    /// What to do about it.
    pub(super) resolution: &'static str,
}

impl Caveat {
    /// The facts of it.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "kind": self.kind, "blocks": self.blocks, "reason": self.reason,
            "resolution": self.resolution,
        })
    }
}

const HOST_USERNS: &str = "recreate it with --userns=host (compose: userns_mode: \"host\")";

/// Everything that a remap changes for these containers.
pub(super) fn caveats(containers: &[Container]) -> Vec<Caveat> {
    let needs_host = host_closure(containers);
    let mut found = Vec::new();
    for (container, needs) in containers.iter().zip(&needs_host) {
        let mut say = |kind, blocks, reason: String, resolution| {
            found.push(Caveat {
                id: container.id.clone(),
                name: container.name.clone(),
                kind,
                blocks,
                reason,
                resolution,
            });
        };
        if container.userns_mode == "host" {
            say(
                "userns_host",
                false,
                "it keeps the host's ids, while the files of its image belong to the mapped ones".to_owned(),
                "use an image that does not check owners of its own files (sudo, setuid programs)",
            );
        } else {
            namespaces(container, needs.as_deref(), &mut say);
            files(container, &mut say);
        }
        lifecycle(container, &mut say);
    }
    found
}

type Say<'a> = dyn FnMut(&'static str, bool, String, &'static str) + 'a;

fn namespaces(container: &Container, joins: Option<&str>, say: &mut Say<'_>) {
    if container.privileged {
        say("privileged", true, "privileged containers are refused under userns-remap".to_owned(), HOST_USERNS);
    }
    if container.network_mode == "host" {
        say("host_network", true, "--network=host is refused under userns-remap".to_owned(), HOST_USERNS);
    }
    if container.pid_mode == "host" {
        say("host_pid", true, "--pid=host is refused under userns-remap".to_owned(), HOST_USERNS);
    }
    if container.ipc_mode == "host" {
        say("host_ipc", true, "--ipc=host is not refused, but the start fails on most kernels".to_owned(), HOST_USERNS);
    }
    if let Some(peer) = joins {
        let reason = format!("it joins a namespace of {peer}, which needs the host's user namespace");
        say("joins_host_userns", true, reason, HOST_USERNS);
    }
}

fn files(container: &Container, say: &mut Say<'_>) {
    if container.holds_engine_socket() {
        let reason = "the engine's socket belongs to an unmapped group: connecting is denied".to_owned();
        say(
            "docker_socket",
            false,
            reason,
            "recreate it with --userns=host, or put a socket proxy with --userns=host before it",
        );
    }
    let binds: Vec<&str> = container
        .binds
        .iter()
        .map(|(source, ..)| source.as_str())
        .filter(|source| !source.ends_with("/docker.sock"))
        .collect();
    if !binds.is_empty() {
        let reason = format!("files of {} appear as nobody's inside", binds.join(", "));
        say("bind_mounts", false, reason, "give the directories to the mapped ids, or an ACL for them");
    }
    let foreign: Vec<&str> = container
        .volumes
        .iter()
        .filter(|(_, _, driver)| !driver.is_empty() && driver != "local")
        .map(|(name, ..)| name.as_str())
        .collect();
    if !foreign.is_empty() {
        let reason = format!("the drivers of volumes {} are not told of the map", foreign.join(", "));
        say("volume_driver", false, reason, HOST_USERNS);
    }
    let local: Vec<&str> = container
        .volumes
        .iter()
        .filter(|(_, _, driver)| driver.is_empty() || driver == "local")
        .map(|(name, ..)| name.as_str())
        .collect();
    if !local.is_empty() {
        let reason =
            format!("volumes {} stay in the old root; the remapped engine starts without them", local.join(", "));
        say("volumes", false, reason, "migrate them, or let the application fill new ones");
    }
    if !container.devices.is_empty() || container.device_requests {
        let reason = format!("devices {} stay owned by the host's root", container.devices.join(", "));
        say(
            "devices",
            false,
            reason,
            "make the device nodes accessible to the mapped ids, or recreate it with --userns=host",
        );
    }
}

fn lifecycle(container: &Container, say: &mut Say<'_>) {
    if container.auto_remove {
        let reason = "it was started with --rm: stopping the engine deletes it and its anonymous volumes".to_owned();
        say("auto_remove", false, reason, "start it again afterwards");
    } else if container.is_running() && container.restart_policy == "no" {
        let reason = "it has no restart policy: it does not come back with the engine".to_owned();
        say("no_restart", false, reason, "start it again afterwards");
    }
    if container.labels.contains_key("com.docker.swarm.service.id") {
        let reason = "it is a task of a swarm service, which cannot opt out of the remap".to_owned();
        say("swarm_service", false, reason, "keep services that need the host's namespaces off this host");
    }
}

/// For each container the peer it joins that, directly or through others, needs the host's user namespace.
fn host_closure(containers: &[Container]) -> Vec<Option<String>> {
    let wants = |container: &Container| {
        container.userns_mode == "host"
            || container.privileged
            || [&container.network_mode, &container.pid_mode, &container.ipc_mode]
                .into_iter()
                .any(|mode| mode == "host")
    };
    let mut host: Vec<bool> = containers.iter().map(wants).collect();
    let mut joins = vec![None; containers.len()];
    loop {
        let mut grew = false;
        for (at, container) in containers.iter().enumerate() {
            let peer = [&container.network_mode, &container.pid_mode, &container.ipc_mode]
                .into_iter()
                .filter_map(|mode| mode.strip_prefix("container:"))
                .filter_map(|peer| containers.iter().position(|other| other.id == peer || other.name == peer))
                .find(|peer| host.get(*peer).copied().unwrap_or_default());
            let Some(peer) = peer else { continue };
            if let (Some(slot @ None), Some(other)) = (joins.get_mut(at), containers.get(peer)) {
                *slot = Some(other.name.clone());
                grew = true;
            }
            if let Some(own) = host.get_mut(at) {
                *own = true;
            }
        }
        if !grew {
            return joins;
        }
    }
}

/// The volume drivers that are not the engine's own.
pub(super) fn foreign_drivers(info_plugins: &[String]) -> Vec<&str> {
    info_plugins.iter().map(String::as_str).filter(|name| *name != "local").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str) -> Container {
        Container {
            id: format!("{name}-id"),
            name: name.to_owned(),
            restart_policy: "always".to_owned(),
            ..Container::default()
        }
    }

    #[test]
    fn recorded_containers_are_read() {
        let list: Vec<Value> = serde_json::from_str(include_str!("recorded/inspect-20.10.24.json")).unwrap();
        let all: Vec<Container> = list.iter().map(Container::read).collect();
        let of = |name: &str| all.iter().find(|container| container.name == name).unwrap();
        assert!(of("priv").privileged && !of("sock").privileged);
        let net = of("hostnet");
        assert_eq!((net.network_mode.as_str(), net.restart_policy.as_str()), ("host", "always"));
        assert_eq!(net.binds, [("/srv/data".to_owned(), "/d".to_owned(), false)]);
        assert_eq!(net.volumes, [("vol1".to_owned(), "/v".to_owned(), "local".to_owned())]);
        assert_eq!((net.image.as_str(), &net.labels["a"]), ("tiny:1", &json!("b")));
        let sock = of("sock");
        assert!(sock.holds_engine_socket() && sock.auto_remove && !sock.is_running());
        assert_eq!((sock.pid_mode.as_str(), sock.devices.as_slice()), ("host", ["/dev/null".to_owned()].as_slice()));
        assert_eq!(kinds(&all, "priv"), ["privileged"]);
        assert_eq!(kinds(&all, "hostnet"), ["host_network", "bind_mounts", "volumes"]);
        assert_eq!(kinds(&all, "sock"), ["host_pid", "docker_socket", "devices", "auto_remove"]);
        assert_eq!(kinds(&all, "joins"), ["joins_host_userns"]);
    }

    fn kinds(containers: &[Container], name: &str) -> Vec<&'static str> {
        caveats(containers).into_iter().filter(|caveat| caveat.name == name).map(|caveat| caveat.kind).collect()
    }

    #[test]
    fn what_is_refused_blocks() {
        let bad = Container {
            privileged: true,
            network_mode: "host".to_owned(),
            pid_mode: "host".to_owned(),
            ipc_mode: "host".to_owned(),
            ..container("bad")
        };
        let found = caveats(std::slice::from_ref(&bad));
        assert!(found.iter().all(|caveat| caveat.blocks));
        assert_eq!(kinds(std::slice::from_ref(&bad), "bad"), ["privileged", "host_network", "host_pid", "host_ipc"]);
        let exempt = Container { userns_mode: "host".to_owned(), ..bad };
        assert_eq!(kinds(&[exempt], "bad"), ["userns_host"]);
    }

    #[test]
    fn whoever_joins_a_host_container_must_follow_it_through_any_number_of_joins() {
        let third = Container { pid_mode: "container:second-id".to_owned(), ..container("third") };
        let second = Container { network_mode: "container:first-id".to_owned(), ..container("second") };
        let first = Container { userns_mode: "host".to_owned(), ..container("first") };
        let apart = Container { network_mode: "container:third-id-not".to_owned(), ..container("apart") };
        let all = [third, second, first, apart];
        assert_eq!(kinds(&all, "second"), ["joins_host_userns"]);
        assert_eq!(kinds(&all, "third"), ["joins_host_userns"]);
        assert!(kinds(&all, "apart").is_empty());
    }

    #[test]
    fn what_does_not_come_back_by_itself_is_said() {
        let once = Container { auto_remove: true, status: "running".to_owned(), ..container("once") };
        let plain = Container { restart_policy: "no".to_owned(), status: "running".to_owned(), ..container("plain") };
        assert_eq!(kinds(&[once], "once"), ["auto_remove"]);
        assert_eq!(kinds(&[plain], "plain"), ["no_restart"]);
    }

    #[test]
    fn mounts_and_devices_are_listed() {
        let mounts = Container {
            binds: vec![
                ("/var/run/docker.sock".to_owned(), "/s".to_owned(), true),
                ("/srv/data".to_owned(), "/d".to_owned(), true),
            ],
            volumes: vec![
                ("v".to_owned(), "/v".to_owned(), "local".to_owned()),
                ("n".to_owned(), "/n".to_owned(), "sshfs".to_owned()),
            ],
            devices: vec!["/dev/fuse".to_owned()],
            ..container("m")
        };
        assert_eq!(
            kinds(std::slice::from_ref(&mounts), "m"),
            ["docker_socket", "bind_mounts", "volume_driver", "volumes", "devices"]
        );
        assert!(
            caveats(&[mounts]).iter().any(|caveat| caveat.reason == "files of /srv/data appear as nobody's inside")
        );
    }
}
