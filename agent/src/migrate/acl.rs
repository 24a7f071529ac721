//! POSIX ACLs (`system.posix_acl_access`, `system.posix_acl_default`): named users and groups are numbers that chown does
//! not change.

use super::ids::{Direction, Mapping, Place};

/// The extended attributes that hold ACLs.
pub(super) const ACLS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];

/// The same ACLs as XFS stores them and lists them to root a second time: they follow the first.
pub(super) const STORED: [&str; 2] = ["trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT"];

const VERSION: [u8; 4] = 2_u32.to_le_bytes();
const HEADER: usize = VERSION.len();
const ENTRY: usize = 8;
const USER: u16 = 0x01;
const NAMED_USER: u16 = 0x02;
const GROUP: u16 = 0x04;
const NAMED_GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// An ACL's bytes, with every named id replaced. None if they are no ACL of the one version there is.
fn replaced(bytes: &[u8], mut user: impl FnMut(u32) -> u32, mut group: impl FnMut(u32) -> u32) -> Option<Vec<u8>> {
    let entries = bytes.strip_prefix(&VERSION)?;
    if !entries.len().is_multiple_of(ENTRY) {
        return None;
    }
    let mut out = Vec::with_capacity(HEADER + entries.len());
    out.extend(VERSION);
    for entry in entries.chunks_exact(ENTRY) {
        let (head, id) = entry.split_at(4);
        let tag = u16::from_le_bytes(head.first_chunk().copied()?);
        let old = u32::from_le_bytes(id.first_chunk().copied()?);
        let new = match tag {
            NAMED_USER => user(old),
            NAMED_GROUP => group(old),
            _ => old,
        };
        out.extend(head);
        out.extend(new.to_le_bytes());
    }
    Some(out)
}

/// The ACL after its ids went where they go; the same bytes if they are there. None if it is no ACL.
#[must_use]
pub fn moved(bytes: &[u8], mapping: &Mapping, direction: Direction) -> Option<Vec<u8>> {
    replaced(bytes, |id| mapping.uid.moved(id, direction), |id| mapping.gid.moved(id, direction))
}

/// The ACL as containers see it, on whichever side its ids are.
#[must_use]
pub fn seen(bytes: &[u8], mapping: &Mapping) -> Option<Vec<u8>> {
    replaced(bytes, |id| mapping.uid.seen(id), |id| mapping.gid.seen(id))
}

/// Where each named id of it goes. None if it is no ACL.
#[must_use]
pub fn places(bytes: &[u8], mapping: &Mapping, direction: Direction) -> Option<Vec<(u32, Place)>> {
    let found = std::cell::RefCell::new(Vec::new());
    let note = |id: u32, place: Place| {
        found.borrow_mut().push((id, place));
        id
    };
    replaced(bytes, |id| note(id, mapping.uid.place(id, direction)), |id| note(id, mapping.gid.place(id, direction)))?;
    Some(found.into_inner())
}

/// An ACL, or the one that a mode stands for, with a user who may do what the owner may. The mask is widened for that.
#[must_use]
pub fn with_user(had: Option<&[u8]>, mode: u32, user: u32) -> Option<Vec<u8>> {
    let mut entries: Vec<(u16, u16, u32)> = match had {
        None => {
            let bits = |shift: u32| u16::try_from(mode >> shift & 7).unwrap_or_default();
            vec![(USER, bits(6), u32::MAX), (GROUP, bits(3), u32::MAX), (OTHER, bits(0), u32::MAX)]
        }
        Some(had) => {
            let entries = had.strip_prefix(&VERSION)?;
            let read = |entry: &[u8]| {
                let (head, id) = entry.split_at_checked(4)?;
                let (tag, bits) = head.split_at_checked(2)?;
                let short = |bytes: &[u8]| bytes.first_chunk().copied().map(u16::from_le_bytes);
                Some((short(tag)?, short(bits)?, u32::from_le_bytes(id.first_chunk().copied()?)))
            };
            entries.chunks(ENTRY).map(read).collect::<Option<_>>()?
        }
    };
    // What the owner may do, the container's root may do: it is who the owner was to containers.
    let may = entries.iter().find(|(tag, ..)| *tag == USER).map_or(0, |(_, bits, _)| *bits);
    entries.retain(|(tag, _, id)| !(*tag == NAMED_USER && *id == user));
    entries.push((NAMED_USER, may, user));
    let group = entries.iter().find(|(tag, ..)| *tag == GROUP).map_or(0, |(_, bits, _)| *bits);
    match entries.iter_mut().find(|(tag, ..)| *tag == MASK) {
        Some((_, bits, _)) => *bits |= may,
        None => entries.push((MASK, group | may, u32::MAX)),
    }
    entries.sort_unstable_by_key(|(tag, _, id)| (*tag, *id));
    let mut out = VERSION.to_vec();
    for (tag, bits, id) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(bits.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    Some(out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::ids::IdRange;
    use super::*;
    use proptest::prelude::*;

    /// user::rw-, user:UID:r--, group::r--, group:GID:r--, mask::rw-, other::---
    pub(in super::super) fn acl(uid: u32, gid: u32) -> Vec<u8> {
        let undefined = u32::MAX;
        let entries: [(u16, u16, u32); 6] = [
            (0x01, 6, undefined),
            (NAMED_USER, 4, uid),
            (0x04, 4, undefined),
            (NAMED_GROUP, 4, gid),
            (0x10, 6, undefined),
            (0x20, 0, undefined),
        ];
        let mut out = VERSION.to_vec();
        for (tag, permissions, id) in entries {
            out.extend(tag.to_le_bytes());
            out.extend(permissions.to_le_bytes());
            out.extend(id.to_le_bytes());
        }
        out
    }

    fn mapping() -> Mapping {
        Mapping { uid: IdRange::new(231_072, 65536).unwrap(), gid: IdRange::new(300_000, 65536).unwrap() }
    }

    #[test]
    fn named_ids_are_shifted_each_by_its_own_range() {
        assert_eq!(moved(&acl(999, 12), &mapping(), Direction::Into).unwrap(), acl(232_071, 300_012));
        assert_eq!(moved(&acl(232_071, 12), &mapping(), Direction::OutOf).unwrap(), acl(999, 12));
        let places = places(&acl(999, 70_000), &mapping(), Direction::Into).unwrap();
        assert_eq!(places, [(999, Place::To(232_071)), (70_000, Place::Outside)]);
    }

    #[test]
    fn what_is_no_acl_is_not_touched() {
        for bytes in [&b""[..], b"\x01\0\0\0", b"\x02\0\0\0\x01"] {
            assert_eq!(moved(bytes, &mapping(), Direction::Into), None);
        }
    }

    proptest! {
        #[test]
        fn any_acl_comes_back(uid in 0_u32..65536, gid in 0_u32..65536) {
            let mapping = mapping();
            let before = acl(uid, gid);
            let there = moved(&before, &mapping, Direction::Into).unwrap();
            prop_assert_eq!(&moved(&there, &mapping, Direction::Into).unwrap(), &there);
            prop_assert_eq!(seen(&there, &mapping).unwrap(), before.clone());
            prop_assert_eq!(moved(&there, &mapping, Direction::OutOf).unwrap(), before);
        }

        #[test]
        fn any_bytes_are_an_acl_of_the_same_length_or_none(bytes: Vec<u8>) {
            let found = moved(&bytes, &mapping(), Direction::Into);
            prop_assert!(found.is_none_or(|found| found.len() == bytes.len()));
        }
    }
}
