//! What `docker info --format '{{json .}}'` says, as far as a remap depends on it (docker-userns design, sections 5 and 7).

use serde_json::Value;

/// The first engine whose data root is safe under a remap (CVE-2021-21284, CVE-2021-41091).
pub(super) const OLDEST: (u64, u64, u64) = (20, 10, 9);

/// What the engine says about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Engine {
    /// `.ServerVersion`.
    pub(super) version: String,
    /// `.ID`.
    pub(super) id: String,
    /// `.Driver`.
    pub(super) driver: String,
    /// `.DriverStatus`, pairs in order.
    pub(super) driver_status: Vec<(String, String)>,
    /// `.SecurityOptions`.
    pub(super) security_options: Vec<String>,
    /// `.DockerRootDir`.
    pub(super) root_dir: String,
    /// `.LiveRestoreEnabled`.
    pub(super) live_restore: bool,
    /// `.Swarm.LocalNodeState`: `inactive`, `active`, `pending`, `locked`, `error`.
    pub(super) swarm: String,
    /// `.Swarm.ControlAvailable`.
    pub(super) swarm_manager: bool,
    /// `.Swarm.NodeID`.
    pub(super) swarm_node: String,
    /// `.DefaultRuntime`.
    pub(super) default_runtime: String,
    /// The names of `.Runtimes`.
    pub(super) runtimes: Vec<String>,
    /// `.CgroupVersion`.
    pub(super) cgroup_version: String,
    /// `.Plugins.Volume`: drivers; anything but `local` is a managed or external plugin.
    pub(super) volume_plugins: Vec<String>,
    /// `.Images`.
    pub(super) images: u64,
    /// `.Containers`.
    pub(super) containers: u64,
    /// `.ContainersRunning`.
    pub(super) running: u64,
}

impl Engine {
    /// Reads the document. A CLI that reaches no daemon prints one as well, with `ServerErrors` and no `ServerVersion`.
    ///
    /// # Errors
    /// Why the daemon did not answer, in docker's words.
    pub(super) fn read(info: &Value) -> Result<Self, String> {
        let errors: Vec<&str> = list(info, "/ServerErrors").filter_map(Value::as_str).collect();
        if !errors.is_empty() {
            return Err(errors.join("; "));
        }
        let engine = Self {
            version: text(info, "/ServerVersion"),
            id: text(info, "/ID"),
            driver: text(info, "/Driver"),
            driver_status: list(info, "/DriverStatus").map(|pair| (text(pair, "/0"), text(pair, "/1"))).collect(),
            security_options: strings(info, "/SecurityOptions"),
            root_dir: text(info, "/DockerRootDir"),
            live_restore: info.pointer("/LiveRestoreEnabled").and_then(Value::as_bool).unwrap_or_default(),
            swarm: text(info, "/Swarm/LocalNodeState"),
            swarm_manager: info.pointer("/Swarm/ControlAvailable").and_then(Value::as_bool).unwrap_or_default(),
            swarm_node: text(info, "/Swarm/NodeID"),
            default_runtime: text(info, "/DefaultRuntime"),
            runtimes: info
                .pointer("/Runtimes")
                .and_then(Value::as_object)
                .map(|runtimes| runtimes.keys().cloned().collect())
                .unwrap_or_default(),
            cgroup_version: text(info, "/CgroupVersion"),
            volume_plugins: strings(info, "/Plugins/Volume"),
            images: number(info, "/Images"),
            containers: number(info, "/Containers"),
            running: number(info, "/ContainersRunning"),
        };
        if engine.version.is_empty() {
            return Err("docker info names no server version".to_owned());
        }
        Ok(engine)
    }

    /// Whether remapping is on.
    pub(super) fn userns(&self) -> bool {
        self.has_option("name=userns")
    }

    /// Whether the engine runs without root.
    pub(super) fn rootless(&self) -> bool {
        self.has_option("name=rootless")
    }

    fn has_option(&self, name: &str) -> bool {
        self.security_options.iter().any(|option| option.split(',').next() == Some(name))
    }

    /// `containerd` where images live in containerd's store, whose data cannot be remapped; else `graphdriver`.
    pub(super) fn image_store(&self) -> &'static str {
        let snapshotter = self
            .driver_status
            .iter()
            .any(|(name, value)| name == "driver-type" && value.starts_with("io.containerd.snapshotter"));
        if snapshotter { "containerd" } else { "graphdriver" }
    }

    /// First uid and gid of the running map, taken from the root directory's name; only while remapping is on.
    pub(super) fn map(&self) -> Option<(u64, u64)> {
        self.userns().then(|| map_of_name(self.root_dir.rsplit('/').next()?)).flatten()
    }

    /// The data root without the directory of the remap.
    pub(super) fn data_root(&self) -> &str {
        match (self.map(), self.root_dir.rsplit_once('/')) {
            (Some(_), Some((parent, _))) => parent,
            _ => &self.root_dir,
        }
    }
}

/// Reads `100000.100000`, the name that dockerd gives a remapped root.
pub(super) fn map_of_name(name: &str) -> Option<(u64, u64)> {
    let (uid, gid) = name.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(uid) || !digits(gid) {
        return None;
    }
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

pub(super) fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default().iter()
}

pub(super) fn strings(value: &Value, pointer: &str) -> Vec<String> {
    list(value, pointer).filter_map(Value::as_str).map(str::to_owned).collect()
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What 20.10.24 said on a host without a remap.
    fn recorded() -> Value {
        serde_json::from_str(include_str!("recorded/info-20.10.24.json")).unwrap()
    }

    #[test]
    fn a_recorded_engine_is_read() {
        let engine = Engine::read(&recorded()).unwrap();
        assert_eq!((engine.version.as_str(), engine.driver.as_str()), ("20.10.24+dfsg1", "overlay2"));
        assert_eq!(engine.driver_status[1], ("Supports d_type".to_owned(), "true".to_owned()));
        assert_eq!((engine.userns(), engine.rootless(), engine.image_store()), (false, false, "graphdriver"));
        assert_eq!((engine.data_root(), engine.map()), ("/var/lib/docker", None));
        assert_eq!((engine.swarm.as_str(), engine.default_runtime.as_str()), ("inactive", "runc"));
        assert_eq!(
            (engine.images, engine.containers, engine.volume_plugins.as_slice()),
            (1, 4, ["local".to_owned()].as_slice())
        );
    }

    #[test]
    fn a_remap_shows_in_the_security_options_and_the_root() {
        let mut info = recorded();
        info["SecurityOptions"] = json!(["name=seccomp,profile=default", "name=userns"]);
        info["DockerRootDir"] = json!("/var/lib/docker/231072.231072");
        let engine = Engine::read(&info).unwrap();
        assert!(engine.userns());
        assert_eq!((engine.map(), engine.data_root()), (Some((231_072, 231_072)), "/var/lib/docker"));
        info["SecurityOptions"] = json!(["name=rootless"]);
        let engine = Engine::read(&info).unwrap();
        assert_eq!((engine.rootless(), engine.map()), (true, None), "a directory's name alone is no remap");
    }

    #[test]
    fn containerds_store_is_seen() {
        let mut info = recorded();
        info["Driver"] = json!("overlayfs");
        info["DriverStatus"] = json!([["driver-type", "io.containerd.snapshotter.v1"]]);
        assert_eq!(Engine::read(&info).unwrap().image_store(), "containerd");
    }

    #[test]
    fn a_document_without_a_server_is_no_engine() {
        let mut info = recorded();
        info["ServerErrors"] = json!(["Cannot connect to the Docker daemon."]);
        assert_eq!(Engine::read(&info), Err("Cannot connect to the Docker daemon.".to_owned()));
        assert!(Engine::read(&json!({"ServerVersion": "", "Images": 0})).is_err());
    }
}
