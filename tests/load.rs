//! Playbooks as they are loaded: what is wrong is shown all at once, each with its place and what to write instead.

use proptest::prelude::*;
use rollgate::{
    config::{Diagnostics, source_of},
    playbook::{
        Action, OnFailure, Playbook, ProbeMode, Reversibility, Scope, Size, TriggerAction, check_plan, check_rollback,
        load, load_source, reversibility, validate,
    },
};
use serde_json::json;
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

/// The mistakes of a play with this task.
fn task_mistakes(task: &str) -> String {
    let text = format!(
        "- hosts: all\n  tasks:\n    - {}\n  handlers:\n    - name: h\n      command: x\n",
        task.replace('\n', "\n      ")
    );
    parse(&text).map_or_else(|problems| problems.to_string(), |_| String::new())
}

#[test]
fn what_a_task_cannot_be_is_said() {
    for (task, expected) in [
        ("name: nothing", "play.yml:3:7: this task does nothing"),
        ("command: a\nshell: b", "play.yml:4:7: a task has one module; this one has `command` and `shell`"),
        ("block: []\nrescue: []", "play.yml:3:7: `block` with `rescue` and `always` is not built yet"),
        ("include_tasks: x.yml", "play.yml:3:7: the module `include_tasks` is not built yet"),
        (
            "community.docker.docker_image: {}",
            "play.yml:3:7: the module `community.docker.docker_image` of a collection is not built yet",
        ),
        ("command: a\nasync: 10", "play.yml:4:7: `async` of a task is not built yet"),
        ("command: a\nwith_dict: {}", "play.yml:4:7: `with_dict` of a task is not built yet"),
        ("command: a\ndelegate_to: db1", "play.yml:4:20: `delegate_to` another host than localhost is not built yet"),
        ("command: a\nignore_errors: \"{{ x }}\"", "play.yml:4:22: a template for `ignore_errors` is not built yet"),
        ("command: a\nbecome: maybe", "play.yml:4:15: `become` takes a boolean, found a string"),
        ("command: a\nregister: a-b", "play.yml:4:17: `a-b` cannot be the name of a variable"),
        ("command: a\nnotify: [h, hh]", "play.yml:4:19: there is no handler named `hh`"),
        ("command: a\nlisten: h", "play.yml:4:7: only handlers `listen`"),
        ("command: a\nloop: things", "play.yml:4:13: `loop` takes a list or a template, found a string"),
        ("command: a\nloop_control: {loop_var: x}", "play.yml:4:7: `loop_control` does nothing without `loop`"),
        (
            "command: a\nloop: [1]\nregister: x\nloop_control: {loop_var: x}",
            "play.yml:6:32: `x` is also the name that the result is registered under",
        ),
        ("command: a\ndelay: 3", "play.yml:4:7: `delay` does nothing without `until` or `retries`"),
        ("command: a\nwhen: \"{{ x | defualt(3) > 2 }}\"", "play.yml:4:21: unknown filter `defualt`"),
        ("command: \"a {{ x is numbr }}\"", "play.yml:3:27: unknown test `numbr`"),
        ("command: a\nwhen: x ==", "play.yml:4:15: this expression cannot be read: unexpected end of input"),
        ("command: a\nwhen: [a, {}]", "play.yml:4:17: `when` takes a condition, found a map"),
        ("command: {cmd: a, chdir: tmp}", "play.yml:3:32: `chdir` of `command` must be an absolute path"),
        ("command: {chdir: /}", "play.yml:3:7: `command` needs `cmd` or `argv`"),
        (
            "command: {cmd: a, strip_empty_ends: perhaps}",
            "play.yml:3:43: `strip_empty_ends` of `command` must be a boolean",
        ),
        ("command: a 'b", "play.yml:3:16: a quote is not closed"),
        ("command: a\nargs: {creatse: /x}", "play.yml:4:14: `creatse` is not a parameter of `command`"),
        ("debug: {mesg: x}", "play.yml:3:15: `mesg` is not a parameter of `debug`"),
        ("debug: {msg: x, var: y}", "play.yml:3:7: `debug` takes `msg` or `var`, not both"),
        ("assert: {that: \"{{ x }} == 1\"}", "play.yml:3:23: `that` is an expression already"),
        ("assert: {msg: x}", "play.yml:3:7: `assert` needs `that`"),
        ("meta: flush_handler", "play.yml:3:13: `meta` takes one of a few words"),
        ("meta: refresh_inventory", "play.yml:3:13: `meta: refresh_inventory` is not built yet"),
        ("set_fact: {a-b: 1}", "play.yml:3:18: `a-b` cannot be the name of a variable"),
        ("command: a\nundo: [{debug: {msg: x}}]", "play.yml:4:14: a task of `undo` uses modules that run on the host"),
        ("command: a\nundo: [{command: b, undo: []}]", "play.yml:4:27: a task of `undo` has no `undo`"),
        ("command: a\nundo: [{command: b, notify: h}]", "play.yml:4:27: a task of `undo` cannot notify"),
        (
            "command: a\nundo: [{command: \"b {{ lookup('env', 'X') }}\"}]",
            "play.yml:4:24: a task of `undo` cannot look things up",
        ),
        ("command: a\nundo: [{command: b, until: x}]", "play.yml:4:27: `until` has no meaning in `undo`"),
    ] {
        let found = task_mistakes(task);
        assert!(found.starts_with(expected), "{task}\n  found: {found}\n  expected: {expected}");
        assert_eq!(found.lines().count(), 1, "{task}: {found}");
    }
}

#[test]
fn what_a_play_cannot_be_is_said() {
    for (play, expected) in [
        ("tasks: []", "play.yml:1:3: this play has no hosts"),
        ("hosts: ''", "play.yml:1:10: `hosts` takes a pattern of hosts, found a string"),
        ("hosts: all\nroles: [x]", "play.yml:2:3: `roles` of a play is not built yet"),
        ("hosts: all\nhandelrs: []", "play.yml:2:3: `handelrs` is not a keyword of a play"),
        ("hosts: all\nstrategy: free", "play.yml:2:13: `strategy: free` is not built yet"),
        ("hosts: all\nstrategy: liner", "play.yml:2:13: `liner` is not a value of `strategy`"),
        ("hosts: all\nvars_files: [gone.yml]", "play.yml:2:16: the file `gone.yml` is not there"),
        (
            "hosts: all\nmax_fail_percentage: 101",
            "play.yml:2:24: `max_fail_percentage` takes a percentage from 0 to 100, found a number",
        ),
        (
            "hosts: all\nhandlers: [{name: a, command: x}, {name: a, command: y, listen: t}]",
            "play.yml:2:44: two handlers are named `a`",
        ),
        ("hosts: all\nrollback: []", "play.yml:2:3: `rollback` does nothing without `rollout`"),
        ("hosts: all\nserial: 2\nrollout: {batches: 1}", "play.yml:2:3: `batches` and `serial` say the same thing"),
        ("hosts: all\nserial: 0\nrollout: {}", "play.yml:2:11: `serial: 0`: 0 would never start"),
        ("hosts: all\nrollout: {on_drift: stop}", "play.yml:2:13: `on_drift` of `rollout` is not built yet"),
        (
            "hosts: all\nrollout: {confirm: none}",
            "play.yml:2:22: `confirm: none` leaves hosts changed when the controller dies",
        ),
        ("hosts: all\nrollout: {guard_timeout: 3s}", "play.yml:2:28: `guard_timeout` is too short"),
        ("hosts: all\nrollout: {max_fail: 100%}", "play.yml:2:23: `max_fail: 100%`: 100 % would never stop"),
        ("hosts: all\nrollout: {max_parallel: -1}", "play.yml:2:27: `max_parallel: -1`: it cannot be negative"),
        (
            "hosts: all\nrollout: {batches: 1.5}",
            "play.yml:2:22: `batches` takes a number of hosts or a percentage, found a number",
        ),
        (
            "hosts: all\nrollout: {healthy_deadline: soon}",
            "play.yml:2:31: `healthy_deadline` takes a duration, found a string",
        ),
        (
            "hosts: all\nrollout: {healthy_deadline: 10s}",
            "play.yml:2:31: `min_healthy_time` must be shorter than `healthy_deadline`",
        ),
        (
            "hosts: all\nrollout: {probes: [{name: a, tcp: '1', initial_delay: 5m}]}",
            "play.yml:2:29: the first round of `a` comes after `healthy_deadline`",
        ),
        ("hosts: all\nrollout: {probes: [{name: a}]}", "play.yml:2:22: this probe asks nothing"),
        (
            "hosts: all\nrollout: {probes: [{name: a, tcp: '1', unix: /x}]}",
            "play.yml:2:42: a probe asks one thing; this one has `tcp` and `unix`",
        ),
        (
            "hosts: all\nrollout: {probes: [{name: a, unix: /s, from: controller}]}",
            "play.yml:2:48: `from: controller` cannot ask a Unix socket of the host",
        ),
        ("hosts: all\nrollout: {triggers: [{when: a.p95 > 1}]}", "play.yml:2:31: there is no probe named `a`"),
        (
            "hosts: all\nrollout: {rollback: [{command: x}]}",
            "play.yml:2:23: `rollout.rollback` is the speed of a rollback",
        ),
        (
            "hosts: all\nrollback: {max_parallel: 1}\nrollout: {}",
            "play.yml:2:13: the play's `rollback` is a list of tasks",
        ),
    ] {
        let text = format!("- {}\n", play.replace('\n', "\n  "));
        let found = parse(&text).map_or_else(|problems| problems.to_string(), |_| String::new());
        assert!(found.starts_with(expected), "{play}\n  found: {found}\n  expected: {expected}");
        assert_eq!(found.lines().count(), 1, "{play}: {found}");
    }
}

#[test]
fn what_is_not_a_playbook_is_said() {
    for (text, expected) in [
        ("", "play.yml:1:1: a playbook is a list of plays, found nothing"),
        ("hosts: all\n", "play.yml:1:1: a playbook is a list of plays, found a map"),
        ("- hosts: all\n  tasks:\n  - shell: a: b\n", "play.yml:3:13: not valid YAML: "),
        ("- import_playbook: x.yml\n", "play.yml:1:3: `import_playbook` of a play is not built yet"),
    ] {
        let found = parse(text).unwrap_err().to_string();
        assert!(found.starts_with(expected), "{text}\n  found: {found}\n  expected: {expected}");
    }
}

#[test]
fn a_playbook_means_what_it_means_to_ansible() {
    let playbook =
        load(Path::new("tests/load/program.yml")).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let play = &playbook.plays[0];
    assert_eq!(play.hosts.value, json!("web,!web3"));
    assert!(!play.gather_facts);
    assert_eq!(play.max_fail_percentage, Some(30.0));
    let rollout = play.rollout.as_ref().unwrap();
    assert_eq!(rollout.batches, [Size::Count(1), Size::Percent(10.0)]);
    assert_eq!((rollout.max_parallel, rollout.max_fail), (Some(Size::Count(5)), Size::Count(1)));
    assert_eq!((rollout.min_healthy_time.as_secs(), rollout.healthy_deadline.as_secs()), (90, 600));
    assert_eq!((rollout.on_failure, rollout.rollback.max_parallel), (OnFailure::RollbackRun, Some(Size::Count(2))));
    assert_eq!((rollout.probes[0].count, rollout.probes[0].min_samples), (3, 20));
    assert_eq!((rollout.probes[1].mode, rollout.probes[1].timeout.as_millis()), (ProbeMode::DryRun, 250));
    let trigger = &rollout.triggers[0];
    assert_eq!((trigger.scope, trigger.action, trigger.for_rounds), (Scope::Batch, TriggerAction::Pause, Some(2)));

    let early = &play.sections[0][0];
    assert_eq!(early.inherited.tags, ["play", "early", "twice"]);
    assert_eq!(early.inherited.r#become.on, Some(false));
    let Action::Agent(args) = &early.action else { panic!("{:?}", early.action) };
    assert_eq!(
        (args.params["cmd"].value.clone(), args.params["chdir"].value.clone()),
        (json!("ls -l \"/a b\""), json!("/tmp"))
    );
    assert_eq!(early.undo[0].inherited.r#become.on, Some(false));
    assert_eq!(reversibility(early), Reversibility::Tasks);

    let [older, local, debug, assert, flush] = play.sections[1].as_slice() else { panic!("{:#?}", play.sections[1]) };
    assert_eq!(older.r#loop.as_ref().unwrap().value, json!([1, 2, 3]));
    assert_eq!(older.inherited.environment.len(), 2);
    assert_eq!(older.until.as_ref().unwrap().retries.value, json!(2));
    assert_eq!(older.until.as_ref().unwrap().delay.value, json!(5));
    assert_eq!(reversibility(older), Reversibility::NotNeeded);
    assert!(local.delegate_to_localhost);
    assert_eq!(local.name, "command");
    assert!(matches!(&debug.action, Action::Debug { var: Some(var), .. } if var.value == json!("out.results")));
    assert!(matches!(&assert.action, Action::Assert { that, fail_msg: Some(_), .. } if that.len() == 2));
    assert!(matches!(&flush.action, Action::Meta(word) if word == "flush_handlers"));

    assert_eq!(play.handlers[1].listen, ["topic"]);
    let mut indices: Vec<usize> =
        play.sections.iter().flatten().chain(&play.handlers).chain(&play.rollback).map(|t| t.index).collect();
    indices.push(early.undo[0].index);
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len(), 10, "every task has an index of its own");
}

#[test]
fn a_plan_runs_nothing_that_changes() {
    let text = "- hosts: all\n  tasks:\n    - shell: make\n      check_mode: false\n";
    let problems = check_plan(&parse(text).unwrap()).unwrap_err();
    assert_eq!(problems.to_string(), "play.yml:3:7: `shell` would run for real in a plan");
    check_plan(&parse(&format!("{text}      changed_when: false\n")).unwrap()).unwrap();
}

#[test]
fn the_shipped_playbooks_can_be_planned_and_run() {
    let mut seen = 0;
    for entry in fs_err::read_dir("playbooks").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yml") {
            validate(&path).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
            seen += 1;
        }
    }
    assert!(seen > 0);
}

/// `copy` and `template` read on the controller; what the host is told about is checked against the host's `copy`.
#[test]
fn files_of_the_controller_are_looked_for_and_checked() {
    for (task, expected) in [
        ("copy: src=gone.txt dest=/etc/x", "play.yml:3:17: the file `gone.txt` is not there"),
        ("template: {src: program.yml, dest: etc/x}", "play.yml:3:42: `dest` of `template` must be an absolute path"),
        ("template: {src: program.yml}", "play.yml:3:7: `template` needs `dest`"),
        ("template: {src: program.yml, dest: /x, mode: 644}", "play.yml:3:52: `mode: 644` is read as a decimal number"),
        (
            "template: {src: program.yml, dest: /x, content: y}",
            "play.yml:3:46: `content` is not a parameter of `template`",
        ),
        (
            "template: {src: program.yml, dest: /x, newline_sequence: y}",
            "play.yml:3:46: `newline_sequence` of `template` is not built yet",
        ),
        ("copy: {src: program.yml, content: y, dest: /x}", "play.yml:3:32: `copy` takes `src` or `content`, not both"),
        ("copy: {dest: /x}", "play.yml:3:7: `copy` needs `content` or `src`"),
        ("copy: {src: ., dest: /x}", "play.yml:3:19: copying a directory is not built yet"),
    ] {
        let found = task_mistakes(task);
        assert!(found.starts_with(expected), "{task}\n  found: {found}\n  expected: {expected}");
        assert_eq!(found.lines().count(), 1, "{task}: {found}");
    }
    let load_one = |task: &str| {
        let playbook = parse(&format!("- hosts: all\n  tasks:\n    - {task}\n")).unwrap();
        playbook.plays[0].sections[1][0].action.clone()
    };
    let Action::CopyFile(args) = load_one("copy: {src: program.yml, dest: /x, mode: 0600}") else { panic!() };
    assert_eq!(args.params["mode"].value, json!("0600"), "octal for YAML, octal for the host");
    assert!(matches!(load_one("copy: {src: /etc/x, dest: /x, remote_src: yes}"), Action::Agent(_)));
    assert!(matches!(load_one("copy: {content: x, dest: /x}"), Action::Agent(_)));
    assert!(matches!(load_one("template: {src: program.yml, dest: /x}"), Action::Template(_)));
}
