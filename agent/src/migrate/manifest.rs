//! What a tree holds, as containers see it: owners are taken as ids in the container, so that a tree has the same manifest
//! before, during and after a shift, unless something was lost.

use super::MigrateError;
use super::acl::{self, ACLS};
use super::beneath::{Base, Found};
use super::caps::{self, CAPABILITY};
use super::ids::Mapping;
use super::inode::{Attributes, is_whiteout, kind};
use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::os::unix::ffi::OsStrExt;

/// Every inode of some trees in one number each: how many, and a digest that no order of visiting changes (the sum of the
/// inodes' digests).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// How many names.
    pub inodes: u64,
    /// Bytes on disk.
    pub bytes: u64,
    sum: [u64; 4],
}

impl Manifest {
    /// Adds one inode.
    pub(super) fn add(&mut self, record: &[u8], bytes: u64) {
        self.inodes += 1;
        self.bytes += bytes;
        let digest = Sha256::digest(record);
        for (lane, part) in self.sum.iter_mut().zip(digest.chunks_exact(8)) {
            *lane = lane.wrapping_add(part.first_chunk().copied().map_or(0, u64::from_le_bytes));
        }
    }

    /// Adds what another thread saw.
    pub(super) fn join(&mut self, other: &Self) {
        self.inodes += other.inodes;
        self.bytes += other.bytes;
        for (lane, part) in self.sum.iter_mut().zip(other.sum) {
            *lane = lane.wrapping_add(part);
        }
    }

    /// The digest as text.
    #[must_use]
    pub fn digest(&self) -> String {
        self.sum.iter().map(|lane| format!("{lane:016x}")).collect()
    }
}

/// Writes all that must not change about an inode: path, type, mode, owner as a container sees it, links,
/// size, device, time of change, and extended attributes with ids as a container sees them.
pub(super) fn record(
    out: &mut Vec<u8>,
    base: &Base,
    found: &Found<'_>,
    stat: &Stat,
    attributes: &Attributes<'_>,
    mapping: &Mapping,
) -> Result<(), MigrateError> {
    out.clear();
    out.extend(found.below.as_os_str().as_bytes());
    out.push(b'/');
    out.extend(found.name.to_bytes_with_nul());
    let of_directory = kind(stat) == FileType::Directory;
    let numbers = [
        u64::from(stat.st_mode),
        u64::from(mapping.uid.seen(stat.st_uid)),
        u64::from(mapping.gid.seen(stat.st_gid)),
        // A directory's size and links are its file system's business.
        if of_directory { 0 } else { u64::from(links(stat)) },
        if of_directory { 0 } else { stat.st_size.cast_unsigned() },
        stat.st_rdev,
        stat.st_mtime.cast_unsigned(),
        u64::from(u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
    ];
    for number in numbers {
        out.extend(number.to_le_bytes());
    }
    let mut names: Vec<&std::ffi::CStr> = attributes.names().collect();
    names.sort_unstable();
    for name in names {
        let value = attributes.value(base, found, name)?;
        let value = seen(name.to_str().unwrap_or_default(), value, mapping);
        out.extend(name.to_bytes_with_nul());
        out.extend((value.len() as u64).to_le_bytes());
        out.extend(value);
    }
    Ok(())
}

/// How many names an inode has. Those of deletion marks outside of the tree are nobody's concern.
pub(super) fn links(stat: &Stat) -> u32 {
    if is_whiteout(stat) { 0 } else { u32::try_from(stat.st_nlink).unwrap_or(u32::MAX) }
}

fn seen(name: &str, value: Vec<u8>, mapping: &Mapping) -> Vec<u8> {
    if ACLS.contains(&name) {
        return acl::seen(&value, mapping).unwrap_or(value);
    }
    if name == CAPABILITY { caps::seen(&value, mapping.uid) } else { value }
}
