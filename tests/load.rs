//! Playbooks as they are loaded: what is wrong is shown all at once, each with its place and what to write instead.

use proptest::prelude::*;
use rollgate::{
    config::{Diagnostics, source_of},
    playbook::{Playbook, check_rollback, load, load_source},
};
use std::path::Path;

fn parse(text: &str) -> Result<Playbook, Diagnostics> {
    parse_bytes(text.as_bytes().to_vec())
}

fn parse_bytes(bytes: Vec<u8>) -> Result<Playbook, Diagnostics> {
    load_source(Path::new("tests/load/play.yml"), &source_of("play.yml".into(), bytes)?)
}

#[test]
fn ten_mistakes_are_ten_errors_with_place_and_suggestion() {
    let problems = load(Path::new("tests/load/ten-mistakes.yml")).unwrap_err();
    assert_eq!(problems.0.len(), 10, "{}", problems.render(false));
    for problem in &problems.0 {
        assert!(problem.place.is_some(), "{problem}");
        assert!(problem.help.is_some(), "{problem}");
    }
    insta::assert_snapshot!(problems.render(false));
}

/// Pieces that playbooks are made of, so that random ones reach deep into the loader.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "- hosts: all\n",
        "  tasks:\n",
        "    - debug:\n",
        "        msg: \"{{ x }}\"\n",
        "    - command: ls -l creates=/x\n",
        "  rollout:\n",
        "    batches: [1, \"5%\", -1, x]\n",
        "    probes:\n",
        "      - {name: a, command: b}\n",
        "    triggers:\n",
        "      - when: a.p95 > 3 and b.x\n",
        "  handlers:\n",
        "      notify: [a, {}]\n",
        "      loop: &a [*a]\n",
        "      when: '}} {{ é'\n",
        "  vars: {<<: [], 1: 2}\n",
        "    - block: []\n",
        "      undo: [{shell: x}]\n",
        "\t",
        ": ",
        "- ",
        "{{",
        "%}",
        "    - action: shell é\n",
        "    - copy: src=a dest=\"b\n",
        "      with_items: [[1], \"{{ b }}\"]\n",
        "      until: []\n",
    ];
    prop_oneof![4 => prop::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => ".{0,6}"]
}

fn check_places(result: Result<Playbook, Diagnostics>) -> Result<(), TestCaseError> {
    let Err(problems) = result else { return Ok(()) };
    prop_assert!(!problems.is_empty());
    for problem in &problems.0 {
        if let Some(place) = &problem.place {
            prop_assert!(place.source.text.get(place.range.clone()).is_some(), "{:?} of {:?}", place.range, problem);
        }
    }
    prop_assert!(!problems.render(true).is_empty());
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_load_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_places(parse_bytes(bytes))?;
    }

    #[test]
    fn any_pieces_load_or_are_refused(pieces in prop::collection::vec(piece(), 0..14)) {
        check_places(parse(&pieces.concat()))?;
    }
}

#[test]
fn a_task_that_nothing_undoes_needs_to_be_accepted_under_rollout() {
    let text = "- hosts: all\n  rollout: {}\n  tasks:\n    - shell: rm -rf /srv/cache\n";
    let problems = check_rollback(&parse(text).unwrap()).unwrap_err();
    assert_eq!(problems.to_string(), "play.yml:4:7: nothing undoes `shell`");
    for fix in ["accept_irreversible: true", "changed_when: false", "undo: [{shell: 'true'}]", "check_mode: true"] {
        check_rollback(&parse(&format!("{text}      {fix}\n")).unwrap()).unwrap();
    }
    check_rollback(&parse(&text.replace("  rollout: {}\n", "")).unwrap()).unwrap();
}
