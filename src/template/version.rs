//! Versions compared as Ansible's `version` test does: loosely (Python's LooseVersion), strictly, or by semver.

use std::cmp::Ordering;

/// A piece of a loose version.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// `~`: older than anything, the end included, as in Debian's and RPM's orders (`29.0.1~rc.2` comes before `29.0.1`).
    /// LooseVersion has it the other way round.
    Tilde,
    /// Nothing more.
    End,
    /// Letters or signs.
    Text(String),
    /// A number.
    Number(u128),
}

/// Compares two versions loosely: numbers as numbers, letters as letters, dots only separate.
pub fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (pieces(one), pieces(other));
    for at in 0..one.len().max(other.len()) {
        let end = Piece::End;
        let order = compare_pieces(one.get(at).unwrap_or(&end), other.get(at).unwrap_or(&end));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn compare_pieces(one: &Piece, other: &Piece) -> Ordering {
    let rank = |piece: &Piece| match piece {
        Piece::Tilde => 0,
        Piece::End => 1,
        Piece::Text(_) => 2,
        Piece::Number(_) => 3,
    };
    match (one, other) {
        (Piece::Number(one), Piece::Number(other)) => one.cmp(other),
        (Piece::Text(one), Piece::Text(other)) => one.cmp(other),
        _ => rank(one).cmp(&rank(other)),
    }
}

fn pieces(version: &str) -> Vec<Piece> {
    let class = |c: char| match c {
        '0'..='9' => 0,
        'a'..='z' => 1,
        '.' => 2,
        '~' => 3,
        _ => 4,
    };
    let mut found = Vec::new();
    let mut rest = version.trim();
    while let Some(first) = rest.chars().next() {
        let end = match class(first) {
            2 | 3 => 1,
            kind => rest.find(|c| class(c) != kind).unwrap_or(rest.len()),
        };
        let (piece, after) = rest.split_at(end);
        match class(first) {
            0 => found.push(piece.parse().map_or_else(|_| Piece::Text(piece.to_owned()), Piece::Number)),
            2 => {}
            3 => found.push(Piece::Tilde),
            _ => found.push(Piece::Text(piece.to_owned())),
        }
        rest = after;
    }
    found
}

/// Compares by the rules of a `version_type`.
///
/// # Errors
/// What is wrong with a version or with the type, a sentence.
pub(super) fn compare_as(one: &str, other: &str, kind: &str) -> Result<Ordering, String> {
    match kind {
        "loose" => Ok(compare(one, other)),
        "strict" => Ok(strict(one)?.cmp(&strict(other)?)),
        "semver" | "semantic" => {
            let (one, other) = (semver(one)?, semver(other)?);
            Ok(one.0.cmp(&other.0).then_with(|| pre_release(&one.1, &other.1)))
        }
        other => Err(format!("unknown version type `{other}`; there are loose, strict and semver")),
    }
}

/// Python's StrictVersion: `1.2`, `1.2.3`, with `a1` or `b2` behind for pre-releases.
fn strict(version: &str) -> Result<([u64; 3], (u8, u64)), String> {
    let wrong = || format!("`{version}` is no strict version, such as 1.2.3 or 1.2b1");
    let split = version.find(['a', 'b']).unwrap_or(version.len());
    let (numbers, pre) = version.split_at(split);
    let parts: Vec<u64> = numbers.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let release = match parts.as_slice() {
        [major, minor] => [*major, *minor, 0],
        [major, minor, patch] => [*major, *minor, *patch],
        _ => return Err(wrong()),
    };
    let pre = match pre.chars().next() {
        None => (2, 0),
        Some(letter) => {
            let number = pre.get(1..).unwrap_or_default().parse().map_err(|_| wrong())?;
            (u8::from(letter == 'b'), number)
        }
    };
    Ok((release, pre))
}

/// Semantic Versioning 2.0.0: release and pre-release; build metadata does not count.
fn semver(version: &str) -> Result<([u64; 3], Vec<String>), String> {
    let wrong = || format!("`{version}` is no semantic version, such as 1.2.3-rc.1");
    let core = version.split('+').next().unwrap_or_default();
    let (release, pre) = core.split_once('-').map_or((core, None), |(release, pre)| (release, Some(pre)));
    let parts: Vec<u64> = release.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let [major, minor, patch] = parts.as_slice() else { return Err(wrong()) };
    let pre = pre.map(|pre| pre.split('.').map(str::to_owned).collect()).unwrap_or_default();
    Ok(([*major, *minor, *patch], pre))
}

fn pre_release(one: &[String], other: &[String]) -> Ordering {
    match (one.is_empty(), other.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    for (one, other) in one.iter().zip(other) {
        let order = match (one.parse::<u64>(), other.parse::<u64>()) {
            (Ok(one), Ok(other)) => one.cmp(&other),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => one.cmp(other),
        };
        if order.is_ne() {
            return order;
        }
    }
    one.len().cmp(&other.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The right column is what `is version` of ansible-core 2.19 says.
    #[test]
    fn loose_versions_order_as_in_ansible() {
        for (one, other, order) in [
            ("20.10.9", "20.10.10", Ordering::Less),
            ("20.10.9", "20.10.9", Ordering::Equal),
            ("20.10.9-ce", "20.10.9", Ordering::Greater),
            ("29.0", "29.0.0", Ordering::Less),
            ("1.0.0", "1.0", Ordering::Greater),
            ("3.8", "3.10", Ordering::Less),
            ("5.15.0-91-generic", "3.8", Ordering::Greater),
            ("1.2b", "1.2a", Ordering::Greater),
        ] {
            assert_eq!(compare(one, other), order, "{one} {other}");
        }
    }

    #[test]
    fn a_tilde_is_older_than_the_release() {
        assert_eq!(compare("29.0.1~rc.2", "29.0.1"), Ordering::Less);
        assert_eq!(compare("29.0.1~rc.2", "29.0.1~rc.10"), Ordering::Less);
    }

    #[test]
    fn stricter_kinds() {
        assert_eq!(compare_as("1.2.3", "1.2", "strict"), Ok(Ordering::Greater));
        assert_eq!(compare_as("1.2b1", "1.2", "strict"), Ok(Ordering::Less));
        assert_eq!(compare_as("1.2.3-rc.1", "1.2.3", "semver"), Ok(Ordering::Less));
        assert_eq!(compare_as("1.2.3-rc.2", "1.2.3-rc.10", "semver"), Ok(Ordering::Less));
        assert!(compare_as("v1", "1.2", "strict").is_err());
        assert!(compare_as("1", "1", "pep440").is_err());
    }

    proptest! {
        #[test]
        fn the_order_is_total(one in "[0-9a-c.~-]{0,8}", two in "[0-9a-c.~-]{0,8}", three in "[0-9a-c.~-]{0,8}") {
            prop_assert_eq!(compare(&one, &two), compare(&two, &one).reverse());
            if compare(&one, &two).is_le() && compare(&two, &three).is_le() {
                prop_assert!(compare(&one, &three).is_le());
            }
        }
    }
}
