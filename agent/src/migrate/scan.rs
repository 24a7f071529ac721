//! Looking at trees before anything in them is changed: what there is to do, and what forbids it.

use super::acl::{self, ACLS};
use super::beneath::{Base, Found};
use super::caps::{self, CAPABILITY};
use super::ids::{Direction, Mapping, Place};
use super::inode::{Attributes, is_whiteout, kind};
use super::manifest::{Manifest, links, record};
use super::walk::{Visitor, threads, walk};
use super::{MigrateError, Watch};
use rustix::fs::{AtFlags, FileType, Stat, statat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// How many of a kind are named.
const NAMED: usize = 20;

/// Things found: how many, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// How many.
    pub count: u64,
    /// Some of them, in a sentence each.
    pub first: Vec<String>,
}

impl Sample {
    fn add(&mut self, sentence: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(sentence());
        }
    }

    fn join(&mut self, other: Self) {
        self.count += other.count;
        self.first.extend(other.first);
        self.first.sort_unstable();
        self.first.truncate(NAMED);
    }
}

/// What a look at trees found.
#[derive(Debug, Default)]
pub struct Scan {
    /// All of it.
    pub manifest: Manifest,
    /// Inodes with an id, or an ACL's id, that still has to go.
    pub left: u64,
    /// Ids that are on the side where a shift would put them.
    pub there: Sample,
    /// Ids that belong to neither side.
    pub outside: Sample,
    /// Inodes that have names outside of the trees.
    pub linked: Sample,
    /// Attributes that hold ids and cannot be read.
    pub unreadable: Sample,
    /// Capabilities for the root of another user namespace.
    pub foreign: Sample,
    /// Inodes with ACLs, sorted.
    pub(super) acls: Vec<u64>,
    /// Inodes with capabilities, sorted.
    pub(super) capable: Vec<u64>,
}

impl Scan {
    fn join(&mut self, other: Self) {
        self.manifest.join(&other.manifest);
        self.left += other.left;
        self.there.join(other.there);
        self.outside.join(other.outside);
        self.unreadable.join(other.unreadable);
        self.foreign.join(other.foreign);
        self.acls.extend(other.acls);
        self.capable.extend(other.capable);
    }

    /// What must not be shifted, or could not be shifted back. `fresh`: no shift of this way was begun before.
    ///
    /// # Errors
    /// [`MigrateError::Refused`] names it.
    pub fn admit(&self, direction: Direction, fresh: bool) -> Result<(), MigrateError> {
        let into = direction == Direction::Into;
        if !into && self.left == 0 {
            return Ok(());
        }
        let reasons = [
            (true, &self.linked, "with names outside of what is to be migrated, too"),
            (true, &self.unreadable, "with an access list that cannot be read"),
            (into, &self.outside, "with an id that no container can have"),
            (into && fresh, &self.there, "with an id that is in the subordinate range already"),
        ];
        let told: Vec<String> = reasons
            .into_iter()
            .filter(|(matters, sample, _)| *matters && sample.count > 0)
            .map(|(_, sample, what)| format!("{} {what}: {}", sample.count, sample.first.join(", ")))
            .collect();
        if told.is_empty() { Ok(()) } else { Err(MigrateError::Refused(told.join("; "))) }
    }
}

/// Names of an inode that have not been met, and one that has.
type Links = Mutex<HashMap<u64, (u32, PathBuf)>>;

struct Scanner<'a> {
    base: &'a Base,
    mapping: &'a Mapping,
    direction: Direction,
    /// Whether inode numbers are a part of the manifest.
    numbered: bool,
    links: &'a Links,
    watch: &'a dyn Watch,
    record: Vec<u8>,
    unreported: u64,
    scan: Scan,
}

/// Looks at everything below `starts`, which must not lie in each other.
///
/// # Errors
/// [`MigrateError`]; what forbids a shift is no error, see [`Scan::admit`].
pub fn scan(
    base: &Base,
    starts: &[PathBuf],
    mapping: &Mapping,
    direction: Direction,
    watch: &dyn Watch,
) -> Result<Scan, MigrateError> {
    look(base, starts, mapping, direction, true, watch)
}

/// The manifest of everything below `starts`, as a copy has it, too.
///
/// # Errors
/// [`MigrateError`].
pub fn scan_copy(
    base: &Base,
    starts: &[PathBuf],
    mapping: &Mapping,
    watch: &dyn Watch,
) -> Result<Manifest, MigrateError> {
    look(base, starts, mapping, Direction::Into, false, watch).map(|scan| scan.manifest)
}

fn look(
    base: &Base,
    starts: &[PathBuf],
    mapping: &Mapping,
    direction: Direction,
    numbered: bool,
    watch: &dyn Watch,
) -> Result<Scan, MigrateError> {
    let links = Links::default();
    let scanner = || Scanner {
        base,
        mapping,
        direction,
        numbered,
        links: &links,
        watch,
        record: Vec::new(),
        unreported: 0,
        scan: Scan::default(),
    };
    let visitors = (0..threads()).map(|_| scanner()).collect();
    let mut whole = Scan::default();
    for scanner in walk(base, starts, visitors)? {
        whole.join(scanner.scan);
    }
    whole.acls.sort_unstable();
    whole.capable.sort_unstable();
    let links = links.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (missing, path) in links.into_values() {
        whole.linked.add(|| format!("{} ({missing} elsewhere)", base.full(&path).display()));
    }
    whole.linked.first.sort_unstable();
    Ok(whole)
}

impl Visitor for Scanner<'_> {
    fn visit(&mut self, found: &Found<'_>) -> Result<bool, MigrateError> {
        let stat = match statat(found.dir, found.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // An engine that runs while a plan is made deletes files.
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(MigrateError::system("look at", self.base.full(&found.path()), error)),
        };
        if stat.st_dev != self.base.device() {
            return Err(self.base.refused(&found.path(), Errno::XDEV));
        }
        let attributes = Attributes::of(self.base, found)?;
        self.ids(found, &stat, &attributes)?;
        self.count_links(found, &stat);
        record(&mut self.record, self.base, found, &stat, &attributes, self.mapping)?;
        if self.numbered {
            self.record.extend(stat.st_ino.to_le_bytes());
        }
        self.scan.manifest.add(&self.record, stat.st_blocks.cast_unsigned().saturating_mul(512));
        self.unreported += 1;
        if self.unreported >= 1024 {
            self.watch.seen(std::mem::take(&mut self.unreported), 0);
            self.watch.go_on()?;
        }
        Ok(kind(&stat) == FileType::Directory)
    }
}

impl Scanner<'_> {
    fn path(&self, found: &Found<'_>) -> String {
        self.base.full(&found.path()).display().to_string()
    }

    /// Where the inode's ids go.
    fn ids(&mut self, found: &Found<'_>, stat: &Stat, attributes: &Attributes<'_>) -> Result<(), MigrateError> {
        if is_whiteout(stat) {
            return Ok(());
        }
        let owner = self.mapping.uid.place(stat.st_uid, self.direction);
        let group = self.mapping.gid.place(stat.st_gid, self.direction);
        let mut left = self.judge(found, "uid", stat.st_uid, owner) | self.judge(found, "gid", stat.st_gid, group);
        for name in attributes.names() {
            let name_text = name.to_str().unwrap_or_default();
            if ACLS.contains(&name_text) {
                if self.scan.acls.last() != Some(&stat.st_ino) {
                    self.scan.acls.push(stat.st_ino);
                }
                let value = attributes.value(self.base, found, name)?;
                left |= self.access_list(found, name_text, &value);
            } else if name_text == CAPABILITY {
                self.scan.capable.push(stat.st_ino);
                let value = attributes.value(self.base, found, name)?;
                left |= caps::moved(&value, self.mapping.uid, self.direction) != value;
                let root = caps::Capabilities::parse(&value).and_then(|found| found.root);
                if let Some(root) = root.filter(|root| *root != self.mapping.uid.start()) {
                    let path = self.path(found);
                    self.scan.foreign.add(|| format!("{path} (root {root})"));
                }
            }
        }
        self.scan.left += u64::from(left);
        Ok(())
    }

    fn access_list(&mut self, found: &Found<'_>, name: &str, value: &[u8]) -> bool {
        let Some(places) = acl::places(value, self.mapping, self.direction) else {
            let path = self.path(found);
            self.scan.unreadable.add(|| path);
            return false;
        };
        let mut left = false;
        for (id, place) in places {
            left |= self.judge(found, name, id, place);
        }
        left
    }

    /// Notes an id. Whether it has to go.
    fn judge(&mut self, found: &Found<'_>, what: &str, id: u32, place: Place) -> bool {
        let sample = match place {
            Place::To(_) => return true,
            Place::There => &mut self.scan.there,
            Place::Outside => &mut self.scan.outside,
        };
        let base = self.base;
        sample.add(|| format!("{} ({what} {id})", base.full(&found.path()).display()));
        false
    }

    fn count_links(&mut self, found: &Found<'_>, stat: &Stat) {
        let names = links(stat);
        if names < 2 || kind(stat) == FileType::Directory {
            return;
        }
        let mut open = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = open.entry(stat.st_ino).or_insert_with(|| (names, found.path()));
        entry.0 = entry.0.saturating_sub(1);
        if entry.0 == 0 {
            open.remove(&stat.st_ino);
        }
    }
}

/// Whether any of the paths lies in another one of them, so that it would be visited twice.
pub(super) fn overlap(starts: &[PathBuf]) -> Option<&Path> {
    let mut sorted: Vec<&PathBuf> = starts.iter().collect();
    sorted.sort_unstable();
    let mut last: Option<&PathBuf> = None;
    for start in sorted {
        if last.is_some_and(|last| start.starts_with(last)) {
            return Some(start);
        }
        last = Some(start);
    }
    None
}
