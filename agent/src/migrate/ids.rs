//! The one rule by which ids change: a container's id plus the start of the subordinate range, and back. An id says by
//! itself on which side it is, so that doing it twice is doing it once.

use serde::{Deserialize, Serialize};

/// A subordinate range: the container's ids 0 to `count` are the host's from `start` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    start: u32,
    count: u32,
}

/// Which way ids go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Into the range: remapping is turned on.
    Into,
    /// Out of the range: remapping is turned off again.
    OutOf,
}

/// Where an id goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// To this id.
    To(u32),
    /// It is where it belongs.
    There,
    /// It belongs to neither side.
    Outside,
}

/// The ranges of users and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Of user ids.
    pub uid: IdRange,
    /// Of group ids.
    pub gid: IdRange,
}

impl IdRange {
    /// A range that ids can be told apart by.
    ///
    /// # Errors
    /// A sentence, if the range overlaps the container's own ids or has none.
    pub fn new(start: u32, count: u32) -> Result<Self, String> {
        // The last id, 2^32-1, says "leave it" to chown.
        let fits = start.checked_add(count).is_some();
        if count == 0 || !fits {
            return Err(format!("the range of {count} ids from {start} is no range of ids"));
        }
        if start < count {
            return Err(format!(
                "the range of {count} ids from {start} overlaps the ids 0 to {} that containers have: nobody could tell \
                 an id that has been shifted from one that has not",
                count - 1
            ));
        }
        Ok(Self { start, count })
    }

    /// The host's id of the container's root.
    #[must_use]
    pub fn start(self) -> u32 {
        self.start
    }

    /// How many ids it has.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    fn inner(self, id: u32) -> Option<u32> {
        id.checked_sub(self.start).filter(|inner| *inner < self.count)
    }

    /// Where an id goes.
    #[must_use]
    pub fn place(self, id: u32, direction: Direction) -> Place {
        match (self.inner(id), direction) {
            (Some(_), Direction::Into) => Place::There,
            (Some(inner), Direction::OutOf) => Place::To(inner),
            (None, _) if id >= self.count => Place::Outside,
            (None, Direction::Into) => Place::To(self.start + id),
            (None, Direction::OutOf) => Place::There,
        }
    }

    /// The id after it went where it goes.
    #[must_use]
    pub fn moved(self, id: u32, direction: Direction) -> u32 {
        match self.place(id, direction) {
            Place::To(id) => id,
            Place::There | Place::Outside => id,
        }
    }

    /// The id as a container sees it, on whichever side it is.
    #[must_use]
    pub fn seen(self, id: u32) -> u32 {
        self.inner(id).unwrap_or(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges() -> impl Strategy<Value = IdRange> {
        (1_u32..200_000)
            .prop_flat_map(|count| (count..=u32::MAX - count, Just(count)))
            .prop_map(|(start, count)| IdRange::new(start, count).unwrap())
    }

    /// Ids near what matters, and any.
    fn ids(range: IdRange) -> impl Strategy<Value = u32> {
        prop_oneof![0..range.count, range.start..range.start + range.count, any::<u32>()]
    }

    #[test]
    fn a_range_in_which_ids_cannot_be_told_apart_is_refused() {
        for (start, count) in [(0, 65536), (65535, 65536), (100_000, 0), (u32::MAX, 1), (1, u32::MAX)] {
            assert!(IdRange::new(start, count).is_err(), "{start}+{count}");
        }
        assert!(IdRange::new(65536, 65536).is_ok());
        assert!(IdRange::new(u32::MAX - 1, 1).is_ok());
    }

    #[test]
    fn ids_go_in_and_come_out() {
        let range = IdRange::new(231_072, 65536).unwrap();
        assert_eq!(range.place(0, Direction::Into), Place::To(231_072));
        assert_eq!(range.place(65535, Direction::Into), Place::To(296_607));
        assert_eq!(range.place(231_071, Direction::Into), Place::Outside);
        assert_eq!(range.place(65536, Direction::Into), Place::Outside);
        assert_eq!(range.place(296_608, Direction::OutOf), Place::Outside);
        assert_eq!(range.place(231_171, Direction::OutOf), Place::To(99));
        assert_eq!(range.place(99, Direction::OutOf), Place::There);
    }

    proptest! {
        #[test]
        fn twice_is_once_and_back_is_where_it_was((range, id) in ranges().prop_flat_map(|range| (Just(range), ids(range)))) {
            for direction in [Direction::Into, Direction::OutOf] {
                let moved = range.moved(id, direction);
                prop_assert_eq!(range.moved(moved, direction), moved);
                prop_assert_eq!(range.seen(moved), range.seen(id));
                prop_assert_ne!(moved, u32::MAX.wrapping_add(u32::from(id != u32::MAX)));
                prop_assert_eq!(range.place(id, direction) == Place::Outside, moved == id && range.place(moved, direction) == Place::Outside);
            }
            if id < range.count {
                let there = range.moved(id, Direction::Into);
                prop_assert!(there >= range.start && there < range.start + range.count);
                prop_assert_eq!(range.moved(there, Direction::OutOf), id);
            }
        }

        #[test]
        fn no_two_ids_become_one(range in ranges(), a: u32, b: u32) {
            let (a, b) = (a % range.count, b % range.count);
            prop_assume!(a != b);
            prop_assert_ne!(range.moved(a, Direction::Into), range.moved(b, Direction::Into));
        }
    }
}
