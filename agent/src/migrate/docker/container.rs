//! What a container's two files say that a move of its data root makes untrue, or forbids.

use super::edit::{Edits, members, string};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A container, as its files on disk tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id, which is its directory's name.
    pub id: String,
    /// Its name without a slash.
    pub name: String,
    /// The storage driver that holds its files.
    pub driver: String,
    /// It runs with the host's user namespace.
    pub host: bool,
    /// What keeps it from running in another one than the host's: `--privileged`, `--network=host`.
    pub needs_host: Vec<String>,
    /// The containers, by id, whose namespaces it joins.
    pub joins: Vec<String>,
    /// Names of the local volumes it uses.
    pub volumes: Vec<String>,
    /// Paths of the host that it binds.
    pub binds: Vec<PathBuf>,
}

impl Container {
    /// Reads `config.v2.json` and `hostconfig.json`.
    ///
    /// # Errors
    /// A sentence.
    pub fn read(id: &str, config: &str, host_config: &str) -> Result<Self, String> {
        let config: Value = serde_json::from_str(config).map_err(|error| format!("config.v2.json: {error}"))?;
        let host: Value = serde_json::from_str(host_config).map_err(|error| format!("hostconfig.json: {error}"))?;
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if text(&config, "ID") != id {
            return Err(format!("config.v2.json is that of container {:?}", text(&config, "ID")));
        }
        let mounts =
            || config.get("MountPoints").and_then(Value::as_object).into_iter().flat_map(|mounts| mounts.values());
        let of_kind = |kind: &'static str| mounts().filter(move |mount| kind_of(mount) == kind);
        let namespaces = ["NetworkMode", "PidMode", "IpcMode"];
        Ok(Self {
            id: id.to_owned(),
            name: text(&config, "Name").trim_start_matches('/').to_owned(),
            driver: text(&config, "Driver"),
            host: text(&host, "UsernsMode") == "host",
            needs_host: needs_host(&host),
            joins: namespaces
                .iter()
                .filter_map(|key| text(&host, key).strip_prefix("container:").map(str::to_owned))
                .collect(),
            volumes: of_kind("volume").filter(|mount| is_local(mount)).map(|mount| text(mount, "Name")).collect(),
            binds: of_kind("bind").map(|mount| PathBuf::from(text(mount, "Source"))).collect(),
        })
    }

    /// What it is called in a sentence.
    #[must_use]
    pub fn called(&self) -> String {
        if self.name.is_empty() { self.id.clone() } else { self.name.clone() }
    }

    /// Whether a name or an id, whole or its beginning, means this one.
    #[must_use]
    pub fn is(&self, named: &str) -> bool {
        named == self.name || named.len() >= 12 && self.id.starts_with(named)
    }
}

/// `volume` or `bind`; before it was written down, a mount with a name was a volume.
fn kind_of(mount: &Value) -> &str {
    match mount.get("Type").and_then(Value::as_str) {
        Some(kind) if !kind.is_empty() => kind,
        _ if mount.get("Name").and_then(Value::as_str).is_some_and(|name| !name.is_empty()) => "volume",
        _ => "bind",
    }
}

fn is_local(mount: &Value) -> bool {
    matches!(mount.get("Driver").and_then(Value::as_str), None | Some("" | "local"))
}

fn needs_host(host: &Value) -> Vec<String> {
    let is = |key: &str| host.get(key).and_then(Value::as_str) == Some("host");
    let privileged = host.get("Privileged").and_then(Value::as_bool) == Some(true);
    let reasons = [
        (privileged, "--privileged"),
        (is("NetworkMode"), "--network=host"),
        (is("PidMode"), "--pid=host"),
        (is("IpcMode"), "--ipc=host"),
    ];
    reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason.to_owned()).collect()
}

/// `config.v2.json` with the places of local volumes moved from below one root to below another; engines before 26 start
/// from what is written there. None if there is nothing to move.
///
/// # Errors
/// A sentence.
pub fn sources_moved(text: &str, from: &Path, to: &Path) -> Result<Option<String>, String> {
    let top = members(text).ok_or("config.v2.json is no JSON object")?;
    let mut edits = Edits::of(text);
    let mounts = top.get("MountPoints").and_then(|mounts| members(mounts.get())).unwrap_or_default();
    for mount in mounts.values() {
        let parsed: Value = serde_json::from_str(mount.get()).map_err(|error| format!("config.v2.json: {error}"))?;
        if kind_of(&parsed) != "volume" || !is_local(&parsed) {
            continue;
        }
        let inner = members(mount.get()).unwrap_or_default();
        let Some(source) = inner.get("Source") else { continue };
        let path = PathBuf::from(string(source).unwrap_or_default());
        let Ok(below) = path.strip_prefix(from.join("volumes")) else { continue };
        if let Some(moved) = to.join("volumes").join(below).to_str() {
            edits.replace(source, moved);
        }
    }
    Ok(edits.done())
}

/// `hostconfig.json` with another `UsernsMode`. None if it has that already.
///
/// # Errors
/// A sentence, if it has no such member.
pub fn userns_mode_set(text: &str, mode: &str) -> Result<Option<String>, String> {
    let top = members(text).ok_or("hostconfig.json is no JSON object")?;
    let value = top.get("UsernsMode").ok_or("hostconfig.json has no UsernsMode")?;
    if string(value).as_deref() == Some(mode) {
        return Ok(None);
    }
    let mut edits = Edits::of(text);
    edits.replace(value, mode);
    Ok(edits.done())
}

/// A local volume's `opts.json` with the `uid=` and `gid=` of its mount replaced. None if nothing changes.
///
/// # Errors
/// A sentence.
pub fn options_moved(text: &str, uid: impl Fn(u32) -> u32, gid: impl Fn(u32) -> u32) -> Result<Option<String>, String> {
    let top = members(text).ok_or("opts.json is no JSON object")?;
    let Some((value, options)) = top.get("MountOpts").and_then(|value| Some((value, string(value)?))) else {
        return Ok(None);
    };
    let each = |option: &str| match option.split_once('=') {
        Some(("uid", id)) => moved("uid", id, &uid),
        Some(("gid", id)) => moved("gid", id, &gid),
        _ => option.to_owned(),
    };
    let now: Vec<String> = options.split(',').map(each).collect();
    let now = now.join(",");
    let mut edits = Edits::of(text);
    if now != options {
        edits.replace(value, &now);
    }
    Ok(edits.done())
}

fn moved(key: &str, id: &str, by: impl Fn(u32) -> u32) -> String {
    id.parse().map_or_else(|_| format!("{key}={id}"), |id| format!("{key}={}", by(id)))
}

/// Whether `opts.json` says that the volume's data is elsewhere, at a path of the host.
#[must_use]
pub fn is_bound(text: &str) -> bool {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let options = value.get("MountOpts").and_then(Value::as_str).unwrap_or_default();
    options.split(',').any(|option| matches!(option, "bind" | "rbind"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 20.10.24 writes them, shortened.
    const CONFIG: &str = r#"{"StreamConfig":{},"State":{"Running":false,"Pid":0,"StartedAt":"2026-11-21T20:38:26.8Z"},"ID":"11c37949e46f","Created":"2026-11-21T20:38:26.821162456Z","Managed":false,"Path":"/bin/sh","Args":["-c","a \u0026\u0026 b"],"Config":{"Env":["A=1"],"Labels":{"big":"1e400"}},"LogPath":"/var/lib/docker/containers/11c37949e46f/11c37949e46f-json.log","Name":"/db","Driver":"overlay2","MountPoints":{"/data":{"Source":"/var/lib/docker/volumes/v1/_data","Destination":"/data","RW":true,"Name":"v1","Driver":"local","Type":"volume","Relabel":"z","Propagation":"","Spec":{"Type":"volume","Source":"v1","Target":"/data"},"SkipMountpointCreation":false},"/etc/app":{"Source":"/srv/app","Destination":"/etc/app","RW":false,"Name":"","Driver":"","Type":"bind","Propagation":"rprivate","Spec":{"Type":"bind","Source":"/srv/app","Target":"/etc/app","ReadOnly":true},"SkipMountpointCreation":false},"/nfs":{"Source":"/var/lib/docker/plugins/x/propagated-mount/n","Destination":"/nfs","RW":true,"Name":"n","Driver":"sshfs","Type":"volume"}},"AppArmorProfile":"docker-default","HostConfigExtra":18446744073709551615,"float":0.10,"Name2":"/db"}"#;

    const HOST: &str = r#"{"Binds":["/srv/app:/etc/app:ro"],"NetworkMode":"container:70466083c575","PidMode":"host","IpcMode":"private","Privileged":true,"UsernsMode":"","ShmSize":67108864,"RestartPolicy":{"Name":"unless-stopped","MaximumRetryCount":0}}"#;

    #[test]
    fn a_container_is_read() {
        let found = Container::read("11c37949e46f", CONFIG, HOST).unwrap();
        assert_eq!((found.name.as_str(), found.driver.as_str(), found.host), ("db", "overlay2", false));
        assert_eq!(found.needs_host, ["--privileged", "--pid=host"]);
        assert_eq!(found.joins, ["70466083c575"]);
        assert_eq!(found.volumes, ["v1"]);
        assert_eq!(found.binds, [PathBuf::from("/srv/app")]);
        assert!(found.is("db") && found.is("11c37949e46f") && !found.is("11c3"));
        assert!(Container::read("another", CONFIG, HOST).unwrap_err().contains("is that of container"));
        assert!(Container::read("11c37949e46f", "{", HOST).is_err());
    }

    #[test]
    fn only_the_places_of_local_volumes_move_and_they_come_back() {
        let (old, new) = (Path::new("/var/lib/docker"), Path::new("/var/lib/docker/231072.231072"));
        let there = sources_moved(CONFIG, old, new).unwrap().unwrap();
        let expected = CONFIG.replace("/var/lib/docker/volumes/v1", "/var/lib/docker/231072.231072/volumes/v1");
        assert_eq!(there, expected);
        assert_eq!(sources_moved(&there, old, new).unwrap(), None);
        assert_eq!(sources_moved(&there, new, old).unwrap().unwrap(), CONFIG);
        assert_eq!(sources_moved(CONFIG, new, old).unwrap(), None);
    }

    #[test]
    fn the_user_namespace_mode_is_set_and_unset() {
        let host = userns_mode_set(HOST, "host").unwrap().unwrap();
        assert_eq!(host, HOST.replace("\"UsernsMode\":\"\"", "\"UsernsMode\":\"host\""));
        assert_eq!(userns_mode_set(&host, "host").unwrap(), None);
        assert_eq!(userns_mode_set(&host, "").unwrap().unwrap(), HOST);
        assert!(userns_mode_set("{}", "host").is_err());
    }

    #[test]
    fn ids_of_a_mounted_volume_are_shifted() {
        let text = r#"{"MountType":"tmpfs","MountOpts":"size=1m,uid=1000,gid=x,gid=5","MountDevice":"tmpfs","Quota":{"Size":0}}"#;
        let there = options_moved(text, |id| id + 100, |id| id + 200).unwrap().unwrap();
        assert_eq!(there, text.replace("uid=1000,gid=x,gid=5", "uid=1100,gid=x,gid=205"));
        assert_eq!(options_moved(text, |id| id, |id| id).unwrap(), None);
        assert_eq!(options_moved("{}", |id| id + 1, |id| id).unwrap(), None);
        assert!(is_bound(r#"{"MountType":"none","MountOpts":"o,bind","MountDevice":"/srv"}"#));
        assert!(!is_bound(text));
    }
}
