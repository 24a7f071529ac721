//! `/etc/subuid` and `/etc/subgid`: reading them as dockerd does, choosing a range (rollout.md R25), and merging our line
//! in so that nobody else's is touched.

use std::collections::BTreeSet;

/// The first candidate, as moby and shadow have it.
pub(super) const FIRST_START: u64 = 100_000;
/// The distance between candidates.
pub(super) const STEP: u64 = 65_536;
/// Ids from here on belong to systemd-nspawn (systemd, UIDS-GIDS.md); a chosen range ends below.
pub(super) const BAND_END: u64 = 524_288;
/// One more than the last id (2^32 - 1 means "no id").
const ID_END: u64 = u32::MAX as u64;

/// One range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::modules) struct SubidLine {
    /// Line in the file, from 1.
    pub(in crate::modules) number: usize,
    /// A name or a numeric uid.
    pub(in crate::modules) owner: String,
    /// First id.
    pub(in crate::modules) start: u64,
    /// How many ids.
    pub(in crate::modules) count: u64,
}

impl SubidLine {
    fn meets(&self, start: u64, count: u64) -> bool {
        self.start < start.saturating_add(count) && start < self.start.saturating_add(self.count)
    }

    fn is_of(&self, owner: &Owner<'_>) -> bool {
        self.owner == owner.name || owner.uid.is_some_and(|uid| self.owner == uid.to_string())
    }
}

/// A file's ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::modules) struct SubidFile {
    /// The text as it is; empty where there is no file.
    pub(in crate::modules) text: String,
    /// Well-formed lines.
    pub(in crate::modules) lines: Vec<SubidLine>,
    /// Lines that engines before 28 refuse to start with, by number.
    pub(in crate::modules) malformed: Vec<(usize, String)>,
}

/// Whose range is looked for.
#[derive(Debug, Clone, Copy)]
pub(in crate::modules) struct Owner<'a> {
    /// The user's name.
    pub(in crate::modules) name: &'a str,
    /// The user's uid where the user exists: dockerd takes lines by uid, too.
    pub(in crate::modules) uid: Option<u32>,
}

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    /// For whom.
    pub(in crate::modules) owner: Owner<'a>,
    /// Least number of ids.
    pub(in crate::modules) count: u64,
    /// The operator's own choice of the first id.
    pub(in crate::modules) start: Option<u64>,
    /// First uid and gid of the map that the running engine uses.
    pub(super) in_use: Option<(u64, u64)>,
}

/// Why a range was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Both files already hold it.
    Kept,
    /// The lowest free one.
    Picked,
    /// The operator's.
    Given,
}

impl Why {
    /// The word used in facts.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Picked => "picked",
            Self::Given => "given",
        }
    }
}

/// A chosen range, the same in both files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// First id.
    pub(in crate::modules) start: u64,
    /// Number of ids.
    pub(in crate::modules) count: u64,
    /// Why this one.
    pub(super) why: Why,
    /// What a range that the running engine uses meets all the same; empty otherwise.
    pub(super) overlaps: Vec<String>,
}

/// Why there is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SubidProblem {
    /// Every candidate meets something.
    #[error(
        "no range of {count} subordinate ids is free between {FIRST_START} and {BAND_END}: set subid_start, or free one in /etc/subuid and /etc/subgid"
    )]
    NoneFree {
        /// Ids wanted.
        count: u64,
    },
    /// The operator's range meets something.
    #[error("the range {start}..{} of subid_start meets {}", start + count - 1, what.join(", "))]
    Collides {
        /// First id.
        start: u64,
        /// Number of ids.
        count: u64,
        /// Lines and ids met.
        what: Vec<String>,
    },
    /// Ids end at 4294967294; a range that begins at 0 would map containers on the host's own users.
    #[error("subid_start {start} with subid_count {count} is no range of ids: from 1000 to 4294967294")]
    OutOfRange {
        /// First id.
        start: u64,
        /// Number of ids.
        count: u64,
    },
}

impl SubidFile {
    /// Reads a file as engines before 28 do (`pkg/idtools`): blank lines and `#` comments are skipped, everything else
    /// has three fields, the last two numbers.
    pub(in crate::modules) fn parse(text: &str) -> Self {
        let mut file = Self { text: text.to_owned(), ..Self::default() };
        for (index, raw) in text.lines().enumerate() {
            let line = raw.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match parse_line(index + 1, line) {
                Some(line) => file.lines.push(line),
                None => file.malformed.push((index + 1, line.to_owned())),
            }
        }
        file
    }

    /// The lines of a user, by name or by uid.
    pub(in crate::modules) fn of<'a>(&'a self, owner: &'a Owner<'a>) -> impl Iterator<Item = &'a SubidLine> {
        self.lines.iter().filter(move |line| line.is_of(owner))
    }

    /// The text with exactly one line of the owner, `name:start:count`, in place of its first or at the end. Other lines
    /// keep their bytes. A kept choice changes nothing.
    pub(super) fn merged(&self, owner: &Owner<'_>, choice: &Choice) -> String {
        if choice.why == Why::Kept {
            return self.text.clone();
        }
        let own: BTreeSet<usize> = self.of(owner).map(|line| line.number).collect();
        let ours = format!("{}:{}:{}\n", owner.name, choice.start, choice.count);
        let mut merged = String::new();
        let mut written = false;
        for (index, line) in self.text.split_inclusive('\n').enumerate() {
            if !own.contains(&(index + 1)) {
                merged.push_str(line);
            } else if !written {
                merged.push_str(&ours);
                written = true;
            }
        }
        if !written {
            if !merged.is_empty() && !merged.ends_with('\n') {
                merged.push('\n');
            }
            merged.push_str(&ours);
        }
        merged
    }
}

fn parse_line(number: usize, line: &str) -> Option<SubidLine> {
    let mut fields = line.split(':');
    let (owner, start, count) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || owner.is_empty() {
        return None;
    }
    let (start, count): (u64, u64) = (start.parse().ok()?, count.parse().ok()?);
    (start.checked_add(count)? <= ID_END + 1).then(|| SubidLine { number, owner: owner.to_owned(), start, count })
}

/// Chooses the range by R25. `ids` are all uids and gids of the host's users and groups.
///
/// # Errors
/// See [`SubidProblem`].
pub(super) fn choose(
    wish: &Wish<'_>,
    subuid: &SubidFile,
    subgid: &SubidFile,
    ids: &BTreeSet<u32>,
) -> Result<Choice, SubidProblem> {
    if let Some((start, count)) = equal_line(wish, subuid, subgid) {
        let overlaps = met(start, count, Some(&wish.owner), subuid, subgid, ids);
        let used = wish.in_use == Some((start, start));
        if wish.start.is_none_or(|given| given == start) && (overlaps.is_empty() || used) {
            return Ok(Choice { start, count, why: Why::Kept, overlaps });
        }
    }
    let count = wish.count;
    if let Some(start) = wish.start {
        if start < 1000 || start.checked_add(count).is_none_or(|end| end > ID_END) {
            return Err(SubidProblem::OutOfRange { start, count });
        }
        let what = met(start, count, Some(&wish.owner), subuid, subgid, ids);
        if !what.is_empty() {
            return Err(SubidProblem::Collides { start, count, what });
        }
        return Ok(Choice { start, count, why: Why::Given, overlaps: Vec::new() });
    }
    (0..)
        .map(|k| FIRST_START + k * STEP)
        .take_while(|start| start.saturating_add(count) <= BAND_END)
        .find(|start| met(*start, count, None, subuid, subgid, ids).is_empty())
        .map(|start| Choice { start, count, why: Why::Picked, overlaps: Vec::new() })
        .ok_or(SubidProblem::NoneFree { count })
}

/// The owner's one line in each file, by name, with one start and enough ids.
fn equal_line(wish: &Wish<'_>, subuid: &SubidFile, subgid: &SubidFile) -> Option<(u64, u64)> {
    let only = |file: &SubidFile| {
        let mut lines = file.lines.iter().filter(|line| line.is_of(&wish.owner));
        match (lines.next(), lines.next()) {
            (Some(line), None) if line.owner == wish.owner.name && line.count >= wish.count => {
                Some((line.start, line.count))
            }
            _ => None,
        }
    };
    let ((uid_start, uid_count), (gid_start, gid_count)) = (only(subuid)?, only(subgid)?);
    (uid_start == gid_start && uid_start >= 1000).then_some((uid_start, uid_count.min(gid_count)))
}

/// What a range meets: lines of either file (those of `except` aside) and ids.
fn met(
    start: u64,
    count: u64,
    except: Option<&Owner<'_>>,
    subuid: &SubidFile,
    subgid: &SubidFile,
    ids: &BTreeSet<u32>,
) -> Vec<String> {
    let mut what = Vec::new();
    for (name, file) in [("/etc/subuid", subuid), ("/etc/subgid", subgid)] {
        for line in &file.lines {
            if line.meets(start, count) && !except.is_some_and(|owner| line.is_of(owner)) {
                what.push(format!("{name}:{}: {}:{}:{}", line.number, line.owner, line.start, line.count));
            }
        }
    }
    let id_inside = ids.iter().find(|id| (start..start.saturating_add(count)).contains(&u64::from(**id)));
    what.extend(id_inside.map(|id| format!("the id {id} of a user or group")));
    what
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWNER: Owner<'_> = Owner { name: "dockremap", uid: Some(998) };
    const WISH: Wish<'_> = Wish { owner: OWNER, count: 65_536, start: None, in_use: None };

    fn chosen(wish: &Wish<'_>, subuid: &str, subgid: &str, ids: &[u32]) -> Result<(u64, Why), SubidProblem> {
        let ids = ids.iter().copied().collect();
        choose(wish, &SubidFile::parse(subuid), &SubidFile::parse(subgid), &ids)
            .map(|choice| (choice.start, choice.why))
    }

    #[test]
    fn the_lowest_free_range_is_picked_and_the_same_in_both_files() {
        assert_eq!(chosen(&WISH, "", "", &[]), Ok((100_000, Why::Picked)));
        assert_eq!(chosen(&WISH, "alice:100000:65536\n", "", &[]), Ok((165_536, Why::Picked)));
        assert_eq!(chosen(&WISH, "", "bob:120000:1\n", &[165_536]), Ok((231_072, Why::Picked)));
        assert_eq!(chosen(&WISH, "a:0:493216\n", "", &[]), Err(SubidProblem::NoneFree { count: 65_536 }));
    }

    #[test]
    fn one_valid_equal_line_is_kept_and_anything_less_is_not() {
        let line = "dockremap:300000:65536\n";
        assert_eq!(chosen(&WISH, line, line, &[]), Ok((300_000, Why::Kept)));
        assert_eq!(chosen(&WISH, line, "dockremap:400000:65536\n", &[]), Ok((100_000, Why::Picked)));
        assert_eq!(chosen(&WISH, line, "", &[]), Ok((100_000, Why::Picked)));
        assert_eq!(chosen(&WISH, &line.repeat(2), line, &[]).unwrap().1, Why::Picked);
        let by_uid = "998:300000:65536\n";
        assert_eq!(chosen(&WISH, by_uid, by_uid, &[]).unwrap().1, Why::Picked, "written by name, never by uid");
        let short = "dockremap:300000:1000\n";
        assert_eq!(chosen(&WISH, short, short, &[]).unwrap().1, Why::Picked);
    }

    #[test]
    fn a_line_that_moby_28_laid_over_another_users_is_kept_only_while_it_is_in_use() {
        let both = "alice:100000:65536\ndockremap:100000:65536\n";
        assert_eq!(chosen(&WISH, both, both, &[]), Ok((165_536, Why::Picked)));
        let used = Wish { in_use: Some((100_000, 100_000)), ..WISH };
        let file = SubidFile::parse(both);
        let choice = choose(&used, &file, &file, &BTreeSet::new()).unwrap();
        assert_eq!((choice.start, choice.why), (100_000, Why::Kept));
        assert_eq!(choice.overlaps, ["/etc/subuid:1: alice:100000:65536", "/etc/subgid:1: alice:100000:65536"]);
    }

    #[test]
    fn the_operators_start_wins_unless_it_collides() {
        let given = |start| Wish { start: Some(start), ..WISH };
        let own = "dockremap:100000:65536\n";
        assert_eq!(chosen(&given(231_072), own, own, &[]), Ok((231_072, Why::Given)));
        assert_eq!(chosen(&given(100_000), own, own, &[]), Ok((100_000, Why::Kept)));
        assert_eq!(chosen(&given(100_000), own, "", &[]), Ok((100_000, Why::Given)), "an own line is replaced");
        let error = chosen(&given(100_000), "alice:165535:1\n", "", &[]).unwrap_err();
        assert_eq!(error.to_string(), "the range 100000..165535 of subid_start meets /etc/subuid:1: alice:165535:1");
        assert!(matches!(chosen(&given(0), "", "", &[]), Err(SubidProblem::OutOfRange { .. })));
        assert!(matches!(chosen(&given(u64::MAX), "", "", &[]), Err(SubidProblem::OutOfRange { .. })));
    }

    #[test]
    fn merging_touches_our_line_only() {
        let choice = Choice { start: 100_000, count: 65_536, why: Why::Picked, overlaps: Vec::new() };
        let merged = |text: &str| SubidFile::parse(text).merged(&OWNER, &choice);
        assert_eq!(merged(""), "dockremap:100000:65536\n");
        assert_eq!(merged("a:1:2"), "a:1:2\ndockremap:100000:65536\n");
        assert_eq!(
            merged("# x\ndockremap:1:2\n b:3:4 \n998:5:6\nbad\n"),
            "# x\ndockremap:100000:65536\n b:3:4 \nbad\n"
        );
        let kept = Choice { why: Why::Kept, ..choice.clone() };
        assert_eq!(SubidFile::parse("dockremap:9:9").merged(&OWNER, &kept), "dockremap:9:9");
    }

    #[test]
    fn lines_are_read_as_the_engine_reads_them() {
        let file = SubidFile::parse("#a:1:2\n\n a:1:2\nb:1\nc:x:1\nd:4294967290:9\n:1:2\ne:1:2:3\n");
        assert_eq!(file.lines, [SubidLine { number: 3, owner: "a".to_owned(), start: 1, count: 2 }]);
        assert_eq!(file.malformed.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [4, 5, 6, 7, 8]);
    }

    fn file() -> impl Strategy<Value = String> {
        let owner = prop_oneof![Just("alice"), Just("bob"), Just("dockremap"), Just("998"), Just("#c")];
        let line =
            (owner, 90_000u64..600_000, 0u64..140_000).prop_map(|(who, start, count)| format!("{who}:{start}:{count}"));
        let odd = prop_oneof![Just(String::new()), Just("junk".to_owned())];
        (proptest::collection::vec(prop_oneof![6 => line, 1 => odd], 0..6), any::<bool>())
            .prop_map(|(lines, newline)| lines.join("\n") + if newline { "\n" } else { "" })
    }

    proptest! {
        #[test]
        fn a_range_never_meets_another_line_or_an_id(
            subuid in file(),
            subgid in file(),
            ids in proptest::collection::btree_set(0u32..600_000, 0..6),
            start in proptest::option::of(90_000u64..600_000),
        ) {
            let (uids, gids) = (SubidFile::parse(&subuid), SubidFile::parse(&subgid));
            let wish = Wish { start, ..WISH };
            let Ok(choice) = choose(&wish, &uids, &gids, &ids) else { return Ok(()) };
            let range = choice.start..choice.start + choice.count;
            prop_assert!(ids.iter().all(|id| !range.contains(&u64::from(*id))));
            for line in uids.lines.iter().chain(&gids.lines) {
                let apart = line.count == 0 || line.start >= range.end || line.start + line.count <= range.start;
                let own = line.owner == "dockremap" || line.owner == "998";
                prop_assert!(apart || (own && choice.why != Why::Picked), "{line:?} meets {range:?}");
            }
            if choice.why == Why::Picked {
                prop_assert!(range.end <= BAND_END && (choice.start - FIRST_START).is_multiple_of(STEP));
            }
        }

        #[test]
        fn merging_leaves_one_line_of_ours_and_every_other_and_is_kept_the_next_time(subuid in file(), subgid in file()) {
            let (uids, gids) = (SubidFile::parse(&subuid), SubidFile::parse(&subgid));
            let Ok(choice) = choose(&WISH, &uids, &gids, &BTreeSet::new()) else { return Ok(()) };
            let merged = SubidFile::parse(&uids.merged(&OWNER, &choice));
            prop_assert_eq!(merged.of(&OWNER).count(), 1);
            let others = |file: &SubidFile| -> Vec<String> {
                file.text.lines().filter(|line| !line.starts_with("dockremap:") && !line.starts_with("998:")).map(str::to_owned).collect()
            };
            prop_assert_eq!(others(&uids), others(&merged));
            let again = choose(&WISH, &merged, &SubidFile::parse(&gids.merged(&OWNER, &choice)), &BTreeSet::new()).unwrap();
            prop_assert_eq!((again.start, again.why), (choice.start, Why::Kept));
        }
    }
}
