//! Rollouts over real agents: changed, unchanged, put back byte for byte.

use super::{
    sandbox::Sandbox,
    support::{Log, Outcome},
};
use crate::{
    engine::Signal,
    journal::{EventKind, HostState, StopCause},
};
use tokio::sync::mpsc;

/// Two batches of one and two hosts; the probe reads what the change wrote.
fn playbook(extra: &str) -> String {
    format!(
        "- hosts: all
  gather_facts: false
  vars:
    colour: blue
  rollout:
    batches: [1, 2]
    min_healthy_time: 100ms
    healthy_deadline: 20s
    probes:
      - name: service
        command: test ! -e {{{{ root }}}}/sick
        interval: 50ms
        timeout: 5s
    triggers:
      - name: the service is sick
        when: service.consecutive_failures >= 3
  tasks:
    - name: Configure
      template:
        src: app.conf.j2
        dest: '{{{{ root }}}}/app.conf'
        mode: '0640'
      notify: restart
    - name: Add a line
      lineinfile:
        path: '{{{{ root }}}}/list'
        line: '{{{{ inventory_hostname }}}}'
{extra}
  handlers:
    # What the service reads when it is restarted: in a rollback, the file as it was before.
    - name: restart
      copy:
        src: '{{{{ root }}}}/app.conf'
        dest: '{{{{ root }}}}/active'
        remote_src: true
"
    )
}

fn sandbox(extra: &str, hosts: usize) -> Sandbox {
    let sandbox = Sandbox::new(&playbook(extra), hosts);
    sandbox.file("app.conf.j2", "colour = {{ colour }}\nhost = {{ inventory_hostname }}\n");
    for n in 1..=hosts {
        let host = format!("h{n}");
        sandbox.write(&host, "app.conf", "colour = red\n");
        sandbox.write(&host, "active", "colour = red\n");
        sandbox.write(&host, "list", "others\n");
    }
    sandbox
}

fn aborts(run: &Outcome) -> Vec<(StopCause, String)> {
    run.kinds()
        .filter_map(|kind| match kind {
            EventKind::Aborted { cause, evidence, .. } => Some((cause.clone(), evidence.clone())),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_fleet_is_changed_and_a_second_run_changes_nothing() {
    let sandbox = sandbox("", 3);
    let run = sandbox.run().await;
    assert_eq!(run.outcome.exit_code, 0, "{:#?}", run.outcome);
    for host in ["h1", "h2", "h3"] {
        assert_eq!(run.state(host), HostState::Changed);
        assert_eq!(sandbox.read(host, "app.conf"), Some(format!("colour = blue\nhost = {host}\n")));
        assert_eq!(sandbox.read(host, "list"), Some(format!("others\n{host}\n")));
        assert_eq!(sandbox.read(host, "active"), sandbox.read(host, "app.conf"), "its handler ran");
    }
    let before = sandbox.everything();
    let again = sandbox.run().await;
    assert!(again.states().iter().all(|(_, state)| *state == HostState::Unchanged), "{:?}", again.states());
    assert_eq!(sandbox.everything(), before);
    assert!(again.results("h1", "restart").is_empty(), "nothing changed, so nothing is restarted");
}

#[tokio::test]
async fn a_trigger_puts_the_whole_batch_back_and_leaves_the_rest_alone() {
    // The change makes the third host sick: a fault that rolling back cures.
    let extra = "    - name: Break one
      copy:
        content: x
        dest: '{{ root }}/sick'
      when: inventory_hostname == 'h3'";
    let sandbox = sandbox(extra, 5);
    let before = sandbox.everything();
    let run = sandbox.run().await;
    assert_eq!(run.outcome.exit_code, 2, "{:#?}", run.outcome);
    let states: Vec<HostState> = run.states().into_iter().map(|(_, state)| state).collect();
    use HostState::{Changed, NeverStarted, RolledBack};
    assert_eq!(states, [Changed, RolledBack, RolledBack, NeverStarted, NeverStarted]);
    let after = sandbox.everything();
    for host in ["h2", "h3", "h4", "h5"] {
        let of = |all: &[(String, Vec<u8>)]| -> Vec<_> {
            all.iter().filter(|(path, _)| path.contains(&format!("/{host}/"))).cloned().collect()
        };
        assert_eq!(of(&after), of(&before), "{host} is as before, byte for byte");
    }
    let aborts = aborts(&run);
    assert_eq!(aborts.len(), 1);
    let cause = StopCause::Trigger { trigger: "the service is sick".to_owned(), host: Some("h3".to_owned()) };
    assert_eq!(aborts[0].0, cause);
    assert!(aborts[0].1.contains("consecutive_failures"), "{}", aborts[0].1);
}

#[tokio::test]
async fn a_host_that_fails_is_put_back_alone_where_failures_are_tolerated() {
    let extra = "    - name: Fail on one
      command: 'false'
      changed_when: false
      when: inventory_hostname == 'h2'";
    let sandbox = Sandbox::new(&playbook(extra).replace("batches: [1, 2]", "batches: [1, 2]\n    max_fail: 1"), 3);
    sandbox.file("app.conf.j2", "colour = {{ colour }}\n");
    for host in ["h1", "h2", "h3"] {
        sandbox.write(host, "list", "");
    }
    let run = sandbox.run().await;
    assert_eq!((run.state("h2"), run.state("h3")), (HostState::RolledBack, HostState::Changed));
    assert_eq!((run.outcome.exit_code, aborts(&run).len()), (2, 0));
    assert_eq!(sandbox.read("h2", "app.conf"), None, "it was not there before");
    assert_eq!(sandbox.read("h2", "list").as_deref(), Some(""));
}

#[tokio::test]
async fn a_second_signal_aborts_a_running_step_is_cut_after_its_grace_and_the_host_put_back() {
    let extra = "    - name: Take long
      command: sleep 600
      accept_irreversible: true";
    let text = playbook(extra).replace("batches: [1, 2]", "batches: [3]\n    abort_grace: 200ms\n    max_parallel: 2");
    let sandbox = Sandbox::new(&text, 3);
    sandbox.file("app.conf.j2", "colour = {{ colour }}\n");
    for host in ["h1", "h2", "h3"] {
        sandbox.write(host, "list", "");
    }
    let (sender, signals) = mpsc::channel(4);
    let log = Log::default();
    let operator = async {
        // Not by the clock: when both hosts are within the long step.
        loop {
            let within = {
                let log = log.lock().expect("lock");
                let long = |seen: &&super::support::Seen| {
                    matches!(seen, super::support::Seen::Event(event)
                    if matches!(&event.kind, EventKind::StepIntent { info, .. } if info.task == "Take long"))
                };
                log.iter().filter(long).count()
            };
            if within == 2 {
                break;
            }
            tokio::task::yield_now().await;
        }
        sender.send(Signal::Terminate).await.expect("sent");
        sender.send(Signal::Terminate).await.expect("sent");
        std::future::pending::<()>().await;
    };
    let run = tokio::select! {
        run = sandbox.project.run_with(sandbox.fleet(), &log, signals) => run,
        () = operator => unreachable!("the operator never leaves"),
    };
    assert_eq!(
        (run.state("h1"), run.state("h2"), run.state("h3")),
        (HostState::RolledBack, HostState::RolledBack, HostState::NeverStarted)
    );
    assert_eq!(aborts(&run)[0].0, StopCause::Signal { signal: "SIGTERM".to_owned() });
    assert_eq!((sandbox.read("h1", "app.conf"), run.outcome.exit_code), (None, 2));
}

#[tokio::test]
async fn run_once_runs_on_the_first_host_and_all_know_what_came_of_it() {
    let extra = "    - name: Count
      shell: echo x >> {{ playbook_dir }}/count; wc -l < {{ playbook_dir }}/count
      run_once: true
      register: counted
      accept_irreversible: true
    - name: Use it
      copy:
        content: '{{ counted.stdout }}'
        dest: '{{ root }}/counted'";
    let sandbox = sandbox(extra, 3);
    let run = sandbox.run().await;
    assert_eq!(run.outcome.exit_code, 0, "{:#?}", run.outcome);
    let counted: Vec<_> = ["h1", "h2", "h3"].iter().map(|host| sandbox.read(host, "counted")).collect();
    assert_eq!(counted, [Some("1".to_owned()), Some("2".to_owned()), Some("2".to_owned())], "once a batch");
}

#[tokio::test]
async fn check_mode_says_what_would_change_and_writes_nothing() {
    let extra = "    - name: Run something
      command: 'true'
      register: ran
      accept_irreversible: true
    - name: Read something
      command: touch {{ root }}/written
      changed_when: false
    - name: Read it really
      command: cat {{ root }}/list
      changed_when: false
      check_mode: false
    - name: Depend on it
      copy: { content: x, dest: '{{ root }}/depends' }
      when: ran.rc == 0";
    let mut sandbox = sandbox(extra, 2);
    sandbox.project.options.check = true;
    sandbox.project.options.diff = true;
    let before = sandbox.everything();
    let run = sandbox.run().await;
    assert_eq!(sandbox.everything(), before);
    use crate::journal::StepStatus::{Changed, Ok, Unknown};
    let status = |task: &str| run.results("h1", task).first().map(|(status, _)| *status);
    assert_eq!(status("Configure"), Some(Changed));
    assert_eq!((status("Run something"), status("Depend on it")), (Some(Unknown), Some(Unknown)));
    assert_eq!(status("Read something"), Some(Ok), "by its own word it changes nothing, and it is not run");
    assert_eq!(status("Read it really"), Some(Ok));
    let diffs = run.kinds().any(|kind| {
        matches!(kind, EventKind::StepResult { diff, .. } if diff.iter().any(|diff| diff.after.contains("blue")))
    });
    assert!(diffs, "with -D the difference is shown");
}

#[tokio::test]
async fn check_mode_says_what_undo_and_rollback_tasks_would_do_and_runs_none() {
    let extra = "    - name: Switch
      command: 'true'
      register: switched
      undo:
        - { name: Switch back, command: 'touch {{ root }}/{{ item }}', loop: [one, two] }
        - { name: Tell, command: 'echo {{ switched.rc }}', when: inventory_hostname == 'h1' }
        - { name: Log in, command: 'cat', args: { stdin: hunter2 }, no_log: true }
  rollback:
    - { name: Report, command: 'touch {{ root }}/{{ inventory_hostname }}' }";
    let mut sandbox = sandbox(extra, 2);
    sandbox.project.options.check = true;
    let before = sandbox.everything();
    let run = sandbox.run().await;
    assert_eq!(sandbox.everything(), before);
    let root = |host: &str| sandbox.path(host, "").display().to_string().trim_end_matches('/').to_owned();
    let undo = |host: &str| {
        run.kinds().find_map(|kind| match kind {
            EventKind::StepIntent { id, info } if id.host == host && info.task == "Switch" => Some(info.undo.clone()),
            _ => None,
        })
    };
    let back =
        |host: &str| ["one", "two"].map(|item| format!("Switch back [command]: cmd=touch {}/{item}", root(host)));
    let of_h2 = undo("h2").expect("a step");
    assert_eq!(of_h2, [back("h2").as_slice(), &["Log in [command]: (hidden)".to_owned()]].concat());
    let of_h1 = undo("h1").expect("a step");
    let tell = of_h1.get(2).expect("a third task");
    assert!(tell.starts_with("Tell [command]: cmd=echo {{ switched.rc }} (not known yet: "), "{tell}");
    let rollback = run.kinds().find_map(|kind| match kind {
        EventKind::RollbackPlanned { host, tasks, .. } if host == "h2" => Some(tasks.clone()),
        _ => None,
    });
    assert_eq!(rollback, Some(vec![format!("Report [command]: cmd=touch {}/h2", root("h2"))]));
}

#[tokio::test]
async fn row_36_a_plan_names_hosts_that_are_sick_and_fails_where_they_are_too_many() {
    let text = "- hosts: all
  gather_facts: false
  rollout:
    batches: [1]
    max_unavailable: MAX
    probes:
      - name: proxy
        unix: '{{ root }}/proxy.sock'
      - name: never_run
        command: touch {{ root }}/written
  tasks:
    - copy: { content: x, dest: '{{ root }}/app.conf' }
";
    for (max, refused) in [("1", true), ("2", false)] {
        let mut sandbox = Sandbox::new(&text.replace("MAX", max), 3);
        sandbox.project.options.check = true;
        // Two have no such socket; the third one listens.
        let _listener = std::os::unix::net::UnixListener::bind(sandbox.path("h3", "proxy.sock")).expect("bound");
        let run = sandbox.run().await;
        let failed = |host: &str| run.state(host) == HostState::Failed;
        assert_eq!((failed("h1"), failed("h2"), failed("h3")), (refused, refused, false), "{:#?}", run.outcome);
        assert_eq!(run.outcome.exit_code, if refused { 2 } else { 0 });
        let warned = run.kinds().filter(
            |kind| matches!(kind, EventKind::Warning { message, .. } if message.contains("proxy is unhealthy")),
        );
        assert_eq!(warned.count(), if refused { 0 } else { 2 });
        assert_eq!(sandbox.read("h1", "written"), None, "a command may write, so a plan does not run it");
    }
}

#[tokio::test]
async fn a_module_that_fails_before_it_changes_anything_leaves_nothing_to_put_back() {
    let text = "- hosts: all
  gather_facts: false
  rollout: { batches: [1] }
  tasks:
    - name: Refused
      copy:
        content: x
        dest: '{{ root }}/no/such/directory/app.conf'
";
    let sandbox = Sandbox::new(text, 1);
    let run = sandbox.run().await;
    assert_eq!((run.state("h1"), run.outcome.exit_code), (HostState::Failed, 2));
    let undone = run.kinds().any(|kind| matches!(kind, EventKind::RollbackIntent { .. }));
    assert!(!undone, "nothing was changed");
}

#[tokio::test]
async fn a_probe_that_reads_what_the_tasks_set_is_asked_after_them() {
    let text = "- hosts: all
  gather_facts: false
  rollout:
    batches: [1]
    min_healthy_time: 50ms
    healthy_deadline: 20s
    probes:
      - name: service
        when: watched
        command: test ! -e {{ marker }}
        interval: 20ms
    triggers:
      - name: sick
        when: service.consecutive_failures >= limit
  tasks:
    - set_fact: { watched: true, marker: '{{ root }}/sick', limit: 2 }
    - copy: { content: x, dest: '{{ root }}/sick' }
";
    let sandbox = Sandbox::new(text, 1);
    let run = sandbox.run().await;
    assert_eq!((run.state("h1"), run.outcome.exit_code), (HostState::RolledBack, 2), "{:#?}", run.outcome);
    assert_eq!(sandbox.read("h1", "sick"), None);
}
