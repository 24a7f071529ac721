//! What a remap changes, or breaks, for each container (docker-userns design, section 4).

use super::classes::Effect;
use super::container::{Bind, Container};
use super::mounts::Source;
use crate::migrate::docker::MOVED;
use std::path::Path;

const HOST_USERNS: &str = "name it in userns_host, or recreate it with --userns=host (compose: userns_mode: \"host\")";

pub(super) type Say<'a> = dyn FnMut(&'static str, Effect, String, &str) + 'a;

/// Says everything of a container. `joins` is a peer that it joins and that needs the host's user namespace.
pub(super) fn say_all(container: &Container, joins: Option<&str>, root: &Path, say: &mut Say<'_>) {
    if container.userns_mode == "host" {
        let reason = "it keeps the host's ids, while the files of its image belong to the mapped ones".to_owned();
        let what = "use an image that does not check owners of its own files (sudo, setuid programs)";
        say("userns_host", Effect::HasHost, reason, what);
    } else {
        namespaces(container, joins, say);
        sockets(container, say);
        binds(container, say);
        volumes(container, say);
        devices(container, say);
    }
    below_root(container, root, say);
    if !matches!(container.driver.as_str(), "" | "overlay2") {
        let reason = format!("its files are of the storage driver {}, which cannot be shifted", container.driver);
        say("driver", Effect::Refused, reason, "save what it holds, and make it again under overlay2");
    }
    owners(container, joins.is_some(), say);
    lifecycle(container, say);
}

fn namespaces(container: &Container, joins: Option<&str>, say: &mut Say<'_>) {
    let mut refused =
        |kind, what: &str| say(kind, Effect::NeedsHost, format!("{what} under userns-remap"), HOST_USERNS);
    if container.privileged {
        refused("privileged", "privileged containers are refused");
    }
    if container.network_mode == "host" {
        refused("host_network", "--network=host is refused");
    }
    if container.pid_mode == "host" {
        refused("host_pid", "--pid=host is refused");
    }
    if container.ipc_mode == "host" {
        refused("host_ipc", "--ipc=host is not refused, but its start fails on most kernels");
    }
    if let Some(peer) = joins {
        let reason = format!("it joins a namespace of {peer}, which needs the host's user namespace");
        say("joins_host_userns", Effect::NeedsHost, reason, HOST_USERNS);
    }
}

fn sockets(container: &Container, say: &mut Say<'_>) {
    if container.holds_engine_socket() {
        let reason = "the engine's socket belongs to an unmapped group: connecting is denied".to_owned();
        let what = "name it in userns_host, or put a socket proxy with --userns=host before it";
        say("docker_socket", Effect::WantsHost, reason, what);
    }
    let is_socket = |bind: &&Bind| {
        !bind.is_engine_socket()
            && matches!(&bind.found, Some(Source::There { kind: "socket", mode, .. }) if mode & 0o002 == 0)
    };
    let sockets: Vec<String> = container.binds.iter().filter(is_socket).map(Bind::called).collect();
    if !sockets.is_empty() {
        let reason = format!("the mapped ids may not connect to {}", sockets.join(", "));
        say("socket", Effect::Note, reason, "name it in bind_policies, or name the container in userns_host");
    }
}

fn binds(container: &Container, say: &mut Say<'_>) {
    let is_socket = |bind: &Bind| matches!(bind.found, Some(Source::There { kind: "socket", .. }));
    let is_network = |bind: &Bind| matches!(bind.found, Some(Source::Network { .. }));
    let named = |wanted: &dyn Fn(&Bind) -> bool| -> Vec<String> {
        container.binds.iter().filter(|bind| !bind.is_engine_socket() && wanted(bind)).map(Bind::called).collect()
    };
    let plain = named(&|bind| !is_socket(bind) && !is_network(bind));
    if !plain.is_empty() {
        let reason = format!("files of {} appear as nobody's inside", plain.join(", "));
        say("bind_mounts", Effect::Note, reason, "name them in bind_policies (chown, acl or leave)");
    }
    let network = named(&is_network);
    if !network.is_empty() {
        let reason =
            format!("files of {} appear as nobody's, and their server may refuse new owners", network.join(", "));
        say("bind_network", Effect::Note, reason, "change owners on the server, or name the container in userns_host");
    }
}

fn volumes(container: &Container, say: &mut Say<'_>) {
    let named = |local: bool| -> Vec<&str> {
        let volumes = container.volumes.iter();
        let is_local = |driver: &str| matches!(driver, "" | "local");
        volumes.filter(|(.., driver)| is_local(driver) == local).map(|(name, ..)| name.as_str()).collect()
    };
    let (foreign, local) = (named(false), named(true));
    if !foreign.is_empty() {
        let reason = format!("the drivers of volumes {} are not told of the map", foreign.join(", "));
        say("volume_driver", Effect::WantsHost, reason, HOST_USERNS);
    }
    if !local.is_empty() {
        let reason = format!("volumes {} are in the old root, where a remapped engine does not look", local.join(", "));
        say(
            "volumes",
            Effect::Note,
            reason,
            "migrate them (existing_data: migrate), or let the application fill new ones",
        );
    }
}

fn devices(container: &Container, say: &mut Say<'_>) {
    if !container.devices.is_empty() || container.device_requests {
        let devices = if container.devices.is_empty() { "--gpus".to_owned() } else { container.devices.join(", ") };
        let what = "make the device nodes accessible to the mapped ids, or name the container in userns_host";
        say("devices", Effect::Note, format!("devices {devices} stay owned by the host's root"), what);
    }
}

/// Paths of the engine's own data, which is one directory deeper afterwards: log shippers and backups bind such.
fn below_root(container: &Container, root: &Path, say: &mut Say<'_>) {
    for bind in &container.binds {
        let source = Path::new(&bind.source);
        if MOVED.iter().any(|name| source.starts_with(root.join(name))) {
            let what = "make it again with the volume itself, or with the path below the remapped root";
            say("bind_data_root", Effect::Remake, format!("it binds {}, which will be elsewhere", bind.source), what);
        } else if root.starts_with(source) {
            let reason = format!("it binds {}, where the engine's data will be one directory deeper", bind.source);
            say("bind_over_data_root", Effect::Note, reason, "let it look below the remapped root (logs, backups)");
        }
    }
}

/// What something else than `docker run` has made, and would make again.
fn owners(container: &Container, joins: bool, say: &mut Say<'_>) {
    let exempt = container.userns_mode == "host";
    let needs = container.needs_host() || joins;
    if container.is_builder() && !exempt {
        let reason = "a builder of buildx is privileged, and got no --userns=host when it was made".to_owned();
        say("buildx_builder", Effect::Remake, reason, "`docker buildx rm` it, and create it again under the remap");
    }
    let service = container.label("com.docker.swarm.service.name");
    if !service.is_empty() || container.is_swarm_task() {
        if needs {
            let reason =
                format!("service {service} needs the host's namespaces, and a service cannot have --userns=host");
            say("swarm_service", Effect::Refused, reason, "place it on nodes without a remap, by a constraint");
        } else {
            let reason = format!("it is a task of the swarm service {service}, which cannot opt out of the remap");
            say("swarm_service", Effect::Note, reason, "the manager places it again while the node is drained");
        }
    }
    let project = container.label("com.docker.compose.project");
    if !project.is_empty() && (needs || container.holds_engine_socket()) && !exempt {
        let files = container.label("com.docker.compose.project.config_files");
        let reason = format!("the compose project {project} makes it again without the host's user namespace");
        let service = container.label("com.docker.compose.service");
        let what = format!("write userns_mode: \"host\" for the service {service} in {files}");
        say("compose_project", Effect::Note, reason, &what);
    }
}

fn lifecycle(container: &Container, say: &mut Say<'_>) {
    if container.auto_remove {
        let reason = "it was started with --rm: stopping the engine deletes it and its anonymous volumes".to_owned();
        say("auto_remove", Effect::Vanishes, reason, "start it again afterwards");
    } else if container.is_running() && container.restart_policy == "no" {
        let reason = "it has no restart policy: it does not come back with the engine".to_owned();
        say("no_restart", Effect::Note, reason, "the runbook starts it again when it takes data along");
    }
}

/// The volume drivers that are not the engine's own.
pub(super) fn foreign_drivers(info_plugins: &[String]) -> Vec<&str> {
    info_plugins.iter().map(String::as_str).filter(|name| *name != "local").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::docker_facts::classes::{Class, Judged};
    use serde_json::{Value, json};

    const ROOT: &str = "/var/lib/docker";

    fn container(name: &str) -> Container {
        Container {
            id: format!("{name}-id"),
            name: name.to_owned(),
            restart_policy: "always".to_owned(),
            ..Container::default()
        }
    }

    fn bind(source: &str) -> Bind {
        Bind { source: source.to_owned(), ..Bind::default() }
    }

    fn label(name: &str, value: &str) -> (String, Value) {
        (name.to_owned(), json!(value))
    }

    /// The kinds that are said of one, and its class.
    fn kinds(containers: &[Container], name: &str) -> (Vec<&'static str>, Class) {
        let judged = Judged::of(containers, Path::new(ROOT));
        let at = containers.iter().position(|container| container.name == name).unwrap();
        (judged.caveats[at].iter().map(|caveat| caveat.kind).collect(), judged.class(at))
    }

    #[test]
    fn recorded_containers_are_read_and_classed() {
        let list: Vec<Value> = serde_json::from_str(include_str!("recorded/inspect-20.10.24.json")).unwrap();
        let all: Vec<Container> = list.iter().map(Container::read).collect();
        let of = |name: &str| all.iter().find(|container| container.name == name).unwrap();
        assert!(of("priv").privileged && !of("sock").privileged);
        let net = of("hostnet");
        assert_eq!((net.network_mode.as_str(), net.restart_policy.as_str()), ("host", "always"));
        assert_eq!((net.binds[0].source.as_str(), net.binds[0].destination.as_str()), ("/srv/data", "/d"));
        assert_eq!(net.volumes, [("vol1".to_owned(), "/v".to_owned(), "local".to_owned())]);
        assert_eq!((net.image.as_str(), &net.labels["a"], net.driver.as_str()), ("tiny:1", &json!("b"), "overlay2"));
        let sock = of("sock");
        assert!(sock.holds_engine_socket() && sock.auto_remove && !sock.is_running());
        assert_eq!((sock.pid_mode.as_str(), sock.devices.as_slice()), ("host", ["/dev/null".to_owned()].as_slice()));
        let needs = Class::NeedsHostUserns;
        assert_eq!(kinds(&all, "priv"), (vec!["privileged"], needs));
        assert_eq!(kinds(&all, "hostnet"), (vec!["host_network", "bind_mounts", "volumes"], needs));
        assert_eq!(kinds(&all, "joins"), (vec!["joins_host_userns"], needs));
        assert_eq!(kinds(&all, "sock"), (vec!["host_pid", "docker_socket", "devices", "auto_remove"], Class::Recreate));
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
        let judged = Judged::of(std::slice::from_ref(&bad), Path::new(ROOT));
        assert!(judged.caveats[0].iter().all(|caveat| caveat.effect.blocks()));
        assert_eq!(judged.because(0).len(), 4);
        assert_eq!(kinds(std::slice::from_ref(&bad), "bad").0, ["privileged", "host_network", "host_pid", "host_ipc"]);
        let exempt = Container { userns_mode: "host".to_owned(), ..bad };
        assert_eq!(kinds(&[exempt], "bad"), (vec!["userns_host"], Class::NeedsHostUserns));
    }

    #[test]
    fn whoever_joins_a_host_container_must_follow_it_through_any_number_of_joins() {
        let third = Container { pid_mode: "container:second-id".to_owned(), ..container("third") };
        let second = Container { network_mode: "container:first-id".to_owned(), ..container("second") };
        let first = Container { userns_mode: "host".to_owned(), ..container("first") };
        let apart = Container { network_mode: "container:third-id-not".to_owned(), ..container("apart") };
        let all = [third, second, first, apart];
        assert_eq!(kinds(&all, "second").0, ["joins_host_userns"]);
        assert_eq!(kinds(&all, "third").0, ["joins_host_userns"]);
        assert_eq!(kinds(&all, "apart"), (vec![], Class::Remaps));
        let judged = Judged::of(&all, Path::new(ROOT));
        assert_eq!(judged.followers(&all, "first"), ["second", "third"]);
        assert!(judged.followers(&all, "third").is_empty());
    }

    #[test]
    fn what_does_not_come_back_by_itself_is_said() {
        let once = Container { auto_remove: true, status: "running".to_owned(), ..container("once") };
        let plain = Container { restart_policy: "no".to_owned(), status: "running".to_owned(), ..container("plain") };
        assert_eq!(kinds(&[once], "once"), (vec!["auto_remove"], Class::Recreate));
        assert_eq!(kinds(&[plain], "plain"), (vec!["no_restart"], Class::Remaps));
    }

    #[test]
    fn mounts_and_devices_are_listed() {
        let there = |kind, mode| Some(Source::There { kind, uid: 0, gid: 33, mode });
        let mounts = Container {
            binds: vec![
                bind("/var/run/docker.sock"),
                Bind { found: there("directory", 0o750), ..bind("/srv/data") },
                Bind { found: there("socket", 0o660), ..bind("/run/app.sock") },
                Bind { found: there("socket", 0o666), ..bind("/run/open.sock") },
                Bind { found: Some(Source::Network { filesystem: "nfs4".to_owned() }), ..bind("/mnt/x") },
            ],
            volumes: vec![
                ("v".to_owned(), "/v".to_owned(), "local".to_owned()),
                ("n".to_owned(), "/n".to_owned(), "sshfs".to_owned()),
            ],
            devices: vec!["/dev/fuse".to_owned()],
            ..container("m")
        };
        let all = [mounts];
        let kinds_of =
            ["docker_socket", "socket", "bind_mounts", "bind_network", "volume_driver", "volumes", "devices"];
        assert_eq!(kinds(&all, "m"), (kinds_of.to_vec(), Class::NeedsHostUserns));
        let judged = Judged::of(&all, Path::new(ROOT));
        let reasons: Vec<&str> = judged.caveats[0].iter().map(|caveat| caveat.reason.as_str()).collect();
        assert!(reasons.contains(&"files of /srv/data (0:33 0750) appear as nobody's inside"), "{reasons:?}");
        assert!(reasons.contains(&"the mapped ids may not connect to /run/app.sock (0:33 0660)"), "{reasons:?}");
    }

    #[test]
    fn paths_of_the_engines_data_are_told_from_those_above_it() {
        let shipper = Container { binds: vec![bind("/var/lib/docker/containers")], ..container("shipper") };
        let cadvisor = Container { binds: vec![bind("/var/lib")], ..container("cadvisor") };
        let near = Container { binds: vec![bind("/var/lib/docker-backup/containers")], ..container("near") };
        let all = [shipper, cadvisor, near];
        assert_eq!(kinds(&all, "shipper"), (vec!["bind_mounts", "bind_data_root"], Class::Recreate));
        assert_eq!(kinds(&all, "cadvisor"), (vec!["bind_mounts", "bind_over_data_root"], Class::Remaps));
        assert_eq!(kinds(&all, "near"), (vec!["bind_mounts"], Class::Remaps));
    }

    #[test]
    fn what_something_else_makes_again_is_said() {
        let builder = Container { privileged: true, ..container("buildx_buildkit_b0") };
        let mirrored = Container { image: "mirror.example:5000/moby/buildkit:v0.12".to_owned(), ..container("x") };
        let task = Container {
            labels: [label("com.docker.swarm.service.name", "web")].into_iter().collect(),
            ..container("task")
        };
        let host_task = Container { network_mode: "host".to_owned(), name: "agent".to_owned(), ..task.clone() };
        let composed = Container {
            privileged: true,
            labels: [
                label("com.docker.compose.project", "mon"),
                label("com.docker.compose.service", "exporter"),
                label("com.docker.compose.project.config_files", "/srv/mon/compose.yml"),
            ]
            .into_iter()
            .collect(),
            ..container("composed")
        };
        let plain = Container { privileged: false, name: "plain".to_owned(), ..composed.clone() };
        let other_driver = Container { driver: "overlayfs".to_owned(), ..container("c8d") };
        let all = [builder, mirrored, task, host_task, composed, plain, other_driver];
        assert_eq!(kinds(&all, "buildx_buildkit_b0"), (vec!["privileged", "buildx_builder"], Class::Recreate));
        assert_eq!(kinds(&all, "x").1, Class::Recreate);
        assert_eq!(kinds(&all, "task"), (vec!["swarm_service"], Class::Remaps));
        assert_eq!(kinds(&all, "agent"), (vec!["host_network", "swarm_service"], Class::Refused));
        assert_eq!(kinds(&all, "composed"), (vec!["privileged", "compose_project"], Class::NeedsHostUserns));
        assert_eq!(kinds(&all, "plain"), (vec![], Class::Remaps));
        assert_eq!(kinds(&all, "c8d"), (vec!["driver"], Class::Refused));
    }
}
