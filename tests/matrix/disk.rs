//! Full disks: a host's (row 7) and the controller's (row 9).

use crate::{
    fleet::{
        Fleet, HOSTS, Running,
        tree::{Tree, tree},
    },
    sshd::{Options, Sshd, missing},
};
use rollgate::journal::{EventKind, HostState, StepStatus, StopCause};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// Each host's file, owner and all, behind what its server has mounted.
fn hosts(sshd: &Sshd, base: &Path) -> Vec<Tree> {
    HOSTS.iter().map(|host| tree(&sshd.within(&base.join(host)))).collect()
}

/// Leaves less room than any write wants.
fn fill(directory: &Path) {
    let mut filler = fs_err::File::create(directory.join("filler")).unwrap();
    let mut piece = vec![0; 4096];
    while !piece.is_empty() {
        if filler.write_all(&piece).is_err() {
            piece.truncate(piece.len() / 2);
        }
    }
}

const LARGE: &str = "\
- name: Change
  hosts: all
  gather_facts: false
  rollout: { batches: [3], min_healthy_time: 0s }
  tasks:
    - name: Configure
      copy: { dest: \"{{ root }}/conf\", content: \"{{ 'mode=new ' * 20000 }}\", mode: '0600' }
";

/// Half of the room that the new file needs is there, so that it fails in the middle; then none at all.
#[test]
fn row_7_a_full_disk_leaves_the_file_as_it_was_and_nothing_beside_it() {
    if missing("row_7_a_full_disk_leaves_the_file_as_it_was_and_nothing_beside_it") {
        return;
    }
    for room in ["96k", "4k"] {
        let fleet = Fleet::with(LARGE, |base| Options {
            setup: format!(
                "mount -t tmpfs -o size={room},mode=751 none {0}\nprintf 'mode=old\\n' >{0}/conf\nchmod 604 {0}/conf\n\
                 chown 4242:4343 {0}/conf",
                base.join("h2").display()
            ),
            ..Options::default()
        });
        let before = hosts(&fleet.sshd, fleet.place.path());
        assert_eq!(before[1].len(), 1, "its directory is the one that is mounted");
        let said = fleet.rollgate("run -i hosts.ini site.yml");
        assert_eq!(said.code, Some(2), "{}", said.transcript());
        assert!(said.stdout.contains("No space left on device"), "{}", said.stdout);
        let failed: Vec<String> = fleet
            .events()
            .into_iter()
            .filter_map(|kind| match kind {
                EventKind::StepResult { id, status: StepStatus::Failed, .. } => Some(id.host),
                _ => None,
            })
            .collect();
        assert_eq!(failed, ["h2"], "{}", said.transcript());
        assert_eq!(hosts(&fleet.sshd, fleet.place.path()), before, "{}", said.transcript());
    }
}

const STEPS: &str = "\
- name: Change
  hosts: all
  gather_facts: false
  rollout: { batches: [1, 2], min_healthy_time: 0s }
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\", mode: '0600' }
    - name: Wait
      shell: touch {{ root }}.waits; until test -e {{ gate }}; do sleep 0.02; done
      changed_when: false
    - name: More
      copy: { dest: \"{{ root }}/{{ item }}\", content: \"{{ item }}\\n\" }
      loop: \"{{ range(100) | list }}\"
";

/// The program with its state on a file system of this size; the directory as the test can see it.
fn on_a_small_disk(fleet: &Fleet, size: &str) -> (Running, PathBuf) {
    let state = fleet.place.path().join("state");
    fs_err::create_dir_all(&state).unwrap();
    let script = format!(
        "set -e; mount -t tmpfs -o size={size} none {0}; exec {1} {2}",
        state.display(),
        env!("CARGO_BIN_EXE_rollgate"),
        fleet.run()
    );
    let mut command = fleet.command("unshare");
    let run = Running::start(command.args(["--mount", "sh", "-c", &script]));
    let inside = state.strip_prefix("/").unwrap();
    let seen = Path::new("/proc").join(run.child.id().to_string()).join("root").join(inside);
    (run, seen)
}

#[test]
fn row_9_a_full_disk_under_the_journal_stops_the_run_and_its_reserve_takes_the_rollback() {
    if missing("row_9_a_full_disk_under_the_journal_stops_the_run_and_its_reserve_takes_the_rollback") {
        return;
    }
    let fleet = Fleet::new(STEPS);
    let before = fleet.trees();
    let (run, state) = on_a_small_disk(&fleet, "2m");
    fleet.until_there("h1.waits");
    fill(&state);
    // For the journal to outlive the file system, which goes with the program: looked at through an open directory.
    let kept = fs_err::File::open(&state).unwrap();
    fleet.open_the_gate();
    let (code, said) = run.end();
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(fleet.trees(), before, "{said}");

    use std::os::fd::AsRawFd as _;
    let state = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), kept.as_raw_fd()));
    let copied = Command::new("cp").arg("-a").arg(state.join("runs")).arg(fleet.place.path().join("state")).status();
    assert!(copied.unwrap().success());
    let (code, states) = fleet.ends();
    assert_eq!((code, states), (2, vec![HostState::RolledBack, HostState::NeverStarted, HostState::NeverStarted]));
    let events = fleet.events();
    let at = |fits: &dyn Fn(&EventKind) -> bool| events.iter().position(fits);
    let stopped = at(&|kind| matches!(kind, EventKind::Aborted { cause: StopCause::Journal { .. }, .. })).unwrap();
    let steps = |kind: &EventKind| matches!(kind, EventKind::StepIntent { .. });
    let asked = events.iter().filter(|kind| steps(kind)).count();
    assert!(asked > 2 && asked < 100, "it stopped in the middle of the loop, after {asked} steps");
    assert!(!events[stopped..].iter().any(steps), "nothing is dispatched from there on");
    assert!(
        at(&|kind| matches!(kind, EventKind::RollbackResult { host, failed: None, .. } if host == "h1"))
            > Some(stopped)
    );
    assert!(events.iter().all(|kind| !matches!(kind, EventKind::StepIntent { id, .. } if id.host != "h1")));
    assert_eq!(fleet.place.rollgate("show").code, Some(0), "the journal is whole");
}

#[test]
fn row_9_a_run_whose_journal_has_no_room_touches_no_host() {
    if missing("row_9_a_run_whose_journal_has_no_room_touches_no_host") {
        return;
    }
    let fleet = Fleet::new(STEPS);
    let before = tree(fleet.place.path());
    let (run, _) = on_a_small_disk(&fleet, "512k");
    let (code, said) = run.end();
    assert_eq!(code, Some(1), "{said}");
    let mut after = tree(fleet.place.path());
    after.remove("state");
    assert_eq!(after, before, "not even an agent was put there: {said}");
    assert_eq!(fleet.sshd.log(), "", "nobody was asked");
}
