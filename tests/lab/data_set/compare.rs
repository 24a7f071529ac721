//! What `data-set/view` says, and what of it a remap may change.

use std::collections::BTreeMap;

/// Facts by name; those of files are many lines of one name.
pub(super) type Facts = BTreeMap<String, Vec<String>>;

/// Reads the facts that `view` prints.
pub(super) fn facts(text: &str) -> Facts {
    let mut facts = Facts::new();
    for line in text.lines() {
        let (name, what) = line.split_once(": ").unwrap_or_else(|| panic!("no fact: {line}"));
        facts.entry(name.to_owned()).or_default().push(what.to_owned());
    }
    facts
}

/// One fact that has one line.
pub(super) fn fact<'a>(facts: &'a Facts, name: &str) -> &'a str {
    match facts.get(name).map(Vec::as_slice) {
        Some([one]) => one,
        other => panic!("{name} is {other:?} in {facts:#?}"),
    }
}

/// What is otherwise, as `- before` and `+ after`.
pub(super) fn differing(before: &Facts, after: &Facts) -> Vec<String> {
    let lines = |facts: &Facts| -> Vec<String> {
        facts.iter().flat_map(|(name, lines)| lines.iter().map(move |line| format!("{name}: {line}"))).collect()
    };
    let (before, after) = (lines(before), lines(after));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

/// The data set is what it is meant to be, so that what is compared later says something.
pub(super) fn is_as_filled(facts: &Facts) {
    for (name, what) in [
        ("setuid of the image", "0"),
        ("setuid of the container", "6755 1000:1000"),
        ("capability of the image", "33:33"),
        ("1000 reads /special/listed/named", "readable by its list"),
        ("1000 reads /special/listed/inherits/child", "inherited"),
        ("1000 reads /srv/listed/named", "readable by its list"),
        ("999 reads its private directory", "secret"),
        ("deleted /srv/deleted/by-image", "is gone"),
        ("deleted /srv/deleted/by-container", "is gone"),
        ("deleted /srv/opaque/old", "is gone"),
        ("deleted /srv/opaque2/old", "is gone"),
        ("allocated of sparse", "little"),
        ("socket", "may be written"),
        ("bound file", "1000:1000"),
        ("web knows db", "yes"),
        ("published", "new"),
        ("rows", "none is lost"),
        ("database", "goes on"),
    ] {
        assert_eq!(fact(facts, name), what, "{name}");
    }
    assert!(fact(facts, "1001 reads /special/listed/named").contains("failed"));
    assert!(fact(facts, "33 reads its private directory").contains("failed"));
    assert!(fact(facts, "container web").ends_with("com.docker.compose.project=shop com.docker.compose.service=web"));
}

/// Remapped containers see what they saw; those with the host's user namespace have it, and see the image's files as the
/// range's. A directory of the host stays the host's.
pub(super) fn remapped(before: &Facts, after: &Facts, root: &str) {
    let mut expected: Vec<String> = vec![format!("- root: {root}"), format!("+ root: {root}/231072.231072")];
    for name in ["binder", "db", "scratch", "web", "worker"] {
        expected.push(format!("- userns {name}: 0 0 4294967295"));
        expected.push(format!("+ userns {name}: 0 231072 65536"));
    }
    expected.extend(["- bound file: 1000:1000", "+ bound file: 65534:65534"].map(str::to_owned));
    let shown = |facts: &Facts, name: &str, sign: char| {
        format!("{sign} volume of {name}: {}", fact(facts, &format!("volume of {name}")))
    };
    // The volume that both kinds use was shifted: right for the worker, and the range's for the container of the host.
    for name in ["hostnet", "binder"] {
        expected.push(shown(before, name, '-'));
        expected.push(shown(after, name, '+'));
    }
    assert_eq!(fact(after, "volume of hostnet"), ". 231072:231072 755 | of-1000 232072:232072 644");
    assert_eq!(fact(after, "volume of binder"), ". 65534:65534 755 | file 65534:65534 644");
    let mut found = differing(before, after);
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}
