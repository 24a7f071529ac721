//! In which class a remap puts each container, and why: the closure of those that need the host's user namespace.

use super::caveats::say_all;
use super::container::Container;
use serde_json::{Value, json};
use std::path::Path;

/// What becomes of a container; the last that applies counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// It runs under the remap as it is.
    Remaps,
    /// It has, or needs, the host's user namespace.
    NeedsHostUserns,
    /// It has to be made again.
    Recreate,
    /// It cannot run on a remapped host.
    Refused,
}

impl Class {
    /// All, in order.
    pub(super) const ALL: [Self; 4] = [Self::Remaps, Self::NeedsHostUserns, Self::Recreate, Self::Refused];

    /// The word of it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Remaps => "remaps",
            Self::NeedsHostUserns => "needs_host_userns",
            Self::Recreate => "recreate",
            Self::Refused => "refused",
        }
    }
}

/// What a caveat means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// To be known.
    Note,
    /// It has the host's user namespace already.
    HasHost,
    /// It starts, and does not work without the host's user namespace.
    WantsHost,
    /// It does not start without the host's user namespace.
    NeedsHost,
    /// It goes when the engine stops.
    Vanishes,
    /// It does not start until it has been made again.
    Remake,
    /// It cannot run at all, or a person has to decide.
    Refused,
}

impl Effect {
    fn class(self) -> Class {
        match self {
            Self::Note => Class::Remaps,
            Self::HasHost | Self::WantsHost | Self::NeedsHost => Class::NeedsHostUserns,
            Self::Vanishes | Self::Remake => Class::Recreate,
            Self::Refused => Class::Refused,
        }
    }

    /// Whether something does not start, or must not be done, before that is settled.
    pub(super) fn blocks(self) -> bool {
        matches!(self, Self::NeedsHost | Self::Remake | Self::Refused)
    }
}

/// Something that a remap changes, or breaks, for a container or for the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caveat {
    /// The container's full id; empty for anything else.
    pub(super) id: String,
    /// The container's name, `volume NAME`, or `host`.
    pub(super) name: String,
    /// One word that does not change: `privileged`, `host_network`, ...
    pub(super) kind: &'static str,
    /// What it means.
    pub(super) effect: Effect,
    /// What happens.
    pub(super) reason: String,
    /// What to do about it.
    pub(super) resolution: String,
}

impl Caveat {
    pub(super) fn new(
        id: &str,
        name: &str,
        kind: &'static str,
        effect: Effect,
        reason: String,
        resolution: &str,
    ) -> Self {
        Self { id: id.to_owned(), name: name.to_owned(), kind, effect, reason, resolution: resolution.to_owned() }
    }

    /// Of the host itself.
    pub(super) fn host(kind: &'static str, effect: Effect, reason: String, resolution: &str) -> Self {
        Self::new("", "host", kind, effect, reason, resolution)
    }

    /// The facts of it.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "kind": self.kind, "blocks": self.effect.blocks(), "reason": self.reason,
            "resolution": self.resolution,
        })
    }
}

/// What a remap means for some containers, each at the place of its container.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Everything that is to be said.
    pub(super) caveats: Vec<Vec<Caveat>>,
    /// Whether it has, or needs, the host's user namespace.
    pub(super) host: Vec<bool>,
    /// The peer that brought it there, if it joins one.
    joins: Vec<Option<String>>,
}

impl Judged {
    /// Judges containers of an engine with this data root.
    pub(super) fn of(containers: &[Container], root: &Path) -> Self {
        let mut judged = host_closure(containers);
        judged.caveats = containers
            .iter()
            .zip(&judged.joins)
            .map(|(container, joins)| {
                let mut found = Vec::new();
                let mut say = |kind, effect, reason: String, resolution: &str| {
                    found.push(Caveat::new(&container.id, &container.name, kind, effect, reason, resolution));
                };
                say_all(container, joins.as_deref(), root, &mut say);
                found
            })
            .collect();
        judged
    }

    /// The class of the container at a place.
    pub(super) fn class(&self, at: usize) -> Class {
        let caveats = self.caveats.get(at).map(Vec::as_slice).unwrap_or_default();
        caveats.iter().map(|caveat| caveat.effect.class()).max().unwrap_or(Class::Remaps)
    }

    /// Why: the reasons that put it there.
    pub(super) fn because(&self, at: usize) -> Vec<&str> {
        let class = self.class(at);
        let caveats = self.caveats.get(at).map(Vec::as_slice).unwrap_or_default();
        let decisive = caveats.iter().filter(|caveat| class != Class::Remaps && caveat.effect.class() == class);
        decisive.map(|caveat| caveat.reason.as_str()).collect()
    }

    /// The containers that join the one of this name, directly or through others, and have to go with it.
    pub(super) fn followers<'a>(&self, containers: &'a [Container], name: &str) -> Vec<&'a str> {
        let mut found: Vec<&str> = Vec::new();
        let mut leaders = vec![name];
        while let Some(leader) = leaders.pop() {
            for (container, joins) in containers.iter().zip(&self.joins) {
                if joins.as_deref() == Some(leader) && !found.contains(&container.name.as_str()) {
                    found.push(&container.name);
                    leaders.push(&container.name);
                }
            }
        }
        found
    }
}

/// Which containers have, or directly or through others need, the host's user namespace.
fn host_closure(containers: &[Container]) -> Judged {
    let mut host: Vec<bool> =
        containers.iter().map(|container| container.userns_mode == "host" || container.needs_host()).collect();
    let mut joins = vec![None; containers.len()];
    loop {
        let mut grew = false;
        for (at, container) in containers.iter().enumerate() {
            let peer = container
                .joins()
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
            return Judged { host, joins, caveats: Vec::new() };
        }
    }
}
