//! File capabilities (`security.capability`): version 2 holds in every user namespace below the host's; version 3, written
//! inside a remapped container, only where its root is the one it names.

use super::ids::{Direction, IdRange};

/// The extended attribute that holds them.
pub(super) const CAPABILITY: &str = "security.capability";

const REVISION: u32 = 0xff00_0000;
const VERSION_2: u32 = 0x0200_0000;
const VERSION_3: u32 = 0x0300_0000;
const LENGTH_2: usize = 20;
const LENGTH_3: usize = 24;

/// A file's capabilities, of version 2 or 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The flag that they are effective.
    effective: u32,
    /// Permitted and inheritable, twice 32 bits each.
    sets: [u8; 16],
    /// Version 3: the host's id of the root for whom they hold.
    pub root: Option<u32>,
}

impl Capabilities {
    /// Reads them. None for another version, which is kept as it is.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let magic = u32::from_le_bytes(bytes.first_chunk().copied()?);
        let sets = bytes.get(4..)?.first_chunk().copied()?;
        let root = match (magic & REVISION, bytes.len()) {
            (VERSION_2, LENGTH_2) => None,
            (VERSION_3, LENGTH_3) => Some(u32::from_le_bytes(bytes.last_chunk().copied()?)),
            _ => return None,
        };
        Some(Self { effective: magic & !REVISION, sets, root })
    }

    /// Writes them.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let version = if self.root.is_some() { VERSION_3 } else { VERSION_2 };
        let mut out = (version | self.effective).to_le_bytes().to_vec();
        out.extend(self.sets);
        out.extend(self.root.iter().flat_map(|root| root.to_le_bytes()));
        out
    }
}

/// The attribute as it has to be after a shift. Into the range it is kept: version 2 holds there. Out of it, what holds for
/// the range's root holds for the host's, and is version 2 again.
#[must_use]
pub fn moved(bytes: &[u8], range: IdRange, direction: Direction) -> Vec<u8> {
    match direction {
        Direction::Into => bytes.to_vec(),
        Direction::OutOf => seen(bytes, range),
    }
}

/// The attribute as a container with this range sees it.
#[must_use]
pub fn seen(bytes: &[u8], range: IdRange) -> Vec<u8> {
    match Capabilities::parse(bytes) {
        Some(found) if found.root == Some(range.start()) => Capabilities { root: None, ..found }.bytes(),
        _ => bytes.to_vec(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// cap_net_bind_service+ep.
    pub(in super::super) const NET_BIND: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    fn range() -> IdRange {
        IdRange::new(231_072, 65536).unwrap()
    }

    pub(in super::super) fn version_3(root: u32) -> Vec<u8> {
        let found = Capabilities::parse(&NET_BIND).unwrap();
        Capabilities { root: Some(root), ..found }.bytes()
    }

    #[test]
    fn version_2_is_kept_and_version_3_becomes_version_2_on_the_way_back() {
        for direction in [Direction::Into, Direction::OutOf] {
            assert_eq!(moved(&NET_BIND, range(), direction), NET_BIND);
        }
        let inside = version_3(231_072);
        assert_eq!(inside.len(), 24);
        assert_eq!(moved(&inside, range(), Direction::Into), inside);
        assert_eq!(moved(&inside, range(), Direction::OutOf), NET_BIND);
        let others = version_3(400_000);
        assert_eq!(moved(&others, range(), Direction::OutOf), others);
    }

    #[test]
    fn other_versions_are_kept() {
        for bytes in [&b""[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], &NET_BIND[..19], &[0xff; 24]] {
            assert_eq!(Capabilities::parse(bytes), None);
            assert_eq!(moved(bytes, range(), Direction::OutOf), bytes);
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written(effective in 0..2_u32, sets: [u8; 16], root: Option<u32>) {
            let one = Capabilities { effective, sets, root };
            prop_assert_eq!(Capabilities::parse(&one.bytes()), Some(one));
        }

        #[test]
        fn any_bytes_that_are_read_are_written_again(bytes in proptest::collection::vec(any::<u8>(), 0..26)) {
            if let Some(read) = Capabilities::parse(&bytes) {
                prop_assert_eq!(read.bytes(), bytes);
            }
        }
    }
}
