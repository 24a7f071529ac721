//! What a task's keywords mean, on a real agent: Ansible's rules (ansible.md 13 to 19).

use super::{sandbox::Sandbox, support::Outcome};
use crate::journal::{EventKind, HostState, StepStatus};
use StepStatus::{Changed, Failed, Ignored, Ok, Skipped};

async fn run(tasks: &str) -> (Sandbox, Outcome) {
    let sandbox = Sandbox::new(&format!("- hosts: all\n  gather_facts: false\n{tasks}"), 1);
    let run = sandbox.run().await;
    (sandbox, run)
}

fn statuses(run: &Outcome, task: &str) -> Vec<StepStatus> {
    run.results("h1", task).into_iter().map(|(status, _)| status).collect()
}

#[tokio::test]
async fn a_loop_runs_every_item_and_registers_results() {
    let (sandbox, run) = run("  tasks:
    - name: Each
      shell: echo {{ item }}; exit {{ item }}
      loop: [0, 3, 0]
      register: each
      ignore_errors: true
    - name: Say
      copy:
        content: \"{{ each.results | map(attribute='rc') | join(',') }} {{ each is failed }}\"
        dest: '{{ root }}/said'
")
    .await;
    assert_eq!(statuses(&run, "Each"), [Changed, Ignored, Changed]);
    assert_eq!(sandbox.read("h1", "said").as_deref(), Some("0,3,0 True"));
    assert_eq!(run.outcome.exit_code, 0);
}

#[tokio::test]
async fn until_tries_again_and_counts() {
    let (sandbox, run) = run("  tasks:
    - name: Wait
      shell: echo x >> {{ root }}/tries; wc -l < {{ root }}/tries
      register: tries
      until: tries.stdout | int >= 3
      retries: 5
      delay: 0
    - name: In vain
      command: 'false'
      retries: 1
      delay: 0
      ignore_errors: true
      register: vain
    - name: Say
      copy: { content: '{{ tries.attempts }} {{ vain.attempts }}', dest: '{{ root }}/said' }
")
    .await;
    assert_eq!(statuses(&run, "Wait"), [Ignored, Ignored, Changed]);
    assert_eq!(statuses(&run, "In vain"), [Ignored, Ignored]);
    assert_eq!(sandbox.read("h1", "said").as_deref(), Some("3 2"));
    let recap = run.outcome.hosts[0].recap;
    assert_eq!((recap.ok, recap.changed, recap.ignored, recap.failed), (3, 2, 1, 0));
}

#[tokio::test]
async fn conditions_replace_the_module_s_verdict() {
    let (_, run) = run("  tasks:
    - name: Not changed
      command: 'true'
      changed_when: false
    - name: Not failed
      command: sh -c 'exit 3'
      register: result
      failed_when: result.rc not in [0, 3]
      changed_when: result.rc == 3
    - name: Skipped
      command: 'true'
      when:
        - result.rc == 3
        - false
    - name: Failed
      command: 'true'
      failed_when: true
    - name: Never reached
      command: 'true'
")
    .await;
    let first = |task| statuses(&run, task).first().copied();
    assert_eq!((first("Not changed"), first("Not failed"), first("Failed")), (Some(Ok), Some(Changed), Some(Failed)));
    assert_eq!(first("Never reached"), None);
    let skips = run.kinds().filter(|kind| matches!(kind, EventKind::StepSkipped { task, .. } if task == "Skipped"));
    assert_eq!((skips.count(), first("Skipped") == Some(Skipped)), (1, false));
    assert_eq!((run.state("h1"), run.outcome.exit_code), (HostState::Failed, 2));
}

#[tokio::test]
async fn handlers_run_once_in_the_order_defined_also_when_one_notifies_an_earlier_one() {
    let (sandbox, _) = run("  tasks:
    - name: First
      command: 'true'
      notify: [third, topic]
    - name: Second
      command: 'true'
      notify: third
    - name: Flush
      meta: flush_handlers
    - name: After
      shell: echo after >> {{ root }}/order
  handlers:
    - name: first
      shell: echo first >> {{ root }}/order
    - name: second
      listen: topic
      shell: echo second >> {{ root }}/order
      notify: first
    - name: third
      shell: echo third >> {{ root }}/order
")
    .await;
    assert_eq!(sandbox.read("h1", "order").as_deref(), Some("second\nfirst\nthird\nafter\n"));
}

#[tokio::test]
async fn a_task_that_cannot_be_put_together_fails_at_its_place_with_the_reason() {
    let (_, run) = run("  tasks:
    - name: Wrong
      command: echo {{ no_such_variable }}
")
    .await;
    let results = run.results("h1", "Wrong");
    let message = results[0].1.as_deref().unwrap_or_default();
    assert_eq!(results[0].0, Failed);
    assert!(message.contains("no_such_variable") && message.contains("play.yml:5"), "{message}");
}

#[tokio::test]
async fn no_log_hides_output_and_passwords_never_show() {
    let (sandbox, run) = run("  vars:
    secret: tr0ub4dor
  tasks:
    - name: Hidden
      shell: echo {{ secret }}; echo {{ secret }} >&2; exit 1
      no_log: true
      ignore_errors: true
    - name: Shown
      debug: { msg: 'it is {{ secret }}' }
")
    .await;
    let dir =
        fs_err::read_dir(sandbox.project.dir.path().join("runs")).expect("runs").next().expect("one").expect("it");
    let journal = fs_err::read_to_string(dir.path().join("journal.jsonl")).expect("read");
    let hidden: Vec<&str> =
        journal.lines().filter(|line| line.contains("Hidden") || line.contains("\"step\":1,")).collect();
    assert!(!hidden.is_empty() && hidden.iter().all(|line| !line.contains("tr0ub4dor")), "{hidden:?}");
    assert_eq!(statuses(&run, "Hidden"), [Ignored]);
}

#[tokio::test]
async fn the_reason_of_a_failure_has_what_the_command_wrote_but_with_no_log() {
    for (no_log, says) in [("false", "non-zero return code 7: tr0ub4dor"), ("true", "it failed; its output is hidden")]
    {
        let (sandbox, run) = run(&format!(
            "  tasks:
    - name: Fails
      shell: printf %s%s tr0ub 4dor; exit 7
      no_log: {no_log}
"
        ))
        .await;
        assert_eq!(statuses(&run, "Fails"), [Failed]);
        let runs = sandbox.project.dir.path().join("runs");
        let dir = fs_err::read_dir(runs).expect("runs").next().expect("one").expect("it");
        let journal = fs_err::read_to_string(dir.path().join("journal.jsonl")).expect("read");
        let last = journal.lines().last().expect("a line");
        assert!(last.contains(says), "{last}");
        assert_eq!(journal.contains("tr0ub4dor"), no_log == "false");
    }
}

#[tokio::test]
async fn tags_select_and_delegated_work_is_done_here() {
    let mut sandbox = Sandbox::new(
        "- hosts: all
  gather_facts: false
  tasks:
    - name: Tagged
      command: 'true'
      tags: [wanted]
    - name: Other
      command: 'true'
    - name: Here
      shell: echo {{ inventory_hostname }} > {{ playbook_dir }}/here
      delegate_to: localhost
      tags: [wanted]
",
        2,
    );
    sandbox.project.options.tags = vec!["wanted".to_owned()];
    let run = sandbox.run().await;
    assert_eq!((statuses(&run, "Tagged").len(), statuses(&run, "Other").len()), (1, 0));
    assert!(sandbox.project.dir.path().join("here").exists());
}

#[tokio::test]
async fn serial_batches_stop_when_more_than_the_tolerated_share_has_failed() {
    let sandbox = Sandbox::new(
        "- hosts: all
  gather_facts: false
  serial: 2
  max_fail_percentage: 49
  tasks:
    - name: One fails
      command: test {{ inventory_hostname }} != h1
    - name: Next
      command: 'true'
",
        4,
    );
    let run = sandbox.run().await;
    use HostState::NeverStarted;
    assert_eq!(run.state("h1"), HostState::Failed);
    assert_eq!((run.state("h3"), run.state("h4")), (NeverStarted, NeverStarted), "no further batch");
    assert!(run.results("h2", "Next").is_empty(), "the batch stops after the task that failed");
}
