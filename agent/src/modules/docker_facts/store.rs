//! Which image store an engine has and would have under a remap (docker-userns design, section 5).

use super::classes::{Caveat, Effect};
use super::config::ConfigFile;
use super::engine::Engine;
use super::unit::Flag;
use super::version;

/// The first engine that picks containerd's store by itself on a host without data, and refuses it under a remap.
const PICKS_CONTAINERD: (u64, u64, u64) = (29, 0, 0);

/// The first engine that knows containerd's store.
const KNOWS_CONTAINERD: (u64, u64, u64) = (24, 0, 0);

const RELOAD: &str = "save or push the images, set features.containerd-snapshotter to false, restart the engine, load \
                      the images and make the containers again; then remap";

/// What is to be known of the store.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// What forbids a remap, or happens without being asked for.
    pub(super) caveats: Vec<Caveat>,
    /// `features.containerd-snapshotter: false` has to be written, so that no start picks containerd's store.
    pub(super) pin: bool,
}

/// Judges an engine's store by its version and its settings.
pub(super) fn judge(engine: &Engine, config: &ConfigFile, flags: &[Flag]) -> Store {
    let mut store = Store::default();
    let mut refuse = |kind, reason: String, what: &str| {
        store.caveats.push(Caveat::host(kind, Effect::Refused, reason, what));
    };
    let number = version::parse(&engine.version).unwrap_or_default();
    let said = &engine.version;
    let wanted = snapshotter(config, flags);
    if engine.image_store() == "containerd" {
        let reason = match (number >= PICKS_CONTAINERD, wanted) {
            (true, Some(true)) => {
                format!("images are in containerd's store, and engine {said} with it set to true exits under a remap")
            }
            (true, _) => format!(
                "images are in containerd's store; under a remap engine {said} drops to an empty graph driver without a word"
            ),
            (false, _) => format!(
                "images are in containerd's store, which engine {said} does not map: builds fail, and each container is a \
                 full copy"
            ),
        };
        refuse("containerd_store", reason, RELOAD);
    } else if wanted == Some(true) && number >= KNOWS_CONTAINERD {
        let reason = format!(
            "features.containerd-snapshotter is true: engine {said} {} with its next start",
            if number >= PICKS_CONTAINERD { "exits under a remap" } else { "changes to containerd's store" }
        );
        refuse("containerd_feature", reason, "set it to false");
    }
    let driver = flags.iter().find(|flag| flag.directive == "storage-driver").and_then(|flag| flag.value.as_deref());
    if driver.or_else(|| config.string("storage-driver")) == Some("overlayfs") {
        let reason = "storage-driver overlayfs is a snapshotter's name: under a remap the engine exits".to_owned();
        refuse("storage_driver", reason, "set it to overlay2, or remove it");
    }
    store.pin = number >= PICKS_CONTAINERD && engine.image_store() == "graphdriver" && wanted != Some(false);
    if store.pin {
        // The choice is by whether <root>/overlay2 holds anything, which a migration moves away (moby, HasPriorDriver).
        let reason = format!(
            "engine {said} keeps its graph driver only while {}/overlay2 holds data: moved away and not remapped, it \
             would start with containerd's store",
            engine.data_root()
        );
        let what = "the runbook writes features.containerd-snapshotter: false";
        store.caveats.push(Caveat::host("store_not_pinned", Effect::Note, reason, what));
    }
    store
}

/// What the settings say of containerd's store, if anything.
fn snapshotter(config: &ConfigFile, flags: &[Flag]) -> Option<bool> {
    let settings = config.settings.as_ref().ok();
    let of_file = settings.and_then(|settings| settings.get("features")?.get("containerd-snapshotter")?.as_bool());
    let of_flags = flags.iter().filter(|flag| flag.directive == "features").find_map(|flag| {
        let value = flag.value.as_deref()?.strip_prefix("containerd-snapshotter")?;
        Some(value.strip_prefix('=').is_none_or(|value| value == "true" || value == "1"))
    });
    of_file.or(of_flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::path::PathBuf;

    /// What 20.10.24 said, with what 29 says instead: `docker info` of 29.4.1 as users have published it with a graph
    /// driver, and moby's documentation of containerd's store.
    fn engine(version: &str, containerd: bool) -> Engine {
        let mut info: Value = serde_json::from_str(include_str!("recorded/info-20.10.24.json")).unwrap();
        info["ServerVersion"] = json!(version);
        if containerd {
            info["Driver"] = json!("overlayfs");
            info["DriverStatus"] = json!([["driver-type", "io.containerd.snapshotter.v1"]]);
        }
        Engine::read(&info).unwrap()
    }

    fn config(settings: Value) -> ConfigFile {
        let settings = Ok(settings.as_object().unwrap().clone());
        ConfigFile { path: PathBuf::from("/etc/docker/daemon.json"), text: None, settings }
    }

    fn judged(version: &str, containerd: bool, settings: Value) -> (Vec<&'static str>, bool) {
        let store = judge(&engine(version, containerd), &config(settings), &[]);
        (store.caveats.iter().map(|caveat| caveat.kind).collect(), store.pin)
    }

    fn reason(version: &str, settings: Value) -> String {
        judge(&engine(version, true), &config(settings), &[]).caveats.remove(0).reason
    }

    #[test]
    fn containerds_store_is_refused_and_each_version_for_its_own_reason() {
        for version in ["24.0.7", "25.0.3", "28.5.1", "29.4.1"] {
            assert_eq!(judged(version, true, json!({})), (vec!["containerd_store"], false), "{version}");
        }
        assert!(reason("25.0.3", json!({})).contains("does not map"));
        assert!(reason("29.4.1", json!({})).contains("without a word"));
        let explicit = json!({"features": {"containerd-snapshotter": true}});
        assert!(reason("29.4.1", explicit).contains("exits under a remap"));
    }

    #[test]
    fn a_feature_that_a_start_would_turn_on_is_refused_beforehand() {
        let on = || json!({"features": {"containerd-snapshotter": true}});
        assert_eq!(judged("20.10.24", false, on()), (vec![], false));
        assert_eq!(judged("26.1.5", false, on()), (vec!["containerd_feature"], false));
        assert_eq!(judged("29.0.0", false, on()).0, ["containerd_feature", "store_not_pinned"]);
        assert_eq!(
            judged("29.0.0", false, json!({"storage-driver": "overlayfs"})).0,
            ["storage_driver", "store_not_pinned"]
        );
    }

    #[test]
    fn a_graph_driver_is_pinned_from_29_on() {
        assert_eq!(judged("28.5.1", false, json!({})), (vec![], false));
        assert_eq!(judged("29.4.1", false, json!({"features": {"buildkit": true}})), (vec!["store_not_pinned"], true));
        assert_eq!(judged("29.4.1", false, json!({"features": {"containerd-snapshotter": false}})), (vec![], false));
    }

    #[test]
    fn a_flag_says_it_as_well() {
        let flag = |value: &str| Flag {
            flag: "--feature".to_owned(),
            directive: "features".to_owned(),
            value: Some(value.to_owned()),
        };
        for (value, said) in [
            ("containerd-snapshotter", Some(true)),
            ("containerd-snapshotter=true", Some(true)),
            ("containerd-snapshotter=false", Some(false)),
            ("buildkit=true", None),
        ] {
            assert_eq!(snapshotter(&config(json!({})), &[flag(value)]), said, "{value}");
        }
    }
}
