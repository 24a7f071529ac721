//! Keys of the stanza that stand beside batches and budgets: `max_unhealthy_upgraded`, `on_unreachable_preflight`, probes
//! from the controller.

use super::{
    rows::serve_on,
    sandbox::Sandbox,
    scene::{good, rollout, sick},
    script::{Health, Script},
    support::{Outcome, Seen, reason, states, why_aborted},
};
use crate::journal::{EventKind, HostState, StopCause};
use HostState::{Changed, NeverStarted, RolledBack};

fn resolved(run: &Outcome) -> Vec<String> {
    let of = |kind: &EventKind| match kind {
        EventKind::PlayStarted { resolved, .. } => Some(resolved.clone()),
        _ => None,
    };
    run.kinds().find_map(of).expect("a play")
}

/// No trigger acts, and failures are tolerated: what stops a run is the limit alone.
const LENIENT: &str = "    max_fail: 9\n    triggers:\n      - { name: told, when: alive.consecutive_failures >= 3, \
                       mode: dry_run }\n    max_unhealthy_upgraded: 20%";

#[tokio::test(start_paused = true)]
async fn one_unhealthy_host_more_than_max_unhealthy_upgraded_aborts_long_before_its_deadline() {
    let stanza = format!("    batches: [1, 4, 5]\n{LENIENT}");
    let scripts = [good(), good(), sick(), sick(), good(), good(), good(), good(), good(), good()];
    let run = rollout(&stanza, &scripts).await;
    let back = [Changed, RolledBack, RolledBack, RolledBack, RolledBack];
    assert_eq!(states(&run), [back.as_slice(), &[NeverStarted; 5]].concat());
    let (cause, evidence) = why_aborted(&run).expect("aborted");
    assert_eq!(cause, StopCause::UnhealthyUpgraded { unhealthy: 2, tolerated: 1 });
    assert!(evidence.contains("c, d"), "{evidence}");
    let sentence = "max_unhealthy_upgraded 20 %: stops at the 1st, at the 2nd from batch 2 on, at the 3rd from batch 3 on \
                    changed host of the batches begun so far that is unhealthy.";
    assert!(resolved(&run).iter().any(|line| line == sentence), "{:#?}", resolved(&run));
}

#[tokio::test(start_paused = true)]
async fn as_many_as_max_unhealthy_upgraded_tolerates_stop_nothing() {
    let stanza = format!("    batches: [1, 4, 5]\n{LENIENT}");
    let scripts = [good(), good(), sick(), good(), good(), good(), good(), sick(), good(), good()];
    let run = rollout(&stanza, &scripts).await;
    let mut expected = [Changed; 10];
    (expected[2], expected[7]) = (RolledBack, RolledBack);
    assert_eq!(
        (states(&run), why_aborted(&run)),
        (expected.to_vec(), None),
        "a host put back counts, and two are 20 %"
    );
}

#[tokio::test(start_paused = true)]
async fn hosts_of_earlier_batches_count_as_upgraded_and_are_put_back_when_they_turn_sick() {
    use Health::{Bad, Good};
    let turns = Script { after: [vec![Good; 10], vec![Bad; 90]].concat(), ..Script::default() };
    let stanza = format!("    batches: [1]\n    bake_time: 10s\n{LENIENT}");
    let run = rollout(&stanza, &[turns, good(), good()]).await;
    assert_eq!(states(&run), [RolledBack, RolledBack, NeverStarted]);
    let (cause, _) = why_aborted(&run).expect("aborted");
    assert_eq!(cause, StopCause::UnhealthyUpgraded { unhealthy: 1, tolerated: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_host_out_of_reach_before_may_be_left_out_and_takes_up_the_budget_all_the_same() {
    let dead = Script { unreachable: true, ..Script::default() };
    let scripts = [good(), dead, good()];
    let run = rollout("    batches: [3]\n    on_unreachable_preflight: exclude", &scripts).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed, NeverStarted, Changed], 4));
    assert!(reason(&run, "b").starts_with("excluded: unreachable"), "{}", reason(&run, "b"));
    let stanza = "    batches: [3]\n    on_unreachable_preflight: exclude\n    max_unavailable: 1";
    let run = rollout(stanza, &scripts).await;
    assert_eq!(states(&run), [NeverStarted; 3]);
    assert!(matches!(why_aborted(&run), Some((StopCause::Budget { disrupted: 1, max_unavailable: 1 }, _))));
}

#[tokio::test(start_paused = true)]
async fn a_host_out_of_reach_before_may_end_the_run_before_anything_is_touched() {
    let dead = Script { unreachable: true, ..Script::default() };
    let stanza = "    batches: [1, 2, 1]\n    max_fail: 3\n    on_unreachable_preflight: abort";
    let run = rollout(stanza, &[good(), dead.clone(), good(), dead]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![NeverStarted; 4], 4));
    let (cause, evidence) = why_aborted(&run).expect("aborted");
    assert_eq!((cause, evidence.as_str()), (StopCause::Preflight { unreachable: 2 }, "Out of reach: b, d."));
    assert!(!run.log.iter().any(|seen| matches!(seen, Seen::Call { .. })), "nothing was asked of any host");
}

#[tokio::test]
async fn a_probe_from_the_controller_asks_where_the_controller_reaches_the_host() {
    // Served at the address by which the hosts are reached, and nowhere else.
    let port = serve_on("127.0.0.2", |_| ());
    for (from, expected) in [("controller", Changed), ("host", NeverStarted)] {
        let playbook = format!(
            "- hosts: all
  gather_facts: false
  rollout:
    batches: [1]
    max_unavailable: 1
    min_healthy_time: 50ms
    probes:
      - {{ name: service, tcp: '{{{{ port }}}}', interval: 20ms, timeout: 5s, from: {from} }}
  tasks:
    - copy: {{ content: new, dest: '{{{{ root }}}}/app.conf' }}
"
        );
        let sandbox = Sandbox::new(&playbook, 2);
        let inventory = sandbox.project.dir.path().join("hosts.ini");
        let text = fs_err::read_to_string(&inventory).expect("there");
        let line = |line: &str| format!("{line} port={port} ansible_host=127.0.0.2\n");
        fs_err::write(&inventory, text.lines().map(line).collect::<String>()).expect("written");
        let run = sandbox.run().await;
        assert_eq!(states(&run), [expected; 2], "{from}: {:#?}", run.outcome);
        let told = resolved(&run).iter().any(|line| line.starts_with("Probe service, asked from the controller: "));
        assert_eq!(told, from == "controller");
    }
}

#[tokio::test]
async fn what_answers_the_controller_badly_puts_the_host_back_and_what_cannot_be_asked_pauses() {
    let play = |probe: &str| {
        format!(
            "- hosts: all
  gather_facts: false
  rollout:
    batches: [1]
    min_healthy_time: 50ms
    healthy_deadline: 3s
    pause_timeout: 200ms
    probes:
      - name: service
        from: controller
        interval: 20ms
        timeout: 5s
        {probe}
    triggers:
      - {{ name: sick, when: service.consecutive_failures >= 3 }}
  tasks:
    - copy: {{ content: new, dest: '{{{{ root }}}}/app.conf' }}
"
        )
    };
    // What it may ask is the controller's: a command of its own, with the host's variables.
    let bad = Sandbox::new(&play("command: test ! -e {{ root }}/app.conf"), 2);
    let run = bad.run().await;
    assert_eq!(states(&run), [RolledBack, NeverStarted], "{:#?}", run.outcome);
    assert!(matches!(why_aborted(&run), Some((StopCause::Trigger { .. }, _))));
    // No resolver takes a label of more than 63 letters.
    let url = format!("http: http://{}.invalid/health", "x".repeat(64));
    let run = Sandbox::new(&play(&url), 2).run().await;
    assert!(run.kinds().any(|kind| matches!(kind, EventKind::Paused { cause: StopCause::Inconclusive { .. } })));
    assert_eq!(states(&run), [RolledBack, NeverStarted], "when nobody has answered");
}

#[tokio::test(start_paused = true)]
async fn triggers_say_at_which_number_they_act() {
    let stanza = "    batches: [1]
    triggers:
      - { name: plain, when: alive.consecutive_failures >= 3 }
      - { name: more, when: alive.consecutive_failures > 4, scope: batch, action: pause }
      - { name: turned, when: 2 <= alive.consecutive_errors, mode: dry_run }
      - { name: every, when: alive.all_unhealthy }
      - { name: raw, when: alive.rc == 7 }
      - { name: both, when: alive.consecutive_failures >= 2 and alive.rc == 7 }";
    let run = rollout(stanza, &[good(), good()]).await;
    let lines: Vec<String> = resolved(&run).into_iter().filter(|line| line.starts_with("Trigger")).collect();
    assert_eq!(
        lines,
        [
            "Trigger “plain”: at the 3rd consecutive failure of alive on any of 2 hosts (alive.consecutive_failures >= 3), \
             the batch is aborted.",
            "Trigger “more”: at the 5th consecutive failure of alive over the batch (alive.consecutive_failures > 4), the run \
             pauses.",
            "Trigger “turned”: at the 2nd consecutive error of alive on any of 2 hosts (2 <= alive.consecutive_errors), is \
             only reported.",
            "Trigger “every”: when alive.all_unhealthy (all of alive for 3 rounds running), on any of 2 hosts, the batch is \
             aborted.",
            "Trigger “raw”: when alive.rc == 7 in 3 rounds running, on any of 2 hosts, the batch is aborted.",
            "Trigger “both”: when alive.consecutive_failures >= 2 and alive.rc == 7 in 3 rounds running, on any of 2 hosts, \
             the batch is aborted.",
        ]
    );
}
