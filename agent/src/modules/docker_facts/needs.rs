//! What a migration would find and need: a look at every inode, on request only, for it takes as long as there are many.

use super::classes::{Caveat, Effect};
use super::host::room;
use super::mounts::Mounts;
use crate::fault::Changes;
use crate::migrate::docker::{Strategy, Survey, Wanted, mounts_below};
use crate::migrate::{Base, Direction, IdRange, Mapping, MigrateError, Sample, Scan, Shift};
use crate::modules::userns::Asked;
use crate::modules::{Context, ModuleError};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// File systems that share bytes between files.
const REFLINKS: [&str; 2] = ["btrfs", "xfs"];

/// What a look at the trees found.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// The facts.
    pub(super) facts: Value,
    /// What forbids a migration.
    pub(super) caveats: Vec<Caveat>,
}

/// The data root of an engine and the range that it would get.
#[derive(Debug)]
pub(super) struct Root<'a> {
    /// The data root without a remap.
    pub(super) path: &'a Path,
    /// First id, and how many.
    pub(super) range: (u64, u64),
    /// Containers that have, or will need, the host's user namespace.
    pub(super) host: BTreeSet<String>,
    /// Volumes that containers of both kinds use.
    pub(super) shared: BTreeSet<String>,
}

/// Looks at everything that would be shifted.
///
/// # Errors
/// The end of the request. That the trees cannot be looked at is a fact.
pub(super) fn look(cx: &Context, root: Root<'_>, mounts: &Mounts) -> Result<Needs, ModuleError> {
    match scan(cx, root, mounts) {
        Ok(needs) => Ok(needs),
        Err(MigrateError::Stopped(why)) => Err(ModuleError::failed(format!("the look at the data was ended: {why}"))),
        Err(error) => Ok(Needs { facts: nothing(&error.to_string()), caveats: Vec::new() }),
    }
}

/// The facts of a look that was not possible.
pub(super) fn nothing(problem: &str) -> Value {
    json!({"problem": problem, "inodes": null, "mb": null, "shifted": null, "found": {}, "refused": [], "notes": [],
           "strategies": {}})
}

fn scan(cx: &Context, root: Root<'_>, mounts: &Mounts) -> Result<Needs, MigrateError> {
    let range = |(start, count): (u64, u64)| {
        let id = |number| u32::try_from(number).map_err(|_| MigrateError::Refused(format!("{number} is no id")));
        IdRange::new(id(start)?, id(count)?).map_err(MigrateError::Refused)
    };
    let range = range(root.range)?;
    let wanted = Wanted {
        root: root.path.to_owned(),
        mapping: Mapping { uid: range, gid: range },
        strategy: Strategy::Move,
        host: root.host,
        leave: BTreeSet::new(),
        shift: root.shared,
        units: Vec::new(),
    };
    let base = Base::open(root.path)?;
    let mut survey = Survey::of(&base, &wanted)?;
    let mounted = mounts_below(root.path)?;
    survey.layout.trees.retain(|tree| !mounted.contains(&base.full(tree)));
    let watch = Asked { control: &cx.control, changes: Changes::default() };
    let shift = Shift { base: &base, starts: &survey.layout.trees, mapping: wanted.mapping, watch: &watch };
    let scan = shift.look(Direction::Into)?;
    let refused = scan.admit(Direction::Into, true).err().map(|error| error.to_string());
    survey.refused.extend(refused);
    let say = |reason: &String| {
        let what = "mend it, or see docs/migration.md: nothing is changed before";
        Caveat::host("migration", Effect::Refused, reason.clone(), what)
    };
    Ok(Needs {
        caveats: survey.refused.iter().map(say).collect(),
        facts: json!({
            "problem": null,
            "inodes": scan.manifest.inodes,
            "mb": scan.manifest.bytes >> 20,
            "shifted": scan.left,
            "found": found(&scan),
            "refused": survey.refused,
            "notes": survey.notes,
            "strategies": strategies(root.path, &scan, mounts),
        }),
    })
}

fn found(scan: &Scan) -> Value {
    let told = |sample: &Sample| json!({"count": sample.count, "first": sample.first});
    json!({
        "outside": told(&scan.outside), "in_range": told(&scan.there), "linked": told(&scan.linked),
        "unreadable": told(&scan.unreadable), "foreign_capabilities": told(&scan.foreign),
    })
}

fn strategies(path: &Path, scan: &Scan, mounts: &Mounts) -> Value {
    let (free_mb, free_inodes) = room(path);
    let (mb, inodes) = (scan.manifest.bytes.div_ceil(1 << 20), scan.manifest.inodes);
    let reflinks = mounts.filesystem(path).is_some_and(|filesystem| REFLINKS.contains(&filesystem));
    let needs = |mb: u64, inodes: u64, possible: bool| {
        let fits = free_mb.is_none_or(|free| free >= mb) && free_inodes.is_none_or(|free| free >= inodes);
        json!({"mb": mb, "inodes": inodes, "possible": possible && fits})
    };
    json!({
        "move": needs(0, 0, true), "reflink": needs(0, inodes, reflinks), "copy": needs(mb, inodes, true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Mode;

    fn root<'a>(path: &'a Path) -> Root<'a> {
        Root { path, range: (231_072, 65_536), host: BTreeSet::new(), shared: BTreeSet::new() }
    }

    #[test]
    fn a_data_root_is_measured_and_ids_that_no_container_has_are_named() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = fs_err::canonicalize(directory.path()).unwrap();
        let data = path.join("volumes/v/_data");
        fs_err::create_dir_all(&data).unwrap();
        fs_err::write(data.join("big"), vec![1; 3 << 20]).unwrap();
        fs_err::write(data.join("odd"), "").unwrap();
        let cx = Context::new(Mode::Check, &path);
        let look = |path: &Path| look(&cx, root(path), &Mounts::default()).unwrap();
        let needs = look(&path);
        assert_eq!((&needs.facts["inodes"], &needs.facts["shifted"]), (&json!(3), &json!(3)));
        assert!(needs.caveats.is_empty() && needs.facts["strategies"]["copy"]["mb"].as_u64() >= Some(3));
        assert_eq!(needs.facts["strategies"]["reflink"]["possible"], false);
        std::os::unix::fs::chown(data.join("odd"), Some(70_000), None).unwrap();
        let needs = look(&path);
        assert_eq!(needs.facts["found"]["outside"]["count"], 1);
        assert!(needs.caveats[0].reason.contains("odd (uid 70000)"), "{:?}", needs.caveats);
        let gone = look(&path.join("gone"));
        assert!(gone.facts["problem"].as_str().unwrap().contains("gone"), "{:?}", gone.facts);
    }
}
