//! Which tasks `--tags` and `--skip-tags` leave (Ansible's rules: `always`, `never`, `tagged`, `untagged`, `all`).

/// Whether a task with these tags runs.
pub fn selected(tags: &[String], only: &[String], skip: &[String]) -> bool {
    let has = |name: &str| tags.iter().any(|tag| tag == name);
    let names = |list: &[String], name: &str| list.iter().any(|entry| entry == name);
    let meets = |list: &[String]| tags.iter().any(|tag| names(list, tag));
    let wanted = if only.is_empty() {
        !has("never")
    } else {
        let always = has("always");
        let by_name = meets(only);
        let all = names(only, "all") && !has("never");
        let tagged = names(only, "tagged") && !tags.is_empty() && !has("never");
        let untagged = names(only, "untagged") && tags.is_empty();
        always || by_name || all || tagged || untagged
    };
    if !wanted {
        return false;
    }
    let spared = has("always") && !names(skip, "always");
    let skipped = meets(skip)
        || (names(skip, "all") && !spared)
        || (names(skip, "tagged") && !tags.is_empty() && !spared)
        || (names(skip, "untagged") && tags.is_empty());
    !skipped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(tags: &[&str], only: &[&str], skip: &[&str]) -> bool {
        let own = |list: &[&str]| list.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        selected(&own(tags), &own(only), &own(skip))
    }

    #[test]
    fn as_ansible_selects() {
        assert!(runs(&[], &[], &[]));
        assert!(runs(&["a"], &["a"], &[]));
        assert!(!runs(&["a"], &["b"], &[]));
        assert!(runs(&["always"], &["b"], &[]));
        assert!(!runs(&["always"], &["b"], &["always"]));
        assert!(!runs(&["never", "a"], &[], &[]));
        assert!(runs(&["never", "a"], &["a"], &[]));
        assert!(!runs(&["never", "a"], &["all"], &[]));
        assert!(runs(&["a"], &["tagged"], &[]));
        assert!(!runs(&[], &["tagged"], &[]));
        assert!(runs(&[], &["untagged"], &[]));
        assert!(!runs(&["a"], &["a"], &["a"]), "skip wins");
        assert!(!runs(&["a", "always"], &[], &["a"]), "skipped by name");
        assert!(runs(&["always"], &[], &["tagged"]));
    }
}
