//! Everything that a remap means for an engine's containers, volumes and host, put together.

use super::caveats::foreign_drivers;
use super::classes::{Caveat, Class, Effect, Judged};
use super::collect::Answers;
use super::container::Container;
use super::engine::Engine;
use super::mounts::Mounts;
use super::named::Named;
use super::volumes::{self, Volumes};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What was found.
#[derive(Debug)]
pub(super) struct Findings {
    containers: Vec<Container>,
    judged: Judged,
    volumes: Volumes,
    host: Vec<Caveat>,
}

impl Findings {
    /// Judges what an engine holds.
    pub(super) fn of(answers: &Answers, mounts: &Mounts) -> Self {
        let mut containers = answers.containers.clone();
        containers.iter_mut().for_each(|container| container.look_at_binds(mounts));
        let judged = Judged::of(&containers, Path::new(answers.engine.data_root()));
        let volumes = volumes::judge(&answers.volumes, &containers, &judged.host);
        let host = host_caveats(&answers.engine, answers.volumes.len());
        Self { containers, judged, volumes, host }
    }

    /// The facts where no engine answers.
    pub(super) fn none(scan: bool) -> Value {
        json!({
            "counts": {"images": 0, "containers": 0, "running": 0, "volumes": 0},
            "containers": [], "running": [], "caveats": [], "classes": classes(|_| Vec::new()), "volumes": [],
            "compose_projects": [], "swarm_services": [], "named_in": [], "pin_store": false,
            "scan": if scan { super::needs::nothing("the engine does not answer") } else { Value::Null },
        })
    }

    /// Adds what is to be known of the host.
    pub(super) fn add_host(&mut self, caveats: Vec<Caveat>) {
        self.host.extend(caveats);
    }

    /// Adds the files that name the engine's data.
    pub(super) fn add_named(&mut self, named: &[Named], start: Option<u64>, root: &Path) {
        for one in named {
            let path = Path::new(&one.path);
            let name = path.file_name().unwrap_or_default();
            let becomes = start.map(|start| root.join(format!("{start}.{start}")).join(name).display().to_string());
            let what = match becomes {
                Some(becomes) => format!("let it name {becomes} as well"),
                None => "let it name the remapped root as well".to_owned(),
            };
            let reason = format!(
                "{}:{} names {}, where nothing will be: a log shipper, backup or timer that finds no file says nothing",
                one.file.display(),
                one.line,
                one.path
            );
            self.host.push(Caveat::host("path_named", Effect::Note, reason, &what));
        }
    }

    /// Containers that have, or will need, the host's user namespace, and volumes that both kinds use.
    pub(super) fn decided(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let host = self.containers.iter().zip(&self.judged.host).filter(|(_, host)| **host);
        let shared = self.volumes.facts.iter().filter(|volume| volume["ownership"] == "undecided");
        (
            host.map(|(container, _)| container.id.clone()).collect(),
            shared.filter_map(|volume| volume["name"].as_str().map(str::to_owned)).collect(),
        )
    }

    /// The facts.
    pub(super) fn to_json(&self, answers: &Answers) -> Value {
        let engine = &answers.engine;
        let all: Vec<Value> = (0..self.containers.len()).filter_map(|at| self.container(at)).collect();
        let running: Vec<&Value> = all.iter().filter(|fact| fact["running"] == true).collect();
        let said = self.host.iter().chain(&self.volumes.caveats).chain(self.judged.caveats.iter().flatten());
        let of = |class: Class| -> Vec<&str> {
            let of_class = self.containers.iter().enumerate().filter(|(at, _)| self.judged.class(*at) == class);
            of_class.map(|(_, container)| container.name.as_str()).collect()
        };
        json!({
            "counts": {
                "images": engine.images, "containers": engine.containers, "running": engine.running,
                "volumes": answers.volumes.len(),
            },
            "running": running,
            "caveats": said.map(Caveat::to_json).collect::<Vec<_>>(),
            "classes": classes(of),
            "volumes": self.volumes.facts,
            "compose_projects": self.projects(),
            "swarm_services": self.services(),
            "containers": all,
        })
    }

    fn container(&self, at: usize) -> Option<Value> {
        let container = self.containers.get(at)?;
        let mut facts = container.to_json();
        if let Value::Object(facts) = &mut facts {
            facts.insert("class".to_owned(), json!(self.judged.class(at).word()));
            facts.insert("because".to_owned(), json!(self.judged.because(at)));
            facts.insert("followers".to_owned(), json!(self.judged.followers(&self.containers, &container.name)));
        }
        Some(facts)
    }

    /// The containers with a label, by its value.
    fn labelled(&self, label: &str) -> BTreeMap<&str, Vec<(&Container, bool)>> {
        let mut found: BTreeMap<&str, Vec<(&Container, bool)>> = BTreeMap::new();
        for (container, host) in self.containers.iter().zip(&self.judged.host) {
            let value = container.label(label);
            if !value.is_empty() {
                found.entry(value).or_default().push((container, *host));
            }
        }
        found
    }

    fn projects(&self) -> Vec<Value> {
        let all = self.labelled("com.docker.compose.project").into_iter();
        all.map(|(project, of)| {
            let label = |name: &str| of.first().map_or("", |(container, _)| container.label(name)).to_owned();
            json!({
                "project": project,
                "directory": label("com.docker.compose.project.working_dir"),
                "files": label("com.docker.compose.project.config_files"),
                "containers": of.iter().map(|(container, _)| &container.name).collect::<Vec<_>>(),
                "needs_host": needing(&of),
            })
        })
        .collect()
    }

    fn services(&self) -> Vec<Value> {
        let all = self.labelled("com.docker.swarm.service.name").into_iter();
        all.map(|(service, of)| {
            json!({
                "service": service,
                "containers": of.iter().map(|(container, _)| &container.name).collect::<Vec<_>>(),
                "needs_host": needing(&of),
            })
        })
        .collect()
    }
}

fn needing<'a>(of: &[(&'a Container, bool)]) -> Vec<&'a str> {
    of.iter().filter(|(_, host)| *host).map(|(container, _)| container.name.as_str()).collect()
}

fn classes<'a>(of: impl Fn(Class) -> Vec<&'a str>) -> Value {
    let classes: Map<String, Value> =
        Class::ALL.iter().map(|class| (class.word().to_owned(), json!(of(*class)))).collect();
    Value::Object(classes)
}

fn host_caveats(engine: &Engine, volumes: usize) -> Vec<Caveat> {
    let mut said = Vec::new();
    let mut say = |kind, effect, reason: String, what: &str| said.push(Caveat::host(kind, effect, reason, what));
    if !engine.userns() && engine.images + engine.containers > 0 || volumes > 0 && !engine.userns() {
        let reason = format!(
            "{} images, {} containers and {volumes} volumes are in {}, where a remapped engine does not look",
            engine.images, engine.containers, engine.root_dir
        );
        say(
            "storage",
            Effect::Note,
            reason,
            "existing_data: migrate takes them along; keep_aside leaves them for a rollback",
        );
    }
    if engine.live_restore {
        let reason = "live-restore keeps containers running while the engine changes its root under them".to_owned();
        say("live_restore", Effect::Note, reason, "the runbook turns it off, and on again in the end");
    }
    if engine.swarm != "inactive" && !engine.swarm.is_empty() {
        let reason = format!("the host's swarm state is {}: an empty root leaves the swarm", engine.swarm);
        let what =
            "existing_data: migrate keeps its state; a manager drains itself, a worker is drained from a manager first";
        say("swarm", Effect::Note, reason, what);
    }
    let foreign = foreign_drivers(&engine.volume_plugins);
    if !foreign.is_empty() {
        let reason = format!("volume plugins {} are not told of the map", foreign.join(", "));
        say(
            "volume_plugins",
            Effect::Note,
            reason,
            "keep containers that use them off this host, or give them --userns=host",
        );
    }
    if !matches!(engine.default_runtime.as_str(), "" | "runc") {
        let reason =
            format!("the default runtime is {}: its hooks run under the remap as well", engine.default_runtime);
        say("default_runtime", Effect::Note, reason, "try it on the canary");
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::docker_facts::volumes::Volume;

    /// What 20.10.24 said of itself and of its containers.
    fn recorded() -> Answers {
        let info: Value = serde_json::from_str(include_str!("recorded/info-20.10.24.json")).unwrap();
        let list: Vec<Value> = serde_json::from_str(include_str!("recorded/inspect-20.10.24.json")).unwrap();
        Answers {
            engine: Engine::read(&info).unwrap(),
            containers: list.iter().map(Container::read).collect(),
            volumes: vec![Volume { name: "vol1".to_owned(), driver: "local".to_owned(), ..Volume::default() }],
        }
    }

    #[test]
    fn every_container_is_in_one_class_with_its_reasons() {
        let answers = recorded();
        let facts = Findings::of(&answers, &Mounts::default()).to_json(&answers);
        assert_eq!(facts["classes"]["needs_host_userns"], json!(["joins", "hostnet", "priv"]));
        assert_eq!(facts["classes"]["recreate"], json!(["sock"]));
        assert_eq!((&facts["classes"]["remaps"], &facts["classes"]["refused"]), (&json!([]), &json!([])));
        let of = |name: &str| facts["containers"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap();
        assert_eq!(of("priv")["because"], json!(["privileged containers are refused under userns-remap"]));
        assert_eq!(of("hostnet")["followers"], json!(["joins"]));
        assert_eq!(facts["volumes"][0]["ownership"], "left");
        assert_eq!(facts["volumes"][0]["host_containers"], json!(["hostnet"]));
        assert_eq!(facts["caveats"][0]["kind"], "storage");
    }

    #[test]
    fn projects_and_services_are_told_with_those_that_need_the_host() {
        let mut answers = recorded();
        for container in &mut answers.containers {
            container.labels.insert("com.docker.compose.project".to_owned(), json!("shop"));
            container.labels.insert("com.docker.compose.project.config_files".to_owned(), json!("/srv/shop.yml"));
            container.labels.insert("com.docker.swarm.service.name".to_owned(), json!(container.name.clone()));
        }
        let facts = Findings::of(&answers, &Mounts::default()).to_json(&answers);
        let project = &facts["compose_projects"][0];
        assert_eq!((&project["project"], &project["files"]), (&json!("shop"), &json!("/srv/shop.yml")));
        assert_eq!(project["containers"].as_array().unwrap().len(), 4);
        assert_eq!(facts["swarm_services"].as_array().unwrap().len(), 4);
        assert_eq!(facts["classes"]["refused"], json!(["joins", "sock", "hostnet", "priv"]));
    }

    #[test]
    fn a_path_that_a_file_names_is_told_with_what_it_becomes() {
        let answers = recorded();
        let mut findings = Findings::of(&answers, &Mounts::default());
        let named = Named { file: "/etc/cron.d/backup".into(), line: 3, path: "/var/lib/docker/volumes".to_owned() };
        findings.add_named(&[named], Some(231_072), Path::new("/var/lib/docker"));
        let last = findings.host.last().unwrap();
        assert_eq!(last.kind, "path_named");
        assert!(last.reason.starts_with("/etc/cron.d/backup:3 names /var/lib/docker/volumes"));
        assert!(last.resolution.contains("/var/lib/docker/231072.231072/volumes"));
    }
}
