//! What `docker inspect` says of a container, as far as a remap depends on it.

use super::engine::{list, text};
use super::mounts::{Mounts, Source};
use serde_json::{Map, Value, json};
use std::path::Path;

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
    /// The storage driver that holds its files.
    pub(super) driver: String,
    /// Runtime's name.
    pub(super) runtime: String,
    /// Paths of host devices.
    pub(super) devices: Vec<String>,
    /// `--gpus` and the like.
    pub(super) device_requests: bool,
    /// Paths of the host.
    pub(super) binds: Vec<Bind>,
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
            driver: text(value, "/Driver"),
            runtime: text(value, "/HostConfig/Runtime"),
            devices: list(value, "/HostConfig/Devices").map(|device| text(device, "/PathOnHost")).collect(),
            device_requests: list(value, "/HostConfig/DeviceRequests").next().is_some(),
            binds: mounts("bind")
                .map(|mount| Bind {
                    source: text(mount, "/Source"),
                    destination: text(mount, "/Destination"),
                    writable: mount.pointer("/RW").and_then(Value::as_bool).unwrap_or_default(),
                    found: None,
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

    /// A label's value, or an empty text.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether a swarm has made it, which starts and removes it by itself.
    pub(super) fn is_swarm_task(&self) -> bool {
        ["com.docker.swarm.task.id", "com.docker.swarm.service.id"].iter().any(|name| !self.label(name).is_empty())
    }

    /// The containers, by name or id, whose namespaces it joins.
    pub(super) fn joins(&self) -> impl Iterator<Item = &str> {
        self.modes().into_iter().filter_map(|mode| mode.strip_prefix("container:"))
    }

    /// Why a remapped engine does not start it with a user namespace of its own.
    pub(super) fn needs_host(&self) -> bool {
        self.privileged || self.modes().contains(&"host")
    }

    fn modes(&self) -> [&str; 3] {
        [&self.network_mode, &self.pid_mode, &self.ipc_mode]
    }

    /// Whether the engine's socket is mounted into it.
    pub(super) fn holds_engine_socket(&self) -> bool {
        self.binds.iter().any(Bind::is_engine_socket)
    }

    /// Whether it is a builder that buildx has made.
    pub(super) fn is_builder(&self) -> bool {
        // A registry before it may have a port.
        let image =
            self.image.strip_prefix("moby/buildkit").or_else(|| Some(self.image.split_once("/moby/buildkit")?.1));
        let is_image = image.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']));
        is_image || self.name.starts_with("buildx_buildkit_")
    }

    /// Looks at what it binds.
    pub(super) fn look_at_binds(&mut self, mounts: &Mounts) {
        for bind in &mut self.binds {
            bind.found = Some(mounts.source(Path::new(&bind.source)));
        }
    }

    /// The facts of it.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "image": self.image, "status": self.status,
            "running": self.is_running(), "pid": self.pid, "privileged": self.privileged,
            "userns_mode": self.userns_mode, "network_mode": self.network_mode, "pid_mode": self.pid_mode,
            "ipc_mode": self.ipc_mode, "restart_policy": self.restart_policy, "auto_remove": self.auto_remove,
            "driver": self.driver, "swarm_task": self.is_swarm_task(),
            "runtime": self.runtime, "devices": self.devices, "docker_socket": self.holds_engine_socket(),
            "binds": self.binds.iter().map(Bind::to_json).collect::<Vec<_>>(),
            "volumes": self.volumes.iter().map(|(name, destination, driver)|
                json!({"name": name, "destination": destination, "driver": driver})).collect::<Vec<_>>(),
            "labels": self.labels,
        })
    }
}

/// A path of the host in a container.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Bind {
    /// On the host.
    pub(super) source: String,
    /// In the container.
    pub(super) destination: String,
    /// Not read-only.
    pub(super) writable: bool,
    /// What is there, once it has been looked at.
    pub(super) found: Option<Source>,
}

impl Bind {
    /// Whether it is the engine's own socket.
    pub(super) fn is_engine_socket(&self) -> bool {
        self.source.ends_with("/docker.sock")
    }

    /// What it is called in a sentence, with the owner that stays as it is.
    pub(super) fn called(&self) -> String {
        match &self.found {
            Some(Source::There { uid, gid, mode, .. }) => format!("{} ({uid}:{gid} {mode:04o})", self.source),
            Some(Source::Network { filesystem }) => format!("{} ({filesystem})", self.source),
            Some(Source::Missing) | None => self.source.clone(),
        }
    }

    fn to_json(&self) -> Value {
        let (kind, uid, gid, mode) = match &self.found {
            Some(Source::There { kind, uid, gid, mode }) => (*kind, Some(uid), Some(gid), Some(format!("{mode:04o}"))),
            Some(Source::Network { .. }) => ("network", None, None, None),
            Some(Source::Missing) => ("missing", None, None, None),
            None => ("unknown", None, None, None),
        };
        json!({
            "source": self.source, "destination": self.destination, "rw": self.writable, "kind": kind, "uid": uid,
            "gid": gid, "mode": mode,
        })
    }
}
